"""A notebook's kernel that is interrupted, once and twice: one clear line, the true state, and a last frame that holds."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.console.signals import ONE_REQUEST_SECONDS
from orchestrator.errors import Interrupted
from orchestrator.main import run
from orchestrator.reading.result import Result
from search.contract import Scheduler, Searcher, Verdict
from search.history import History, Trial
from search.records import Suggestion
from tests.failing import sweep_of
from tests.support import ROOT, recorded

CELL = """
import time
from orchestrator import Random, RunToEnd, Space, Sweep, run, uniform
def train(config, state):
    for step in range(state or 0, 400):
        if step == 2:
            open({marker!r}, "w").close()
        time.sleep({step_seconds} if step >= 2 else 0)
        yield {{"loss": config["x"] / (step + 1)}}, step + 1
sweep = Sweep("cell", train, Space({{"x": uniform(0, 1)}}), minimize="loss", steps=400, searcher=Random(),
              scheduler=RunToEnd(), num_samples=4, max_concurrent=1, checkpoint_seconds=0)
run(sweep, simulate={simulate})
"""


class Cell:
    """Runs a cell in a real kernel; `interrupt()` is the button of the notebook."""

    def __init__(self, code: str, kernel: Any, client: Any) -> None:
        self._kernel, self._client = kernel, client
        self._message = client.execute(code)
        self.frame = ""  # the last state of its display
        self.saved: dict[str, str] = {}  # the outputs that a saved notebook has: display → text
        self.error: list[str] = []  # what it shows of the exception that ended it
        self.is_idle = False

    def interrupt(self) -> None:
        self._kernel.interrupt_kernel()

    def wait(self, until: Callable[[], bool], seconds: float = 60.0) -> None:
        """Read what the kernel sends until that holds."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"{self.frame}\n{self.error}"
            try:
                message = self._client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != self._message:
                continue
            content = message["content"]
            if message["msg_type"] in ("display_data", "update_display_data"):
                self.frame = content["data"]["text/plain"]
                display = content["transient"].get("display_id", str(len(self.saved)))
                if message["msg_type"] == "display_data" or display in self.saved:  # an update of a cleared one is lost
                    self.saved[display] = self.frame
            elif message["msg_type"] == "clear_output":
                self.saved.clear()
            elif message["msg_type"] == "error":
                self.error = content["traceback"]
            elif message["msg_type"] == "status":
                self.is_idle = content["execution_state"] == "idle"

    def end(self) -> None:
        self.wait(lambda: self.is_idle)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    manager = pytest.importorskip("jupyter_client.manager", reason="jupyter_client is not installed")
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    started, client = manager.start_new_kernel(env=environment)
    yield started, client
    client.stop_channels()
    started.shutdown_kernel(now=True)


ENGINES = [True, pytest.param(False, marks=[pytest.mark.ray, pytest.mark.slow])]


@pytest.mark.parametrize("simulate", ENGINES)
@pytest.mark.parametrize(
    ("times", "words"),
    [(1, "interrupted after a clean save"), pytest.param(2, "interrupted at once", marks=pytest.mark.slow)],
)
def test_an_interrupted_cell_ends_in_one_line_with_the_true_state(
    times: int, words: str, simulate: bool, kernel: tuple[Any, Any], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    seconds = 0.2 if times == 1 else 30  # so long that the second one comes before the step ends
    cell = Cell(CELL.format(step_seconds=seconds, simulate=simulate, marker=str(marker)), *kernel)
    cell.wait(marker.exists)
    time.sleep(1)  # so that what Ray has to say is on record
    cell.interrupt()
    for _ in range(times - 1):
        time.sleep(0.6)  # longer than what counts as one request
        cell.interrupt()
    cell.end()
    assert len(cell.error) == 1
    assert cell.error[0].startswith(f"Interrupted: {words}")
    assert cell.error[0].endswith("To go on, call run(sweep) again")
    run_folder = tmp_path / "runs" / "cell"
    assert Result(run_folder).state == "interrupted"
    assert "  interrupted\n" in cell.frame
    assert "1 to resume of 4" in cell.frame
    last = recorded(run_folder, "report")[-1]["step"]
    assert f"step {last} of 400" in cell.frame
    assert not [row for row in recorded(run_folder, "ending") if row["status"] == "failed"]


def test_a_frame_of_a_finished_sweep_shows_its_end(kernel: tuple[Any, Any]) -> None:
    code = CELL.format(step_seconds=0, simulate=True, marker=os.devnull).replace("400", "3")
    cell = Cell(code, *kernel)
    cell.end()
    assert not cell.error
    assert "  done\n" in cell.frame
    assert "  trials  4 completed of 4\n" in cell.frame


@pytest.mark.parametrize("simulate", ENGINES)
def test_a_saved_notebook_holds_the_last_frame_with_its_events_and_nothing_else(
    simulate: bool, kernel: tuple[Any, Any]
) -> None:
    code = CELL.format(step_seconds=0, simulate=simulate, marker=os.devnull).replace("400", "3")
    cell = Cell(code, *kernel)
    cell.end()
    (frame,) = cell.saved.values()
    assert "  trials  4 completed of 4\n" in frame
    assert "first report: trial 0, step 1, loss " in frame


@dataclass(frozen=True)
class Interrupts(Scheduler):
    """Two signals at the second step of a trial: judgements fall into the transaction that records a report."""

    marker: str

    def judge(self, trial: Trial, history: History) -> Verdict:
        if trial.step == 2 and not os.path.exists(self.marker):
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(2 * ONE_REQUEST_SECONDS)
            os.kill(os.getpid(), signal.SIGINT)
        return Verdict.CONTINUE


@dataclass(frozen=True)
class Cut(Searcher):
    """Another library's KeyboardInterrupt, with no signal."""

    def suggest(self, history: History) -> Suggestion:
        raise KeyboardInterrupt


def four(config: Any, state: Any) -> Iterator[Any]:
    for step in range(state or 0, 4):
        yield {"loss": config["x"]}, step + 1


def test_a_second_signal_while_the_ledger_is_written_undoes_nothing(tmp_path: Path) -> None:
    sweep = sweep_of(four, scheduler=Interrupts(str(tmp_path / "marker")))
    with pytest.raises(Interrupted, match="interrupted at once"):
        run(sweep, tmp_path / "own", simulate=True, quiet=True, max_concurrent=1)
    assert [row["step"] for row in recorded(tmp_path / "own", "report")] == [1, 2]
    assert Result(tmp_path / "own").state == "interrupted"
    assert run(sweep, tmp_path / "own", simulate=True, quiet=True, max_concurrent=1).state == "finished"


def test_whatever_ends_the_call_leaves_no_run_that_seems_to_be_running(tmp_path: Path) -> None:
    """The process lives on, as a notebook's kernel does."""
    with pytest.raises(Interrupted, match=r"interrupted; everything recorded is safe. To go on, call run\(sweep\)"):
        run(sweep_of(four, searcher=Cut()), tmp_path / "own", simulate=True, quiet=True)
    assert Result(tmp_path / "own").state == "interrupted"
