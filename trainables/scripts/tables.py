"""Read a table of names and numbers between two rules as one record, as reinforcement learning prints its results.

    ---------------------------------
    | rollout/           |          |
    |    ep_rew_mean     | 21.6     |
    | time/              |          |
    |    total_timesteps | 512      |
    ---------------------------------

is `ep_rew_mean` (or `rollout/ep_rew_mean`) of total_timesteps 512, in whatever order the rows stand. Lines between rules
that are anything else are read one by one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trainables.scripts.line import Line, Value
from trainables.scripts.names import ENVIRONMENT_STEPS, LETTER, SAME, SPLITS, STEP_WORDS, key_of
from trainables.scripts.numbers import NUMBER, number_of, step_in
from trainables.scripts.printed import visible

MOST = 1000  # rows of a table: more are no table of results
LONGEST = 300  # characters of a row
_RULED, _OF_RULES = re.compile(r"([-=#*─━═])\1{3}"), frozenset("-=#*─━═+|: \t┌┬┐├┼┤└┴┘┏┳┓┡╇┩┗┻┛╭╮╰╯")
_GAP = re.compile(r"\s*(?:-{4,}\s+-{4,}|={4,}\s+={4,})\s*$")  # of a table without lines between its two columns
_BARRED = re.compile(
    rf"\s*[|│┃](?P<indent>\s*)(?P<name>{LETTER}[^|│┃]*?)\s*[|│┃]\s*(?P<shown>[^|│┃]*?)\s*(?:[|│┃]\s*)?$"
)
_PLAIN = re.compile(rf"(?P<indent>\s*)(?P<name>{LETTER}\S*(?: \S+)*)(?:\s{{2,}}|\t)\s*(?P<shown>\S+)\s*$")
_NUMBER = re.compile(rf"(?:{NUMBER})%?", re.I)


@dataclass(frozen=True)
class Row:
    """One row of a table: how far its name is indented, the name, and what stands beside it."""

    indent: int
    name: str
    shown: str
    group: str = ""  # the name of the rows above which it stands below: `rollout`

    @property
    def is_group(self) -> bool:
        return self.name.endswith("/") and not self.shown

    @property
    def is_number(self) -> bool:
        return bool(_NUMBER.fullmatch(self.shown))


class Tables:
    """Takes the lines of one stream in order, and gives them back: rows between two rules as one record, others as they are."""

    def __init__(self, horizon: int | None = None) -> None:
        self._horizon = horizon
        self._row: re.Pattern[str] | None = None  # of the table that has begun
        self._rows: list[Row] = []
        self._lines: list[str] = []  # as printed

    @property
    def held(self) -> int:
        """The lines of the table that has begun, with the rule above it; 0 if none has."""
        return 0 if self._row is None else 1 + len(self._lines)

    def take(self, text: str) -> list[str | Line]:
        """What has become complete with this line."""
        shown = visible(text) if "\x1b" in text else text.rstrip("\r")
        if _OF_RULES.issuperset(shown) and _RULED.search(shown):
            record = record_of(self._rows, self._horizon)
            rows = self.rest()
            self._row = _PLAIN if _GAP.match(shown) else _BARRED
            return [*rows, text] if record is None else [record]
        row = None if self._row is None or len(self._lines) == MOST else self._row.match(shown[:LONGEST])
        if row is None:
            self._row = None
            return [*(self.rest() if shown.strip() else self.end()), text]
        self._rows.append(Row(len(row["indent"]), row["name"], row["shown"]))
        self._lines.append(text)
        return []

    def end(self) -> list[str | Line]:
        """The rest where a blank line or the end of the output stands for the rule: one record, if it has a step."""
        record, rest = record_of(self._rows, self._horizon), self.rest()
        return rest if record is None or not record.steps else [record]

    def rest(self) -> list[str | Line]:
        """The lines of a table that has not been closed."""
        rest: list[str | Line] = [*self._lines]
        self._rows, self._lines = [], []
        return rest


def record_of(rows: Sequence[Row], horizon: int | None = None) -> Line | None:
    """The content of a table as one line; None if no row has a number. A step that is printed
    with rounded digits is NaN."""
    found = [row for row in _grouped(rows) if row.is_number or row.shown[:1].isdigit()]
    if not any(row.is_number for row in found):
        return None
    often = Counter(row.name for row in found)
    values, steps, shown, others = list[Value](), dict[str, float](), list[str](), dict[str, str]()
    for row in found:
        alone = often[row.name] == 1 or not row.group  # else nobody knows which of the groups the short name is about
        whole_name = f"{row.group}/{row.name}" if row.group else row.name
        name = row.name if alone else whole_name
        shown.append(f"{whole_name}={row.shown}")
        if row.is_number:
            values.append(Value(name, row.shown.rstrip("%"), SAME.get(row.group, row.group) if alone else ""))
            number = number_of(row.shown.rstrip("%"))
        else:
            others[name], number = row.shown, step_in(row.shown)
        is_step = number.is_integer() or not row.is_number
        if is_step and (word := count_in(row.name)) and row.group not in {*SPLITS} - {"train"}:
            steps.setdefault(word, math.nan if "e" in row.shown.lower() else number)  # 1.02e+03 may be 1024
    return Line(", ".join(shown), tuple(values), steps, counted=_at_the_end(steps, horizon), others=others or None)


def _at_the_end(steps: dict[str, float], horizon: int | None) -> dict[str, tuple[float, int]]:
    """The count of an environment's steps that is at the horizon: in a table of results it is no setting."""
    known = [word for word in steps if word in ENVIRONMENT_STEPS]
    return {word: (steps[word], horizon) for word in known if len(known) == 1 and steps[word] == horizon}


def _grouped(rows: Sequence[Row]) -> list[Row]:
    """The rows without those that name a group, each with the group below which it is indented."""
    found, group = [], None
    for row in rows:
        if row.is_group:
            group = row
        elif group is not None and row.indent > group.indent:
            found.append(Row(row.indent, row.name, row.shown, group.name.rstrip("/")))
        else:
            group = None
            found.append(row)
    return found


def count_in(name: str) -> str:
    """The usual word for the step that a row counts: timesteps of `misc/TimestepsSoFar`; empty if it counts none."""
    last = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition("/")[2])
    key = key_of(last).removesuffix("_so_far").replace("env_interacts", "env_steps")
    key = key.removeprefix("total_") if key.startswith("total_env") else key
    return next((word for word in (key, key.removesuffix("s")) if word in STEP_WORDS), "")
