"""Find the reason of a script's failure, in one line: its error with its whole message, not the last line of its output."""

from __future__ import annotations

import re
import signal
from collections.abc import Collection, Sequence
from itertools import takewhile

from search.wording import message_at, one_line, without_ignored
from trainables.killed import MEMORY, signal_of, told_killed
from trainables.scripts import hydra_apps
from trainables.scripts.command_flags import stands_in
from trainables.scripts.flags import nearest
from trainables.scripts.printed import visible
from trainables.scripts.runners import python_of
from trainables.scripts.wrapping import said_by_hydra, unboxed, without_hints, without_launcher

TAIL = 200  # last lines, in which to look for the error
LAST = 3  # lines to standard error that are told if none of them names an error
_RANK = re.compile(r"^\s*\[(?:rank|default)\d+\]:\s?")
_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Warning|Exit|Failure|Refused|Expected|NotFound|Timeout)\b(?::.*)?$"
)
_RAISED = re.compile(
    r"^(?!(?:Base)?ExceptionGroup\b)(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::\s.*)?$"
)  # any name, below a frame of Python
_MARKS = re.compile(r"\s*[~^]+\s*")  # below the code that raised it
_TRACE = re.compile(r"(?:Traceback|Stacktrace|Backtrace)\b")
_FRAME = re.compile(r"\s+(?:at .+(?:\(|:\d)|\.\.\. \d+ more|@ )")  # Java and JavaScript; Julia
_MESSAGE = re.compile(
    r"\b(?:error|fatal|exception|panic|panicked|killed|not found|no such file|permission denied|segmentation fault)\b",
    re.I,
)
_BAR = re.compile(r"\d%\||it/s|s/it|━|█")
_ARGPARSE = re.compile(r"^[^\s:]+(?: [^\s:]+)*: error: .*")
_USAGE = re.compile(r"usage(?::| of\b)", re.I)
_COMPLAINT = re.compile(  # of a tool, in front of its usage
    r"\b(?:unrecogni[sz]ed|unknown|invalid|illegal|unexpected|ambiguous|missing|requires?|required)\b|\bnot (?:defined|allowed)\b",
    re.I,
)
_FLAG = re.compile(r"(?<![\w-])--?([^\W\d_][\w.-]*)")  # in a usage, say
_UNKNOWN = re.compile(
    r"(?:unrecognized arguments?:|[Nn]o such option:?|Unknown command line flag)\s*['\"]?(-{0,2}[\w.-]+)"
)


def error_line(errors: str, output: str, known: Collection[str] = (), command: str = "") -> str:
    """The error that ended a script, as far as its output shows; empty if it wrote nothing. `command`: as the user gave it."""
    errors, output = without_ignored(errors), without_ignored(output)
    to_errors = _lines(unboxed(errors))
    told_lines = [*_lines(unboxed(output)), *to_errors]
    said, launcher = without_launcher(without_hints(told_lines))
    told = _without_usage(said) or said
    raised = _raised(said)
    is_first_meant = bool(launcher) or any("Exception Group" in line for line in told_lines)  # else the last of a chain
    if hydras := [] if raised else said_by_hydra(errors) or said_by_hydra(output):
        return one_line(hydras)
    for among, found in (
        (said, [at for at, line in enumerate(said) if _ARGPARSE.match(line) or _UNKNOWN.search(line)]),
        (said, _first_chain(said, raised) if is_first_meant else raised),
        (told, [at for at, line in enumerate(told) if _MESSAGE.search(line) and not _BAR.search(line)]),
        _complaint(said),
    ):
        if found:
            error = one_line(_message(among, found))
            return _with_hint(error, known or _FLAG.findall(errors or output), command)
    plain = [line for line in told if not _BAR.search(line)]
    of_errors = sum(line in to_errors for line in plain)
    if launcher and not of_errors:
        return launcher
    last = _last_message(plain, of_errors)
    is_progress = len(last) == 1 and not of_errors and told == said  # it may be: a line alone, and no usage before it
    return f"its last line was: {last[0].strip()}" if is_progress else one_line(last)


def raised_at_the_end(errors: str, output: str) -> str:
    """The exception with which the output, or what was written to standard error, ends; empty if something follows it."""
    for text in (errors, output):
        said, launcher = without_launcher(without_hints(_lines(without_ignored(text))))
        raised = _raised(said)
        if launcher or (raised and raised[-1] + len(message_at(said, raised[-1])) == len(said)):
            return error_line("", text)
    return ""


