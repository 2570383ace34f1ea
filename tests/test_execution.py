"""How a training is computed changes its speed and memory, and up to rounding nothing else; optimisers by name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support import ROOT, run_script
from trainables.execution.gpu_memory import GpuTaken, check_room, claim
from trainables.optim.by_name import NAMES, optimizer, without_decay
from trainables.training.loop import Training, train
from trainables.values import Execution, Knobs
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.resnet_finetune import ResNetFinetune

CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 24}


def curve(execution: Execution, **config: Any) -> list[float]:
    workload = Quadratic(horizon=3, execution=execution)
    return [value for report in train(workload, None, CONFIG | config) for value in report.metrics.values()]


@pytest.mark.parametrize("size", [1, 5, 24, 1000])
def test_a_batch_in_parts_is_the_same_batch(size: int) -> None:
    assert curve(Execution(micro_batch=size)) == pytest.approx(curve(Execution()), rel=1e-5)


def test_the_parts_of_a_batch_are_as_even_as_can_be(tmp_path: Path) -> None:
    sizes = []

    class Watched(Quadratic):
        def loss(self, model: nn.Module, indices: torch.Tensor) -> torch.Tensor:
            sizes.append(len(indices))
            return super().loss(model, indices)

    list(train(Watched(horizon=1, execution=Execution(micro_batch=10)), None, CONFIG))
    assert sizes == [8, 8, 8] * 2 + [8, 8]  # of 24, 24 and 16


def test_a_last_sample_of_its_own_joins_the_batch_before_it() -> None:
    training = Training(Quadratic(horizon=1), None, CONFIG | {"batch_size": 63})
    items = iter(training)
    assert next(items) is None
    assert training.control.samples == 64


def test_bf16_and_channels_last_train_as_well(tmp_path: Path) -> None:
    workload = ResNetFinetune.smallest()
    workload.prepare(tmp_path)
    assert workload.baseline is not None
    config = {**workload.baseline, "learning_rate": 0.05}

    def last(execution: Execution) -> float:
        *_, report = train(replace(workload, execution=execution), None, config, prepared=tmp_path)
        return report.metrics["train_loss"]

    exact = last(Execution())
    assert last(Execution(channels_last=True)) == pytest.approx(exact, rel=0.05)
    half = last(Execution(precision="bf16"))
    assert half == pytest.approx(exact, rel=0.2)
    assert half != exact


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_trains_as_well() -> None:
    assert curve(Execution(compile=True)) == pytest.approx(curve(Execution()), rel=1e-4)


def test_a_long_gradient_is_shortened() -> None:
    class Clipped(Quadratic):
        def clip_norm(self, config: Any) -> float:
            return 0.01

    training = Training(Clipped(horizon=1), None, CONFIG | {"learning_rate": 1.0, "momentum": 0.0})
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    next(iter(training))
    moved = torch.cat([(a - b).flatten() for a, b in zip(training.model.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_an_optimiser_takes_the_knobs(name: str) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    made = optimizer(name, without_decay(model, Knobs(0.1, 8, 0.9, 0.01)), Knobs(0.1, 8, 0.9, 0.01))
    matrices, others = made.param_groups
    assert matrices["lr"] == others["lr"] == 0.1
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert [len(matrices["params"]), len(others["params"])] == [1, 3]
    if "momentum" in matrices:
        assert matrices["momentum"] == 0.9
        assert matrices["nesterov"] == (name == "nesterov")


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'sdg' is not known; there are sgd, nesterov, adam, adamw"):
        optimizer("sdg", nn.Linear(1, 1).parameters(), Knobs(0.1, 8))
    with pytest.raises(ValueError, match="must be one of 'float32', 'bf16', 'fp16'"):
        Execution(precision="half")
    with pytest.raises(ValueError, match="must be a whole number, 1 or more"):
        Execution(micro_batch=0)


@pytest.mark.slow
def test_the_benchmark_of_the_loop_measures_speed_memory_and_checkpoints(tmp_path: Path) -> None:
    script = ROOT / "experiments" / "benchmarks" / "training.py"
    done = run_script(script, "--workloads", "quadratic", "--rounds", "2", "--updates", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[-1].split("|")
    assert row[1].strip() == "quadratic"
    assert "n = 2" in row[2]
    assert float(row[3]) > 0.5
    wrong = run_script(script, "--workloads", "cubic", cwd=tmp_path)
    assert "no workload 'cubic'" in wrong.stderr


def test_a_packed_trial_is_told_when_somebody_else_has_its_part_of_the_gpu() -> None:
    gib = 2**30
    check_room(0.25, free=3 * gib, total=16 * gib)
    with pytest.raises(GpuTaken, match=r"granted 0.25 of a GPU, 4.0 GiB, but only 1.0 GiB of 16.0 are free"):
        check_room(0.25, free=gib, total=16 * gib)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_packed_trial_cannot_take_more_than_its_part_of_the_gpu() -> None:
    whole = torch.cuda.get_device_properties(0).total_memory
    claim(0.1)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(whole // 5, dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
