"""Recognise a function that was written for Optuna or Ray Tune, by its source."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

REPORTERS = ("session", "train", "trial", "tune")  # tune.report(…) of Ray Tune, trial.report(…) of Optuna, …


def expects_a_trial(train: Callable[..., Any], first: str) -> str | None:
    """Why a function cannot get the configuration as its parameter `first`; None unless it expects an Optuna trial."""
    if not first:
        return None
    nodes = list(_nodes(train))
    asked = [
        node
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr.startswith("suggest_")
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == first
    ]
    is_read = any(
        isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == first
        for node in nodes
    )
    if not asked and (first != "trial" or is_read):
        return None
    name, method = "lr", "suggest_float"
    if asked:
        method = asked[0].func.attr  # type: ignore[attr-defined]
        given = [*asked[0].args, *(each.value for each in asked[0].keywords if each.arg == "name")]
        if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
            name = given[0].value
    return (
        f"takes an Optuna trial ({first}); the sweep passes the configuration, a dict: def train(config). Write "
        f"config[{name!r}] in place of {first}.{method}({name!r}, …), and declare the ranges in Space."
    )


def reports_elsewhere(train: Callable[..., Any]) -> str:
    """The call of another library's report in the function's source, such as `tune.report`; "" if there is none."""
    for node in _nodes(train):
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Attribute) and function.attr == "report":
            owner = ast.unparse(function.value)
            if owner.rpartition(".")[2] in REPORTERS:
                return f"{owner}.report"
    return ""


def ends_a_trial(error: BaseException) -> bool:
    """Whether it is Optuna's TrialPruned, by which an objective ends early."""
    return any(
        each.__name__ == "TrialPruned" and each.__module__.partition(".")[0] == "optuna" for each in type(error).__mro__
    )


def _nodes(train: Any) -> Iterator[ast.AST]:
    """The parts of its source; none if that cannot be read, as in an interactive session."""
    while isinstance(train, functools.partial):
        train = train.func
    if not inspect.isroutine(train):
        train = vars(type(train)).get("__call__", train)
    with contextlib.suppress(OSError, TypeError, SyntaxError):  # SyntaxError: a lambda amid the lines of a call
        yield from ast.walk(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(train)))))
