"""Replicas of a model, trained in lock-step and tied to their average: Crossbow's SMA, in one process or several.

One round, with k replicas w_j, the central model z (measured and kept) and z', the value of z one round earlier:

    c_j = alpha (w_j - z)                       with w_j as it was before its gradient step
    w_j ← w_j - the optimiser's step - c_j      on the gradient of replica j's own samples
    z   ← z + sum of c_j + mu (z - z')

With an outer momentum (DiLoCo), replicas train by themselves; after each period of H rounds, with u = 0 at the start:

    D ← mean of w_j - z
    u ← mu u + D
    z ← z + outer_rate (D + mu u)               Nesterov's
    w_j ← z                                     the optimisers' states stay

Parameters and buffers of all replicas are stacked to (k, *shape). The optimiser updates the stacks: its rule is
elementwise, so it acts as k optimisers. Each of p workers has the stacks of every p-th replica, and all have the
central model; the sums run over all workers.

Source     Koliousis et al., Crossbow: Scaling Deep Learning with Small Batch Sizes on Multi-GPU Servers, VLDB 2019;
           Douillard et al., DiLoCo: Distributed Low-Communication Training of Language Models, 2023.
Differs    after a restart the replicas share the mean of their optimiser states (momentum, …); Crossbow's code lets
           each keep its own. The buffers of z (batch normalisation) are the means over the replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from trainables.contract import Workload
from trainables.training.vmap_losses import Losses, LossOf, Tensors
from trainables.training.workers import Alone
from trainables.values import Averaging

ELEMENTWISE = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam,
    torch.optim.RMSprop, torch.optim.Adagrad,
)  # fmt: skip


class Replicas:
    """`averaging.replicas` copies of `model`, which becomes their central model; `optimizer` moves them until `leave`.

    `obstacle`: see `Losses`. `group`: the workers that share the replicas; call each method in all of them together.
    """

    def __init__(
        self,
        workload: Workload,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averaging: Averaging,
        obstacle: str | None = None,
        group: Alone | None = None,
    ) -> None:
        if type(optimizer) not in ELEMENTWISE:  # a subclass may use any rule
            raise ValueError(
                f"{averaging}: {type(optimizer).__name__} may use norms of whole tensors, which would mix the "
                f"replicas; choose one of {', '.join(kind.__name__ for kind in ELEMENTWISE)}."
            )
        self._group = group or Alone()
        self.averaging = averaging
        self.here = range(self._group.rank, averaging.replicas, self._group.size)  # the j of this worker's replicas
        self._rounds = 0
        self._optimizer = optimizer
        module = LossOf(workload, model)
        self._central: Tensors = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._central_buffers: Tensors = dict(module.named_buffers())
        self._momentum_state: Tensors = {}  # z', or u with an outer momentum
        for name, p in self._central.items():
            self._momentum_state[name] = torch.zeros_like(p) if averaging.outer else p.detach().clone()
        self.parameters: Tensors = {name: self._stacked(p).requires_grad_() for name, p in self._central.items()}
        self._buffers: Tensors = {name: self._stacked(b) for name, b in self._central_buffers.items()}
        _exchange(optimizer, {self._central[name]: stack for name, stack in self.parameters.items()}, self._stacked)
        self.losses = Losses(module, self.parameters, self._buffers, obstacle)

    def leave(self) -> None:
        """Let the optimiser move the central model, with the mean of the replicas' optimiser states."""
        _exchange(
            self._optimizer,
            {stack: self._central[name] for name, stack in self.parameters.items()},
            lambda stack: self._means([stack])[0],
        )

    def loss(self, indices: Tensor, total: int) -> tuple[Tensor, Tensor]:
        """The loss to descend on, and the mean loss, of these samples of a round of `total`.

        Replica j has every k-th sample from the j-th on, and descends on the mean over its own; `indices` are the
        samples of this worker's replicas (`group.share`).
        """
        k, count = self.averaging.replicas, len(self.here)
        shares = [indices[i::count] for i in range(min(count, len(indices)))]
        losses = self.losses(shares)
        counts = torch.tensor([len(share) for share in shares], dtype=losses.dtype)
        wholes = torch.tensor([len(range(j, total, k)) for j in self.here[: len(shares)]], dtype=losses.dtype)
        descended = (losses * (counts / wholes).to(losses.device)).sum()
        return descended, (losses.detach() * (counts / len(indices)).to(losses.device)).sum()

    def squares(self) -> Tensor:
        """|gradient|^2 of each replica here, (here,)."""
        return torch.stack([gradient.flatten(1).square().sum(1) for gradient in self._gradients()]).sum(0)

    def gradient_parts(self, total: int) -> tuple[list[tuple[float, float]], float]:
        """For each replica |its share of the mean gradient|^2 and its share of the samples; |the mean gradient|^2."""
        k = self.averaging.replicas
        shares = [len(range(j, total, k)) / total for j in self.here]
        weights = torch.tensor(shares, dtype=torch.float64, device=self._gradients()[0].device)
        means = [torch.tensordot(weights.to(gradient.dtype), gradient, 1) for gradient in self._gradients()]
        parts = [(square * share**2, share) for square, share in zip(self.squares().tolist(), shares, strict=True)]
        whole = float(torch.nn.utils.get_total_norm(self._group.totals(means))) ** 2
        return [part for parts in self._group.everybody(parts) for part in parts], whole

    def clip(self, norm: float) -> None:
        """Clip the gradient of each replica to the norm `norm`."""
        factors = (norm / (self.squares().sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in self._gradients():
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))

    @torch.no_grad()
    def step(self, descend: Callable[[], None]) -> None:
        """One round; `descend` is the optimiser's step."""
        self._rounds += 1
        if self._rounds % self.averaging.period:
            return descend()
        if self.averaging.outer is None:
            self._correct(descend)
        else:
            descend()
            self._move()
        for name, mean in zip(self._buffers, self._means([*self._buffers.values()]), strict=True):
            self._central_buffers[name].copy_(mean)
        return None

    def _correct(self, descend: Callable[[], None]) -> None:
        """The optimiser's step, and the corrections."""
        alpha, momentum = self.averaging.pull, self.averaging.momentum
        corrections = {name: alpha * (w - self._central[name]) for name, w in self.parameters.items()}
        descend()
        for name, correction in corrections.items():
            self.parameters[name].sub_(correction)
        together = self._group.totals([correction.sum(0) for correction in corrections.values()])
        for name, summed in zip(corrections, together, strict=True):
            z, before = self._central[name], self._momentum_state[name]
            moved = summed.add_(z - before, alpha=momentum)
            before.copy_(z)
            z.add_(moved)

    def _move(self) -> None:
        """Move the central model by the outer momentum, and restart the replicas from it."""
        momentum, rate = self.averaging.momentum, self.averaging.outer_rate
        displacements = [(w - self._central[name]).sum(0) for name, w in self.parameters.items()]
        together = self._group.totals(displacements)
        for name, summed in zip(self.parameters, together, strict=True):
            z, u, displacement = self._central[name], self._momentum_state[name], summed / self.averaging.replicas
            u.mul_(momentum).add_(displacement)
            z.add_(displacement.add_(u, alpha=momentum), alpha=rate)
            self.parameters[name].copy_(z.expand_as(self.parameters[name]))

    def _means(self, stacks: Sequence[Tensor]) -> list[Tensor]:
        """Means over all replicas; the first replica's value for integers. With one worker exact if all are equal."""
        if self._group.size == 1:
            return [_mean(stack) for stack in stacks]
        sums = self._group.totals([stack.double().sum(0) for stack in stacks])
        found = zip(stacks, sums, strict=True)
        return [
            (total / self.averaging.replicas).to(stack.dtype) if stack.is_floating_point() else stack[0]
            for stack, total in found
        ]

    def state(self) -> dict[str, Any]:
        """The live tensors of the replicas here, without the central model's."""
        return {
            "averaging": asdict(self.averaging), "obstacle": self.losses.obstacle, "rounds": self._rounds,
            "parameters": dict(self.parameters), "buffers": dict(self._buffers), "before": dict(self._momentum_state),
        }  # fmt: skip

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        self._rounds = state["rounds"]
        for mine, given in (
            (self.parameters, "parameters"),
            (self._buffers, "buffers"),
            (self._momentum_state, "before"),
        ):
            for name, value in mine.items():
                value.copy_(state[given][name])

    def _stacked(self, value: Tensor) -> Tensor:
        return torch.stack([value.detach()] * len(self.here))

    def _gradients(self) -> list[Tensor]:
        return [stack.grad for stack in self.parameters.values() if stack.grad is not None]


