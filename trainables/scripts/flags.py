"""The command line of a script for a configuration.

So `batch_size` becomes `--batch-size` if that is the script's flag, and a switch is set or left out.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from search.records import Config
from search.work import CONFIG
from trainables.scripts.entry_point import entry_point

SHELLS = ("sh", "bash", "dash", "ksh", "zsh", "fish")
_SHORT_FORMS = (
    {"lr", "learningrate"},
    {"bs", "batchsize"},
    {"wd", "weightdecay"},
    {"epochs", "numepochs", "numtrainepochs"},
)
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.S)


@dataclass(frozen=True)
class Flag:
    """A flag: `name` without dashes, whether it takes a value or several, the flag that turns it `off`, whether it is on by
    default; of which type its value is, if that and the `choices` alone decide; its `default` in Python's words, if known."""

    name: str
    takes_value: bool = True
    takes_many: bool = False
    off: str | None = None
    is_short: bool = False  # -b, and no long name
    is_on: bool = False
    is_hidden: bool = False
    kind: str = ""
    choices: tuple[Any, ...] = ()
    default: str = ""

    def words(self, value: Any) -> list[str]:
        """The words of the command line for this value."""
        if value is None:
            return []
        if not self.takes_value:
            if value:
                return [f"--{self.name}"]
            return [f"--{self.off}"] if self.off else []
        if isinstance(value, (list, tuple)) and self.takes_many:
            return [f"-{self.name}" if self.is_short else f"--{self.name}", *map(str, value)]
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        return [f"-{self.name}", text] if self.is_short else [f"--{self.name}={text}"]


def command_words(
    command: str,
    config: Config,
    flag: str | None = None,
    known: Mapping[str, Flag] | None = None,
    places: Mapping[str, Any] | None = None,
) -> list[str]:
    """The command for a configuration, word by word.

    `places`: what replaces {config}, {folder} and {seed}. Parameters without a place in the command become flags, unless
    they are in the file that {config} names.
    """
    given = places or {}
    own = {name: given[name] for name in (CONFIG,) if name in given}
    words = filled(command, {**given, **config, **own})
    if own:
        return words
    placed = names_in(command)
    for name, value in config.items():
        if name not in placed:
            words += _flag_words(name, value, flag, known or {})
    return words


def filled(command: str, values: Mapping[str, Any]) -> list[str]:
    """The words of a command, each `{name}` replaced by its value.

    If there is no such value, because the parameter is not active, the word is left out, and the flag before it, too. So is
    None, of which only a word key={name} of a Python script can tell: Hydra and OmegaConf read key=null as None.
    """
    words: list[str] = []
    given = shlex.split(command)
    for place, word in enumerate(given):
        named = names_in(word)
        if [values.get(name, 0) for name in named] == [None] and says_none(given, place):
            words.append(f"{word.partition('=')[0]}=null")
        elif named <= set(values) and not any(values[name] is None for name in named):
            words.append(_FORMATTER.vformat(word, (), values) if named or "{{" in word or "}}" in word else word)
        elif words and re.fullmatch(r"--?[^\W\d_][\w.-]*", words[-1]):
            words.pop()
    return words


def says_none(words: Sequence[str], place: int) -> bool:
    """Whether the word there is key={name} for a Python script, and no variable for `env` or `docker run -e`."""
    entry = entry_point(words)
    return entry is not None and place > entry.place and is_setting(words[place])


def is_setting(word: str) -> bool:
    return bool(re.fullmatch(r"[^-=][^=]*=\{[^{}]*\}", word))


def shell_sign(command: str) -> str | None:
    """The first sign that only a shell understands, such as `&&`, `|` or `>`, not in quotes; None if there is none."""
    bare = _QUOTED.sub(lambda found: "_" * len(found.group()), command)
    sign = re.search(r"(?<!\S)(?:(?:&&|\|\|?|;|&|<)(?!\S)|(?:\d?>|&>)\S*)", bare)
    return None if sign is None else command[sign.start() : sign.end()]


def variable_in(command: str) -> str | None:
    """The first $NAME or ${NAME} that no shell would replace; None if there is none. `${{NAME}}` is meant literally."""
    words = shlex.split(command)
    for place, word in enumerate(words):
        flags = itertools.takewhile(lambda each: each.startswith("-"), words[place + 1 :])
        if Path(word).name in SHELLS and any(re.fullmatch(r"-\w*c", each) for each in flags):
            return None
        if found := re.search(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})", word):
            return found.group()
    return None


class _Formatter(Formatter):
    """Looks a value up by its whole name, with the dots in it."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        name, bracket, rest = field_name.partition("[")
        found, _ = super().get_field(f"value{bracket}{rest}", args, {"value": kwargs[name]})
        return _as_text(found), name


_FORMATTER = _Formatter()


def names_in(text: str) -> set[str]:
    """The `{names}` in a text; a dot is part of a name: {optim.lr}, {betas[0]}, {lr:.3g}."""
    try:
        return {name.partition("[")[0] for _, name, _, _ in Formatter().parse(text) if name}
    except ValueError:
        return set()


def find(name: str, known: Mapping[str, Flag]) -> Flag | None:
    """The flag of a parameter; dashes and underscores are equivalent."""
    plain = name.lstrip("-")
    if plain in known:
        return known[plain]
    return next((flag for other, flag in known.items() if _alike(other) == _alike(plain)), None)


def may_be_of_any_class(name: str, known: Mapping[str, Flag]) -> bool:
    """Whether a parameter `model.lr` is one of a class that the user chooses, whose flags jsonargparse does not list."""
    parts = name.split(".")
    return any(".".join([*parts[:end], "help"]) in known for end in range(1, len(parts)))


def listed(known: Mapping[str, Flag]) -> str:
    """
    >>> listed({name: Flag(name) for name in ("lr", "help", "batch-size")})
    '--batch-size, --lr'
    """
    return ", ".join(f"--{name}" for name in sorted(known) if name != "help" and not known[name].is_hidden)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of the `known` names that the user probably meant."""
    by_key, key = {_alike(other): other for other in known}, _alike(name)
    for same in _SHORT_FORMS:
        if key in same and (found := sorted(same & set(by_key))):
            return by_key[found[0]]
    close = [same for same, other in by_key.items() if "." in other and _alike(other.rpartition(".")[2]) == key]
    close += difflib.get_close_matches(key, list(by_key), n=1, cutoff=0.6)
    close += [
        other for other in by_key if min(len(other), len(key)) > 2 and (other.endswith(key) or key.endswith(other))
    ]
    return by_key[close[0]] if close else None


def _flag_words(name: str, value: Any, flag: str | None, known: Mapping[str, Flag]) -> list[str]:
    if flag is not None:
        if value is None and not is_setting(flag):
            return []
        text = "null" if value is None else _as_text(value)
        return [word.format(name=name, value=text) for word in shlex.split(flag)]
    found = find(name, known)
    if found is not None:
        return found.words(value)
    off = find(f"no-{name}", known)
    if off is not None and isinstance(value, bool):
        return [] if value else [f"--{off.name}"]
    return Flag(name.lstrip("-")).words(value)


def _as_text(value: Any) -> Any:
    """A list as JSON, which is also YAML, and a list for Hydra and OmegaConf."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) if isinstance(value, (list, tuple)) else value


def _alike(name: str) -> str:
    return re.sub(r"[-_.]", "", name.lower())
