"""Subcommands: which words of a command choose one (`train.py train --lr 0.1`), as each has flags and a help of its own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from itertools import takewhile

from trainables.scripts.flags import flags_of, names_in

Help = Callable[[Sequence[str]], str]  # the words that start a script → what it answers to --help

_BARE = re.compile(r"[A-Za-z][\w-]*")
DECLARES = re.compile(r"add_subparsers|@[\w.]+\.group\(|add_typer|add_command|LightningCLI")
_OF_ARGPARSE = re.compile(r"\{([\w-]+(?:,[\w-]+)*)\}\s+\.\.\.")
_OF_CLICK = re.compile(r"^Commands:\n((?: +\S.*\n?)+)", re.M)
_OF_TYPER = re.compile(r"^[╭+][─-] Commands [─-]+[╮+]\n((?:[│|].*[│|]\n)+)", re.M)


def commands_in(help_text: str) -> list[str]:
    """The subcommands that a help text lists, as argparse, click and typer write them."""
    if found := _OF_ARGPARSE.search(help_text):
        return found[1].split(",")
    if found := _OF_CLICK.search(help_text) or _OF_TYPER.search(help_text):
        lines = [line.strip("│|") for line in found[1].splitlines()]
        margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        return [line.split()[0] for line in lines if line[margin : margin + 1].strip()]
    return []


def chosen(words: Sequence[str], start: int, help_of: Help) -> int:
    """The number of words up to the last subcommand; `start` if there is none. `words[:start]` start the script."""
    end = start + len(list(takewhile(_BARE.fullmatch, words[start:])))
    while end > start and not _changes_help(words[:end], help_of):
        end -= 1
    while known := commands_in(help_of(words[:end])):
        place = next((at for at in range(end, len(words)) if words[at] in known), None)
        if place is None or any(map(names_in, words[end:place])) or not flags_of(help_of(words[: place + 1])):
            return end
        end = place + 1
    return end


def _changes_help(words: Sequence[str], help_of: Help) -> bool:
    """Whether the last word is answered with a help of its own, not with an error nor with that of the words before."""
    return bool(flags_of(help_of(words))) and help_of(words) != help_of(words[:-1])


def may_name_one(words: Sequence[str], text: str) -> bool:
    """Whether one of the words may be a subcommand, by the source of the script."""
    return bool(DECLARES.search(text)) and any(map(_BARE.fullmatch, words))


def mistyped(words: Sequence[str], start: int, help_of: Help) -> str:
    """What is wrong with a word that should be a subcommand; empty unless it is nearly one."""
    known = commands_in(help_of(words[:start]))
    word = words[start] if start < len(words) else ""
    near = difflib.get_close_matches(word, known, n=1) if _BARE.fullmatch(word) and word not in known else []
    return f"the script has no command {word!r}. Did you mean {near[0]!r}?" if near else ""
