"""Ask a script for its flags: call it once with `--help`, after the subcommand that the command names.

Only if it reads its flags with argparse, click, typer, absl or a library based on them: another script might train at once.
So a wrong name is refused before anything starts.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trainables.scripts import subcommands
from trainables.scripts.entry_point import entry_point
from trainables.scripts.errors import error_line
from trainables.scripts.flags import Flag, flags_of, names_in
from trainables.scripts.runners import without_our_own
from trainables.scripts.shell_scripts import lost_parameter

PATIENCE = 60.0  # seconds to wait for --help, as the script may import torch first
_ASKABLE = re.compile(
    r"\b(?:argparse|ArgumentParser|click|typer|absl|HfArgumentParser|jsonargparse|LightningCLI|simple_parsing|tyro|configargparse)\b"
)


def ask(command: str) -> dict[str, Flag]:
    """The flags that the script of this command lists, or the subcommand that it names; empty if it cannot be asked, or
    nobody knows which word is its subcommand."""
    start, text = _askable(command)
    words = asked_words(command)
    if not start or (len(words) == len(start) and subcommands.may_name_one(shlex.split(command)[len(start) :], text)):
        return {}
    return flags_of(_help(words, str(Path.cwd()), text).text)


def asked_words(command: str) -> tuple[str, ...]:
    """The words of the command that start the script, up to its subcommand if it has one; none if it cannot be asked."""
    start, text = _askable(command)
    words = shlex.split(command)
    return tuple(words[: subcommands.chosen(words, len(start), _answers(text))]) if start else ()


def mistyped_subcommand(command: str) -> str:
    """What is wrong with the subcommand of the command; empty if nothing is, or nobody knows."""
    start, text = _askable(command)
    return subcommands.mistyped(shlex.split(command), len(start), _answers(text)) if start else ""


def why_unanswered(command: str) -> str:
    """The error with which the command ends instead of listing the script's flags; empty if it lists them, or is not asked."""
    words, text = _askable(command)
    said = _help(words, str(Path.cwd()), text) if words else ANSWERED
    return "" if said.is_answer else error_line(said.text, "")


def _askable(command: str) -> tuple[tuple[str, ...], str]:
    """The words that start the script, and its text; no words if it may not know --help and train at once."""
    words = shlex.split(command)
    entry = entry_point(words)
    if entry is None or any(map(names_in, words[: entry.place])) or not _ASKABLE.search(entry.text):
        return (), ""
    start = tuple(words[: entry.place + 1])
    hears = not lost_parameter(shlex.join(start), ["help"])  # a shell script may start it without further words
    return (start, entry.text) if hears else ((), "")


def _answers(text: str) -> subcommands.Help:
    """What a script with this text answers to --help after some words."""
    return lambda words: _help(tuple(words), str(Path.cwd()), text).text


class Said(NamedTuple):
    """What a script has printed when it was asked."""

    text: str
    is_answer: bool  # it lists flags, or ended well


ANSWERED = Said("", True)


@functools.lru_cache(maxsize=64)
def _help(words: tuple[str, ...], folder: str, text: str) -> Said:
    """What the script answers; asked again in another `folder`, or once its `text` has changed. Kept in the cache if it
    lists flags."""
    key = hashlib.sha256("\0".join([*words, folder, text]).encode()).hexdigest()[:24]
    home = Path(os.environ.get("ORCHESTRATOR_CACHE") or Path.home() / ".cache" / "orchestrator")
    kept = home / "flags" / f"{key}.txt"
    try:
        return Said(kept.read_text(), True)
    except (OSError, ValueError):
        pass
    found = _answer(words)
    if flags_of(found.text):
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_suffix(f".{os.getpid()}")
            unfinished.write_text(found.text)
            unfinished.replace(kept)
        except OSError:
            pass
    return found


def _answer(words: Sequence[str]) -> Said:
    environment = without_our_own(os.environ, shlex.join(words)) | {
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "CUDA_VISIBLE_DEVICES": "",
    }
    for name in ("TRIAL_FOLDER", "TRIAL_RUNNER"):
        environment.pop(name, None)
    try:
        asked = subprocess.Popen(
            [*words, "--help"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError:
        return ANSWERED
    try:
        said = "\n".join(asked.communicate(timeout=PATIENCE))
        return Said(said, asked.returncode == 0 or bool(flags_of(said)))
    except subprocess.TimeoutExpired:
        return ANSWERED
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(asked.pid, signal.SIGKILL)  # what a program such as `uv run` has started, too
        asked.wait()
