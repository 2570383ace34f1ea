"""An LSTM that reads an image row by row.

Source     the MNIST-LSTM of You et al., Large-Batch Training for LSTM and Beyond, SC 2019: one layer of 128 over 28
           rows of 28 pixels, a linear layer on the last state.
"""

from __future__ import annotations

from torch import Tensor, nn


class RowLstm(nn.Module):
    """Images (batch, rows, columns) → logits (batch, classes).

    `projection`: width of a linear layer that each row passes first; None: no such layer.
    """

    def __init__(self, columns: int, hidden: int, classes: int, projection: int | None = None) -> None:
        super().__init__()
        self.project: nn.Module = nn.Identity() if projection is None else nn.Linear(columns, projection)
        self.lstm = nn.LSTM(projection or columns, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        states, _ = self.lstm(self.project(images))
        logits: Tensor = self.head(states[:, -1])
        return logits
