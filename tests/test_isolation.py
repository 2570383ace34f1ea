"""What one trial changes in its process, the next does not find; what it leaves running is ended, and nothing else."""

from __future__ import annotations

import decimal
import locale
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from orchestrator.sweep import Sweep
from orchestrator.worker.isolation import Surroundings
from orchestrator.worker.job import Job
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, uniform
from search.work import Assignment
from tests.support import recorded, simulated
from trainables.workloads.callable import FromFunction

SPACE = Space({"x": uniform(0.0, 1.0)})


def sweep_of(train: Callable[..., Any], **more: Any) -> Sweep:
    workload = FromFunction(train, metric="loss", mode="min", horizon=3)
    return Sweep(
        name="own", workload=workload, space=SPACE, searcher=Random(), scheduler=RunToEnd(), num_samples=4, **more
    )


def loggers() -> Any:
    own = logging.getLogger("of.a.trial")
    return logging.root.level, list(logging.root.handlers), own.level, list(own.handlers), logging.root.manager.disable


def set_logging(value: int) -> None:
    logging.getLogger("of.a.trial").addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger("of.a.trial").setLevel(10 + value)
    logging.root.addHandler(logging.StreamHandler(sys.stderr))
    logging.root.setLevel(10 + value)
    logging.disable(value)


def set_environment(value: int) -> None:
    os.environ["OF_A_TRIAL"] = str(value)
    del os.environ["PATH"]


def go_elsewhere(value: int) -> None:
    Path(f"place{value}").mkdir(exist_ok=True)
    os.chdir(f"place{value}")


def set_matplotlib(value: int) -> None:
    import matplotlib

    matplotlib.use(["svg", "pdf", "ps", "agg"][value])
    matplotlib.rcParams["lines.linewidth"] = 10.0 + value


def matplotlib_settings() -> Any:
    import matplotlib

    return dict.__getitem__(matplotlib.rcParams, "backend"), matplotlib.rcParams["lines.linewidth"]


def umask() -> int:
    present = os.umask(0o77)
    os.umask(present)
    return present


def set_rounding(value: int) -> None:
    decimal.getcontext().prec = 5 + value


