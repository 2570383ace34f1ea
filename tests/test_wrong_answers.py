"""What a searcher or a scheduler returns is checked before anything is recorded."""

from __future__ import annotations

import importlib
import linecache
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import BadInput
from orchestrator.definition.bad_input import of_own_code
from orchestrator.driver import Driver
from orchestrator.errors import NotTheSame
from orchestrator.main import guarded
from orchestrator.page.health.searcher import searcher
from orchestrator.reading.audit import print_audit
from orchestrator.reading.dry_run import print_plan
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from search.contract import Scheduler, Searcher, Verdict, generator
from search.history import History, Trial
from search.records import End, Over, Report, Status, Suggestion, fork, resume, start
from search.rules.answers import WrongAnswer
from search.rules.conduct import Instead, Rules, after_report, next_move
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, uniform
from tests.records_on_disk import read
from tests.support import recorded, simulated, small_sweep

SPACE = Space({"x": uniform(0, 1)})


def with_a_resting_trial(step: int = 2) -> History:
    """Trial 0 rests at `step` of 4, trial 1 is completed."""
    history = History(SPACE, horizon=4)
    for number, last in ((0, step), (1, 4)):
        history.append(start({"x": number / 2}))
        for each in range(1, last + 1):
            history.append(Report(number, each, 0.5))
    history.append(End(0, Status.STOPPED))
    history.append(End(1, Status.COMPLETED))
    return history


@dataclass(frozen=True)
class Promotes(Scheduler):
    answer: Callable[[History], Any]

    resumes = True

    def judge(self, trial: Trial, history: History) -> Verdict:
        return Verdict.CONTINUE

    def promote(self, history: History) -> Any:
        return self.answer(history)


@dataclass(frozen=True)
class Judges(Scheduler):
    answer: Any

    def judge(self, trial: Trial, history: History) -> Any:
        return self.answer


@dataclass(frozen=True)
class Suggests(Searcher):
    answer: Callable[[History], Any]

    continues = True

    def suggest(self, history: History) -> Any:
        return self.answer(history)


PROMOTIONS: list[tuple[Callable[[History], Any], str]] = [
    (lambda history: resume(history.trials[1]), "a resume of trial 1, which is completed; only a resting trial"),
    (lambda history: resume(history.trials[0], until=1), "until=1: must be a whole number .*, from 3 to 4"),
    (lambda history: resume(history.trials[0], until=9), "until=9: must be a whole number .*, from 3 to 4"),
    (lambda history: history.trials[0], r"Trial\(0, stopped.*return resume\(trial\) of a resting trial, or None"),
    (lambda history: 0, r"0; return resume\(trial\)"),
    (lambda history: start({"x": 0.5}), r"a start; return resume\(trial\)"),
    (lambda history: Suggestion("resume", {"x": 0.5}, 7), "trial 7, which does not exist"),
]


@pytest.mark.parametrize(("answer", "words"), PROMOTIONS)
def test_a_wrong_promotion_is_refused_with_what_to_return(answer: Callable[[History], Any], words: str) -> None:
    """The promotion of a completed trial hung under Ray for good, and ignored SIGTERM."""
    with pytest.raises(WrongAnswer, match=rf"Promotes\.promote\(\) returned .*{words}"):
        next_move(with_a_resting_trial(), Random(), Promotes(answer), Rules())


def test_a_resting_trial_may_be_promoted_to_a_later_step() -> None:
    promotes = Promotes(lambda history: resume(history.trials[0], until=np.int64(3)))  # type: ignore[arg-type]
    move = next_move(with_a_resting_trial(), Random(), promotes, Rules())
    assert isinstance(move, Suggestion)
    assert (move.trial, move.until, type(move.until)) == (0, 3, int)


