"""What a policy decides while a model trains is recorded once, and can be followed without the policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from search.work import Assignment
from tests.support import interrupted_after, orchestrator, recorded, simulated, small_sweep
from trainables.carry_out import carry_out
from trainables.contract import Policy
from trainables.policies.adaptive_sync import AdaptiveSync
from trainables.policies.compose import Compose
from trainables.policies.replayed_schedule import ReplayedSchedule
from trainables.policies.sma import Sma
from trainables.values import NOTHING, Action, Signals
from trainables.workloads.quadratic import Quadratic


@dataclass(frozen=True)
class Halving(Policy[int]):
    """Halves the rate and doubles the batch now and then, for a reason; tries something in between."""

    tries: bool = False
    needs: ClassVar[frozenset[str]] = frozenset({"loss"})
    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size", "momentum", "snapshot"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, Action(knobs=replace(signals.knobs, momentum=0.5))

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        if signals.loss is None:
            return state, NOTHING
        state += 1
        knobs, evidence = signals.knobs, {"loss": signals.loss}
        if state % 7 == 3:
            turned = replace(knobs, learning_rate=knobs.learning_rate / 2, batch_size=min(2 * knobs.batch_size, 32))
            return state, Action(knobs=turned, why="enough of that", evidence=evidence)
        if self.tries and state % 7 == 4:
            return state, Action(explore=True, knobs=replace(knobs, learning_rate=1.0), why="tries", evidence=evidence)
        if self.tries and state % 7 == 6:
            return state, Action(roll_back=True, knobs=replace(knobs, learning_rate=0.1), why="back", evidence=evidence)
        return state, NOTHING


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [{**row, "seq": 0, "time": "", "epoch": 0, "cost_seconds": 0.0} for row in recorded(folder, "decision")]
    return sorted(found, key=lambda row: (row["trial"], row["samples"], row["why"]))


@pytest.mark.parametrize("tries", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_decisions_are_recorded_once_whatever_interrupts(tries: bool, workers: int, tmp_path: Path) -> None:
    points = [{"learning_rate": rate, "momentum": 0.1, "batch_size": 8} for rate in (0.02, 0.1, 0.3)]
    sweep = small_sweep(
        policy=Halving(tries), points_to_evaluate=points, num_samples=3,
        checkpoint_seconds=1000.0,  # all since the start comes again
    )  # fmt: skip
    simulated(tmp_path / "whole", sweep, workers)
    for answers in (2, 5, 3):
        interrupted_after(tmp_path / "cut", sweep, answers, workers)
    simulated(tmp_path / "cut", sweep, workers)
    whole = rows(tmp_path / "whole")
    assert rows(tmp_path / "cut") == whole
    assert {row["why"] for row in whole} == {"schedule", "enough of that"} | ({"tries", "back"} if tries else set())
    for row in whole:
        assert (row["position"] is None) == (row["why"] == "tries")
        assert row["position"] is None or row["position"] <= row["samples"]
        assert set(row["before"]) == set(row["after"]) == {"learning_rate", "batch_size", "momentum", "weight_decay"}
    assert all(row["cost_seconds"] >= 0 for row in recorded(tmp_path / "cut", "decision"))
    assert all("loss" in row["metrics"] for row in whole if row["why"] != "schedule")


def curve(policy: Policy[Any] | None, config: Mapping[str, Any], seed: int, folder: Path) -> list[Mapping[str, float]]:
    run = carry_out(Quadratic(horizon=4), policy, Assignment(0, dict(config), seed, until=4, folder=folder))
    return [item.metrics for item in run if item is not None and item.kind == "report"]


@pytest.mark.parametrize(
    "found_by",
    [Halving(), AdaptiveSync(2, share=0.5), Compose(Halving(), Sma(2))],
    ids=["knobs", "averaging that ends", "averaging that begins again"],
)
def test_the_exported_schedule_trains_the_same_bits_without_the_policy(found_by: Policy[Any], tmp_path: Path) -> None:
    simulated(tmp_path / "small", small_sweep(policy=found_by, num_samples=3))
    for trial in range(3):
        file = tmp_path / f"{trial}.json"
        told = orchestrator("export", "small", "--schedule", "--runs", str(tmp_path), "--trial", str(trial), "--output", str(file), cwd=tmp_path)  # fmt: skip
        assert told.returncode == 0, told.stderr
        begun = next(row for row in recorded(tmp_path / "small", "suggestion") if row["trial"] == trial)
        expected = [row["metrics"] for row in recorded(tmp_path / "small", "report") if row["trial"] == trial]
        policy = ReplayedSchedule.of(Quadratic(horizon=4), json.loads(file.read_text()))
        assert policy.by == "samples"
        assert ("average" in policy.writes) == ("average" in found_by.writes)
        assert curve(policy, begun["config"], begun["seed"], tmp_path / f"again {trial}") == expected
        assert curve(None, begun["config"], begun["seed"], tmp_path / f"without {trial}") != expected


def test_an_exported_schedule_leaves_out_what_was_only_tried(tmp_path: Path) -> None:
    simulated(tmp_path / "small", small_sweep(policy=Halving(tries=True), num_samples=1))
    shown = orchestrator("export", "small", "--schedule", "--runs", str(tmp_path), cwd=tmp_path)
    stretches = json.loads(shown.stdout)
    places = [stretch["samples"] for stretch in stretches]
    assert places == sorted(set(places))
    assert stretches[0]["samples"] == 0
    assert all(stretch["knobs"]["learning_rate"] != 1.0 for stretch in stretches)
    assert ReplayedSchedule.of(Quadratic(), stretches).stretches[-1][0] < 4 * Quadratic().samples()


@pytest.mark.parametrize(("flags", "words"), [
    (["--schedule", "--csv"], "choose one of"),
    (["--trial", "0"], "goes with --schedule"),
    (["--schedule", "--trial", "99"], "no trial 99; there are 1"),
])  # fmt: skip
def test_a_wrong_export_is_refused_in_words(flags: list[str], words: str, tmp_path: Path) -> None:
    simulated(tmp_path / "small", small_sweep(num_samples=1))
    told = orchestrator("export", "small", *flags, "--runs", str(tmp_path), cwd=tmp_path)
    assert told.returncode == 2
    assert words in told.stderr
