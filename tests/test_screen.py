"""What a running sweep shows: a block in a terminal, lines elsewhere, one updated output in a notebook."""

from __future__ import annotations

import io
import itertools
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from orchestrator import FromFunction, Random, Space, Sweep, Task, uniform
from orchestrator.console.lines import Lines
from orchestrator.console.notebook import Notebook
from orchestrator.console.outlet import outlet_for
from orchestrator.console.sparkline import BARS, sparkline
from orchestrator.console.terminal import Terminal
from orchestrator.driver import Driver
from orchestrator.driving.shown import DOING
from orchestrator.driving.waiting import Waiting
from orchestrator.money.forecast import Forecast, Range
from orchestrator.reading import block
from orchestrator.reading.progress import Display
from orchestrator.reading.standing import Standing
from orchestrator.record.encoding import now, seconds_between
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from orchestrator.tune.waiting_seats import WaitingSeats
from search.history import incumbent
from search.records import Status
from search.rules.finalists import confirmed
from search.work import Reported
from tests.support import ROOT, recorded, small_sweep
from tests.tasked import tasked
from tests.terminals import Window, process_in
from trainables.workloads.quadratic import Quadratic

LABELS = ("  trials  ", "  spent   ", "  best    ", "  origins ")


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary terminal of a person; sweeps draw at every chance."""
    for name in ("CI", "NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("orchestrator.console.terminal.REFRESH", 0.0)


@contextmanager
def opened(columns: int = 80, lines: int = 30) -> Iterator[tuple[Window, TextIO]]:
    window = Window(columns, lines)
    stream = window.stream()
    try:
        yield window, stream
    finally:
        stream.close()
        window.close()


def displayed(
    folder: Path, sweep: Sweep, console: Console, each: Callable[[Driver], None] = lambda driver: None, workers: int = 2
) -> Driver:
    """Run the sweep under a display; `each` is called after every result, once that is shown."""
    ledger, display, clock = Ledger.write(folder), Display(console), SimulatedClock()
    driver = Driver(sweep, ledger, clock=clock, listen=display.listen)
    display.watch(driver)

    def refresh() -> None:
        display.refresh()
        each(driver)

    try:
        with display:
            simulate(driver, clock, workers=workers, refresh=refresh)
        driver.close()
    finally:
        ledger.close()
    return driver


def test_a_winner_on_fresh_seeds_is_told_with_its_mean(tmp_path: Path) -> None:
    out = io.StringIO()
    sweep = small_sweep(workload=Quadratic(horizon=4, noise=3.0), num_samples=8, finalists=3, confirmations=1, seed=6)
    drawn: list[str] = []

    def look(driver: Driver) -> None:
        drawn.append(block.line(Standing(driver)).plain)

    driver = displayed(tmp_path, sweep, Console(file=out, width=200), look, workers=1)
    best = driver.best
    assert best is not None
    assert best is not incumbent(driver.history), "the finalists overturn the first scores"
    (mean,) = (each.mean for each in confirmed(driver.history) if each.trial is best)
    *_, last = [line for line in out.getvalue().splitlines() if "best" in line and "so far: trial" in line]
    assert f"best on fresh seeds so far: trial {best.number}, mean loss {mean:.4g}" in last
    assert f"best loss {mean:.4g} (trial {best.number}, on 1 fresh seed)" in drawn[-1]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_block_is_drawn_in_place_below_the_events_at_every_width(columns: int, tmp_path: Path) -> None:
    with opened(columns) as (window, stream):

        def look(driver: Driver) -> None:
            window.settle(stream)
            for label in LABELS[:3]:
                assert sum(row.startswith(label) for row in window.shown) == 1, window.text
            assert all(len(row) < columns for row in window.shown[-4:])

        driver = displayed(tmp_path, small_sweep(num_samples=2), Console(file=stream), look)
        window.settle(stream)
        assert not any(label in window.text for label in LABELS), "the block is gone at the end"
        said = window.text.replace("\n", " ")
        assert driver.best is not None
        assert said.count(f"best so far: trial {driver.best.number}, ") == 1
        assert said.count("first report: trial 0, step 1, ") == 1
        assert said.count("enough: ") == 1


def test_a_resized_terminal_keeps_one_block_and_all_events(tmp_path: Path) -> None:
    sizes = itertools.cycle([(40, 30), (120, 30), (60, 30), (25, 30), (200, 30)])
    with opened(80) as (window, stream):

        def resize(driver: Driver) -> None:
            window.settle(stream)
            window.resize(*next(sizes))

        displayed(tmp_path, small_sweep(num_samples=3), Console(file=stream), resize)
        window.settle(stream)
        assert "small  " not in window.text
        assert not any(label in window.text for label in LABELS)
        assert window.text.replace("\n", " ").count("first report: trial 0") == 1


def test_a_low_terminal_shows_the_first_rows(tmp_path: Path) -> None:
    with opened(60, 5) as (window, stream):

        def look(driver: Driver) -> None:
            window.settle(stream)
            assert window.shown[-3].startswith("small  "), window.text

        displayed(tmp_path, small_sweep(num_samples=2), Console(file=stream), look)
        window.settle(stream)
        assert not any(label in window.text for label in LABELS)


class Chatty(Random):
    """Prints, and logs to a stream that was there before the display."""

    def suggest(self, history: Any) -> Any:
        print(f"thinking about {len(history.trials)}")
        sys.stdout.write("half a line, ")
        print("and its end", file=sys.stdout)
        logging.getLogger("chatty").warning("a log line %d", len(history.trials))
        return super().suggest(history)


def test_output_of_the_users_own_process_goes_above_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(100, 60) as (window, stream):
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, stream)
        handler = logging.StreamHandler(stream)
        logging.getLogger("chatty").addHandler(handler)
        try:
            displayed(tmp_path, small_sweep(searcher=Chatty()), Console(file=stream), lambda _: window.settle(stream))
        finally:
            logging.getLogger("chatty").removeHandler(handler)
        window.settle(stream)
        rows = window.text.split("\n")
        for number in range(5):
            assert rows.count(f"thinking about {number}") == 1, window.text
            assert rows.count(f"a log line {number}") == 1
        assert rows.count("half a line, and its end") == 5
        assert not any(label in window.text for label in LABELS)
        assert sys.stdout is stream
        assert handler.stream is stream


def test_a_line_printed_past_python_stays_and_the_block_moves_down(tmp_path: Path) -> None:
    with opened() as (window, stream):

        def print_from_c(driver: Driver) -> None:
            os.write(window.theirs, f"from C {len(driver.history)}\n".encode())
            window.settle(stream)

        driver = displayed(tmp_path, small_sweep(num_samples=1), Console(file=stream), print_from_c)
        window.settle(stream)
        assert f"from C {len(driver.history)}\n" in f"{window.text}\n"
        assert window.text.count("from C") >= 4
        assert not any(label in window.text for label in LABELS)


def test_a_terminal_that_takes_no_output_does_not_hold_the_sweep_up(tmp_path: Path) -> None:
    with opened() as (window, stream):
        window.type("\x13")  # Ctrl-S

        def go_on_at_the_end(driver: Driver) -> None:
            assert not any(window.shown), "nothing is drawn while it is held"
            if driver.history.count(Status.COMPLETED) == 5:
                window.type("\x11")  # Ctrl-Q

        displayed(tmp_path, small_sweep(), Console(file=stream), go_on_at_the_end, workers=1)
        window.settle(stream)
        assert "first report: trial 0" in window.text, "what was said meanwhile comes then"


class Growing:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_without_a_terminal_lines_come_at_growing_intervals() -> None:
    clock, out = Growing(), io.StringIO()
    lines, printed = Lines(Console(file=out), clock), []
    for second in range(600):
        clock.seconds = float(second)
        before = out.getvalue()
        lines.show(None, lambda: Text(f"{clock.seconds}s  {clock.seconds} trials"))
        if out.getvalue() != before:
            printed.append(second)
    assert printed[:6] == [2, 6, 14, 30, 62, 122]
    assert {later - earlier for earlier, later in itertools.pairwise(printed[5:])} == {60}


def test_without_a_terminal_a_line_that_says_nothing_new_comes_once_a_minute() -> None:
    clock, out = Growing(), io.StringIO()
    lines = Lines(Console(file=out), clock)
    for second in range(121):
        clock.seconds = float(second)
        doing = "starting Ray on this machine" if second < 20 else "starting the workers"
        lines.show(None, lambda doing=doing: Text(f"{clock.seconds:.0f}s  {doing}"), at_once=second in (0, 20))
    shown = ["0s  starting Ray on this machine", "20s  starting the workers", "80s  starting the workers"]
    assert out.getvalue().splitlines() == shown


def test_only_an_ordinary_terminal_gets_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as (_, stream):
        assert isinstance(outlet_for(Console(file=stream), {}), Terminal)
        assert isinstance(outlet_for(Console(file=stream), {"CI": "false"}), Terminal)
        assert isinstance(outlet_for(Console(file=stream), {"CI": "true"}), Lines)
        assert isinstance(outlet_for(Console(file=stream), {"JPY_PARENT_PID": "1"}), Lines)  # !python tune.py in a cell
        assert isinstance(outlet_for(Console(file=stream, quiet=True), {}), Lines)
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(outlet_for(Console(file=stream), {}), Lines)
    assert isinstance(outlet_for(Console(file=io.StringIO(), force_terminal=True), {}), Lines)


def test_no_colour_is_drawn_where_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with opened() as (window, stream):
        seen: set[str] = set()

        def look(driver: Driver) -> None:
            window.settle(stream)
            seen.update(window.colours)

        displayed(tmp_path, small_sweep(num_samples=2), Console(file=stream), look)
        assert seen == {"default"}


def standing_of(folder: Path, sweep: Sweep, workers: int, rows: Callable[[Standing], None]) -> None:
    """Call `rows` with the standing of a sweep after every result, and at its end."""
    ledger, clock = Ledger.write(folder), SimulatedClock()
    told: list[Standing] = []
    driver = Driver(
        sweep, ledger, clock=clock, listen=lambda kind, text: [each.hear(kind, text) for each in told] and None
    )
    told.append(Standing(driver))
    rows(told[0])

    simulate(driver, clock, workers=workers, refresh=lambda: rows(told[0]))
    rows(told[0])
    ledger.close()


def texts(standing: Standing, width: int) -> list[str]:
    return [row.plain for row in block.rows(standing, width)]


def test_no_row_is_too_wide_and_the_block_stays_low_with_500_trials_at_once(tmp_path: Path) -> None:
    names = [f"a_parameter_with_a_long_name_{number}" for number in range(12)]
    sweep = small_sweep(
        workload=FromFunction(yields, metric="loss", mode="min", horizon=2), space=Space(dict.fromkeys(names, uniform(0, 1))),
        num_samples=501, first_alone=False,
    )  # fmt: skip
    ledger = Ledger.write(tmp_path)
    driver = Driver(sweep, ledger)
    standing = Standing(driver)
    while len(driver.running) < 500:
        order = driver.next()
        assert order is not None
        if order.assignment is None:
            driver.finish_job(order)
    for number in range(490, 500):
        driver.receive(number, [Reported(1, {"loss": number / 7})])
    for width in (10, 39, 79, 199):
        rows = texts(standing, width)
        assert all(len(row) <= width for row in rows)
        assert len(rows) <= 2 + 5 * 2 + 4
        assert width not in (39, 79) or any(row.endswith(" …") for row in rows), "the long configuration is cut"
    ledger.close()
    assert "  trials  500 running of 501" in rows
    assert rows[-1].endswith("; 497 more")
    assert rows[-1].count(" step 1 of 2: ") == 3


def test_the_block_says_what_is_spent_where_and_what_is_left(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    sweep = tasked(tasks=Task.data(0.25, 1.0), num_samples=None, budget=4.0, resources={"cpu": 2})

    def look(standing: Standing) -> None:
        some = Range(1.0, 1.0, 1.0)
        standing.driver.foresight.latest = Forecast(Range(7000.0, 3500.0, 9000.0), some, some, 1.0, 1.0, "cpu")
        seen.append(texts(standing, 120))

    standing_of(tmp_path, sweep, 2, look)
    assert seen[0][0].endswith("starting")
    assert "  best    no result yet" in seen[0]
    last = {row[2:10].strip(): row for row in seen[-1]}
    assert " of 4 full trainings" in last["spent"]
    shares = [int(share) for share in re.findall(r"(\d+) %", last["tasks"])]
    assert len(shares) == 2
    assert 99 <= sum(shares) <= 101
    assert re.search(r"\d+ (model|initial|random|promotion)", last["origins"])
    assert any("more under way" in row for rows in seen for row in rows)
    assert any(re.search(r"about 1h5\dm left \(5\dm\d\ds to 2h2\dm\)$", rows[0]) for rows in seen)
    assert seen[-1][0].endswith("finishing"), "nothing is left to wait for"
    assert any(re.match(r"  now     trial \d+ step \d+ of \d+: ", row) for rows in seen for row in rows)


def test_a_maximised_metric_is_shown_with_its_own_sign_and_its_line_rises(tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        yield {"accuracy": config["x"]}

    seen: list[list[str]] = []
    sweep = Sweep("up", train, Space({"x": uniform(0.1, 0.9)}), maximize="accuracy", steps=1, num_samples=8, seed=2)
    standing_of(tmp_path, sweep, 1, lambda standing: seen.append(texts(standing, 120)))
    best = next(row for row in seen[-1] if row.startswith("  best"))
    value, bars = re.findall(r"accuracy (0\.\d+) .*\) (\S+)$", best)[0]
    assert 0.1 < float(value) < 0.9
    assert list(bars) == sorted(bars)
    assert bars[0], bars[-1] == (BARS[0], BARS[-1])


def test_a_continued_sweep_goes_on_with_the_trend_on_record(tmp_path: Path) -> None:
    trends: list[list[float]] = []
    for samples in (4, 8):
        standing_of(tmp_path, small_sweep(num_samples=samples), 1, lambda each: trends.append(list(each.trend)))
    (middle,) = {len(trend) for trend in trends if len(trend) == 4}
    assert len(trends[-1]) >= 7, "the last one may end the search"
    assert trends[-1][:middle] == next(trend for trend in trends if len(trend) == 4)
    assert trends[-1] == sorted(trends[-1], reverse=True)


def test_a_sparkline_shows_the_ends_and_nothing_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 23, 24, 25, 500):
        values = rng.standard_normal(count)
        bars = sparkline(list(values), 24)
        assert len(bars) == min(24, count)
        assert {min(bars), max(bars)} == {BARS[0], BARS[-1]}
    assert sparkline([1.0, math.nan, math.inf, 0.0], 24) == f"{BARS[-1]}{BARS[0]}"
    for nothing in ([], [1.0], [2.0, 2.0], [1.0, math.nan]):
        assert sparkline(nothing, 24) == ""


def test_what_waits_for_a_place_for_a_minute_is_told_once_with_the_reason() -> None:
    clock, told = Growing(), list[Waiting | None]()
    places = WaitingSeats(lambda: "no room", told.append, clock)
    seats = [SimpleNamespace(trial_id=str(number), status="PENDING") for number in range(3)]
    for seat in [*seats, seats[0]]:  # Tune adds one again that has lost its worker
        places.add(seat)
    for second in range(200):
        clock.seconds = float(second)
        if second == 30:
            seats[0].status = "RUNNING"
        if second == 120:
            seats[1].status = seats[2].status = "RUNNING"
        places.look()
    waits, ended = told
    assert waits is not None
    assert waits.words == f"2 of 3 places for trials wait since {waits.since[11:19]} UTC: no room"
    assert seconds_between(waits.since, now()) == pytest.approx(60.0, abs=1.0)
    assert ended is None


def test_seats_that_others_replace_wait_no_longer() -> None:
    clock, told = Growing(), list[Waiting | None]()
    places = WaitingSeats(lambda: "no room", told.append, clock)
    places.add(SimpleNamespace(trial_id="0", status="PENDING"))
    clock.seconds = 100.0
    places.look()
    places.close()
    places.close()
    assert [waiting is None for waiting in told] == [False, True]


def test_a_notebook_gets_one_output_that_is_updated_with_html_escaped_and_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("IPython", reason="IPython is not installed")
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the shell puts its own there
    for name in ("excepthook", "displayhook"):  # of this process: it hands them back only as it ends
        monkeypatch.setattr(sys, name, getattr(sys, name))
    for name in ("ps1", "ps2", "ps3"):
        monkeypatch.setattr(sys, name, "", raising=False)
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.display_pub = CapturingDisplayPublisher()
    try:
        notebook, space = Notebook(), Space({"x": uniform(0, 1), "kind": "<b>bold</b>"})
        ledger, clock = Ledger.write(tmp_path / "cell"), SimulatedClock()
        sweep = Sweep("cell", yields, space, minimize="loss", steps=2, num_samples=20)
        display = Display(Console(quiet=True), notebook)
        driver = Driver(sweep, ledger, clock=clock, listen=display.listen)
        display.watch(driver)
        with display:
            simulate(driver, clock, workers=2, refresh=display.refresh)
        ledger.close()
        outputs = shell.display_pub.outputs
    finally:
        InteractiveShell.clear_instance()
    first, *updates = outputs
    assert not first["update"]
    assert all(update["update"] and update["transient"] == first["transient"] for update in updates)
    last = updates[-1]["data"]
    assert "&lt;b&gt;bold" in last["text/html"]
    assert "<b>bold" not in last["text/html"]
    assert any("first report: trial 0" in update["data"]["text/plain"] for update in updates)
    assert "kind=<b>bold</b>" in last["text/plain"]


def yields(config: Any, state: Any) -> Iterator[Any]:
    for step in range(2):
        yield {"loss": config["x"] + step}


SCRIPT = """
import time
from orchestrator import RunToEnd, Space, Sweep, launch, uniform