@pytest.mark.parametrize("answer", [None, False, True, "STOP", "stop", 0])
def test_only_a_verdict_judges(answer: Any) -> None:
    """Everything else silently meant CONTINUE."""
    history = History(SPACE, horizon=4)
    trial = history.append(start({"x": 0.5}))
    history.append(Report(0, 1, 0.5))
    with pytest.raises(WrongAnswer, match=rf"returned {answer!r}; return Verdict\.STOP or Verdict\.CONTINUE"):
        after_report(trial, history, Judges(answer), Rules())


def test_a_wrong_verdict_ends_the_sweep_with_one_error_and_the_place(tmp_path: Path) -> None:
    with pytest.raises(WrongAnswer) as caught:
        simulated(tmp_path, small_sweep(scheduler=Judges("stop")))
    told = of_own_code(caught.value)
    assert isinstance(told, BadInput)
    assert f"{Path(__file__).name}, line " in str(told)
    assert recorded(tmp_path, "report") == []  # the report that it judged is taken up again


SUGGESTIONS: list[tuple[Callable[[History], Any], str]] = [
    (lambda history: {"x": 0.5}, r"return start\(config\), resume\(trial\)"),
    (lambda history: [start({"x": 0.5})], r"return start\(config\)"),
    (lambda history: start({"x": 0.5}, origin="finalist"), "origin='finalist', which is reserved"),
    (lambda history: start({"x": 0.5}, origin="baseline"), "origin='baseline', which is reserved"),
    (lambda history: start({"x": 0.5}, until=0.5), "until=0.5: must be a whole number of steps"),  # type: ignore[arg-type]
    (lambda history: start({"x": 0.5}, until="3"), "until='3': must be a whole number of steps"),  # type: ignore[arg-type]
    (lambda history: start({"x": 0.5}, until=True), "until=True: must be a whole number of steps"),
    (lambda history: start({"x": 0.5}, until=-3), "until=-3: must be .*, from 1 to 4"),
    (lambda history: start({"x": 0.5}, until=5), "until=5: must be .*, from 1 to 4"),
    (lambda history: fork(history.trials[1], 2, {"x": 0.5}, until=2), "until=2: must be .*, from 3 to 4"),
    (lambda history: fork(history.trials[1], 77, {"x": 0.5}, until=3), "parent_step=77: must be a step .* its last, 4"),
    (lambda history: start({"x": 0.5}, evidence=3), "evidence=3: must be text"),  # type: ignore[arg-type]
    (lambda history: start({"x": 0.5}, evidence=None), "evidence=None: must be text"),  # type: ignore[arg-type]
    (lambda history: start({"x": 0.5}, memo={"a": 1}), r"memo={'a': 1}: must be text, such as json\.dumps"),  # type: ignore[arg-type]
    (lambda history: start({"x": 0.5}, origin=None), "origin=None: must be a word"),  # type: ignore[arg-type]
    (lambda history: start([0.5]), r"config=\[0\.5\]: must be a dict"),  # type: ignore[arg-type]
    (lambda history: sys.exit("enough"), "failed: SystemExit: enough"),
]


@pytest.mark.parametrize(("answer", "words"), SUGGESTIONS)
def test_a_wrong_suggestion_is_an_error_of_its_searcher(answer: Callable[[History], Any], words: str) -> None:
    """A share as `until` stopped every trial at its first step; the origin of finalists made a sweep endless."""
    move = next_move(with_a_resting_trial(), Suggests(answer), RunToEnd(), Rules())
    assert isinstance(move, Instead)
    assert isinstance(move.move, Suggestion)
    assert move.move.origin == "fallback"
    with pytest.raises(AssertionError, match=rf"Suggests.*{words}"):
        raise AssertionError(move.why)


def test_a_searcher_that_resumes_says_so_in_its_class() -> None:
    @dataclass(frozen=True)
    class Silent(Suggests):
        continues = False

    for answer in (lambda history: resume(history.trials[0]), lambda history: fork(history.trials[1], 2, {"x": 0.5})):
        move = next_move(with_a_resting_trial(), Silent(answer), RunToEnd(), Rules())
        assert isinstance(move, Instead)
        assert "set `continues = True`" in move.why
        assert isinstance(next_move(with_a_resting_trial(), Suggests(answer), RunToEnd(), Rules()), Suggestion)


