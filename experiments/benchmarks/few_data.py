"""Many epochs on few data: a race of rates beside a cosine at each rate, where a large rate soon learns the data by heart.

    python experiments/benchmarks/few_data.py --seeds 5        # about ten minutes

6,400 windows of nine bytes from modules of the standard library, 2,000 for validation, a network of one hidden layer,
Adam, 25 epochs of batches of 64: 2,500 updates. A policy's loss at the end and its lowest at the end of an epoch.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import pdb
import socket
import statistics
import typing
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables import BatchSampler, Control, LrSchedule, RateRace
from trainables.contract import Policy

MODULES = (argparse, typing, ast, inspect, pdb, socket)
EPOCHS, BATCH, CONTEXT = 25, 64, 8
ARMS: dict[str, tuple[Policy[typing.Any], tuple[float, ...]]] = {
    "RateRace()": (RateRace(), (3e-4, 3e-3, 3e-2)),
    'LrSchedule("cosine")': (LrSchedule("cosine"), (3e-4, 1e-3, 3e-3, 1e-2)),
}


def windows() -> tuple[Tensor, Tensor]:
    """Training and validation, (n, CONTEXT + 1) bytes each."""
    raw = b"".join(Path(str(module.__file__)).read_bytes() for module in MODULES)
    found = torch.tensor(list(raw)).clamp(max=127).unfold(0, CONTEXT + 1, 5)
    found = found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]
    return found[:6400], found[6400:8400]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 16)
        self.body = nn.Sequential(nn.Linear(16 * CONTEXT, 128), nn.ReLU(), nn.Dropout(0.16), nn.Linear(128, 128))

    def forward(self, bytes_before: Tensor) -> Tensor:
        scores: Tensor = self.body(self.embed(bytes_before).flatten(1))
        return scores


def trained(policy: Policy[typing.Any], rate: float, seed: int) -> list[float]:
    """The validation loss at the end of each epoch."""
    learn, valid = windows()
    torch.manual_seed(seed)
    model, sampler = Network(), BatchSampler(len(learn), seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def measured(part: Tensor) -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            loss = cross_entropy(model(part[:, :-1]), part[:, -1]).item()
        model.train()
        return {"valid_loss": loss}

    control = Control(
        policy, model, optimizer, batch_size=BATCH, samples=len(learn), epochs=EPOCHS, sampler=sampler,
        measure=lambda: measured(valid), probe=lambda: measured(valid[:300]), metric="valid_loss",
    )  # fmt: skip
    losses = []
    while not control.done:
        for batch in sampler:
            optimizer.zero_grad()
            loss = cross_entropy(model(learn[batch, :-1]), learn[batch, -1])
            loss.backward()
            optimizer.step()
            control.update(loss, len(batch))
        losses.append(control.end_epoch()["valid_loss"])
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| policy | rate at the start | at the end | lowest of the epochs | n |\n| --- | --- | --- | --- | --- |")
    for name, (policy, rates) in ARMS.items():
        for rate in rates:
            runs = [trained(policy, rate, seed) for seed in range(given.seeds)]
            cells = []
            for values in ([losses[-1] for losses in runs], [min(losses) for losses in runs]):
                error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
                cells.append(f"{statistics.mean(values):.3f} ±{error:.3f}")
            print(f"| `{name}` | {rate:g} | {' | '.join(cells)} | {given.seeds} |", flush=True)


if __name__ == "__main__":
    main()
