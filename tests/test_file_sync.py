"""Nodes with disks of their own: a trial's files travel with it, and none is lost with a node."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.tune.file_server import COPIED, FEW, UNFINISHED, Stamp, in_the_way, put, stamps, write
from tests.apart import TRAIN, TUNE, ended, project, rows, tuned, wait
from tests.support import ROOT, orchestrator
from trainables.execution import checkpoint

SCRIPT = ROOT / "tests" / "sweeps" / "steady.py"


def arrive(folder: Path, **files: bytes) -> dict[str, Stamp]:
    for name, data in files.items():
        write(folder / "part" / name, 0, b"")
        write(folder / "part" / name, 0, data)
    return {f"part/{name}": Stamp(len(data), 7_000_000_000) for name, data in files.items()}


def test_files_are_put_in_place_together_with_their_times(tmp_path: Path) -> None:
    arrived = arrive(tmp_path, weights=b"123", manifest=b"")
    assert stamps(tmp_path, "part") == {}  # not yet: half of a checkpoint is none
    put(tmp_path, "part", arrived, ())
    assert stamps(tmp_path, "part") == arrived
    assert (tmp_path / "part" / "weights").read_bytes() == b"123"


def test_many_files_are_put_in_place_like_few(tmp_path: Path) -> None:
    arrived = arrive(tmp_path, **{f"step-{number}/weights": b"1" for number in range(2 * FEW)})
    put(tmp_path, "part", arrived, ())
    assert stamps(tmp_path, "part") == arrived


def test_a_shorter_file_replaces_a_longer_one_and_what_is_gone_goes_with_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "part", arrive(tmp_path, weights=b"12345"), ())
    write(tmp_path / "part" / "step-1" / "state", 0, b"old")
    put(tmp_path, "part", {"part/step-1/state": Stamp(3, 1)}, ())
    write(tmp_path / "part" / "weights", 0, b"a longer attempt that was given up")
    put(tmp_path, "part", arrive(tmp_path, weights=b"12"), ["part/step-1/state"])
    assert (tmp_path / "part" / "weights").read_bytes() == b"12"
    assert sorted(os.listdir(tmp_path / "part")) == ["weights"]  # an empty step-1 would pass for a damaged checkpoint


def test_a_put_that_failed_at_its_end_can_be_repeated(tmp_path: Path) -> None:
    """The folder of what is gone is gone by then, and a failure for good would cost the trial all its checkpoints."""
    put(tmp_path, "part", arrive(tmp_path, weights=b"1") | arrive(tmp_path, **{"epoch-1/shard/state": b"old"}), ())
    for _ in range(2):
        put(tmp_path, "part", arrive(tmp_path, weights=b"2"), ["part/epoch-1/shard/state"])
        assert sorted(os.listdir(tmp_path / "part")) == ["weights"]


def test_a_folder_may_come_in_place_of_a_file_or_a_link_and_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    """Such a put failed each time, or wrote through the link."""
    part, elsewhere = tmp_path / "part", tmp_path / "elsewhere"
    put(tmp_path, "part", arrive(tmp_path, last=b"1", **{"best/model": b"2"}), ())
    elsewhere.mkdir()
    (part / "link").symlink_to(elsewhere)
    gone = {"part/last", "part/best/model", "part/link"}
    first = in_the_way(["part/last/model", "part/best", "part/link/model", "part/other"], gone)
    put(tmp_path, "part", {}, first)
    put(tmp_path, "part", arrive(tmp_path, **{"last/model": b"3", "best": b"4", "link/model": b"5"}), gone - first)
    found = {str(path.relative_to(part)): path.read_bytes() for path in part.rglob("*") if path.is_file()}
    assert found == {"last/model": b"3", "best": b"4", "link/model": b"5"}
    assert not list(elsewhere.iterdir())
    assert in_the_way(["part/a/b"], ["part/a/c", "part/b"]) == set()


def test_links_stay_links_and_what_is_for_one_machine_stays_there(tmp_path: Path) -> None:
    part = tmp_path / "part"
    (part / "epoch-3").mkdir(parents=True)
    (part / "epoch-3" / "model.pt").write_bytes(b"x")
    (part / "last").symlink_to("epoch-3")
    (part / COPIED).touch()
    (part / f"model{UNFINISHED}").touch()
    found = stamps(tmp_path, "part")
    assert set(found) == {"part/last", "part/epoch-3/model.pt"}
    elsewhere = tmp_path / "elsewhere"
    put(elsewhere, "part", {"part/last": found["part/last"]}, ())
    assert os.readlink(elsewhere / "part" / "last") == "epoch-3"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_population_survives_the_end_of_a_node_and_of_the_driver(
    apart: tuple[str, Callable[..., psutil.Process]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SEARCHER": "population", "SLEEP": "0.4", "STEPS": "20", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    address, add = apart
    folder, nodes = tmp_path / "runs" / "steady", [add(), add()]
    command = [sys.executable, str(SCRIPT), "--runs", str(tmp_path / "runs"), "--address", address]

    def begun() -> subprocess.Popen[str]:
        return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    process = begun()
    wait(process, lambda: len({row["trial"] for row in rows(folder, "checkpoint") if row["step"] >= 2}) >= 2)
    saved = [folder / row["path"] for row in rows(folder, "checkpoint") if (folder / row["path"]).exists()]
    checkpoint.check(saved[-1])  # recorded, so it is here; older ones are deleted as the trials go on
    ended(nodes[0])
    wait(process, lambda: bool(rows(folder, "lost")))
    add()
    before = len(rows(folder, "report"))
    wait(process, lambda: len(rows(folder, "report")) > before + 10)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "state-dump" not in output
    last = {row["trial"]: row["step"] for row in rows(folder, "report")}
    running = set(last) - {row["trial"] for row in rows(folder, "ending")}
    saved_at = {row["trial"]: row["step"] for row in rows(folder, "checkpoint")}
    assert all(saved_at[trial] == last[trial] for trial in running)  # all of them saved before they left

    process = begun()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert [row for row in rows(folder, "event") if row["kind"] == "nondeterminism"] == []
    steps = [(row["trial"], row["step"]) for row in rows(folder, "report")]
    assert len(steps) == len(set(steps))
    assert any(row["parent"] is not None for row in rows(folder, "suggestion"))  # forks, too
    audited = orchestrator("audit", str(folder), cwd=ROOT)
    assert audited.returncode == 0, audited.stdout + audited.stderr


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_why_a_process_ended_on_another_disk_is_told(
    apart: tuple[str, Callable[..., psutil.Process]], tmp_path: Path
) -> None:
    address, add = apart
    add()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--runs", str(tmp_path / "runs"), "--address", address, "--num-samples", "2"],
        cwd=ROOT, text=True, capture_output=True, timeout=300, env=os.environ | {"TROUBLE": "1:hang", "SILENCE": "5", "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reasons = [row["reason"] for row in rows(tmp_path / "runs" / "steady", "lost")]
    assert len(reasons) == 1
    stack = re.fullmatch("it was silent for too long; the stack of its worker is in (.*); on node .*", reasons[0])
    assert stack is not None
    assert "_spoil" in Path(stack[1]).read_text()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_node_without_the_script_is_named_with_what_it_lacks(
    apart: tuple[str, Callable[..., psutil.Process]], tmp_path: Path
) -> None:
    address, add = apart
    place = project(tmp_path, TRAIN, TUNE)
    add(place)
    done = tuned(place, address)
    assert done.returncode == 2, done.stderr
    assert f"there is no file 'train.py' in {place}" in done.stderr
    assert "no node of the cluster can run the sweep" in done.stderr
    add()
    done = tuned(place, address)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("there is no file 'train.py'") == 1


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_node_without_the_data_does_not_eat_the_sweep(
    apart: tuple[str, Callable[..., psutil.Process]], tmp_path: Path
) -> None:
    address, add = apart
    data = tmp_path / "data"
    data.mkdir()
    (data / "x.csv").touch()
    train = TRAIN.replace("for step", 'open("../data/x.csv")\nfor step').replace("4)", "9)")
    place = project(tmp_path, train, TUNE.replace("steps=3, num_samples=2", "steps=8, num_samples=10, allow_failed=3"))
    add()
    add(data)
    done = tuned(place, address)
    assert done.returncode == 0, done.stderr
    assert "is not used any more: the first" in done.stderr
    failed = [row for row in rows(tmp_path / "runs" / "tuned", "ending") if row["status"] == "failed"]
    assert len(failed) in (2, 3)  # two if the first trials of all went there
    assert done.stderr.count("failed on node") == len(failed) - 1


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_status_names_the_node_that_is_gone_while_its_trials_wait(
    apart: tuple[str, Callable[..., psutil.Process]], tmp_path: Path
) -> None:
    address, add = apart
    slow = TRAIN.replace("for step", "import time\nfor step").replace("    report", "    time.sleep(2)\n    report")
    place = project(tmp_path, slow, TUNE)
    add(place)  # it lacks the script, so its CPU does not count
    node = add()
    process = subprocess.Popen(
        [sys.executable, "tune.py", "--runs", str(tmp_path / "runs"), "--address", address],
        cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    folder = tmp_path / "runs" / "tuned"
    wait(process, lambda: bool(rows(folder, "report")))
    ended(node)

    def status() -> str:
        return orchestrator("status", str(folder), cwd=place).stdout

    wait(process, lambda: "waiting for a node with room since" in status())
    found = status()
    assert "the cluster has cpu: 0 (0 free) without the 1 node that is not used; gone: " in found
    add()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert found.splitlines()[1].strip() in output  # the display said the same


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_checkpoint_that_stays_on_its_node_is_told_once(
    apart: tuple[str, Callable[..., psutil.Process]], tmp_path: Path, is_shared: bool
) -> None:
    address, add = apart
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    saving = 'open(path := f"../scratch/{lr}.pt", "w").close()\n    report(step, checkpoint=path, '
    place = project(tmp_path, TRAIN.replace("report(step, ", saving), TUNE)
    add(*([] if is_shared else [scratch]))
    done = tuned(place, address)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("on another node it would start over") == (not is_shared)
    assert (str(scratch) in done.stderr) == (not is_shared)
