"""A language model of LSTM layers.

Source     Zaremba et al., Recurrent Neural Network Regularization, 2014: dropout between the layers, never in time;
           all weights uniform in ±scale. Grave et al., Efficient softmax approximation for GPUs, 2017: the adaptive
           softmax, whose probabilities are normalised, so its perplexity is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

State = list[tuple[Tensor, Tensor]]  # h and c of each layer: (1, batch, hidden)


class LstmLm(nn.Module):
    """Tokens and their successors, both (batch, steps) → negative log-likelihood of each successor, and the state.

    `cutoffs`: of the adaptive softmax, in token numbers, which are ordered by frequency; empty: a full softmax.
    """

    def __init__(
        self, vocabulary: int, hidden: int, layers: int, dropout: float, cutoffs: Sequence[int], scale: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, hidden)
        # Separate layers: inside one nn.LSTM a GPU draws the dropout from a random stream that nobody can save.
        self.layers = nn.ModuleList(nn.LSTM(hidden, hidden, batch_first=True) for _ in range(layers))
        self.output = (
            nn.AdaptiveLogSoftmaxWithLoss(hidden, vocabulary, list(cutoffs))
            if cutoffs
            else nn.Linear(hidden, vocabulary)
        )
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -scale, scale)

    def forward(self, tokens: Tensor, successors: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        following: State = []
        hidden = self._dropped(self.embedding(tokens))
        for place, layer in enumerate(self.layers):
            hidden, memory = layer(hidden, None if state is None else state[place])
            hidden = self._dropped(hidden)
            following.append(memory)
        return self._surprise(hidden.flatten(0, 1), successors.flatten()).view_as(successors), following

    def _surprise(self, hidden: Tensor, successors: Tensor) -> Tensor:
        if isinstance(self.output, nn.Linear):
            return functional.cross_entropy(self.output(hidden), successors, reduction="none")
        with torch.autocast(hidden.device.type, enabled=False):  # autocast mixes precisions here and fails
            likelihood: Tensor = self.output(hidden.float(), successors).output
            return -likelihood

    def _dropped(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)
