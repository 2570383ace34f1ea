"""What a user of Optuna or Ray Tune writes first, and what we answer."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna import distributions
from ray import tune

from orchestrator import reporting
from orchestrator.definition.bad_input import in_words
from orchestrator.definition.foreign_options import ELSEWHERE, OTHER_NAMES
from orchestrator.definition.warnings import warnings
from orchestrator.errors import BadInput
from orchestrator.main import run
from orchestrator.sweep import Sweep
from search.schedulers.asha import Asha
from search.searchers.optuna import Tpe
from search.space import Space, choice, loguniform, pow2, randint, uniform
from search.work import Assignment
from trainables.carry_out import carry_out
from trainables.workloads.callable import FromFunction

SPACE = Space({"lr": loguniform(1e-5, 1)})


def objective(trial: Any) -> Any:
    return abs(trial.suggest_float("rate", 1e-5, 1, log=True))


def asks(t: Any) -> Any:
    return t.suggest_int(name="layers", low=1, high=4)


def hands_on(trial: Any) -> Any:
    return objective(trial)


def is_a_dict(trial: Any) -> Any:
    return trial["lr"]


@pytest.mark.parametrize(
    ("train", "remedy"),
    [
        (objective, r"config\['rate'\] in place of trial.suggest_float\('rate', …\)"),
        (asks, r"config\['layers'\] in place of t.suggest_int\('layers', …\)"),
        (hands_on, r"config\['lr'\]"),
    ],
)
def test_an_objective_of_optuna_is_refused(train: Any, remedy: str) -> None:
    with pytest.raises(BadInput, match=rf"takes an Optuna trial.*{remedy}.*declare the ranges in Space"):
        Sweep("mine", train, SPACE, minimize="loss", steps=1)


def test_a_configuration_may_be_named_trial() -> None:
    assert Sweep("mine", is_a_dict, SPACE, minimize="loss", steps=1).workload.train is is_a_dict


def carried_out(train: Any, folder: Path) -> list[Any]:
    """What a trial of three steps yields."""
    shutil.rmtree(folder, ignore_errors=True)
    assignment = Assignment(0, {"lr": 0.1}, 7, until=3, folder=folder / "trial" / "checkpoints")
    assignment.folder.mkdir(parents=True)
    workload = FromFunction(train, metric="loss", mode="min", horizon=3)
    return [item for item in carry_out(workload, None, assignment) if item is not None]


def reports_to_tune(config: Any) -> None:
    tune = Tune()
    for step in (1, 2, 3):
        tune.report({"loss": config["lr"] / step})


class Tune:
    """Takes reports as Ray Tune does outside its trials: nobody hears of them."""

    def report(self, metrics: Any) -> None: ...


@pytest.mark.slow
def test_a_report_to_another_library_is_named_in_the_failure(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"tune.report\(\) does not reach the sweep: use `from orchestrator import rep"
    ):
        carried_out(reports_to_tune, tmp_path)


def reports_and_returns(config: Any) -> float:
    for step in (1, 2, 3):
        reporting.report(step, loss=6.0 / step)
    return 0.5


@pytest.mark.slow
def test_another_value_than_the_last_report_is_told_once_in_a_sweep(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep("two", reports_and_returns, SPACE, minimize="loss", steps=3, num_samples=3)
    run(sweep, runs=tmp_path, simulate=True)
    told = capfd.readouterr().err
    assert told.count("the function returned 0.5, but its last report is 2, which counts") == 1


def prunes_itself(config: Any) -> None:
    reporting.report(1, loss=1.0)
    raise optuna.TrialPruned("bad")


def prunes_itself_at_once(config: Any) -> None:
    if config["lr"]: raise optuna.TrialPruned("bad")  # fmt: skip  # noqa: E701


@pytest.mark.slow
def test_trial_pruned_ends_a_training_that_has_reported(tmp_path: Path) -> None:
    assert [item.kind for item in carried_out(prunes_itself, tmp_path)] == ["report", "ended"]


def test_trial_pruned_without_a_report_is_a_failure_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^optuna.exceptions.TrialPruned: bad \(exit code 1"):
        carried_out(prunes_itself_at_once, tmp_path)


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ("storage", "--runs"),
        ("direction", "minimize=… or maximize=…"),
        ("directions", "tunes one metric"),
        ("catch", "allow_failed"),
        ("stop", "steps=… .*target=…"),
        ("study_name", "'name'"),
        ("config", "'space'"),
        ("max_failures", "'retries'"),
    ],
)
def test_an_option_of_another_library_is_answered_with_ours(option: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=f"no option '{option}'.*{remedy}"):
        Sweep("mine", is_a_dict, SPACE, minimize="loss", steps=1, **{option: 1})


def test_other_names_are_names_of_fields() -> None:
    ours = {each.name for each in fields(Sweep)} | {"minimize", "maximize", "steps"}
    assert set(OTHER_NAMES.values()) <= ours
    assert not ours & {*OTHER_NAMES, *ELSEWHERE}


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: randint(16, 128, step=16), "it has no step; write choice(list(range(16, 129, 16)))."),
        (lambda: uniform(0, 1, step=0.1), "write choice([round(0 + 0.1 * i, 9) for i in range(11)])."),
        (lambda: uniform(1e-5, 1, log=True), "uniform(1e-05, 1, log=True): write loguniform(1e-05, 1)."),
        (lambda: randint(low=1, high=9, log=True), "write lograndint(1, 9)."),
        (lambda: uniform("lr", 0, 1), "write {'lr': uniform(…)}."),
        (lambda: choice("sgd", "adam"), "choice('sgd', 'adam'): it takes one list; write choice(['sgd', 'adam'])."),
        (lambda: uniform(0.1), "missing a required argument: 'high'; write uniform(low, high)."),
        (lambda: pow2(1, 8, base=2), "write pow2(low, high)."),
    ],
)
def test_a_parameter_with_arguments_of_another_library_is_refused(call: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=re.escape(remedy)):
        call()


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (tune.loguniform(1e-5, 1), "that is Ray Tune's loguniform; write loguniform(1e-05, 1)."),
        (tune.randint(1, 9), "Ray Tune's randint; write randint(1, 8)."),
        (tune.quniform(0, 1, 0.25), "Ray Tune's quniform; write choice([round(0 + 0.25 * i, 9) for i in range(5)])."),
        (
            tune.qloguniform(1e-3, 1, 1e-3),
            "write loguniform(0.001, 1), and round it to multiples of 0.001 in the training.",
        ),
        (tune.qlograndint(8, 64, 8), "write lograndint(8, 64), and round it to multiples of 8 in the training."),
        (tune.choice(["a", "b"]), "Ray Tune's choice; write choice(['a', 'b'])."),
        (tune.grid_search([1, 2]), "Ray Tune's grid_search; write choice([1, 2]), with searcher=Grid()"),
        (tune.randn(0, 1), "Ray Tune's randn; write uniform(low, high)"),
        (tune.sample_from(lambda spec: 3), "Ray Tune's sample_from"),
        (distributions.FloatDistribution(1e-5, 1, log=True), "Optuna's FloatDistribution; write loguniform(1e-05, 1)."),
        (distributions.IntDistribution(16, 128, step=16), "write choice(list(range(16, 129, 16)))."),
        (distributions.CategoricalDistribution(["a", "b"]), "write choice(['a', 'b'])."),
    ],
)
def test_a_parameter_of_another_library_is_answered_with_ours(value: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)):
        Space({"x": value})


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda: Tpe(seed=1), "unexpected keyword argument 'seed'. The Sweep has the seed: Sweep(seed=…)."),
        (lambda: Asha(metric="loss"), "The Sweep names the metric: Sweep(minimize=…)"),
        (lambda: Asha(time_attr="step"), "Schedulers count the steps that a training reports; leave it out."),
    ],
)
def test_a_setting_of_the_sweep_is_sent_there(make: Any, remedy: str) -> None:
    with pytest.raises(TypeError) as raised:
        make()
    assert remedy in str(in_words(raised.value))


def test_a_function_and_a_space_are_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"is_a_dict\(\) takes arguments.*run\(Sweep\('mine', is_a_dict, Space\(…\), minimize=…"
    ):
        run(is_a_dict, SPACE)  # type: ignore[arg-type]


def test_the_steps_of_a_function_that_returns_its_result_are_one() -> None:
    with pytest.raises(BadInput, match=r"add steps=….*; steps=1 if the function returns its result"):
        Sweep("mine", is_a_dict, SPACE, minimize="loss")


@pytest.mark.parametrize(
    ("max_t", "doubt"),
    [
        (3, r"Asha\(max_t=3\) lets no trial train beyond step 3, so none reaches step 9"),
        (100, r"Asha\(max_t=100\): max_t has no effect, as a full training ends at step 9"),
        (9, "^$"),
        (None, "^$"),
    ],
)
def test_another_max_t_than_the_steps_is_doubtful(max_t: int | None, doubt: str) -> None:
    scheduler = Asha(max_t=max_t)
    sweep = Sweep("mine", is_a_dict, SPACE, minimize="loss", steps=9, scheduler=scheduler)
    assert re.search(doubt, " ".join(warnings(sweep)))
