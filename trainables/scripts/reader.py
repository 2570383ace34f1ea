"""Read the lines of one stream in order: some need their neighbours (a table, a heading `Epoch 3/20`, a progress bar)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trainables.scripts.line import Line, Value
from trainables.scripts.names import LETTER, STEP_WORDS, key_of
from trainables.scripts.numbers import NUMBER, UNIT, number_of, shows_thousands, step_in
from trainables.scripts.printed import BARS, progress_in, read

BAR = "bar"  # the word for the steps that a progress bar counts
_RICH, _FAR = re.compile("[━╸╺]{4}"), " " * 8  # it wraps a bar that is wider than its terminal
_SAYING = r"epoch|step|iter|update|round|episode|=|(?:[^\W\d]|[@\"'\])])(?::(?: |[-.\d])|：)|\[\d+\]|^\s*\d+[:/]"  # signs of a useful line


class Reader:
    """Reads the lines of one stream in order; earlier lines help to understand later ones."""

    def __init__(
        self, names: Sequence[str] = (), steps: Mapping[str, float] | None = None, horizon: int | None = None
    ) -> None:
        ends = [re.split(r"[\s_/.-]+", name.strip())[-1] for name in names]
        self._names, self._horizon = tuple(names), horizon
        self._worth = re.compile("|".join([_SAYING, *(re.escape(end.lower()) for end in ends)]))
        self.steps = dict(steps or {})  # of the last heading
        self._columns: list[str] = []  # of a table, while its rows last
        self._has_thousands = False  # whether a line has shown that commas separate them
        self._repeats = False  # whether the next line repeats an earlier one ("best iteration is:")
        self._is_wrapped = False  # whether the next line, if it is indented so far, is the rest of a bar (Rich)

    def read(self, text: str) -> Line | None:
        """The content of a line; None for a line without anything of interest, as most are."""
        is_rest = self._is_wrapped and text.startswith(_FAR)
        if not self._columns and not self._worth.search(text.lower()):
            self._is_wrapped = is_rest
            return None
        line = read(text, self._names, thousands=self._has_thousands)
        self._has_thousands = self._has_thousands or any(shows_thousands(value.text) for value in line.values)
        self._is_wrapped = is_rest or (line.is_progress and bool(_RICH.search(text)))
        if is_rest:
            return replace(line, is_heading=False, is_progress=True)
        if self._repeats:
            self._repeats = False
            return None
        self._repeats = bool(re.search(r"\bbest\b[^:]*:\s*$", line.text, re.I))
        line = self._count_alone(self._row(line))
        if line.is_heading:
            self.steps = {**self.steps, **line.steps}
        return self._of_all_steps(self.below(line))

    def _of_all_steps(self, line: Line) -> Line:
        """The line, whose progress bar counts the training's steps if it is complete at the horizon."""
        is_last = (
            not line.steps and not line.is_progress and progress_in(line.text).get(self._horizon or 0) == self._horizon
        )
        if not is_last or self._horizon is None or not BARS.search(line.text):
            return line
        return replace(line, counted={**line.counted, BAR: (float(self._horizon), self._horizon)})

    def below(self, line: Line) -> Line:
        """The line with the steps of the heading above it, if it names none."""
        return replace(line, steps=dict(self.steps)) if not line.steps and self.steps else line

    def _count_alone(self, line: Line) -> Line:
        """A line of nothing but a count up to the horizon, such as `[batch=100/1000]:`, is a heading, whatever its word."""
        if line.values or line.steps or line.is_progress:
            return line
        found = {word: number for word, (number, total) in line.counted.items() if total == self._horizon}
        return replace(line, steps=found, is_heading=True) if found else line

    def _row(self, line: Line) -> Line:
        bare = BARS.sub("  ", re.sub(r"\d+%.*$", "", line.text) if BARS.search(line.text) else line.text)
        cells = [cell for cell in re.split(r"\s{2,}|\t+|\s*[|│┃]\s*", bare.strip(" |│┃:\t")) if cell]
        numeric = [_cell(cell) for cell in cells]
        if len(cells) >= 2 and not line.values and all(re.match(rf"#$|{LETTER}", cell) for cell in cells):
            self._columns = cells
            return replace(line, is_heading=False)
        if self._columns[:1] == ["#"] and len(cells) == len(self._columns) - 1:
            self._columns = self._columns[1:]  # the sign of a comment, not a column
        seem_numbers = [number is not None or cell[:1].isdigit() for number, cell in zip(numeric, cells, strict=True)]
        if len(cells) != len(self._columns) or not any(numeric) or sum(seem_numbers) < 2:
            if cells and not re.fullmatch(r"[\W_]*", line.text) and not line.is_progress:
                self._columns = []
            return line
        steps, values, others = dict(line.steps), list[Value](), dict[str, str]()
        for name, cell, number in zip(self._columns, cells, numeric, strict=True):
            if (key := "step" if name == "#" else key_of(name)) in STEP_WORDS and cell[:1].isdigit():
                steps[key] = step_in(cell) if number is None else number_of(number)
            elif number is not None:
                values.append(Value(name if "(" in name else name.rstrip(")"), number))
            elif not re.match(LETTER, cell):
                others[name] = cell
        is_heading = bool(steps)
        return replace(
            line, values=tuple(values), steps=steps, is_heading=is_heading, is_progress=False, others=others or None
        )


def _cell(cell: str) -> str | None:
    found = re.fullmatch(rf"({NUMBER})(?:\s?%|{UNIT}|\s*/\s*\d+|:|G)?", cell, re.I)
    return found[1] if found else None
