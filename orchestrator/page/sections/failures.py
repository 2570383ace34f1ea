"""Why trials failed, diverged or lost their workers, grouped by cause, with the first traceback; which were tried again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.failures import readable, signature
from orchestrator.page.analysis.words import counted, percent
from orchestrator.page.charts import Figure, Section, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import duration, place
from orchestrator.reading.trial_counts import status_words
from orchestrator.record.encoding import RETRY
from search.history import Trial
from search.records import Status

LOST, RETRIED = "lost its worker", "tried again"
LINES = 40  # of a traceback, the last ones
CAUSES = 20
REASON = 200  # characters


@dataclass(frozen=True)
class Cause:
    """Trials with the same reason; reasons that differ in numbers, paths and quoted values only are the same."""

    what: str  # failed, diverged, lost its worker or, for a failure before another try, tried again
    reason: str  # of the first
    trials: tuple[int, ...]  # in order, the first first
    steps: tuple[int, ...]  # at which it struck, one for each of `trials`


def section(run: Recorded) -> Section | None:
    """None if nothing failed, diverged or lost its worker."""
    found = causes(run)
    if not found:
        return None
    figures: list[Figure] = [_table(run, found)]
    figures += [table for cause in found if (table := _traceback(run, cause)) is not None][:1]
    return Section("failures", "Failures", _sentences(run, found), figures)


def causes(run: Recorded) -> list[Cause]:
    """The most frequent first."""
    groups: dict[tuple[str, str], list[tuple[str, int, int]]] = defaultdict(list)
    for trial in run.history:
        if trial.status.is_failure:
            groups[trial.status.value, signature(trial.reason)].append((trial.reason, trial.number, trial.step))
    for row in run.rows["lost"]:
        groups[LOST, signature(row["reason"])].append((row["reason"], row["trial"], row["step"]))
    for end in _before_another_try(run):
        groups[RETRIED, signature(end["reason"])].append((end["reason"], end["trial"], end["step"]))
    found = [
        Cause(what, some[0][0], tuple(number for _, number, _ in some), tuple(step for *_, step in some))
        for (what, _), some in groups.items()
    ]
    return sorted(found, key=lambda cause: (-len(cause.trials), cause.trials[0]))


def _sentences(run: Recorded, found: Sequence[Cause]) -> list[str]:
    ended = [cause for cause in found if cause.what not in (LOST, RETRIED)]
    sentences = []
    if ended:
        total, times = len(run.history.trials), sum(len(cause.trials) for cause in ended)
        first = ended[0]
        sentences.append(
            f"{times} of {counted(total, 'trial')} failed or diverged ({percent(times / total)}), {_alike(ended)}: "
            f"{_cut(first.reason) or 'none is on record'}"
        )
        trials = [run.history.trials[number] for cause in ended for number in cause.trials]
        cost, whole = _seconds(run, trials), _seconds(run, run.history.trials)
        if whole > 0:
            sentences.append(
                f"They cost {duration(cost)} of training, {percent(cost / whole)} of the total, not counting starts."
            )
    lost = [cause for cause in found if cause.what == LOST]
    if lost:
        times = sum(len(cause.trials) for cause in lost)
        trials_hit = {number for cause in lost for number in cause.trials}
        sentences.append(
            f"Workers were lost {counted(times, 'time')}, in {counted(len(trials_hit), 'trial')}; such a trial continues "
            "from its last checkpoint."
        )
    again = sorted({number for cause in found if cause.what == RETRIED for number in cause.trials})
    if again:
        now = Counter(run.history.trials[number].status.value for number in again)
        states = ", ".join(f"{count} {status_words(status, run.state)}" for status, count in now.items())
        sentences.append(f"{counted(len(again), 'trial')} failed and {_were(again)} tried again; now: {states}.")
    return sentences


def _alike(ended: Sequence[Cause]) -> str:
    """How many of the failures have the reason that follows, the most frequent one."""
    times, first = sum(len(cause.trials) for cause in ended), len(ended[0].trials)
    if times == 1:
        return "with the reason"
    if len(ended) == 1:
        return "all for the same reason"
    if first == 1:
        return "each for a different reason, the first"
    if 2 * first > times:
        return f"most ({first}) for one reason"
    return f"for {len(ended)} different reasons, {first} of them for this one"


def _were(trials: Sequence[int]) -> str:
    return "was" if len(trials) == 1 else "were"


def _before_another_try(run: Recorded) -> Iterator[Mapping[str, Any]]:
    """The end of a trial for every failure after which it was tried again."""
    failed: dict[int, Mapping[str, Any]] = {}
    endings = [row for row in run.rows["ending"] if row["status"] == Status.FAILED.value]
    tries = [row for row in run.rows["event"] if row["kind"] == RETRY]
    for row in sorted([*endings, *tries], key=lambda row: row["seq"]):
        if "kind" in row:
            yield failed[row["trial"]]
        else:
            failed[row["trial"]] = row


def _table(run: Recorded, found: Sequence[Cause]) -> Table:
    rows = []
    for cause in found[:CAUSES]:
        trials = [run.history.trials[number] for number in dict.fromkeys(cause.trials)]
        numbers = ", ".join(str(trial.number) for trial in trials[:5]) + (", …" if len(trials) > 5 else "")
        steps = sorted(set(cause.steps))
        where = str(steps[0]) if len(steps) == 1 else f"{steps[0]}–{steps[-1]}"
        cost = "–" if cause.what in (LOST, RETRIED) else duration(_seconds(run, trials))
        rows.append([cause.what, str(len(cause.trials)), _cut(cause.reason) or "–", numbers, where, cost])
    left = len(found) - len(rows)
    return Table(
        "Causes", ["what", "times", "reason of the first", "trials", "at step", "cost"], rows, numeric=("times", "cost"),
        note=f"{left} rarer causes are left out." if left else "",
    )  # fmt: skip


def _traceback(run: Recorded, cause: Cause) -> Table | None:
    """The full text of the cause's first failure; None if the record has no more than the reason."""
    number = cause.trials[0]
    texts: Mapping[int, str] = {row["trial"]: row["detail"] for row in run.rows["ending"] if row["status"] == "failed"}
    lines = readable(texts.get(number, ""))
    if cause.what != "failed" or len(lines) < 2:
        return None
    shown = [line.replace("\t", "    ") for line in lines[-LINES:]]
    kept = [line.replace(" ", "\u00a0", len(line) - len(line.lstrip())) for line in shown]  # keep the indentation
    left = len(lines) - len(shown)
    return Table(
        f"The first: trial {number}", ["traceback"], [[line] for line in kept],
        note=(f"{left} earlier lines are left out. " if left else "")
        + f"The full text: {orchestrator_line('logs', place(run.folder), number)}",
    )  # fmt: skip


def _seconds(run: Recorded, trials: Sequence[Trial]) -> float:
    """Of training alone, as the bill counts it."""
    return sum(trial.cost_seconds - run.start_seconds.get(trial.number, 0.0) for trial in trials)


def _cut(reason: str) -> str:
    return reason if len(reason) <= REASON else f"{reason[:REASON]}…"
