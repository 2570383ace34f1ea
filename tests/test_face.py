"""One import line: what the three packages offer, that all of it is documented, and that asking for it costs little."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import orchestrator
import search
import search.schedulers
import search.searchers
import trainables
import trainables.policies
import trainables.workloads
from orchestrator.errors import OrchestratorError
from search.contract import Scheduler, Searcher
from search.searchers.points import Points
from tests.support import ROOT, concrete
from trainables.contract import Policy, Workload

WRITTEN = {  # by hand; all else is found
    "AskAndTell", "BatchSampler", "Control", "Execution", "FromFunction", "Goal", "LightningCallback", "LightningControl", "Result",
    "Script", "Space", "Sweep", "Task", "TransformersCallback", "TransformersControl", "WeightAverages", "choice", "launch", "lograndint", "loguniform", "parameters", "pow2", "randint", "report",
    "resumed_from", "run", "uniform", "when",
}  # fmt: skip
ERRORS = {
    "BadInput", "Interrupted", "NoMetric", "OrchestratorError", "ResumeRefused", "RunInUse", "StorageError",
    "TrialsFailed",
}  # fmt: skip
CONTRACTS = {  # for whoever writes a searcher, a scheduler, a policy or a workload
    "Action", "Averaging", "History", "Knobs", "OwnTraining", "Policy", "Predictions", "Scheduler", "Searcher", "Signals",
    "Status", "Suggestion", "Trial", "Verdict", "Workload",
}  # fmt: skip
FRAMEWORKS = {
    "LightningCallback",
    "LightningControl",
    "TransformersCallback",
    "TransformersControl",
}  # loading one takes ten seconds, and tests of their own do
FACES = [orchestrator, search, trainables]


def kinds() -> dict[str, type]:
    """Every searcher, scheduler, policy and workload that comes with it, by name."""
    packages = (
        (search.searchers, Searcher),
        (search.schedulers, Scheduler),
        (trainables.policies, Policy),
        (trainables.workloads, Workload),
    )
    found = {kind for package, contract in packages for kind in concrete(package, contract)}
    return {kind.__name__: kind for kind in found - {Points} if not kind.__name__.startswith("_")}


def methods() -> set[str]:
    return set(kinds())


def test_the_face_offers_what_a_script_writes_and_nothing_else() -> None:
    for name in sorted(methods() - set(orchestrator.__all__)):
        face = kinds()[name].__module__.partition(".")[0]
        pytest.fail(f"scripts cannot import {name}: add it to HOMES and to the imports of {face}/__init__.py")
    assert set(orchestrator.__all__) == WRITTEN | ERRORS | CONTRACTS | methods()
    assert set(orchestrator.__all__) == set(search.__all__) | set(trainables.__all__) | set(orchestrator.HOMES)


@pytest.mark.parametrize("face", FACES, ids=lambda face: str(face.__name__))
def test_a_face_says_the_same_to_people_to_python_and_to_type_checkers(face: ModuleType) -> None:
    assert face.__file__ is not None
    tree = ast.parse(Path(face.__file__).read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    lines = [line for line in typed.body if isinstance(line, ast.ImportFrom)]
    named = {alias.asname: line.module for line in lines for alias in line.names if alias.name != "*"}
    assert named == face.HOMES
    assert face.__all__ == dir(face)
    for name in set(face.__all__) - FRAMEWORKS:
        assert getattr(face, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nobody'"):
        face.nobody  # noqa: B018


WITHOUT_LIGHTNING = """
from importlib.machinery import PathFinder
find, hidden = PathFinder.find_spec, ("lightning", "pytorch_lightning")
PathFinder.find_spec = lambda name, *more: None if name.split(".")[0] in hidden else find(name, *more)
"""
ALL_AND_ONE = """
from {face} import *
import {face} as face
assert "LightningControl" not in face.__all__, face.__all__
assert set(face.__all__) <= set(globals()), set(face.__all__) - set(globals())
print("all")
face.{name}
"""


@pytest.mark.parametrize(
    ("face", "name"),
    [
        ("orchestrator", "LightningCallback"),
        pytest.param("orchestrator", "LightningControl", marks=pytest.mark.slow),
        pytest.param("trainables", "LightningControl", marks=pytest.mark.slow),
    ],
)
def test_without_lightning_a_face_gives_all_other_names_and_says_what_to_install(face: str, name: str) -> None:
    code = WITHOUT_LIGHTNING + ALL_AND_ONE.format(face=face, name=name)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    needs = f"ImportError: {name} needs Lightning (No module named 'lightning'): pip install lightning"
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("all\n", needs)


def written(name: str) -> str | None:
    """Its own docstring: one of a base class does not count."""
    if name not in FRAMEWORKS:
        text: str | None = getattr(orchestrator, name).__doc__
        return text and inspect.cleandoc(text)
    tree = ast.parse((ROOT / f"{(orchestrator.HOMES | trainables.HOMES)[name].replace('.', '/')}.py").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return ast.get_docstring(found)


@pytest.mark.parametrize("name", sorted(set(orchestrator.__all__) - CONTRACTS))
def test_each_name_has_a_docstring_with_an_example_that_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = written(name)
    assert text
    assert not text.startswith(f"{name}("), "the docstring that dataclasses make"
    monkeypatch.delenv("TRIAL_FOLDER", raising=False)
    names: dict[str, Any] = {each: getattr(orchestrator, each) for each in set(orchestrator.__all__) - FRAMEWORKS}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert test.examples
    assert any(name in example.source for example in test.examples)
    assert len(test.examples) <= 6
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)


IN_A_FRESH_PROCESS = """
import sys
import {face}
dir({face})
assert not {{"torch", "ray", "numpy", "pandas"}} & set(sys.modules), sorted(sys.modules)
from {face} import {names}
assert not {{"torch", "ray"}} & set(sys.modules)
"""


@pytest.mark.parametrize(
    ("face", "names"),
    [
        ("orchestrator", "Sweep, Space, Task, Asha, Tpe, LrSchedule, Quadratic, FromFunction, loguniform, launch, run"),
        ("search", "AskAndTell, Random, Asha, Space, uniform"),
        ("trainables", "Quadratic, Warmup, Script, Execution"),
    ],
)
def test_a_face_and_what_describes_a_sweep_load_neither_torch_nor_ray(face: str, names: str, tmp_path: Path) -> None:
    program = IN_A_FRESH_PROCESS.format(face=face, names=names)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_script_that_only_reports_loads_one_file_and_keeps_its_own_modules(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text("mine = True\n")
    program = "import sys\nfrom orchestrator import report\nimport search\nassert search.mine\nassert 'numpy' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_error_of_ours_that_leaves_a_run_is_offered() -> None:
    assert all(issubclass(getattr(orchestrator, name), OrchestratorError) for name in ERRORS)


def test_scripts_that_import_main_go_on_working() -> None:
    from orchestrator import main

    assert main.main is main.launch
