"""The Python of a notebook's cells, also below a magic that runs it: `%%time`, `%timeit x = f(1)`."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable

_RUNS = ("capture", "memit", "mprun", "prun", "time")  # in the notebook's own names
_REPEATS = "timeit"  # in a function of its own: it may change an object, and binds no name
_OPTIONS = re.compile(r"\s*(-\w+\s+(\d+\s+)?)*")  # of a line magic


def python_of(cell: str, translated: Callable[[str], str]) -> tuple[str, bool]:
    """A cell as IPython has translated it, with the code that magics run in place of their calls; and whether there is any.
    `translated`: what IPython makes of a cell."""
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError, RecursionError):
        return cell, False
    parts, lines, done = [], cell.split("\n"), 0
    for each in body:
        if code := _run(each):
            parts += lines[done : each.lineno - 1]
            parts += [_repeated(python_of(translated(text), translated)[0], name) for name, text in code]
            done = each.end_lineno or each.lineno
    return ("\n".join([*parts, *lines[done:]]), True) if done else (cell, False)


def _run(statement: ast.stmt) -> list[tuple[str, str]]:
    """The magic and the code that it runs, of `get_ipython().run_cell_magic('time', '', 'x = 1\\n')`."""
    match statement:
        case ast.Expr(
            ast.Call(
                ast.Attribute(ast.Call(ast.Name("get_ipython")), "run_cell_magic" | "run_line_magic" as kind),
                [ast.Constant(str(name)), ast.Constant(str(line)), *rest],
            )
        ) if name in (*_RUNS, _REPEATS):
            match rest:
                case [ast.Constant(str(text))]:
                    return [(name, text)]
            return [(name, line[_OPTIONS.match(line).end() :])] if kind == "run_line_magic" else []  # type: ignore[union-attr]
    return []


def _repeated(code: str, name: str) -> str:
    return f"while True:\n{textwrap.indent(code, ' ')}" if name == _REPEATS else code
