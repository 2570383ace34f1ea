"""What a script finds in its folder when its trial starts again, and a script that refuses what it finds.

A guard such as `Output directory (out) already exists and is not empty` keeps people from overwriting a run. A trial that
starts again meets its own earlier files there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from search.work import FOLDER
from trainables.scripts.errors import error_line
from trainables.scripts.flags import names_in
from trainables.scripts.own_file import own_file
from trainables.scripts.shared_files import has_checkpoint
from trainables.scripts.step_count import Refused
from trainables.scripts.trial_folder import ERRORS, OUTPUT, TrialFolder

_REFUSES = re.compile(
    r"\b(?:folder|director(?:y|ies)|dir|path|file)\b.{0,500}?(?:\bnot (?:an )?empty|\balready exists?"
    r"|\bexists\b.{0,80}(?:overwrite|force|another|remove|delete))|\bnon-?empty (?:folder|dir)|(?-i:\bFile exists\b)|\bFileExistsError\b",
    re.I | re.S,
)
_WHOLE = re.compile(rf"\{{{FOLDER}\}}(?![\w/.-])")  # the trial's folder itself, not a folder in it
_PATH = re.compile(r"[/\\]|['\"(][\w.-]+['\")]")


def begin_counting_anew(
    folder: TrialFolder, metrics: Sequence[Path], lines: int, metric: str, *, is_logged: bool = False
) -> None:
    """Let a script whose `lines` without steps are on record start over; deletes its files with `metrics`. `is_logged`:
    the lines are rows for an experiment logger.

    Such lines count from the first on, so nobody knows where a script with a checkpoint goes on: raises Refused if it has
    files.
    """
    if kept := folder.files - set(metrics):
        verb, place = ("Log", "call") if is_logged else ("Write", "row") if metrics else ("Print", "line")
        named = ", ".join(sorted(str(path.relative_to(folder.path)) for path in kept)[:3])
        raise Refused(
            f"the script was interrupted after {lines} {place}s with {metric!r} that name no step, and it keeps files in "
            f"TRIAL_FOLDER ({named}), so it is not known at which step it continues. {verb} the step in each {place} (epoch=3), or "
            f"call report().{'' if is_logged or metrics else own_file(folder, metric)}"
        )
    for path in metrics:
        path.unlink()


def refuses_own_files(folder: TrialFolder, command: str) -> bool:
    """Whether the last start of a script failed because of what lies in the trial's folder, and none of it is known as a
    checkpoint."""
    error = error_line(folder.tail(ERRORS), folder.tail(OUTPUT))
    return bool(_REFUSES.search(error)) and _is_own(error, folder.path, command) and not has_checkpoint(folder.path)


def with_remedy(error: str, folder: Path, command: str) -> str:
    """The error, and what to write in the command if it is that the script refuses a folder which exists."""
    remedy = _remedy(error, folder, command) if command and _REFUSES.search(error) else ""
    return f"{error.rstrip('.')}. {remedy}" if remedy else error


def _remedy(error: str, folder: Path, command: str) -> str:
    if not _is_own(error, folder, command):
        return (
            "Each trial needs a folder of its own: name {folder} or {folder}/out in the command, in place of the folder that "
            "all trials share."
        )
    if _WHOLE.search(command) and not re.search(rf"{re.escape(str(folder))}/\w", error):
        return "{folder} is never empty, as it holds .reports: write {folder}/out in the command."
    if has_checkpoint(folder):
        return "It holds a checkpoint, so it is not emptied: Script(resume=…) adds the words with which the script goes on."
    return ""


def _is_own(error: str, folder: Path, command: str) -> bool:
    """Whether the folder of the error is the trial's, or one in it; an error without a path is about the command's."""
    return str(folder) in error or (FOLDER in names_in(command) and not _PATH.search(error))
