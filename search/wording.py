"""How messages show things in a line: a searcher, a scheduler or a policy by its class and what was set; an error of
several lines.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search.history import Trial
    from search.records import Config

FAILED_ALIKE = "trials failed in the same way"  # their number stands before it, and ": " and their reason behind it
_IGNORED = re.compile(
    r"^Exception ignored (?:in|while)\b.*\n(?:Traceback \(most recent call last\):\n(?:[ \t].*\n)*(?:\S.*(?:\n|\Z))?)?",
    re.M,
)
LONGEST = 400  # characters of a message of several lines
EXAMPLES = {"Searcher": "Random()", "Scheduler": "Asha()", "Policy": "LrSchedule()"}  # of each contract


def shown(thing: object) -> str:
    """A dataclass as it was written: its class, with the settings that differ from the defaults. Else the `repr`.

    A class whose arguments are no fields says itself how it was written: `in_short()`.

    >>> from search import Asha
    >>> shown(Asha(grace_period=1)), shown(Asha(grace_period=3))
    ('Asha()', 'Asha(grace_period=3)')
    """
    if isinstance(thing, type):
        return thing.__name__
    if callable(in_short := getattr(thing, "in_short", None)):
        return str(in_short())
    if not is_dataclass(thing) or not hasattr(type(thing).__repr__, "__wrapped__"):  # its repr is not the generated one
        return repr(thing)
    given = []
    for each in fields(thing):
        value = getattr(thing, each.name)
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if each.repr and (default is MISSING or repr(value) != repr(default)):  # an array has no plain `!=`
            given.append(f"{each.name}={shown(value)}")
    return f"{type(thing).__name__}({', '.join(given)})"


def one_line(lines: Sequence[str]) -> str:
    """The lines of one message as one, shortened to `LONGEST` characters; a single line as it is.

    >>> one_line(["2 errors in the configuration", "lr", "  too large", "steps", "  missing"])
    '2 errors in the configuration; lr: too large; steps: missing'
    """
    joined = "".join(
        line.strip() if not before else f"{_between(before, line)}{line.strip()}"
        for before, line in zip(["", *lines], lines, strict=False)
    )
    return joined if len(lines) < 2 else textwrap.shorten(joined, LONGEST, placeholder=" …")


def without_ignored(output: str) -> str:
    """A program's output without the errors that Python ignored, such as that of a `__del__` after the program's own error.

    >>> without_ignored("ValueError: 2\\nException ignored in: <f>\\nTraceback (most recent call last):\\n  File\\nKeyError: 1\\n")
    'ValueError: 2\\n'
    """
    rest = _IGNORED.sub("", output)
    return rest if rest.strip() else output


def message_at(lines: Sequence[str], index: int) -> list[str]:
    """The line of an output with those that continue it: behind a colon, indented more, or above such a line.

    >>> message_at(["ValueError: 2 errors", "lr", "  too large", "Saved.", "Bye."], 0)
    ['ValueError: 2 errors', 'lr', '  too large']
    """
    margin, end = _indent(lines[index]), index + 1
    while end < len(lines):
        is_head = end + 1 < len(lines) and _indent(lines[end + 1]) > margin
        if not (lines[end - 1].rstrip().endswith(":") or _indent(lines[end]) > margin or is_head):
            break
        end += 1
    return list(lines[index:end])


def _between(before: str, line: str) -> str:
    if before.rstrip().endswith((".", ":", ";", ",", "!", "?")):
        return " "
    return ": " if _indent(line) > _indent(before) else "; "


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def with_found(trial: Trial) -> dict[str, Any]:
    """A trial's configuration; where its training found a value by itself, that value, and what it began at."""
    return together(trial.config, trial.found)


def together(config: Config, found: Mapping[str, float]) -> dict[str, Any]:
    """A configuration with what its training found, as `with_found` shows it.

    >>> together({"lr": 0.0144, "batch_size": 32}, {"lr": 0.0577})
    {'lr': '0.0577 (found in training; began at 0.0144)', 'batch_size': 32}
    """
    told = dict(config)
    for name, value in found.items():
        if name in config:
            began = config[name]
            began = f"{began:.3g}" if isinstance(began, (int, float)) else began
            told[name] = f"{value:.3g} (found in training; began at {began})"
        else:
            told[f"{name} found in training"] = value
    return told


def instance(title: str, wanted: type, /, **values: object) -> None:
    """Each of `values` must be an instance of `wanted`; raises ValueError with the remedy.

    >>> from search import Searcher, Tpe
    >>> instance("Points", Searcher, then=Tpe)
    Traceback (most recent call last):
        ...
    ValueError: Points(then=Tpe): that is the class; write Tpe().
    """
    for name, value in values.items():
        if isinstance(value, wanted):
            continue
        place = f"{title}({name}={shown(value)})"
        if objection := as_class(place, value, wanted):
            raise ValueError(objection)
        remedy = underived(value, wanted)
        such = f"; {remedy}" if remedy else f", such as {EXAMPLES[wanted.__name__]}"
        raise ValueError(f"{place}: must be a {wanted.__name__.lower()}{such}.")


def as_class(place: str, value: object, wanted: type) -> str:
    """The objection to a class where `place` wants an instance, with the remedy; "" if `value` is none."""
    if not (isinstance(value, type) and issubclass(value, wanted)):
        return ""
    return f"{place}: that is the class; write {call_of(value)}."


def underived(value: object, wanted: type) -> str:
    """The remedy for a class that has the methods of a contract, and is not derived from it; "" for all else."""
    kind = value if isinstance(value, type) else type(value)
    methods = getattr(wanted, "__abstractmethods__", ())
    if issubclass(kind, wanted) or not methods or not all(hasattr(value, name) for name in methods):
        return ""
    return f"derive the class from it: class {kind.__name__}({wanted.__name__}), of {wanted.__module__}"


def call_of(kind: type) -> str:
    """How to make one: `RateRace()`, or `Warmup(…)` if it needs an argument."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except ValueError:  # a class of C, whose arguments nobody can read
        return f"{kind.__name__}(…)"
    for each in parameters:
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD:
            return f"{kind.__name__}(…)"
    return f"{kind.__name__}()"
