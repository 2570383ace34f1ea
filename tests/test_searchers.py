"""One exam that every searcher sits: add a line to SEARCHERS. Alone: pytest tests/test_searchers.py -k Name."""

from __future__ import annotations

import ast
import copy
import math
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import search.searchers
from search.contract import Searcher
from search.history import History, Trial, incumbent
from search.models.feasibility import ProcessFeasibility
from search.origins import CHOSEN, COVERING
from search.records import End, Report, Status, Suggestion, resume, start
from search.searchers.bayes import BayesSearch
from search.searchers.bohb import BohbSearch
from search.searchers.cmaes import CmaEs
from search.searchers.found import FromFound
from search.searchers.grid import Grid
from search.searchers.multitask import MultitaskSearch
from search.searchers.optuna import GaussianProcess, Tpe
from search.searchers.pb2 import Pb2
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.points import Points
from search.searchers.random import Random
from search.searchers.sigopt import SigOptSearch
from search.searchers.sobol import Sobol
from search.space import Space, choice, lograndint, loguniform, pow2, randint, uniform, when
from tests.contributed import example
from tests.histories import HORIZON, SPACES, random_history, records
from tests.support import assert_listed, concrete

SEARCHERS = [
    Random(),
    Random(bracketed=True),
    Grid(resolution=3),
    Sobol(),
    Tpe(n_startup_trials=4),
    GaussianProcess(n_startup_trials=4),
    CmaEs(population=4),
    Points((), then=Random()),
    FromFound(Random(), parameter="lr"),
    BayesSearch(n_initial=4),
    MultitaskSearch(n_initial=4),
    SigOptSearch(n_initial=4),
    BohbSearch(),
    PopulationBasedTraining(population=60),  # many members: tests/test_population.py goes beyond the starts
    Pb2(population=60),
]
KNOWN = COVERING | CHOSEN
SLOW = {GaussianProcess, BayesSearch, MultitaskSearch, SigOptSearch}  # fits a model: fewer examples
ON_BOTORCH = (BayesSearch, MultitaskSearch, SigOptSearch)
USABLE = [s for s in SEARCHERS if find_spec("botorch") or not isinstance(s, ON_BOTORCH)]  # Python 3.10 has none
USABLE.append(example("Nearby")())

every_searcher = pytest.mark.parametrize("searcher", USABLE, ids=lambda s: type(s).__name__)
spaces = st.sampled_from(sorted(SPACES))


def examples(searcher: Searcher, many: int) -> Any:
    count = 5 if type(searcher) in SLOW else many
    return settings(max_examples=count, deadline=None, derandomize=True)


def suits(searcher: Searcher, space: Space) -> bool:
    try:
        searcher.check(space)
    except ValueError:
        return False
    return True


def makes_sense(suggestion: Suggestion, searcher: Searcher, history: History) -> bool:
    """A start to the horizon; a searcher that continues may also start for less, and resume what rests."""
    until = suggestion.until
    if not searcher.continues:
        return (suggestion.kind, suggestion.trial, until) == ("start", None, None)
    if suggestion.kind == "start":
        return suggestion.trial is None and (until is None or 0 < until <= history.horizon)
    trial = history.trials[suggestion.trial if suggestion.trial is not None else -1]
    is_resting = suggestion.kind == "resume" and trial.status is Status.STOPPED
    return is_resting and (until is None or trial.step < until <= history.horizon)


def is_plain(value: object) -> bool:
    return all(map(is_plain, value)) if type(value) is list else value is None or type(value) in (bool, int, float, str)


