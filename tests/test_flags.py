"""From a configuration to the command line: names, switches, lists, placeholders, files; and what is refused before the start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from orchestrator.definition.checks import on_this_machine
from orchestrator.errors import BadInput
from search.space import Space, choice, loguniform, randint, uniform, when
from search.work import Assignment
from tests.support import small_sweep
from trainables.carry_out import carry_out
from trainables.scripts import asking, config_file
from trainables.scripts.flags import Flag, command_words, nearest
from trainables.scripts.help_text import flags_of
from trainables.workloads.script import Script

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="input batch size (default: 32)")
parser.add_argument("-w", "--weight_decay", type=float, default=0.0)
parser.add_argument("-b", type=float, default=0.0)
parser.add_argument("--learning-rate", type=float, required=True)
parser.add_argument("--nesterov", action="store_true", help="a switch")
parser.add_argument("--amp", action=argparse.BooleanOptionalAction, default=False)
parser.add_argument("--no-cuda", action="store_true")
parser.add_argument("--cache", type=str, default="no")
parser.add_argument("--widths", type=int, nargs="+", help="a list")
parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
args = parser.parse_args()
print("epoch 1:", "loss=0.5", vars(args))
"""
CLICK = """
import click
@click.command()
@click.option("--learning-rate", type=float, default=0.1, help="How fast.", show_default=True)
@click.option("--batch-size", "-b", type=int, default=32)
@click.option("--nesterov", is_flag=True)
@click.option("--amp/--no-amp", default=False, help="Mixed precision.")
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]))
def main(**options): print("epoch 1: loss=0.5", options)
main()
"""
TYPER = """
import typer
def main(learning_rate: float, batch_size: int = 32, nesterov: bool = False, optimizer: str = "sgd"):
    print("epoch 1: loss=0.5")
def entry(learning_rate: float = typer.Option(0.1), batch_size: int = 32, nesterov: bool = False, optimizer: str = "sgd"):
    print("epoch 1: loss=0.5", {"learning_rate": learning_rate, "batch_size": batch_size, "nesterov": nesterov})
typer.run(entry)
"""
HUGGING_FACE = """
from dataclasses import dataclass
from transformers import HfArgumentParser
@dataclass
class Arguments:
    learning_rate: float = 0.1
    batch_size: int = 32
    nesterov: bool = False
    optimizer: str = "sgd"
print("epoch 1: loss=0.5", HfArgumentParser(Arguments).parse_args_into_dataclasses()[0])
"""


def script(folder: Path, text: str, extra: str = "", **more: Any) -> Script:
    (folder / "train.py").write_text(text)
    return Script(f"{sys.executable} {folder / 'train.py'}{extra}", metric="loss", mode="min", horizon=1, **more)


def run(workload: Script, config: Mapping[str, Any], folder: Path) -> str:
    list(carry_out(workload, None, Assignment(0, config, 7, until=1, folder=folder / "trial" / "checkpoints")))
    return (folder / "trial" / "log.txt").read_text()


@pytest.fixture(autouse=True)
def _keep_what_was_asked_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))


CONFIG = {"learning_rate": 0.5, "batch_size": 64, "nesterov": True, "optimizer": "adam"}


@pytest.mark.parametrize(
    "text", [ARGPARSE, CLICK, TYPER, HUGGING_FACE], ids=["argparse", "click", "typer", "HfArgumentParser"]
)
def test_a_parameter_finds_the_flag_that_the_script_has(text: str, tmp_path: Path) -> None:
    workload = script(tmp_path, text)
    workload.check_space(
        Space({"learning_rate": loguniform(0.1, 1), "batch_size": randint(1, 64), "nesterov": choice([True, False])})
    )
    said = run(workload, CONFIG if text != TYPER else {k: v for k, v in CONFIG.items() if k != "optimizer"}, tmp_path)
    assert "0.5" in said.splitlines()[-1]
    assert "64" in said.splitlines()[-1]
    assert "True" in said.splitlines()[-1]


def test_a_script_that_cannot_be_imported_here_is_doubted_and_not_refused(tmp_path: Path) -> None:
    missing = script(tmp_path, "import argparse\nimport a_module_that_is_not_there\n")
    doubt = missing.doubt()
    assert "cannot be asked for its flags: ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in doubt
    assert f"Install 'a_module_that_is_not_there' there, as with {sys.executable} -m pip install" in doubt
    missing.check_space(Space({"learning_rate": loguniform(0.1, 1)}))  # the machine that trains may have it
    assert script(tmp_path, ARGPARSE).doubt() == ""
    trains = f"open({str(tmp_path / 'trained')!r}, 'w')\nimport a_module_that_is_not_there\n"
    assert script(tmp_path, trains).doubt() == "", "what may not know --help is not started"
    assert not (tmp_path / "trained").exists()


IMPORTED = (
    "import argparse\n{imports}\nparser = argparse.ArgumentParser()\noptions.add_to(parser)\nparser.parse_args()\n"
)
ADDS = "def add_to(parser):\n    for name in {names}: parser.add_argument(f'--{{name}}', type=float)\n"


