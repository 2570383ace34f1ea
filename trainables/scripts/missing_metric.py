"""Handle lines without the tuned metric: collect the names that they have, and notice when it will never come."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from trainables.scripts.line import Line
from trainables.scripts.names import is_record, is_synonym, is_typing_error, key_of, likeliest, splits_in
from trainables.scripts.reading import OR_PATTERN

SURE = 3  # give up after this many steps that have the metric by another name, and none by its own
MANY = 20  # give up after this many lines with other metrics, if the source holds no other name that may still come
TYPED_WRONG = 10  # give up after this many steps that have a name that differs from the metric's in one inner letter
NOTHING = {"null", "none", "na", "n/a", "nil", "-", "--"}  # what stands for a value that was not measured
MISSING = "missing"  # the news that the metric has not come so far
MOST = 300  # names to keep: a script may print a name for each sample
_METRIC = re.compile(
    r"loss|acc|err|rmse|mse|mae|auc|f1|bleu|rouge|ppl|perplex|score|map|iou|dice|recall|precision|reward|return|wer|cer"
    r"|bpc|nll|mcc|elbo|fid",
    re.I,
)
_SETTINGS = re.compile(  # a part of a printed configuration: one name and a comma, or all in brackets
    r"^\s*[\"']?[^\W\d][\w.]*[\"']?\s*[=:]\s*[^,]*,\s*$|\b(?:Namespace|\w*(?:[Aa]rguments|[Aa]rgs|Config))\("
    r"|\b(?:args|arguments|config|configuration|params|parameters|hparams|hyperparameters|settings|options)\W{0,4}\{"
)
_NO_METRIC = re.compile(  # a sentence, of which a name is one word, and what describes a network
    r"(?:^|\s)(?:from|to|than|at|into|is|was|not|improved|did)(?:\s|$)|\bparam(?:eter)?s$", re.I
)


def is_setting(text: str) -> bool:
    """Whether a printed line is a part of the script's configuration."""
    return bool(_SETTINGS.search(text))


