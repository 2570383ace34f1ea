"""The common part of workloads that train a BERT on word pieces."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from search.records import Config
from trainables.data import wordpiece
from trainables.models.sampled_workload import SampledWorkload
from trainables.values import Knobs

if TYPE_CHECKING:
    import torch

    from trainables.models.bert import Shape


class BertWorkload(SampledWorkload):
    """Fields of the encoder, its shape, and the optimiser; a concrete workload adds the data and the loss."""

    length: int
    layers: int
    hidden: int
    heads: int
    dropout: float

    def knobs(self, config: Config) -> Knobs:
        """Optional parameters: momentum, optimizer, trust_coefficient, dropout, clip_norm."""
        return Knobs(
            config["learning_rate"],
            config["batch_size"],
            momentum=config.get("momentum", 0.0),
            weight_decay=config["weight_decay"],
        )

    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        from trainables.optim.by_name import configured, without_decay

        knobs = self.knobs(config)
        return configured(config, "adamw", without_decay(model, knobs), knobs)

    def clip_norm(self, config: Config) -> float:
        norm: float = config.get("clip_norm", 1.0)
        return norm

    @property
    @abstractmethod
    def pieces(self) -> wordpiece.Pieces:
        """The vocabulary."""

    def _shape(self, config: Config) -> Shape:
        from trainables.models.bert import Shape

        return Shape(
            entries=len(self.pieces),
            vocabulary=wordpiece.fingerprint(self.pieces),
            length=self.length,
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            dropout=config.get("dropout", self.dropout),
        )

    def _check_heads(self) -> None:
        if self.hidden % self.heads:
            title = type(self).__name__
            raise ValueError(f"{title}(hidden={self.hidden}, heads={self.heads}): the heads must divide hidden.")
