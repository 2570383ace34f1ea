"""What the policies did while models trained: rate and batch over time, the reasons, and what deciding cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.definition.description import NO_POLICY
from orchestrator.failures import signature
from orchestrator.page.analysis.words import counted, in_common, listed, percent, short, shortened
from orchestrator.page.charts import Chart, Figure, Section, Series, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import duration
from trainables.values import AVERAGED, of_last

GRADUAL = "schedule"  # the reason under which the loop records a knob that a policy turns gradually
KNOBS = ("learning_rate", "batch_size", "momentum", "weight_decay")
TRIALS = 12  # with lines of their own: the best, the baseline, then the best of the others
ROWS = 40  # of one trial's decisions
FREE = "free_batch"  # the evidence of a policy that asked for the largest batch without a cost
POINTS = 800  # of one line
ANSWERS = 5  # on the largest free batch, the latest
# The evidence of policies that search in the training, and how the page tells it.
SEARCHED = {"search_samples": "what it tried took {}", "undone_samples": "what it tried and undid took {}"}


def section(run: Recorded) -> Section | None:
    """None if the sweep has no policy."""
    policy = run.about.get("policy", NO_POLICY)
    rows = run.rows["decision"]
    if not rows:
        said = _averaged(run)
        if not said and (policy == NO_POLICY or not any(trial.steps for trial in run.history)):
            return None
        trials = counted(sum(bool(trial.steps) for trial in run.history), "trial")
        return Section(
            "decisions", "Decisions in training", said or [f"The policy {policy} has changed nothing in {trials}."]
        )
    of_trial: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_trial[row["trial"]].append(row)
    shown = _shown(run, of_trial)
    figures: list[Figure] = [
        chart for knob in KNOBS if (chart := _over_time(run, knob, {n: of_trial[n] for n in shown})) is not None
    ]
    if len(of_trial) > 1:  # else the decisions themselves say it all
        figures.append(_reasons(rows))
    figures.append(_listed(run, shown[0], of_trial[shown[0]]))
    return Section("decisions", "Decisions in training", _sentences(run, rows, of_trial), figures, columns=2)


def _sentences(run: Recorded, rows: Sequence[Mapping[str, Any]], of_trial: Mapping[int, Any]) -> list[str]:
    sentences = _averaged(run)
    for knob in KNOBS:
        values = [row for row in rows if row["position"] is not None and _turned(row, knob)]
        if values:
            ups = sum(row["after"][knob] > row["before"][knob] for row in values)
            trials = len({row["trial"] for row in values})
            sentences.append(
                f"The policy raised the {knob.replace('_', ' ')} {counted(ups, 'time')} and lowered it "
                f"{counted(len(values) - ups, 'time')}, in "
                f"{counted(trials, 'trial')}."
            )
    for number in _shown(run, of_trial)[:1]:
        answers = [row for row in of_trial[number] if FREE in row["metrics"]]
        sentences += [f"Trial {number}, after {row['samples']:,} samples: {row['why']}." for row in answers[-ANSWERS:]]
        for name, what in SEARCHED.items():
            told = [row["metrics"] for row in of_trial[number] if row["metrics"].get(name)]
            if told:
                samples, whole = sum(each[name] for each in told), told[-1].get("of_samples")
                share = f", {percent(samples / whole)} of a full training's" if whole else ""
                sentences.append(f"Trial {number}: {what.format(f'{samples:,.0f} samples{share}')}.")
    tried = sum(row["position"] is None for row in rows)
    if tried:
        sentences.append(f"{counted(tried, 'setting')} {'was' if tried == 1 else 'were'} only tried, and undone.")
    spent = sum(float(row["cost_seconds"]) for row in rows)
    trained = sum(run.history.trials[number].cost_seconds for number in of_trial)
    if trained > 0:
        share = f", {percent(spent / trained)} of these trials' training time"
        sentences.append(f"Deciding took {duration(spent)}{share}.")
    return sentences


def _averaged(run: Recorded) -> list[str]:
    """In how many reports an average of the weights counted, and what the best trial's last report measured."""
    last = of_last(run.metric)
    kept = [row for row in run.rows["report"] if {AVERAGED, last} <= row["metrics"].keys()]
    if not kept:
        return []
    better = sum(bool(row["metrics"][AVERAGED]) for row in kept)
    sentences = [
        f"In {better:,} of {counted(len(kept), 'report')} an average of the weights was better than the last weights, and "
        "was reported in their place."
    ]
    of_best = [row["metrics"] for row in kept if run.best is not None and row["trial"] == run.best.number]
    if of_best and run.best is not None:
        end = of_best[-1]
        which = f"the average with γ = {end[AVERAGED]:g}" if end[AVERAGED] else "its last weights"
        sentences.append(
            f"The best trial ({run.best.number}) reports {which}: {run.metric} {short(end[run.metric])}; the last weights "
            f"have {short(end[last])}."
        )
    return sentences


def _shown(run: Recorded, of_trial: Mapping[int, Any]) -> list[int]:
    first = [trial.number for trial in (run.best, run.baseline) if trial is not None and trial.number in of_trial]
    trials = [run.history.trials[number] for number in of_trial if number not in first]
    trials.sort(key=lambda trial: (-trial.step, trial.broke, trial.loss if trial.loss == trial.loss else 0.0))
    return list(dict.fromkeys([*first, *(trial.number for trial in trials)]))[:TRIALS]


