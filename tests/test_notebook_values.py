"""Edits of what a notebook's function uses of other cells, and of what it was given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import FromFunction
from orchestrator.definition.sources import Source, edited, edits_told, sources_of


class Notebook:
    """Real IPython. `after` runs cells; it returns what is watched of the function `train`."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def after(self, *cells: str) -> dict[str, Source]:
        for cell in cells:
            assert self.shell.run_cell(cell, store_history=True).success
        return sources_of(FromFunction(self.shell.user_ns["train"], metric="loss", mode="min", horizon=1))

    def restarted(self, *cells: str) -> dict[str, Source]:
        self.shell.reset(new_session=True)
        self.shell.history_manager.input_hist_parsed = [""]
        return self.after(*cells)


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    pytest.importorskip("IPython", reason="IPython is not installed")
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    for name in ("excepthook", "displayhook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    for name in ("ps1", "ps2", "ps3"):
        monkeypatch.setattr(sys, name, "", raising=False)
    try:
        yield Notebook(InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}})))
    finally:
        InteractiveShell.clear_instance()


def uses(value: str) -> str:
    return f"def train(config):\n    yield {{'loss': {value}}}"


def test_the_cells_are_watched_in_the_order_in_which_they_ran(notebook: Notebook) -> None:
    function = uses("SCALE * sum(ROWS)")
    first = notebook.after("%precision 3", "SCALE = 1.0", "ROWS = [1]", "ROWS.append(SCALE)", function)
    assert edited(first, notebook.after("SCALE = 1.0", function, "unused = 1")) == {}
    assert edits_told(edited(first, notebook.after("SCALE = 0.001"))) == ["SCALE: 1.0 → 0.001"]
    assert list(edited(first, notebook.after("SCALE = 1.0", "ROWS = [1]"))) == ["ROWS"]
    assert edited(first, notebook.after("ROWS.append(SCALE)")) == {}


CFG = "class CFG:\n    gain = 1.0"
DATA = "from dataclasses import dataclass\n@dataclass\nclass Cfg:\n    gain: float = 1.0"
TUPLE = "from typing import NamedTuple\nclass Cfg(NamedTuple):\n    gain: float = 1.0"
LIBRARY = "import collections\nclass Cfg(collections.OrderedDict):\n    gain = 1.0"
SUPER = "class Net(dict):\n    def __init__(self):\n        super().__init__(gain=1.0)"
MAKE = "def make(k):\n    def train(config):\n        yield {'loss': k}\n    return train"
OWN = "class T:\n    def __init__(self, k):\n        self.k = k\n    def train(self, config):\n        yield {'loss': self.k}"
PARTIAL = "from functools import partial\ndef tr(k, config):\n    yield {'loss': k}\ntrain = partial(tr, 1.0)"
EDITS: list[tuple[list[str], str, str, list[str]]] = [
    ([CFG, uses("CFG.gain")], "gain = 1.0", "gain = 0.5", ["CFG was edited"]),
    ([CFG, "CFG.gain = 2", uses("CFG.gain")], "CFG.gain = 2", "CFG.gain = 3", ["CFG was edited"]),
    ([CFG, "setattr(CFG, 'gain', 2)", uses("CFG.gain")], "2", "3", ["CFG was edited"]),
    ([CFG, "cfg = CFG()", uses("cfg.gain")], "gain = 1.0", "gain = 0.5", ["CFG was edited"]),
    ([DATA, "cfg = Cfg()", uses("cfg.gain")], "= 1.0", "= 4.0", ["Cfg was edited"]),
    ([TUPLE, "cfg = Cfg()", uses("cfg.gain")], "= 1.0", "= 4.0", ["Cfg was edited"]),
    ([LIBRARY, uses("Cfg.gain")], "= 1.0", "= 4.0", ["Cfg was edited"]),
    ([SUPER, uses("Net()['gain']")], "=1.0", "=4.0", ["Net was edited"]),
    ([CFG, MAKE, "train = make(CFG)"], "gain = 1.0", "gain = 0.5", ["k was edited"]),
    (
        ["import collections as c\nP = c.namedtuple('P', 'a b')", uses("P")],
        "'a b'",
        "'b a'",
        ["P: c.namedtuple('P', 'a b') → c.namedtuple('P', 'b a')"],
    ),
    (["%%time\nGAIN = 1.0", uses("GAIN")], "1.0", "0.5", ["GAIN: 1.0 → 0.5"]),
    (["%%capture out\n%%time\nGAIN = 1.0", uses("GAIN")], "1.0", "0.5", ["GAIN: 1.0 → 0.5"]),
    (["L = [1]", "x = 1\n%time L[0] = 2\ny = 1", uses("L")], "= 2", "= 3", ["L was edited"]),
    (["L = [1]", "%timeit -n 1 -r 1 L.append(2)", uses("L")], "(2)", "(3)", ["L was edited"]),
    (["(GAIN := 1.0)", uses("GAIN")], "1.0", "0.5", ["GAIN: 1.0 → 0.5"]),
    (["print(GAIN := 1.0)", uses("GAIN")], "1.0", "0.5", ["GAIN: 1.0 → 0.5"]),
    ([MAKE, "train = make([1.0])"], "[1.0]", "[2.0]", ["k was edited"]),
    ([MAKE, "train = make({'a': (1, {2})})"], "2", "3", ["k was edited"]),
    (["import numpy as np", MAKE, "train = make(np.ones(3))"], "np.ones", "np.zeros", ["k was edited"]),
    (["import torch", MAKE, "train = make(torch.ones(3))"], "torch.ones", "torch.zeros", ["k was edited"]),
    ([DATA, MAKE, "train = make(Cfg(2.0))"], "2.0", "3.0", ["k was edited"]),
    ([OWN, "train = T(1.0).train"], "T(1.0)", "T(2.0)", ["self of T.train() was edited"]),
    ([OWN, "t = T(1)\nt.k = 2\ntrain = t.train"], "k = 2", "k = 3", ["self of T.train() was edited"]),
    ([PARTIAL], "1.0", "2.0", ["k of tr(): 1.0 → 2.0"]),
    (["train = lambda config: {'loss': 1.0}"], "1.0", "2.0", ["<lambda>() was edited"]),
]


