"""`make screens`: pictures of a sweep in the terminal and in the browser, for docs/screens.md.

Everything is real: docs/digits.py runs in a terminal, the pages are made by the commands that a user types, and chromium
opens them. Some minutes on two cores.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

from PIL import Image

from tests.browser import Browser, browsing
from tests.support import ROOT
from tests.terminals import Window, process_in

PLACE = ROOT / "docs" / "screens"
COLOURS = 128  # enough for text and lines, and small files
SIZES = ((1400, 900), (400, 900))  # pixels
WIDE = SIZES[0][0]
PARTS = (
    "health",
    "progress",
    "correlation",
    "parameters",
    "workers",
    "bill",
)  # of the report, each in a picture of its own
ENOUGH = "best so far: trial"  # in the terminal: a sweep that has something to show
DRAWN = "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg, canvas'))"
ANSI = {
    "light": {"default": "#1c2733", "red": "#b3261e", "green": "#00704f", "brown": "#8a5a00", "blue": "#0b62b0", "magenta": "#8a3a8a", "cyan": "#00707d"},
    "dark": {"default": "#e4e9ef", "red": "#ff8a80", "green": "#3cc7a2", "brown": "#f3c24a", "blue": "#62b5ff", "magenta": "#e58fcb", "cyan": "#6fd3de"},
}  # fmt: skip


def main() -> None:
    """Take all pictures anew."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    with tempfile.TemporaryDirectory(prefix="digits-") as folder, browsing(Path(folder) / "browser") as browser:
        os.chdir(folder)
        shutil.copy(ROOT / "docs" / "digits.py", folder)
        running_pictures(browser)
        report_pictures(browser)
        tensorboard_pictures(browser)
        compare_pictures(browser)
    size = sum(path.stat().st_size for path in PLACE.iterdir())
    print(f"{size / 1e6:.2f} MB")


def running_pictures(browser: Browser) -> None:
    """The terminal, the live page and optuna-dashboard, all while a long sweep runs."""
    for columns, lines in ((40, 20), (100, 14)):
        window, command = Window(columns, lines), [sys.executable, "digits.py", "--budget", "200"]
        with process_in(window, *command, "--runs", f"live-{columns}", cwd=Path.cwd()) as process:
            under_way(window, process)
            terminal(browser, window, f"terminal-{columns}")
            if columns == 100:
                with serving("watch", "live-100/digits", "--port", "8051"):
                    pages(browser, "http://127.0.0.1:8051/", "watch", ready=DRAWN, redraw=True)
                with serving("dashboard", "live-100/digits", "--port", "8052"):
                    address, ready = (
                        "http://127.0.0.1:8052/dashboard/studies/1",
                        "document.querySelectorAll('.js-plotly-plot').length > 2",
                    )
                    pages(browser, address, "optuna-dashboard", ready=ready)
            assert process.poll() is None, window.text
            window.type("\x03")
            process.wait()


def under_way(window: Window, process: subprocess.Popen[bytes]) -> None:
    """Wait until the sweep has a second best, and the path of its folder has scrolled away."""
    folder = str(Path.cwd())
    while window.text.count(ENOUGH) < 2 or folder in "".join(window.shown):
        assert process.poll() is None, window.text
        time.sleep(0.1)


def report_pictures(browser: Browser) -> None:
    """The report: its first screen in all sizes and schemes, and parts of it."""
    subprocess.run([sys.executable, "digits.py"], check=True, stdout=subprocess.DEVNULL, env=environment())
    orchestrator("report", "digits")
    address = Path("runs/digits/report/report.html").absolute().as_uri()
    pages(browser, address, "report", ready=DRAWN, redraw=True)
    browser.open(address, width=WIDE)
    browser.run("page.redraw(true)")
    browser.wait_for(DRAWN)
    for part in PARTS:
        keep(browser.picture(part=f"#{part}"), f"report-{part}")


