"""`make screens`: pictures of the report and of the live page, taken in a real browser (chromium), for docs/screens.md.

The sweep tunes a small network on scikit-learn's digits with noise added, on a simulated clock: a minute on two cores.
"""

from __future__ import annotations

import io
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orchestrator import MultitaskSearch, Space, Sweep, Task, choice, loguniform, pow2, uniform, when
from orchestrator.page.document import document
from orchestrator.page.files import write
from orchestrator.page.watch import Newest, Server
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from tests.browser import Browser, browsing
from tests.support import ROOT, interrupted_after, simulated

PLACE = ROOT / "docs" / "screens"
COLOURS = 96  # enough for text and lines, and small files
SIZES = ((1400, 1000), (400, 900))  # pixels


@lru_cache(maxsize=1)
def digits() -> tuple[Any, Any]:
    """Noisy digits in random order."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    return (pixels / 16 + rng.normal(0, 0.35, pixels.shape))[order], labels[order]


def train(config: Mapping[str, Any], state: Any) -> Iterator[dict[str, float]]:
    """Train a network with one hidden layer for twelve epochs."""
    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore")
    pixels, labels = digits()
    network = MLPClassifier(
        (config["width"],), learning_rate_init=config["learning_rate"], alpha=config["weight_decay"],
        batch_size=config["batch_size"], solver=config["optimizer"], momentum=config.get("momentum", 0.9),
        random_state=time.time_ns() % 2**31,
    )  # fmt: skip
    for _ in range(12):
        network.partial_fit(pixels[:1200], labels[:1200], classes=range(10))
        yield {"accuracy": float(network.score(pixels[1200:], labels[1200:]))}


def sweep() -> Sweep:
    """A sweep with tasks, a conditional parameter, a baseline and confirmed finalists."""
    space = Space(
        {
            "learning_rate": loguniform(1e-4, 0.5),
            "weight_decay": loguniform(1e-6, 1.0),
            "width": pow2(8, 128),
            "batch_size": pow2(16, 256),
            "optimizer": choice(["adam", "sgd"]),
            "momentum": when(uniform(0.0, 0.99), optimizer="sgd"),
        }
    )
    baseline = {"learning_rate": 1e-3, "weight_decay": 1e-4, "width": 32, "batch_size": 128, "optimizer": "adam"}
    return Sweep(
        "digits", train, space, maximize="accuracy", steps=12, searcher=MultitaskSearch(), budget=20,
        tasks=Task.epochs(0.1, 0.34, 1.0), baseline=baseline, finalists=3, confirmations=3, allow_failed=99,
    )  # fmt: skip


def report_pictures(browser: Browser, folder: Path) -> None:
    """The report of the finished sweep: its first screen in all sizes and schemes, and the whole page."""
    simulated(folder, sweep(), workers=2)
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_event(STATE, "finished")
    page = write(document(ledger, strict=True), "html", None)
    ledger.close()
    for width, height in SIZES:
        for dark in (False, True):
            browser.open(page.as_uri(), width=width, height=height, dark=dark)
            shoot(browser, f"report-{width}-{'dark' if dark else 'light'}", whole=False)
    browser.open(page.as_uri(), width=SIZES[0][0])
    shoot(browser, "report-whole")


def watch_picture(browser: Browser, folder: Path) -> None:
    """The live page of a sweep under way."""
    interrupted_after(folder, sweep(), answers=80)
    ledger = Ledger.write(folder)
    with ledger.transaction():  # as its driver would: the run is in use again
        ledger.add_event("notice", "the picture is taken")
    newest = Newest(folder)
    with Server(newest, 0, print) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        browser.open(server.address, width=SIZES[0][0], height=SIZES[0][1])
        shoot(browser, "watch-1400-light", whole=False)
        server.shutdown()
        thread.join()
    newest.close()
    ledger.close(abruptly=True)


def shoot(browser: Browser, name: str, *, whole: bool = True) -> None:
    """Write a picture of the page, with all figures drawn."""
    browser.run("page.redraw(true)")
    browser.wait_for("[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg, canvas'))")
    picture = Image.open(io.BytesIO(browser.picture(whole=whole))).convert("RGB")
    picture.quantize(COLOURS).save(PLACE / f"{name}.png", optimize=True)
    print(PLACE / f"{name}.png")


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, browsing(Path(place) / "browser") as browser:
        report_pictures(browser, Path(place) / "digits")
        watch_picture(browser, Path(place) / "live" / "digits")
