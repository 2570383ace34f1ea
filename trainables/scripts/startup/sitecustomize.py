"""Let the sweep read what a script logs to W&B, MLflow or TensorBoard. Python imports a module of this name at its start.

Each call of a logging function also appends a row to `.reports/logged.jsonl`: {"epoch": 3, "val/loss": 0.52}. Texts in it
are marks of ours: "another_run": "W&B", of a second run of the same logger; "step_metric": "epoch", the step that
`define_metric` names for the tuned metric; "summary": "W&B", of values for `wandb.summary` or add_hparams(). The script's
Python may be older than ours and may lack this project, so this file needs Python 3.6 and nothing else. An error in here
must not reach the training. A script that is asked for --help says in the same way what its parser takes (parsers.py).
"""

import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import math
import os
import re
import sys
import threading
import unicodedata
from typing import Any, Callable, Dict, FrozenSet  # noqa: UP035

_HERE = os.path.dirname(os.path.abspath(__file__))
_MOST = 20  # sets of names without the metrics, and rows of each: they are for the message that the metric is missing
_MARKS = "".join(sign for sign in map(chr, range(0x300, 0x2000)) if unicodedata.category(sign).startswith("M"))
_BETWEEN_WORDS = re.compile(r"(?:[^\w{}@%]|_)+".format(_MARKS))  # noqa: UP032
_within = threading.local()  # set while a logging function runs, which may call another one
_others: Dict[FrozenSet[str], int] = {}  # noqa: UP006
_first: Dict[str, Any] = {}  # noqa: UP006 - kind of logger → the run that the metric was first logged in
_uncommitted: Dict[str, Any] = {}  # noqa: UP006 - W&B run → what log(commit=False) has left for its next call
_axes: Dict[str, Any] = {}  # noqa: UP006 - W&B run → metric, or `val/*` → the step that define_metric() names for it
_latest: Dict[str, Any] = {}  # noqa: UP006 - W&B run → the last values of these steps, which W&B puts into later rows


