"""Trials that share a place for checkpoints go on from each other's: this is told, and no such step is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.page.health.shared import shared
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.answer import section as answer
from orchestrator.reading.shared import shared_words
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.records import Status, start
from search.work import Assignment, Progress
from tests.scripting import HORIZON, curve, script, texts, trained, truth
from tests.support import ROOT, simulated, small_sweep
from trainables.scripts.channels import ScriptFailed
from trainables.workloads.script import Script

BACKUP = """
import json, os, pathlib
place = pathlib.Path({place})
place.parent.mkdir(parents=True, exist_ok=True)
done = json.loads(place.read_text()) if place.exists() else 0
for epoch in range(done + 1, int(os.environ["TRIAL_STEPS"]) + 1):
    place.write_text(json.dumps(epoch))
    print(f"epoch {epoch}: distance={1 / epoch:.4f}", flush=True)
"""
SHARED = BACKUP.replace("{place}", "'out/backup/latest.pt'")
OWN = BACKUP.replace("{place}", "os.environ['TRIAL_FOLDER'], 'latest.pt'")


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "code"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def folder_of(tmp_path: Path, trial: int) -> Path:
    return tmp_path / "runs" / "sweep" / "trials" / str(trial) / "checkpoints"


def go(tmp_path: Path, workload: Script, trial: int, until: int, recorded: int = 0) -> list[Progress]:
    return trained(
        workload,
        Assignment(trial, {"rate": 0.1}, 7, until=until, folder=folder_of(tmp_path, trial), recorded=recorded),
    )


def two_trials(tmp_path: Path, text: str, own: int, other: int, **more: Any) -> Script:
    """Trial 0 is at step `own`; then trial 1 has started from nothing, and is at step `other`."""
    workload = script(tmp_path / "code", text, **more)
    assert curve(go(tmp_path, workload, 0, own)) == truth(*range(1, own + 1))
    (tmp_path / "code" / "out" / "backup" / "latest.pt").unlink(missing_ok=True)
    go(tmp_path, workload, 1, other)
    return workload


@pytest.mark.parametrize("own", [1, 3])
def test_a_trial_that_goes_on_from_the_backup_of_another_fails_and_no_step_of_it_is_recorded(
    own: int, tmp_path: Path
) -> None:
    two_trials(tmp_path, SHARED, own, 5)
    items: list[Progress] = []
    with pytest.raises(ScriptFailed, match=r"not its own.*out/backup/latest\.pt.*\{folder\}") as failure:
        items += go(tmp_path, script(tmp_path / "code", SHARED), 0, HORIZON, own)
    assert f"after step {own} the script goes on with step 6" in str(failure.value)
    assert curve(items) == {}
    mended = script(tmp_path / "code", OWN)
    assert curve(go(tmp_path, mended, 0, HORIZON, own)) == truth(*range(own + 1, HORIZON + 1))


def test_what_an_earlier_start_told_from_anothers_checkpoint_is_not_read_either(tmp_path: Path) -> None:
    """The driver was killed after the script had gone on, and before anybody had read its steps."""
    two_trials(tmp_path, SHARED, 3, 5)
    place = folder_of(tmp_path, 0) / "script" / ".reports"
    (place / "stdout.txt").write_text("epoch 6: distance=0.1667\n")
    with pytest.raises(ScriptFailed, match="not its own"):
        go(tmp_path, script(tmp_path / "code", SHARED), 0, HORIZON, 3)
    assert curve(go(tmp_path, script(tmp_path / "code", OWN), 0, HORIZON, 3)) == truth(4, 5, 6)


def test_a_fresh_trial_that_begins_in_the_middle_fails(tmp_path: Path) -> None:
    workload = script(tmp_path / "code", SHARED)
    go(tmp_path, workload, 0, 3)
    with pytest.raises(
        ScriptFailed, match=r"at its start the script goes on with step 4, and steps 1, 2, 3 never came"
    ):
        go(tmp_path, workload, 1, HORIZON)


@pytest.mark.parametrize("text", [OWN, OWN.replace("latest.pt", "state")], ids=["checkpoint", "other file"])
def test_a_script_whose_own_checkpoint_is_newer_than_its_record_goes_on(text: str, tmp_path: Path) -> None:
    """It was killed before its last lines were read."""
    workload = two_trials(tmp_path, text, 3, 5)
    (own,) = (path for path in (folder_of(tmp_path, 0) / "script").iterdir() if path.is_file())
    own.write_text("5")
    items = go(tmp_path, workload, 0, HORIZON, 3)
    assert curve(items) == truth(6)
    assert texts(items) == []


@pytest.mark.parametrize(("kept", "told"), [("weights.pt", 0), ("training.csv", 1)])
def test_a_trial_that_keeps_files_of_its_own_beside_shared_ones_goes_on(kept: str, told: int, tmp_path: Path) -> None:
    """One that is no checkpoint by its name leaves a doubt."""
    workload = two_trials(tmp_path, SHARED, 3, 5)
    (folder_of(tmp_path, 0) / "script" / kept).touch()
    items = go(tmp_path, workload, 0, HORIZON, 3)
    assert curve(items) == truth(6)
    assert sum("may have loaded a checkpoint that is not its own" in text for text in texts(items)) == told


def test_a_script_with_a_place_of_its_own_outside_its_folder_goes_on(tmp_path: Path) -> None:
    text = BACKUP.replace("{place}", "'out', os.environ['TRIAL_ID'], 'latest.pt'")
    workload = two_trials(tmp_path, text, 3, 5)
    (own,) = [path for path in (tmp_path / "code" / "out").rglob("*.pt") if path.read_text() == "3"]
    own.write_text("5")
    assert curve(go(tmp_path, workload, 0, HORIZON, 3)) == truth(6)


def test_each_shared_file_is_told_once(tmp_path: Path) -> None:
    text = SHARED + "    pathlib.Path('out', 'best.pt').touch()\n"
    workload = script(tmp_path / "code", text)
    told = []
    for trial in range(3):
        (tmp_path / "code" / "out" / "backup" / "latest.pt").unlink(missing_ok=True)
        told += texts(go(tmp_path, workload, trial, HORIZON))
    (first, *more) = told
    assert first.startswith("it writes ")
    assert "as another trial does, so they overwrite each other" in first
    assert sum(text.count("latest.pt") for text in told) == 1
    assert len(more) <= 1


@pytest.mark.parametrize(
    "places", [("logs/version_0", "logs/version_1"), ("out/lr0.1_7", "out/lr0.3_9"), ("out/sgd", "out/adam")]
)
def test_folders_of_their_own_are_not_shared(places: tuple[str, str], tmp_path: Path) -> None:
    """Two trials at once see each other's files."""
    text = f"import pathlib\nfor folder in {places!r}:\n    place = pathlib.Path(folder, 'last.ckpt')\n    place.parent.mkdir(parents=True, exist_ok=True)\n    place.touch()\n"
    workload = script(tmp_path / "code", text + SHARED.replace("place.write_text", "0 and place.write_text"))
    assert [texts(go(tmp_path, workload, trial, HORIZON)) for trial in range(2)] == [[], []]


