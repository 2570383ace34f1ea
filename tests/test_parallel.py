"""A trial on several workers: the same training, exact to resume, and not lost with one of them."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import torch

from orchestrator.errors import BadInput
from search.records import Config
from search.work import Assignment, Progress
from tests.support import simulated, small_sweep
from tests.trainings import Exploring
from trainables.carry_out import carry_out
from trainables.contract import Policy
from trainables.execution.store import Store
from trainables.parallel import team
from trainables.policies.adaptive_sync import AdaptiveSync
from trainables.policies.averaged import Averaged
from trainables.policies.sma import Sma
from trainables.policies.watchdog import Watchdog
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Averaging, Execution, Signals
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.quadratic import Quadratic

WORKLOAD = Quadratic(horizon=4)
CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 24}  # the last batch of an epoch is smaller


def assignment(folder: Path, **changes: Any) -> Assignment:
    return replace(Assignment(0, CONFIG, 7, until=4, folder=folder, checkpoint_seconds=0), **changes)


def reports(run: Any) -> dict[int, dict[str, float]]:
    return {item.step: dict(item.metrics) for item in run if isinstance(item, Progress) and item.kind == "report"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    """What two workers report that nothing interrupts."""
    return reports(carry_out(WORKLOAD, None, assignment(tmp_path_factory.mktemp("whole"), workers=2)))


def policy_state(folder: Path) -> Any:
    """In the last checkpoint."""
    state, _ = Store(folder).newest(100)
    assert state is not None
    return state["control"]["policy"]


def curve(run: Any) -> list[float]:
    return [metrics[name] for metrics in reports(run).values() for name in ("loss", "train_loss")]


def test_two_workers_train_as_one_does(whole: dict[int, dict[str, float]], tmp_path: Path) -> None:
    one = curve(carry_out(WORKLOAD, None, assignment(tmp_path)))
    assert len(one) == 8
    assert [metrics[name] for metrics in whole.values() for name in ("loss", "train_loss")] == pytest.approx(
        one, rel=1e-5
    )


@pytest.mark.slow
def test_parts_of_a_batch_and_a_policy_are_the_same_on_two_workers(tmp_path: Path) -> None:
    workload = Quadratic(horizon=3, execution=Execution(micro_batch=5))
    whole = curve(carry_out(Quadratic(horizon=3), Exploring(), assignment(tmp_path / "one", until=3)))
    parts = curve(carry_out(workload, Exploring(), assignment(tmp_path / "two", until=3, workers=2)))
    assert parts == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
def test_a_worker_without_a_sample_of_the_batch_changes_nothing(tmp_path: Path) -> None:
    config = CONFIG | {"batch_size": 1}
    workload = Quadratic(horizon=1, data_share=0.1)
    one = curve(carry_out(workload, None, assignment(tmp_path / "one", config=config, until=1)))
    two = curve(carry_out(workload, None, assignment(tmp_path / "two", config=config, until=1, workers=2)))
    assert two == pytest.approx(one, rel=1e-5)


@pytest.mark.slow
def test_two_workers_resume_with_the_same_bits_in_mid_epoch(whole: dict[int, dict[str, float]], tmp_path: Path) -> None:
    run = carry_out(WORKLOAD, None, assignment(tmp_path / "cut", workers=2))
    first: dict[int, dict[str, float]] = {}
    for count, item in enumerate(run):
        if item is not None and item.kind == "report":
            first[item.step] = dict(item.metrics)
        if count == 8:  # within the second epoch
            break
    run.save()
    run.close()
    later = reports(carry_out(WORKLOAD, None, assignment(tmp_path / "cut", workers=2, recorded=max(first))))
    assert first | later == whole
    assert not psutil.Process().children()


@pytest.mark.slow
def test_a_batch_that_one_worker_had_begun_begins_anew_on_two(tmp_path: Path) -> None:
    workload = Quadratic(horizon=4, execution=Execution(micro_batch=5))
    whole = reports(carry_out(workload, None, assignment(tmp_path / "whole")))
    run = carry_out(workload, None, assignment(tmp_path / "cut"))
    for count, _ in enumerate(run):
        if count == 6:  # within the second batch
            break
    run.save()
    run.close()
    later = reports(carry_out(workload, None, assignment(tmp_path / "cut", workers=2)))
    assert list(later) == [1, 2, 3, 4]
    for step, metrics in later.items():
        assert metrics == pytest.approx(whole[step], rel=1e-4)


def process(rank: int) -> psutil.Process:
    """The worker's."""
    (worker,) = [one for one in psutil.Process().children() if f"parallel.member {rank} " in " ".join(one.cmdline())]
    return worker


