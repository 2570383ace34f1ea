"""Edits of what a function uses of its own module: numbers, tables and statements at the top level."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator import FromFunction, LrSchedule, Space, Sweep, Warmup, uniform
from orchestrator.definition.sources import Source, edited, edits_told, sources_of, sources_of_policy
from tests.warm import orchestrator, run_script

MODULE = '''"""A training."""
import json as reader
import os
import time
from functools import lru_cache, partial, wraps

import numpy as np
import torch

START = time.time()
PLACE = os.environ.get("PLACE_OF_THE_DATA", "/tmp")
SCALE = 1.0
FACTOR = 2.0
BASE = 3
HALF = BASE / 2
ROWS = np.arange(10.0)
ROWS = ROWS / 15.9
TABLE = {"a": 1}
TABLE["b"] = 2
LIST = [1]
LIST.append(2)
KEPT = [3]
SUM = 0
for number in [1, 2, 3]:
    SUM += number
if os.environ.get("FAST"):
    EPOCHS = 1
else:
    EPOCHS = 2
SEED, WIDTH = 1, 2
try:
    import absent_module as fast_reader
except ImportError:
    fast_reader = reader
np.random.seed(0)
UNUSED = 1
rate = 5  # named like a local variable
bias = 6  # named like an attribute
num_samples = 4


def helper():
    return FACTOR


def other_helper():
    return 0.0


def logged(function):
    @wraps(function)
    def inner(*given):
        return function(*given)

    return inner


@lru_cache
def load():
    return [0.5]


class Parent:
    bias = 0.1


class Net(Parent):
    def __init__(self, depth=3):
        self.depth = depth


def prepare(rows):
    rows.reverse()


DATA = load()
prepare(KEPT)
double = partial(helper)
net = Net(depth=4)


class Strange:
    def __getattr__(self, name):
        raise RuntimeError(name)


strange = Strange()


@logged
@torch.no_grad()
def train(config, state, limit=WIDTH):
    rate = config["x"]
    total = SCALE + helper() + HALF + ROWS.sum() + TABLE["b"] + LIST[0] + KEPT[0] + SUM + EPOCHS + SEED + DATA[0]
    total += double() + net.depth + net.bias + float(fast_reader.loads("1")) + np.random.rand() + START + len(PLACE)
    total += (strange is None) + other_helper()
    yield {"loss": total * rate * limit}, 1


def make(scale):
    offset = 0.25
    shift = BASE + offset

    def inner_helper():
        return shift

    def made(config, state):
        yield {"loss": scale * inner_helper()}, 1

    return made


made = make(2.0)
'''


@contextmanager
def imported(path: Path, text: str) -> Iterator[ModuleType]:
    """A module with this text, as a new process has it."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(f"{path.stem}_of_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


def watched(folder: Path, text: str, name: str = "train") -> dict[str, Source]:
    """The sources of a function of a module with this text."""
    with imported(folder / "own_module.py", text) as module:
        return sources_of(FromFunction(vars(module)[name], metric="loss", mode="min", horizon=1))


