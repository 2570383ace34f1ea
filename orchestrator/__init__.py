"""From a Sweep to a ledger to a report. All public names are here: `from orchestrator import Sweep, launch`.

Names are loaded on first use (PEP 562), so `--help` needs neither torch nor Ray, and a training script that only
reports its metrics imports one small file.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.callbacks.lightning import LightningCallback as LightningCallback
    from orchestrator.callbacks.transformers import TransformersCallback as TransformersCallback
    from orchestrator.errors import BadInput as BadInput
    from orchestrator.errors import Interrupted as Interrupted
    from orchestrator.errors import NoMetric as NoMetric
    from orchestrator.errors import OrchestratorError as OrchestratorError
    from orchestrator.errors import ResumeRefused as ResumeRefused
    from orchestrator.errors import RunInUse as RunInUse
    from orchestrator.errors import StorageError as StorageError
    from orchestrator.errors import TrialsFailed as TrialsFailed
    from orchestrator.main import launch as launch
    from orchestrator.main import run as run
    from orchestrator.reading.result import Result as Result
    from orchestrator.reporting import parameters as parameters
    from orchestrator.reporting import report as report
    from orchestrator.reporting import resumed_from as resumed_from
    from orchestrator.sweep import Sweep as Sweep
    from search import *  # noqa: F403
    from trainables import *  # noqa: F403

HOMES = {
    "BadInput": "orchestrator.errors",
    "Interrupted": "orchestrator.errors",
    "NoMetric": "orchestrator.errors",
    "OrchestratorError": "orchestrator.errors",
    "ResumeRefused": "orchestrator.errors",
    "RunInUse": "orchestrator.errors",
    "StorageError": "orchestrator.errors",
    "TrialsFailed": "orchestrator.errors",
    "LightningCallback": "orchestrator.callbacks.lightning",
    "launch": "orchestrator.main",
    "run": "orchestrator.main",
    "parameters": "orchestrator.reporting",
    "report": "orchestrator.reporting",
    "resumed_from": "orchestrator.reporting",
    "Result": "orchestrator.reading.result",
    "Sweep": "orchestrator.sweep",
    "TransformersCallback": "orchestrator.callbacks.transformers",
}  # the other names are those of `search` and `trainables`

LIGHTNING = ("LightningCallback",)  # without its extra, `import *` gives the rest; asking for it says what to install


def __getattr__(name: str) -> Any:
    if name == "__all__":  # type checkers read the imports above
        offered = set(HOMES) if any(map(find_spec, ("lightning", "pytorch_lightning"))) else HOMES.keys() - LIGHTNING
        return sorted(offered.union(*(package.__all__ for package in _packages())))
    if name in HOMES:
        home = importlib.import_module(HOMES[name])
    elif name.startswith("__") or not (homes := [package for package in _packages() if name in package.HOMES]):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        (home,) = homes
    found = getattr(home, name)
    globals()[name] = found
    return found


def _packages() -> tuple[ModuleType, ModuleType]:
    importlib.import_module("orchestrator.definition.import_check")  # a user's own search.py must not hide ours
    return importlib.import_module("search"), importlib.import_module("trainables")


def __dir__() -> list[str]:
    return __getattr__("__all__")  # type: ignore[no-any-return]
