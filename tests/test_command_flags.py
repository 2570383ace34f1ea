"""A wrong flag in the user's own command is refused before the start, where the script's --help is certain."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from search.space import Space, uniform
from tests.scripting import assigned, script, trained
from tests.test_flags import CLICK, TYPER
from trainables.scripts.channels import ScriptFailed
from trainables.workloads.script import Script

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
for name in ("learning-rate", "total-steps", "save-dir"): parser.add_argument("--" + name)
parser.add_argument("--amp", action=argparse.BooleanOptionalAction)
parser.add_argument("--debug", help=argparse.SUPPRESS)
args{unknown} = parser.{parse}()
print("epoch 1: distance=0.5")
"""
STRICT = ARGPARSE.format(unknown="", parse="parse_args")
HUGGING_FACE = """
import os
import sys
from dataclasses import dataclass, field
from transformers import HfArgumentParser
@dataclass
class Arguments:
    learning_rate: float = 0.1
    do_eval: bool = field(default=False, metadata={"help": "x"})
    bf16: bool = True
parser = HfArgumentParser((Arguments,))
if len(sys.argv) == 2 and sys.argv[1].endswith(".json"):
    (args,) = parser.parse_json_file(json_file=os.path.abspath(sys.argv[1]))
else:
    (args,) = parser.parse_args_into_dataclasses(PARSE)
print("epoch 1: distance=0.5", args)
"""
SUBPARSERS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--verbose", action="store_true")
commands = parser.add_subparsers(required=True{metavar})
train = commands.add_parser("train")
train.add_argument("--learning-rate", type=float)
commands.add_parser("evaluate").add_argument("--model-dir")
print("epoch 1: distance=0.5", parser.parse_args())
"""
GROUP = """
import click
@click.group()
@click.option("--verbose/--quiet", default=True)
def cli(verbose): pass
@cli.command()
@click.option("--learning-rate", type=float)
def train(learning_rate): print("epoch 1: distance=0.5", learning_rate)
@cli.command()
@click.option("--model-dir")
def evaluate(model_dir): pass
cli()
"""
APP = """
import typer
app = typer.Typer()
@app.callback()
def common(verbose: bool = False): pass
@app.command()
def train(learning_rate: float = 0.1): print("epoch 1: distance=0.5", learning_rate)
@app.command()
def evaluate(model_dir: str = ""): pass
app()
"""
WITH_COMMANDS = [SUBPARSERS.format(metavar=""), SUBPARSERS.format(metavar=', metavar="COMMAND"'), GROUP, APP]
LIGHTNING = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
class Model(LightningModule):
    def __init__(self, lr: float = 0.1): super().__init__()
LightningCLI(Model, LightningDataModule{more})
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))


def described(folder: Path, text: str, words: str, **more: str) -> Script:
    (folder / "train.py").write_text(text)
    command = f"env {sys.executable} {folder / 'train.py'} {words}"  # a launcher before it
    return Script(command, metric="distance", mode="min", horizon=6, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words", "more", "told"),
    [
        (STRICT, "--total_step 100", {}, "--total_step is in the command, and the script has no such flag; it has --total-steps: write"),
        (STRICT, "--savedir={{folder}}", {}, "it has --save-dir: write --save-dir"),
        (STRICT, "--momentum 0.9", {}, "it has --amp, --learning-rate, --no-amp, --save-dir, --total-steps"),
        (STRICT, "", {"resume": "--resume {folder}/last.pt"}, "--resume is in the command"),
        (STRICT + "import re\nprint(re.match('(a)', 'a').group(1))\n", "--momentum 0.9", {}, "--momentum is in the command"),
        (CLICK, "--batch_size 3", {}, "it has --batch-size: write --batch-size"),
        (TYPER, "--batchsize 3", {}, "it has --batch-size: write --batch-size"),
        (HUGGING_FACE.replace("PARSE", ""), "--do_evla", {}, "--do_evla is in the command.* it has --do_eval: write --do_eval"),
    ],
)  # fmt: skip
def test_a_flag_of_the_command_that_the_script_lacks_is_refused(
    text: str, words: str, more: dict[str, str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        described(tmp_path, text, words.replace("{{", "{").replace("}}", "}"), **more).check()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (STRICT, "--total-steps 100 --save-dir=a --no-amp --total 3 --debug 1 -5 --learning-rate {learning_rate}"),
        (ARGPARSE.format(unknown=", _", parse="parse_known_args"), "--total_step 100"),
        (SUBPARSERS.format(metavar=""), "--verbose train --learning-rate 3"),
        (GROUP, "--quiet train --learning-rate 3"),
        (CLICK, "--no-amp -b 3"),
        (
            HUGGING_FACE.replace("PARSE", ""),
            "--do_eval --learning_rate 0.1 --no_bf16 --learning-rate 1 --do_e True --bf16=1",
        ),
        (HUGGING_FACE.replace("PARSE", "return_remaining_strings=True"), "--do_evla"),
        ("print('no parser')", "--total_step 100"),
    ],
)
def test_a_flag_that_the_script_may_take_is_not_refused(text: str, words: str, tmp_path: Path) -> None:
    described(tmp_path, text, words).check()


@pytest.mark.parametrize("before", ["", "--verbose "])
@pytest.mark.parametrize("text", WITH_COMMANDS)
def test_a_subcommand_is_asked_for_its_own_flags(text: str, before: str, tmp_path: Path) -> None:
    workload = described(tmp_path, text, f"{before}train")
    workload.check()
    workload.check_space(Space({"learning_rate": uniform(0, 1)}))
    if before and "COMMAND" in text:  # nobody knows which of the words is one
        return
    assert workload.arguments({"learning_rate": 0.5})[-1] == "--learning-rate=0.5"
    with pytest.raises(ValueError, match="has no flag --lr; it has --learning-rate"):
        workload.check_space(Space({"lr": uniform(0, 1)}))
    with pytest.raises(ValueError, match=r"--learningrate is in the command.* write --learning-rate"):
        described(tmp_path, text, f"{before}train --learningrate 3").check()


@pytest.mark.parametrize("text", [SUBPARSERS.format(metavar=""), GROUP, APP])
def test_a_mistyped_subcommand_is_refused_with_the_nearest(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the script has no command 'trian'\. Did you mean 'train'\?"):
        described(tmp_path, text, "trian --learning-rate 3").check()


def test_a_subcommand_of_lightnings_command_line_is_asked_for_its_own_flags(tmp_path: Path) -> None:
    pytest.importorskip("jsonargparse")
    workload = described(tmp_path, LIGHTNING.format(more=""), "fit")
    workload.check()
    workload.check_space(Space({"model.lr": uniform(0, 1)}))
    with pytest.raises(ValueError, match=r"has no flag --lr; it has --model\.lr"):
        workload.check_space(Space({"lr": uniform(0, 1)}))
    any_model = described(tmp_path, LIGHTNING.format(more=", subclass_mode_model=True"), "fit --model Model")
    any_model.check_space(Space({"model.lr": uniform(0, 1), "model.init_args.lr": uniform(0, 1)}))


@pytest.mark.parametrize(
    ("words", "flag", "told"),
    [(" --total_step 100", "", "write it in the command"), ("", "--total_step=3", "name the parameter 'total-steps'")],
)
def test_the_error_of_a_run_says_where_the_wrong_flag_stands(words: str, flag: str, told: str, tmp_path: Path) -> None:
    workload = script(tmp_path, STRICT, flag=flag or "--{name}={value}")
    workload = Script(workload.command + words, metric="distance", mode="min", horizon=6, flag=workload.flag)
    with pytest.raises(ScriptFailed, match=f"--total_step.* The script has --total-steps: {told}"):
        trained(workload, assigned(tmp_path, config={"learning-rate": 0.1}))
