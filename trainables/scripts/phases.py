"""Tell the phases of a script apart: a search for a learning rate, a sanity check, then the training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from trainables.scripts.printed import before_step

_BEFORE_TRAINING = (
    (re.compile(r"\blr.?find|\blr.?range.?test|learning.?rate.?(?:find|range.?test)|\bfind.{0,4}\blr\b", re.I), "a search for a learning rate"),
    (re.compile(r"\bsanity", re.I), "a sanity check"),
)  # fmt: skip


def phase_of(text: str) -> str:
    """The words of a line before its step, which lines of one phase have in common: `lr_finder step` of the line
    `lr_finder step 3: loss 0.5`."""
    return " ".join(re.findall(r"[^\W\d]+", before_step(text).lower()))


def before_training(text: str, metric: str) -> str:
    """What a line is about, if not about the training, by the words before its step or its first number; else empty."""
    words = before_step(text).replace("_", " ")
    return next((what for sign, what in _BEFORE_TRAINING if sign.search(words) and not sign.search(metric)), "")


def is_another(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether the second half of some lines, each its step and its phase, has other words and other distances of its steps."""
    halves = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    (first, *others), (second, *more) = ({phase for _, phase in half} for half in halves)
    gaps, others_gaps = ({after - before for (before, _), (after, _) in pairwise(half)} for half in halves)
    return not others and not more and first != second and gaps.isdisjoint(others_gaps)
