"""The training's own files were edited while the sweep was under way, so its results are of different code."""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.definition.sources import EDITED
from orchestrator.page.analysis.words import listed
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from orchestrator.reading.codes import Codes, codes_of, present_code


def edited(run: Recorded) -> list[Finding]:
    """A finding if trials have trained with other code than the first that reported."""
    codes = codes_of(*(run.rows[table] for table in ("sweep", "event", "report", "suggestion")))
    if len(codes.distinct) < 2:
        return []
    told = codes.edits()
    values = [words for name, words in told.items() if words != f"{name} was edited"]
    counts = _before_and_after(run, codes) if codes.order == [1, 2] else _by_code(run, codes)
    return [
        Finding(
            "edited",
            f"{listed(list(told))} {'was' if len(told) == 1 else 'were'} edited while the sweep was under way.",
            f"{'; '.join(values)}{'. ' if values else ''}{counts}; the sweep compares "
            f"them{', and the baseline,' if run.baseline is not None else ''} although their code differs.",
            "If the edit changes results, run the new code under another name.",
            "serious",
        )
    ]


def _before_and_after(run: Recorded, codes: Codes) -> str:
    """How many trials trained before and after the edit: those begun then, retried or continued; and where the best is."""
    earlier, later = ({trial for trial, numbers in codes.trials.items() if code in numbers} for code in (1, 2))
    only, both = earlier - later, earlier & later
    begun = f" ({'it' if len(later) == 1 else len(both)} had begun before)" if both else ""
    best = None if run.best is None else run.best.number
    among = [", the best among them" if best in trials and len(trials) > 1 else "" for trials in (only, later)]
    return f"{plural(len(only), 'trial')} trained only before{among[0]}, {len(later)} after{begun}{among[1]}"


def _by_code(run: Recorded, codes: Codes) -> str:
    """How many trials trained with each code, numbered as they came into use; and which is the best's, and the present one."""
    count = {
        each: sum(each in numbers for numbers in codes.trials.values()) for each in range(1, len(codes.distinct) + 1)
    }
    facts = [", ".join(f"code {code} trained {plural(trials, 'trial')}" for code, trials in count.items()).capitalize()]
    if run.best is not None:
        facts.append(f"the best is of code {codes.trials[run.best.number][-1]}")
    latest = run.rows["sweep"][-1]["seq"]
    is_newer = any(row["kind"] == EDITED and row["seq"] > latest for row in run.rows["event"])
    now = codes.order[-1] if is_newer else codes.number(present_code(run.rows["sweep"]))
    facts.append(f"the present code is {'a later one' if now is None else f'code {now}'}")
    return "; ".join(facts)