@pytest.mark.parametrize(
    ("imports", "place", "is_seen"),
    [
        ("import options", "options.py", True),
        ("from pkg import (\n    options,\n)", "pkg/options.py", True),
        ("import pkg.all as options", "pkg/inner/options.py", True),
        ("from importlib import import_module\noptions = import_module('options')", "options.py", False),
        ("import sys\nsys.path.insert(0, 'a/library')\nimport options", "a/library/options.py", True),
    ],
)
def test_a_flag_that_an_imported_file_adds_later_is_known(
    imports: str, place: str, is_seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asking, "RECENT", 0.0)
    options = tmp_path / place
    options.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "pkg" / "inner").mkdir(parents=True, exist_ok=True)
    (tmp_path / "pkg" / "all.py").write_text("from .inner.options import *\n")
    options.write_text(ADDS.format(names=["lr"]))
    workload, space = script(tmp_path, IMPORTED.format(imports=imports)), Space({"dropout": uniform(0, 0.5)})
    with pytest.raises(ValueError, match="has no flag --dropout; it has --lr"):
        workload.check_space(space)
    options.write_text(ADDS.format(names=["lr", "dropout"]))
    assert ("dropout" in workload.known_flags()) is is_seen
    workload.check_space(space)
    assert "dropout" in workload.known_flags()


def test_another_program_of_the_name_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, ARGPARSE)
    for folder, flag in (("one", "lr"), ("two", "dropout")):
        program = tmp_path / folder / "trainer"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '  --{flag} NUMBER'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        workload = Script(f"trainer {tmp_path / 'train.py'}", metric="loss", mode="min", horizon=1)
        assert set(workload.known_flags()) == {flag}


def test_a_refusal_asks_only_once(tmp_path: Path) -> None:
    count = tmp_path / "asked.txt"
    workload = script(tmp_path, f"open({str(count)!r}, 'a').write('once ')\n" + ARGPARSE)
    for _ in range(2):
        with pytest.raises(ValueError, match="has no flag --weight"):
            workload.check_space(Space({"weight": uniform(0, 1)}))
    assert count.read_text() == "once "


def test_flags_may_be_of_any_alphabet(tmp_path: Path) -> None:
    text = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--学習率', type=float)\n{end}\n"
    workload = script(tmp_path, text.format(end="print('epoch 1: loss=0.5', vars(parser.parse_args()))"))
    workload.check_space(Space({"学習率": uniform(0, 1)}))
    assert "{'学習率': 0.5}" in run(workload, {"学習率": 0.5}, tmp_path)
    with pytest.raises(ValueError, match=r"has no flag --学習; it has --学習率"):
        workload.check_space(Space({"学習": uniform(0, 1)}))
    with pytest.raises(ValueError, match=r"--学習量 is in the command.*write --学習率"):
        script(tmp_path, text.format(end="parser.parse_args()").replace("float", "str"), " --学習量=1").check()


def test_absls_flags_are_read_from_its_help() -> None:
    known = flags_of(
        "\nt.py:\n  --[no]amp: mixed\n    (default: 'true')\n  --batch_size: Batch\n    (default: '32')\n    (an integer)\n"
    )
    assert known == {"amp": Flag("amp", takes_value=False, off="noamp"), "batch_size": Flag("batch_size")}


OPPOSITES = {
    "argparse, another word": """import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--optim.nesterov", dest="on", action="store_true", default=True)
parser.add_argument("--plain", dest="on", action="store_false")
print("epoch 1: loss=0.5", parser.parse_args().on)""",
    "argparse": """import argparse
parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
parser.add_argument("--optim.nesterov", action=argparse.BooleanOptionalAction, default=True, help="use it")
nesterov = vars(parser.parse_args())["optim.nesterov"]
print("epoch 1: loss=0.5", nesterov)""",
    "click": """import click
@click.command()
@click.option("--optim.nesterov/--plain", "nesterov", default=True)
def main(nesterov): print("epoch 1: loss=0.5", nesterov)
main()""",
    "click, with short names": """import click
@click.command()
@click.option("-n/-p", "--optim.nesterov/--plain", "nesterov", default=True, show_default=True)
def main(nesterov): print("epoch 1: loss=0.5", nesterov)
main()""",
    "typer": """import typer
def main(nesterov: bool = typer.Option(True, "--optim.nesterov/--optim.no-nesterov")): print("epoch 1: loss=0.5", nesterov)
typer.run(main)""",
    "typer, another word": """import typer
def main(nesterov: bool = typer.Option(True, "--optim.nesterov/--plain", "-n/-p")): print("epoch 1: loss=0.5", nesterov)
typer.run(main)""",
}


@pytest.mark.parametrize("library", OPPOSITES)
def test_a_switch_that_is_on_by_default_is_turned_off_by_its_opposite(library: str, tmp_path: Path) -> None:
    workload = script(tmp_path, OPPOSITES[library])
    workload.check_space(Space({"optim.nesterov": choice([True, False])}))
    for value in (True, False):
        assert run(workload, {"optim.nesterov": value}, tmp_path / str(value)).split()[-1] == str(value)
    if "plain" in OPPOSITES[library]:
        assert run(workload, {"plain": False}, tmp_path / "plain").split()[-1] == "True"


ALWAYS_ON = {
    "parser.add_argument('--nesterov', action='store_true', default=True)": "let the script take --no-nesterov",
    "parser.add_argument('--nesterov', action='store_true')\nparser.set_defaults(nesterov=True)": "let the script take",
    "parser.add_argument('--nesterov', action='store_true', default=bool(1), help='x' * 90)": "let the script take",
}


