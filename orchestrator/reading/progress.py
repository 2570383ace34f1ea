"""The display of a running sweep: its state in a block or in lines (console/outlet.py), and one line for each event."""

from __future__ import annotations

from math import isfinite
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from orchestrator.console.outlet import Outlet, outlet_for
from orchestrator.console.remedies import remedy_for
from orchestrator.console.screen import Unbreakable
from orchestrator.driving.shown import ASSIGNED, DOING, WAITING
from orchestrator.failures import signature
from orchestrator.reading import block
from orchestrator.reading.standing import Standing
from search.records import Status
from search.rules.finalists import independent
from search.wording import with_found

if TYPE_CHECKING:
    from orchestrator.driver import Driver

TOLD = {  # events that get their own line, with its colour
    "failure": "red", "failed": "red", "diverged": "yellow", "retry": "yellow", "fallback": "yellow",
    "interruption": "yellow", "nondeterminism": "red", "notice": "dim", "enough": "dim",
}  # fmt: skip
MOST_LINES = 20  # of one kind; beyond that, only at powers of two


class Display:
    """Shows the driver's state on stderr; use as a context manager around the engine."""

    def __init__(self, console: Console, outlet: Outlet | None = None) -> None:
        console.file = Unbreakable(console.file)  # type: ignore[assignment]
        self._outlet = outlet or outlet_for(console)
        self._standing: Standing | None = None
        self._told: dict[str, int] = {}
        self._failed: dict[str, list[str]] = {}  # kind of reason → the trials that failed for it
        self._best: int | None = None
        self._has_reported = False

    def watch(self, driver: Driver) -> None:
        self._standing = Standing(driver)
        best = driver.best
        self._best = best.number if best is not None and best.status is Status.COMPLETED else None
        self._has_reported = driver.history.run.has_reported

    def __enter__(self) -> Display:
        self._outlet.open()
        self.refresh(at_once=not self._is_over)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._standing is not None:
            self._standing.end(is_cut=error is not None)
        self._outlet.close()

    def listen(self, kind: str, text: str) -> None:
        """Show an event; those that are recorded come here afterwards."""
        if self._standing is not None:
            self._standing.hear(kind, text)
        if kind == Status.COMPLETED.value:
            self._say_if_best()
        elif kind in (DOING, WAITING):
            self.refresh(at_once=bool(text) and not self._is_over)
        elif kind == ASSIGNED:
            self.refresh(at_once=not self._has_reported)
        elif kind == Status.FAILED.value:
            text = self._once(text)
            if not self._is_first_failure:
                self._say_event(kind, text)
        elif kind in TOLD and text:
            self._say_event(kind, text)

    def refresh(self, *, at_once: bool = False) -> None:
        """Call it after every result and several times a second; it draws only when it is time, or `at_once`."""
        standing = self._standing
        if standing is None:
            return
        if not self._has_reported and standing.driver.history.run.has_reported:
            self._has_reported = True
            self._say_first(standing)
        self._outlet.show(lambda width: block.rows(standing, width), lambda: block.line(standing), at_once=at_once)

    def _say_event(self, kind: str, text: str) -> None:
        self._told[kind] = count = self._told.get(kind, 0) + 1
        if count > MOST_LINES and count & (count - 1):
            return
        shown = text.splitlines()[0]
        if kind == "failure":
            shown = self._in_full(text.rstrip())
        so_far = f"  ({count} so far)" if count > MOST_LINES else ""
        self._outlet.say(Text(f"{kind}: {shown}{so_far}", style=TOLD[kind]))

    def _once(self, text: str) -> str:
        """The line of a failed trial, with its reason only if no trial before it had the same."""
        head, _, reason = text.partition(": ")
        alike = self._failed.setdefault(signature(reason), [])
        alike.append(" ".join(head.split()[:2]))  # trial 3
        return text if len(alike) == 1 else f"{head} for the same reason as {alike[0]} ({len(alike)} trials so far)"

    @property
    def _is_over(self) -> bool:
        return self._standing is None or bool(self._standing.driver.over)

    @property
    def _is_first_failure(self) -> bool:
        """Whether the event "failure" follows, which shows the same failure in full."""
        return self._standing is not None and self._standing.driver.history.count(Status.FAILED) == 1

    def _in_full(self, detail: str) -> str:
        """The first failure, which is probably that of others too."""
        trial = (
            None if self._standing is None else next(iter(self._standing.driver.history.having(Status.FAILED)), None)
        )
        head = "" if trial is None else f"trial {trial.number} at step {trial.step}: "
        remedy = f"\nRemedy: {remedy_for(detail)}" if remedy_for(detail) else ""
        return f"{head}{detail}{remedy}"

    def _say_first(self, standing: Standing) -> None:
        """The first report shows that all parts fit together."""
        driver = standing.driver
        trial = next(trial for trial in driver.history if trial.steps)
        value = driver.sweep.value(trial.losses[0])
        self._outlet.say(
            Text(
                f"first report: trial {trial.number}, step {trial.steps[0]}, {driver.sweep.metric_name} {value:.4g}, after "
                f"{block.duration(driver.spent_seconds)}  {block.config_in_words(with_found(trial))}",
                style="dim",
            )
        )

    def _say_if_best(self) -> None:
        assert self._standing is not None
        best, driver = self._standing.best, self._standing.driver
        if best is None or best.number == self._best:
            return
        self._best = best.number
        again = (
            next((each for each in independent(driver.history) if each.trial is best), None) if driver.over else None
        )
        metric, value = driver.sweep.metric_name, driver.sweep.value
        told = (
            f"best so far: trial {best.number}, {metric} {value(best.loss):.4g}"
            if again is None or not isfinite(again.mean)
            else f"best on fresh seeds so far: trial {best.number}, mean {metric} {value(again.mean):.4g}"
        )
        self._outlet.say(Text(f"{told}  {block.config_in_words(with_found(best))}", style="green"))
