"""What a script's command line takes: its flags, and its subcommands (`train.py train --lr 0.1`), each with flags of its own."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.scripts.flags import Flag, names_in
from trainables.scripts.help_text import flags_of
from trainables.scripts.startup.parsers import MARK

BARE = re.compile(r"[A-Za-z][\w-]*")  # a word that may be a subcommand


@dataclass(frozen=True)
class Parser:
    """`is_exact`: the parser says so itself (startup/parsers.py), not the text of its help. `is_strict`: it refuses other
    flags; `abbreviates`: but takes --learn for --learning-rate."""

    flags: Mapping[str, Flag] = field(default_factory=dict)
    commands: Mapping[str, Parser] = field(default_factory=dict)
    is_exact: bool = False
    is_strict: bool = False
    abbreviates: bool = False

    def chosen(self, words: Sequence[str], start: int) -> tuple[Parser, int]:
        """The parser of the last subcommand, and the number of words up to it; `words[:start]` start the script."""
        parser, end = self, start
        while (place := next((at for at in range(end, len(words)) if words[at] in parser.commands), None)) is not None:
            if any(map(names_in, words[end:place])):
                break
            parser, end = parser.commands[words[place]], place + 1
        return parser, end

    def mistyped(self, word: str) -> str:
        """What is wrong with a word that should be a subcommand; empty unless it is nearly one."""
        is_known = word in self.commands or not BARE.fullmatch(word)
        near = [] if is_known else difflib.get_close_matches(word, self.commands, n=1)
        return f"the script has no command {word!r}. Did you mean {near[0]!r}?" if near else ""


def parser_of(answer: str) -> Parser:
    """The parser of a script that has given this answer to --help."""
    for told in reversed(re.findall(rf"^{MARK}(.*)$", answer, re.M)):
        with contextlib.suppress(ValueError):  # two processes wrote into one line
            return _told(json.loads(told))
    return Parser(flags_of(answer))


def _told(told: Mapping[str, Any]) -> Parser:
    flags: dict[str, Flag] = {}
    for each in told["flags"]:
        for names, opposite in ((each["names"], each["off"]), (each["off"], each["names"])):
            long = [name[2:] for name in names if name.startswith("--")]
            off = next((name[2:] for name in opposite if name.startswith("--")), None)
            for name in long or [name.lstrip("-") for name in names]:
                flags.setdefault(name, Flag(
                    name, each["takes"] != "nothing", each["takes"] == "many", off, is_short=not long, is_on=each["is_on"],
                    is_hidden=each["is_hidden"], kind=each.get("kind", ""), choices=tuple(each.get("choices", ())),
                    default=each.get("default", ""),
                ))  # fmt: skip
    commands = {name: _told(each) for name, each in told["commands"].items()}
    return Parser(flags, commands, True, told["is_strict"], told["abbreviates"])
