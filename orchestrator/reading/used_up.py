"""Whether more trials could try nothing new: a grid that has been walked, a finite space whose configurations are all known."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from search.history import History, key_of
from search.records import FINALIST
from search.rules.conduct import EXHAUSTED
from search.rules.proposals import ALL_KNOWN
from search.run_state import OUT_OF_BUDGET


def used_up(over: str | None, space: Mapping[str, Any], history: History) -> str:
    """Why a larger num_samples or budget brings nothing new, in one clause; empty if it may.

    `over`: why the search is over; `space`: as described on record. A finite space with conditions, constraints or
    integers counts as used up only once the searcher says so or has repeated a configuration.
    """
    if over and over.endswith(EXHAUSTED):
        return over
    own = [trial for trial in history if trial.first_origin != FINALIST]
    if own and own[-1].suggestion.evidence.startswith(ALL_KNOWN):
        return "all configurations of the space have been tried"
    options: dict[str, list[Any] | None] = {
        name: [each["value"]] if each["kind"] == "fixed" else each.get("options")
        for name, each in space["parameters"].items()
    }
    listed = {name: values for name, values in options.items() if values is not None}
    if len(listed) < len(options) or not over or "full trainings" in over or over.startswith(OUT_OF_BUDGET):
        return ""  # a larger budget may resume what was stopped
    size = prod(map(len, listed.values()))
    tried = {
        key_of(trial.config) for trial in own
        if all(value in listed[name] for name, value in trial.config.items() if name in listed)
    }  # fmt: skip
    return f"all {size} configurations of the space have been tried" if len(tried) >= size else ""


def instead_words(history: History) -> str:
    """What helps where more trials bring nothing new."""
    again = any(trial.first_origin == FINALIST for trial in history)
    confirm = "" if again else ", or confirm the best on fresh seeds (finalists=3, confirmations=3)"
    return f"add values to the space{confirm}"