class MissingMetric:
    """Records what a script tells without `metric`. `apart`: names that are no metrics, such as parameters; `file`: of its
    rows, if they are not lines of output."""

    def __init__(
        self,
        metric: str,
        apart: Collection[str],
        never_prints: Callable[[str, Sequence[str]], bool],
        file: str | None = None,
    ) -> None:
        self._metric, self._apart, self._never_prints = metric, apart, never_prints
        self._file, self._or = file, OR_PATTERN if file is None else ""
        self._names: dict[str, int] = {}  # name → the number of steps that had it
        self._at: dict[str, float] = {}
        self._stepped: set[str] = set()  # names in lines that name their step
        self._logged: set[str] = set()  # names in rows for an experiment logger
        self._settings: dict[str, int] = {}  # what was printed before any step as a configuration is
        self._has_steps = False
        self._lines = 0  # with other metrics
        self._is_never_printed: bool | None = None  # once that is known
        self._doubtful = self._partial = self._nothing = self._broken = ""
        self._told: Mapping[str, float] | None = None  # the steps of the last line with the metric
        self._since = ""  # what is doubtful, or too long, at a later step than that
        self.news: dict[str, str] = {}  # to tell once in a sweep

    def note_partial(self, text: str, about: str = "a part of a step") -> None:
        """Record that a line has the metric that is about something else than a step of the training."""
        self._partial = f"{about} ({text.strip()[:80]!r})"

    def note(self, line: Line, *, is_told: bool, is_logged: bool = False) -> list[str]:
        """Record a line without the metric; returns notices for the user. `is_told`: the metric has come before;
        `is_logged`: the line is a row for an experiment logger."""
        if self._file is None and not self._has_steps and is_setting(line.text):
            self._settings.update((value.name, 1) for value in line.values[:MOST])
            return []
        self._has_steps = self._has_steps or bool(line.steps)
        notices = []
        if line.broken and not self._broken:
            self._broken = f"{line.text.strip()[:120]!r}: {line.broken}"
            notices.append(f"a {'line' if self._file is None else f'row of {self._file!r}'} is skipped: {self._broken}")
        elif (stands := line.other(self._metric)).lower() in NOTHING:
            self._nothing = stands
            self.news["nothing"] = (
                f"{self._metric!r} is {stands} in {line.text.strip()[:120]!r}: skipped, as not measured there. If {stands} "
                "stands for NaN, write NaN: only that counts as a divergence"
            )
        elif doubtful := line.doubtful(self._metric):
            if not self._doubtful:
                notices.append(f"{doubtful!r} is not a number that can be read with certainty; it does not count")
            self._doubtful = doubtful
        if not is_logged and (doubtful := line.broken or line.doubtful(self._metric)) and self._is_later(line):
            self._since = doubtful
        names = [
            value.name
            for value in line.values
            if value.name not in self._apart and key_of(value.name) not in line.steps
        ]
        names = [name for name in names if not _NO_METRIC.search(name)]
        names = [name for name in names if name in self._names or len(self._names) < MOST]
        self._lines += bool(names)
        self._logged.update(names if is_logged else ())
        self._stepped.update(names if line.steps else ())
        for name in names:
            at = next(iter(line.steps.values()), float(self._names.get(name, 0)))
            if self._at.get(name) != at:
                self._names[name] = self._names.get(name, 0) + 1
                self._at[name] = at
        if (
            any(_METRIC.search(name) and not is_record(name, self._metric) for name in names)
            and not is_told
            and self._recurring  # a step has ended: its last lines may be those with the metric
            and (
                self._file is None or self._lines >= MANY
            )  # a file's rows of training come long before those of validation
        ):
            self.news.setdefault(MISSING, f"no {self._metric!r} so far{self.hint(list(self._names))}")
        return notices

    def note_value(self, line: Line) -> None:
        """Record that a line has the metric."""
        self._told, self._since = dict(line.steps), ""

    def _is_later(self, line: Line) -> bool:
        """Whether a line may be about a later step than the last line with the metric; without a step, only if that had none."""
        return not self._told or any(
            not line.steps[word] <= self._told[word] for word in self._told.keys() & line.steps.keys()
        )

    @property
    def doubt_at_the_end(self) -> str:
        """Why the values so far are not all: the script told the metric at a later step, where it cannot be read; else empty."""
        if not self._since:
            return ""
        return f"its last {self._metric!r} cannot be read with certainty ({self._since}): print {self._metric}=0.52, or call report()."

    @property
    def is_hopeless(self) -> str:
        """Why the metric will never come; empty while it may."""
        if self._nothing:
            return ""
        for name, count in self._names.items():
            if (count >= SURE and is_synonym(name, self._metric)) or (
                count >= TYPED_WRONG and is_typing_error(name, self._metric)
            ):
                does = "logs" if name in self._logged else "prints"
                says = f"the script {does}" if self._file is None else f"{self._file!r} has"
                return f"{says} no {self._metric!r}{self.hint([name, *self._names])}"
        if self._lines < MANY or self._doubtful or self._partial:
            return ""
        if self._is_never_printed is None:
            self._is_never_printed = self._never_prints(self._metric, self._recurring)
        if not self._is_never_printed:
            return ""
        what = "rows" if self._file is not None else "lines and logged rows" if self._logged else "lines"
        return f"none of {self._lines} {what} has {self._metric!r}, nor has the script's source{self.hint(list(self._names))}"

    @property
    def _recurring(self) -> list[str]:
        """The names that more than one step had."""
        return [name for name, count in self._names.items() if count > 1]

    def why(self, missing: str) -> str:
        """Why what a script told until its end does not contain the metric; `missing`: words such as `none of 20 lines has`."""
        if self._nothing:
            return (
                f"{self._metric!r} is {self._nothing} wherever it stands: write the value where it was measured, and NaN where "
                "it is NaN."
            )
        if self._doubtful:
            return f"{self._doubtful!r} is not a number that can be read with certainty: print {self._metric}=0.52, or call report(){self._or}."
        if self._partial:
            return (
                f"{self._metric!r} appears only in lines about {self._partial}: print it once at the end of each step."
            )
        what = "line" if self._file is None else "row"
        broken = f" A {what} could not be read: {self._broken}." if self._broken else ""
        return f"{missing} {self._metric!r}{self.hint(list(self._names))}{broken}"

    @property
    def curve(self) -> str:
        """What to do if the metric stood in one line only, and another name has values with their steps; else empty."""
        found = {name: count for name in self._stepped if (count := self._names.get(name, 0)) >= SURE}
        near = likeliest(self._metric, list(found)) or next(
            (name for name in self._names if name in found and (splits_in(name) - {"train"} or _METRIC.search(name))),
            None,
        )
        if near is None:
            return ""
        return (
            f"{self._metric!r} stood in one line and without a step, and {near!r} has values at {found[near]} steps: if that is the curve "
            f"to tune, write Script(metric={near!r})."
        )

    def hint(self, names: Sequence[str]) -> str:
        """A list of the names found, those that recur first, and the one that the user probably meant: none that stood on
        one line only if others recur, as a closing line is no curve."""
        names, recurring = names or list(self._settings), self._recurring
        names = sorted(dict.fromkeys(names), key=lambda name: (name not in recurring, not _METRIC.search(name)))
        near = likeliest(self._metric, [name for name in names if name in recurring] or names)
        if not names:
            return f"; it named no metric at all. Print `epoch 3: {self._metric}=0.52`, or call report(){self._or}."
        return f"; it named {', '.join(names[:8])}" + (f". Did you mean {near!r}?" if near else ".")
