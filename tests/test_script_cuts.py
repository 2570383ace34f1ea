"""Scripts that are interrupted: killed, left, started again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.reading.trained_again import trained_again
from search.work import Assignment, Killed
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
    scripts_of,
    texts,
    trained,
    truth,
)
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.reading import Refused
from trainables.scripts.starting_over import refuses_own_files
from trainables.scripts.trial_folder import TrialFolder
from trainables.workloads.script import Script

pytestmark = pytest.mark.usefixtures("reports_find_this_checkout")

ENDING = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('ending', flush=True), sys.exit()))"
SLOW = "\n    import time; time.sleep(0.15)"


def test_a_killed_worker_takes_its_script_with_it_and_the_next_one_goes_on_where_the_script_does(
    tmp_path: Path,
) -> None:
    text = ENDING + RESUMES.format(line=LINE + SLOW)
    first = killed_after(tmp_path, text, 2)
    assert not scripts_of(tmp_path)
    printed = (tmp_path / "trial" / "checkpoints" / "script" / ".reports" / "stdout.txt").read_text()
    items = trained(script(tmp_path, text), assigned(tmp_path, recorded=1))
    assert min(curve(items)) == 2  # printed before the kill, and not recorded
    assert first | curve(items) == truth(*range(1, 7))
    lines = log(tmp_path).splitlines()
    second_start = max(number for number, line in enumerate(lines) if line.startswith("$ "))
    assert lines[1:second_start] == printed.splitlines()
    assert lines[second_start - 1] == "ending"  # when no worker was there to read it


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
    (told,) = [text for text in texts(items) if "when trained again" in text]
    assert trained_again(f"trial 0: {told}") is not None


COUNTS_ANEW = """
import json, os, pathlib, time
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "last.ckpt")
done = json.loads(place.read_text()) if place.exists() else 0
for epoch in range(1, 7 - done):
    print(f"epoch {epoch}: distance={1 / (done + epoch):.4f}", flush=True)
    place.write_text(json.dumps(done + epoch))
    time.sleep(0.2)
"""


@pytest.mark.parametrize("at", [2, 4])
def test_a_script_that_goes_on_and_counts_anew_fails(at: int, tmp_path: Path) -> None:
    """It has fewer lines left than there are on record, or more, and these would be recorded at wrong steps."""
    text = COUNTS_ANEW
    done = killed_after(tmp_path, text, at)
    own = tmp_path / "trial" / "checkpoints" / "script"
    for _ in range(2):  # the error is there at the next start, too
        told = r"says 0\.\d+, step 1 on record is 1\.0000.*the steps since its first start"
        with pytest.raises(ScriptFailed, match=told):
            trained(script(tmp_path, text), assigned(tmp_path, recorded=at))
        rows = TrialFolder(own).read_steps()
        assert {row["step"]: row["metrics"]["distance"] for row in rows}.items() >= done.items()
        assert all(row["metrics"]["distance"] == round(1 / row["step"], 4) for row in rows)


def test_a_script_that_starts_over_beside_its_checkpoint_and_differs_a_little_goes_on(tmp_path: Path) -> None:
    text = (
        "import os, random\nopen(os.path.join(os.environ['TRIAL_FOLDER'], 'last.pt'), 'w').close()\n"
        "for epoch in range(1, 7): print(f'epoch {epoch}: distance={1 / (epoch + random.random() / 5)}', flush=True)\n"
    )
    trained(script(tmp_path, text), assigned(tmp_path, until=3))
    forget_after(tmp_path, 3)
    assert list(curve(trained(script(tmp_path, text), assigned(tmp_path, recorded=3)))) == [4, 5, 6]


def test_what_a_script_tells_while_it_is_being_left_is_there_when_it_goes_on(tmp_path: Path) -> None:
    late = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: (print('epoch 3: distance=0.3333', flush=True), exit()))\n"
    text = late + (
        "import os, time\nprint('epoch 1: distance=1'); print('epoch 2: distance=0.5', flush=True)\n"
        "open(os.path.join(os.environ['TRIAL_FOLDER'], 'last.pt'), 'w').close()\ntime.sleep(60)\n"
    )
    workload = script(tmp_path, text)
    trained(workload, assigned(tmp_path, until=2))
    assert curve(trained(workload, assigned(tmp_path, until=3, recorded=2))) == truth(3)


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
    with pytest.raises(Killed, match="SIGKILL"):
        trained(workload, assigned(tmp_path))
    own = tmp_path / "trial" / "checkpoints" / "script"
    (own / "first-stage.pt").touch()
    aside, found = own.with_name("script.old") / "first-stage.pt", []
    for item in workload.run(None, assigned(tmp_path)):
        found.append(item)
        assert aside.exists() or any(item.kind == "report" for item in found)
    assert curve(found) == {step: round(1 / step, 4) for step in range(1, 7)}
    (notice,) = texts(found)
    assert notice.startswith(
        "the script starts over, and its earlier files are set aside in script.old: it had reported nothing"
    )
    assert not aside.parent.exists()  # the trial has reported


def test_where_another_trial_has_shown_how_the_script_counts_it_goes_on(tmp_path: Path) -> None:
    line = 'print(f"epoch {epoch - 1}: distance={1 / epoch:.4f}", flush=True)'
    workload = script(tmp_path, SAVES_FIRST.replace("{line}", line))
    other = tmp_path / "trials" / "1" / "checkpoints"
    with pytest.raises(Killed):
        trained(workload, Assignment(1, {}, 7, until=HORIZON, folder=other))
    trained(workload, Assignment(0, {}, 7, until=HORIZON, folder=tmp_path / "trials" / "0" / "checkpoints"))
    again = curve(trained(workload, Assignment(1, {}, 7, until=HORIZON, folder=other)))
    assert again == {step: round(1 / step, 4) for step in range(2, 7)}  # the first was saved and never told


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("print(f'epoch {n % 3}: distance={1 / n}')", "print(f'epoch {n}: distance={1 / n}')"),
        ("report(n, dist=1 / n)", "report(n, distance=1 / n)"),
    ],
)
def test_a_script_that_was_refused_and_is_mended_is_not_refused_again(bad: str, good: str, tmp_path: Path) -> None:
    """What its first start had written was read once more."""
    text = "from orchestrator import report\n" * ("report" in bad) + "for n in range(1, 7): {line}\n"
    with pytest.raises((Refused, ScriptFailed)):
        trained(script(tmp_path, text.format(line=bad)), assigned(tmp_path))
    again = curve(trained(script(tmp_path, text.format(line=good)), assigned(tmp_path)))
    assert again == truth(*range(1, 7))


GUARDED = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[1].removeprefix("--out="))
if out.exists() and list(out.iterdir()) and not list(out.glob("*.pt")):
    raise ValueError(f"Output directory ({out}) already exists and is not empty. Use another one.")
out.mkdir(parents=True, exist_ok=True)
(out / "args.json").write_text("{}")
for epoch in range(1, 7):
    print(f"epoch {epoch}: distance={1 / epoch:.4f}", flush=True)
    time.sleep(0.15)
    if epoch == 4 and len(sys.argv) > 2:
        (out / "model.pt").touch()
"""


