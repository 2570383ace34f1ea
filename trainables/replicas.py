"""Replicas of a model, trained in lock-step and held together by their average: Crossbow's SMA in one process.

One round, with k replicas w_j, the central model z (the one that is measured and kept) and what z was before, z':

    c_j = alpha (w_j - z)                       with w_j as it was before its gradient step
    w_j ← w_j - the optimiser's step - c_j      on the gradient of replica j's own samples
    z   ← z + sum of c_j + mu (z - z')

Parameters and buffers of all replicas are stacked to (k, *shape). The optimiser moves the stacks: its rule is
elementwise, so it is k optimisers.

Source     Koliousis et al., Crossbow: Scaling Deep Learning with Small Batch Sizes on Multi-GPU Servers, VLDB 2019.
Differs    at a restart the replicas share the mean of their optimiser's states (momentum, …); Crossbow's code lets each
           keep its own. Buffers of z (batch normalisation) are the means of the replicas'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from trainables.base import Averaging, Workload
from trainables.stacked import Losses, LossOf, Tensors

ELEMENTWISE = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam,
    torch.optim.RMSprop, torch.optim.Adagrad,
)  # fmt: skip


class Replicas:
    """`averaging.replicas` copies of `model`, which becomes their central model; `optimizer` moves them, until `leave`.

    `obstacle`: see `Losses`.
    """

    def __init__(
        self,
        workload: Workload,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averaging: Averaging,
        obstacle: str | None = None,
    ) -> None:
        if type(optimizer) not in ELEMENTWISE:  # a subclass may do what it likes
            raise ValueError(
                f"{averaging}: {type(optimizer).__name__} may use norms of whole tensors, which would mix the "
                f"replicas; choose one of {', '.join(kind.__name__ for kind in ELEMENTWISE)}."
            )
        self.averaging = averaging
        self._rounds = 0
        self._optimizer = optimizer
        module = LossOf(workload, model)
        self._central: Tensors = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._central_buffers: Tensors = dict(module.named_buffers())
        self._before: Tensors = {name: p.detach().clone() for name, p in self._central.items()}
        self.parameters: Tensors = {name: self._stacked(p).requires_grad_() for name, p in self._central.items()}
        self._buffers: Tensors = {name: self._stacked(b) for name, b in self._central_buffers.items()}
        _exchange(optimizer, {self._central[name]: stack for name, stack in self.parameters.items()}, self._stacked)
        self.losses = Losses(module, self.parameters, self._buffers, obstacle)

    def leave(self) -> None:
        """Let the optimiser move the central model, with the mean of what it kept for the replicas."""
        _exchange(self._optimizer, {stack: self._central[name] for name, stack in self.parameters.items()}, _mean)

    def loss(self, indices: Tensor, total: int) -> tuple[Tensor, Tensor]:
        """What to descend on for these samples of a round of `total`, and their mean loss.

        Replica j has every k-th sample from the j-th on, and descends on the mean over its own.
        """
        k = self.averaging.replicas
        shares = [indices[j::k] for j in range(min(k, len(indices)))]
        losses = self.losses(shares)
        counts = torch.tensor([len(share) for share in shares], dtype=losses.dtype)
        wholes = torch.tensor([len(range(j, total, k)) for j in range(len(shares))], dtype=losses.dtype)
        descended = (losses * (counts / wholes).to(losses.device)).sum()
        return descended, (losses.detach() * (counts / len(indices)).to(losses.device)).sum()

    def squares(self) -> Tensor:
        """|gradient|^2 of each replica, (k,)."""
        return torch.stack([gradient.flatten(1).square().sum(1) for gradient in self._gradients()]).sum(0)

    def gradient_parts(self, total: int) -> tuple[list[tuple[float, float]], float]:
        """|its share of the mean gradient|^2 and its share of the samples, by replica; |the mean gradient|^2."""
        k = self.averaging.replicas
        shares = [len(range(j, total, k)) / total for j in range(k)]
        weights = torch.tensor(shares, dtype=torch.float64, device=self._gradients()[0].device)
        means = [torch.tensordot(weights.to(gradient.dtype), gradient, 1) for gradient in self._gradients()]
        squares = self.squares().tolist()
        return (
            [(square * share**2, share) for square, share in zip(squares, shares, strict=True)],
            float(torch.nn.utils.get_total_norm(means)) ** 2,
        )

    def clip(self, norm: float) -> None:
        """Shorten the gradient of each replica to `norm`."""
        factors = (norm / (self.squares().sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in self._gradients():
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))

    @torch.no_grad()
    def step(self, descend: Callable[[], None]) -> None:
        """One round; `descend` is the optimiser's step."""
        self._rounds += 1
        if self._rounds % self.averaging.period:
            return descend()
        alpha, momentum = self.averaging.pull, self.averaging.momentum
        corrections = {name: alpha * (w - self._central[name]) for name, w in self.parameters.items()}
        descend()
        for name, correction in corrections.items():
            self.parameters[name].sub_(correction)
            z, before = self._central[name], self._before[name]
            moved = correction.sum(0).add_(z - before, alpha=momentum)
            before.copy_(z)
            z.add_(moved)
        for name, stack in self._buffers.items():
            self._central_buffers[name].copy_(_mean(stack))
        return None

    def state(self) -> dict[str, Any]:
        """The live tensors, the central model's not among them."""
        return {
            "averaging": asdict(self.averaging), "obstacle": self.losses.obstacle, "rounds": self._rounds,
            "parameters": dict(self.parameters), "buffers": dict(self._buffers), "before": dict(self._before),
        }  # fmt: skip

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        self._rounds = state["rounds"]
        for own, given in ((self.parameters, "parameters"), (self._buffers, "buffers"), (self._before, "before")):
            for name, value in own.items():
                value.copy_(state[given][name])

    def _stacked(self, value: Tensor) -> Tensor:
        return torch.stack([value.detach()] * self.averaging.replicas)

    def _gradients(self) -> list[Tensor]:
        return [stack.grad for stack in self.parameters.values() if stack.grad is not None]


def _exchange(
    optimizer: torch.optim.Optimizer, moved: dict[Tensor, Tensor], turned: Callable[[Tensor], Tensor]
) -> None:
    """Let the optimiser move other tensors; what it keeps for the old ones (momentum, …) goes along, `turned`."""
    optimizer.zero_grad(set_to_none=True)
    for group in optimizer.param_groups:
        group["params"] = [moved.get(parameter, parameter) for parameter in group["params"]]
    for old, new in moved.items():
        kept = optimizer.state.pop(old, {})
        if kept:
            optimizer.state[new] = {
                key: turned(value)
                if key != "step" and isinstance(value, Tensor) and value.shape == old.shape
                else value
                for key, value in kept.items()
            }


def _mean(stack: Tensor) -> Tensor:
    """Over the replicas; exact where they are equal, and the first one's where they are no fractions (counters)."""
    if not stack.is_floating_point():
        return stack[0]
    return stack[0] + (stack - stack[0]).mean(0)
