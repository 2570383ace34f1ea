"""Nodes that cannot train, or would train something else: another version of the code, a full disk, a broken library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator import Script, Space, Sweep, loguniform
from orchestrator.driving.places import Places
from orchestrator.errors import BadInput, StorageError
from orchestrator.tune.held import PATIENCE, Held
from orchestrator.tune.home import CODE, DISK, Home
from orchestrator.tune.same_code import Code, other_versions
from orchestrator.tune.suspects import ENOUGH, LATER, SOONER, Suspects
from orchestrator.worker.disk import disk_trouble, names_disk
from tests.apart import TRAIN, TUNE, project, rows, tuned, wait

Node = Callable[..., psutil.Process]
FUNCTION = """
import helper
from orchestrator import Random, Space, Sweep, launch, loguniform

def train(config, state):
    while True:
        yield {"valid_loss": helper.GOAL / config["lr"]}, None

launch(Sweep("tuned", train, Space({"lr": loguniform(1e-3, 1.0)}), minimize="valid_loss", steps=3, num_samples=4))
"""
FILLING = """
import os, time
from pathlib import Path
from orchestrator import report
for step in range(1, 5):
    time.sleep(0.5)
    path = Path(os.environ["TRIAL_FOLDER"]) / f"{step}.pt"
    path.write_bytes(os.urandom(3 << 20))
    report(step, valid_loss=1 / step, checkpoint=path)
"""


def of_script(folder: Path) -> Sweep:
    script = Script(f"python {folder / 'train.py'}", metric="loss", mode="min", horizon=3)
    return Sweep("mine", script, Space({"lr": loguniform(1e-3, 1.0)}))


def of_function(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Sweep:
    """A sweep whose function is in the module of this name."""
    (folder / "helper.py").write_text("GOAL = 3\n")
    (folder / "mine.py").write_text("import helper\ndef train(config, state):\n    yield {'loss': helper.GOAL}, None\n")
    module = types.ModuleType(name)
    module.__file__ = str(folder / "mine.py")
    exec(compile((folder / "mine.py").read_text().replace("import helper", ""), module.__file__, "exec"), vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    return Sweep("mine", module.train, Space({"lr": loguniform(1e-3, 1.0)}), minimize="loss", steps=3)


def test_a_script_of_another_version_is_named_with_the_command_that_copies_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("GOAL = 3\n")
    driver = Code(of_script(tmp_path)).versions()
    assert other_versions(driver) == ""
    (tmp_path / "helper.py").write_text("GOAL = 2\n")
    why = other_versions(driver)
    assert f"its {tmp_path / 'helper.py'} differs from the driver's" in why
    assert f"rsync -aR {tmp_path / 'helper.py'} " in why


def test_ends_of_lines_times_and_missing_files_make_no_other_version(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import helper\nimport missing\n")
    (tmp_path / "helper.py").write_text("GOAL = 3\n")
    driver = Code(of_script(tmp_path)).versions()
    (tmp_path / "train.py").write_bytes(b"import helper\r\nimport missing\r\n")
    (tmp_path / "helper.py").unlink()
    assert other_versions(driver) == ""


def test_a_script_counts_as_it_is_when_the_trial_starts(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("lr = 1\n")
    code = Code(of_script(tmp_path))
    before = code.versions()
    (tmp_path / "train.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("GOAL = 3\n")
    assert other_versions(before)
    assert other_versions(now := code.versions()) == ""
    assert str(tmp_path / "helper.py") in now


def test_what_a_function_imports_counts_as_it_was_and_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = Code(of_function(tmp_path, monkeypatch, "mine"))
    before = {path: list(digests) for path, digests in code.versions().items()}
    assert set(before) == {str(tmp_path / "mine.py"), str(tmp_path / "helper.py")}
    (tmp_path / "helper.py").write_text("GOAL = 20\n")
    now = code.versions()
    assert other_versions(now) == ""
    assert set(before[str(tmp_path / "helper.py")]) < set(now[str(tmp_path / "helper.py")])


def test_a_function_that_is_sent_itself_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = of_function(tmp_path, monkeypatch, "__main__")
    assert set(Code(sweep).versions()) == {str(tmp_path / "helper.py")}


def test_a_node_without_the_projects_folder_is_told_which_folder_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notice named the folder in which the worker happened to be."""
    monkeypatch.chdir(tmp_path)
    script = Script("python train.py", metric="loss", mode="min", horizon=3)
    for place, words in (
        ("project", f"there is no folder {tmp_path / 'project'}"),
        ("", "there is no file 'train.py'"),
    ):
        home = Home(Places(tmp_path / "runs"), str(tmp_path / place), token="a cluster's")
        with pytest.raises(ValueError, match=re.escape(words)):
            home.check(script)


def test_a_disk_with_room_is_no_trouble_and_an_error_for_want_of_room_is(tmp_path: Path) -> None:
    assert disk_trouble(tmp_path / "not" / "there" / "yet") == ""
    assert names_disk("OSError: [Errno 28] No space left on device: 'x.pt'")
    assert not names_disk("ValueError: lr")


