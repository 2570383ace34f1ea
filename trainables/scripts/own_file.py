"""Find the metrics file that a script writes by itself, to name it where its printed lines cannot be read with certainty."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path

from trainables.scripts.names import key_of
from trainables.scripts.reading import Reading, Refused, TrainsOn
from trainables.scripts.tables import count_in
from trainables.scripts.trial_folder import TrialFolder

LONGEST = 100_000  # characters of a header
_ENDS = (".csv", ".tsv", ".jsonl", ".json", ".txt")


@contextlib.contextmanager
def naming_own_file(reading: Reading, folder: TrialFolder, metric: str) -> Iterator[None]:
    """Let the refusal of a printed line name the script's own file as a remedy, if there is one."""
    try:
        yield
    except TrainsOn:
        raise
    except Refused as error:
        raise type(error)(f"{error}{own_file(folder, metric) if reading.verb == 'print' else ''}") from None


def own_file(folder: TrialFolder, metric: str) -> str:
    """The sentence that names a file in the trial's folder that has the metric, and its step; empty if there is none."""
    for path in sorted(folder.files):
        names = _names_in(path) if path.suffix in _ENDS else []
        found = next((name for name in names if _is_called(name, metric)), None)
        if found is not None:
            told = [f"file={path.relative_to(folder.path).as_posix()!r}", f"metric={found!r}"]
            told += [f"step={name!r}" for name in names if count_in(name)][:1]
            return f" Or read the file that the script writes: Script(…, {', '.join(told)})."
    return ""


def _names_in(path: Path) -> list[str]:
    """The names in the first line of a CSV or of JSON lines, those that count an environment's steps before others."""
    with contextlib.suppress(OSError, ValueError, csv.Error):
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline(LONGEST).strip()
        if first.startswith("{"):
            names = list(json.loads(first))
        else:
            sign = next((sign for sign in (",", ";", "\t") if sign in first), ",")
            names = [name.strip() for name in next(csv.reader([first], delimiter=sign), [])]
        return sorted(names, key=lambda name: "step" not in name.lower())
    return []


def _is_called(name: str, metric: str) -> bool:
    return key_of(metric) in (key_of(name), key_of(name.rpartition("/")[2]))
