"""FromFound: where a new trial starts from what others found, where it does not, and that a race says what it found."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from orchestrator.errors import BadInput
from orchestrator.page.analysis.columns import as_trained
from orchestrator.page.charts import Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import answer
from orchestrator.reading.dry_run import print_plan
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.ask_and_tell import AskAndTell
from search.history import History
from search.records import FOUND, Config, Suggestion, start
from search.schedulers.run_to_end import RunToEnd
from search.searchers.found import FromFound
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.points import Points
from search.searchers.random import Random
from search.space import Space, choice, loguniform, pow2, randint
from search.wording import with_found
from search.work import Reported
from tests.support import interrupted_after, recorded, sequence, simulated, small_sweep
from trainables.contract import Policy
from trainables.policies.averaged import Averaged
from trainables.policies.compose import Compose
from trainables.policies.fixed import Fixed
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.rate_race import RateRace
from trainables.policies.sma import Sma
from trainables.policies.warmup import Warmup
from trainables.training.loop import Training
from trainables.values import FOUND_RATE
from trainables.workloads.quadratic import Quadratic

SPACE = Space(
    {"learning_rate": loguniform(1e-5, 1), "batch_size": pow2(16, 1024), "optimizer": choice(["sgd", "adam"])}
)


def right(config: Config) -> float:
    return (3e-2 if config["optimizer"] == "sgd" else 3e-4) * math.sqrt(config["batch_size"] / 64)


def after(count: int, space: Space = SPACE, **settings: Any) -> AskAndTell:
    """A search in which each trial found the right value, whatever it started from."""
    tuning = AskAndTell(space, FromFound(Random(), **settings), horizon=1, seed=3)
    for _ in range(count):
        trial = tuning.ask()
        assert trial is not None
        tuning.tell(trial, 1, 1.0, metrics={FOUND + "learning_rate": right(trial.config)})
    return tuning


def off(tuning: AskAndTell) -> float:
    """By which factor the next trial's rate is off."""
    trial = tuning.ask()
    assert trial is not None
    return math.exp(abs(math.log(trial.config["learning_rate"] / right(trial.config))))


def test_before_any_trial_has_found_something_the_searchers_value_stays() -> None:
    theirs, ours = (AskAndTell(SPACE, each, horizon=1, seed=1).ask() for each in (Random(), FromFound(Random())))
    assert theirs is not None
    assert ours is not None
    assert ours.config == theirs.config


def test_later_trials_start_near_what_others_found_for_their_batch_and_optimizer() -> None:
    tuning = after(12)
    found = [off(tuning) for _ in range(12)]
    assert max(found) < 2, "three rates a factor of 4 apart have it in their middle"
    evidence = tuning.history.trials[-1].suggestion.evidence
    assert evidence.endswith("learning_rate as 12 trainings found it")


def test_the_rest_of_the_configuration_is_the_searchers() -> None:
    tuning = after(3)
    trial = tuning.ask()
    assert trial is not None
    own = Random().suggest(after(3).history)
    assert own is not None
    assert {**own.config, "learning_rate": 0} == {**trial.config, "learning_rate": 0}


def test_where_a_trial_has_all_other_settings_others_are_proposed_until_none_is_left() -> None:
    space = Space(
        {"learning_rate": loguniform(1e-5, 1), "batch_size": pow2(16, 32), "optimizer": choice(["sgd", "adam"])}
    )
    tuning = after(14, space)
    rests = [(trial.config["batch_size"], trial.config["optimizer"]) for trial in tuning.history]
    assert len({*rests[:5]}) == 4, "the first one came before anything was found"
    assert any("random, because trial " in trial.suggestion.evidence for trial in tuning.history)
    last = tuning.history.trials[-1].suggestion
    assert "has the same settings, and 200 draws found none that no trial has" in last.evidence
    assert last.origin == "found"


