"""One failing trial costs one trial: what is shown of it, what stays of it, and what does not fail because of it."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from orchestrator import BadInput, Space, Sweep, choice, uniform, when
from orchestrator.console.explain import explain
from orchestrator.driver import Driver
from orchestrator.errors import NoMetric, TrialsFailed
from orchestrator.failures import FRAMES, complaint, in_full, reason, said, shown, signature
from orchestrator.main import drive
from orchestrator.outcome import problem_of
from orchestrator.record.ledger import Ledger
from orchestrator.worker.job import failure
from orchestrator.worker.missing_parameter import missing_parameter
from search.records import Status
from search.rules.conduct import SAME_FAILURES
from search.schedulers.asha import Asha, AshaPromote
from search.work import Assignment, Ended, Reported
from tests.failing import function, orders, sweep_of
from tests.support import ROOT, interrupted_after, recorded, simulated, small_sweep
from trainables.carry_out import carry_out
from trainables.execution.store import Store
from trainables.scripts.channels import ScriptFailed


def test_the_first_trial_runs_alone_until_its_first_report(ledger: Ledger) -> None:
    driver = Driver(small_sweep(), ledger)
    assert orders(driver) == [0]
    driver.receive(0, [Reported(step=1, metrics={"loss": 1.0})])
    assert orders(driver) == [1, 2, 3, 4]


def test_of_trials_that_fail_before_any_report_one_runs_at_a_time(ledger: Ledger) -> None:
    driver = Driver(small_sweep(retries=0), ledger)
    assert orders(driver) == [0]
    driver.fail(0, "ValueError", "no")
    assert orders(driver) == [1]
    driver.lose(1, "killed")
    assert orders(driver) == [2]
    driver.receive(2, [Ended(text="at once")], done=True)
    assert [trial.status for trial in driver.history] == [Status.FAILED] * 3
    assert orders(driver) == [3]
    driver.receive(3, [Reported(step=1, metrics={"loss": 1.0})])
    assert orders(driver) == [4]


def test_what_a_training_knows_of_its_early_end_is_told_once_in_place_of_a_shorter_horizon(ledger: Ledger) -> None:
    told: list[str] = []
    driver = Driver(small_sweep(), ledger, listen=lambda _, text: told.append(text))
    orders(driver)
    for number, advice in enumerate(["Set the horizon to 6", "Set the horizon to 7", "", ""]):
        driver.receive(
            number, [Reported(step=1, metrics={"loss": 1.0}), Ended(step=1, text="end", advice=advice)], done=True
        )
        orders(driver)
    first, second = (text for text in told if "counts as completed" in text)
    assert first == "trial 0 ended by itself at step 1 of 4 and counts as completed. Set the horizon to 6"
    assert second.startswith("trial 2 ended by itself")
    assert second.endswith("the horizon is too long: try horizon=1.")


def test_a_first_trial_that_loses_its_worker_goes_on_alone(ledger: Ledger) -> None:
    driver = Driver(small_sweep(), ledger)
    assert orders(driver) == [0]
    driver.lose_all("the node is gone")
    assert orders(driver) == [0]


def test_a_lost_worker_is_told_with_what_comes_next(ledger: Ledger) -> None:
    told: list[str] = []
    driver = Driver(small_sweep(), ledger, listen=lambda kind, text: told.append(f"{kind}: {text}"))
    assert orders(driver) == [0]
    driver.lose(0, "killed")
    assert orders(driver) == [0]
    driver.receive(0, [Reported(step=1, metrics={"loss": 1.0})])
    driver.lose(0, "killed")
    assert [text for text in told if text.startswith("retry")] == [
        "retry: trial 0 lost its worker at step 0 (killed); starting again",
        "retry: trial 0 lost its worker at step 1 (killed); going on from its last checkpoint, if it has one",
    ]


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


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_reason_that_several_trials_share_is_told_as_it_comes_and_once_at_the_end(
    share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        if config["x"] > 1 - share:
            raise ValueError(f"the step {config['x']} is too long")
        yield {"loss": 1.0}

    with pytest.raises((TrialsFailed, NoMetric)) as caught:
        drive(
            sweep_of(train, num_samples=8, name="told"), tmp_path, simulated=True, address=None, console=Console(stderr=True),
            close=lambda driver, ledger, received: problem_of(driver, received, ""),
        )  # fmt: skip
    explain(caught.value)
    printed, shown = capsys.readouterr()
    assert "is too long" not in printed
    *_, how_many = re.findall(r"for the same reason as trial 0 \((\d+) trials so far\)", shown)
    assert f"failed, {how_many} ×, first trial 0: see the error below" in printed
    *before, last = [line for line in shown.splitlines() if "ValueError: the step" in line]
    assert len(before) == 1, shown
    assert last == shown.splitlines()[-1]
    assert before[0] in last, "the same trial's"


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

INVALID = "2 errors for Config\nlr\n  too large [input=0.3]\nsteps\n  missing"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CHAIN, "my.tools.BadRate: lr is missing"),
        ("\x1b[31mValueError: red\x1b[0m\n", "ValueError: red"),
        ("Error(s) in loading state_dict for Net:\n\tMissing key(s)", "Error(s) in loading state_dict for Net: Missing key(s)"),
        ("CUDA error: device-side assert\nCompile with TORCH_USE_CUDA_DSA", "CUDA error: device-side assert; Compile with TORCH_USE_CUDA_DSA"),
        (INVALID, "2 errors for Config; lr: too large [input=0.3]; steps: missing"),
        (f"ValidationError: {INVALID}", "ValidationError: 2 errors for Config; lr: too large [input=0.3]; steps: missing"),
        (f"{FRAMES}\n  File \"a.py\", line 3\nValidationError: {INVALID}\nSaved 3 files.",
         "ValidationError: 2 errors for Config; lr: too large [input=0.3]; steps: missing"),
        ("RuntimeError: Error(s) in loading state_dict for Net:\n\tMissing key(s): a.\n\tsize mismatch for b",
         "RuntimeError: Error(s) in loading state_dict for Net: Missing key(s): a. size mismatch for b"),
        ("loading:  10%|█  | 1/10\rloading: 100%|██| 10/10 [00:00<00:00, 332.09it/s]\nRuntimeError: real\n", "RuntimeError: real"),
        (f"the script ended with code 1\n    {CHAIN.replace(chr(10), chr(10) + '    ')}Writing: 100%|██| 1/1 [00:00<00:00, 3.1it/s]",
         "the script ended with code 1: my.tools.BadRate: lr is missing"),
        ("the script ended with code 2\n    usage: a.py [-h]\n    a.py: error: unrecognized arguments: --lr=1",
         "the script ended with code 2: a.py: error: unrecognized arguments: --lr=1"),
        ("'FID' stands only in lines about a part of a step ('train:  20%|██ | 400/2000 [00:01<00:05, 300it/s]'): print it once",
         "'FID' stands only in lines about a part of a step ('train:  20%|██ | 400/2000 [00:01<00:05, 300it/s]'): print it once"),
        ("too slow: 0.5 it/s", "too slow: 0.5 it/s"),
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
        (Speechless(), "Speechless: its message cannot be shown, because that raises ZeroDivisionError"),
        (Unpicklable(1, 2), "Unpicklable: two arguments"),
        (Rude("no Exception"), "Rude: no Exception"),
        (GeneratorExit(), "GeneratorExit: test_failures.py, line "),
        (AssertionError(), "AssertionError: test_failures.py, line "),
        (ValueError("first line\nsecond line"), "ValueError: first line; second line"),
        (ValueError("no data\n" + 100 * "a word\n"), "ValueError: no data; a word; a word; "),
    ],
)  # fmt: skip
def test_whatever_a_training_raises_is_its_failure_with_its_reason(how: Any, why: str, tmp_path: Path) -> None:
    driver = simulated(tmp_path, sweep_of(leave(how), num_samples=1, workload=function(leave(how))))
    (trial,) = driver.history
    assert trial.status is Status.FAILED
    found = trial.reason.replace("tests.test_failures.", "")
    assert found.startswith(why) if why.endswith(" ") else found == why
    assert len(found) <= 500
    (ending,) = recorded(tmp_path, "ending")
    assert ending["detail"].strip()
    assert "Traceback" in (tmp_path / "trials" / "00000" / "log.txt").read_text()
    assert recorded(tmp_path, "lost") == []


def reads_another_name(config: Any, state: Any) -> Iterator[Any]:
    yield {"loss": config["X"]}


def reads_an_inactive_one(config: Any, state: Any) -> Iterator[Any]:
    yield {"loss": config["momentum"]}


def reads_another_dict(config: Any, state: Any) -> Iterator[Any]:
    yield {"loss": {"y": config["x"]}["xx"]}


def reports_another_name(config: Any) -> None:
    raise KeyError(config["xx"])


def yields_another_name(config: Any, state: Any) -> Iterator[Any]:
    yield {"valid_loss": config["x"]}


@pytest.mark.parametrize(("train", "words"), [
    (reads_another_name, "KeyError: 'X': the space has no such parameter. Known: kind, momentum, x."),
    (reads_an_inactive_one, "KeyError: 'momentum': this parameter is not active in this configuration; write config.get('momentum')."),
    (reads_another_dict, "KeyError: 'xx'"),
    (reports_another_name, "FunctionFailed: KeyError: 'xx' (exit code 1 after step 0 of 4): the space has no such parameter. Did you mean 'x'?"),
    (yields_another_name, "ValueError: step 1 yielded {'valid_loss': 0.5}; it must be a dict with the tuned metric 'loss'. Did you mean 'valid_loss'?"),
])  # fmt: skip
def test_a_wrong_name_in_the_users_function_is_answered_with_the_right_ones(
    train: Any, words: str, tmp_path: Path
) -> None:
    """And the user's frames are shown alone; the log has ours too."""
    space = Space({"x": uniform(0, 1), "kind": choice(["a", "b"]), "momentum": when(uniform(0, 1), kind="b")})
    point = {"x": 0.5, "kind": "a"}
    driver = simulated(tmp_path, sweep_of(train, num_samples=1, space=space, points_to_evaluate=[point]))
    assert driver.history.trials[0].reason == words
    (ending,) = recorded(tmp_path, "ending")
    frames = re.findall(r'File "([^"]+)"', ending["detail"])
    assert frames == ([] if train is yields_another_name else [__file__]), ending["detail"]
    log = (tmp_path / "trials" / "00000" / "log.txt").read_text()
    assert log.count("Traceback (most recent call last):") == 1
    assert train is reports_another_name or "orchestrator/worker/job.py" in log


