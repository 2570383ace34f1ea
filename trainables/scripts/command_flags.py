"""Flags that stand in the user's own command: which of them the script does not have.

Parameters are checked elsewhere. Here a word is wrong only if it is certain: the script's parser says what it takes, and
leaves none of its words to others (parse_known_args).
"""

from __future__ import annotations

import re
import shlex

from trainables.scripts.entry_point import entry_point
from trainables.scripts.flags import listed, nearest
from trainables.scripts.parser import Parser

_LEAVES_SOME = re.compile(
    r"parse_known|REMAINDER|fromfile_prefix_chars|ignore_unknown_options|allow_extra_args|return_remaining_strings|sys\.argv(?!\[1:\]\))"
)
_ONE_FILE = re.compile(  # of transformers' examples: the only word may be a file with the arguments
    r"len\(sys\.argv\) == 2 and sys\.argv\[1\]\.endswith\([^)]*\)|os\.path\.abspath\(sys\.argv\[1\]\)"
)
_NAMED = re.compile(r"--(?P<name>[^\W\d_][\w.-]*)(?:=.*)?", re.S)


def wrong_flag(command: str, resume: str, parser: Parser, asked: int) -> str:
    """What is wrong with the first flag of the command, or of `resume`, that the script lacks; empty if all are right.

    `parser`: that of the script, or of its subcommand. `asked`: the number of words up to it.
    """
    words = shlex.split(command)
    entry = entry_point(words)
    if entry is None or not parser.is_strict or parser.commands:
        return ""
    if _LEAVES_SOME.search(_ONE_FILE.sub("", "\n".join(entry.texts))):  # the parser may be in a file that it imports
        return ""
    for word in [*words[asked:], *shlex.split(resume)]:
        if word == "--":
            return ""
        found = _NAMED.fullmatch(word)
        if found is None or _has(found["name"], parser):
            continue
        near = nearest(found["name"], parser.flags)
        if near and "_" in found["name"] and (same := near.replace("-", "_")) in parser.flags:
            near = same  # transformers takes both spellings
        return f"--{found['name']} is in the command, and the script has no such flag; it has " + (
            f"--{near}: write --{near}." if near else f"{listed(parser.flags)}."
        )
    return ""


def stands_in(command: str, flag: str) -> bool:
    """Whether the user's own command has this flag; else a parameter brought it."""
    return any(word.partition("=")[0].lstrip("-") == flag for word in shlex.split(command) if word.startswith("-"))


def _has(name: str, parser: Parser) -> bool:
    """Whether the script takes this flag, or, with argparse, the beginning of one."""
    return name in parser.flags or (parser.abbreviates and any(other.startswith(name) for other in parser.flags))