@pytest.mark.parametrize("declared", ALWAYS_ON)
def test_a_switch_that_nothing_turns_off_is_refused(declared: str, tmp_path: Path) -> None:
    parser = "argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)"
    workload = script(
        tmp_path, f"import argparse\nparser = {parser}\n{declared}\nprint('epoch 1: loss=0.5', parser.parse_args())"
    )
    with pytest.raises(ValueError, match=r"--nesterov is on .* for nesterov=False, too; " + ALWAYS_ON[declared]):
        workload.check_space(Space({"nesterov": choice([True, False])}))
    workload.check_space(Space({"nesterov": choice([True])}))


def test_a_parser_in_a_file_that_the_script_imports_is_read_too(tmp_path: Path) -> None:
    """Its `--no-norm` is on by default in the help, as it stores False; what parse_known_args leaves is no mistake."""
    parser = "argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)"
    (tmp_path / "options.py").write_text(
        f"import argparse\nparser = {parser}\n"
        "parser.add_argument('--no-norm', dest='norm', action='store_false', help='plain')\n"
        "parser.add_argument('--amp', action='store_true', default=bool(1), help='mixed')\n"
        "options, others = parser.parse_known_args()\n"
    )
    workload = script(
        tmp_path, "import argparse  # for types\nfrom options import options\nprint('epoch 1: loss=0.5', options)"
    )
    workload.check_space(Space({"no_norm": choice([True, False])}))
    with pytest.raises(ValueError, match="--amp is on"):
        workload.check_space(Space({"amp": choice([True, False])}))
    script(tmp_path, (tmp_path / "train.py").read_text(), " --of-another=1").check()


def test_tyros_switches_have_their_opposites() -> None:
    known = flags_of(
        "│ --optim.nesterov, --optim.no-nesterov             │\n│                        (default: True)            │\n"
    )
    assert known["optim.nesterov"] == Flag("optim.nesterov", takes_value=False, off="optim.no-nesterov", is_on=True)


