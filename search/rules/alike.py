"""All configurations trained exactly alike: the training does not read its parameters, or it learns nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from search.history import History, key_of
from search.task import FULL

LEAST = 3  # configurations
DIGITS = 8  # characters of a value that hardly comes twice by chance: an accuracy of 0.9667 may
REPORTS = 10  # with the same short value: hardly by chance
EXAMPLES = 1000  # of so many, a share such as 29/30 comes twice by chance, too
CAUSE = "the training does not read its parameters"
STUCK = "Every report of every trial has the same value"
UNSTICK = (
    "Look whether the training learns, and reads its parameters. At chance level, a loss tells more than an accuracy."
)
REMEDY = "A script gets them as flags, from parameters(), or in wandb.config; look at the first line of a trial's log."

Curve: TypeAlias = Mapping[int, float]  # step → loss


def curves_of(history: History) -> list[Curve]:
    """The curve of each configuration that has reported, the longest first."""
    trained = {key_of(trial.config): trial for trial in history.trials if trial.task == FULL and trial.losses}
    curves = [dict(zip(trial.steps, trial.losses, strict=True)) for trial in trained.values()]
    return sorted(curves, key=len, reverse=True)


def differ(curves: Sequence[Curve]) -> bool:
    """Whether a configuration has another value than the one with the longest curve at a step of both."""
    return any(loss != curves[0].get(step, loss) for curve in curves for step, loss in curve.items())


def alike(curves: Sequence[Curve], different: int = 1) -> bool:
    """Whether all configurations have the same values at the steps that they have in common, and not by chance.
    `different`: so many values are to differ within a curve, for `LEAST` configurations."""
    if len(curves) < LEAST or differ(curves) or len(set(curves[LEAST - 1].values())) < different:
        return False
    first, *others = set(curves[0].values())
    return bool(others) or not _is_common(first)


def stuck(curves: Sequence[Curve]) -> bool:
    """Whether all reports of all configurations have the same value, and these are not few."""
    if len(curves) < LEAST or differ(curves) or sum(map(len, curves)) < REPORTS:
        return False
    return all(math.isfinite(loss) for loss in curves[0].values()) and len(set(curves[0].values())) == 1


def _is_common(loss: float) -> bool:
    """Whether different trainings may well have this loss: it has few digits, or is a share of few examples."""
    if len(f"{loss:g}") < DIGITS:  # so are those that are not finite
        return True
    share = Fraction(loss).limit_denominator(EXAMPLES)
    return math.isclose(loss, share, rel_tol=5e-8)  # in 32 bits, or rounded to 7 digits
