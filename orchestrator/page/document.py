"""A page with its heading, as data: every format of the report is written from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.console.own_commands import by_name
from orchestrator.console.plurals import plural
from orchestrator.page.charts import Section, Table
from orchestrator.page.page import page
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import Maker
from orchestrator.page.thin import thinned
from orchestrator.reading.state import state_words
from orchestrator.record.encoding import now
from orchestrator.record.ledger import Ledger

ANSWER = "answer"  # the key of the section that comes first and stands without a heading


@dataclass(frozen=True)
class Document:
    """What a page shows, and the record that it was made from."""

    title: str
    facts: str  # one line below the title
    sections: tuple[Section, ...]
    folder: Path
    last: int  # `seq` of the last record in it; 0 for a page of several runs
    made: str  # time, UTC


def document(ledger: Ledger, *, strict: bool = False, parts: Iterable[tuple[str, Maker]] | None = None) -> Document:
    """The page of a run at this moment; also of a run in which nothing is recorded yet. `parts`: see `page`."""
    with by_name(), ledger.snapshot():
        last, made = ledger.last, now()[:19].replace("T", " ")
        if not ledger.sweeps():
            nothing = Section(ANSWER, "", ["Nothing is recorded yet: the sweep has not started its first trial."])
            return Document(ledger.folder.name, "", (nothing,), ledger.folder, last, made)
        run = Recorded.of(ledger)
        words = state_words(ledger, run.state)
    with by_name():
        found = page(run, strict=strict, parts=parts)
    sections = tuple(replace(section, figures=[thinned(figure) for figure in section.figures]) for section in found)
    return Document(ledger.folder.name, _facts(run, words), sections, ledger.folder, last, made)


def answer_lines(document: Document) -> list[tuple[str, str]]:
    """Label and text of the first section's lines."""
    if not document.sections:
        return []
    first = document.sections[0]
    table = next((figure for figure in first.figures if isinstance(figure, Table)), None)
    lines = [("", sentence) for sentence in first.sentences]
    return lines + ([(row[0], row[1]) for row in table.rows] if table is not None else [])


def _facts(run: Recorded, words: str) -> str:
    about = run.about
    better = "higher" if about["mode"] == "max" else "lower"
    parts = [
        words,
        f"{run.metric} ({better} is better)",
        f"{plural(len(run.history.trials), 'trial')} of up to {plural(about['horizon'], 'step')}",
        f"searcher {_name(about['searcher'])}",
        f"scheduler {_name(about['scheduler'])}",
    ]
    return " · ".join(parts)


def _name(identity: str) -> str:
    """The class in a recorded identity: its settings are in the description of the sweep."""
    return identity.split("(")[0].rpartition(".")[2]
