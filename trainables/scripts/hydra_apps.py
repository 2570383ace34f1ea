"""Scripts with `@hydra.main`: they take overrides and no flags; trials that start in one second share an output folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from search.work import FOLDER
from trainables.scripts import base_config
from trainables.scripts.entry_point import entry_point
from trainables.scripts.flags import names_in

REMEDY = 'a Hydra app, which takes no flags, write Script(…, flag="{name}={value}")'
_READS_FLAGS = re.compile(r"\b(?:argparse|parse_known_args|click|typer|absl)\b")
_MAIN = re.compile(r"^@hydra\.main\b", re.M)


def without_overrides(command: str, added: Sequence[str]) -> str:
    """That a Hydra app refuses the flags for the parameters `added`, with the remedy; empty if it is none, or takes flags, too."""
    text = _text(command)
    if not added or not text or _READS_FLAGS.search(text):
        return ""
    return f"{command!r} has no flag --{added[0]}: for {REMEDY}."


def shared_outputs(command: str) -> str:
    """That trials of a Hydra app may share its output folder, with the remedy; empty if it is none, or has the trial's folder."""
    text = _text(command)
    texts = [text, *(path.read_text(errors="replace") for path in base_config.files(command))]
    if not text or FOLDER in names_in(command) or any("TRIAL_FOLDER" in each for each in texts):
        return ""
    return (
        "Hydra names the script's output folder after the second in which it starts: trials that start together share it, and may "
        "go on from each other's checkpoints. Write hydra.run.dir={folder} in the command."
    )


def _text(command: str) -> str:
    """The source of a Hydra app; empty if it is none."""
    entry = entry_point(shlex.split(command))
    return entry.text if entry is not None and _MAIN.search(entry.text) else ""
