"""Ray's settings for our engine, made when this module is imported: before Ray is.

Not for `orchestrator.tune.outside`: a plain `ray.tune.Tuner` keeps its own loggers, snapshots and signals.
"""

import os

for _name, _value in {  # read by Ray when it is imported, which is after this
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",  # the driver tells it, in one line
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a workload's relative paths mean what they mean in the script
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger replaces Tune's files for each trial
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the driver checks metrics; one bad trial must not end the sweep
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # no snapshots: they are never read
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # waiting seats are normal, and told in our own words
}.items():
    os.environ.setdefault(_name, _value)