def train(config, state):
    for step in range(state or 0, 4):
        time.sleep({sleep})
        yield {{"loss": config["x"] + step}}, step + 1

launch(Sweep("mine", train, Space({{"x": uniform(0, 1)}}), minimize="loss", steps=4, num_samples={samples}, scheduler=RunToEnd()))
"""
JOB = 'set -m; "$@"; echo "left with $?"; read; fg; echo "ended with $?"'


def test_ctrl_z_takes_the_block_away_and_ctrl_c_ends_a_continued_sweep(tmp_path: Path) -> None:
    """Under a shell with job control: the terminal's own signals and process groups."""
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.format(sleep=0.02, samples=1000))
    window = Window(80, 40)
    command = ("bash", "-c", JOB, "bash", sys.executable, str(script), "--simulate", "--max-concurrent", "2")
    with process_in(window, *command, cwd=tmp_path) as process:
        window.until(lambda window: any(row.startswith("  origins ") for row in window.shown))
        window.type("\x1a")
        window.until(lambda window: "left with 148" in window.text)
        assert not any(label in row for row in window.shown for label in LABELS), window.text
        window.type("\n")
        window.until(lambda window: any(row.startswith("  origins ") for row in window.shown))
        window.type("\x03")
        window.until(lambda window: "ended with 130" in window.text)
        assert process.wait(60) == 0
        assert window.text.count("stopping: trials save their checkpoints") == 1
        assert "mine: interrupted" in window.text
        assert not any(label in window.text for label in LABELS)
    window.close()


