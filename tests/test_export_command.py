"""The exported command of a script trains its best configuration again, pasted into a shell."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from orchestrator import Grid, Script, Space, choice, loguniform, when
from orchestrator.console.typed_command import recorded_line
from orchestrator.driving.places import Places
from orchestrator.reading.export import best_as_yaml, by_hand, write_trials
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from orchestrator.reporting import PLACE, REPORTS, last_checkpoint
from search.records import End, Report, Status, start
from tests.records_on_disk import written
from tests.support import simulated, small_sweep
from trainables.scripts.trial_folder import TrialFolder


def output(line: str, folder: Path) -> str:
    """What a line prints in a shell, without the variables of a trial."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith("TRIAL_")}
    return subprocess.run(["sh", "-c", line], cwd=folder, env=rest, capture_output=True, text=True, check=True).stdout


TRAIN = """
import json, os, pathlib, sys
rate = float(sys.argv[1].partition("=")[2])
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "my weights.json")
for epoch in range(1, 4):
    place.write_text(json.dumps(epoch))
    print(f"distance={abs(rate - 3) / epoch}, epoch={epoch}", flush=True)
"""


def test_the_export_of_a_script_has_its_command_line_and_its_own_files(tmp_path: Path) -> None:
    script = tmp_path / "my train.py"
    script.write_text(TRAIN)
    command = shlex.join([sys.executable, str(script)])
    workload = Script(command, metric="distance", mode="min", horizon=3)
    sweep = small_sweep(workload=workload, space=Space({"learning_rate": loguniform(1e-3, 0.3)}), num_samples=2)
    folder = tmp_path / "a run; of mine"
    driver = simulated(folder, sweep)
    assert driver.best is not None
    ledger = Ledger.read(folder)
    exported = YAML(typ="safe").load(best_as_yaml(ledger))
    ledger.close()
    again = str(folder / "trials" / f"{driver.best.number:05d}" / "again")  # its own folder keeps what it has
    words = shlex.split(exported["command"])
    assert words[:7] == ["cd", os.getcwd(), "&&", "mkdir", again, "&&", "env"]
    _, seed, place, *rest = words[6:]
    assert (place, rest) == (f"TRIAL_FOLDER={again}", workload.arguments(driver.best.config))
    assert seed.startswith("TRIAL_SEED=")
    assert f"distance={driver.best.losses[-1]}, epoch=3" in output(exported["command"], tmp_path)
    assert Path(again, "my weights.json").is_file()
    assert Path(exported["files"], "my weights.json").read_text() == "3"
    with pytest.raises(subprocess.CalledProcessError):  # pasted again, it would go on where that training ended
        output(exported["command"], tmp_path)
    ledger = Ledger.read(folder)
    assert f"mkdir {shlex.quote(again + '-2')} && " in best_as_yaml(ledger)
    ledger.close()
    assert "train_on" not in exported  # its script ends where it ends
    assert shlex.split(exported["train_again"])[2] == str(folder)


@pytest.mark.parametrize("first", [0, 1])
def test_the_exported_checkpoint_is_of_no_later_step_than_its_score(first: int, tmp_path: Path) -> None:
    """A script that is stopped has often reported one step more, and one that counts from 0 is one step ahead."""
    trial = [start({"x": 0.5}), Report(0, 1, 0.5), Report(0, 2, 0.25), End(0, Status.STOPPED, "Asha at step 2")]
    written(tmp_path, small_sweep(), trial)
    own = Places(tmp_path).script(0)
    (own / PLACE).mkdir(parents=True)
    (own / PLACE / "memory.json").write_text(json.dumps({"shift": 1 - first}))
    with (own / PLACE / REPORTS).open("w") as reports:
        for step in (1, 2, 3):
            (own / f"{step}.pt").touch()
            print(json.dumps({"step": step - 1 + first, "checkpoint": f"{step}.pt"}), file=reports)
    ledger = Ledger.read(tmp_path)
    assert summary(ledger)["best"]["checkpoint"] == str(own / "2.pt")
    ledger.close()
    assert TrialFolder(own).checkpoint(2) == own / "2.pt"
    assert last_checkpoint(own) == own / "3.pt"  # an interrupted training goes on from the last one


