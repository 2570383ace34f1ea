"""Tests that start Ray run one after the other, in one worker; the others may run beside them (`pytest -n 2`).

What they read is kept in a folder of their own, not in the user's; what they write is kept in memory where there is
room, for most of what a ledger costs on a disk is the wait for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.record.ledger import Ledger
from tests.apart import nodes_apart
from tests.support import ROOT

MEMORY, ENOUGH = Path("/dev/shm"), 4 << 30


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test workers with two threads each wait for each other
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # a shell's background job; what it starts would ignore it too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main = sys.modules["__main__"]
    main.__file__ = getattr(main, "__file__", pytest.__file__)  # a process of xdist has none, as a prompt
    here = str(Path(sys.executable).parent)
    if here not in os.environ["PATH"].split(os.pathsep):  # printed commands are short where the environment is active
        os.environ["PATH"] = f"{here}{os.pathsep}{os.environ['PATH']}"
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(autouse=True, scope="session")
def _node_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the workloads of the exam prepare, each in its `place`; the tests only read it."""
    from tests.trainings import WORKLOADS, place

    folder = tmp_path_factory.mktemp("prepared")
    for workload in WORKLOADS:
        workload.prepare(place(folder, workload))
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes with one thread, whatever a test before it has set."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger in `tmp_path / "run"`, open for writing."""
    ledger = Ledger.write(tmp_path / "run")
    yield ledger
    ledger.close()


@pytest.fixture
def reports_find_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts of trials import the packages from here, wherever they run."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, Callable[..., psutil.Process]]]:
    """The address of a cluster whose head trains nothing, and how to add a node with its own disk in place of the runs."""
    with nodes_apart(monkeypatch, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def warm_parent() -> Iterator[None]:
    """Ends the process that the module's scripts were forked from."""
    from tests.warm import PARENT

    yield
    PARENT.end()
