"""Our searchers and schedulers in a plain Ray Tuner."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from operator import ne
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.tune import SearchAlgorithm, TrialScheduler
from search.contract import Scheduler, Searcher
from search.history import History
from search.records import Report, Status, Suggestion, fork, resume, start
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, uniform
from search.task import Task
from tests.support import ROOT

HORIZON = 4
SPACE = Space({"x": uniform(0.0, 1.0)})


def algorithm(searcher: Searcher | None = None, **changes: Any) -> SearchAlgorithm:
    fields: dict[str, Any] = {"metric": "loss", "mode": "min", "horizon": HORIZON}
    return SearchAlgorithm(searcher or Random(), SPACE, **(fields | changes))


@dataclass(frozen=True)
class OneStepAtATime(Searcher):
    """Starts up to four trials for one step each, then takes the best on, a step at a time."""

    continues = True

    def suggest(self, history: History) -> Suggestion | None:
        if history.room and len(history.trials) < 4:
            return start({"x": len(history.trials) / 4}, until=1)
        resting = history.having(Status.STOPPED)
        if not resting or history.count(Status.COMPLETED):
            return None
        best = min(resting, key=lambda trial: trial.loss)
        return resume(best, until=best.step + 1, origin="model")


@dataclass(frozen=True)
class Forks(Searcher):
    continues = True

    def suggest(self, history: History) -> Suggestion | None:
        return fork(history.trials[0], 1, {"x": 0.5}) if history.trials else start({"x": 0.1})


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def fit(search: SearchAlgorithm, scheduler: Any, folder: Path, *, checkpoints: bool = True, **tuning: Any) -> Any:
    from ray import tune

    def train(config: dict[str, Any]) -> None:
        checkpoint = tune.get_checkpoint()
        began = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
        for step in range(began + 1, 5):
            with tempfile.TemporaryDirectory() as place:
                Path(place, "step").write_text(str(step))
                saved = tune.Checkpoint.from_directory(place) if checkpoints else None
                tune.report({"loss": (config["x"] - 0.3) ** 2 + 1 / step, "began": began}, checkpoint=saved)

    return tune.Tuner(
        train,
        tune_config=tune.TuneConfig(search_alg=search, scheduler=scheduler, reuse_actors=True, **tuning),
        run_config=tune.RunConfig(name="plain", storage_path=str(folder), verbose=0),
    ).fit()


@pytest.mark.ray
@pytest.mark.parametrize("scheduler", [None, Asha()])
def test_a_metric_named_wrongly_ends_in_our_sentence(local_ray: None, tmp_path: Path, scheduler: Asha | None) -> None:
    search = algorithm(metric="los")
    with pytest.raises(
        Exception, match=r"SearchAlgorithm\(metric='los'\): the training reports 'loss', 'began'"
    ) as caught:
        fit(search, scheduler and TrialScheduler(scheduler, search), tmp_path, num_samples=1)
    assert "TUNE_DISABLE" not in str(caught.value)


@pytest.mark.ray
def test_another_direction_in_the_config_of_tune_is_refused(local_ray: None, tmp_path: Path) -> None:
    search = algorithm()
    with pytest.raises(BadInput, match="SearchAlgorithm has metric='loss', mode='min'; leave them out of TuneConfig"):
        fit(search, TrialScheduler(RunToEnd(), search), tmp_path, num_samples=1, metric="loss", mode="max")


def assert_each_step_is_there_once(search: SearchAlgorithm) -> None:
    for trial in search.tuning.history:
        assert trial.steps == list(range(1, trial.step + 1))


@pytest.mark.ray
def test_a_scheduler_that_stops_and_a_limit_of_concurrency(local_ray: None, tmp_path: Path) -> None:
    search = algorithm()
    results = fit(search, TrialScheduler(Asha(), search), tmp_path, num_samples=6, max_concurrent_trials=1)
    history = search.tuning.history
    assert len(results) == len(history.trials) == 6
    assert sorted(r.metrics["training_iteration"] for r in results) == sorted(trial.step for trial in history)
    assert history.count(Status.COMPLETED) >= 1
    assert history.count(Status.COMPLETED) + history.count(Status.STOPPED) == 6
    told = {name for record in search.tuning.records if isinstance(record, Report) for name in record.metrics}
    assert told == {"loss", "began"}  # nothing that Tune adds
    assert_each_step_is_there_once(search)


@pytest.mark.slow
@pytest.mark.ray
def test_a_searcher_that_resumes_trials(local_ray: None, tmp_path: Path) -> None:
    search = algorithm(OneStepAtATime())
    results = fit(search, TrialScheduler(RunToEnd(), search), tmp_path, num_samples=50)
    assert not results.errors
    assert len(results) == 4
    best = search.tuning.history.having(Status.COMPLETED)[0]
    assert best.config["x"] == 0.25
    assert_each_step_is_there_once(search)
    report = [r for r in search.tuning.records if isinstance(r, Report) and r.trial == best.number][-1]
    assert report.metrics["began"] == HORIZON - 1  # it went on from its checkpoint


@pytest.mark.slow
@pytest.mark.ray
def test_tunes_own_scheduler_works_with_our_searcher(local_ray: None, tmp_path: Path) -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    search = algorithm(seed=1)
    scheduler = AsyncHyperBandScheduler(metric="loss", mode="min", max_t=HORIZON, reduction_factor=2)
    fit(search, scheduler, tmp_path, num_samples=6)
    history = search.tuning.history
    assert history.count(Status.RUNNING) == 0
    assert history.count(Status.COMPLETED) >= 1
    assert_each_step_is_there_once(search)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("searcher", "scheduler", "who", "instead"),
    [
        (
            Random(),
            AshaPromote(reduction_factor=2),
            r"AshaPromote\(.*\)",
            r"a scheduler that only stops, such as Asha\(\)",
        ),
        (
            OneStepAtATime(),
            Asha(),
            r"OneStepAtATime\(\)",
            r"a searcher that trains each trial in one go, such as Tpe\(\)",
        ),
    ],
    ids=["scheduler", "searcher"],
)
def test_resuming_without_checkpoints_is_refused_with_a_remedy_at_the_first_rest(
    local_ray: None, tmp_path: Path, searcher: Searcher, scheduler: Scheduler, who: str, instead: str
) -> None:
    search = algorithm(searcher)
    words = rf"{who} resumes trials, and trial \w+ has no checkpoint to go on from: .* or use {instead}"
    with pytest.raises(Exception, match=words):
        fit(
            search,
            TrialScheduler(scheduler, search),
            tmp_path,
            num_samples=8,
            checkpoints=False,
            max_concurrent_trials=1,
        )
    assert len([trial for trial in search.tuning.history if trial.steps]) == 1


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_interrupted_tuner_is_restored_and_ends_with_every_step_once(tmp_path: Path, number: int) -> None:
    run = [sys.executable, str(ROOT / "tests" / "sweeps" / "plain.py"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TUNE_GLOBAL_CHECKPOINT_S": "0.2"}
    process = subprocess.Popen(
        run, env=environment | {"SLEEP": "0.6"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(reports(tmp_path)) < 4:
        assert process.poll() is None
        time.sleep(0.05)
    wait_for_snapshot(tmp_path)
    process.send_signal(number)
    process.wait(60)
    before = reports(tmp_path)
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    steps = [row["step"] for row in json.loads(done.stdout.splitlines()[-1])]
    assert len(steps) == 8
    assert HORIZON in steps
    after = reports(tmp_path)
    assert len(after) > len(before)  # it was interrupted, and did not just end
    assert after[: len(before)] == before
    seen = [(row["trial"], row["step"]) for row in after]
    assert len(seen) == len(set(seen)) == sum(steps)


def wait_for_snapshot(folder: Path) -> None:
    """Until Tune has just written one, as it writes them in place, file after file: from half a one it starts over."""
    files = [
        file
        for part in ("experiment_", "search_gen_", "searcher-")
        for file in (folder / "plain").glob(f"{part}state-*")
    ]
    assert len(files) == 3
    before = [file.stat().st_mtime_ns for file in files]
    while True:
        time.sleep(0.001)
        now = [file.stat().st_mtime_ns for file in files]
        if all(map(ne, now, before)) and max(now) - min(now) < 5e7 and all(map(is_whole, files)):
            return


def is_whole(file: Path) -> bool:
    try:
        pickle.loads(file.read_bytes()) if "search_gen" in file.name else json.loads(file.read_text())
    except (EOFError, pickle.UnpicklingError, json.JSONDecodeError):
        return False
    return True


def reports(folder: Path) -> list[dict[str, Any]]:
    """The reports in the searcher's newest snapshot."""
    snapshots = sorted((folder / "plain").glob("searcher-state-*.pkl"))
    if not snapshots:
        return []
    try:
        records = json.loads(json.loads(snapshots[-1].read_text())["records"])
    except ValueError:  # it is being written
        return []
    return [row for row in records if row["record"] == "Report"]