@pytest.mark.parametrize(("kept", "trials"), [("training.csv", (0,)), ("weights.pt", ())])
def test_shared_checkpoints_are_a_serious_finding_that_stands_beside_the_winner(
    kept: str, trials: tuple[int, ...], tmp_path: Path
) -> None:
    workload, backup = script(tmp_path / "code", SHARED), tmp_path / "code" / "out" / "backup" / "latest.pt"
    go(tmp_path, workload, 0, 3)
    backup.unlink()
    told = [f"trial 1: {text}" for text in texts(go(tmp_path, workload, 1, 5))]
    (folder_of(tmp_path, 0) / "script" / kept).touch()
    sweep, ledger = small_sweep(workload=workload, num_samples=2), Ledger.write(tmp_path / "run")
    told += [f"trial 0: {text}" for text in texts(go(tmp_path, workload, 0, HORIZON, 3))]
    with ledger.transaction():
        ledger.add_sweep(sweep, "", [])
        ledger.add_suggestion(0, start({"rate": 0.1}), seed=0)
        ledger.add_report(0, HORIZON, 0.1, 1.0, {"distance": 0.1})
        ledger.add_ending(0, Status.COMPLETED, HORIZON, "")
        for text in told:
            ledger.add_event("notice", text, int(text.split(":")[0].split()[1]))
        ledger.add_event(STATE, "finished")
    run, words = Recorded.of(ledger), shared_words(ledger)
    ledger.close()
    (finding,) = shared(run)
    assert finding.severity == "serious"
    assert finding.sentence.endswith(f": {backup}.")
    assert (
        "1 trial (0) went on with a step that does not follow its own, the best among them." in finding.evidence
    ) == bool(trials)
    assert "{folder} in the command" in finding.remedy
    assert words.startswith(finding.sentence)
    section = answer(run)
    assert f"In doubt: {finding.sentence}" in section.figures[0].rows[0][1]


def test_the_failure_of_a_trial_that_may_have_loaded_anothers_file_says_so(tmp_path: Path) -> None:
    two_trials(tmp_path, SHARED, 3, 5)
    wide = "the shape of the target variable and the shape of the target value must match. " * 6
    with pytest.raises(ScriptFailed) as failure:
        go(tmp_path, script(tmp_path / "code", f"raise ValueError({wide!r})"), 2, HORIZON)
    assert "ValueError: the shape" in str(failure.value)
    assert "latest.pt, and this one may have met another's: give each its own folder" in str(failure.value)
    assert str(failure.value).endswith("(exit code 1 after step 0 of 6)")


def test_a_trial_that_failed_for_it_makes_a_finding_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one trial at a time no two of them are ever seen to write a file."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    workload = script(
        tmp_path / "code",
        SHARED + "    if epoch == 3 and os.environ['TRIAL_ID'].split('-')[1] == '0': raise OSError('lock')\n",
    )
    simulated(tmp_path / "runs" / "sweep", small_sweep(workload=workload, num_samples=2))
    ledger = Ledger.write(tmp_path / "runs" / "sweep")
    run = Recorded.of(ledger)
    ledger.close()
    reasons = [row["reason"] for row in run.rows["ending"]]
    assert "Trials write" in reasons[0]
    assert "not its own" in reasons[1]
    (finding,) = shared(run)
    assert finding.sentence.endswith("out/backup/latest.pt.")
    assert "Failed for it: 1 trial." in finding.evidence
