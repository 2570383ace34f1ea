"""A value that the script's flag does not take is refused before the start, where the script's parser is certain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.space import Space, choice, lograndint, loguniform, pow2, randint, uniform, when
from tests.test_flags import script
from trainables.workloads.script import Script

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("-b", "--batch-size", type=int, default=32)
parser.add_argument("--momentum", type=float)
parser.add_argument("--layers", type=int, choices=range(1, 4))
parser.add_argument("--heads", choices=[1, 2])
parser.add_argument("--optimizer", choices=("sgd", "adam"))
parser.add_argument("--widths", type=int, nargs="+")
parser.add_argument("--free", type=lambda text: int(float(text)))
parser.add_argument("--fused", action="store_true")
parser.add_argument("--clip", default="none", type=lambda text: None if text == "none" else float(text))
parser.add_argument("--computed", choices=list(vars()))
args = parser.parse_args()
print("epoch 1: loss=0.5")
"""
CLICK = """
import click
@click.command()
@click.option("--batch-size", "-b", type=int)
@click.option("--layers", default=3)
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]))
@click.option("--any-case", type=click.Choice(["sgd", "adam"], case_sensitive=False))
def main(**options): print("epoch 1: loss=0.5")
main()
"""
TYPER = """
import typer
def main(rate: float = 0.1, batch_size: int = 32): print("epoch 1: loss=0.5")
typer.run(main)
"""
TYPERS_ENUM = """
import enum, typer
class Optimizer(str, enum.Enum):
    sgd = "sgd"
    adam = "adam"
def main(optimizer: Optimizer = Optimizer.sgd): print("epoch 1: loss=0.5")
typer.run(main)
"""
HUGGING_FACE = """
from dataclasses import dataclass, field
from transformers import HfArgumentParser
@dataclass
class Arguments:
    batch_size: int = 32
    optimizer: str = field(default="sgd", metadata={"help": "x"})
print("epoch 1: loss=0.5", HfArgumentParser(Arguments).parse_args_into_dataclasses()[0])
"""
ABSL = """
from absl import app, flags
flags.DEFINE_integer("batch_size", 32, "")
flags.DEFINE_enum("optimizer", "sgd", ["sgd", "adam"], "")
app.run(lambda _: print("epoch 1: loss=0.5"))
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))


def refusal(workload: Script, **parameters: Any) -> str:
    with pytest.raises(ValueError) as refused:
        workload.check_space(Space(parameters))
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "name", "parameter", "told"),
    [
        (ARGPARSE, "batch_size", uniform(16.5, 256), "--batch-size takes whole numbers ({}, line 4), but the parameter 'batch_size' may be 137.4"),
        (ARGPARSE, "batch_size", uniform(16.5, 256), "tune it with randint(17, 256)."),
        (ARGPARSE, "batch_size", loguniform(16, 256), "tune it with lograndint(16, 256)."),
        (ARGPARSE, "batch_size", choice([None, 16]), "'batch_size' may be None, and no word says None to --batch-size ({}, line 4): the flag is left out, and the script trains with its default, 32. Write 'batch_size': choice(['none', 16])"),
        (ARGPARSE, "fused", choice([None, True]), "its default, False. Tune it as choice([True, False])."),
        (CLICK, "layers", choice([None, 2]), "its default, 3."),
        (TYPER, "rate", choice([None, 0.5]), "its default, 0.1."),
        (ABSL, "optimizer", choice([None, "adam"]), "its default, 'sgd'."),
        (ARGPARSE, "batch_size", choice([16, 2.5]), "may be 2.5; tune it with whole numbers"),
        (ARGPARSE, "batch_size", choice([True, False]), "may be False; tune it with whole numbers"),
        (ARGPARSE, "batch_size", 16.0, "may be 16.0"),
        (ARGPARSE, "momentum", choice(["high", "low"]), "--momentum takes numbers"),
        (ARGPARSE, "optimizer", choice(["sgd", "adamw"]), "--optimizer takes one of 'sgd', 'adam' ({}, line 8), but the parameter 'optimizer' may be 'adamw'; leave out"),
        (ARGPARSE, "layers", randint(1, 4), "--layers takes one of 1, 2, 3 ({}, line 6), but the parameter 'layers' may be 4"),
        (ARGPARSE, "heads", choice([1, 2]), "without type=int beside its choices the script refuses every value"),
        (ARGPARSE, "computed", choice(["sgd"]), "--computed takes one of '__name__', "),
        (ARGPARSE, "optimizer", when(choice(["adamw"]), momentum=0.9), "may be 'adamw'"),
        (CLICK, "batch-size", uniform(16, 256), "--batch-size takes whole numbers ({}, line 4)"),
        (CLICK, "layers", uniform(1, 4), "--layers takes whole numbers"),
        (CLICK, "optimizer", choice(["sgd", "adamw"]), "may be 'adamw'"),
        (TYPER, "batch_size", uniform(16, 256), "--batch-size takes whole numbers ({}, line 3)"),
        (TYPERS_ENUM, "optimizer", choice(["sgd", "adamw"]), "--optimizer takes one of 'sgd', 'adam' ({}, line 6)"),
        (HUGGING_FACE, "batch_size", uniform(16, 256), "--batch_size takes whole numbers ({}, line 6)"),
        (ABSL, "batch_size", uniform(16, 256), "--batch_size takes whole numbers ({}, line 3)"),
        (ABSL, "optimizer", choice(["sgd", "adamw"]), "may be 'adamw'"),
    ],
)  # fmt: skip
def test_a_value_that_the_flag_does_not_take_is_refused(
    text: str, name: str, parameter: Any, told: str, tmp_path: Path
) -> None:
    others = {"momentum": choice([0.9, 0.5])} if name != "momentum" and text == ARGPARSE else {}
    said = refusal(script(tmp_path, text), **others, **{name: parameter})
    assert told.format(tmp_path / "train.py") in said


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (ARGPARSE, {"batch_size": pow2(16, 64), "momentum": uniform(0, 1), "layers": randint(1, 3)}),
        (
            ARGPARSE,
            {
                "batch_size": 16,
                "optimizer": choice(["sgd", None]),
                "momentum": choice([None, 1]),
                "clip": choice([None, 1]),
            },
        ),
        (ARGPARSE, {"free": uniform(1, 4), "widths": choice([8.5])}),
        (ARGPARSE.replace("parse_args()", "parse_args(['--layers', '1'])\nimport sys; sys.argv"), {"layers": 9}),
        (CLICK, {"batch-size": choice([None, 2]), "layers": 3, "any-case": "SGD", "optimizer": "adam"}),
        (TYPER, {"batch_size": lograndint(2, 9), "rate": uniform(0, 1)}),
        (TYPER, {"batch_size": 64.0}),  # which typer reads as 64
        (ABSL, {"batch_size": lograndint(2, 9), "optimizer": "adam"}),
    ],
)
def test_a_value_that_the_flag_may_take_is_not_refused(text: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    script(tmp_path, text).check_space(Space(parameters))


def test_a_parser_that_another_file_makes_is_asked_too_where_the_command_has_a_path_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "made.py").write_text(ARGPARSE)
    workload = script(tmp_path, "import argparse  # for types\nimport made\n")
    workload = replace(workload, command=f"env PYTHONPATH={tmp_path / 'own'} {workload.command}")
    assert "--layers takes one of 1, 2, 3" in refusal(workload, layers=randint(1, 4))


def test_a_constraint_may_leave_out_the_values_that_the_script_does_not_take(tmp_path: Path) -> None:
    few = {"few": lambda config: config["layers"] != 4}
    script(tmp_path, ARGPARSE).check_space(Space({"layers": randint(1, 4)}, few))
    with pytest.raises(ValueError, match="may be 2"):
        script(tmp_path, ARGPARSE).check_space(Space({"layers": uniform(1, 4)}, few))


def test_parameters_and_values_in_the_command_are_checked_too(tmp_path: Path) -> None:
    said = refusal(script(tmp_path, ARGPARSE, " --optimizer {kind} --layers={depth}"), kind=choice(["adamw"]), depth=1)
    assert "--optimizer takes one of 'sgd', 'adam'" in said
    assert "the parameter 'kind' may be 'adamw'" in said
    said = refusal(script(tmp_path, ARGPARSE, " --momentum 0.5 --batch-size 2e3"), layers=1)
    assert f"--batch-size takes whole numbers ({tmp_path / 'train.py'}, line 4), not '2e3', which is in" in said
    script(tmp_path, ARGPARSE, " --optimizer x{kind} --layers 1").check_space(Space({"kind": choice(["adamw"])}))


@pytest.mark.parametrize(
    ("command", "settings", "is_told"),
    [
        ("python train.py --clip {clip}", {}, False),
        ("python train.py model.clip={clip}", {}, True),
        ("env CLIP={clip} python train.py", {}, False),
        ("python train.py", {"flag": "model.{name}={value}"}, True),
        ("python train.py", {"flag": "--{name} {value}"}, False),
        ("python train.py {config}", {"config": "yaml"}, True),
        ("python train.py {config}", {"config": "toml"}, False),
        ("python train.py {config} --clip={clip}", {"config": "yaml"}, False),
        ("python logs.py", {}, True),  # wandb.config has it
    ],
)
def test_where_no_word_says_none_the_sweep_warns(
    command: str, settings: dict[str, Any], is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("import sys\nprint('epoch 1: loss=0.5', sys.argv)\n")
    (tmp_path / "logs.py").write_text("import wandb\n")
    workload = Script(command, metric="loss", mode="min", horizon=1, **settings)
    told = " ".join(workload.warnings(Space({"clip": choice([None, 0.5])}), {}, None))
    assert told == "" if is_told else "write 'clip': choice(['none', 0.5]) and let the script" in told
    words = workload.arguments({"clip": None})
    assert [word for word in words if "null" in word] == (
        ["model.clip=null"] if is_told and "model" in repr(workload) else []
    )
    assert workload.warnings(Space({"clip": uniform(0, 1)}), {}, None) == []
