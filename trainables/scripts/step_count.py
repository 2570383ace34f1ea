"""Find the step that a script's report belongs to: the script's own number, or the order of its lines.

Steps are the script's own, 1 … horizon, gaps allowed. If a training's first step is 0, all its steps shift by one. If
lines name no step, they are counted, but only if the training started from the beginning, is short enough for it, and no
number in its lines grows as steps do. Anything else is refused with a reason, because a wrong step would record a right
number in the wrong place for ever.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.scripts import beginning
from trainables.scripts.headings import uneven_headings
from trainables.scripts.line import Value
from trainables.scripts.names import ENVIRONMENT_STEPS, LETTER, STEP_WORDS, key_of, may_be_a_setting
from trainables.scripts.phases import is_another
from trainables.scripts.reading import OR_PATTERN, Reading, Refused, TrainsOn, TwoValues

OWN, COUNTED, REPORTED = "own", "counted", "reported"
SEEN = 3  # lines without a step after which a number in them that grows evenly is noticed
EVENLY = 0.1  # by which two differences may differ: episodes end some steps early or late
FAR = 10_000  # steps: a longer training prints no line for each of them
FINER = 20  # times as fast as the count that is taken: then the horizon may be meant of it
_OF_TRAINER = " Of transformers' Trainer, read Script(file='FOLDER/checkpoint-*/trainer_state.json'), or add the TransformersCallback."
UNNAMED = "If the number behind {!r} is the step, write Script(pattern=…)"
LETTERS = re.compile(LETTER)
NO_COUNT = {"time", "elapsed", "eta", "seconds", "secs", "sec", "memory", "mem", "correct", "lr", "seed"}


@dataclass
class StepCount:
    """Numbers the steps of one training over all its starts; `memory` and `values` survive an interruption.

    `memory`: "kind" (of the steps), "key" (the script's word for them), "shift" (1 if it counts from 0), "in_doubt" (whether
    it may count from 0 all the same).
    `values`: the known value of each step.
    """

    metric: str
    horizon: int
    name: str | None = None  # the script's word for its steps, if the user gives it
    memory: dict[str, Any] = field(default_factory=dict)
    values: dict[int, Value] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    news: dict[str, str] = field(default_factory=dict)  # to tell once in a sweep, by kind
    usual: str | None = None  # the word that counts in the sweep's other trials
    from_0: frozenset[tuple[str, str]] = frozenset()  # kinds and words that count from 0 in them
    counted: int = 0  # lines of this start
    beyond: str = ""  # what to do about a script that passed the horizon without a value at it; empty while it has not
    _last: int = 0  # last step of this start …
    _last_reading: Reading | None = None
    _passed_over: bool = False
    _passed: dict[str, float] = field(
        default_factory=dict
    )  # the first numbers of other words, in lines without the key
    _differs: bool = False
    _counts: list[dict[str, float]] = field(default_factory=list)  # of the first lines that are counted
    _recent: list[tuple[int, Reading]] = field(default_factory=list)  # the last steps

    def begin(self) -> None:
        """Prepare for a start of the script, perhaps a repeated one."""
        self._last, self._last_reading, self.counted = 0, None, 0
        self._passed_over = self._differs = False
        self.beyond = ""
        self._counts, self._recent, self._passed = [], [], {}

    @property
    def kind(self) -> str | None:
        kind: str | None = self.memory.get("kind")
        return kind

    @property
    def last(self) -> int:
        """The last step that this start has told; 0: none."""
        return self._last

    @property
    def has_begun(self) -> bool:
        """Whether this start of the script has told a step."""
        return bool(self._last or self.counted)

    def other_end(self, reading: Reading) -> int | None:
        """The total to which the script counts its steps, if it is not the horizon."""
        total, last = reading.totals.get(self.memory.get("key", "")), self.horizon - (self.memory.get("shift") or 0)
        return None if total in (None, last, self.horizon) else total

    def learn(self, others: Sequence[Mapping[str, Any]]) -> None:
        """Take from the memories of the sweep's other trials, which run the same script, how it counts."""
        self.usual = next((key for memory in others if (key := memory.get("key"))), None)
        self.from_0 = frozenset((memory["kind"], memory["key"]) for memory in others if memory.get("shift"))

    def compare(self, others: Sequence[Mapping[str, Any]]) -> None:
        """Tell if one of these trials was taken to begin its count at another number than this one."""
        if any(beginning.differ(self.memory, other) for other in others):
            self.news["begins"] = beginning.difference(self.memory, self.metric)

    def place(self, reading: Reading) -> int | None:
        """The step of a new reading; None if the step is known already. Raises Refused."""
        if self.kind == REPORTED and not reading.reported:
            return None
        if reading.reported and self.kind != REPORTED:
            self.memory |= {"kind": REPORTED, "key": "step", "shift": None}
            self._last = 0
        key = self._key(reading)
        if self.kind is None:
            self.memory |= {"kind": COUNTED if key is None else OWN, "key": key, "shift": None}
        if self.kind == COUNTED:
            return self._by_order(reading, key)
        if key is None:
            self._pass_over(reading)
            return None
        return self._by_step(reading, key)

    def _key(self, reading: Reading) -> str | None:
        """The reading's word for its step; the first time, the first fitting word in the usual order."""
        if self.memory.get("key") in reading.steps:
            key: str = self.memory["key"]
            return key
        if self.kind is not None and self.kind != COUNTED:
            return None
        known = [
            word
            for word in [*STEP_WORDS, *reading.steps]
            if word in reading.steps and not (may_be_a_setting(word) and reading.steps[word] == self.horizon)
        ]
        if self.name is not None:
            if key_of(self.name) not in reading.steps:
                raise Refused(
                    f"Script(step={self.name!r}): {reading} has no {self.name!r}; {reading.verb} {self.name}=3 in it."
                )
            return key_of(self.name)
        if self.usual in reading.steps:  # all trials of a sweep count alike
            return self.usual
        if reading.sure is not None:
            return reading.sure
        if known and math.isnan(reading.steps[known[0]]):
            return known[0]
        fitting = [key for key in known if reading.steps[key].is_integer() and reading.steps[key] <= self.horizon]
        if fitting and self.horizon > FAR:  # nobody trains so many epochs: the finest count
            return max(fitting, key=lambda key: reading.steps[key])
        return next(iter(fitting or known), None)

    def _by_order(self, reading: Reading, key: str | None) -> int | None:
        if key is not None:
            raise Refused(
                f"earlier {reading.place}s with {self.metric!r} named no step, and {reading} names {key}={reading.steps[key]:g}; "
                f"{reading.verb} the step in each of them."
            )
        self.counted = self.counted + 1 if reading.row is None else reading.row
        step = self.counted
        if step > self.horizon:
            return None
        known = self.values.get(step)
        if known is None:
            self._refuse_another_count(reading)
            return self._take(step, reading)
        if not known.repeats(reading.value):
            or_anew = "" if reading.row is None else ", or writes its file anew,"
            raise Refused(
                f"the script was started again{or_anew} and its {reading.place}s name no step: number {step} says {reading.value.text}, "
                f"step {step} on record is {known.text}. {reading.verb.capitalize()} the step in the {reading.place} (epoch=3), or "
                "call report()."
            )
        return None

    def _refuse_another_count(self, reading: Reading) -> None:
        """Refuse to count lines of a training that is too long for it, or whose step stands in them by another word."""
        self._counts.append({word: n for word, n in {**reading.steps, **reading.counts}.items() if n <= self.horizon})
        if self.counted != len(self._counts) or self.counted > SEEN:
            return
        found = {word: int(self._counts[-1][word]) for word in self._counts[0] if self._may_be_the_step(word)}
        if found or self.horizon > FAR:
            word, verb = max(found, key=lambda each: found[each], default=None), reading.verb
            raise Refused(
                f"{reading} does not name its step with certainty; by the order of the {reading.place}s it would be step {self.counted} of "
                f"{self.horizon}. "
                + (
                    (
                        f"If {word!r} is the step, write Script(step={word!r})"
                        if LETTERS.search(word)
                        else UNNAMED.format(word)
                    )
                    + f"; if not, {verb}"
                    if word
                    else verb.capitalize()
                )
                + f" the step in each {reading.place} (step=300){OR_PATTERN * (reading.verb == 'print')}."
            )

    def _may_be_the_step(self, word: str) -> bool:
        """Whether a number that stands in each line so far may be the step: the training is too long to count its lines, or
        the number grows evenly, other than the lines do."""
        if key_of(word).rpartition("_")[2] in NO_COUNT or not all(word in counts for counts in self._counts):
            return False
        told = [counts[word] for counts in self._counts]
        if self.horizon > FAR:
            return True
        if len(told) == 2 and told[1] == 2 * told[0] > 2:  # 10, 20
            return True
        if len(told) < SEEN or told in ([0, 1, 2], [1, 2, 3]):
            return False
        first, second = told[1] - told[0], told[2] - told[1]
        return min(first, second) > 0 and abs(second - first) <= EVENLY * second

    def _pass_over(self, reading: Reading) -> None:
        if not self._last and self.values:
            raise Refused(
                f"{reading} names no step, and before the script was interrupted its {reading.place}s did "
                f"({self.memory['key']}=…); {reading.verb} the step in every {reading.place}, also after a resume."
            )
        told = {word: number for word, number in reading.steps.items() if number > self._passed.get(word, number)}
        if word := next(iter(told), None):  # a closing line would come once
            raise Refused(
                f"two counts have {self.metric!r}: its first lines count {self.memory['key']}, {reading} counts {word} {told[word]:g}, such "
                f"as those of training and evaluation. Ask for a name that only one of them has{OR_PATTERN}."
            )
        self._passed = {**reading.steps, **self._passed}
        if not self._passed_over:
            self._passed_over = True
            self.notices.append(f"skipped, because it names no {self.memory['key']}: {reading}")

    def _by_step(self, reading: Reading, key: str) -> int | None:
        number = reading.steps[key]
        if math.isnan(number):
            raise Refused(
                f"{reading} gives {key} with rounded digits, or in a doubtful form; {reading.verb} all digits alone, as in {key}=1000."
            )
        if not number.is_integer():
            raise Refused(
                f"{key}={number:g} in {reading} is not a whole step; evaluate at the end of each {key}, or "
                + (
                    "set the sweep's steps to the number of updates, which the Trainer calls max_steps."
                    if reading.logged and "eval_runtime" in reading.text
                    else f"write Script(step={other!r})."
                    if (other := reading.another_count(key))
                    else f"{reading.verb} another count in the {reading.place} and name it: Script(step='step')."
                    f"{_OF_TRAINER * ('eval_runtime' in reading.text)}"
                )
            )
        if self.memory["shift"] is None:
            without, others_do = reading.without.get(key, ()), (self.memory["kind"], key) in self.from_0
            self.memory["shift"] = int(beginning.begins_at_0(number, without, others_do=others_do))
        step = int(number) + self.memory["shift"]
        number_before = None if self._last_reading is None else self._last_reading.steps.get(key)
        if self.memory["shift"] and number == self.horizon and number_before != number - 1:  # 0, 100, … horizon
            step = self.horizon
        if step > self.horizon and self._has_passed_it(reading, key):
            return None
        if step > self.horizon:
            others = [f"Script(step={other!r})" for other in reading.steps if other not in (key, "index")]
            raise TrainsOn(
                f"the script is at {self.name or key} {number:g}, beyond Script(horizon={self.horizon}); the horizon must be the "
                f"script's last {self.name or key}{' + 1, as it counts from 0' if self.memory['shift'] else ''}"
                + (f" (or name what else the line counts: {', '.join(others)})." if others else ".")
            )
        known = self.values.get(step)
        if step < self._last and reading.row is not None and known is not None and known.repeats(reading.value):
            return None  # the script rewrites the file with each row
        if step < 1 or step < self._last:
            before = self._last_reading
            raise Refused(
                f"the script went back from {key} {self._last - self.memory['shift']} to {number:g} in {reading}; "
                + (
                    f"{reading.verb} each {key} once, in order."
                    if before is None or before.phase == reading.phase
                    else f"it starts counting again after {before}. {reading.verb.capitalize()} {self.metric!r} by another name in the phase that is not to be "
                    "tuned, or call report() in the other."
                )
            )
        if step == self._last and self._last_reading is not None:
            before = self._last_reading
            if before.value.repeats(reading.value):
                self._notice_other_metrics(before, reading)
                return None
            of_one_form = before.form == reading.form
            raise (TwoValues if of_one_form else Refused)(
                f"two values of {self.metric!r} for {key} {number:g}: {before.value.text} in {before} and "
                f"{reading.value.text} in {reading}; "
                + f"if several processes {reading.verb} it, let only rank 0 do so; if not, "
                * of_one_form
                + f"ask for a name that only one of them has, or {reading.verb} a "
                f"count that rises from {reading.place} to {reading.place} and name it: Script(step='step')."
            )
        self._refuse_two_counts(reading, key)
        self._notice_a_doubt(reading, key, step)
        self._last, self._last_reading = step, reading
        self._notice_another_phase(reading, step)
        if why := uneven_headings(self._recent, key, self.metric):
            self.news["uneven"] = why
        if known is not None:
            if not known.repeats(reading.value) and not self._differs and step > self.memory.get("again", 0):
                self._differs, self.memory["again"] = True, step  # in a later start the same line may be read once more
                self.notices.append(
                    f"step {step} is {reading.value.text} when trained again; {known.text} stays on record"
                )
            return None
        if step < max(self.values, default=0):
            return None  # an interruption lost this step, but later ones are recorded
        return self._take(step, reading)

    def _notice_other_metrics(self, before: Reading, reading: Reading) -> None:
        """Tell if a further metric has two values at one step, as when each process of a training prints its own."""
        if reading.row is not None or before.form != reading.form:
            return
        both = before.metrics.keys() & reading.metrics.keys()
        for name in sorted(each for each in both if before.metrics[each] != reading.metrics[each]):
            self.news["other_metrics"] = (
                f"two values of {name!r} for one step, in {before} and in {reading}: the first counts. If several processes {reading.verb} "
                "it, let only rank 0 do so"
            )

    def _has_passed_it(self, reading: Reading, key: str) -> bool:
        """Note if the script rounds its end up (5000 steps in rollouts of 2048 are 6144): its last value within the horizon is
        its result, as a value from beyond is that of a longer training than the other trials get."""
        last = max(self._last, max(self.values, default=0))
        if self.beyond or not self.horizon / 2 <= last < self.horizon:  # rounding up adds less than there is already
            return False
        shift = self.memory["shift"] or 0
        self.beyond = (
            f"The script went from {self.name or key} {last - shift} to {reading.steps[key]:g}, past the horizon ({self.horizon}), and the value "
            f"there does not count, as it would come from a longer training than that of other trials. Set the horizon to a "
            f"number at which every trial has a value, such as {reading.steps[key] + shift:g}, or let the script end at {self.horizon - shift}."
        )
        return True

    def _refuse_two_counts(self, reading: Reading, key: str) -> None:
        """Refuse the second step of a training whose lines also have a much finer count, which may be the horizon's."""
        if len(self._recent) != 1 or self.name is not None or reading.sure is not None or reading.reported:
            return
        before = self._recent[0][1]
        pace = {word: reading.steps[word] - before.steps[word] for word in reading.steps if word in before.steps}
        for word in pace:
            is_finer = pace[word] > FINER * pace[key] and reading.steps[word] <= self.horizon
            if is_finer and self.horizon % pace[word] == 0:
                raise Refused(
                    f"{reading} counts {key} {reading.steps[key]:g} and {word} {reading.steps[word]:g}, and {self.horizon} may be "
                    f"the last {key} or the last {word}: write Script(step={key!r}) or Script(step={word!r})."
                )

    def _notice_a_doubt(self, reading: Reading, key: str, step: int) -> None:
        """Tell at the second step of a training that it may count from 0."""
        if self.memory["shift"] or len(self._recent) != 1 or len(self.values) != 1:
            return
        first = self._recent[0][0]
        if first in self.values and beginning.is_doubtful(first, step, reading.without.get(key, ())):
            self.memory["in_doubt"] = True
            self.news["doubt"] = beginning.doubt(self.name or key, first, step, reading.verb, self.metric)

    @property
    def may_be_at_the_horizon(self) -> str:
        """What to do about a training that has ended one step below its horizon, if it may count from 0; else empty."""
        last, key = self._last_reading, self.memory.get("key")
        if last is None or self.memory["shift"] != 0 or self._last != self.horizon - 1:
            return ""
        is_alone = len(self.values) == 1 and set(last.without.get(key or "", ())) <= {self._last}
        if not is_alone and not self.memory.get("in_doubt"):
            return ""
        return beginning.ended_in_doubt(self.name or str(key), self._last, last.verb, self.metric)

    def look_at_the_end(self) -> None:
        """Tell if a training that has ended before its horizon is at the horizon by another count of its last line."""
        last, key = self._last_reading, str(self.memory.get("key"))
        if last is None or key not in last.steps or self._last >= self.horizon:
            return
        ends = (self.horizon, self.horizon - (self.memory["shift"] or 0))
        others = {word: number for word, number in last.steps.items() if word != key}
        word = next((word for word, number in others.items() if number in ends), None)
        if word is None and len(self.values) == 1:  # the first rollout was longer than the horizon
            word = next((word for word in ENVIRONMENT_STEPS if others.get(word, 0) > self.horizon), None)
        if word is not None:
            self.news["another_count"] = (
                f"the script ended at {key} {last.steps[key]:g} and {word} {last.steps[word]:g}, and the horizon is "
                f"{self.horizon}: write Script(step={word!r}), or every trial seems to end early"
            )

    def _notice_another_phase(self, reading: Reading, step: int) -> None:
        """Tell of lines that may be of another phase of the script than those before them, and are counted on."""
        self._recent = [*self._recent, (step, reading)][-2 * SEEN :]
        if len(self._recent) == 2 * SEEN and is_another([(at, each.phase) for at, each in self._recent]):
            self.news["phases"] = (
                f"the {reading.place}s with {self.metric!r} change from {self._recent[SEEN - 1][1]} to {self._recent[SEEN][1]}, and all of "
                f"them count as steps of one training. If the first are no part of it, {reading.verb} another name in them, or call "
                "report() in the training"
            )

    def _take(self, step: int, reading: Reading) -> int:
        self.values[step] = reading.value
        return step
