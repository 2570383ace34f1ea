"""The common part of workloads that can be measured on a sample of a part, beside the whole of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainables.contract import Workload

if TYPE_CHECKING:
    import torch


class SampledWorkload(Workload):
    """One method for both: `evaluate` asks it for all examples, `probe` for some."""

    @abstractmethod
    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        """The metrics on about so many examples of a part, always the same ones; None: on all of them."""

    def evaluate(self, model: torch.nn.Module, part: str) -> Mapping[str, float]:
        return self.measure(model, part, None)

    def probe(self, model: torch.nn.Module, samples: int) -> Mapping[str, float]:
        return self.measure(model, "valid", samples)
