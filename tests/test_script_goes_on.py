"""`replay --go-on` of a script: from the files that its trial kept, up to its horizon; beyond, by its own command."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadInput, NotTheSame
from orchestrator.reading.replay import replay_trial
from orchestrator.sweep import Sweep
from search.space import Space, choice
from tests.scripting import LINE, RESUMES, script
from tests.support import ROOT, run_script, simulated, small_sweep

FAILS = "if epoch == 4 and not pathlib.Path(__file__).with_name('mended').exists(): raise RuntimeError('boom')\n    "
REPORTS = """
import json, os, pathlib
from orchestrator.reporting import report, resumed_from
last = resumed_from()
done = 0 if last is None else json.loads(last.read_text())
for epoch in range(done + 1, 7):
    {fails}
    here = pathlib.Path(os.environ["TRIAL_FOLDER"], f"{epoch}.json")
    here.write_text(json.dumps(epoch))
    report(epoch, distance=1 / epoch, checkpoint=here)
    if last is not None:
        last.unlink()  # a script that keeps only its newest checkpoint
    last = here
"""


def failed_at_three(folder: Path, text: str, **more: Any) -> Sweep:
    """A sweep whose only trial failed after step 3 of 6; the cause is mended since."""
    workload = script(folder / "code", text.replace("{fails}", FAILS.strip()), flag="--{name}={value}", **more)
    sweep = small_sweep(workload=workload, num_samples=1)
    driver = simulated(folder / "run", sweep)
    assert [(trial.status.value, trial.step) for trial in driver.history] == [("failed", 3)]
    (folder / "code" / "mended").touch()
    return sweep


def kept(folder: Path) -> dict[str, bytes]:
    own = folder / "run" / "trials" / "00000" / "checkpoints" / "script"
    return {str(path.relative_to(own)): path.read_bytes() for path in own.rglob("*") if path.is_file()}


@pytest.mark.parametrize("text", [RESUMES.replace("{line}", FAILS + LINE), REPORTS])
def test_a_script_goes_on_from_a_copy_of_its_trials_files(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sweep = failed_at_three(tmp_path, text)
    before = kept(tmp_path)
    replay_trial(sweep, tmp_path / "run", 0, 6)
    told = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert told == ["4", "5", "6"]
    assert kept(tmp_path) == before


def test_a_trial_that_is_trained_again_leaves_everything_in_its_own_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = script(tmp_path / "code", "for n in range(1, 7): print(f'epoch {n}/9: distance={1 / n}', flush=True)")
    sweep = small_sweep(workload=workload, num_samples=1)
    simulated(tmp_path / "run", sweep)
    here, trials = tmp_path / "run" / "replay", tmp_path / "run" / "trials"
    assert [path.name for path in sorted(trials.iterdir())] == [".told-counts_to", "00000"]
    for _ in range(2):
        replay_trial(sweep, tmp_path / "run", 0, None)
        assert "the script counts to 9" in capsys.readouterr().out
    assert [path.name for path in here.iterdir()] == ["00000"]
    assert not list((tmp_path / "run").glob(".told*"))


def test_beyond_its_horizon_a_script_goes_on_by_its_own_command(tmp_path: Path) -> None:
    sweep = failed_at_three(tmp_path, RESUMES.replace("{line}", FAILS + LINE))
    with pytest.raises(BadInput, match=r"ends by itself at step 6, its horizon. To train on, ask the script") as caught:
        replay_trial(sweep, tmp_path / "run", 0, 9)
    line = str(caught.value).rpartition("a copy of the trial's files: ")[2]
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, env=os.environ)
    assert [row.split(":")[0] for row in done.stdout.splitlines()] == ["epoch 4", "epoch 5", "epoch 6"]
    resumes = replace(sweep, workload=replace(sweep.workload, resume="--resume {folder}/mine.json"))
    with pytest.raises(BadInput, match=r"--resume \S+00000/again-2/mine.json$"):
        replay_trial(resumes, tmp_path / "run", 0, 9)


def test_a_script_that_is_trained_again_counts_as_it_did_in_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another trial had shown that it counts from 0; alone it told steps 1, 3, 5, and all steps were said to equal the record."""
    text = (
        "import sys\nevery = int(sys.argv[1].rpartition('=')[2])\n"
        "for n in range(every - 1, 6, every): print(f'epoch {n}: distance={1 / (n + 1)}', flush=True)"
    )
    workload = script(tmp_path / "code", text, flag="--{name}={value}")
    points = [{"every": 1}, {"every": 2}]
    sweep = small_sweep(
        workload=workload, space=Space({"every": choice([1, 2])}), points_to_evaluate=points, num_samples=2
    )
    driver = simulated(tmp_path / "run", sweep)
    assert [trial.steps for trial in driver.history] == [[1, 2, 3, 4, 5, 6], [2, 4, 6]]
    replay_trial(sweep, tmp_path / "run", 1, None)
    assert capsys.readouterr().out.splitlines()[-1] == "trial 1: all 3 steps equal the record"
    shutil.rmtree(tmp_path / "run" / "trials" / "00001" / "checkpoints")
    with pytest.raises(NotTheSame, match=r"3 of 3 steps differ from the record, the first at step 2"):
        replay_trial(sweep, tmp_path / "run", 1, None)


REPORTS = """
import json, os
from pathlib import Path
from orchestrator import RunToEnd, Space, Sweep, launch, report, uniform

def train(config):
    saved = Path(os.environ["TRIAL_FOLDER"], "last.json")
    done = json.loads(saved.read_text()) if saved.exists() else 0
    for epoch in range(done + 1, int(os.environ["LAST"]) + 1):
        saved.write_text(json.dumps(epoch))
        report(epoch, loss=config["x"] / epoch, checkpoint=saved)

launch(Sweep("mine", train, Space({"x": uniform(0, 1)}), minimize="loss", steps=2, num_samples=1, scheduler=RunToEnd()))
"""


@pytest.mark.slow
def test_a_function_that_reports_goes_on_beyond_the_steps_of_its_sweep(tmp_path: Path) -> None:
    (tmp_path / "tune.py").write_text(REPORTS)
    done = run_script("tune.py", "--simulate", cwd=tmp_path, LAST="2")
    assert done.returncode == 0, done.stderr
    longer = run_script("tune.py", "--replay", "0", "--go-on", "4", cwd=tmp_path, LAST="4")
    assert [line.split()[1] for line in longer.stdout.splitlines() if line.startswith("step ")] == ["3", "4"]
    ended = run_script("tune.py", "--replay", "0", "--go-on", "4", cwd=tmp_path, LAST="2")
    assert "raise the number of steps in the training" in " ".join(ended.stdout.split())
