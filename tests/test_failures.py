"""One failing trial costs one trial: what is shown of it, what stays of it, and what does not fail because of it."""

from __future__ import annotations

import argparse
import ctypes
import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from orchestrator import guards
from orchestrator.driver import Driver
from orchestrator.errors import StorageError
from orchestrator.failures import complaint, reason, said, shown, signature
from orchestrator.guards import HEAD_BYTES, TAIL_BYTES, shorten, why_lost
from orchestrator.ledger import Ledger
from orchestrator.sweep import Sweep
from orchestrator.worker import Order
from search.records import Status
from search.rules.conduct import SAME_FAILURES
from search.schedulers.asha import Asha, AshaPromote
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.random import Random
from search.space import Space, uniform
from search.work import Assignment, Progress
from tests.support import ROOT, interrupted_after, recorded, simulated, small_sweep
from trainables import checkpoint
from trainables.plain import pack, unpack
from trainables.trial_folder import TrialFolder
from trainables.workloads.callable import FromFunction
from trainables.workloads.quadratic import Quadratic

SPACE = Space({"x": uniform(0.0, 1.0)})


def function(train: Callable[..., Any], horizon: int = 4) -> FromFunction:
    return FromFunction(train, metric="loss", mode="min", horizon=horizon)


def sweep_of(train: Callable[..., Any], **more: Any) -> Sweep:
    fields: dict[str, Any] = {
        "name": "own", "workload": function(train), "space": SPACE, "searcher": Random(), "num_samples": 4,
    }  # fmt: skip
    return Sweep(**(fields | more))


def notices(folder: Path) -> list[str]:
    return [row["text"] for row in recorded(folder, "event") if row["kind"] == "notice"]


# The first one alone.


def orders(driver: Driver) -> list[int]:
    """The trials that are handed out to free workers now."""
    found = []
    while (order := driver.next()) is not None:
        if order.kind == "train":
            found.append(order.trial)
        else:
            driver.finish_job(order)
    return found


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.write(tmp_path / "run")
    yield ledger
    ledger.close()


def test_the_first_trial_runs_alone_until_its_first_report(ledger: Ledger) -> None:
    driver = Driver(small_sweep(), ledger)
    assert orders(driver) == [0]
    driver.receive(0, [Progress("report", step=1, metrics={"loss": 1.0})])
    assert orders(driver) == [1, 2, 3, 4]


def test_of_trials_that_fail_before_any_report_one_runs_at_a_time(ledger: Ledger) -> None:
    driver = Driver(small_sweep(retries=0), ledger)
    assert orders(driver) == [0]
    driver.fail(0, "ValueError", "no")
    assert orders(driver) == [1]
    driver.lose(1, "killed")
    assert orders(driver) == [2]
    driver.receive(2, [Progress("ended", text="at once")], done=True)
    assert [trial.status for trial in driver.history] == [Status.FAILED] * 3
    assert orders(driver) == [3]
    driver.receive(3, [Progress("report", step=1, metrics={"loss": 1.0})])
    assert orders(driver) == [4]


def test_a_first_trial_that_loses_its_worker_goes_on_alone(ledger: Ledger) -> None:
    driver = Driver(small_sweep(), ledger)
    assert orders(driver) == [0]
    driver.lose_all("the node is gone")
    assert orders(driver) == [0]


def test_nobody_waits_if_asked_not_to_or_if_there_are_results_already(tmp_path: Path, ledger: Ledger) -> None:
    assert orders(Driver(small_sweep(first_alone=False), ledger)) == [0, 1, 2, 3, 4]
    interrupted_after(tmp_path / "other", small_sweep(), 1, workers=1)
    other = Ledger.write(tmp_path / "other")
    assert orders(Driver(small_sweep(), other)) == [0, 1, 2, 3, 4]
    other.close()


# The same failure.

