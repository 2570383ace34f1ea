"""The display of a running sweep: one compact block on a terminal, plain lines at growing intervals elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from orchestrator.console.remedies import remedy_for
from orchestrator.console.screen import Unbreakable
from orchestrator.money.amounts import spent_words
from orchestrator.reading.forecasts import time_left
from search.records import Status

if TYPE_CHECKING:
    from orchestrator.driver import Driver

REFRESH = 0.25  # seconds between two drawings of the block
FIRST_LINE, LONGEST_PAUSE = (
    2.0,
    60.0,
)  # without a terminal: seconds to the first line, and at most between two
TOLD = {  # events that get their own line, with its colour
    "failure": "red", "failed": "red", "diverged": "yellow", "retry": "yellow", "fallback": "yellow",
    "interruption": "yellow", "nondeterminism": "red", "abort": "bold red", "notice": "dim", "enough": "dim",
}  # fmt: skip
MOST_LINES = 20  # of one kind; beyond that, only at powers of two


class Display:
    """Shows the driver's state on stderr; use as a context manager around the engine.

    On a terminal it redraws at most every `refresh_seconds`.
    """

    def __init__(self, console: Console, *, refresh_seconds: float = REFRESH) -> None:
        console.file = Unbreakable(console.file)  # type: ignore[assignment]
        self._console, self._refresh_seconds = console, refresh_seconds
        self._driver: Driver | None = None
        self._live: Live | None = None
        self._done_before = 0
        self._spent_before = 0.0
        self._drawn = 0.0
        self._pause = FIRST_LINE
        self._began = time.monotonic()
        self._told: dict[str, int] = {}
        self._best: int | None = None

    def watch(self, driver: Driver) -> None:
        self._driver = driver
        self._done_before = len(driver.history.trials) - driver.history.count(Status.RUNNING)
        self._spent_before = driver.history.spent
        best = driver.best
        self._best = best.number if best is not None and best.status is Status.COMPLETED else None

    def __enter__(self) -> Display:
        self._drawn = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def listen(self, kind: str, text: str) -> None:
        """Show an event that was recorded."""
        if kind == Status.COMPLETED.value:
            self._say_if_best()
            return
        if kind not in TOLD:
            return
        self._told[kind] = count = self._told.get(kind, 0) + 1
        if count > MOST_LINES and count & (count - 1):
            return
        lines = text.splitlines()[0]
        if kind == "failure":  # in full
            lines = f"{text.rstrip()}\nRemedy: {remedy}" if (remedy := remedy_for(text)) else text
        so_far = f"  ({count} so far)" if count > MOST_LINES else ""
        self._console.print(Text(f"{kind}: {lines}{so_far}", style=TOLD[kind]), soft_wrap=True)

    def refresh(self) -> None:
        """Call it after every result; it draws only when it is time."""
        now = time.monotonic()
        if self._driver is None:
            return
        if self._live is not None:
            if now - self._drawn >= self._refresh_seconds:
                self._drawn = now
                self._live.update(self._block(self._driver), refresh=True)
        elif now - self._drawn >= self._pause:
            self._drawn = now
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._console.print(Text(self._line(self._driver)), soft_wrap=True)

    def _say_if_best(self) -> None:
        assert self._driver is not None
        best = self._driver.best
        if best is not None and best.number != self._best:
            self._best = best.number
            sweep = self._driver.sweep
            self._console.print(
                Text(
                    f"best so far: trial {best.number}, {sweep.metric_name} {sweep.value(best.loss):.4g}  {_config(best.config)}",
                    style="green",
                ),
                soft_wrap=True,
            )

    def _line(self, driver: Driver) -> str:
        best = driver.best
        shown = (
            ("no result yet" if driver.history.trials else "starting")
            if best is None
            else f"best {driver.sweep.metric_name} {driver.sweep.value(best.loss):.4g} (trial {best.number})"
        )
        cost = "" if driver.sweep.budget is None else f"  {_cost(driver)}"
        return f"{_duration(driver.spent_seconds)}  {self._counts(driver)}{cost}  {shown}  {self._left(driver)}"

    def _block(self, driver: Driver) -> Text:
        sweep, best = driver.sweep, driver.best
        text = Text()
        text.append(f"{sweep.name}", style="bold")
        text.append(f"  {_duration(driver.spent_seconds)}  {self._left(driver)}\n")
        text.append(f"  trials   {self._counts(driver)}{'' if sweep.limit is None else f' of {sweep.limit}'}\n")
        if sweep.budget is not None:
            text.append(f"  cost     {_cost(driver)}\n")
        if best is None:
            text.append("  best     no result yet\n")
        else:
            text.append("  best     ")
            text.append(f"{sweep.metric_name} {sweep.value(best.loss):.4g}", style="green")
            text.append(f"  trial {best.number} at step {best.step}  {_config(best.config)}\n")
        if driver.stop_reason:
            text.append(f"  stopping: {driver.stop_reason}; trials save their checkpoints\n", style="yellow")
        return text

    def _counts(self, driver: Driver) -> str:
        history = driver.history
        parts = [f"{len(driver.running)} running"]
        parts += [
            f"{history.count(status)} {status.value}"
            for status in Status
            if status is not Status.RUNNING and history.count(status)
        ]
        return ", ".join(parts)

    def _left(self, driver: Driver) -> str:
        """The forecast of the time left; before the first, an estimate, empty until some trials have ended."""
        if (seen := driver.foresight.latest) is not None:
            return time_left(seen, driver.foresight.age)
        sweep, history = driver.sweep, driver.history
        ended = len(history.trials) - history.count(Status.RUNNING) - self._done_before
        if ended < 2:
            return ""
        shares = []  # ratios of what remains to what this invocation has done; the first limit reached counts
        if sweep.limit is not None:
            shares.append((sweep.limit - self._done_before - ended) / ended)
        if sweep.full_budget is not None and history.spent > self._spent_before:
            shares.append((sweep.full_budget - history.spent) / (history.spent - self._spent_before))
        if not shares or min(shares) <= 0:
            return ""
        return f"about {_duration((time.monotonic() - self._began) * min(shares))} left"


def _cost(driver: Driver) -> str:
    limit = driver.sweep.device_budget
    if limit is not None:
        return f"{spent_words(driver.sweep.budget, limit.spent(driver.history))} of {limit.words}"
    return f"{driver.history.spent:.2f} of {driver.sweep.full_budget:g} full trainings"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _config(config: Any) -> str:
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in config.items()
    )