@pytest.mark.slow
def test_the_loss_of_a_worker_costs_a_restart_from_the_last_checkpoint(
    whole: dict[int, dict[str, float]], tmp_path: Path
) -> None:
    ranks = {2: 1, 3: 0}  # which is killed after a step
    seen: dict[int, dict[str, float]] = {}
    notices = []
    for item in carry_out(WORKLOAD, None, assignment(tmp_path, workers=2)):
        if item is not None and item.kind == "report":
            assert seen.setdefault(item.step, dict(item.metrics)) == dict(item.metrics)
            if item.step in ranks:
                process(ranks.pop(item.step)).kill()
        if item is not None and item.kind == "notice":
            notices.append(item.text)
    assert seen == whole
    # The first worker may still have written the checkpoint of the step when the second is lost.
    assert [re.sub("step .", "step", text) for text in notices] == [
        f"worker {rank} was lost (killed by SIGKILL, often for want of memory): all workers started again from step"
        for rank in (1, 0)
    ]
    assert not psutil.Process().children()


@pytest.mark.slow
def test_a_loss_that_the_others_do_not_notice(tmp_path: Path) -> None:
    """As one that waits in an exchange and is never told: the first worker is stopped while the other is killed."""
    notices = []
    for item in carry_out(WORKLOAD, None, assignment(tmp_path, workers=2, until=2)):
        if item is not None and item.kind == "report" and not notices:
            process(0).suspend()
            process(1).kill()
        if item is not None and item.kind == "notice":
            notices.append(item.text)
    assert notices[0] == (
        "worker 1 was lost (killed by SIGKILL, often for want of memory): all workers started again from step 0"
    )
    assert not psutil.Process().children()


@dataclass(frozen=True)
class DyingOnce(Quadratic):
    """Its process is killed while it sets up, unless that has happened before."""

    trace: str = ""

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        if not Path(self.trace).exists():
            Path(self.trace).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().model(config, prepared)


@pytest.mark.slow
def test_a_loss_at_the_start_is_one_as_well(tmp_path: Path) -> None:
    workload = DyingOnce(horizon=1, trace=str(tmp_path / "trace"))
    items = [item for item in carry_out(workload, None, assignment(tmp_path, workers=2, until=1)) if item is not None]
    assert [item.kind for item in items] == ["notice", "report", "checkpoint"]
    assert "all workers started again from step 0" in items[0].text


ENDLESS = """
import dataclasses, pathlib, sys
from tests.test_parallel import WORKLOAD, assignment
from trainables.carry_out import carry_out
endless = dataclasses.replace(WORKLOAD, horizon=100_000)
for item in carry_out(endless, None, assignment(pathlib.Path(sys.argv[1]), workers=2, until=100_000)):
    print("item", flush=True)
"""


@pytest.mark.slow
def test_workers_listen_on_the_loopback_only_and_none_outlives_the_process_that_has_the_trial(tmp_path: Path) -> None:
    """Not even one that waits for another."""
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    owner = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "item\n"
    first, second = psutil.Process(owner.pid).children()
    connections = [c for process in (psutil.Process(owner.pid), first, second) for c in process.net_connections("inet")]
    listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}  # what is exchanged is for this machine's processes
    first.suspend()
    owner.kill()
    owner.wait()
    second.wait(60)
    # The kernel itself may have ended it: a stopped process whose group loses its last parent gets SIGHUP and SIGCONT.
    with contextlib.suppress(psutil.NoSuchProcess):
        first.resume()
    first.wait(60)
    # Where it was, for who wonders why a trial was silent.
    assert "trainables/training/loop.py" in (tmp_path / "worker-1.txt").read_text()


@dataclass(frozen=True)
class Failing(Quadratic):
    """A loss that cannot be computed after some updates."""

    def loss(self, model: torch.nn.Module, indices: torch.Tensor) -> torch.Tensor:
        if len(indices) < 12:
            raise RuntimeError("a last batch that is smaller")
        return super().loss(model, indices)


