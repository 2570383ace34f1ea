"""Lines without the tuned metric: what they named instead, and when it is clear that it will never come."""

from __future__ import annotations

import re
from collections.abc import Sequence

from search.records import Config
from trainables.scripts.printed import Line, is_synonym, likeliest

SURE = 3  # steps with the metric by another name, and none with its own, after which the training is not worth its time
_METRIC = re.compile(
    r"loss|acc|err|rmse|mse|mae|auc|f1|bleu|rouge|ppl|perplex|score|map|iou|dice|recall|precision|reward|return|wer|cer"
    r"|bpc|nll|mcc|elbo|fid",
    re.I,
)
_told: set[tuple[str, str]] = set()  # notices of this process, which need not come with each trial


class MissingMetric:
    """What a script printed while `metric` did not come."""

    def __init__(self, script: str, metric: str, config: Config) -> None:
        self._script, self._metric, self._config = script, metric, config
        self._names: dict[str, int] = {}  # at how many steps
        self._at: dict[str, float] = {}
        self._doubtful = self._partial = ""

    def note_partial(self, text: str) -> None:
        """A line about a part of a step has it."""
        self._partial = text.strip()[:80]

    def note(self, line: Line, *, is_told: bool) -> list[str]:
        """A line without it; the notices that it is worth. `is_told`: the metric has come before."""
        notices = []
        if doubtful := line.doubtful(self._metric):
            if not self._doubtful:
                notices.append(f"{doubtful!r} is no number that can be read with certainty; it does not count")
            self._doubtful = doubtful
        names = [v.name for v in line.values if _METRIC.search(v.name) and v.name not in self._config]
        for name in names:
            at = next(iter(line.steps.values()), float(self._names.get(name, 0)))
            if self._at.get(name) != at:
                self._names[name] = self._names.get(name, 0) + 1
                self._at[name] = at
        if names and not is_told and (self._script, self._metric) not in _told:
            _told.add((self._script, self._metric))
            notices.append(f"no {self._metric!r} so far{self.hint(list(self._names))}")
        return notices

    @property
    def is_hopeless(self) -> str:
        """Why it will not come; empty while it may."""
        for name, count in self._names.items():
            if count >= SURE and is_synonym(name, self._metric):
                return f"the script prints no {self._metric!r}{self.hint([name, *self._names])}"
        return ""

    def why(self, lines: int) -> str:
        """Why a script that has ended said nothing about it."""
        if self._doubtful:
            return f"{self._doubtful!r} is no number that can be read with certainty: print {self._metric}=0.52, or call report()."
        if self._partial:
            return (
                f"{self._metric!r} stands only in lines about a part of a step ({self._partial!r}): "
                "print it once at the end of each."
            )
        return f"none of its {lines} lines has {self._metric!r}{self.hint(list(self._names))}"

    def hint(self, names: Sequence[str]) -> str:
        """The names that were there, and the one that was probably meant."""
        names = list(dict.fromkeys(names))
        seen, near = [name for name in names if _METRIC.search(name)] or names, likeliest(self._metric, names)
        if not seen:
            return "; it named no metric at all."
        return f"; it named {', '.join(seen[:8])}" + (f". Did you mean {near!r}?" if near else ".")
