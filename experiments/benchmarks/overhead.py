"""The orchestrator's overhead beside plain Ray Tune, measured side by side in one run.

Claim: at least 50 times the trials per second of plain Ray Tune with its defaults (a function trainable, a new process for
each trial), not behind its best setting (a class trainable, actors reused, loggers off) in any figure, and flat in the
number of trials. The trial is trivial (x², `steps` reports), so only the overhead remains. Every measurement has its own
process; the forms take turns, `--repeats` times; figures are medians, ratios are taken pair by pair.

    python experiments/benchmarks/overhead.py            # about 15 minutes on two cores
    python experiments/benchmarks/overhead.py --quick    # small sizes, two minutes

Our figures include a durable record of every report (an fsync before the trial is told); plain Ray Tune keeps none.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGUN = time.time()  # of this process

from trainables.contract import OwnTraining  # noqa: E402 - its loading counts

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Parabola(OwnTraining):
    """loss = x², reported `horizon` times."""

    horizon: int = 1
    metric = "loss"
    mode = "min"
    metrics = ("loss",)
    baseline = None

    def run(self, policy: Any, assignment: Any, should_pause: Any = None) -> Any:
        from search.work import Reported

        loss = assignment.config["x"] ** 2
        return (
            Reported(step=step, metrics={"loss": loss}) for step in range(assignment.recorded + 1, assignment.until + 1)
        )


def ours(trials: int, steps: int, slots: int, folder: Path) -> dict[str, Any]:
    """Run (or continue) in this process and measure; the record stays in `folder`."""
    from rich.console import Console

    from orchestrator.driver import Driver
    from orchestrator.reading.progress import Display
    from orchestrator.record.ledger import Ledger
    from orchestrator.sweep import Sweep
    from orchestrator.tune.cluster import connected
    from search.schedulers.run_to_end import RunToEnd
    from search.searchers.random import Random
    from search.space import Space, uniform

    sweep = Sweep(
        name="overhead", workload=Parabola(steps), space=Space({"x": uniform(-1.0, 1.0)}), searcher=Random(),
        scheduler=RunToEnd(), num_samples=trials, max_concurrent=slots,
    )  # fmt: skip
    ledger = Ledger.write(folder)
    display = Display(Console(stderr=True))
    driver = Driver(sweep, ledger, listen=display.listen)
    display.watch(driver)
    before = len(driver.history)
    loaded = time.time() - BEGUN
    marks: list[tuple[float, int]] = []  # time, records

    def refresh() -> None:
        display.refresh()
        if len(driver.history) > before + slots:
            marks.append((time.time(), len(driver.history)))

    first = driver.next()
    with connected(driver, None):
        from orchestrator.tune.engine import rounds

        used = time.process_time()  # as for plain Tune: of the driver during `fit`, without the start of Ray
        rounds(driver, first, refresh)
        used = time.process_time() - used
    ledger.close()
    seconds = max(marks[-1][0] - marks[0][0], 1e-9) if marks else float("nan")
    records = marks[-1][1] - marks[0][1] if marks else 0
    per_trial = steps + 2  # a suggestion, the reports, an end
    new_reports = sum(len(trial.steps) for trial in driver.history) - (before // per_trial) * steps
    return {
        "form": "ours", "trials": trials, "steps": steps, "slots": slots,
        "start_to_first_result_s": marks[0][0] - BEGUN if marks else None,
        "trials_per_s": records / per_trial / seconds,
        "reports_per_s": records * steps / per_trial / seconds,
        "driver_cpu_ms_per_report": 1e3 * used / max(1, new_reports),
        "ledger_loaded_s": loaded,
    }  # fmt: skip


def measure(form: str, trials: int, steps: int, folder: Path | None = None) -> dict[str, Any]:
    """One measurement in a process of its own."""
    if form == "ours":
        call = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--worker",
            str(folder),
            "--trials",
            str(trials),
            "--steps",
            str(steps),
        ]
    else:
        call = [
            sys.executable,
            str(HERE / "plain_tune.py"),
            "--form",
            form,
            "--trials",
            str(trials),
            "--steps",
            str(steps),
        ]
    done = subprocess.run(call, capture_output=True, text=True, timeout=1800)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(f"{' '.join(call)} gave nothing:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(lines[-1]))


def compare(
    title: str,
    key: str,
    trials: int,
    steps: int,
    forms: tuple[str, ...],
    repeats: int,
    rows: list[dict[str, Any]],
    *,
    more_is_better: bool,
) -> None:
    """Measure the forms in turn and print medians and the ratio of ours, pair by pair (> 1: ours is better)."""
    found: dict[str, list[float]] = {form: [] for form in forms}
    for repeat in range(repeats):
        for form in forms:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(form, trials, steps, Path(folder) / "run")
            rows.append({"title": title, "repeat": repeat, **row})
            found[form].append(float(row[key]))
    report(title, found, more_is_better=more_is_better)


def report(title: str, found: dict[str, list[float]], *, more_is_better: bool) -> None:
    text = []
    for form, values in found.items():
        text.append(f"{form} {statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})")
        if form != "ours":
            pairs = [
                (a / b if more_is_better else b / a) for a, b in zip(found["ours"], values, strict=True) if b and a
            ]
            text.append(f"ratio {statistics.median(pairs):.2f} ({min(pairs):.2f}–{max(pairs):.2f})")
    print(f"{title:<44} " + "  ".join(text), flush=True)


def resume(sizes: list[int], repeats: int, rows: list[dict[str, Any]], plain: list[int]) -> None:
    """Fill a record with `size` finished trials, then time the start of a new process to its first new result.

    For plain Tune: of the process that restores a finished experiment, until `fit` returns (nothing is left to run).
    """
    for size in sizes:
        found: dict[str, list[float]] = {"ours": [], "record loaded": []}
        with tempfile.TemporaryDirectory() as folder:
            measure("ours", size, 1, Path(folder) / "run")
            for repeat in range(repeats):
                row = measure("ours", size + 8 * (repeat + 1), 1, Path(folder) / "run")
                rows.append({"title": f"resume {size}", "repeat": repeat, **row})
                found["ours"].append(row["start_to_first_result_s"])
                found["record loaded"].append(row["ledger_loaded_s"])
        if size in plain:
            found["class"] = [float(measure("class", size, 1)["resume_from_start_s"]) for _ in range(repeats)]
            rows += [
                {"title": f"resume {size}", "form": "class", "resume_from_start_s": value} for value in found["class"]
            ]
        text = "  ".join(
            f"{form} {statistics.median(values):.3g} s ({min(values):.3g}–{max(values):.3g})"
            for form, values in found.items()
        )
        print(f"resume a sweep of {size:,} trials".ljust(45) + text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write all rows as JSON lines")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--trials", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(ours(given.trials, given.steps, 2, given.worker)))
        return
    rows: list[dict[str, Any]] = []
    n = 1 if given.quick else given.repeats
    both, best = ("ours", "class", "function"), ("ours", "class")
    print(
        f"{platform.platform()}, Python {platform.python_version()}, 2 slots, n = {n}; median (min–max); ratio > 1: ours is better"
    )
    compare(
        "trials/s, 12 trials of 1 step", "trials_per_s", 12, 1, both, 1 if given.quick else 2, rows, more_is_better=True
    )
    compare("start to first result, s", "start_to_first_result_s", 12, 1, best, n, rows, more_is_better=False)
    for size in (100,) if given.quick else (100, 1000, 5000):
        repeats = n if size < 5000 else 1
        compare(
            f"trials/s, {size:,} trials of 1 step", "trials_per_s", size, 1, best, repeats, rows, more_is_better=True
        )
        last = [row for row in rows if row["title"].startswith(f"trials/s, {size:,} ")]
        cpu = {form: [float(row["driver_cpu_ms_per_report"]) for row in last if row["form"] == form] for form in best}
        report(f"driver CPU ms/report, {size:,} trials", cpu, more_is_better=False)
    steps = 500 if given.quick else 4000
    compare(f"reports/s, 2 trials of {steps:,} steps", "reports_per_s", 2, steps, best, n, rows, more_is_better=True)
    resume([100] if given.quick else [100, 1000, 5000], n, rows, [100] if given.quick else [100, 1000])
    if given.output:
        given.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
