"""Values that a script's flag cannot take, as its source says: a type, or the only choices.

Read from literal declarations (argparse, click, typer, absl), so that a space which
proposes other values is refused before the start. Of what is computed, or declared twice, nothing is said.
"""

from __future__ import annotations

import ast
import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.domain.parameters import Float, Parameter
from trainables.scripts.entry_point import entry_point
from trainables.scripts.flags import Flag, find, names_in

if TYPE_CHECKING:
    from search.space import Space

MOST = 100  # values of a parameter to look at
_ABSL = {"DEFINE_integer": "int", "DEFINE_float": "float"}
# Where one of these stands, a declaration may not be all that decides.
_CHANGES = re.compile(r"conflict_handler|jsonargparse|sys\.argv(?!\[1:\]\))")
_OTHER_VALUES = {"nargs", "action", "multiple", "is_flag", "flag_value", "count", "callback", None}  # None: **more


@dataclass(frozen=True)
class Taken:
    """The values that a flag takes: of the type `kind`, and only `choices` if there are any; `line` of the source."""

    line: int
    kind: str
    choices: tuple[Any, ...] = ()

    def takes(self, value: Any) -> bool:
        if value is None:  # the flag is left out
            return True
        try:
            read = _READ[self.kind](str(value))
        except ValueError:
            return False
        return not self.choices or read in self.choices

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(repr, self.choices))}"
        return "numbers" if self.kind == "float" else "whole numbers"


def _whole(text: str) -> int:
    """As typer reads it: 64.0 is 64."""
    value = float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


_READ: dict[str, Callable[[str], Any]] = {"int": int, "whole number": _whole, "float": float, "str": str}


def wrong_value(command: str, known: Mapping[str, Flag], text: str, space: Space) -> str:
    """The first value of the space or the command that its flag does not take, in a sentence; empty if all may be right.

    `known`: the flags that the script lists. `text`: its source.
    """
    words = shlex.split(command)
    entry, taken = entry_point(words), {flag: values for flag, values in flag_values(text).items() if flag in known}
    if entry is None or not taken:
        return ""
    flags = {name: found.name for name in space.names if (found := find(name, known))}
    for flag, value in _given(words[entry.place + 1 :]):
        if (name := value[1:-1]) in space.parameters and value == f"{{{name}}}":
            flags[name] = flag
        elif flag in taken and not names_in(value) and not taken[flag].takes(value):
            takes = f"--{flag} takes {taken[flag]} ({entry.path}, line {taken[flag].line})"
            return f"{command!r}: {takes}, not {value!r}, which is in the command."
    for name, flag in flags.items():
        if flag not in taken:
            continue
        values = space.parameters[name].values(MOST)
        wrong = [value for value in values if not taken[flag].takes(value)]
        if wrong and (len(wrong) == len(values) or not space.describe()["constraints"]):  # which may exclude some
            takes = f"--{flag} takes {taken[flag]} ({entry.path}, line {taken[flag].line})"
            return (
                f"{command!r}: {takes}, but the parameter {name!r} may be {wrong[len(wrong) // 2]!r}; "
                f"{_remedy(space.parameters[name], taken[flag])}"
            )
    return ""


def flag_values(text: str) -> dict[str, Taken]:
    """What the source says of the values of its flags, by name without dashes; only what is certain.

    >>> flag_values("parser.add_argument('--layers', type=int)")
    {'layers': Taken(line=1, kind='int', choices=())}
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    if _CHANGES.search(text):
        return {}
    found = list(_declared(tree))
    times = Counter(name for name, _ in found)
    return {name: taken for name, taken in found if taken is not None and times[name] == 1}


def stays_on(flag: Flag, command: str) -> str:
    """How a switch without an opposite can be tuned though leaving it out leaves it on; empty if that turns it off.

    By the help and the source of the command's script, as far as they tell: a switch may have `default=True`.
    """
    entry = entry_point(shlex.split(command))
    calls = [call for text in ([] if entry is None else entry.texts) for call in _calls(text)]
    is_on, off = flag.is_on, ""
    for call in calls:
        given = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
        names = [_constant(each)[2:] for each in call.args if _constant(each).startswith("--")]
        dest = given.get("dest") or (names[0].replace("-", "_") if names else "")
        if _last(call.func) == "set_defaults":
            is_on = is_on or given.get(flag.name.replace("-", "_")) is True
        elif _last(call.func) not in ("add_argument", "option"):
            continue
        elif flag.name in names and given.get("action") == "store_false":
            return ""
        elif flag.name in names:
            is_on = is_on or given.get("default") is True
        elif dest == flag.name.replace("-", "_") and given.get("action") == "store_false":
            is_on, off = True, names[0] if names else ""
    if not is_on:
        return ""
    if off:
        return f"tune {off!r}, the switch that turns it off."
    return f"let the script take --no-{flag.name}, too, as with argparse's action=BooleanOptionalAction."


def _given(words: list[str]) -> Iterator[tuple[str, str]]:
    """The long flags among the words, each with its value, after = or in the next word."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name.startswith("--") and len(name) > 2 and (equals or not following.startswith("-")):
            yield name[2:], value if equals else following