def test_a_sweep_needs_no_open_stream(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.format(sleep=0, samples=2))
    closed = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, str(script), "--simulate"]
    done = subprocess.run(closed, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120)
    assert done.returncode == 0
    assert [row["status"] for row in recorded(tmp_path / "runs" / "mine", "ending")] == ["completed"] * 2


CELL = """
from orchestrator import Space, Sweep, run, uniform

def train(config, state):
    for step in range(3):
        yield {"loss": config["x"] + step}

run(Sweep("cell", train, Space({"x": uniform(0, 1)}), minimize="loss", steps=3, num_samples=4), simulate=True)
"""


@pytest.mark.slow
def test_a_cell_shows_one_output_that_ends_with_all_events_and_then_the_result(tmp_path: Path) -> None:
    manager = pytest.importorskip("jupyter_client.manager", reason="jupyter_client is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    kernel, client = manager.start_new_kernel(cwd=str(tmp_path), env=os.environ | {"PYTHONPATH": str(ROOT)})
    told: list[tuple[str, Any]] = []
    try:
        reply = client.execute_interactive(
            CELL, timeout=120, output_hook=lambda message: told.append((message["msg_type"], message["content"]))
        )
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok", reply
    shown = [content for kind, content in told if kind == "display_data"]
    updates = [content for kind, content in told if kind == "update_display_data"]
    assert len(shown) == 1
    assert updates[-1]["transient"] == shown[0]["transient"]
    assert "first report: trial 0" in updates[-1]["data"]["text/plain"]
    assert "enough: 4 configurations" in updates[-1]["data"]["text/plain"]
    assert "best so far" not in "".join(content["text"] for kind, content in told if kind == "stream")
    assert "<table" in next(content for kind, content in told if kind == "execute_result")["data"]["text/html"]


def test_trials_that_wait_for_a_worker_are_not_called_running(tmp_path: Path) -> None:
    """While Ray started, and when no node was left, with a time that was left all the same."""
    sweep = small_sweep(first_alone=False)
    ledger = Ledger.write(tmp_path)
    driver, some = Driver(sweep, ledger), Range(1.0, 1.0, 1.0)
    standing = Standing(driver)
    while not driver.running:
        order = driver.next()
        assert order is not None
        if order.assignment is None:
            driver.finish_job(order)
    standing.hear(DOING, "joining the Ray cluster auto")
    assert "1 to start" in block.line(standing).plain
    standing.hear(DOING, "")
    driver.foresight.latest = Forecast(Range(100.0, 0.0, 200.0), some, some, 1.0, 1.0, "cpu")
    assert "1 running" in block.line(standing).plain
    assert standing.time_left is not None
    driver.lose_all("its node is gone")
    assert "1 to resume" in block.line(standing).plain
    assert "running" not in block.line(standing).plain
    assert standing.time_left is None
    ledger.close()

    ledger = Ledger.write(tmp_path)
    standing = Standing(Driver(sweep, ledger))
    assert standing.driver.next() is not None
    standing.hear(DOING, "joining the Ray cluster auto")
    assert "1 to resume" in block.line(standing).plain
    ledger.close()


def test_after_a_failure_the_trial_that_runs_alone_is_not_called_the_first(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(), ledger)
    while 0 not in driver.running:
        order = driver.next()
        assert order is not None
        if order.assignment is None:
            driver.finish_job(order)
    driver.fail(0, "ValueError", "bad")
    assert driver.next() is not None
    assert (driver.running, Standing(driver).state) == ({1}, "one trial at a time until the first report")
    ledger.close()


def test_a_forecast_whose_time_has_run_out_is_not_shown_as_nothing_left(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(), ledger)
    standing, some = Standing(driver), Range(1.0, 1.0, 1.0)
    driver.foresight.latest = Forecast(Range(100.0, 0.0, 200.0), some, some, 1.0, 1.0, "cpu")
    left = standing.time_left
    assert left is not None
    assert left.low == 0.0 < left.middle < 100.0
    driver.foresight.latest = Forecast(Range(0.0, 0.0, 6.0), some, some, 1.0, 1.0, "cpu")
    assert standing.time_left is None
    ledger.close()
