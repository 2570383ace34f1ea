"""Who proposed the trials: the initial design, the model, the user, or a fallback, and what each found and cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from orchestrator.page.analysis.stages import stages
from orchestrator.page.analysis.words import counted, listed, percent, short
from orchestrator.page.charts import Chart, Figure, Section, Series, Table
from orchestrator.page.recorded import Recorded
from orchestrator.reading.scores import rests_on, scores
from orchestrator.reading.turns import in_words
from search.history import Trial
from search.records import BASELINE, FALLBACK, FINALIST
from search.rules.finalists import score

WORDS = {
    "initial": "initial design",
    "model": "model",
    "point": "given by the user",
    "found": "random, starting from what trainings found",
    "explored": "explored by a population",
    "promotion": "promotion of an earlier configuration",
    "resumed": "resumed",
    "retry": "retry",
    BASELINE: "baseline",
    FINALIST: "finalist on a fresh seed",
    FALLBACK: "fallback",
}
POINTS = 1000  # in the picture


def section(run: Recorded) -> Section | None:
    """None with fewer than two trials."""
    if len(run.history.trials) < 2:
        return None
    asked: Mapping[str, int] = run.accounts["suggestions"]
    of_origin: dict[str, list[Trial]] = defaultdict(list)
    for trial in run.history:
        of_origin[trial.first_origin].append(trial)
    results = _results(run, of_origin)
    figures: list[Figure] = [*([] if results.is_empty else [results]), _table(run, asked, of_origin)]
    if len(run.accounts["turns"]) > 1:
        figures.insert(-1, _turns(run))
    return Section("origins", "Suggestions by origin", _sentences(run, asked, of_origin), figures)


def _sentences(run: Recorded, asked: Mapping[str, int], of_origin: Mapping[str, list[Trial]]) -> list[str]:
    sentences = []
    best = run.best
    counts = [f"{WORDS.get(origin, origin)} ({count})" for origin, count in asked.items()]
    if best is not None and math.isfinite(best.loss):
        value, again = short(run.value(score(run.history, best))), rests_on(scores(run.history, best, run.goal))
        sentences.append(
            f"The best trial, {best.number} ({run.metric} {value}{f', {again}' if again else ''}), was proposed by: "
            f"{WORDS.get(best.first_origin, best.first_origin)}."
        )
    sentences.append(f"{counted(sum(asked.values()), 'suggestion')}: {listed(counts, 8)}.")
    if run.accounts["turns"]:
        words = in_words(run.accounts["turns"])
        sentences.append(f"{words[0].upper()}{words[1:]}.")
    fallbacks = run.accounts.get("fallbacks", {})
    if fallbacks:
        times = sum(fallbacks.values())
        reason, most = next(iter(fallbacks.items()))
        sentences.append(
            f"A fallback replaced the searcher {counted(times, 'time')}, {percent(times / sum(asked.values()))} of all; the "
            f"most frequent reason ({most} ×): {reason}."
        )
    return sentences


def _table(run: Recorded, asked: Mapping[str, int], of_origin: Mapping[str, list[Trial]]) -> Table:
    end = stages(run.history)[-1].results
    total = sum(trial.cost_seconds for trial in run.history)
    rows = []
    for origin in dict.fromkeys([*asked, *of_origin]):
        trials = of_origin.get(origin, [])
        done = [end[trial.number] for trial in trials if trial.number in end]
        if origin == FINALIST:
            done = [trial.loss for trial in trials if trial.whole or trial.step >= run.history.horizon]
        seconds = sum(trial.cost_seconds for trial in trials)
        rows.append(
            [
                WORDS.get(origin, origin), str(asked.get(origin, 0)), str(len(trials)), str(len(done)),
                short(run.value(min(done))) if done else "–", short(run.value(median(done))) if done else "–",
                percent(seconds / total) if total > 0 else "–",
            ]
        )  # fmt: skip
    columns = ["origin", "suggestions", "trials", "full results", f"best {run.metric}", "median", "share of the cost"]
    return Table(
        "Origins", columns, rows, numeric=columns[1:],
        note="A suggestion starts, resumes or forks a trial; results and cost are those of the trials that the origin started.",
    )  # fmt: skip


def _results(run: Recorded, of_origin: Mapping[str, list[Trial]]) -> Chart:
    """Each full result by the number of its trial."""
    end = stages(run.history)[-1].results
    left, series = 0, []
    for origin, trials in of_origin.items():
        shown = [trial for trial in trials if trial.number in end]
        every = math.ceil(len(shown) / POINTS) if shown else 1
        left += len(shown) - len(shown[::every])
        shown = shown[::every]
        if not shown:
            continue
        y = [run.value(end[trial.number]) for trial in shown]
        hover = [f"trial {t.number}: {run.metric} {short(v)}" for t, v in zip(shown, y, strict=True)]
        name = WORDS.get(origin, origin)
        series.append(Series(name, [t.number for t in shown], y, "points", _role(origin), hover=hover))
    return Chart(
        "Results by origin", "trial", run.metric, series,
        note="Full trainings." + (f" {left} results are left out." if left else ""),
    )  # fmt: skip


def _turns(run: Recorded) -> Chart:
    """The skill of the model of `MultitaskSearch` at each fit, and the share of the turns that it brought."""
    found = run.accounts["turns"]
    trials = [*(each["trials"] for each in found), len(run.history.trials)]  # the last fit is in force until now
    skill, share = ([each[name] for each in (*found, found[-1])] for name in ("skill", "model"))
    return Chart(
        "Turns of the model", "trials begun", "ρ; share of the suggestions",
        [Series("ρ of its forecasts", trials, skill, "step", "best"), Series("its share of the suggestions", trials, share, "step", "muted")],
        note="ρ: rank correlation of the model's forecasts with the results. Full trainings that are due come first and are "
        "not counted in the share; if the model expects no gain, halving makes its suggestion.",
        y_range=(0.0, 1.0),
    )  # fmt: skip


def _role(origin: str) -> str:
    if origin in (BASELINE, FALLBACK):
        return "baseline" if origin == BASELINE else "bad"
    return "random" if origin == "random" else "best" if origin == "model" else f"task:{origin}"