def test_a_switch_that_turns_something_off_may_be_left_out(tmp_path: Path) -> None:
    parser = "argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)"
    declared = "parser.add_argument('--no-norm', dest='norm', action='store_false', help='plain')"
    workload = script(
        tmp_path, f"import argparse\nparser = {parser}\n{declared}\nprint('epoch 1: loss=0.5', parser.parse_args())"
    )
    workload.check_space(Space({"no_norm": choice([True, False])}))
    assert "norm=True" in run(workload, {"no_norm": False}, tmp_path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"nesterov": True}, ["--nesterov"]),
        ({"nesterov": False}, []),
        ({"amp": True}, ["--amp"]),
        ({"amp": False}, ["--no-amp"]),
        ({"cuda": True}, []),
        ({"cuda": False}, ["--no-cuda"]),
        ({"cache": True}, ["--cache=True"]),
        ({"widths": [8, 16]}, ["--widths", "8", "16"]),
        ({"batch_size": 3}, ["--batch-size=3"]),
        ({"weight-decay": 0.1}, ["--weight_decay=0.1"]),
        ({"b": 0.1}, ["-b", "0.1"]),
        ({"optimizer": None}, []),
        ({"learning_rate": -0.5}, ["--learning-rate=-0.5"]),
    ],
)  # fmt: skip
def test_switches_lists_and_nothing_are_said_as_the_script_wants_them(
    config: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    workload = script(tmp_path, ARGPARSE)
    assert workload.arguments(config)[2:] == words


def test_a_script_that_cannot_be_asked_is_given_name_and_value(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("echo epoch 1: loss=$1\n")
    workload = Script(f"bash {tmp_path / 'train.sh'}", metric="loss", mode="min", horizon=1)
    workload.check_space(Space({"anything": uniform(0, 1)}))
    assert workload.arguments({"anything": 1})[2:] == ["--anything=1"]


BY_VARIABLES = '#!/usr/bin/env bash\n# usage: WD=0 train.sh OUT "$@"\nOUT=${1:-out}\npython train.py --wd "${WD:-0}" --out "$OUT"\n'


@pytest.mark.parametrize(
    ("text", "command", "told"),
    [
        (BY_VARIABLES, "bash train.sh {folder}", r"'WD' would be lost, as train.sh reads no word .* write 'env WD=\{WD\} bash train.sh \{folder\}'"),
        (BY_VARIABLES, "env A=1 ./train.sh {folder}", r"write 'env WD=\{WD\} A=1 ./train.sh \{folder\}'"),
        (BY_VARIABLES, "bash -eu train.sh {folder} more", "'WD' would be lost"),
        ("#!/bin/bash\nset -e\nsource .venv/bin/activate\npython train.py\n", "bash train.sh", "'WD' would be lost, as train.sh reads no word"),
        ('. "$(conda info --base)/etc/profile.d/conda.sh"\nconda activate ml\npython train.py', "bash train.sh", "'WD' would be lost"),
        ('source $(conda info --base)/etc/profile.d/conda.sh\n. "$HOME"/ml/bin/activate\npython train.py', "bash train.sh", "'WD' would be lost"),
        ("source `conda info --base`/bin/activate ml && python train.py", "bash train.sh", "'WD' would be lost"),
        ("set -a; . ./.env; set +a\n. ~/.bashrc && . /etc/profile\npython train.py", "bash train.sh", "'WD' would be lost"),
        ('log() {\n  echo "$@"\n}\nfunction run { "$@"; }\nlog start\nrun python train.py', "bash train.sh", "'WD' would be lost"),
        ("python train.py --shift 3 ${#NAMES[@]} &\nwait $!", "bash train.sh", "'WD' would be lost"),
        (". ./colours\npython train.py", "bash train.sh", "'WD' would be lost"),
        ("", "bash -c 'source .venv/bin/activate && python train.py'", r"Write \{WD\} where it belongs in the quotes"),
        ("", "sh -c 'python train.py --lr 0.1'", r"'WD' would be lost, as sh -c reads no word behind it. Write \{WD\} where it belongs in the quotes"),
        ("", "srun /bin/bash -e -c 'python train.py'", "as /bin/bash -c reads no word"),
        ("", """sh -c 'python train.py "$@"'""", "sh -c takes the first word behind it for its own name. .*: sh -c '…' sh"),
    ],
)  # fmt: skip
def test_a_parameter_that_a_shell_script_would_not_read_is_refused(
    text: str, command: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.sh").write_text(text)
    Path("colours").write_text("RED=31\n")
    workload = Script(command, metric="loss", mode="min", horizon=1)
    with pytest.raises(ValueError, match=told):
        workload.check_space(Space({"WD": uniform(0, 1)}))
    Script(f"env WD={{WD}} {command.removeprefix('env ')}", metric="loss", mode="min", horizon=1).check_space(
        Space({"WD": uniform(0, 1)})
    )


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('python train.py "$@"', "bash train.sh"),
        ("python train.py $*", "bash train.sh {folder}"),
        ("while getopts w: name; do WD=$OPTARG; done", "bash train.sh"),
        ("OUT=$1; shift", "bash train.sh {folder}"),
        ("OUT=$1 WD=$2", "bash train.sh {folder}"),
        ("WD=${1#--WD=}", "bash train.sh"),
        ("for word; do echo $word; done", "bash train.sh"),
        (". ./settings.sh", "bash train.sh"),
        ("source .venv/bin/activate; . ./given\npython train.py", "bash train.sh"),
        ('main() {\n  python train.py "$@"\n}\nmain "$@"', "bash train.sh"),
        ('log() { echo "$1"; } >&2\npython train.py "$@"\nclean() {\n  rm x\n}', "bash train.sh"),
        ('log() { echo "$1"; }; python train.py "$@"\nclean() {\n  rm x\n}', "bash train.sh"),
        ('log() { echo "$1"; }  # a line\r\npython train.py "$@"\r\nclean() {\r\n  rm x\r\n}\r\n', "bash train.sh"),
        ('start() {\n  if true; then {\n    echo start\n  }; fi\n}\npython train.py "$@"', "bash train.sh"),
        ("", """sh -c 'python train.py "$@"' sh"""),
        ("", """sh -c 'python train.py "$0" "$@"'"""),
        ("", "python train.py --launcher train.sh"),
    ],
)
def test_a_shell_script_that_may_read_its_words_is_not_refused(
    text: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.sh").write_text(text)
    Path("given").write_text('WD="$1"\n')
    Path("train.py").write_text("print('epoch 1: loss=1')")
    Script(command, metric="loss", mode="min", horizon=1).check_space(Space({"WD": uniform(0, 1)}))


def test_a_script_is_asked_once(tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    text = f"open({str(asked)!r}, 'a').write('x')\n" + ARGPARSE
    for _ in range(3):
        script(tmp_path, text).arguments({"batch_size": 3})
    assert asked.read_text() == "x"
    assert len(list((tmp_path / "cache" / "flags").glob("*.txt"))) == 1


def test_a_script_without_readable_flags_is_asked_once_too(tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    text = f"import argparse\nopen({str(asked)!r}, 'a').write('x')\nimport a_module_that_is_not_there\n"
    for _ in range(2):
        workload = script(tmp_path, text)
        workload.check_space(Space({"batch_size": randint(1, 64)}))
        assert "a_module_that_is_not_there" in workload.doubt()
    assert asked.read_text() == "x"


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"lr": uniform(0, 1)}, "has no flag --lr; it has --learning-rate: name the parameter 'learning_rate'"),
        ({"lr": uniform(0, 1), "learning_rate": uniform(0, 1)}, "no flag --lr; its --learning-rate is the parameter 'learning_rate' already: leave 'lr' out"),
        ({"learning_rate": uniform(0, 1), "learning-rate": uniform(0, 1)}, "'learning_rate' and 'learning-rate' are both its flag --learning-rate; leave one out"),
        ({"batchsise": uniform(0, 1)}, "has no flag --batchsise; it has --batch-size"),
        ({"zzz": uniform(0, 1)}, "has no flag --zzz; it has --amp, --b, --batch-size"),
        ({"nesterov": uniform(0, 1)}, r"--nesterov is a switch and takes no value, but 'nesterov' is .*; tune it as choice\(\[True, False\]\)"),
    ],
)  # fmt: skip
def test_a_parameter_without_a_flag_is_refused_with_the_right_one(
    space: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        script(tmp_path, ARGPARSE).check_space(Space(space))


def test_the_nearest_flag_knows_the_usual_short_forms() -> None:
    known = {name: Flag(name) for name in ("lr", "bs", "num-epochs")}
    assert nearest("learning_rate", known) == "lr"
    assert nearest("batch_size", known) == "bs"
    assert nearest("epochs", known) == "num-epochs"
    assert nearest("colour", known) is None


def test_a_value_takes_the_place_that_the_command_names() -> None:
    command = "python a.py --lr {lr:.3f} -n 3 --json={{1}}"
    words = command_words(command, {"lr": 0.1, "wide": True})
    assert words == ["python", "a.py", "--lr", "0.100", "-n", "3", "--json={1}", "--wide=True"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("a --momentum {momentum} -v", ["a", "-v"]),
        ("a --momentum={momentum} -v", ["a", "-v"]),
        ("a optimizer.momentum={momentum}", ["a"]),
        ("a -m {momentum} b", ["a", "b"]),
        ("a 'with {momentum} and more'", ["a"]),
    ],
)
def test_the_place_of_a_parameter_that_is_not_active_is_left_out_with_its_flag(command: str, words: list[str]) -> None:
    assert command_words(command, {}) == words


