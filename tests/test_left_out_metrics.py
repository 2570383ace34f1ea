"""Metrics that are arrays of one element are numbers; of others, a notice says that they are not recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator import Space, Sweep, run, uniform
from tests.support import recorded


def yields(config: Any, state: Any) -> Iterator[Any]:
    while True:
        metrics = {"loss": torch.tensor([[config["x"]]]), "one": np.array([1.0]), "two": torch.ones(2), "later": None}
        yield {**metrics, "name": "a"}, 1


def returns(config: Any) -> dict[str, Any]:
    return {"loss": np.array([config["x"]]), "one": torch.ones(1), "two": [1.0, 2.0], "later": None, "name": "a"}


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (yields, "no single numbers, and so not recorded: two (a torch.Tensor of shape (2,)), name (a str)"),
        (returns, "the function returned two, name, no single numbers, which are not recorded"),
    ],
)
def test_one_element_is_a_number_and_what_is_left_out_is_told_once(train: Any, words: str, tmp_path: Path) -> None:
    sweep = Sweep("left", train, Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=2, num_samples=2)
    run(sweep, tmp_path / "run", simulate=True, quiet=True)
    for row in recorded(tmp_path / "run", "report"):
        assert set(row["metrics"]) == {"loss", "one"}
        assert row["metrics"]["one"] == 1.0
    told = [row["text"] for row in recorded(tmp_path / "run", "event") if "recorded" in row["text"]]
    assert len(told) == 1, told
    assert words in told[0]