def _over_time(run: Recorded, knob: str, of_trial: Mapping[int, Sequence[Mapping[str, Any]]]) -> Chart | None:
    """The values of a knob over the samples seen; None if nobody turned it."""
    if not any(_turned(row, knob) for rows in of_trial.values() for row in rows):
        return None
    series = []
    for number, rows in of_trial.items():
        rows = [row for row in rows if knob in row["before"]]
        kept = [row for row in rows if row["position"] is not None][-POINTS:]
        tried = [row for row in rows if row["position"] is None and _turned(row, knob)][:POINTS]
        is_best = run.best is not None and run.best.number == number
        is_baseline = run.baseline is not None and run.baseline.number == number
        role = "best" if is_best else "baseline" if is_baseline else f"trial:{number}"
        name = f"trial {number}" + (" (best)" if is_best else " (baseline)" if is_baseline else "")
        if kept:
            x = [0.0, *(float(row["samples"]) for row in kept)]
            y = [float(kept[0]["before"][knob]), *(float(row["after"][knob]) for row in kept)]
            hover = [f"{name}: at the start", *(f"{name}, step {row['step']}: {row['why']}" for row in kept)]
            series.append(Series(name, x, y, kind="step", role=role, hover=hover))
        if tried and (is_best or len(of_trial) == 1):
            x, y = [float(row["samples"]) for row in tried], [float(row["after"][knob]) for row in tried]
            hover = [f"{name}, step {row['step']}: {row['why']}" for row in tried]
            series.append(Series(f"tried by {name}", x, y, kind="points", role="muted", hover=hover))
    values = [value for one in series for value in one.y if isinstance(value, float)]
    spread = knob != "momentum" and min(values) > 0 and max(values) > 4 * min(values)
    left = len({row["trial"] for row in run.rows["decision"]}) - len(of_trial)
    note = "Each line ends at the trial's last decision." + (f" {left} other trials are left out." if left > 0 else "")
    return Chart(knob.replace("_", " "), "samples seen", knob.replace("_", " "), series, y_log=spread, note=note)


def _reasons(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Decisions with the same reason, the most frequent first."""
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[signature(row["why"])].append(row)
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    table = []
    for group in ordered[:ROWS]:
        kept = [row for row in group if row["position"] is not None]
        knobs = [knob.replace("_", " ") for knob in KNOBS if any(_turned(row, knob) for row in group)]
        why = in_common([row["why"] for row in group])
        table.append(
            [
                "gradual change" if why == GRADUAL else why,
                str(len(group)),
                str(len({row["trial"] for row in group})),
                listed(knobs) if knobs else "–",
                str(len(kept)),
                duration(sum(float(row["cost_seconds"]) for row in group)),
            ]
        )
    columns = ["reason", "decisions", "trials", "knobs", "kept", "cost"]
    note = "Kept: decisions that stayed in force; the others were only tried. Cost: the time that deciding took."
    return Table("Reasons", columns, table, numeric=("decisions", "trials", "kept", "cost"), note=note)


def _listed(run: Recorded, number: int, rows: Sequence[Mapping[str, Any]]) -> Table:
    told = [row for row in rows if row["why"] != GRADUAL] or list(rows)
    table = [
        [
            str(row["step"]),
            f"{row['samples']:,}",
            _change(row),
            shortened(row["why"]) + ("" if row["position"] is not None else " (only tried)"),
            _evidence(row["metrics"]),
            duration(float(row["cost_seconds"])),
        ]
        for row in told[:ROWS]
    ]
    left = len(rows) - len(table)
    whose = "" if run.best is not None and run.best.number == number else "The best trial has no decisions. "
    return Table(
        f"Decisions of trial {number}", ["step", "samples", "change", "reason", "evidence", "cost"], table,
        numeric=("step", "samples", "cost"), note=whose + (f"{left} more are left out." if left else ""), wide=True,
    )  # fmt: skip


def _evidence(metrics: Mapping[str, float]) -> str:
    """The numbers that a decision rests on: the result of each value that was tried, then the others.

    >>> _evidence({"search_samples": 4704.0, "tried": 3.0, "at 0.1": 0.25521, "diverged at 0.4": 1.0})
    '0.1 → 0.2552, 0.4 diverged; search samples 4,704, tried 3'
    """
    results, others = [], []
    for name, value in metrics.items():
        what, _, at = name.rpartition("at ")
        if what == "diverged ":
            results.append(f"{shortened(at)} diverged")
        elif at and not what and name.startswith("at "):
            results.append(f"{shortened(at)} → {short(value)}")
        else:
            whole = float(value).is_integer() and abs(value) >= 1000
            others.append(f"{shortened(name.replace('_', ' '))} {f'{value:,.0f}' if whole else short(value)}")
    return "; ".join(", ".join(each) for each in (results, others) if each)


def _turned(row: Mapping[str, Any], knob: str) -> bool:
    return knob in row["before"] and knob in row["after"] and row["before"][knob] != row["after"][knob]


def _change(row: Mapping[str, Any]) -> str:
    changes = [
        f"{knob.replace('_', ' ')} {short(row['before'][knob])} → {short(row['after'][knob])}"
        for knob in KNOBS
        if _turned(row, knob)
    ]
    if "averaging" in row["after"]:
        changes.append("averaging begins")
    return "; ".join(changes) or "none"
