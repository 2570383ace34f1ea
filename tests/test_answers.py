"""Policies of one's own with a mistake: the error names the class, the method, the value and what to write."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from orchestrator.definition.checks import on_this_machine
from orchestrator.errors import BadInput
from search.records import Status
from tests.support import recorded, simulated, small_sweep
from tests.test_saving import STATES
from tests.trainings import assign, begin, good
from trainables.answers import checked
from trainables.carry_out import carry_out, warning_at_start
from trainables.contract import Policy
from trainables.policies.averaged import Averaged
from trainables.policies.compose import Compose
from trainables.policies.fixed import Fixed
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.training import codec
from trainables.training.control import Control
from trainables.values import Action, Knobs, Signals
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")

KNOBS = Knobs(0.1, 32, 0.9)


@dataclass(frozen=True)
class Mistaken(Policy[Any]):
    """Answers `first` from `start`, and `then` from `act`."""

    first: Any = (0, Action())
    then: Any = (0, Action())

    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size"})

    def start(self, signals: Signals) -> Any:
        return self.first

    def act(self, state: Any, signals: Signals) -> Any:
        return self.then


def turned(**knobs: Any) -> tuple[int, Action]:
    return 0, Action(knobs=replace(KNOBS, **knobs))


# The state


@dataclass(frozen=True)
class Clock(Policy[Any]):
    def start(self, signals: Signals) -> tuple[Any, Action]:
        return {"t": object()}, Action()

    def act(self, state: Any, signals: Signals) -> tuple[Any, Action]:
        return state, Action()


CANNOT = r"Clock\.start made a state that cannot be saved: state at t is a builtins\.object"


def test_a_state_that_cannot_be_saved_fails_the_trial_before_its_first_update(tmp_path: Path) -> None:
    driver = simulated(tmp_path, small_sweep(policy=Clock(), num_samples=1, baseline=None))
    (trial,) = driver.history.trials
    assert (trial.status, trial.step) == (Status.FAILED, 0)
    (ending,) = recorded(tmp_path, "ending")
    assert re.search(CANNOT, ending["reason"])


def test_a_first_answer_that_no_training_can_use_is_refused_before_anything_starts() -> None:
    with pytest.raises(BadInput, match=CANNOT):
        on_this_machine(small_sweep(policy=Clock()))
    with pytest.raises(BadInput, match=r"Mistaken\.start returned 0; return the next state and an Action"):
        on_this_machine(small_sweep(policy=Mistaken(first=0)))
    on_this_machine(small_sweep(policy=Mistaken(first=(torch.zeros(3), Action()))))


@pytest.mark.parametrize("seconds", [0, 1000])
def test_a_state_that_can_no_longer_be_saved_fails_the_trial_at_the_end_of_the_epoch(
    seconds: float, tmp_path: Path
) -> None:
    """Not only where a checkpoint is due, which may be after the last step."""
    assignment = assign(tmp_path, checkpoint_seconds=seconds)
    run = carry_out(Quadratic(), Mistaken(then=([torch.nn.ReLU()], Action())), assignment)
    with pytest.raises(TypeError, match=r"Mistaken\.act made a state that cannot be saved: state at 0 is a torch\.nn"):
        assert all(item is None or item.kind != "report" for item in run)


def test_an_optimizer_that_cannot_be_saved_fails_the_trial_at_its_first_checkpoint(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Odd(Quadratic):
        def optimizer(self, model: torch.nn.Module, config: Any) -> torch.optim.Optimizer:
            made = super().optimizer(model, config)
            made.param_groups[0]["clock"] = iter([])
            return made

    with pytest.raises(
        TypeError, match=r"Odd\.optimizer made a state that cannot be saved: state at param_groups/0/clock"
    ):
        list(carry_out(Odd(), None, assign(tmp_path)))


@pytest.mark.parametrize("name", STATES)
def test_what_can_be_saved_passes_the_check(name: str) -> None:
    """A NumPy number did not: a function whose state had one got no checkpoints."""
    codec.check({"value": STATES[name], "number": np.float64(0.5)})


FIRST: dict[str, Any] = {"updates": 0, "rates": [], "seen": set(), "counts": np.zeros(1), "mean": torch.zeros(1)}


@dataclass(frozen=True)
class InPlace(Policy[dict[str, Any]]):
    """Starts all its trainings from one object, and changes its state in place."""

    def start(self, signals: Signals) -> tuple[dict[str, Any], Action]:
        return FIRST, Action()

    def act(self, state: dict[str, Any], signals: Signals) -> tuple[dict[str, Any], Action]:
        state["updates"] += 1
        state["rates"].append(0.1)
        state["seen"].add(signals.samples)
        state["counts"] += 1
        state["mean"] += 1
        return state, Action()


def begun(policy: Policy[Any], **options: Any) -> Control:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Control(policy, model, optimizer, batch_size=4, samples=8, epochs=2, **options)


def test_a_state_that_is_changed_in_place_changes_no_saved_state_and_no_other_training() -> None:
    first, second = begun(InPlace()), begun(InPlace())
    first.update(1.0, 4)
    saved = first.state_dict()
    before = repr(saved)
    first.update(1.0, 4)
    second.load_state_dict(saved)
    second.update(1.0, 4)
    assert repr(saved) == before
    assert repr(first.state_dict()["policy"]) == repr(second.state_dict()["policy"]) != repr(saved["policy"])
    assert begun(InPlace()).state_dict()["policy"]["updates"] == 0


# The answers


WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (None, r"act returned None; return the next state and an Action"),
    "no state": (Action(), r"act returned Action\(.*; return the next state and an Action"),
    "no action": ((0, None), r"act returned \(0, None\); return the next state and an Action"),
    "bare knobs": ((0, KNOBS), r"act returned \(0, Knobs\(.*Action\(knobs=…\)"),
    "a rate for knobs": ((0, Action(knobs=0.1)), r"act returned Action\(knobs=0\.1\); write .*replace"),  # type: ignore[arg-type]
    "a number for a reason": ((0, Action(why=3)), r"act returned Action\(why=3\); write, for example, why='the loss stalls'"),  # type: ignore[arg-type]
    "a number for averages": ((0, Action(averages=16.0)), r"act returned .*write, for example, averages=\(16\.0,\)"),  # type: ignore[arg-type]
    "a text as found": ((0, Action(found={"rate": "low"})), r".*found=\{'rate': 'low'\}\); found holds numbers"),  # type: ignore[dict-item]
    "a text for evidence": ((0, Action(why="x", evidence="because")), r".*evidence='because'\); evidence holds numbers"),  # type: ignore[arg-type]
    "texts in evidence": ((0, Action(why="x", evidence={"a": "b"})), r".*evidence holds numbers by name"),  # type: ignore[dict-item]
    "undeclared": (turned(momentum=0.5), r"act turned momentum to 0\.5, which its `writes` does not name; add it there: writes ="),
    "uphill": (turned(learning_rate=-0.1), r"act turned learning_rate to -0\.1: must be a finite number, 0 or more"),
    "not a number": (turned(learning_rate=math.nan), r"act turned learning_rate to nan: must be a finite number"),
    "infinite": (turned(learning_rate=math.inf), r"act turned learning_rate to inf: must be a finite number"),
    "a text": (turned(learning_rate="0.1"), r"act turned learning_rate to '0\.1': must be a finite number"),
    "part of a sample": (turned(batch_size=35.2), r"act turned batch_size to 35\.2: must be a whole number, .* round"),
    "no batch": (turned(batch_size=0), r"act turned batch_size to 0: must be a whole number, 1 or more"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_refused_with_its_class_and_method(name: str) -> None:
    answer, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=rf"^Mistaken\.{message}"):
        checked(Mistaken(), "act", answer, KNOBS)


@pytest.mark.parametrize(
    "answer", [turned(), (None, Action()), turned(learning_rate=0.0), turned(batch_size=np.int64(64), learning_rate=np.float32(0.5))]
)  # fmt: skip
def test_a_right_answer_passes(answer: Any) -> None:
    assert checked(Mistaken(), "act", answer, KNOBS) == answer


class Quiet(Policy[None]):
    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate"})

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, Action()

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action()


class Blames(Quiet):
    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action(why="high" if signals.loss > 1 else "")  # type: ignore[operator]


class Measures(Quiet):
    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action(why=f"{signals.metrics['accuracy']}")


class Clips(Quiet):
    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action(knobs=replace(signals.knobs, clip_norm=1.0))  # type: ignore[call-arg]


class Abbreviates(Quiet):
    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action(why=f"{signals.knobs.lr}")  # type: ignore[attr-defined]


class Writes(Quiet):
    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        signals.knobs.learning_rate /= 2  # type: ignore[misc]
        return None, Action()


class Explodes(Quiet):
    needs = frozenset({"loss"})

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action(why=f"{math.log(-signals.loss)}" if signals.loss else "")


BARE: list[tuple[type[Policy[Any]], str]] = [
    (Blames, r"'>' not supported .*; signals\.loss is None without needs = frozenset\(\{'loss'\}\) in the class$"),
    (Measures, r"KeyError: 'accuracy'; signals\.metrics is empty except at an epoch's end"),
    (Clips, r"Knobs.*'clip_norm'; the knobs are learning_rate, .*your training sets all else itself"),
    (Abbreviates, r".*no attribute 'lr'; it has batch_size, learning_rate, momentum, weight_decay$"),
    (Writes, r"FrozenInstanceError: .*'learning_rate'; .*new knobs are replace\(signals\.knobs, …\)$"),
    (Explodes, r"(math domain error|expected a positive input)"),
]


@pytest.mark.parametrize(("kind", "words"), BARE)
def test_an_error_of_python_names_the_class_the_method_and_what_to_write(kind: type[Policy[Any]], words: str) -> None:
    """Of an inner policy, too. The dry run asks once, and leaves to the trial what may depend on the values."""
    for policy in (kind(), Averaged(kind())):
        with pytest.raises(
            (TypeError, AttributeError, LookupError, ValueError), match=rf"^{kind.__name__}\.act: {words}"
        ):
            begun(policy, measure=dict, metric="loss").update(1.0, 4)
    if kind is Explodes:
        on_this_machine(small_sweep(policy=kind()))
    else:
        with pytest.raises(BadInput, match=rf"^Sweep\(policy\): {kind.__name__}\.act: {words}"):
            on_this_machine(small_sweep(policy=kind()))


@pytest.mark.parametrize("method", ["start", "act"])
def test_the_loop_the_control_and_the_dry_run_check_the_answers(method: str, prepared: Path) -> None:
    policy = Mistaken(**{"first" if method == "start" else "then": None})
    with pytest.raises(TypeError, match=rf"Mistaken\.{method} returned None"):
        list(begin(Quadratic(), policy, prepared))
    around = (Watchdog(policy), Warmup(0.0, then=policy), Averaged(policy), Compose(policy, Fixed()))
    for each in (policy, *around, Watchdog(Averaged(policy))):
        with pytest.raises(TypeError, match=rf"^Mistaken\.{method} returned None"):
            begun(each, measure=dict, metric="loss").update(1.0, 4)
    if method == "start":
        assert "Mistaken.start returned None" in warning_at_start(Quadratic(), policy, good(Quadratic()), samples=8)


# The class


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        (
            "writes",
            frozenset({"lr"}),
            r"no policy can name 'lr' there; choose from 'learning_rate', 'batch_size'.*your training sets",
        ),
        ("writes", "learning_rate", r"must be a set of names; write writes = frozenset\(\{'learning_rate'\}\)"),
        ("writes", {}, r"must be a set of names"),
        ("needs", frozenset({"gradients"}), r"no policy can name 'gradients' there; choose from 'loss', 'gradient'"),
    ],
)
def test_a_name_that_means_nothing_is_refused_where_the_class_is_written(
    attribute: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^Typo: {attribute} = .*: {message}"):
        type("Typo", (Policy,), {attribute: value})


class Hidden(Policy[None]):
    """Keeps a count on itself, which no checkpoint has."""

    def __init__(self) -> None:
        self.updates = 0

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, Action()

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action()


@dataclass
class Thawed(Policy[None]):
    updates: int = 0

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, Action()

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, Action()


@pytest.mark.parametrize("kind", [Hidden, Thawed])
def test_a_policy_that_would_keep_state_on_itself_cannot_be_made(kind: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"{kind.__name__}\.updates = 0: a policy keeps nothing on itself.*frozen=True"
    ):
        Watchdog(kind())


@dataclass(frozen=True)
class Logs(Policy[None]):
    log: list[float] = field(default_factory=list)

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, Action()

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        self.log.append(signals.samples)
        return None, Action()


def test_a_policy_that_changes_a_list_among_its_fields_fails_at_the_end_of_the_epoch() -> None:
    control = begun(Logs())
    control.update(1.0, 4)
    with pytest.raises(
        TypeError, match=r"^Logs changed itself and is now Logs\(log=\[4, 4\]\): .*keeps nothing on itself"
    ):
        control.end_epoch({"valid_loss": 1.0})


FOREIGN = [np.int64(24), torch.tensor(24), np.array(24)]


@pytest.mark.parametrize("batch", FOREIGN)
def test_numbers_of_other_libraries_are_recorded_as_pythons(batch: Any, tmp_path: Path) -> None:
    """They ended the whole sweep, as a fault in the orchestrator."""
    rate = torch.tensor(0.25)
    evidence = {"count": np.int64(3), "norm": torch.tensor(0.5), "mean": np.float32(0.5)}

    @dataclass(frozen=True)
    class Numeric(Policy[Any]):
        writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size"})

        def start(self, signals: Signals) -> tuple[Any, Action]:
            turned = replace(signals.knobs, batch_size=batch, learning_rate=rate)
            return 0, Action(knobs=turned, why="a try", evidence=evidence)

        def act(self, state: Any, signals: Signals) -> tuple[Any, Action]:
            return state, Action()

    sweep = small_sweep(workload=Quadratic(horizon=2), policy=Numeric(), num_samples=1)
    driver = simulated(tmp_path, sweep)
    assert driver.history.trials[0].status is Status.COMPLETED
    decisions = recorded(tmp_path, "decision")
    assert [type(value) for value in vars(replace(KNOBS, batch_size=batch, learning_rate=rate)).values()][:2] == [
        float,
        int,
    ]
    assert any('"count": 3' in str(row) or "'count': 3" in str(row) for row in decisions), decisions