def test_every_origin_is_sorted_by_whether_it_covers_the_space() -> None:
    """A new word that is in neither list would lose its place among what the losses are scaled by."""
    assert not COVERING & CHOSEN
    said = set()
    for path in Path(search.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "origin" and isinstance(node.value, ast.Constant):
                said.add(node.value.value)
    assert said
    assert said <= KNOWN, f"sort {sorted(said - KNOWN)} into one of the sets of search/origins.py"


def test_every_searcher_sits_the_exam() -> None:
    assert_listed(concrete(search.searchers, Searcher), SEARCHERS, "SEARCHERS of tests/test_searchers.py")


@every_searcher
def test_suggestions_lie_in_the_space_and_repeat_themselves_and_change_nothing(searcher: Searcher) -> None:
    @examples(searcher, 25)
    @given(spaces, st.integers(0, 999), st.integers(0, 40))
    def exam(name: str, seed: int, trials: int) -> None:
        space = SPACES[name]
        assume(suits(searcher, space))
        history = random_history(space, seed=seed, trials=trials)
        before, fresh = records(history), copy.deepcopy(searcher)
        suggestion = searcher.suggest(history)
        assert records(history) == before
        assert fresh.suggest(history) == suggestion
        searcher.prepare(history)
        assert records(history) == before
        assert searcher.suggest(history) == suggestion
        assert searcher.suggest(random_history(space, seed=seed, trials=trials)) == suggestion
        if suggestion is not None:
            assert space.why_not(suggestion.config) is None
            assert suggestion.config == space.check(suggestion.config)
            assert all(is_plain(value) for value in suggestion.config.values())
            assert makes_sense(suggestion, searcher, history)
            assert suggestion.origin in KNOWN, (
                f"{suggestion.origin!r} is a new origin: sort it into one of the sets of search/origins.py, or use a word of them"
            )

    exam()


@every_searcher
def test_a_growing_history_gets_the_same_answers_as_a_fresh_copy_of_it(searcher: Searcher) -> None:
    """Warm equals cold, also where trials change their status between two suggestions."""
    space = SPACES["conditional" if type(searcher) not in SLOW else "continuous"]
    log: list[Any] = []
    warm = History(space, horizon=HORIZON, seed=3)

    def add(record: Any) -> Trial:
        log.append(record)
        return warm.append(record)

    for number in range(14):
        suggestion = searcher.suggest(warm)
        cold = History(space, horizon=HORIZON, seed=3)
        for record in log:
            cold.append(record)
        assert searcher.suggest(cold) == suggestion
        assert suggestion is not None
        trial = add(suggestion)
        add(Report(trial.number, trial.step + 1, float(number % 5)))
        if number >= 2 and number % 3 and number - 2 < len(warm.trials):
            older = warm.trials[number - 2]
            if older.status is Status.RUNNING:
                add(Report(older.number, older.step + 1, math.nan if number == 8 else 0.3 * number))
                add(End(older.number, [Status.COMPLETED, Status.STOPPED, Status.DIVERGED, Status.FAILED][number % 4]))


@pytest.mark.parametrize(
    "searcher", [Tpe(4), GaussianProcess(4), CmaEs(population=4), BayesSearch(4)], ids=lambda s: type(s).__name__
)
def test_results_of_a_cheaper_task_are_not_taken_for_full_ones(searcher: Searcher) -> None:
    suggestions = []
    for loss in (-1e6, 1e6):
        history = random_history(SPACES["continuous"], seed=5, trials=20)
        for number in range(6):
            trial = history.append(start({"x": number / 9, "lr": 0.1}, task="cheap"))
            history.append(Report(trial.number, HORIZON, loss))
            history.append(End(trial.number, Status.COMPLETED))
        suggestions.append(searcher.suggest(history))
        best = incumbent(history)
        assert best is not None
        assert best.task == "full"
    assert suggestions[0] == suggestions[1]


SCRIPT = """
from tests.test_searchers import answers
print(*answers(), sep="\\n")
"""


def answers() -> list[str]:
    """A suggestion of every searcher, those that fit a model in one space only."""
    return [
        str(searcher.suggest(random_history(SPACES[name], seed=5, trials=20)))
        for searcher in USABLE
        for name in ("mixed", "continuous")
        if type(searcher) not in SLOW or name == "continuous"
    ]


@pytest.mark.slow
def test_another_process_gives_the_same_answers() -> None:
    run = [sys.executable, "-c", SCRIPT]
    there = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()
    assert there == answers()


@every_searcher
def test_a_finite_space_is_tried_whole_before_anything_is_repeated(searcher: Searcher) -> None:
    space = SPACES["finite"] if type(searcher) not in SLOW else Space({"n": randint(1, 3), "a": choice(["x", "y"])})
    history = History(space, horizon=HORIZON, seed=1)
    for number in range(int(space.size)):
        suggestion = searcher.suggest(history)
        assert suggestion is not None
        assert history.known(suggestion.config) is None
        history.append(suggestion)
        if number % 2:  # the others stay pending
            history.append(Report(number, HORIZON, float(number)))
            history.append(End(number, Status.COMPLETED))
    last = searcher.suggest(history)
    assert last is None or last.origin == "fallback"


@every_searcher
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_broken_losses_do_not_break_a_searcher(searcher: Searcher, broken: float) -> None:
    if type(searcher) in SLOW and not math.isfinite(broken) and not math.isnan(broken):
        pytest.skip("covered by the random histories")
    space = SPACES["continuous"]
    history = History(space, horizon=1, seed=2)
    for number in range(12):
        history.append(start({"x": number / 12, "lr": 0.01 + number / 100}))
        loss = broken if number % 2 else number / 3
        history.append(Report(number, 1, loss))
        history.append(End(number, Status.COMPLETED if math.isfinite(loss) else Status.DIVERGED))
    suggestion = searcher.suggest(history)
    assert suggestion is not None
    assert suggestion.origin != "fallback"
    assert space.contains(suggestion.config)


@every_searcher
@pytest.mark.parametrize("status", [Status.FAILED, Status.DIVERGED, Status.STOPPED, Status.RUNNING])
def test_a_history_of_one_status_only_does_not_break_a_searcher(searcher: Searcher, status: Status) -> None:
    space = SPACES["continuous"]
    history = History(space, horizon=9, seed=2)
    for number in range(12):
        history.append(start({"x": number / 12, "lr": 0.01 + number / 100}))
        if status is not Status.RUNNING:
            history.append(End(number, status))
    suggestion = searcher.suggest(history)
    assert suggestion is not None
    assert space.contains(suggestion.config)


@pytest.mark.parametrize(
    "searcher",
    [
        Tpe(),
        CmaEs(),
        BohbSearch(),
        *(pytest.param(s, marks=pytest.mark.slow) for s in (BayesSearch(), MultitaskSearch())),
    ],
    ids=lambda s: type(s).__name__,
)
def test_a_region_that_diverges_is_left_alone(searcher: Searcher) -> None:
    """Fault F13: low losses and then a break; the model must not come back for more."""
    late: list[float] = []
    seeds = 2 if isinstance(searcher, (MultitaskSearch, BayesSearch)) else 5  # these take seconds
    for seed in range(seeds):
        history = History(Space({"x": uniform(0, 1), "y": uniform(0, 1)}), horizon=5, seed=seed)
        for _ in range(60):
            suggestion = searcher.suggest(history)
            assert suggestion is not None
            number = history.append(suggestion).number
            x = suggestion.config["x"]
            if x > 0.5:  # looks wonderful until it breaks
                history.append(Report(number, 4, -100.0))
                history.append(Report(number, 5, -math.inf))
                history.append(End(number, Status.DIVERGED))
            else:
                history.append(Report(number, 5, abs(x - 0.2)))
                history.append(End(number, Status.COMPLETED))
        late += [trial.config["x"] for trial in history.trials[-20:]]
    assert sum(x > 0.5 for x in late) <= 4 * seeds  # of 20 for each; random search: 10


def test_a_place_among_broken_trainings_is_hardly_sound_and_far_from_all_it_may_be() -> None:
    places = np.random.default_rng(0).random((30, 2))
    sound, broken, far = np.exp(
        ProcessFeasibility(places, places[:, 0] > 0.5)(np.array([[0.2, 0.5], [0.8, 0.5], [9.0, 9.0]]))
    )
    assert broken < 0.1 < 0.7 < far < sound
    assert not ProcessFeasibility(places, np.zeros(30, dtype=bool))(places).any()


def test_the_gaussian_process_takes_a_failure_for_the_worst_result() -> None:
    history = History(Space({"x": uniform(0, 1)}), horizon=1, seed=0)
    for number, x in enumerate([0.05, 0.3, 0.5, 0.65, 0.8, 0.9, 0.95]):
        history.append(start({"x": x}))
        if x > 0.6:
            history.append(End(number, Status.FAILED))
            continue
        history.append(Report(number, 1, 1 - x))
        history.append(End(number, Status.COMPLETED))
    suggestion = GaussianProcess(n_startup_trials=3).suggest(history)
    assert suggestion is not None
    assert suggestion.origin == "model"
    assert 0.3 < suggestion.config["x"] < 0.65


def test_a_stopped_trial_is_no_full_result_for_optuna() -> None:
    from search.searchers.optuna import frozen_trials

    history = random_history(SPACES["mixed"], seed=1, trials=60)
    shown = {frozen.number: frozen for frozen in frozen_trials(history)}
    for trial in history:
        if trial.number not in shown:
            assert not trial.in_space or trial.task != "full"
            continue
        frozen = shown[trial.number]
        assert (frozen.state.name == "COMPLETE") == (trial.status is Status.COMPLETED)
        assert (frozen.state.name == "PRUNED") == (trial.status is Status.STOPPED)
        if trial.status is Status.STOPPED:
            assert frozen.intermediate_values == dict(zip(trial.steps, trial.losses, strict=True))


def test_powers_of_two_are_shown_to_optuna_as_exponents() -> None:
    from search.searchers.optuna import distribution_of

    distribution = distribution_of(pow2(16, 256))
    assert (distribution.low, distribution.high) == (4, 8)


def test_the_start_is_random_and_then_comes_the_model() -> None:
    history = History(SPACES["continuous"], horizon=1, seed=0)
    origins = []
    for number in range(5):
        suggestion = Tpe(n_startup_trials=3).suggest(history)
        assert suggestion is not None
        origins.append(suggestion.origin)
        history.append(suggestion)
        history.append(Report(number, 1, 1.0 + number))
        history.append(End(number, Status.COMPLETED))
    assert origins == ["initial"] * 3 + ["model"] * 2


@pytest.mark.parametrize("space", ["continuous", "constrained", "finite", "conditional"])
def test_a_random_configuration_depends_on_the_number_of_its_trial_and_not_on_the_time(space: str) -> None:
    """With other reports and ends in between, two runs used to try different configurations."""
    slow, fast = (History(SPACES[space], horizon=3, seed=1) for _ in range(2))
    for number in range(8):
        for history in (slow, fast):
            suggestion = Tpe(n_startup_trials=99).suggest(history) if number < 4 else Random().suggest(history)
            assert suggestion is not None
            history.append(suggestion)
        fast.append(Report(number, 1, 0.5))
        fast.append(End(number, Status.COMPLETED))
    assert [trial.config for trial in slow] == [trial.config for trial in fast]
    assert len({str(trial.config) for trial in slow}) == 8


def test_a_failing_model_falls_back_to_a_random_draw_and_says_why() -> None:
    from search.rules.proposals import propose

    def fail(seed: int) -> dict[str, Any]:
        raise RuntimeError("singular matrix")

    suggestion = propose(random_history(SPACES["continuous"], seed=0, trials=3), fail)
    assert suggestion.origin == "fallback"
    assert "singular matrix" in suggestion.evidence


def test_a_constraint_that_every_proposal_breaks_is_named_in_the_evidence() -> None:
    from search.rules.proposals import propose

    space = SPACES["constrained"]
    suggestion = propose(History(space, horizon=1), lambda seed: {"batch": 1024, "length": 512, "x": 0.5})
    assert space.contains(suggestion.config)
    assert suggestion.origin == "fallback"
    assert "fits in memory" in suggestion.evidence


def test_points_come_first_and_known_ones_are_skipped() -> None:
    space = SPACES["finite"]
    points: list[dict[str, Any]] = [
        {"a": "x", "n": 1, "b": 1},
        {"a": "y", "n": 2.0, "b": 4},
        {"a": "x", "n": 1, "b": 1},
    ]
    searcher = Points(points, then=Grid())
    history = History(space, horizon=1)
    suggestions: list[Suggestion] = []
    for _ in range(4):
        suggestion = searcher.suggest(history)
        assert suggestion is not None
        suggestions.append(suggestion)
        history.append(suggestion)
    assert [s.origin for s in suggestions] == ["point", "point", "grid", "grid"]
    assert suggestions[1].config == {"a": "y", "n": 2, "b": 4}
    history = History(space, horizon=1)
    history.append(start({"a": "x", "n": 1, "b": 1}))
    suggestion = searcher.suggest(history)
    assert suggestion is not None
    assert suggestion.config["a"] == "y"


def test_the_grid_ends() -> None:
    history = History(SPACES["finite"], horizon=1)
    while (suggestion := Grid().suggest(history)) is not None:
        history.append(suggestion)
    assert len(history.trials) == 2 * 3 * 3


def test_a_grid_tells_what_remains_of_it() -> None:
    history = History(Space({"x": uniform(0.0, 1.0)}), horizon=1, limit=20)
    history.append(start({"x": 0.5}))
    with_points = Points(({"x": 0.5}, {"x": 0.7}), then=Grid(resolution=3))
    assert [config["x"] for config in with_points.remaining(history) or ()] == [0.7, 0.0, 1.0]
    assert Points((), then=Random()).remaining(history) is None
    assert FromFound(Grid(resolution=3), parameter="x").remaining(history) is None  # it changes what the grid proposes


def test_sobol_points_fill_the_cube_evenly() -> None:
    history = History(Space({"x": uniform(0, 1), "y": uniform(0, 1)}), horizon=1)
    for _ in range(16):
        suggestion = Sobol().suggest(history)
        assert suggestion is not None
        history.append(suggestion)
    cells = {(int(t.config["x"] * 4), int(t.config["y"] * 4)) for t in history}
    assert len(cells) == 16


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Grid(resolution=0), "1 or more"),
        (lambda: Grid(resolution=50).check(SPACES["mixed"]), "lower the resolution"),
        (lambda: CmaEs(sigma=0), "must be a share, more than 0 and at most 1"),
        (lambda: CmaEs(population=2), "must be a whole number, 4 or more"),
        (lambda: CmaEs().check(SPACES["one choice"]), "use Tpe()"),
        (lambda: Tpe(n_startup_trials=0), "1 or more"),
        (lambda: GaussianProcess(n_startup_trials=True), "1 or more"),
        (lambda: BayesSearch(n_initial=1), "2 or more"),
        (lambda: BayesSearch().check(SPACES["fixed"]), "nothing to search"),
        (lambda: MultitaskSearch(full=1.5), "0 or more and at most 1"),
        (lambda: MultitaskSearch(first=0), "1 or more"),
        (lambda: SigOptSearch(full=-0.5), "0 or more and at most 1"),
        (lambda: MultitaskSearch(stop_below=0.0), "leave it out"),
        (lambda: MultitaskSearch().check(SPACES["fixed"]), "nothing to search"),
        (lambda: Points([{"lr": 3}], then=Random()).check(SPACES["continuous"]), '"x" is missing'),
        (lambda: Points([{"lrr": 3}], then=Random()).check(SPACES["continuous"]), 'did you mean "lr"'),
        (lambda: BohbSearch(good_share=1.5), "must be a share"),
        (lambda: BohbSearch(samples=0), "samples=0): must be a whole number, 1 or more"),
        (lambda: Points([], then=None), "must be a searcher"),  # type: ignore[arg-type]
    ],
)
def test_wrong_settings_are_refused_with_a_remedy(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value)


