"""The schedule that a trial actually trained with: its own settings, and those of the trials that it descends from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from search.records import Config, Suggestion


class Stretch(NamedTuple):
    """The training had these settings from step `first` to `last`, both included."""

    first: int
    last: int
    config: Config
    trial: int  # the trial that trained these steps


def schedule(trial: int, step: int, begun: Mapping[int, Suggestion]) -> list[Stretch]:
    """The stretches that led to the state of `trial` at `step`, in order.

    `begun` holds for every trial the suggestion (a start or a fork) that it began with. A stretch without steps (a
    trial forked at the step where it began itself) is left out; two with equal settings stay separate, each with its
    trial.
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
