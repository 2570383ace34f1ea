"""The channels through which a script reports its metrics: report(), its output, a metrics file, an experiment logger."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.records import Config
from search.work import ProcessError
from trainables.scripts import beginning
from trainables.scripts.line import Line, Value
from trainables.scripts.metrics_file import MetricsFile
from trainables.scripts.misnamed_file import MisnamedFile
from trainables.scripts.missing_metric import MISSING, MissingMetric
from trainables.scripts.names import STEP_WORDS, key_of, same_name
from trainables.scripts.output_stream import OutputStream
from trainables.scripts.phases import before_training, phase_of
from trainables.scripts.reader import BAR
from trainables.scripts.reading import Reading
from trainables.scripts.text_log import why_no_rows
from trainables.scripts.trial_folder import ERRORS, IN_LOG, LOGGED, MEMORY, OUTPUT, REPORTS, TrialFolder

if TYPE_CHECKING:
    from trainables.scripts.flags import Flag


_BAR_ALONE = (
    "{metric!r} is read from a progress bar of all {last} steps, which counts when it is complete: only the last value is "
    "recorded, so no trial can be stopped early. Print {metric!r} and the step in a line of its own"
)
FILE = "file"  # beside the names of the other channels


class ScriptFailed(ProcessError):
    """The script failed, or ended without the tuned metric."""


class FunctionFailed(ScriptFailed):
    """The function that trains in a process of its own failed, or returned without the tuned metric."""


@dataclass(frozen=True)
class Program:
    """A program to run for a trial; `trainables.workloads.script.Script` explains the fields. A function has no command.

    `arguments`: from the configuration and what replaces {config}, {folder} and {seed}. `reports`: it seems to call report().
    """

    metric: str
    metrics: tuple[str, ...]
    horizon: int
    arguments: Callable[[Config, Mapping[str, Any]], list[str]]
    reports: bool
    command: str = ""
    file: str | None = None
    step: str | None = None
    config: str | None = None
    known_flags: Callable[[], Mapping[str, Flag]] = dict
    never_prints: Callable[[str, Sequence[str]], bool] = lambda name, others: False
    missing_checkpoint: Callable[[Path], str] = lambda folder: ""
    pattern: str | None = None

    @property
    def failure(self) -> type[ScriptFailed]:
        """The class of a trial's failure."""
        return ScriptFailed if self.command else FunctionFailed


