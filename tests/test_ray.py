"""The Ray Tune engine: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.definition.concurrency import capacity
from orchestrator.errors import OrchestratorError
from orchestrator.worker.processes import PROCESSES
from tests.support import ROOT, recorded, run_script, sequence, small_sweep

SCRIPT = ROOT / "tests" / "sweeps" / "steady.py"
pytestmark = pytest.mark.ray


def steady(folder: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_script(SCRIPT, "--runs", str(folder), *flags, cwd=ROOT, PYTHONPATH=str(ROOT), **environment)


def started(folder: Path, *flags: str, at_work: int = 1, **environment: str) -> subprocess.Popen[str]:
    """Start it and wait until so many trials have reported."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--runs", str(folder), *flags], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90 * max(1, at_work // 3)
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OrchestratorError):  # not there yet
            reports = [row["trial"] for row in recorded(folder / "steady", "report")]
            if len(reports) >= 3 and len(set(reports)) >= at_work:
                return process
        time.sleep(0.05)
    raise AssertionError(process.communicate()[0])


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["promote"])
def test_both_engines_decide_the_same_with_one_worker(tmp_path: Path, scheduler: str) -> None:
    for engine in ([], ["--simulate"]):
        done = steady(
            tmp_path / "".join(["run", *engine]), "--max-concurrent", "1", *engine, SCHEDULER=scheduler, SLEEP="0"
        )
        assert done.returncode == 0, done.stderr
    assert sequence(tmp_path / "run" / "steady") == sequence(tmp_path / "run--simulate" / "steady")


@pytest.mark.slow
def test_tasks_finalists_and_thinking_ahead_are_the_same_on_both_engines(tmp_path: Path) -> None:
    script = ROOT / "tests" / "sweeps" / "climb.py"
    for engine in ([], ["--simulate"]):
        flags = ["--runs", str(tmp_path / "".join(["run", *engine])), "--max-concurrent", "1", *engine]
        done = run_script(script, *flags, cwd=ROOT, PYTHONPATH=str(ROOT), SLEEP="0" if engine else "0.2")
        assert done.returncode == 0, done.stderr
        assert ("thinking at" in done.stderr) == (engine == [])  # asked only where there is time to use
    assert sequence(tmp_path / "run" / "climb") == sequence(tmp_path / "run--simulate" / "climb")
    assert {row["task"] for row in recorded(tmp_path / "run" / "climb", "suggestion")} == {"full", "little data"}
    assert {row["origin"] for row in recorded(tmp_path / "run" / "climb", "suggestion")} >= {"finalist", "promotion"}


