"""The command that asks whether averaged weights make early reports more truthful."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from search.space import Space, loguniform, pow2, uniform
from tests.support import ROOT
from trainables.workloads.mlp_digits import MlpDigits

sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))

import rungs

SPACE = Space({"learning_rate": loguniform(0.01, 1.0), "momentum": uniform(0.0, 0.9), "batch_size": pow2(32, 64)})
TINY = rungs.Experiment(MlpDigits(horizon=3, data_share=0.1), SPACE, 0.01)


def test_recording_continues_where_it_stopped(tmp_path: Path) -> None:
    rungs.record("tiny", TINY, 1, tmp_path / "cut", math.inf)
    cut = rungs.record("tiny", TINY, 2, tmp_path / "cut", math.inf)
    whole = rungs.record("tiny", TINY, 2, tmp_path / "whole", math.inf)
    assert [row["averaged"] for row in cut] == [row["averaged"] for row in whole]
    assert all(len(row["last"]) == len(row["averaged"]) == 3 for row in cut)
    assert all(a >= b for row in cut for a, b in zip(row["averaged"], row["last"], strict=True))  # accuracy


def test_rows_of_another_space_are_refused(tmp_path: Path) -> None:
    rungs.record("tiny", TINY, 1, tmp_path, math.inf)
    other = rungs.Experiment(TINY.workload, Space({"learning_rate": loguniform(0.1, 1.0)}), 0.01)
    with pytest.raises(ValueError, match="another space"):
        rungs.record("tiny", other, 1, tmp_path, 0.0)


def test_a_diverged_training_is_last_of_all_at_a_rung() -> None:
    rung = np.array([0.3, np.inf, 0.1, 0.2])
    assert rungs.correlation(rung, np.array([3.0, 4.0, 1.0, 2.0]), half=False) == pytest.approx(1.0)
    assert rungs.correlation(rung, np.array([3.0, np.inf, 2.0, 1.0]), half=True) == pytest.approx(-1.0)


def test_a_search_is_not_dearer_when_its_rungs_are_the_truth() -> None:
    rng = np.random.default_rng(0)
    units = np.array([SPACE.to_unit(SPACE.sample(rng)) for _ in range(40)])
    ends = np.repeat(((units[:, :2] - 0.5) ** 2).sum(axis=1)[:, None], 16, axis=1) + np.linspace(1, 0, 16)
    noisy = ends + 0.2 * rng.standard_normal(ends.shape)
    target, seconds, method = [float(ends[:, -1].min())], np.ones_like(ends), rungs.METHODS["asha"]
    true, misled = (
        rungs.costs(method, rungs.Replayed("toy", SPACE, units, seen, seconds, ends), target, 5)[0]
        for seen in (ends, noisy)
    )
    assert np.median(true) < np.median(misled)
