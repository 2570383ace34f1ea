"""Engine 2: Ray Tune, on this machine or a cluster. Only this folder imports Ray.

Tune starts, places, watches and restarts *seats*: one long-lived worker for each trial that may run at once. Our
trials pass through the seats; Tune sees only the seats. This is why: handing a trial to a warm seat takes about a
millisecond, a Tune trial of its own 20 ms to 5 s; what Tune keeps per trial, and writes again at every snapshot,
does not grow with the sweep; and nothing that Tune stores is needed to go on (we never restore from it).

Trouble is ordinary: a seat that dies is started again by Tune and its trial goes on from its last checkpoint; an
exception out of `fit()` (the memory monitor can abort a whole experiment) is one more interruption, after which a
new round begins.
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
