"""A training process that is killed from outside is a lost worker: its trial goes on from its last checkpoint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from search.records import Config
from search.work import Killed, Progress
from tests.scripting import HORIZON, LINE, RESUMES, STARTS_OVER, assigned, curve, script, trained
from tests.support import recorded, simulated, small_sweep
from trainables.carry_out import carry_out
from trainables.killed import exit_in_words, told_killed
from trainables.scripts.channels import ScriptFailed
from trainables.workloads.callable import FromFunction

DIES = "import os, signal\nos.kill(os.getpid(), signal.{name})\n"
LATER = LINE + '\n    if epoch == 3 and not place.with_name("killed").exists():\n        {dies}'
TORCHRUN = """
Traceback (most recent call last):
RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:9521
E1129 19:37:13 8078 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 0 (pid: 80)
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
Failures:
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 81)  (SIGKILL)
  traceback : Signal 9 (SIGKILL) received by PID 81
Root Cause (first observed failure):
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 80)
"""
OUR_OWN = (
    "W1129 api.py:1010] Unable to shutdown process 81 via Signals.SIGTERM, forcefully exiting via Signals.SIGKILL\n"
)


def lost(folder: Path) -> list[tuple[int, str]]:
    return [(row["step"], row["reason"]) for row in recorded(folder, "lost")]


def sweep_of(folder: Path, text: str, **more: Any) -> Any:
    workload = script(folder / "code", text, flag="--{name}={value}")
    return small_sweep(workload=workload, num_samples=1, retries=2, **more)


@pytest.mark.parametrize(
    ("name", "how"),
    [("SIGKILL", "killed by SIGKILL, often for want of memory"), ("SIGTERM", "ended from outside by SIGTERM")],
)
def test_a_trial_whose_script_was_killed_goes_on_from_its_checkpoint(name: str, how: str, tmp_path: Path) -> None:
    dies = (
        f'place.write_text("2"); place.with_name("killed").touch(); import signal; os.kill(os.getpid(), signal.{name})'
    )
    sweep = sweep_of(tmp_path, RESUMES.replace("{line}", LATER.replace("{dies}", dies)))
    driver = simulated(tmp_path / "run", sweep)
    assert [(trial.status.value, trial.step) for trial in driver.history] == [("completed", HORIZON)]
    assert lost(tmp_path / "run") == [(3, f"its process was {how}")]


def test_a_script_that_is_killed_again_and_again_at_one_step_fails_and_the_reason_names_memory(tmp_path: Path) -> None:
    dies = "if epoch == 3: import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    sweep = sweep_of(tmp_path, STARTS_OVER.replace("{line}", f"{LINE}\n    {dies}"))
    driver = simulated(tmp_path / "run", sweep)
    assert driver.history.trials[0].reason == (
        "WorkerLost: its process was killed by SIGKILL, often for want of memory (3 times at step 3)"
    )


def test_a_killed_rank_is_the_reason_whatever_its_launcher_and_the_other_ranks_say(tmp_path: Path) -> None:
    text = f"import sys\nprint('epoch 1: distance=1')\nsys.exit({TORCHRUN!r})"
    with pytest.raises(
        Killed, match=r"^one of its processes was killed by SIGKILL, often for want of memory: Signal 9 "
    ):
        trained(script(tmp_path, text), assigned(tmp_path))


def test_a_rank_that_torchrun_itself_killed_after_an_error_of_another_is_no_reason() -> None:
    assert told_killed(TORCHRUN) == "Signal 9 (SIGKILL) received by PID 81"
    assert told_killed(OUR_OWN + TORCHRUN) == ""
    assert told_killed(OUR_OWN + TORCHRUN.replace("exitcode  : 1", "exitcode  : -9")) == "exitcode : -9 (pid: 80)"


@pytest.mark.parametrize(
    ("line", "is_killed"),
    [
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed. ", True),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. ", False),
        ("torch.multiprocessing.spawn.ProcessExitedException: process 1 terminated with signal SIGKILL", True),
        ("subprocess.CalledProcessError: Command '['python', 'x.py']' died with <Signals.SIGKILL: 9>.", True),
        ("subprocess.CalledProcessError: Command '['python', 'x.py']' returned non-zero exit status 1.", False),
        ("run.sh: line 3: 10412 Killed                  python train.py", True),
        ("[launch.py:315] [ERROR] exits with return code = -9", True),
        ("mpirun noticed that process rank 1 exited on signal 9 (Killed).", True),
        ("Killed", True),
        ("exitcode  : -15 (pid: 80)  (SIGTERM)", False),
        ("Killed 3 weak particles, exit code: 0", False),
    ],
)
def test_what_launchers_write_about_a_killed_process_is_known(line: str, is_killed: bool) -> None:
    assert bool(told_killed(f"epoch 1: loss=2\n{line}\nbye")) is is_killed


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_shell_that_goes_on_after_the_kill_does_not_complete_the_trial(shell: str, tmp_path: Path) -> None:
    workload = script(tmp_path, "print('epoch 1: distance=1', flush=True)\n" + DIES.format(name="SIGKILL"))
    (tmp_path / "run.sh").write_text(f"{workload.command}\necho bye\n")
    with pytest.raises(Killed, match=r"^one of its processes was killed by SIGKILL"):
        trained(replace(workload, command=f"{shell} {tmp_path / 'run.sh'}"), assigned(tmp_path))


def test_a_crash_names_its_signal_and_the_last_error_and_not_its_progress(tmp_path: Path) -> None:
    text = "print('epoch 1: distance=1', flush=True)\n" + DIES.format(name="SIGSEGV")
    with pytest.raises(ScriptFailed, match=r"^killed by SIGSEGV after step 1 of 6: it printed no reason$"):
        trained(script(tmp_path, text), assigned(tmp_path))
    (tmp_path / "other").mkdir()
    text = f"import sys\nprint('bad pointer', file=sys.stderr, flush=True)\n{text}"
    with pytest.raises(ScriptFailed, match=r"^killed by SIGSEGV after step 1 of 6: bad pointer$"):
        trained(script(tmp_path / "other", text), assigned(tmp_path / "other"))


def test_half_a_line_of_a_killed_script_behind_a_shell_is_not_read(tmp_path: Path) -> None:
    """A shell ends with 128 + 9, as if it had come to its own end."""
    text = "print('epoch 1: distance=1\\nepoch 2: distance=0.5', end='', flush=True)\n" + DIES.format(name="SIGKILL")
    workload = script(tmp_path, text)
    workload = replace(workload, command=f"sh -c '{workload.command}; exit $?'")
    items: list[Progress] = []
    with pytest.raises(Killed):
        items.extend(item for item in carry_out(workload, None, assigned(tmp_path)) if item is not None)
    assert curve(items) == {1: 1.0}


def ends_a_child(config: Config, state: dict[str, int] | None) -> Iterator[tuple[dict[str, float], dict[str, int]]]:
    """Starts a process of its own in step 3 of its first try, which is killed."""
    for step in range((state or {"step": 0})["step"], 4):
        if step == 2 and TRIED.append(step) is None and len(TRIED) == 1:
            subprocess.run([sys.executable, "-c", DIES.format(name="SIGKILL")], check=True)
        yield {"loss": 1.0 / (step + 1)}, {"step": step + 1}


TRIED: list[int] = []


def test_a_function_whose_own_child_was_killed_goes_on(tmp_path: Path) -> None:
    TRIED.clear()
    workload = FromFunction(ends_a_child, metric="loss", mode="min", horizon=4)
    simulated(tmp_path, small_sweep(workload=workload, num_samples=1))
    ((step, why),) = lost(tmp_path)
    assert step == 2
    assert why.startswith("one of its processes was killed by SIGKILL, often for want of memory: ")
    ledger = Ledger.read(tmp_path)
    assert summary(ledger)["best"]["step"] == 4
    ledger.close()


def test_how_a_process_ended_names_memory_where_it_may_be_the_cause() -> None:
    assert [exit_in_words(code) for code in (0, 3, -11, 143)] == [
        "exit code 0", "exit code 3", "killed by SIGSEGV", "killed by SIGTERM",
    ]  # fmt: skip
    assert {exit_in_words(code) for code in (-9, 137)} == {"killed by SIGKILL, often for want of memory"}
