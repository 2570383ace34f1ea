"""Ray's settings for our engine: set in this process's environment while a sweep runs, restored after it.

Not for `orchestrator.tune.outside`: a plain `ray.tune.Tuner` keeps its own loggers, snapshots and signals. One that runs in
another thread at the same time meets ours.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

# The one setting that stays: Ray reads it when it is imported, which is after this. It hides what Ray says of a lost worker
# or node, which the driver tells in words of its own.
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed|Raylet is terminated|has been marked dead"
)

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a workload's relative paths mean what they mean in the script
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger replaces Tune's files for each trial
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the driver checks metrics; one bad trial must not end the sweep
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # no snapshots: they are never read
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # waiting seats are normal, and told in our own words
}


@contextlib.contextmanager
def environment(ours: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within this block."""
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def unless_set(ours: Mapping[str, str]) -> dict[str, str]:
    """The settings that the user has not chosen."""
    return {name: os.environ.get(name, value) for name, value in ours.items()}
