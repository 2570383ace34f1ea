"""Run a script for a trial: its output, files and reports become the trial's progress.

After an interruption, the earlier start's output is read first, so that what it reported still counts. Then the script
starts again, and steps that it reports again are skipped.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import shlex
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from search import work
from search.work import PASSED, Assignment, Ended, Notice, Paused, Progress, Reported, Run, Saved
from trainables.killed import signal_of
from trainables.pausing import Pausing
from trainables.scripts import config_file, forks
from trainables.scripts.channels import Channels, Program, ScriptFailed
from trainables.scripts.ending import ended
from trainables.scripts.environment import environment_of
from trainables.scripts.line import Value
from trainables.scripts.notices import Notices
from trainables.scripts.own_file import naming_own_file
from trainables.scripts.process import GRACE, LAST_WORDS, ScriptProcess, end_leftovers
from trainables.scripts.reading import Reading, Refused, TrainsOn
from trainables.scripts.saving import CLOSE, LATER, Saves, keeps
from trainables.scripts.skipped_steps import why_counted_anew, why_not_its_own
from trainables.scripts.starting_over import begin_counting_anew, why_over
from trainables.scripts.step_count import COUNTED, REPORTED, StepCount
from trainables.scripts.trial_folder import (
    ANSWER,
    COMPARED,
    ERRORS,
    FOLDER,
    LOGGED,
    MEMORY,
    OUTPUT,
    PARAMETERS,
    REPORTS,
    RETURNED,
    RUNNER,
    TrialFolder,
)  # fmt: skip

SOONEST, LATEST = 0.005, 0.05  # seconds between two looks at the script's channels


class ScriptRun(Run):
    """Carries out one assignment."""

    def __init__(self, script: Program, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> None:
        self._script, self._assignment = script, assignment
        self._is_asked_to_pause = Pausing(should_pause)
        forks.take_over(assignment)
        self._folder = TrialFolder(assignment.folder / work.SCRIPT)
        self._steps = self._folder.read_steps()
        self._memory = self._folder.read_memory()
        self._count = StepCount(
            script.metric, script.horizon, script.step, self._memory,
            {row["step"]: Value(script.metric, row["text"]) for row in self._steps}, counted=self._memory.get("counted", 0),
        )  # fmt: skip
        self._channels = Channels(script, self._folder, assignment.config, self._memory)
        self._notices = Notices(script, self._folder, self._memory)
        self._saves: Saves  # of the present start
        self._heard: deque[Reading] = deque()  # readings not yet yielded
        self._step = max(assignment.recorded, assignment.parent_step)  # the last step yielded
        self._answered = -1
        self._process: ScriptProcess | None = None
        self._is_void = (
            False  # whether this start tells nothing more: a line was refused, or its checkpoint is another trial's
        )
        self._items = self._carry_out()

    def __next__(self) -> Progress | None:
        return next(self._items)

    def save(self) -> Saved:
        """The script saves its own checkpoints, and gets the time for it; the path is that of its folder."""
        if self._process is not None and self._count.kind != REPORTED:  # which has saved what it reports
            self._let_it_save(self._process)
        return Saved(self._step, path=str(self._folder.path))

    def close(self) -> None:
        """Stop; when this returns, the script and everything that it started have ended."""
        self._items.close()

    def _carry_out(self) -> Generator[Progress]:
        assignment = self._assignment
        if self._folder.was_started and end_leftovers({FOLDER: str(self._folder.path)}, RUNNER):
            yield Notice(step=self._step, text="ended what an earlier start of the script had left running")
        for text in self._notices.trains_on():
            yield Notice(step=self._step, text=text)
        self._settle_all(has_ended=False)
        for row in self._steps:
            if self._step < row["step"] and self._step < assignment.until:
                yield self._report(row, 0.0)
        if (end := self._end()) is not None:
            yield end
            return
        self._start()
        try:
            yield from self._watch()
        except (Refused, ScriptFailed):
            self._is_void = True
            raise
        finally:
            self._leave()
            cut_off = [self._saves.cut_off] if self._saves.cut_off else []
            self.told_at_end = (*cut_off, *self._notices.trains_on(), *self._notices.clash())
            if (told := self._folder.tail(RETURNED)) and self._notices.is_first_with("returned"):
                self.told_at_end += (told,)

    def _watch(self, may_start_over: bool = True) -> Iterator[Progress]:
        """Yield the script's progress until it ends or the trial rests."""
        process = self._process
        assert process is not None
        mark, pause = time.perf_counter(), SOONEST
        while True:
            has_ended = process.code is not None  # asked before reading, so that everything written is read
            news = self._listen(has_ended and not signal_of(process.code or 0))
            while self._heard:
                reading = self._heard.popleft()
                row = self._settle(reading)
                yield from self._tell()
                if row is not None:
                    now = time.perf_counter()
                    yield self._report(row, now - mark)
                    if self._memory.pop("aside", False):
                        self._folder.delete_aside()
                    until = self._assignment.until
                    yield from self._notices.another_end(self._step, until, reading, self._count, self._channels)
                    yield from self._notices.files(self._step)
                    mark = time.perf_counter() if reading.reported else now  # report() waits for our answer
                if (end := self._end()) is not None:
                    yield end
                    return
                if row is not None and not math.isfinite(reading.value.number):
                    return  # it has diverged
                self._answer(reading)
            yield from self._tell()
            if not self._step and (why := self._channels.is_hopeless()):
                raise self._script.failure(why)
            if has_ended and not news and not self._channels.has_more:
                if may_start_over and (why := self._why_over(process.code or 0)):
                    process.end()
                    yield from self._begin_again(why)
                    return
                last = ended(
                    process.code or 0, self._step, self._assignment.until,
                    script=self._script, folder=self._folder, channels=self._channels, count=self._count,
                )  # fmt: skip
                self._count.look_at_the_end()
                yield from self._tell()
                yield last
                return
            if self._is_asked_to_pause():
                yield self.save()
                yield Paused(self._step)
                return
            self._saves.look_between()
            pause = SOONEST if news else min(2 * pause, LATEST)
            if not has_ended:
                time.sleep(pause)

    def _end(self) -> Progress | None:
        """The end of the assignment, once it is reached."""
        if forks.hands_on(self._assignment, self._step, self._script.horizon):
            self._leave()  # before its checkpoint is copied
            copy = forks.hand_on(self._folder, self._count, self._step, self._assignment.pinned)
            return Saved(self._step, path=str(copy))
        if self._step >= self._assignment.until:
            return self.save()
        return Ended(step=self._step, text=PASSED, advice=self._count.beyond) if self._count.beyond else None

    @property
    def _is_finished(self) -> bool:
        """Whether the script has come to the horizon, or beyond it."""
        return self._step >= self._script.horizon or bool(self._count.beyond)

    def _start(self) -> None:
        """Clear away the last start and start the script."""
        script, assignment, folder = self._script, self._assignment, self._folder
        if self._count.kind == COUNTED and self._count.values:
            is_logged = self._memory.get("channel") == LOGGED
            begin_counting_anew(
                folder, self._channels.file.paths, max(self._count.values), script.metric, is_logged=is_logged
            )
        if self._memory.get("started") and not self._count.values and not folder.is_empty:
            self._find_the_beginning()
        self._memory["started"] = self._memory.get("started", 0) + 1
        self._memory["kept"] = keeps(folder, self._channels.file.paths)  # when it starts
        folder.clear()
        self._count.begin()
        self._saves = Saves(folder, self._memory, lambda: self._channels.file.paths)
        for name in ("read", "counted"):
            self._memory.pop(name, None)
        self._memory.setdefault("token", secrets.token_hex(4))
        self._channels.file.leave_half_rows()
        self._memory |= {"reports_from": folder.size(REPORTS), "rows": self._channels.file.marks}
        self._remember()
        folder.write(PARAMETERS, dict(assignment.config))
        places: dict[str, Any] = {work.FOLDER: str(folder.path), work.SEED: assignment.seed}
        if script.config is not None:
            config = folder.trial / f"config.{config_file.kind_of(script.config)}"  # stays, for `orchestrator export`
            config_file.write(config, script.config, assignment.config)
            places[work.CONFIG] = str(config)
        words = script.arguments(assignment.config, places)
        names = (script.metric, *script.metrics)
        environment = environment_of(folder, assignment, script.command, names, script.horizon, self._memory["token"])
        folder.write_log(f"$ TRIAL_SEED={assignment.seed} {shlex.join(words)}\n".encode())
        self._channels = Channels(script, folder, assignment.config, self._memory)
        self._notices.begin()
        self._process = ScriptProcess(words, environment, folder.place / OUTPUT, folder.place / ERRORS)

    def _find_the_beginning(self) -> None:
        """Handle files of a script that reported nothing: without its way of counting, its next line could be any step.

        Another trial of the sweep may have shown how it counts. Otherwise the training starts over, without the files.
        """
        others = self._folder.memories_of_others()
        known = next((each for each in others if each.get("shift") is not None and not each.get("in_doubt")), None)
        if known is not None:
            self._memory.update({name: known[name] for name in ("kind", "key", "shift")})
        else:
            self._start_over("it had reported nothing, so the step of its next line would be unknown")

    def _start_over(self, why: str) -> str:
        """Let the script begin with an empty folder; its earlier files lie beside it, under the name that is returned, until
        the trial reports."""
        name = self._folder.set_aside()
        text = f"the script starts over, and its earlier files are set aside in {name}: {why}"
        self._memory |= {"rows": {}, "aside": True}
        self._channels = Channels(self._script, self._folder, self._assignment.config, self._memory)
        self._folder.write_log(f"({text})\n".encode())
        self._count.notices.append(text)
        return name

    def _why_over(self, code: int) -> str:
        """Why the script, which has ended, should start over; empty if it should not."""
        return why_over(code, self._folder, self._script.command, self._count, were_whole=self._saves.were_whole)

    def _begin_again(self, why: str) -> Iterator[Progress]:
        """Yield the progress of a script that starts over; if it fails with an empty folder, too, its files come back."""
        name = self._start_over(why)
        self._start()
        try:
            yield from self._watch(may_start_over=False)
        except ScriptFailed:
            if not self._count.has_begun:
                self._folder.put_back(name)
            raise

    def _listen(self, has_ended: bool) -> bool:
        """Add new readings to the queue; returns whether there were any."""
        news = self._channels.listen(has_ended=has_ended)
        self._heard.extend(news)
        if (read := self._channels.give_back()) is not None:
            self._memory |= {"read": read, "counted": self._count.counted}
            self._remember()
            self._channels.free()
        return bool(news)

    def _settle(self, reading: Reading) -> dict[str, Any] | None:
        """Record a reading as a step; None if the step is known already."""
        if self._is_void:
            return None
        before, own = dict(self._memory), None if self._count.has_begun else sorted(self._count.values)
        others = [*self._folder.memories_of_others(COMPARED)] if self._count.kind is None else []
        if others:
            self._count.learn(others)
        with naming_own_file(reading, self._folder, self._script.metric):
            step = self._count.place(reading)
        self._count.compare(others)
        if step is not None and self._process is not None and self._process.code is None:
            self._saves.note_report()
        if self._memory != before:
            self._remember()
        self._refuse_a_foreign_checkpoint(reading, step, own)
        if step is None:
            return None
        until = self._assignment.until
        if forks.hands_on(self._assignment, step, self._script.horizon) and (
            why := forks.why_nothing_to_hand_on(self._folder, self._count, step, until)
        ):
            raise self._script.failure(why)
        row = {"step": step, "text": reading.value.text, "metrics": dict(reading.metrics), "line": reading.text[:300]}
        self._folder.add_step(row)
        self._steps.append(row)
        return row

    def _refuse_a_foreign_checkpoint(self, reading: Reading, step: int | None, own: list[int] | None) -> None:
        """Fail, and forget what this start tells, if it cannot follow the recorded steps `own`, given for its first reading,
        or if a fork does not continue its parent. `step`: that of the reading, if it is new."""
        why, is_certain = "", True
        if self._assignment.parent is not None and self._count.has_begun:
            why = forks.why_not_the_parents(
                self._assignment, self._folder, self._count, reading, is_first=own is not None
            )
        if not why and step is not None and own is not None and self._count.kind != COUNTED:
            why, is_certain = why_not_its_own(step, own, self._folder, self._memory, self._channels.file.paths)
        elif not why and own and self._count.kind != COUNTED and self._memory.get("kept"):
            why = why_counted_anew(reading, self._count.last, self._count.values)
        if why and is_certain:
            self._is_void = True
            self._channels.forget()
            raise self._script.failure(why)
        if why:
            self._count.notices.append(why)

    def _settle_all(self, has_ended: bool) -> None:
        """Record all pending readings, without yielding them yet."""
        try:
            while self._listen(has_ended) or self._heard or self._channels.has_more:
                while self._heard:
                    self._settle(self._heard.popleft())
        except (Refused, ScriptFailed):
            self._channels.forget()  # or the trial would fail again when the script is mended
            raise

    def _report(self, row: Mapping[str, Any], seconds: float) -> Progress:
        self._step = row["step"]
        return Reported(self._step, dict(row["metrics"]), seconds)

    def _answer(self, reading: Reading) -> None:
        """Let a script continue that waits in report()."""
        if reading.reported:
            self._answered = int(reading.steps["step"])
            self._folder.write(ANSWER, {"step": self._answered, "go_on": True})

    def _tell(self) -> Iterator[Progress]:
        return self._notices.what_came(self._step, self._count, self._channels)

    def _remember(self) -> None:
        self._folder.write(MEMORY, self._memory)

    def _leave(self) -> None:
        """End the script, and record everything that it reported until then."""
        process = self._process
        if process is None:
            return
        try:
            if self._count.kind == REPORTED:
                self._folder.write(ANSWER, {"step": self._answered, "go_on": False})
            if self._is_finished:
                patience = time.monotonic() + LAST_WORDS
                self._wait(process, lambda: time.monotonic() > patience)
            elif self._count.kind == REPORTED and not process.wait(GRACE):
                self._let_it_save(process)
        finally:
            code = process.code
            came_to_its_end = code is not None and not signal_of(code)
            process.end()
            self._saves.end(code)
            self._remember()
            if self._is_void:
                self._channels.forget()
        with contextlib.suppress(ScriptFailed), self._notices.closing_lines():  # at this point nobody needs the error
            try:
                self._settle_all(came_to_its_end)
            except TrainsOn as error:
                self._note_that_it_trains_on(error)
        self._process = None

    def _let_it_save(self, process: ScriptProcess) -> None:
        """Let a script that is to be ended below the horizon save first, or finish the save that it is in."""
        if self._is_finished:
            return

        def are_over() -> bool:
            later = sum(row["step"] > self._step for row in self._steps[-LATER:])
            is_finishing = self._count.kind == REPORTED or self._is_asked_to_pause()
            return self._saves.are_over(process, later, is_finishing=is_finishing)

        self._saves.ask()
        self._wait(process, are_over)

    def _wait(self, process: ScriptProcess, is_over: Callable[[], bool]) -> None:
        """Record what the script tells until it has ended, or the wait is over; one that trains on beyond the horizon is not
        waited for."""
        while process.code is None and not is_over():
            with self._notices.closing_lines():
                try:
                    while self._heard:
                        self._settle(self._heard.popleft())
                    if not self._listen(has_ended=False):
                        time.sleep(CLOSE)
                except (TrainsOn, ScriptFailed) as error:
                    self._note_that_it_trains_on(error)
                    return

    def _note_that_it_trains_on(self, error: TrainsOn | ScriptFailed) -> None:
        if self._is_finished:
            self._memory.setdefault("trains_on", str(error))
            self._remember()
