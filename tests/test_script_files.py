"""The files, logs and processes of a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from orchestrator.sweep import Sweep
from orchestrator.worker.job import Job
from search.searchers.random import Random
from search.space import Space, loguniform
from search.work import Progress
from tests.scripting import (
    LINE,
    RESUMES,
    STARTS_OVER,
    assigned,
    curve,
    killed_after,
    log,
    script,
    scripts_of,
    texts,
    trained,
    truth,
)
from trainables.carry_out import carry_out
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.misnamed_file import MisnamedFile
from trainables.scripts.process import end_leftovers
from trainables.scripts.trial_folder import TrialFolder
from trainables.workloads.script import Script

pytestmark = pytest.mark.usefixtures("reports_find_this_checkout")

# Files and logs.


def test_the_trials_log_holds_the_command_and_all_that_was_printed(tmp_path: Path) -> None:
    text = "import sys\nprint('epoch 1: distance=1'); print('to stderr', file=sys.stderr)\n"
    trained(script(tmp_path, text), assigned(tmp_path))
    assert "train.py --rate=0.1\n" in log(tmp_path)
    assert "epoch 1: distance=1\n" in log(tmp_path)
    assert "to stderr\n" in log(tmp_path)


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "form", ["csv", *(pytest.param(form, marks=pytest.mark.slow) for form in ("jsonl", "list", "latest", "lightning"))]
)
def test_a_metrics_file_is_followed_and_gone_on_with(form: str, tmp_path: Path) -> None:
    write = {
        "csv": "with open(own / 'metrics.csv', 'a') as f:\n        if not f.tell(): print('epoch,distance', file=f)\n        print(f'{epoch},{1 / epoch:.4f}', file=f)",
        "jsonl": "print(json.dumps({'epoch': epoch, 'distance': round(1 / epoch, 4)}), file=open(own / 'metrics.jsonl', 'a'))",
        "list": "kept = own / 'history.json'; rows = json.loads(kept.read_text() or '[]') if kept.exists() else []; rows.append({'epoch': epoch, 'distance': round(1 / epoch, 4)}); new = own / 'new'; new.write_text(json.dumps(rows)); new.replace(kept)",
        "latest": "(own / 'history.json').write_text(json.dumps({'epoch': epoch, 'distance': round(1 / epoch, 4)}))",
        "lightning": "(own / f'version_{done}').mkdir(exist_ok=True); rows.append(f'{epoch - 1},{epoch * 9},,{1 / epoch:.4f}'); rows.append(f'{epoch - 1},{epoch * 9},0.5,'); (own / f'version_{done}' / 'metrics.csv').write_text('\\n'.join(['epoch,step,train_loss,distance', *rows]) + '\\n')",
    }[form]
    text = (
        RESUMES.format(
            line=f"{write}\n    print('epoch', epoch, 'is over', flush=True); time.sleep({0.4 if form == 'latest' else 0.1})"
        )
        .replace("import json", "import json, time")
        .replace("for epoch", "own, rows = place.parent, []\nfor epoch", 1)
    )
    file = {"csv": "metrics.csv", "jsonl": "*.jsonl", "lightning": "version_*/metrics.csv"}.get(form, "history.json")
    first = killed_after(tmp_path, text, 2, file=file)
    items = trained(script(tmp_path, text, file=file), assigned(tmp_path, recorded=1))
    assert first | curve(items) == truth(*range(1, 7))


def test_a_metrics_file_without_the_metric_is_named_with_what_it_has(tmp_path: Path) -> None:
    text = "import os\nopen(os.environ['TRIAL_FOLDER'] + '/metrics.csv', 'w').write('epoch,dist\\n1,0.5\\n')\n"
    with pytest.raises(ScriptFailed, match=r"\(metrics.csv\) has no 'distance'; it named dist. Did you mean 'dist'\?"):
        trained(script(tmp_path, text, file="metrics.csv"), assigned(tmp_path))


ROWS = """
import os, time
path = os.environ["TRIAL_FOLDER"] + "/{name}"
for step in range(1, 10_000):
    open(path, "a").write('{{"step": %d, "eval": {{"loss": %.4f, "acc": 0.5}}}}\\n' % (step, 1 / step))
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("name", "metric", "words"),
    [
        ("metrics.jsonl", "eval.los", r"'metrics.jsonl' has no 'eval.los'; it named eval.loss, eval.acc. Did you mean 'eval.loss'"),
        ("metrics.jsonl", "valid_loss", "'metrics.jsonl' has no 'valid_loss'; it named eval.loss, eval.acc"),
        ("metrics.jsonl", "eval.mrr", r"none of \d+ rows has 'eval.mrr', nor has the script's source; it named eval.loss"),
        ("metric.jsonl", "eval.loss", "no 'metrics.jsonl', but 'metric.jsonl'. Did you mean file='metric.jsonl'"),
        ("out/metrics.jsonl", "eval.loss", "no 'metrics.jsonl', but 'out/metrics.jsonl'. Did you mean"),
    ],
)  # fmt: skip
def test_a_wrong_name_of_the_metric_or_of_its_file_ends_a_training_that_has_hardly_begun(
    name: str, metric: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = "os.makedirs(os.path.dirname(path), exist_ok=True)\nfor step"
    text = ROWS.format(name=name).replace("for step", folder, 1)
    workload = script(tmp_path, text, metric=metric, horizon=10_000, file="metrics.jsonl")
    begun = time.monotonic()
    with pytest.raises(ScriptFailed, match=words):
        trained(workload, assigned(tmp_path, until=10_000))
    assert time.monotonic() - begun < 20


def test_a_file_of_the_other_half_of_the_data_is_no_wrong_name(tmp_path: Path) -> None:
    text = (
        "import os, pathlib, time\nfolder = pathlib.Path(os.environ['TRIAL_FOLDER'])\n"
        "(folder / 'train.csv').write_text('epoch,distance\\n' + ''.join(f'{n},9\\n' for n in range(1, 7)))\n"
        "time.sleep(0.5)\n(folder / 'valid.csv').write_text('epoch,distance\\n1,1.0\\n')\n"
    )
    assert curve(trained(script(tmp_path, text, file="valid.csv"), assigned(tmp_path))) == truth(1)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ("metrics_2.csv", "no 'metric.csv', but 'metrics_2.csv'"),
        ("model.bin", "no 'metric.csv'; it has model.bin."),
        (None, "and no other file"),
    ],
)
def test_a_file_that_never_came_is_told_with_what_is_there(kept: str | None, words: str, tmp_path: Path) -> None:
    text = "import os\n" + (f"open(os.environ['TRIAL_FOLDER'] + '/{kept}', 'w').write('x')\n" if kept else "")
    with pytest.raises(ScriptFailed, match=words):
        trained(script(tmp_path, text, file="metric.csv"), assigned(tmp_path))