EDITS = [
    ("SCALE = 1.0", "SCALE = 0.001", "SCALE: 1.0 → 0.001"),
    ("SCALE = 1.0", "SCALE: float = 1.5", "SCALE: 1.0 → 1.5"),
    ("FACTOR = 2.0", "FACTOR = -2.0", "FACTOR: 2.0 → -2.0"),
    ("BASE = 3", "BASE = 4", "BASE: 3 → 4"),
    ("BASE / 2", "BASE / 3", "HALF: BASE / 2 → BASE / 3"),
    ("ROWS / 15.9", "ROWS / 8.0", "ROWS was edited"),
    ("np.arange(10.0)", "np.arange(11.0)", "ROWS was edited"),
    ('TABLE["b"] = 2', 'TABLE["b"] = 3', "TABLE was edited"),
    ("LIST.append(2)", "LIST.append(3)", "LIST was edited"),
    ("prepare(KEPT)", "prepare(KEPT), prepare(KEPT)", "KEPT was edited"),
    ("    rows.reverse()", "    rows.sort()", "prepare was edited"),
    ("[1, 2, 3]", "[1, 2, 4]", "SUM was edited"),
    ("SUM += number", "SUM += 2 * number", "SUM was edited"),
    ("EPOCHS = 2", "EPOCHS = 3", "EPOCHS was edited"),
    ('get("FAST")', 'get("FASTER")', "EPOCHS was edited"),
    ("SEED, WIDTH = 1, 2", "SEED, WIDTH = 1, 3", "SEED was edited"),
    ("import absent_module", "import other_module", "fast_reader was edited"),
    ("np.random.seed(0)", "np.random.seed(1)", "np was edited"),
    ("    return 0.0\n", "    return 1.0\n", "other_helper was edited"),
    ("return [0.5]", "return [0.6]", "load was edited"),
    ("bias = 0.1", "bias = 0.2", "Parent was edited"),
    ("np.random.seed(0)", "np.random.seed(0)\nROWS.fill(0.0)", "ROWS was edited"),
    ("net = Net(depth=4)", "net = Net(depth=4)\nParent.bias = 5.0", "Parent was edited"),
    ("net = Net(depth=4)", "net = Net(depth=4)\nsetattr(Parent, 'bias', 5.0)", "Parent was edited"),
    ("net = Net(depth=4)", "net = Net(depth=4)\nhelper.factor = 5.0", "helper was edited"),
    ("FACTOR = 2.0", "(FACTOR := 3.0)", "FACTOR: 2.0 → 3.0"),
    ("WIDTH = 1, 2", "WIDTH = 1, 3", "limit of train(): 2 → 3"),
    ("net = Net(depth=4)", "net = Net(depth=5)", "net: Net(depth=4) → Net(depth=5)"),
    ("partial(helper)", "partial(load)", "double: partial(helper) → partial(load)"),
    ("        return function(*given)", "        return function(*given) or 0", "logged was edited"),
    ("import json as reader", "import pickle as reader", "reader: json → pickle"),
]


@pytest.mark.parametrize(("old", "new", "told"), EDITS, ids=[new for _, new, _ in EDITS])
def test_an_edit_of_what_the_function_uses_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert MODULE.count(old) == 1
    before = watched(tmp_path, MODULE)
    assert told in edits_told(edited(before, watched(tmp_path, MODULE.replace(old, new))))


OTHER = [
    ("UNUSED = 1", "UNUSED = 2"),
    ("num_samples = 4", "num_samples = 8"),
    ("rate = 5  # named", "rate = 7  # is named"),
    ("bias = 6  # named", "bias = 7  # named"),
    ("SCALE = 1.0", "SCALE = 1.0  # unchanged"),
    ('"""A training."""', '"""My training."""'),
    ("import os\nimport time\n", "import time\nimport os\n"),
    ("made = make(2.0)", "made = make(3.0)"),
    ("    rows.reverse()", "    # from the end\n    rows.reverse()  # in place"),
    ("LIST.append(2)", "LIST.append(  # the second\n    2,\n)"),
    ("np.random.seed(0)", "np.random.seed(0)\nROWS.mean()\nTABLE.get('a')\nROWS[2:].cumsum().mean()"),
    ("", ""),
]


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_what_the_function_does_not_use_and_what_each_start_makes_anew_is_no_edit(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = watched(tmp_path, MODULE)
    monkeypatch.setenv("PLACE_OF_THE_DATA", str(tmp_path))
    assert edited(before, watched(tmp_path, MODULE.replace(old, new))) == {}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("make(2.0)", "make(3.0)", ["scale: 2.0 → 3.0"]),
        ("offset = 0.25", "offset = 0.5", ["offset: 0.25 → 0.5"]),
        ("BASE = 3", "BASE = 4", ["BASE: 3 → 4"]),
        ("        return shift\n", "        return -shift\n", ["inner_helper was edited"]),
    ],
)
def test_a_function_that_another_made_is_watched_with_what_that_one_gave_it(
    old: str, new: str, told: list[str], tmp_path: Path
) -> None:
    before = watched(tmp_path, MODULE, "made")
    assert edits_told(edited(before, watched(tmp_path, MODULE.replace(old, new), "made"))) == told