def test_optuna_and_torch_are_not_imported_before_they_are_needed() -> None:
    names = [m.name for m in pkgutil.iter_modules(search.searchers.__path__)]
    modules = ", ".join(f"search.searchers.{name}" for name in names)
    heavy = ("optuna", "torch", "botorch", "gpytorch", "scipy", "pandas", "cmaes")
    script = f"import sys, search.schedulers.asha, {modules}\nprint([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("searcher", [s for s in USABLE if isinstance(s, ON_BOTORCH)], ids=lambda s: type(s).__name__)
def test_a_model_of_torch_leaves_its_threads_and_its_random_numbers_alone(searcher: Searcher, recwarn: Any) -> None:
    import torch

    before = (torch.get_num_threads(), torch.get_rng_state().tolist())
    searcher.suggest(random_history(SPACES["conditional"], seed=0, trials=30))
    assert (torch.get_num_threads(), torch.get_rng_state().tolist()) == before
    assert [str(w.message) for w in recwarn if not issubclass(w.category, DeprecationWarning)] == []


def test_optuna_is_silent_and_keeps_its_verbosity(caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    Tpe(n_startup_trials=4).suggest(random_history(SPACES["conditional"], seed=0, trials=30))
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def bohb_history(space: Space, *, trials: int, steps: int, seed: int = 0) -> History:
    """Random configurations, each reported at every step up to `steps`; x near 0.3 is good."""
    history, rng = History(space, horizon=9, seed=seed), np.random.default_rng(seed)
    for number in range(trials):
        config = space.sample(rng)
        history.append(start(config))
        for step in range(1, steps + 1):
            history.append(Report(number, step, abs(config["x"] - 0.3)))
        history.append(End(number, Status.STOPPED))
    return history


def test_bohb_learns_on_the_last_step_with_enough_results() -> None:
    space = Space({"x": uniform(0, 1), "y": uniform(0, 1)})
    history = bohb_history(space, trials=5, steps=1)
    first = BohbSearch().suggest(history)
    assert first is not None
    assert first.origin == "initial"
    history = bohb_history(space, trials=20, steps=1)
    for number in range(6):
        history.append(resume(history.trials[number], until=3))
        history.append(Report(number, 2, 0.5))
        history.append(Report(number, 3, 0.5 + number))
        history.append(End(number, Status.STOPPED))
    suggestion = BohbSearch(random_share=0.0).suggest(history)
    assert suggestion is not None
    assert suggestion.evidence == "densities of 3 good and 3 bad results at step 3"


def test_bohb_draws_a_third_at_random_and_the_rest_where_the_good_are() -> None:
    space = Space({"x": uniform(0, 1), "o": choice(["a", "b"]), "n": when(uniform(0, 1), o="a")})
    origins: list[str] = []
    drawn: list[float] = []
    for seed in range(150):
        suggestion = BohbSearch().suggest(bohb_history(space, trials=60, steps=2, seed=seed))
        assert suggestion is not None
        origins.append(suggestion.origin)
        if suggestion.origin == "model":
            drawn.append(abs(suggestion.config["x"] - 0.3))
    assert 0.2 < origins.count("random") / 150 < 0.47
    assert np.median(drawn) < 0.1  # at random: 0.23


def cut_off(*, completed: int, stopped: int, at: int = 3) -> History:
    """The first trials are bad and complete, as under ASHA; the later are the better the smaller x, and are stopped."""
    history = History(SPACES["continuous"], horizon=HORIZON)
    for number in range(completed + stopped):
        x = 1.9 - number / 100 if number < completed else 2 * (number - completed) / stopped - 1
        trial = history.append(start({"x": x, "lr": 0.01}))
        steps = HORIZON if number < completed else at
        for step in range(1, steps + 1):
            history.append(Report(trial.number, step, x + 1 / step))
        history.append(End(trial.number, Status.COMPLETED if number < completed else Status.STOPPED))
    return history


def test_tpe_learns_from_the_last_step_that_enough_trials_have_reached() -> None:
    searcher = Tpe(random_share=0.0)
    few, many = cut_off(completed=5, stopped=30), cut_off(completed=30, stopped=5)
    drawn = []
    for _ in range(10):  # each record is another turn of the dice
        drawn.append(searcher.suggest(few).config["x"])
        few.append(Report(0, HORIZON, 2.0))
    assert sum(drawn) / 10 < 0.0  # where Optuna itself goes by the five that completed, beyond 1.8
    assert searcher.suggest(many).config["x"] > 1.0  # thirty full results count for more than five early ones


def test_tpe_draws_some_at_random_only_where_trials_are_stopped_early() -> None:
    history = cut_off(completed=20, stopped=10)
    origins = set()
    for _ in range(20):
        origins.add(Tpe().suggest(history).origin)
        history.append(Report(0, HORIZON, 2.0))
    assert origins == {"model", "random"}
    assert Tpe().suggest(cut_off(completed=30, stopped=0)).origin == "model"
    with pytest.raises(ValueError, match="must be a share"):
        Tpe(random_share=1.0)


@pytest.mark.parametrize("memo", ["not JSON", "[1, 2]", '{"bayes": 3, "curves": "x"}', '{"bayes": {}, "curves": {}}'])
@pytest.mark.parametrize("searcher", [BayesSearch(n_initial=4), MultitaskSearch(n_initial=4)], ids=repr)
def test_what_somebody_else_noted_does_not_stop_a_model(searcher: Searcher, memo: str) -> None:
    history = cut_off(completed=12, stopped=0)
    history.append(start({"x": 0.0, "lr": 0.1}, memo=memo))
    suggestion = searcher.suggest(history)
    assert isinstance(suggestion, Suggestion)
    assert suggestion.origin in ("model", "promotion")


def test_notes_of_several_searchers_stay_side_by_side() -> None:
    history = History(SPACES["continuous"], horizon=1)
    for memo in ('{"bayes": 1}', "", '{"curves": 2}', "something else", '{"bayes": 3}'):
        history.append(start({"x": 0.0, "lr": 0.1}, memo=memo))
    assert (history.note("bayes"), history.note("curves"), history.note("nothing")) == (3, 2, None)


def test_searchers_that_schedule_by_themselves_say_so() -> None:
    assert {type(searcher).__name__ for searcher in USABLE if searcher.schedules} == {
        "MultitaskSearch", "Pb2", "PopulationBasedTraining", "SigOptSearch",
    }  # fmt: skip
    assert Points([], then=MultitaskSearch()).schedules
    assert not Points([], then=Random()).schedules


def drawn(searcher: Searcher, space: Space, count: int) -> list[dict[str, Any]]:
    """The configurations of the first trials."""
    history = History(space, horizon=1, seed=3, limit=count)
    for _ in range(count):
        suggestion = searcher.suggest(history)
        assert isinstance(suggestion, Suggestion)
        history.append(suggestion)
    return [dict(trial.config) for trial in history.trials]


def test_three_in_four_bracketed_configurations_are_from_the_middle_of_the_logarithmic_ranges() -> None:
    """Only there; and every fourth is the one that an even draw gives. 88 % of Beta(3, 3) is in the middle 60 %. Later it is
    one in four."""
    space = Space(
        {
            "rate": loguniform(1e-6, 1.0),
            "batch": pow2(2, 2048),
            "width": lograndint(8, 8192),
            "momentum": uniform(0.0, 1.0),
            "layers": randint(1, 9),
            "optimizer": choice(["sgd", "adam"]),
        }
    )
    evenly, bracketed = drawn(Random(), space, 816), drawn(Random(bracketed=True), space, 816)
    from_middle = [number % 4 != 3 if number < 128 else number % 4 == 0 for number in range(816)]
    assert all(a == b for a, b, middle in zip(evenly, bracketed, from_middle, strict=True) if not middle)
    chosen = [config for config, middle in zip(bracketed, from_middle, strict=True) if middle]
    even = [config for config, middle in zip(evenly, from_middle, strict=True) if middle]
    for name, low, high, log in (("rate", 1e-6, 1, True), ("width", 8, 8192, True), ("momentum", 0, 1, False)):
        scale = math.log if log else float
        places = np.array([(scale(c[name]) - scale(low)) / (scale(high) - scale(low)) for c in chosen])
        inside = np.mean(np.abs(places - 0.5) <= 0.3)
        assert (0.83 < inside < 0.93) if log else (0.53 < inside < 0.67)
    ends = sum(config["batch"] in (2, 4, 1024, 2048) for config in chosen)
    assert ends < 0.6 * sum(config["batch"] in (2, 4, 1024, 2048) for config in even)
    for name in ("momentum", "layers", "optimizer"):
        assert [config[name] for config in chosen] == [config[name] for config in even]


def test_the_searchers_with_models_start_from_the_middle() -> None:
    space = Space({"rate": loguniform(1e-6, 1.0)})
    expected = drawn(Random(bracketed=True), space, 8)
    for searcher in (BayesSearch(), MultitaskSearch(), Tpe(), GaussianProcess(), BohbSearch()):
        assert drawn(searcher, space, 8) == expected


def test_a_class_on_top_of_random_is_recorded_under_its_own_name() -> None:
    class Mine(Random):
        pass

    assert [repr(each).rpartition(".")[2] for each in (Mine(), Mine(bracketed=True))] == [
        "Mine()",
        "Mine(bracketed=True)",
    ]
    assert [repr(Random()), repr(Random(bracketed=True))] == ["Random()", "Random(bracketed=True)"]


@pytest.mark.parametrize("value", [1, "yes", None])
def test_bracketed_is_a_bool(value: Any) -> None:
    with pytest.raises(ValueError, match=r"Random\(bracketed="):
        Random(bracketed=value)