def test_settings_that_only_a_failed_training_had_are_tried_again() -> None:
    space = Space({"learning_rate": loguniform(1e-5, 1), "batch_size": pow2(16, 32), "optimizer": choice(["sgd"])})
    tuning = AskAndTell(
        space,
        FromFound(Random()),
        horizon=1,
        seed=3,
        points=[
            {"learning_rate": 1.0, "batch_size": 16, "optimizer": "sgd"},
            {"learning_rate": 0.1, "batch_size": 32, "optimizer": "sgd"},
        ],
    )
    for loss in (math.nan, 1.0):
        trial = tuning.ask()
        assert trial is not None
        tuning.tell(trial, 1, loss, metrics={FOUND_RATE: 0.03})
    third = tuning.ask()
    assert third is not None
    assert third.config["batch_size"] == 16


def test_a_known_configuration_on_another_task_stays_as_it_is() -> None:
    tuning = after(6)
    trial = tuning.history.trials[0]

    class Again(Random):
        def suggest(self, history: History) -> Suggestion:
            return start(trial.config, origin="promotion")

    suggestion = FromFound(Again()).suggest(tuning.history)
    assert isinstance(suggestion, Suggestion)
    assert suggestion.config == trial.config


def test_an_expectation_that_tells_nothing_is_not_followed() -> None:
    many = {f"choice {number}": choice(["a", "b", "c", "d"]) for number in range(8)}
    tuning = AskAndTell(Space({"learning_rate": loguniform(1e-5, 1), **many}), FromFound(Random()), horizon=1)
    first, _ = tuning.ask(), tuning.ask()
    assert first is not None
    tuning.tell(first, 1, 1.0, metrics={FOUND + "learning_rate": 0.5})
    second = tuning.ask()
    assert second is not None
    assert "found" not in second.suggestion.evidence


def test_a_value_beyond_the_range_becomes_its_end_and_a_constraint_is_kept() -> None:
    space = Space({"learning_rate": loguniform(1e-5, 1e-2), "batch_size": pow2(16, 64), "optimizer": choice(["sgd"])})
    trial = after(5, space).ask()
    assert trial is not None
    assert trial.config["learning_rate"] == 1e-2
    narrow = Space({"learning_rate": loguniform(1e-5, 1), "optimizer": choice(["sgd"]), "batch_size": choice([64])},
                   constraints={"small": lambda config: config["learning_rate"] < 1e-2})  # fmt: skip
    tuning = after(5, narrow)
    for _ in range(5):
        assert (trial := tuning.ask()) is not None
        assert trial.config["learning_rate"] < 1e-2


def test_given_points_and_earlier_sweeps() -> None:
    earlier = after(12).history
    earlier.is_tried_first = False
    points = [{"learning_rate": 0.5, "batch_size": 64, "optimizer": "sgd"}]
    searcher = Points(points, then=FromFound(Random()))
    tuning = AskAndTell(SPACE, searcher, horizon=1, seed=7, earlier=[earlier])
    given = tuning.ask()
    assert given is not None
    assert given.config == points[0], "a given point stays as it is"
    assert off(tuning) < 2


@pytest.mark.parametrize(
    ("searcher", "space", "words"),
    [
        (lambda: FromFound(Random), SPACE, "FromFound(searcher=Random): that is the class; write Random()"),
        (lambda: FromFound(Random(), per_batch="half"), SPACE, "per_batch"),
        (lambda: FromFound(Random()), Space({"layers": randint(1, 3)}), 'add "learning_rate": loguniform'),
        (lambda: FromFound(Random(), "rate"), SPACE, 'add "rate": loguniform'),
    ],
)
def test_wrong_settings(searcher: Any, space: Space, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        AskAndTell(space, searcher(), horizon=1)


RACE = RateRace(rungs=1, share=0, least=5, cool=0, again=())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "policy",
    [RACE, Warmup(0.1, then=RACE), Averaged(replace(RACE, gammas=())), Compose(RACE, Sma(2, period=4))],
    ids=["alone", "after a warm-up", "averaged", "beside replicas"],
)
def test_a_race_says_in_each_report_what_it_found_also_after_a_cut(policy: Policy[Any]) -> None:
    workload = Quadratic(horizon=8)
    config = {"learning_rate": 0.02, "batch_size": 8, "momentum": 0.0}

    def reports(training: Training) -> list[dict[str, float]]:
        return [dict(each.metrics) for each in training if isinstance(each, Reported)]

    whole = reports(Training(workload, policy, config, seed=1, until=8))
    assert len(whole) == 8
    assert len({metrics.get(FOUND_RATE) for metrics in whole[-2:]} - {None}) == 1
    half = Training(workload, policy, config, seed=1, until=2)
    begun = reports(half)
    rest = Training(workload, policy, config, seed=1, until=8)
    rest.load(half.state())
    assert begun + reports(rest) == whole


