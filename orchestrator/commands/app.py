"""The `orchestrator` command itself, and what its commands share: the arguments, the messages, the opened ledger."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from orchestrator.console.explain import explain
from orchestrator.errors import BadInput, StorageError

if TYPE_CHECKING:
    from orchestrator.record.ledger import Ledger

HELP = "Inspect, compare, export, keep and replay runs."

AGAIN = "run the command that started the sweep again"
HINTS = {  # words that are no commands, and what to do instead
    "retry": f"to try failed trials again, {AGAIN}, with --retry-failed",
    "resume": f"to continue a run, {AGAIN}",
    "continue": f"to continue a run, {AGAIN}",
    "run": "a sweep is started by its own script: python tune.py",
    "start": "a sweep is started by its own script: python tune.py",
    "stop": "press Ctrl-C in the sweep's terminal, or send SIGTERM to its process; it saves everything",
    "delete": "use rm",
    "remove": "use rm",
}


class _Commands(TyperGroup):
    """The commands, with a hint for some words that are none."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in HINTS and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command '{args[0]}': {HINTS[args[0]]}.")
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)
Run = Annotated[str, typer.Argument(help="Name of a run under --runs, or the path of its folder.")]


def on_disk(path: Path | None) -> Path | None:
    """The value of an option that names a file or a folder."""
    from orchestrator.record.storage import refuse_url

    if path is None:
        return None
    try:
        refuse_url(path)
    except BadInput as error:
        raise typer.BadParameter(str(error)) from None
    return path.expanduser()


Runs = Annotated[Path, typer.Option(help="Folder of all runs.", callback=on_disk)]


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn our errors into one message and their exit code."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except BrokenPipeError:  # `… | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (typer.Exit, typer.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            raise typer.Exit(explain(_permission(error))) from None

    return wrapped


def _permission(error: Exception) -> Exception:
    """A file that one may not read is no fault of ours."""
    from orchestrator.record.storage import not_permitted

    found = isinstance(error, PermissionError) and error.filename
    return StorageError(not_permitted(found)) if found else error


@contextmanager
def opened(run: str, runs: Path, *, check: bool = True) -> Iterator[Ledger]:
    """The ledger of a run, read only; an unknown name is refused with the nearest one."""
    from orchestrator.record.ledger import Ledger
    from orchestrator.record.storage import find_run

    ledger = Ledger.read(find_run(run, runs), check=check)
    try:
        yield ledger
    finally:
        ledger.close()


def matching(name: str, runs: Path, command: str) -> list[str]:
    """The name itself; of a pattern, the runs below `runs`, or below this folder, that match. Raises BadInput if none does."""
    from orchestrator.record.ledger import FILE

    if not any(mark in name for mark in "*?["):
        return [name]
    for place in (runs, Path()):
        found = sorted(path.parent for path in place.glob(f"{name}/{FILE}") if not path.parent.name.startswith("."))
        if found:
            return [str(path.absolute()) for path in found]
    raise BadInput(f"{command} {name!r}: no run in {runs} matches.")
