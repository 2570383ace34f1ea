"""One value of the tuned metric as the script told it, and the refusals of what cannot be recorded without a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.work import ProcessError
from trainables.scripts.line import Value

OR_PATTERN = ", or write Script(pattern=…)"  # for printed lines of a program that may not be changed


class Refused(ProcessError):
    """The script's output cannot be recorded without a guess."""


class TwoValues(Refused):
    """Two lines of one form have different values for the same step: several processes print them, for example."""


class TrainsOn(Refused):
    """The script has a step beyond the horizon."""


@dataclass(frozen=True)
class Reading:
    """One value of the tuned metric. `row`: its number among the rows of a file whose rows name no step. `sure`: the word
    whose total is the horizon. `counts`: other whole numbers of the line, any of which may be its step."""

    value: Value
    metrics: Mapping[str, float]
    steps: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    row: int | None = None
    reported: bool = False  # through report(), not through output
    logged: bool = False  # through an experiment logger
    sure: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)  # behind its steps: {"epoch": 20} of `epoch 3/20`
    phase: str = ""  # the words of a printed line before its step
    without: Mapping[str, Sequence[float]] = field(default_factory=dict)  # see `begins_at_0`, by word

    def __str__(self) -> str:
        return repr(self.text.strip()[:120])

    @property
    def form(self) -> str:
        """The line without its numbers."""
        return re.sub(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?", "", self.text, flags=re.I)

    @property
    def verb(self) -> str:
        """What the script does with its values."""
        return "log" if self.logged else "report" if self.reported else "print" if self.row is None else "write"

    @property
    def place(self) -> str:
        """Where the value stands."""
        return "call" if self.logged or self.reported else "line" if self.row is None else "row"

    def another_count(self, key: str) -> str | None:
        """Another count of steps, such as current_steps, that is none of all steps."""
        words = {**self.counts, **self.steps}
        return next((word for word in words if word != key and "step" in word and "total" not in word), None)
