"""The two ways to run a sweep: `launch(sweep)` for a script with flags, `run(sweep)` for notebooks and programs.

    from orchestrator import Space, Sweep, launch, loguniform

    launch(Sweep("mine", "python train.py", Space({"lr": loguniform(1e-5, 0.1)}), minimize="valid_loss", steps=20))

`launch` also takes a function that returns the Sweep; then `--help` builds nothing.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.console.explain import explain
from orchestrator.console.handing_over import hand_over
from orchestrator.console.signals import Signals
from orchestrator.console.slow_decision import slow_decisions_told
from orchestrator.console.turns import alone
from orchestrator.definition.bad_input import in_words, needs_arguments, of_own_code, place, place_of, tell_uncaught
from orchestrator.errors import BadInput, Interrupted, OrchestratorError
from orchestrator.outcome import problem_of, record_interruption, state_at_end, tell_end
from orchestrator.record.storage import full_path
from orchestrator.worker.processes import end_left_over_processes
from orchestrator.worker.random_state import random_kept

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.driver import Driver
    from orchestrator.reading.result import Result
    from orchestrator.record.ledger import Ledger
    from orchestrator.simulate import SimulatedClock
    from orchestrator.sweep import Sweep


tell_uncaught()


@random_kept()
def run(
    sweep: Sweep,
    folder: Path | str | None = None,
    *,
    runs: Path | str = "runs",
    name: str | None = None,
    simulate: bool = False,
    address: str | None = None,
    quiet: bool = False,
    retry_failed: bool = False,
    note: str | None = None,
    tags: Sequence[str] = (),
    **changes: Any,
) -> Result:
    """Run (or continue) a sweep in `folder` (default: `runs`/`name`) and return what it found; the same call does both.

    Raises an OrchestratorError instead of exiting: BadInput and ResumeRefused before anything starts, TrialsFailed and
    NoMetric at the end, Interrupted after Ctrl-C and a clean save; `error.result` holds the results so far. `simulate`: in
    this process on a simulated clock, without Ray. `address`: a Ray cluster; a Ray that the caller has started is used
    and left running. `retry_failed`: failed trials get another try, each from its last checkpoint. `note` and `tags` are
    remarks on the run, for `list`. `changes` are other fields of the sweep, as in run(sweep, num_samples=40). A process runs
    one sweep at a time: a second one, in another thread, waits.

    >>> result = run(sweep, num_samples=40)  # doctest: +SKIP
    """
    from rich.console import Console

    from orchestrator.definition.checks import on_this_machine
    from orchestrator.reading.result import Result

    if name is not None:
        changes["name"] = name
    described = _build(sweep).changed(**changes)
    hand_over(lambda: described)
    where = _folder(runs, described) if folder is None else full_path(folder)
    # A notebook is not a terminal, even if its kernel claims to be one; rich would render every line as HTML there.
    console = Console(stderr=True, force_jupyter=False, force_terminal=sys.stderr.isatty(), quiet=quiet)
    driven = False

    def close(driver: Driver, ledger: Ledger, received: list[int]) -> OrchestratorError | None:
        nonlocal driven
        driven = True
        return problem_of(driver, received, "call run(sweep) again", "run(sweep, retry_failed=True)")

    try:
        on_this_machine(described, local=not simulate and address is None, simulated=simulate)
        drive(
            described, where, simulated=simulate, address=address, console=console, close=close, is_script=False,
            retry_failed=retry_failed, note=note, tags=tags,
        )  # fmt: skip
    except OrchestratorError as error:
        if driven:
            error.result = Result(where)
        raise
    except KeyboardInterrupt:  # while the sweep began or ended
        go_on = "everything recorded is safe. To go on, call run(sweep) again"
        raise Interrupted(f"interrupted; {go_on}", 128 + signal.SIGINT) from None
    except Exception as error:
        if (told := of_own_code(error)) is None:
            raise
        raise told from error
    return Result(where)


def launch(sweep: Callable[[], Sweep] | Sweep) -> None:
    """Read the flags, run (or continue) the sweep, and exit with its code; after a success return, unless `--name` is given,
    so that a program may launch several sweeps.

    >>> if __name__ == "__main__":  # doctest: +SKIP
    ...     launch(sweep)
    """
    hand_over(lambda: _build(sweep))
    if _is_kernel():
        raise BadInput("launch(sweep) reads a command line, and a notebook has none: write result = run(sweep).")

    from orchestrator.console.screen import go_on_without_a_screen

    go_on_without_a_screen()
    is_alone = True

    def command(
        name: Annotated[str | None, typer.Option(help="Name of the run: its folder under --runs.")] = None,
        runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
        num_samples: Annotated[int | None, typer.Option(help="Total number of configurations to try.")] = None,
        budget: Annotated[
            str | None, typer.Option(help="Limit on all training: 30 (full trainings), '40 gpu-hours', '$200'.")
        ] = None,
        prices: Annotated[
            str | None, typer.Option(help="File with the price of each device in dollars an hour: TOML, YAML or JSON.")
        ] = None,
        max_concurrent: Annotated[
            int | None, typer.Option(help="Most trials at once; default: as many as the resources allow.")
        ] = None,
        time_budget: Annotated[
            str | None,
            typer.Option(
                help="Limit on the total time (90s, 15m, 6h): then start nothing more, and pause running trials."
            ),
        ] = None,
        seed: Annotated[int | None, typer.Option(help="The seed for everything random.")] = None,
        simulate: Annotated[
            bool, typer.Option("--simulate", help="Run in this process, on a simulated clock, without Ray.")
        ] = False,
        smoke: Annotated[
            bool,
            typer.Option("--smoke", help="Run the smallest sweep that shows whether everything works together."),
        ] = False,
        address: Annotated[str | None, typer.Option(help="Use a running Ray cluster, such as auto.")] = None,
        retry_failed: Annotated[
            bool, typer.Option("--retry-failed", help="Try failed trials again, from their last checkpoints.")
        ] = False,
        note: Annotated[str | None, typer.Option(help="A note on the run, for `orchestrator list`.")] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Check all but the training, print the plan and its cost.")
        ] = False,
        replay: Annotated[int | None, typer.Option(hidden=True)] = None,
        go_on: Annotated[int | None, typer.Option(hidden=True)] = None,
        audit: Annotated[bool, typer.Option("--audit", hidden=True)] = False,
        predictions: Annotated[bool, typer.Option("--predictions", hidden=True)] = False,
    ) -> None:
        nonlocal is_alone
        is_alone = name is not None or replay is not None or audit or predictions
        described = _build(sweep)
        if smoke:
            from orchestrator.smoke import smallest

            described = smallest(described)
        given: dict[str, Any] = {"name": name, "num_samples": num_samples, "budget": budget, "prices": prices}
        given |= {"max_concurrent": max_concurrent, "time_budget": time_budget, "seed": seed}
        described = described.changed(**{key: value for key, value in given.items() if value is not None})
        folder = _folder(runs, described)
        if replay is not None:
            from orchestrator.reading.replay import replay_trial

            replay_trial(described, folder, replay, go_on)
            return
        if audit:
            from orchestrator.reading.audit import print_audit

            print_audit(described, folder)
            return
        if predictions:
            from orchestrator.reading.predictions import print_written

            print_written(described, folder)
            return
        from orchestrator.definition.checks import on_this_machine

        on_this_machine(described, local=not simulate and address is None, simulated=simulate)
        if dry_run:
            from orchestrator.reading.dry_run import print_plan

            print_plan(described, folder, retry_failed=retry_failed)
        else:
            from rich.console import Console

            from orchestrator.console.typed_command import recorded_command

            drive(
                described, folder, simulated=simulate, address=address, console=Console(stderr=True), close=_close,
                command=recorded_command(), retry_failed=retry_failed, note=note, is_smoke=smoke,
            )  # fmt: skip

    code = guarded(command)
    if code or is_alone:
        sys.exit(code)


main = launch  # its earlier name, in scripts that import it from here


def guarded(command: Callable[..., None]) -> int:
    """Run a typer command; turns every error of ours into one message and its exit code."""
    try:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(command)
        return int(app(standalone_mode=False) or 0)
    except SystemExit as leave:
        if isinstance(leave.code, str):
            where = place_of(leave)
            return explain(OrchestratorError(f"{leave.code}{f' ({where})' if where else ''}"))
        return leave.code if isinstance(leave.code, int) else 1
    except typer.Abort:
        return 128 + signal.SIGINT
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own, for flags
            error = BadInput(f"{error.format_message()}{_given(error)} See --help.")
        return explain(error)


def _given(error: Any) -> str:
    """The value given for the flag that typer refuses, if typer's message does not show it."""
    names, words = getattr(getattr(error, "param", None), "opts", ()), sys.argv[1:]
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word in names]
    given += [value for name, equals, value in (word.partition("=") for word in words) if equals and name in names]
    message = error.format_message()
    return f" Given: {given[-1]!r}." if given and given[-1] not in message else "" if message.endswith(".") else "."