def test_a_sweep_ends_once_no_seat_could_train_for_a_while() -> None:
    told, now = list[str](), [0.0]
    held = Held(told.append, lambda: now[0])
    held.add("a", "w1", (DISK, "its disk is full"))
    held.add("b", "w1", (DISK, "its disk is full"))
    assert len(told) == 1
    assert held.error(["a", "b", "c"]) is None
    assert held.error(["a", "b"]) is None
    now[0] += PATIENCE
    assert isinstance(held.error(["a", "b"]), StorageError)
    held.release("b")
    assert held.error(["a", "b"]) is None
    held.add("b", "w2", (CODE, "its train.py differs"))
    assert held.error(["a", "b"]) is None
    now[0] += PATIENCE
    assert isinstance(error := held.error(["a", "b"]), BadInput)
    assert "node w1: its disk is full; node w2: its train.py differs" in str(error)


def test_failures_in_a_row_speak_against_a_node_at_any_time() -> None:
    """Only the first three trials counted: a node that broke later took all others."""
    suspects = Suspects()
    assert [suspects.count("new", 0) for _ in range(SOONER)][-1] == f"the first {SOONER}"
    suspects = Suspects()
    suspects.report("good")
    assert [suspects.count("new", 0) for _ in range(ENOUGH)][-1] == f"the first {ENOUGH}"
    suspects.report("broken")
    assert [suspects.count("broken", 0) for _ in range(LATER)] == [""] * (LATER - 1) + [f"the last {LATER}"]
    suspects.report("broken")
    assert not any(suspects.count(node, 0) for _ in range(LATER) for node in ("broken", "good"))  # the configurations
    assert not any(suspects.count("broken", 7) for _ in range(LATER))  # they had reported


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["script", "function"])
def test_a_node_with_another_version_of_the_code_trains_nothing(
    apart: tuple[str, Node], tmp_path: Path, kind: str
) -> None:
    """It trained silently, and the record had its wrong numbers."""
    address, add = apart
    place = project(tmp_path, TRAIN, TUNE.replace("num_samples=2", "num_samples=6") if kind == "script" else FUNCTION)
    (place / "helper.py").write_text("GOAL = 3\n")
    other = tmp_path / "other"
    shutil.copytree(place, other)
    changed = "train.py" if kind == "script" else "helper.py"
    (other / changed).write_text((place / changed).read_text().replace("3", "2").replace("1 / (1", "100 + 1 / (1"))
    (other / "tune.py").write_text("# another version of what is not read there\n")
    add(own={place: other})
    done = tuned(place, address)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count(f"its {place / changed} differs from the driver's. Copy it there: rsync -aR ") == 1
    add()
    done = tuned(place, address)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("differs from the driver's") == 1
    if kind == "script":
        assert max(row["value"] for row in rows(tmp_path / "runs" / "tuned", "report")) <= 1
    hosts = [row for row in rows(tmp_path / "runs" / "tuned", "event") if row["kind"] == "node"]
    assert {row["trial"] for row in hosts} == {row["trial"] for row in rows(tmp_path / "runs" / "tuned", "report")}
    assert {row["text"] for row in hosts} == {os.uname().nodename}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_an_edit_while_the_sweep_runs_holds_a_node_until_it_has_the_edit(
    apart: tuple[str, Node], tmp_path: Path
) -> None:
    address, add = apart
    place = project(
        tmp_path,
        TRAIN.replace("for step", "import time; time.sleep(1)\nfor step"),
        TUNE.replace("num_samples=2", "num_samples=8"),
    )
    other = tmp_path / "other"
    shutil.copytree(place, other)
    add(own={place: other})
    add()
    process = subprocess.Popen(
        [sys.executable, "tune.py", "--runs", str(tmp_path / "runs"), "--address", address],
        cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"COLUMNS": "300"},
    )  # fmt: skip
    folder = tmp_path / "runs" / "tuned"

    wait(process, lambda: bool(rows(folder, "report")))
    (place / "train.py").write_text(f"# edited\n{(place / 'train.py').read_text()}")
    wait(process, lambda: any("gets no trials until" in row["text"] for row in rows(folder, "event")))
    shutil.copy(place / "train.py", other / "train.py")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert output.count("gets no trials until") == 1
    assert not rows(folder, "lost")
    assert {row["status"] for row in rows(folder, "ending")} <= {"completed", "stopped"}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_trial_leaves_a_node_whose_disk_fills(apart: tuple[str, Node], tmp_path: Path) -> None:
    """Each trial that such a node took failed, and it took all that were left."""
    address, add = apart
    tune = TUNE.replace("num_samples=2", "num_samples=5, max_concurrent=2").replace("steps=3", "steps=4")
    place = project(tmp_path, FILLING, tune.replace("python train.py", "python train.py --lr {lr}"))
    add(room="11m")
    done = tuned(place, address)
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "no node can train now: node " in done.stderr
    assert not [row for row in rows(tmp_path / "runs" / "tuned", "ending") if row["status"] == "failed"]
    add()
    done = tuned(place, address)
    assert done.returncode == 0, done.stderr
    ends = [row["status"] for row in rows(tmp_path / "runs" / "tuned", "ending")]
    assert ends == ["completed"] * 5
    assert done.stderr.count("gets no trials until this is mended") <= 1
