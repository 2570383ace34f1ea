"""The events that say that a step gave another value when it was trained again after a resume."""

from __future__ import annotations

import re
from math import isfinite

# of a function (driving/recorder.py), or of a script (trainables/scripts/step_count.py)
_TOLD = re.compile(
    r"trial \d+ step (?P<step>\d+): .* was (?P<kept>\S+), and (?P<again>\S+) when trained again"
    r"|trial \d+: step (?P<at>\d+) is (?P<now>\S+) when trained again; (?P<stays>\S+) stays on record"
)


def trained_again(text: str) -> tuple[int, float, float] | None:
    """The step, its value on record and that of the repetition, both finite; None if the event tells something else.

    >>> trained_again("trial 29: step 160 is 0.75 when trained again; 0.76 stays on record")
    (160, 0.76, 0.75)
    """
    told = _TOLD.match(text)
    if told is None:
        return None
    kept, again = told["kept"] or told["stays"], told["again"] or told["now"]
    try:
        values = float(kept), float(again)
    except ValueError:  # a number in a notation that only its script can read
        return None
    return (int(told["step"] or told["at"]), *values) if all(map(isfinite, values)) else None
