"""A population of scripts that call report(): each step multiplies by the rate, so a value shows every rate that led to it."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator import PopulationBasedTraining, Script, Space, Sweep, launch, uniform

HORIZON, INTERVAL, MEMBERS = 8, 2, 4
SCRIPT = """
import json, os, pathlib, time
from orchestrator import parameters, report, resumed_from

rate, found = parameters()["rate"], resumed_from()
state = {"epoch": 0, "x": 1.0} if found is None else json.loads(found.read_text())
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "last.json")  # one file, written again in place
while state["epoch"] < HORIZON:
    time.sleep(PAUSE)
    state = {"epoch": state["epoch"] + 1, "x": state["x"] * rate}
    place.write_text(json.dumps(state))
    if not report(state["epoch"], loss=state["x"], checkpoint=place):
        break
"""


def text(pause: float = 0.0) -> str:
    return SCRIPT.replace("HORIZON", str(HORIZON)).replace("PAUSE", str(pause))


if __name__ == "__main__":
    Path("train.py").write_text(text(0.02))
    launch(
        Sweep(
            "forking",
            Script(f"{sys.executable} train.py", metric="loss", mode="min", horizon=HORIZON),
            Space({"rate": uniform(0.5, 1.0)}),
            searcher=PopulationBasedTraining(population=MEMBERS, interval=INTERVAL, quantile=0.25),
        )
    )
