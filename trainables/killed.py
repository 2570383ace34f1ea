"""Recognise that a training's process was ended from outside: by a signal, or as its launcher tells it.

A launcher (torchrun, accelerate, a shell, a DataLoader) ends with an error of its own when one of its processes is killed.
"""

from __future__ import annotations

import contextlib
import re
import signal

MEMORY = "often for want of memory"
_TOLD = re.compile(
    r"exit ?code\s*[:=]\s*-9\b"  # torchrun and accelerate
    r"|return code = -9\b"  # DeepSpeed
    r"|\bSignal 9 \((?:SIGKILL|Killed)\)|\bsignal 9 \(Killed\)"  # torchrun; mpirun
    r"|died with <Signals\.SIGKILL: 9>|non-zero exit status (?:-9|137)\b"  # subprocess
    r"|terminated with signal SIGKILL\b"  # torch.multiprocessing
    r"|is killed by signal: Killed\b"  # torch's DataLoader
    r"|^\S+: line \d+: +\d+ Killed\b|^Killed$"  # bash; dash
)


def signal_of(code: int) -> int:
    """The signal of an exit code: negative, or 128 more than it, as shells have it; 0 if the process ended by itself.

    >>> signal_of(-9), signal_of(137), signal_of(1)
    (9, 9, 0)
    """
    number = -code if code < 0 else code - 128 if 128 < code < 128 + 65 else 0
    with contextlib.suppress(ValueError):
        return signal.Signals(number).value if number else 0
    return 0


def exit_in_words(code: int) -> str:
    """How a process ended, for people.

    >>> exit_in_words(1), exit_in_words(-11)
    ('exit code 1', 'killed by SIGSEGV')
    >>> exit_in_words(-9)
    'killed by SIGKILL, often for want of memory'
    """
    number = signal_of(code)
    why = f", {MEMORY}" if number == signal.SIGKILL else ""
    return f"killed by {signal.Signals(number).name}{why}" if number else f"exit code {code}"


def told_killed(text: str) -> str:
    """The last line that tells of a process killed by SIGKILL, as launchers write it; empty if there is none.

    >>> told_killed("step 3: loss=0.4\\n  exitcode  : -9 (pid: 812)\\n=====")
    'exitcode : -9 (pid: 812)'
    """
    if "forcefully exiting via" in text:  # torchrun itself killed ranks that did not end after the failure of another
        text = text.rpartition("Root Cause")[2]
    told = [" ".join(line.split()) for line in text.splitlines() if _TOLD.search(line.strip())]
    return told[-1].removeprefix("traceback : ") if told else ""
