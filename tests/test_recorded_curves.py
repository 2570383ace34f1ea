"""The recorded learning curves of our own workloads, and the command that records them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import ROOT

BENCHMARKS = ROOT / "experiments" / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import record  # noqa: E402
import recorded_curves  # noqa: E402

TABLES = recorded_curves.recorded()
HIGHEST = 400 * 1024  # bytes of all files


def tiny() -> record.Recipe:
    recipe = record.mlp()
    workload: Any = recipe.workload
    return replace(recipe, workload=replace(workload, horizon=3, data_share=0.1))


def test_in_an_order_what_diverged_is_last_and_equal_losses_say_nothing() -> None:
    first, ends = np.array([1.0, np.nan, 2.0], dtype=np.float32), np.array([0.1, 5.0, 0.2])
    assert recorded_curves.spearman(first, ends) == pytest.approx(1.0)
    assert recorded_curves.spearman(np.full(3, np.nan, dtype=np.float32), ends) == 0.0


def test_all_four_workloads_are_recorded_in_little_space() -> None:
    assert [table.name for table in TABLES] == list(recorded_curves.SPACES)
    assert sum(path.stat().st_size for path in recorded_curves.FOLDER.glob("*.npz")) <= HIGHEST


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_has_a_row_for_each_configuration_and_a_column_for_each_step(table: Any) -> None:
    rows = len(table.units)
    assert rows >= 150
    assert 15 <= table.horizon <= 25
    assert table.units.shape == (rows, table.space.dimension)
    assert table.losses.shape == table.cost_seconds.shape == (rows, table.horizon)
    assert table.units.min() >= 0
    assert table.units.max() <= 1
    assert np.isfinite(table.cost_seconds).all()
    assert (table.cost_seconds > 0).all()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_curve_ends_where_its_training_diverged(table: Any) -> None:
    missing = np.isnan(table.losses)
    assert not np.isinf(table.losses).any()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()  # once NaN, always NaN
    assert missing[:, -1].mean() < 0.5


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_tuning_matters_and_regrets_are_on_the_scale_of_a_random_training(table: Any) -> None:
    ends = table.losses[:, -1]
    regrets = (ends - table.best) / (table.typical - table.best)
    assert np.nanmin(regrets) >= 0
    assert np.nanmin(regrets) < 0.2  # the best value of any step is near the best end
    assert np.nanquantile(regrets, 0.1) < 0.7
    best = int(np.nanargmin(ends))
    proposed = table.space.from_unit(table.units[best])
    np.testing.assert_array_equal(table.curve(proposed).losses, table.losses[best])


@pytest.mark.parametrize("name", recorded_curves.SPACES)
def test_the_test_part_is_measured_wherever_a_training_has_ended(name: str) -> None:
    recording = recorded_curves.Recording.read(recorded_curves.FOLDER / f"{name}.npz")
    np.testing.assert_array_equal(np.isnan(recording.test_losses[:, -1]), np.isnan(recording.losses[:, -1]))


def test_the_same_training_can_be_recorded_again(tmp_path: Path) -> None:
    table = next(table for table in TABLES if table.name == "mlp")
    row = int(np.nanargmin(table.losses[:, -1]))  # a calm one
    config = table.space.from_unit(table.units[row])
    losses, costs, tests = record.train(record.mlp(), config, seed=row, prepared=tmp_path)
    assert losses.shape == costs.shape == tests.shape == (table.horizon,)
    # Another processor rounds differently, and a training wanders from there.
    assert np.nanmax(np.abs(losses - table.losses[row])) < 0.1


def test_a_recording_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "mlp.npz"
    record.record("mlp", tiny(), 2, path, tmp_path)
    first = recorded_curves.Recording.read(path)
    record.record("mlp", tiny(), 3, path, tmp_path)
    then = recorded_curves.Recording.read(path)
    assert then.losses.shape == (3, 3)
    for name in ("units", "losses", "cost_seconds", "test_losses"):
        np.testing.assert_array_equal(getattr(then, name)[:2], getattr(first, name))
    longer: Any = tiny().workload
    with pytest.raises(ValueError, match="another space or horizon"):
        record.record("mlp", replace(tiny(), workload=replace(longer, horizon=4)), 4, path, tmp_path)


def test_what_diverges_is_nan_from_there_on(tmp_path: Path) -> None:
    config = {"learning_rate": 1e30, "batch_size": 8, "momentum": 0.9, "hidden": 8, "optimizer": "sgd"}
    losses, costs, tests = record.train(tiny(), config, seed=0, prepared=tmp_path)
    assert np.isnan(losses).all()
    assert np.isnan(tests).all()
    assert (costs > 0).all()
