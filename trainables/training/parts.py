"""What a hand-written loop tells of a batch, part by part: losses, and for a policy that watches it, the gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.estimates.noise_scale import Gradient
from trainables.training import gradients
from trainables.training.part_gradients import PartGradients
from trainables.training.workers import Alone


class Parts:
    """`parts` backward passes for each batch, of each worker of `group`; `needs`: the gradient of each counts."""

    def __init__(self, model: torch.nn.Module, parts: int, group: Alone, *, watches: bool) -> None:
        self._count, self._group = parts, group
        self._parameters = [*model.parameters()] if watches else []
        self._gradients = PartGradients(self._parameters) if watches else None
        self._loss_sum: float | Tensor = 0.0
        self._samples = 0  # of the batch in progress, so far
        self._squares: list[tuple[float | Tensor, int]] = []  # |gradient|^2 and samples of each part
        self._whole: float | Tensor = 0.0  # |gradient|^2 of all of them
        self._scale = 1.0  # of the losses of this batch

    def sizes(self, count: int, at_most: int | None = None) -> list[int]:
        """Of the parts of a batch of `count` samples: as even as can be, two samples each at least."""
        size = at_most or count
        if count >= 2 * self._count:
            size = min(size, math.ceil(count / self._count))
        sizes = []
        while count:
            sizes.append(math.ceil(count / math.ceil(count / size)))
            count -= sizes[-1]
        return sizes

    def add(self, samples: int, loss: float | Tensor, scaler: torch.amp.GradScaler | None) -> None:
        """One backward pass over `samples` samples of this mean loss, which `scaler` has scaled."""
        if isinstance(loss, Tensor):  # a GPU is not waited for
            loss = loss.detach().double() if loss.is_cuda else loss.item()
        self._loss_sum += loss * samples
        self._samples += samples
        if self._gradients is not None:
            self._squares.append((self._gradients.square(), samples))
            self._whole = gradients.square(self._parameters)
            self._scale = 1.0 if scaler is None else float(scaler.get_scale())

    def taken(self) -> tuple[float | Tensor, int, Gradient | None]:
        """The loss sum, samples and gradient of the batch, over all workers; the next batch begins."""
        if not self._samples:
            raise ValueError(
                "control.update(): no samples; give the loss and the samples, or call control.part before."
            )
        if self._gradients is not None and not self._squares:
            raise ValueError("control.update(): the policy watches the gradient; call control.part after each pass.")
        total, size = int(self._group.total(self._samples)), self._group.size
        parts = [(float(square) / size**2, samples / self._samples / size) for square, samples in self._squares]
        loss_sum, whole = self._group.total(self._loss_sum), self._whole
        measured = None
        if self._gradients is not None:
            everybody = [part for parts in self._group.everybody(parts) for part in parts]
            measured = gradients.norms(total, whole, everybody, self._scale**2)
        self._loss_sum, self._samples, self._squares = 0.0, 0, []
        return loss_sum, total, measured

    @property
    def is_amid(self) -> bool:
        """Whether a batch has been told of in part."""
        return self._samples > 0
