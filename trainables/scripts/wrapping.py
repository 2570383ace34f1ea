"""What frameworks and launchers put around the error of a script: their frames, hints, tables and boxes.

Taken away, so that the error itself is found: Hydra's hint at a variable, typer's box, torchrun's table, accelerate's
list of defaults, the exception of whoever started the process that failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TRACEBACK = "Traceback (most recent call last):"
LAUNCHERS = ("ChildFailedError", "CalledProcessError", "ProcessExitedException", "ProcessRaisedException")
_HYDRA = "Set the environment variable HYDRA_FULL_ERROR=1"
_HINTS = re.compile(
    rf"{_HYDRA}|Error executing job with overrides:"
    r"|note: run with `RUST_BACKTRACE"
    r"|(?:[EWI]\d{4} |\[\d{4}-|(?:ERROR|WARNING|INFO):)\S*.*torch[./]distributed[./](?:elastic|run|launcher)"
    r"|The following values were not passed to `accelerate launch`|\s+`--\w+` was set to a value of|To avoid this warning pass in values"
    r"|srun: |slurmstepd: "
)
_BOX = re.compile(r"^[╭+][─-] Error [─-]+[╮+]\n((?:[│|].*[│|]\n)+)[╰+][─-]+[╯+]$", re.M)
_HYDRAS_ERROR = re.compile(r"\b(?:could not|cannot|error|mismatched|missing|must|unable|unexpected|expecting)\b", re.I)
_NEXT = ("Traceback ", "During handling of", "The above exception", "-- Process ")


def unboxed(text: str) -> str:
    """A text whose framed errors, as typer and rich draw them, are lines: `Error: Invalid value for '--lr'`."""
    return _BOX.sub(lambda box: "Error: " + " ".join(line.strip(" │|") for line in box[1].splitlines()), text)


def without_hints(lines: Sequence[str]) -> list[str]:
    """The lines without what a framework adds to each error; those of an exception group without its margin."""
    if any("Exception Group Traceback" in line for line in lines):
        lines = [re.sub(r"^\s+\| ?", "", line) for line in lines if not re.match(r"\s+\+[-+ ]", line)]
    return [line for line in lines if not _HINTS.match(line)]


def said_by_hydra(errors: str) -> list[str]:
    """The message of Hydra in front of its hint, in lines; none if there is no hint."""
    before, hint, _ = errors.rpartition(_HYDRA)
    if not hint:
        return []
    paragraphs = [without_hints(part.splitlines()) for part in re.split(r"\n\s*\n", before.strip())]
    told: list[str] = []
    for paragraph in reversed(paragraphs):
        starts = [place for place, line in enumerate(paragraph) if _HYDRAS_ERROR.search(line)]
        if starts:
            return [*paragraph[starts[0] :], *told]
        told = [*paragraph, *told]
    return told[-3:]


def without_launcher(lines: Sequence[str]) -> tuple[list[str], str]:
    """The lines without the launcher's exception and its traceback; and what this exception says, empty if there is none."""
    kept, told = list(lines), ""
    while (at := next((at for at, line in enumerate(kept) if _of_launcher(line)), None)) is not None:
        start = max((place for place in range(at) if kept[place].startswith(TRACEBACK)), default=at)
        following = range(at + 1, len(kept) if "ChildFailedError" in kept[at] else at + 1)  # its table
        end = next((place for place in following if kept[place].startswith(_NEXT)), following.stop)
        told, kept = _in_words(kept[at:end]), kept[:start] + kept[end:]
    return kept, told


def _of_launcher(line: str) -> bool:
    return re.match(rf"(?:[\w.]+\.)?(?:{'|'.join(LAUNCHERS)})\b", line) is not None


def _in_words(lines: Sequence[str]) -> str:
    """The exception in one line: of torchrun's table the process that failed first."""
    rows = dict(re.findall(r"^\s+(rank|exitcode)\s*: (.*\S)", "\n".join(lines).rpartition("Root Cause")[2], re.M))
    if len(rows) < 2:
        return lines[0]
    return f"rank {rows['rank']} ended with exit code {' '.join(rows['exitcode'].split())}"
