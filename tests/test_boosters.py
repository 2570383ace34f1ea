"""XGBoost and LightGBM as docs/own_training.md shows them: a step is ten rounds of one plain training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Result
from search.schedulers.run_to_end import RunToEnd
from tests.piecing import section
from tests.support import interrupted_after, sequence, simulated

XGBOOST, LIGHTGBM = section("XGBoost and LightGBM")


def defined(code: str) -> dict[str, Any]:
    """What the page's script defines, and its sweep, with fewer trials."""
    found: dict[str, Any] = {}
    exec(compile(code.replace("launch(Sweep", "sweep = (Sweep"), "docs/own_training.md", "exec"), found)
    return found | {"sweep": replace(found["sweep"], scheduler=RunToEnd(), num_samples=3, checkpoint_seconds=0.0)}


def test_the_score_of_xgboost_is_that_of_one_plain_training(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    page = defined(XGBOOST)
    simulated(tmp_path / "run", page["sweep"])
    result = Result(tmp_path / "run")
    X, y = page["X"], page["y"]
    for trial, row in result.trials.iterrows():
        settings = result.config_of(trial) | page["FIXED"] | {"seed": row["seed"]}
        told: dict[str, Any] = {}
        data, valid = xgboost.DMatrix(X[:400], y[:400]), xgboost.DMatrix(X[400:], y[400:])
        rounds = 10 * int(row["step"])
        xgboost.train(settings, data, rounds, evals=[(valid, "valid")], evals_result=told, verbose_eval=False)
        assert row["value"] == told["valid"]["logloss"][-1]


def test_the_score_of_lightgbm_is_that_of_one_plain_training(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    page = defined(LIGHTGBM)
    simulated(tmp_path / "run", page["sweep"])
    result = Result(tmp_path / "run")
    X, y = page["X"], page["y"]
    for trial, row in result.trials.iterrows():
        settings = result.config_of(trial) | page["FIXED"] | {"seed": row["seed"] % 2**31}
        booster = lightgbm.train(settings, lightgbm.Dataset(X[:400], y[:400]), 10 * int(row["step"]))
        assert row["value"] == page["log_loss"](y[400:], booster.predict(X[400:]))


@pytest.mark.parametrize(
    ("package", "code", "drawn"),
    [("xgboost", XGBOOST, "subsample"), ("lightgbm", LIGHTGBM, "bagging_fraction")],
    ids=["xgboost", "lightgbm"],
)
def test_without_drawn_rows_they_go_on_exactly(tmp_path: Path, package: str, code: str, drawn: str) -> None:
    pytest.importorskip(package)
    sweep = defined(code.replace(drawn, "lambda_l2" if package == "lightgbm" else "lambda"))["sweep"]
    interrupted_after(tmp_path / "cut", sweep, 25, workers=1)
    simulated(tmp_path / "cut", sweep)
    simulated(tmp_path / "whole", sweep)
    assert sequence(tmp_path / "cut") == sequence(tmp_path / "whole")