ROUNDS_UP = """
import orchestrator, os, pathlib
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "last.pt")
for n in 2, 4, 6:
    place.touch()
    REPORT
"""


@pytest.mark.parametrize(
    ("line", "horizon", "words"),
    [
        ("orchestrator.report(n, distance=1 / n, checkpoint=place)", 5, "of step 6; the score is of step 4"),
        ("print(f'step {n}: distance={1 / n}')", 5, "perhaps of a step beyond the horizon; the score is of step 4"),
        ("orchestrator.report(n, distance=1 / n, checkpoint=place)", 6, ""),
        ("print(f'step {n}: distance={1 / n}')", 6, ""),
    ],
)
def test_a_checkpoint_of_another_step_than_the_score_says_so(
    line: str, horizon: int, words: str, tmp_path: Path
) -> None:
    """A script that passes the horizon has written its file again after the step that counts."""
    (tmp_path / "train.py").write_text(ROUNDS_UP.replace("REPORT", line))
    workload = Script(f"{sys.executable} {tmp_path / 'train.py'}", metric="distance", mode="min", horizon=horizon, flag="--{name}={value}")  # fmt: skip
    simulated(tmp_path / "run", small_sweep(workload=workload, num_samples=1))
    ledger, out = Ledger.read(tmp_path / "run"), io.StringIO()
    exported = best_as_yaml(ledger)
    print_summary(ledger, Console(file=out, width=200))
    ledger.close()
    before = f"# {words.capitalize()}.\n" if words else ""
    assert f"\n{before}checkpoint: " in exported
    assert ("# Perhaps of" in exported or "# Of step" in exported) == bool(words)
    assert (f" ({words})\n" in out.getvalue()) == bool(words)


READS = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
for name in ("--config", "--out", "--resume"): parser.add_argument(name)
parser.add_argument("--seed", type=int)
args = parser.parse_args()
rate, done = json.loads(pathlib.Path(args.config).read_text())["optim"]["rate"], 0
if args.resume: raise SystemExit("a training by hand has nothing to resume from")
for epoch in range(1, 4):
    pathlib.Path(args.out, "last.json").write_text(str(epoch))
    print(f"distance={abs(rate - 3) / epoch + args.seed}, epoch={epoch}", flush=True)
"""


def test_the_exported_command_of_a_script_with_a_config_file_trains_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(READS)
    Path("base.json").write_text('{"optim": {"rate": 0.5, "name": "sgd"}}')
    workload = Script(
        f"{sys.executable} train.py --config {{config}} --out {{folder}} --seed={{seed}}", metric="distance", mode="min",
        horizon=3, config="base.json", resume="--resume {folder}/last.json",
    )  # fmt: skip
    space = Space({"optim.rate": loguniform(1e-3, 0.3)})
    driver = simulated(tmp_path / "own", small_sweep(workload=workload, space=space, num_samples=2))
    assert driver.best is not None
    own = tmp_path / "own" / "trials" / f"{driver.best.number:05d}"
    for again in ("again", "again-2"):
        ledger = Ledger.read(Path("own"))
        exported = YAML(typ="safe").load(best_as_yaml(ledger))
        ledger.close()
        assert f"--config {own / 'config.json'} " in exported["command"]
        assert "{" not in exported["command"]
        assert f"distance={driver.best.losses[-1]}, epoch=3" in output(exported["command"], tmp_path)
        assert (own / again / "last.json").read_text() == "3"
        shutil.rmtree(own / "checkpoints", ignore_errors=True)  # as those of a trial that is no longer among the best
    (own / "config.json").unlink()
    ledger = Ledger.read(Path("own"))
    assert YAML(typ="safe").load(best_as_yaml(ledger))["command"] is None, "what cannot be typed is not shown"
    ledger.close()


def test_the_exported_command_of_a_shell_sets_the_variables_that_its_words_use(tmp_path: Path) -> None:
    line = by_hand(["sh", "-c", "echo $TRIAL_FOLDER $TRIAL_STEPS $TRIAL_SEED"], tmp_path, 7, 20, None)
    assert line is not None
    assert output(line, tmp_path) == f"{tmp_path / 'again'} 20 7\n"
    assert (tmp_path / "again").is_dir()


def test_a_command_that_needs_another_folder_goes_there_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script is named by its path below the folder in which the sweep was started."""
    home = tmp_path / "my home; with a 'name'"
    home.mkdir()
    (home / "train.py").write_text("import os, sys\nfor n in 1, 2: print(f'epoch {n}: distance={n}', os.getcwd())")
    monkeypatch.chdir(home)
    workload = Script(f"{sys.executable} train.py", metric="distance", mode="min", horizon=2)
    sweep = small_sweep(workload=workload, space=Space({"rate": loguniform(1e-3, 0.3)}), num_samples=1)
    simulated(home / "own", sweep)

    def line() -> str:
        ledger = Ledger.read(home / "own")
        try:
            return str(YAML(typ="safe").load(best_as_yaml(ledger))["command"])
        finally:
            ledger.close()

    here = line()
    assert here.startswith(f"cd {shlex.quote(str(home))} && env ")
    monkeypatch.chdir(tmp_path)
    assert line() == here
    assert output(line(), Path("/")).splitlines()[-1] == f"epoch 2: distance=2 {home}"
    record = {"command": [str(home / "sub" / "tune.py"), "--budget", "3"], "code": {"folder": str(home)}}
    told = f"cd {shlex.quote(str(home))} && python sub/tune.py --budget 6"
    assert recorded_line(record, "--budget", "6") == told
    monkeypatch.chdir(home)
    assert recorded_line(record) == "python sub/tune.py --budget 3"
    assert recorded_line(record | {"code": {}}) == "python sub/tune.py --budget 3"


