"""Collect a batch part by part from a hand-written loop: losses and, if the policy needs it, the gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.estimates.noise_scale import Gradient
from trainables.training import gradients
from trainables.training.part_gradients import PartGradients
from trainables.training.workers import Alone


class Parts:
    """`parts` backward passes for each batch in each worker of `group`; `watches`: measure each pass's gradient."""

    def __init__(self, model: torch.nn.Module, parts: int, group: Alone, *, watches: bool) -> None:
        self._count, self._group = parts, group
        self._parameters = [*model.parameters()] if watches else []
        self._gradients = PartGradients(self._parameters) if watches else None
        self._loss_sum: float | Tensor = 0.0
        self._samples = 0  # seen so far of the batch in progress
        self._squares: list[tuple[float | Tensor, int]] = []  # |gradient|^2 and samples of each part
        self._whole: float | Tensor = 0.0  # |gradient|^2 of the whole batch
        self._scale = 1.0  # the loss scale of this batch

    def sizes(self, count: int, at_most: int | None = None) -> list[int]:
        """Split a batch of `count` samples as evenly as possible, into parts of two samples or more."""
        size = at_most or count
        if count >= 2 * self._count:
            size = min(size, math.ceil(count / self._count))
        sizes = []
        while count:
            sizes.append(math.ceil(count / math.ceil(count / size)))
            count -= sizes[-1]
        return sizes

    def add(self, samples: int, loss: float | Tensor, scaler: torch.amp.GradScaler | None) -> None:
        """Record one backward pass over `samples` samples with this mean loss; `scaler` scaled the gradient."""
        if isinstance(loss, Tensor):  # do not wait for a GPU
            loss = loss.detach().double() if loss.is_cuda else loss.item()
        self._loss_sum += loss * samples
        self._samples += samples
        if self._gradients is not None:
            self._squares.append((self._gradients.square(), samples))
            self._whole = gradients.square(self._parameters)
            self._scale = 1.0 if scaler is None else float(scaler.get_scale())

    def taken(self) -> tuple[float | Tensor, int, Gradient | None]:
        """The loss sum, samples and gradient of the batch, over all workers; then start the next batch."""
        if not self._samples:
            raise ValueError(
                "control.update(): no samples; pass the loss and the samples, or call control.part before."
            )
        if self._gradients is not None and not self._squares:
            raise ValueError("control.update(): the policy needs the gradient; call control.part after each pass.")
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
        """Whether only part of a batch is recorded."""
        return self._samples > 0
