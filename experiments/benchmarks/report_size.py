"""How long the report of a long sweep takes to make and to open, and how large it is.

    python experiments/benchmarks/report_size.py [--trials 5000]  # two minutes on one core

A real sweep on the simulated engine: random search with ASHA, 20 steps, three parameters. Prints the processor time of
the page, the size of the file, and, where chromium is installed, the time until a headless one has drawn the first
screen (its own start, which an empty page shows, is part of it).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator import Asha, FromFunction, Random, Space, Sweep, loguniform, uniform
from orchestrator.driver import Driver
from orchestrator.page.document import document
from orchestrator.page.html import html
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate

STEPS = 20


def train(config: Any, state: Any) -> Iterator[dict[str, float]]:
    for step in range(1, STEPS + 1):
        yield {"loss": abs(config["momentum"] - 0.7) + config["lr"] + config["decay"] + 1 / step}


def run(folder: Path, trials: int) -> None:
    space = Space({"lr": loguniform(1e-4, 1), "momentum": uniform(0, 0.99), "decay": loguniform(1e-6, 0.1)})
    workload = FromFunction(train, metric="loss", mode="min", horizon=STEPS)
    scheduler = Asha(grace_period=10, reduction_factor=2)
    sweep = Sweep("long", workload, space, searcher=Random(), scheduler=scheduler, num_samples=trials)
    ledger, clock = Ledger.write(folder), SimulatedClock()
    driver = Driver(sweep, ledger, clock=clock)
    simulate(driver, clock, workers=4)
    driver.close()
    ledger.close()


def drawn(page: Path) -> float:
    """Seconds until chromium has drawn the first screen of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", f"--screenshot={page}.png"]
    began = time.perf_counter()
    subprocess.run(["chromium", *options, page.as_uri()], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "long"
        run(folder, given.trials)
        ledger = Ledger.read(folder)
        print(f"{given.trials} trials, {len(ledger.rows('report'))} reports")
        began = time.process_time()
        page = html(document(ledger, strict=True))
        print(f"made in {time.process_time() - began:.1f} s of processor time, {len(page.encode()) / 1e6:.1f} MB")
        ledger.close()
        if shutil.which("chromium"):
            whole, empty = Path(place) / "page.html", Path(place) / "empty.html"
            whole.write_text(page)
            empty.write_text("<p>nothing</p>")
            print(
                f"first screen in chromium after {drawn(whole):.1f} s, that of an empty page after {drawn(empty):.1f} s"
            )


if __name__ == "__main__":
    main()
