"""The sweep that the kill tests kill: small real trainings, slowed a little so that there is something to hit."""

import os

from orchestrator import launch
from orchestrator.sweep import Sweep
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.run_to_end import RunToEnd
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.random import Random
from search.space import Space, loguniform, pow2, uniform
from tests.trouble import Troubled
from trainables.workloads.quadratic import Quadratic

SCHEDULERS = {
    "end": RunToEnd(),
    "asha": Asha(grace_period=1, reduction_factor=2),
    "promote": AshaPromote(grace_period=1, reduction_factor=2),
}
SEARCHERS = {
    "random": Random(),
    "population": PopulationBasedTraining(population=4, interval=3, quantile=0.25),
}


def sweep() -> Sweep:
    workload = Quadratic(
        horizon=int(os.environ.get("STEPS", "6")), seconds_per_step=float(os.environ.get("SLEEP", "0.03"))
    )
    trouble = os.environ.get("TROUBLE", "")
    if trouble:
        number, _, kind = trouble.partition(":")
        workload = Troubled(((int(number), kind),), workload)
    return Sweep(
        name="steady",
        workload=workload,
        space=Space({"learning_rate": loguniform(1e-3, 0.3), "momentum": uniform(0.0, 0.9), "batch_size": pow2(4, 32)}),
        searcher=SEARCHERS[os.environ.get("SEARCHER", "random")],
        scheduler=SCHEDULERS[os.environ.get("SCHEDULER", "end")],
        num_samples=8,
        baseline=None,
        seed=3,
        checkpoint_seconds=0.0,
        max_silence=float(os.environ["SILENCE"]) if "SILENCE" in os.environ else None,
        resources={"cpu": float(os.environ.get("CPU", "1"))}
        | ({"memory": os.environ["MEMORY"]} if "MEMORY" in os.environ else {}),
    )


if __name__ == "__main__":
    launch(sweep)
