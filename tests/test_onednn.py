"""No training corrupts memory: oneDNN is kept from the convolutions that it computes wrongly, and from no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator import FromFunction, report
from search.work import Assignment
from tests.support import ROOT
from trainables.carry_out import carry_out
from trainables.execution.generator import Yielding
from trainables.models.resnet import ResNet
from trainables.training.loop import Training
from trainables.training.onednn import Guard, is_miscomputed
from trainables.values import Execution
from trainables.workloads.resnet_pretrain import ResNetPretrain

needs_x86 = pytest.mark.skipif(
    not is_miscomputed(nn.Conv2d(4, 8, 1, 2)), reason="the fault is one of oneDNN on x86 CPUs"
)
NARROW = """
import torch
from trainables.contract import Execution
from trainables.training.loop import train
from trainables.workloads.resnet_pretrain import ResNetPretrain

workload = ResNetPretrain(horizon=1, widths=(4, 8), data_share=0.2, side=8, execution=Execution(channels_last=True))
for threads in (2, 1):
    torch.set_num_threads(threads)
    for torch.backends.mkldnn.enabled in (True, False):
        print([report.metrics for report in train(workload, None, {**workload.baseline, "batch_size": 30})])
"""


@pytest.mark.slow
@needs_x86
def test_a_narrow_network_trains_on_a_cpu_with_avx2_as_it_does_without_onednn() -> None:
    """With two threads it had another gradient, and no word of it; with one "double free or corruption"."""
    surroundings = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_CHECK_": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NARROW]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    guarded, without, guarded_alone, without_alone = done.stdout.splitlines()
    assert guarded == without
    assert guarded_alone == without_alone
    assert done.stderr.count("oneDNN is off in this training") == 2
    assert "Conv2d(4, 8, kernel_size=(1, 1), stride=(2, 2), bias=False)" in done.stderr


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(1, 8, 1, 2), True),
        (nn.Conv2d(15, 64, 1, (1, 3)), True),
        (nn.Conv2d(16, 64, 1, 2), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, 2, padding=1), False),
        (nn.Conv2d(4, 8, 1, 2, padding=1), False),
        (nn.ConvTranspose2d(4, 8, 1, 2), False),
        (nn.Conv1d(4, 8, 1, 2), False),
        (nn.Linear(4, 8), False),
    ],
)
@needs_x86
def test_only_a_narrow_convolution_with_one_place_and_a_stride_is_miscomputed(layer: nn.Module, expected: bool) -> None:
    assert is_miscomputed(layer) is expected


@needs_x86
@pytest.mark.parametrize(("widths", "expected"), [((4, 8), False), ((16, 32), True)])
def test_onednn_is_off_only_while_a_training_that_needs_it_computes(widths: tuple[int, ...], expected: bool) -> None:
    seen = []

    class Watched(ResNetPretrain):
        def loss(self, model: nn.Module, indices: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.mkldnn.enabled)
            return super().loss(model, indices)

    workload = Watched(horizon=1, widths=widths, data_share=0.1, execution=Execution())
    for _ in Training(workload, None, {**workload.baseline, "batch_size": 30}):
        assert torch.backends.mkldnn.enabled
    assert set(seen) == {expected}


@needs_x86
def test_trainings_of_somebody_elses_code_are_guarded_each_for_itself() -> None:
    def steps(config: dict[str, Any], state: Any, control: Any) -> Iterator[dict[str, float]]:
        model = ResNet(3, (config["width"], 32), 1, 5, 1)
        assert model is not None
        for _ in range(2):
            yield {"on": float(torch.backends.mkldnn.enabled)}

    narrow, wide = (iter(Yielding(steps, "on", {"width": width}, seed=0, until=2)) for width in (4, 16))
    told = [next(training).metrics["on"] for training in (narrow, wide, narrow, wide)]
    assert told == [0.0, 1.0, 0.0, 1.0]
    assert torch.backends.mkldnn.enabled


@needs_x86
def test_a_function_in_a_process_of_its_own_is_guarded_too(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        model = ResNet(3, (4, 32), 1, 5, 1)
        assert model is not None
        report(1, on=float(torch.backends.mkldnn.enabled))

    folder = tmp_path / "trial" / "checkpoints"
    folder.mkdir(parents=True)
    workload = FromFunction(train, metric="on", mode="min", horizon=1)
    told = [
        item for item in carry_out(workload, None, Assignment(0, {}, 7, until=1, folder=folder)) if item is not None
    ]
    assert [item.metrics["on"] for item in told if item.kind == "report"] == [0.0]
    assert "oneDNN is off" in (folder.parent / "log.txt").read_text()


def test_what_a_training_sets_itself_stays() -> None:
    before = torch.backends.mkldnn.enabled
    try:
        with Guard():
            torch.backends.mkldnn.enabled = False
        assert not torch.backends.mkldnn.enabled
    finally:
        torch.backends.mkldnn.enabled = before