@pytest.mark.slow
def test_an_error_in_the_training_is_no_loss(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^a last batch that is smaller$") as caught:
        list(carry_out(Failing(horizon=2), None, assignment(tmp_path, workers=2)))
    assert "in worker" in str(caught.value.__cause__)
    assert "test_parallel.py" in str(caught.value.__cause__)
    assert not psutil.Process().children()


@pytest.mark.slow
def test_a_pause_is_asked_for_in_the_first_worker_too(tmp_path: Path) -> None:
    items = [
        item for item in carry_out(WORKLOAD, None, assignment(tmp_path, workers=2), lambda: True) if item is not None
    ]
    assert [item.kind for item in items] == ["checkpoint", "paused"]
    assert not psutil.Process().children()


@pytest.mark.slow
def test_a_worker_that_is_lost_again_and_again_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "RESTARTS", 0)
    whole = reports(carry_out(WORKLOAD, None, assignment(tmp_path / "whole")))
    seen: dict[int, dict[str, float]] = {}
    notices = []
    for item in carry_out(WORKLOAD, None, assignment(tmp_path / "killed", workers=2)):
        if item is not None and item.kind == "report":
            seen[item.step] = dict(item.metrics)
            if item.step == 2 and not notices:
                process(1).kill()
        if item is not None and item.kind == "notice":
            notices.append(item.text)
    assert len(notices) == 1
    assert "going on with 1 from step" in notices[0]
    assert sorted(seen) == sorted(whole)
    for step, metrics in seen.items():
        assert metrics == pytest.approx(whole[step], rel=1e-4)


@dataclass(frozen=True)
class Watching(Policy[tuple[Any, ...]]):
    """Keeps the norms that it is shown."""

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "loss"})

    def start(self, signals: Signals) -> tuple[tuple[Any, ...], Action]:
        return (), NOTHING

    def act(self, state: tuple[Any, ...], signals: Signals) -> tuple[tuple[Any, ...], Action]:
        if signals.gradient is None:
            return state, NOTHING
        return (*state, (signals.loss, *asdict(signals.gradient).values())), NOTHING


@pytest.mark.parametrize("micro_batch", [None, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_gradients_of_the_workers_are_shown(micro_batch: int | None, tmp_path: Path) -> None:
    """Of the update as one worker sees it, and of each worker as taken by hand."""
    workload = replace(WORKLOAD, execution=Execution(micro_batch=micro_batch))
    seen = []
    for workers in (1, 2):
        run = carry_out(workload, Watching(), assignment(tmp_path / str(workers), until=1, workers=workers))
        reports(run)
        seen.append(policy_state(tmp_path / str(workers)))
    one, two = seen
    for column in (0, 1, 3):  # loss, batch size, |gradient|^2
        assert [row[column] for row in two] == pytest.approx([row[column] for row in one], rel=1e-4)
    batch = torch.from_numpy(np.random.default_rng((7, 0)).permutation(WORKLOAD.samples()))[:24]
    model = Training(WORKLOAD, None, CONFIG, seed=7).model
    for rank, norm in enumerate(two[0][5]):
        model.zero_grad()
        WORKLOAD.loss(model, batch[rank::2]).backward()  # type: ignore[no-untyped-call]
        assert norm == pytest.approx(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters())), rel=1e-4)


@pytest.mark.slow
def test_a_sweep_of_trials_with_two_workers(tmp_path: Path) -> None:
    sweep = small_sweep(workload=Quadratic(horizon=2), num_samples=1, workers=2, resources={"cpu": 2})
    history = simulated(tmp_path, sweep).history
    assert [trial.step for trial in history] == [2]


def test_more_workers_than_resources_are_refused() -> None:
    with pytest.raises(BadInput, match="give it cpu=4 or more"):
        small_sweep(workers=4, resources={"cpu": 2})
    with pytest.raises(BadInput, match="give it gpu=4 or more"):
        small_sweep(workers=4, resources={"cpu": 4, "gpu": 2})


# Replicas on several workers

AVERAGED = MlpDigits(horizon=3, hidden=8, data_share=0.1)  # 100 images: a last batch that is smaller


@dataclass(frozen=True)
class Normed(MlpDigits):
    """With statistics of batches, which are averaged too."""

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        layers = torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 10)
        return torch.nn.Sequential(*layers)


