"""The schedule that a trial really trained with: its own settings, and those of the trials it was forked from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from search.records import Config, Suggestion


class Stretch(NamedTuple):
    """From `first` to `last` step, both included, the training had these settings."""

    first: int
    last: int
    config: Config
    trial: int  # whose steps they were


def schedule(trial: int, step: int, begun: Mapping[int, Suggestion]) -> list[Stretch]:
    """The stretches that led to the state of `trial` at `step`, in order.

    `begun` holds for every trial the suggestion (a start or a fork) that it began with. A stretch of no steps (a
    trial forked where it began itself) is left out; two with the same settings stay two, each with its trial.
    """
    stretches: list[Stretch] = []
    number, last = trial, step
    while True:
        suggestion = begun[number]
        first = (suggestion.parent_step or 0) + 1
        if first <= last:
            stretches.append(Stretch(first, last, dict(suggestion.config), number))
        if suggestion.parent is None:
            return stretches[::-1]
        number, last = suggestion.parent, min(last, first - 1)
