"""What a script tells W&B counts in every mode of a run: rows, the step that define_metric() names, the summary."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from search.work import Progress
from tests import like_wandb
from tests.scripting import assigned, curve, script, texts, trained, truth
from trainables.scripts.channels import ScriptFailed

BEGIN = "import os, wandb\nrun = wandb.init(mode={mode!r}, dir=os.environ['TRIAL_FOLDER'])\n"


@pytest.fixture(params=["stand-in", pytest.param("wandb", marks=pytest.mark.slow)], autouse=True)
def wandb(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports_find_this_checkout: None
) -> None:
    """A small package in place of wandb, and the real one if it is installed."""
    if request.param == "stand-in":
        like_wandb.package(tmp_path / "packages")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "packages"), os.environ["PYTHONPATH"]]))
    elif importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed: pip install wandb")


@pytest.fixture(params=["offline", "disabled"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def training(folder: Path, mode: str, text: str, horizon: int = 6, step: str | None = None) -> list[Progress]:
    begun = BEGIN.format(mode=mode)
    workload = script(folder, begun + text.replace("BEGIN", begun), horizon=horizon, step=step)
    return trained(workload, assigned(folder, until=horizon))


@pytest.mark.parametrize("log", ["wandb.log", "run.log"])
def test_rows_count_in_every_mode(log: str, mode: str, tmp_path: Path) -> None:
    text = f"for n in range(1, 7): {log}({{'epoch': n, 'distance': 1 / n}})\nassert wandb.run.config['rate'] == 0.1\n"
    items = training(tmp_path, mode, text)
    assert curve(items) == truth(*range(1, 7))
    assert texts(items) == []


@pytest.mark.parametrize("name", ["distance", "dist*", "*"])
def test_the_step_that_define_metric_names_is_the_step(name: str, mode: str, tmp_path: Path) -> None:
    """Also if another word in the row is more usual, and if it stands in an earlier row."""
    text = (
        f"run.define_metric({name!r}, step_metric='rounds')\n"
        "for n in range(1, 7): run.log({'rounds': n}); run.log({'seen': 9}); n % 2 or wandb.log({'epoch': 9, 'distance': 1 / n})\n"
    )
    assert curve(training(tmp_path, mode, text, horizon=10)) == truth(2, 4, 6)


@pytest.mark.parametrize(("step", "pace"), [("epoch", 1), (None, 100)])
def test_another_step_counts_if_the_sweep_names_it_or_if_the_first_is_beyond_the_horizon(
    step: str | None, pace: int, tmp_path: Path
) -> None:
    text = (
        "wandb.define_metric('distance', step_metric='seen')\n"
        f"for n in range(1, 4): wandb.log({{'epoch': 2 * n, 'seen': {pace} * n, 'distance': round(1 / 2 / n, 4)}})\n"
    )
    assert curve(training(tmp_path, "disabled", text, step=step)) == truth(2, 4, 6)


@pytest.mark.parametrize(
    "final",
    [
        "wandb.summary['distance'] = 0.5; run.summary['distance'] = 0.25",
        "run.summary.distance = 0.25; run.finish()",
        "run.summary.update({'distance': 0.25})",
    ],
)
def test_the_last_value_in_the_summary_is_the_result_of_a_script_that_tells_it_nowhere_else(
    final: str, mode: str, tmp_path: Path
) -> None:
    items = training(tmp_path, mode, f"for n in range(9): run.log({{'train': 1 / (n + 1)}})\n{final}\n")
    assert curve(items) == {1: 0.25}
    assert [item.kind for item in items] == ["report", "ended"]


def test_a_summary_beside_rows_or_printed_lines_is_no_step(mode: str, tmp_path: Path) -> None:
    for number, tell in enumerate(("run.log({'epoch': n, 'distance': 1 / n})", "print(f'epoch {n} distance={1 / n}')")):
        text = f"for n in range(1, 6): {tell}; run.summary['distance'] = 0.01\n"
        assert curve(training(tmp_path / str(number), mode, text)) == truth(*range(1, 6))


def test_summaries_of_two_runs_are_refused(mode: str, tmp_path: Path) -> None:
    text = "run.summary['distance'] = 0.5\nrun.finish()\nBEGINrun.summary['distance'] = 0.25\n"
    with pytest.raises(ScriptFailed, match="logs 'distance' in more than one W&B run"):
        training(tmp_path, mode, text)


def test_wandb_config_is_that_of_wandb_agent(mode: str, tmp_path: Path) -> None:
    """With nested parameters, and closed to changes of what is tuned."""
    text = (
        f"import os, wandb\nnet = {{'depth': 2, 'width': 3}}\nrun = wandb.init(mode={mode!r}, dir=os.environ['TRIAL_FOLDER'], config={{'net': net}})\n"
        "assert (run.config['net.width'], run.config['net'], run.config['a']) == (64, {'depth': 2, 'width': 64}, {'b': {'c': 5}})\n"
        "run.config.update({'rate': 9.0, 'net': {}, 'extra': 1})\n"
        "assert (run.config['rate'], run.config['net']['depth'], run.config['extra']) == (0.1, 2, 1)\n"
        "wandb.log({'epoch': 6, 'distance': 1 / 6})\n"
    )
    config = {"rate": 0.1, "net.width": 64, "a.b.c": 5, "more.levels": 1, "more": None}
    assert curve(trained(script(tmp_path, text), assigned(tmp_path, config=config))) == truth(6)
