"""A sweep over a script whose value at a step is known: `python scripted.py KIND TELLS [flags]`, in an empty folder.

KIND: "resumes" from a checkpoint of its own, or "starts_over". TELLS: "steps", "lines" (without steps) or "report".
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator import Random, RunToEnd, Script, Space, Sweep, launch, uniform

HORIZON, TRIALS = 12, 3
TRAIN = """
import json, os, pathlib, sys, time
{imports}
x = float(sys.argv[1].split("=")[1])
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "mine.json")
done = json.loads(place.read_text()) if {resumes} and place.exists() else 0
for epoch in range(done + 1, {horizon} + 1):
    time.sleep(0.04)
    if {resumes}:
        place.with_suffix(".tmp").write_text(json.dumps(epoch))
        place.with_suffix(".tmp").replace(place)
    time.sleep(0.01)
    {tell}
"""
TELL = {
    "steps": 'print(f"epoch {epoch}: valid_loss={x + 1 / epoch!r}", flush=True)',
    "lines": 'print(f"valid_loss={x + 1 / epoch!r}", flush=True)',
    "report": "if not report(epoch, valid_loss=x + 1 / epoch): break",
}


def true_value(x: float, step: int) -> float:
    """What the script measures at a step."""
    return x + 1 / step


if __name__ == "__main__":
    kind, tells = sys.argv[1:3]
    del sys.argv[1:3]
    text = TRAIN.format(
        imports="from orchestrator import report" if tells == "report" else "", resumes=kind == "resumes",
        horizon=HORIZON, tell=TELL[tells],
    )  # fmt: skip
    if not Path("train.py").exists():
        Path("train.py").write_text(text)
    launch(
        Sweep(
            name="scripted", num_samples=TRIALS, searcher=Random(), scheduler=RunToEnd(), space=Space({"x": uniform(0, 1)}), seed=5,
            workload=Script(f"{sys.executable} train.py", metric="valid_loss", mode="min", horizon=HORIZON),
            allow_failed=TRIALS,
        )
    )  # fmt: skip
