"""The overhead of our training loop beside the shortest hand-written one for the same work.

    python experiments/benchmarks/training.py                              # every workload, a few minutes
    python experiments/benchmarks/training.py --workloads lstm_mnist,quadratic --rounds 3

Both take the same model, data, optimiser and batches, one thread, denormals flushed; no policy, no checkpoints. A round
is `--updates` updates of one loop and then of the other, taking turns to be first; the table shows the median over the rounds
of ours / hand-written in samples per second, with the smallest and the largest. Peak memory: each loop in a separate
process, ours / hand-written. Checkpoint: time to write it durably, its size, and how long a restore takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search.records import Config
from trainables.contract import Policy, Workload
from trainables.execution import checkpoint
from trainables.execution.store import Store
from trainables.training.loop import Training
from trainables.training.weight_averages import WeightAverages
from trainables.workloads.bert_classify import BertClassify
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

Made = Callable[[], tuple[Workload, Config]]
Loop = Callable[[Workload, Config, Path], "Iterator[Seconds]"]


def _at_baseline(workload: Workload) -> tuple[Workload, Config]:
    assert workload.baseline is not None
    return workload, workload.baseline


WORKLOADS: dict[str, Made] = {
    "resnet_finetune": lambda: _at_baseline(ResNetFinetune(per_class=100)),
    "resnet_finetune-head": lambda: _at_baseline(ResNetFinetune(per_class=100, scope="head")),
    "resnet_pretrain": lambda: _at_baseline(ResNetPretrain()),
    "lstm_mnist": lambda: _at_baseline(LstmMnist()),
    "lstm_lm": lambda: _at_baseline(LstmLm()),
    "bert_mlm": lambda: _at_baseline(BertMlm()),
    "bert_classify": lambda: _at_baseline(BertClassify()),
    "quadratic": lambda: _at_baseline(Quadratic(dimension=64)),  # an update of 0.1 ms: what the loop itself takes
}


@dataclass(frozen=True)
class Seconds:
    """Of the wall clock, and of this process's processor time, which other work on the machine moves less."""

    wall: float = 0.0
    processor: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.processor - other.processor)


def now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


def by_hand(workload: Workload, config: Config, folder: Path, *, gammas: tuple[float, ...] = ()) -> Iterator[Seconds]:
    """What each update takes in the loop that anybody would write, without end; evaluations are left out.

    `gammas`: averages of the weights that the loop keeps.
    """
    torch.manual_seed(0)
    model = workload.model(config, folder)
    optimizer = workload.optimizer(model, config)
    averages = WeightAverages(model, gammas) if gammas else None
    batch_size = workload.knobs(config).batch_size
    total = 0.0
    while True:
        model.train()
        for indices in torch.randperm(workload.samples()).split(batch_size):
            begun = now()
            optimizer.zero_grad()
            loss = workload.loss(model, indices)
            loss.backward()
            if (limit := workload.clip_norm(config)) is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            if averages is not None:
                averages.update(len(indices))
            total += loss.item() * len(indices)
            yield now() - begun
        model.eval()
        with torch.no_grad():
            workload.evaluate(model, "valid")


def ours(workload: Workload, config: Config, folder: Path, policy: Policy[Any] | None = None) -> Iterator[Seconds]:
    """What each update takes in our loop, without end; evaluations are left out."""
    training = Training(workload, policy, config, until=1_000_000, prepared=folder)
    items, taken = iter(training), Seconds()
    while True:
        begun = now()
        if next(items) is not None:  # an evaluation, or what the policy has decided
            continue
        taken += now() - begun
        if not training.accumulated:
            yield taken
            taken = Seconds()


def block(loop: Iterator[Seconds], updates: int) -> Seconds:
    """The next updates of a loop together."""
    return sum(itertools.islice(loop, updates), Seconds())


LOOPS: dict[str, Loop] = {"ours": ours, "by hand": by_hand}


def speed(workload: Workload, config: Config, folder: Path, updates: int, rounds: int) -> list[float]:
    """Ours / hand-written in samples per second of the wall clock, for each round."""
    ratios = []
    torch.set_flush_denormal(True)
    for loop in LOOPS.values():
        block(loop(workload, config, folder), 3)
    for number in range(rounds):
        order = ("ours", "by hand") if number % 2 else ("by hand", "ours")
        seconds = {name: block(LOOPS[name](workload, config, folder), updates).wall for name in order}
        ratios.append(seconds["by hand"] / seconds["ours"])
    return ratios


def peak(name: str, loop: str, folder: Path) -> int:
    """Bytes, of a process that runs one of the loops."""
    command = [sys.executable, __file__, "--workloads", name, "--memory-of", loop, "--prepared", str(folder)]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def checkpoint_costs(workload: Workload, config: Config, prepared: Path) -> tuple[float, int, float]:
    """Seconds to write one, bytes, seconds to restore it; the medians of five."""
    training = Training(workload, None, config, prepared=prepared)
    items = iter(training)
    next(items)
    writing, reading, size = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        for step in range(5):
            begun = time.perf_counter()
            saved = Store(Path(folder)).save(training.state(), step=step)
            writing.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            training.load(checkpoint.load(Path(saved.path)))
            reading.append(time.perf_counter() - begun)
            size = saved.bytes
    return statistics.median(writing), size, statistics.median(reading)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--memory-of", choices=list(LOOPS), help=argparse.SUPPRESS)
    parser.add_argument("--prepared", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.workloads.split(",")
    if unknown := sorted(set(names) - set(WORKLOADS)):
        parser.error(f"no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    torch.set_num_threads(1)
    if given.memory_of:
        block(LOOPS[given.memory_of](*WORKLOADS[names[0]](), given.prepared), 10)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    print("| workload | samples/s, ours / by hand | peak memory, ours / by hand | checkpoint: write, size, restore |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            prepared = Path(folder) / name
            workload, config = WORKLOADS[name]()
            workload.prepare(prepared)
            ratios = speed(workload, config, prepared, given.updates, given.rounds)
            memory = peak(name, "ours", prepared) / peak(name, "by hand", prepared)
            write, size, restore = checkpoint_costs(workload, config, prepared)
            print(
                f"| {name} | {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, "
                f"n = {len(ratios)}) | {memory:.3f} | {1e3 * write:.0f} ms, {size / 2**20:.1f} MiB, {1e3 * restore:.0f} ms |",
                flush=True,
            )


if __name__ == "__main__":
    main()