def test_a_trial_that_comes_back_as_it_went_counts_as_a_loss(tmp_path: Path) -> None:
    """It stayed in the driver's books as running, and the sweep never ended, not even at a signal."""
    sweep = small_sweep(num_samples=1)
    done = simulated(tmp_path, sweep).history.trials[0]
    ledger, clock = Ledger.write(tmp_path), SimulatedClock()
    with ledger.transaction():
        ledger.add_sweep(sweep, "", [])
        ledger.add_suggestion(0, resume(done), seed=1)  # at its end already
    driver = Driver(sweep, ledger, clock=clock)
    simulate(driver, clock, workers=1)
    ledger.close()
    assert driver.finished
    assert not driver.running
    assert driver.history.trials[0].reason.startswith("WorkerLost: its training ended without an answer")


@dataclass(frozen=True)
class FailsFrom(Searcher):
    """Fails once it has so many trials."""

    trials: int

    def suggest(self, history: History) -> Suggestion:
        if len(history.trials) >= self.trials:
            raise IndexError("list index out of range")
        return start(history.space.sample(generator(history)))


@pytest.mark.parametrize(("fails_from", "is_found"), [(0, True), (2, True), (3, False)])
def test_a_searcher_that_fails_most_of_the_time_is_a_serious_finding(
    tmp_path: Path, fails_from: int, is_found: bool
) -> None:
    """It passed as success: "Suggestions 6 fallback", and no finding."""
    simulated(tmp_path, small_sweep(searcher=FailsFrom(fails_from), num_samples=6))
    found = searcher(read(tmp_path))
    assert [finding.severity for finding in found] == ["serious"] * is_found
    for finding in found:
        assert f"failed at {6 - fails_from} of 6 suggestions" in finding.sentence
        assert f"{Path(__file__).name}, line " in finding.evidence


def test_an_error_of_the_searcher_is_shown_with_its_place(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(searcher=FailsFrom(2), num_samples=3))
    told = [row["text"].splitlines()[0] for row in recorded(tmp_path, "event") if row["kind"] == "fallback"]
    assert len(told) == 1
    assert told[0].startswith("FailsFrom failed: IndexError: list index out of range (")
    assert re.search(rf"{Path(__file__).name}, line \d+: raise IndexError", told[0])


@dataclass(frozen=True)
class Remembers(Searcher):
    asked: list[int] = field(default_factory=list)

    def suggest(self, history: History) -> Suggestion:
        self.asked.append(len(history))
        return start(history.space.sample(np.random.default_rng(len(self.asked))))


@dataclass(frozen=True)
class Draws(Searcher):
    def suggest(self, history: History) -> Suggestion:
        return start(history.space.sample(np.random.default_rng()))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (FailsFrom(3), r"FailsFrom failed: IndexError: .* \(.*, line \d+: raise"),
        (Suggests(lambda history: {}), r"Suggests\.suggest\(\) returned {}; return start\(config\).* \(.*, line"),
        (Suggests(lambda history: start({})), r"Suggests\.suggest\(\) returned {}: .*is missing.* \(.*, line"),
        (Remembers(), r"Remembers\.suggest\(\) is not a function of the history"),
        (Draws(), r"Draws\.suggest\(\) is not a function of the history.* generator\(history\)"),
    ],
)
def test_a_dry_run_ends_with_the_error_of_a_searcher(made: Searcher, words: str, tmp_path: Path) -> None:
    """It printed "(fallback)" five times, with no reason."""
    with pytest.raises(BadInput, match=words):
        print_plan(small_sweep(searcher=made), tmp_path / "run")


@dataclass(frozen=True)
class StopsThird(Scheduler):
    """Stops a trial at the third of its reports that it has seen itself."""

    seen: list[int] = field(default_factory=list)

    def judge(self, trial: Trial, history: History) -> Verdict:
        self.seen.append(trial.number)
        return Verdict.STOP if self.seen.count(trial.number) > 2 else Verdict.CONTINUE


