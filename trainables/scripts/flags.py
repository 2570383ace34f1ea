"""The command line of a script for a configuration, and the flags that the script lists.

If a script reads its flags with argparse, click, typer, absl or a library based on them, we call it once with `--help`.
So `batch_size` becomes `--batch-size` if that is its flag, a switch is set or left out, and a wrong name is refused
before anything starts.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from search.records import Config
from search.work import CONFIG

_SHELLS = ("sh", "bash", "dash", "ksh", "zsh", "fish")
_SHORT_FORMS = (
    {"lr", "learningrate"},
    {"bs", "batchsize"},
    {"wd", "weightdecay"},
    {"epochs", "numepochs", "numtrainepochs"},
)
PATIENCE = 60.0  # seconds to wait for --help, as the script may import torch first
_ASKABLE = re.compile(
    r"\b(?:argparse|ArgumentParser|click|typer|absl|HfArgumentParser|jsonargparse|simple_parsing|tyro|configargparse)\b"
)
_OPTION = re.compile(r"[\s│┃|*]*-{1,2}[A-Za-z\[]")
_FLAG = re.compile(r"\s*(?:[,/|]\s*)?(?P<dashes>--?)(?P<name>(?:\[no\])?[A-Za-z][\w.-]*)")
_METAVAR = re.compile(  # after one blank; after more in typer's tables; after a colon in absl's
    r"(?:[ =]|\[=)(?![\s\-,/|])[^\s,]+(?: \[[^\]]*\.\.\.\])?|\s+(?:INTEGER|FLOAT|TEXT|PATH|FILE|DIRECTORY|UUID|<(?!bool)\w+>|\[\w+(?:\|\w+)+\])(?=\s|$)|:(?=\s)"
)


@dataclass(frozen=True)
class Flag:
    """A flag: `name` without dashes, whether it takes a value or several, the flag that turns it `off`."""

    name: str
    takes_value: bool = True
    takes_many: bool = False
    off: str | None = None
    is_short: bool = False  # -b, and no long name

    def words(self, value: Any) -> list[str]:
        """The words of the command line for this value."""
        if value is None:
            return []
        if not self.takes_value:
            if value:
                return [f"--{self.name}"]
            return [f"--{self.off}"] if self.off else []
        if self.is_short:
            return [f"-{self.name}", str(value)]
        if isinstance(value, (list, tuple)):
            if self.takes_many:
                return [f"--{self.name}", *map(str, value)]
            value = ",".join(map(str, value))
        return [f"--{self.name}={value}"]


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

    If there is no such value, because the parameter is not active, the word is left out, and the flag before it, too.
    """
    words: list[str] = []
    for word in shlex.split(command):
        named = names_in(word)
        if named <= set(values) and not any(values[name] is None for name in named):
            words.append(word.format(**values) if named or "{{" in word or "}}" in word else word)
        elif words and re.fullmatch(r"--?[A-Za-z][\w.-]*", words[-1]):
            words.pop()
    return words


def shell_sign(command: str) -> str | None:
    """The first sign that only a shell understands, such as `&&`, `|` or `>`, not in quotes; None if there is none."""
    words = shlex.split(command, posix=False)  # which keeps the quotes
    return next((word for word in words if re.fullmatch(r"&&|\|\|?|;|&|\d?>>?(?:&\d)?.*|&>.*|<", word)), None)


def variable_in(command: str) -> str | None:
    """The first $NAME or ${NAME} that no shell would replace; None if there is none. `${{NAME}}` is meant literally."""
    words = shlex.split(command)
    for place, word in enumerate(words):
        flags = itertools.takewhile(lambda each: each.startswith("-"), words[place + 1 :])
        if Path(word).name in _SHELLS and any(re.fullmatch(r"-\w*c", each) for each in flags):
            return None
        if found := re.search(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})", word):
            return found.group()
    return None


def names_in(text: str) -> set[str]:
    """The `{names}` in a text."""
    try:
        return {re.split(r"[.\[]", name)[0] for _, name, _, _ in Formatter().parse(text) if name}
    except ValueError:
        return set()


def find(name: str, known: Mapping[str, Flag]) -> Flag | None:
    """The flag of a parameter; dashes and underscores are equivalent."""
    plain = name.lstrip("-")
    if plain in known:
        return known[plain]
    return next((flag for other, flag in known.items() if _alike(other) == _alike(plain)), None)


