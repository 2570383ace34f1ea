"""Was the search long enough: too few completed trials, or no gain on the baseline."""

from __future__ import annotations

import math

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.console.plurals import plural
from orchestrator.definition.description import described_population
from orchestrator.page.health.finding import Finding
from orchestrator.page.health.ranges import searched
from orchestrator.page.health.starts import starts
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import place
from orchestrator.reading.used_up import instead_words, used_up
from search.records import FINALIST

FEW, PER_PARAMETER = 5, 2  # completed trials: below this number, or this number for each parameter, little can be said
TRIED = 5  # completed trials that the baseline has beaten


def few_trials(run: Recorded) -> list[Finding]:
    """A finding if so few trials were completed that the other checks cannot say anything."""
    completed, parameters = sum(math.isfinite(trial.loss) for trial in run.full), len(searched(run))
    needed = max(FEW, PER_PARAMETER * parameters)
    own = sum(trial.first_origin != FINALIST for trial in run.history)
    repeated = len(run.history.trials) - own
    counted = f" of the search ({plural(repeated, 'repetition')} of finalists not counted)" if repeated else ""
    if not own or completed >= needed:
        return []
    return [
        Finding(
            "few_trials",
            f"{completed or 'None'} of {plural(own, 'trial')}{counted} "
            f"{'has' if completed == 1 or own == 1 else 'have'} been trained to the end"
            f"{' so far' if run.state == 'running' else ''}, too few to judge the result.",
            f"At least {needed} are needed for {parameters} searched parameter{'s' * (parameters != 1)}.",
            _more(run, needed),
            "note",
        )
    ]


def _more(run: Recorded, needed: int) -> str:
    """How to get `needed` completed trials."""
    if run.state == "running":
        return "Wait for more."
    if run.accounts["out_of_time"]:
        return "Give it more time (--time-budget)."
    if (members := described_population(run.about)) is not None:
        if members < needed:
            return f"A population trains its {members} members to the end: use population={needed} or more, in a run of another name."
        failed = orchestrator_line("logs", place(run.folder), "--failed")
        return "Raise the budget." if run.about["budget"] else f"Find out why members ended early: {failed}"
    if why := used_up(run.accounts["over"], run.about["space"], run.history):
        return f"More trials bring nothing new: {why}; {instead_words(run.history)}."
    if starts(run):
        return "First reduce the cost of starts; then raise num_samples or budget."
    return "Raise num_samples or budget and run the same command again."


def baseline_is_best(run: Recorded) -> list[Finding]:
    """A finding if no other trial is better than the baseline."""
    others = [trial.loss for trial in run.full if trial is not run.baseline and math.isfinite(trial.loss)]
    if run.baseline is None or run.best is not run.baseline or len(others) < TRIED:
        return []
    return [
        Finding(
            "baseline",
            "The baseline is still the best.",
            f"It has {run.metric} {run.value(run.baseline.loss):.4g}; the best of {len(others)} other completed trials has "
            f"{run.value(min(others)):.4g}.",
            "Add values to the space."
            if used_up(run.accounts["over"], run.about["space"], run.history)
            else "Centre the ranges on the baseline, give them priors there, or search longer.",
            "advice",
        )
    ]
