"""Results of the workloads on real data at the size of one CPU core, with seeds; no tuning beyond a few learning rates.

    python experiments/benchmarks/trained.py cars --data FOLDER      # CIFAR-10 → Stanford Cars: is transfer real?
    python experiments/benchmarks/trained.py ptb --data FOLDER       # one LSTM layer of 128 on the Penn Treebank
    python experiments/benchmarks/trained.py bert --data FOLDER      # masked words, then SST-2 and CoLA with and without

FOLDER holds cifar10, cars (archives of images, see `trainables/data/image_files.py`), ptb, novels (text), sst2 and cola, and a
vocabulary vocab.txt. Each arm is trained once with each of its learning rates; the best on the validation part is trained
again with all other seeds, and the test part is measured at the end of those. All arms of a comparison have equally many
learning rates. Rows are kept in --output: the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from search.records import Config
from search.work import Assignment
from trainables.carry_out import carry_out, measured_on_test
from trainables.contract import Policy, Workload
from trainables.execution.run import Run
from trainables.execution.store import Store
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.warmup import Warmup
from trainables.training.loop import Training
from trainables.values import Execution
from trainables.workloads.bert_classify import BertClassify
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

COSINE = LrSchedule("cosine")
WARM = Warmup(0.33, then=LrSchedule("linear"))  # a third of the first epoch up, then in a line down to nothing
FAST = Execution(precision="bf16", channels_last=True)  # halves the time of convolutions on a CPU that has it
WIDTHS = (32, 64, 128)


@dataclass(frozen=True)
class Arm:
    """One thing to train: a workload for each seed (it may start from that seed's weights), and learning rates."""

    name: str
    workload: Callable[[int], Workload]
    config: Config
    rates: tuple[float, ...]
    policy: Policy[Any] | None = None


class Record:
    """The rows of a run, kept in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "trained.csv"
        folder.mkdir(parents=True, exist_ok=True)
        with self.file.open(newline="") if self.file.exists() else open("/dev/null") as handle:
            self.rows = list(csv.DictReader(handle))

    def train(self, arm: Arm, rate: float, seed: int) -> dict[str, str]:
        """The row of this training; it is carried out unless it is on record."""
        key = {"arm": arm.name, "rate": str(rate), "seed": str(seed)}
        for row in self.rows:
            if all(row[name] == value for name, value in key.items()):
                return row
        row = {**key, **{name: json.dumps(value) for name, value in self._carried_out(arm, rate, seed).items()}}
        with self.file.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, list(row))
            if not self.rows:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append(row)
        print(f"{arm.name}, rate {rate:g}, seed {seed}: valid {row['valid']}, test {row['test']}", flush=True)
        return row

    def trained(self, arm: str, rate: float, seed: int) -> str:
        """The last checkpoint of a training that was carried out."""
        return str(Store(self._checkpoints(arm, rate, seed)).find()[-1].path)

    def _checkpoints(self, arm: str, rate: float, seed: int) -> Path:
        return self.folder / "checkpoints" / f"{arm} {rate:g} {seed}"

    def _carried_out(self, arm: Arm, rate: float, seed: int) -> dict[str, Any]:
        workload = arm.workload(seed)
        workload.check()
        prepared = self.folder / "prepared" / f"{arm.name} {seed}"
        workload.prepare(prepared)
        config = {**arm.config, "learning_rate": rate}
        folder = self._checkpoints(arm.name, rate, seed)
        shutil.rmtree(folder, ignore_errors=True)  # half a training, whose first epochs nobody has written down
        assignment = Assignment(0, config, seed, workload.horizon, folder, recorded=workload.horizon, prepared=prepared)
        begun = time.perf_counter()
        run = cast("Run", carry_out(workload, arm.policy, assignment))
        curve, samples = [], []
        for item in run:
            if item is not None and item.kind == "report":
                curve.append(item.metrics[workload.metric])
                samples.append(cast("Training", run.training).control.position)
        seconds = time.perf_counter() - begun
        # A training that diverged has left no checkpoint of its end, and no test result.
        test = dict(measured_on_test(workload, assignment)) if len(curve) == workload.horizon else {}
        return {"valid": curve, "samples": samples, "test": test, "seconds": round(seconds, 1)}


def compared(record: Record, arm: Arm, seeds: int) -> float:
    """The rate chosen on the validation part of seed 0; trains with it on all seeds."""
    mode = arm.workload(0).mode
    found = {rate: json.loads(record.train(arm, rate, 0)["valid"]) for rate in arm.rates}
    whole = {rate: valid[-1] for rate, valid in found.items() if len(valid) == max(map(len, found.values()))}
    rate = (max if mode == "max" else min)(whole, key=lambda each: whole[each])
    for seed in range(1, seeds):
        record.train(arm, rate, seed)
    return rate


def cars(record: Record, data: Path, seeds: int) -> Iterator[Arm]:
    """49 classes of Stanford Cars, 32 pixels, after CIFAR-10; a source network of its own for each seed."""
    source = ResNetPretrain(data=str(data / "cifar10"), widths=WIDTHS, stem_stride=2, execution=FAST)
    usual = ResNetPretrain.baseline or {}
    pretrain = Arm("CIFAR-10, 15 epochs", lambda seed: source, usual, (0.1,), COSINE)
    yield pretrain
    config = {"batch_size": 64, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}

    def target(**changes: Any) -> Callable[[int], Workload]:
        def made(seed: int) -> Workload:
            settings: dict[str, Any] = {"weights": record.trained(pretrain.name, 0.1, seed), **changes}
            return ResNetFinetune(
                horizon=20, data=str(data / "cars"), widths=WIDTHS, stem_stride=2, classes_every=4,
                execution=FAST, **settings,
            )  # fmt: skip

        return made

    rates = (0.03, 0.1, 0.3, 1.0)
    yield Arm("cars, all weights, from CIFAR-10", target(), config, rates, COSINE)
    yield Arm("cars, last layer, on CIFAR-10", target(scope="head"), config, rates, COSINE)
    yield Arm("cars, from scratch", target(weights="none"), config, rates, COSINE)


def ptb(record: Record, data: Path, seeds: int) -> Iterator[Arm]:
    workload = LstmLm(horizon=3, data=str(data / "ptb"), hidden=128, layers=1, cutoffs=(1000, 4000), dropout=0.1)
    yield Arm("PTB, 1 x 128, 3 epochs", lambda seed: workload, LstmLm.baseline or {}, (1.0, 2.0, 4.0), COSINE)


def bert(record: Record, data: Path, seeds: int) -> Iterator[Arm]:
    """BERT-tiny: 1,200 updates on novels, and what they are worth to two tasks of sentences."""
    vocabulary = str(data / "vocab.txt")
    novels = BertMlm(horizon=4, data=str(data / "novels"), vocabulary=vocabulary, evaluations_per_pass=5)
    usual = BertMlm.baseline or {}
    masked = Arm("masked words, novels", lambda seed: novels, usual, (1e-3, 2e-3, 4e-3), WARM)
    yield masked
    chosen = min(masked.rates, key=lambda rate: json.loads(record.train(masked, rate, 0)["valid"])[-1])

    def classify(task: str, pretrained: bool) -> Callable[[int], Workload]:
        def made(seed: int) -> Workload:
            weights = record.trained(masked.name, chosen, seed) if pretrained else None
            return BertClassify(task=task, data=str(data / task), vocabulary=vocabulary, weights=weights)

        return made

    for task in ("sst2", "cola"):
        for pretrained in (True, False):
            name = f"{task}, {'after masked words' if pretrained else 'from scratch'}"
            yield Arm(name, classify(task, pretrained), usual, (3e-4, 1e-3), WARM)


EXPERIMENTS = {"cars": cars, "ptb": ptb, "bert": bert}


def line(record: Record, arm: Arm, rate: float, seeds: int) -> str:
    rows = [record.train(arm, rate, seed) for seed in range(seeds)]
    metric = arm.workload(0).metric
    valid = spread([json.loads(row["valid"])[-1] for row in rows])
    tests: list[Mapping[str, float]] = [json.loads(row["test"]) for row in rows]
    test = ", ".join(f"{name} {spread([each[name] for each in tests])}" for name in tests[0])
    seconds = statistics.median(float(row["seconds"]) for row in rows)
    return f"| {arm.name} | {rate:g} of {arm.rates} | {metric} {valid} | {test} | {seconds:.0f} | {len(rows)} |"


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4g} ±{deviation:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=list(EXPERIMENTS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/trained"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = Record(given.output.absolute() / given.experiment)
    lines = []
    for arm in EXPERIMENTS[given.experiment](record, given.data.absolute(), given.seeds):
        lines.append(line(record, arm, compared(record, arm, given.seeds), given.seeds))
    print("| arm | learning rate | validation | test | seconds | n |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