def _exchange(
    optimizer: torch.optim.Optimizer, moved: dict[Tensor, Tensor], turned: Callable[[Tensor], Tensor]
) -> None:
    """Let the optimiser move other tensors; `turned` converts its state of the old ones (momentum, …) for the new."""
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
    if not stack.is_floating_point():
        return stack[0]
    return stack[0] + (stack - stack[0]).mean(0)


def gathered(weights: dict[str, Any], group: Alone) -> dict[str, Any]:
    """A worker's weights with the replicas of all workers, stacked in order; unchanged if there are no replicas."""
    if "replicas" not in weights or group.size == 1:
        return weights
    k = weights["replicas"]["averaging"]["replicas"]

    def in_order(*parts: Tensor) -> Tensor:
        return torch.stack([parts[j % group.size][j // group.size] for j in range(k)])

    return _each_stack(in_order, *group.everybody(weights))


def own(weights: dict[str, Any], group: Alone) -> dict[str, Any]:
    """This worker's part of gathered weights."""
    if "replicas" not in weights or group.size == 1:
        return weights
    return _each_stack(lambda stack: stack[group.rank :: group.size], weights)


def _each_stack(turned: Callable[..., Tensor], *weights: dict[str, Any]) -> dict[str, Any]:
    """The first weights, with each stack of replicas replaced by `turned` of that stack in all of the weights."""

    def each(*tables: dict[Any, Any]) -> dict[Any, Any]:
        return {
            key: turned(*(table[key] for table in tables)) if isinstance(value, Tensor) and value.ndim else value
            for key, value in tables[0].items()
        }  # an optimiser's numbers for a parameter (steps) have no dimension

    first = weights[0]
    replicas = {part: each(*(one["replicas"][part] for one in weights)) for part in ("parameters", "buffers")}
    states = [one["optimizer"]["state"] for one in weights]
    state = {index: each(*(one[index] for one in states)) for index in states[0]}
    return {
        **first,
        "replicas": {**first["replicas"], **replicas},
        "optimizer": {**first["optimizer"], "state": state},
    }
