"""The gain over the baseline for a line of `list`, found without a look at the steps where no trial was repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.reading.certainty import certainty
from orchestrator.reading.scores import first_score, present_baseline, scores, unfair
from orchestrator.reading.spending import finalists
from orchestrator.reading.trial_counts import Stand
from orchestrator.record.ledger import Ledger
from search.history import History, Trial
from search.records import BASELINE, Goal, Status
from search.rules.finalists import depends_on_seed


@dataclass(frozen=True)
class Gain:
    """How much better the best is than the baseline; negative if it is worse."""

    value: float  # of the metric
    baseline: float  # its value
    certainty: str  # that of `reading/certainty.py`


def gain_by_history(about: Mapping[str, Any], history: History, best: Trial | None, goal: Goal) -> Gain | None:
    """None if it is unknown, or if the baseline is the best."""
    baseline = present_baseline(about, history)
    if best is None or baseline is None or best is baseline or unfair(best, baseline, history.horizon):
        return None
    mine, theirs = scores(history, best, goal), scores(history, baseline, goal)
    facts = {"finalists": finalists(history, goal), "depends_on_seed": depends_on_seed(history)}
    return _gain(mine | {"status": best.status.value}, theirs, facts, about["mode"])


def gain_by_stands(
    ledger: Ledger, about: Mapping[str, Any], found: list[Stand], best: Stand | None, goal: Goal
) -> Gain | None:
    """The same of a run without tasks and finalists; of a baseline that trained as one."""
    rows = ledger.rows("suggestion", f"WHERE origin = '{BASELINE}' AND kind <> 'resume' ORDER BY seq")
    number = next((row["trial"] for row in rows if row["config"] == about.get("baseline")), None)
    baseline = next((stand for stand in found if stand.trial == number), None)
    if best is None or baseline is None or best is baseline or not baseline.step or Status(baseline.status).is_failure:
        return None
    if not best.status == baseline.status == Status.COMPLETED.value and best.step != baseline.step:
        return None
    mine, theirs = first_score(best.loss(goal), goal), first_score(baseline.loss(goal), goal)
    return _gain(mine | {"status": best.status}, theirs, {"finalists": [], "depends_on_seed": None}, about["mode"])


def _gain(mine: dict[str, Any], theirs: dict[str, Any], facts: dict[str, Any], mode: str) -> Gain | None:
    if mine["value"] is None or theirs["value"] is None:
        return None
    sign = 1 if mode == "max" else -1
    sure = certainty({"best": mine, "baseline": theirs, "unfair": "", "mode": mode, **facts})
    return Gain(sign * (mine["value"] - theirs["value"]), theirs["value"], sure)
