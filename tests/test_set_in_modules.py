"""What a program sets in a module does not reach the trials, which import it anew: it is told before the start."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator import Space, Sweep, report, run, uniform
from orchestrator.definition.module_values import warnings
from tests.support import run_script

SOURCE = """
import os
RATE = 1.0
CFG = {"a": 1.0}
COMPUTED = len([1, 2])
REGISTRY = {}
COUNT = 0
NAMES = ["x"]
LATER = None
STEPS: int = 3
if os.environ.get("NEVER"):
    STEPS = 4
class Config:
    breadth = 8
    def __init__(self):
        self.RATE = 1
def count():
    global COUNT
    COUNT += 1
    NAMES.append("y")
def rate():
    return RATE
"""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "set_here.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("set_here")
    del sys.modules["set_here"]


def made(body: str, conf: ModuleType) -> Any:
    """The function `train` of a cell of a notebook, which yields what the body names."""
    cell: dict[str, Any] = {"__name__": "__main__", "conf": conf, "report": report}
    exec(f"def train(config, state):\n    yield {{'loss': config['x'], 'used': {body}}}, 1\n", cell)
    exec(f"def reports(config):\n    report(1, loss=config['x'], used={body})\n", cell)
    return cell


def told(train: Any, *, simulated: bool = False) -> list[str]:
    sweep = Sweep("set", train, Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=1, num_samples=1)
    return warnings(sweep, simulated=simulated)


def set_in(module: ModuleType, **values: Any) -> None:
    """As a notebook does: a module that sets these names in its source would do so in a trial's process, too."""
    vars(module).update(values)


def test_a_value_that_was_set_is_told_with_both_values_and_the_remedy(
    conf: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = made("conf.RATE * conf.CFG['a'] * conf.Config.breadth", conf)["train"]
    assert told(train) == []
    set_in(conf, RATE=5.0, CFG={"a": 3.0})
    monkeypatch.setattr(conf.Config, "breadth", 9)
    rate, width, table = sorted(told(train), reverse=True)
    assert rate.startswith(
        "set_here.RATE is 5.0 in this program and 1.0 in set_here.py, which the process of each trial imports"
    )
    assert rate.endswith("trials train with 1.0. Make it a fixed parameter of the space, or set it inside the training")
    assert width.startswith("set_here.Config.breadth is 9 in this program and 8 in set_here.py")
    assert table.startswith("set_here.CFG is {'a': 3.0} in this program and {'a': 1.0} in set_here.py")


def test_a_value_that_an_imported_function_reads_is_told(conf: ModuleType) -> None:
    set_in(conf, RATE=5.0)
    (text,) = told(made("conf.rate()", conf)["train"])
    assert "set_here.RATE is 5.0" in text


def test_nothing_is_told_of_what_the_module_changes_or_computes_or_the_training_does_not_name(conf: ModuleType) -> None:
    set_in(conf, RATE=5.0, COMPUTED=7, REGISTRY={"a": 1}, LATER=object(), STEPS=4)
    conf.count()
    names = ("COMPUTED", "REGISTRY", "COUNT", "NAMES", "LATER", "STEPS")
    assert told(made(" and ".join(f"conf.{name}" for name in names), conf)["train"]) == []


def test_a_simulated_sweep_says_that_it_trains_with_the_programs_value(conf: ModuleType) -> None:
    cell = made("conf.RATE", conf)
    set_in(conf, RATE=5.0)
    (text,) = told(cell["train"], simulated=True)
    assert "a simulated sweep trains in this process, with 5.0, and any other with 1.0" in text
    (text,) = told(cell["reports"], simulated=True)  # in a process of its own
    assert "trials train with 1.0" in text


def test_a_simulated_sweep_says_that_a_module_was_edited_since_it_was_imported(conf: ModuleType) -> None:
    train, file = made("conf.rate()", conf)["train"], Path(str(conf.__file__))
    file.write_text(f"# a comment\n{SOURCE}")
    assert told(train, simulated=True) == []
    file.write_text(SOURCE.replace("return RATE", "return 2 * RATE"))
    (text,) = told(train, simulated=True)
    assert text.startswith("set_here.py was edited after this program had imported it")
    assert told(train) == []  # a worker imports the new code


def test_it_is_told_at_each_start(conf: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_in(conf, RATE=5.0)
    train = made("conf.RATE", conf)["train"]
    sweep = Sweep("set", train, Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=1, num_samples=1)
    for _ in range(2):
        run(sweep, tmp_path / "run", simulate=True)
        assert "Warning: set_here.RATE is 5.0 in this program" in capfd.readouterr().err


def test_a_script_that_sets_it_is_told_by_the_dry_run(tmp_path: Path) -> None:
    (tmp_path / "set_here.py").write_text(SOURCE)
    (tmp_path / "tune.py").write_text(
        "import set_here as conf\n"
        "from orchestrator import Space, Sweep, launch, uniform\n"
        "conf.RATE = 5.0\n"
        "def train(config, state):\n"
        "    yield {'loss': config['x'] * conf.RATE}, 1\n"
        "launch(Sweep('set', train, Space({'x': uniform(0.0, 1.0)}), minimize='loss', steps=1))\n"
    )
    done = run_script("tune.py", "--dry-run", cwd=tmp_path)
    assert "warning    set_here.RATE is 5.0 in this program and 1.0 in set_here.py" in done.stdout, done.stderr