def test_a_record_of_an_older_release_that_knew_no_values_tells_no_edit(tmp_path: Path) -> None:
    """It noted the function and what it calls; an object that is called, by the digest of nothing."""
    text = "class Net:\n    def __call__(self):\n        return 1.0\n\n\nnet = Net()\nRATE = 1\n"
    text += "def train(config):\n    yield {'loss': net() * RATE}\n"
    now = watched(tmp_path, text)
    assert {"train()", "net", "Net", "RATE"} <= set(now)
    older = {name: source for name, source in now.items() if name in ("train()", "Net")}
    older["net"] = now["net"] | {"sha256": hashlib.sha256(b"").hexdigest()}
    assert edited(older, now) == {}


def test_the_text_of_a_secret_is_not_recorded(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    text = "API_KEY = 'abcdef123'\ndef train(config):\n    yield {'loss': len(API_KEY)}\n"
    assert watched(tmp_path, text)["API_KEY"]["text"] == "'abcdef123'"
    (tmp_path / "own_module.py").write_text(text)
    exec(compile(text, str(tmp_path / "own_module.py"), "exec"), namespace)
    sweep = Sweep("own", namespace["train"], Space({"x": uniform(0, 1)}), minimize="loss", steps=1)
    assert "API_KEY" in sweep.describe()["files"]
    assert "abcdef123" not in str(sweep.describe())


TUNE = """
from orchestrator import Random, Space, Sweep, launch, uniform

SCALE = 1.0

def train(config):
    yield {"loss": config["x"] * SCALE}

launch(Sweep("own", train, Space({"x": uniform(0, 1)}), minimize="loss", steps=1, searcher=Random(), num_samples=2))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("warm_parent")
@pytest.mark.xdist_group("commands")
def test_the_plan_the_start_show_and_health_name_the_value(tmp_path: Path) -> None:
    script = tmp_path / "tune.py"
    script.write_text(TUNE)
    assert run_script("tune.py", "--simulate", cwd=tmp_path).returncode == 0
    script.write_text(TUNE.replace("num_samples=2", "num_samples=3"))
    more = run_script("tune.py", "--simulate", cwd=tmp_path)
    assert "Changed: num_samples: 2 → 3." in more.stdout + more.stderr
    script.write_text(TUNE.replace("SCALE = 1.0", "SCALE = 0.001").replace("num_samples=2", "num_samples=4"))
    planned = run_script("tune.py", "--simulate", "--dry-run", cwd=tmp_path)
    assert "changed    num_samples: 3 → 4, SCALE: 1.0 → 0.001\n" in planned.stdout
    again = run_script("tune.py", "--simulate", cwd=tmp_path)
    assert "Changed: num_samples: 3 → 4, SCALE: 1.0 → 0.001." in again.stdout + again.stderr
    shown = orchestrator("show", "own", cwd=tmp_path).stdout
    assert "SCALE was edited while the sweep was under way." in shown


def test_a_policy_of_the_users_is_watched_also_inside_of_another(tmp_path: Path) -> None:
    text = """
from dataclasses import dataclass
from trainables import Policy
from trainables.values import NOTHING

FACTOR = 0.5

@dataclass(frozen=True)
class Mine(Policy):
    def start(self, signals):
        return FACTOR, NOTHING

    def act(self, state, signals):
        return state, NOTHING

def train(config):
    yield {"loss": 1.0}

def made(config):
    return Mine()
"""
    path = tmp_path / "own_policy.py"

    def watched_now(factor: str, make: Callable[[Any], Any]) -> dict[str, Source]:
        with imported(path, text.replace("0.5", factor)) as module:
            return sources_of_policy(make(module))

    for make in (
        lambda module: module.Mine(),
        lambda module: Warmup(3, then=module.Mine()),
        lambda module: module.made,
        lambda module: partial(module.made),
    ):
        edits = edited(watched_now("0.5", make), watched_now("0.25", make))
        assert edits_told(edits) == ["FACTOR: 0.5 → 0.25"]
    assert sources_of_policy(None) == sources_of_policy(Warmup(3, then=LrSchedule("cosine"))) == {}
