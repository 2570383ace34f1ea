"""Call the user's function in a process of its own: as free as a script, written like a function.

The worker writes the function into the run's folder, once for all trials, and what to call it with into the trial's
(`write`), and starts `command(file)`, which does so. The function finds the same environment as a script: TRIAL_FOLDER and the rest, which `report` uses.
"""

from __future__ import annotations

import copyreg
import hashlib
import importlib
import inspect
import json
import math
import os
import pickle
import sys
import textwrap
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle

from trainables.cached import store_by_value
from trainables.execution.foreign_functions import ends_a_trial, reports_elsewhere
from trainables.scripts.environment import with_startup
from trainables.scripts.names import same_name
from trainables.scripts.trial_folder import FOLDER, LOGGED, PLACE, REPORTS, RETURNED

store_by_value(cloudpickle.Pickler)


def command(file: Path) -> list[str]:
    """The command that starts a process which calls the function in `file`.

    It names a module instead of code, so that a launcher of several processes (DDP) can start the same again.
    """
    ours = str(Path(__file__).resolve().parents[2])
    return ["env", f"PYTHONPATH={with_startup(ours)}", sys.executable, "-m", "trainables.execution.call", str(file)]


def write(
    file: Path, shared: Path, train: Callable[..., Any], config: Mapping[str, Any], metric: str, horizon: int
) -> None:
    """Pickle functions of a script, notebook or other function by value, those of a module by name: into the folder `shared`,
    as a function may refer to large data."""
    content = cloudpickle.dumps(train)
    function = shared / f"{hashlib.sha256(content).hexdigest()[:16]}.pickle"
    if not function.exists():
        shared.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = function.with_name(f"{function.name}.{os.getpid()}")
        _write(unfinished, content)
        unfinished.replace(function)
    _write(
        file, pickle.dumps((sys.path, str(function.absolute()))) + cloudpickle.dumps((dict(config), metric, horizon))
    )


def _write(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)


def modules_go_by_name() -> None:
    """Let functions be pickled that use modules with a class of their own, such as torch.backends.cudnn."""
    for module in list(sys.modules.values()):
        kind = type(module)
        if issubclass(kind, types.ModuleType) and kind is not types.ModuleType:
            copyreg.pickle(kind, _by_name)


def _by_name(module: types.ModuleType) -> tuple[Callable[[str], types.ModuleType], tuple[str]]:
    return importlib.import_module, (module.__name__,)


def call(path: Path) -> None:
    """Call the function in `path`; its error ends the process."""
    from trainables.training.onednn import Guard
    from trainables.training.randomness import seed_streams

    with open(path, "rb") as file:
        sys.path[:], function = pickle.load(file)  # so that the user's modules are found
        config, metric, horizon = pickle.load(file)
    with open(function, "rb") as file:
        train = pickle.load(file)
    sys.excepthook = _without_our_frames
    seed_streams(int(os.environ["TRIAL_SEED"]))
    with Guard():
        told = _result(train, config)
    if inspect.isgenerator(told):
        raise TypeError("the function returned a generator, which nothing runs; make it a generator function itself.")
    if os.environ.get("RANK", "0") != "0":
        return
    if _has_reported():
        _note_another_value(told, metric)
    elif not _has_logged(metric) and (problem := _report(told, metric, horizon)):
        other = reports_elsewhere(train)
        hint = f" {other}() does not reach the sweep: use `from orchestrator import report`." if other else ""
        trainers = " A Trainer reports through TransformersCallback or LightningCallback." if told is None else ""
        raise TypeError(problem + (hint or trainers))


def _result(train: Callable[..., Any], config: Mapping[str, Any]) -> Any:
    """What the function returns; None if Optuna's TrialPruned ends it after a report."""
    try:
        return train(config)
    except Exception as error:
        if not (ends_a_trial(error) and _has_reported()):
            raise
        print("the function raised TrialPruned, which ends the training here", file=sys.stderr)
        return None


def _note_another_value(result: Any, metric: str) -> None:
    """Leave a note for the worker if the function returned another value than it reported last."""
    try:
        last = json.loads(_reports().read_bytes().splitlines()[-1])["metrics"].get(metric)
    except ValueError:  # written by an earlier start that was killed halfway
        return
    value = None if result is None else (_metrics(result, metric) or {}).get(metric)
    if last is None or value is None or math.isclose(value, float(last), rel_tol=1e-6) or str(value) == last:
        return
    text = (
        f"the function returned {value:.5g}, but its last report is {float(last):.5g}, which counts; report the value to "
        "tune at the last step"
    )
    _reports().with_name(RETURNED).write_text(text)


def _has_reported() -> bool:
    reports = _reports()
    return reports.exists() and reports.stat().st_size > 0


def _has_logged(metric: str) -> bool:
    """Whether the function has logged the metric to W&B or its like."""
    return same_name(metric, _logged_names()) is not None


def _logged_names() -> list[str]:
    """What the function has logged, in order; texts are marks of ours."""
    path = _reports().with_name(LOGGED)
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, str)))


def _report(result: Any, metric: str, horizon: int) -> str:
    """Report what a function without a report has returned, the metric or a dict of metrics, as its last step. If it is
    neither, why."""
    value = f"{metric}=…" if metric.isidentifier() else f"{{{metric!r}: …}}"
    ways = f"return a number or a dict of metrics with {metric!r}, or call report(step, {value}) after each evaluation."
    others = f"; it logged {', '.join(names[:8])}" if (names := _logged_names()) else ""
    if result is None:
        return f"the function returned None and never called report() with {metric!r}{others}: {ways}"
    metrics = _metrics(result, metric)
    if metrics is None:
        kind = type(result).__name__
        return (
            f"the function returned {_short(result)} ({kind}) and never called report() with {metric!r}{others}: {ways}"
        )
    if isinstance(result, Mapping) and (left_out := _left_out(result)):
        text = f"the function returned {', '.join(left_out)}, no single numbers, which are not recorded"
        _reports().with_name(RETURNED).write_text(text)
    shown = {name: repr(value) for name, value in metrics.items()}
    _reports().write_text(json.dumps({"step": horizon, "metrics": shown, "checkpoint": None}) + "\n")
    return ""


def _metrics(result: Any, metric: str) -> dict[str, float] | None:
    """The numbers of a result; None if it is neither a number nor a dict with the metric."""
    named = result if isinstance(result, Mapping) else {metric: result}
    numbers = {str(name): number for name, value in named.items() if (number := _number(value)) is not None}
    return None if same_name(metric, numbers) is None else numbers


def _left_out(result: Mapping[Any, Any]) -> list[str]:
    """The metrics that are no numbers; None means: not measured."""
    return [str(name) for name, value in result.items() if value is not None and _number(value) is None]


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        return float(value.item() if getattr(value, "shape", ()) and hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor with several elements
        return None


def _short(result: Any) -> str:
    return textwrap.shorten(repr(result), 80, placeholder=" …")


def _reports() -> Path:
    return Path(os.environ[FOLDER]) / PLACE / REPORTS


def _without_our_frames(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Print the error from the user's first frame on."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, "<frozen runpy>"):
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    call(Path(sys.argv[1]))