def tensorboard_pictures(browser: Browser) -> None:
    """The page HParams of TensorBoard on a mirror of the sweep."""
    orchestrator("mirror", "digits", "--to", "tensorboard")
    command = [
        str(Path(sys.executable).with_name("tensorboard")),
        "--logdir",
        "runs/digits/mirrors/tensorboard",
        "--port",
        "8053",
    ]
    with served(command, "http://127.0.0.1:8053/"):
        pages(
            browser,
            "http://127.0.0.1:8053/?darkMode={dark}#hparams",
            "tensorboard",
            ready="performance.getEntriesByType('resource').some((each) => each.name.includes('session_groups'))",
        )


def compare_pictures(browser: Browser) -> None:
    """Three seeds of two searchers."""
    for searcher in ("multitask", "random"):
        for seed in (1, 2, 3):
            command = [
                sys.executable,
                "digits.py",
                "--simulate",
                "--name",
                f"{searcher}-{seed}",
                "--seed",
                str(seed),
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment() | {"SEARCHER": searcher})
    orchestrator(
        "compare", *(f"{name}={name}-1,{name}-2,{name}-3" for name in ("multitask", "random")), "--html", "compare.html"
    )
    pages(browser, Path("compare.html").absolute().as_uri(), "compare", ready=DRAWN, redraw=True)


def pages(browser: Browser, address: str, name: str, *, ready: str, redraw: bool = False) -> None:
    """The first screen of a page in all sizes and schemes."""
    for width, height in SIZES:
        for dark in (False, True):
            browser.open("about:blank?")
            browser.open(address.format(dark=str(dark).lower()), width=width, height=height, dark=dark)
            if redraw:
                browser.run("page.redraw(true)")
            browser.wait_for(ready)
            time.sleep(0 if redraw else 4)  # pages of others draw on, and do not say when they are done
            keep(browser.picture(whole=False), f"{name}-{width}-{'dark' if dark else 'light'}")


def terminal(browser: Browser, window: Window, name: str) -> None:
    """What the terminal shows now, as a page of text in the browser, in light and dark."""
    cells = window.cells[: len(window.shown)]
    for scheme, colours in ANSI.items():
        rows = "\n".join(
            "".join(cell(text, colours.get(colour, f"#{colour}"), bold) for text, colour, bold in row) for row in cells
        )
        back = "#ffffff" if scheme == "light" else "#151b22"
        page = Path(f"{name}.html")
        page.write_text(
            f'<meta charset="utf-8"><body style="margin:0;background:{back}"><pre style="display:inline-block;margin:0;padding:14px;background:{back};'
            f'font:14px/1.35 DejaVu Sans Mono,monospace">{rows}</pre>'
        )
        browser.open(page.absolute().as_uri())
        keep(browser.picture(part="pre"), f"{name}-{scheme}")


def cell(text: str, colour: str, bold: bool) -> str:
    """One character of a terminal as HTML."""
    weight = ";font-weight:bold" if bold else ""
    return f'<span style="color:{colour}{weight}">{escape(text)}</span>'


def keep(picture: bytes, name: str) -> None:
    """Write a picture with few colours."""
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    image.save(PLACE / f"{name}.png", optimize=True)
    print(f"{name}.png {(PLACE / f'{name}.png').stat().st_size / 1000:.0f} kB", flush=True)


def environment() -> dict[str, str]:
    """Of the commands: this checkout is what they import."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def orchestrator(*words: str) -> None:
    """Run a command to its end."""
    subprocess.run([sys.executable, "-m", "orchestrator", *words], check=True, env=environment())


@contextmanager
def serving(*words: str) -> Iterator[None]:
    """A command that serves a page at its --port."""
    with served([sys.executable, "-m", "orchestrator", *words], f"http://127.0.0.1:{words[-1]}/"):
        yield


@contextmanager
def served(command: list[str], address: str) -> Iterator[None]:
    """A process that serves a page; it is ended afterwards."""
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(address, timeout=10).close()
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
