"""Report metrics from inside a training, and learn whether to go on.

    from orchestrator import parameters, report, resumed_from

    config = parameters()                                 # {"lr": 0.003, "batch_size": 32}
    checkpoint = resumed_from()                           # the path that was reported last, after an interruption
    if checkpoint is not None:
        state = torch.load(checkpoint)
    for epoch in range(first, 21):
        ...
        if not report(epoch, valid_loss=0.52, checkpoint=path):
            break                                         # the sweep needs no more of this trial

Works in a script, a callback, a notebook cell and in every rank of a distributed job. Outside a sweep `report` returns
True and writes nothing. This file imports the standard library only and needs Python 3.6; you may copy it into a project
that cannot install this one.

It communicates through files in `TRIAL_FOLDER`/.reports: `parameters.json` exists before the script starts, reports are
appended to `reports.jsonl`, and `answer.json` holds the last step that the sweep has read and whether the trial goes on.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "TRIAL_FOLDER"  # environment: the trial's own folder; set only by a sweep
RUNNER = "TRIAL_RUNNER"  # environment: host:pid of the process that reads the reports
PLACE, PARAMETERS, REPORTS, ANSWER = ".reports", "parameters.json", "reports.jsonl", "answer.json"
RANKS = (
    "RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "LOCAL_RANK",
)  # environment: which process of a job this is
SHORTEST, LONGEST = 0.002, 0.1  # seconds between two checks for the answer

last_step = -1


def report(step: int, metrics: "Mapping[str, Any] | None" = None, *, checkpoint: Any = None, **values: Any) -> bool:
    """Report the metrics of `step`; returns whether the training should go on. Steps must grow.

    Metrics are numbers, NumPy scalars or tensors of one element, as keywords or as a mapping. `checkpoint`: the path of a
    file or folder from which the training can resume after this step; `resumed_from` returns it. Blocks until the sweep
    has answered, which takes milliseconds. After False, save what you like and exit. In a distributed job only rank 0 is
    recorded; the others get the same answer. The rank is that of torch.distributed or JAX, else the variable RANK.

    Raises ValueError for a step that is not above the last one, TypeError for a metric that is not a number.

    >>> report(1, valid_loss=0.52)
    True
    """
    global last_step
    where = _place()
    if isinstance(step, bool) or not hasattr(step, "__index__") or int(step) < 0:
        raise TypeError(f"report(step={step!r}): must be a whole number, 0 or more: the epoch or the update.")
    step = int(step)
    measured = {name: _number(name, value) for name, value in {**(metrics or {}), **values}.items()}
    if not measured:
        raise ValueError(f"report(step={step}): names no metric; write report({step}, valid_loss=0.52).")
    if where is None:
        return True
    if step <= last_step:
        raise ValueError(f"report(step={step}): step {last_step} was reported before; each report needs a later step.")
    if _rank() == 0:
        path = None if checkpoint is None else os.path.abspath(os.fspath(checkpoint))
        if path is not None and not os.path.exists(path):
            raise ValueError(
                f"report(step={step}, checkpoint={path!r}): there is no such file or folder; save it first."
            )
        if path is not None and where.parent in (Path(path), *Path(path).parents):  # the run may be moved or renamed
            path = os.path.relpath(path, where.parent)
        _append(where / REPORTS, {"step": step, "metrics": measured, "checkpoint": path})
    last_step = step
    return _answer(where / ANSWER, step)


def parameters() -> "dict[str, Any]":
    """The configuration of this trial; an empty dict outside a sweep.

    >>> parameters()
    {}
    """
    where = _place()
    if where is None:
        return {}
    found: dict[str, Any] = json.loads((where / PARAMETERS).read_text())
    return found


def resumed_from() -> "Path | None":
    """The last reported checkpoint that still exists; None: start at the first step.

    >>> checkpoint = resumed_from()
    >>> if checkpoint is not None:
    ...     state = torch.load(checkpoint)
    """
    where = _place()
    if where is None:
        return None
    announce()
    return last_checkpoint(where.parent)


def last_checkpoint(folder: Path, step: float = float("inf")) -> "Path | None":
    """The last checkpoint that was reported in this TRIAL_FOLDER and still exists, up to a step of the sweep.

    A script may have reported more than the sweep has recorded. The sweep's steps begin with 1: where a script's begin with
    0, they are one more.
    """
    found = (path for at, path in reversed(reported_checkpoints(folder)) if at <= step)
    return next((path for path in found if path.exists()), None)


def reported_checkpoints(folder: Path) -> "list[tuple[int, Path]]":
    """The checkpoints that were reported in this TRIAL_FOLDER, each with its step of the sweep."""
    reports, told = folder / PLACE / REPORTS, []
    for line in reports.read_bytes().splitlines() if reports.exists() else []:
        try:
            row = json.loads(line)
            told.append((row["step"], row["checkpoint"]))
        except (ValueError, TypeError, KeyError):  # the line of a process that was killed while it wrote
            continue
    shift = bool(told) and told[0][0] == 0
    return [(at + shift, folder / path) for at, path in told if path is not None]


def announce() -> None:
    """Announce that reports will follow, so that lines printed before the first report are not read as metrics."""
    where = _place()
    if where is not None:
        (where / REPORTS).touch(0o600)


def _place() -> "Path | None":
    folder = os.environ.get(FOLDER)
    place = None if folder is None else Path(folder) / PLACE
    return place if place is not None and (place / PARAMETERS).exists() else None


def _rank() -> int:
    """Which process of a distributed job this is: as torch or JAX knows it, else as its launcher tells."""
    torch, jax = sys.modules.get("torch.distributed"), sys.modules.get("jax")
    if torch is not None and torch.is_available() and torch.is_initialized():
        return int(torch.get_rank())
    if jax is not None and getattr(jax.distributed, "is_initialized", bool)():
        return int(jax.process_index())
    return next((int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdigit()), 0)


def _number(name: str, value: Any) -> "float | str":
    """The value for JSON, which has no NaN: values that are not finite are written by name."""
    try:
        number = float(
            value.item() if getattr(value, "shape", ()) and hasattr(value, "item") else value
        )  # an array or a tensor of one element
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"report({name}={value!r}): must be one number ({error}).") from None
    return number if number - number == 0 else repr(number)


def _append(path: Path, content: "Mapping[str, Any]") -> None:
    """Append in one write: a killed process leaves the line complete, missing or cut off at its end."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + json.dumps(content).encode() + b"\n")
    finally:
        os.close(descriptor)


def _answer(path: Path, step: int) -> bool:
    """Wait for the answer to `step`; False if nobody is left to give it."""
    pause = SHORTEST
    while True:
        try:
            answer = json.loads(path.read_text())
            if answer["step"] >= step or not answer["go_on"]:
                return bool(answer["go_on"])
        except (FileNotFoundError, ValueError):
            pass
        if not _runner_lives():
            return False
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def _runner_lives() -> bool:
    host, _, pid = os.environ.get(RUNNER, "").rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return True  # on another machine: we cannot know
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
