"""Which policy should turn the knobs while the model trains, and with which settings? Tuned like any other parameter.

The choice of the policy opens the policy's own parameters, and multitask search decides over all of them at once, from
trainings of 0.25, 0.5 and all of the epochs. Claim: on a test part that no decision has seen, the best configuration beats
the baseline, momentum SGD with a constant rate. The best configuration names the policy that won. A promoted trial
continues if no policy on offer depends on the length of the training (POLICY=fixed, averaged, wsd and others); in the
choice among all it starts over, and trains for its task's length. `Date` is our own controller on top of LEGW and the noise scale; not the algorithm of the paper "DATE", which gives none.

    python experiments/policies.py
    POLICY=warmup python experiments/policies.py        # one policy alone, to measure the value of the choice

An LSTM reads scikit-learn's digits row by row; `POLICIES_DATA` is a folder with MNIST's files. The Gaussian process needs
Python 3.11.
"""

import os
from pathlib import Path

from orchestrator import (
    AutoLrs,
    Averaged,
    Date,
    LargestFreeBatch,
    LrSchedule,
    LstmMnist,
    MultitaskSearch,
    NoiseScaleBatch,
    RateRace,
    Space,
    Sweep,
    Task,
    Warmup,
    Wsd,
    choice,
    launch,
    loguniform,
    pow2,
    uniform,
    when,
)
from search.records import Config
from trainables.contract import Policy
from trainables.policies.fixed import Fixed

DATA = os.environ.get("POLICIES_DATA")
NAMES = (
    "fixed", "schedule", "warmup", "date", "noise_scale", "autolrs",
    "averaged", "rate_race", "wsd", "largest_free_batch",
)  # fmt: skip
ONLY = os.environ.get("POLICY")
HORIZON = 20
TASKS = Task.epochs(0.25, 0.5, 1.0)


def policy(config: Config) -> Policy:
    """The policy that the configuration names."""
    rate, batch_size = config["learning_rate"], config["batch_size"]
    match ONLY or config["policy"]:
        case "schedule":
            return LrSchedule(config["shape"])
        case "warmup":
            return Warmup(config["warmup_epochs"], then=LrSchedule("cosine"))
        case "date":
            return Date(base_batch=batch_size, warm_up=config["date_warmup"], most=512, decay="cosine")
        case "noise_scale":
            return NoiseScaleBatch(most=512, scaling=config["scaling"])
        case "autolrs":
            return AutoLrs(low=rate / 30, high=rate * 3, stage=config["stage"])
        case "averaged":
            return Averaged(gammas=(config["gamma"],))
        case "rate_race":  # three rates, in trials that 160 updates have room for; with fewer there is no race
            return RateRace(low=rate / 4, high=rate * 4, least=10, cool=config["race_cool"])
        case "wsd":
            return Wsd(config["wsd_cool"], rungs=tuple(task.steps(HORIZON) for task in TASKS))
        case "largest_free_batch":
            return LargestFreeBatch(largest=512, first=50, updates=10, tolerance=config["tolerance"])
    return Fixed()


def space() -> Space:
    """Learning rate, batch and momentum of all; of each policy its own parameters."""
    own = {
        "shape": ("schedule", choice(["cosine", "linear", "polynomial", "steps"])),
        "warmup_epochs": ("warmup", uniform(0.1, 5.0)),
        "date_warmup": ("date", uniform(0.0, 1.0)),
        "scaling": ("noise_scale", choice(["none", "sqrt", "linear"])),
        "stage": ("autolrs", loguniform(0.02, 0.2)),
        "gamma": ("averaged", loguniform(2.0, 32.0)),
        "race_cool": ("rate_race", uniform(0.1, 0.6)),
        "wsd_cool": ("wsd", uniform(0.05, 0.5)),
        "tolerance": ("largest_free_batch", loguniform(0.03, 0.3)),
    }
    parameters = {
        "learning_rate": loguniform(0.005, 2.0),
        "batch_size": pow2(16, 256),
        "momentum": uniform(0.5, 0.95),
    }
    if ONLY:
        return Space(parameters | {name: parameter for name, (owner, parameter) in own.items() if owner == ONLY})
    opened = {name: when(parameter, policy=owner) for name, (owner, parameter) in own.items()}
    return Space(parameters | {"policy": choice(list(NAMES))} | opened)


def sweep() -> Sweep:
    usual = {"learning_rate": 0.1, "batch_size": 128, "momentum": 0.9}
    baseline = {"fixed": usual, None: usual | {"policy": "fixed"}}.get(ONLY)
    return Sweep(
        name=f"policies-{ONLY}" if ONLY else "policies",
        workload=LstmMnist(horizon=HORIZON, data=str(Path(DATA).absolute()) if DATA else None, hidden=64),
        policy=policy,
        space=space(),
        searcher=MultitaskSearch(),
        tasks=TASKS,
        budget=24.0,
        baseline=baseline,
    )


if __name__ == "__main__":
    if ONLY and ONLY not in NAMES:
        raise SystemExit(f"POLICY={ONLY}: must be one of {', '.join(NAMES)}")
    launch(sweep)
