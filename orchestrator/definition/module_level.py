"""The statements at the top level of a module that give a name its value, read from the source and not carried out.

The text of a statement stands for the value: it is the same at each start, also for `time.time()` or a temporary path, and
it covers tables and tensors of any size. What a value takes from elsewhere is not seen: a flag, the environment, a data file.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dis
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import cast

from orchestrator.definition.looking import only_looks

TextOf = Callable[[ast.AST], str]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_LONGEST = 40  # characters of a value that is shown
_AWAITS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # a notebook's cell may


@dataclass(frozen=True)
class Statement:
    """`binds`: the names that it gives a value, or whose value it changes (`X /= 2`, `X["a"] = 1`, `X.append(1)`).
    `text`: empty for the definition of a function or class, and for what only looks at a value."""

    text: str
    binds: frozenset[str]
    reads: frozenset[str]
    value: str = ""  # of a plain assignment, if it is short; of an import, what is imported
    is_fresh: bool = False  # what was bound before no longer counts
    is_repeatable: bool = False  # carried out again, it changes nothing: `X["a"] = 1`
    is_new: bool = False  # release 0.1.0 did not read it, or read it in another way


@dataclass
class TopLevel:
    """What a module, or the body of a function, defines and binds."""

    definitions: dict[str, tuple[ast.stmt, TextOf]] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    functions: dict[str, TopLevel] = field(default_factory=dict)  # what was found inside of them

    def binding(self, name: str) -> list[Statement]:
        """The statements on which the value of a name depends directly, in order."""
        found: list[Statement] = []
        for each in self.statements:
            if name in each.binds:
                kept = [one for one in found if not (each.is_repeatable and one.text == each.text)]
                found = [each] if each.is_fresh else [*kept, each]
        return [each for each in found if each.text]

    def is_new(self, name: str) -> bool:
        """Whether release 0.1.0 found another `binding` of the name, or none."""
        return any(each.is_new and name in each.binds for each in self.statements)

    def knows(self, name: str) -> bool:
        return name in self.definitions or any(name in each.binds for each in self.statements)

    def definition(self, name: str) -> str:
        """The source of a function or class; empty if it has none of this name."""
        if name not in self.definitions:
            return ""
        node, text_of = self.definitions[name]
        return "\n".join(map(text_of, [*getattr(node, "decorator_list", []), node]))

    def reads(self, name: str, given: Collection[str] = ()) -> frozenset[str]:
        """The global names that a function or class of this module reads: its decorators, defaults and bases, too, but not
        the defaults of the arguments `given`."""
        if name not in self.definitions:
            return frozenset()
        node = self.definitions[name][0]
        if isinstance(node, _FUNCTIONS) and given:
            node = copy.deepcopy(node)
            for argument, default, place in _defaults(node.args):
                if argument in given and default is not None:
                    place[place.index(default)] = ast.Constant(None, lineno=node.lineno, col_offset=0)
        return _reads([node])

    def defaults(self, name: str) -> dict[str, str]:
        """The arguments of a function of this module whose default is a name, and these."""
        node = self.definitions[name][0] if name in self.definitions else None
        found = _defaults(node.args) if isinstance(node, _FUNCTIONS) else ()
        return {argument: default.id for argument, default, _ in found if isinstance(default, ast.Name)}

    def inside(self, qualname: str) -> TopLevel:
        """The same of the functions around the function of this name, which may use what they bind."""
        around = qualname.rpartition(".<locals>.")[0]
        if around not in self.functions:
            found, known = TopLevel(), self.definitions
            for part in around.split(".<locals>."):
                inner = TopLevel()
                if part in known:
                    node, text_of = known[part]
                    _collect(getattr(node, "body", []), text_of, inner)
                found.definitions |= inner.definitions
                found.statements += inner.statements
                known = inner.definitions
            self.functions[around] = found
        return self.functions[around]


@lru_cache(maxsize=8)
def top_level(texts: tuple[tuple[str, bool], ...]) -> TopLevel:
    """Of a module's text, or of the cells that a notebook has run, each with whether it is new as a `Statement` may be;
    those that are no Python are left out."""
    found = TopLevel()
    for text, is_new in ((each.removeprefix("\ufeff"), is_new) for each, is_new in texts):
        cell = TopLevel(found.definitions)
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            _collect(ast.parse(text).body, partial(_segment, text.encode().split(b"\n")), cell)
        found.statements += [replace(each, is_new=each.is_new or is_new) for each in cell.statements]
    return found


def _segment(lines: Sequence[bytes], node: ast.AST) -> str:
    """The source of a statement or an expression; `ast.get_source_segment` would split the whole text for each."""
    place = cast(ast.stmt, node)
    found = list(lines[place.lineno - 1 : place.end_lineno])
    found[-1] = found[-1][: place.end_col_offset]
    found[0] = found[0][place.col_offset :]
    return b"\n".join(found).decode()


def global_names(code: types.CodeType) -> set[str]:
    """The global names that a function's code reads, inner functions included."""
    loads = {
        each.argval
        for each in dis.get_instructions(code)
        if each.opname.startswith("LOAD_") and ("GLOBAL" in each.opname or "NAME" in each.opname)
    }
    return loads.union(*(global_names(each) for each in code.co_consts if isinstance(each, types.CodeType)))


