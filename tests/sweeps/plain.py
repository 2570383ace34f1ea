"""A plain Ray Tuner with our searcher and scheduler; run again, it restores what an interrupt left."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.tune import SearchAlgorithm, TrialScheduler
from search.schedulers.asha import AshaPromote
from search.searchers.random import Random
from search.space import Space, uniform

HORIZON = 4
SPACE = Space({"x": uniform(0.0, 1.0)})


def train(config: dict[str, Any]) -> None:
    """Reports the step at which it went on as `began`."""
    checkpoint = tune.get_checkpoint()
    began = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
    for step in range(began + 1, HORIZON + 1):
        time.sleep(float(os.environ.get("SLEEP", "0")))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "step").write_text(str(step))
            loss = (config["x"] - 0.3) ** 2 + 1 / step
            tune.report({"loss": loss, "began": began}, checkpoint=tune.Checkpoint.from_directory(folder))


def main(folder: str) -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    experiment = Path(folder) / "plain"
    if tune.Tuner.can_restore(str(experiment)):
        tuner = tune.Tuner.restore(str(experiment), trainable=train)
    else:
        search = SearchAlgorithm(Random(), SPACE, metric="loss", mode="min", horizon=HORIZON)
        tuner = tune.Tuner(
            train,
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=TrialScheduler(AshaPromote(reduction_factor=2), search),
                num_samples=8,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0),
        )
    results = tuner.fit()
    print(json.dumps([{"id": result.path, "step": result.metrics["training_iteration"]} for result in results]))


if __name__ == "__main__":
    main(sys.argv[1])
