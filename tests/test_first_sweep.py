"""The short form of a sweep: one import line, a function or a command, and defaults that say why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    Asha,
    BadInput,
    BayesSearch,
    BohbSearch,
    Fixed,
    FromFunction,
    Grid,
    Hyperband,
    LrSchedule,
    MultitaskSearch,
    PopulationBasedTraining,
    Quadratic,
    Random,
    RunToEnd,
    Script,
    Sobol,
    Space,
    Sweep,
    Task,
    Tpe,
    loguniform,
    report,
    run,
)
from orchestrator.reading.dry_run import print_plan
from search.contract import Searcher
from search.records import Suggestion
from tests.support import ROOT, SPACE, recorded, run_script, simulated

README = (ROOT / "README.md").read_text()
FIRST = next(code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if code.startswith("# mine.py"))
LR = Space({"lr": loguniform(1e-5, 0.1)})


def yields(config: Any, state: Any) -> Iterator[Any]:
    for step in range(state or 0, 6):
        yield {"loss": 1 / (1 + config["lr"] * step)}, step + 1


def reports(config: Any) -> None:
    for step in range(1, 7):
        report(step, loss=1 / (1 + config["lr"] * step))


def test_the_first_sweep_is_one_import_and_eight_lines_at_most() -> None:
    lines = [line for line in FIRST.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 8
    assert sum("import" in line for line in lines) == 1
    assert FIRST in README[: README.index("\n## ")], "on the first screen"


def test_the_first_sweep_runs_as_printed_from_an_empty_folder(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(FIRST.replace("* 100_000", "* 1_000"))  # tests/test_docs.py trains it whole
    planned = run_script(script, "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    for part in ("searcher   Random(bracketed=True)  (default: a first look", "scheduler  Asha("):
        assert part in planned.stdout
    done = run_script(script, "--simulate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Default searcher Random(bracketed=True): a first look at the space" in done.stderr
    assert "Default scheduler Asha(" in done.stderr
    assert "mine: finished" in done.stdout
    again = run_script(script, "--simulate", "--num-samples=17", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Continuing mine: 16 trials" in again.stderr
    assert "num_samples: 16 → 17" in again.stderr
    assert "Default" not in again.stderr


@pytest.mark.ray
@pytest.mark.slow  # by default the README's kill scene, the same script, runs on Ray
def test_the_first_sweep_runs_on_ray(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(FIRST)
    done = run_script(script, "--num-samples=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mine: finished" in done.stdout


SCRIPT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
lr = parser.parse_args().lr
for step in range(1, 7):
    print(f"epoch {step}: loss={1 / (1 + lr * step)}")
"""


@pytest.mark.slow
def test_functions_and_commands_are_tuned_in_the_short_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(SCRIPT)
    forms: dict[str, Any] = {
        "yields": yields, "reports": reports, "command": "python train.py", "words": ["python", Path("train.py")],
    }  # fmt: skip
    for name, training in forms.items():
        result = run(Sweep(name, training, LR, minimize="loss", steps=6, num_samples=2), simulate=True, quiet=True)
        assert result.config is not None
        assert result.value == pytest.approx(1 / (1 + result.config["lr"] * (5 if name == "yields" else 6)))


def test_the_ledger_cannot_tell_the_short_from_the_long_form(tmp_path: Path) -> None:
    pairs: list[tuple[Any, Any]] = [
        (yields, FromFunction(yields, metric="loss", mode="min", horizon=6)),
        ("python train.py --epochs 6", Script("python train.py --epochs 6", metric="loss", mode="min", horizon=6)),
    ]
    for given, workload in pairs:
        short = Sweep("mine", given, LR, minimize="loss", steps=6)
        long = Sweep(name="mine", workload=workload, space=LR, searcher=Random(bracketed=True), scheduler=Asha())
        assert short == long
        assert short.describe() == long.describe()
        said = Sweep(name="mine", workload=given, space=LR, metric="loss", mode="min", steps=6)
        assert said == short
    space = Space(SPACE)
    assert Sweep("a", Quadratic(), space, minimize="loss").describe() == Sweep("a", Quadratic(), space).describe()
    assert Sweep("a", Quadratic(), space, maximize="loss").maximise
    assert Sweep("a", Quadratic(), space, policy=Fixed()).describe() == Sweep("a", Quadratic(), space).describe()
    simulated(tmp_path, Sweep("mine", yields, LR, minimize="loss", steps=6, num_samples=2))
    long = Sweep(
        name="mine", workload=pairs[0][1], space=LR, searcher=Random(bracketed=True), scheduler=Asha(), num_samples=2
    )
    assert "Continuing mine: 2 trials" in simulated(tmp_path, long).found
    assert len(recorded(tmp_path, "sweep")) == 2


