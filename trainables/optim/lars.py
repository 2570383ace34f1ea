"""Layer-wise adaptive rate scaling (LARS)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from trainables.optim.trust import ByParts, Part, Tensors, check, move, norms, scaled_by

MOMENTUM_FORMS = ("unscaled", "scaled", "ratio")


class Lars(ByParts):
    """Momentum SGD that moves each tensor by a step in proportion to the tensor's own norm.

        ratio = trust_coefficient |w| / (|g| + weight_decay |w| + eps), for each tensor; 1 if |w| or |g| is 0
        unscaled   v = m v + (g + weight_decay w)                w -= lr ratio v
        scaled     v = m v + lr ratio (g + weight_decay w)       w -= v              the paper's
        ratio      v = m v + ratio (g + weight_decay w)          w -= lr v

    Use when   batches are so large that a single learning rate is too large for some layers.
    Costs      two norms of each tensor in every update.
    Settings   momentum_form: as above; the three agree while lr and ratio stay the same. trust_coefficient: puts the usual
               learning rates at 1 to 30. ratio_limits, step_limit: bounds of the ratio, and of each number in
               g + weight_decay w. adapt, exclude_vectors (also per group): which tensors get a ratio, see `trust.parts`.
    Not for    a learning rate that suits SGD: matrices would hardly move, while excluded tensors would take it as it is.
    Source     You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, 2017.
    Against    Nado et al., A Large Batch Optimizer Reality Check, 2021: Nesterov's momentum, tuned with equal care, matches
               or beats it.

    Other implementations of LARS, with their defaults:

        tensorflow.contrib.opt     unscaled; eps 0; exclude_vectors=False, or by name. It adds no weight_decay w to g
        TensorFlow's ResNet-50     scaled; eps 0; batch normalisation and biases excluded by name
        LARS-ImageNet-PyTorch      unscaled; eps 1e-5, ratio_limits=(0, 50), step_limit=10
        pytorch-optimizer          ratio; eps 0. Its ratio is trust_coefficient / weight_decay if g is 0
        torch-optimizer            ratio; eps 1e-8, trust_coefficient 0.01, exclude_vectors=False; adapt=False in groups
                                   without weight decay. It leaves weight decay out where |w| or |g| is 0
        apex LARC(clip=False)      ratio; eps 1e-8, trust_coefficient 0.02, exclude_vectors=False. Otherwise as the last
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        *,
        trust_coefficient: float = 1e-3,
        momentum_form: str = "unscaled",
        nesterov: bool = False,
        eps: float = 0.0,
        ratio_limits: tuple[float, float] | None = None,
        step_limit: float | None = None,
        adapt: bool = True,
        exclude_vectors: bool = True,
    ) -> None:
        check(lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coefficient=trust_coefficient, eps=eps)
        if momentum_form not in MOMENTUM_FORMS:
            raise ValueError(f"momentum_form={momentum_form!r}: must be one of {', '.join(map(repr, MOMENTUM_FORMS))}.")
        defaults = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust_coefficient": trust_coefficient,
            "momentum_form": momentum_form, "nesterov": nesterov, "eps": eps, "ratio_limits": ratio_limits,
            "step_limit": step_limit, "adapt": adapt, "exclude_vectors": exclude_vectors,
        }  # fmt: skip
        super().__init__(params, defaults)

    def move(self, part: Part, group: dict[str, Any]) -> None:
        _update(part, [self._buffer(weight) for weight in part.weights], group)

    def _buffer(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _update(part: Part, buffers: list[Tensor], group: dict[str, Any]) -> None:
    rate, momentum, form = group["lr"], group["momentum"], group["momentum_form"]
    ratios = _trust_ratios(part, group) if part.adapts else None
    steps = _with_decay(part, group["step_limit"])
    if form != "unscaled":
        steps = scaled_by(steps, ratios, rate if form == "scaled" else 1.0)
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, steps)
    moves = torch._foreach_add(steps, buffers, alpha=momentum) if group["nesterov"] else buffers
    move(part.weights, moves, ratios if form == "unscaled" else None, 1.0 if form == "scaled" else rate)


def _trust_ratios(part: Part, group: dict[str, Any]) -> Tensor:
    weights, gradients = norms(part.weights), norms(part.gradients)
    ratios = group["trust_coefficient"] * weights / (gradients + part.weight_decay * weights + group["eps"])
    ratios = torch.where((weights > 0) & (gradients > 0), ratios, 1.0)
    return ratios if group["ratio_limits"] is None else ratios.clamp(*group["ratio_limits"])


def _with_decay(part: Part, limit: float | None) -> Tensors:
    steps: Tensors = part.gradients
    if part.weight_decay:
        steps = torch._foreach_add(steps, part.weights, alpha=part.weight_decay)
    if limit is not None:
        steps = torch._foreach_clamp_max(torch._foreach_clamp_min(steps, -limit), limit)
    return steps
