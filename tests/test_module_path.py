"""A worker finds modules where the driver's program finds them."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from orchestrator import BadInput
from orchestrator.tune.module_path import ModulePath, module_path, not_found
from tests.support import ENVIRONMENT, ROOT, recorded

PROGRAM = """
import sys
sys.path.insert(0, "own")
import elsewhere
from orchestrator import Space, Sweep, report, run, uniform
def yields(config, state):
    yield {{"loss": config["lr"], "used": elsewhere.VALUE}}, 1
def reports(config):
    report(1, loss=config["lr"], used=elsewhere.VALUE)
{then}
if __name__ == "__main__":
    space = Space({{"lr": uniform(0.1, 1.0)}})
    run(Sweep("far", {train}, space, minimize="loss", steps=1, num_samples=1), max_concurrent=1)
"""


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    return sys.path


def test_additions_are_absolute_and_in_order(path: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = os.path.dirname(os.__file__)
    path[:] = ["../src", "", own, f"{own}/lib-dynload", str(tmp_path / "last")]
    found = module_path()
    assert found == ModulePath((str(tmp_path.parent / "src"), str(tmp_path)), (str(tmp_path / "last"),))
    path[:] = ["/own/of/ray", str(tmp_path), own]
    found.enter()
    assert path == [str(tmp_path.parent / "src"), str(tmp_path), "/own/of/ray", own, str(tmp_path / "last")]


def test_a_module_that_a_worker_lacks_is_named_with_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "System error: …\nModuleNotFoundError: No module named 'tests.far'\n"
    assert not_found(error) == not_found("ValueError: no") == ""
    module = types.ModuleType("tests.far")
    monkeypatch.setitem(sys.modules, "tests.far", module)
    assert "'tests.far', which is no file here" in not_found(error)
    module.__file__ = "/proj/tests/far.py"
    assert "from /proj/tests/far.py, and a worker cannot import it: add /proj to sys.path" in not_found(error)
    module.__path__ = ["/proj/tests/far"]
    assert "add /proj to sys.path" in not_found(error)


def ran(tmp_path: Path, *words: str, train: str = "yields", then: str = "") -> subprocess.CompletedProcess[str]:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "elsewhere.py").write_text("VALUE = 7.0\n")
    program = PROGRAM.format(train=train, then=then)
    (tmp_path / "tune.py").write_text(program)
    return subprocess.run(
        [sys.executable, *words], input=program, cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(("word", "train"), [("tune.py", "yields"), ("-", "reports"), ("-", "yields")])
def test_a_worker_finds_what_the_program_has_added(word: str, train: str, tmp_path: Path) -> None:
    """Of a script, and of a `__main__` without a file, as a notebook's is."""
    done = ran(tmp_path, word, train=train)
    assert done.returncode == 0, done.stderr
    assert [row["metrics"]["used"] for row in recorded(tmp_path / "runs" / "far", "report")] == [7.0]


@pytest.mark.slow
@pytest.mark.ray
def test_a_module_that_no_worker_can_find_is_one_sentence(tmp_path: Path) -> None:
    done = ran(tmp_path, "tune.py", then='sys.path.remove("own")')
    assert done.returncode == BadInput.exit_code
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"add {tmp_path / 'own'} to sys.path before the sweep starts, or to PYTHONPATH" in told
    assert "Traceback" not in done.stderr