def test_the_saved_state_of_a_searcher_gives_the_same_next_suggestion(tmp_path: Path) -> None:
    one, two = algorithm(), algorithm()
    for name in ("a", "b"):
        one.suggest(name)
    one.tell("a", {"loss": 0.5, "training_iteration": 1, "time_this_iter_s": 2.0, "done": False})
    one.save(str(tmp_path / "state"))
    two.restore(str(tmp_path / "state"))
    assert two.trial("a").losses == [0.5]
    assert two.trial("a").cost_seconds == 2.0
    assert two.suggest("c") == one.suggest("c")


def test_a_metric_to_be_maximised_is_negated_once() -> None:
    search = algorithm(mode="max", metric="accuracy")
    search.suggest("a")
    search.tell("a", {"accuracy": 0.9, "training_iteration": 1})
    assert search.trial("a").loss == -0.9


def test_a_result_without_the_metric_is_refused_with_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    search = algorithm(metric="accuracy", mode="max")
    search.suggest("a")
    result = {"acc": 0.9, "training_iteration": 1, "trial_id": "a", "config/x": 0.5, "done": False}
    words = r"SearchAlgorithm\(metric='accuracy'\): the training reports 'acc'; name a metric that it reports"
    for told in (search.on_trial_result, search.on_trial_complete):
        with pytest.raises(BadInput, match=words):
            told("a", result)
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    search.on_trial_result("a", result)
    monkeypatch.delenv("TUNE_DISABLE_STRICT_METRIC_CHECKING")
    assert search.trial("a").steps == []
    search.on_trial_complete("a", {"trial_id": "a", "done": True})  # the trainable returned before any report
    assert search.trial("a").status is not Status.RUNNING


