"""Let the sweep read what a script logs to W&B, MLflow or TensorBoard. Python imports a module of this name at its start.

Each call of a logging function also appends a row to `.reports/logged.jsonl`: {"epoch": 3, "val/loss": 0.52}. The
script's Python may be older than ours and may lack this project, so this file needs Python 3.6 and nothing else. An
error in here must not reach the training.
"""

import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import os
import re
import sys
import threading
from typing import Any, Callable, Dict, FrozenSet  # noqa: UP035

_HERE = os.path.dirname(os.path.abspath(__file__))
_MOST = 20  # sets of names without the metrics, and rows of each: they are for the message that the metric is missing
_within = threading.local()  # set while a logging function runs, which may call another one
_others: Dict[FrozenSet[str], int] = {}  # noqa: UP006


def _write(data: Any, step: Any = None) -> None:
    """Append the numbers in `data`: all rows with a tuned metric, the first ones without."""
    if any(os.environ.get(rank, "0") != "0" for rank in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")):
        return
    row = {}  # type: Dict[str, float]
    _collect(row, "", data)
    wanted = {_key(name) for name in json.loads(os.environ["TRIAL_METRICS"])}
    names = frozenset(row)
    if not wanted & {_key(name) for name in row}:
        count = _others.get(names, 0)
        if count >= _MOST or (count == 0 and len(_others) >= _MOST) or not row:
            return
        _others[names] = count + 1
    if step is not None:
        row.setdefault("step", float(step))
    with open(os.path.join(os.environ["TRIAL_FOLDER"], ".reports", "logged.jsonl"), "a") as file:
        file.write(json.dumps(row) + "\n")


def _collect(row: Any, before: str, data: Any) -> None:
    for name, value in data.items():
        if isinstance(value, dict):
            _collect(row, "{}{}.".format(before, name), value)  # noqa: UP032
        elif hasattr(value, "__float__") and not isinstance(value, (bool, str)):
            try:
                row[before + str(name)] = float(value)
            except (TypeError, ValueError, RuntimeError):  # an array with several elements
                continue


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9@²%]+", "_", name.lower()).strip("_")


def _follow(owner: Any, name: str, tell: Callable[..., None]) -> None:
    """Let each call of a logging function also call `tell` with the same arguments, once it has returned."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        if getattr(_within, "call", False):
            return function(*args, **named)
        _within.call = True
        try:
            result = function(*args, **named)
        finally:
            _within.call = False
        with contextlib.suppress(Exception):
            tell(*args, **named)
        return result

    setattr(owner, name, call)


def _wandb(module: Any) -> None:
    _follow(module.Run, "log", lambda run, data, step=None, *_, **__: _write(data, step))


def _mlflow(module: Any) -> None:
    _follow(module, "log_metric", lambda key, value, step=None, *_, **__: _write({key: value}, step))
    _follow(module, "log_metrics", lambda metrics, step=None, *_, **__: _write(metrics, step))


def _mlflow_client(module: Any) -> None:
    def batch(client: Any, run_id: Any, metrics: Any = (), *_: Any, **__: Any) -> None:
        for step in sorted({metric.step for metric in metrics}):
            _write({metric.key: metric.value for metric in metrics if metric.step == step}, step)

    client = module.MlflowClient
    _follow(
        client,
        "log_metric",
        lambda _, run, key, value, timestamp=None, step=None, *__, **___: _write({key: value}, step),
    )
    _follow(client, "log_batch", batch)


def _tensorboard(module: Any) -> None:
    _follow(
        module.SummaryWriter,
        "add_scalar",
        lambda _, tag, scalar_value, global_step=None, *__, **___: _write({tag: scalar_value}, global_step),
    )


def _lightning(name: str) -> Callable[[Any], None]:
    """Follow a logger of Lightning, which logs the epoch by a call of its own, if at all."""

    def follow(module: Any) -> None:
        _follow(getattr(module, name), "log_metrics", lambda _, metrics, step=None: _write(metrics, step))

    return follow


_LOGGERS = {
    "wandb.sdk.wandb_run": _wandb,
    "mlflow.tracking.fluent": _mlflow,
    "mlflow.tracking.client": _mlflow_client,
    "torch.utils.tensorboard.writer": _tensorboard,
    "tensorboardX.writer": _tensorboard,
    "lightning.fabric.loggers.tensorboard": _lightning("TensorBoardLogger"),
    "lightning.fabric.loggers.csv_logs": _lightning("CSVLogger"),
    "lightning_fabric.loggers.tensorboard": _lightning("TensorBoardLogger"),  # of pytorch_lightning
    "lightning_fabric.loggers.csv_logs": _lightning("CSVLogger"),
}


class _Finder:
    """Finds the modules of loggers as Python does, and follows their functions once they are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        follow = _LOGGERS.pop(name, None)
        spec = None if follow is None else importlib.util.find_spec(name)
        if follow is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            with contextlib.suppress(Exception):
                follow(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _run_the_users_own() -> None:
    """Run the `sitecustomize` that Python would have imported."""
    places = [place for place in sys.path if os.path.abspath(place) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if "TRIAL_METRICS" in os.environ:
    sys.meta_path.insert(0, _Finder())
_run_the_users_own()
