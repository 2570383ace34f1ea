"""The sweep in the pictures of docs/screens.md: a small network on scikit-learn's digits with noise added.

python digits.py
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from orchestrator import (
    MultitaskSearch,
    Random,
    Space,
    Sweep,
    Task,
    choice,
    launch,
    loguniform,
    pow2,
    uniform,
    when,
)

BASELINE = {"learning_rate": 1e-3, "weight_decay": 1e-4, "width": 32, "batch_size": 128, "optimizer": "adam"}


def digits() -> tuple[Any, Any]:
    """Noisy digits in random order."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    return (pixels / 16 + rng.normal(0, 0.35, pixels.shape))[order], labels[order]


def train(config: Mapping[str, Any], state: Any) -> Iterator[tuple[dict[str, float], dict[str, Any]]]:
    """Train a network with one hidden layer for twelve epochs; the sweep keeps the network after each."""
    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore")
    pixels, labels = digits()
    network = pickle.loads(state["network"]) if state else MLPClassifier(
        (config["width"],), learning_rate_init=config["learning_rate"], alpha=config["weight_decay"],
        batch_size=config["batch_size"], solver=config["optimizer"], momentum=config.get("momentum", 0.9),
        random_state=int(np.random.randint(2**31)),
    )  # fmt: skip
    while True:
        network.partial_fit(pixels[:1200], labels[:1200], classes=range(10))
        yield {"accuracy": float(network.score(pixels[1200:], labels[1200:]))}, {"network": pickle.dumps(network)}


def space() -> Space:
    """Six parameters, one of which matters only with SGD."""
    return Space(
        {
            "learning_rate": loguniform(1e-4, 0.5),
            "weight_decay": loguniform(1e-6, 1.0),
            "width": pow2(8, 128),
            "batch_size": pow2(16, 256),
            "optimizer": choice(["adam", "sgd"]),
            "momentum": when(uniform(0.0, 0.99), optimizer="sgd"),
        }
    )


def sweep() -> Sweep:
    """A sweep with tasks, a conditional parameter, a baseline and confirmed finalists; or random search, to compare with."""
    is_random = os.environ.get("SEARCHER") == "random"
    return Sweep(
        "digits", train, space(), maximize="accuracy", steps=12, budget=20, baseline=BASELINE,
        searcher=Random() if is_random else MultitaskSearch(),
        tasks=() if is_random else Task.epochs(0.1, 0.34, 1.0),
        finalists=3, confirmations=3, allow_failed=99,
    )  # fmt: skip


if __name__ == "__main__":
    launch(sweep)