class PromotesOnce(StopsThird):
    """Resumes nothing once it has judged."""

    resumes = True

    def judge(self, trial: Trial, history: History) -> Verdict:
        self.seen.append(trial.number)
        return Verdict.STOP if trial.step == 1 else Verdict.CONTINUE

    def promote(self, history: History) -> Suggestion | None:
        resting = history.having(Status.STOPPED)
        return resume(resting[0]) if resting and not self.seen else None


@pytest.mark.parametrize(("scheduler", "method"), [(StopsThird(), "judge"), (PromotesOnce(), "promote")])
def test_a_dry_run_ends_with_a_scheduler_that_keeps_a_state(scheduler: Scheduler, method: str, tmp_path: Path) -> None:
    """The audit advised the dry run, which asked only the searcher twice."""
    name = type(scheduler).__name__
    with pytest.raises(BadInput, match=rf"Sweep\(scheduler\): {name}\.{method}\(\) is not a function of the history"):
        print_plan(small_sweep(scheduler=scheduler), tmp_path / "run")


@pytest.mark.parametrize("baseline", [None, {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 16}])
def test_a_dry_run_says_why_a_searcher_that_returns_none_starts_nothing(
    baseline: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said that nothing is left to do, without a reason."""
    print_plan(small_sweep(searcher=Suggests(lambda history: None), baseline=baseline), tmp_path / "run")
    assert re.search(
        r"nothing is left to do: Suggests has nothing to suggest: suggest\(\) returned None, so a return may be missing in it\.\n",
        capsys.readouterr().out,
    )


class Counts(Searcher):
    """Keeps a state that a sweep which continues would have forgotten."""

    def __init__(self, calls: int = 0) -> None:
        self.calls = calls

    def suggest(self, history: History) -> Suggestion:
        self.calls += 1
        return start({"x": 0.001 * self.calls})


@dataclass
class Thaws(Searcher):
    calls: int = 0

    def suggest(self, history: History) -> Suggestion:
        return start({"x": 0.5})


class CountsReports(Scheduler):
    def __init__(self) -> None:
        self.reports = self.trials = self.steps = 0

    def judge(self, trial: Trial, history: History) -> Verdict:
        return Verdict.CONTINUE


class Plain(Searcher):
    """Has no field, so it can keep nothing."""

    def suggest(self, history: History) -> Suggestion:
        return start(history.space.sample(generator(history)))


@dataclass(frozen=True)
class PromotesUnsaid(Promotes):
    resumes = False


@dataclass(frozen=True)
class Answers(Plain):
    remains: Any = None
    error: Exception | None = None

    def remaining(self, history: History) -> Any:
        return self.remains

    def check(self, space: Space) -> None:
        if self.error is not None:
            raise self.error


@dataclass(frozen=True)
class CutsList(Judges):
    def cuts(self, horizon: int) -> Any:
        return [2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"searcher": Counts()}, r"searcher=Counts\): its objects keep calls, .*dataclass\(frozen=True\) above the class, and calls as a field\."),
        ({"searcher": Thaws()}, r"searcher=Thaws\): its objects keep calls, .*dataclass\(frozen=True\) above the class\.$"),
        ({"scheduler": CountsReports()}, r"keep reports, trials and steps, .* class, and reports, trials and steps as fields\."),
        ({"scheduler": PromotesUnsaid(lambda history: None)}, "Add `resumes = True` to the class PromotesUnsaid"),
        ({"searcher": Answers(remains=5)}, r"Answers\.remaining\(\) returned 5; return a list of configurations, or None"),
        ({"searcher": Answers(error=KeyError("lr"))}, r"Answers\.check\(\) failed: KeyError: 'lr' \(.*, line \d+"),
        ({"searcher": Answers(error=ValueError("no x"))}, r"Sweep\(searcher=Answers\(.*\): no x"),
        ({"scheduler": CutsList(None)}, r"CutsList\.cuts\(\) returned \[2\]; return text"),
    ],
)  # fmt: skip
def test_a_class_that_breaks_the_contract_is_refused_before_the_start(changes: dict[str, Any], words: str) -> None:
    """After a kill, a searcher that counted its calls began anew: trials 4 and 5 repeated trials 0 and 1."""
    with pytest.raises(BadInput, match=words):
        small_sweep(**changes)


def test_a_class_without_fields_needs_no_dataclass() -> None:
    assert isinstance(small_sweep(searcher=Plain()).searcher, Plain)


OWN = """
from dataclasses import dataclass
import numpy as np
from search.contract import Searcher
from search.records import start

@dataclass(frozen=True)
class Own(Searcher):
    def suggest(self, history):
        return start(history.space.sample(np.random.default_rng(SEED)))
"""


def test_an_audit_says_whether_the_code_of_a_searcher_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It always said "If the code of a searcher or scheduler has changed since"."""

    def own(seed: str) -> Any:
        (tmp_path / "own_searcher.py").write_text(OWN.replace("SEED", seed))
        sys.modules.pop("own_searcher", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return small_sweep(searcher=importlib.import_module("own_searcher").Own(), num_samples=2)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    simulated(tmp_path / "run", own(""))
    with pytest.raises(NotTheSame, match=r"The code of Own\(\) has not changed since, so .*generator\(history\)"):
        print_audit(own(""), tmp_path / "run")
    with pytest.raises(NotTheSame, match=r"The code of Own\(\) has changed since; audit with the code"):
        print_audit(own("len(history)"), tmp_path / "run")


def test_a_searcher_that_returns_nothing_is_asked_for_its_return() -> None:
    move = next_move(History(SPACE, horizon=4), Suggests(lambda history: None), RunToEnd(), Rules())
    assert move == Over("Suggests has nothing to suggest: suggest() returned None, so a return may be missing in it")


def test_an_exit_in_a_scheduler_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The program ended with code 1 and not a word."""
    monkeypatch.setattr(sys, "argv", ["sweep.py"])

    def leaves() -> None:
        sys.exit("enough now")

    assert guarded(leaves) == 1
    assert re.match(rf"error: enough now \(.*{Path(__file__).name}, line \d+: sys\.exit", capsys.readouterr().err)


@dataclass(frozen=True)
class Numeric(Searcher):
    """Forks and resumes by numbers of NumPy, and gives a parameter as an array without dimensions."""

    continues = True

    def config(self, rate: float) -> dict[str, Any]:
        return {"learning_rate": np.array(rate), "momentum": np.float64(0.5), "batch_size": np.int64(8)}

    def suggest(self, history: History) -> Suggestion | None:
        resting = history.having(Status.STOPPED)
        if len(history.trials) < 2:
            return start(self.config(0.01), until=np.int64(2))
        if len(history.trials) == 2 and resting:
            forked = fork(resting[0], np.int64(2), self.config(0.02), replaces=np.int64(0))
            return replace(forked, parent=np.int64(resting[0].number))
        return replace(resume(resting[0]), trial=np.int64(resting[0].number)) if resting else None

    def forkable(self, history: History) -> list[tuple[int, int]]:
        return [(trial.number, 2) for trial in history.having(Status.STOPPED)]


def test_a_searchers_numbers_may_be_numpys(tmp_path: Path) -> None:
    """A fork at a NumPy step found no checkpoint and trained from scratch; trial np.int64(0) "did not exist"."""
    simulated(tmp_path, small_sweep(searcher=Numeric(), num_samples=3))
    rows = recorded(tmp_path, "suggestion")
    assert ("fork", 0, 2, 0) in [(row["kind"], row["parent"], row["parent_step"], row["replaces"]) for row in rows]
    assert not [row for row in recorded(tmp_path, "event") if row["kind"] == "fallback"]
    assert rows[0]["config"]["learning_rate"] == 0.01
