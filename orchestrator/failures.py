"""The reason of a failure in one line, and whether two trials failed for the same reason.

The reason is the error itself: not the last line on the screen (a progress bar, a note), and not a traceback line above
it. Two reasons are the same failure if they differ only in numbers, quoted values, paths, addresses and times: a
mistake that all configurations share prints the values of each.
"""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

from search.wording import FAILED_ALIKE, message_at, one_line, without_ignored

LONGEST = 500  # characters of a reason; the ledger holds the full text beside it
ROOT = Path(__file__).resolve().parents[1]
OURS = tuple(f"{ROOT / name}{os.sep}" for name in ("orchestrator", "search", "trainables"))
FRAMES = "Traceback (most recent call last):"

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_BAR = re.compile(r"\d+%\s*\||\d+(?:\.\d+)?\s*(?:it/s|s/it|B/s)\b|[━█▏▎▍▌▋▊▉]{3}")  # tqdm, rich, transformers, pip
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ERROR = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Exit|Failure|Fault|Warning|Lost)\b\s*(?::|$)")
_COMPLAINT = re.compile(r"(?:^|\s)(?:fatal |internal )?error:|^(?:fatal|panic|segmentation fault)\b", re.I)

_VARYING = (
    (_ANSI, ""),
    (re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`"), "'…'"),
    (re.compile(r"(?<=[\w]=)[^\s,;)\]]+"), "…"),  # what a flag or a name is given: --rate=0.01
    (re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:~|\.{1,2})?(?:[/\\][^\s/\\:'\",;()]+)+[/\\]?"), "…"),  # a path
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.I), "#"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d\S*"), "#"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.I), "#"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b", re.I), "#"),  # hashes
    (re.compile(r"[-+]?\d+(?:[.,:_T/-]?\d+)*(?:e[-+]?\d+)?", re.I), "#"),  # numbers, dates, times
    (re.compile(r"\b(?:nan|inf|none|true|false)\b", re.I), "#"),
    (re.compile(r"[\[({][#…'\s,.]*[\])}]"), "[#]"),  # shapes and lists of any length
)


def said(error: BaseException) -> str:
    """`Class: message`, or the place in the code if there is no message. Never raises."""
    name = type(error).__name__
    if type(error).__module__ not in ("builtins", "__main__", "exceptions"):
        name = f"{type(error).__module__}.{name}"
    text = message(error)
    members = getattr(error, "exceptions", ())  # of an exception group
    if isinstance(members, tuple) and members and isinstance(members[0], BaseException):
        return f"{name}: {text}: {said(members[0])}"
    if text.strip():
        return f"{name}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return name
    last = frames[-1]
    return f"{name}: {Path(last.filename).name}, line {last.lineno}: {last.line}"


def message(error: BaseException) -> str:
    """`str(error)`, even if that raises."""
    try:
        return str(error)
    except Exception as second:
        return f"its message cannot be shown, because that raises {type(second).__name__}"


def shown(error: BaseException) -> str:
    """The traceback without the frames of our packages: the user's line comes first. Never raises."""
    return _formatted(error, whole=False)


def in_full(error: BaseException) -> str:
    """The traceback with all its frames. Never raises."""
    return _formatted(error, whole=True)


def belongs_to_us(filename: str) -> bool:
    """Whether the file is one of our packages'."""
    return str(Path(filename).absolute()).startswith(OURS)


def _formatted(error: BaseException, *, whole: bool) -> str:
    try:
        found = traceback.TracebackException.from_exception(error)
        if not whole:
            _leave_out_ours(found)
        return "".join(found.format())
    except Exception:
        frames = [
            each for each in traceback.extract_tb(error.__traceback__) if whole or not belongs_to_us(each.filename)
        ]
        return "".join(traceback.format_list(frames)) + said(error)


def _leave_out_ours(found: traceback.TracebackException) -> None:
    frames = [frame for frame in found.stack if not belongs_to_us(frame.filename)]
    found.stack = traceback.StackSummary.from_list(frames) if frames else None  # type: ignore[assignment]
    others = [found.__cause__, found.__context__, *(getattr(found, "exceptions", None) or ())]
    for other in others:
        if other is not None:
            _leave_out_ours(other)


def reason(kind: str, text: str) -> str:
    """One line that begins with the error's class. `text`: a message or a traceback."""
    line = complaint(text)
    name, _, rest = line.partition(": ")
    if name.rpartition(".")[2] == kind:
        line = rest
    return f"{kind}: {line}"[:LONGEST] if line else kind


def shortened(text: str) -> str:
    """`reason` of a text that begins with the class of the error."""
    kind, _, rest = text.partition(": ")
    return reason(kind, rest)


def complaint(text: str) -> str:
    """A message in one line; of a traceback, or of an output that a message quotes, the error."""
    lines = readable(text) or _lines(text)  # all of it looks like a bar, so it is the message
    if not lines:
        return ""
    at = _error_at(lines)
    if lines[0].startswith(FRAMES):
        return lines[-1].strip() if at is None else one_line(message_at(lines, at))
    if at:  # a message that quotes another program's error
        return f"{lines[0].strip().rstrip(':')}: {one_line(message_at(lines, at))}"
    return one_line(lines)


def last_words(output: str) -> str:
    """The error in a program's output; the last line if none is there."""
    lines = readable(without_ignored(output))
    at = _error_at(lines)
    return one_line(message_at(lines, at)) if at is not None else lines[-1].strip() if lines else ""


def last_traceback(output: str) -> str:
    """The last traceback in a program's output, up to the line that names the error; empty if there is none."""
    _, found, rest = without_ignored(output).rpartition(FRAMES)
    if not found or "\n" not in rest:
        return ""
    frames = rest.removeprefix("\n").split("\n")
    end = next((index for index, line in enumerate(frames) if line and not line.startswith(" ")), None)
    return "" if end is None else "\n".join([FRAMES, *frames[: end + 1]])


def readable(text: str) -> list[str]:
    """The lines that a terminal would show at the end, without colours, progress bars and empty lines. A bar that a line
    quotes is a part of it."""
    return [line for line in _lines(text) if not _BAR.search(_QUOTED.sub("", line))]


def _lines(text: str) -> list[str]:
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in _ANSI.sub("", text).split("\n")]
    return [line for line in lines if line.strip()]


def signature(reason: str) -> str:
    """Equal for reasons that differ only in numbers, quoted values, paths, addresses and times."""
    for pattern, instead in _VARYING:
        reason = pattern.sub(instead, reason)
    return " ".join(reason.split())


def in_brief(stop: str) -> str:
    """Why a run stopped; of failures in the same way, without their reason."""
    before, alike, _ = stop.partition(FAILED_ALIKE)
    return before + alike


def _error_at(lines: list[str]) -> int | None:
    """The place of the exception of the last traceback (in a chain, the one raised last), or of the last complaint."""
    starts = [index for index, line in enumerate(lines) if FRAMES in line]
    if starts:
        margin = len(lines[starts[-1]]) - len(lines[starts[-1]].lstrip())
        for index in range(starts[-1] + 1, len(lines)):
            if len(lines[index]) - len(lines[index].lstrip()) <= margin:  # frames are indented more
                return index
    named = [index for index, line in enumerate(lines) if _ERROR.match(line.strip())]
    complaints = [index for index, line in enumerate(lines) if _COMPLAINT.search(line)]
    return next(iter((named or complaints)[-1:]), None)
