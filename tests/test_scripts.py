"""A user's script as a workload: real processes that print, report, resume, go wrong and leave children behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator import reporting
from orchestrator.sweep import Sweep
from orchestrator.worker import Job
from search.records import Status
from search.schedulers.asha import AshaPromote
from search.searchers.random import Random
from search.space import Space, loguniform
from search.work import Assignment, Progress
from tests.support import ROOT, simulated
from trainables import trial_folder
from trainables.script_channels import ScriptFailed
from trainables.script_process import end_leftovers
from trainables.step_count import Refused
from trainables.workloads.script import Script

HORIZON = 6
RESUMES = """
import json, os, pathlib
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "mine.json")
done = json.loads(place.read_text()) if place.exists() else 0
for epoch in range(done + 1, 7):
    {line}
    place.with_suffix(".tmp").write_text(json.dumps(epoch))
    place.with_suffix(".tmp").replace(place)  # a script that is ended while it writes keeps the last one
"""
STARTS_OVER = """
for epoch in range(1, 7):
    {line}
"""
LINE = 'print(f"epoch {epoch}: distance={1 / epoch:.4f}", flush=True)'
COUNTED = 'print(f"distance={1 / epoch:.4f}", flush=True)'
REPORTED = "go_on = report(epoch, distance=1 / epoch, accuracy=epoch)\n    if not go_on: break"
IMPORT = "from orchestrator import parameters, report, resumed_from\n"


def script(folder: Path, text: str, **more: Any) -> Script:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(text)
    fields: dict[str, Any] = {"metric": "distance", "mode": "min", "horizon": HORIZON}
    return Script(f"{sys.executable} {folder / 'train.py'}", **(fields | more))


def assigned(folder: Path, until: int = HORIZON, recorded: int = 0, **more: Any) -> Assignment:
    config = more.pop("config", {"rate": 0.1})
    return Assignment(0, config, 7, until=until, folder=folder / "trial" / "checkpoints", recorded=recorded, **more)


def trained(workload: Script, assignment: Assignment) -> list[Progress]:
    return [item for item in workload.run(None, assignment) if item is not None]


def curve(items: list[Progress]) -> dict[int, float]:
    return {item.step: round(item.metrics["distance"], 4) for item in items if item.kind == "report"}


def texts(items: list[Progress], kind: str = "notice") -> list[str]:
    return [item.text for item in items if item.kind == kind]


def truth(*steps: int) -> dict[int, float]:
    return {step: round(1 / step, 4) for step in steps}


def log(folder: Path) -> str:
    return (folder / "trial" / "log.txt").read_text()


@pytest.fixture(autouse=True)
def _reports_find_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


# Whole sweeps.


@pytest.mark.parametrize("frame", [RESUMES, STARTS_OVER], ids=["resumes", "starts over"])
@pytest.mark.parametrize("line", [LINE, REPORTED], ids=["printed", "reported"])
def test_a_sweep_over_a_script_rests_and_goes_on(frame: str, line: str, tmp_path: Path) -> None:
    text = (IMPORT if line == REPORTED else "") + frame.format(line=line)
    sweep = Sweep(
        name="own", workload=script(tmp_path, text), space=Space({"rate": loguniform(1e-3, 1.0)}), searcher=Random(),
        scheduler=AshaPromote(reduction_factor=2), num_samples=8,
    )  # fmt: skip
    history = simulated(tmp_path / "run", sweep).history
    assert history.count(Status.COMPLETED) >= 1
    assert any(trial.suggestion.kind == "resume" for trial in history)
    for trial in history:
        assert trial.losses == pytest.approx([1 / step for step in trial.steps], abs=1e-4)
        assert trial.steps == list(range(1, trial.step + 1))


# Steps.


@pytest.mark.parametrize("line", [LINE, COUNTED, REPORTED], ids=["steps", "no steps", "report"])
def test_every_way_to_tell_gives_the_same_curve(line: str, tmp_path: Path) -> None:
    text = (IMPORT if line == REPORTED else "") + STARTS_OVER.format(line=line)
    items = trained(script(tmp_path, text), assigned(tmp_path))
    assert curve(items) == truth(*range(1, 7))
    assert texts(items) == []


@pytest.mark.parametrize(
    "form", ['f"epoch {epoch - 1}: distance={1 / epoch:.4f}"', 'f"[{epoch - 1}/6] distance={1 / epoch:.4f}"']
)
def test_a_script_that_counts_from_zero_is_shifted_by_one_also_after_an_interruption(form: str, tmp_path: Path) -> None:
    workload = script(tmp_path, RESUMES.format(line=f"print({form}, flush=True)"))
    first = curve(trained(workload, assigned(tmp_path, until=3)))
    assert first == truth(1, 2, 3)
    assert first | curve(trained(workload, assigned(tmp_path, recorded=3))) == truth(*range(1, 7))


def test_the_scripts_own_count_may_have_gaps(tmp_path: Path) -> None:
    text = "for update in range(1, 3001):\n    if update % 300 == 0: print(f'step {update}: distance={1 / update}')\n"
    items = trained(script(tmp_path, text, horizon=3000), assigned(tmp_path, until=3000))
    assert list(curve(items)) == list(range(300, 3001, 300))


def test_a_count_from_zero_to_the_horizon_itself_ends_there(tmp_path: Path) -> None:
    text = "for update in range(0, 3001, 1000): print(f'step {update}: distance={1 + update}')\n"
    items = trained(script(tmp_path, text, horizon=3000), assigned(tmp_path, until=3000))
    assert list(curve(items)) == [1, 1001, 2001, 3000]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["epoch=0.5 distance=1"], "epoch=0.5 in 'epoch=0.5 distance=1' is no whole step"),
        (["step 300: distance=1"], r"at step 300 and Script\(horizon=6\) ends before"),
        (["epoch 300 of 400, step 900: distance=1"], r"name what else the line counts: Script\(step='step'\)"),
        (["epoch 1: distance=3", "epoch 3: distance=2", "epoch 2: distance=1"], "went back from epoch 3 to 2"),
        (["epoch 1: distance=3", "epoch 0: distance=2"], "went back from epoch 1 to 0"),
        (
            ["epoch 1: distance=3", "epoch 1: distance=2"],
            "two values of 'distance' for epoch 1: 3 in 'epoch 1: distance=3' and 2",
        ),
        (["distance=3", "epoch 2: distance=2"], "named no step, and 'epoch 2: distance=2' names epoch=2"),
    ],
)
def test_a_step_that_fits_nowhere_is_refused_with_both_numbers(lines: list[str], words: str, tmp_path: Path) -> None:
    workload = script(tmp_path, f"for line in {lines!r}: print(line, flush=True)\n")
    with pytest.raises(Refused, match=words):
        trained(workload, assigned(tmp_path))


def test_of_several_counts_in_a_line_the_user_may_name_the_one(tmp_path: Path) -> None:
    text = "for n in range(1, 7): print(f'epoch {(n + 1) // 2} updates={n} distance={1 / n:.4f}')\n"
    assert curve(trained(script(tmp_path, text, step="updates"), assigned(tmp_path))) == truth(*range(1, 7))


def test_a_summary_that_repeats_a_step_in_fewer_digits_is_no_second_value(tmp_path: Path) -> None:
    text = "print('epoch 1: distance=0.8612'); print('epoch 1: distance=0.86'); print('epoch 2: distance=0.5')\n"
    assert curve(trained(script(tmp_path, text), assigned(tmp_path))) == {1: 0.8612, 2: 0.5}


# Interruptions.


def killed_after(folder: Path, text: str, step: int, recorded: int = 0, **more: Any) -> dict[int, float]:
    """Train in a process of its own, which dies by SIGKILL as soon as it has told `step`; what it told."""
    workload = script(folder, text, **more)
    code = (
        "import sys; from pathlib import Path; from search.work import Assignment\n"
        "from trainables.workloads.script import Script\n"
        f"workload = {workload!r}\n"
        f"assignment = {assigned(folder, recorded=recorded)!r}\n".replace("PosixPath", "Path")
        + "for item in workload.run(None, assignment):\n"
        "    if item.kind == 'report': print(item.step, item.metrics['distance'], flush=True)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
    assert worker.stdout is not None
    told: dict[int, float] = {}
    for row in worker.stdout:
        told[int(row.split()[0])] = round(float(row.split()[1]), 4)
        if int(row.split()[0]) >= step:
            worker.send_signal(signal.SIGKILL)
            break
    worker.wait()
    return told


SLOW = "\n    import time; time.sleep(0.15)"


def test_a_killed_worker_takes_its_script_with_it_and_the_next_one_goes_on_where_the_script_does(
    tmp_path: Path,
) -> None:
    text = RESUMES.format(line=LINE + SLOW)
    first = killed_after(tmp_path, text, 2)
    assert not scripts_of(tmp_path)
    items = trained(script(tmp_path, text), assigned(tmp_path, recorded=1))
    assert min(curve(items)) == 2  # printed before the kill, and not recorded
    assert first | curve(items) == truth(*range(1, 7))


def scripts_of(folder: Path, patience: float = 15.0) -> list[psutil.Process]:
    """The processes whose command names the script in this folder, once they have had the time to end."""
    deadline = time.monotonic() + patience
    while True:
        alive = []
        for process in psutil.process_iter(["cmdline", "status"]):
            if str(folder / "train.py") in (process.info["cmdline"] or []) and process.info["status"] != "zombie":
                alive.append(process)
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.05)


def forget_after(folder: Path, step: int) -> None:
    """What a kill right after this step would have left: nothing of what was printed later."""
    place = folder / "trial" / "checkpoints" / "script" / ".reports"
    rows = (place / "steps.jsonl").read_text().splitlines(keepends=True)
    (place / "steps.jsonl").write_text("".join(rows[:step]))
    (place / "stdout.txt").write_text("")


def test_a_script_killed_between_its_checkpoint_and_its_line_leaves_a_gap_and_no_wrong_value(tmp_path: Path) -> None:
    text = RESUMES.format(line=LINE)
    trained(script(tmp_path, text), assigned(tmp_path, until=2))
    forget_after(tmp_path, 2)
    (tmp_path / "trial" / "checkpoints" / "script" / "mine.json").write_text("3")
    assert curve(trained(script(tmp_path, text), assigned(tmp_path, recorded=2))) == truth(4, 5, 6)


def test_counted_lines_of_a_script_with_a_checkpoint_are_refused_when_it_is_started_again(tmp_path: Path) -> None:
    text = RESUMES.format(line=COUNTED + SLOW)
    killed_after(tmp_path, text, 2)
    with pytest.raises(
        Refused, match=r"keeps files in TRIAL_FOLDER \(mine.json\).*Print the step in each line \(epoch=3\)"
    ):
        trained(script(tmp_path, text), assigned(tmp_path, recorded=1))


def test_counted_lines_of_a_script_that_starts_over_are_compared_with_the_record(tmp_path: Path) -> None:
    text = STARTS_OVER.format(line=COUNTED + SLOW)
    first = killed_after(tmp_path, text, 2)
    assert first | curve(trained(script(tmp_path, text), assigned(tmp_path, recorded=1))) == truth(*range(1, 7))


def test_counted_lines_that_say_something_else_the_second_time_are_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"  # a checkpoint that we cannot know of
    text = RESUMES.format(line=COUNTED + SLOW).replace(
        'os.environ["TRIAL_FOLDER"], "mine.json"', repr(str(elsewhere))
    )  # fmt: skip
    killed_after(tmp_path, text, 2)
    with pytest.raises(Refused, match=r"number 1 says 0\.\d+, step 1 on record is 1\.0000"):
        trained(script(tmp_path, text), assigned(tmp_path, recorded=2))


def test_lines_that_lose_their_steps_after_an_interruption_are_refused(tmp_path: Path) -> None:
    text = RESUMES.format(line=f"{LINE} if not done else {COUNTED}")
    trained(script(tmp_path, text), assigned(tmp_path, until=2))
    forget_after(tmp_path, 2)
    (tmp_path / "trial" / "checkpoints" / "script" / "mine.json").write_text("2")
    with pytest.raises(Refused, match=r"names no step, and before the script was interrupted its lines did \(epoch="):
        trained(script(tmp_path, text), assigned(tmp_path, recorded=2))


def test_a_value_that_comes_out_differently_the_second_time_does_not_replace_the_first(tmp_path: Path) -> None:
    text = "import random\nfor epoch in range(1, 7): print(f'epoch {epoch}: distance={random.random()}', flush=True)\n"
    first = curve(trained(script(tmp_path, text), assigned(tmp_path, until=3)))
    forget_after(tmp_path, 3)
    items = trained(script(tmp_path, text), assigned(tmp_path, recorded=3))
    assert list(first) == [1, 2, 3]
    assert list(curve(items)) == [4, 5, 6]
    assert any("when trained again" in text for text in texts(items))


def test_what_a_script_tells_while_it_is_being_left_is_there_when_it_goes_on(tmp_path: Path) -> None:
    late = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: (print('epoch 3: distance=0.3333', flush=True), exit()))\n"
    text = (
        late + "import time\nprint('epoch 1: distance=1'); print('epoch 2: distance=0.5', flush=True)\ntime.sleep(60)\n"
    )
    workload = script(tmp_path, text)
    trained(workload, assigned(tmp_path, until=2))
    assert curve(trained(workload, assigned(tmp_path, until=3, recorded=2))) == truth(3)


# report().


def test_report_answers_when_the_trial_has_been_gone_on_with_and_says_when_to_leave(tmp_path: Path) -> None:
    text = IMPORT + (
        "import os, pathlib\n"
        "own = pathlib.Path(os.environ['TRIAL_FOLDER'])\n"
        "for epoch in range(1, 7):\n"
        "    go_on = report(epoch, distance=1 / epoch)\n"
        "    if not go_on:\n"
        "        (own / 'left.txt').write_text(f'{epoch} {parameters()}')\n"
        "        break\n"
    )
    run = script(tmp_path, text).run(None, assigned(tmp_path))
    for item in run:
        if item is not None and item.kind == "report" and item.step == 2:
            break
    run.close()
    left = tmp_path / "trial" / "checkpoints" / "script" / "left.txt"
    assert left.read_text() == "2 {'rate': 0.1}"


def test_a_script_that_reports_resumes_from_the_checkpoint_that_it_named(tmp_path: Path) -> None:
    text = IMPORT + (
        "import os, pathlib, time\n"
        "found = resumed_from()\n"
        "done = int(found.read_text()) if found else 0\n"
        "print('going on from', done)\n"
        "for epoch in range(done + 1, 7):\n"
        "    place = pathlib.Path(os.environ['TRIAL_FOLDER'], f'{epoch}.txt')\n"
        "    place.write_text(str(epoch))\n"
        "    time.sleep(0.1)\n"
        "    report(epoch, distance=1 / epoch, checkpoint=place)\n"
    )
    first = killed_after(tmp_path, text, 3)
    items = trained(script(tmp_path, text), assigned(tmp_path, recorded=2))
    assert first | curve(items) == truth(*range(1, 7))
    assert "going on from 3" in log(tmp_path)


def test_a_report_without_the_tuned_metric_fails_at_once_and_names_the_likeliest(tmp_path: Path) -> None:
    text = IMPORT + "import time\nreport(1, dist=0.5, val_distance=1)\ntime.sleep(60)\n"
    with pytest.raises(
        ScriptFailed,
        match=r"report\(1, dist=0.5, val_distance=1\) names no 'distance'; it named dist, val_distance. Did you mean",
    ):
        trained(script(tmp_path, text), assigned(tmp_path))


def test_what_a_script_that_reports_prints_is_for_people(tmp_path: Path) -> None:
    text = (
        IMPORT
        + "for n in range(6):\n    print(f'step {100 * n}: distance={n:.1f}')\n    report(n, distance=1 / (n + 1))\n"
    )
    assert curve(trained(script(tmp_path, text), assigned(tmp_path))) == truth(*range(1, 7))


def test_the_two_sides_of_the_protocol_use_the_same_words() -> None:
    for name in ("FOLDER", "RUNNER", "PLACE", "PARAMETERS", "REPORTS", "ANSWER", "RANKS"):
        assert getattr(trial_folder, name) == getattr(reporting, name)


def test_a_rank_that_the_sweep_itself_has_is_not_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")  # report() of rank 3 would wait for ever for what rank 0 was to tell
    text = IMPORT + STARTS_OVER.format(line=REPORTED)
    assert curve(trained(script(tmp_path, text), assigned(tmp_path))) == truth(*range(1, 7))


# The end.


def test_a_script_that_ends_well_before_its_trial_has_ended_by_itself(tmp_path: Path) -> None:
    text = "for epoch in range(1, 4): print(f'epoch {epoch}: distance={1 / epoch:.4f}')\nprint('early stopping')\n"
    items = trained(script(tmp_path, text), assigned(tmp_path))
    assert curve(items) == truth(1, 2, 3)
    assert (items[-1].kind, items[-1].step, items[-1].text) == ("ended", 3, "the script ended with exit code 0")


def test_a_script_that_has_nothing_left_to_do_after_an_interruption_has_ended_by_itself(tmp_path: Path) -> None:
    text = RESUMES.format(line=LINE).replace("7)", "4)")
    workload = script(tmp_path, text)
    trained(workload, assigned(tmp_path, until=3))
    assert [item.kind for item in trained(workload, assigned(tmp_path, recorded=3))] == ["ended"]


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    items = trained(script(tmp_path, "import sys; sys.stdout.write('epoch 1: distance=0.25')"), assigned(tmp_path))
    assert curve(items) == {1: 0.25}


def test_nothing_follows_a_value_that_is_not_finite(tmp_path: Path) -> None:
    text = "for epoch in range(1, 7): print(f'epoch {epoch}: distance={\"nan\" if epoch == 2 else epoch}')\n"
    items = [item for item in trained(script(tmp_path, text), assigned(tmp_path)) if item.kind == "report"]
    assert [item.step for item in items] == [1, 2]
    assert math.isnan(items[-1].metrics["distance"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys; print('epoch 1: distance=1'); sys.exit('out of luck')", r"out of luck \(exit code 1 after step 1 of 6\)"),
        ("print('nothing to see')", "exit code 0; none of its 1 lines has 'distance'; it named no metric at all"),
        ("for n in 1, 2: print(f'epoch {n}: val_loss={n}')", "none of its 2 lines has 'distance'; it named val_loss."),
        ("raise ValueError('rate must be below 1')", r"ValueError: rate must be below 1 \(exit code 1"),
        ("import sys\nfor n in range(3): print(f'{n}%|###| {n}/3 [00:00<?, 9it/s]', file=sys.stderr)\nraise KeyError('x')", "KeyError: 'x'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV after step 0"),
        ("print('epoch 1: distance=1.2.3')", "'distance=1.2.3' is no number that can be read with certainty: print distance=0.52"),
        ("import argparse; p = argparse.ArgumentParser(); p.add_argument('--learning-rate'); p.parse_args(['--lr=3'])",
         "unrecognized arguments: --lr=3 The script has --learning-rate: name the parameter 'learning-rate'"),
    ],
)  # fmt: skip
def test_a_script_that_goes_wrong_fails_its_trial_with_its_error(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed, match=words):
        trained(script(tmp_path, text, flag="--{name}={value}"), assigned(tmp_path))


def test_a_metric_by_another_name_is_told_at_once_and_fails_long_before_the_end(tmp_path: Path) -> None:
    text = "import time\nfor n in range(1, 5): print(f'epoch {n}: val_loss={n}', flush=True)\ntime.sleep(60)\n"
    workload = script(tmp_path, text, metric="valid_loss")
    items: list[Progress] = []
    with pytest.raises(ScriptFailed, match=r"prints no 'valid_loss'; it named val_loss. Did you mean 'val_loss'\?"):
        items.extend(workload.run(None, assigned(tmp_path)))
    assert texts(items) == ["no 'valid_loss' so far; it named val_loss. Did you mean 'val_loss'?"]


def test_a_metric_that_comes_rarely_is_waited_for(tmp_path: Path) -> None:
    text = "for n in range(1, 101):\n    print(f'iter {n}: loss={n}')\n    if n % 50 == 0: print(f'step {n}: train loss 2.0, val loss {n}.5')\n"
    items = trained(script(tmp_path, text, metric="val loss", horizon=100), assigned(tmp_path, until=100))
    assert {item.step: item.metrics["val loss"] for item in items if item.kind == "report"} == {50: 50.5, 100: 100.5}


# Files and logs.


def test_the_trials_log_holds_the_command_and_all_that_was_printed(tmp_path: Path) -> None:
    text = "import sys\nprint('epoch 1: distance=1'); print('to stderr', file=sys.stderr)\n"
    trained(script(tmp_path, text), assigned(tmp_path))
    assert "train.py --rate=0.1\n" in log(tmp_path)
    assert "epoch 1: distance=1\n" in log(tmp_path)
    assert "to stderr\n" in log(tmp_path)


def test_a_talkative_script_fills_neither_the_log_nor_the_disk(tmp_path: Path) -> None:
    text = (
        "import sys\nprint('epoch 1: distance=1')\n"
        "for _ in range(30): sys.stdout.write('chatter about nothing at all\\n' * 36_000)\n"
        "print('epoch 2: distance=0.5')\n"
    )
    workload = script(tmp_path, text)
    sweep = Sweep(name="talks", workload=workload, space=Space({"rate": loguniform(0.01, 1)}), searcher=Random())
    job, told = Job(sweep, assigned(tmp_path)), []
    while not (answer := job.advance(patience=0.0)).done:
        told += answer.progress
    assert curve([*told, *answer.progress]) == truth(1, 2)
    said = log(tmp_path)
    assert len(said) < 9_000_000
    assert "epoch 1" in said
    assert "epoch 2" in said
    assert "bytes are left out here" in said
    output = tmp_path / "trial" / "checkpoints" / "script" / ".reports" / "stdout.txt"
    assert output.stat().st_size > 30_000_000
    if sys.platform == "linux":
        assert output.stat().st_blocks * 512 < 20_000_000


@pytest.mark.parametrize("form", ["csv", "jsonl", "lightning"])
def test_a_metrics_file_is_followed_and_gone_on_with(form: str, tmp_path: Path) -> None:
    write = {
        "csv": "with open(own / 'metrics.csv', 'a') as f:\n        if not f.tell(): print('epoch,distance', file=f)\n        print(f'{epoch},{1 / epoch:.4f}', file=f)",
        "jsonl": "print(json.dumps({'epoch': epoch, 'distance': round(1 / epoch, 4)}), file=open(own / 'metrics.jsonl', 'a'))",
        "lightning": "(own / f'version_{done}').mkdir(exist_ok=True); rows.append(f'{epoch - 1},{epoch * 9},,{1 / epoch:.4f}'); rows.append(f'{epoch - 1},{epoch * 9},0.5,'); (own / f'version_{done}' / 'metrics.csv').write_text('\\n'.join(['epoch,step,train_loss,distance', *rows]) + '\\n')",
    }[form]
    text = (
        RESUMES.format(line=f"{write}\n    print('epoch', epoch, 'is over', flush=True); time.sleep(0.1)")
        .replace("import json", "import json, time")
        .replace("for epoch", "own, rows = place.parent, []\nfor epoch", 1)
    )
    file = {"csv": "metrics.csv", "jsonl": "*.jsonl", "lightning": "version_*/metrics.csv"}[form]
    first = killed_after(tmp_path, text, 2, file=file)
    items = trained(script(tmp_path, text, file=file), assigned(tmp_path, recorded=1))
    assert first | curve(items) == truth(*range(1, 7))


def test_a_metrics_file_without_the_metric_is_named_with_what_it_has(tmp_path: Path) -> None:
    text = "import os\nopen(os.environ['TRIAL_FOLDER'] + '/metrics.csv', 'w').write('epoch,dist\\n1,0.5\\n')\n"
    with pytest.raises(ScriptFailed, match=r"\(metrics.csv\) has no 'distance'; it named dist. Did you mean 'dist'\?"):
        trained(script(tmp_path, text, file="metrics.csv"), assigned(tmp_path))


# Processes.


WRAPPED = "import time\nfor step in range(1, 7):\n    print(f'step={step} distance={1 / step:.4f}', flush=True)\n    time.sleep(0.3)\n"


def wrapped(folder: Path, launcher: str = '"$1" "$2"') -> Script:
    """A shell script that starts the training as its child."""
    script(folder, WRAPPED)
    (folder / "wrap.sh").write_text(f"set -e\necho starting\n{launcher}\necho done\n")
    return Script(
        f"bash {folder / 'wrap.sh'} {sys.executable} {folder / 'train.py'}", metric="distance", mode="min", horizon=6
    )


@pytest.mark.parametrize("launcher", ['"$1" "$2"', 'setsid -w "$1" "$2"'], ids=["child", "in a session of its own"])
def test_a_wrapped_script_ends_with_all_its_children_when_the_trial_is_left(launcher: str, tmp_path: Path) -> None:
    run = wrapped(tmp_path, launcher).run(None, assigned(tmp_path))
    next(item for item in run if item is not None and item.kind == "report")
    assert scripts_of(tmp_path, patience=0)
    run.close()
    assert not scripts_of(tmp_path, patience=0)


def test_a_wrapped_script_ends_when_its_worker_is_killed(tmp_path: Path) -> None:
    workload = wrapped(tmp_path)
    code = (
        "from pathlib import Path; from search.work import Assignment; from trainables.workloads.script import Script\n"
        f"for item in {workload!r}.run(None, {assigned(tmp_path)!r}): print(item.kind, flush=True)\n"
    ).replace("PosixPath", "Path")
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "report\n"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert not scripts_of(tmp_path)


def test_what_an_earlier_start_left_running_is_ended_and_nothing_else(tmp_path: Path) -> None:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(sleeping, env=os.environ | {"TRIAL_FOLDER": str(tmp_path), "TRIAL_RUNNER": "here:1"})
    users = subprocess.Popen(sleeping, env=os.environ | {"TRIAL_FOLDER": str(tmp_path)})
    try:
        while not psutil.Process(ours.pid).environ().get("TRIAL_RUNNER"):
            time.sleep(0.01)
        assert end_leftovers({"TRIAL_FOLDER": str(tmp_path)}, "TRIAL_RUNNER") == 1
        assert not psutil.pid_exists(ours.pid)
        assert users.poll() is None
    finally:
        ours.kill()
        users.kill()


def test_a_script_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.script_process.ScriptProcess.end.__defaults__", (0.2,))
    text = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('epoch 1: distance=1', flush=True)\ntime.sleep(60)\n"
    run = script(tmp_path, text).run(None, assigned(tmp_path))
    next(item for item in run if item is not None and item.kind == "report")
    run.close()
    assert not scripts_of(tmp_path, patience=0)


def test_a_script_that_is_through_may_save_its_model(tmp_path: Path) -> None:
    text = (
        STARTS_OVER.format(line=LINE)
        + "import os, time\ntime.sleep(0.5)\nopen(os.environ['TRIAL_FOLDER'] + '/model.pt', 'w').write('all')\n"
    )
    trained(script(tmp_path, text), assigned(tmp_path))
    assert (tmp_path / "trial" / "checkpoints" / "script" / "model.pt").read_text() == "all"


def test_a_trial_that_is_asked_to_pause_rests_without_waiting_for_a_line(tmp_path: Path) -> None:
    text = "import time\nprint('epoch 1: distance=1', flush=True)\ntime.sleep(60)\n"
    told: list[Progress] = []
    run = script(tmp_path, text).run(None, assigned(tmp_path), lambda: bool(told))
    for item in run:
        if item is not None:
            told.append(item)
    assert [item.kind for item in told] == ["report", "checkpoint", "paused"]
    assert not scripts_of(tmp_path, patience=0)


def test_the_parameters_lie_in_a_file_for_whoever_asks(tmp_path: Path) -> None:
    trained(script(tmp_path, "print('epoch 1: distance=1')"), assigned(tmp_path, config={"rate": 0.5, "kind": "sgd"}))
    found = tmp_path / "trial" / "checkpoints" / "script" / ".reports" / "parameters.json"
    assert json.loads(found.read_text()) == {"rate": 0.5, "kind": "sgd"}


def test_a_policy_and_a_fork_are_refused(tmp_path: Path) -> None:
    workload = script(tmp_path, "")
    with pytest.raises(ValueError, match="leave out Sweep"):
        workload.run("a policy", assigned(tmp_path))
    with pytest.raises(ValueError, match="does not fork"):
        workload.run(None, assigned(tmp_path, parent=tmp_path))


SAVES_FIRST = """
import json, os, pathlib, signal
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "mine.json")
killed = pathlib.Path(__file__).with_name("killed")
done = json.loads(place.read_text()) if place.exists() else 0
for epoch in range(done + 1, 7):
    place.write_text(json.dumps(epoch))
    if not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    {line}