def _collect(
    body: Sequence[ast.stmt], text_of: TextOf, found: TopLevel, around: str = "", read: frozenset[str] = frozenset()
) -> None:
    """Add what the body defines and binds. `around`, `read`: the heads of the blocks around it, and the names in them."""
    for each in body:
        if isinstance(each, _DEFINITIONS):
            found.definitions[each.name] = each, text_of
            if not around:
                found.statements.append(Statement("", frozenset({each.name}), frozenset(), is_fresh=True))
        elif blocks := _blocks(each):
            head, targets = _head(each)
            reads = read | _reads(head)
            text = f"{around}{type(each).__name__} {' '.join(map(text_of, [*targets, *head]))}"
            found.statements.append(Statement(text, _roots(targets), reads))
            found.statements += [replace(one, text=text) for one in _walrus(head, text_of)]
            for kind, block in blocks:
                _collect(block, text_of, found, f"{text} {kind}: ", reads)
        else:
            for one in [*_statements(each, text_of, found), *_walrus([each], text_of)]:
                text = around + one.text if one.text else ""
                inner = replace(one, text=text, reads=read | one.reads, value="", is_fresh=False, is_repeatable=False)
                found.statements.append(inner if around else one)


def _blocks(statement: ast.stmt) -> list[tuple[str, list[ast.stmt]]]:
    found = [(kind, getattr(statement, kind, None) or []) for kind in ("body", "orelse", "finalbody")]
    for kind in ("handlers", "cases"):
        found += [(kind, part.body) for part in getattr(statement, kind, [])]
    return [(kind, block) for kind, block in found if block]


def _head(statement: ast.stmt) -> tuple[list[ast.expr], list[ast.expr]]:
    """The expressions at the head of a block, and the targets that it binds."""
    match statement:
        case ast.If() | ast.While():
            return [statement.test], []
        case ast.For() | ast.AsyncFor():
            return [statement.iter], [statement.target]
        case ast.With() | ast.AsyncWith():
            bound = [item.optional_vars for item in statement.items if item.optional_vars]
            return [item.context_expr for item in statement.items], bound
        case ast.Match():
            return [statement.subject], []
    return [], []


