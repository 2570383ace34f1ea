r"""Read printed lines by a regular expression of the user's own: `Script(pattern=r"Up\. (?P<step>\d+) .* (?P<value>\S+)$")`.

For a program that may not be changed, and whose lines are refused. The expression is searched in each line, as a terminal shows
it. `step` is the step, `value` the tuned metric, any other group the metric of its name. A match that has only a `step` gives
the step of the matches below it, as a heading does. Nothing else in the output is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trainables.scripts.line import Line, Value
from trainables.scripts.names import key_of
from trainables.scripts.printed import visible
from trainables.scripts.reading import Refused

STEP, VALUE = "step", "value"
_BEHIND, _BEFORE = re.compile(r"\d|\.\d|(?<=\d)[eE][-+]?\d"), re.compile(r"(?:\d\.?|(?<![\w)])-)$")


def refuse_pattern(pattern: str | None, metrics: Sequence[str], beside: Mapping[str, object]) -> None:
    """Raise ValueError for an expression that does not fit the metrics, or stands beside another way to be read."""
    if pattern is None:
        return
    others = [f"{name}={value!r}" if value is not True else name for name, value in beside.items() if value]
    wrong = f"and {others[0]}: each says where the metric is; leave one out" if others else _wrong(pattern, metrics)
    if wrong:
        raise ValueError(f"Script(pattern={pattern!r}): {wrong}.")


def _wrong(pattern: object, metrics: Sequence[str]) -> str:
    """What is wrong with an expression for these metrics, of which the first is tuned; empty if nothing is."""
    if not isinstance(pattern, str):
        return r"must be a regular expression, as text: r'(?P<step>\d+) (?P<value>\S+)'"
    try:
        groups = list(re.compile(pattern).groupindex)
    except re.error as error:
        return f"is no regular expression: {error}"
    tuned, *others = metrics
    known = {VALUE: VALUE, STEP: STEP} | {key_of(name): name for name in metrics}
    if unknown := [group for group in groups if key_of(group) not in known]:
        named = f", nor one of metrics={tuple(others)}" if others else ""
        return f"the group {unknown[0]!r} is neither 'step' nor 'value', the number of {tuned!r}{named}"
    if len(of_tuned := [group for group in groups if key_of(group) in (VALUE, key_of(tuned))]) != 1:
        said = (
            f"has the groups {' and '.join(map(repr, of_tuned))} for {tuned!r}" if of_tuned else "has no group 'value'"
        )
        return f"{said}; write (?P<value>…) around the number of {tuned!r}, once"
    if missing := [name for name in others if key_of(name) not in map(key_of, groups)]:
        return f"has no group for {missing[0]!r} of metrics; write (?P<{key_of(missing[0])}>…) around its number"
    return ""


class PatternReader:
    """Reads the lines of one stream in order. `steps`: of the last match that has a step alone."""

    def __init__(self, pattern: str, names: Sequence[str], steps: Mapping[str, float] | None = None) -> None:
        self._pattern = re.compile(pattern)
        self._names = {key_of(name): name for name in names} | {VALUE: names[0]}
        self.steps = dict(steps or {})

    def read(self, text: str) -> Line | None:
        """What the expression finds in a line; None if it does not match. Raises Refused if a group holds no number."""
        shown = visible(text)
        found = self._pattern.search(shown)
        if found is None:
            return None
        for group in found.groupdict():
            if is_part(shown, *found.span(group)):
                raise Refused(
                    f"Script(pattern=…): the group {group!r} is a part of a number, {found[group]!r}, in {shown.strip()[:120]!r}; let "
                    f"it match the whole number, as in (?P<{group}>[^\\s,;%]+)."
                )
        told = {key_of(group): part.strip() for group, part in found.groupdict().items() if part is not None}
        steps = {STEP: self._number(told.pop(STEP), STEP, shown)} if STEP in told else {}
        if not told:
            self.steps = steps
            return None
        for group, part in told.items():
            self._number(part, group, shown)
        values = tuple(Value(self._names[group], part) for group, part in told.items())
        return Line(shown, values, steps or dict(self.steps))

    def _number(self, text: str, group: str, line: str) -> float:
        try:
            return float(int(text) if group == STEP else float(text))
        except ValueError:
            kind = "whole number" if group == STEP else "number"
            raise Refused(
                f"Script(pattern=…): the group {group!r} is {text!r} in {line.strip()[:120]!r}, which is no {kind}; let it match the digits "
                "alone."
            ) from None


def is_part(text: str, start: int, end: int) -> bool:
    """Whether a number goes on before or behind this place.

    >>> is_part("loss 9.5e-05", 5, 8), is_part("reward -21.5", 8, 12), is_part("1,0.91,0.84", 2, 6)
    (True, True, False)
    """
    if start < 0:
        return False
    return bool(_BEHIND.match(text, end) or _BEFORE.search(text[:start]))
