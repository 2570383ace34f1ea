"""The command line that every experiment script shares: `launch(sweep)`.

    from orchestrator import launch
    from orchestrator.sweep import Sweep

    def sweep() -> Sweep:
        return Sweep(name="quickstart", ...)

    if __name__ == "__main__":
        launch(sweep)

`sweep` is a function, so that `--help` needs to build nothing and a mistake in it is told in one sentence.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.errors import BadInput, Interrupted, NoMetric, OrchestratorError, TrialsFailed
from orchestrator.guards import to_screen
from orchestrator.processes import end_left_over_processes
from orchestrator.words import plural

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from orchestrator.ledger import Ledger
    from orchestrator.sweep import Sweep

SMOKE_SAMPLES = 4
ONE_REQUEST_SECONDS = 0.4  # timeout(1) signals the process and then its group: that is one request


def launch(sweep: Callable[[], Sweep] | Sweep) -> NoReturn:
    """Read the flags, run (or continue) the sweep, and exit with the code that says how it went."""

    from orchestrator.screen import go_on_without_a_screen

    go_on_without_a_screen()

    def command(
        name: Annotated[str | None, typer.Option(help="Name of the run: its folder under --runs.")] = None,
        runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
        num_samples: Annotated[int | None, typer.Option(help="Configurations to try, in all.")] = None,
        budget: Annotated[float | None, typer.Option(help="What may be trained in all, in full trainings.")] = None,
        max_concurrent: Annotated[
            int | None, typer.Option(help="Trials at once; default: what the resources allow.")
        ] = None,
        time_budget: Annotated[
            str | None, typer.Option(help="Stop starting trials after so long, in all: 90s, 15m, 6h.")
        ] = None,
        seed: Annotated[int | None, typer.Option(help="One seed for everything.")] = None,
        simulate: Annotated[
            bool, typer.Option("--simulate", help="In this process, on a simulated clock; no Ray.")
        ] = False,
        smoke: Annotated[
            bool, typer.Option("--smoke", help="The smallest size, seconds: does it all fit together?")
        ] = False,
        address: Annotated[str | None, typer.Option(help="A running Ray cluster, e.g. auto.")] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Validate, print the plan and its cost, start nothing.")
        ] = False,
        replay: Annotated[int | None, typer.Option(hidden=True)] = None,
        go_on: Annotated[int | None, typer.Option(hidden=True)] = None,
    ) -> None:
        described = _build(sweep)
        if smoke:
            described = _smallest(described)
        given: dict[str, Any] = {
            "name": name,
            "num_samples": num_samples,
            "budget": budget,
            "max_concurrent": max_concurrent,
            "time_budget": time_budget,
            "seed": seed,
        }
        described = replace(described, **{key: value for key, value in given.items() if value is not None})
        described.check_workloads()
        folder = (runs / described.name).absolute()  # workers may stand elsewhere
        if replay is not None:
            from orchestrator.replay import replay_trial

            replay_trial(described, folder, replay, go_on)
        elif dry_run:
            from orchestrator.plan import print_plan

            print_plan(described, folder)
        else:
            run(described, folder, simulated=simulate, address=address)

    sys.exit(guarded(command))


def guarded(command: Callable[..., None]) -> int:
    """Run a typer command; every error of ours becomes one message and its exit code."""
    try:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(command)
        return int(app(standalone_mode=True) or 0)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
    except Exception as error:
        return explain(error)


def explain(error: BaseException) -> int:
    """Print what went wrong, for people; returns the exit code."""
    if isinstance(error, OrchestratorError):
        typer.secho(f"{'' if isinstance(error, Interrupted) else 'error: '}{error}", err=True)
        return error.exit_code
    log = Path("orchestrator-fault.log")
    text = "".join(traceback.format_exception(error))
    try:
        log.write_text(text)
        where = f"; the traceback is in {log}"
    except OSError:
        where = f"\n{text}"
    typer.secho(f"error: a fault in the orchestrator: {type(error).__name__}: {error}{where}", err=True)
    return 1


def run(sweep: Sweep, folder: Path, *, simulated: bool = False, address: str | None = None) -> None:
    """Run or continue a sweep in `folder`; the same call does both. Raises an OrchestratorError for exit codes 2–7."""
    from rich.console import Console

    from orchestrator.driver import Driver
    from orchestrator.ledger import Ledger
    from orchestrator.progress import Display
    from orchestrator.simulate import SimulatedClock, simulate

    console = Console(stderr=True)
    ledger = Ledger.write(folder)
    try:
        display = Display(console)
        clock = SimulatedClock() if simulated else None
        driver = Driver(
            sweep, ledger, command=[os.path.abspath(sys.argv[0]), *sys.argv[1:]], listen=display.listen,
            **({"clock": clock} if clock else {}),
        )  # fmt: skip
        display.watch(driver)
        for text in (driver.found, *ledger.notices):
            if text:
                console.print(text, highlight=False, soft_wrap=True)
        with _signals(driver) as received, display:
            if clock is not None:
                simulate(
                    driver,
                    clock,
                    workers=sweep.max_concurrent or os.cpu_count() or 1,
                    refresh=display.refresh,
                )
            else:
                from orchestrator.tune.cluster import run as run_on_ray

                end_left_over_processes(folder)
                run_on_ray(driver, address=address, refresh=display.refresh)
        _close(driver, ledger, received)
    finally:
        ledger.close()


def _close(driver: Driver, ledger: Ledger, received: list[int]) -> None:
    """Record how it ended, print the summary, raise what the exit code must say."""
    from rich.console import Console

    from orchestrator.summary import STATE, plot, print_summary

    driver.close()
    problem = _problem(driver, received)
    with ledger.transaction():
        state = "interrupted" if isinstance(problem, Interrupted) else "failed" if problem else "finished"
        ledger.add_event(STATE, state)
    out = Console()
    print_summary(ledger, out)
    picture = plot(ledger, driver.folder / "report" / "incumbent.png")
    if picture is not None:
        out.print(f"Plot         {picture}", highlight=False, soft_wrap=True)
    out.print(f"More trials  {_more(driver.sweep)}", highlight=False, soft_wrap=True)
    if driver.stop_reason and problem is None:
        out.print(f"Stopped because {driver.stop_reason}. To go on: {_again()}", highlight=False, soft_wrap=True)
    if problem is not None:
        raise problem


def _problem(driver: Driver, received: list[int]) -> OrchestratorError | None:
    from search.trial import Status

    history = driver.history
    if received:
        return Interrupted(
            f"interrupted after a clean save. To go on, run the same command: {_again()}", 128 + received[0]
        )
    failed = history.having(Status.FAILED)
    if driver.stop_reason and not driver.abort_reason:
        return None
    if failed and not any(trial.steps for trial in history) and all(t.reason.startswith("NoMetric") for t in failed):
        return NoMetric(f"no trial gave the metric {driver.sweep.metric_name!r}. {failed[0].reason}")
    if driver.abort_reason:
        return TrialsFailed(driver.abort_reason)
    if not any(trial.steps for trial in history):
        return NoMetric(
            f"no trial gave the metric {driver.sweep.metric_name!r}."
            + (f" First failure: {failed[0].reason}" if failed else "")
        )
    allowed = driver.sweep.allow_failed
    if len(failed) > allowed:
        reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in failed[:3])
        return TrialsFailed(
            f"{plural(len(failed), 'trial')} failed, {allowed} {'is' if allowed == 1 else 'are'} allowed (allow_failed). {reasons}"
        )
    return None


class _signals:
    """Ctrl-C and SIGTERM let the trials save and leave off; a second one leaves at once."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._received: list[int] = []
        self._at = 0.0  # when the last one came
        self._before: dict[int, Any] = {}

    def __enter__(self) -> list[int]:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not in the main thread (a notebook's server): leave signals alone
                break
        return self._received

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._received and now - self._at < ONE_REQUEST_SECONDS:
            return
        self._at = now
        self._received.append(number)
        if len(self._received) > 1:
            self._say("leaving at once; what is recorded is safe\n")
            os._exit(128 + number)  # with this process all that it has started ends
        self._say("\nstopping: trials save their checkpoints (once more leaves at once)\n")
        self._driver.stop("a signal asked for it")

    def _say(self, text: str) -> None:
        to_screen(text.encode())


def _build(sweep: Callable[[], Sweep] | Sweep) -> Sweep:
    """Call the script's function; a mistake in the description is the user's, and is told in one sentence."""
    if not callable(sweep):
        return sweep
    try:
        return sweep()
    except OrchestratorError:
        raise
    except (ValueError, TypeError) as error:
        frame = traceback.extract_tb(error.__traceback__)
        here = next(
            (entry for entry in reversed(frame) if "orchestrator" not in Path(entry.filename).parts),
            frame[-1],
        )
        script = os.path.abspath(sys.argv[0])
        here = next((entry for entry in reversed(frame) if os.path.abspath(entry.filename) == script), here)
        raise BadInput(f"{error} ({here.filename}, line {here.lineno})") from error


def _smallest(sweep: Sweep) -> Sweep:
    smallest = getattr(type(sweep.workload), "smallest", None)
    if smallest is None:
        raise BadInput(f"--smoke: {type(sweep.workload).__name__} states no smallest size (a classmethod `smallest`).")
    samples = min(sweep.limit or SMOKE_SAMPLES, SMOKE_SAMPLES)
    return replace(sweep, workload=smallest(), num_samples=samples, budget=None, name=f"{sweep.name}-smoke")


def _more(sweep: Sweep) -> str:
    """The command for a longer search of the same kind."""
    if sweep.limit is None:
        return f"{_again('--budget')} --budget {2 * (sweep.budget or 1):g}"
    more = f"{_again('--num-samples')} --num-samples {2 * sweep.limit}"
    return more if sweep.budget is None else f"{more} (within the budget of {sweep.budget:g} full trainings)"


def _again(without: str = "") -> str:
    """The command that was typed, less one option and its value."""
    import shlex

    below = os.path.relpath(sys.executable)
    words = [Path(sys.executable).name if below.startswith("..") else below, *sys.argv]
    return shlex.join(word for i, word in enumerate(words) if without not in (word, words[i - 1]) or not without)
