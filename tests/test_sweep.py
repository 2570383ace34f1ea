"""A sweep that cannot work is refused in one sentence, before anything starts."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import (
    FromFunction,
    LrSchedule,
    LstmLm,
    LstmMnist,
    MultitaskSearch,
    Quadratic,
    Random,
    Space,
    Sweep,
    Task,
    choice,
    loguniform,
    pow2,
    uniform,
    when,
)
from orchestrator.definition.checks import on_this_machine
from orchestrator.definition.description import FIXED
from orchestrator.definition.identity import ADDRESS, identity
from orchestrator.definition.units import number_of_bytes, seconds
from orchestrator.errors import BadInput, ResumeRefused
from orchestrator.record import resume_check
from orchestrator.smoke import smallest
from tests.support import ROOT, SPACE, simulated, small_sweep
from trainables.policies.plateau import Plateau
from trainables.workloads.mlp_digits import MlpDigits

POINT = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
BRANCHED_PARAMETERS = {
    "opt": choice(["sgd", "adam"]),
    "learning_rate": loguniform(1e-3, 1),
    "momentum": when(uniform(0, 1), opt="sgd"),
    "batch_size": 8,
}
BRANCHED = Space(BRANCHED_PARAMETERS)

BAD = {
    "an option that is called otherwise here": ({"n_trials": 3}, r"no option 'n_trials'. Did you mean 'num_samples'"),
    "a misspelt option": ({"max_concurent": 3}, r"'max_concurent'. Did you mean 'max_concurrent'"),
    "an option nobody knows": ({"zebra": 3}, r"no option 'zebra'. Known: .*num_samples"),
    "no samples": ({"num_samples": 0}, r"num_samples=0\): must be a whole number, 1 or more"),
    "half a sample": ({"num_samples": 1.5}, r"num_samples=1.5"),
    "true samples": ({"num_samples": True}, r"num_samples=True"),
    "samples as text": ({"num_samples": "10"}, r"num_samples='10'"),
    "no worker": ({"max_concurrent": 0}, r"max_concurrent=0"),
    "a negative seed": ({"seed": -1}, r"seed=-1"),
    "a budget without unit": ({"time_budget": "six hours"}, r"time_budget='six hours': write seconds"),
    "no budget": ({"time_budget": 0}, r"time_budget=0\): must be more than 0"),
    "negative silence": ({"max_silence": -3.0}, r"max_silence"),
    "a negative checkpoint interval": ({"checkpoint_seconds": -1}, r"checkpoint_seconds=-1"),
    "a misspelt metric": ({"metric": "los"}, r"metric='los'\): Quadratic does not report this metric. Did you mean 'loss'"),
    "a wrong mode": ({"mode": "minimise"}, r"mode='minimise'\): must be 'min' or 'max'"),
    "a name with a slash": ({"name": "a/b"}, r"name='a/b'"),
    "an empty name": ({"name": ""}, r"name=''"),
    "a name that is no text": ({"name": 3}, r"name=3"),
    "a hidden name": ({"name": "..", }, r"name='..'"),
    "a parameter that the workload misses": (
        {"space": Space({"learning_rate": uniform(0.1, 1.0)}), "baseline": None},
        r"Quadratic reads the parameter 'batch_size', which is missing in \{'learning_rate': .*\}; add it to the space",
    ),
    "a dict for a space": ({"space": SPACE}, r"write Space\(\{…\}\)"),
    "a searcher's class": ({"searcher": Random}, r"searcher=Random\): that is the class; write Random\(\)"),
    "a searcher that is none": ({"searcher": "tpe"}, r"searcher='tpe'\): must be a Searcher; write searcher=Tpe\(\)\."),
    "a searcher that nobody knows": ({"searcher": "magic"}, r"must be a Searcher; write one of BayesSearch\(\), .*Tpe\(\)"),
    "a scheduler that is none": ({"scheduler": "asha"}, r"scheduler='asha'\): must be a Scheduler; write scheduler=Asha\(\)"),
    "a workload's class": ({"workload": Quadratic}, r"write Quadratic\(\)"),
    "a workload that is none": ({"workload": 3}, r"workload=3\): must be a function, a command such as 'python train.py', or a Workload"),
    "a policy that is none": ({"policy": 3}, r"policy=3\): must be a Policy"),
    "a class of policies": ({"policy": Plateau}, r"policy=Plateau\): that is the class; write Plateau\(\)"),
    "an unknown resource": ({"resources": {"gpus": 1}}, r"no resource 'gpus'. Did you mean 'gpu'"),
    "a negative resource": ({"resources": {"cpu": -1}}, r"cpu must be a number"),
    "a resource as text": ({"resources": {"gpu": "half"}}, r"gpu must be a number"),
    "memory without unit": ({"resources": {"memory": "lots"}}, r"memory='lots': write bytes"),
    "a point outside the space": ({"points_to_evaluate": [POINT | {"momentum": 2.0}]}, r"momentum"),
    "a point with a misspelt parameter": ({"points_to_evaluate": [{"learning_rat": 0.1, "momentum": 0.5, "batch_size": 8}]}, r"learning_rat"),
    "a point without a parameter": ({"points_to_evaluate": [{"learning_rate": 0.1}]}, r"momentum|batch_size"),
    "a point that is no power of two": ({"points_to_evaluate": [POINT | {"batch_size": 12}]}, r"12"),
    "a point of the wrong type": ({"points_to_evaluate": [POINT | {"momentum": "0.5"}]}, r"'0.5'"),
    "a point that is no dict": ({"points_to_evaluate": [3]}, r"3 is not a configuration"),
    "a baseline without a parameter": ({"baseline": {"learning_rate": 0.1}}, r"baseline=.*'[a-z_]+' of the space is missing; give it a value"),
    "a baseline with a misspelt parameter": ({"baseline": {"learning_rat": 0.1, "momentum": 0.5, "batch_size": 8}}, r"baseline=.*the space has no 'learning_rat'. Did you mean 'learning_rate'\?"),
    "a baseline without an active parameter": ({"space": BRANCHED, "baseline": {"opt": "sgd", "learning_rate": 0.1, "batch_size": 8}}, r"'momentum' of the space is missing; give it a value \(a number from 0.0 to 1.0\)"),
    "a baseline without a parameter of a conditional space": ({"space": BRANCHED, "baseline": {"opt": "adam"}}, r"'learning_rate' of the space is missing"),
    "a baseline with a number as text": ({"baseline": POINT | {"batch_size": "8"}}, r"'batch_size' = '8' must be a whole number"),
    "a baseline with half a batch": ({"baseline": POINT | {"batch_size": 8.5}}, r"'batch_size' = 8.5 must be a whole number"),
    "a baseline with nothing for a number": ({"baseline": POINT | {"momentum": None}}, r"'momentum' = None must be a number"),
    "a baseline with a number for a name": ({"space": BRANCHED, "baseline": {"opt": 1, "learning_rate": 0.1}}, r"'opt' = 1 must be text"),
    "a limit that is no number": ({"diverged_beyond": "high"}, r"diverged_beyond='high'"),
    "a target that is no number": ({"target": "low"}, r"target='low'\): must be a finite number"),
    "a target that would have diverged": ({"target": 9.0, "diverged_beyond": 5.0}, r"target=9.0\): is beyond diverged_beyond=5.0; mode is 'min'"),
    "negative retries": ({"retries": -1}, r"retries=-1"),
    "tasks that are none": ({"tasks": [0.1, 1.0]}, r"tasks\): 0.1 is not a Task; write tasks=Task.epochs"),
    "a task alone": ({"tasks": Task("full", 1.0)}, r"one task is no choice"),
    "no full task": ({"tasks": Task.data(0.1, 0.5)}, r"exactly one task must cost 1 .* and 0 do; add Task\('full', 1.0\)"),
    "two full tasks": ({"tasks": [*Task.epochs(0.5, 1.0), *Task.data(1.0)]}, r"exactly one task must cost 1 .* and 2 do"),
    "two tasks of one cost": ({"tasks": [*Task.epochs(0.5, 1.0), *Task.data(0.5)]}, r"two tasks have the cost 0.5"),
    "a task with a misspelt field": ({"tasks": [Task.changed("s", 0.1, data_shar=0.1), *Task.epochs(1.0)]}, r"'s' has data_shar=0.1, but Quadratic has no field 'data_shar'. Did you mean 'data_share'"),
    "a task that changes the horizon": ({"tasks": [Task.changed("s", 0.1, horizon=2), *Task.epochs(1.0)]}, r"'s' changes the horizon; write share="),
    "a budget as text": ({"budget": "ten"}, r"budget='ten'\): must be a number of full trainings"),
    "a budget of nothing": ({"budget": 0}, r"budget=0\): must be a number of full trainings, more than 0"),
    "an endless budget": ({"budget": float("inf")}, r"budget=inf"),
    "a budget that finalists use up": ({"budget": 6, "finalists": 3, "confirmations": 2}, r"3 finalists × 2 confirmations take 6 full trainings"),
    "negative finalists": ({"finalists": -1}, r"finalists=-1"),
    "no confirmation": ({"confirmations": 0}, r"confirmations=0\): must be a whole number, 1 or more"),
    "a transfer from a history": ({"transfer": [3]}, r"3 is not a run; write the names or folders"),
    "fidelities": ({"fidelities": ()}, r"Did you mean 'tasks'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_sweeps_are_refused_with_field_value_and_remedy(case: str) -> None:
    changes, words = BAD[case]
    with pytest.raises(BadInput, match=words) as caught:
        small_sweep(**changes)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("outside", [{"learning_rate": 7.0}, {"opt": "lamb"}, {"momentum": 0.5}, {"clip": "norm"}])
def test_a_baseline_may_lie_outside_of_the_space(outside: dict[str, Any]) -> None:
    point = {"opt": "adam", "learning_rate": 0.1, "clip": None, "batch_size": 8} | outside
    space = Space(BRANCHED_PARAMETERS | {"clip": choice([None, 1.0])})
    assert small_sweep(space=space, baseline=point).baseline_config == point
    own = FromFunction(train_by_itself, metric="loss", mode="min", horizon=3)
    assert smallest(small_sweep(workload=own, space=space, baseline=point)).num_samples == 1


def test_tasks_may_be_mixed_and_nested() -> None:
    sweep = small_sweep(tasks=[Task.epochs(0.5, 1.0), Task.changed("quiet", 0.9, noise=0.1), Task.data(0.1)])
    assert [task.name for task in sweep.tasks] == ["0.5 of the epochs", "full", "quiet", "0.1 of the data"]
    assert sweep.workload_for("quiet") == replace(sweep.workload, noise=0.1)  # type: ignore[type-var]
    assert sweep.workload_for("full") is sweep.workload_for("0.5 of the epochs") is sweep.workload


def test_without_a_number_of_samples_the_budget_decides() -> None:
    assert small_sweep(num_samples=None).limit == 16
    assert small_sweep(num_samples=None, budget=3.5).limit is None
    assert small_sweep(num_samples=7, budget=3.5).limit == 7
    assert small_sweep(budget=10, finalists=2, confirmations=2).rules.search_budget == 6


def test_a_sweep_is_frozen_and_pickles() -> None:
    sweep = small_sweep()
    with pytest.raises(FrozenInstanceError):
        sweep.seed = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(sweep)).describe() == sweep.describe()


def test_the_fixed_settings_change_only_with_what_gives_results_their_meaning() -> None:
    def fixed(sweep: Sweep) -> list[Any]:
        return [sweep.describe()[key] for key in FIXED]

    sweep = small_sweep()
    for same in (
        {"num_samples": 9},
        {"seed": 3},
        {"time_budget": "6h"},
        {"max_concurrent": 7},
        {"space": Space({**POINT, "x": uniform(0, 1)}), "baseline": None},
        {"tasks": Task.epochs(0.5, 1.0)},
        {"budget": 9.0, "finalists": 2, "transfer": ("old",), "searcher": MultitaskSearch()},
    ):
        assert fixed(replace(sweep, **same)) == fixed(sweep), same
    for other in ({"workload": Quadratic(horizon=5)}, {"mode": "max"}, {"policy": lambda config: None}):
        assert fixed(replace(sweep, **other)) != fixed(sweep), other


class Named:
    """What trains, with settings of its own and no repr."""

    def __init__(self, scale: float, data: Any = None) -> None:
        self.scale, self.data = scale, data

    def __call__(self, config: Any, state: Any, extra: Any = None) -> Iterator[Any]:
        yield {"loss": config["x"] * self.scale}


def train_by_itself(config: Any, state: Any, data: Any = None) -> Iterator[Any]:
    yield {"loss": config["x"]}


IDENTITIES = """
import numpy as np, functools
from orchestrator.definition.identity import identity
from tests.test_sweep import Named, train_by_itself
print(identity({"partial": functools.partial(train_by_itself, data=np.arange(5.0)), "set": {"b", "a", "c"}, "object": Named(0.5, [Named(1.0)])}))
"""


def test_an_identity_is_the_same_in_every_process_and_holds_no_address() -> None:
    calls = [
        subprocess.run([sys.executable, "-c", IDENTITIES], capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)})
        for seed in ("1", "2")
    ]  # fmt: skip
    assert calls[0].stdout, calls[0].stderr
    assert calls[0].stdout == calls[1].stdout
    assert " at 0x" not in calls[0].stdout


def test_things_that_differ_have_different_identities() -> None:
    import torch

    pairs: list[tuple[Any, Any]] = [
        (partial(train_by_itself, data=1), partial(train_by_itself, data=2)),
        (partial(train_by_itself, data=np.zeros(2000)), partial(train_by_itself, data=np.eye(1, 2000)[0])),
        (partial(train_by_itself, data=torch.zeros(2)), partial(train_by_itself, data=torch.ones(2))),
        (Named(0.5), Named(0.25)),
        (lambda config: config["x"] + 1, lambda config: config["x"] - 1),
        (replace(Quadratic(), horizon=3), replace(Quadratic(), horizon=4)),
    ]
    for one, other in pairs:
        assert identity(one) == identity(one)
        assert identity(one) != identity(other)
        assert ADDRESS not in identity(one)
    assert identity(Quadratic()) == repr(Quadratic())  # as earlier releases wrote it


def test_a_function_with_its_data_and_an_object_that_is_called_are_continued(tmp_path: Path) -> None:
    for name, make in {
        "partial": lambda: partial(train_by_itself, data=np.arange(3)),
        "object": lambda: Named(0.5, data={"a": 1}),
    }.items():
        for samples in (1, 2):
            workload = FromFunction(make(), metric="loss", mode="min", horizon=1)
            space = Space({"x": uniform(0, 1)})
            driver = simulated(
                tmp_path / name,
                small_sweep(workload=workload, space=space, num_samples=samples),
            )
        assert len(driver.history.trials) == 2
        assert "num_samples: 1 → 2" in driver.found
        assert "workload" not in driver.found


def test_two_lambdas_are_told_apart_unless_the_record_is_of_another_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated(tmp_path / "run", small_sweep(policy=lambda config: None, num_samples=1))
    other = small_sweep(policy=lambda config: config.get("none"), num_samples=2)
    with pytest.raises(ResumeRefused, match="started with policy"):
        simulated(tmp_path / "run", other)
    monkeypatch.setattr(resume_check, "PYTHON", "3.99")  # its bytecode tells nothing
    assert len(simulated(tmp_path / "run", other).history.trials) == 2


def test_numpy_numbers_are_as_good_as_pythons() -> None:
    sweep = small_sweep(num_samples=np.int64(7), target=np.float32(0.5), budget=np.float64(9))
    assert json.loads(json.dumps(sweep.describe()))["num_samples"] == 7
    assert type(sweep.target) is float
    point = {"learning_rate": np.float32(0.1), "momentum": np.float64(0.5), "batch_size": np.int64(8)}
    assert json.loads(json.dumps(small_sweep(points_to_evaluate=[point]).describe()))


def test_numpys_number_of_steps_is_as_good_as_pythons_and_a_wrong_one_is_named_as_it_was_written() -> None:
    def sweep(steps: Any) -> Sweep:
        return Sweep("mine", lambda config: {"loss": 1.0}, Space({"x": uniform(0, 1)}), minimize="loss", steps=steps)

    assert type(sweep(np.int64(1)).workload.horizon) is int
    with pytest.raises(BadInput, match=r"Sweep\(steps=0\): must be a whole number of steps, 1 or more; try steps=1\."):
        sweep(0)


def test_a_target_needs_no_searcher() -> None:
    assert small_sweep(searcher=None, scheduler=None, target=0.5).target == 0.5


def test_a_parameter_is_read_wherever_the_workload_or_the_policy_reads_it() -> None:
    lr, batch = loguniform(1e-3, 0.1), pow2(4, 16)
    base = {"learning_rate": lr, "batch_size": batch, "momentum": uniform(0, 0.9)}
    fine: list[tuple[Any, dict[str, Any], Any]] = [
        (LstmMnist(horizon=1), base | {"optimizer": choice(["sgd", "lars"]), "trust_coefficient": when(uniform(0.01, 0.1), optimizer="lars")}, None),
        (LstmLm(horizon=1, hidden=8), base | {"dropout": uniform(0, 0.5), "clip_norm": uniform(1, 5)}, None),
        (Quadratic(), base | {"shape": choice(["cosine", "linear"])}, lambda config: LrSchedule(config["shape"])),
        (ReadsAll(), base | {"anything": uniform(0, 1)}, None),
    ]  # fmt: skip
    for workload, space, policy in fine:
        on_this_machine(small_sweep(workload=workload, space=Space(space), policy=policy))
    for workload, name in ((MlpDigits(horizon=1), "trust_coefficient"), (LstmLm(horizon=1, hidden=8), "droput")):
        with pytest.raises(BadInput, match=f"nothing reads the parameter '{name}'"):
            on_this_machine(small_sweep(workload=workload, space=Space(base | {name: uniform(0, 0.5)})))


@dataclass(frozen=True)
class ReadsAll(Quadratic):
    def knobs(self, config: Any) -> Any:
        return super().knobs({**config})


def test_durations_and_memory_take_units() -> None:
    assert [seconds(text, "x") for text in ("90s", "15m", "6h", "2d", "1.5h", 7)] == [90, 900, 21600, 172800, 5400, 7]
    assert [seconds(text, "x") for text in ("3m30s", "1h 5m", "1d2h")] == [210, 3900, 93600]
    for wrong in ("30s3m", "3x", "m", "3m3m", "-5s", ""):
        with pytest.raises(BadInput, match="write seconds, or a number with a unit"):
            seconds(wrong, "time_budget")
    assert [number_of_bytes(text) for text in ("512MiB", "4 GiB", "1kb", 5)] == [2**29, 2**32, 1000, 5]


def test_the_sign_is_flipped_for_a_metric_that_is_maximised() -> None:
    sweep = small_sweep(mode="max")
    assert isinstance(sweep, Sweep)
    assert sweep.loss(0.7) == -0.7
    assert sweep.value(sweep.loss(0.7)) == 0.7