def _write(kind: str, run: Any, data: Any, step: Any = None, **marks: str) -> bool:
    """Append the numbers in `data`: all rows with a tuned metric, the first ones without. Returns whether it has one."""
    if any(os.environ.get(rank, "0") != "0" for rank in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")):
        return False
    row = {}  # type: Dict[str, Any]
    _collect(row, "", data)
    wanted = {key_of(name) for name in json.loads(os.environ["TRIAL_METRICS"])}
    names = frozenset(row)
    is_tuned = bool(wanted & {key_of(name) for name in row})
    if not is_tuned:
        count = _others.get(names, 0)
        if count >= _MOST or (count == 0 and len(_others) >= _MOST) or not row:
            return False
        _others[names] = count + 1
    elif _first.setdefault(kind, run) != run:
        row["another_run"] = kind
    if step is not None:
        row.setdefault("step", _number(step))
    row.update(marks)
    with open(_file("logged.jsonl"), "a") as file:
        file.write(json.dumps(row) + "\n")
    return is_tuned


def _file(name: str) -> str:
    return os.path.join(os.environ["TRIAL_FOLDER"], ".reports", name)


def _collect(row: Any, before: str, data: Any) -> None:
    for name, value in data.items():
        if isinstance(value, dict):
            _collect(row, "{}{}.".format(before, name), value)  # noqa: UP032
        elif hasattr(value, "__float__") and not isinstance(value, (bool, str)):
            with contextlib.suppress(TypeError, ValueError, RuntimeError):  # an array with several elements
                row[before + str(name)] = _number(value)


def _number(value: Any) -> Any:
    return value if isinstance(value, int) else float(value)


def key_of(name: str) -> str:
    """As `key_of` in names.py."""
    return _BETWEEN_WORDS.sub("_", name.casefold()).strip("_") or name.strip()


def _follow(owner: Any, name: str, tell: Callable[..., Any]) -> None:
    """Let each call of a function also call `tell` with its result and the same arguments."""
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
            tell(result, *args, **named)
        return result

    call.is_followed = True  # type: ignore[attr-defined]
    setattr(owner, name, call)


def _wandb(module: Any) -> None:
    for name, tell in _OF_RUN.items():
        _follow(module.Run, name, tell)


def _wandb_log(_: Any, run: Any, data: Any, step: Any = None, commit: Any = None, *__: Any, **___: Any) -> None:
    _uncommitted.setdefault(run.id, {}).update(data)
    if commit is not False:
        _wandb_commit(run, step)


def _wandb_finish(_: Any, run: Any, *__: Any, **___: Any) -> None:
    if run.id in _uncommitted:
        _wandb_commit(run)


def _wandb_define(_: Any, run: Any, name: str, step_metric: Any = None, *__: Any, **___: Any) -> None:
    if step_metric is not None:
        _axes.setdefault(run.id, {})[name] = getattr(step_metric, "name", step_metric)


def _wandb_commit(run: Any, step: Any = None) -> None:
    row, axes, latest = _uncommitted.pop(run.id), _axes.get(run.id, {}), _latest.setdefault(run.id, {})
    latest.update((axis, row[axis]) for axis in axes.values() if axis in row)
    tuned = key_of(json.loads(os.environ["TRIAL_METRICS"])[0])
    named = [name for name in row if key_of(name) == tuned]
    whole = [axes[name] for name in named if name in axes]
    parts = [axes[part] for part in axes for name in named if part.endswith("*") and name.startswith(part[:-1])]
    marks = {}
    for axis in (whole + parts)[:1]:
        if axis in latest:
            row.setdefault(axis, latest[axis])
            marks["step_metric"] = axis
    _write("W&B", run.id, row, step, **marks)


_OF_RUN: Dict[str, Callable[..., None]] = {"log": _wandb_log, "finish": _wandb_finish, "define_metric": _wandb_define}  # noqa: UP006


def _wandb_disabled(run: Any) -> None:
    """Follow a run with mode="disabled", whose functions are its own."""

    def of_run(tell: Callable[..., None]) -> Callable[..., None]:
        return lambda result, *values, **named: tell(result, run, *values, **named)

    for name, tell in _OF_RUN.items():
        _follow(run, name, of_run(tell))
        if name != "finish":  # which calls that of the run
            setattr(sys.modules["wandb"], name, getattr(run, name))


def _wandb_summary(module: Any) -> None:
    _follow(module.Summary, "update", _wandb_summarised)


def _wandb_summary_disabled(module: Any) -> None:
    _follow(module.SummaryDisabled, "update", _wandb_summarised)
    for name in ("__setitem__", "__setattr__"):
        _follow(module.SummaryDisabled, name, lambda _, it, key, value: _wandb_summarised(_, it, {key: value}))


def _wandb_summarised(_: Any, __: Any, *data: Any, **named: Any) -> None:
    _write("W&B", sys.modules["wandb"].run.id, dict(*data, **named), summary="W&B")


def _wandb_init(module: Any) -> None:
    """As `wandb agent` does, set the trial's parameters in `wandb.config`, over what the script gives there, and lock them.

    A parameter `model.dropout` stands there by this name and in the dict `model`.
    """

    def begun(run: Any, *_: Any, **__: Any) -> None:
        if not getattr(run.log, "is_followed", False):
            with contextlib.suppress(Exception):  # older versions lack some of its functions
                _wandb_disabled(run)
        with open(_file("parameters.json")) as file:
            parameters = json.load(file)
        given = dict(parameters)
        for name, value in parameters.items():
            *above, last = name.split(".")
            own = run.config.get(above[0], {}) if above else None
            if not isinstance(own, dict) or above[0] in parameters:
                continue
            place = given.setdefault(above[0], json.loads(json.dumps(own)))
            for other in above[1:]:
                if not isinstance(place.get(other), dict):
                    place[other] = {}
                place = place[other]
            place[last] = value
        run.config.update(given, allow_val_change=True)
        if hasattr(run.config, "update_locked"):
            run.config.update_locked(given, user="sweep")

    _follow(module, "init", begun)


def _mlflow(module: Any) -> None:
    def run() -> Any:
        return module.active_run().info.run_id

    _follow(
        module, "log_metric", lambda _, key, value, step=None, *__, **___: _write("MLflow", run(), {key: value}, step)
    )
    _follow(module, "log_metrics", lambda _, metrics, step=None, *__, **___: _write("MLflow", run(), metrics, step))


def _mlflow_client(module: Any) -> None:
    def single(
        _: Any,
        client: Any,
        run: Any,
        key: str,
        value: Any,
        timestamp: Any = None,
        step: Any = None,
        *__: Any,
        **___: Any,
    ) -> None:
        _write("MLflow", run, {key: value}, step)

    def batch(_: Any, client: Any, run: Any, metrics: Any = (), *__: Any, **___: Any) -> None:
        for step in sorted({metric.step for metric in metrics}):
            _write("MLflow", run, {metric.key: metric.value for metric in metrics if metric.step == step}, step)

    _follow(module.MlflowClient, "log_metric", single)
    _follow(module.MlflowClient, "log_batch", batch)


def _tensorboard(module: Any) -> None:
    def told(writer: Any, data: Any, step: Any = None, **marks: str) -> None:
        if not _is_told_better():
            folder = getattr(writer, "log_dir", None) or getattr(writer, "logdir", "")
            _write("TensorBoard", str(folder), data, step, **marks)

    def add(_: Any, writer: Any, tag: str, scalar_value: Any, global_step: Any = None, *__: Any, **___: Any) -> None:
        told(writer, {tag: scalar_value}, global_step)

    def add_several(
        _: Any, writer: Any, main_tag: str, tag_scalar_dict: Any, global_step: Any = None, *__: Any, **___: Any
    ) -> None:
        told(writer, {"{}/{}".format(main_tag, tag): value for tag, value in tag_scalar_dict.items()}, global_step)  # noqa: UP032

    def add_result(_: Any, writer: Any, hparam_dict: Any, metric_dict: Any, *__: Any, **___: Any) -> None:
        told(writer, metric_dict, summary="TensorBoard")  # W&B calls such values a summary

    _follow(module.SummaryWriter, "add_scalar", add)
    _follow(module.SummaryWriter, "add_scalars", add_several)
    _follow(module.SummaryWriter, "add_hparams", add_result)


def _is_told_better() -> bool:
    """Whether W&B or MLflow has a run: a script that logs to several says there what step and epoch a value belongs to."""
    wandb, mlflow = sys.modules.get("wandb"), sys.modules.get("mlflow")
    run = getattr(wandb, "run", None)
    if run is not None:
        return not run.settings.sync_tensorboard
    return mlflow is not None and mlflow.active_run() is not None


def _lightning(name: str) -> Callable[[Any], None]:
    """Follow a logger of Lightning, which counts epochs and steps from 0."""

    def log(_: Any, logger: Any, metrics: Any, step: Any = None) -> None:
        row = dict(metrics)
        if "epoch" in row:
            row["epoch"] = int(row["epoch"]) + 1
        _write(name, str(getattr(logger, "log_dir", None) or logger.save_dir), row, None if step is None else step + 1)

    return lambda module: _follow(getattr(module, name), "log_metrics", log)


def _trainer(module: Any) -> None:
    """Follow the Trainer of transformers, which prints what it logs, and gives it to W&B and the others."""
    function = module.Trainer.log

    @functools.wraps(function)
    def log(trainer: Any, logs: Any, *args: Any, **named: Any) -> Any:
        within = getattr(_within, "call", False)
        with contextlib.suppress(Exception):  # before it is printed: of the two, this one counts
            _within.call = _trainer_log(trainer, logs) or within
        try:
            return function(trainer, logs, *args, **named)
        finally:
            _within.call = within

    module.Trainer.log = log


def _trainer_log(trainer: Any, logs: Any) -> bool:
    """The step is that of TransformersCallback, the epoch if the Trainer evaluates once an epoch, else `global_step`.

    If the horizon counts epochs and it evaluates within them, the fraction is told, which is refused with the remedy.
    """
    state, given, row = trainer.state, trainer.args, dict(logs)
    if not state.global_step:  # `eval_on_start`, or an evaluation alone
        return _write("Trainer", str(id(trainer)), row, printed="Trainer", before="training")
    strategy = getattr(given, "eval_strategy", None) or given.evaluation_strategy  # before 4.41
    horizon = int(os.environ["TRIAL_HORIZON"])
    if horizon != state.max_steps and (strategy == "epoch" or horizon == state.num_train_epochs):
        row["epoch"] = math.ceil(state.epoch - 1e-6) if strategy == "epoch" else round(state.epoch, 6)
    else:
        row.pop("epoch", None)
        row["step"] = state.global_step
    return _write("Trainer", str(id(trainer)), row, printed="Trainer")


def _optimizers(module: Any) -> None:
    """In a fork, look out for an optimizer that trains with the values of the trial that it continues."""
    import runpy

    with open(_file("parent.json")) as file:
        configs = json.load(file)
    execution = os.path.join(os.path.dirname(os.path.dirname(_HERE)), "execution")
    watch = runpy.run_path(os.path.join(execution, "parents_values.py"))["watch"]
    watch(configs["own"], configs["parent"], _file("parents_values.txt"))


_LOGGERS: Dict[str, Callable[[Any], None]] = {  # noqa: UP006
    "wandb.sdk.wandb_run": _wandb,
    "wandb.sdk.wandb_init": _wandb_init,
    "wandb.sdk.wandb_summary": _wandb_summary,
    "wandb.sdk.lib.disabled": _wandb_summary_disabled,
    "mlflow.tracking.fluent": _mlflow,
    "mlflow.tracking.client": _mlflow_client,
    "torch.utils.tensorboard.writer": _tensorboard,
    "tensorboardX.writer": _tensorboard,
    "transformers.trainer": _trainer,
}
for _package, _fabric in (("lightning.pytorch", "lightning.fabric"), ("pytorch_lightning", "lightning_fabric")):
    _LOGGERS[_fabric + ".loggers.tensorboard"] = _lightning("TensorBoardLogger")
    _LOGGERS[_fabric + ".loggers.csv_logs"] = _lightning("CSVLogger")
    _LOGGERS[_package + ".loggers.wandb"] = _lightning("WandbLogger")
    _LOGGERS[_package + ".loggers.mlflow"] = _lightning("MLFlowLogger")


class _Finder:
    """Finds the modules that are followed as Python does, and follows their functions once they are loaded."""

    def __init__(self, followed: Dict[str, Callable[[Any], None]]) -> None:  # noqa: UP006
        self._followed = followed

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        follow = self._followed.pop(name, None)
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


def _parsers() -> Dict[str, Callable[[Any], None]]:  # noqa: UP006
    """What is followed in place of loggers in a script that is asked for --help: its parser, which says what it takes."""
    import runpy

    told = runpy.run_path(os.path.join(_HERE, "parsers.py"))

    def followed(owner: str, function: str, describe: Callable[..., Any]) -> Callable[[Any], None]:
        def say(_: Any, it: Any, *__: Any, **___: Any) -> None:
            told["say"](describe(it))

        return lambda module: _follow(getattr(module, owner), function, say)

    return {name: followed(*place) for name, place in told["PARSERS"].items()}


def _run_the_users_own() -> None:
    """Run the `sitecustomize` that Python would have imported."""
    places = [place for place in sys.path if not os.path.abspath(place).startswith(_HERE)]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if "TRIAL_ASKED" in os.environ:
    sys.meta_path.insert(0, _Finder(_parsers()))
elif "TRIAL_METRICS" in os.environ:
    if os.path.exists(_file("parent.json")):
        _LOGGERS["torch.optim.optimizer"] = _optimizers
    sys.meta_path.insert(0, _Finder(_LOGGERS))
_run_the_users_own()