def test_the_better_a_result_the_more_its_value_counts() -> None:
    space = Space({"learning_rate": loguniform(1e-5, 1)})
    tuning = AskAndTell(space, FromFound(Random()), horizon=1, seed=3)
    for value, loss in ((1e-3, 0.1), (1e-1, 0.9)):
        trial = tuning.ask()
        assert trial is not None
        tuning.tell(trial, 1, loss, metrics={FOUND + "learning_rate": value})
    trial = tuning.ask()
    assert trial is not None
    assert 1e-3 < trial.config["learning_rate"] < 3e-3, "the middle would be 1e-2"
    assert trial.first_origin == "found"


def test_the_space_may_have_another_name_for_it() -> None:
    space = Space({"lr": loguniform(1e-5, 1)})
    tuning = AskAndTell(space, FromFound(Random(), parameter="lr"), horizon=1, seed=3)
    trial = tuning.ask()
    assert trial is not None
    tuning.tell(trial, 1, 1.0, metrics={FOUND_RATE: 0.02})
    assert with_found(trial) == {"lr": f"0.02 (found in training; began at {trial.config['lr']:.3g})"}
    second = tuning.ask()
    assert second is not None
    assert 0.01 < second.config["lr"] < 0.03


def test_a_trial_is_shown_with_what_it_found_and_what_it_began_at() -> None:
    tuning = AskAndTell(SPACE, Random(), horizon=1)
    trial = tuning.ask()
    assert trial is not None
    assert with_found(trial) == trial.config
    tuning.tell(trial, 1, 1.0, metrics={FOUND + "learning_rate": 0.0577, "accuracy": 0.9})
    began = trial.config["learning_rate"]
    assert with_found(trial)["learning_rate"] == f"0.0577 (found in training; began at {began:.3g})"
    assert with_found(trial)["batch_size"] == trial.config["batch_size"]


@pytest.mark.usefixtures("one_thread")
def test_the_record_knows_what_was_found_after_a_cut_and_for_show(tmp_path: Path) -> None:
    def sweep() -> Sweep:
        space = Space({"learning_rate": loguniform(1e-3, 1), "batch_size": choice([8]), "momentum": choice([0.0])})
        parts = {"searcher": FromFound(Random()), "scheduler": RunToEnd(), "policy": RACE, "max_concurrent": 1}
        return small_sweep(workload=Quadratic(horizon=8), space=space, num_samples=3, baseline=None, **parts)

    whole = simulated(tmp_path / "whole", sweep())
    assert [trial.first_origin for trial in whole.history] == ["random", "found", "found"]
    interrupted_after(tmp_path / "cut", sweep(), 10, workers=1)
    simulated(tmp_path / "cut", sweep())
    assert sequence(tmp_path / "cut") == sequence(tmp_path / "whole")
    ledger = Ledger.read(tmp_path / "whole")
    best = summary(ledger)["best"]
    ledger.close()
    assert best["found"] == whole.history.trials[best["trial"]].found != {}