@pytest.mark.parametrize(("cells", "old", "new", "told"), EDITS)
def test_an_edit_is_told(cells: list[str], old: str, new: str, told: list[str], notebook: Notebook) -> None:
    assert any(old in cell for cell in cells)
    first = notebook.restarted(*cells)
    assert edited(first, notebook.restarted(*cells)) == {}
    assert edits_told(edited(first, notebook.restarted(*(cell.replace(old, new) for cell in cells)))) == told


LOOKS = [
    "X.mean()",
    "CFG.get('a')",
    "X[1:].sum()",
    "list(CFG)",
    "%timeit -n 1 -r 1 X = X + 1",
    "CFG['a']",
    "%%bash\nexit",
]


@pytest.mark.parametrize("cell", LOOKS)
def test_a_look_is_no_edit(cell: str, notebook: Notebook) -> None:
    cells = ["import numpy as np", "X = np.ones(3)", "CFG = {'a': 1}", uses("X * CFG['a']")]
    first = notebook.after(*cells)
    if "%timeit" not in cell:
        assert edited(first, notebook.after(cell)) == {}
    assert set(edited(first, notebook.after("X.fill(2)", "CFG.pop('a')"))) == {"X", "CFG"}


def test_a_cell_that_sets_the_same_value_again_is_no_edit(notebook: Notebook) -> None:
    first = notebook.after(CFG, "CFG.gain = 2", uses("CFG.gain"))
    assert edited(first, notebook.after("CFG.gain = 2")) == {}


def test_a_default_counts_from_the_definition_of_the_function(notebook: Notebook) -> None:
    function = "def train(config, *, k=K):\n    yield {'loss': k}"
    first = notebook.after("K = 1.0", function)
    assert edited(first, notebook.after("K = 2.0")) == {}
    assert edits_told(edited(first, notebook.after(function))) == ["k of train(): 1.0 → 2.0"]


def test_a_default_that_cannot_be_compared_is_followed_by_its_name(notebook: Notebook) -> None:
    cells = ["import numpy as np", "K = np.ones(1_000_000)", "def train(config, k=K):\n    yield {'loss': k}"]
    first = notebook.restarted(*cells)
    cells[1] = "K = np.zeros(1_000_000)"
    assert list(edited(first, notebook.restarted(*cells))) == ["K"]


def test_what_the_first_release_did_not_see_is_no_edit_of_its_record(notebook: Notebook) -> None:
    """It noted no rules, nothing of a class without methods, and a look at a table as part of its value."""
    now = notebook.after(CFG, "CFG.gain = 2", "X = {}", "X.get('a')", "K = 1", uses("CFG.gain * len(X) * K"))
    older = {name: {key: each[key] for key in each if key != "rules"} for name, each in now.items()}
    older["X"] |= {"sha256": "of X = {}, X.get('a')", "code": ""}
    older["CFG"] |= {"sha256": "of nothing", "code": ""}
    assert edited(older, now) == {}
    assert list(edited(older, notebook.after("K = 2"))) == ["K"]
