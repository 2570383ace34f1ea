"""What a line of a training's output says: numbers with their names, and the steps that it belongs to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from trainables.scripts.names import OTHERS, SAME, SPLITS, key_of, same_name

NOT_FINITE = r"(?:nan(?:\(\w*\)|\b)|inf(?:inity)?\b|1\.#(?:qnan|snan|ind|inf)\d*)"  # also C's -nan(ind), 1.#QNAN
NUMBER = (
    rf"[-+]?(?:{NOT_FINITE}|\d+\.\d*[fFdD][-+]?\d+"  # Julia's 0.5f0, Fortran's 0.5D-01
    r"|(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
)
COUNT = r"(?P<number>\d{1,3}(?:,\d{3})+|\d+)\s*/\s*(?P<total>\d{1,3}(?:,\d{3})+|\d+)(?![\w.]*\w)"

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
        digits = min(_decimals(self.text), _decimals(other.text))
        return digits < max(_decimals(self.text), _decimals(other.text)) and (
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
        counted = re.search(rf"{_spelled(name)}\s*[=:|#]?\s*[\[(]?\s*{COUNT}", self.text, re.I)
        return None if counted is None else whole(counted["number"])

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
            if not value.unit and re.fullmatch(r"[\d,]+", value.text):
                found.setdefault(value.name, int(value.number))
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
        found = re.search(rf"{_spelled(name)}\s*(?:[=:|]|(?=[\[(]\s*[-+.\d]))\s*\S[^,;]*", self.text, re.I)
        return found.group().strip()[:80] if found else ""


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


def number_of(text: str) -> float:
    """The number that a text in the form of `NUMBER` stands for."""
    if "#" in text:  # as old Microsoft runtimes print it
        return float("-inf" if text.startswith("-") else "inf") if "inf" in text.lower() else math.nan
    return float(_exponent(text.replace(",", "").partition("(")[0]))


def whole(text: str) -> float:
    return float(text.replace(",", ""))


def _spelled(name: str) -> str:
    """A pattern for a name as printed, with blanks, dashes, dots and slashes alike."""
    words = r"[\s_/.-]+".join(map(re.escape, re.split(r"[\s_/.-]+", name.strip())))
    return rf"(?<![\w/.-])(?:[\"'])?{words}(?:[\"'])?"


def _exponent(text: str) -> str:
    """The number with its exponent behind an e."""
    return re.sub(r"(?<=[\d.])[fFdD](?=[-+\d])", "e", text)


def _decimals(text: str) -> int:
    mantissa, _, exponent = _exponent(text).lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return digits - int(exponent) if exponent else digits
