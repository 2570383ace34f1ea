"""A package with the functions of wandb that a training calls, in the modules where wandb has them: it imports at once.

`mode="disabled"` gives the run functions of its own, as the versions of wandb up to 0.19 do.
"""

from __future__ import annotations

from pathlib import Path

INIT = """
from wandb.sdk.wandb_init import init
run = None
"""

RUN = """
import itertools
from wandb.sdk.wandb_summary import Summary

numbers = itertools.count()

class Run:
    def __init__(self, config):
        self.id, self.config, self.summary = f"run-{next(numbers)}", dict(config), Summary()

    def log(self, data, step=None, commit=None):
        self.summary.update(data)

    def define_metric(self, name, step_metric=None, step_sync=None):
        pass

    def finish(self):
        pass
"""

SUMMARY = """
class SummaryDict:
    def update(self, data):
        pass

    def __setitem__(self, name, value):
        self.update({name: value})

    __setattr__ = __setitem__

class Summary(SummaryDict):
    pass
"""

DISABLED = """
class SummaryDisabled(dict):
    __setattr__ = dict.__setitem__
"""

CONFIG = """
class Config(dict):
    locked = frozenset()

    def update(self, given, allow_val_change=None):
        given = {name: value for name, value in given.items() if name not in self.locked}
        if not allow_val_change and any(self.get(name, value) != value for name, value in given.items()):
            raise ValueError("Attempted to change value")
        dict.update(self, given)

    def update_locked(self, given, user=None):
        self.update(given)
        self.locked |= set(given)
"""

STARTED = """
import wandb
from wandb.sdk.wandb_config import Config
from wandb.sdk.wandb_run import Run
from wandb.sdk.lib.disabled import SummaryDisabled

def init(mode=None, dir=None, config=()):
    run = Run(config)
    run.config = Config(config)
    if mode == "disabled":
        run.summary = SummaryDisabled()
        run.log = lambda data, *_, **__: run.summary.update(data)
        run.define_metric = run.finish = lambda *_, **__: None
    wandb.run, wandb.summary, wandb.log, wandb.define_metric = run, run.summary, run.log, run.define_metric
    return run
"""


def package(folder: Path) -> None:
    """Write the package into a folder of PYTHONPATH."""
    texts = {
        "__init__": INIT, "sdk/__init__": "", "sdk/lib/__init__": "", "sdk/lib/disabled": DISABLED,
        "sdk/wandb_run": RUN, "sdk/wandb_summary": SUMMARY, "sdk/wandb_init": STARTED, "sdk/wandb_config": CONFIG,
    }  # fmt: skip
    for name, text in texts.items():
        path = folder / "wandb" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
