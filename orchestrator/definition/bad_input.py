"""Report a mistake in the description of a sweep in one sentence with its place, however the sweep is launched.

`launch(function)` builds the sweep inside `launch`, which can catch the error. In `launch(Sweep(...))` the error is
raised before `launch` is called, so an exception hook of the interpreter reports it (`tell_uncaught`). Notebooks, pytest
and debuggers handle exceptions themselves and never come here.
"""

from __future__ import annotations

import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from orchestrator.definition.foreign_options import OF_THE_SWEEP
from orchestrator.errors import BadInput, Interrupted, OrchestratorError, did_you_mean
from orchestrator.failures import belongs_to_us, said
from search.domain.constraints import ConstraintFailed
from search.rules.answers import WrongAnswer

_CALL = re.compile(r"^(\w+)(?:\.__init__|\.__new__)?\(\) (?:missing|takes|got an unexpected keyword argument '(\w+)')")


def in_words(error: BaseException) -> OrchestratorError | None:
    """The error as one of ours, with the line of the caller's code; None if it is not ours.

    Ours are our own errors, a ValueError or TypeError that our own code raised, and an unknown argument of one of our
    classes: they reject a description. Any other error is a bug of the script, whose author wants the full traceback.
    """
    if isinstance(error, OrchestratorError):
        if isinstance(error, BadInput) and (where := place(error)) and where not in str(error):
            return BadInput(f"{error} ({where})")
        return error
    if isinstance(error, TypeError) and (call := _wrong_call(error)):
        return BadInput(f"{call} ({place(error)})")
    if isinstance(error, (ValueError, TypeError)) and _is_ours(error):
        return BadInput(f"{error} ({place(error)})")
    return None


def of_own_code(error: Exception) -> BadInput | None:
    """The error in words if the user's own code raised it when we called it: a constraint, a method of a workload.

    Search the frames below the one that caught the error: all others there are ours or a library's. None: it is our fault.
    """
    if isinstance(error, WrongAnswer):
        where = place_of(error)
        return BadInput(f"{error} ({where})" if where else str(error))
    raised = (error.__cause__ if isinstance(error, ConstraintFailed) else None) or error
    frames = [frame for frame in traceback.extract_tb(raised.__traceback__) if is_users(frame.filename)]
    if isinstance(error, ConstraintFailed):
        return BadInput(f"{error} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else str(error))
    if not frames:
        return None
    return BadInput(f"{frames[-1].name}() failed: {said(error)} ({_line(frames[-1])})")


def place_of(error: BaseException) -> str:
    """The file and line of the user's code that raised the error, or whose answer was wrong; "" if it is not the user's."""
    if isinstance(error, WrongAnswer):
        code = getattr(error.method, "__code__", None)
        return "" if code is None else f"{code.co_filename}, line {code.co_firstlineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return _line(frames[-1]) if frames else ""


def _line(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}, line {frame.lineno}: {frame.line}"


def is_users(filename: str) -> bool:
    """Whether the file is neither ours nor that of Python or an installed library."""
    paths = sysconfig.get_paths()
    libraries = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not _belongs(filename) and not any(filename.startswith(f"{path}/") for path in libraries)


def place(error: BaseException) -> str:
    """The file and line in the caller's code: the script's, or else those of the innermost frame that is not ours."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _belongs(frame.filename)]
    script = str(Path(sys.argv[0]).absolute()) if sys.argv else ""
    own = [frame for frame in frames if str(Path(frame.filename).absolute()) == script] or frames
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""


def needs_arguments(function: Callable[..., object]) -> bool:
    """Whether it cannot be called without arguments; False if it has no signature."""
    try:
        inspect.signature(function).bind()
    except ValueError:
        return False
    except TypeError:
        return True
    return False


def tell_uncaught() -> None:
    """From now on a script that ends with one of our errors prints one line and exits with the error's code."""
    before = sys.excepthook
    if getattr(before, "tells_mistakes", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        told = None if hasattr(sys, "ps1") or sys.flags.interactive else in_words(error)
        if told is None or type(error) is OrchestratorError:
            before(kind, error, trace)
            return
        print(f"{'' if isinstance(told, Interrupted) else 'error: '}{told}", file=sys.stderr)
        sys.exit(told.exit_code)

    hook.tells_mistakes = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _is_ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _belongs(frames[-1].filename)


def _belongs(filename: str) -> bool:
    return belongs_to_us(filename) or filename.startswith("<")


def _wrong_call(error: TypeError) -> str:
    """The mistake in a call of one of our public names, such as Asha(eta=3); empty for all other errors."""
    import orchestrator

    match = _CALL.search(str(error))
    if match is None or match[1] not in orchestrator.__all__:
        return ""
    known = inspect.signature(getattr(orchestrator, match[1])).parameters
    if match[2] in OF_THE_SWEEP:
        hint = f" {OF_THE_SWEEP[match[2]]}"
    else:
        hint = did_you_mean(match[2], known) if match[2] else f" It takes {', '.join(known)}."
    return f"{str(error).replace('.__init__', '')}.{hint}"
