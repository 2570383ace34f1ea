"""What a script finds in its folder when its trial starts again, and a script that refuses what it finds, or cannot read it.

A guard such as `Output directory (out) already exists and is not empty` keeps people from overwriting a run. A trial that
starts again meets its own earlier files there. A checkpoint is torn if its process was killed while it wrote the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from search.work import FOLDER
from trainables.killed import signal_of
from trainables.scripts.errors import error_line
from trainables.scripts.flags import names_in
from trainables.scripts.launchers import IN_USE, PORT
from trainables.scripts.own_file import own_file
from trainables.scripts.reading import Refused
from trainables.scripts.saving import is_log
from trainables.scripts.shared_files import has_checkpoint
from trainables.scripts.step_count import StepCount
from trainables.scripts.trial_folder import ERRORS, OUTPUT, TrialFolder

_REFUSES = re.compile(
    r"\b(?:folder|director(?:y|ies)|dir|path|file)\b.{0,500}?(?:\bnot (?:an )?empty|\balready exists?"
    r"|\bexists\b.{0,80}(?:overwrite|force|another|remove|delete))|\bnon-?empty (?:folder|dir)|(?-i:\bFile exists\b)|\bFileExistsError\b",
    re.I | re.S,
)
_TORN = re.compile(  # the errors of what reads a file whose end is missing
    r"UnpicklingError|pickle data was truncated|Ran out of input|EOFError|unexpected (?:EOF|end of)|[Ee]nd[- ]of[- ][Ff]ile"
    r"|PytorchStreamReader|central directory|BadZipFile|not a zip file|[Ii]nvalid magic number|corrupt|[Tt]runcated|incomplete"
    r"|[Ss]afetensor|deserializing header|(?:Header|Metadata)\w*(?:TooLarge|TooSmall|Buffer)|zlib\.error|BadGzipFile|LZMAError"
    r"|end-of-stream marker|cannot reshape|Failed to interpret file|No data left in file|mmap length|smaller than requested"
    r"|[Uu]nable to (?:synchronously )?open (?:file|object)|file signature not found|bad object header|addr overflow|DataLoss"
    r"|OutOfData|FormatError|Unpack failed|unpack\(b\)|JSONDecodeError|Unterminated string|Expecting value|Unable to load weights"
)
_FILE = re.compile(r"[^\s'\"(),;:<>=\[\]]+")
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


def why_over(code: int, folder: TrialFolder, command: str, count: StepCount, *, were_whole: bool) -> str:
    """Why a script that has ended with `code` should start over with an empty folder; empty if it should not.

    Only if it failed at its start, before it told a step. `were_whole`: its files, when its earlier start ended.
    """
    is_again = count.memory["started"] > 1 and not count.has_begun and not folder.is_empty
    if not code or signal_of(code) or not is_again:
        return ""
    if refuses_own_files(folder, command):
        return "it refuses a folder that holds files, and none of them is known as a checkpoint"
    error = error_line(folder.tail(ERRORS), folder.tail(OUTPUT))
    torn = _torn(error, folder) if _TORN.search(error) and not were_whole else ""
    return torn and (
        f"its process was ended while it wrote {torn}, and half a file cannot be read ({error.rstrip('.')}). Let the script write "
        "to a temporary file and then os.replace() it, and the last checkpoint always stays whole"
    )


def _torn(error: str, folder: TrialFolder) -> str:
    """The name of the file in the trial's folder that the error names, else of the newest; empty if the error is about
    another file, or there is none."""
    here = Path(os.path.realpath(folder.path))
    named = [Path(os.path.realpath(word)) for word in _FILE.findall(error) if os.path.isfile(word)]
    inside = [path for path in named if here in path.parents]
    if named and not inside:
        return ""
    files = inside or sorted(folder.files, key=lambda path: (not is_log(path), path.stat().st_mtime_ns))
    return files[-1].name if files and not is_log(files[-1]) else ""


def refuses_own_files(folder: TrialFolder, command: str) -> bool:
    """Whether the last start of a script failed because of what lies in the trial's folder, and none of it is known as a
    checkpoint."""
    error = error_line(folder.tail(ERRORS), folder.tail(OUTPUT))
    return bool(_REFUSES.search(error)) and _is_own(error, folder.path, command) and not has_checkpoint(folder.path)


def with_remedy(error: str, folder: Path, command: str) -> str:
    """The error, and what to write in the command if it is that the script refuses a folder which exists, or finds its port
    in use."""
    remedy = _remedy(error, folder, command) if command and _REFUSES.search(error) else ""
    if IN_USE.search(error):
        remedy = f"Another trial may use this port: {PORT}, then add --retry-failed."
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
