"""A user's own function, module or script as a workload: whole sweeps, interrupted and gone on with."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.sweep import Sweep
from search.schedulers.asha import AshaPromote
from search.searchers.random import Random
from search.space import Space, loguniform
from search.trial import Config, Status
from search.work import Assignment
from tests.support import simulated
from trainables.workloads.callable import Fit, FromFunction
from trainables.workloads.script import Script, measured

SPACE = Space({"learning_rate": loguniform(1e-3, 1.0)})


def descend(config: Config, state: Any) -> Iterator[Any]:
    """Noisy descent to 3, with a state."""
    state = state or {"x": 0.0}
    while True:
        x = state["x"] + config["learning_rate"] * (3 - state["x"]) + 0.01 * float(np.random.randn())
        state = {"x": x}
        yield {"distance": abs(x - 3)}, state


def descend_without_a_state(config: Config, state: Any) -> Iterator[Any]:
    assert state is None
    for _, told in zip(range(6), descend(config, None), strict=False):
        yield told[0]


def forgetful(config: Config, state: Any) -> Iterator[Any]:
    yield {"distance": 1.0}


class Line(nn.Module):
    """A module in Lightning's style."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.line = rate, nn.Linear(1, 1)
        x = torch.linspace(-1, 1, 32)[:, None]
        self.data = TensorDataset(x, 2 * x + 1)

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, batch_size=8, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.data, batch_size=16)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.rate, momentum=0.5)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return functional.mse_loss(self.line(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> dict[str, torch.Tensor]:
        return {"distance": self.training_step(batch, index)}


def line(config: Config) -> Line:
    return Line(config["learning_rate"])


SCRIPT = """
import json, os, pathlib, sys, time
rate = float(dict(a.lstrip("-").split("=") for a in sys.argv[1:])["learning_rate"])
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "mine.json")
state = json.loads(place.read_text()) if place.exists() and "goes_on" in sys.argv[0] else {"epoch": 0, "x": 0.0}
while state["epoch"] < 6:
    time.sleep(float(os.environ.get("SLEEP", "0")))
    state = {"epoch": state["epoch"] + 1, "x": state["x"] + rate * (3 - state["x"])}
    place.write_text(json.dumps(state))
    print(f"epoch {state['epoch']}: distance={abs(state['x'] - 3)!r}, epoch={state['epoch']}")
"""


def script(folder: Path, name: str = "goes_on.py", text: str = SCRIPT) -> Script:
    (folder / name).write_text(text)
    return Script(f"{sys.executable} {folder / name}", metric="distance", mode="min", horizon=6)


def sweep_of(workload: Any, **more: Any) -> Sweep:
    fields: dict[str, Any] = {
        "name": "own", "workload": workload, "space": SPACE, "searcher": Random(),
        "scheduler": AshaPromote(reduction_factor=2), "num_samples": 8, "checkpoint_seconds": 0,
    }  # fmt: skip
    return Sweep(**(fields | more))


OWN = [
    FromFunction(descend, metric="distance", mode="min", horizon=6),
    FromFunction(descend_without_a_state, metric="distance", mode="min", horizon=6),
    FromFunction(Fit(line), metric="distance", mode="min", horizon=6),
]


@pytest.mark.parametrize("workload", OWN, ids=["function", "without a state", "module"])
def test_a_sweep_over_own_code_rests_and_goes_on(workload: Any, tmp_path: Path) -> None:
    history = simulated(tmp_path, sweep_of(workload)).history
    assert len(history.trials) == 8
    assert history.count(Status.COMPLETED) >= 1
    assert any(trial.suggestion.kind == "resume" for trial in history)
    for trial in history:
        assert trial.steps == list(range(1, trial.step + 1))


@pytest.mark.parametrize("workload", OWN, ids=["function", "without a state", "module"])
@pytest.mark.parametrize("cut", [1, 4])
def test_own_code_resumed_equals_uninterrupted(workload: Any, cut: int, tmp_path: Path) -> None:
    def curve(folder: Path, until: int, recorded: int) -> dict[int, float]:
        assignment = Assignment(
            0, {"learning_rate": 0.1}, 7, until=until, folder=folder, recorded=recorded, checkpoint_seconds=0
        )
        return {item.step: item.metrics["distance"] for item in workload.run(None, assignment) if item.kind == "report"}

    whole = curve(tmp_path / "whole", 6, 0)
    parts = curve(tmp_path / "parts", cut, 0) | curve(tmp_path / "parts", 6, cut)
    assert parts == whole
    assert list(whole) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["goes_on.py", "starts_over.py"])
def test_a_sweep_over_a_script_rests_and_goes_on(name: str, tmp_path: Path) -> None:
    history = simulated(tmp_path / "run", sweep_of(script(tmp_path, name))).history
    assert history.count(Status.COMPLETED) >= 1
    assert any(trial.suggestion.kind == "resume" for trial in history)
    for trial in history:
        rate = trial.config["learning_rate"]
        assert trial.losses == pytest.approx([3 * (1 - rate) ** step for step in range(1, trial.step + 1)])


def test_a_worker_that_is_killed_takes_its_script_with_it_and_the_next_one_goes_on(tmp_path: Path) -> None:
    workload = script(tmp_path)
    code = (
        "import sys; from pathlib import Path; from search.work import Assignment\n"
        "from trainables.workloads.script import Script\n"
        f"folder = Path({str(tmp_path / 'trial')!r}); workload = {workload!r}\n"
        "recorded = int(sys.argv[1])\n"
        "assignment = Assignment(0, {'learning_rate': 0.1}, 7, until=6, folder=folder, recorded=recorded, checkpoint_seconds=0)\n"
        "for item in workload.run(None, assignment):\n"
        "    if item.kind == 'report': print(item.step, item.metrics['distance'], flush=True)\n"
    )
    slow = os.environ | {"SLEEP": "0.3"}
    worker = subprocess.Popen([sys.executable, "-c", code, "0"], env=slow, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    first = [worker.stdout.readline() for _ in range(2)]
    (child,) = psutil.Process(worker.pid).children()
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    child.wait(10)
    done = subprocess.run(
        [sys.executable, "-c", code, "1"], capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()
    steps = [int(line.split()[0]) for line in done]
    assert steps == list(range(steps[0], 7))
    assert steps[0] <= 3
    values = {int(row.split()[0]): float(row.split()[1]) for row in [*first, *done]}
    assert values == pytest.approx({step: 3 * 0.9**step for step in values})


def test_a_line_is_read_in_whatever_way_it_names_its_numbers() -> None:
    assert measured("epoch 3: loss=0.5, acc: 81.2 'f1': .5e-1") == {"loss": 0.5, "acc": 81.2, "f1": 0.05}
    assert measured('{"step": 2, "loss": 1e-3, "note": "ok", "done": true}') == {"step": 2.0, "loss": 0.001}
    assert math.isnan(measured("loss=nan")["loss"])
    assert measured("[1, 2]") == measured("no numbers here") == {}


def test_a_script_takes_its_values_where_the_command_names_them() -> None:
    workload = Script("python a.py --lr {lr} -n 3", metric="loss", mode="min", horizon=1)
    assert workload.arguments({"lr": 0.1, "wide": True}) == ["python", "a.py", "--lr", "0.1", "-n", "3", "--wide=True"]
    with pytest.raises(ValueError, match=r"\{lr\} is no parameter; there are rate"):
        workload.arguments({"rate": 1})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys; print('distance=1'); sys.exit('out of luck')", "code 1 after step 1 of 6\n    out of luck"),
        ("print('nothing to see')", "code 0 after step 0 of 6"),
        ("print('step=1 distance=1'); print('step=3 distance=1')", "after step 1 the script reported step 3"),
    ],
)
def test_a_script_that_goes_wrong_fails_its_trial_with_its_last_words(text: str, words: str, tmp_path: Path) -> None:
    workload = script(tmp_path, "wrong.py", text)
    with pytest.raises(RuntimeError) as raised:
        list(workload.run(None, Assignment(0, {"learning_rate": 0.1}, 7, until=6, folder=tmp_path / "trial")))
    assert words in str(raised.value)


def test_what_cannot_work_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a generator function"):
        FromFunction(line, metric="distance", mode="min", horizon=6)
    with pytest.raises(ValueError, match="must contain the tuned metric"):
        FromFunction(descend, metric="distance", mode="min", horizon=6, metrics=("loss",))
    with pytest.raises(ValueError, match=r"no file 'missing\.py'"):
        Script(f"{sys.executable} missing.py", metric="loss", mode="min", horizon=1).check()
    with pytest.raises(ValueError, match="no program 'no-such-program'"):
        Script("no-such-program", metric="loss", mode="min", horizon=1).check()
    workload = FromFunction(forgetful, metric="distance", mode="min", horizon=6)
    with pytest.raises(RuntimeError, match="ended after step 1 of 6"):
        list(workload.run(None, Assignment(0, {}, 7, until=6, folder=tmp_path)))
    named = FromFunction(forgetful, metric="loss", mode="min", horizon=6)
    with pytest.raises(ValueError, match="tuned metric 'loss'"):
        list(named.run(None, Assignment(0, {}, 7, until=6, folder=tmp_path / "named")))


def test_a_script_does_not_outlive_a_trial_that_is_left(tmp_path: Path) -> None:
    os.environ["SLEEP"] = "0.2"
    try:
        run = script(tmp_path).run(None, Assignment(0, {"learning_rate": 0.1}, 7, until=6, folder=tmp_path / "trial"))
        next(item for item in run if item is not None and item.kind == "report")
        (child,) = psutil.Process().children()
        run.close()
        time.sleep(0.1)
        assert not child.is_running()
    finally:
        del os.environ["SLEEP"]
