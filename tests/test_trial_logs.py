"""What a trial leaves behind: its log, its small files, how its process died."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.worker import limits
from orchestrator.worker.limits import HEAD_BYTES, TAIL_BYTES, shorten, why_lost
from search.records import Status
from tests.failing import sweep_of
from tests.support import ROOT, recorded, simulated
from trainables.execution.store import Store
from trainables.scripts.trial_folder import TrialFolder


def talking(config: Any, state: Any) -> Iterator[Any]:
    log = logging.getLogger("of.a.talking.trial")
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel("INFO")
    out, name = sys.stdout, f"{config['x']:.6f}"
    for step in range(4):
        print("print", name)
        print("kept", name, file=out)
        print("error", name, file=sys.stderr)
        log.info("log %s", name)
        os.write(1, f"write {name}\n".encode())
        ctypes.CDLL(None).puts(f"puts {name}".encode())
        subprocess.run(["echo", f"child {name}"], check=True)
        yield {"loss": config["x"]}
        if step == 1 and config["x"] < 0.5:
            raise ValueError("enough said")


@pytest.mark.parametrize("workers", [1, 3])
def test_everything_that_a_trial_says_is_in_its_own_log_also_if_it_fails(
    workers: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    print("before")
    driver = simulated(tmp_path, sweep_of(talking, num_samples=6, first_alone=False, keep_checkpoints=1), workers)
    print("after")
    assert capfd.readouterr().out == "before\nafter\n"
    assert driver.history.count(Status.FAILED)
    for trial in driver.history:
        said, failed, _ = (driver.places.trial(trial.number) / "log.txt").read_text().partition("Traceback ")
        assert bool(failed) == (trial.status is Status.FAILED)
        lines = said.splitlines()
        steps = 2 if trial.status is Status.FAILED else 4
        ways = ("print", "kept", "error", "log", "write", "puts", "child")
        assert sorted(lines) == sorted(f"{way} {trial.config['x']:.6f}" for way in ways * steps)


def test_a_tee_that_a_trial_puts_in_place_of_its_output_stays_its_own(tmp_path: Path) -> None:
    class Tee:
        def __init__(self, stream: Any) -> None:
            self.stream, self.lines = stream, 0

        def write(self, text: str) -> None:
            self.lines += text.count("\n")
            self.stream.write(text)

        def flush(self) -> None:
            self.stream.flush()

    tees = []

    def train(config: Any, state: Any) -> Iterator[Any]:
        sys.stdout = tee = Tee(sys.stdout)  # type: ignore[assignment]
        tees.append(tee)
        for _ in range(4):
            print("said")
            yield {"loss": config["x"]}

    screen = sys.stdout
    driver = simulated(tmp_path, sweep_of(train, first_alone=False), 3)
    assert sys.stdout is screen
    assert [tee.lines for tee in tees] == [4] * 4
    for trial in driver.history:
        assert (driver.places.trial(trial.number) / "log.txt").read_text() == "said\n" * 4


def test_a_trial_that_closes_its_output_takes_it_from_nobody(tmp_path: Path) -> None:
    for trial in range(3):
        with limits.log_to(tmp_path / str(trial)):
            print("said")
            sys.stdout.close()
            os.close(2)
    assert [(tmp_path / str(trial) / "log.txt").read_text() for trial in range(3)] == ["said\n"] * 3
    print("on the screen", file=sys.stderr)


def test_a_process_without_standard_output_has_logs_too(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "from orchestrator.worker.limits import log_to\n"
        "for trial in range(2):\n"
        f"    with log_to(Path({str(tmp_path)!r}) / str(trial)):\n"
        "        print('said'); os.write(2, b'written\\n')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert [(tmp_path / str(trial) / "log.txt").read_text() for trial in range(2)] == ["said\nwritten\n"] * 2


def test_what_a_signal_handler_says_in_the_midst_of_a_trial_is_on_the_screen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with limits.log_to(tmp_path):
        limits.to_screen(b"stopping\n")
        print("training")
    limits.to_screen(b"over\n")
    assert capfd.readouterr().err == "stopping\nover\n"
    assert (tmp_path / "log.txt").read_text() == "training\n"


def test_of_a_long_log_the_head_and_the_tail_stay(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    line = b"%09d\n"
    with open(log, "ab") as file:
        for part in range(2):
            file.write(b"".join(line % number for number in range(part * 400_000, (part + 1) * 400_000)))
            file.flush()
            shorten(log)
    found = log.read_bytes().splitlines()
    (cut,) = [index for index, text in enumerate(found) if not text.isdigit()]
    numbers = [int(text) for text in [*found[:cut], *found[cut + 1 :]]]
    assert log.stat().st_size <= HEAD_BYTES + TAIL_BYTES + 4096
    assert numbers[:cut] == list(range(cut))
    assert numbers[cut:] == list(range(800_000 - len(numbers[cut:]), 800_000))
    assert min(cut, len(numbers) - cut) >= HEAD_BYTES // 10 - 1
    missing = 10 * (800_000 - len(numbers))
    assert found[cut].decode() == f"[… {missing} bytes are left out here …]"


def test_no_line_is_lost_that_is_written_while_a_log_is_shortened(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "checkpoints" / "script")
    log, lines = tmp_path / "log.txt", 3000

    def write() -> None:
        for number in range(lines):
            folder.write_log(b"%09d\n" % number + b"x" * 2000 + b"\n")

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        shorten(log)
    shorten(log)
    numbers = [int(text) for text in log.read_bytes().splitlines() if text.isdigit()]
    cut = next(index for index, number in enumerate(numbers) if index != number)
    assert numbers[cut:] == list(range(numbers[cut], lines))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("os._exit(3)", "os._exit: exit code 3"),
        ("ctypes.string_at(0)", "segmentation fault (signal 11)"),
        ("os.abort()", "abort (signal 6)"),
        (
            "os.kill(os.getpid(), 9)",
            "it was killed from outside (signal 9: often for want of memory), or its node died",
        ),
    ],
)
def test_a_process_that_dies_in_a_trial_has_left_behind_how(how: str, why: str, tmp_path: Path) -> None:
    code = (
        "import ctypes, os, sys; from pathlib import Path; from orchestrator.worker.limits import log_to, noted\n"
        "import faulthandler, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with noted(folder), log_to(folder):\n"
        "    print('last words')\n"
        "    if os.fork() == 0: os._exit(7)\n"  # a child that is no trial
        "    os.wait()\n"
        f"    {how}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode
    assert why_lost(tmp_path) == f"{why}; its log is {tmp_path / 'log.txt'}"
    assert (tmp_path / "log.txt").read_text().startswith("last words\n")
    assert not (tmp_path / limits.EXIT_FILE).exists()


def test_a_failed_trial_keeps_its_small_files_and_its_log(tmp_path: Path) -> None:
    ways = iter(("bent", "burnt", "drowned", "lost"))

    def train(config: Any, state: Any) -> Iterator[Any]:
        print("words")
        yield {"loss": 1.0}, {"weights": torch.zeros(2**23 if config["x"] < 0.5 else 2)}
        raise ValueError(next(ways))

    driver = simulated(tmp_path, sweep_of(train, num_samples=4, checkpoint_seconds=0, keep_checkpoints=1))
    assert [trial.status for trial in driver.history] == [Status.FAILED] * 4
    for trial in driver.history:
        assert (driver.places.trial(trial.number) / "log.txt").read_text().startswith("words\nTraceback ")
        is_kept = trial.config["x"] >= 0.5 or trial.number == 3  # the last one, for another try
        assert bool(Store(driver.places.checkpoints(trial.number)).find()) == is_kept


# In a seat.


@pytest.mark.slow
@pytest.mark.ray
def test_a_seat_tells_how_a_trial_left_and_the_next_one_finds_nothing_of_it(tmp_path: Path) -> None:
    script = tmp_path / "tune.py"
    script.write_text(
        "import logging, os, sys\n"
        "from orchestrator import FromFunction, Random, RunToEnd, Space, Sweep, launch, uniform\n"
        "def train(config, state):\n"
        "    trial = int(os.path.basename(os.path.dirname(os.readlink('/proc/self/fd/1'))))\n"
        "    assert open('data.txt').read() == 'here'\n"
        "    assert 'OF_A_TRIAL' not in os.environ\n"
        "    os.environ['OF_A_TRIAL'] = str(trial)\n"
        "    os.chdir('/')\n"
        "    log = logging.getLogger('mine')\n"
        "    assert not log.handlers\n"
        "    log.addHandler(logging.StreamHandler(sys.stdout))\n"
        "    for step in range(3):\n"
        "        log.warning('step %d of trial %d', step, trial)\n"
        "        os.system(f'echo child of trial {trial}')\n"
        "        yield {'loss': config['x']}\n"
        "        if trial == 1: sys.exit('the data of 2019 is missing')\n"
        "        if trial == 2: os._exit(3)\n"
        "        if trial == 3: return\n"
        "launch(Sweep(name='own', workload=FromFunction(train, metric='loss', mode='min', horizon=3), num_samples=5,\n"
        "    space=Space({'x': uniform(0.0, 1.0)}), searcher=Random(), scheduler=RunToEnd(), max_concurrent=1, retries=0, allow_failed=2))\n"
    )
    (tmp_path / "data.txt").write_text("here")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "own"
    reasons = {row["trial"]: row["reason"] for row in recorded(run, "ending")}
    assert reasons[1] == "SystemExit: the data of 2019 is missing"
    assert reasons[2].startswith("WorkerLost: os._exit: exit code 3; its log is ")
    assert reasons[3] == "ended by itself at step 1 of 3: the training returned"
    assert reasons[0] == reasons[4] == "reached the horizon"
    for trial, steps in {0: 3, 1: 1, 2: 1, 3: 1, 4: 3}.items():
        lines = (run / "trials" / f"{trial:05d}" / "log.txt").read_text().partition("Traceback ")[0].splitlines()
        said = [line for step in range(steps) for line in (f"step {step} of trial {trial}", f"child of trial {trial}")]
        assert [line for line in lines if "trial" in line] == said
