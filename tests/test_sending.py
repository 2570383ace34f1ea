"""What cannot be sent to the process of a trial is refused before anything starts, by name."""

from __future__ import annotations

import functools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import BadInput, Space, Sweep, loguniform, run
from orchestrator.definition.sending import check_sending
from tests.support import small_sweep

LOCK = threading.Lock()


def sweep_of(train: Callable[..., Any]) -> Sweep:
    return Sweep("sent", train, Space({"lr": loguniform(0.01, 1.0)}), minimize="loss", steps=1, num_samples=1)


def by_value(function: Callable[..., Any]) -> Any:
    """The function as one of a notebook, whose code travels with it."""
    function.__module__ = "__main__"
    return function


@by_value
def locks(config: Any) -> float:
    with LOCK:
        return float(config["lr"])


@by_value
def locks_in_a_helper(config: Any) -> float:
    return float(locks(config))


@by_value
def asks_the_notebook(config: Any) -> float:
    get_ipython().system("ls")  # type: ignore[name-defined]  # noqa: F821
    return 1.0


class Locking:
    def __init__(self) -> None:
        self.lock = LOCK

    def __repr__(self) -> str:
        return "Locking()"

    def train(self, config: Any) -> float:
        return 1.0


def logs_to(file: Any) -> Any:
    def train(config: Any) -> float:
        file.write("begun")
        return 1.0

    return train


def with_a_default() -> Any:
    @by_value
    def train(config: Any, database: Any = sqlite3.connect(":memory:")) -> float:  # noqa: B008
        return 1.0

    return train


def wrapped() -> Any:
    @functools.wraps(locks)
    def inner(config: Any) -> float:
        return float(locks(config))

    return inner


CASES = [
    (lambda: locks, "locks() uses the global variable 'LOCK', of type _thread.lock", "Create it inside locks()"),
    (lambda: locks_in_a_helper, "locks() uses the global variable 'LOCK'", "Create it inside locks()"),
    (wrapped, "locks() uses the global variable 'LOCK'", "Create it inside locks()"),
    (with_a_default, "train() has a default of 'database', of type sqlite3.Connection", "Create it inside train()"),
    (lambda: Locking().train, "Locking has an attribute 'lock'", "Create it inside the function that uses it"),
]


@pytest.mark.parametrize(("make", "culprit", "remedy"), CASES)
def test_what_cannot_be_sent_is_named(make: Callable[[], Any], culprit: str, remedy: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_sending(sweep_of(make()))
    assert f"Sweep(workload): {culprit}" in str(refused.value)
    assert remedy in str(refused.value)


def test_of_an_open_file_the_name_is_the_remedy(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as file, pytest.raises(BadInput, match=r"uses 'file'.*open it inside train\(\)"):
        check_sending(sweep_of(logs_to(file)))


def test_get_ipython_is_told_to_be_the_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "get_ipython", threading.Event().wait)  # a method of a library, as IPython's
    with pytest.raises(BadInput, match=r"'get_ipython'.*A trial's process has no notebook"):
        check_sending(sweep_of(asks_the_notebook))


def test_run_refuses_before_it_makes_a_folder(tmp_path: Path) -> None:
    for simulate in (True, False):
        with pytest.raises(BadInput, match="'LOCK'"):
            run(sweep_of(locks), tmp_path / "run", simulate=simulate, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_refuses_too(tmp_path: Path) -> None:
    script = tmp_path / "tune.py"
    script.write_text(
        "import threading\n"
        "from orchestrator import Space, Sweep, launch, loguniform\n"
        "lock = threading.Lock()\n"
        "def train(config):\n"
        "    with lock:\n"
        "        return config['lr']\n"
        "space = Space({'lr': loguniform(0.01, 1.0)})\n"
        "launch(Sweep('sent', train, space, minimize='loss', steps=1))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "--dry-run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == BadInput.exit_code
    assert "train() uses the global variable 'lock'" in done.stderr


def test_a_simulated_generator_is_not_sent(tmp_path: Path) -> None:
    """It trains in this process, so it may hold what it likes; a sweep on Ray refuses the same."""

    @by_value
    def yields(config: Any) -> Iterator[dict[str, float]]:
        with LOCK:
            yield {"loss": config["lr"]}

    assert run(sweep_of(yields), tmp_path / "run", simulate=True, quiet=True).value is not None
    with pytest.raises(BadInput, match="'LOCK'"):
        check_sending(sweep_of(yields))


def test_a_sweep_that_can_be_sent_passes() -> None:
    check_sending(small_sweep())
    check_sending(sweep_of(lambda config: float(config["lr"])))
