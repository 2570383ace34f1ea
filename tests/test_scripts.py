"""A user's script as a workload: real processes that print, report, resume, go wrong and leave children behind."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from orchestrator import reporting
from orchestrator.sweep import Sweep
from search.records import Status
from search.schedulers.asha import AshaPromote
from search.searchers.random import Random
from search.space import Space, loguniform
from search.work import Assignment, Progress, Run
from tests.scripting import (
    COUNTED,
    HORIZON,
    LINE,
    RESUMES,
    STARTS_OVER,
    assigned,
    curve,
    killed_after,
    log,
    script,
    texts,
    trained,
    truth,
)
from tests.support import simulated
from trainables.carry_out import carry_out
from trainables.scripts import trial_folder
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.reading import Refused

pytestmark = pytest.mark.usefixtures("reports_find_this_checkout")

REPORTED = "go_on = report(epoch, distance=1 / epoch, accuracy=epoch)\n    if not go_on: break"
IMPORT = "from orchestrator import parameters, report, resumed_from\n"


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
        (["epoch=0.5 distance=1"], "epoch=0.5 in 'epoch=0.5 distance=1' is not a whole step"),
        (["step 300: distance=1"], r"at step 300, beyond Script\(horizon=6\); the horizon must be"),
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
    run = carry_out(script(tmp_path, text), None, assigned(tmp_path))
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
    monkeypatch.setenv("SLURM_NTASKS", "4")  # Lightning would wait for three other ranks, or refuse to start
    text = "import os\nassert 'SLURM_NTASKS' not in os.environ\n" + IMPORT + STARTS_OVER.format(line=REPORTED)
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
        ("import sys; sys.exit('This cannot be trained:\\n  lr is too large\\n  the batch is too small')",
         r"^This cannot be trained: lr is too large; the batch is too small \(exit code 1 "),
        ("import sys; sys.exit('Bad shapes.\\nExpected 3\\nFound 4')", r"^Bad shapes\. Expected 3; Found 4 \(exit code 1 "),
        ("raise ValueError('2 errors\\nlr\\n  too large\\nsteps\\n  missing')",
         r"^ValueError: 2 errors; lr: too large; steps: missing \(exit code 1 "),
        ("import numpy as np; np.testing.assert_allclose([1.0], [2.0])", r"^AssertionError: Not equal to tolerance"),
        ("print('nothing to see')", "exit code 0; none of its 1 lines has 'distance'; it named no metric at all"),
        ("for n in 1, 2: print(f'epoch {n}: val_loss={n}')", "none of its 2 lines has 'distance'; it named val_loss."),
        ("raise ValueError('rate must be below 1')", r"ValueError: rate must be below 1 \(exit code 1"),
        ("import sys\nfor n in range(3): print(f'{n}%|###| {n}/3 [00:00<?, 9it/s]', file=sys.stderr)\nraise KeyError('x')", "KeyError: 'x'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV after step 0"),
        ("print('epoch 1: distance=1.2.3')", "'distance=1.2.3' is not a number that can be read with certainty: print distance=0.52"),
        ("import argparse; p = argparse.ArgumentParser(); p.add_argument('--learning-rate'); p.parse_args(['--lr=3'])",
         "unrecognized arguments: --lr=3 The script has --learning-rate: name the parameter 'learning-rate'"),
        ("import sys; sys.exit(\"unknown argument '--lr=0.05'\\nUsage: python train.py [lr=X]\\n    [seed=X] no error\")",
         r"^unknown argument '--lr=0.05' \(exit code 1"),
        ("import sys; sys.exit('Usage: train.py [lr=X]')", r"^Usage: train.py \[lr=X\] \(exit code 1"),
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
        items.extend(carry_out(workload, None, assigned(tmp_path)))
    assert texts(items) == ["no 'valid_loss' so far; it named val_loss. Did you mean 'val_loss'?"]


@pytest.mark.parametrize("order", ["print(epoch); print(best)", "print(best); print(epoch)"])
def test_a_line_with_the_best_value_so_far_is_no_reason_for_a_notice(order: str, tmp_path: Path) -> None:
    text = f"""
for n in range(1, 7):
    epoch, best = f"[INFO] epoch {{n}}/6 - val_loss={{n}}.5 val_acc=0.{{n}} (1.3s)", f"[INFO] new best val_acc=0.{{n}}, saved best.pt"
    {order}
"""
    for metric, values in (("val_acc", [0.1, 0.2]), ("val_loss", [1.5, 2.5])):
        items = trained(script(tmp_path, text, metric=metric), assigned(tmp_path / metric))
        assert [item.metrics[metric] for item in items if item.kind == "report"][:2] == values
        if metric == "val_acc" or order.startswith("print(epoch)"):
            assert texts(items) == []


def test_trials_that_write_the_same_checkpoint_are_told_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = """
import os, pathlib, sys
place = pathlib.Path(os.environ["TRIAL_FOLDER"] if sys.argv[1] == "own" else "outputs/" + sys.argv[1])
place.mkdir(parents=True, exist_ok=True)
for n in range(1, 7):
    (place / "last.pt").write_text(str(n))
    print(f"epoch {n}: distance={n}", flush=True)
