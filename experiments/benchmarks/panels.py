"""Draw panels side by side into one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def panels(file: Path, titles: Sequence[str], along: str, legend: str = "best") -> Iterator[Sequence[Any]]:
    """One panel for each title, to be filled; `along`: the words below the axis. The file is written at the end.

    `legend`: where it stands in the first panel.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, found = pyplot.subplots(1, len(titles), figsize=(4.2 * len(titles), 3.4), squeeze=False)
    yield found[0]
    for panel, title in zip(found[0], titles, strict=True):
        panel.set_xlabel(along)
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    found[0][0].legend(frameon=False, fontsize=8, loc=legend)
    figure.tight_layout()
    figure.savefig(file, dpi=150)
    pyplot.close(figure)
