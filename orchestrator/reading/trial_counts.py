"""The state of every trial, found by SQL: fast on a long record, because it does not fold every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from orchestrator.definition.description import described_population, described_tasks
from orchestrator.driving.foresight import FORESEEN
from orchestrator.driving.shown import WAITING
from orchestrator.driving.time_spent import SPENT, WAITED
from orchestrator.failures import signature
from orchestrator.record.encoding import NODE, RETRY, USED, goal_of, number, record_of
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from orchestrator.record.warm_start import TRANSFER
from search.history import History, key_of
from search.records import FINALIST, Config, End, Goal, Report, Status
from search.space import Space

_STANDS = """
    SELECT s.trial, s.origin, s.task, COALESCE(s.parent_step, 0), COALESCE(e.status, 'running'), COALESCE(e.reason, ''),
        COALESCE(r.step, 0), r.value, COALESCE(r.kind, 'nan'), COALESCE(r.cost, 0.0)
    FROM suggestion s
    JOIN (SELECT trial, MAX(seq) AS asked FROM suggestion GROUP BY trial) a ON a.trial = s.trial
    LEFT JOIN (SELECT trial, MAX(seq) AS seq, status, reason FROM ending GROUP BY trial) e
        ON e.trial = s.trial AND e.seq > a.asked
    LEFT JOIN (SELECT trial, MAX(step) AS step, value, kind, SUM(cost_seconds) AS cost FROM report GROUP BY trial) r
        ON r.trial = s.trial
    WHERE s.kind <> 'resume' ORDER BY s.trial"""
_OWN = (
    SPENT,
    WAITED,
    STATE,
    TRANSFER,
    USED,
    NODE,
    FORESEEN,
    WAITING,
)  # kinds of events that our readers read, not people
_EVENTS = f"""
    SELECT time, kind, text FROM (
        SELECT MAX(seq) AS seq, time, kind, text FROM event
            WHERE kind NOT IN {_OWN!r} GROUP BY kind, text
        UNION ALL SELECT seq, time, 'lost', 'trial ' || trial || ' lost its worker at step ' || step || ': ' || reason FROM lost
        UNION ALL SELECT seq, time, 'enough', reason FROM search_end
    ) ORDER BY seq DESC LIMIT :count"""
_SUGGESTED = f"""
    SELECT origin, COUNT(*) FROM suggestion WHERE kind <> 'resume' OR seq NOT IN (
        SELECT (SELECT MIN(seq) FROM suggestion s WHERE s.trial = e.trial AND s.seq > e.seq) AS next
        FROM event e WHERE kind = '{RETRY}' AND next IS NOT NULL)
    GROUP BY origin ORDER BY MIN(seq)"""
_RESTING = """
    SELECT COUNT(*) FROM (SELECT trial, MAX(seq) AS seq, status FROM ending GROUP BY trial) e
    WHERE e.status = 'stopped'
        AND e.trial NOT IN (SELECT replaces FROM suggestion WHERE replaces IS NOT NULL)
        AND e.trial NOT IN (SELECT trial FROM verdict)
        AND e.seq > (SELECT MAX(seq) FROM suggestion s WHERE s.trial = e.trial)"""
_DEAD = ("failed", "diverged")


class Stand(NamedTuple):
    """The current state of one trial."""

    trial: int
    origin: str  # who proposed its configuration
    task: str
    began: int  # step after which its own training began
    status: str
    reason: str
    step: int  # 0 before the first report
    value: float | None  # the metric, with the user's sign
    kind: str  # of the value: "number", "nan", …
    cost_seconds: float

    def loss(self, goal: Goal) -> float:
        return goal.loss(number(self.value, self.kind))


class Cause(NamedTuple):
    """Failures with the same cause: how many, and the first of them."""

    status: str
    reason: str
    times: int
    trial: int


def stands(ledger: Ledger) -> list[Stand]:
    """Every trial, in order of its number."""
    return [Stand(*row) for row in ledger.query(_STANDS)]


def count_words(counts: Mapping[str, int], state: str, resting: int = 0) -> str:
    """How many trials there are by status, for people. `resting`: those of the stopped ones that wait for their turn."""
    stopped = Status.STOPPED.value
    split = [
        part
        for name, count in counts.items()
        for part in ([("resting", resting), (name, count - resting)] if name == stopped else [(name, count)])
    ]
    return ", ".join(f"{count} {status_words(name, state)}" for name, count in split if count)


def resting_members(ledger: Ledger) -> int:
    """How many members of a population have come to a comparison, and may go on; 0 once the search is over."""
    if described_population(ledger.sweep()["description"]) is None or ledger.rows("search_end"):
        return 0
    return int(ledger.query(_RESTING)[0][0])


def status_words(status: str, state: str) -> str:
    """A trial's status for people. In a run that is not running, a trial without an end waits."""
    waits = status == Status.RUNNING.value and not state.startswith("running")
    return "to resume" if waits else status


def latest_events(ledger: Ledger, count: int = 5) -> list[tuple[str, str, str]]:
    """(time, kind, text) of the latest events, in order; of those that each start of the driver repeats, the last."""
    return ledger.query(_EVENTS, count=count)[::-1]


def retried(ledger: Ledger) -> list[int]:
    """The trials that were tried again after a failure, in order."""
    rows = ledger.query(f"SELECT DISTINCT trial FROM event WHERE kind = '{RETRY}' ORDER BY trial")
    return [number for (number,) in rows]


def suggested(ledger: Ledger) -> dict[str, int]:
    """Origin → how many of its suggestions are on record; another try of a failed trial is none."""
    return dict(ledger.query(_SUGGESTED))


def causes(found: Iterable[Stand]) -> list[Cause]:
    """Why trials failed or diverged, the most frequent first; reasons that differ in numbers and names only are one."""
    grouped: dict[tuple[str, str], Cause] = {}
    for stand in found:
        if stand.status in _DEAD:
            key = (stand.status, signature(stand.reason))
            before = grouped.get(key, Cause(stand.status, stand.reason, 0, stand.trial))
            grouped[key] = before._replace(times=before.times + 1)
    return sorted(grouped.values(), key=lambda cause: (-cause.times, cause.trial))


def load_history(ledger: Ledger, found: Iterable[Stand]) -> History:
    """The history for readers, who need no real space: the record only describes it.

    Every trial has only its last report, unless tasks need the earlier ones; finalists and their repetitions have all, so
    that copies are seen. `found`: the state of the trials.
    """
    about = ledger.sweep()["description"]
    tasks, goal = described_tasks(about), goal_of(about)
    if tasks:
        return ledger.history(ANY_SPACE, about["horizon"], about["seed"], goal, tasks=tasks)
    history = History(ANY_SPACE, horizon=about["horizon"], seed=about["seed"])
    begun = ledger.begun()
    again = {key_of(each.config) for each in begun.values() if each.origin == FINALIST}
    for stand in found:
        history.append(begun[stand.trial])
        if again and key_of(begun[stand.trial].config) in again:
            for row in ledger.rows("report", "WHERE trial = :trial ORDER BY step", trial=stand.trial):
                history.append(record_of("report", row, None, goal))
        elif stand.step:
            history.append(Report(stand.trial, stand.step, stand.loss(goal), stand.cost_seconds))
        if stand.status != Status.RUNNING.value:
            history.append(End(stand.trial, Status(stand.status), stand.reason))
    return history


class _Undescribed(Space):
    """A space that checks no configuration."""

    def contains(self, config: Config) -> bool:
        return False


ANY_SPACE = _Undescribed({"unknown": None})