def test_a_rate_called_lr_is_told_as_found_by_show_page_and_export(tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Any:
        yield {"loss": config["lr"], FOUND_RATE: 0.0622}

    space = Space({"lr": loguniform(1e-5, 1e-3)})
    simulated(tmp_path / "run", Sweep("own", train, space, minimize="loss", steps=1, num_samples=2))
    shown = io.StringIO()
    with contextlib.closing(Ledger.read(tmp_path / "run")) as ledger:
        best = summary(ledger)["best"]
        print_summary(ledger, Console(width=60, file=shown))
        exported, run = best_as_yaml(ledger), Recorded.of(ledger)
    page, drawn = answer.section(run).figures[-1], as_trained(run.history.trials[0])
    told = f"0.0622 (found in training; began at {best['config']['lr']:.3g})"
    assert f"  lr: {told}\n" in shown.getvalue()
    assert isinstance(page, Table)
    assert page.rows == [["lr", told]]
    assert drawn == {"lr": 0.0622}
    assert "learning_rate" not in shown.getvalue() + exported
    content = YAML(typ="safe").load(exported)
    assert content["found"] == best["found"] == {"lr": 0.0622}
    assert content["config"] == best["config"], "what replay begins at"
    assert "step by step.\nfound:\n" in exported


@pytest.mark.parametrize("reported", [False, True])
def test_where_nothing_finds_a_rate_that_is_told_once_with_the_remedy(tmp_path: Path, reported: bool) -> None:
    def train(config: Any, state: Any) -> Any:
        yield {"loss": config["learning_rate"], **({FOUND_RATE: 0.01} if reported else {})}

    space = Space({"learning_rate": loguniform(1e-3, 1)})
    searcher = Points([], then=FromFound(Random()))
    simulated(tmp_path, Sweep("own", train, space, minimize="loss", steps=1, num_samples=6, searcher=searcher))
    told = [row["text"] for row in recorded(tmp_path, "event") if "no trial reports" in row["text"]]
    assert len(told) == (not reported)
    if told:
        assert (
            "'found_learning_rate', so FromFound(searcher=Random()) does nothing more than Random(); let Rate"
            in told[0]
        )


@pytest.mark.parametrize("around", [lambda each: each, lambda each: Points([], then=each)], ids=["alone", "points"])
def test_our_own_training_needs_a_policy_that_finds_a_rate(around: Any) -> None:
    with pytest.raises(BadInput, match=r"nothing finds 'learning_rate' .* add policy=RateRace\(rungs=1\)"):
        small_sweep(searcher=around(FromFound(Random())))


@pytest.mark.parametrize("policy", [LrSchedule("cosine"), Averaged(Warmup(1.0))], ids=["plain", "wrapped"])
def test_our_own_training_refuses_a_policy_that_finds_no_rate(policy: Policy[Any]) -> None:
    with pytest.raises(BadInput, match=r"nothing finds .*, not .* either; write policy=RateRace\(rungs=1\)"):
        small_sweep(searcher=FromFound(Random()), policy=policy)


class Theirs(Fixed):
    """A policy of the user's, which may find a rate."""


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (LrSchedule("cosine"), "LrSchedule()"), (lambda config: Warmup(1.0), "the policy"), (None, ""),
        (Warmup(1.0, then=RACE), ""), (lambda config: RACE if config["learning_rate"] < 0.1 else None, ""),
        (Theirs(), ""), (Averaged(Theirs()), ""),
    ],
)  # fmt: skip
def test_a_dry_run_warns_of_a_policy_that_finds_no_rate(
    policy: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: Any, state: Any, control: Any) -> Any:
        yield {"loss": config["learning_rate"]}

    space = Space({"learning_rate": loguniform(1e-3, 1)})
    searcher = Points([], then=FromFound(Random()))
    sweep = Sweep("own", train, space, minimize="loss", steps=1, num_samples=6, searcher=searcher, policy=policy)
    print_plan(sweep, tmp_path / "run")
    warned = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warned) == bool(told)
    if told:
        assert told in warned[0]
        assert "finds no learning rate, so no trial will report 'found_learning_rate'" in warned[0]
        assert "write policy=RateRace(rungs=1), or report the value yourself." in warned[0]


@pytest.mark.parametrize("around", [FromFound, lambda searcher: Points([], then=searcher)], ids=["found", "points"])
def test_a_searcher_around_another_forks_only_if_that_one_does(around: Any) -> None:
    def train(config: Any) -> Any:  # takes no state
        yield {"loss": 0.0}

    space = Space({"learning_rate": loguniform(1e-3, 1)})
    assert not around(Random()).forks
    Sweep("yielded", train, space, minimize="loss", steps=1, searcher=around(Random()))
    with pytest.raises(BadInput, match="use a searcher that does not fork"):
        Sweep("yielded", train, space, minimize="loss", steps=1, searcher=around(PopulationBasedTraining()))