def test_a_conditional_parameter_may_have_a_place_and_an_unknown_one_may_not() -> None:
    workload = Script("python -c pass --momentum {momentum} --lr {lr}", metric="loss", mode="min", horizon=1)
    workload.check_space(
        Space({"o": choice(["sgd", "adam"]), "momentum": when(uniform(0, 1), o="sgd"), "lr": uniform(0, 1)})
    )
    with pytest.raises(ValueError, match=r"\{lr\} is no parameter; the space has momentum"):
        workload.check_space(Space({"momentum": uniform(0, 1)}))


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("{name}={value}", ["lr=0.1", "model.width=8"]),
        ("+{name}={value}", ["+lr=0.1", "+model.width=8"]),
        ("--config.{name}={value}", ["--config.lr=0.1", "--config.model.width=8"]),  # ml_collections
        ("{name} {value}", ["lr", "0.1", "model.width", "8"]),  # yacs
    ],
)
def test_parameters_reach_the_script_as_its_own_words(flag: str, words: list[str]) -> None:
    workload = Script("python train.py", metric="loss", mode="min", horizon=1, flag=flag)
    assert workload.arguments({"lr": 0.1, "model.width": 8})[2:] == words


READS = """
import sys
path = sys.argv[sys.argv.index("--config") + 1]
print("epoch 1: loss=0.5", sys.argv)
print(open(path).read())
"""