def left_of(whole: list[psutil.Process], seconds: float = 30.0) -> list[psutil.Process]:
    """Those that still run; one that has ended and waits for its parent to hear of it does not."""

    def lives(member: psutil.Process) -> bool:
        try:
            return bool(member.is_running() and member.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    end = time.monotonic() + seconds
    while (alive := [member for member in whole if lives(member)]) and time.monotonic() < end:
        time.sleep(0.05)
    return alive


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All that it has started."""
    return list(psutil.Process(process.pid).children(recursive=True))


@pytest.mark.parametrize(("number", "code"), [
    pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_signal_to_the_whole_group_lets_trials_save_and_prints_the_command_that_goes_on(
    tmp_path: Path, number: int, code: int
) -> None:
    process = started(tmp_path, SLEEP="0.05", STEPS="200")
    whole = family(process)
    connections = [c for member in [psutil.Process(process.pid), *whole] for c in listening(member)]
    assert len(connections) >= 3  # Ray's servers, and the workers
    assert {c.laddr.ip.removeprefix("::ffff:") for c in connections} == {"127.0.0.1"}
    os.killpg(process.pid, number)
    os.killpg(process.pid, number)  # as timeout(1) does: one request that comes twice
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "trials save their checkpoints" in output
    assert "To go on, run the same command" in output
    again = re.search(r"run the same command: (.*)", output)
    assert again is not None
    assert again[1].endswith(f"steady.py --runs {tmp_path}")
    folder = tmp_path / "steady"
    reached = {row["trial"]: row["step"] for row in recorded(folder, "report")}
    saved = {row["trial"]: row["step"] for row in recorded(folder, "checkpoint")}
    started_only = {trial: 0 for trial in saved if trial not in reached}  # it had not finished its first step
    assert saved == reached | started_only  # not one step has to be trained again
    assert left_of(whole) == []


def listening(process: psutil.Process) -> list[Any]:
    return [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]


def test_sigterm_while_ray_starts_is_heard(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--runs", str(tmp_path)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    note = tmp_path / "steady" / PROCESSES
    while process.poll() is None and not note.exists():
        time.sleep(0.02)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "To go on, run the same command" in output
    assert [row["text"] for row in recorded(tmp_path / "steady", "event") if row["kind"] == "state"] == ["interrupted"]
    assert not note.exists()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gcs_server", "raylet"])
def test_the_death_of_ray_itself_is_an_interruption(tmp_path: Path, server: str) -> None:
    """Ray would wait for a minute, and then end the driver with no word of ours."""
    process = started(tmp_path, SLEEP="0.05", STEPS="200")
    whole = family(process)
    next(p for p in whole if server in " ".join(cmdline(p)[:1])).kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 8, output
    assert "to go on, run the same command" in output
    assert [row["text"] for row in recorded(tmp_path / "steady", "event") if row["kind"] == "state"] == ["interrupted"]
    assert left_of(whole) == []


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_the_next_start_cleans_up_and_needs_none_of_rays_own_files(
    tmp_path: Path,
) -> None:
    process = started(tmp_path, TROUBLE="0:hang", STEPS="8")
    whole = family(process)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None  # it waits for the trial that hangs
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "exiting at once" in output
    rays = [path for path in (tmp_path / "steady" / "ray").rglob("*") if path.is_file()]
    for path in rays:
        path.write_bytes(b"\x80\x05broken")
    again = steady(tmp_path, "--num-samples", "3", TROUBLE="0:hang", STEPS="8")
    assert again.returncode == 0, again.stderr
    assert psutil.wait_procs(whole, timeout=30)[1] == []


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_second_driver_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    process = started(tmp_path, STEPS="60")
    second = steady(tmp_path, STEPS="60")
    assert second.returncode == 5
    assert f"pid {process.pid}" in second.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.slow  # test_kills.py kills workers too
def test_a_worker_that_dies_costs_one_retry_and_nothing_else(tmp_path: Path) -> None:
    done = steady(tmp_path, "--max-concurrent", "1", TROUBLE="2:die", SLEEP="0", STEPS="4")
    assert done.returncode == 0, done.stderr
    assert {row["trial"] for row in recorded(tmp_path / "steady", "lost")} == {2}
    assert {row["status"] for row in recorded(tmp_path / "steady", "ending")} == {"completed"}
    whole = steady(tmp_path / "whole", "--max-concurrent", "1", "--simulate", SLEEP="0", STEPS="4")
    assert whole.returncode == 0
    values = {
        folder: {(row["trial"], row["step"]): row["value"] for row in recorded(folder, "report")}
        for folder in (tmp_path / "steady", tmp_path / "whole" / "steady")
    }
    assert values[tmp_path / "steady"] == values[tmp_path / "whole" / "steady"]


@pytest.mark.slow
def test_a_silent_trial_is_killed_with_its_stack_and_retried(tmp_path: Path) -> None:
    done = steady(tmp_path, "--num-samples", "3", TROUBLE="1:hang", SLEEP="0", STEPS="4", SILENCE="4")
    assert done.returncode == 0, done.stderr
    reasons = [row["reason"] for row in recorded(tmp_path / "steady", "lost")]
    assert any("silent for too long" in reason for reason in reasons), reasons
    assert "_spoil" in (tmp_path / "steady" / "trials" / "00001" / "silence-last.txt").read_text()


@pytest.mark.slow
def test_a_trial_that_wants_too_much_memory_fails_alone(tmp_path: Path) -> None:
    done = steady(tmp_path, "--num-samples", "4", TROUBLE="1:allocate", SLEEP="0", STEPS="4", MEMORY="2GiB")
    assert done.returncode == 3, done.stderr
    endings = {row["trial"]: (row["status"], row["reason"]) for row in recorded(tmp_path / "steady", "ending")}
    assert endings.pop(1)[1].startswith("OutOfMemory")
    assert {status for status, _ in endings.values()} == {"completed"}


def test_more_than_the_cluster_has_is_refused(tmp_path: Path) -> None:
    done = steady(tmp_path, CPU="64", MEMORY="9000GiB")
    assert done.returncode == 2
    assert "one trial asks for cpu=64" in done.stderr


def test_an_address_where_nobody_answers_is_refused(tmp_path: Path) -> None:
    done = steady(tmp_path, "--address", "127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert "no Ray cluster answers" in done.stderr


def test_a_cluster_that_asks_for_a_token_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = steady(tmp_path, "--address", address, RAY_AUTH_MODE="token", HOME=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert address in done.stderr


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that trains nothing; several nodes on this machine."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_a_machine_that_is_no_node_of_the_cluster_is_told_where_to_run_the_script(cluster: Any, tmp_path: Path) -> None:
    """The port was open, Ray was silent for a minute, and the error said that no cluster answers."""
    elsewhere = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]  # its processes see no others
    if shutil.which("unshare") is None or subprocess.run([*elsewhere, "true"], capture_output=True).returncode:
        pytest.skip("unshare cannot give a process its own process table here")
    done = subprocess.run(
        [*elsewhere, sys.executable, str(SCRIPT), "--runs", str(tmp_path), "--address", cluster.address],
        cwd=ROOT, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "this machine is no node of that Ray cluster; run the script on a node of the cluster" in done.stderr


@pytest.mark.slow
def test_a_node_that_cannot_load_the_sweep_is_named_once_and_left_out(cluster: Any, tmp_path: Path) -> None:
    package = tmp_path / "broken" / "orchestrator"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('libsomething.so.3 is missing')")
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": f"{package.parent}{os.pathsep}{ROOT}"})
    cluster.add_node(num_cpus=1)
    flags = ["--runs", str(tmp_path), "--address", cluster.address, "--num-samples", "4"]
    done = run_script(SCRIPT, *flags, cwd=tmp_path, PYTHONPATH=str(ROOT), SLEEP="0")  # workers look where it stands
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("libsomething.so.3 is missing") == 1
    told = [row["text"] for row in recorded(tmp_path / "steady", "event") if row["kind"] == "notice"]
    assert len([text for text in told if text.endswith("ImportError: libsomething.so.3 is missing")]) == 1
    assert recorded(tmp_path / "steady", "lost") == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_that_dies_with_most_of_the_seats_costs_each_trial_a_retry(cluster: Any, tmp_path: Path) -> None:
    most = cluster.add_node(num_cpus=7)
    cluster.add_node(num_cpus=1)
    process = started(tmp_path, "--address", cluster.address, SLEEP="0.3", STEPS="2000", at_work=8)
    cluster.remove_node(most, allow_graceful=False)
    folder, lost = tmp_path / "steady", []
    while process.poll() is None and len(lost) < 7:
        lost = [row["trial"] for row in recorded(folder, "lost")]
        time.sleep(0.5)
    before = len(recorded(folder, "report"))
    while process.poll() is None and len(recorded(folder, "report")) <= before:
        time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert len(set(lost)) == 7


@pytest.mark.slow
def test_the_end_of_a_clusters_head_is_an_interruption(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=2)
    address = cluster.address
    process = started(tmp_path, "--address", address, SLEEP="0.05", STEPS="400")
    cluster.head_node.all_processes["gcs_server"][0].process.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 8, output
    assert f"the head of the Ray cluster at {address} has ended" in output
    assert [row["text"] for row in recorded(tmp_path / "steady", "event") if row["kind"] == "state"] == ["interrupted"]


@pytest.mark.slow
def test_what_no_single_node_can_give_is_refused(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=2)
    cluster.add_node(num_cpus=2)
    done = steady(tmp_path, "--address", cluster.address, CPU="3")
    assert done.returncode == 2, done.stderr
    assert "on any node (cpu: 2; cpu: 0)" in done.stderr


@pytest.mark.parametrize(
    ("resources", "available", "fits"),
    [
        ({"cpu": 1}, [{"CPU": 2.0}], 2),
        ({"cpu": 1, "gpu": 0.25}, [{"CPU": 16.0, "GPU": 2.0}], 8),
        ({"cpu": 0.5}, [{"CPU": 2.0}], 4),
        ({"cpu": 1, "gpu": 1}, [{"CPU": 4.0}], 0),
        ({"cpu": 3, "memory": "1GiB"}, [{"CPU": 8.0, "memory": 16.0 * 2**30}], 2),
        ({"cpu": 1, "memory": "6GiB"}, [{"CPU": 8.0, "memory": 16.0 * 2**30}], 2),
        ({"cpu": 3}, [{"CPU": 4.0}] * 3, 3),  # not the four of 12 CPUs
        ({"cpu": 3}, [{"CPU": 2.0}, {"CPU": 2.0}], 0),
        ({"cpu": 1, "gpu": 1}, [{"CPU": 8.0}, {"GPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}], 1),
        ({"cpu": 1}, [{}, {"CPU": 7.0}, {"CPU": 1.0}], 8),  # a head that trains nothing
    ],
)
def test_concurrency_follows_the_resources_of_each_node(
    resources: dict[str, Any], available: list[dict[str, float]], fits: int
) -> None:
    assert capacity(small_sweep(resources=resources), available) == fits


@pytest.mark.slow
def test_half_a_cpu_each_lets_four_trials_run_on_two(tmp_path: Path) -> None:
    wanted = 2 * min(2, os.cpu_count() or 1)
    process = started(
        tmp_path, at_work=wanted, CPU="0.5", SLEEP="0.5", STEPS="2000"
    )  # none ends before the others begin
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
