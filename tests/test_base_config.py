"""A command with key=value words on top of a config file: which file it is, and which key the file lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reading.dry_run import print_plan
from orchestrator.sweep import Sweep
from search.searchers.random import Random
from search.space import Space, choice, uniform
from search.work import Ended
from tests.scripting import assigned, trained
from tests.support import simulated
from trainables.workloads.script import Script

PLAIN = """
import sys
print("epoch 1: loss=0.5", sys.argv)
"""
HYDRA = (
    """
import sys

class hydra:  # stands in for the library, which is not there
    @staticmethod
    def main(**settings):
        return lambda function: function

@hydra.main(version_base=None, config_path="conf", config_name="config")
def train(config=None): ...
"""
    + PLAIN
)
FILES = {
    "train.py": PLAIN,
    "hydra_train.py": HYDRA,
    "config.yaml": "optim:\n  lr: 0.1\n  momentum: 0.9\nepochs: 4\n",
    "data.json": '{"images": 3, "classes": 10}',
    "conf/config.yaml": "defaults:\n  - model: small\n  - data: lost\n  - override hydra/launcher: basic\n  - _self_\noptim:\n  lr: 0.1\nmodel:\n  depth: 3\n",
    "conf/model/small.yaml": "width: 64\n",
    "open/train.py": HYDRA,
    "open/conf/config.yaml": "defaults:\n  - base\n  - _self_\noptim:\n  lr: 0.1\n",
}
PARAMETER = uniform(0.1, 1.0)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def sweep_of(command: str, space: Mapping[str, Any], **settings: Any) -> Sweep:
    workload = Script(command, metric="loss", mode="min", horizon=1, **settings)
    return Sweep(name="own", workload=workload, space=Space(space), searcher=Random(), num_samples=1)


def warnings(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> str:
    print_plan(sweep, Path("runs"))
    return "\n".join(line for line in capsys.readouterr().out.splitlines() if "has no key" in line)


FLAG = {"flag": "{name}={value}"}
WRONG: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    ("python train.py --config config.yaml", {"optim.learning_rate": PARAMETER}, FLAG, "config.yaml", "optim.lr"),
    ("python train.py --config=config.yaml", {"optim.momentun": PARAMETER}, FLAG, "config.yaml", "optim.momentum"),
    ("python train.py config.yaml optm.lr={lr}", {"lr": PARAMETER}, {}, "config.yaml", "optim.lr"),
    ("python train.py {config} epoch={n}", {"n": PARAMETER}, {"config": "config.yaml"}, "config.yaml", "epochs"),
    ("python hydra_train.py", {"optim.lrate": PARAMETER}, FLAG, "conf/config.yaml", "optim.lr"),
    ("python hydra_train.py", {"model.widht": PARAMETER}, FLAG, "conf/config.yaml", "model.width"),
]


@pytest.mark.parametrize(("command", "space", "settings", "file", "near"), WRONG)
def test_a_key_that_the_config_file_lacks_is_told_with_the_nearest(
    command: str, space: Any, settings: Any, file: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = warnings(sweep_of(command, space, **settings), capsys)
    assert f"warning    {file} has no key '" in told
    assert f"Did you mean {near!r}?" in told


SOUND: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("python train.py --config config.yaml", {"optim.lr": PARAMETER, "epochs": PARAMETER}, FLAG),
    ("python train.py --config config.yaml --lr={rate}", {"rate": PARAMETER}, {}),  # a flag, and no word of the file
    ("python train.py --config config.yaml +optim.decay={decay}", {"decay": PARAMETER}, {}),  # Hydra's way to add a key
    ("python train.py --data data.json", {"rate": PARAMETER}, FLAG),  # a file of something else
    ("python train.py", {"optim.rate": PARAMETER}, FLAG),  # no file
    ("python hydra_train.py", {"optim.lr": PARAMETER, "model.width": PARAMETER, "model.depth": PARAMETER}, FLAG),
    (
        "python hydra_train.py",
        {"model": choice(["small", "large"]), "model.heads": PARAMETER},
        FLAG,
    ),  # of another model
    ("python hydra_train.py", {"data.crop": PARAMETER}, FLAG),  # of a group whose file is elsewhere
    ("python hydra_train.py --config-name=other", {"optim.rate": PARAMETER}, FLAG),
    ("python open/train.py", {"optim.rate": PARAMETER}, FLAG),  # `base` may have the key
]


@pytest.mark.parametrize(("command", "space", "settings"), SOUND)
def test_where_nothing_is_wrong_or_certain_nothing_is_told(
    command: str, space: Any, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert warnings(sweep_of(command, space, **settings), capsys) == ""


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("python train.py --config config.yaml", "config.yaml"),
        ("python train.py base=config.yaml", "config.yaml"),
        ("python hydra_train.py", "conf/config.yaml"),
        ("python hydra_train.py", "conf/model/small.yaml"),
    ],
)
def test_a_resume_says_that_the_config_file_was_edited(command: str, file: str, tmp_path: Path) -> None:
    sweep = sweep_of(command, {"optim.lr": PARAMETER}, **FLAG)
    assert simulated(tmp_path / "run", sweep).best is not None
    assert "edited" not in simulated(tmp_path / "run", sweep).found
    (tmp_path / file).write_text(FILES[file] + "more: 1\n")
    assert f"{Path(file).name} was edited" in simulated(tmp_path / "run", sweep).found


@pytest.mark.parametrize(
    ("command", "more", "is_told"),
    [
        ("python hydra_train.py", "", True),
        ("python hydra_train.py hydra.run.dir=outputs", "", True),
        ("python hydra_train.py hydra.run.dir={folder}", "", False),
        ("python hydra_train.py", "hydra:\n  run:\n    dir: ${oc.env:TRIAL_FOLDER}\n", False),
        ("python train.py", "", False),
    ],
)
def test_trials_of_a_hydra_app_without_folders_of_their_own_are_warned_of(
    command: str, more: str, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("conf/config.yaml", "a") as file:
        file.write(more)
    print_plan(sweep_of(command, {"optim.lr": PARAMETER}, **FLAG), Path("runs"))
    told = capsys.readouterr().out
    assert ("warning    Hydra names the script's output folder" in told) is is_told
    assert ("Write hydra.run.dir={folder} in the command" in told) is is_told


def test_a_trial_of_a_hydra_app_that_ends_early_may_have_gone_on_from_anothers_checkpoint(tmp_path: Path) -> None:
    for command, told in (("python hydra_train.py", True), ("python hydra_train.py hydra.run.dir={folder}", False)):
        workload = Script(command, metric="loss", mode="min", horizon=2, **FLAG)
        (ended,) = [item for item in trained(workload, assigned(tmp_path / str(told))) if isinstance(item, Ended)]
        assert ("other's checkpoints. Write hydra.run.dir={folder}" in ended.advice) is told


def test_a_hydra_app_without_overrides_is_refused() -> None:
    parameter = {"optim.lr": PARAMETER}
    with pytest.raises(
        ValueError, match=r"no flag --optim\.lr: for a Hydra app, .* write Script\(…, flag=\"\{name\}=\{value\}\"\)"
    ):
        sweep_of("python hydra_train.py", parameter)
    sweep_of("python hydra_train.py optim.lr={optim.lr}", parameter)
    Path("hydra_train.py").write_text(HYDRA + "import argparse\n")  # which may take the flags before Hydra does
    sweep_of("python hydra_train.py", parameter)
