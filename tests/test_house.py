"""The house stays in order: sizes, import contracts that name everything, tests that keep to what is public."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import pytest

from tests.support import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it there

PACKAGES = ("search", "trainables", "orchestrator")
MOST_LINES, MOST_METHODS, MOST_CHANGING = 400, 25, 17
CHANGES = {  # methods of containers that change them
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove",
    "setdefault", "update",
}  # fmt: skip
NO_READING = {  # names with an underscore that are no secret of another module
    "_asdict", "_fields", "_replace",  # of named tuples, documented
    "_exit",  # of os
    "_render_traceback_", "_repr_html_",  # what notebooks call
    "_forkserver", "_resource_tracker", "_stop",  # of multiprocessing, which has no other way to end its helpers
}  # fmt: skip
FOREIGN = {"ray.autoscaler._private.util"}  # Ray checks cluster files nowhere else


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


# Sizes


@lru_cache(maxsize=1)
def classes() -> dict[str, ast.ClassDef]:
    return {
        f"{relative(path)}:{node.name}": node
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    }


def methods(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]


def changing(node: ast.ClassDef) -> set[str]:
    """The attributes that a method other than the constructor assigns, deletes or changes in place."""
    inside = (each for f in methods(node) if f.name not in ("__init__", "__post_init__") for each in ast.walk(f))
    return {name for each in inside for target in changed_by(each) for name in attributes(target)}


def changed_by(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return targets
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.For(target=target):
            return [target]
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in CHANGES:
            return [value]
    return []


def attributes(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from attributes(part)
        case ast.Subscript(value=inner) | ast.Starred(value=inner):
            yield from attributes(inner)
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            yield name


def length(name: str) -> int:
    return len((ROOT / name).read_text().splitlines())


def is_small(node: ast.ClassDef) -> bool:
    return len(methods(node)) <= MOST_METHODS and len(changing(node)) <= MOST_CHANGING


def test_a_file_is_read_in_one_go() -> None:
    names = [relative(path) for path in sources()]
    assert [name for name in names if length(name) > MOST_LINES] == []


def test_a_class_has_few_methods_and_fewer_attributes_that_change() -> None:
    assert [name for name, node in classes().items() if not is_small(node)] == []


def test_what_changes_is_counted() -> None:
    """The measure itself: each way to change an attribute counts once, what a constructor does not at all."""
    (example,) = ast.parse(
        "class Example:\n"
        "    def __init__(self): self.a = self.b = []; self.a.append(0)\n"
        "    def act(self):\n"
        "        self.c, (self.d, *self.e) = f(self.b)\n"
        "        self.f[0] += 1; self.f = 2\n"
        "        for self.g in self.b: del self.h\n"
        "        self.i.add(1); other.j = 1; self.k.l = 1; self.b.index(0)\n"
    ).body
    assert isinstance(example, ast.ClassDef)
    assert changing(example) == set("cdefghi")


# Import contracts


def named_by_contracts() -> list[str]:
    """The patterns of the contracts that say where a module stands: layers, or apart from its siblings."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = [module for contract in contracts for module in contract.get("modules", ())]
    for contract in contracts:
        within = [f"{container}." for container in contract.get("containers", ())] or [""]
        layers = [part.strip(" ()") for layer in contract.get("layers", ()) for part in re.split("[|:]", layer)]
        found += [prefix + layer for prefix in within for layer in layers]
    return found


def named(module: str, patterns: list[str]) -> bool:
    """By itself, or with the folder that it lies in; a package as a whole says nothing about what is in it."""
    parts = module.split(".")
    above = [".".join(parts[:length]) for length in range(2, len(parts) + 1)]
    return any(fnmatch(name, pattern) for name in above for pattern in patterns)


def test_every_module_is_named_by_an_import_contract() -> None:
    patterns = named_by_contracts()
    modules = [
        relative(path).removesuffix(".py").replace("/", ".")
        for path in sources()
        if path.name not in ("__init__.py", "__main__.py")
    ]
    assert [module for module in modules if not named(module, patterns)] == []


# Tests keep to what is public


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in NO_READING


def reaches(node: ast.AST) -> Iterator[str]:
    """What of another module's own a piece of a test uses."""
    match node:
        case ast.Attribute(value=ast.Name(id="self" | "cls")):
            pass
        case ast.Attribute(attr=name) if private(name):
            yield ast.unparse(node)
        case ast.ImportFrom(module=module, names=names) if module not in FOREIGN and module != "__future__":
            yield from (f"from {module} import {each.name}" for each in names if private(each.name))
            yield from (f"from {module}" for part in (module or "").split(".") if private(part))
        case ast.Import(names=names):
            yield from (each.name for each in names if any(map(private, each.name.split("."))))
        case ast.Call(func=ast.Name(id="getattr" | "setattr" | "delattr") | ast.Attribute(attr="setattr" | "delattr")):
            told = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            yield from (text for text in told if any(map(private, text.split("."))))


def reached_from(name: str) -> list[str]:
    return [reach for node in ast.walk(tree(ROOT / name)) for reach in reaches(node)]


def test_no_test_reads_a_private_attribute_of_another_module() -> None:
    names = [relative(path) for path in sorted((ROOT / "tests").rglob("*.py"))]
    assert {name: found for name in names if (found := reached_from(name))} == {}


def test_reaching_into_another_module_is_found() -> None:
    found = [
        "ledger._lock", "from search.models.gp import _root", "import a._b", "from a._b import c",
        "setattr(display, '_drawn', 0)", "patch.setattr('a.b._c', 1)",
    ]  # fmt: skip
    allowed = ["self._own", "point._replace(x=1)", "os._exit(1)", "from __future__ import annotations", "x.__dict__"]
    reached = {
        code: [reach for node in ast.walk(ast.parse(code)) for reach in reaches(node)] for code in found + allowed
    }
    assert [code for code, reach in reached.items() if reach] == found


@pytest.mark.xdist_group("house")
def test_a_group_of_tests_stays_in_one_process(request: pytest.FixtureRequest) -> None:
    """With pytest 9.2, pytest-xdist 3.8 ignored the groups without a word, so tests that start Ray ran side by side."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("the tests run in one process")
    assert request.node.nodeid.endswith("@house")
