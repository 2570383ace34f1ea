"""What `--dry-run` prints reads as a script does, and tells what cannot work before anything starts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from orchestrator import (
    Asha,
    Grid,
    MlpDigits,
    MultitaskSearch,
    Quadratic,
    Random,
    RunToEnd,
    Script,
    Searcher,
    SigOptSearch,
    Space,
    Sweep,
    Task,
    Tpe,
    choice,
    lograndint,
    loguniform,
    pow2,
    randint,
    run,
    uniform,
    when,
)
from orchestrator.definition.checks import on_this_machine
from orchestrator.errors import BadInput
from orchestrator.reading.dry_run import print_plan
from orchestrator.record.resume_check import what_changed
from search.domain.written import written
from tests.support import simulated, small_sweep
from trainables import Policy, RateRace, Warmup

SPACE = Space({"learning_rate": loguniform(1e-3, 0.5), "batch_size": pow2(16, 32), "momentum": 0.9})


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def printed(sweep: Sweep) -> str:
        print_plan(sweep, tmp_path / "run")
        return capsys.readouterr().out

    return printed


def test_parts_are_shown_by_what_was_set(plan: Any) -> None:
    text = plan(small_sweep(searcher=Tpe(n_startup_trials=4), scheduler=Asha(), resources={"cpu": 1}))
    assert "searcher   Tpe(n_startup_trials=4)\n" in text
    assert "scheduler  Asha()\n" in text
    assert "\n  cuts       at step 1 (or the next report), a trial stops unless it is in the best 1/4 so far;" in text
    assert "  cuts " not in plan(small_sweep())
    script = Script("python train.py", metric="loss", mode="min", horizon=3)
    text = plan(Sweep("own", script, Space({"rate": uniform(0, 1)})))
    assert ": 16 configurations of `python train.py`\n" in text
    assert re.search(r"\n  command    python train\.py --rate=0\.\d+\n", text)
    long = Script("python train.py out={folder} 'a b' " + 100 * " word", metric="loss", mode="min", horizon=3)
    (row,) = re.findall(r"\n  command    (.*)\n", plan(Sweep("own", long, Space({"rate": uniform(0, 1)}))))
    assert row.startswith("python train.py out={folder} 'a b' word word")
    assert re.search(r"word … --rate=0\.\d+$", row), "the tuned flag is shown"
    assert len(row) <= 300
    lines = Script("python train.py \\\n    --size 3 \\\n    --depth 4", metric="loss", mode="min", horizon=3)
    text = plan(Sweep("own", lines, Space({"rate": uniform(0, 1)})))
    assert ": 16 configurations of `python train.py --size 3 --depth 4`\n" in text
    spread = Script(
        "python train.py --rate {rate} " + 100 * " word" + " --size {size} end", metric="loss", mode="min", horizon=3
    )
    (row,) = re.findall(
        r"\n  command    (.*)\n", plan(Sweep("own", spread, Space({"rate": uniform(0, 1), "size": pow2(2, 8)})))
    )
    assert re.fullmatch(r"python train\.py --rate 0\.\d+ word[ word]* … --size \d …", row)
    assert "  command " not in plan(small_sweep())


def test_a_plan_says_from_how_many_trials_on_the_report_tells_what_matters(plan: Any) -> None:
    row = "  report     says which of the 3 parameters matter from 20 trials on\n"
    assert row in plan(small_sweep(num_samples=19))
    assert row not in plan(small_sweep(num_samples=20))
    assert "  report  " not in plan(small_sweep(num_samples=None, budget=5))


def test_resources_and_the_metrics_direction_are_words(plan: Any) -> None:
    text = plan(small_sweep(resources={"cpu": 1, "memory": "512MiB"}, mode="max"))
    assert "(higher is better)\n" in text
    assert "resources  1 CPU, 0.5 GiB of memory for each trial, as many trials at once as fit\n" in text


@pytest.mark.parametrize(
    "text",
    [
        "uniform(-1, 2)", "loguniform(1e-05, 0.1)", "randint(1, 2000000)", "lograndint(8, 512)", "pow2(16, 128)",
        "choice(['sgd', 1, True])", "loguniform(0.001, 1).prior(0.1, confidence=0.5)",
    ],
)  # fmt: skip
def test_a_range_is_written_as_in_a_script(text: str) -> None:
    known = {each.__name__: each for each in (uniform, loguniform, randint, lograndint, pow2, choice)}
    assert written(eval(text, known)) == text


def test_the_plan_has_ranges_conditions_and_fixed_values(plan: Any) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        yield {"loss": 0.0}

    space = Space({"kind": choice(["a", "b"]), "x": when(randint(1, 3), kind="a"), "decay": 0.1})
    text = plan(Sweep("own", train, space, minimize="loss", steps=1))
    assert re.search(r"\n    kind +choice\(\['a', 'b'\]\)\n", text)
    assert re.search(r"\n    x +randint\(1, 3\), only if kind is 'a'\n", text)
    assert re.search(r"\n    decay +0.1, the same in all trials\n", text)


def test_only_a_scheduler_that_stops_trials_is_said_to_spend_less(plan: Any) -> None:
    assert "; Asha stops some of them early and spends less\n" in plan(small_sweep(scheduler=Asha()))
    to_the_end = plan(small_sweep(scheduler=RunToEnd(), num_samples=3, finalists=2, confirmations=2, baseline=None))
    assert "spends less" not in to_the_end
    assert "random order" not in to_the_end
    assert "forecast   7 full trainings at most; no step" in to_the_end
    assert "2 × each on fresh seeds: 4 full trainings more\n" in to_the_end
    of_budget = plan(small_sweep(scheduler=RunToEnd(), num_samples=None, budget=9))
    assert (
        "forecast   9 full trainings, plus the rest of the trainings under way when they are used up; no step"
        in of_budget
    )


@pytest.mark.parametrize(
    ("searcher", "more", "is_told"),
    [
        (MultitaskSearch(), {}, True),
        (SigOptSearch(), {}, True),
        (MultitaskSearch(stop_below=0.01), {}, False),
        (MultitaskSearch(), {"budget": 30}, False),
        (MultitaskSearch(), {"time_budget": "1h"}, False),
        (Random(), {}, False),
    ],
)
def test_a_search_that_ends_only_when_all_is_trained_in_full_is_told(
    plan: Any, searcher: Searcher, more: dict[str, Any], is_told: bool
) -> None:
    """Nine of ten configurations seemed to be stopped at a cheaper task, and then all were trained in full."""
    words = f"; without a budget or stop_below, {type(searcher).__name__} trains each of them in full\n"
    assert (words in plan(small_sweep(searcher=searcher, **more))) is is_told


@pytest.mark.parametrize(
    ("goal", "doubted"),
    [
        ({"minimize": "valid's auc"}, "maximize=\"valid's auc\""),
        ({"minimize": "val/Accuracy"}, "maximize='val/Accuracy'"),
        ({"maximize": "valLoss"}, "minimize='valLoss'"),
        ({"maximize": "top1_err"}, "minimize='top1_err'"),
        ({"maximize": "neg_loss"}, ""), ({"minimize": "speed"}, ""), ({"minimize": "seconds_per_return_trip_error"}, ""),
        ({"maximize": "f1"}, ""),
    ],
)  # fmt: skip
def test_a_metric_that_is_tuned_the_wrong_way_round_is_asked_about(
    plan: Any, goal: dict[str, Any], doubted: str
) -> None:
    text = plan(Sweep("own", "python train.py", Space({"rate": uniform(0, 1)}), steps=3, **goal))
    assert (f"was {doubted} meant?" in text) if doubted else ("usually better" not in text)


def test_the_time_budget_is_part_of_the_plan(plan: Any, tmp_path: Path) -> None:
    assert "  time " not in plan(small_sweep())
    assert "time       5m in all; then nothing more starts, and running trials pause\n" in plan(
        small_sweep(time_budget="300s")
    )
    slow = small_sweep(workload=Quadratic(horizon=4, declared_cost=10.0), time_budget=30, finalists=2)
    assert "pause; no time is reserved for finalists\n" in plan(slow)
    simulated(tmp_path / "run", slow)
    text = plan(slow)
    assert re.search(r"30s in all, of which \d+s are used; then", text)
    assert "  the time is used up.\n" in text


def test_a_plan_says_used_seconds_also_of_less_than_half_a_second(plan: Any, tmp_path: Path) -> None:
    """It said 0d."""
    quick = small_sweep(workload=Quadratic(horizon=4, declared_cost=0.01), time_budget=30)
    simulated(tmp_path / "run", quick)
    assert "30s in all, of which 0s are used; then" in plan(quick)


def test_a_plan_says_that_a_warm_up_reaches_beyond_the_first_cut(plan: Any) -> None:
    space = Space({"rate": uniform(0, 1), "warmup_steps": randint(1, 30)})
    own = Script("python train.py", metric="loss", mode="min", horizon=200)
    said = "\n             warmup_steps (1 to 30) reaches beyond step 1, if it counts these steps: a trial may be stopped during"
    assert said in plan(Sweep("own", own, space, scheduler=Asha(reduction_factor=3)))
    assert "scheduler=Asha(grace_period=30, reduction_factor=3) waits" in plan(
        Sweep("own", own, space, scheduler=Asha(reduction_factor=3))
    )
    assert "warmup_steps (1 to 30)" not in plan(Sweep("own", own, space, scheduler=Asha(grace_period=30)))


def test_a_plan_warns_of_a_baseline_that_the_space_does_not_hold(plan: Any) -> None:
    space = Space({"learning_rate": loguniform(1e-3, 0.5), "momentum": uniform(0, 1), "batch_size": choice([16, 32])})
    inside, outside = ({"learning_rate": 0.1, "momentum": 0.5, "batch_size": size} for size in (32, 64))
    text = "warning    the baseline is outside of the space, where no trial will come near it: "
    assert f'{text}"batch_size" = 64 is not allowed: it must be one of 16, 32\n' in plan(
        small_sweep(space=space, baseline=outside)
    )
    assert text not in plan(small_sweep(space=space, baseline=inside))


def test_a_plan_compares_the_sweep_with_the_record_once(plan: Any, tmp_path: Path) -> None:
    """Beside the two comparisons of every start, which come first because they may refuse the sweep."""
    simulated(tmp_path / "run", small_sweep(num_samples=2))
    callers: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is what_changed.__code__ and frame.f_back is not None:
            callers.append(frame.f_back.f_globals["__name__"])

    sys.setprofile(note)
    try:
        text = plan(small_sweep(num_samples=5))
    finally:
        sys.setprofile(None)
    assert "changed    num_samples: 2 → 5\n" in text
    assert callers.count("orchestrator.reading.dry_run") == 1
    assert len(callers) == 3


def warnings(text: str) -> list[str]:
    return [line.split("warning", 1)[1].strip() for line in text.splitlines() if line.startswith("  warning")]


def test_a_training_too_short_for_a_race_is_told_before_the_start(plan: Any) -> None:
    (told,) = warnings(plan(Sweep("short", MlpDigits(horizon=5), SPACE, policy=RateRace(rungs=1))))
    assert told.startswith("RateRace holds no race, and the rate is 0.1: 156 updates leave no room for two rates")
    assert "train for 500 updates" in told
    assert told.endswith("(with 21 of 21 configurations that were checked)")
    assert not warnings(plan(Sweep("long", MlpDigits(horizon=30), SPACE, policy=RateRace(rungs=1))))
    (some,) = warnings(plan(Sweep("some", MlpDigits(horizon=10), SPACE, policy=RateRace(rungs=1), baseline=None)))
    few, many = map(int, re.findall(r"with (\d+) of (\d+) configurations", some)[0])
    assert 0 < few < many == 20


def test_other_policies_and_short_tasks_are_told_too(plan: Any) -> None:
    def policy(config: Any) -> Policy[Any] | None:
        return Warmup(9.0) if config["batch_size"] == 16 else None

    (told,) = warnings(plan(Sweep("warm", MlpDigits(horizon=10), SPACE, policy=policy)))
    assert re.match(r"a warm-up of 9 epochs is shortened to half of the training, 5 \(with \d+ of 21 ", told)
    tasks = Task.epochs(0.2, 1.0)
    sweep = Sweep("tasks", MlpDigits(horizon=40), SPACE, policy=RateRace(), tasks=tasks, num_samples=3)
    (told,) = warnings(plan(sweep))
    assert "(in the task '0.2 of the epochs', with " in told


def test_a_script_without_the_seed_is_told_where_finalists_need_it(
    plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def told(text: str, command: str = "python train.py --rate={rate}", finalists: int = 2) -> list[str]:
        Path("train.py").write_text(text)
        script = Script(command, metric="loss", mode="min", horizon=3)
        space = {"rate": uniform(0, 1)} | ({"seed": choice([1, 2])} if "{seed}" in command else {})
        return warnings(plan(Sweep("own", script, Space(space), finalists=finalists)))

    (warning,) = told("print('epoch 1: loss=0.5')")
    assert (
        "`python train.py --rate={rate}` does not mention TRIAL_SEED, nor its command {seed}: with a fixed seed"
        in warning
    )
    assert not told("print('epoch 1: loss=0.5')", finalists=0)
    assert not told("import os\nos.environ['TRIAL_SEED']")
    assert not told("print('epoch 1: loss=0.5')", "python train.py --rate={rate} --seed={seed}")


def test_a_race_of_momenta_is_refused_before_the_start_where_the_optimizer_has_none() -> None:
    race = RateRace(rungs=1, lanes=("momentum",))

    def sweep(optimizer: Any, policy: Any = race, workload: Any = MlpDigits) -> Sweep:
        space = Space(
            {"learning_rate": loguniform(1e-3, 0.5), "batch_size": 32, "momentum": 0.9, "optimizer": optimizer}
        )
        return Sweep("adam", workload(horizon=20), space, policy=policy, baseline=None)

    words = r"Sweep\(policy\): RateRace\(.*\) changes the momentum, and Adam has none; leave it out of `lanes`"
    with pytest.raises(BadInput, match=words):
        on_this_machine(sweep("adam"))
    with pytest.raises(BadInput, match=rf"{words}.* so with \d+ of 20 configurations .* policy=lambda config: …"):
        on_this_machine(sweep(choice(["adam", "sgd"])))
    on_this_machine(sweep("sgd"))
    on_this_machine(sweep(choice(["adam", "sgd"]), lambda config: race if config["optimizer"] == "sgd" else RateRace()))
    on_this_machine(sweep("adam", workload=OnItsOwnModel))  # the first trial says it


@dataclass(frozen=True)
class OnItsOwnModel(MlpDigits):
    """A training whose optimizer asks for a part of its model."""

    def optimizer(self, model: Any, config: Any) -> Any:
        return super().optimizer(model[0], config)


def test_of_a_users_own_training_nothing_is_claimed(plan: Any) -> None:
    def train(config: Any, state: Any, control: Any) -> Iterator[Any]:
        yield {"loss": 0.0}

    sweep = Sweep("own", train, Space({"lr": loguniform(1e-3, 1)}), minimize="loss", steps=1, policy=RateRace())
    assert not warnings(plan(sweep))


FEW = {"optimizer": choice(["sgd", "adam"]), "batch_size": pow2(16, 32), "momentum": 0.9}
ONCE = {"optimizer": choice(["sgd", "adam"]), "layers": randint(1, 6)}


@pytest.mark.parametrize(
    ("space", "changes", "told"),
    [
        (Space(FEW), {}, "the space has only 4 configurations for 20 trials: once all are known, trials repeat them, each with another "
         "seed, which shows only the noise. num_samples=4 tries each once, and so does searcher=Grid()."),
        (Space(FEW, {"one": lambda config: config["batch_size"] == 16}), {"searcher": Tpe()}, "the space has only 2 configurations for 20"),
        (Space(FEW), {"num_samples": None, "budget": 7.0}, "4 configurations for as many trials as the budget allows: "),
        (Space({"momentum": 0.9}), {}, "the space has only 1 configuration for 20 trials"),
        (Space(ONCE), {}, "num_samples=12 tries each once."),
        (Space(FEW), {"num_samples": 4}, ""),
        (Space(FEW), {"searcher": Grid()}, ""),
        (Space(FEW | {"rate": uniform(0, 1)}), {}, ""),
    ],
)  # fmt: skip
def test_a_space_with_fewer_configurations_than_trials_is_told(
    space: Space, changes: dict[str, Any], told: str, plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").touch()
    script = Script("python train.py", metric="loss", mode="min", horizon=3)
    fields: dict[str, Any] = {"num_samples": 20, "searcher": Random(), "scheduler": RunToEnd()}
    found = warnings(plan(Sweep("few", script, space, **fields | changes)))
    assert [told in text for text in found] == [True] * bool(told)


def test_the_start_tells_of_a_small_space_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(config: dict[str, float]) -> Iterator[dict[str, float]]:
        yield {"loss": config["layers"]}

    sweep = Sweep("few", train, Space(ONCE), minimize="loss", steps=1, num_samples=13, searcher=Random())
    result = run(sweep, tmp_path, simulate=True)
    assert "Warning: the space has only 12 configurations for 13 trials" in capsys.readouterr().err
    assert list(result.trials["origin"]) == ["random"] * 12 + ["fallback"]