def test_a_checkpoint_and_a_command_say_that_they_are_of_the_first_training(tmp_path: Path) -> None:
    """Beside them stands the mean of fresh seeds, which is the score of other trainings."""
    text = (
        "import os, pathlib, random; random.seed(os.environ['TRIAL_SEED'])\n"
        "for n in 1, 2, 3: print(f'epoch {n}: distance={random.random()}')\n"
        "pathlib.Path(os.environ['TRIAL_FOLDER'], 'last.pt').touch()\n"
    )
    script = tmp_path / "train.py"
    script.write_text(text)
    workload = Script(f"{sys.executable} {script}", metric="distance", mode="min", horizon=3, flag="--{name}={value}")
    driver = simulated(tmp_path / "own", small_sweep(workload=workload, finalists=1, confirmations=2, num_samples=3))
    assert driver.best is not None
    ledger, out = Ledger.read(tmp_path / "own"), io.StringIO()
    text = best_as_yaml(ledger)
    print_summary(ledger, Console(file=out, width=200))
    ledger.close()
    first, exported = driver.best.losses[-1], YAML(typ="safe").load(text)
    assert (exported["first"], exported["value"]) == (first, pytest.approx(sum(exported["confirmed"]) / 2))
    assert f"# Of the first training: its own score is {first}.\ncheckpoint: " in text
    assert "# With the seed of the first training.\ncommand: " in text
    assert f"checkpoints/script; the score of this model is the first score, {first:.4g}\n" in out.getvalue()
    runs = {run["trial"]: run["value"] for run in exported["fresh"]}
    assert runs == {trial.number: trial.loss for trial in driver.history.trials[3:]}
    for run in exported["fresh"]:
        assert run["checkpoint"].endswith(f"/trials/{run['trial']:05d}/checkpoints/script")
        words = f"{run['checkpoint']}; the score of this model, on a fresh seed, is {run['value']:.4g}\n"
        assert words in out.getvalue()


def test_none_is_null_and_the_cell_of_a_parameter_that_is_not_active_is_empty(tmp_path: Path) -> None:
    more = {"warmup": choice([None, 5]), "shape": when(choice([None]), warmup=5)}
    space = Space({"learning_rate": loguniform(1e-3, 1.0), "momentum": 0.5, "batch_size": 16} | more)
    driver = simulated(tmp_path / "run", small_sweep(space=space, searcher=Grid(2), num_samples=4))
    ledger = Ledger.read(tmp_path / "run")
    write_trials(ledger, tmp_path / "trials.csv")
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert {(row["config.warmup"], row["config.shape"]) for row in rows} == {("null", ""), ("5", "null")}
    assert driver.best is not None
    assert f"warmup: {driver.best.config['warmup'] or 'null'}\n" in best_as_yaml(ledger)
    ledger.close()
