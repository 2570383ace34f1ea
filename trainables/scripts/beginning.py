"""Where a script begins to count its steps: at 0 or at 1.

Lines without the metric tell it, too, as a script may evaluate every second epoch only. Where no line does, the sweep's other
trials may: they run the same script. A first value at 1 and a second at 3 may be those of either count, which is told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from trainables.scripts.line import Line
from trainables.scripts.missing_metric import is_setting
from trainables.scripts.phases import before_training
from trainables.scripts.printed import before_step

FIRST, WORDS = 3, 20  # numbers of each word, and words, to keep
_NOT_YET = re.compile(r"\b(?:start|begin|resum|continu|load|restor|init|checkpoint)", re.I)


def note(
    seen: MutableMapping[str, list[float]],
    zeros: MutableMapping[str, list[str]],
    line: Line,
    steps: Mapping[str, float],
    metric: str,
) -> None:
    """Keep the first numbers of each word for a step in lines without the metric, and behind them the largest; `steps`: those
    that this line names. A 0 waits in `zeros`, see `confirm`."""
    if is_setting(line.text) or before_training(line.text, metric):
        return
    if not line.is_heading and line.others is None and _NOT_YET.search(before_step(line.text)):
        return  # `resuming at epoch 0`
    confirm(seen, zeros, line, steps)
    for word, number in steps.items():
        known = seen.get(word, [])
        if number == 0 and 0 not in known:
            zeros.setdefault(word, sorted(_tells(line)))
        elif math.isfinite(number) and number not in known and (known or len(seen) < WORDS):
            seen[word] = [*known[:FIRST], max([number, *known[FIRST:]])]


def confirm(
    seen: MutableMapping[str, list[float]],
    zeros: MutableMapping[str, list[str]],
    line: Line,
    steps: Mapping[str, float],
) -> None:
    """Count a 0 once a later line, which may have the metric, tells what that line told: `step 0: lr=0.1` alone, or `[0] model
    built`, is no step of the training."""
    for word, number in steps.items():
        if number > 0 and word in zeros and _tells(line).intersection(zeros[word]):
            del zeros[word]
            seen[word] = [0.0, *seen.get(word, [])]


def _tells(line: Line) -> set[str]:
    """The names of a line's values; of a line without any, its words."""
    names = {value.name for value in line.values} | set(line.others or ())
    return names or {re.sub(r"[\W\d]+", " ", line.text).strip()}


def begins_at_0(first: float, without: Sequence[float], *, others_do: bool) -> bool:
    """Whether a count begins at 0. `first`: its number at the first value; `without`: its numbers in lines without one before
    it; `others_do`: that of another trial begins at 0.

    >>> begins_at_0(1, [0], others_do=False), begins_at_0(1, [0, 1, 2, 390], others_do=False)  # the second counts batches, too
    (True, False)
    >>> begins_at_0(1, [], others_do=True), begins_at_0(2, [1], others_do=True)
    (True, False)
    """
    if first == 0 or not _counts_alike(first, without):
        return first == 0 or others_do
    return 0 in without or (others_do and min(without) >= first)


def is_doubtful(first: int, second: int, without: Sequence[float]) -> bool:
    """Whether a count, of which 0 has not come, may still begin there: its first two values, at `first` and `second`, are one
    below the multiples of their distance, and no line names another number, but for those that are one below such multiples, too.

    >>> is_doubtful(1, 3, []), is_doubtful(1, 3, [2]), is_doubtful(2, 4, []), is_doubtful(1, 2, []), is_doubtful(99, 199, [99])
    (True, False, False, False, True)
    >>> is_doubtful(199, 399, [19, 39, 59, 379]), is_doubtful(199, 399, [20, 40, 60])
    (True, False)
    """
    pace, seen = second - first, sorted({*without} - {first, second})
    finer = seen[1] - seen[0] if len(seen) > 1 else 0
    is_alike = finer > 1 and all(number % finer == finer - 1 for number in seen)
    is_known = _counts_alike(second, without) and seen and not is_alike
    return pace > 1 and first == pace - 1 and not is_known


def _counts_alike(last: float, without: Sequence[float]) -> bool:
    """Whether lines without the metric count as those with it do, which are at `last`, by one word: not batches (a logger has
    one step for all), nor shares of an epoch."""
    return bool(without) and max(without) <= last and all(float(number).is_integer() for number in without)


def doubt(word: str, first: int, second: int, verb: str, metric: str) -> str:
    return (
        f"its first values are at {word} {first} and {second}: if it counts from 0, each value is recorded one step too low. "
        f"Let it {_remedy(word, verb, metric)}"
    )


def ended_in_doubt(word: str, last: int, verb: str, metric: str) -> str:
    return (
        f"If it counts from 0, the horizon is right, and each value is recorded one step too low: let it {_remedy(word, verb, metric)}. "
        f"If not, and if it did not stop early by a rule of its own, the horizon is too long: try horizon={last}."
    )


def differ(memory: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two trials count by the same word, one of them from 0."""
    same = all(memory.get(name) == other.get(name) for name in ("kind", "key"))
    return same and None not in (shifts := (memory.get("shift"), other.get("shift"))) and shifts[0] != shifts[1]


def difference(memory: Mapping[str, Any], metric: str) -> str:
    word, at = memory["key"], 0 if memory["shift"] else 1
    return (
        f"it counts its {word}s from {at}, and other trials were taken to count from {1 - at}, so one step means two lengths of a "
        f"training. Let the script {_remedy(word, 'tell', metric)}, and start the sweep under a new name"
    )


def _remedy(word: str, verb: str, metric: str) -> str:
    if verb == "report":
        return f"count from 1: report({word} + 1, …)"
    return f"{verb} the {word} in each {word}, also without {metric!r} ({word}=0), or count from 1"