CHANGES: dict[str, tuple[Callable[[int], Any], Callable[[], Any]]] = {
    "working folder": (go_elsewhere, os.getcwd),
    "environment": (set_environment, lambda: {name: os.environ[name] for name in os.environ if not name.startswith("TRIAL_")}),
    "module path": (lambda value: sys.path.insert(0, str(value)), lambda: list(sys.path)),
    "arguments": (lambda value: sys.argv.append(str(value)), lambda: list(sys.argv)),
    "umask": (lambda value: os.umask(0o40 + value), umask),
    "locale": (lambda value: locale.setlocale(locale.LC_ALL, ["C", "POSIX"][value % 2]), lambda: locale.setlocale(locale.LC_ALL)),
    "recursion limit": (lambda value: sys.setrecursionlimit(5000 + value), sys.getrecursionlimit),
    "warning filters": (lambda value: warnings.simplefilter("error"), lambda: list(warnings.filters)),
    "logging": (set_logging, loggers),
    "decimal context": (set_rounding, lambda: decimal.getcontext().prec),
    "NumPy's errstate": (lambda value: np.seterr(all="raise"), np.geterr),
    "start method": (lambda value: multiprocessing.set_start_method("spawn", force=True), lambda: multiprocessing.get_start_method(allow_none=True)),
    "signal handler": (lambda value: signal.signal(signal.SIGTERM, lambda *_: value), lambda: signal.getsignal(signal.SIGTERM)),
    "timer": (lambda value: signal.setitimer(signal.ITIMER_REAL, 1e6, 1e6 + value), lambda: signal.getitimer(signal.ITIMER_REAL)[1]),
    "excepthook": (lambda value: setattr(sys, "excepthook", lambda *_: value), lambda: sys.excepthook),
    "default dtype": (lambda value: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "default device": (lambda value: torch.set_default_device("meta"), torch.get_default_device),
    "gradients": (lambda value: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "autocast": (lambda value: torch.set_autocast_enabled("cpu", True), lambda: torch.is_autocast_enabled("cpu")),
    "determinism": (lambda value: torch.use_deterministic_algorithms(True), torch.are_deterministic_algorithms_enabled),
    "precision": (lambda value: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "oneDNN": (lambda value: setattr(torch.backends.mkldnn, "enabled", False), lambda: torch.backends.mkldnn.enabled),
    "threads": (lambda value: torch.set_num_threads(2 + value), torch.get_num_threads),
    "matplotlib": (set_matplotlib, matplotlib_settings),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("workers", [1, 3])
def test_what_a_trial_changes_no_other_finds_and_it_finds_again_itself(
    what: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, look = CHANGES[what]
    found: dict[int, list[Any]] = {}

    def train(config: Any, state: Any) -> Iterator[Any]:
        trial = len(found)
        found[trial] = seen = [look()]
        change(trial)
        for _ in range(3):
            seen.append(look())
            yield {"loss": config["x"]}

    before = look()
    driver = simulated(tmp_path / "run", sweep_of(train, first_alone=False), workers)
    assert look() == before
    assert [trial.step for trial in driver.history] == [3] * 4, [trial.reason for trial in driver.history]
    for first, changed, *later in found.values():
        assert first == found[0][0]
        assert later == [changed] * 2
        assert changed != first


@pytest.mark.parametrize("draw", [random.random, lambda: float(np.random.randn()), lambda: float(torch.rand(()))])
def test_random_numbers_are_the_same_beside_other_trials_as_alone(draw: Callable[[], float], tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        for _ in range(3):
            yield {"loss": draw() + draw() + draw()}

    alone = simulated(tmp_path / "alone", sweep_of(train), 1).history
    beside = simulated(tmp_path / "beside", sweep_of(train, first_alone=False), 4).history
    assert [trial.losses for trial in beside] == [trial.losses for trial in alone]
    assert len({loss for trial in alone for loss in trial.losses}) == 12


def test_a_process_that_a_trial_leaves_running_is_ended_with_its_children_and_told_and_no_other(tmp_path: Path) -> None:
    ours = subprocess.Popen(["sleep", "600"])
    left: list[psutil.Process] = []

    def train(config: Any, state: Any) -> Iterator[Any]:
        child = subprocess.Popen(["sh", "-c", "sleep 601 & wait"], start_new_session=True)
        left.append(psutil.Process(child.pid))
        while ["sleep", "601"] not in [each.cmdline() for each in left[-1].children()]:
            pass  # until the shell's child is no longer a shell itself
        for _ in range(3):
            yield {"loss": config["x"]}

    try:
        simulated(tmp_path / "run", sweep_of(train, first_alone=False), 2)
        assert ours.poll() is None
    finally:
        ours.kill()
        ours.wait()
    assert len(left) == 4
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in left)
    assert not [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "601"]]
    told = [row["text"] for row in recorded(tmp_path / "run", "event") if row["kind"] == "notice"]
    assert sum("left a process running, which was ended: sleep 601" in text for text in told) == 4


def test_a_process_that_ends_with_its_trial_is_not_told(tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        child = subprocess.Popen(["sleep", "600"])
        try:
            for _ in range(3):
                yield {"loss": config["x"]}
        finally:
            child.kill()
            child.wait()

    simulated(tmp_path, sweep_of(train), 2)
    assert not [row for row in recorded(tmp_path, "event") if row["kind"] == "notice"]


def test_threads_and_files_that_a_trial_leaves_are_told(tmp_path: Path) -> None:
    over = threading.Event()
    kept: list[Any] = []
    disk = Path(tempfile.mkdtemp())  # what lies in /dev/shm, as tmp_path may, is no file that a trial would miss

    def train(config: Any, state: Any) -> Iterator[Any]:
        threading.Thread(target=over.wait, name="of a trial").start()
        kept.append((disk / f"left{len(kept)}.txt").open("w"))
        for _ in range(3):
            yield {"loss": config["x"]}

    try:
        simulated(tmp_path / "run", sweep_of(train), 1)
    finally:
        over.set()
        for file in kept:
            file.close()
        shutil.rmtree(disk)
    told = [row["text"] for row in recorded(tmp_path / "run", "event") if row["kind"] == "notice"]
    assert sum("1 thread running in its worker: of a trial" in text for text in told) == 4
    assert any("1 file open in its worker" in text and "left0.txt" in text for text in told), told


def test_a_trial_that_removes_its_working_folder_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def train(config: Any, state: Any) -> Iterator[Any]:
        Path("gone").mkdir()
        os.chdir("gone")
        Path("../gone").rmdir()
        for _ in range(3):
            yield {"loss": config["x"]}

    driver = simulated(tmp_path / "run", sweep_of(train), 2)
    assert [trial.step for trial in driver.history] == [3] * 4
    assert Path.cwd() == tmp_path


def test_prepare_and_test_leave_nothing_behind_either(tmp_path: Path) -> None:
    class Careless(FromFunction):
        def prepare(self, folder: Path) -> None:
            print("preparing")
            os.environ["OF_PREPARE"] = "1"

        def test(self, assignment: Assignment) -> dict[str, float]:
            print("testing")
            os.environ["OF_TEST"] = "1"
            return {"loss": 0.5}

    def train(config: Any, state: Any) -> Iterator[Any]:
        assert "OF_PREPARE" not in os.environ
        for _ in range(3):
            yield {"loss": config["x"]}

    sweep = Sweep(
        name="own", workload=Careless(train, metric="loss", mode="min", horizon=3), space=SPACE, searcher=Random(),
        scheduler=RunToEnd(), num_samples=2,
    )  # fmt: skip
    driver = simulated(tmp_path, sweep)
    assert driver.best is not None
    assert not {"OF_PREPARE", "OF_TEST"} & set(os.environ)
    assert (tmp_path / "prepared/log.txt").read_text() == "preparing\n"
    assert (driver.places.trial(driver.best.number) / "log.txt").read_text() == "testing\n"


def test_a_library_that_was_loaded_in_a_trial_is_as_new_for_the_next(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from orchestrator.worker.isolation import Surroundings\n"
        "def change():\n"
        "    import matplotlib\n"
        "    before = matplotlib.rcParams['lines.linewidth']\n"
        "    matplotlib.rcParams['lines.linewidth'] = 77.0\n"
        "    return before\n"
        "assert 'matplotlib' not in sys.modules\n"
        "found = []\n"
        "for _ in range(2):\n"
        "    surroundings = Surroundings()\n"
        "    with surroundings.entered() as call:\n"
        "        found.append(call(change))\n"
        "    surroundings.leave()\n"
        "print(found[0] == found[1] != 77.0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_job_that_is_left_twice_ends_nothing_twice(tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        yield {"loss": 1.0}

    sweep = sweep_of(train)
    job = Job(sweep, Assignment(0, {"x": 0.5}, 1, until=3, folder=tmp_path / "own" / "checkpoints"))
    assert job.advance(0.0).progress[0].step == 1
    assert job.leave().done
    assert job.leave().progress == []
    assert Surroundings().leave() == []


def test_what_a_module_changes_while_it_is_imported_stays_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside_the_models.py").write_text("")
    (tmp_path / "with_the_models.py").write_text(
        "import os, sys, torch, warnings\n"
        f"sys.path.append({str(tmp_path / 'sub')!r})\n"
        "os.environ['OF_A_MODULE'] = '1'\n"
        "torch.set_default_dtype(torch.float64)\n"
    )
    found: list[Any] = []

    def train(config: Any, state: Any) -> Iterator[Any]:
        trial = len(found)
        found.append(None)
        os.environ["OF_A_TRIAL"] = str(trial)
        sys.path.append(str(trial))
        yield {"loss": config["x"]}
        import with_the_models  # noqa: F401

        yield {"loss": config["x"]}
        import beside_the_models  # noqa: F401

        own = [path for path in sys.path if path.isdigit()]
        found[trial] = os.environ["OF_A_MODULE"], torch.get_default_dtype(), os.environ["OF_A_TRIAL"], own
        yield {"loss": config["x"]}

    try:
        for workers in (3, 1):
            found.clear()
            driver = simulated(tmp_path / f"run{workers}", sweep_of(train, first_alone=False), workers)
            assert [trial.step for trial in driver.history] == [3] * 4, [trial.reason for trial in driver.history]
            assert found == [("1", torch.float64, str(trial), [str(trial)]) for trial in range(4)]
            assert "OF_A_TRIAL" not in os.environ
    finally:
        torch.set_default_dtype(torch.float32)
        os.environ.pop("OF_A_MODULE", None)
        sys.path.remove(str(tmp_path / "sub"))
