"""Every policy in a loop over Accelerate: the decisions of our loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from tests.lines import BATCH, CONFIG, POLICIES, SAMPLES, SEED, TRAIN, Line, Lines, Rows, Shuffled, decided
from tests.trainings import numbers
from trainables.contract import Policy
from trainables.training.batch_sampler import BatchSampler
from trainables.training.control import Control
from trainables.training.device import measure
from trainables.training.loop import Training

pytestmark = pytest.mark.usefixtures("one_thread")

HERE = [policy for policy in POLICIES if not {"average", "replay"} & policy.writes]


def trained(policy: Policy[Any]) -> tuple[Any, Control]:
    torch.manual_seed(SEED)
    parts = 2 if "gradient" in policy.needs else 1
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=parts)
    model: Any = Line()
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=CONFIG["learning_rate"], momentum=0.9)
    model, optimizer, loader = accelerator.prepare(
        model, optimizer, DataLoader(Rows(TRAIN), batch_size=BATCH // parts, sampler=Shuffled())
    )
    control = Control(
        policy, model, optimizer, batch_size=BATCH, samples=SAMPLES, epochs=3, parts=parts, metric="eval_loss",
        measure=lambda: measure(Lines(), model, "valid"),
    )  # fmt: skip
    while not control.done:
        loader.set_epoch(control.epoch)
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch)["loss"]
                accelerator.backward(loss)
                control.part(len(batch["labels"]), loss)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                control.update()
        control.end_epoch()
    return accelerator.unwrap_model(model), control


@pytest.mark.parametrize("policy", [p for p in HERE if "batch_size" not in p.writes], ids=repr)
def test_the_decisions_are_those_of_our_loop(policy: Policy[Any]) -> None:
    ours = Training(Lines(), policy, CONFIG, seed=SEED)
    items = list(ours)
    model, control = trained(policy)
    assert decided(control.decisions.waiting) == decided(items)
    assert numbers(dict(model.state_dict())) == numbers(dict(ours.model.state_dict()))


@pytest.mark.parametrize(
    "policy", [p for p in HERE if "batch_size" in p.writes and not {"gradient", "metrics"} & p.needs], ids=repr
)
def test_a_prepared_loader_honours_the_batch_size_one_batch_later(policy: Policy[Any]) -> None:
    """Accelerate draws one batch ahead; no sample is lost or repeated."""
    accelerator = Accelerator(cpu=True)
    model: Any = Line()
    sampler = BatchSampler(SAMPLES, seed=SEED)
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=CONFIG["learning_rate"], momentum=0.9)
    loader: Any = DataLoader(range(SAMPLES), batch_sampler=sampler)  # type: ignore[arg-type]
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    control = Control(policy, model, optimizer, batch_size=BATCH, samples=SAMPLES, epochs=3, sampler=sampler)
    sizes = set()
    while not control.done:
        seen = []
        for batch in loader:
            seen += batch.tolist()
            sizes.add(len(batch))
            control.update(1.0, len(batch))
        assert sorted(seen) == list(range(SAMPLES))
        control.end_epoch({"eval_loss": 1.0})
    assert len(sizes) > 1