def told_of(rows: str, folder: Path, trial: str = "trial") -> list[Progress]:
    text = f"import os\nopen(os.environ['TRIAL_FOLDER'] + '/metrics.jsonl', 'w').write({rows!r})\n"
    place = folder / "trials" / trial / "checkpoints"
    return trained(script(folder, text, file="metrics.jsonl"), replace(assigned(folder), folder=place))


def test_a_training_whose_loss_is_nan_in_c_has_diverged(tmp_path: Path) -> None:
    items = told_of(
        '{"step": 1, "distance": 1.0}\n{"step": 2, "distance": -nan}\n{"step": 3, "distance": 0.5}\n', tmp_path
    )
    assert {step: str(value) for step, value in curve(items).items()} == {1: "1.0", 2: "nan"}


def test_a_row_that_cannot_be_read_or_was_not_measured_is_told(tmp_path: Path) -> None:
    rows = (
        '{"step": 1, "distance": null}\n{"step": 2, "dis{"step": 2, "distance": 0.5}\n{"step": 3, "distance": 0.3333}\n'
    )
    told = [told_of(rows, tmp_path, trial) for trial in ("0", "1")]
    assert curve(told[0]) == truth(3)
    news = [text for text in texts(told[0]) if "skipped" in text]
    assert len(news) == 2
    assert news[0].startswith("a row of 'metrics.jsonl' is skipped: '{\"step\": 2, \"dis{")
    assert news[1].startswith("'distance' is null in '{\"step\": 1, \"distance\": null}'")
    assert [text for text in texts(told[1]) if "is null" in text] == [], "once in a sweep"


def test_a_metric_that_is_null_to_the_end_fails_its_trial_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(
        ScriptFailed, match="'distance' is null wherever it stands: write the value where it was measured"
    ):
        told_of('{"step": 1, "distance": null}\n' * 3, tmp_path)


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
    run = carry_out(wrapped(tmp_path, launcher), None, assigned(tmp_path))
    next(item for item in run if item is not None and item.kind == "report")
    assert scripts_of(tmp_path, patience=0)
    run.close()
    assert not scripts_of(tmp_path, patience=0)


