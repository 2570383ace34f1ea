"""Scripts that save their checkpoints before or after they tell a step, slowly, in place: none is ended in mid-write."""

from __future__ import annotations

import json
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver import Driver
from orchestrator.outcome import problem_of
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.records import Status
from search.schedulers.asha import AshaPromote
from search.searchers.random import Random
from search.space import Space, loguniform
from search.work import Assignment, Killed, Reported
from tests.scripting import HORIZON, LINE, STARTS_OVER, assigned, curve, script, texts, trained, truth
from tests.support import simulated, small_sweep
from trainables.carry_out import carry_out
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.saving import FEW, LATE, PROMPT, SAVES, UNSAVED
from trainables.scripts.starting_over import why_over
from trainables.scripts.step_count import StepCount
from trainables.scripts.trial_folder import TrialFolder

pytestmark = pytest.mark.usefixtures("reports_find_this_checkout")

SAVING = """
import os, pathlib, pickle, signal, sys, time
folder = pathlib.Path(os.environ["TRIAL_FOLDER"])
place, seconds = folder / "last.pkl", SECONDS
done = pickle.loads(place.read_bytes())["epoch"] if place.exists() else 0
with open(folder / "starts.txt", "a") as file:
    file.write(f"{done} ")

def in_place(epoch, dies=False):
    data = pickle.dumps({"epoch": epoch, "weights": bytes(160)})
    with open(place, "wb") as file:
        for at in range(0, len(data), len(data) // 8):
            file.write(data[at : at + len(data) // 8])
            file.flush()
            time.sleep(seconds / 3)
            if dies and at:
                os.kill(os.getpid(), signal.SIGKILL)

def atomically(epoch):
    time.sleep(seconds)
    place.with_suffix(".tmp").write_bytes(pickle.dumps({"epoch": epoch}))
    place.with_suffix(".tmp").replace(place)

for epoch in range(done + 1, 7):
    time.sleep(seconds)
    BODY
"""
IN_PLACE, ATOMIC = f"{LINE}; in_place(epoch)", f"{LINE}; atomically(epoch)"
FIRST, FIRST_ATOMIC = f"in_place(epoch); {LINE}", f"atomically(epoch); {LINE}"
HELD_OPEN = f"log = open(folder / 'train.log', 'a'); print(epoch, file=log, flush=True); {IN_PLACE}"
REPORTED = "from orchestrator import report; in_place(epoch)\n    if not report(epoch, distance=1 / epoch): break"
EVERY_THIRD = f"{LINE}\n    if epoch % 3 == 0: in_place(epoch)"


def saving(body: str, seconds: float = 0.3) -> str:
    return SAVING.replace("BODY", body).replace("SECONDS", str(seconds))


def own(folder: Path) -> Path:
    return folder / "trial" / "checkpoints" / "script"


