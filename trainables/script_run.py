"""A script being run for a trial: what it prints, writes or reports becomes the trial's progress.

In TRIAL_FOLDER/.reports lie
    parameters.json, reports.jsonl, answer.json    the protocol of `report()`
    steps.jsonl                                    every step that was told, at once: it may not have been recorded yet
    memory.json                                    what this training calls its steps, and where it counts from
    stdout.txt, stderr.txt                         the output of this start, until it has been read
After an interruption they are read first, so that what was told before it counts; then the script is started again,
and what it tells again is passed over.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.work import Assignment, Progress
from trainables import config_file, trial_log
from trainables.metrics_file import MetricsFile
from trainables.output_stream import OutputStream
from trainables.printed import Line, Value, is_synonym, key_of, likeliest
from trainables.script_errors import error_line
from trainables.script_process import GRACE, LAST_WORDS, ScriptProcess, end_leftovers, exit_in_words
from trainables.step_count import COUNTED, REPORTED, Reading, Refused, StepCount

if TYPE_CHECKING:
    from trainables.workloads.script import Script

REPORTS_FOLDER = ".reports"  # these five are orchestrator/reporting.py's words
PARAMETERS, REPORTS, ANSWER = "parameters.json", "reports.jsonl", "answer.json"
TRIAL_FOLDER, TRIAL_RUNNER = "TRIAL_FOLDER", "TRIAL_RUNNER"
STEPS, MEMORY, OUTPUT, ERRORS = "steps.jsonl", "memory.json", "stdout.txt", "stderr.txt"
SOONEST, LATEST = 0.005, 0.05  # seconds between two looks at what the script tells
PAUSE_SECONDS = 0.2  # between two questions whether to pause
_METRIC = re.compile(
    r"loss|acc|err|rmse|mse|mae|auc|f1|bleu|rouge|ppl|perplex|score|map|iou|dice|recall|precision|reward|return|wer|cer|bpc|nll|mcc|elbo|fid",
    re.I,
)
_told: set[str] = set()  # notices that need not be given for each trial


class ScriptFailed(RuntimeError):
    """The script ended with an error, or without a word about the tuned metric."""


class ScriptRun(Iterator["Progress | None"]):
    """The run of one assignment; a `search.work.Run`."""

    def __init__(self, script: Script, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> None:
        self._script, self._assignment = script, assignment
        self._should_pause = should_pause or (lambda: False)
        self._own = assignment.folder / "script"
        self._place = self._own / REPORTS_FOLDER
        self._place.mkdir(parents=True, exist_ok=True)
        self._log = assignment.folder.parent / "log.txt"
        memory = _read_json(self._place / MEMORY)
        self._steps = [row for row in _read_rows(self._place / STEPS) if "step" in row]
        values = {row["step"]: Value(script.metric, row["text"]) for row in self._steps}
        counted = memory.get("counted", 0)
        self._count = StepCount(script.metric, script.horizon, script.step, memory, values, counted=counted)
        self._step = max(assignment.recorded, 0)  # the last that was told
        self._answered = -1
        self._left = False  # nothing more is wanted
        self._printed: dict[str, int] = {}  # other names that were seen → at how many steps
        self._printed_at: dict[str, float] = {}
        self._heard_of: deque[Reading] = deque()  # and not yet told
        self._doubtful = self._partial = self._hopeless = ""
        self._notices: list[str] = []
        self._polled = -math.inf
        self._process: ScriptProcess | None = None
        self._follow()
        self._items = self._carry_out()

    def __next__(self) -> Progress | None:
        return next(self._items)

    def save(self) -> Progress:
        """The script keeps its own checkpoints; what is named here is their folder."""
        return Progress("checkpoint", self._step, path=str(self._own))

    def close(self) -> None:
        """Leave off; the script and all that it started has ended when this returns."""
        self._items.close()

    def _carry_out(self) -> Generator[Progress]:
        assignment = self._assignment
        if (self._place / OUTPUT).exists() and end_leftovers({TRIAL_FOLDER: str(self._own)}, TRIAL_RUNNER):
            yield Progress("notice", self._step, text="ended what an earlier start of the script had left running")
        self._settle_all(ended=False)
        for row in self._steps:
            if assignment.recorded < row["step"] and self._step < assignment.until:
                yield self._report(row, 0.0)
        if self._step >= assignment.until:
            yield self.save()
            return
        self._begin()
        try:
            yield from self._watch()
        finally:
            self._leave()

    def _watch(self) -> Iterator[Progress]:
        """Tell what the script tells, until it ends or the trial rests."""
        process, until = self._process, self._assignment.until
        assert process is not None
        mark, pause = time.perf_counter(), SOONEST
        while True:
            ended = process.code is not None  # asked before reading: what was written before is read
            news = self._listen(ended)
            while self._heard_of:
                reading = self._heard_of.popleft()
                row = self._settle(reading)
                yield from self._take_notices()
                if row is not None:
                    now = time.perf_counter()
                    yield self._report(row, now - mark)
                    mark = time.perf_counter() if reading.reported else now  # it waits for the answer
                if self._step >= until:
                    yield self.save()
                    return
                if row is not None and not math.isfinite(reading.value.number):
                    return  # it has diverged
                self._answer(reading)
            yield from self._take_notices()
            if self._hopeless:
                raise ScriptFailed(self._hopeless)
            if ended and not news and not self._has_more:
                yield self._end()
                return
            if self._is_asked_to_pause():
                yield self.save()
                yield Progress("paused", self._step)
                return
            pause = SOONEST if news else min(2 * pause, LATEST)
            if not ended:
                time.sleep(pause)

    def _report(self, row: Mapping[str, Any], seconds: float) -> Progress:
        self._step = row["step"]
        return Progress("report", self._step, dict(row["metrics"]), seconds)

    # The start.

    def _begin(self) -> None:
        """Start the script, with nothing in its way."""
        script, assignment = self._script, self._assignment
        if self._count.kind == COUNTED and self._count.values:
            self._refuse_what_cannot_go_on()
        for name in (OUTPUT, ERRORS, ANSWER):
            (self._place / name).unlink(missing_ok=True)
        self._count.begin()
        for name in ("read", "counted"):
            self._count.memory.pop(name, None)
        self._count.memory["reports_from"] = _size(self._place / REPORTS)
        self._count.memory["rows"] = {} if self._file is None else self._file.marks
        self._remember()
        _write_json(self._place / PARAMETERS, dict(assignment.config))
        file = None
        if script.config is not None:
            file = self._place / f"config.{config_file.kind_of(script.config)}"
            config_file.write(file, script.config, assignment.config)
        words = script.arguments(assignment.config, None if file is None else str(file))
        environment = os.environ | {
            TRIAL_FOLDER: str(self._own), "TRIAL_SEED": str(assignment.seed), "TRIAL_STEPS": str(assignment.until),
            TRIAL_RUNNER: f"{socket.gethostname()}:{os.getpid()}", "OMP_NUM_THREADS": str(assignment.threads),
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        trial_log.append(self._log, f"$ {shlex.join(words)}\n".encode())
        self._follow()
        self._process = ScriptProcess(words, environment, self._place / OUTPUT, self._place / ERRORS)

    def _refuse_what_cannot_go_on(self) -> None:
        """Lines without steps count from the first on: the script must begin there again."""
        files = {path for path in self._own.rglob("*") if path.is_file() and self._place not in path.parents}
        metrics = set() if self._file is None else set(self._file.paths)
        if files - metrics:
            kept = ", ".join(sorted(str(path.relative_to(self._own)) for path in files - metrics)[:3])
            raise Refused(
                f"the script was interrupted after {max(self._count.values)} lines with {self._script.metric!r} that name no "
                f"step, and it keeps files in TRIAL_FOLDER ({kept}): nobody can tell where it goes on. Print the step in "
                "each line (epoch=3), or call report()."
            )
        for path in metrics:
            path.unlink()

    def _follow(self) -> None:
        """Look at the files of this start, from where they have been read."""
        names = (self._script.metric, *self._script.metrics, *([self._script.step] if self._script.step else []))
        read = self._count.memory.get("read", {})
        self._streams = [
            OutputStream(self._place / name, names, *read.get(name, (0, None))) for name in (OUTPUT, ERRORS)
        ]
        self._file = None
        if self._script.file is not None:
            self._file = MetricsFile(self._own, self._script.file, self._count.memory.get("rows"))
        self._reports_read = self._count.memory.get("reports_from", 0)

    # What the script tells.

    def _listen(self, ended: bool) -> bool:
        """Put what is new at the end of the queue; whether there was anything."""
        news = self._readings(ended)
        self._heard_of.extend(news)
        return bool(news)

    def _readings(self, ended: bool) -> list[Reading]:
        """The news of all channels; a script that calls report() is heard there only."""
        found = self._reported()
        printed = self._printed_lines(ended)
        if found or self._count.kind == REPORTED or self._script.reports:
            return found
        if self._file is not None:
            return [
                reading
                for line, row in self._file.poll(self._script.metric, ended)
                if (reading := self._reading(line, row)) is not None
            ]
        return [reading for line in printed if (reading := self._heard(line)) is not None]

    def _reported(self) -> list[Reading]:
        path, found = self._place / REPORTS, []
        if _size(path) <= self._reports_read:
            return []
        with open(path, "rb") as file:
            file.seek(self._reports_read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._reports_read += len(whole)
        for line in whole.splitlines():
            try:
                told = json.loads(line)
            except ValueError:  # of a process that was killed while it wrote
                continue
            metrics = {name: float(value) for name, value in told["metrics"].items()}
            text = f"report({told['step']}, {', '.join(f'{name}={value:g}' for name, value in metrics.items())})"
            name = next((name for name in metrics if key_of(name) == key_of(self._script.metric)), None)
            if name is None:
                raise ScriptFailed(f"{text} names no {self._script.metric!r}{self._hint(list(metrics))}")
            value = Value(self._script.metric, repr(metrics[name]))
            metrics[self._script.metric] = metrics[name]
            found.append(Reading(value, metrics, {"step": float(told["step"])}, text, reported=True))
        return found

    def _printed_lines(self, ended: bool) -> list[Line]:
        """New lines of both streams, which go to the trial's log as well."""
        lines: list[Line] = []
        for stream in self._streams:
            data, found = stream.poll()
            if ended and not data and self._process is not None and (self._process.code or 0) >= 0:
                data, found = stream.rest()
            if self._process is not None:
                trial_log.append(self._log, data)
            lines += found
        if any(stream.is_long() for stream in self._streams):
            names = (OUTPUT, ERRORS)
            self._count.memory["read"] = {
                name: [stream.position, stream.steps] for name, stream in zip(names, self._streams, strict=True)
            }
            self._count.memory["counted"] = self._count.counted
            self._remember()
            for stream in self._streams:
                stream.give_back()
        return lines

    def _heard(self, line: Line) -> Reading | None:
        """What a printed line says about the tuned metric."""
        reading = self._reading(line, None)
        if line.is_progress:
            self._partial = self._partial if reading is None else reading.text.strip()
            return None
        if reading is None:
            self._note_others(line)
        return reading

    def _reading(self, line: Line, row: int | None) -> Reading | None:
        value = line.value(self._script.metric)
        if value is None:
            return None
        others = {name: other.number for name in self._script.metrics if (other := line.value(name)) is not None}
        steps = dict(line.steps)
        if self._script.step is not None and (own := line.step(self._script.step)) is not None:
            steps[key_of(self._script.step)] = own
        return Reading(value, {**others, self._script.metric: value.number}, steps, line.text, row)

    def _settle(self, reading: Reading) -> dict[str, Any] | None:
        """Put news on the list of steps; None for what is known."""
        before = dict(self._count.memory)
        step = self._count.place(reading)
        self._notices += self._count.notices
        self._count.notices.clear()
        if self._count.memory != before:
            self._remember()
        if step is None:
            return None
        row = {
            "step": step,
            "text": reading.value.text,
            "metrics": _finite(reading.metrics),
            "line": reading.text[:300],
        }
        _append_row(self._place / STEPS, row)
        row["metrics"] = dict(reading.metrics)
        self._steps.append(row)
        return row

    def _settle_all(self, ended: bool) -> None:
        """What there is to read, without telling it yet."""
        while self._listen(ended) or self._heard_of or self._has_more:
            while self._heard_of:
                self._settle(self._heard_of.popleft())

    @property
    def _has_more(self) -> bool:
        return any(stream.has_more for stream in self._streams)

    def _answer(self, reading: Reading) -> None:
        """Let a script that waits in report() go on."""
        if reading.reported:
            self._answered = int(reading.steps["step"])
            _write_json(self._place / ANSWER, {"step": self._answered, "go_on": True})

    # What it does not tell.

    def _note_others(self, line: Line) -> None:
        """Other metrics than the tuned one: told once; and no reason to train on, if one is it by another name."""
        metric = self._script.metric
        if doubtful := line.doubtful(metric):
            if not self._doubtful:
                self._notices.append(f"{doubtful!r} is no number that can be read with certainty; it does not count")
            self._doubtful = doubtful
        names = [
            value.name for value in line.values
            if _METRIC.search(value.name) and value.name not in self._assignment.config
        ]  # fmt: skip
        for name in names:
            at = next(iter(line.steps.values()), float(self._printed.get(name, 0)))
            if self._printed_at.get(name) != at:
                self._printed[name] = self._printed.get(name, 0) + 1
                self._printed_at[name] = at
        if self._steps or not names:
            return
        known = f"{self._script!r}"
        if known not in _told:
            _told.add(known)
            self._notices.append(f"no {metric!r} so far{self._hint(list(self._printed))}")
        twin = next((name for name in names if is_synonym(name, metric) and self._printed[name] >= 3), None)
        if twin is not None:
            self._hopeless = f"the script prints no {metric!r}{self._hint([twin, *self._printed])}"

    def _hint(self, names: list[str]) -> str:
        seen = [name for name in dict.fromkeys(names) if _METRIC.search(name)] or list(dict.fromkeys(names))
        near = likeliest(self._script.metric, list(dict.fromkeys(names)))
        if not seen:
            return "; it named no metric at all."
        return f"; it named {', '.join(seen[:8])}" + (f". Did you mean {near!r}?" if near else ".")

    def _take_notices(self) -> Iterator[Progress]:
        notices, self._notices = self._notices, []
        for text in notices:
            yield Progress("notice", self._step, text=text)

    # The end.

    def _end(self) -> Progress:
        """The script has ended before its trial. Raises ScriptFailed unless it may have."""
        assert self._process is not None
        code, until = self._process.code or 0, self._assignment.until
        lines, where = sum(stream.lines for stream in self._streams), f"after step {self._step} of {until}"
        if code:
            said = error_line(
                _tail(self._place / ERRORS), _tail(self._place / OUTPUT), self._script.known_flags()
            )  # fmt: skip
            raise ScriptFailed(f"{said or 'it printed no reason'} ({exit_in_words(code)} {where})")
        if not self._step:
            metric = self._script.metric
            if self._script.reports:
                raise ScriptFailed(f"the script ended with exit code 0 and never called report() with {metric!r}.")
            if self._file is not None:
                found = ", ".join(path.name for path in self._file.paths) or "there is no such file"
                names = self._file.names
                raise ScriptFailed(
                    f"the script ended with exit code 0; {self._script.file!r} in TRIAL_FOLDER ({found}) has no "
                    f"{metric!r}{self._hint(names)}"
                )
            if self._doubtful:
                raise ScriptFailed(
                    f"the script ended with exit code 0; {self._doubtful!r} is no number that can be read with certainty: "
                    f"print {metric}=0.52, or call report()."
                )
            if self._partial:
                raise ScriptFailed(
                    f"the script ended with exit code 0; {metric!r} stands only in lines about a part of a step "
                    f"({self._partial[:80]!r}): print it once at the end of each."
                )
            raise ScriptFailed(
                f"the script ended with exit code 0 after {lines} lines; none has {metric!r}{self._hint(list(self._printed))}"
            )
        return Progress("ended", self._step, text="the script ended with exit code 0")

    def _leave(self) -> None:
        """End the script, and keep what it told until then."""
        process, self._process = self._process, None
        if process is None:
            return
        reported = self._count.kind == REPORTED
        if reported:
            _write_json(self._place / ANSWER, {"step": self._answered, "go_on": False})
        if self._step >= self._script.horizon:
            process.wait(LAST_WORDS)
        elif reported:
            process.wait(GRACE)
        own_end = process.code is not None
        process.end()
        self._process = process
        with contextlib.suppress(Refused, ScriptFailed):  # nobody has asked for it
            self._settle_all(ended=own_end)
        self._process = None

    def _is_asked_to_pause(self) -> bool:
        now = time.perf_counter()
        if now - self._polled < PAUSE_SECONDS:
            return False
        self._polled = now
        return self._should_pause()

    def _remember(self) -> None:
        _write_json(self._place / MEMORY, self._count.memory)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else repr(value) for name, value in metrics.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    except (OSError, ValueError):
        return {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole, or as it was."""
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(path)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:  # of a worker that was killed while it wrote
            continue
        row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
        rows.append(row)
    return rows


def _append_row(path: Path, row: Mapping[str, Any]) -> None:
    with open(path, "ab+") as file:
        size = file.tell()
        file.seek(max(0, size - 1))
        torn = size and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(row).encode() + b"\n")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tail(path: Path, limit: int = 200_000) -> str:
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, _size(path) - limit))
        return file.read().lstrip(b"\0").decode(errors="replace")
