"""A workload trained by a loop that a person might write, with a `Control` in it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from search.records import Config
from search.work import Progress, Reported
from trainables.contract import Policy, Workload
from trainables.training.attach import Unattached
from trainables.training.batch_sampler import BatchSampler
from trainables.training.control import Control
from trainables.training.device import measure, probe
from trainables.training.model_state import live_weights, put_model
from trainables.training.randomness import read_streams, seed_streams, write_streams


class ByHand:
    """Iterating trains; the items are those of `trainables.training.loop.Training`, but for costs."""

    def __init__(
        self, workload: Workload, policy: Policy[Any] | Unattached, config: Config, *, seed: int,
        prepared: Path | None = None, loader_workers: int = 0,
    ) -> None:  # fmt: skip
        seed_streams(seed)
        self.workload, self.config = workload, config
        self.model = workload.model(config, prepared)
        self.optimizer = workload.optimizer(self.model, config)
        self.scaler = workload.scaler(config)
        sampler = BatchSampler(workload.samples(), seed=seed)
        inner = policy.policy if isinstance(policy, Unattached) else policy
        watches = frozenset() if inner is None else inner.needs
        options: dict[str, Any] = {
            "batch_size": workload.knobs(config).batch_size, "samples": workload.samples(), "measure": self._evaluate,
            "probe": lambda: probe(workload, self.model), "parts": 2 if "gradient" in watches else 1, "sampler": sampler, "scaler": self.scaler,
        }  # fmt: skip
        if isinstance(policy, Unattached):
            self.control = policy.attach(self.model, self.optimizer, **options)
        else:
            self.control = Control(
                policy, self.model, self.optimizer, epochs=workload.horizon, metric=workload.metric,
                mode=workload.mode, **options,
            )  # fmt: skip
        self._loader = DataLoader(
            range(workload.samples()),  # type: ignore[arg-type]
            batch_sampler=sampler, collate_fn=torch.tensor, num_workers=loader_workers,
            generator=torch.Generator(),  # else each pass over it draws from the stream that dropout draws from
        )  # fmt: skip

    def __iter__(self) -> Iterator[Progress | None]:
        yield from self.control.decisions.take()
        while not self.control.done:
            for _ in self.updates():
                yield None
                yield from self.control.decisions.take()
            metrics = self.control.end_epoch()
            yield Reported(self.control.epoch, metrics)
            yield from self.control.decisions.take()

    def updates(self) -> Iterator[None]:
        """The rest of an epoch."""
        self.model.train()
        for indices in self._loader:
            torch.set_flush_denormal(True)  # as our loop does
            self._update(indices)
            torch.set_flush_denormal(False)
            yield None

    def _update(self, indices: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        for rows in indices.split(self.control.part_sizes(len(indices), self.workload.execution.micro_batch)):
            loss = self.workload.loss(self.model, rows)
            share = len(rows) / len(indices)
            scaled = loss * share if share < 1 else loss
            (scaled if self.scaler is None else self.scaler.scale(scaled)).backward()
            self.control.part(len(rows), loss)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if (limit := self.workload.clip_norm(self.config)) is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.control.update()

    def _evaluate(self) -> Mapping[str, float]:
        return measure(self.workload, self.model, "valid")

    def saved(self) -> bytes:
        """A checkpoint, as `torch.save` writes it."""
        file = io.BytesIO()
        torch.save(
            {
                "weights": live_weights(self.model, self.optimizer),  # with buffers that a state_dict leaves out
                "scaler": None if self.scaler is None else self.scaler.state_dict(),
                "control": self.control.state_dict(),
                "streams": read_streams(),
            },
            file,
        )
        return file.getvalue()

    def load(self, saved: bytes) -> None:
        state = torch.load(io.BytesIO(saved), weights_only=True)  # plain data and tensors only
        put_model(self.model, state["weights"])
        self.optimizer.load_state_dict(state["weights"]["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self.control.load_state_dict(state["control"])
        write_streams(state["streams"])
