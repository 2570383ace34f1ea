"""The config files that a command starts from: those that it names, or what its script's parser or `@hydra.main` says.

So a resume can say that one was edited, and a dry run that a word such as `optim.lr=0.1` sets a key which the file lacks.
Of Hydra's defaults list the groups are followed one level down; where more would be needed to be certain, nothing is said.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.work import CONFIG
from trainables.scripts import config_file
from trainables.scripts.entry_point import entry_point
from trainables.scripts.flags import names_in

ENDINGS = (".json", ".toml", ".yaml", ".yml")
LARGEST = 1_000_000  # bytes of a file that is looked at
_KEY = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)=(.*)", re.DOTALL)  # not +key=, which adds one, nor --key=
_DEFAULT = re.compile(r"""\bdefault\s*=\s*["']([^"'\n]+\.(?:toml|ya?ml))["']""")
_HYDRAS = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")


@dataclass
class Base:
    """What a command starts from."""

    files: list[Path]  # the first gives its name to what is said
    content: dict[str, Any] = field(default_factory=dict)  # empty: not known
    unknown: set[str] = field(default_factory=set)  # sections whose keys nobody knows here
    is_certain: bool = False  # every key of the command has its place in it


def files(command: str) -> list[Path]:
    """The config files that a command starts from, as far as they are there."""
    words = shlex.split(command)
    hydras = _of_hydra(words)
    named = _named(words) or ([] if CONFIG in names_in(command) else _of_defaults(words))
    return list(dict.fromkeys([*named, *(hydras.files if hydras is not None else ())]))


def wrong_key(command: str, flag: str | None, config: str | None, names: Sequence[str]) -> str:
    """The first word key=value of the command for a parameter whose key its config file lacks, in a sentence; else empty.

    `flag`: how parameters are passed that the command does not name; `config`: the file that `{config}` stands for.
    """
    words = shlex.split(command)
    keys, base = list(_keys(words, flag if config is None else None, names)), _base(words, config)
    if not keys or base is None or not base.content:
        return ""
    groups = {key for key in keys if isinstance(base.content.get(key), Mapping)}  # another option of a group is tuned
    tuned = [key for key in keys if key.partition(".")[0] not in base.unknown | groups]
    wrong = {key: near for key in tuned if (near := config_file.instead(base.content, key)) is not None}
    if not wrong or not (base.is_certain or any(wrong.values()) or len(wrong) < len(keys)):
        return ""  # a file of something else
    key, near = next(iter(wrong.items()))
    hint = f" Did you mean {near!r}?" if near else ""
    return (
        f"{base.files[0]} has no key {key!r}, which the command sets: the script may refuse it, or not read it.{hint}"
    )


def is_unknown(command: str, flag: str) -> bool:
    """Whether nobody knows here which names the command takes in the form of `flag`."""
    base = _base(shlex.split(command), None) if flag.startswith("{name}=") else None
    return base is None or not base.content


def _base(words: Sequence[str], config: str | None) -> Base | None:
    return _of_hydra(words) or _of_files([Path(config)] if config is not None and "." in config else _named(words))


def _keys(words: Sequence[str], flag: str | None, names: Sequence[str]) -> Iterator[str]:
    """The keys that the command sets to values of parameters."""
    placed = {name for word in words for name in names_in(word)}
    for word in words:
        found = _KEY.fullmatch(word)
        if found and names_in(found[2]) & set(names):
            yield found[1]
    if flag is not None and flag.startswith("{name}="):
        yield from (name for name in names if name not in placed and _KEY.fullmatch(f"{name}="))


def _named(words: Sequence[str]) -> list[Path]:
    """The config files among the words, alone or after `=`."""
    texts = (text for word in words[1:] for text in (word, word.partition("=")[2]))
    return list(dict.fromkeys(Path(text) for text in texts if text.endswith(ENDINGS) and _is_small(Path(text))))


def _of_defaults(words: Sequence[str]) -> list[Path]:
    """The config files that the script's parser starts from if no word names one; JSON may be what it writes."""
    entry = entry_point(words)
    texts = _DEFAULT.findall(entry.text) if entry is not None else []
    return [Path(text) for text in texts if _is_small(Path(text))]


def _is_small(path: Path) -> bool:
    return os.path.isfile(path) and path.stat().st_size <= LARGEST  # a text of sh -c is too long for the name of a file


def _of_files(paths: Sequence[Path]) -> Base | None:
    """One file; of several, nobody knows which of them a word changes."""
    return Base(list(paths), _read(paths[0]) or {}) if len(paths) == 1 else None


def _of_hydra(words: Sequence[str]) -> Base | None:
    """What `@hydra.main(config_path=…, config_name=…)` of the script names, with the groups of its defaults list."""
    entry = entry_point(words)
    if entry is None or any(word.partition("=")[0] in _HYDRAS for word in words):
        return None
    given = _decorated(entry.text)
    if not given.get("config_path") or not given.get("config_name"):
        return None
    primary = entry.path.parent / given["config_path"] / f"{given['config_name'].removesuffix('.yaml')}.yaml"
    content = _read(primary)
    if content is None:
        return None
    base, defaults = Base([primary], content, is_certain=True), content.pop("defaults", None) or []
    groups = [_group(entry, primary.parent) for entry in defaults if entry != "_self_"]
    for group in groups:
        if group is None:  # it may bring keys of any section
            return Base([*base.files, *(other.files[0] for other in groups if other and other.files)])
        base.files += group.files
        base.unknown |= group.unknown
        base.content = _merged(group.content, base.content)
    return base


def _group(entry: Any, folder: Path) -> Base | None:
    """A group of the defaults list, such as {"model": "resnet"}; None if it may bring keys outside of its section."""
    if not isinstance(entry, Mapping) or len(entry) != 1:
        return None
    name, option = next(iter(entry.items()))
    if str(name).startswith("override hydra/"):
        return Base([])
    path = folder / str(name) / f"{option}.yaml"
    content = _read(path)
    if not re.fullmatch(r"\w+", str(name)) or (content is not None and "@package" in path.read_text(errors="replace")):
        return None
    is_known = content is not None and "defaults" not in content
    return Base([path] if content is not None else [], {name: content}, set() if is_known else {name})


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where `above` counts."""
    both = {
        name: _merged(below[name], value)
        if isinstance(below.get(name), Mapping) and isinstance(value, Mapping)
        else value
        for name, value in above.items()
    }
    return {**below, **both}


def _read(path: Path) -> dict[str, Any] | None:
    """What is in the file; None if it is not there, too large, or no config file."""
    try:
        return config_file.read(path) if _is_small(path) else None
    except (OSError, ValueError):
        return None


def _decorated(text: str) -> dict[str, str]:
    """The texts that a script gives to `hydra.main`."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "hydra.main":
            named = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            return {str(name): value for name, value in named.items() if isinstance(value, str)}
    return {}
