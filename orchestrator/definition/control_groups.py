"""The limits that a container or a batch system sets to this process, by its Linux control groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ControlGroups:
    """`root`: where the groups are mounted. `own`: the file that names those of this process. Both may be missing."""

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def cpus(self) -> float:
        """The CPUs that may be busy at once, infinite without a limit: 2.5 for `docker run --cpus=2.5`."""
        limits = [math.inf]
        for folder in self._folders("cpu"):
            quota, period = (*_numbers(folder / "cpu.max"), math.inf, math.inf)[:2]
            if math.isinf(quota):  # version 1, where -1 is no limit
                quota = next(_numbers(folder / "cpu.cfs_quota_us"), -1)
                period = next(_numbers(folder / "cpu.cfs_period_us"), math.inf)
            limits += [quota / period] if quota > 0 and period > 0 and math.isfinite(period) else []
        return min(limits)

    def memory(self) -> float:
        """Bytes of main memory, infinite without a limit; version 1 has a number of more than 2^60 for none."""
        names = ("memory.max", "memory.limit_in_bytes")
        return min(
            (limit for folder in self._folders("memory") for name in names for limit in _numbers(folder / name)),
            default=math.inf,
        )

    def _folders(self, controller: str) -> Iterator[Path]:
        """The group of this process and all above it, since each may have a limit; then the root, for in a container the
        path may be that of the host."""
        for line in _text(self.own).splitlines():
            _, controllers, path = line.split(":", 2)
            mounted = self.root / controller if controllers else self.root  # version 2 has one tree for all
            if not controllers or controller in controllers.split(","):
                group = mounted / path.strip("/")
                yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(mounted))
        yield from (self.root, self.root / controller)


def _numbers(path: Path) -> Iterator[float]:
    """The numbers in a file, "max" as infinity; none if there is no such file."""
    return (math.inf if word == "max" else float(word) for word in _text(path).split())


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
