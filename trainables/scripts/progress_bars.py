"""Find the progress bar that counts the steps of the training, among those that count batches and other things."""

from __future__ import annotations

from collections.abc import Mapping

SURE = 3  # steps in a row with which a bar has to advance


class ProgressBars:
    """Compares the bars with the steps of one start of a script."""

    def __init__(self) -> None:
        self._step = 0
        self._found: dict[int, list[int]] = {}  # total → how far the bar was at the latest steps

    def total(self, step: int, bars: Mapping[int, int]) -> int | None:
        """The total of the bar that advances as the steps do, once that is sure. `bars`: how far each is now, by total."""
        gap, self._step = step - self._step, step
        self._found = {
            total: [*before, done][-SURE:]
            for total, done in bars.items()
            if abs(done - step) <= gap and done > max(before := self._found.get(total, []), default=0)
        }
        return next((total for total, found in self._found.items() if len(found) == SURE), None)
