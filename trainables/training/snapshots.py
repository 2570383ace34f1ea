"""Snapshots of a training by name: all that a roll-back restores, and the place in the training at that time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from search.wording import shown
from trainables.training.accounting import LossAccount, counted_at
from trainables.training.data_order import DataOrder
from trainables.training.model_state import Weights, copied
from trainables.training.randomness import read_streams, write_streams
from trainables.training.weight_averages import WeightAverages
from trainables.values import PRESENT

Snapshot = dict[str, Any]


class Snapshots:
    """The snapshots taken so far, by name; "" is the unnamed one, the others are marks.

    Each holds a copy of the weights, the optimizer and the averages, so it takes the memory of a model in training.
    """

    def __init__(
        self, weights: Weights, account: LossAccount, order: DataOrder | None, scaler: torch.amp.GradScaler | None
    ) -> None:
        self._weights, self._account, self._order, self._scaler = weights, account, order, scaler
        self._taken: dict[str, Snapshot] = {}
        self.reports = ""  # see `Action.reports`

    @property
    def reported(self) -> Snapshot | None:
        """The snapshot that an evaluation amid an exploration measures; None: the present weights."""
        if self.reports == PRESENT:
            return None
        if self.reports not in self._taken:
            raise ValueError(
                f"reports={self.reports!r}: the policy has set only the marks {[*filter(None, self._taken)]}."
            )
        return self._taken[self.reports]

    @property
    def epoch(self) -> int:
        """Epochs that were finished when the unnamed snapshot was taken."""
        return int(self._taken[""]["epoch"])

    @property
    def weights(self) -> list[dict[str, Any]]:
        """The weights of each; live tensors."""
        return [snapshot["weights"] for snapshot in self._taken.values()]

    def take(
        self, names: Sequence[str], epoch: int, samples: int, position: int, averages: WeightAverages | None
    ) -> None:
        """Keep the present weights under these names, in one copy.

        `samples`: seen so far; `position` of them are behind the weights.
        """
        if not names:
            return
        behind = 0 if self._order is None else self._order.behind
        snapshot = {
            "weights": copied(self._weights.read()), "epoch": epoch, "position": position, **self._account.sums(),
            "loss": None, "drawn": samples - behind, "streams": read_streams(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "averages": None if averages is None else copied(averages.state_dict()),
        }  # fmt: skip
        self._taken |= dict.fromkeys(names, snapshot)

    def told(self, loss: Any) -> None:
        """The first loss after a snapshot is that of its weights."""
        for snapshot in self._taken.values():
            if snapshot["loss"] is None:
                snapshot["loss"] = float(loss)

    def restore(self, name: str, epoch: int, samples: int, *, replay: bool, why: Any) -> Snapshot:
        """Roll back to the snapshot `name`: weights, optimizer, scaler, loss account; with `replay` also the data.

        Raises ValueError, which names `why`, the policy, if there is no such snapshot.
        """
        snapshot = self._taken.get(name)
        if snapshot is None:
            known = [*filter(None, self._taken)]
            which = f" to the mark {name!r}, but has set only {known}" if name else ", but has taken no snapshot"
            raise ValueError(f"{shown(why)} asks to roll back{which}")
        self._weights.write(snapshot["weights"])
        if self._scaler is not None:
            self._scaler.load_state_dict(snapshot["scaler"])
        self.told(self._account.latest)  # a mark from which no update followed
        self._account.put(*counted_at(snapshot, epoch))
        self._account.last = snapshot["loss"]  # the loss of the undone weights may be NaN
        if replay:
            if self._order is None:
                raise ValueError(f"{shown(why)} replays samples; pass Control(…, sampler=BatchSampler(…)).")
            self._order.behind = samples - snapshot["drawn"]
            write_streams(snapshot["streams"])
        return snapshot

    def drop_marks(self) -> None:
        self._taken = {name: snapshot for name, snapshot in self._taken.items() if not name}

    def state_dict(self) -> dict[str, Snapshot]:
        """A copy on the CPU, including the parts that other workers hold."""
        cpu = torch.device("cpu")
        return {
            name: {
                **snapshot,
                "weights": self._weights.gathered(snapshot["weights"]),
                "averages": copied(snapshot["averages"], cpu),
            }
            for name, snapshot in self._taken.items()
        }

    def load_state_dict(self, state: dict[str, Snapshot]) -> None:
        self._taken = {
            name: {**snapshot, "weights": self._weights.own(snapshot["weights"])}
            for name, snapshot in copied(state).items()
        }
