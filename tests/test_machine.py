"""What a machine has for the trials of a sweep: the limits of containers, and how many trials train at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.definition import machine
from orchestrator.definition.concurrency import at_once_here, capacity
from orchestrator.definition.control_groups import ControlGroups
from tests.support import small_sweep

NO_LIMIT = "9223372036854771712"  # version 1's
GIB = 2**30
Grouped = Callable[[dict[str, str], str], ControlGroups]


@pytest.fixture
def grouped(tmp_path: Path) -> Grouped:
    """Control groups with these files, for a process of the groups `own`."""

    def made(files: dict[str, str], own: str) -> ControlGroups:
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        (tmp_path / "own").write_text(own)
        return ControlGroups(tmp_path / "cgroup", tmp_path / "own")

    return made


@pytest.mark.parametrize(
    ("files", "own", "cpus", "memory"),
    [
        ({"cpu.max": "200000 100000", "memory.max": str(8 * GIB)}, "0::/\n", 2.0, 8 * GIB),  # docker run --cpus=2 -m 8g
        ({"cpu.max": "max 100000", "memory.max": "max"}, "0::/\n", math.inf, math.inf),
        ({}, "0::/\n", math.inf, math.inf),
        ({}, "", math.inf, math.inf),  # no Linux
        ({"cpu.max": "150000 100000"}, "0::/docker/1f3a\n", 1.5, math.inf),  # the host's path, seen in the container
        (  # a job of a batch system: the tightest of all groups above counts
            {"jobs/cpu.max": "400000 100000", "jobs/7/cpu.max": "max 100000", "jobs/7/memory.max": str(GIB), "other/cpu.max": "1 1"},
            "0::/jobs/7\n", 4.0, GIB,
        ),
        (
            {
                "cpu/docker/1/cpu.cfs_quota_us": "50000", "cpu/docker/1/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000", "memory/docker/1/memory.limit_in_bytes": str(2 * GIB),
                "memory/memory.limit_in_bytes": NO_LIMIT,
            },
            "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n", 0.5, 2 * GIB,
        ),
    ],
)  # fmt: skip
def test_the_limits_of_a_container_are_read(
    files: dict[str, str], own: str, cpus: float, memory: float, grouped: Grouped
) -> None:
    groups = grouped(files, own)
    assert (groups.cpus(), groups.memory()) == (cpus, memory)


def test_a_process_uses_no_more_than_its_container_allows(grouped: Grouped) -> None:
    groups = grouped({"cpu.max": "50000 100000", "memory.max": str(GIB // 8)}, "0::/\n")
    assert (machine.cpus(groups), machine.memory(groups)) == (1, GIB // 8)
    everything = grouped({"cpu.max": "max 100000", "memory.max": NO_LIMIT}, "0::/\n")
    assert machine.cpus(everything) >= 1
    assert machine.memory(everything) == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("nodes", "fits"), [([], 0), ([{}], 0), ([{"CPU": 4.0}] * 3, 12), ([{"GPU": 1.0}, {"CPU": 1.0}], 1)]
)
def test_trials_that_reserve_nothing_are_as_many_as_the_nodes_have_cpus(
    nodes: list[dict[str, float]], fits: int
) -> None:
    """They were as many as the driver's machine has, even for no node at all."""
    assert capacity(small_sweep(resources={}), nodes) == fits


@pytest.mark.parametrize(
    ("changes", "at_once"),
    [
        ({"resources": {}}, machine.cpus()),
        ({"resources": {"cpu": 1}}, machine.cpus()),
        ({"resources": {"cpu": 0.5}}, 2 * machine.cpus()),
        ({"resources": {"cpu": 0.5}, "max_concurrent": 1}, 1),
        ({"resources": {"cpu": 0.01}, "budget": 3.0}, 3),
        ({"resources": {"cpu": 100_000}}, 1),
        ({"resources": {"cpu": 0.01, "memory": machine.memory() // 2}}, 2),
    ],
)
def test_the_plan_and_the_run_count_the_trials_of_this_machine_alike(changes: dict[str, Any], at_once: int) -> None:
    assert at_once_here(small_sweep(**{"max_concurrent": None, "num_samples": 1000, **changes})) == at_once
