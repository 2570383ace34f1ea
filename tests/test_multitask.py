"""Multitask Bayesian optimisation: what the exam of all searchers does not ask."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("botorch")

from orchestrator.sweep import Sweep
from search.ask_and_tell import AskAndTell
from search.contract import Searcher, derived_seed
from search.history import History, Trial, key_of
from search.models.acquisition import CurveAcquisition
from search.models.fidelities import configurations_of, fidelities_of
from search.models.fits import rank_correlation
from search.models.gp import CurveModel
from search.records import BASELINE, Config, End, Record, Report, Status, Suggestion, start
from search.rules.first_rung import first_rung
from search.rules.halving import halved
from search.rules.multifidelity import MultiFidelity
from search.rules.turns import full_share, model_share
from search.searchers.bayes import BayesSearch
from search.searchers.multitask import MultitaskSearch
from search.searchers.sigopt import SigOptSearch
from search.space import Space, uniform
from search.task import FULL, Task
from tests.support import interrupted_after, recorded, sequence, simulated, small_sweep
from trainables.workloads.quadratic import Quadratic

SPACE = Space({"x": uniform(0.0, 1.0), "y": uniform(0.0, 1.0)})
LINE = Space({"x": uniform(0.0, 1.0)})
Loss = Callable[[Config, int], float]


def bowl(config: Config, step: int) -> float:
    """Lowest at (0.3, 0.6); every curve falls in the same way."""
    return float((config["x"] - 0.3) ** 2 + (config.get("y", 0.6) - 0.6) ** 2 + 0.3 / step)


def trained(tuning: AskAndTell, loss: Loss, *, workers: int = 1, asks: int) -> AskAndTell:
    """Ask so many times; the running trials take turns, one step each."""
    running: list[Trial] = []
    while asks or running:
        while asks and len(running) < workers:
            asks -= 1
            trial = tuning.ask()
            if trial is None:
                break
            running.append(trial)
        if not running:
            break
        running = [t for t in running if tuning.tell(t, t.step + 1, loss(t.config, t.step + 1), cost_seconds=1.0)]
    return tuning


def tuned(
    searcher: Searcher,
    loss: Loss = bowl,
    *,
    asks: int,
    workers: int = 1,
    space: Space = SPACE,
    horizon: int = 9,
    **more: Any,
) -> AskAndTell:
    return trained(AskAndTell(space, searcher, horizon=horizon, **more), loss, workers=workers, asks=asks)


def suggestions(tuning: AskAndTell) -> list[Suggestion]:
    return [record for record in tuning.records if isinstance(record, Suggestion)]


def replayed(
    records: Sequence[Record], space: Space = SPACE, *, horizon: int = 9, seed: int = 0, **more: Any
) -> History:
    history = History(space, horizon=horizon, seed=seed, **more)
    for record in records:
        history.append(record)
    return history


def sweep_of(**changes: Any) -> Sweep:
    fields: dict[str, Any] = {
        "workload": Quadratic(horizon=6, declared_cost=1.0), "searcher": MultitaskSearch(n_initial=3, finalists=0),
        "num_samples": None, "budget": 4.0,
    }  # fmt: skip
    return small_sweep(**(fields | changes))


def test_a_sweep_that_was_cut_off_makes_the_same_suggestions(tmp_path: Path) -> None:
    simulated(tmp_path / "whole", sweep_of())
    rows = recorded(tmp_path / "whole", "suggestion")
    assert sum(bool(row["memo"]) for row in rows) >= 2  # the settings were found more than once
    for cut in (6, 15):
        folder = tmp_path / str(cut)
        interrupted_after(folder, sweep_of(), cut, workers=1)
        simulated(folder, sweep_of())
        assert sequence(folder) == sequence(tmp_path / "whole")
        assert [row["memo"] for row in recorded(folder, "suggestion")] == [row["memo"] for row in rows]


SCRIPT = """
from tests.test_multitask import MultitaskSearch, suggestions, tuned
print([(s.trial, s.kind, s.until, s.config, s.memo) for s in suggestions(tuned(MultitaskSearch(n_initial=4), asks=16, workers=3))])
"""


@pytest.mark.slow
def test_another_process_makes_the_same_suggestions() -> None:
    there = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.strip()
    here = suggestions(tuned(MultitaskSearch(n_initial=4), asks=16, workers=3))
    assert there == str([(s.trial, s.kind, s.until, s.config, s.memo) for s in here])


@pytest.mark.parametrize(
    "searcher", [MultitaskSearch(n_initial=4), BayesSearch(n_initial=4)], ids=lambda s: type(s).__name__
)
def test_the_order_in_which_parallel_results_came_does_not_matter(searcher: Searcher) -> None:
    rng = np.random.default_rng(0)
    configs = [SPACE.sample(rng) for _ in range(12)]
    starts: list[Record] = [start(config) for config in configs]
    own: list[list[Record]] = []
    for number, config in enumerate(configs):
        steps = (9, 3, 5)[number % 3]
        reports = [Report(number, step, bowl(config, step), 1.0) for step in range(1, steps + 1)]
        status = Status.COMPLETED if steps == 9 else Status.STOPPED if steps == 5 else Status.FAILED
        own.append([*reports, End(number, status)] if number < 10 else reports)
    answers = []
    for seed in range(4):
        left = [list(records) for records in own]
        mixed: list[Record] = []
        mixing = np.random.default_rng(seed)
        while any(left):
            mixed.append(left[mixing.choice([i for i, records in enumerate(left) if records])].pop(0))
        answers.append(searcher.suggest(replayed([*starts, *mixed])))
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    "searcher", [MultitaskSearch(n_initial=4), BayesSearch(n_initial=4)], ids=lambda s: type(s).__name__
)
def test_no_two_running_trials_are_the_same(searcher: Searcher) -> None:
    tuning = tuned(searcher, asks=40, workers=8, horizon=5, space=LINE)
    history = History(LINE, horizon=5)
    for record in tuning.records:
        if isinstance(record, Suggestion) and record.kind == "start" and record.origin == "model":
            for other in history.having(Status.RUNNING):
                assert abs(other.config["x"] - record.config["x"]) > 1e-3, (record, other)
        history.append(record)


def test_one_worker_of_the_engine_does_what_a_loop_does(tmp_path: Path) -> None:
    history = simulated(tmp_path, sweep_of()).history
    tuning = AskAndTell(history.space, sweep_of().searcher, horizon=6, seed=sweep_of().seed)
    while len(tuning.records) < len(history):
        trial = tuning.ask()
        assert trial is not None
        known = history.trials[trial.number]
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, known.losses[step - 1], cost_seconds=1.0):
                break
    assert [trial.config for trial in tuning.history] == [trial.config for trial in history]
    assert [trial.losses for trial in tuning.history] == [trial.losses for trial in history]


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_who_thought_ahead_decides_the_same_and_has_the_settings_ready(workers: int) -> None:
    records = tuned(MultitaskSearch(n_initial=4), asks=30, workers=workers).records
    searcher = MultitaskSearch(n_initial=4)
    history = History(SPACE, horizon=9, seed=0)
    found = []
    for record in records:
        if isinstance(record, Suggestion):
            suggestion = searcher.suggest(history)
            assert isinstance(suggestion, Suggestion)
            assert replace(suggestion, trial=record.trial) == record
            found.append(bool(record.memo))
        history.append(record)
        searcher.prepare(history)  # at the worst of times, too
        if found and not isinstance(record, Suggestion):
            before = history.under_way
            with without_fitting():
                searcher.suggest(history)
            assert history.under_way == before
    assert sum(found) >= 3


@contextmanager
def without_fitting() -> Iterator[None]:
    """Whoever looks for the settings of a model meanwhile fails the test."""

    from search.models.gp import CurveModel

    def fit(*_: object) -> None:
        raise AssertionError("the settings were looked for again")

    kept, CurveModel.fit = CurveModel.fit, fit  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        CurveModel.fit = kept  # type: ignore[method-assign]


def test_a_memo_of_another_searcher_is_not_taken_for_its_own() -> None:
    history = replayed(tuned(BayesSearch(n_initial=4), asks=12, horizon=3).records, horizon=3)
    assert any("bayes" in trial.suggestion.memo for trial in history)
    suggestion = MultitaskSearch(n_initial=4).suggest(history)
    assert isinstance(suggestion, Suggestion)
    assert suggestion.origin in ("model", "promotion")


@pytest.mark.slow
def test_the_rule_of_sigopt_draws_tasks_with_its_frequencies() -> None:
    tasks = Task.epochs(0.1, 0.5, 1.0)
    searcher = SigOptSearch(n_initial=4, full=0.0)
    tuning = tuned(searcher, asks=8, space=LINE, horizon=10, tasks=tasks)  # its settings are remembered
    drawn = []
    for seed in range(400):
        suggestion = searcher.suggest(replayed(tuning.records, LINE, horizon=10, seed=seed, tasks=tasks))
        assert isinstance(suggestion, Suggestion)
        drawn.append(suggestion.until)
    shares = [drawn.count(until) / len(drawn) for until in (1, 5, None)]
    assert shares == pytest.approx([0.481, 0.323, 0.196], abs=0.06)  # 2.4 standard deviations


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_a_share_of_the_cost_goes_to_full_trainings(seconds: float) -> None:
    history = History(SPACE, horizon=50, seed=0)
    searcher = MultitaskSearch(n_initial=4)
    for _ in range(4):
        assert full_share(history) in (0.0, 1.0)  # 1 before the first step
        suggestion = searcher.suggest(history)
        assert isinstance(suggestion, Suggestion)
        assert suggestion.kind == "start"
        trial = history.append(suggestion)
        history.append(Report(trial.number, 1, bowl(trial.config, 1), seconds))
        history.append(End(trial.number, Status.STOPPED))
    suggestion = searcher.suggest(history)
    assert isinstance(suggestion, Suggestion)
    assert (suggestion.kind, suggestion.until) == ("resume", None)
    history.append(suggestion)
    assert full_share(history) == pytest.approx(50 / 53)  # the running one counts until its end
    later = searcher.suggest(history)
    assert isinstance(later, Suggestion)
    assert later.until is not None


def test_where_a_step_is_dear_the_first_full_training_does_not_wait_for_the_model() -> None:
    tuning = tuned(MultitaskSearch(n_initial=8), asks=3, horizon=3)
    assert [trial.step for trial in tuning.history].count(3) == 1
    assert "the best of the first 2 results" in suggestions(tuning)[2].evidence


@pytest.mark.parametrize(("complete", "is_drawn"), [(1, False), (2, True), (3, False), (5, True)])
def test_one_in_three_full_trainings_is_a_random_one_so_that_late_starters_are_seen(
    complete: int, is_drawn: bool
) -> None:
    chosen = set()
    for seed in range(6 if is_drawn else 2):
        history = History(SPACE, horizon=50, seed=seed)
        for number in range(complete + 6):
            config = {"x": 0.25 + (complete + 6 - number) / 20, "y": 0.6}  # the later, the better
            history.append(start(config, origin="initial"))
            end = 50 if number < complete else 1
            for step in range(1, end + 1):
                history.append(Report(number, step, bowl(config, step)))
            history.append(End(number, Status.COMPLETED if end == 50 else Status.STOPPED))
        suggestion = MultitaskSearch(n_initial=4, full=0.999).suggest(history)
        assert isinstance(suggestion, Suggestion)
        assert (suggestion.kind, suggestion.until) == ("resume", None)
        assert ("is drawn, for late starters" in suggestion.evidence) == is_drawn
        chosen.add(suggestion.trial)
    assert len(chosen) > 2 if is_drawn else chosen == {complete + 5}, "drawn from all that rest, or the best of them"


def test_a_curve_that_rises_is_not_due() -> None:
    history = History(SPACE, horizon=9, seed=0)
    for number, last in enumerate((0.1, 0.4)):  # the first is best and rises
        history.append(start({"x": 0.2 + number / 2, "y": 0.5}, origin="initial", until=3))
        for step, loss in enumerate((last - 0.02, last - 0.01, last) if not number else (0.6, 0.5, last), start=1):
            history.append(Report(number, step, loss))
        history.append(End(number, Status.STOPPED))
    suggestion = MultitaskSearch(n_initial=2).suggest(history)
    assert isinstance(suggestion, Suggestion)
    assert (suggestion.trial, suggestion.until) == (1, None)


def test_without_room_resting_trials_go_on_until_all_are_done() -> None:
    tuning = tuned(MultitaskSearch(n_initial=3), asks=200, limit=5)
    assert len(tuning.history.trials) == 5
    assert all(trial.status is Status.COMPLETED for trial in tuning.history)
    assert tuning.ask() is None


@pytest.mark.parametrize("searcher", [MultitaskSearch, SigOptSearch])
def test_every_rule_gets_near_the_optimum(searcher: type[MultiFidelity]) -> None:
    tuning = tuned(searcher(n_initial=4), asks=30)
    assert min(bowl(trial.config, 9) for trial in tuning.history if trial.status is Status.COMPLETED) < 0.3 / 9 + 0.01


def test_a_flat_search_ends_and_a_steep_one_goes_on() -> None:
    flat = tuned(
        MultitaskSearch(n_initial=4, stop_below=0.01), lambda config, step: 0.5 + 1e-5 * bowl(config, step), asks=30
    )
    assert "is less than 0.01" in flat.over
    steep = tuned(MultitaskSearch(n_initial=4, stop_below=0.01), lambda config, step: 100 * bowl(config, step), asks=15)
    assert steep.over == ""


def test_a_region_that_fails_is_avoided() -> None:
    late: list[float] = []
    for seed in range(3):
        tuning = AskAndTell(SPACE, MultitaskSearch(n_initial=4), horizon=4, seed=seed)
        for _ in range(30):
            trial = tuning.ask()
            assert trial is not None
            for step in tuning.steps(trial):
                if trial.config["x"] > 0.5:
                    tuning.fail(trial, "out of memory")
                    break
                if not tuning.tell(trial, step, 1 - trial.config["x"] + bowl(trial.config, step)):
                    break
        late += [trial.config["x"] for trial in tuning.history.trials[-8:]]
    assert sum(x > 0.5 for x in late) <= 0.3 * len(late), late


@pytest.mark.parametrize("broken", [1e30, math.nan, -math.inf])
def test_one_absurd_loss_leaves_the_ranking_as_it_was(broken: float) -> None:
    records = tuned(MultitaskSearch(n_initial=12), asks=12, horizon=1).records
    units = np.random.default_rng(1).random((200, 2))
    units = units[np.abs(units - [0.9, 0.1]).max(axis=1) > 0.25]
    expected = []
    for last in (False, True):
        history = replayed(records, horizon=1)
        if last:
            trial = history.append(start({"x": 0.9, "y": 0.1}))
            history.append(Report(trial.number, 1, broken))
            history.append(End(trial.number, Status.COMPLETED if math.isfinite(broken) else Status.DIVERGED))
        model = model_of(history)
        expected.append(model.predict(units, np.ones(len(units)), np.zeros(len(units)))[0])
    assert rank_correlation(*expected) > 0.9


def model_of(history: History) -> Any:
    fidelities = fidelities_of(history)
    return CurveAcquisition(history, fidelities, configurations_of(history, fidelities)).model


def test_a_task_of_its_own_comes_first_and_a_promotion_is_a_new_trial() -> None:
    tasks = Task.data(0.25, 1.0)
    tuning = tuned(MultitaskSearch(n_initial=4), asks=25, horizon=3, tasks=tasks)
    history = tuning.history
    cheap = [trial for trial in history if trial.task != FULL]
    full = [trial for trial in history if trial.task == FULL]
    assert [trial.task for trial in history.trials[:4]] == [tasks[0].name] * 4
    assert cheap
    assert full
    for trial in full:
        twin = history.known(trial.config, tasks[0].name)
        assert twin is not None
        assert twin.number < trial.number
        assert twin.status is Status.COMPLETED
        assert trial.suggestion.kind == "start"
        assert trial.steps == [1, 2, 3]  # from scratch


def test_the_model_learns_which_task_says_something() -> None:
    tasks = (Task.changed("alike", 0.2, size=8), Task.changed("unlike", 0.3, size=9), Task(FULL, 1.0))
    history = History(SPACE, horizon=1, tasks=tasks)
    rng = np.random.default_rng(0)
    for _ in range(25):
        config = SPACE.sample(rng)
        losses = {"alike": bowl(config, 1) + 3, "unlike": math.sin(9 * config["x"]) * math.cos(7 * config["y"])}
        for task in ("alike", "unlike", FULL):
            trial = history.append(start(config, task=task))
            history.append(Report(trial.number, 1, losses.get(task, bowl(config, 1))))
            history.append(End(trial.number, Status.COMPLETED))
    model = model_of(history)
    alike, unlike = (float(weight) for weight in model.kernel.weights.detach())
    assert alike > 0.7
    assert alike > abs(unlike) + 0.3


# What others know: earlier sweeps and priors, on one step, so that only configurations matter.


def earlier(loss: Loss) -> History:
    """A sweep at random that knew this loss; only the model uses it."""
    history = History(SPACE, horizon=1)
    history.is_avoided = history.is_tried_first = False
    rng = np.random.default_rng(7)
    for _ in range(30):
        trial = history.append(start(SPACE.sample(rng)))
        history.append(Report(trial.number, 1, loss(trial.config, 1)))
        history.append(End(trial.number, Status.COMPLETED))
    return history


def regrets(asks: int, *, space: Space = SPACE, **more: Any) -> list[float]:
    """Of the best after 1, 2, … trials; means over seeds."""
    best = []
    for seed in range(10):
        history = tuned(MultitaskSearch(n_initial=2), asks=asks, space=space, horizon=1, seed=seed, **more).history
        best.append(np.minimum.accumulate([trial.loss for trial in history]) - 0.3)
    return [0.0, *np.mean(best, axis=0)]


@pytest.mark.slow
def test_a_helpful_earlier_sweep_helps_at_once_and_a_misleading_one_does_no_lasting_harm() -> None:
    helpful = earlier(lambda config, step: 5 * bowl(config, step) + 1)
    negated = earlier(lambda config, step: -bowl(config, step))
    alone = regrets(12)
    assert regrets(4, earlier=[helpful])[4] < 0.5 * alone[4]
    assert alone[12] < 0.01
    assert regrets(12, earlier=[negated])[12] < 0.01


@pytest.mark.slow
def test_a_right_belief_helps_at_once_and_a_wrong_one_is_recovered_from() -> None:
    def with_prior(x: float, y: float) -> Space:
        return Space({name: uniform(0.0, 1.0).prior(at, confidence=0.8) for name, at in (("x", x), ("y", y))})

    assert regrets(4, space=with_prior(0.3, 0.6))[4] < 0.5 * regrets(4)[4]
    wrong = regrets(16, space=with_prior(0.9, 0.1))
    assert wrong[4] > 0.1  # it did mislead
    assert wrong[16] < 0.02


def noise(config: Config, step: int) -> float:
    """Losses that say nothing about their neighbours."""
    return derived_seed(config["x"], config["y"]) / 2**32 + 1 / step


def test_the_model_gets_turns_for_its_skill_and_halving_the_others() -> None:
    skills, shares = {}, {}
    for loss in (bowl, noise):
        tuning = tuned(MultitaskSearch(n_initial=4, full=0.0), loss, asks=60, horizon=27)
        skills[loss] = np.mean([json.loads(each.memo)["curves"]["skill"] for each in suggestions(tuning) if each.memo])
        shares[loss] = sum("log improvement" in each.evidence for each in suggestions(tuning)) / 60
        assert any(f"ρ = {0.3:.2f}" in each.evidence for each in suggestions(tuning)), "what is expected at the start"
    assert skills[bowl] > 0.5 > 0.35 > skills[noise]
    assert shares[bowl] > 0.6 > shares[noise] > 0.0
    assert [model_share(skill) for skill in (0.0, 0.3, 1.0)] == pytest.approx([0.1, 0.5, 0.9])


def crossing(config: Config, step: int) -> float:
    """What leads at the first step ends last: the order is there from the third step on."""
    return config["x"] if step >= 3 else 1.0 - config["x"]


@pytest.mark.parametrize(("loss", "expected"), [(bowl, 1), (crossing, 3)])
def test_new_trials_start_at_the_first_rung_whose_order_lasts(loss: Loss, expected: int) -> None:
    history = History(SPACE, horizon=27, seed=0)
    for number in range(16):
        config = {"x": (number + 0.5) / 16, "y": 0.6}
        history.append(start(config, origin="random"))
        for step in range(1, 28):
            history.append(Report(number, step, loss(config, step)))
        history.append(End(number, Status.COMPLETED))
    fidelities = fidelities_of(history)
    found = first_rung(history, configurations_of(history, fidelities), fidelities)
    assert fidelities[found].steps == expected
    fresh = History(SPACE, horizon=27, seed=0)
    assert first_rung(fresh, [], fidelities) == 0


def test_what_is_left_out_is_expected_as_by_a_model_that_never_saw_it() -> None:
    rng = np.random.default_rng(0)
    places, levels, values = rng.random((20, 3)), rng.random(20), rng.normal(size=20)
    tasks, groups = np.zeros(20), np.array([0, 0, 1, 1, 1, *range(5, 20)])
    model = CurveModel(3)
    model.condition(places, levels, tasks, values)
    left_out = model.left_out(groups)
    for group in np.unique(groups):
        others, own = groups != group, groups == group
        fewer = CurveModel(3)
        fewer.condition(places[others], levels[others], tasks[others], values[others])
        assert left_out[own] == pytest.approx(fewer.predict(places[own], levels[own], tasks[own])[0], abs=1e-8)


def test_a_cheap_task_that_says_nothing_agrees_less_than_one_that_does() -> None:
    model = CurveModel(2, tasks=2)
    names = [name for name, _ in sorted(model.kernel.named_parameters())]
    before = model.agreement(np.array([0.0, 1.0, 1.0]), np.array([0, 0, 1]))
    assert before[1] > before[2] > 0.5
    assert before[1] > before[0] > 0.5
    assert "weights" in names
    model.kernel.weights.data.fill_(0.05)
    assert model.agreement(np.ones(1), np.ones(1))[0] < 0.2


def test_halving_takes_the_best_third_on_and_passes_over_what_broke() -> None:
    history = History(SPACE, horizon=9, seed=0)
    losses = [0.5, 0.4, math.nan, 0.9, 0.3, 0.8, 0.7]
    for number, loss in enumerate(losses):
        history.append(start({"x": number / 10, "y": 0.5}, origin="random", until=1))
        history.append(Report(number, 1, loss))
        history.append(End(number, Status.STOPPED if math.isfinite(loss) else Status.DIVERGED))
    fidelities = fidelities_of(history)
    known = configurations_of(history, fidelities)
    taken = []
    for _ in range(3):
        resting = [each for each in known if not each.broken and each.trials[0].number not in taken]
        found = halved(history, known, resting, fidelities)
        taken += [] if found is None else [found[0].trials[0].number]
    assert taken == [4, 1]  # two places of seven


def test_halving_does_not_mind_a_task_that_is_still_running() -> None:
    history = History(SPACE, horizon=9, seed=0, tasks=[*Task.data(0.2, 1.0)])
    cheap = next(task.name for task in history.tasks if task.name != FULL)
    history.append(start({"x": 0.1, "y": 0.5}, origin="random"))
    history.append(Report(0, 9, 0.3))
    history.append(End(0, Status.COMPLETED))
    history.append(start({"x": 0.1, "y": 0.5}, origin="random", task=cheap))
    fidelities = fidelities_of(history)
    assert halved(history, configurations_of(history, fidelities), [], fidelities) is None


@pytest.mark.parametrize("limit", [4, 8, 12])
def test_configurations_are_counted_and_not_their_trainings(limit: int) -> None:
    tasks = Task.data(0.1, 1.0)
    tuning = tuned(MultitaskSearch(n_initial=4), asks=60, workers=2, tasks=tasks, limit=limit)
    history = tuning.history
    assert len({key_of(trial.config) for trial in history}) == limit
    assert not history.room
    assert any(trial.task == FULL and trial.status is Status.COMPLETED for trial in history)
    promoted = next(trial for trial in history if trial.task == FULL)
    assert not history.allows(start(promoted.config, task=FULL))  # a repetition needs room
    assert not history.allows(start({"x": 0.123, "y": 0.4}, task=FULL))


def test_a_sweep_with_few_samples_and_a_cheap_task_ends_with_full_trainings(tmp_path: Path) -> None:
    sweep = sweep_of(num_samples=4, budget=None, tasks=Task.data(0.1, 1.0))
    history = simulated(tmp_path, sweep).history
    assert len({key_of(trial.config) for trial in history if trial.first_origin != BASELINE}) <= 4
    assert any(trial.task == FULL and trial.status is Status.COMPLETED for trial in history)
