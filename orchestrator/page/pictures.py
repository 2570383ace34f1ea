"""A document as a picture or a PDF for slides: its first screen and its main figures, drawn without a browser."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from orchestrator.page.charts import Chart, Parallel, Surface
from orchestrator.page.document import Document, answer_lines
from orchestrator.page.matplotlib_charts import DPI, WIDTH, figure_of
from orchestrator.page.palette import palettes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARACTERS = 100  # in a line of the first screen
LINE, GAP = 0.21, 0.09  # inches: a line, and the space above a label
MAIN = 6  # figures on the picture; a PDF has all


def pdf(document: Document) -> bytes:
    """A page with the answer, then a page for each figure."""
    from matplotlib.backends.backend_pdf import PdfPages

    written = io.BytesIO()
    palette, _ = palettes(document.sections)
    with PdfPages(written) as pages:
        for figure in (first_screen(document, palette), *(figure_of(each, palette) for each in _charts(document))):
            pages.savefig(figure)
    return written.getvalue()


def png(document: Document) -> bytes:
    """The answer, and the first figures below it, in one column."""
    from PIL import Image

    palette, _ = palettes(document.sections)
    figures = [first_screen(document, palette), *(figure_of(each, palette) for each in _charts(document)[:MAIN])]
    images = [Image.open(io.BytesIO(_bytes(figure))).convert("RGB") for figure in figures]
    whole = Image.new("RGB", (max(each.width for each in images), sum(each.height for each in images)), palette["page"])
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    written = io.BytesIO()
    whole.save(written, "PNG", optimize=True)
    return written.getvalue()


def first_screen(document: Document, palette: dict[str, str]) -> Figure:
    """The title and the answer's lines, as text."""
    from matplotlib.figure import Figure as New

    lines: list[tuple[str, str, bool]] = []  # text, colour, whether it is a heading
    for label, text in answer_lines(document):
        lines.append((label, palette["soft"], True)) if label else None
        lines += [(line, palette["ink"], False) for line in textwrap.wrap(text, CHARACTERS)]
    facts = textwrap.wrap(document.facts, CHARACTERS)
    height = 0.9 + LINE * (len(lines) + len(facts)) + GAP * sum(heading for _, _, heading in lines)
    new = New(figsize=(WIDTH, height), facecolor=palette["page"])
    at = 1 - 0.35 / height
    new.text(0.04, at, document.title, fontsize=15, fontweight="bold", color=palette["ink"], va="top", parse_math=False)
    at -= 0.36 / height
    for text, color, heading in [*((line, palette["soft"], False) for line in facts), *lines]:
        at -= GAP / height if heading else 0.0
        new.text(0.04, at, text, fontsize=8.5 if heading else 9.5, color=color, va="top", parse_math=False)
        at -= LINE / height
    return new


def _charts(document: Document) -> list[Chart | Surface | Parallel]:
    return [
        figure
        for section in document.sections
        for figure in section.figures
        if isinstance(figure, (Chart, Surface, Parallel))
    ]


def _bytes(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format="png")
    return picture.getvalue()
