"""The page of a run, as data: all its sections. `report` writes it, and `watch` serves it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.page.charts import Section
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import Maker, makers


def page(run: Recorded, *, strict: bool = False, parts: Iterable[tuple[str, Maker]] | None = None) -> list[Section]:
    """All sections that have something to show, in the order of the page; figures without data are left out.

    A section that cannot be made shows the reason, and the others stand. `strict`: raise its error instead.
    """
    found = (_made(name, maker, run, strict) for name, maker in (makers() if parts is None else parts))
    return [section for section in found if section is not None]


def _made(name: str, maker: Maker, run: Recorded, strict: bool) -> Section | None:
    try:
        section = maker(run)
    except Exception as error:
        if strict:
            raise
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Section(name, name.replace("_", " ").capitalize(), [f"This part could not be made: {reason}"])
    if section is None:
        return None
    return replace(section, figures=[figure for figure in section.figures if not figure.is_empty])
