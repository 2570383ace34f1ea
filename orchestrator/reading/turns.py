"""How `MultitaskSearch` shares its turns between its model and successive halving, and how that has changed.

Each fit of the model is kept in the memo of a suggestion, with its skill; `search.rules.turns` says what it is worth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.record.ledger import Ledger
from search.rules.turns import model_share

# In a recorded identity, also within another searcher; `SigOptSearch` keeps such fits, too, but divides no turns.
SEARCHER = "MultitaskSearch("


def turns(ledger: Ledger) -> list[dict[str, Any]]:
    """Trials begun, skill and the model's share of the turns at each fit; empty if the searcher in force is another.

    Of fits between which no trial began, the last one.
    """
    if SEARCHER not in ledger.sweep()["description"]["searcher"]:
        return []
    found: dict[int, dict[str, Any]] = {}
    begun = 0
    for trial, memo in ledger.query("SELECT trial, memo FROM suggestion ORDER BY seq"):
        skill = _skill(memo)
        if skill is not None:
            found[begun] = {"trials": begun, "skill": skill, "model": round(model_share(skill), 3)}
        begun = max(begun, trial + 1)
    return list(found.values())


def in_words(found: Sequence[Mapping[str, Any]]) -> str:
    """The latest division of the turns, without a full stop; "" if there is none."""
    if not found:
        return ""
    latest = found[-1]
    before = next((each for each in reversed(found) if each["trials"] < latest["trials"]), None)
    earlier = ""
    if before is not None:
        since = latest["trials"] - before["trials"]
        earlier = f" ({since} {'trial' if since == 1 else 'trials'} earlier: {before['skill']:.2f})"
    share = f"{100 * latest['model']:.0f}"
    return (
        f"the model makes {share} % of the suggestions and successive halving of random configurations the other "
        f"{100 - int(share)} %, because the model's forecasts have a rank correlation of {latest['skill']:.2f} with the results{earlier}"
    )


def _skill(memo: str) -> float | None:
    """The skill that a suggestion's memo notes; None if it holds no fits, or those of another version."""
    try:
        match json.loads(memo) if memo else None:
            case {"curves": {"skill": int() | float() as skill}}:
                return float(skill)
    except ValueError:
        pass  # another searcher's memo may have any form
    return None
