"""The page in a real browser: opens alone, every figure is drawn, and a live page follows its run."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.page.charts import Axis, Chart, Images, Parallel, Section, Series, Surface, Table
from orchestrator.page.document import Document, document
from orchestrator.page.files import write
from orchestrator.page.watch import Newest, Server
from tests.browser import Browser, browsing, chromium
from tests.pages import BASE, add_trial, made_up

pytestmark = [
    pytest.mark.slow,  # a browser takes seconds to start
    pytest.mark.skipif(chromium() is None, reason="needs chromium: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),
]
DRAWN = "[...document.querySelectorAll('.plot')].map((plot) => plot.querySelectorAll('path, canvas, rect').length)"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as found:
        yield found


def every_kind(folder: Path) -> Document:
    """A document with every kind of figure and of series."""
    steps = [1, 2, 3, 4]
    values = [0.9, 0.5, None, 0.3]
    low, high = [0.8, 0.4, None, 0.2], [1.0, 0.6, None, 0.4]
    series = [
        Series("band", steps, values, "band", "random", low, high), Series("line", steps, values),
        Series("step", steps, values, "step", "good"), Series("points", steps, values, "points", "bad", low, high),
    ]  # fmt: skip
    grid = [0.1, 1.0, 10.0]
    surface = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [3.0, 4.0, None]]
    figures = (
        Chart("lines", "step", "loss", series, y_log=True, y_range=(0.1, 2.0), note="A note."),
        Chart("bars", "task", "cost", [Series("spent", ["a", "b"], [1.0, 2.0], "bars", "task:a")]),
        Chart("importance", "share", "", [Series("all", [0.5, 0.1], ["lr", "width"], "hbars", low=[0.4, 0.0], high=[0.6, 0.3])]),
        Surface("contour", "lr", "decay", "loss", grid, grid, surface, Series("trials", grid, grid, "points"), True, True),
        Parallel("parallel", [Axis("lr", [0.1, 0.01, None], log=True), Axis("o", ["a", "b", "a"]), Axis("w", [1, 2, 3])], [1.0, 2.0, 3.0], "loss"),
        Table("table", ("name", "value"), [["a", "1"]], ("value",)),
        Images("images", [(PIXEL, "a cat"), (None, "a sentence")]),
    )  # fmt: skip
    return Document(
        "every kind", "facts", (Section("all", "All kinds", ["A sentence."], figures, 2),), folder, 1, "now"
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_opens_alone_and_draws_every_figure(browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    path = write(every_kind(tmp_path), "html", tmp_path / "report.html")
    browser.open(path.as_uri(), width=width, dark=dark, offline=True)
    browser.run("page.redraw(true)")
    assert browser.run(DRAWN) == [count for count in browser.run(DRAWN) if count > 3]
    assert len(browser.run(DRAWN)) == 5
    assert browser.run("document.querySelectorAll('table td').length") == 2
    assert browser.run("document.querySelector('.images img').naturalWidth") == 1
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.errors == []
    assert [address for address in browser.requests if not address.startswith(("file:", "data:", "blob:"))] == []


def test_figures_follow_the_scheme_and_print_in_light_colours(browser: Browser, tmp_path: Path) -> None:
    path = write(every_kind(tmp_path), "html", tmp_path / "report.html")
    colour = "[...document.querySelectorAll('.plot .js-line')].at(-1).style.stroke"
    browser.open(path.as_uri())
    browser.run("page.redraw(true)")
    light = browser.run(colour)
    browser.scheme(True)
    browser.wait_for(f"{colour} !== '{light}'")
    printed = browser.printed()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 2
    assert browser.errors == []


def test_a_figure_is_drawn_when_it_comes_into_view(browser: Browser, tmp_path: Path) -> None:
    path = write(every_kind(tmp_path), "html", tmp_path / "report.html")
    browser.open(path.as_uri(), width=400, height=600)
    browser.wait_for(f"{DRAWN}[0] > 3")
    assert browser.run(DRAWN)[-1] == 0
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.wait_for(f"{DRAWN}.at(-1) > 3")


@contextmanager
def watching(folder: Path) -> Iterator[str]:
    newest, said = Newest(folder), list[str]()
    with Server(newest, 0, said.append) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()
            newest.close()


def test_a_new_trial_appears_without_a_reload_and_the_reader_stays_where_they_are(
    browser: Browser, tmp_path: Path
) -> None:
    ledger = made_up(tmp_path / "run", trials=12, state="")
    with watching(tmp_path / "run") as address:
        browser.open(address, height=500)
        browser.wait_for(f"{DRAWN}[0] > 3")
        browser.run("window.mine = 1; scrollTo(0, 300)")
        browser.run("Plotly.relayout(document.querySelector('.plot'), {'xaxis.range': [2, 5]}).then(() => 1)")
        assert "12 trials" in browser.run("document.getElementById('facts').textContent")
        with ledger.transaction():
            add_trial(ledger, 12, BASE | {"learning_rate": 0.0316, "momentum": 0.6}, 4)
        browser.wait_for("document.getElementById('facts').textContent.includes('13 trials')")
        browser.wait_for("document.querySelector('.plot').data.at(-1).x.at(-1) > 10.4")
        assert "Trial 12" in browser.run("document.getElementById('answer').textContent").replace(
            "So far trial", "Trial"
        )
        assert browser.run("[window.mine, scrollY, document.querySelector('.plot').layout.xaxis.range]") == [
            1, 300, [2, 5],
        ]  # fmt: skip
        assert browser.errors == []
        (tmp_path / "run").rename(tmp_path / "moved")
        browser.wait_for("document.getElementById('news').textContent.includes('is not there any more')")
        (tmp_path / "moved").rename(tmp_path / "run")
        browser.wait_for("document.getElementById('news').hidden")
    browser.wait_for("document.getElementById('news').textContent.includes('has ended')")
    ledger.close(abruptly=True)


def test_the_page_of_a_real_run_is_drawn_whole(browser: Browser, tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "run", trials=60, finalists=3)
    path = write(document(ledger, strict=True), "html", None)
    ledger.close()
    browser.open(path.as_uri(), offline=True)
    browser.run("page.redraw(true)")
    counts = browser.run(DRAWN)
    assert len(counts) >= 2
    assert all(count > 3 for count in counts), counts
    assert browser.errors == []