def guarded(folder: Path, command: str) -> Script:
    workload = script(folder, GUARDED)
    return replace(workload, command=f"{workload.command} {command}", flag="--{name}={value}")


def test_a_script_that_refuses_its_half_filled_folder_starts_over_with_an_empty_one(tmp_path: Path) -> None:
    """It was killed after its first report and before its first checkpoint."""
    workload = guarded(tmp_path, "--out={folder}/out")
    trained(workload, assigned(tmp_path, until=2))
    items = trained(workload, assigned(tmp_path, recorded=2))
    assert curve(items) == truth(3, 4, 5, 6)
    (notice,) = texts(items)
    assert "set aside in script.old: it refuses a folder that holds files" in notice


def test_a_checkpoint_is_never_set_aside_as_the_script_refuses_it(tmp_path: Path) -> None:
    workload = guarded(tmp_path, "--out={folder}/out")
    trained(workload, assigned(tmp_path, until=2))
    kept = tmp_path / "trial" / "checkpoints" / "script" / "out" / "best.ckpt"
    kept.touch()
    with pytest.raises(ScriptFailed, match=r"It holds a checkpoint, so it is not emptied: Script\(resume=…\) adds"):
        trained(workload, assigned(tmp_path, recorded=2))
    assert kept.exists()


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        ("FileExistsError: [Errno 17] File exists: '/own/out'", True),
        ("ValueError: Output directory (/own) already exists and is not empty.", True),
        ("Error: output dir /own/out exists, use --overwrite", True),
        ("RuntimeError: refusing to write into non-empty directory /own/out", True),
        ("error: --out: path must not be a file or a folder that is not empty", True),
        ("FileExistsError: [Errno 17] File exists: 'data/cache'", False),
        ("FileNotFoundError: no such file exists: /own/out/last.pt", False),
        ("RuntimeError: /own/out/model.bin has the wrong shape", False),
    ],
)
def test_which_errors_are_about_the_trials_own_folder(error: str, is_refusal: bool, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "own")
    (folder.place / "stderr.txt").write_text(error.replace("/own", str(folder.path)) + "\n")
    assert refuses_own_files(folder, "python train.py --out {folder}") is is_refusal


def test_a_script_that_refuses_even_an_empty_folder_fails_with_its_reason(tmp_path: Path) -> None:
    text = "import os, sys\nos.makedirs(sys.argv[1])\nos.makedirs(sys.argv[1])\n"
    workload = script(tmp_path, text, flag="--{name}={value}")
    workload = replace(workload, command=f"{workload.command} {{folder}}/out")
    for _ in range(2):
        with pytest.raises(ScriptFailed, match=r"FileExistsError: .*script/out"):
            trained(workload, assigned(tmp_path))


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("--out={folder}", r"\{folder\} is never empty, as it holds \.reports: write \{folder\}/out"),
        ("--out=SHARED", r"Each trial needs a folder of its own: name \{folder\} or \{folder\}/out in the command"),
    ],
)
def test_a_folder_that_the_script_refuses_is_answered_with_what_to_write(
    command: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "log.jsonl").touch()
    workload = guarded(tmp_path, command.replace("SHARED", str(tmp_path / "shared")))
    with pytest.raises(ScriptFailed, match=rf"already exists and is not empty.*{remedy}"):
        trained(workload, assigned(tmp_path))