def memory(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((own(folder) / ".reports" / "memory.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [IN_PLACE, ATOMIC, FIRST, FIRST_ATOMIC, HELD_OPEN],
    ids=["in place", "atomic", "first, in place", "first, atomic", "with a log that is held open"],
)
def test_a_rest_waits_for_the_checkpoint_and_the_trial_goes_on_from_it(body: str, tmp_path: Path) -> None:
    workload, items = script(tmp_path, saving(body)), []
    for recorded, until in ((0, 2), (2, 4), (4, HORIZON)):
        items += trained(workload, assigned(tmp_path, until=until, recorded=recorded))
        assert pickle.loads((own(tmp_path) / "last.pkl").read_bytes())["epoch"] >= until
    assert curve(items) == truth(*range(1, 7))
    assert texts(items) == []


def test_one_rest_after_a_line_waits_for_the_checkpoint(tmp_path: Path) -> None:
    workload = script(tmp_path, saving(IN_PLACE, 0.1))
    assert curve(trained(workload, assigned(tmp_path, until=1))) == truth(1)
    assert pickle.loads((own(tmp_path) / "last.pkl").read_bytes())["epoch"] >= 1


@pytest.mark.slow
def test_a_script_that_saves_every_third_step_loses_none(tmp_path: Path) -> None:
    workload = script(tmp_path, saving(EVERY_THIRD))
    first = trained(workload, assigned(tmp_path, until=2))
    assert curve(first) == truth(1, 2)
    assert pickle.loads((own(tmp_path) / "last.pkl").read_bytes())["epoch"] == 3
    items = trained(workload, assigned(tmp_path, recorded=2))
    assert curve(items) == truth(3, 4, 5, 6)  # the third was told while it was waited for
    assert texts(items) == []
    assert (own(tmp_path) / "starts.txt").read_text().split() == ["0", "3"]


@pytest.mark.parametrize(
    ("body", "seconds", "known"),
    [
        (f"time.sleep(2); {IN_PLACE}", 0.2, {SAVES: PROMPT}),
        (f"time.sleep(1); {ATOMIC}", 0.4, {SAVES: LATE}),
        (FIRST, 0.3, {SAVES: PROMPT}),
        (LINE, 0.7, {UNSAVED: 2}),
    ],
    ids=["at once", "late", "before", "nothing"],
)
@pytest.mark.slow
def test_the_first_reports_show_when_a_script_saves(
    body: str, seconds: float, known: dict[str, Any], tmp_path: Path
) -> None:
    trained(script(tmp_path, saving(body, seconds)), assigned(tmp_path, until=4))
    found = memory(tmp_path)
    assert found.get(SAVES) == known.get(SAVES)
    assert found.get(UNSAVED, 0) >= known.get(UNSAVED, 0)


def test_a_script_whose_other_trials_save_nothing_is_not_waited_for(tmp_path: Path) -> None:
    text = STARTS_OVER.format(line=LINE + "\n    import time; time.sleep(600 if epoch == 2 else 0)")
    other = TrialFolder(tmp_path / "trials" / "0" / "checkpoints" / "script")
    other.write("memory.json", {UNSAVED: FEW})
    begun = time.monotonic()
    mine = Assignment(1, {}, 7, until=2, folder=tmp_path / "trials" / "1" / "checkpoints")
    assert curve(trained(script(tmp_path, text), mine)) == truth(1, 2)
    assert time.monotonic() - begun < 45  # LAST_WORDS is 60


def test_lines_told_during_the_wait_count_when_the_trial_goes_on_and_shift_no_others(tmp_path: Path) -> None:
    line = LINE.replace("epoch {epoch}: ", "")  # counted
    text = STARTS_OVER.format(line=f"{line}\n    import time; time.sleep(0.4)")
    workload = script(tmp_path, text)
    assert curve(trained(workload, assigned(tmp_path, until=2))) == truth(1, 2)
    items = trained(workload, assigned(tmp_path, recorded=2))
    assert curve(items) == truth(3, 4, 5, 6)
    assert texts(items) == []


@pytest.mark.slow
def test_the_trials_of_a_sweep_rest_between_two_saves(tmp_path: Path) -> None:
    sweep = Sweep(
        name="own", workload=script(tmp_path, saving(IN_PLACE, 0.1)), space=Space({"rate": loguniform(1e-3, 1.0)}),
        searcher=Random(), scheduler=AshaPromote(reduction_factor=2), num_samples=4,
    )  # fmt: skip
    driver = simulated(tmp_path / "run", sweep)
    assert driver.history.count(Status.FAILED) == 0
    assert any(trial.suggestion.kind == "resume" for trial in driver.history)
    assert not list((tmp_path / "run").glob("trials/*/checkpoints/script.old"))


@pytest.mark.parametrize("body", [IN_PLACE, REPORTED], ids=["printed", "reported"])
def test_a_pause_waits_for_the_end_of_a_save(body: str, tmp_path: Path) -> None:
    place = own(tmp_path) / "last.pkl"
    workload = script(tmp_path, saving(body, 0.2))
    kinds = []
    for item in carry_out(workload, None, assigned(tmp_path), lambda: place.exists() and place.stat().st_size < 150):
        assert item is not None
        kinds.append(item.kind)
    assert kinds[-1] == "paused"
    assert pickle.loads(place.read_bytes())["epoch"] >= 1


def test_an_interrupted_sweep_over_a_script_promises_no_save_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(workload=script(tmp_path, STARTS_OVER.format(line=LINE))), ledger)
    told = str(problem_of(driver, [signal.SIGINT], "call run(sweep) again"))
    assert told.startswith(
        "interrupted; a running trial continues from the last checkpoint that its training has saved"
    )
    ledger.close()


DIES = f"{LINE}; in_place(epoch, dies=epoch == 2 and not (folder / 'died.txt').exists() and not (folder / 'died.txt').touch())"


def test_a_script_killed_in_mid_write_starts_over_and_says_what_to_write(tmp_path: Path) -> None:
    workload = script(tmp_path, saving(DIES, 0.05).replace("folder / 'died", "pathlib.Path(__file__).parent / 'died"))
    with pytest.raises(Killed):
        trained(workload, assigned(tmp_path))
    items = trained(workload, assigned(tmp_path, recorded=2))
    assert curve(items) == truth(3, 4, 5, 6)
    (notice,) = texts(items)
    assert "set aside in script.old: its process was ended while it wrote last.pkl" in notice
    assert "pickle data was truncated" in notice
    assert "os.replace()" in notice
    assert not own(tmp_path).with_name("script.old").exists()


def test_a_trial_that_had_failed_at_its_torn_checkpoint_starts_over_when_it_is_tried_again(tmp_path: Path) -> None:
    workload = script(tmp_path, saving(IN_PLACE, 0.05))
    trained(workload, assigned(tmp_path, until=2))
    place = own(tmp_path) / "last.pkl"
    place.write_bytes(place.read_bytes()[:-30])
    told = memory(tmp_path)
    del told["whole"]  # what an earlier version has left
    TrialFolder(own(tmp_path)).write("memory.json", told | {"started": 2})
    assert curve(trained(workload, assigned(tmp_path, recorded=2))) == truth(3, 4, 5, 6)


@pytest.mark.parametrize("trouble", ["data", pytest.param("code", marks=pytest.mark.slow)])
def test_files_that_were_not_torn_stay_where_they_are(trouble: str, tmp_path: Path) -> None:
    """The script cannot read its data set, or has an error of its own: it fails as at its first start."""
    broken = tmp_path / "broken"
    text = saving(IN_PLACE, 0.1).replace(
        "with open", f"if pathlib.Path({str(broken)!r}).exists(): raise EOFError\nwith open", 1
    )
    workload = script(tmp_path, text)
    trained(workload, assigned(tmp_path, until=2))
    if trouble == "data":  # nobody knows that the checkpoint is whole
        folder = TrialFolder(own(tmp_path))
        folder.write("memory.json", {name: value for name, value in folder.read_memory().items() if name != "whole"})
    broken.touch()
    before = (own(tmp_path) / "last.pkl").read_bytes()
    for _ in range(2):
        with pytest.raises(ScriptFailed, match="EOFError"):
            trained(workload, assigned(tmp_path, recorded=2))
        assert (own(tmp_path) / "last.pkl").read_bytes() == before
        assert not own(tmp_path).with_name("script.old").exists()
    broken.unlink()
    assert set(curve(trained(workload, assigned(tmp_path, recorded=2)))) >= {4, 5, 6}


@pytest.mark.parametrize(
    ("error", "is_torn"),
    [
        ("_pickle.UnpicklingError: pickle data was truncated", True),
        ("EOFError: Ran out of input", True),
        ("RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory", True),
        ("safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata", True),
        ("zipfile.BadZipFile: File is not a zip file", True),
        ("zlib.error: Error -5 while decompressing data: incomplete or truncated stream", True),
        ("ValueError: cannot reshape array of size 3 into shape (2,2)", True),
        ("OSError: Unable to synchronously open file (truncated file: eof = 96, stored_eof = 2048)", True),
        ("ValueError: Unpack failed: incomplete input", True),
        ("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", True),
        ("ValueError: Failed to interpret file '/own/last.npz' as a pickle", True),
        ("ValueError: Failed to interpret file '/data.npz' as a pickle", False),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", False),
        ("KeyError: 'optimizer'", False),
    ],
)
def test_which_errors_are_about_a_torn_checkpoint(error: str, is_torn: bool, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "own")
    (folder.path / "last.npz").touch()
    (tmp_path / "data.npz").touch()
    error = error.replace("/own", str(folder.path)).replace("'/data", f"'{tmp_path}/data")
    (folder.place / "stderr.txt").write_text(f"Traceback (most recent call last):\n{error}\n")
    again, first = (StepCount("distance", HORIZON, None, {"started": started}) for started in (2, 1))
    assert bool(why_over(1, folder, "python train.py", again, were_whole=False)) is is_torn
    assert not why_over(1, folder, "python train.py", again, were_whole=True)
    assert not why_over(1, folder, "python train.py", first, were_whole=False)
    assert not why_over(0, folder, "python train.py", again, were_whole=False)


def test_a_trial_is_resumed_only_when_its_worker_has_left_it(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(num_samples=2, scheduler=AshaPromote(reduction_factor=2)), ledger)
    driver.workers = 2
    for loss in (1.0, 0.5):
        order = driver.next()
        while order is None or order.kind != "train":
            if order is not None:
                driver.finish_job(order)
            order = driver.next()
        assert not driver.receive(order.trial, [Reported(step=1, metrics={"loss": loss})])
    driver.receive(0, [], done=True)
    assert driver.next() is None  # trial 1 is promoted, and its script may be saving
    assert not driver.finished
    driver.receive(1, [], done=True)
    order = driver.next()
    assert order is not None
    assert order.trial == 1
    ledger.close()
