"""A shell script that reads none of the words which a trial adds to its command: the parameter in them would be lost."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from trainables.scripts.entry_point import entry_point
from trainables.scripts.flags import SHELLS, names_in

LARGEST = 1_000_000  # bytes of a script that is looked at
_ALL_WORDS = re.compile(
    r"\$\{?[@*#!]|\$\{?argv\b|\bBASH_ARG|\b(?:shift|getopts?)\b|^\s*(?:source|\.)\s|\bfor\s+\w+\s*(?:;|do\b|$)", re.M
)
_ONE_WORD = re.compile(r"\$(?:\{(\d+)|(\d))")
_OF_A_SHELL = re.compile(r"#!.*\b(?:ba|da|k|z)?sh\b")


def lost_parameter(command: str, names: Sequence[str]) -> str:
    """What is wrong if the command's shell script reads no word that is added behind its own; else empty.

    `names`: the parameters without a place in the command.
    """
    words = shlex.split(command)
    found = _script(words)
    if found is None or not names:
        return ""
    what, text, given = found
    code = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    read = [int(braced or plain) for braced, plain in _ONE_WORD.findall(code)]
    reads_all = bool(_ALL_WORDS.search(code))
    is_lost = f"{command!r}: the parameter {names[0]!r} would be lost, as {what}"
    placed = f"{{{names[0]}}}"
    if given < 0 and reads_all and 0 not in read:
        return f"{is_lost} takes the first word behind it for its own name. Write one more word there: {what} '…' sh."
    if reads_all or any(number > given for number in read):
        return ""
    if what.endswith("-c"):
        return f"{is_lost} reads no word behind it. Write {placed} where it belongs in the quotes."
    return (
        f"{is_lost} reads no word behind those of the command. If it reads the variable {names[0]}, write "
        f"'env {names[0]}={placed} {command.removeprefix('env ')}'; else hand all words on in it, with \"$@\"."
    )


def _script(words: Sequence[str]) -> tuple[str, str, int] | None:
    """The shell script of a command: what to call it, its text, and the number of its words."""
    python = entry_point(words)
    for place, word in enumerate(words if python is None else words[: python.place]):
        options = list(takewhile(lambda each: each.startswith("-"), words[place + 1 :]))
        text_at = place + len(options) + 1
        if Path(word).name in SHELLS and options and re.fullmatch(r"-\w*c", options[-1]) and text_at < len(words):
            return f"{word} {options[-1]}", words[text_at], len(words) - text_at - 2  # the first word behind it is $0
        with contextlib.suppress(OSError):  # no name of a file
            path = Path(word)
            if not names_in(word) and path.is_file() and path.stat().st_size <= LARGEST:
                text = path.read_text(errors="replace")
                if word.endswith(".sh") or _OF_A_SHELL.match(text):
                    return word, text, len(words) - place - 1
    return None
