"""Where the cost went: by task, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.money.amounts import trainings
from orchestrator.page.charts import Chart, Section, Series, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import listed
from orchestrator.record.encoding import seconds_between
from search.task import FULL, Task

UNITS = ((172800.0, 86400.0, "days"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0.0, 1.0, "s"))


def section(run: Recorded) -> Section | None:
    tasks = run.history.tasks
    if not tasks or not run.rows["report"]:
        return None
    rows = [
        [
            task["task"], str(task["steps"]), str(task["results"]), f"{task['declared']:.3g}", f"{task['cost']:.3g}",
            f"{task['spent']:.2f}",
        ]
        for task in run.accounts["tasks"]
    ]  # fmt: skip
    columns = ("task", "steps", "results", "cost, declared", "cost, measured", "spent")
    table = Table(
        "Tasks",
        columns,
        rows,
        numeric=columns[1:],
        note="In full trainings: the cost of one training, and what all have cost.",
    )
    return Section("tasks_cost", "Cost by task", [_sentence(run)], [_over_time(run, tasks), table])


def _sentence(run: Recorded) -> str:
    spent = {task["task"]: (task["spent"], task["results"]) for task in run.accounts["tasks"]}
    total = sum(cost for cost, _ in spent.values())
    parts = [
        f'{100 * cost / total if total else 0:.0f} % went to the task "{name}" ({many} results)'
        for name, (cost, many) in spent.items()
    ]
    return f"Of the cost of {trainings(total)} full trainings, {listed(parts)}."


def _over_time(run: Recorded, tasks: Sequence[Task]) -> Chart:
    """The cost of all training on each task so far, at every report."""
    history = run.history
    rows = run.rows["report"]
    began = rows[0]["time"]
    seconds = [seconds_between(began, row["time"]) for row in rows]
    size, unit = next((size, unit) for least, size, unit in UNITS if seconds[-1] >= least)
    before = {trial.number: trial.began for trial in history}
    so_far: dict[str, float] = {task.name: 0.0 for task in tasks}
    lines: Mapping[str, tuple[list[float], list[float]]] = {task.name: ([0.0], [0.0]) for task in tasks}
    for row, after in zip(rows, seconds, strict=True):
        trial = history.trials[row["trial"]]
        for task, cost in _shares(run, tasks, trial.task, before[trial.number], row["step"]):
            so_far[task] += cost
            lines[task][0].append(after / size)
            lines[task][1].append(so_far[task])
        before[trial.number] = row["step"]
    series = [
        Series(name, [*x, seconds[-1] / size], [*y, y[-1]], "step", f"task:{name}") for name, (x, y) in lines.items()
    ]
    note = "" if all(not task.resumes for task in tasks[:-1]) else (
        "A full training contains the steps of the shorter tasks; each step counts for the shortest task that contains it."
    )  # fmt: skip
    return Chart(
        "Cost by task over time",
        f"time since the first report ({unit})",
        "cost so far (full trainings)",
        series,
        note=note,
    )


def _shares(run: Recorded, tasks: Sequence[Task], task: str, low: int, high: int) -> list[tuple[str, float]]:
    """The cost of the steps in (low, high] of a training of `task`, by the tasks that they belong to."""
    history, passed, found = run.history, 0, []
    if task != FULL:
        return (
            [(task, (high - low) * history.cost_of(task) / history.steps(task))]
            if any(t.name == task for t in tasks)
            else []
        )
    for each in tasks:
        if not each.resumes and each.name != FULL:
            continue
        steps = each.steps(history.horizon)
        within = max(0, min(high, steps) - max(low, passed))
        passed = max(passed, steps)
        if within:
            found.append((each.name, within * history.cost_of(FULL) / history.horizon))
    return found
