"""Ask a script what it takes: call it once with `--help`.

Only if it reads its flags with argparse, click, typer, absl or a library based on them: another script might train at once.
So a wrong name is refused before anything starts. The answers are kept: a script that imports torch takes seconds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, ParamSpec

from trainables.scripts.entry_point import entry_point
from trainables.scripts.environment import STARTUP, with_startup
from trainables.scripts.errors import error_line
from trainables.scripts.flags import Flag, names_in
from trainables.scripts.parser import BARE, Parser, parser_of
from trainables.scripts.runners import without_our_own
from trainables.scripts.shell_scripts import lost_parameter
from trainables.scripts.startup.parsers import MARK

RECENT = 60.0  # seconds for which an answer is not doubted
PATIENCE = 60.0  # seconds to wait for --help, as the script may import torch first
_ASKABLE = re.compile(
    r"\b(?:argparse|ArgumentParser|HfArgumentParser|click|typer|absl|jsonargparse|LightningCLI|simple_parsing|tyro|configargparse)\b"
)

_Arguments = ParamSpec("_Arguments")


def surely(check: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """The same check, which raises ValueError only by answers of now: a script's flags may be of a library that is new."""

    @functools.wraps(check)
    def checked(*values: _Arguments.args, **named: _Arguments.kwargs) -> None:
        recently = time.monotonic() - RECENT
        try:
            return check(*values, **named)
        except ValueError:
            older = [key for key, (_, since) in _answers.items() if since < recently]
            if not older:
                raise
        for key in older:
            del _answers[key]
            with contextlib.suppress(OSError):
                _kept(key).unlink(missing_ok=True)
        return check(*values, **named)

    return checked


def ask(command: str) -> Mapping[str, Flag]:
    """The flags that the script of this command takes, or the subcommand that it names; empty if nobody knows."""
    return asked(command)[0].flags


def asked(command: str) -> tuple[Parser, int]:
    """The parser of the script of this command, or of the subcommand that it names, and the number of words up to it; one
    that takes nothing if the script cannot be asked, or nobody knows which word is its subcommand."""
    script, words = _askable(command), shlex.split(command)
    if script is None:
        return Parser(), 0
    parser, start = script.parser, len(script.start)
    if not parser.is_exact and any(map(BARE.fullmatch, words[start:])):
        return Parser(), 0
    return parser.chosen(words, start)


def mistyped_subcommand(command: str) -> str:
    """What is wrong with the subcommand of the command; empty if nothing is, or nobody knows."""
    script = _askable(command)
    words = [] if script is None else shlex.split(command)[len(script.start) :]
    return script.parser.mistyped(words[0]) if script is not None and words else ""


def why_unanswered(command: str) -> str:
    """The error with which the command ends instead of listing the script's flags; empty if it lists them, or is not asked."""
    script = _askable(command)
    said = ANSWERED if script is None else _said(script.start, script.state)
    return "" if said.is_answer else error_line(said.text, "")


class _Script(NamedTuple):
    """A script that can be asked: the words that start it, and the `state` of what its answer depends on."""

    start: tuple[str, ...]
    state: str

    @property
    def parser(self) -> Parser:
        return parser_of(_said(self.start, self.state).text)


def _askable(command: str) -> _Script | None:
    """The script of a command; None if it may not know --help and train at once."""
    words = shlex.split(command)
    entry = entry_point(words)
    if entry is None or any(map(names_in, words[: entry.place])) or not _ASKABLE.search(entry.text):
        return None
    start = tuple(words[: entry.place + 1])
    if lost_parameter(shlex.join(start), ["help"]):  # a shell script may start it without further words
        return None
    programs = (os.path.abspath(found) for word in start if (found := shutil.which(word)) is not None)
    state = hashlib.sha256("\0".join([str(Path.cwd()), *programs, *entry.texts]).encode(errors="replace")).hexdigest()
    return _Script(start, state)


class Said(NamedTuple):
    """What a script has printed when it was asked."""

    text: str
    is_answer: bool  # it lists flags, or ended well


ANSWERED = Said("", True)


_answers: dict[str, tuple[Said, float]] = {}  # of this process, by key, with the time of the question


def _said(words: tuple[str, ...], state: str) -> Said:
    """What the script answers; asked again in another `state`. Kept on the disk if it lists flags."""
    key = hashlib.sha256("\0".join([MARK, *words, state]).encode()).hexdigest()[:24]
    kept = _kept(key)
    if key not in _answers:
        with contextlib.suppress(OSError, ValueError):
            _answers[key] = Said(kept.read_text(), True), -math.inf
    if key in _answers:
        return _answers[key][0]
    found = _answer(words)
    _answers[key] = found, time.monotonic()
    if parser_of(found.text).flags:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_suffix(f".{os.getpid()}")
            unfinished.write_text(found.text)
            unfinished.replace(kept)
        except OSError:
            pass
    return found


def _kept(key: str) -> Path:
    home = Path(os.environ.get("ORCHESTRATOR_CACHE") or Path.home() / ".cache" / "orchestrator")
    return home / "flags" / f"{key}.txt"


def _answer(words: Sequence[str]) -> Said:
    environment = without_our_own(os.environ, shlex.join(words)) | {
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": with_startup(),
        "TRIAL_ASKED": "1",
    }
    for name in ("TRIAL_FOLDER", "TRIAL_RUNNER"):
        environment.pop(name, None)
    own = [re.sub("^PYTHONPATH=", f"PYTHONPATH={STARTUP}{os.pathsep}", word) for word in words]
    try:
        asked = subprocess.Popen(
            [*own, "--help"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError:
        return ANSWERED
    try:
        said = "\n".join(asked.communicate(timeout=PATIENCE))
        return Said(said, asked.returncode == 0 or bool(parser_of(said).flags))
    except subprocess.TimeoutExpired:
        return ANSWERED
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(asked.pid, signal.SIGKILL)  # what a program such as `uv run` has started, too
        asked.wait()