@pytest.mark.parametrize("kind", ["json", "yaml", "toml"])
@pytest.mark.parametrize("based", [False, True], ids=["alone", "on top of a file"])
def test_parameters_come_in_a_file(kind: str, based: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = {
        "json": '{"seed": 3, "width": 1, "optimizer": {"name": "sgd", "lr": 9}}',
        "yaml": "seed: 3  # a comment\nwidth: 1\noptimizer:\n  name: sgd\n  lr: 9\n",
        "toml": 'seed = 3\nwidth = 1\n[optimizer]\nname = "sgd"\nlr = 9\n',
    }[kind]
    (tmp_path / f"base.{kind}").write_text(base)
    workload = script(tmp_path, READS, " --config {config}", config=f"base.{kind}" if based else kind)
    workload.check()
    workload.check_space(Space({"optimizer.lr": loguniform(1e-6, 1), "width": randint(1, 9)}))
    said = run(workload, {"optimizer.lr": 1e-05, "width": 8, "amp": True, "kind": 'a "b"'}, tmp_path)
    assert "--width" not in said
    found = config_file.read(tmp_path / "trial" / f"config.{kind}")  # beside log.txt
    optimizer = {"name": "sgd", "lr": 1e-05} if based else {"lr": 1e-05}
    assert found == {**({"seed": 3} if based else {}), "optimizer": optimizer, "width": 8, "amp": True, "kind": 'a "b"'}


WORDS = [
    "on", "Off", "no", "YES", "y", "true", "null", "~", "", "=", "<<", "12:30", "1:20:30.5", "017", "0o17", "0b1", "1_000",
    "1e5", "1e-05", ".5", "+.5_0", ".inf", "-.INF", "2020-01-01", "plain", "adam w", "a: b", "a # b", "😀",
]  # fmt: skip


def test_pyyaml_reads_every_word_as_it_was_proposed(tmp_path: Path) -> None:
    pyyaml, path = pytest.importorskip("yaml"), tmp_path / "c.yaml"
    values = {"words": WORDS, "on": 1, **{f"word_{place}": word for place, word in enumerate(WORDS)}}
    config_file.write(path, "yaml", values)
    assert pyyaml.safe_load(path.read_text()) == values
    assert config_file.read(path) == values


def test_the_words_of_the_users_yaml_keep_their_meaning(tmp_path: Path) -> None:
    pyyaml, base = pytest.importorskip("yaml"), tmp_path / "base.yaml"
    base.write_text("amp: no\ncity: 'no'\nstart: 12:30\non: [off, 'off']\noptim: {lr: 1, nesterov: yes}\n")
    config_file.write(tmp_path / "c.yaml", str(base), {"optim.lr": 2, "new": "no"})
    found = pyyaml.safe_load((tmp_path / "c.yaml").read_text())
    assert found == pyyaml.safe_load(base.read_text()) | {"optim": {"lr": 2, "nesterov": True}, "new": "no"}


@pytest.mark.parametrize("kind", ["json", "yaml", "toml"])
def test_any_text_can_be_written_and_read(kind: str, tmp_path: Path) -> None:
    if kind == "toml" and sys.version_info < (3, 11):
        pytest.skip("this Python reads no TOML")
    values = {"name": "😀", "名前😀": "損失", "signs": '\x7f\t"\\', "lists": ["é😀"]}
    config_file.write(tmp_path / f"c.{kind}", kind, values)
    assert config_file.read(tmp_path / f"c.{kind}") == values


def test_a_small_number_in_yaml_is_a_number_for_every_reader(tmp_path: Path) -> None:
    config_file.write(tmp_path / "c.yaml", "yaml", {"lr": 1e-05})
    assert "." in (tmp_path / "c.yaml").read_text()  # YAML 1.1 takes 1e-05 for a text, and 1.0e-05 for a number
    assert YAML(typ="safe").load(tmp_path / "c.yaml") == {"lr": 1e-05}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"config": "ini"}, "must be 'json', 'yaml', 'toml', or a file"),
        ({"config": "json"}, r"the command must say where the file goes; write 'python train.py --config \{config\}'"),
        ({"metric": " "}, "must be the name that the script prints"),
        ({"command": " "}, "must be a command"),
        ({"command": ["python", "train.py"]}, "must be one string, such as 'python train.py'"),
        ({"command": "python train.py --note 'a"}, "no closing quotation"),
        ({"command": "cd code && python train.py"}, "no shell runs the command, so 'cd' would get the word '&&'"),
        ({"command": "source .venv/bin/activate && python train.py"}, "Write bash -c '…' around the command"),
        ({"command": ". .venv/bin/activate && python train.py"}, "Write sh -c '…' around the command"),
        ({"command": "python train.py | tee log"}, "'python' would get the word '|'".replace("|", r"\|")),
        ({"command": "python train.py 2>&1"}, "'python' would get the word '2>&1'"),
        ({"command": "python train.py >log.txt"}, "'python' would get the word '>log.txt'"),
        ({"command": "python train.py &> 'my log'"}, "'python' would get the word '&>'"),
        ({"command": "python train.py --note='a > b' ; date"}, "'python' would get the word ';'"),
        ({"command": "nohup python train.py &"}, "'nohup' would get the word '&'"),
        ({"command": "LR={lr} python train.py"}, r"Write 'env LR=\{lr\} python train.py'"),
    ],
)
def test_a_script_that_cannot_work_is_refused_when_it_is_described(more: dict[str, Any], words: str) -> None:
    fields = {"command": "python train.py", "metric": "loss", "mode": "min", "horizon": 1}
    with pytest.raises(ValueError, match=words):
        Script(**(fields | more))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train --lr={optim.lr} --width {width}", ["--lr=0.125", "--width", "8"]),
        ("train --lr {optim.lr:.1e} x{width:03d}", ["--lr", "1.2e-01", "x008"]),
        ("train {betas[0]} {model.sizes[1]} {{width}}", ["0.9", "5", "{width}"]),
        ("train --rate {optim.dropout} {width}", ["8"]),  # inactive
    ],
)
def test_a_placeholder_may_have_dots_and_a_format(command: str, words: list[str]) -> None:
    config = {"optim.lr": 0.125, "width": 8, "betas": (0.9, 0.99), "model.sizes": [3, 5], "optim.dropout": None}
    assert command_words(command, config, flag="")[1:] == words


def test_a_parameter_with_a_dot_has_its_place_in_the_command(tmp_path: Path) -> None:
    workload = script(tmp_path, "", " --lr={optim.lr} {lr:.1f}")
    workload.check_space(Space({"optim.lr": uniform(0, 1), "lr": uniform(0, 1)}))
    with pytest.raises(ValueError, match=r"\{optim\.lr\} is no parameter; the space has lr, optim"):
        workload.check_space(Space({"optim": uniform(0, 1), "lr": uniform(0, 1)}))


@pytest.mark.parametrize("flag", ["{name}={value}", "--set {name} {value}"])
def test_an_inactive_parameter_is_left_out_of_every_kind_of_flag(flag: str) -> None:
    words = command_words("train {dropout}", {"lr": 0.1}, flag=flag)
    assert words == ["train", *flag.format(name="lr", value=0.1).split()]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("--note='loss > 0.5'", "--note=loss > 0.5"),
        ("model.name='a && b'", "model.name=a && b"),
        ('--note "it\'s > 3 | 4"', "it's > 3 | 4"),
        (r'--note="a \" > b"', '--note=a " > b'),
        (r"--end \;", ";"),
        ("--sign '&&'", "&&"),
        ("--url=http://x?a=1&b=2", "--url=http://x?a=1&b=2"),
    ],
)
def test_signs_of_a_shell_may_stand_in_quotes(words: str, value: str) -> None:
    assert Script(f"python train.py {words}", metric="loss", mode="min", horizon=1).arguments({})[-1] == value


def test_a_python_file_as_the_value_of_a_flag_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workload = script(tmp_path, "", " --config=config.py", flag="--config.{name}={value}")
    with pytest.raises(ValueError, match=r"no file 'config\.py'"):
        workload.check()
    (tmp_path / "config.py").touch()
    workload.check()


