"""Only what a run has started is ended by its next start; a sweep needs no screen."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.console.remedies import remedy_for
from orchestrator.errors import StorageError
from orchestrator.failures import last_words
from orchestrator.reading.progress import Display
from orchestrator.tune.local import LocalRay
from orchestrator.tune.loss import Loss
from orchestrator.worker.processes import PROCESSES, VARIABLE, end_left_over_processes, mark_processes, temporary_folder
from tests.support import ROOT, recorded

STEADY = [sys.executable, str(ROOT / "tests" / "sweeps" / "steady.py"), "--simulate"]


@pytest.fixture
def sleeper() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process of the user's that does nothing."""
    started: list[subprocess.Popen[bytes]] = []

    def start(environment: dict[str, str], log: Path = Path(os.devnull)) -> subprocess.Popen[bytes]:
        call = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
        with log.open("w") as file:
            process = subprocess.Popen(
                call, env=os.environ | environment, stdout=subprocess.PIPE, stderr=file, start_new_session=True
            )
        assert process.stdout is not None
        process.stdout.readline()  # from here on its environment is its own
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_carries_the_runs_mark_is_ended_and_nothing_else(
    tmp_path: Path, sleeper: Callable[..., subprocess.Popen[bytes]]
) -> None:
    mark = mark_processes(tmp_path)
    temporary_folder(mark).mkdir()
    ours, users = sleeper({VARIABLE: mark}), sleeper({})
    logs = sleeper({}, temporary_folder(mark) / "agent.log")  # its environment is gone
    assert end_left_over_processes(tmp_path) == 2
    assert ours.wait(30) == logs.wait(30) == -signal.SIGKILL
    assert users.poll() is None
    assert not temporary_folder(mark).exists()
    assert not (tmp_path / PROCESSES).exists()
    assert end_left_over_processes(tmp_path) == 0


@pytest.mark.parametrize("forge", ["numbers", "copied", "linked", "the mark itself"])
def test_a_forged_note_ends_nothing(
    forge: str, tmp_path: Path, sleeper: Callable[..., subprocess.Popen[bytes]]
) -> None:
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    own.mkdir()
    foreign.mkdir()
    mark = mark_processes(own)
    victim = sleeper({VARIABLE: mark})
    forged, secret = foreign / PROCESSES, own / PROCESSES
    if forge == "numbers":  # as older releases noted them
        forged.write_text(f"{victim.pid} {os.stat(f'/proc/{victim.pid}').st_ctime}\n")
    elif forge == "copied":
        forged.write_text(secret.read_text())
    elif forge == "linked":
        forged.symlink_to(secret)
    else:
        forged.write_text(mark[:32])
    assert end_left_over_processes(foreign) == 0
    assert victim.poll() is None


def test_a_note_is_not_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    (run / PROCESSES).symlink_to(outside)
    mark_processes(run)
    assert outside.read_text() == "precious"
    assert (run / PROCESSES).stat().st_mode & 0o077 == 0


def test_a_temporary_folder_in_which_ray_cannot_be_started_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    with pytest.raises(StorageError, match=r"/proc/none/orchestrator-\w+: .*TMPDIR=") as caught:
        LocalRay(tmp_path, {}, Loss())
    assert caught.value.exit_code == 7


@pytest.mark.slow
def test_a_sweep_goes_on_when_the_reader_of_its_output_is_gone(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*STEADY, "--runs", str(tmp_path), "--num-samples", "4"], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(ROOT), "SLEEP": "0"},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(120) == 0
    assert [row["status"] for row in recorded(tmp_path / "steady", "ending")] == ["completed"] * 4
    assert [row["text"] for row in recorded(tmp_path / "steady", "event") if row["kind"] == "state"] == ["finished"]


def test_a_sweep_goes_on_when_its_terminal_is_closed(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*STEADY, "--runs", str(tmp_path), "--num-samples", "4"], stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SLEEP": "0", "TERM": "xterm"}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    with contextlib.suppress(OSError):
        os.read(ours, 1)  # it has begun to draw
    os.close(ours)  # from now on each write is an I/O error
    assert process.wait(120) == 0
    assert [row["status"] for row in recorded(tmp_path / "steady", "ending")] == ["completed"] * 4


@pytest.mark.parametrize(("error", "words"), [
    ("_pickle.PicklingError: Can't pickle <class '__main__.Data'>: attribute lookup Data on __main__ failed", "module"),
    ("AttributeError: Can't get attribute 'Data' on <module '__main__' (built-in)>", "module"),
    ("AttributeError: Can't pickle local object 'make.<locals>.Data'", "module"),
    ("RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA …", "spawn"),
    ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
     "are out of shared memory. Please try to raise your shared memory limit.", "shm"),
    ("OSError: [Errno 24] Too many open files", "ulimit"),
    ("ValueError: too many values to unpack", ""),
    ("KeyError: '__main__'", ""),
])  # fmt: skip
def test_errors_of_spawned_processes_get_a_remedy(error: str, words: str) -> None:
    assert words in remedy_for(error)
    assert bool(words) == bool(remedy_for(error))


def test_the_remedy_is_shown_with_the_first_failure() -> None:
    screen = io.StringIO()
    display = Display(Console(file=screen, width=200))
    display.listen(
        "failure", "Traceback …\nAttributeError: Can't get attribute 'Data' on <module '__main__' (built-in)>\n"
    )
    display.listen("failure", "ValueError: too few")
    assert screen.getvalue().count("Remedy: ") == 1
    assert "top level of a module" in screen.getvalue()


def test_the_line_that_names_the_error_is_found_in_rays_text() -> None:
    text = (
        "ray.exceptions.RaySystemError: System error: x\ntraceback: Traceback\n  File a\nImportError: libx.so: none\n\n"
    )
    assert last_words(text) == "ImportError: libx.so: none"
    assert last_words("the node has gone") == "the node has gone"