def test_a_trial_from_before_a_parameter_was_added_is_not_told_that_the_parameter_is_inactive() -> None:
    with pytest.raises(KeyError) as caught:
        next(reads_an_inactive_one({"x": 0.5}, None))
    space = Space({"x": uniform(0, 1), "momentum": uniform(0, 1)})
    told = missing_parameter(caught.value, "KeyError: 'momentum'", {"x": 0.5}, space)
    assert told.startswith(": this trial began without a value for it; write config.get('momentum', …)")


def test_an_error_of_ours_in_a_chain_and_in_a_group_keeps_its_message() -> None:
    def fail() -> None:
        try:
            Sweep("a", 5, Space({"x": uniform(0, 1)}))  # our frames only
        except BadInput as error:
            raise RuntimeError("mine") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    told = shown(caught.value)
    assert "\norchestrator.errors.BadInput: Sweep(workload=5)" in told
    assert str(ROOT / "orchestrator") not in told
    assert str(ROOT / "orchestrator") in in_full(caught.value)


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
        == "tests.test_failures.Speechless: its message cannot be shown, because that raises ZeroDivisionError"
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
    kept = Store(driver.places.checkpoints(driver.best.number)).find()
    assert [found.step for found in kept][-1] == 2


def test_a_training_that_came_to_its_end_just_before_a_kill_is_complete_after_it(tmp_path: Path) -> None:
    workload = function(converging)
    given = Assignment(0, {"x": 0.1}, 1, until=4, folder=tmp_path, checkpoint_seconds=0)
    first = [item.kind for item in carry_out(workload, None, given) if item is not None and item.kind != "ended"]
    assert first == ["report", "checkpoint", "report", "checkpoint", "checkpoint"]
    again = list(carry_out(workload, None, replace(given, recorded=2)))
    assert [(item.kind, item.step) for item in again if item is not None] == [("checkpoint", 2), ("ended", 2)]


def test_a_training_that_is_told_where_to_rest_does_not_end_there_by_itself(tmp_path: Path) -> None:
    given = Assignment(0, {"x": 0.1}, 1, until=2, folder=tmp_path)
    kinds = [item.kind for item in carry_out(function(converging), None, given) if item is not None]
    assert kinds == ["report", "report", "checkpoint"]


def test_of_a_script_without_memory_its_own_error_is_the_reason(tmp_path: Path) -> None:
    told = "RuntimeError: can't allocate memory: you tried to allocate 4 GB (exit code 1 after step 5 of 8)"
    kind, text, _ = failure(ScriptFailed(told), tmp_path / "log.txt")
    assert reason(kind, text) == f"OutOfMemory: {told}"
