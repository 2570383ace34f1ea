"""A shell script that reads none of the words which a trial adds to its command: the parameter in them would be lost."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from trainables.scripts.entry_point import entry_point
from trainables.scripts.flags import SHELLS, names_in
from trainables.source_files import source

_ALL_WORDS = re.compile(
    r"\$[@*#]|\$\{(?:[@*!]|#[@*}])|\$\{?argv\b|\bBASH_ARG|(?<![\w.-])(?:shift|getopts?)\b|\bfor\s+\w+\s*(?:;|do\b|$)",
    re.M,
)
_FUNCTION = re.compile(  # its words are its own
    r"^\s*(?:function\s+[\w-]+\s*(?:\(\s*\))?|[\w-]+\s*\(\s*\))\s*\{(?:[^\n]*?[;&]\s*\}|.*?^\s*\})", re.M | re.S
)
_SOURCED = re.compile(
    r"(?:^|[;&|({]|\b(?:then|do|else)\b)\s*(?:source|\.)\s+"
    r"((?:\"[^\"\n]*\"|'[^'\n]*'|\$\([^)\n]*\)|`[^`\n]*`|[^\s;&|)\"'`])+)",
    re.M,
)
_ENVIRONMENT = re.compile(  # files that set up an environment, and start no training with the words of their caller
    r"(?:^|/)(?:activate(?:\.\w+)?|(?:conda|mamba|micromamba|modules|lmod|setvars|nvm)\.sh|\.\w*rc|(?:\.\w*)?profile|[\w-]*\.env(?:\.\w+)?)$"
    r"|^/etc/"
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
    code, sources_unknown = _with_sourced(text)
    read = [int(braced or plain) for braced, plain in _ONE_WORD.findall(code)]
    reads_all = sources_unknown or bool(_ALL_WORDS.search(code))
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


def _with_sourced(text: str) -> tuple[str, bool]:
    """The code of a shell script outside of its functions, with that of the files it sources, which see its words; and
    whether it sources a file that is not known."""
    waiting, code, is_unknown = [text], "", False
    seen: set[str] = set()
    while waiting:
        own = _FUNCTION.sub("", re.sub(r"^\s*#.*$", "", waiting.pop(), flags=re.M))
        code += own + "\n"
        for name in {re.sub("[\"']", "", each) for each in _SOURCED.findall(own)} - seen:
            seen.add(name)
            if _ENVIRONMENT.search(name):
                continue
            sourced = source(Path(name))
            is_unknown |= sourced is None
            waiting.append(sourced or "")
    return code, is_unknown


def starts_a_shell(command: str) -> bool:
    """Whether a shell, or a script of a shell, starts the training."""
    return _script(shlex.split(command)) is not None


def text_of(command: str) -> str:
    """A command, and the code of the shell script that it starts."""
    found = _script(shlex.split(command))
    code = "" if found is None else re.sub(r"\\\n", " ", re.sub(r"^\s*#.*$", "", found[1], flags=re.M))
    return f"{command}\n{code}"


def _script(words: Sequence[str]) -> tuple[str, str, int] | None:
    """The shell script of a command: what to call it, its text, and the number of its words."""
    python = entry_point(words)
    for place, word in enumerate(words if python is None else words[: python.place]):
        options = list(takewhile(lambda each: each.startswith("-"), words[place + 1 :]))
        text_at = place + len(options) + 1
        if Path(word).name in SHELLS and options and re.fullmatch(r"-\w*c", options[-1]) and text_at < len(words):
            return f"{word} {options[-1]}", words[text_at], len(words) - text_at - 2  # the first word behind it is $0
        text = None if names_in(word) else source(Path(word))
        if text is not None and (word.endswith(".sh") or _OF_A_SHELL.match(text)):
            return word, text, len(words) - place - 1
    return None
