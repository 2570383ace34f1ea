"""Take from an environment what srun or mpirun says of the process that they started: its rank, and how many there are.

A sweep that was started so would hand it on to its trials, which are no such processes: Lightning refuses to start, or waits
for ranks that nobody starts; accelerate looks there, too. The job's own variables stay (SLURM_JOB_ID).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_OF_A_TASK = re.compile(
    r"SLURM_(?:PROCID|LOCALID|NODEID|GTIDS|NPROCS|NTASKS(?:_PER_\w+)?|TASKS_PER_NODE|STEP_?ID|STEP_\w+)"
    r"|(?:OMPI|PMI|PMIX)_\w+"
)


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is alone.

    >>> without_ranks({"SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "SLURM_NTASKS": "4"})
    {'SLURM_JOB_ID': '7'}
    """
    return {name: value for name, value in environment.items() if not _OF_A_TASK.fullmatch(name)}
