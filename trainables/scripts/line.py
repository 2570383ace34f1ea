"""What a line of a training's output says: numbers with their names, and the steps that it belongs to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from trainables.scripts.names import LETTER, OTHERS, SAME, SPLITS, key_of, same_name
from trainables.scripts.numbers import COUNT, STEP_GOES_ON, WHOLE, decimals, number_of, step_of, whole

_GROUPED_COUNT = re.compile(rf"(?<!\w)(?P<word>{LETTER}\w*)\s*[=:]?\s*(?P<number>[1-9]\d{{0,2}},\d{{3}})(?![\w.,]*\d)")
_SEEMS_A_NUMBER = r"(?:\s*(?:[=:|]|(?=[\[(]\s*[-+.\d]))\s*\S|\s+[-+~≈<>≤≥−]?\.?\d)(?:[^,;]|,(?=\d))*"

_BARE_COUNT = re.compile(
    r"(?:^|(?<=\s))([<#({]|[^\W\d]+\.(?= ))\s?(\d+)(?=[>)}:]{0,2}(?:\s|$))"
)  # <10>, #10, (10), Up. 400


@dataclass(frozen=True)
class Value:
    """A number with its name: `name` as printed; `split`: the part of the data that the line named before it; `unit`: what
    stands behind the number, as in 12ms."""

    name: str
    text: str
    split: str = ""
    unit: str = ""

    @property
    def number(self) -> float:
        return number_of(self.text)

    def repeats(self, other: Value) -> bool:
        """Whether it is the same number, perhaps printed with fewer digits."""
        if self.number == other.number or (math.isnan(self.number) and math.isnan(other.number)):
            return True
        digits = min(decimals(self.text), decimals(other.text))
        return digits < max(decimals(self.text), decimals(other.text)) and (
            abs(self.number - other.number) <= 0.5000001 * 10.0**-digits
        )


@dataclass(frozen=True)
class Line:
    """The content of a line. `is_progress`: it covers a part of a step (`[10/391]`), so its values are no result.
    `counted`: the numbers with a total behind them, by word: {"epoch": (3, 20)}. Of a row in a file, `others`: what stands
    in place of a number, by name, {"loss": "null"}, None in a line of prose; `broken`: why it cannot be read."""

    text: str = ""
    values: tuple[Value, ...] = ()
    steps: Mapping[str, float] = field(default_factory=dict)
    is_heading: bool = False
    is_progress: bool = False
    counted: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    others: Mapping[str, str] | None = None
    broken: str = ""

    def value(self, name: str) -> Value | None:
        """The first value with this name as printed, or else with a name that a person would take for the same."""
        for agrees in (_is, _is_called, _ends_in):
            found = next((value for value in self.values if agrees(value, name)), None)
            if found is not None:
                return found
        return None

    def step(self, name: str) -> float | None:
        """The step with this name; it may also be a value, or stand before its total (`Script(step="updates")`)."""
        key = key_of(name)
        if key in self.steps:
            return self.steps[key]
        if (found := self.value(name)) is not None:
            return found.number
        before = rf"{spelled(name)}\s*[=:|#]?\s*[\[(]?\s*"
        if (counted := re.search(rf"{before}{COUNT}", self.text, re.I)) is not None:
            return whole(counted["number"])
        alone = re.search(
            rf"{before}(?P<number>{WHOLE})(?:(?=(?P<behind>{STEP_GOES_ON}))|(?=$|[\s;|)\]}}:,]))", self.text, re.I
        )
        return None if alone is None else step_of(alone["number"], alone["behind"])

    def other(self, name: str) -> str:
        """What stands in a row in place of the number of `name`; empty if nothing does."""
        others = self.others or {}
        same = same_name(name, others)
        return "" if same is None else others[same]

    @property
    def whole_numbers(self) -> dict[str, int]:
        """The whole numbers without a unit, by name, which may be a count of steps."""
        found = {word: int(number) for word, (number, _) in self.counted.items() if word not in self.steps}
        for value in self.values:
            if not value.unit and re.fullmatch(r"[\d,]{1,20}", value.text):
                found.setdefault(value.name, int(value.number))
        for count in _GROUPED_COUNT.finditer(self.text):
            found.setdefault(count["word"], int(whole(count["number"])))
        for before, number in _BARE_COUNT.findall(self.text):
            found.setdefault(before, int(number))
        return found

    def doubtful(self, name: str) -> str:
        """The text in place of the value of `name`; empty if the line has the value, or does not mention the name."""
        longer = f"_{key_of(name)}"  # `val loss=0.5` has another metric than `loss`, and no doubtful value of it
        if self.value(name) is not None or any(key_of(value.name).endswith(longer) for value in self.values):
            return ""
        if self.others is not None:
            stands = self.other(name)
            return f"{name}={stands}"[:80] if stands else ""
        for found in re.finditer(rf"{spelled(name)}{_SEEMS_A_NUMBER}", self.text, re.I):
            before = re.split(r"[\s_/.-]+", self.text[: found.start()].rstrip(" _/.-").lower())[-1]
            if before.strip("([") not in OTHERS:  # `best loss` is another metric
                return found.group().strip()[:80]
        return ""


def _is(value: Value, name: str) -> bool:
    return value.name == name


def _is_called(value: Value, name: str) -> bool:
    key = key_of(name)
    if key_of(value.name) == key:
        return True
    if value.split and key_of(f"{value.split}/{value.name}") == key:
        return True
    words = key.split("_")
    return bool(value.split) and SAME.get(words[0], words[0]) == value.split and _ends_in(value, "_".join(words[1:]))


def _ends_in(value: Value, name: str) -> bool:
    """Whether a value is `name` with other words before it: `Average loss` is the loss, `best loss` is another."""
    printed, key = value.name.split(), key_of(name)
    for place in range(len(printed)):
        if key_of(" ".join(printed[place:])) == key:
            before = {SAME.get(word, word) for each in printed[:place] for word in key_of(each).split("_")}
            asked = {SAME.get(word, word) for word in key.split("_")}  # `Eval eval/loss` is eval/loss
            return not OTHERS.intersection(before) - (asked & set(SPLITS))
    return False


def spelled(name: str) -> str:
    """A pattern for a name as printed, with blanks, dashes, dots and slashes alike."""
    words = r"[\s_/.-]+".join(map(re.escape, re.split(r"[\s_/.-]+", name.strip())))
    return rf"(?<![\w/.-])(?:[\"'])?{words}(?:[\"'])?"
