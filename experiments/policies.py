"""Which policy should turn the knobs while the model trains, and with which settings? Tuned like any other parameter.

The choice of the policy opens the policy's own parameters, and multitask search decides over all of them at once, from
trainings of 0.25, 0.5 and all of the epochs. Claim: on a test part that no decision has seen, the best configuration beats
the baseline, momentum SGD with a constant rate. The best configuration names the policy that won. `Date` is
our own controller on top of LEGW and the noise scale; not the algorithm of the paper "DATE", which gives none.

    python experiments/policies.py
    POLICY=warmup python experiments/policies.py        # one policy alone, to measure the value of the choice

An LSTM reads scikit-learn's digits row by row; `POLICIES_DATA` is a folder with MNIST's files. The Gaussian process needs
Python 3.11.
"""

import os
from pathlib import Path

from orchestrator import (
    AutoLrs,
    Date,
    LrSchedule,
    LstmMnist,
    MultitaskSearch,
    NoiseScaleBatch,
    Space,
    Sweep,
    Task,
    Warmup,
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
NAMES = ("fixed", "schedule", "warmup", "date", "noise_scale", "autolrs")
ONLY = os.environ.get("POLICY")


def policy(config: Config) -> Policy:
    """The policy that the configuration names."""
    name = ONLY or config["policy"]
    if name == "schedule":
        return LrSchedule(config["shape"])
    if name == "warmup":
        return Warmup(config["warmup_epochs"], then=LrSchedule("cosine"))
    if name == "date":
        return Date(base_batch=config["batch_size"], warm_up=config["date_warmup"], most=512, decay="cosine")
    if name == "noise_scale":
        return NoiseScaleBatch(most=512, scaling=config["scaling"])
    if name == "autolrs":
        return AutoLrs(low=config["learning_rate"] / 30, high=config["learning_rate"] * 3, stage=config["stage"])
    return Fixed()


def space() -> Space:
    """Learning rate, batch and momentum of all; of each policy its own parameters."""
    own = {
        "shape": ("schedule", choice(["cosine", "linear", "polynomial", "steps"])),
        "warmup_epochs": ("warmup", uniform(0.1, 5.0)),
        "date_warmup": ("date", uniform(0.0, 1.0)),
        "scaling": ("noise_scale", choice(["none", "sqrt", "linear"])),
        "stage": ("autolrs", loguniform(0.02, 0.2)),
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
        workload=LstmMnist(horizon=20, data=str(Path(DATA).absolute()) if DATA else None, hidden=64),
        policy=policy,
        space=space(),
        searcher=MultitaskSearch(),
        tasks=Task.epochs(0.25, 0.5, 1.0),
        budget=24.0,
        baseline=baseline,
    )


if __name__ == "__main__":
    if ONLY and ONLY not in NAMES:
        raise SystemExit(f"POLICY={ONLY}: must be one of {', '.join(NAMES)}")
    launch(sweep)
