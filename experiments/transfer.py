"""Transfer learning on images: a network pre-trained on other images, tuned by multitask search.

SigOpt's study of Stanford Cars at your size: its seven parameters and their ranges, and tasks of 0.1, 0.5 and 1.0 of the
epochs. Claim: on a test part that no decision has seen, the tuned configuration is better than the usual recipe.

By default it fine-tunes on digits. For your own images (folders as in `trainables/data/image_files.py`), first train the
source network, then fine-tune it; `TRANSFER_WEIGHTS=none` trains from scratch, for comparison:

    TRANSFER_SOURCE=cifar10 python experiments/transfer.py
    TRANSFER_DATA=cars TRANSFER_WEIGHTS=(the checkpoint that the first one's summary names) python experiments/transfer.py

The Gaussian process needs Python 3.11.
"""

import os
from pathlib import Path

from orchestrator import (
    MultitaskSearch,
    Plateau,
    Random,
    ResNetFinetune,
    ResNetPretrain,
    RunToEnd,
    Space,
    Sweep,
    Task,
    choice,
    launch,
    loguniform,
    pow2,
    randint,
    uniform,
)
from search.records import Config


def given(name: str) -> str | None:
    """The value of an environment variable; a path is made absolute, because workers have other working folders."""
    value = os.environ.get(name)
    return str(Path(value).absolute()) if value and Path(value).exists() else value


SOURCE = given("TRANSFER_SOURCE")  # folder of the images to pre-train on
DATA = given("TRANSFER_DATA")  # folder of the images to fine-tune on; None: digits
WEIGHTS = given("TRANSFER_WEIGHTS")  # checkpoint, file, or "none"; None: pre-trained on digits
CLASSES_EVERY = int(os.environ.get("TRANSFER_CLASSES_EVERY", "1"))  # 4: 49 of the 196 cars
WIDTHS, STEM_STRIDE = (32, 64, 128), 2


def plateau(config: Config) -> Plateau:
    """Lower the learning rate when the training loss stalls, as in the cars study."""
    return Plateau(factor=config["schedule_factor"], patience=config["schedule_step"])


def source() -> Sweep:
    """The network to start from: the best of the baseline and two others."""
    return Sweep(
        name="source",
        workload=ResNetPretrain(data=SOURCE, widths=WIDTHS, stem_stride=STEM_STRIDE),
        space=Space(
            {
                "learning_rate": loguniform(0.02, 0.2),
                "batch_size": pow2(32, 128),
                "momentum": uniform(0.8, 0.95),
                "nesterov": choice([True, False]),
                "weight_decay": loguniform(1e-4, 2e-3),
            }
        ),
        searcher=Random(),
        scheduler=RunToEnd(),
        num_samples=3,
    )


def sweep() -> Sweep:
    """All weights tuned, from what was trained before."""
    return Sweep(
        name="transfer",
        workload=ResNetFinetune(
            horizon=20,
            data=DATA,
            weights=WEIGHTS,
            widths=WIDTHS,
            stem_stride=STEM_STRIDE,
            classes_every=CLASSES_EVERY,
        ),
        policy=plateau,
        space=Space(
            {
                "learning_rate": loguniform(1.2e-4, 1.0),
                "schedule_factor": uniform(0.0, 0.99),
                "batch_size": pow2(16, 256),
                "nesterov": choice([True, False]),
                "weight_decay": loguniform(1.2e-5, 1.0),
                "momentum": uniform(0.0, 0.9),
                "schedule_step": randint(1, 20),
            }
        ),
        searcher=MultitaskSearch(),
        tasks=Task.epochs(0.1, 0.5, 1.0),
        budget=20.0,
    )


if __name__ == "__main__":
    launch(source if SOURCE else sweep)