"""
    for where, notices in (("all", [0, 1, 0]), ("own", [0, 0, 0]), ("{rate}", [0, 0, 0])):
        told = []
        for number in range(3):
            workload = script(tmp_path, text)
            workload = replace(workload, command=f"{workload.command} {where}")
            folder = tmp_path / "runs" / where / "trials" / f"{number:05d}" / "checkpoints"
            items = trained(workload, Assignment(number, {"rate": number}, 7, until=HORIZON, folder=folder))
            told.append(len(texts(items)))
            if texts(items):
                assert texts(items)[0].startswith(
                    f"it writes {tmp_path / 'outputs' / 'all' / 'last.pt'}, as another trial"
                )
        assert told == notices, where


def test_of_trials_in_step_exactly_one_tells_what_is_told_once(tmp_path: Path) -> None:
    """Each left its mark, then looked for those of the others and found one: nobody told."""
    folders = [trial_folder.TrialFolder(tmp_path / f"{n:05d}" / "checkpoints" / "script") for n in range(8)]
    with ThreadPoolExecutor(len(folders)) as pool:
        for news in map(str, range(20)):
            in_step = Barrier(len(folders))

            def ask(folder: trial_folder.TrialFolder, news: str = news, in_step: Barrier = in_step) -> bool:
                in_step.wait()
                return folder.is_first_with(news)

            assert sum(pool.map(ask, folders)) == 1


def test_a_late_trial_tells_what_no_other_has_told(tmp_path: Path) -> None:
    workload = script(tmp_path, "for n in range(1, 7): print(f'epoch {n}/9: distance={n}', flush=True)")
    told = [
        texts(
            trained(
                workload, Assignment(number, {}, 7, until=HORIZON, folder=tmp_path / f"{number:05d}" / "checkpoints")
            )
        )
        for number in (30, 31)
    ]
    assert [len(each) for each in told] == [1, 0]


@pytest.mark.parametrize(("named", "notices"), [("last.pt", 0), ("latest.pt", 1)])
def test_a_checkpoint_that_resume_names_and_nobody_writes_is_told(named: str, notices: int, tmp_path: Path) -> None:
    text = """
import os, pathlib
for n in range(1, 7):
    pathlib.Path(os.environ["TRIAL_FOLDER"], "last.pt").write_text(str(n))
    print(f"epoch {n}: distance={n}", flush=True)
"""
    workload = script(tmp_path, text, resume=f"--resume {{folder}}/{named}")
    told = texts(trained(workload, assigned(tmp_path)))
    assert len(told) == notices
    assert all(
        each.startswith(f"there is no {named} so far, but last.pt: `resume` would find nothing") for each in told
    )


@pytest.mark.parametrize("rests", [0.1, 0.0])
@pytest.mark.parametrize("file", [None, "metrics.csv"])
@pytest.mark.parametrize(("trains_on", "notices"), [(True, [1, 0, 0]), (False, [0, 0, 0])])
def test_a_script_that_trains_on_beyond_the_horizon_is_told_and_not_waited_for(
    trains_on: bool, notices: list[int], file: str | None, rests: float, tmp_path: Path
) -> None:
    text = f"""
import os, pathlib, time
rows = open(os.environ["TRIAL_FOLDER"] + "/metrics.csv", "w")
print("epoch,distance", file=rows)
for n in range(1, 100 if {trains_on} else {HORIZON + 1}):
    print(f"epoch {{n}}: distance={{n}}", flush=True)
    print(f"{{n}},{{n}}", file=rows, flush=True)
    time.sleep({rests} if n > {HORIZON} else 0)
print("done, distance=1, distance=2", flush=True)  # a closing line that is no step
pathlib.Path(os.environ["TRIAL_FOLDER"], "model.pt").write_text("all")
"""
    told = []
    for number in range(3):
        folder = tmp_path / "trials" / f"{number:05d}" / "checkpoints"
        workload = script(tmp_path, text, file=file)
        run = carry_out(workload, None, Assignment(number, {"rate": number}, 7, until=HORIZON, folder=folder))
        assert isinstance(run, Run)
        items = [item for item in run if item is not None]
        assert max(item.step for item in items if item.kind == "report") == HORIZON
        assert not rests or (folder / "script" / "model.pt").exists() is not trains_on
        news = [*texts(items), *run.told_at_end]
        told.append(len(news))
        if news:
            assert news[0].startswith(f"the script is at epoch {HORIZON + 1}, beyond Script(horizon={HORIZON})")
    assert told == notices


def test_a_metric_that_comes_rarely_is_waited_for(tmp_path: Path) -> None:
    text = "for n in range(1, 101):\n    print(f'iter {n}: loss={n}')\n    if n % 50 == 0: print(f'step {n}: train loss 2.0, val loss {n}.5')\n"
    items = trained(script(tmp_path, text, metric="val loss", horizon=100), assigned(tmp_path, until=100))
    assert {item.step: item.metrics["val loss"] for item in items if item.kind == "report"} == {50: 50.5, 100: 100.5}


def test_a_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out Sweep"):
        script(tmp_path, "").run("a policy", assigned(tmp_path))