def _remedy(parameter: Parameter, taken: Taken) -> str:
    if taken.kind == "str" and not any(isinstance(option, str) for option in taken.choices):
        return f"without type={type(taken.choices[0]).__name__} beside its choices the script refuses every value."
    if taken.choices:
        return "leave out what the script does not take, or add it to the script's choices."
    if isinstance(parameter, Float):
        low, high = math.ceil(parameter.low), math.floor(parameter.high)
        if low < high:
            return f"tune it with {'lograndint' if parameter.log else 'randint'}({low}, {high})."
    return f"tune it with {taken}, or let the script take other values."


def _declared(tree: ast.Module) -> Iterator[tuple[str, Taken | None]]:
    """Each flag that the source declares; None if its values are not certain."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    run_by_typer = {_last(call.args[0]) for call in calls if ast.unparse(call.func) == "typer.run" and call.args}
    for call in calls:
        texts = [text for each in call.args if (text := _constant(each))]
        called = _last(call.func)
        if called in ("add_argument", "option"):
            taken = _of_argparse(call) if called == "add_argument" else _of_click(call)
            yield from ((name[2:], taken) for name in texts if name.startswith("--"))
        elif called.startswith("DEFINE_") and texts:  # absl
            options = _literal(call.args[2]) if called == "DEFINE_enum" and len(call.args) > 2 else ()
            yield texts[0], _certain(call.lineno, _ABSL.get(called, "str"), options)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (node.name in run_by_typer or _is_command_of_typer(node)):
            for each in [*node.args.args, *node.args.kwonlyargs]:
                annotated = "" if each.annotation is None else ast.unparse(each.annotation)
                yield (
                    each.arg.replace("_", "-"),
                    _certain(each.lineno, "whole number" if annotated == "int" else annotated),
                )


def _of_argparse(call: ast.Call) -> Taken | None:
    given = {word.arg: word.value for word in call.keywords}
    if _OTHER_VALUES & set(given):
        return None
    kind = ast.unparse(given["type"]) if "type" in given else "str"
    return _certain(call.lineno, kind, _literal(given.get("choices")))


def _of_click(call: ast.Call) -> Taken | None:
    given = {word.arg: word.value for word in call.keywords}
    if _OTHER_VALUES & set(given):
        return None
    kind, default = given.get("type"), given.get("default")
    if kind is None:  # click takes the type of the default
        return _certain(call.lineno, type(default.value).__name__ if isinstance(default, ast.Constant) else "")
    if isinstance(kind, ast.Call) and _last(kind.func) == "Choice" and len(kind.args) == 1 and not kind.keywords:
        return _certain(call.lineno, "str", tuple(each for each in _literal(kind.args[0]) if isinstance(each, str)))
    return _certain(call.lineno, ast.unparse(kind).removeprefix("click.").lower())


def _certain(line: int, kind: str, choices: tuple[Any, ...] = ()) -> Taken | None:
    return (
        Taken(line, kind, choices) if kind in ("int", "whole number", "float") or (kind == "str" and choices) else None
    )


def _literal(node: ast.expr | None) -> tuple[Any, ...]:
    """The options that stand there as they are; empty if they are computed."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "range":
        ends = [_literal(ast.List([end])) for end in node.args]
        return tuple(range(*(end[0] for end in ends))) if all(ends) and not node.keywords else ()
    try:
        options = ast.literal_eval(node) if isinstance(node, (ast.List, ast.Tuple, ast.Set)) else ()
    except ValueError:
        return ()
    return tuple(options)


def _calls(text: str) -> list[ast.Call]:
    try:
        return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError):
        return []


def _constant(node: ast.expr) -> str:
    """The text that stands there; empty if it is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _last(node: ast.expr) -> str:
    """The last name of a dotted one."""
    return ast.unparse(node).rpartition(".")[2]


def _is_command_of_typer(node: ast.FunctionDef) -> bool:
    """`@app.command()`: without click's options, its flags are its arguments."""
    decorators = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return [_last(each) for each in decorators] == ["command"]
