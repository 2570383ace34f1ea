"""Which policy wins at equal cost, and the value of each: `experiments/policies.py` with all policies, and with each alone.

    python experiments/benchmarks/choosing.py --seeds 5
    python experiments/benchmarks/choosing.py --policies fixed averaged    # only these alone

Every sweep has the same budget in full trainings, finalists included, and runs in this process. The table shows the test
accuracy of the winner, how often each policy won when all were on offer, and the cost of the search.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ALL = "all to choose from"
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments"))

from policies import NAMES  # noqa: E402 - the experiment beside this folder


def found(only: str | None, seed: int, runs: Path) -> dict[str, Any]:
    """The summary of the sweep with this policy (None: all to choose from); carried out unless it is there."""
    name = f"{only or 'choice'}-{seed}"
    environment = {**os.environ, **({"POLICY": only} if only else {}), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(ROOT / "experiments" / "policies.py"), "--simulate", "--max-concurrent", "1"]
    subprocess.run(
        [*script, "--seed", str(seed), "--name", name, "--runs", str(runs)],
        env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    shown = [sys.executable, "-m", "orchestrator", "show", name, "--runs", str(runs), "--json"]
    told = subprocess.run(shown, check=True, capture_output=True, text=True, cwd=ROOT)
    summary: dict[str, Any] = json.loads(told.stdout)
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--policies", nargs="+", default=[ALL, *NAMES], choices=[ALL, *NAMES])
    parser.add_argument("--runs", type=Path, default=Path("runs/choosing"))
    given = parser.parse_args()
    remark = ""
    print("| policies | test accuracy of the winner | validation | full trainings | n |")
    print("| --- | --- | --- | --- | --- |")
    for name in given.policies:
        only = None if name == ALL else name
        rows = [found(only, seed, given.runs.absolute()) for seed in range(given.seeds)]
        tests = [row["best"]["test"]["accuracy"] for row in rows]
        valid = statistics.mean(row["best"]["value"] for row in rows)
        cost = statistics.mean(row["cost"]["full_equivalents"] for row in rows)
        print(f"| {name} | {spread(tests)} | {valid:.4f} | {cost:.1f} | {len(rows)} |", flush=True)
        if only is None:
            baseline = spread([row["baseline"]["test"]["accuracy"] for row in rows])
            won = Counter(row["best"]["config"]["policy"] for row in rows)
            remark = f"Baseline, momentum SGD at a constant rate: {baseline}. Chosen where all were there: {dict(won)}."
    print(f"\n{remark}")


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ±{deviation:.4f}"


if __name__ == "__main__":
    main()