def _statements(statement: ast.stmt, text_of: TextOf, found: TopLevel) -> Iterator[Statement]:
    """One statement that is no block; one for each name of an import."""
    text, reads = text_of(statement), _reads([statement])
    match statement:
        case ast.Import() | ast.ImportFrom():
            for alias in statement.names:
                name = alias.asname or alias.name
                place = (
                    f"{'.' * statement.level}{statement.module or ''}." if isinstance(statement, ast.ImportFrom) else ""
                )
                bound = frozenset({name.partition(".")[0]})
                what = alias.name if place or alias.asname else alias.name.partition(".")[0]
                yield Statement(place + what, bound, frozenset(), place + what, is_fresh=True)
        case ast.Assign(value=given) | ast.AnnAssign(value=ast.expr() as given):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = {each.id for target in targets for each in _parts(target) if isinstance(each, ast.Name)}
            binds, value = _roots(targets), text_of(given)
            is_plain = names == binds and not names & reads
            is_one = is_plain and len(targets) == 1 and isinstance(targets[0], ast.Name)
            yield Statement(
                text,
                binds,
                reads,
                _short(value) if is_one else "",
                is_plain,
                is_repeatable=not names and not binds & _reads([given]),
            )
        case ast.AugAssign():
            yield Statement(text, _roots([statement.target]), reads | _roots([statement.target]))
        case ast.Delete():
            yield Statement(text, _roots(statement.targets), reads)
        case ast.Expr(value=ast.Call() as call):
            changed = {_root(call.func)} if isinstance(call.func, ast.Attribute) else set[str]()
            by_name = isinstance(call.func, ast.Name) and call.func.id in ("setattr", "delattr")
            if by_name and call.args:
                changed = {_root(call.args[0])}
            if isinstance(call.func, ast.Name) and call.func.id in found.definitions:  # it may change what it is given
                changed |= {each.id for each in call.args if isinstance(each, ast.Name)}
            looks = only_looks(call)
            yield Statement("" if looks else text, frozenset(changed - {""}), reads, is_new=looks or by_name)


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST and "\n" not in value else ""


def _walrus(nodes: Sequence[ast.AST], text_of: TextOf) -> Iterator[Statement]:
    """What `(X := 1)` binds within the nodes."""
    for each in (inner for node in nodes if ":=" in text_of(node) for inner in ast.walk(node)):
        if isinstance(each, ast.NamedExpr):
            name, reads = each.target.id, _reads([each.value])
            value = text_of(each.value)
            yield Statement(
                text_of(each), frozenset({name}), reads, _short(value), is_fresh=name not in reads, is_new=True
            )


def _defaults(arguments: ast.arguments) -> list[tuple[str, ast.expr | None, list[ast.expr | None]]]:
    """Each argument that has a default, the default, and the list that holds it."""
    positional = [*arguments.posonlyargs, *arguments.args]
    places = ((positional[len(positional) - len(arguments.defaults) :], cast("list[ast.expr | None]", arguments.defaults)),
              (arguments.kwonlyargs, arguments.kw_defaults))  # fmt: skip
    return [(each.arg, default, place) for names, place in places for each, default in zip(names, place, strict=True)]


def _parts(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            yield from _parts(each)
    else:
        yield target.value if isinstance(target, ast.Starred) else target


def _roots(targets: Iterable[ast.expr]) -> frozenset[str]:
    return frozenset(_root(part) for target in targets for part in _parts(target)) - {""}


def _root(thing: ast.expr) -> str:
    """The X of `X`, `X.a`, `X["a"]` and `X.a(…).b`."""
    while isinstance(thing, (ast.Attribute, ast.Subscript, ast.Call)):
        thing = thing.func if isinstance(thing, ast.Call) else thing.value
    return thing.id if isinstance(thing, ast.Name) else ""


def _reads(nodes: Sequence[ast.AST]) -> frozenset[str]:
    """The global names that are read in these statements or expressions."""
    found: set[str] = set()
    for node in nodes:
        body = [node if isinstance(node, ast.stmt) else ast.copy_location(ast.Expr(cast(ast.expr, node)), node)]
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):  # a `break` outside of its loop
            found |= global_names(compile(ast.Module(body, []), "<source>", "exec", flags=_AWAITS))
    return frozenset(found)