def trained(search: SearchAlgorithm, name: str, loss: float, steps: int = HORIZON) -> bool:
    """Whether a trial may go on after so many steps; told as Tune does."""
    for step in range(1, steps + 1):
        search.tell(name, {"loss": loss, "training_iteration": step})
    return search.trial(name).status is Status.RUNNING


def test_a_baseline_and_points_go_first() -> None:
    search = algorithm(baseline={"x": 0.5}, points=[{"x": 0.25}])
    assert [search.suggest("a"), search.suggest("b")] == [{"x": 0.5}, {"x": 0.25}]


def test_a_target_ends_the_search_and_what_still_runs() -> None:
    search = algorithm(target=0.1)
    search.suggest("a")
    search.suggest("b")
    assert not trained(search, "a", 0.05, steps=1)
    assert not trained(search, "b", 0.5, steps=1)
    assert search.suggest("c") == search.FINISHED
    assert search.tuning.over == "the target is reached: trial 0 at step 1, loss 0.05"


def test_a_budget_ends_the_search_and_finalists_are_trained_again_within_it(tmp_path: Path) -> None:
    search = algorithm(budget=3.0, finalists=1)
    first, second = search.suggest("a"), search.suggest("b")
    assert search.suggest("c") is None
    trained(search, "a", 0.2)
    trained(search, "b", 0.1)
    search.save(str(tmp_path / "state"))
    restored = algorithm(budget=3.0, finalists=1)
    restored.restore(str(tmp_path / "state"))
    for each in (search, restored):
        assert first != second == each.suggest("c")
        assert not trained(each, "c", 0.15)
        assert each.suggest("d") == each.FINISHED
    scheduler = TrialScheduler(Asha(), algorithm(finalists=2, confirmations=2))
    scheduler.set_search_properties(None, None, num_samples=10)
    assert scheduler.search.tuning.history.limit == 6


def test_what_tune_has_no_words_for_is_refused_with_a_remedy() -> None:
    search = algorithm(Forks())
    search.suggest("a")
    with pytest.raises(BadInput, match="run it as a Sweep"):
        search.suggest("b")
    with pytest.raises(BadInput, match=r"use Task\.epochs"):
        algorithm(tasks=(Task.changed("small", 0.1, width=2), Task("full", 1.0)))
    alone = algorithm(OneStepAtATime())
    for name in "abcd":
        alone.suggest(name)
    alone.tell("a", {"loss": 0.5, "training_iteration": 1})
    with pytest.raises(BadInput, match="add TuneConfig"):
        alone.suggest("e")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: algorithm(mode="up"), "must be one of 'min', 'max'"),
        (lambda: algorithm(horizon=0), "1 or more"),
        (lambda: SearchAlgorithm(Asha(), SPACE, metric="a", mode="min", horizon=3), "must be a searcher"),  # type: ignore[arg-type]
        (lambda: SearchAlgorithm(Random(), {}, metric="a", mode="min", horizon=3), "write Space"),  # type: ignore[arg-type]
        (lambda: TrialScheduler(Asha(), Random()), "share its history"),  # type: ignore[arg-type]
        (lambda: TrialScheduler(Random(), algorithm()), "must be a scheduler"),  # type: ignore[arg-type]
        (lambda: algorithm().set_search_properties("acc", "max", {}), "leave them out of TuneConfig"),
    ],
)
def test_wrong_settings_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        make()
    assert sentence in str(caught.value)


def test_a_space_given_twice_is_refused() -> None:
    from ray import tune

    with pytest.raises(BadInput, match="only constants here"):
        algorithm().set_search_properties(None, None, {"lr": tune.uniform(0, 1)})


def test_a_plain_tuner_keeps_its_own_settings() -> None:
    """Importing the pair must not switch off Tune's snapshots, which Tuner.restore needs."""
    script = "import os\nfrom orchestrator.tune import SearchAlgorithm\nprint([n for n in os.environ if n.startswith('TUNE_')])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]", done.stderr
