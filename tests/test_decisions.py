"""What a policy decides while a model trains is recorded once, and can be followed without the policy."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console

from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.printed_summary import print_summary
from orchestrator.record.ledger import Ledger
from search.schedulers.run_to_end import RunToEnd
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.random import Random
from search.work import Assignment
from tests.support import interrupted_after, orchestrator, recorded, simulated, small_sweep
from trainables.carry_out import carry_out
from trainables.contract import Policy
from trainables.policies.adaptive_sync import AdaptiveSync
from trainables.policies.autolrs import AutoLrs
from trainables.policies.averaged import Averaged
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.compose import Compose
from trainables.policies.largest_free_batch import LargestFreeBatch
from trainables.policies.lr_range import LrRange
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.rate_race import RateRace
from trainables.policies.replayed_schedule import ReplayedSchedule
from trainables.policies.sma import Sma
from trainables.policies.warmup import Warmup
from trainables.training.batch_sampler import BatchSampler
from trainables.training.control import Control
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
    assert {row["why"].partition(";")[0] for row in whole} == {"schedule", "enough of that"} | (
        {"tries", "back"} if tries else set()
    )
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
    [
        pytest.param(Halving(), id="knobs", marks=pytest.mark.slow),
        pytest.param(AdaptiveSync(2, share=0.5), id="averaging that ends", marks=pytest.mark.slow),
        pytest.param(Compose(Halving(), Sma(2)), id="averaging that begins again"),
    ],
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
    (["--trial", "0"], "can only be used with --schedule"),
    (["--schedule", "--trial", "99"], "no trial 99; there are 1"),
])  # fmt: skip
def test_a_wrong_export_is_refused_in_words(flags: list[str], words: str, tmp_path: Path) -> None:
    simulated(tmp_path / "small", small_sweep(num_samples=1))
    told = orchestrator("export", "small", *flags, "--runs", str(tmp_path), cwd=tmp_path)
    assert told.returncode == 2
    assert words in told.stderr


@pytest.mark.parametrize(("policy", "why"), [
    (RateRace(), "RateRace holds no race, and the rate is 0.1: 40 updates leave no room for two rates, 50 updates each"),
    (LargestFreeBatch(largest=64), "gets no answer: 40 updates leave no room for a question after 200; train for 284 updates"),
    (LargestFreeBatch(), "LargestFreeBatch never asks: a batch of 32 is more than a tenth of an epoch, 16"),
    (LrRange(), "LrRange swept all rates in only 10 updates, and a hundred tell more: the smoothed"),
    (Warmup(9), "a warm-up of 9 epochs is shortened to half of the training, 2"),
    (AutoLrs(1e-3, 1.0, stage=0.1, candidates=2), "AutoLrs compared trials of 1 update as they were"),
    (Compose(Warmup(9), BatchRamp(decay=None, growth=2)), "a warm-up of 9 epochs"),
])  # fmt: skip
def test_what_a_policy_cannot_do_in_so_short_a_training_is_a_warning(policy: Policy[Any], why: str) -> None:
    model, sampler = torch.nn.Linear(1, 1), BatchSampler(160, seed=0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        control = Control(
            policy, model, torch.optim.SGD(model.parameters(), 0.1), batch_size=16, samples=160, epochs=4,
            measure=lambda: {"valid_loss": 0.5}, metric="valid_loss", sampler=sampler,
        )  # fmt: skip
        while not control.done:
            for batch in sampler:
                control.update(0.5, len(batch))
            control.end_epoch()
    assert len(seen) == len({str(each.message) for each in seen}) >= 1
    assert re.search(why, str(seen[0].message)), seen[0].message
    assert any(decision.warns and re.search(why, decision.text) for decision in control.decisions.take())


def test_a_sweep_shows_once_that_its_policy_holds_no_race(tmp_path: Path) -> None:
    def notices() -> list[str]:
        return [row["text"] for row in recorded(tmp_path / "small", "event") if row["kind"] == "notice"]

    interrupted_after(tmp_path / "small", small_sweep(policy=RateRace(), num_samples=4), 3)
    simulated(tmp_path / "small", small_sweep(policy=RateRace(), num_samples=4))
    (notice,) = notices()
    assert notice.startswith("trial 0: RateRace holds no race")
    assert len({row["trial"] for row in recorded(tmp_path / "small", "decision")}) == 4


@pytest.mark.parametrize(
    ("policy", "searcher", "told"),
    [
        (Halving(), Random(), r"changed the learning rate \(at the end \S+\), .*the momentum \(at the end 0\.5\)\. `orchestrator"),
        (LrSchedule("cosine"), Random(), r"the policy changed the learning rate \(at the end [\de.-]+\)\. `orchestrator export"),
        (LrSchedule("cosine"), PopulationBasedTraining(population=3, interval=2, quantile=0.5), r"\(at the end [\de.-]+\)\."),
        (Averaged(), Random(), ""),
        (None, Random(), ""),
    ],
)  # fmt: skip
def test_the_summary_says_which_values_the_policy_changed(
    tmp_path: Path, policy: Any, searcher: Any, told: str
) -> None:
    """The best configuration of a policy that turns knobs was shown as what the model was trained with."""
    sweep = small_sweep(
        workload=Quadratic(horizon=6), policy=policy, searcher=searcher, num_samples=3, scheduler=RunToEnd()
    )
    simulated(tmp_path, sweep)
    ledger = Ledger.read(tmp_path)
    stream = io.StringIO()
    print_summary(ledger, Console(file=stream, width=1000))
    for text in (stream.getvalue(), best_as_yaml(ledger)):
        assert ("the policy changed" in text) == bool(told)
        assert re.search(told, text)
    ledger.close()
