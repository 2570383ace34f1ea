"""The commands that measure averages of the weights, growing batches and what policies cost, on a tiny training."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import ROOT
from trainables.policies.largest_free_batch import LargestFreeBatch
from trainables.policies.rate_race import RateRace
from trainables.workloads.mlp_digits import MlpDigits

sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))

import free_batch
import judging
import lanes
import policy_overhead
import shared_rates
import weight_averages

TINY = weight_averages.Experiment(
    MlpDigits(horizon=2, data_share=0.2), {"learning_rate": 0.1, "batch_size": 16, "momentum": 0.9}, (0.1,), 0.03
)


def test_a_row_has_the_last_weights_and_the_chosen_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = weight_averages.Rows(tmp_path, "0/1")
    for arm, rate, seed in weight_averages.runs(TINY, seeds=1):
        row = weight_averages.trained(TINY, TINY.policy(arm), {**TINY.config, "learning_rate": rate}, seed, tmp_path)
        rows.add({"arm": arm, "rate": rate, "seed": seed, **row})
    again = weight_averages.Rows(tmp_path, "0/1").known
    assert again.keys() == {("race", 0.1, 0), ("constant", 0.1, 0), ("cosine", 0.1, 0)}
    constant = again["constant", 0.1, 0]
    assert constant["updates"] == 2 * -(-TINY.workload.samples() // 16)
    assert {"accuracy"} <= constant["test"].keys() & constant["test_last"].keys()
    assert any("no race" in text for text, _, _ in again["race", 0.1, 0]["decisions"])
    weight_averages.show("tiny", TINY, rows)
    assert "| constant, averaged | 0.1 |" in capsys.readouterr().out
    weight_averages.draw([("tiny", TINY, rows)], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_price_of_a_batch_is_read_from_both_arms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {}
    for arm, seed in free_batch.arms(["free", "constant", "ramp4"], [2], range(1)):
        policy = free_batch.policy(TINY, arm)
        if arm == "free":
            policy = LargestFreeBatch(largest=32, first=2, updates=1, points=1)
        config = free_batch.configured(TINY, arm)
        rows[arm, seed] = json.loads(json.dumps(weight_averages.trained(TINY, policy, config, seed, tmp_path)))
    assert free_batch.answers(rows["free", 0]), "it asked"
    assert rows["x2", 0]["updates"] < rows["constant", 0]["updates"]
    free_batch.show("tiny", TINY, rows)
    free_batch.draw([("tiny", TINY, rows)], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "| x2 |" in said
    assert "its price, measured" in said


def test_a_sweep_of_races_counts_what_each_tried_and_lost() -> None:
    searcher, rungs = shared_rates.ARMS["three, FromFound"]
    trials = shared_rates.sweep(
        searcher, rungs, MlpDigits(horizon=12), 2, seed=1
    )  # whose batches leave room for a race
    assert all(2 <= trial.tried <= 5 and 0.05 < trial.lost < 0.35 for trial in trials)
    assert all(0 < trial.accuracy < 1 for trial in trials)


SMALL = {"tiny": policy_overhead.Model(MlpDigits(data_share=0.2), 16, 4)}


def test_what_policies_take_is_shown_pair_by_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy_overhead.print_averaging(SMALL, 0.0, tmp_path)
    policy_overhead.print_noise_scale(SMALL, 0.0, tmp_path)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if "tiny" in line]
    assert [row[2] for row in rows[:2]] == ["`Averaged()`", "`WeightAverages`"]
    assert [row[1] for row in rows[2:]] == ["4", "2", "1"], "passes"
    pairs_taken = [*(row[-2] for row in rows[:2]), *(row[-1] for row in rows[2:])]
    assert pairs_taken == ["3"] * 5


def test_a_race_is_taken_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = policy_overhead.lasting(SMALL["tiny"], 540)
    found = policy_overhead.raced(experiment.workload, experiment.policy("race"), experiment.config, tmp_path)
    assert found.updates == 546
    assert "wins the race" in found.won
    parts = (found.updating, found.acting, found.measuring, found.controlling, found.reporting)
    assert min(parts) > 0
    policy_overhead.print_race({"tiny": policy_overhead.lasting(SMALL["tiny"], 1)}, tmp_path)
    assert "| tiny | 13 |" in capsys.readouterr().out


def test_parts_of_all_sizes_judge_the_same_race() -> None:
    config = {"learning_rate": 0.3, "batch_size": 16, "momentum": 0.9}
    found = judging.choices(judging.Digits(horizon=20), config, seed=0)
    assert found is not None
    winners, values = found
    assert len(winners) == len(judging.SIZES) == len(values[winners[0]])
    assert values[winners[0]][0] == values[winners[0]][-1] != values[winners[0]][1], "512 is more than there are"


def test_what_a_further_lane_brings_is_told_against_the_rate_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = replace(TINY, workload=MlpDigits(horizon=10, data_share=0.2))
    rows = weight_averages.Rows(tmp_path, "0/1")
    for arm in lanes.ARMS:
        policy = RateRace(rungs=1, least=5, again=(), lanes=lanes.ARMS[arm])
        row = weight_averages.trained(experiment, policy, experiment.config, 0, tmp_path)
        rows.add({"arm": arm, "rate": 0.1, "seed": 0, **row})
    lanes.show("tiny", experiment, rows)
    told = {line.split(" | ")[0][2:]: line.split(" | ") for line in capsys.readouterr().out.splitlines() if "|" in line}
    assert told["rate"][2].startswith("0 ")
    assert "momentum" in told["rate, momentum"][4]
    assert "a batch of" in told["rate, batch"][4]
    slower, race = lanes.experiment_of("quadratic", None, 0.99)
    assert slower.config["momentum"] == 0.99
    assert race.high == pytest.approx(0.03), "as long steps"
