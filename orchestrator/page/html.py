"""A document as one HTML file that needs nothing else: styles, figures and plotly's code are inside it."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import Any

from orchestrator.page.charts import Figure, Images, Parallel, Section, Table
from orchestrator.page.document import ANSWER, Document
from orchestrator.page.palette import DARK, LIGHT, palettes
from orchestrator.page.plotly_charts import drawn, is_drawn, least_width
from orchestrator.page.words import place

# Nothing may be fetched, and nothing sent: the browser enforces it. Parallel coordinates compile their shaders.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' {source}; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src {source}; base-uri 'none'; form-action 'none'"
)
LONG = 36  # characters of a cell from which its column may break lines
FEW_AXES, HALF = 4, 560  # axes of parallel coordinates, and pixels of any: with more they take the whole width


def html(document: Document) -> str:
    """The whole page as one string, for a file."""
    return _page(document, f"<script>{plotly_code()}</script>", POLICY.format(source="").replace("connect-src ;", ""))


def live_html(document: Document, news: str = "") -> str:
    """The page for a server that answers `plotly.js` and `state`. `news`: a sentence to stand on top."""
    return _page(document, '<script src="plotly.js"></script>', POLICY.format(source="'self'"), live=True, news=news)


def state(document: Document) -> dict[str, Any]:
    """What changes on the page, as JSON: the heading, and of every section its HTML and its figures."""
    light, dark = palettes(document.sections)
    return {
        "last": document.last, "made": document.made, "facts": document.facts, "light": light, "dark": dark,
        "sections": [_state_of(section) for section in document.sections],
    }  # fmt: skip


def to_json(value: Any) -> str:
    """Compact JSON that may stand inside a <script>."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_number)
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


@lru_cache(maxsize=1)
def plotly_code() -> str:
    """Plotly's code, from its Python package."""
    from plotly.offline import get_plotlyjs

    code: str = get_plotlyjs()
    return code.replace("</script", "<\\/script")


def _page(document: Document, plotly: str, policy: str, *, live: bool = False, news: str = "") -> str:
    found = state(document)
    sections = "".join(f'<section id="{escape(each["key"])}">{each["html"]}</section>' for each in found["sections"])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(document.title)}</title>
<style>
:root {{ {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
@media print {{ :root {{ {_variables(LIGHT)} }} }}
{_asset("page.css")}
</style>
</head>
<body>
<header>
<h1>{escape(document.title)}</h1>
<p id="facts">{escape(document.facts)}</p>
<p id="news" role="status"{"" if news else " hidden"}>{escape(news)}</p>
</header>
<nav aria-label="Sections">{_contents(document)}</nav>
<main>{sections}</main>
<noscript><p>The figures need JavaScript; sentences and tables do not.</p></noscript>
<footer><p>Made <span id="made">{document.made}</span> UTC{_source(document) if document.last or live else ""}</p></footer>
<script id="state" type="application/json">{to_json(found)}</script>
{plotly}
<script>{_asset("page.js")}</script>
{f"<script>{_asset('live.js')}</script>" if live else ""}
</body>
</html>
"""


def _source(document: Document) -> str:
    return f' from record <span id="last">{document.last}</span> of\n{escape(place(document.folder))}'


def _contents(document: Document) -> str:
    named = [section for section in document.sections if section.title and section.key != ANSWER]
    return "".join(f'<a href="#{escape(each.key)}">{escape(each.title)}</a>' for each in named)


def _state_of(section: Section) -> dict[str, Any]:
    figures = {
        f"{section.key}-{position}": drawn(figure)  # type: ignore[arg-type]
        for position, figure in enumerate(section.figures)
        if is_drawn(figure)
    }
    return {"key": section.key, "title": section.title, "html": _section(section), "figures": figures}


def _section(section: Section) -> str:
    title = f"<h2>{escape(section.title)}</h2>" if section.title and section.key != ANSWER else ""
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in section.sentences)
    figures = "".join(_figure(f"{section.key}-{place}", figure) for place, figure in enumerate(section.figures))
    columns = f' style="--columns:{section.columns}"' if section.columns > 1 else ""
    return f'{title}{sentences}<div class="figures"{columns}>{figures}</div>' if figures else title + sentences


def _figure(key: str, figure: Figure) -> str:
    title = f"<h3>{escape(figure.title)}</h3>" if figure.title else ""
    note = f'<p class="note">{escape(figure.note)}</p>' if figure.note else ""
    if isinstance(figure, Table) and figure.folded:
        return f"<figure><details><summary>{escape(figure.title)}</summary>{_table(figure)}{note}</details></figure>"
    is_wide = _is_wide(figure)
    return f"<figure{' class=wide' if is_wide else ''}>{title}{_body(key, figure)}{note}</figure>"


def _is_wide(figure: Figure) -> bool:
    if isinstance(figure, Parallel):
        return len(figure.axes) > FEW_AXES or least_width(figure) > HALF
    return isinstance(figure, Table) and figure.wide


def _body(key: str, figure: Figure) -> str:
    if isinstance(figure, Table):
        return _table(figure)
    if isinstance(figure, Images):
        return f'<div class="images">{"".join(_image(*item) for item in figure.items)}</div>'
    height = drawn(figure)["height"]
    label = escape(figure.title or key)
    return f'<div class="plot" data-figure="{escape(key)}" style="height:{height}px" role="img" aria-label="{label}"></div>'


def _table(table: Table) -> str:
    longest = [max((len(row[place]) for row in table.rows), default=0) for place in range(len(table.columns))]
    kinds = [
        ' class="number"' if column in table.numeric else ' class="text"' if length > LONG else ""
        for column, length in zip(table.columns, longest, strict=True)
    ]
    headings = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(table.columns, kinds, strict=True))
    head = f"<thead><tr>{headings}</tr></thead>" if any(table.columns) else ""
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in table.rows
    )
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'


def _image(picture: bytes | None, caption: str) -> str:
    shown = f'<img alt="" src="data:image/png;base64,{b64encode(picture).decode()}">' if picture else ""
    return f"<div>{shown}<p>{escape(caption)}</p></div>"


def _variables(colors: dict[str, str]) -> str:
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


def _asset(name: str) -> str:
    return (files("orchestrator.page") / "assets" / name).read_text()


def _number(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    return value.item()
