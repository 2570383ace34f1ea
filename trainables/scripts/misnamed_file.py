"""Notice that a metrics file has another name than the one asked for."""

from __future__ import annotations

import difflib
import glob
import time
from pathlib import Path, PurePosixPath

from trainables.scripts.metrics_file import REST, MetricsFile
from trainables.scripts.missing_metric import SURE
from trainables.scripts.names import is_synonym, is_typing_error, splits_in
from trainables.scripts.trial_folder import TrialFolder

CLOSE = 0.6  # of difflib's ratio, as in get_close_matches


class MisnamedFile:
    """Looks in the trial's folder for a file whose name resembles `pattern`, which no file has."""

    def __init__(self, folder: TrialFolder, pattern: str, metric: str) -> None:
        self._folder, self._pattern, self._metric = folder, pattern, metric
        self._meant: MetricsFile | None = None
        self._rows = 0
        self._wait_until = 0.0

    def look(self) -> str:
        """Why the file will never come; empty while it may: another one, of a name that differs little, gets its rows."""
        begun = time.monotonic()
        if begun < self._wait_until:
            return ""
        near = self._nearest() if self._meant is None else ""
        if near and self._is_meant(near):
            self._meant = MetricsFile(self._folder.path, glob.escape(near), rest=0.0)
        self._rows += 0 if self._meant is None else len(self._meant.poll(self._metric, ended=False))
        self._wait_until = time.monotonic() + REST * (time.monotonic() - begun)
        return self.why() if self._rows >= SURE else ""

    def why(self) -> str:
        """Why there are no metrics, with the name that was probably meant."""
        names, near = self._names(), self._nearest()
        if near:
            return f"TRIAL_FOLDER has no {self._pattern!r}, but {near!r}. Did you mean file={near!r}?"
        if names:
            return f"TRIAL_FOLDER has no {self._pattern!r}; it has {', '.join(names[:5])}."
        return (
            f"TRIAL_FOLDER has no {self._pattern!r}, and no other file: write it there, with {{folder}} in the command or "
            "TRIAL_FOLDER in the script."
        )

    def _is_meant(self, name: str) -> bool:
        """Whether a name is surely the one asked for: not that of a file beside it, as train.csv stands beside valid.csv."""
        wanted, other = PurePosixPath(self._pattern).stem, PurePosixPath(name).stem
        alike = is_synonym(wanted, other) or is_typing_error(wanted, other)
        return alike and splits_in(self._pattern) == splits_in(name)

    def _nearest(self) -> str:
        wanted = PurePosixPath(self._pattern).name.lower()
        ratios = {
            name: difflib.SequenceMatcher(None, wanted, PurePosixPath(name).name.lower()).ratio()
            for name in self._names()
        }
        best = max(ratios, key=lambda name: ratios[name], default="")
        return best if best and ratios[best] >= CLOSE else ""

    def _names(self) -> list[str]:
        """The other files: one of the name asked for may have come since the caller looked."""
        place = self._folder.path
        asked = set(map(Path, glob.glob(str(place / self._pattern), recursive=True)))
        return sorted(path.relative_to(place).as_posix() for path in self._folder.files if path not in asked)