def listed(known: Iterable[str]) -> str:
    """
    >>> listed(["lr", "help", "batch-size"])
    '--batch-size, --lr'
    """
    return ", ".join(f"--{name}" for name in sorted(known) if name != "help")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of the `known` names that the user probably meant."""
    by_key, key = {_alike(other): other for other in known}, _alike(name)
    for same in _SHORT_FORMS:
        if key in same and (found := sorted(same & set(by_key))):
            return by_key[found[0]]
    close = difflib.get_close_matches(key, list(by_key), n=1, cutoff=0.6)
    close += [
        other for other in by_key if min(len(other), len(key)) > 2 and (other.endswith(key) or key.endswith(other))
    ]
    return by_key[close[0]] if close else None


def flags_of(help_text: str) -> dict[str, Flag]:
    """The flags in a help text, by name."""
    known: dict[str, Flag] = {}
    for line in help_text.splitlines():
        if _OPTION.match(line):
            declared = list(_declared(line.strip(" │┃|*")))
            takes = any(value for _, _, value in declared)
            many = any("..." in value for _, _, value in declared)
            long = [name for dashes, name, _ in declared if dashes == "--"]
            for name in long or [name for _, name, _ in declared]:
                plain = name.removeprefix("[no]")
                twin = next((other for other in long if other in (f"no-{plain}", f"no_{plain}")), None)
                off = f"no{plain}" if plain != name else twin
                known[plain] = Flag(plain, takes and off is None, many, off, is_short=not long)
    return known


def _declared(line: str) -> Iterator[tuple[str, str, str]]:
    """The flags at the beginning of a line: dashes, name, and the placeholder of the value."""
    position = 0
    while found := _FLAG.match(line, position):
        value = _METAVAR.match(line, found.end())
        position = value.end() if value else found.end()
        yield found["dashes"], found["name"], value.group().strip() if value else ""


def ask(command: str) -> dict[str, Flag]:
    """The flags that the script of this command lists; empty if it cannot be asked. Runs it only once."""
    words, text = _askable(command)
    return _asked(words, str(Path.cwd()), text) if words else {}


def missing_import(command: str) -> str:
    """The error with which the script's --help ends, if it is that something cannot be imported; else empty."""
    words, text = _askable(command)
    last = _help(words, str(Path.cwd()), text).strip().rpartition("\n")[2] if words else ""
    return last if last.startswith(("ModuleNotFoundError: ", "ImportError: ")) else ""


def _askable(command: str) -> tuple[tuple[str, ...], str]:
    """The words that start the script, and its text; no words if it may not know --help and train at once."""
    words = shlex.split(command)
    place = script_place(words)
    source = None
    if place is not None:
        source = Path(words[place]) if words[place].endswith(".py") else _module(words[place])
    if place is None or source is None or not source.is_file() or any(map(names_in, words[:place])):
        return (), ""
    text = source.read_text(errors="replace")
    return (tuple(words[: place + 1]), text) if _ASKABLE.search(text) else ((), "")


def script_place(words: Sequence[str]) -> int | None:
    """The index of the Python script, or of the module after -m, among the words of a command."""
    for place, word in enumerate(words):
        if word.endswith(".py") and not word.startswith("-"):
            return place
        if word == "-m" and place + 1 < len(words) and _module(words[place + 1]) is not None:
            return place + 1
    return None


def _module(name: str) -> Path | None:
    base = Path(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__main__.py") if path.is_file()), None)


@functools.lru_cache(maxsize=64)
def _asked(words: tuple[str, ...], folder: str, text: str) -> dict[str, Flag]:
    key = hashlib.sha256("\0".join([*words, folder, text]).encode()).hexdigest()[:24]
    home = Path(os.environ.get("ORCHESTRATOR_CACHE") or Path.home() / ".cache" / "orchestrator")
    kept = home / "flags" / f"{key}.json"
    try:
        return {name: Flag(**flag) for name, flag in json.loads(kept.read_text()).items()}
    except (OSError, ValueError, TypeError):
        pass
    found = flags_of(_help(words, folder, text))
    if found:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_suffix(f".{os.getpid()}")
            unfinished.write_text(json.dumps({name: asdict(flag) for name, flag in found.items()}))
            unfinished.replace(kept)
        except OSError:
            pass
    return found


@functools.lru_cache(maxsize=64)
def _help(words: tuple[str, ...], folder: str, text: str) -> str:
    """What the script answers; asked again in another `folder`, or once its `text` has changed."""
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "CUDA_VISIBLE_DEVICES": ""}
    for name in ("TRIAL_FOLDER", "TRIAL_RUNNER"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            [*words, "--help"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=PATIENCE, start_new_session=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + "\n" + done.stderr


def _flag_words(name: str, value: Any, flag: str | None, known: Mapping[str, Flag]) -> list[str]:
    if flag is not None:
        return [word.format(name=name, value=value) for word in shlex.split(flag)]
    found = find(name, known)
    if found is not None:
        return found.words(value)
    off = find(f"no-{name}", known)
    if off is not None and isinstance(value, bool):
        return [] if value else [f"--{off.name}"]
    return Flag(name.lstrip("-")).words(value)


def _alike(name: str) -> str:
    return re.sub(r"[-_.]", "", name.lower())