def drive(
    sweep: Sweep,
    folder: Path,
    *,
    simulated: bool,
    address: str | None,
    console: Console,
    close: Callable[[Driver, Ledger, list[int]], OrchestratorError | None],
    command: Sequence[str] = (),
    is_script: bool = True,
    is_smoke: bool = False,
    retry_failed: bool = False,
    note: str | None = None,
    tags: Sequence[str] = (),
) -> None:
    """Run or continue a sweep in `folder`. Raises the error that `close` returns, or an OrchestratorError of codes 2–7.

    `close` is called once, when everything except the outcome is recorded. `is_script`: nobody else needs this process,
    so a second Ctrl-C may end it at once.
    """
    from orchestrator.console.screen import tell

    if console.is_terminal:
        tell(console, f"{sweep.name} in {folder}")  # at once: what follows loads the libraries

    from orchestrator.driver import Driver
    from orchestrator.reading.beginning import another_try, chosen, renamed_to, taught
    from orchestrator.reading.nothing_left import nothing_left_words
    from orchestrator.reading.progress import Display
    from orchestrator.reading.room import no_room
    from orchestrator.reading.state import state_before
    from orchestrator.record.ledger import Ledger
    from orchestrator.record.opening import or_in_use
    from orchestrator.record.remarks import check_tags, moved_to, remark_once
    from orchestrator.record.resume_check import make_ready
    from orchestrator.record.schema import STATE
    from orchestrator.simulate import SimulatedClock

    check_tags(tags)
    with alone(sweep, console):
        with or_in_use(folder):
            afresh = make_ready(sweep, folder)
            before = state_before(folder)
        renamed = None if folder.exists() else moved_to(folder)
        ledger = Ledger.write(folder)
        try:
            remark_once(folder, note, tags)
            display = Display(console)
            clock = SimulatedClock() if simulated else None
            driver = Driver(
                sweep, ledger, command=command, listen=display.listen, retry_failed=retry_failed,
                **({"clock": clock} if clock else {}),
            )  # fmt: skip
            display.watch(driver)
            again = another_try(driver, "--retry-failed" if is_script else "retry_failed=True", is_asked=retry_failed)
            for text in (
                renamed_to(folder, renamed), afresh, driver.found, *chosen(driver, simulated=simulated),
                *taught(driver), again, no_room(sweep, folder, driver.history), *ledger.notices,
            ):  # fmt: skip
                if text:
                    tell(console, text)
            known = len(driver.history)
            with slow_decisions_told(sweep, display.listen), Signals(driver, is_script) as signals:

                def refresh() -> None:
                    signals.check()
                    display.refresh()

                try:
                    with display:
                        _train(driver, clock, address, refresh)
                except BadInput:  # the cluster refused the sweep: nothing has run, and the state of the run stays
                    driver.close()
                    with ledger.transaction():
                        ledger.add_event(STATE, before)
                    raise
                except KeyboardInterrupt:  # also Ray's, in place of ours
                    if len(signals.received) < 2:
                        raise
                finally:
                    signals.engine_ended()
                driver.close()
                problem = close(driver, ledger, signals.received)
                with ledger.transaction():
                    ledger.add_event(STATE, state_at_end(driver, problem))
            if driver.found and len(driver.history) == known and problem is None:
                tell(console, nothing_left_words(ledger, is_script=is_script))
            if is_script:
                tell_end(driver, ledger, problem, is_smoke=is_smoke, is_told_how_to_retry=bool(again))
            if problem is not None:
                raise problem
        except BaseException:
            record_interruption(ledger)
            raise
        finally:
            ledger.close()


