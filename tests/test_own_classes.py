"""A class of one's own whose methods or attributes break the contract is refused with what to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import BadInput
from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher, Verdict
from search.history import History, Trial
from search.records import Suggestion
from search.rules.answers import WrongAnswer
from search.rules.proposals import propose_random
from search.schedulers.run_to_end import RunToEnd
from search.searchers.points import Points
from search.searchers.random import Random
from search.space import Space
from tests.support import SPACE, simulated, small_sweep
from trainables.contract import Policy
from trainables.policies.warmup import Warmup
from trainables.values import Action
from trainables.workloads.quadratic import Quadratic


class Still(Policy[None]):
    def start(self, signals: Any) -> tuple[None, Action]:
        return None, Action()

    def act(self, state: None, signals: Any) -> tuple[None, Action]:
        return None, Action()


class Draws(Searcher):
    def suggest(self, history: History) -> Any:
        return propose_random(history)


class Stays(Scheduler):
    def judge(self, trial: Trial, history: History) -> Verdict:
        return Verdict.CONTINUE


SOUND: dict[str, type] = {"searcher": Draws, "scheduler": RunToEnd, "policy": Still, "workload": Quadratic}


def derived(part: str, **members: Any) -> Any:
    """An object of the class Own, which has `members` beside those of a sound class."""
    own = type("Own", (SOUND[part],), members)
    return own(horizon=4) if part == "workload" else own()


def without_arguments(self: Any) -> Any: ...


def with_one_too_many(self: Any, one: Any, two: Any, three: Any) -> Any: ...


def without_self() -> Any: ...


SIGNATURES = [
    ("searcher", "suggest", "(self, history)"),
    ("searcher", "prepare", "(self, history)"),
    ("searcher", "remaining", "(self, history)"),
    ("searcher", "forkable", "(self, history)"),
    ("searcher", "doubt", "(self, history)"),
    ("searcher", "check", "(self, space)"),
    ("scheduler", "judge", "(self, trial, history)"),
    ("scheduler", "promote", "(self, history)"),
    ("scheduler", "cuts", "(self, horizon)"),
    ("policy", "start", "(self, signals)"),
    ("policy", "act", "(self, state, signals)"),
    ("workload", "loss", "(self, model, indices)"),
    ("workload", "evaluate", "(self, model, part)"),
]


@pytest.mark.parametrize("method", [without_arguments, with_one_too_many, without_self, None])
@pytest.mark.parametrize(("part", "name", "signature"), SIGNATURES)
def test_a_method_with_the_wrong_arguments_is_refused_with_the_right_ones(
    part: str, name: str, signature: str, method: Any
) -> None:
    """`def judge(self, trial)` was told as a fault of ours, after the start."""
    with pytest.raises(BadInput) as caught:
        small_sweep(**{part: derived(part, **{name: method})})
    assert f"Own.{name} must be a method with the arguments of the contract; write def {name}{signature}." in str(
        caught.value
    )


def test_a_wrong_method_of_a_policy_that_a_function_returns_is_refused() -> None:
    with pytest.raises(BadInput, match=r"Sweep\(policy=Own\): Own\.act must .* write def act\(self, state, signals\)"):
        small_sweep(policy=lambda config: derived("policy", act=without_arguments))


def test_arguments_may_have_other_names_and_defaults(tmp_path: Path) -> None:
    def decorated(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*given: Any) -> Any:
            return method(*given)

        return call

    class Named(Scheduler):
        @decorated
        def judge(self, one: Trial, past: History, /) -> Verdict:
            return Verdict.CONTINUE

        @staticmethod
        def cuts(steps: int, least: int = 1) -> str:  # type: ignore[override]
            return ""

    class Loose(Draws):
        def prepare(self, *given: Any, **named: Any) -> None: ...

    done = simulated(tmp_path, small_sweep(searcher=Loose(), scheduler=Named(), num_samples=1))
    assert len(done.history.trials) == 1


@pytest.mark.parametrize(
    ("part", "name", "value", "wanted"),
    [
        ("searcher", "finalists", 2.5, "a whole number, 0 or more"),
        ("searcher", "finalists", None, "a whole number, 0 or more"),
        ("searcher", "finalists", True, "a whole number, 0 or more"),
        ("searcher", "finalists", -1, "a whole number, 0 or more"),
        ("searcher", "continues", 1, "True or False"),
        ("searcher", "schedules", "yes", "True or False"),
        ("searcher", "why_full", True, "text, or None"),
        ("searcher", "why_full", False, "text, or None"),
        ("scheduler", "resumes", "no", "True or False"),
    ],
)
def test_a_wrong_attribute_of_a_class_is_refused_before_the_start(
    part: str, name: str, value: Any, wanted: str
) -> None:
    """With `finalists = 2.5` the whole sweep ran, and then ended with a traceback from islice."""
    with pytest.raises(BadInput) as caught:
        small_sweep(**{part: derived(part, **{name: value})})
    assert f"Sweep({part}=Own): {name} = {value!r}: must be {wanted}" in str(caught.value)


class Plain:
    """Has the methods of a searcher, a scheduler and a policy, and is derived from none."""

    def suggest(self, history: History) -> None: ...

    def judge(self, trial: Trial, history: History) -> None: ...

    def start(self, signals: Any) -> None: ...

    def act(self, state: None, signals: Any) -> None: ...


@pytest.mark.parametrize(
    ("refused", "contract"),
    [
        (lambda: small_sweep(searcher=Plain()), "Searcher), of search.contract"),
        (lambda: small_sweep(searcher=Plain), "Searcher), of search.contract"),
        (lambda: small_sweep(scheduler=Plain()), "Scheduler), of search.contract"),
        (lambda: small_sweep(policy=Plain()), "Policy), of trainables.contract"),
        (lambda: small_sweep(policy=Plain), "Policy), of trainables.contract"),
        (lambda: small_sweep(policy=lambda config: Plain()), "Policy), of trainables.contract"),
        (lambda: Points([], then=Plain()), "Searcher), of search.contract"),  # type: ignore[arg-type]
        (lambda: Warmup(0.5, then=Plain()), "Policy), of trainables.contract"),  # type: ignore[arg-type]
        (lambda: AskAndTell(Space(SPACE), Random(), Plain(), horizon=1), "Scheduler), of search.contract"),  # type: ignore[arg-type]
    ],
)
def test_a_class_with_the_right_methods_is_told_what_to_derive_from(refused: Callable[[], Any], contract: str) -> None:
    """It was told to write one of ours in its place."""
    with pytest.raises(ValueError) as caught:
        refused()
    assert f"derive the class from it: class Plain({contract}" in str(caught.value)


def defined(part: str, given: Any) -> Any:
    return small_sweep(**{part: given})


def asked(part: str, given: Any) -> Any:
    return AskAndTell(Space(SPACE), **({"searcher": Random()} | {part: given}), horizon=1)


@pytest.mark.parametrize("where", [defined, asked])
@pytest.mark.parametrize("part", ["searcher", "scheduler"])
def test_a_class_whose_objects_keep_a_state_is_refused_wherever_it_is_given(part: str, where: Any) -> None:
    """AskAndTell took such a searcher, and continued otherwise in another process."""

    class Seen:
        def __init__(self) -> None:
            self.seen = 0

    kind = type("Counts", (Seen, Draws if part == "searcher" else Stays), {})
    with pytest.raises(ValueError, match=rf"\({part}=Counts\): its objects keep seen, .* make it a frozen dataclass"):
        where(part, kind())
    with pytest.raises(ValueError, match=rf"\({part}=Own\): Own\.\w+ must be a method with the arguments"):
        where(part, derived(part, **{"suggest" if part == "searcher" else "judge": without_arguments}))


def test_the_searcher_inside_another_one_is_checked_too() -> None:
    point = {name: parameter.from_unit(0.5) for name, parameter in SPACE.items()}
    with pytest.raises(BadInput, match=r"Sweep\(searcher=Own\): finalists = 2\.5"):
        small_sweep(searcher=Points([point], derived("searcher", finalists=2.5)))


@dataclass(frozen=True)
class Forks(Random):
    answer: Callable[[History], Any] = lambda history: ()

    continues = True

    def suggest(self, history: History) -> Suggestion | Any:
        return propose_random(history)

    def forkable(self, history: History) -> Any:
        return self.answer(history)


WRONG: list[tuple[Callable[[History], Any], str]] = [
    (lambda history: [trial.number for trial in history], r"\[0\]"),
    (lambda history: [(0, 1, 2)], r"\[\(0, 1, 2\)\]"),
    (lambda history: [(0, 1.5)], r"\[\(0, 1\.5\)\]"),
    (lambda history: None, "None"),
]


@pytest.mark.parametrize(("answer", "shown"), WRONG)
def test_a_wrong_answer_of_forkable_names_class_and_method(
    answer: Callable[[History], Any], shown: str, tmp_path: Path
) -> None:
    """It was a TypeError from our own code."""
    with pytest.raises(WrongAnswer, match=rf"Forks\.forkable\(\) returned {shown}; return pairs \(trial, step\)"):
        simulated(tmp_path, small_sweep(searcher=Forks(answer)))


def test_forkable_may_return_pairs_in_any_collection(tmp_path: Path) -> None:
    """The same checkpoints stay, whether the pairs are tuples, an array or a generator."""

    def pairs(history: History) -> list[tuple[int, int]]:
        return [(trial.number, trial.steps[0]) for trial in history if trial.steps]

    def kept(name: str, answer: Callable[[History], Any]) -> list[str]:
        folder = tmp_path / name
        simulated(folder, small_sweep(searcher=Forks(answer), keep_checkpoints=1))
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("checkpoints/*"))

    listed = kept("list", pairs)
    assert len(listed) > len(kept("none", lambda history: ()))
    assert kept("array", lambda history: np.array(pairs(history))) == listed
    assert kept("generator", lambda history: iter(pairs(history))) == listed