CONTRADICTIONS = {
    "both ways": ({"minimize": "loss", "maximize": "loss"}, r"minimize='loss', maximize='loss'\): a sweep tunes one metric.* leave out one"),
    "said twice": ({"minimize": "loss", "metric": "loss"}, r"minimize='loss', metric='loss'\): .* leave out metric and mode"),
    "the mode again": ({"maximize": "loss", "mode": "max"}, r"maximize='loss', mode='max'\)"),
    "no name": ({"minimize": ""}, r"minimize=''\): must be the name of a metric"),
    "two metrics": (
        {"maximize": ["auc", "f1"]},
        r"maximize=\['auc', 'f1'\]\): .* as in maximize='valid_accuracy'\. A sweep tunes one metric; report the others beside",
    ),
    "a horizon of its own": ({"workload": Quadratic(), "steps": 3}, r"steps=3\): Quadratic has a horizon of its own, 9; leave out steps, and write Quadratic\(horizon=3\)"),
    "no metric": ({}, r"workload=yields \(test_first_sweep.py:\d+\)\): add minimize=… or maximize=…, .* reports or yields"),
    "no mode": ({"metric": "loss"}, r"metric='loss'\): add minimize="),
    "no steps": ({"minimize": "loss", "steps": None}, r"add steps=…, the last step"),
    "half a step": ({"minimize": "loss", "steps": 0.5}, r"Sweep\(steps=0.5\)"),
    "the other word": ({"minimize": "loss", "horizon": 6}, r"no option 'horizon'. Did you mean 'steps'"),
    "a function of nothing": ({"workload": lambda: None, "minimize": "loss"}, r"must take the configuration"),
    "an empty command": ({"workload": "", "minimize": "loss"}, r"must be a command"),
    "no words": ({"workload": [], "minimize": "loss"}, r"must be a function, a command"),
    "a class": ({"workload": Quadratic}, r"write Quadratic\(\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_contradicts_itself_is_refused_with_a_remedy(case: str) -> None:
    changes, words = CONTRADICTIONS[case]
    fields: dict[str, Any] = {"name": "mine", "workload": yields, "space": LR, "steps": 6}
    with pytest.raises(BadInput, match=words):
        Sweep(**(fields | changes))


class Unknown(Searcher):
    def suggest(self, history: Any) -> Suggestion | None:
        return None

    def __repr__(self) -> str:
        return "Unknown()"


class Learning(Unknown):
    why_full = ""


def test_the_searcher_and_the_scheduler_suit_the_sweep_and_say_why() -> None:
    def chosen(**given: Any) -> tuple[Any, Any]:
        fields: dict[str, Any] = {"workload": Quadratic(horizon=6), "space": Space(SPACE)}
        sweep = Sweep("mine", **(fields | given))
        assert set(sweep.chosen) == {"searcher", "scheduler"} - set(given)
        assert all(sweep.chosen.values())
        return sweep.searcher, sweep.scheduler

    assert chosen() == (Random(bracketed=True), Asha())
    for searcher in (Tpe(), Sobol()):
        assert chosen(searcher=searcher) == (searcher, Asha())
    for searcher in (MultitaskSearch(), PopulationBasedTraining(), BayesSearch(), Grid()):
        assert chosen(searcher=searcher) == (searcher, RunToEnd())
    assert chosen(searcher=Unknown())[1] == RunToEnd()
    assert chosen(searcher=Learning())[1] == Asha()
    assert chosen(searcher=BohbSearch()) == (BohbSearch(), Hyperband())
    assert chosen(scheduler=Hyperband()) == (Random(bracketed=True), Hyperband())
    assert chosen(tasks=Task.epochs(0.5, 1.0)) == (MultitaskSearch(), RunToEnd())
    assert chosen(workload=Quadratic(horizon=1)) == (Random(bracketed=True), RunToEnd())
    assert chosen(policy=LrSchedule("cosine")) == (Random(bracketed=True), RunToEnd())
    assert chosen(policy=lambda config: LrSchedule("cosine")) == (Random(bracketed=True), RunToEnd())
    assert chosen(policy=Fixed()) == (Random(bracketed=True), Asha())
    with pytest.raises(BadInput, match=r"MultitaskSearch decides by itself .* leave out scheduler"):
        chosen(tasks=Task.epochs(0.5, 1.0), scheduler=Asha())


def test_a_changed_sweep_chooses_again_and_keeps_what_was_given() -> None:
    sweep = Sweep("mine", Quadratic(horizon=6), Space(SPACE))
    assert sweep.changed() is sweep
    assert sweep.changed(num_samples=3).chosen == sweep.chosen
    assert sweep.changed(tasks=Task.epochs(0.5, 1.0)).searcher == MultitaskSearch()
    assert sweep.changed(searcher=Grid()).scheduler == RunToEnd()
    given = Sweep("mine", Quadratic(horizon=6), Space(SPACE), searcher=Tpe(), scheduler=RunToEnd())
    assert given.changed(workload=Quadratic(horizon=9)).scheduler == RunToEnd()
    assert not given.changed(seed=1).chosen


def test_the_plan_says_what_was_chosen_and_not_what_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(Sweep("mine", yields, LR, minimize="loss", steps=6, searcher=Tpe()), tmp_path / "mine")
    plan = capsys.readouterr().out
    assert re.search(r": 16 configurations of yields \(test_first_sweep.py:\d+\)$", plan, re.M)
    assert re.search(r"searcher   Tpe\([^)]*\)$", plan, re.M)
    assert "scheduler  Asha()  (default: it stops trials" in plan