SAME = [
    ("unrecognized arguments: --batch_size=128 --decay=0.0085", "unrecognized arguments: --batch_size=4 --decay=1e-05"),
    ("no file /data/a/1.npz", "no file ../b.npz"),
    ("bad address 0x7f00aa", "bad address 0x11"),
    ("at 2026-01-02 03:04:05.6 it ended", "at 2025-12-31T23:59:59 it ended"),
    ("shapes cannot be multiplied (32x784 and 100x10)", "shapes cannot be multiplied (64x784 and 7x10)"),
    ("size must be 3, got [1, 2, 3]", "size must be 3, got [4]"),
    ("unknown optimizer 'sgd'", "unknown optimizer 'adam with \"quotes\"'"),
    ("lr must be < 1, is nan", "lr must be < 1, is -2.5e+3"),
    ("run 0f8fad5b-d9cd-469f-a165-70867728950e is gone", "run 7c9e6679-7425-40de-944b-e07fc1f90ae7 is gone"),
    ("tensor([0.1000, 2.0000], device=cuda:0) is no number", "tensor([3.], device=cuda:1) is no number"),
]
DIFFERENT = [
    ("ValueError: no such layer", "ValueError: no such optimizer"),
    ("unrecognized arguments: --rate=1", "unrecognized arguments: --size=1"),
    ("out of memory", "out of time"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_reasons_that_differ_only_in_values_are_the_same_failure(one: str, other: str) -> None:
    assert signature(one) == signature(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_reasons_are_other_failures(one: str, other: str) -> None:
    assert signature(one) != signature(other)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_mistake_that_all_configurations_share_stops_the_sweep_after_three(workers: int, tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        parser = argparse.ArgumentParser("train.py", exit_on_error=False)
        yield from parser.parse_args([f"--x={config['x']}"])

    driver = simulated(tmp_path, sweep_of(train, num_samples=30), workers)
    assert len(driver.history.trials) == SAME_FAILURES
    assert driver.abort_reason.startswith("the first 3 trials failed in the same way: ")
    assert "unrecognized arguments: --x=0." in driver.abort_reason
    assert [row["kind"] for row in recorded(tmp_path, "event")].count("abort") == 1


@pytest.mark.parametrize(("fails", "count"), [(True, SAME_FAILURES), (False, 12)])
def test_a_mistake_that_shows_only_after_the_first_report_stops_the_sweep_unless_others_get_farther(
    fails: bool, count: int, tmp_path: Path
) -> None:
    begun = []

    def train(config: Any, state: Any) -> Iterator[Any]:
        begun.append(config)
        others_fail_too = fails or len(begun) % 2
        yield {"loss": config["x"]}
        if others_fail_too:
            raise RuntimeError(f"cannot save {config['x']}")
        while True:
            yield {"loss": config["x"]}

    driver = simulated(tmp_path, sweep_of(train, num_samples=12))
    assert driver.history.count(Status.FAILED) >= SAME_FAILURES
    assert len(driver.history.trials) == count
    assert bool(driver.abort_reason) == fails


def test_two_kinds_of_failures_in_turns_stop_the_sweep_too(tmp_path: Path) -> None:
    seen = []

    def train(config: Any, state: Any) -> Iterator[Any]:
        seen.append(config)
        raise ValueError("even" if len(seen) % 2 else "odd")
        yield

    driver = simulated(tmp_path, sweep_of(train, num_samples=30))
    assert len(driver.history.trials) == 2 * SAME_FAILURES - 1
    assert driver.abort_reason == "3 of the first 5 trials failed in the same way: ValueError: even"


# The reason.

CHAIN = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    one()
KeyError: 'lr'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    two()
my.tools.BadRate: lr is missing
See the manual.
noted: 3 files
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CHAIN, "my.tools.BadRate: lr is missing"),
        ("\x1b[31mValueError: red\x1b[0m\n", "ValueError: red"),
        ("Error(s) in loading state_dict for Net:\n\tMissing key(s)", "Error(s) in loading state_dict for Net: Missing key(s)"),
        ("CUDA error: device-side assert\nCompile with TORCH_USE_CUDA_DSA", "CUDA error: device-side assert"),
        ("loading:  10%|█  | 1/10\rloading: 100%|██| 10/10 [00:00<00:00, 332.09it/s]\nRuntimeError: real\n", "RuntimeError: real"),
        (f"the script ended with code 1\n    {CHAIN.replace(chr(10), chr(10) + '    ')}Writing: 100%|██| 1/1 [00:00<00:00, 3.1it/s]",
         "the script ended with code 1: my.tools.BadRate: lr is missing"),
        ("the script ended with code 2\n    usage: a.py [-h]\n    a.py: error: unrecognized arguments: --lr=1",
         "the script ended with code 2: a.py: error: unrecognized arguments: --lr=1"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_reason_is_the_error_and_not_the_last_line_on_the_screen(text: str, line: str) -> None:
    assert complaint(text) == line


class Speechless(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("two arguments")
        self.handle = sys.stdin


class Rude(BaseException):
    pass


def leave(how: Any) -> Callable[..., Any]:
    def train(config: Any, state: Any) -> Iterator[Any]:
        if isinstance(how, BaseException):
            raise how
        how()
        yield

    return train


def fails_argparse() -> None:
    argparse.ArgumentParser("train.py").parse_args(["--rate=1"])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (SystemExit("the data of 2019 is missing"), "SystemExit: the data of 2019 is missing"),
        (SystemExit(3), "SystemExit: exit code 3"),
        (SystemExit(0), "RuntimeError: the training ended before its first report: the training left by sys.exit(0)"),
        (SystemExit(), "RuntimeError: the training ended before its first report: the training left by sys.exit()"),
        (fails_argparse, "SystemExit: exit code 2: train.py: error: unrecognized arguments: --rate=1"),
        (Speechless(), "Speechless: its message cannot be shown, for that raises ZeroDivisionError"),
        (Unpicklable(1, 2), "Unpicklable: two arguments"),
        (Rude("no Exception"), "Rude: no Exception"),
        (GeneratorExit(), "GeneratorExit: test_failures.py, line "),
        (AssertionError(), "AssertionError: test_failures.py, line "),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
    ],
)  # fmt: skip
def test_whatever_a_training_raises_is_its_failure_with_its_reason(how: Any, why: str, tmp_path: Path) -> None:
    driver = simulated(tmp_path, sweep_of(leave(how), num_samples=1, workload=function(leave(how))))
    (trial,) = driver.history
    assert trial.status is Status.FAILED
    found = trial.reason.replace("tests.test_failures.", "")
    assert found == why if not why.endswith("line ") else found.startswith(why)
    (ending,) = recorded(tmp_path, "ending")
    assert "Traceback" in ending["detail"]
    assert recorded(tmp_path, "lost") == []


def test_a_keyboard_interrupt_is_the_trainings_own_where_ctrl_c_has_another_meaning(tmp_path: Path) -> None:
    sweep = sweep_of(leave(KeyboardInterrupt()), num_samples=1)
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        driver = simulated(tmp_path / "own", sweep)
    finally:
        signal.signal(signal.SIGINT, before)
    assert driver.history.trials[0].reason.startswith("KeyboardInterrupt: test_failures.py, line ")
    with pytest.raises(KeyboardInterrupt):
        simulated(tmp_path / "user", sweep)


def test_what_goes_wrong_in_the_end_of_a_training_does_not_undo_it(tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        try:
            while True:
                yield {"loss": config["x"]}
        finally:
            raise Speechless

    driver = simulated(tmp_path, sweep_of(train, scheduler=Asha(grace_period=1, reduction_factor=2), num_samples=6))
    assert {trial.status for trial in driver.history} <= {Status.COMPLETED, Status.STOPPED}
    assert driver.history.count(Status.STOPPED)


def test_errors_that_cannot_say_themselves_are_said() -> None:
    assert (
        said(Speechless())
        == "tests.test_failures.Speechless: its message cannot be shown, for that raises ZeroDivisionError"
    )
    assert "Speechless" in shown(Speechless())
    assert said(KeyError("lr")) == "KeyError: 'lr'"
    assert reason("KeyError", said(KeyError("lr"))) == "KeyError: 'lr'"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (torch.tensor([1.0, 2.0]), "step 2 yielded loss=tensor([1., 2.]), a torch.Tensor of shape (2,); it must be one number"),
        (np.ones((1, 2)), "step 2 yielded loss=array([[1., 1.]]), a numpy.ndarray of shape (1, 2); it must be one number"),
        ("0.5", "step 2 yielded loss='0.5', a str; it must be one number: yield {'loss': float(…)}."),
        (None, "step 2 yielded loss=None, a NoneType; it must be one number"),
        ([0.5], "step 2 yielded loss=[0.5], a list; it must be one number"),
        (1j, "step 2 yielded loss=1j, a complex; it must be one number"),
    ],
)  # fmt: skip
def test_a_metric_that_is_no_number_is_named_with_its_step(value: Any, why: str, tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        yield {"loss": torch.tensor(1.0), "note": "fine", "none": None, "several": np.ones(3), "other": np.float32(2)}
        yield {"loss": value}

    driver = simulated(tmp_path, sweep_of(train, num_samples=1))
    assert why in driver.history.trials[0].reason
    assert [row["metrics"] for row in recorded(tmp_path, "report")] == [{"loss": 1.0, "other": 2.0}]


# The end of a training by itself.


def converging(config: Any, state: Any) -> Iterator[Any]:
    """Good settings converge after two steps of four."""
    done = 0 if state is None else state
    for step in range(done + 1, 3 if config["x"] < 0.5 else 5):
        yield {"loss": config["x"] + 0.1 / step}, step


def exiting(config: Any, state: Any) -> Iterator[Any]:
    yield from converging(config, state)
    sys.exit(0)


@pytest.mark.parametrize("train", [converging, exiting])
@pytest.mark.parametrize("scheduler", [None, AshaPromote(grace_period=1, reduction_factor=2)])
def test_a_training_that_ends_by_itself_is_complete_there(train: Any, scheduler: Any, tmp_path: Path) -> None:
    more = {} if scheduler is None else {"scheduler": scheduler}
    driver = simulated(tmp_path, sweep_of(train, num_samples=12, **more), 3)
    early = [trial for trial in driver.history if trial.status is Status.COMPLETED and trial.step == 2]
    assert early
    assert all(trial.config["x"] < 0.5 for trial in early)
    assert early[0].reason.startswith("ended by itself at step 2 of 4: the training ")
    assert driver.history.count(Status.FAILED) == 0
    assert driver.best in early
    assert driver.best is not None
    kept = checkpoint.find(driver.places.checkpoints(driver.best.number))
    assert [found.step for found in kept][-1] == 2


def test_a_training_that_came_to_its_end_just_before_a_kill_is_complete_after_it(tmp_path: Path) -> None:
    workload = function(converging)
    given = Assignment(0, {"x": 0.1}, 1, until=4, folder=tmp_path, checkpoint_seconds=0)
    first = [item.kind for item in workload.run(None, given) if item is not None and item.kind != "ended"]
    assert first == ["report", "checkpoint", "report", "checkpoint", "checkpoint"]
    again = list(workload.run(None, replace(given, recorded=2)))
    assert [(item.kind, item.step) for item in again if item is not None] == [("checkpoint", 2), ("ended", 2)]


def test_a_training_that_is_told_where_to_rest_does_not_end_there_by_itself(tmp_path: Path) -> None:
    given = Assignment(0, {"x": 0.1}, 1, until=2, folder=tmp_path)
    kinds = [item.kind for item in function(converging).run(None, given) if item is not None]
    assert kinds == ["report", "report", "checkpoint"]


# Logs.


def talking(config: Any, state: Any) -> Iterator[Any]:
    log = logging.getLogger("of.a.talking.trial")
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel("INFO")
    out, name = sys.stdout, f"{config['x']:.6f}"
    for step in range(4):
        print("print", name)
        print("kept", name, file=out)
        print("error", name, file=sys.stderr)
        log.info("log %s", name)
        os.write(1, f"write {name}\n".encode())
        ctypes.CDLL(None).puts(f"puts {name}".encode())
        subprocess.run(["echo", f"child {name}"], check=True)
        yield {"loss": config["x"]}
        if step == 1 and config["x"] < 0.5:
            raise ValueError("enough said")


@pytest.mark.parametrize("workers", [1, 3])
def test_everything_that_a_trial_says_is_in_its_own_log_also_if_it_fails(
    workers: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    print("before")
    driver = simulated(tmp_path, sweep_of(talking, num_samples=6, first_alone=False, keep_checkpoints=1), workers)
    print("after")
    assert capfd.readouterr().out == "before\nafter\n"
    assert driver.history.count(Status.FAILED)
    for trial in driver.history:
        lines = (driver.places.trial(trial.number) / "log.txt").read_text().splitlines()
        steps = 2 if trial.status is Status.FAILED else 4
        ways = ("print", "kept", "error", "log", "write", "puts", "child")
        assert sorted(lines) == sorted(f"{way} {trial.config['x']:.6f}" for way in ways * steps)


def test_a_tee_that_a_trial_puts_in_place_of_its_output_stays_its_own(tmp_path: Path) -> None:
    class Tee:
        def __init__(self, stream: Any) -> None:
            self.stream, self.lines = stream, 0

        def write(self, text: str) -> None:
            self.lines += text.count("\n")
            self.stream.write(text)

        def flush(self) -> None:
            self.stream.flush()

    tees = []

    def train(config: Any, state: Any) -> Iterator[Any]:
        sys.stdout = tee = Tee(sys.stdout)  # type: ignore[assignment]
        tees.append(tee)
        for _ in range(4):
            print("said")
            yield {"loss": config["x"]}

    screen = sys.stdout
    driver = simulated(tmp_path, sweep_of(train, first_alone=False), 3)
    assert sys.stdout is screen
    assert [tee.lines for tee in tees] == [4] * 4
    for trial in driver.history:
        assert (driver.places.trial(trial.number) / "log.txt").read_text() == "said\n" * 4


def test_a_trial_that_closes_its_output_takes_it_from_nobody(tmp_path: Path) -> None:
    for trial in range(3):
        with guards.log_to(tmp_path / str(trial)):
            print("said")
            sys.stdout.close()
            os.close(2)
    assert [(tmp_path / str(trial) / "log.txt").read_text() for trial in range(3)] == ["said\n"] * 3
    print("on the screen", file=sys.stderr)


def test_a_process_without_standard_output_has_logs_too(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "from orchestrator.guards import log_to\n"
        "for trial in range(2):\n"
        f"    with log_to(Path({str(tmp_path)!r}) / str(trial)):\n"
        "        print('said'); os.write(2, b'written\\n')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert [(tmp_path / str(trial) / "log.txt").read_text() for trial in range(2)] == ["said\nwritten\n"] * 2


def test_what_a_signal_handler_says_in_the_midst_of_a_trial_is_on_the_screen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with guards.log_to(tmp_path):
        guards.to_screen(b"stopping\n")
        print("training")
    guards.to_screen(b"over\n")
    assert capfd.readouterr().err == "stopping\nover\n"
    assert (tmp_path / "log.txt").read_text() == "training\n"


def test_of_a_long_log_the_head_and_the_tail_stay(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    line = b"%09d\n"
    with open(log, "ab") as file:
        for part in range(2):
            file.write(b"".join(line % number for number in range(part * 400_000, (part + 1) * 400_000)))
            file.flush()
            shorten(log)
    found = log.read_bytes().splitlines()
    (cut,) = [index for index, text in enumerate(found) if not text.isdigit()]
    numbers = [int(text) for text in [*found[:cut], *found[cut + 1 :]]]
    assert log.stat().st_size <= HEAD_BYTES + TAIL_BYTES + 4096
    assert numbers[:cut] == list(range(cut))
    assert numbers[cut:] == list(range(800_000 - len(numbers[cut:]), 800_000))
    assert min(cut, len(numbers) - cut) >= HEAD_BYTES // 10 - 1
    missing = 10 * (800_000 - len(numbers))
    assert found[cut].decode() == f"[… {missing} bytes are left out here …]"


def test_no_line_is_lost_that_is_written_while_a_log_is_shortened(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "checkpoints" / "script")
    log, lines = tmp_path / "log.txt", 3000

    def write() -> None:
        for number in range(lines):
            folder.write_log(b"%09d\n" % number + b"x" * 2000 + b"\n")

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        shorten(log)
    shorten(log)
    numbers = [int(text) for text in log.read_bytes().splitlines() if text.isdigit()]
    cut = next(index for index, number in enumerate(numbers) if index != number)
    assert numbers[cut:] == list(range(numbers[cut], lines))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("os._exit(3)", "os._exit: exit code 3"),
        ("ctypes.string_at(0)", "segmentation fault (signal 11)"),
        ("os.abort()", "abort (signal 6)"),
        (
            "os.kill(os.getpid(), 9)",
            "it was killed from outside (signal 9: often for want of memory), or its node died",
        ),
    ],
)
def test_a_process_that_dies_in_a_trial_has_left_behind_how(how: str, why: str, tmp_path: Path) -> None:
    code = (
        "import ctypes, os, sys; from pathlib import Path; from orchestrator.guards import log_to, noted\n"
        "import faulthandler, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with noted(folder), log_to(folder):\n"
        "    print('last words')\n"
        "    if os.fork() == 0: os._exit(7)\n"  # a child that is no trial
        "    os.wait()\n"
        f"    {how}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode
    assert why_lost(tmp_path) == f"{why}; its log is {tmp_path / 'log.txt'}"
    assert (tmp_path / "log.txt").read_text().startswith("last words\n")
    assert not (tmp_path / guards.EXIT_FILE).exists()


def test_a_failed_trial_keeps_its_small_files_and_its_log(tmp_path: Path) -> None:
    ways = iter(("bent", "burnt", "drowned", "lost"))

    def train(config: Any, state: Any) -> Iterator[Any]:
        print("words")
        yield {"loss": 1.0}, {"weights": torch.zeros(2**23 if config["x"] < 0.5 else 2)}
        raise ValueError(next(ways))

    driver = simulated(tmp_path, sweep_of(train, num_samples=4, checkpoint_seconds=0))
    assert [trial.status for trial in driver.history] == [Status.FAILED] * 4
    for trial in driver.history:
        assert (driver.places.trial(trial.number) / "log.txt").read_text() == "words\n"
        assert bool(checkpoint.find(driver.places.checkpoints(trial.number))) == (trial.config["x"] >= 0.5)


# Checkpoints.


class Point(NamedTuple):
    x: float


STATES: dict[str, Any] = {
    "float64": np.float64(0.1), "float32": np.float32(0.1), "int64": np.int64(7), "bool": np.bool_(True),
    "array": np.arange(6, dtype=np.int32).reshape(2, 3), "strided": np.arange(6.0)[::2], "no elements": np.zeros((0, 3)),
    "complex": np.array([1 + 2j], dtype=np.complex64), "set": {3, 1, 2}, "frozenset": frozenset({"a"}), "bytes": b"\x00\xff",
    "size": torch.Size([2, 3]), "random": np.random.RandomState(1).get_state(), "nested": {"a": [(np.float64(2), {1: np.ones(2)})]},
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_numpy_and_sets_in_a_state_come_back_as_what_they_were(name: str, tmp_path: Path) -> None:
    value = STATES[name]
    checkpoint.save(tmp_path, {"value": value}, step=1)
    state, _ = checkpoint.newest(tmp_path, 1)
    assert state is not None
    back = state["value"]
    assert type(back) is type(value)
    np.testing.assert_equal(back, value)
    if isinstance(value, (np.ndarray, np.generic)):
        assert back.dtype == value.dtype


UNKEPT: dict[str, tuple[Any, str]] = {
    "object": (object(), "state at deep/0 is a builtins.object"),
    "objects": (np.array([object()]), "state at deep/0 is a NumPy ndarray of object"),
    "texts": (np.array(["a"]), "state at deep/0 is a NumPy ndarray of <U1"),
    "complex": (np.array([1j]), "state at deep/0 is a NumPy ndarray of complex128"),
    "sparse": (torch.eye(2).to_sparse(), "state at deep/0 is a tensor of torch.float32, torch.sparse_coo"),
    "named tuple": (Point(1.0), "state at deep/0 is a tests.test_failures.Point"),
    "function": (len, "state at deep/0 is a builtins.builtin_function_or_method"),
}


@pytest.mark.parametrize("name", UNKEPT)
@pytest.mark.parametrize("seconds", [0, 1000])
def test_a_state_that_cannot_be_kept_is_told_at_the_first_step_and_fails_nothing(
    name: str, seconds: float, tmp_path: Path
) -> None:
    value, place = UNKEPT[name]

    def train(config: Any, state: Any) -> Iterator[Any]:
        assert state is None
        for _ in range(4):
            yield {"loss": config["x"]}, {"deep": [value]}

    scheduler = AshaPromote(grace_period=1, reduction_factor=2)
    driver = simulated(tmp_path, sweep_of(train, num_samples=4, checkpoint_seconds=seconds, scheduler=scheduler))
    assert driver.history.count(Status.FAILED) == 0
    assert driver.history.count(Status.COMPLETED)
    told = [text for text in notices(tmp_path) if text.startswith("trial 0: no checkpoints, so an interruption starts")]
    assert told
    assert place in told[0]


def test_a_state_is_checked_without_a_copy() -> None:
    packed, tensors = pack({"a": np.float32(3)})
    assert unpack(packed, tensors)["a"].dtype == np.float32


def long(config: Any, state: Any) -> Iterator[Any]:
    step = state or 0
    while True:
        step += 1
        yield {"loss": config["x"]}, step


@pytest.mark.parametrize("seconds", [0, 1e-9])
def test_a_training_whose_every_report_is_due_for_a_checkpoint_leaves_when_asked_to(
    seconds: float, tmp_path: Path
) -> None:
    given = Assignment(0, {"x": 0.5}, 1, until=50, folder=tmp_path, checkpoint_seconds=seconds)
    items = [(item.kind, item.step) for item in function(long, 50).run(None, given, lambda: True) if item is not None]
    assert items == [("report", 1), ("checkpoint", 1), ("paused", 1)]


FAULTS = ["fsync", "rename", "mkdir", "open"]


@pytest.mark.parametrize("call", FAULTS)
def test_a_checkpoint_that_cannot_be_written_costs_no_training_and_is_tried_again(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = getattr(os, call), [False]

    def failing(*given: Any, **named: Any) -> Any:
        if broken[0] and (call == "fsync" or "step-" in str(given[0])):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    def train(config: Any, state: Any) -> Iterator[Any]:
        for step in range(1, 7):
            broken[0] = step in (3, 4)
            yield {"loss": config["x"]}, {"step": step}

    monkeypatch.setattr(os, call, failing)
    given = Assignment(0, {"x": 0.5}, 1, until=6, folder=tmp_path, checkpoint_seconds=0)
    items = [item for item in function(train, 6).run(None, given) if item is not None]
    assert [item.step for item in items if item.kind == "report"] == [1, 2, 3, 4, 5, 6]
    assert [item.step for item in items if item.kind == "checkpoint"] == [1, 2, 5, 6]
    (told,) = [item.text for item in items if item.kind == "notice"]
    assert "no checkpoint at step 3, tried again later; the one of step 2 is whole" in told
    assert "No space left on device" in told


def test_a_full_disk_stops_the_sweep_before_trials_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)

    def train(config: Any, state: Any) -> Iterator[Any]:
        for _ in range(4):
            yield {"loss": config["x"]}
            if shutil.disk_usage(tmp_path).free < 5000:
                raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
        with pytest.raises(StorageError, match=r"the disk is full \(4096 bytes are free\)") as caught:
            simulated(tmp_path, sweep_of(train))
    assert caught.value.exit_code == 7
    assert len(recorded(tmp_path, "suggestion")) == 1
    assert recorded(tmp_path, "ending") == []
    driver = simulated(tmp_path, sweep_of(train))
    assert [trial.status for trial in driver.history] == [Status.COMPLETED] * 4


def test_a_trial_that_has_lost_its_worker_is_saved_after_each_step(ledger: Ledger) -> None:
    driver = Driver(small_sweep(checkpoint_seconds=5.0, num_samples=1), ledger)

    def assigned() -> Assignment:
        order = driver.next()
        while order is not None and order.kind != "train":
            driver.finish_job(order)
            order = driver.next()
        assert isinstance(order, Order)
        assert order.assignment is not None
        return order.assignment

    assert assigned().checkpoint_seconds == 5.0
    driver.lose(0, "killed")
    assert assigned().checkpoint_seconds == 0.0


def test_losses_of_workers_count_over_all_invocations(tmp_path: Path) -> None:
    sweep = small_sweep(num_samples=1, retries=2)
    for _ in range(3):
        ledger = Ledger.write(tmp_path)
        driver = Driver(sweep, ledger)
        assert orders(driver) == [0]
        if not driver.history.trials[0].steps:
            driver.receive(0, [Progress("report", step=1, metrics={"loss": 1.0})])
        driver.lose(0, "killed")
        ledger.close()
    assert driver.history.trials[0].reason == "WorkerLost: killed (3 times at step 1)"


# What is kept of stopped trials.


def kept(driver: Driver) -> set[int]:
    return {trial.number for trial in driver.history if checkpoint.find(driver.places.checkpoints(trial.number))}


@pytest.mark.parametrize(
    ("changes", "resumes"),
    [
        ({"scheduler": Asha(grace_period=1, reduction_factor=2)}, False),
        ({"scheduler": AshaPromote(grace_period=1, reduction_factor=2)}, True),
        ({"scheduler": Asha(grace_period=1, reduction_factor=2), "finalists": 2}, True),
        ({"searcher": PopulationBasedTraining(population=4, interval=1)}, True),
    ],
)
def test_stopped_trials_keep_their_checkpoints_only_where_somebody_may_take_them_on(
    changes: dict[str, Any], resumes: bool, tmp_path: Path
) -> None:
    driver = simulated(tmp_path, small_sweep(num_samples=12, workload=Quadratic(horizon=4), **changes), 2)
    stopped = {trial.number for trial in driver.history.having(Status.STOPPED)} - {
        trial.replaces for trial in driver.history
    }
    if not resumes or "searcher" not in changes:
        assert stopped
    assert kept(driver) & stopped == (stopped if resumes else set())
    assert driver.best is not None
    assert driver.best.number in kept(driver)


def test_stopped_trials_keep_their_checkpoints_until_the_first_one_is_complete(ledger: Ledger) -> None:
    driver = Driver(small_sweep(scheduler=Asha(grace_period=1, reduction_factor=2), first_alone=False), ledger)
    assert orders(driver) == [0, 1, 2, 3, 4]
    for number, loss in enumerate((1.0, 2.0, 3.0)):
        checkpoint.save(driver.places.checkpoints(number), {"step": 1}, step=1)
        driver.receive(number, [Progress("report", step=1, metrics={"loss": loss})])
    assert [trial.status for trial in driver.history][:3] == [Status.RUNNING, Status.STOPPED, Status.STOPPED]
    for number in (1, 2):
        assert driver.keeps(number)
        driver.receive(number, [], done=True)
    assert kept(driver) == {0, 1, 2}
    driver.receive(0, [Progress("report", step=step, metrics={"loss": 0.5}) for step in (2, 3, 4)])
    assert driver.history.trials[0].status is Status.COMPLETED
    assert kept(driver) == {0}
    assert not driver.keeps(2)


# In a seat.


@pytest.mark.ray
def test_a_seat_tells_how_a_trial_left_and_the_next_one_finds_nothing_of_it(tmp_path: Path) -> None:
    script = tmp_path / "tune.py"
    script.write_text(
        "import logging, os, sys\n"
        "from orchestrator import FromFunction, Random, Space, Sweep, launch, uniform\n"
        "def train(config, state):\n"
        "    trial = int(os.path.basename(os.path.dirname(os.readlink('/proc/self/fd/1'))))\n"
        "    assert open('data.txt').read() == 'here'\n"
        "    assert 'OF_A_TRIAL' not in os.environ\n"
        "    os.environ['OF_A_TRIAL'] = str(trial)\n"
        "    os.chdir('/')\n"
        "    log = logging.getLogger('mine')\n"
        "    assert not log.handlers\n"
        "    log.addHandler(logging.StreamHandler(sys.stdout))\n"
        "    for step in range(3):\n"
        "        log.warning('step %d of trial %d', step, trial)\n"
        "        os.system(f'echo child of trial {trial}')\n"
        "        yield {'loss': config['x']}\n"
        "        if trial == 1: sys.exit('the data of 2019 is missing')\n"
        "        if trial == 2: os._exit(3)\n"
        "        if trial == 3: return\n"
        "launch(Sweep(name='own', workload=FromFunction(train, metric='loss', mode='min', horizon=3), num_samples=5,\n"
        "    space=Space({'x': uniform(0.0, 1.0)}), searcher=Random(), max_concurrent=1, retries=0, allow_failed=2))\n"
    )
    (tmp_path / "data.txt").write_text("here")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "own"
    reasons = {row["trial"]: row["reason"] for row in recorded(run, "ending")}
    assert reasons[1] == "SystemExit: the data of 2019 is missing"
    assert reasons[2].startswith("WorkerLost: os._exit: exit code 3; its log is ")
    assert reasons[3] == "ended by itself at step 1 of 3: the training returned"
    assert reasons[0] == reasons[4] == "reached the horizon"
    for trial, steps in {0: 3, 1: 1, 2: 1, 3: 1, 4: 3}.items():
        lines = (run / "trials" / f"{trial:05d}" / "log.txt").read_text().splitlines()
        said = [line for step in range(steps) for line in (f"step {step} of trial {trial}", f"child of trial {trial}")]
        assert [line for line in lines if "trial" in line] == said
