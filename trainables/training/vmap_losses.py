"""The losses of several replicas of a model whose tensors are stacked to (replicas, *shape).

One call computes them all (torch.func) if the model allows it; fused LSTM cells and data-dependent branches do not.
Then they are computed one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainables.contract import Workload
from trainables.training.randomness import read_streams, write_streams

Tensors = dict[str, Tensor]


class Losses:
    """The losses of replicas of `module`, whose `parameters` and `buffers` are named as in it.

    `obstacle`: why they are computed one after the other; "": all at once. None: find out (needless with one replica).
    """

    def __init__(self, module: LossOf, parameters: Tensors, buffers: Tensors, obstacle: str | None) -> None:
        self._module, self._parameters, self._buffers = module, parameters, buffers
        self._replicas = len(next(iter(parameters.values())))
        named = dict(module.named_parameters())
        names = {named[name]: name for name in parameters}
        every = module.named_parameters(remove_duplicate=False)  # tied ones have several names
        self._names = {alias: names[parameter] for alias, parameter in every if parameter in names}
        self.obstacle = self._found_obstacle(obstacle)

    def __call__(self, shares: Sequence[Tensor]) -> Tensor:
        """Mean losses of the first replicas, one for each share of samples; no share is longer than the one before."""
        if self.obstacle or self._replicas == 1:
            return self._singly(shares)
        longest = sum(len(share) == len(shares[0]) for share in shares)
        found = []
        for first, last in pairwise(sorted({0, longest, len(shares)})):
            rows = slice(first, last)
            losses, changed = self._at_once(
                self._of(self._parameters, rows), self._of(self._buffers, rows), shares[rows]
            )
            self._keep(changed, rows)
            found.append(losses)
        return torch.cat(found)

    def _singly(self, shares: Sequence[Tensor]) -> Tensor:
        each = [stack.unbind() for stack in self._parameters.values()]  # stacks the gradient once, not k times
        found = []
        for j, share in enumerate(shares):
            parameters = {name: one[j] for name, one in zip(self._parameters, each, strict=True)}
            loss, changed = self._one(parameters, {name: stack[j] for name, stack in self._buffers.items()}, share)
            self._keep(changed, j)
            found.append(loss)
        return torch.stack(found)

    def _at_once(self, parameters: Tensors, buffers: Tensors, shares: Sequence[Tensor]) -> tuple[Tensor, Tensors]:
        indices = torch.stack(list(shares))
        answer: tuple[Tensor, Tensors] = torch.vmap(self._one, randomness="different")(parameters, buffers, indices)
        return answer

    def _one(self, parameters: Tensors, buffers: Tensors, indices: Tensor) -> tuple[Tensor, Tensors]:
        """The loss of one replica, and the buffers that the model replaced instead of changing them in place."""
        used = {alias: parameters[name] for alias, name in self._names.items()} | buffers
        loss: Tensor = functional_call(self._module, used, (indices,), tie_weights=False)
        return loss, {name: used[name] for name, buffer in buffers.items() if used[name] is not buffer}

    def _of(self, stacks: Tensors, rows: slice) -> Tensors:
        return stacks if rows == slice(0, self._replicas) else {name: stack[rows] for name, stack in stacks.items()}

    def _keep(self, changed: Tensors, rows: int | slice) -> None:
        for name, value in changed.items():
            self._buffers[name] = self._buffers[name].clone()  # autograd may still need the old one
            self._buffers[name][rows] = value.detach()

    def _found_obstacle(self, known: str | None) -> str | None:
        """Try to compute one loss, then (unless the answer is `known`) all at once; leaves no trace.

        The first loss also makes the workload load its data outside vmap, so that they do not belong to a replica.
        """
        streams, training = read_streams(), self._module.training
        device, k = next(iter(self._parameters.values())).device, self._replicas
        shares = (torch.arange(2 * k) % self._module.workload.samples()).to(device).chunk(k)
        buffers = {name: stack.clone() for name, stack in self._buffers.items()}
        self._module.train()
        try:
            first, firsts = (
                {name: stack[0] for name, stack in stacks.items()} for stacks in (self._parameters, buffers)
            )
            self._one(first, firsts, shares[0])
            if known is None and k > 1:
                losses, _ = self._at_once(self._parameters, buffers, shares)
                torch.autograd.grad(losses.sum(), list(self._parameters.values()), allow_unused=True)
        except Exception as error:
            return str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
        finally:
            self._module.train(training)
            write_streams(streams)
        return known if known is not None or k == 1 else ""


class LossOf(nn.Module):
    """A workload's loss of a model, as a module whose tensors can be replaced by a replica's."""

    def __init__(self, workload: Workload, model: nn.Module) -> None:
        super().__init__()
        self.training = model.training
        self.model = model
        self.workload = workload

    def forward(self, indices: Tensor) -> Tensor:
        return self.workload.loss(self.model, indices)