class Channels:
    """Everything that one start of a script reports, from the places in `memory` on, where reading stopped."""

    def __init__(self, script: Program, folder: TrialFolder, config: Config, memory: dict[str, Any]) -> None:
        self._script, self._folder, self._config = script, folder, config
        self._only_reports = script.reports
        names = (script.metric, *script.metrics, *([script.step] if script.step else []))
        read = memory.get("read", {})
        self._streams = {
            name: OutputStream(folder.place / name, names, script.horizon, *read.get(name, (0, None)), pattern=pattern)
            for name, pattern in ((OUTPUT, script.pattern), (ERRORS, script.pattern), (LOGGED, None))
        }
        self._in_log = folder.read(IN_LOG)
        self._memory = memory
        self._logged: list[Reading] = []  # until it is known whether the script also prints them
        self._summed_up: list[Line] = []  # what a logger has as the script's final values
        self.file = MetricsFile(folder.path, script.file or "", memory.get("rows"))
        self._reports_read: int = memory.get("reports_from", 0)
        apart = {*config, *([script.step] if script.step else [])}
        self.missing = MissingMetric(script.metric, apart, script.never_prints, script.file)
        self._misnamed = MisnamedFile(folder, script.file or "", script.metric)
        self.notices: list[str] = []
        self._totals: dict[str, int] = {}  # of the last heading: {"epoch": 20} below `Epoch 3/20`
        self.is_told = False  # whether the tuned metric has appeared

    @property
    def has_more(self) -> bool:
        """Whether there is unread output."""
        return any(stream.has_more for stream in self._streams.values())

    def listen(self, *, has_ended: bool) -> list[Reading]:
        """The new readings. `has_ended`: the script ended by itself, so its last line is complete. If a script calls
        report(), its other channels are ignored."""
        found = self._reported()
        printed = [line for name in (OUTPUT, ERRORS) for line in self._new_lines(name, has_ended)]
        logged = self._new_lines(LOGGED, has_ended)
        announced = (self._folder.place / REPORTS).exists()  # `resumed_from` creates an empty file to announce report()
        self._only_reports = self._only_reports or announced
        if announced:
            return found
        if self._script.reports:  # a function that has not called report() may still log
            found = self._printed_or_logged([], logged, has_ended)
        elif self._script.pattern is not None:
            found = [reading for line in printed if (reading := _matched(line, self._script.metric)) is not None]
        elif self._script.file is not None:
            rows = self.file.poll(self._script.metric, has_ended)
            if self.file.late:
                self.missing.news["late"] = self.file.late
            self.is_told = self.is_told or bool(rows)
            found = self._of_file(rows)
            self.file.without.clear()
        else:
            found = self._printed_or_logged(printed, logged, has_ended)
        self.is_told = self.is_told or bool(found)
        return found

    def give_back(self) -> dict[str, Any] | None:
        """Prepare to free the disk of long output; returns what to remember first, or None if there is no need."""
        if not any(stream.is_long() for stream in self._streams.values()):
            return None
        return {name: [stream.settled, stream.steps] for name, stream in self._streams.items()}

    def free(self) -> None:
        """Free the disk; call it once the result of `give_back` is remembered."""
        for stream in self._streams.values():
            stream.give_back()

    def forget(self) -> None:
        """Leave nothing of what this start of the script has told, for the next one to read."""
        self._folder.clear()
        self._memory |= {"read": {}, "counted": 0, "reports_from": self._folder.size(REPORTS), "rows": self.file.marks}
        self._folder.write(MEMORY, self._memory)

    @property
    def bars(self) -> dict[int, int]:
        """How far the progress bars of the output have come, by their totals."""
        streams = (self._streams[OUTPUT], self._streams[ERRORS])
        return {total: done for stream in streams for total, done in stream.bars.items()}

    @property
    def news(self) -> dict[str, str]:
        """What to tell once in a sweep, by kind."""
        return self.missing.news

    def is_hopeless(self) -> str:
        """Why the metric will never come; empty while it may."""
        if self._script.file is not None and not self._only_reports and not self.file.paths:
            return self._misnamed.look()
        return "" if self._logged else self.missing.is_hopeless

    def why_silent(self) -> str:
        """Why a script that has ended reported nothing useful."""
        metric, logs = self._script.metric, bool(self._streams[LOGGED].lines)
        if self._only_reports:
            return (
                f"it never called report() with {metric!r}: call it after each evaluation, or give the Trainer the callback "
                "(TransformersCallback, LightningCallback)."
            )
        if self._script.file is not None:
            found = ", ".join(path.name for path in self.file.paths)
            if not found:
                return self._misnamed.why()
            if why := why_no_rows(self.file.paths, metric, self._script.command):
                return why
            return self.missing.why(f"{self._script.file!r} in TRIAL_FOLDER ({found}) has no")
        lines = self._streams[OUTPUT].lines + self._streams[ERRORS].lines
        if self._script.pattern is not None:
            return f"none of its {lines} lines matches Script(pattern={self._script.pattern!r})."
        if logs:
            return self.missing.why(
                f"none of its {lines} lines and nothing that it logs has" if lines else "nothing that it logs has"
            )
        return self.missing.why(f"none of its {lines} lines has")

    def _reported(self) -> list[Reading]:
        if self._folder.size(REPORTS) <= self._reports_read:
            return []
        with open(self._folder.place / REPORTS, "rb") as file:
            file.seek(self._reports_read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._reports_read += len(whole)
        found = []
        for line in whole.splitlines():
            try:
                told = json.loads(line)
            except ValueError:  # written by a process that was killed halfway
                continue
            found.append(self._of_report(told["step"], {name: float(value) for name, value in told["metrics"].items()}))
        return found

    def _of_report(self, step: int, metrics: dict[str, float]) -> Reading:
        metric = self._script.metric
        text = f"report({step}, {', '.join(f'{name}={value:g}' for name, value in metrics.items())})"
        name = same_name(metric, metrics)
        if name is None:
            raise self._script.failure(f"{text} names no {metric!r}{self.missing.hint(list(metrics))}")
        told = {**metrics, metric: metrics[name]}
        return Reading(Value(metric, repr(metrics[name])), told, {"step": float(step)}, text, reported=True)

    def _new_lines(self, name: str, has_ended: bool) -> list[Line]:
        """New lines of a stream; of the script's output, they also go to the trial's log."""
        stream = self._streams[name]
        data, found = stream.poll()
        if has_ended and not stream.has_more:
            rest, last = stream.rest()
            data, found = data + rest, [*found, *last]
        if name != LOGGED:
            self._folder.write_log(data[max(0, self._in_log.get(name, 0) - stream.position + len(data)) :])
            if stream.position > self._in_log.get(name, 0):
                self._in_log[name] = stream.position
                self._folder.write(IN_LOG, self._in_log)
        return found

    def _printed_or_logged(self, printed: list[Line], logged: list[Line], has_ended: bool) -> list[Reading]:
        """The readings of the channel that counts in this sweep: printed lines, or else what goes to W&B and its like.

        A script may log a value before it prints it, so a trial decides at its second logged one; later trials follow it.
        """
        if any(_mark(line, "printed") and line.value(self._script.metric) is not None for line in logged):
            self._memory.setdefault("channel", LOGGED)  # what is printed is a copy, with less about its step
        logged = [line for line in logged if not _mark(line, "before")]
        channel = self._memory.get("channel")
        found = [] if channel == LOGGED else self._heard_in(printed)
        if found or channel == OUTPUT:
            self._memory["channel"] = OUTPUT
            self._logged.clear()
            return found
        self._summed_up += [line for line in logged if _mark(line, "summary")]
        news = self._of_one_run([line for line in logged if not _mark(line, "summary")])
        self._logged += news
        if has_ended and channel is None and not self._logged and not self.has_more:
            lines, self._summed_up = self._summed_up, []
            return self._of_one_run(lines)[-1:]  # the result of a script that tells its metric nowhere else
        is_sure = channel == LOGGED or len(self._logged) > 1 or has_ended or (bool(news) and self._others_log())
        if not self._logged or not is_sure:
            return []
        self._memory["channel"] = LOGGED
        found, self._logged = self._logged, []
        return found

    def _of_file(self, rows: list[tuple[Line, int]]) -> list[Reading]:
        """The readings of new rows of a metrics file, each with its number."""
        without, found = deque(self.file.without), []
        for line, row in rows:
            while without and without[0][1] < row:
                self._note_without(without.popleft()[0], FILE)
            if (reading := self._reading(line, row)) is not None:
                self.missing.note_value(line)
                found.append(reading)
        for line, _ in without:
            self._note_without(line, FILE)
        return found

    def _of_one_run(self, logged: list[Line]) -> list[Reading]:
        """The readings of rows for a logger. Raises ScriptFailed if the metric is in several runs."""
        if kind := next(filter(None, (_mark(line, "another_run") for line in logged)), ""):
            raise self._script.failure(
                f"the script logs {self._script.metric!r} in more than one {kind} run, and a trial has one curve. Log the value "
                "to tune under a name of its own, such as the mean over the folds."
            )
        return self._heard_in(logged, is_logged=True)

    def _heard_in(self, lines: list[Line], *, is_logged: bool = False) -> list[Reading]:
        return [reading for line in lines if (reading := self._heard(line, is_logged)) is not None]

    def _others_log(self) -> bool:
        """Whether other trials have decided so; one that has decided is enough, for they run the same script."""
        channels = (memory.get("channel") for memory in self._folder.memories_of_others())
        return next(filter(None, channels), None) == LOGGED

    def _heard(self, line: Line, is_logged: bool) -> Reading | None:
        """The reading of a line, if it has the tuned metric."""
        reading = self._reading(line, None, is_logged=is_logged)
        if reading is None:
            self._note_without(line, LOGGED if is_logged else OUTPUT)
        if line.is_progress:
            if reading is not None:
                self.missing.note_partial(line.text)
            return None
        if reading is not None and (about := before_training(line.text, self._script.metric)):
            self.missing.note_partial(line.text, about)
            self.missing.news.setdefault("before", f"skipped, because it is about {about}: {reading}")
            return None
        if reading is None:
            notices = self.missing.note(line, is_told=self.is_told or is_logged, is_logged=is_logged)
            self.notices += [] if is_logged else notices  # validation is logged after many rows of training
        else:
            self.missing.news.pop(MISSING, None)
            self.missing.note_value(line)
            self.is_told = True  # at once: the next line may come in the same batch
            if reading.sure == BAR:
                self.missing.news.setdefault(
                    "bar", _BAR_ALONE.format(metric=self._script.metric, last=self._script.horizon)
                )
        return reading

    def _reading(self, line: Line, row: int | None, *, is_logged: bool = False) -> Reading | None:
        totals = {word: total for word, (_, total) in line.counted.items()}
        if line.is_heading:
            self._totals = totals
        value = line.value(self._script.metric)
        if value is None:
            return None
        others = {name: other.number for name in self._script.metrics if (other := line.value(name)) is not None}
        others |= {
            name: line.steps[key_of(name)]
            for name in self._script.metrics
            if name not in others and key_of(name) in line.steps
        }
        known = {key_of(name) for name in (*others, *self._config)}
        counts = {word: number for word, number in line.whole_numbers.items() if key_of(word) not in known}
        steps, sure = self._steps(line)
        axis = _axis(line)
        return Reading(
            value,
            {**others, self._script.metric: value.number},
            steps,
            line.text,
            row,
            logged=is_logged,
            sure=axis if axis in sure else next((word for word in STEP_WORDS if word in sure), next(iter(sure), None)),
            counts=counts,
            totals=self._totals | totals,
            phase=phase_of(line.text) if row is None else "",
            without=self._without_until(line, steps, FILE if row is not None else LOGGED if is_logged else OUTPUT),
        )

    def _steps(self, line: Line) -> tuple[dict[str, float], dict[str, float]]:
        """The steps that a line names, and those among them that are certain."""
        sure = self._certain(line)
        steps = {**line.steps, **sure}
        if axis := _axis(line):
            own = line.step(axis)
            if own is not None and (own <= self._script.horizon or self._memory.get("key") == axis):
                steps[axis] = sure[axis] = own
        if self._script.step is not None and (own := line.step(self._script.step)) is not None:
            steps[key_of(self._script.step)] = own
        return steps, sure

    def _without(self, channel: str) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
        """The first numbers of each word for a step in lines of a channel that lack the metric, and its zeros that wait."""
        seen, zeros = (self._memory.setdefault(name, {}).setdefault(channel, {}) for name in ("without", "zeros"))
        return seen, zeros

    def _without_until(self, line: Line, steps: Mapping[str, float], channel: str) -> dict[str, list[float]]:
        """The same numbers before a line that has the metric."""
        seen, zeros = self._without(channel)
        beginning.confirm(seen, zeros, line, steps)
        return dict(seen)

    def _note_without(self, line: Line, channel: str) -> None:
        beginning.note(*self._without(channel), line, self._steps(line)[0], self._script.metric)
        if channel == FILE:  # of a printed line, `_heard` decides what else to note
            self.notices += self.missing.note(line, is_told=self.is_told)

    def _certain(self, line: Line) -> dict[str, float]:
        """What the line counts up to the horizon itself, such as `env 5000/100000`; a word for steps before any other."""
        found = {word: number for word, (number, total) in line.counted.items() if total == self._script.horizon}
        return {word: number for word, number in found.items() if word in line.steps} or ({} if line.steps else found)


def _matched(line: Line, metric: str) -> Reading | None:
    """The reading of what the user's own expression found in a line."""
    value, told = line.value(metric), {other.name: other.number for other in line.values}
    return None if value is None else Reading(value, told, line.steps, line.text, sure=next(iter(line.steps), None))


def _axis(line: Line) -> str:
    """The step that `define_metric` of W&B names for the metric; empty if it names none."""
    return key_of(_mark(line, "step_metric"))


def _mark(line: Line, name: str) -> str:
    """A mark that startup/sitecustomize.py has put into a logged row; empty if it has none of this name."""
    return (line.others or {}).get(name, "")
