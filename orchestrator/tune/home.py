"""Where a run lives: which nodes see its folder, and how the others reach it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.driving.places import Places
from orchestrator.record.storage import FILE as LEDGER
from orchestrator.tune.file_server import FileServer
from orchestrator.tune.keeper import LOOPBACK
from orchestrator.tune.module_path import ModulePath, module_path
from orchestrator.tune.same_code import Code, other_versions
from orchestrator.worker.disk import disk_trouble

if TYPE_CHECKING:
    from trainables.contract import Trainable

CODE, DISK = "code", "disk"  # kinds of trouble
SEEN = "seen-by-nodes"  # the file in the run's folder by which a node knows that it sees it


@dataclass(frozen=True)
class Home:
    """Where a run lives, for its workers on any node. `token` is empty if no other node can be there."""

    places: Places
    here: str  # the driver's working folder
    token: str = ""
    node: str = ""  # the driver's, by Ray's id
    modules: ModulePath = field(default_factory=module_path)  # the driver's

    @property
    def server(self) -> str:
        """The name of the file server's actor."""
        return f"files of {self.token}"

    @property
    def is_seen(self) -> bool:
        """Whether this node sees the run's folder. Raises FileExistsError if it has another run's in that place."""
        if not self.token:
            return True
        with contextlib.suppress(OSError):
            if (self.places.folder / SEEN).read_text() == self.token:
                return True
        if (self.places.folder / LEDGER).exists():
            raise FileExistsError(
                f"{self.places.folder} on this node's own disk holds the record of a run; move it away, or share the disk."
            )
        return False

    def enter(self) -> None:
        """Find the driver's modules, and work in its folder, if this node has it: relative paths mean what they mean there.

        Comes before anything of the user's is unpickled.
        """
        self.modules.enter()
        if self.token and os.path.isdir(self.here):
            os.chdir(self.here)

    def check(self, workload: Trainable) -> None:
        """Raise ValueError if a node of its own lacks what the training needs."""
        try:
            if not self.is_seen:
                workload.check()
        except ValueError:
            if os.path.isdir(self.here):
                raise
            raise ValueError(f"there is no folder {self.here}; copy the project there") from None

    def trouble(self) -> tuple[str, str] | None:
        """Why this node cannot train now: the kind, and a sentence without its subject."""
        if not self.token or ray.get_runtime_context().get_node_id() == self.node:
            return None
        if why := other_versions(ray.get(ray.get_actor(self.server).versions.remote())):
            return CODE, why
        if not self.is_seen and (why := disk_trouble(self.places.folder)):
            return DISK, why
        return None


@contextlib.contextmanager
def at_home(places: Places, code: Callable[[], Code]) -> Iterator[Home]:
    """Serve the run's folder to nodes that do not see it; Ray is up. On this machine's own Ray nothing is served."""
    context = ray.get_runtime_context()
    if context.gcs_address.rpartition(":")[0] == LOOPBACK:
        yield Home(places, os.getcwd())
        return
    home = Home(places, os.getcwd(), secrets.token_hex(16), context.get_node_id())
    (places.folder / SEEN).write_text(home.token)
    server = ray.remote(FileServer).options(
        name=home.server, num_cpus=0, max_concurrency=8, max_restarts=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(home.node, soft=False),
    ).remote(places, home.here, code())  # fmt: skip
    try:
        yield home
    finally:
        (places.folder / SEEN).unlink(missing_ok=True)
        with contextlib.suppress(Exception):  # Ray may be gone
            ray.kill(server)
