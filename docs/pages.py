"""What `make docs` adds to the pages of docs/: README and its siblings, the measurements, and the API reference.

MkDocs calls `on_files` before it lays out the site and `on_page_markdown` for each page. Links stay as the repository
needs them; here they are turned to where the site has the page, and a link to code becomes plain text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

import orchestrator
import search
import trainables

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
HOMES = trainables.HOMES | search.HOMES | orchestrator.HOMES
TITLES = {
    "sweeps": "Sweeps and reports",
    "spaces": "Spaces and tasks",
    "searchers": "Searchers",
    "schedulers": "Schedulers",
    "policies": "Policies",
    "workloads": "Workloads",
    "contracts": "Contracts",
}
PAGES = {  # of the modules below a prefix; the longest one counts
    "orchestrator.": "sweeps",
    "search.": "spaces",
    "search.searchers.": "searchers",
    "search.schedulers.": "schedulers",
    "trainables.": "policies",
    "trainables.workloads.": "workloads",
    "search.contract": "contracts",
    "search.history": "contracts",
    "search.records": "contracts",
    "trainables.contract": "contracts",
    "trainables.values": "contracts",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, place in added():
        files.append(File.generated(config, place, abs_src_path=str(source)))
    for name in TITLES:
        files.append(File.generated(config, f"api/{name}.md", content=reference(name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    places = dict(added())
    places |= {path: path.name for path in (ROOT / "docs").glob("*.md")}
    sources = {place: source for source, place in places.items()}
    here = page.file.src_uri
    if here not in sources:
        return markdown

    def target(link: str) -> Path:
        return (sources[here].parent / link).resolve()

    def moved(match: re.Match[str]) -> str:
        place = places.get(target(match[1]))
        return f"]({os.path.relpath(place, Path(here).parent)}{match[2] or ''})" if place else match[0]

    def plain(match: re.Match[str]) -> str:
        return match[1] if target(match[2]).exists() and target(match[2]) not in places else match[0]

    without_code = re.sub(r"(?<!!)\[([^\]\[]+)\]\(([^)\s#:]+)\)", plain, markdown)
    return re.sub(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)", moved, without_code)


def added() -> Iterator[tuple[Path, str]]:
    """Files outside docs/ that are pages of the site, or pictures of them, and their places there."""
    yield ROOT / "README.md", "index.md"
    yield ROOT / "CONTRIBUTING.md", "contributing.md"
    yield ROOT / "CHANGELOG.md", "changelog.md"
    for path in sorted((ROOT / "experiments" / "results").iterdir()):
        yield path, f"results/{path.name}"


def reference(page: str) -> str:
    """A page of the API reference: its public names, module by module."""
    modules: dict[str, list[str]] = {}
    for name in orchestrator.__all__:
        prefix = max(filter(HOMES[name].startswith, PAGES), key=len)
        if PAGES[prefix] == page:
            modules.setdefault(HOMES[name], []).append(name)
    parts = [f"# {TITLES[page]}", "Import each of these names from `orchestrator`."]
    for home, names in sorted(modules.items(), key=lambda item: (item[0].endswith("errors"), item[1][0].lower())):
        parts.append(f"## {', '.join(names)}\n\n::: {home}\n    options:\n      members: [{', '.join(names)}]")
    return "\n\n".join(parts) + "\n"