"""


@pytest.mark.parametrize("line", [COUNTED, 'print(f"epoch {epoch - 1}: distance={1 / epoch:.4f}", flush=True)'])
def test_a_script_that_was_killed_before_it_told_anything_begins_at_its_beginning(tmp_path: Path, line: str) -> None:
    """It would go on from its own checkpoint, and nobody could tell which step its first line is about."""
    workload = script(tmp_path, SAVES_FIRST.replace("{line}", line))
    with pytest.raises(ScriptFailed, match="SIGKILL"):
        trained(workload, assigned(tmp_path))
    assert curve(trained(workload, assigned(tmp_path))) == {step: round(1 / step, 4) for step in range(1, 7)}


def test_where_another_trial_has_shown_how_the_script_counts_it_goes_on(tmp_path: Path) -> None:
    line = 'print(f"epoch {epoch - 1}: distance={1 / epoch:.4f}", flush=True)'
    workload = script(tmp_path, SAVES_FIRST.replace("{line}", line))
    other = tmp_path / "trials" / "1" / "checkpoints"
    with pytest.raises(ScriptFailed):
        trained(workload, Assignment(1, {}, 7, until=HORIZON, folder=other))
    trained(workload, Assignment(0, {}, 7, until=HORIZON, folder=tmp_path / "trials" / "0" / "checkpoints"))
    again = curve(trained(workload, Assignment(1, {}, 7, until=HORIZON, folder=other)))
    assert again == {step: round(1 / step, 4) for step in range(2, 7)}  # the first was saved and never told
