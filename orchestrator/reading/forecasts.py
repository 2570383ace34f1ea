"""The forecast of a run in words, before it starts, while it runs and between its invocations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.driving.foresight import FORESEEN, read, seconds_left
from orchestrator.money.against_random import needed
from orchestrator.money.amounts import dollars
from orchestrator.money.forecast import Forecast, Range, forecast
from orchestrator.money.prices import HOUR, Prices, prices_of
from orchestrator.reading.state import state, waiting
from orchestrator.record.encoding import now, seconds_between
from orchestrator.record.ledger import Ledger

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep
    from search.history import History, Trial


ASSUMED = "in 8 of 10 cases between the two; unless the target is reached before, or the number of workers changes"


def of_sweep(sweep: Sweep, history: History, workers: int, seconds: float = math.inf) -> Forecast | None:
    """The rest of a sweep. `seconds`: left of the time budget."""
    return forecast(
        history, sweep.searcher, sweep.scheduler, sweep.rules,
        workers=workers, seconds=seconds, own_process=sweep.workload.has_own_process,
    )  # fmt: skip


def time_left(seen: Forecast, age: float = 0.0) -> str:
    """ "time left 2 h 10 min (1 h 50 min to 2 h 40 min)", `age` seconds after the forecast; empty once that has passed."""
    left = seconds_left(seen, age)
    return "" if left is None else f"time left {between(left, duration)}"


def latest(ledger: Ledger) -> tuple[Forecast, float] | None:
    """The last forecast that the driver of a running sweep has noted, and its age in seconds; None if there is none."""
    lease = ledger.lease()
    where = "WHERE kind = :kind AND epoch = :epoch ORDER BY seq DESC LIMIT 1"
    rows = ledger.rows("event", where, kind=FORESEEN, epoch=lease.epoch) if lease else []
    if not rows or state(ledger) != "running" or is_finishing(ledger):
        return None
    if (place := waiting(ledger)) is not None and place.is_all:
        return None
    return read(rows[0]["text"]), seconds_between(rows[0]["time"], now())


def is_finishing(ledger: Ledger) -> bool:
    """Whether the search is over and no trial is under way."""
    ended = ledger.query("SELECT MAX(seq) FROM search_end")[0][0] or 0
    changed = ledger.query("SELECT MAX(seq) FROM sweep WHERE change != ''")[0][0] or 0
    under_way = (
        "SELECT COUNT(*) FROM (SELECT trial, MAX(seq) AS begun FROM suggestion GROUP BY trial) AS latest "
        "WHERE NOT EXISTS (SELECT 1 FROM ending WHERE ending.trial = latest.trial AND ending.seq > latest.begun)"
    )
    return ended > changed and not ledger.query(under_way)[0][0]


def foreseen(ledger: Ledger) -> dict[str, Any] | None:
    """The latest forecast of a running sweep as JSON: what is left of it, from low to high in 80 % of all cases."""
    found = latest(ledger)
    return None if found is None else as_plain(found[0], found[1], prices_in_force(ledger))


def foreseen_words(ledger: Ledger) -> str:
    """The same in a line for people; empty if there is none."""
    found = latest(ledger)
    if found is None:
        return ""
    seen, age = found
    cost = cost_in_all(seen, prices_in_force(ledger).usd(seen.device, 1.0))
    return ", ".join(part for part in (time_left(seen, age), cost) if part)


def prices_in_force(ledger: Ledger) -> Prices:
    """The prices of the last invocation."""
    return prices_of(ledger.sweep()["description"].get("prices"))


def random_search_words(history: History, best: Trial | None, usd: float | None) -> str:
    """What random search would have needed for the result so far, and what that rests on; empty if nothing is known."""
    found = needed(history, best)
    if found is None:
        return ""

    def amount(trainings: float) -> str:
        seconds = trainings * history.costs.seconds_of_full(len(history)) * history.device_time.devices
        price = "" if usd is None else f" ({dollars(rounded(seconds * usd))})"
        return f"{_count(trainings)} full trainings{price} for this result"

    reached = (
        f"as {found.reached or 'none'} of the {found.drawn} configurations that this sweep drew at random reached it"
    )
    if found.estimate is None:
        return f"more than {amount(found.at_least)}, with 95 % confidence, {reached}"
    span = f"between {_count(found.at_least)} and {_count(found.at_most)} with 95 % confidence"
    return f"about {amount(found.estimate)} ({span}), {reached}"


def _count(trainings: float) -> str:
    """Three digits, without an exponent."""
    return f"{float(f'{trainings:.3g}'):,.0f}" if trainings >= 100 else f"{trainings:.3g}"


def usd_per_second(prices: Prices, history: History) -> float | None:
    """Dollars for a device-second of the device that was used last."""
    return prices.usd(history.device_time.latest, 1.0)


def cost_in_all(seen: Forecast, usd_per_second: float | None) -> str:
    """What the whole run will have cost: dollars if the price is known, and device hours."""
    total = seen.device_seconds + seen.spent_device_seconds
    time = f"{between(total, device_time)} of device time"
    if usd_per_second is None:
        return f"{time} in all"
    return f"{between(total * usd_per_second, lambda usd: dollars(rounded(usd)))} in all, {time}"


def as_plain(seen: Forecast, age: float, prices: Prices) -> dict[str, Any]:
    """The forecast as JSON: [low, middle, high] of each number."""
    usd_per_second = prices.usd(seen.device, 1.0)

    def three(found: Range, digits: int = 3) -> list[float]:
        return [round(value, digits) for value in (found.low, found.middle, found.high)]

    left = seconds_left(seen, age)

    return {
        "age_seconds": round(age, 1),
        "seconds_left": None if left is None else three(left),
        "device_seconds_left": three(seen.device_seconds),
        "full_equivalents_left": three(seen.full_trainings),
        "usd_left": None if usd_per_second is None else three(seen.device_seconds * usd_per_second, 4),
    }


def between(found: Range, words: Callable[[float], str]) -> str:
    """The middle, and the interval of 80 % behind it, unless both look the same."""
    middle, low, high = words(found.middle), words(found.low), words(found.high)
    return middle if low == high else f"{middle} ({low} to {high})"


def duration(seconds: float) -> str:
    """
    >>> duration(42.4), duration(90), duration(7800), duration(200_000)
    ('42 s', '1 min 30 s', '2 h 10 min', '2 d 7 h')
    """
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            count, rest = divmod(whole, size)
            behind = f" {rest // part} {smaller}" if rest // part and count < 10 else ""
            return f"{count} {unit}{behind}"
    return f"{whole} s"


def device_time(seconds: float) -> str:
    """Device time is paid by the hour.

    >>> device_time(90), device_time(900_000)
    ('1 min 30 s', '250 h')
    """
    return duration(seconds) if seconds < 10 * HOUR else f"{seconds / HOUR:,.0f} h"


def rounded(usd: float) -> float:
    """Dollars to three digits: a forecast has no more."""
    return float(f"{usd:.3g}") if usd < 1000 else float(round(usd))
