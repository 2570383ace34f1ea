"""Replicas of a model, trained in lock-step and held together by their average: Crossbow's SMA in one process.

One round, with k replicas w_j, the central model z (the one that is measured and kept) and what z was before, z':

    c_j = alpha (w_j - z)                       with w_j as it was before its gradient step
    w_j ← w_j - the optimiser's step - c_j      on the gradient of replica j's own samples
    z   ← z + sum of c_j + mu (z - z')

Parameters and buffers of all replicas are stacked to (k, *shape). The optimiser moves the stacks: its rule is
elementwise, so it is k optimisers. One call computes all losses (torch.func); where that cannot be, one replica after the
other is computed.

Source     Koliousis et al., Crossbow: Scaling Deep Learning with Small Batch Sizes on Multi-GPU Servers, VLDB 2019.
Differs    at a restart the replicas share the mean of their optimiser's states (momentum, …); Crossbow's code lets each
           keep its own. Buffers of z (batch normalisation) are the means of the replicas'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainables.base import Averaging, Workload
from trainables.randomness import read_streams, write_streams

ELEMENTWISE = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam,
    torch.optim.RMSprop, torch.optim.Adagrad,
)  # fmt: skip
Tensors = dict[str, Tensor]


class Replicas:
    """`averaging.replicas` copies of `model`, which becomes their central model; `optimizer` moves them, until `leave`.

    `obstacle`: why they are computed one after the other; "": all at once. None: to be found out.
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
        self._workload, self._optimizer = workload, optimizer
        self._module = _Loss(workload, model)
        self._central: Tensors = {name: p for name, p in self._module.named_parameters() if p.requires_grad}
        self._central_buffers: Tensors = dict(self._module.named_buffers())
        self._aliases = _aliases(self._module, self._central)
        self._before: Tensors = {name: p.detach().clone() for name, p in self._central.items()}
        self.parameters: Tensors = {name: self._stacked(p).requires_grad_() for name, p in self._central.items()}
        self._buffers: Tensors = {name: self._stacked(b) for name, b in self._central_buffers.items()}
        moved = {self._central[name]: stack for name, stack in self.parameters.items()}
        _exchange(optimizer, moved, self._stacked)
        self.obstacle = self._found_obstacle(obstacle)

    def leave(self) -> None:
        """Let the optimiser move the central model, with the mean of what it kept for the replicas."""
        _exchange(self._optimizer, {stack: self._central[name] for name, stack in self.parameters.items()}, _mean)

    def loss(self, indices: Tensor, total: int) -> tuple[Tensor, Tensor]:
        """What to descend on for these samples of a round of `total`, and their mean loss.

        Replica j has every k-th sample from the j-th on, and descends on the mean over its own.
        """
        k = self.averaging.replicas
        shares = [indices[j::k] for j in range(min(k, len(indices)))]
        losses = self._losses(shares)
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
        weights = torch.tensor(shares, device=self._gradients()[0].device)
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
            "averaging": asdict(self.averaging), "obstacle": self.obstacle, "rounds": self._rounds,
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

    def _losses(self, shares: Sequence[Tensor]) -> Tensor:
        """Mean losses of the replicas that have samples, in order; the first few may have one sample more."""
        if self.obstacle:
            each = [stack.unbind() for stack in self.parameters.values()]  # its gradient is stacked once, not k times
            found = []
            for j, share in enumerate(shares):
                parameters = {name: one[j] for name, one in zip(self.parameters, each, strict=True)}
                loss, changed = self._one(parameters, {name: stack[j] for name, stack in self._buffers.items()}, share)
                self._keep(changed, j)
                found.append(loss)
            return torch.stack(found)
        most = sum(len(share) == len(shares[0]) for share in shares)
        found = []
        for first, last in pairwise(sorted({0, most, len(shares)})):
            rows = slice(first, last)
            losses, changed = self._at_once(
                self._of(self.parameters, rows), self._of(self._buffers, rows), shares[rows]
            )
            self._keep(changed, rows)
            found.append(losses)
        return torch.cat(found)

    def _of(self, stacks: Tensors, rows: slice) -> Tensors:
        if rows == slice(0, self.averaging.replicas):
            return stacks
        return {name: stack[rows] for name, stack in stacks.items()}

    def _at_once(self, parameters: Tensors, buffers: Tensors, shares: Sequence[Tensor]) -> tuple[Tensor, Tensors]:
        answer: tuple[Tensor, Tensors] = torch.vmap(self._one, randomness="different")(
            parameters, buffers, torch.stack(list(shares))
        )
        return answer

    def _one(self, parameters: Tensors, buffers: Tensors, indices: Tensor) -> tuple[Tensor, Tensors]:
        """The loss of one replica, and the buffers that the model did not change in place but exchanged."""
        used = {alias: parameters[name] for alias, name in self._aliases.items()} | buffers
        loss: Tensor = functional_call(self._module, used, (indices,), tie_weights=False)
        return loss, {name: used[name] for name, buffer in buffers.items() if used[name] is not buffer}

    def _keep(self, changed: Tensors, rows: int | slice) -> None:
        for name, value in changed.items():
            self._buffers[name] = self._buffers[name].clone()  # the old one may be part of a gradient
            self._buffers[name][rows] = value.detach()

    def _found_obstacle(self, known: str | None) -> str:
        """Tries to compute one loss, and then all at once, unless it is `known` whether that can be; without a trace.

        The first also makes the workload read its data, which are no replica's, before they can be taken for one's.
        """
        streams, training = read_streams(), self._module.training
        device = next(iter(self.parameters.values())).device
        k = self.averaging.replicas
        shares = (torch.arange(2 * k) % self._workload.samples()).to(device).chunk(k)
        buffers = {name: stack.clone() for name, stack in self._buffers.items()}
        self._module.train()
        try:
            self._one(
                *({name: stack[0] for name, stack in stacks.items()} for stacks in (self.parameters, buffers)),
                shares[0],
            )
            if known is None:
                losses, _ = self._at_once(self.parameters, buffers, shares)
                torch.autograd.grad(losses.sum(), list(self.parameters.values()), allow_unused=True)
        except Exception as error:
            return str(error).strip().split("\n")[0].split(". ")[0]
        finally:
            self._module.train(training)
            write_streams(streams)
        return known or ""


class _Loss(nn.Module):
    """A workload's loss as a module, whose tensors can be exchanged for a replica's."""

    def __init__(self, workload: Workload, model: nn.Module) -> None:
        super().__init__()
        self.training = model.training
        self.model = model
        self._workload = workload

    def forward(self, indices: Tensor) -> Tensor:
        return self._workload.loss(self.model, indices)


def _aliases(module: nn.Module, parameters: Tensors) -> dict[str, str]:
    """All names of the parameters (tied ones have several) → the one in `parameters`."""
    first = {parameter: name for name, parameter in parameters.items()}
    return {name: first[p] for name, p in module.named_parameters(remove_duplicate=False) if p in first}


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
