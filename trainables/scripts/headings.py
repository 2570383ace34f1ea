"""Values that have their steps from the lines above them, and may be of others: a training tells its progress every 50 steps,
and is evaluated every 80."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from trainables.scripts.reading import OR_PATTERN, Reading

ENOUGH = 4  # values that show the distances


def uneven_headings(recent: Sequence[tuple[int, Reading]], key: str, metric: str) -> str:
    """What to tell of the last steps if none stands in the line of its value, and their distances differ; else empty."""
    last = [*recent[-ENOUGH:]]
    gaps = [second - first for (first, _), (second, _) in pairwise(last)]
    if len(last) < ENOUGH or 2 * min(gaps) > max(gaps) or any(_names_its_step(each, key) for _, each in last):
        return ""
    return (
        f"{metric!r} came at the {key}s {', '.join(str(step) for step, _ in last)}, at uneven distances, and these are from the lines above "
        f"it: it may be of later ones. Print its {key} in its own line{OR_PATTERN}"
    )


def _names_its_step(reading: Reading, key: str) -> bool:
    told = f"{reading.steps[key]:g}"
    return reading.verb != "print" or bool(re.search(rf"(?<![\d.]){re.escape(told)}(?![\d.]*\d)", reading.text))
