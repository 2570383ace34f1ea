"""What a trial tells of its script, beside its steps: most of it once in a sweep."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from search.work import Notice, Progress
from trainables.scripts.channels import Channels, Program
from trainables.scripts.missing_metric import MISSING
from trainables.scripts.reading import Reading, Refused, TwoValues
from trainables.scripts.shared_files import LOOKS, REMEDY, look_for_shared, missed
from trainables.scripts.step_count import StepCount
from trainables.scripts.trial_folder import COMPARED, MEMORY, TrialFolder

SURE = 3  # steps in a row with which a progress bar has to advance


class Notices:
    """The notices of one trial; what they depend on is in its `memory`."""

    def __init__(self, script: Program, folder: TrialFolder, memory: dict[str, Any]) -> None:
        self._script, self._folder, self._memory = script, folder, memory
        self._bars = ProgressBars()
        self._clash = ""  # two values of the last step
        self.begin()

    def begin(self) -> None:
        """A start of the script follows."""
        self._since, self._looks = time.time(), 0  # … for files that others share

    def is_first_with(self, news: str) -> bool:
        """Whether no other trial of the sweep has had such news; it is remembered, so that they are told once."""
        if self._memory.get(news):  # a trial's memory goes with it to another node, the mark of the sweep does not
            return False
        self._memory[news] = True
        self._folder.write(MEMORY, self._memory)
        return self._folder.is_first_with(news)

    def what_came(self, step: int, *sources: StepCount | Channels) -> Iterator[Progress]:
        """The notices and the news that have come up in reading what the script tells."""
        for source in sources:
            while source.notices:
                yield Notice(step=step, text=source.notices.pop(0))
        for source in sources:
            while source.news:
                kind, text = source.news.popitem()
                others = self._folder.memories_of_others(COMPARED)
                if kind == MISSING and any(memory.get("kind") for memory in others):  # one of them has told a step
                    continue
                if self.is_first_with(kind):
                    yield Notice(step=step, text=text, once=True)

    def another_end(
        self, step: int, until: int, reading: Reading, count: StepCount, channels: Channels
    ) -> Iterator[Progress]:
        """Tell that the script counts its steps to another total than the horizon. A script that reads TRIAL_STEPS counts to
        `until`, where its trial rests."""
        horizon, total, beyond = self._script.horizon, count.other_end(reading), ""
        if total is not None:
            word = self._memory["key"]
            place, last = (f"{number:g}/{total}" for number in (reading.steps[word], total))
            seen = f"[{place}]" if word == "index" else f"{word} {place}"
            if self._memory["shift"]:
                beyond = f", or to {total + 1} if it ends at {last}"
        else:
            bars = channels.bars
            total = self._bars.total(step, bars)
            seen = f"its progress bar: {bars[total]}/{total}" if total is not None else ""
        if total in (None, horizon, until) or not self.is_first_with("counts_to"):
            return
        end = f"a schedule over {total} is cut off" if total > horizon else f"its trials end at {total}"
        yield Notice(step=step, once=True, text=(
            f"the script counts to {total} ({seen}), the sweep trains {horizon}: {end}. Let the "
            f"script train {horizon}, or set the sweep's steps (the horizon) to {total}{beyond}"
        ))  # fmt: skip

    def files(self, step: int) -> Iterator[Progress]:
        """Tell of a checkpoint that another trial overwrites, or that `resume` names and nobody writes."""
        if self._looks == LOOKS:
            return
        self._looks += 1
        named = self._script.missing_checkpoint(self._folder.path) if self._looks == LOOKS else ""
        if (text := missed(named, self._folder)) and self.is_first_with("misses"):
            yield Notice(step=step, text=text, once=True)
        before = dict(self._memory)
        if new := look_for_shared(self._folder, self._memory, self._since):
            text = f"it writes {', '.join(new)}, as another trial does, so they overwrite each other: {REMEDY}"
            yield Notice(step=step, text=text, once=True)
        if self._memory != before:
            self._folder.write(MEMORY, self._memory)

    @contextlib.contextmanager
    def closing_lines(self) -> Iterator[None]:
        """Nobody needs the refusal of what follows the last step, such as a closing line; but see `clash`."""
        try:
            yield
        except TwoValues as error:
            self._clash = str(error)
        except Refused:
            pass

    def clash(self) -> list[str]:
        """What to tell of a last step that has two values, of which the first was taken."""
        return [f"{self._clash} The first stays on record"] if self._clash and self.is_first_with("clash") else []

    def trains_on(self) -> list[str]:
        """What to tell of a script that went on beyond the horizon, at this start or an earlier one."""
        text = self._memory.get("trains_on")
        if not text or not self.is_first_with("told_of_it"):
            return []
        return [
            f"{text} A trial ends at the horizon, and its script with it; what the script saves later, and the exported "
            "command, are trained longer than what was scored"
        ]


class ProgressBars:
    """Finds the progress bar that counts the steps of the training, among those that count batches and other things."""

    def __init__(self) -> None:
        self._step = 0
        self._found: dict[int, list[int]] = {}  # total → how far the bar was at the latest steps

    def total(self, step: int, bars: Mapping[int, int]) -> int | None:
        """The total of the bar that advances as the steps do, once that is sure. `bars`: how far each is now, by total."""
        gap, self._step = step - self._step, step
        self._found = {
            total: [*before, done][-SURE:]
            for total, done in bars.items()
            if abs(done - step) <= gap and done > max(before := self._found.get(total, []), default=0)
        }
        return next((total for total, found in self._found.items() if len(found) == SURE), None)
