"""The command that the user typed, for the record and as text for a shell."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.console.own_commands import is_by_name, python_words
from orchestrator.errors import BadInput
from orchestrator.money.amounts import Amount, budget_words
from search.rules.population import population_of
from search.run_state import FOR_THE_SEARCH, OUT_OF_BUDGET

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


RETRY_FAILED = "--retry-failed"


def recorded_command() -> list[str]:
    """Python's arguments that run this script again: its path, or -m and its module, then the words after it."""
    module, (_, words) = _module(), _command_line()
    return ["-m", module, *words] if module else [os.path.abspath(sys.argv[0]), *words]


def again(without: str = "", *, has_value: bool = True) -> str:
    """The typed command line without one option, and without its value if it has one, as text for a shell.

    Without --retry-failed, too: the sweep that it continues has that on record.
    """
    program, words = _command_line()
    flags = _without(words, RETRY_FAILED, has_value=False)
    return shlex.join([*python_words(), *program, *_without(flags, without, has_value=has_value)])


def recorded_line(record: Mapping[str, Any], option: str = "", value: str = "") -> str:
    """The command of a recorded invocation as a line for a shell, with another value of an option if one is named.

    It begins in the folder in which the user typed it; a script in or below that folder has its short path. Empty if no
    command is on record: run(sweep) in a notebook or at a prompt.
    """
    typed = record["command"] or record["code"].get("typed")
    if not typed:
        return ""
    (first, *others), place = typed, record["code"].get("folder") or os.getcwd()
    if os.path.isabs(first) and not (short := os.path.relpath(first, place)).startswith(".."):
        first = short
    elif is_by_name():
        first = os.path.basename(first)
    others = _without(others, RETRY_FAILED, has_value=False)
    words = [*python_words(place), first, *_without(others, option), *filter(None, (option, value))]
    return from_folder(place, shlex.join(words))


def from_folder(place: str | None, line: str) -> str:
    """The line for a shell, with a `cd` where it must run in another folder than this one."""
    is_here = is_by_name() or not place or os.path.realpath(place) == os.path.realpath(os.curdir)
    return line if is_here else in_folder(str(place), line)


def in_folder(place: str, line: str) -> str:
    """The line for a shell that runs it in a folder, wherever the shell is."""
    return f"cd {shlex.quote(place)} && {line}"


def _without(words: Sequence[str], option: str, *, has_value: bool = True) -> list[str]:
    """The words of a command without an option and its value, if it has one."""
    rest, kept = iter(words), []
    for word in rest:
        if not option or (word != option and not word.startswith(f"{option}=")):
            kept.append(word)
        elif word == option and has_value:
            next(rest, None)
    return kept


def more(sweep: Sweep, over: str = "", started: int = 0, *, budget: float | Amount | None = None) -> str:
    """The command line for a longer search of the same kind; `over`: why it is over, after `started` configurations.

    A larger budget, if the budget ended it, or if `budget` says which one leaves room; else more configurations. For a
    population whose members have all started, what to change instead.
    """
    population = population_of(sweep.searcher)
    is_spent = budget is not None or over.startswith(OUT_OF_BUDGET) or FOR_THE_SEARCH in over
    if population is not None and not is_spent:
        members = population.population + int(sweep.baseline_config is not None)
        if sweep.limit is not None and sweep.limit < members:
            return f"{again('--num-samples')} --num-samples {members}"
        return f"need a larger population: write population={2 * population.population} in the script, and another name"
    if is_spent or sweep.limit is None:
        return f"{again('--budget')} --budget {shlex.quote(_typed(budget) or _doubled(sweep.budget))}"
    line = f"{again('--num-samples')} --num-samples {2 * max(sweep.limit, started)}"
    return line if sweep.budget is None else f"{line} (within the budget of {budget_words(sweep.budget)})"


def _typed(budget: float | Amount | None) -> str:
    return str(budget) if isinstance(budget, Amount) else "" if budget is None else f"{budget:g}"


def _doubled(budget: Any) -> str:
    return str(replace(budget, number=2 * budget.number)) if isinstance(budget, Amount) else f"{2 * (budget or 1):g}"


def replay_command(folder: Path, record: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """Python's arguments that run the script of a recorded invocation again, and the working folder for it.

    Raises BadInput if the script is not there.
    """
    command, place = list(record["command"]), record["code"].get("folder")
    if command[0] != "-m" and not Path(command[0]).is_file():
        raise BadInput(f"{folder}: the script that made this run ({command[0]}) is not there; put it back.")
    return command, place if place and Path(place).is_dir() else None


def _command_line() -> tuple[list[str], list[str]]:
    """The command line in two parts: what tells Python what to run, such as `-m module`, and the words after that.

    A script with a parser of its own takes its words out of `sys.argv`; Python keeps them all in `sys.orig_argv`.
    """
    words, last = sys.orig_argv[1:], _module() or sys.argv[0]
    if last in words:
        cut = words.index(last) + 1
    elif words[len(words) - len(sys.argv[1:]) :] == sys.argv[1:]:
        cut = len(words) - len(sys.argv[1:])
    else:
        return sys.argv[:1], sys.argv[1:]  # IPython's %run
    return words[:cut], words[cut:]


def _module() -> str:
    """The name of the module, if `python -m` started it."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return "" if spec is None or "-m" not in sys.orig_argv else str(spec.name).removesuffix(".__main__")