@pytest.mark.parametrize(("workload", "replicas"), [
    pytest.param(AVERAGED, 2, marks=pytest.mark.slow),
    pytest.param(replace(AVERAGED, execution=Execution(micro_batch=7)), 3, marks=pytest.mark.slow),
    (Normed(horizon=3, data_share=0.1), 4),
])  # fmt: skip
@pytest.mark.parametrize("outer", [{}, {"outer": "nesterov", "period": 2}], ids=["corrections", "outer momentum"])
@pytest.mark.slow
def test_replicas_on_two_workers_are_those_of_one(
    workload: MlpDigits, replicas: int, outer: dict[str, Any], tmp_path: Path
) -> None:
    given = {"until": 3, "config": CONFIG | {"momentum": 0.9}}
    one = curve(carry_out(workload, Sma(replicas, **outer), assignment(tmp_path / "one", **given)))
    two = curve(carry_out(workload, Sma(replicas, **outer), assignment(tmp_path / "two", workers=2, **given)))
    assert len(one) == 6
    assert two == pytest.approx(one, rel=1e-4)


SWITCHING = Watchdog(AdaptiveSync(3, share=0.5))  # marks as well


@pytest.mark.parametrize(("policy", "cuts"), [
    (SWITCHING, [2]),
    pytest.param(SWITCHING, [2, 5], marks=pytest.mark.slow),
    pytest.param(Sma(2), [2, 5], marks=pytest.mark.slow),
    pytest.param(Sma(2, period=3, outer="nesterov"), [2, 5], marks=pytest.mark.slow),
    pytest.param(Averaged(SWITCHING), [2, 5], marks=pytest.mark.slow),
])  # fmt: skip
@pytest.mark.slow
def test_replicas_on_two_workers_resume_with_the_same_bits(
    policy: Policy[Any], cuts: list[int], tmp_path: Path
) -> None:
    """Cut within an epoch before and after the switch; the first cut goes on in one process too, where digits differ."""
    whole = reports(carry_out(AVERAGED, policy, assignment(tmp_path / "whole", workers=2, until=3)))
    seen: dict[int, dict[str, float]] = {}
    for updates in (*cuts, None):
        given = assignment(tmp_path / "cut", workers=2, until=3, recorded=max(seen, default=0))
        run, count = carry_out(AVERAGED, policy, given), 0
        for item in run:
            count += item is None
            if item is not None and item.kind == "report":
                seen[item.step] = dict(item.metrics)
            if count == updates:
                run.save()
                break
        run.close()
        assert not psutil.Process().children()
        if updates == 2:
            shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    assert seen == whole
    alone = reports(carry_out(AVERAGED, policy, assignment(tmp_path / "alone", until=3)))
    assert [alone[step]["loss"] for step in whole] == pytest.approx([one["loss"] for one in whole.values()], rel=1e-4)


@pytest.mark.slow
def test_the_loss_of_a_worker_with_replicas_costs_a_restart(tmp_path: Path) -> None:
    whole = reports(carry_out(AVERAGED, Sma(2), assignment(tmp_path / "whole", workers=2, until=3)))
    seen: dict[int, dict[str, float]] = {}
    notices = []
    for item in carry_out(AVERAGED, Sma(2), assignment(tmp_path / "killed", workers=2, until=3)):
        if item is not None and item.kind == "report":
            assert seen.setdefault(item.step, dict(item.metrics)) == dict(item.metrics)
            if item.step == 2 and not notices:
                process(1).kill()
        if item is not None and item.kind == "notice":
            notices.append(item.text)
    assert seen == whole
    assert len(notices) == 1
    assert "worker 1 was lost" in notices[0]


class WatchingReplicas(Watching):
    """Of which there are four."""

    def start(self, signals: Signals) -> tuple[tuple[Any, ...], Action]:
        return (), Action(average=Averaging(4))


@pytest.mark.slow
def test_watched_gradients_of_replicas_on_two_workers_are_those_of_one(tmp_path: Path) -> None:
    seen = []
    for workers in (1, 2):
        run = carry_out(AVERAGED, WatchingReplicas(), assignment(tmp_path / str(workers), until=1, workers=workers))
        reports(run)
        seen.append([(*row[:5], *sorted(row[5])) for row in policy_state(tmp_path / str(workers))])
    assert [value for row in seen[1] for value in row] == pytest.approx([v for row in seen[0] for v in row], rel=1e-3)


@pytest.mark.slow
def test_fewer_replicas_than_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="each of 3 workers needs a replica; use replicas=3 or more"):
        carry_out(AVERAGED, Sma(2), assignment(tmp_path, workers=3))
    assert not psutil.Process().children()
