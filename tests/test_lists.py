"""Options that are lists: whatever takes a configuration gets a list, or the words that say it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import BadInput, Result, Script, Space, Sweep, choice, run, uniform
from search.history import History
from trainables.scripts import config_file

WIDTHS = choice([[32, 32], (64,), []])


def train(config: Any) -> Iterator[Any]:
    assert type(config["widths"]) is list
    loss = float(sum(config["widths"]))
    config["widths"].append(1000)  # which is nobody else's list
    yield {"loss": loss}


@pytest.mark.slow
def test_a_function_gets_lists_and_the_record_keeps_them(tmp_path: Path) -> None:
    space = Space({"widths": WIDTHS, "decay": 0.1})
    sweep = Sweep("lists", train, space, minimize="loss", num_samples=6, baseline={"widths": (64,)}, steps=1)
    run(sweep, tmp_path / "run", simulate=True, quiet=True)
    assert Result(tmp_path / "run").config == {"widths": [], "decay": 0.1}
    again = run(sweep, tmp_path / "run", simulate=True, quiet=True, num_samples=7)
    assert again.config == {"widths": [], "decay": 0.1}
    earlier = History.of(space, [({"widths": (32, 32)}, 0.5)])
    assert earlier.trials[0].config["widths"] == [32, 32]


SEVERAL = (
    "import argparse\np = argparse.ArgumentParser()\np.add_argument('--widths', type=int, nargs='*')\np.parse_args()\n"
)
ONE = SEVERAL.replace(", nargs='*'", "")


def script(command: str, **settings: Any) -> Script:
    return Script(command, metric="loss", mode="min", horizon=1, **settings)


@pytest.mark.parametrize(
    ("command", "flag", "words"),
    [
        ("python several.py", None, ["--widths", "32", "32"]),
        ("python several.py --set", "{name}={value}", ["--set", "widths=[32,32]"]),
        ("python several.py wide={widths} first={widths[0]}", None, ["wide=[32,32]", "first=32"]),
    ],
)
def test_a_command_says_a_list_in_the_form_that_the_script_takes(
    command: str, flag: str | None, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("several.py").write_text(SEVERAL)
    workload = script(command, flag=flag)
    workload.check_space(Space({"widths": WIDTHS}))
    assert workload.arguments({"widths": [32, 32]})[2:] == words


def test_a_flag_of_one_value_is_no_place_for_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.py").write_text(ONE)
    told = r"--widths takes one value \(one.py, line 3\).* may be \[32, 32\]; .*nargs='\*', or write choice\(\['32,32', '64', ''\]\)"
    with pytest.raises(ValueError, match=told):
        script("python one.py").check_space(Space({"widths": WIDTHS}))


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_config_file_holds_a_list(ending: str, tmp_path: Path) -> None:
    base = tmp_path / f"base.{ending}"
    base.write_text('{"widths": [1], "rate": 0.1}')
    config_file.write(tmp_path / f"new.{ending}", str(base), {"widths": [32, 32]})
    assert config_file.read(tmp_path / f"new.{ending}") == {"widths": [32, 32], "rate": 0.1}


@pytest.mark.parametrize(
    ("name", "options", "meant"),
    [
        ("widths", ["[16]", "[32,32]"], "[16]"),
        ("widths", ["32,32", "16"], "[32, 32]"),
        ("words", ["flip,crop", ""], "['flip', 'crop']"),
        ("rate", ["0.1", "0.2"], "0.1"),
        ("fast", ["true", "false"], "True"),
        ("rate", ["sqrt", "log2"], ""),
        ("fast", ["0", "cosine"], ""),
        ("word", ["[1]", "2"], ""),
    ],
)
def test_a_text_where_the_config_file_has_another_kind_of_value_is_refused(
    name: str, options: list[str], meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("")
    base = {"widths": [1], "words": ["flip"], "rate": 0.1, "fast": True, "word": "text"}
    Path("base.json").write_text(json.dumps(base))
    workload, space = script("python train.py {config}", config="base.json"), Space({name: choice(options)})
    if not meant:
        workload.check_space(space)
        return
    with pytest.raises(ValueError) as caught:
        workload.check_space(space)
    assert f"may be the text {options[0]!r}" in str(caught.value)
    assert f"write {meant} in its place" in str(caught.value)


def test_a_parameter_that_the_space_no_longer_has_is_not_mistaken_for_one_that_the_baseline_names() -> None:
    space = Space({"model.hidden": choice([1, 2]), "rate": uniform(0, 1)})
    with pytest.raises(BadInput, match=r"the space has no 'model.norm'. Leave it out."):
        Sweep(
            "mine", train, space, minimize="loss", steps=1, baseline={"model.hidden": 1, "rate": 0.5, "model.norm": 1}
        )