def _train(driver: Driver, clock: SimulatedClock | None, address: str | None, refresh: Callable[[], None]) -> None:
    """Run the driver's engine: the simulated one on its clock, or Ray."""
    if clock is not None:
        from orchestrator.definition.concurrency import at_once_here
        from orchestrator.simulate import simulate

        simulate(driver, clock, workers=driver.sweep.max_concurrent or at_once_here(driver.sweep), refresh=refresh)
    else:
        from orchestrator.tune.cluster import run as run_on_ray

        end_left_over_processes(driver.places.folder)
        run_on_ray(driver, address=address, refresh=refresh)


def _close(driver: Driver, ledger: Ledger, received: list[int]) -> OrchestratorError | None:
    from orchestrator.console.typed_command import again

    return problem_of(driver, received, f"run the same command: {again()}")


def _folder(runs: Path | str, sweep: Sweep) -> Path:
    """The absolute path of the run, since workers have other working folders; shells do not expand --runs=~/x."""
    return full_path(Path(runs) / sweep.name)


def _is_kernel() -> bool:
    """Whether this is a notebook's kernel with its own command line; under `%run script.py` it is the script's."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel") and Path(sys.argv[0] if sys.argv else "").stem.endswith("kernel_launcher")


def _build(sweep: Callable[[], Sweep] | Sweep) -> Sweep:
    """Call the script's function; reports a mistake in the description, which is the user's, in one sentence."""
    from orchestrator.sweep import Sweep

    described: object = sweep
    if callable(sweep) and not isinstance(sweep, type) and needs_arguments(sweep):
        raise BadInput(
            f"{_named(sweep)}() takes arguments, so it builds no Sweep; a training goes into one: "
            f"run(Sweep('mine', {_named(sweep)}, Space(…), minimize=…, steps=…))."
        )
    if callable(sweep) and not isinstance(sweep, type):
        try:
            described = sweep()
        except Exception as error:
            told = in_words(error)
            if told is not None:
                raise told from error
            raise BadInput(f"{_named(sweep)}() failed: {type(error).__name__}: {error} ({place(error)})") from error
    if isinstance(described, Sweep):
        return described
    if described is None and callable(sweep):
        raise BadInput(f"{_named(sweep)}() returned nothing; it must return a Sweep(...).")
    raise BadInput(f"{described!r} is not a Sweep: pass Sweep(...), or a function that returns one.")


def _named(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", function))
