"""Call the user's function in a process of its own: as free as a script, written like a function.

The worker writes the function into the trial's folder (`write`) and starts `command(file)`, which calls it with the
configuration. The function finds the same environment as a script: TRIAL_FOLDER and the rest, which `report` uses.
"""

from __future__ import annotations

import copyreg
import importlib
import inspect
import json
import os
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle

from trainables.cached import store_by_value
from trainables.scripts.trial_folder import FOLDER, PLACE, REPORTS

store_by_value(cloudpickle.Pickler)


def command(file: Path) -> list[str]:
    """The command that starts a process which calls the function in `file`.

    It names a module instead of code, so that a launcher of several processes (DDP) can start the same again.
    """
    ours = str(Path(__file__).resolve().parents[2])
    places = os.pathsep.join([ours, *filter(None, [os.environ.get("PYTHONPATH")])])
    return ["env", f"PYTHONPATH={places}", sys.executable, "-m", "trainables.execution.call", str(file)]


def write(file: Path, train: Callable[..., Any], config: Mapping[str, Any], metric: str, horizon: int) -> None:
    """Pickle functions of a script, notebook or other function by value, those of a module by name."""
    content = pickle.dumps(sys.path) + cloudpickle.dumps((train, dict(config), metric, horizon))
    file.write_bytes(content)
    file.chmod(0o600)


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
        sys.path[:] = pickle.load(file)  # so that the user's modules are found
        train, config, metric, horizon = pickle.load(file)
    sys.excepthook = _without_our_frames
    seed_streams(int(os.environ["TRIAL_SEED"]))
    with Guard():
        told = train(config)
    if inspect.isgenerator(told):
        raise TypeError("the function returned a generator, which nothing runs; make it a generator function itself.")
    if told is not None and not _reported(told, metric, horizon):
        text = f"the function returned {told!r}, which nothing reads; call report(step, valid_loss=…) in it."
        print(text, file=sys.stderr)


def _reported(result: Any, metric: str, horizon: int) -> bool:
    """Report what a function without a report has returned, the metric or a dict of metrics, as its last step."""
    reports = Path(os.environ[FOLDER]) / PLACE / REPORTS
    has_reported = reports.exists() and reports.stat().st_size
    if has_reported or isinstance(result, bool) or os.environ.get("RANK", "0") != "0":
        return False
    named = result if isinstance(result, Mapping) else {metric: result}
    try:
        metrics = {name: repr(float(value)) for name, value in named.items()}
    except (TypeError, ValueError):
        return False
    reports.write_text(json.dumps({"step": horizon, "metrics": metrics, "checkpoint": None}) + "\n")
    return True


def _without_our_frames(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Print the error from the user's first frame on."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, "<frozen runpy>"):
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    call(Path(sys.argv[1]))
