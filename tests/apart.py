"""Nodes of one cluster that have disks of their own, each a process that sees mounts of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import OrchestratorError
from tests.support import ROOT, recorded

TRAIN = """
import argparse
from orchestrator import report
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
lr = parser.parse_args().lr
for step in range(1, 4):
    report(step, valid_loss=1 / (1 + lr * step))
"""
TUNE = """
from orchestrator import Space, Sweep, launch, loguniform
space = Space({"lr": loguniform(1e-3, 1.0)})
launch(Sweep("tuned", "python train.py", space, minimize="valid_loss", steps=3, num_samples=2))
"""
APART = ["unshare", "--mount", "--map-root-user"]  # a process that sees mounts of its own


@contextlib.contextmanager
def nodes_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, Callable[..., psutil.Process]]]:
    """The address of a cluster whose head trains nothing, and how to add a node with its own disk in place of the runs."""
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("unshare cannot give a process mounts of its own here")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    runs, nodes = tmp_path / "runs", []
    runs.mkdir()
    ray = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--address",
        cluster.address,
        "--num-cpus=1",
        "--block",
    ]

    def alive() -> list[Any]:
        return [node for node in cluster.global_state.node_table() if node["Alive"]]

    def added(*hidden: Path, own: Mapping[Path, Path] | None = None, room: str = "1g") -> psutil.Process:
        """`hidden`: folders that are empty there; `own`: folders in whose place others are; `room`: of its disk."""
        before = len(alive())
        mounts = [f'mount -t tmpfs -o size={room} none "{place}"' for place in (runs, *hidden)]
        mounts += [f'mount --bind "{there}" "{place}"' for place, there in (own or {}).items()]
        mount = " && ".join([*mounts, 'exec "$@"'])
        with (tmp_path / f"node{len(nodes)}.log").open("w") as log:
            process = subprocess.Popen(
                [*APART, "sh", "-c", mount, "sh", *ray], stdout=log, stderr=log, start_new_session=True, cwd=tmp_path
            )
        nodes.append(process)
        deadline = time.monotonic() + 90
        while len(alive()) == before:
            assert time.monotonic() < deadline, "the node has not joined"
            time.sleep(0.2)
        return psutil.Process(process.pid)

    yield cluster.address, added
    for process in nodes:
        with contextlib.suppress(psutil.NoSuchProcess):
            ended(psutil.Process(process.pid))
        process.wait()
    cluster.shutdown()


def ended(node: psutil.Process) -> None:
    """The power is cut."""
    for process in [*node.children(recursive=True), node]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    with contextlib.suppress(OrchestratorError):  # not there yet
        return recorded(folder, table)
    return []


def wait(process: subprocess.Popen[str], until: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def project(folder: Path, train: str, tune: str) -> Path:
    place = folder / "project"
    place.mkdir()
    (place / "train.py").write_text(train)
    (place / "tune.py").write_text(tune)
    return place


def tuned(place: Path, address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tune.py", "--runs", str(place.parent / "runs"), "--address", address]
    return subprocess.run(command, cwd=place, text=True, capture_output=True, timeout=300)