def test_what_is_not_there_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    fields: dict[str, Any] = {"metric": "loss", "mode": "min", "horizon": 1}
    for command, more, words in [
        (f"{sys.executable} missing.py", {}, r"no file 'missing\.py'"),
        ("no-such-program", {}, "no program 'no-such-program' on the PATH"),
        (
            "./runn.sh",
            {},
            r"^there is no program '\./runn\.sh' in \S+\. Give its full path, or start in the folder of the script\.$",
        ),
        ("/no/runn.sh", {}, r"^there is no program '/no/runn\.sh' in \S+\. Give its full path\.$"),
        ("./run.sh", {}, r"'\./run\.sh' exists but is not executable: chmod \+x \./run\.sh"),
        ("sh run.sh {config}", {"config": "base.yaml"}, r"config='base\.yaml'\): there is no such file"),
    ]:
        with pytest.raises(ValueError, match=words):
            Script(command, **fields, **more).check()
    (tmp_path / "run.sh").chmod(0o755)
    with pytest.raises(ValueError, match=r"no program '\./runn\.sh' in \S+\. Did you mean '\./run\.sh'\?"):
        Script("./runn.sh", **fields).check()
    (tmp_path / "base.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="contains no mapping"):
        Script("sh run.sh {config}", **fields, config="base.json").check()


@pytest.mark.parametrize(
    ("name", "first", "executable", "words"),
    [
        ("train.py", "import torch\n", False, r"its first line names no interpreter \(#!…\)\. Write 'python {}'"),
        ("train.py", "import torch\n", True, r"names no interpreter \(#!…\)\. Write 'python {}'"),
        ("train.js", "train()\n", True, r"names no interpreter \(#!…\)\. Write 'node {}'"),
        ("train.sh", "python train.py\n", True, "Write 'bash {}'"),
        ("train.py", "#!/usr/bin/env python3\n", False, r"is not executable: chmod \+x {}$"),
        ("train", "#!/no/python\n", True, r"names the interpreter '/no/python', which is not there\. Correct the line\.$"),
        ("train.py", "#!/no/python -u\n", True, r"'/no/python', which is not there\. Correct the line, or write 'python {}'"),
        ("train", "#!/usr/bin/env no-such-python\n", True, "the program 'no-such-python', which is not on the PATH"),
        ("train", "#!/bin/sh\r\n", True, r"'/bin/sh\\r', which is not there \(the file has line ends of Windows\)"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_started_is_refused_with_what_to_write(
    name: str, first: str, executable: bool, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(first)
    path.chmod(0o755 if executable else 0o644)
    with pytest.raises(ValueError, match=words.format(re.escape(str(path)))):
        Script(str(path), metric="loss", mode="min", horizon=1).check()


@pytest.mark.parametrize(
    "first", ["#!/bin/sh\n", "#! /bin/sh -e\n", "#!/usr/bin/env sh\n", "#!/usr/bin/env -S sh -e\n"]
)
def test_a_file_whose_interpreter_is_there_can_be_started(first: str, tmp_path: Path) -> None:
    path = tmp_path / "train.sh"
    path.write_text(first + 'echo "$@"\n')
    path.chmod(0o755)
    Script(str(path), metric="loss", mode="min", horizon=1).check()


@pytest.mark.parametrize(
    ("config", "is_told"), [(".env", True), ("conf/.env.local", True), ("train.env", True), ("train.ini", False)]
)
def test_for_a_file_of_variables_the_command_is_told_that_sets_them(config: str, is_told: bool) -> None:
    with pytest.raises(ValueError, match="must be 'json', 'yaml', 'toml'") as error:
        Script("python train.py {config}", metric="loss", mode="min", horizon=1, config=config)
    assert ("write 'env NAME={NAME} python train.py'" in str(error.value)) is is_told


BASES = {
    "json": '{"data": {"batch_size": 32, "files": []}, "optim": {"lr": 0.1}, "layers": [1, 2], "a.b": 1, "empty": null}',
    "yaml": "data: {batch_size: 32, files: []}\noptim: {lr: 0.1}\nlayers: [1, 2]\na.b: 1\nempty:\n",
    "toml": 'layers = [1, 2]\n"a.b" = 1\n[data]\nbatch_size = 32\nfiles = []\n[optim]\nlr = 0.1\n',
}


@pytest.mark.parametrize("kind", sorted(BASES))
@pytest.mark.parametrize(
    ("name", "parameter", "words"),
    [
        ("data.batchsize", randint(8, 64), r"no key 'data\.batchsize'\. Did you mean 'data\.batch_size'\? To add a new key, write it into base\.\w+ with any value\."),
        ("batch_size", 16, r"Did you mean 'data\.batch_size'\?"),
        ("optim.learning_rate", uniform(0, 1), r"Did you mean 'optim\.lr'\?"),
        ("data.lr", uniform(0, 1), r"Did you mean 'optim\.lr'\?"),
        ("empty.zzz", uniform(0, 1), r"no key 'empty\.zzz'"),
        ("qqq", uniform(0, 1), r"no key 'qqq'\. It has .*data\.batch_size"),
        ("layers.0", randint(1, 9), r"'layers' is a list and has no key '0'; tune 'layers' as a whole"),
        ("optim.lr.value", uniform(0, 1), r"'optim\.lr' is a value and has no key 'value'"),
        ("optim", choice(["sgd", "adam"]), r"'optim' is a whole section; name the parameter after one of its keys: 'optim\.lr'"),
    ],
)  # fmt: skip
def test_a_parameter_that_the_config_file_lacks_is_refused_before_anything_starts(
    kind: str, name: str, parameter: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"base.{kind}").write_text(BASES[kind])
    workload = script(tmp_path, READS, " --config {config}", config=f"base.{kind}")
    with pytest.raises(ValueError, match=rf"^base\.{kind}.*{words}"):
        workload.check_space(Space({name: parameter}))
    workload.check_space(Space({"data.batch_size": randint(8, 64), "optim.lr": 0.1, "a.b": 2}))
    placed = script(tmp_path, READS, " --config {config} --lr={rate}", config=f"base.{kind}")
    placed.check_space(Space({"rate": uniform(0, 1)}))  # the command has a place for it


def test_a_key_with_a_dot_is_set_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.json").write_text('{"a.b": 1}')
    config_file.write(tmp_path / "written.json", "base.json", {"a.b": 2})
    assert json.loads((tmp_path / "written.json").read_text()) == {"a.b": 2}


@pytest.mark.parametrize(("kind", "text"), [("json", "{"), ("yaml", "a: [1"), ("toml", "a = ")])
def test_a_config_file_that_cannot_be_read_is_named(
    kind: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"base.{kind}").write_text(text)
    with pytest.raises(ValueError, match=rf"base\.{kind} cannot be read as {kind.upper()}: "):
        script(tmp_path, READS, " --config {config}", config=f"base.{kind}").check()


def test_the_trials_folder_and_seed_have_a_place_in_the_words(tmp_path: Path) -> None:
    text = "import sys\nprint('epoch 1: loss=0.5', sys.argv[1:])\n"
    workload = script(tmp_path, text, " out={folder}/best seed={seed}", flag="{name}={value}")
    workload.check_space(Space({"lr": uniform(0, 1)}))
    own = tmp_path / "trial" / "checkpoints" / "script"
    assert str([f"out={own}/best", "seed=7", "lr=0.1"]) in run(workload, {"lr": 0.1}, tmp_path)
    assert workload.arguments({"lr": 0.1})[2:] == ["out={folder}/best", "seed={seed}", "lr=0.1"], "for the record"
    workload.check_space(Space({"seed": choice([1, 2])}))  # a parameter of that name goes first
    assert workload.arguments({"seed": 2}, {"folder": "own", "seed": 7})[2:] == ["out=own/best", "seed=2"]


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ("python train.py out=$TRIAL_FOLDER", "$TRIAL_FOLDER"),
        ("python train.py out=${TRIAL_FOLDER}/x", "${TRIAL_FOLDER}"),
        ("bash run.sh $TRIAL_SEED", "$TRIAL_SEED"),
        ("env A=$HOME sh -c 'python train.py'", "$HOME"),
    ],
)
def test_a_variable_that_no_shell_would_replace_is_refused(command: str, variable: str) -> None:
    with pytest.raises(ValueError, match=rf"letters {re.escape(variable)}\. Write \{{folder\}} .* sh -c '…'"):
        Script(command, metric="loss", mode="min", horizon=1)


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'python train.py out=$TRIAL_FOLDER lr={lr}'",
        "srun /bin/bash -e -c 'echo $HOME {lr}'",
        "sh -c 'cd code && python train.py {lr} | tee log'",
        "python train.py --sep '|' --arrow -> --if 'a > b'",
        "awk '{{print $1}}'",
        "a x=${{y}}",
    ],
)
def test_a_shell_replaces_its_variables_and_a_dollar_may_be_meant(command: str) -> None:
    Script(command, metric="loss", mode="min", horizon=1).check_space(Space({"lr": uniform(0, 1)}))


@pytest.mark.parametrize("resume", ["--resume last.pt", "--resume {folder}/*.pt", ""])
def test_a_resume_that_names_no_file_is_refused(resume: str) -> None:
    with pytest.raises(ValueError, match=r"must name a file in the trial's folder, such as '--resume \{folder\}/last"):
        Script("python train.py", metric="loss", mode="min", horizon=1, resume=resume)


def test_a_short_form_is_found_in_its_section(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"optim": {"lr": 1, "weight_decay": 0}, "model": {"learning": 1}}')
    with pytest.raises(ValueError, match=r"Did you mean 'optim.lr'\?"):
        config_file.refuse_unknown(tmp_path / "c.json", "optim.learning_rate", [0.1])


def test_an_error_of_the_command_begins_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fields: dict[str, Any] = {"metric": "loss", "mode": "min", "horizon": 1}
    for workload, words in [
        (Script("./run.sh", **fields), r"^Script: there is no program '\./run\.sh' in "),
        (Script("sh {config}", config="base.json", **fields), r"^Script\(config='base.json'\): there is no such file"),
    ]:
        with pytest.raises(BadInput, match=words):
            on_this_machine(small_sweep(workload=workload))


def test_a_script_that_does_not_answer_for_its_flags_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 2.0)
    (tmp_path / "train.py").write_text(
        "import argparse, pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert asking.ask(f"{sys.executable} train.py") == {}
    child = int((tmp_path / "child").read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        ended = psutil.Process(child)
        for _ in range(100):
            if ended.status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.05)
        assert ended.status() == psutil.STATUS_ZOMBIE