def test_a_wrapped_script_ends_when_its_worker_is_killed(tmp_path: Path) -> None:
    """It would train for minutes: dash, which is /bin/sh on Debian, has no `kill -TERM -- -GROUP`."""
    workload = wrapped(tmp_path)
    script(tmp_path, WRAPPED.replace("0.3", "60"))
    code = (
        "from pathlib import Path; from search.work import Assignment; from trainables.workloads.script import Script\n"
        f"for item in {workload!r}.run(None, {assigned(tmp_path)!r}): print(item.kind, flush=True)\n"
    ).replace("PosixPath", "Path")
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "report\n"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    left = scripts_of(tmp_path)
    for process in left:
        process.kill()
    assert not left


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
    monkeypatch.setattr("trainables.scripts.process.ScriptProcess.end.__defaults__", (0.2,))
    text = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('epoch 1: distance=1', flush=True)\ntime.sleep(60)\n"
    run = carry_out(script(tmp_path, text), None, assigned(tmp_path))
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
    run = carry_out(script(tmp_path, text), None, assigned(tmp_path), lambda: bool(told))
    for item in run:
        if item is not None:
            told.append(item)
    assert [item.kind for item in told] == ["report", "checkpoint", "paused"]
    assert not scripts_of(tmp_path, patience=0)


def test_the_parameters_lie_in_a_file_for_whoever_asks(tmp_path: Path) -> None:
    trained(script(tmp_path, "print('epoch 1: distance=1')"), assigned(tmp_path, config={"rate": 0.5, "kind": "sgd"}))
    found = tmp_path / "trial" / "checkpoints" / "script" / ".reports" / "parameters.json"
    assert json.loads(found.read_text()) == {"rate": 0.5, "kind": "sgd"}


def test_a_checkpoint_is_named_only_when_there_is_one(tmp_path: Path) -> None:
    text = (
        "import json, pathlib, sys\n"
        "out = pathlib.Path(sys.argv[1].partition('=')[2])\n"
        "done = json.loads(pathlib.Path(sys.argv[sys.argv.index('--resume') + 1]).read_text()) if '--resume' in sys.argv else 0\n"
        "print('after', done)\n"
        "for epoch in range(done + 1, 7):\n"
        "    (out / 'last.json').write_text(str(epoch))\n"
        "    print(f'epoch {epoch}: distance={1 / epoch:.4f}', flush=True)\n"
        "    __import__('time').sleep(0.1)\n"
    )
    more = {"flag": "{name}={value}", "resume": "--resume {folder}/last.json"}
    workload = script(tmp_path, text, **more)
    workload = Script(f"{workload.command} out={{folder}}", metric="distance", mode="min", horizon=6, **more)
    first = curve(trained(workload, assigned(tmp_path, until=3)))
    assert "--resume" not in log(tmp_path)
    assert first | curve(trained(workload, assigned(tmp_path, recorded=3))) == truth(*range(1, 7))
    assert "--resume " in log(tmp_path)
    assert log(tmp_path).count("after 0") == 1


# What is not there.


def test_a_module_that_its_package_lacks_is_refused_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fraud" / "deep").mkdir(parents=True)
    (tmp_path / "fraud" / "train.py").write_text("")
    (tmp_path / "fraud" / "deep" / "__main__.py").write_text("")

    def refused(command: str) -> str:
        try:
            Script(command, metric="loss", mode="min", horizon=3).check()
        except ValueError as error:
            return str(error)
        return ""

    assert (
        refused("python -m fraud.trian")
        == f"there is no module 'fraud.trian' in {tmp_path}. Did you mean 'fraud.train'?"
    )
    assert refused("python -m fraud.absent") == f"there is no module 'fraud.absent' in {tmp_path}."
    for there in (
        "python -m fraud.train",
        "python -m fraud.deep",
        "python -m torch.distributed.run x",
        "python -m pytest",
    ):
        assert refused(there) == ""


def test_a_file_that_came_since_the_last_look_has_no_wrong_name(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"loss": 0.5}\n' * 50)
    assert MisnamedFile(folder, "metrics.jsonl", "loss").look() == ""
    assert MisnamedFile(folder, "metric.jsonl", "loss").look().endswith("Did you mean file='metrics.jsonl'?")
