"""The incumbent against cost: as numbers, and as a picture."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.reading.trial_counts import load_history, stands
from orchestrator.record.encoding import goal_of
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import replace_file
from search.records import BASELINE, FINALIST, Status
from search.task import FULL

if TYPE_CHECKING:
    pass
from orchestrator.reading.summary import description


class CostCurve(NamedTuple):
    """The incumbent's value against the cost in full trainings: a point for each completed trial."""

    costs: list[float]
    values: list[float]
    baseline: float | None
    total: float  # cost of all training


def cost_curve(ledger: Ledger) -> CostCurve:
    """Points in order of recording."""
    goal = goal_of(description(ledger))
    with ledger.snapshot():
        history = load_history(ledger, stands(ledger))
        reports = ledger.query("SELECT trial, step, value, kind FROM report ORDER BY seq")
    costs, values, reference = [], [], None
    best, cost = float("inf"), 0.0
    before = {trial.number: trial.began for trial in history}
    shares = {task: history.cost_of(task) / history.steps(task) for task in {trial.task for trial in history}}
    for number, step, value, kind in reports:
        trial = history.trials[number]
        cost += (step - before[number]) * shares[trial.task]
        before[number] = step
        is_full = trial.task == FULL and trial.status is Status.COMPLETED and trial.first_origin != FINALIST
        if is_full and trial.step == step and kind == "number":
            best = min(best, goal.loss(value))
            costs.append(cost)
            values.append(goal.value(best))
            if trial.first_origin == BASELINE:
                reference = value
    return CostCurve(costs, values, reference, cost)


def plot(ledger: Ledger, target: Path) -> Path | None:
    """The incumbent against cost as a picture; None if no trial was completed yet."""
    costs, values, reference, total = cost_curve(ledger)
    if not costs:
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    about = description(ledger)
    figure, axes = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    axes.step(
        [*costs, total],
        [*values, values[-1]],
        where="post",
        color="#1f5fa8",
        linewidth=2,
        label="best completed trial so far",
    )
    axes.plot(costs, values, "o", color="#1f5fa8", markersize=3.5)
    if reference is not None:
        axes.axhline(reference, color="#b04a2f", linestyle="--", linewidth=1.2, label=f"baseline {reference:.4g}")
    axes.set_xlabel("cost (full trainings)")
    axes.set_ylabel(f"{about['metric']} on validation ({'higher' if about['mode'] == 'max' else 'lower'} is better)")
    axes.set_title(f"{about['name']}: incumbent against cost")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper right" if about["mode"] == "min" else "lower right")  # where no curve is
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130, format=target.suffix[1:] or "png")
    plt.close(figure)
    return _put(target, picture.getvalue())


def _put(target: Path, data: bytes) -> Path:
    """Write a report's file to its place, or to the folder for temporary files if its place is not writable."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, data)
        return target
    except OSError:
        elsewhere = Path(tempfile.mkdtemp(prefix=f"{target.parent.parent.name}-")) / target.name
        elsewhere.write_bytes(data)
        return elsewhere