def killed_in_words(code: int, errors: str, output: str) -> str:
    """That a script, or a process of its launcher, was ended from outside; empty if an error ended it."""
    number = signal_of(code)
    if number == signal.SIGTERM:
        return "its process was ended from outside by SIGTERM"
    if number == signal.SIGKILL:
        return f"its process was killed by SIGKILL, {MEMORY}"
    told = "" if number else told_killed("\n".join([*_lines(output), *_lines(errors)]))
    return told and f"one of its processes was killed by SIGKILL, {MEMORY}: {told}"


def _raised(said: Sequence[str]) -> list[int]:
    """The places of the exceptions, without warnings."""
    return [at for at in range(len(said)) if _is_raised(said, at) and "Warning" not in said[at].split(":")[0]]


def _is_raised(said: Sequence[str], at: int) -> bool:
    """Whether the line is an exception: by its name, or as it ends a traceback (`optuna.exceptions.TrialPruned: bad`)."""
    is_below = (
        at > 0 and said[at - 1][0].isspace() and any(each.startswith('  File "') for each in said[max(0, at - 2) : at])
    )
    return bool(_EXCEPTION.match(said[at]) or (is_below and _RAISED.match(said[at])))


def _first_chain(said: Sequence[str], raised: Sequence[int]) -> list[int]:
    """Of several processes' exceptions those of the first: it may have caught one and raised another."""
    chain = list(raised[:1])
    for at in raised[1:]:
        if not any(line.startswith(("During handling of", "The above exception")) for line in said[chain[-1] : at]):
            break
        chain.append(at)
    return chain


def _message(among: Sequence[str], found: Sequence[int]) -> list[str]:
    """The last message that begins at one of the `found` lines, without the frames of a traceback."""
    last = found[-1]
    start = next(at for at in found if last < at + len(message_at(among, at)))
    head, *more = message_at(among, start)
    return [head, *(line for line in takewhile(lambda line: not _TRACE.match(line), more) if not _FRAME.match(line))]


def _lines(text: str) -> list[str]:
    lines = [_RANK.sub("", visible(line)).rstrip() for line in text.splitlines()[-TAIL:]]
    return [line for line in lines if line.strip() and not _MARKS.fullmatch(line)]


def _last_message(lines: Sequence[str], to_errors: int) -> Sequence[str]:
    """The last line with the head under which it is indented; else up to `LAST` lines, if so many are errors."""
    start = len(lines) - 1
    while start > 0 and lines[start][0].isspace():
        start -= 1
    if start == len(lines) - 1:
        start = len(lines) - max(1, min(LAST, to_errors))
    return lines[max(0, start) :]


def _complaint(said: Sequence[str]) -> tuple[Sequence[str], list[int]]:
    """What a tool said in front of its usage, and the first complaint in it: `make: unrecognized option '--lr=0.1'`."""
    usage = next((at for at, line in enumerate(said) if _USAGE.match(line)), 0)
    return said[:usage], [at for at, line in enumerate(said[:usage]) if _COMPLAINT.search(line)][:1]


def _without_usage(lines: Sequence[str]) -> list[str]:
    """The lines that say something, without a usage and the indented lines that continue it, with their headings."""
    kept, in_usage = [], False
    for line in lines:
        in_usage = bool(_USAGE.match(line)) or (in_usage and bool(re.match(r"\s|[A-Z][\w ]*:$", line)))
        if line.strip() and not in_usage:
            kept.append(line)
    return kept


def _with_hint(line: str, known: Collection[str], command: str) -> str:
    if line.startswith("ModuleNotFoundError: ") and (python := python_of(command)):
        return f"{line} ({python})"
    unknown = _UNKNOWN.search(line)
    if unknown is None:
        return line
    if "hydra-help" in known:
        return f"{line} For {hydra_apps.REMEDY}."
    name = unknown[1].lstrip("-").partition("=")[0]
    refused = {name, *(_FLAG.findall(line[unknown.start() :]) if unknown[0].startswith("unrecognized") else ())}
    flag = nearest(name, (other for other in known if other not in refused))
    if not flag:
        return line
    if stands_in(command, name):
        return f"{line} The script has --{flag}: write it in the command."
    return f"{line} The script has --{flag}: name the parameter {flag!r}."
