"""Notice that a metrics file is a log of printed lines, and tell how to have it read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainables.scripts.reader import Reader

LOOKED_AT = 1_000_000  # characters


def why_no_rows(paths: Sequence[Path], metric: str, command: str) -> str:
    """That one of some files, in which no row has the metric, has it in lines as scripts print them; empty if none has."""
    path = next((path for path in paths if _prints(path, metric)), None)
    if path is None:
        return ""
    training = command if command and "'" not in command else "TRAINING"
    return (
        f"{path.name} is neither CSV nor JSON, but its lines have {metric!r} as printed ones do. To have them read, write no file=, and "
        f'let the command print them: sh -c \'{training} "$@" & tail --pid=$! -n +1 -F "$TRIAL_FOLDER/{path.name}"; wait $!\' sh'
    )


def _prints(path: Path, metric: str) -> bool:
    reader = Reader((metric,))
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = map(reader.read, file.read(LOOKED_AT).splitlines())
        return any(line is not None and line.value(metric) is not None for line in lines)
