"""Flags that stand in the user's own command: which of them the script does not have.

Parameters are checked elsewhere. Here a word is wrong only if it is certain: the script uses argparse, click or typer,
lists its flags, and leaves none of its words to others (parse_known_args). Behind a subcommand its own flags count.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from trainables.scripts import subcommands
from trainables.scripts.entry_point import entry_point
from trainables.scripts.flag_libraries import ABBREVIATING, LENIENT, SILENT, STRICT, naming
from trainables.scripts.flags import Flag, listed, nearest

_READS_THEM, _ABBREVIATES, _READS_MORE = naming(STRICT), naming(ABBREVIATING), naming((*LENIENT, *SILENT))
_LEAVES_SOME = re.compile(
    r"parse_known|REMAINDER|fromfile_prefix_chars|ignore_unknown_options|allow_extra_args|return_remaining_strings|sys\.argv(?!\[1:\]\))"
)
_ONE_FILE = re.compile(  # of transformers' examples: the only word may be a file with the arguments
    r"len\(sys\.argv\) == 2 and sys\.argv\[1\]\.endswith\([^)]*\)|os\.path\.abspath\(sys\.argv\[1\]\)"
)
_NAMED = re.compile(r"--(?P<name>[^\W\d_][\w.-]*)(?:=.*)?", re.S)


def wrong_flag(command: str, resume: str, known: Mapping[str, Flag], asked: int) -> str:
    """What is wrong with the first flag of the command, or of `resume`, that the script lacks; empty if all are right.

    `known`: the flags that the script lists. `asked`: the number of words up to its subcommand.
    """
    words = shlex.split(command)
    entry = entry_point(words)
    text = "" if entry is None else entry.text
    if entry is None or not known or not _READS_THEM.search(text) or _READS_MORE.search(text):
        return ""
    whole = "\n".join(entry.texts)  # the parser may be in a file that it imports
    if _LEAVES_SOME.search(_ONE_FILE.sub("", whole)):
        return ""
    has_commands = subcommands.DECLARES.search(text) or text.count(".command(") > 1  # each with flags of its own
    if has_commands and asked == entry.place + 1:
        return ""
    for word in [*words[asked:], *shlex.split(resume)]:
        if word == "--":
            return ""
        found = _NAMED.fullmatch(word)
        if found is None or _has(found["name"], known, whole):
            continue
        near = nearest(found["name"], known)
        if near and "_" in found["name"] and (same := near.replace("-", "_")) in known:
            near = same  # transformers takes both spellings
        return f"--{found['name']} is in the command, and the script has no such flag; it has " + (
            f"--{near}: write --{near}." if near else f"{listed(known)}."
        )
    return ""


def stands_in(command: str, flag: str) -> bool:
    """Whether the user's own command has this flag; else a parameter brought it."""
    return any(word.partition("=")[0].lstrip("-") == flag for word in shlex.split(command) if word.startswith("-"))


def _has(name: str, known: Mapping[str, Flag], text: str) -> bool:
    """Whether the script takes this flag: one that it lists, or hides and names in its source, or the beginning of one
    (argparse)."""
    listed = {*known, *(flag.off for flag in known.values() if flag.off), "help", "version"}
    if name in listed or f"--{name}" in re.findall(r"--[^\W\d_][\w.-]*", text):
        return True
    return bool(_ABBREVIATES.search(text)) and any(other.startswith(name) for other in listed)
