"""Whether a rate that has won a race proves too large after all: how much an epoch has lost of what was gained.

A race measures on a part of the validation data, an epoch's end on all of it. So at the end of the first epoch after a
race the part is measured, too: the difference at the same weights shifts the race's values to those of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TypedDict

from trainables.estimates.rate_ladder import Trial


class Watch(TypedDict):
    first: float  # the loss of the training's first update
    loss: float  # the lowest training loss of an epoch since the last race; at first of the winner's trial
    value: float  # the lowest since the last race; at first the winner's, which is shifted once the shift is known
    middle: float  # the median value of a race's rates, as measured; of several races the largest
    shift: float | None  # of an epoch's end's value against one measured as in the race
    waits: tuple[float, float] | None  # training loss and value of an epoch's end, until the shift is known
    returns: int  # to good weights since the last race


def begun(before: Watch | None, first: float, loss: float, value: float, tried: Sequence[Trial]) -> Watch:
    """After a race of the trials `tried`: `loss` and `value` of the winner; `before`: since the race before."""
    middle = median(each for _, each, _ in tried if math.isfinite(each))
    return {
        "first": first, "loss": loss, "value": value, "middle": middle if before is None else max(before["middle"], middle),
        "shift": None, "waits": None, "returns": 0,
    }  # fmt: skip


def shifted(watch: Watch, at_end: float, as_raced: float) -> Watch:
    """The watch once both values of the same weights are known; if they diverged, there is nothing to shift by."""
    shift = at_end - as_raced if math.isfinite(as_raced) else 0.0
    return {**watch, "shift": shift, "value": watch["value"] + shift, "waits": None}


def lost(watch: Watch, loss: float, value: float) -> float:
    """The share of the way down since the training's start that training loss and value have both lost again."""
    return min(_share_lost(loss, watch["loss"], watch["first"]), value_lost(watch, value))


def value_lost(watch: Watch, value: float, slack: float = 0.0) -> float:
    """The same for the value alone; 0 if it is above its lowest by no more than this share of it."""
    lowest = watch["value"]
    if value <= lowest + slack * abs(lowest):
        return 0.0
    return _share_lost(value, lowest, watch["middle"] + (watch["shift"] or 0.0))


def lowered(watch: Watch, loss: float, value: float) -> Watch:
    return {**watch, "loss": min(watch["loss"], loss), "value": min(watch["value"], value)}


def evidence_of(watch: Watch, loss: float, value: float) -> dict[str, float]:
    """An epoch's training loss and value, and the lowest of each."""
    return {"train_loss": loss, "value": value, "lowest_train_loss": watch["loss"], "lowest_value": watch["value"]}


def _share_lost(now: float, lowest: float, highest: float) -> float:
    """The share of the way down from `highest` to `lowest` that is lost `now`; 0 if there was no way down."""
    return (now - lowest) / (highest - lowest) if lowest < highest and lowest < now else 0.0
