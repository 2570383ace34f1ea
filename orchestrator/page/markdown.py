"""A document as Markdown with its figures beside it as pictures: for a pull request or a wiki."""

from __future__ import annotations

from orchestrator.page.charts import Figure, Images, Section, Table
from orchestrator.page.document import Document
from orchestrator.page.matplotlib_charts import png
from orchestrator.page.palette import palettes


def markdown(document: Document, name: str) -> tuple[str, dict[str, bytes]]:
    """The text, and the pictures that it shows: file name → PNG. `name` begins the name of every picture."""
    pictures: dict[str, bytes] = {}
    palette, _ = palettes(document.sections)
    blocks = [f"# {document.title}", document.facts]
    for section in document.sections:
        blocks += _section(section, name, palette, pictures)
    blocks.append(f"Made {document.made} UTC from record {document.last}.")
    return "\n\n".join(block for block in blocks if block) + "\n", pictures


def _section(section: Section, name: str, palette: dict[str, str], pictures: dict[str, bytes]) -> list[str]:
    blocks = [f"## {section.title}" if section.title else "", *map(escaped, section.sentences)]
    for position, figure in enumerate(section.figures):
        blocks.append(f"### {figure.title}" if figure.title and isinstance(figure, (Table, Images)) else "")
        blocks.append(_figure(figure, f"{name}-{section.key}-{position}", palette, pictures))
        blocks.append(escaped(figure.note))
    return blocks


def _figure(figure: Figure, name: str, palette: dict[str, str], pictures: dict[str, bytes]) -> str:
    if isinstance(figure, Table):
        return _table(figure)
    if isinstance(figure, Images):
        lines = []
        for position, (picture, caption) in enumerate(figure.items):
            if picture is None:
                lines.append(f"- {escaped(caption)}")
            else:
                pictures[f"{name}-{position}.png"] = picture
                lines.append(f"![{escaped(caption)}]({name}-{position}.png)")
        return "\n".join(lines)
    pictures[f"{name}.png"] = png(figure, palette)
    return f"![{escaped(figure.title)}]({name}.png)"


def _table(table: Table) -> str:
    rule = ["--:" if column in table.numeric else "---" for column in table.columns]
    rows = [list(table.columns), rule, *table.rows]
    return "\n".join("| " + " | ".join(row if row is rule else map(escaped, row)) + " |" for row in rows)


def escaped(text: str) -> str:
    """Text that Markdown shows as it stands."""
    for sign in "\\`*_<>|[]#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
