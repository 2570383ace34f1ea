"""One of several DDP ranks with a policy that watches the gradient; prints what it decided: python -m tests.ranks RANK RANKS STORE."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from tests.lines import BATCH, CONFIG, SAMPLES, SEED, Line, data
from trainables.policies.date import Date
from trainables.training.batch_sampler import BatchSampler
from trainables.training.control import Control

POLICY = Date(base_batch=8, most=40, warm_up=0.1, target=100.0, patience=1, period=1, evidence=1)


def trained(rank: int, ranks: int) -> list[Any]:
    """Alone the batch is made of two parts, which are the ranks' shares."""
    torch.manual_seed(SEED)
    line = Line()
    model: Any = line if ranks == 1 else DistributedDataParallel(line)
    optimizer = torch.optim.SGD(model.parameters(), lr=CONFIG["learning_rate"], momentum=0.9)
    sampler = BatchSampler(SAMPLES, seed=SEED, rank=rank, ranks=ranks)
    control = Control(
        POLICY,
        model,
        optimizer,
        batch_size=BATCH,
        samples=SAMPLES,
        epochs=4,
        sampler=sampler,
        parts=2 if ranks == 1 else 1,
    )
    inputs, labels = data()
    while not control.done:
        for batch in sampler:
            optimizer.zero_grad()
            for rows in (batch[::2], batch[1::2]) if ranks == 1 else (batch,):
                loss = model(inputs[rows], labels[rows])["loss"]
                (loss * len(rows) / len(batch)).backward()
                control.part(len(rows), loss)
            optimizer.step()
            control.update()
        control.end_epoch({"eval_loss": 1.0})
    decided = [[item.text, item.samples, item.after, item.metrics] for item in control.decisions.take()]
    return [decided, [parameter.tolist() for parameter in line.parameters()]]


if __name__ == "__main__":
    rank, ranks, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    if ranks > 1:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    print(json.dumps(trained(rank, ranks)))
