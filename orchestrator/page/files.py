"""Write a report into a run's folder, or, if that is read-only, into a folder for temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from orchestrator.errors import BadInput
from orchestrator.page import html, markdown, pictures
from orchestrator.page.document import Document
from orchestrator.record.storage import replace_file

FORMATS = ("html", "md", "png", "pdf")


def write(document: Document, format: str, target: Path | None) -> Path:
    """Write the document as one of `FORMATS`; returns where. `target` None: report/report.FORMAT in the run's folder.

    A link in the run's folder is replaced, not followed. Raises BadInput for another format or an unusable `target`.
    """
    if format not in FORMATS:
        raise BadInput(f"report --format {format}: must be one of {', '.join(FORMATS)}.")
    place = document.folder / "report" / f"report.{format}" if target is None else target.expanduser().absolute()
    made = _files(document, format, place.name)
    try:
        return _put(place, made)
    except OSError as error:
        if target is not None:
            raise BadInput(f"report --output {target}: cannot be written: {error.strerror}.") from error
        return _put(Path(tempfile.mkdtemp(prefix=f"{document.folder.name}-")) / place.name, made)


def _files(document: Document, format: str, name: str) -> dict[str, bytes]:
    """File name → content, the report itself first."""
    if format == "html":
        return {name: html.html(document).encode()}
    if format == "md":
        text, shown = markdown.markdown(document, Path(name).stem)
        return {name: text.encode(), **shown}
    return {name: pictures.png(document) if format == "png" else pictures.pdf(document)}


def _put(place: Path, made: dict[str, bytes]) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        replace_file(place.with_name(name), content)
    return place
