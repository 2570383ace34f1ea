"""Layer-wise adaptive moments (LAMB)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from trainables.optim.trust import ByParts, Part, Tensors, check, move, norms


class Lamb(ByParts):
    """Adam that moves each tensor by a step in proportion to the tensor's own norm.

        m, v     Adam's averages of g and g^2; without bias_correction as they are, with it divided by 1 - beta^t
        step     m / (sqrt(v) + eps) + weight_decay w
        ratio    |w| / |step| for each tensor; 1 if |w| or |step| is 0
        w -= lr ratio step

    Use when   batches are so large that a single learning rate is too large for some layers, with transformers.
    Costs      Adam, and two norms of each tensor in every update.
    Settings   norm_limit: upper bound of |w| in the ratio. adapt, exclude_vectors (also per group): which tensors get a
               ratio, see `trust.parts`; a tensor without one is updated as by AdamW, to the bit.
    Source     You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, ICLR 2020, algorithm 2.
    Against    Nado et al., A Large Batch Optimizer Reality Check, 2021: Adam, tuned with equal care, matches or beats it.

    Other implementations of LAMB, with their defaults; eps is 1e-6 in all of them:

        tensorflow-addons          exclude_vectors=False, or by name
        cybertronai/pytorch-lamb   bias_correction=False, norm_limit=10 (its first versions: none), exclude_vectors=False
        torch-optimizer            the same, norm_limit=10
        pytorch-optimizer          the same; eps also added to |step|; lr divided by 1 - beta1^t unless adam_debias=True;
                                   weight decay taken off w first, as in AdamW, unless weight_decouple=False
        apex FusedLAMB, NVLAMB     weight_decay 0.01, exclude_vectors=False; adapt=False in groups without weight decay,
                                   unless use_nvlamb; gradients clipped to norm 1 (the workload's clip_norm)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        bias_correction: bool = True,
        norm_limit: float | None = None,
        adapt: bool = True,
        exclude_vectors: bool = True,
    ) -> None:
        check(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={betas!r}: must be at least 0 and less than 1; try (0.9, 0.999).")
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "bias_correction": bias_correction,
            "norm_limit": norm_limit, "adapt": adapt, "exclude_vectors": exclude_vectors,
        }  # fmt: skip
        super().__init__(params, defaults)

    def move(self, part: Part, group: dict[str, Any]) -> None:
        _update(part, [self._counted(weight) for weight in part.weights], group)

    def _counted(self, weight: Tensor) -> dict[str, Any]:
        """This weight's state, with one more gradient counted."""
        state: dict[str, Any] = self.state[weight]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(weight), exp_avg_sq=torch.zeros_like(weight))
        state["step"] += 1
        return state


def _update(part: Part, states: list[dict[str, Any]], group: dict[str, Any]) -> None:
    rate, (beta1, beta2), corrects = group["lr"], group["betas"], group["bias_correction"]
    means, squares = [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]
    torch._foreach_lerp_(means, part.gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, part.gradients, part.gradients, 1 - beta2)
    roots = torch._foreach_sqrt(squares)
    torch._foreach_div_(roots, [(1 - beta2 ** state["step"]) ** 0.5 if corrects else 1.0 for state in states])
    torch._foreach_add_(roots, group["eps"])
    corrections = [1 - beta1 ** state["step"] if corrects else 1.0 for state in states]
    if part.adapts:
        steps = _steps(part, means, roots, corrections)
        move(part.weights, steps, _trust_ratios(part.weights, steps, group["norm_limit"]), rate)
    else:  # in the order of operations of torch's AdamW
        if part.weight_decay:
            torch._foreach_mul_(part.weights, 1 - rate * part.weight_decay)
        torch._foreach_addcdiv_(part.weights, means, roots, [-(rate / correction) for correction in corrections])


def _steps(part: Part, means: Tensors, roots: Tensors, corrections: list[float]) -> Tensors:
    """Adam's steps, with weight decay. Overwrites `roots`: on a CPU a copy takes a tenth to a third longer."""
    torch._foreach_mul_(roots, corrections)
    torch._foreach_reciprocal_(roots)
    torch._foreach_mul_(roots, means)
    if part.weight_decay:
        torch._foreach_add_(roots, part.weights, alpha=part.weight_decay)
    return roots


def _trust_ratios(weights: Tensors, steps: Tensors, norm_limit: float | None) -> Tensor:
    lengths, step_lengths = norms(weights), norms(steps)
    if norm_limit is not None:
        lengths = lengths.clamp(max=norm_limit)
    return torch.where((lengths > 0) & (step_lengths > 0), lengths / step_lengths, 1.0)
