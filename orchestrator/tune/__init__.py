"""Engine 2: Ray Tune, on this machine or a cluster. Only this folder imports Ray.

Tune starts, places, watches and restarts *seats*: one long-lived worker for each trial that may run at once. Our
trials pass through the seats; Tune sees only the seats. This is why: handing a trial to a warm seat takes about a
millisecond, a Tune trial of its own 20 ms to 5 s; what Tune keeps per trial, and writes again at every snapshot,
does not grow with the sweep; and nothing that Tune stores is needed to go on (we never restore from it).

Trouble is ordinary: a seat that dies is started again by Tune and its trial goes on from its last checkpoint; an
exception out of `fit()` (the memory monitor can abort a whole experiment) is one more interruption, after which a
new round begins.

A local Ray hangs below a *keeper*, a process of ours (keeper.py): signals to the driver's group pass it by, it ends with the
driver, and nothing else does. That Ray itself has died is noticed in seconds (loss.py).

For those who stay with `ray.tune.Tuner`: `SearchAlgorithm` and `TrialScheduler` bring our searchers and schedulers
there (see outside.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.tune.outside import SearchAlgorithm, TrialScheduler

__all__ = ["SearchAlgorithm", "TrialScheduler"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator.tune import outside  # imports Ray

    return getattr(outside, name)
