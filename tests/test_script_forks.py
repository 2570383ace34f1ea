"""Forks of trainings that call report(), as a population makes them: what they continue, and what is refused."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.main import run
from orchestrator.sweep import Sweep
from search.rules.forked_schedule import schedule
from search.searchers.pbt import PopulationBasedTraining
from search.space import Space, uniform
from search.work import Assignment, Progress
from tests.scripting import trained
from tests.support import ROOT, recorded
from tests.sweeps.forking import HORIZON, MEMBERS, text
from trainables.scripts.channels import ScriptFailed
from trainables.workloads.callable import FromFunction
from trainables.workloads.script import Script

SWEEP = ROOT / "tests" / "sweeps" / "forking.py"
SAYS = "if not report(state['epoch'], loss=state['x'], checkpoint=place):"
RATES = {"parent": 0.5, "child": 0.75}


def workload(folder: Path, content: str = "") -> Script:
    (folder / "train.py").write_text(content or text())
    return Script(f"{sys.executable} {folder / 'train.py'}", metric="loss", mode="min", horizon=HORIZON)


def parent(folder: Path, until: int, recorded: int = 0, **more: Any) -> Assignment:
    place = folder / "0" / "checkpoints"
    return Assignment(
        0, {"rate": RATES["parent"]}, 1, until=until, folder=place, recorded=recorded, pinned=(recorded, until), **more
    )


def child(folder: Path, at: int, until: int = HORIZON, recorded: int | None = None) -> Assignment:
    return Assignment(
        1, {"rate": RATES["child"]}, 2, until=until, folder=folder / "1" / "checkpoints", recorded=recorded or at,
        pinned=(until,), parent=folder / "0" / "checkpoints", parent_step=at, parent_config={"rate": RATES["parent"]},
    )  # fmt: skip


def curve(items: list[Progress]) -> dict[int, float]:
    return {item.step: item.metrics["loss"] for item in items if item.kind == "report"}


def after(at: int, *steps: int) -> dict[int, float]:
    """The curve of a fork that began at step `at`."""
    return {step: RATES["parent"] ** at * RATES["child"] ** (step - at) for step in steps}


def test_a_fork_continues_its_parents_checkpoint_though_the_parent_has_gone_on(tmp_path: Path) -> None:
    script = workload(tmp_path)
    trained(script, parent(tmp_path, 4))
    trained(script, parent(tmp_path, 6, recorded=4))
    assert curve(trained(script, child(tmp_path, 4))) == pytest.approx(after(4, 5, 6, 7, 8))


def test_a_fork_of_a_fork_continues_all_of_them_and_itself(tmp_path: Path) -> None:
    script = workload(tmp_path)
    trained(script, parent(tmp_path, 2))
    trained(script, child(tmp_path, 2, until=4))
    (tmp_path / "0").rename(tmp_path / "gone")  # a fork needs its parent only once
    assert curve(trained(script, child(tmp_path, 2, until=6, recorded=4))) == pytest.approx(after(2, 5, 6))
    (tmp_path / "1").rename(tmp_path / "0")
    again = curve(trained(script, child(tmp_path, 6)))
    assert again == pytest.approx(after(2, 7, 8))  # both forks have one rate


def test_only_checkpoints_stay_from_which_a_trial_may_fork(tmp_path: Path) -> None:
    script = workload(tmp_path)
    for before, until in ((0, 2), (2, 4), (4, 6)):
        trained(script, parent(tmp_path, until, recorded=before))
    assert sorted(path.name for path in (tmp_path / "0" / "checkpoints").iterdir()) == [
        "script", "script-at-4", "script-at-6",
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["in a folder", "a folder of files", "outside of the trial's"])
def test_a_checkpoint_may_be_anywhere_and_a_folder(where: str, tmp_path: Path) -> None:
    place = {
        "in a folder": 'pathlib.Path(os.environ["TRIAL_FOLDER"], "deep", "last.json")',
        "a folder of files": 'pathlib.Path(os.environ["TRIAL_FOLDER"], "deep", "last.json")',
        "outside of the trial's": f'pathlib.Path({str(tmp_path)!r}, "elsewhere", os.environ["TRIAL_ID"] + ".json")',
    }[where]
    content = text().replace('pathlib.Path(os.environ["TRIAL_FOLDER"], "last.json")', place)
    content = content.replace("    place.write", "    place.parent.mkdir(exist_ok=True)\n    place.write")
    if where == "a folder of files":
        content = content.replace("checkpoint=place", "checkpoint=place.parent").replace(
            "found.read", '(found / "last.json").read'
        )
    script = workload(tmp_path, content)
    trained(script, parent(tmp_path, 4))
    trained(script, parent(tmp_path, 6, recorded=4))
    assert curve(trained(script, child(tmp_path, 4))) == pytest.approx(after(4, 5, 6, 7, 8))


def test_steps_may_count_from_0(tmp_path: Path) -> None:
    content = (
        text()
        .replace("report(state[", "report(state['epoch'] - 1, **{'loss': state[")
        .replace('"epoch"], loss=state["x"]', '"x"]}')
    )
    script = workload(tmp_path, content)
    assert curve(trained(script, parent(tmp_path, 4))) == pytest.approx({n: 0.5**n for n in (1, 2, 3, 4)})
    assert curve(trained(script, child(tmp_path, 4))) == pytest.approx(after(4, 5, 6, 7, 8))


def test_the_loaded_weights_may_be_measured_again(tmp_path: Path) -> None:
    content = text().replace("while", 'if found: report(state["epoch"], loss=state["x"], checkpoint=place)\nwhile', 1)
    script = workload(tmp_path, content)
    trained(script, parent(tmp_path, 4))
    assert curve(trained(script, child(tmp_path, 4))) == pytest.approx(after(4, 5, 6, 7, 8))


@pytest.mark.parametrize("at", [1, 4])
def test_a_fork_that_starts_over_fails(at: int, tmp_path: Path) -> None:
    script = workload(tmp_path, text().replace("if found is None else", "if True else"))
    trained(script, parent(tmp_path, at))
    with pytest.raises(
        ScriptFailed, match=f"another one's checkpoint at step {at}, but its training began with step 1"
    ):
        trained(script, child(tmp_path, at))


def test_a_report_without_a_checkpoint_fails_where_others_may_fork(tmp_path: Path) -> None:
    script = workload(tmp_path, text().replace(", checkpoint=place", ""))
    with pytest.raises(
        ScriptFailed, match=r"reported step 4 without a checkpoint; .* call report\(4, …, checkpoint=path\)"
    ):
        trained(script, parent(tmp_path, 4))
    assert curve(trained(script, parent(tmp_path, HORIZON)))  # at its end it needs none


def test_a_population_of_scripts_that_only_print_is_refused_at_once(tmp_path: Path) -> None:
    script = workload(tmp_path, "print('epoch 1: loss=0.5')")
    searcher = PopulationBasedTraining(population=2, interval=2)
    with pytest.raises(
        BadInput, match=r"does not call report\(\).*report\(step, …, checkpoint=path\).*def train\(config, state\)"
    ):
        run(Sweep("a", script, Space({"rate": uniform(0, 1)}), searcher=searcher), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_script_may_report_in_a_module_that_it_imports(tmp_path: Path) -> None:
    script = workload(tmp_path, "import engine\nengine.run()")
    (tmp_path / "engine.py").write_text("import reporting  # a copy\ndef run(): reporting.report(1, loss=0.5)")
    assert script.forks
    assert Script("bash train.sh", metric="loss", mode="min", horizon=2).forks  # nobody knows


def test_a_step_that_was_printed_fails_where_others_may_fork(tmp_path: Path) -> None:
    content = "for epoch in range(1, 9): print(f'epoch {epoch}: loss={1 / epoch}', flush=True)"
    with pytest.raises(ScriptFailed, match=r"step 4 came without report\(\)"):
        trained(workload(tmp_path, content), parent(tmp_path, 4))


def test_steps_that_pass_over_the_comparison_are_told(tmp_path: Path) -> None:
    content = text().replace("if not report(state[", "if state['epoch'] % 3 == 0 and not report(state[")
    with pytest.raises(ScriptFailed, match=r"told step 6 and not step 4.*such as interval=6"):
        trained(workload(tmp_path, content), parent(tmp_path, 4))


def test_a_fork_without_its_parents_copy_says_so(tmp_path: Path) -> None:
    script = workload(tmp_path)
    trained(script, parent(tmp_path, 4))
    with pytest.raises(FileNotFoundError, match="no checkpoint at step 2"):
        trained(script, child(tmp_path, 2))


def loads_rate(config: dict[str, Any]) -> None:
    import torch

    from orchestrator import report, resumed_from

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=config["lr"])
    first, place = 1, Path(os.environ["TRIAL_FOLDER"], "last.pt")
    if (found := resumed_from()) is not None:
        state = torch.load(found)
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"] + 1
        if config["sets"]:
            for group in optimizer.param_groups:
                group["lr"] = config["lr"]
    for epoch in range(first, 9):
        if epoch != config.get("measures"):  # then it only measures the loaded weights
            optimizer.step()
        torch.save({"epoch": epoch, "optimizer": optimizer.state_dict()}, place)
        rate = optimizer.param_groups[0]["lr"]
        if not report(epoch, loss=rate, checkpoint=place):
            return


def function_forks(folder: Path, *, sets: bool, **more: Any) -> dict[int, float]:
    train = FromFunction(loads_rate, metric="loss", mode="min", horizon=8)
    configs = [{"lr": rate, "sets": sets, **more} for rate in (0.1, 0.2)]
    trained(train, Assignment(0, configs[0], 1, until=2, folder=folder / "0" / "checkpoints", pinned=(2,)))  # type: ignore[arg-type]
    fork = Assignment(
        1, configs[1], 2, until=3 + len(more), folder=folder / "1" / "checkpoints", recorded=2, parent=folder / "0" / "checkpoints",
        parent_step=2, parent_config=configs[0],
    )  # fmt: skip
    return curve(trained(train, fork))  # type: ignore[arg-type]


@pytest.mark.slow  # two processes that import torch
def test_a_function_whose_optimizer_brings_its_parents_rate_fails(tmp_path: Path) -> None:
    with pytest.raises(
        ScriptFailed, match=r"with lr=0\.2, but its SGD still trains with 0\.1.*group\['lr'\] = config\['lr'\]"
    ):
        function_forks(tmp_path, sets=False)


@pytest.mark.slow  # two processes that import torch
def test_it_fails_though_its_first_report_comes_before_an_update(tmp_path: Path) -> None:
    """As in Stable-Baselines3, where a callback may report before the first update after a load."""
    with pytest.raises(ScriptFailed, match=r"with lr=0\.2, but its SGD still trains with 0\.1"):
        function_forks(tmp_path, sets=False, measures=3)
    (tmp_path / "right").mkdir()
    assert function_forks(tmp_path / "right", sets=True, measures=3) == {3: 0.2, 4: 0.2}


@pytest.mark.slow  # two processes that import torch
def test_a_function_that_sets_its_own_rate_continues(tmp_path: Path) -> None:
    assert function_forks(tmp_path, sets=True) == {3: 0.2}


def started(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, str(SWEEP), "--simulate"], cwd=folder, stdout=output, stderr=output,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def forks_on_record(folder: Path) -> int:
    """Compare every value on record with the product of the rates that led to it; returns the number of forks."""
    run = folder / "runs" / "forking"
    begun: dict[int, Any] = {}
    for row in recorded(run, "suggestion"):
        begun.setdefault(row["trial"], row)
    from orchestrator.record.ledger import Ledger

    ledger = Ledger.read(run)
    try:
        suggestions = ledger.begun()
    finally:
        ledger.close()
    for row in recorded(run, "report"):
        truth = 1.0
        for stretch in schedule(row["trial"], row["step"], suggestions):
            truth *= stretch.config["rate"] ** (stretch.last - stretch.first + 1)
        assert row["value"] == pytest.approx(truth, rel=1e-9), row
    return sum(each["kind"] == "fork" for each in begun.values())


def killed_population(folder: Path, kills: int) -> int:
    """Run the population, kill it so many times at random instants, let it finish."""
    chance = random.Random(kills)
    for _ in range(kills):
        process = started(folder)
        time.sleep(chance.uniform(1.0, 4.0))
        process.kill()
        process.wait()
    process = started(folder)
    assert process.wait(240) == 0, (folder / "output.txt").read_text()[-3000:]
    endings = [row for row in recorded(folder / "runs" / "forking", "ending") if row["status"] == "completed"]
    assert len({row["trial"] for row in endings}) == MEMBERS
    return forks_on_record(folder)


@pytest.mark.slow
def test_a_killed_population_of_scripts_trains_each_member_as_its_record_says(tmp_path: Path) -> None:
    assert killed_population(tmp_path, 1) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_population_of_scripts_that_is_killed_ten_times(tmp_path: Path) -> None:
    assert killed_population(tmp_path, 10) > 0
