"""Values that a script's flag cannot take, as its parser says: of a type, or the only choices. And None, for which there
is no word: the flag is left out, and the script trains with its default.

So a space which proposes other values is refused before the start.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from search.domain.parameters import Float, Parameter
from trainables.scripts.entry_point import EntryPoint, entry_point
from trainables.scripts.flags import Flag, find, is_setting, names_in, says_none

if TYPE_CHECKING:
    from search.space import Space

MOST = 100  # values of a parameter to look at


def _whole(text: str) -> int:
    """As typer reads it: 64.0 is 64."""
    value = float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


_READ: dict[str, Callable[[str], Any]] = {"int": int, "whole number": _whole, "float": float, "str": str}


def wrong_value(command: str, known: Mapping[str, Flag], space: Space) -> str:
    """The first value of the space or the command that its flag does not take, in a sentence; empty if all may be right.

    `known`: the flags that the script has.
    """
    words = shlex.split(command)
    entry = entry_point(words)
    if entry is None:
        return ""
    for flag, value in _given(words[entry.place + 1 :], known):
        if not names_in(value) and not _takes(flag, value):
            return f"{command!r}: {_taken(flag, entry)}, not {value!r}, which is in the command."
    for name, flag in _flags(words, known, space).items():
        values = space.parameters[name].values(MOST)
        wrong = [value for value in values if not _takes(flag, value)]
        if wrong and (len(wrong) == len(values) or not space.describe()["constraints"]):  # which may exclude some
            if None in wrong:
                return (
                    f"{command!r}: the parameter {name!r} may be None, and no word says None to --{flag.name} ({_declared(flag, entry)}): "
                    f"the flag is left out, and the script trains with its default, {flag.default}. {_none_remedy(name, values, flag)}"
                )
            if lists := [value for value in wrong if isinstance(value, list) and not flag.takes_many]:
                texts = [",".join(map(str, value)) if isinstance(value, list) else value for value in values]
                return (
                    f"{command!r}: --{flag.name} takes one value ({_declared(flag, entry)}), but the parameter {name!r} may be "
                    f"{lists[0]!r}; let the script take several there, as with argparse's nargs='*', or write choice({texts!r}) and "
                    "split the text in the script."
                )
            return (
                f"{command!r}: {_taken(flag, entry)}, but the parameter {name!r} may be {wrong[len(wrong) // 2]!r}; "
                f"{_remedy(space.parameters[name], flag)}"
            )
    return ""


def unsaid_none(command: str, flag: str | None, config: str | None, known: Mapping[str, Flag], space: Space) -> str:
    """Which parameter may be None, where the script is not told and its default is not known, with the remedy; else empty."""
    words, named = shlex.split(command), names_in(command)
    entry, flags = entry_point(words), _flags(words, known, space)
    reads_otherwise = entry is not None and re.search(r"\bwandb\b|\bparameters\(", entry.text)
    for name, parameter in space.parameters.items():
        if None not in (values := parameter.values(MOST)) or (name in flags and flags[name].default):
            continue
        if name in named:
            is_told = all(says_none(words, at) for at, word in enumerate(words) if name in names_in(word))
        elif config is not None:
            is_told = not config.endswith("toml")
        else:
            is_told = bool(is_setting(flag) if flag is not None else reads_otherwise)
        if not is_told:
            left = (
                "its key is left out of the TOML file"
                if config and name not in named
                else "its word is left out of the command"
            )
            return (
                f"{name!r} may be None. Then {left}, and the script trains with its own default, which may be another value: write "
                f"{_none_as_a_word(name, values)} and let the script turn 'none' into None"
            )
    return ""


def _flags(words: list[str], known: Mapping[str, Flag], space: Space) -> dict[str, Flag]:
    """The flag of each parameter, by its name or as the command has it."""
    flags = {name: found for name in space.names if (found := find(name, known))}
    for flag, value in _given(words, known):
        if (name := value[1:-1]) in space.parameters and value == f"{{{name}}}":
            flags[name] = flag
    return flags


def _none_remedy(name: str, values: list[Any], flag: Flag) -> str:
    if not flag.takes_value:
        return "Tune it as choice([True, False])."
    return f"Write {_none_as_a_word(name, values)} and let the script turn 'none' into None, or make None its default."


def _none_as_a_word(name: str, values: list[Any]) -> str:
    options = ", ".join(repr("none" if value is None else value) for value in values)
    return f"{name!r}: " + (f"choice([{options}])" if len(values) > 1 else options)


def _takes(flag: Flag, value: Any) -> bool:
    if value is None:  # the flag is left out
        return flag.default in ("", "None")
    if isinstance(value, list):
        return flag.takes_many and all(_takes(replace(flag, takes_many=False), each) for each in value)
    if not flag.kind:  # it may take anything
        return True
    try:
        read = _READ[flag.kind](str(value))
    except ValueError:
        return False
    return not flag.choices or read in flag.choices


def _taken(flag: Flag, entry: EntryPoint) -> str:
    return f"--{flag.name} takes {_in_words(flag)} ({_declared(flag, entry)})"


def _declared(flag: Flag, entry: EntryPoint) -> str:
    """Where the script declares the flag, as far as a line with its name tells."""
    words = "[-_]".join(map(re.escape, re.split("[-_]", flag.name)))
    name = re.compile(rf"(?<!\w){words}(?![\w-])")
    line = next((f", line {at}" for at, text in enumerate(entry.text.splitlines(), 1) if name.search(text)), "")
    return f"{entry.path}{line}"


def _in_words(flag: Flag) -> str:
    if flag.choices:
        return f"one of {', '.join(map(repr, flag.choices))}"
    return "numbers" if flag.kind == "float" else "whole numbers"


def _given(words: list[str], known: Mapping[str, Flag]) -> Iterator[tuple[Flag, str]]:
    """The long flags among the words, each with its value, after = or in the next word."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:] in known and (equals or not following.startswith("-")):
            yield known[name[2:]], value if equals else following


def _remedy(parameter: Parameter, flag: Flag) -> str:
    if flag.kind == "str" and not any(isinstance(option, str) for option in flag.choices):
        return f"without type={type(flag.choices[0]).__name__} beside its choices the script refuses every value."
    if flag.choices:
        return "leave out what the script does not take, or add it to the script's choices."
    if isinstance(parameter, Float):
        low, high = math.ceil(parameter.low), math.floor(parameter.high)
        if low < high:
            return f"tune it with {'lograndint' if parameter.log else 'randint'}({low}, {high})."
    return f"tune it with {_in_words(flag)}, or let the script take other values."
