"""Checks of the class of a searcher or a scheduler: its methods, its attributes, and that its objects keep no state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

from search import signatures
from search.contract import Around, Scheduler, Searcher

FLAG: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, bool), "True or False")
ATTRIBUTES: dict[str, tuple[Callable[[Any], bool], str]] = {  # what each must be
    "finalists": (lambda value: type(value) is int and value >= 0, "a whole number, 0 or more"),
    "continues": FLAG,
    "schedules": FLAG,
    "resumes": FLAG,
    "why_full": (
        lambda value: value is None or isinstance(value, str),
        'text, or None; "" if it learns from trials that are stopped early, too',
    ),
}


def objection(title: str, name: str, part: Searcher | Scheduler) -> str:
    """How the class breaks its contract, with the remedy; "": it does not.

    `title` and `name` are where it was given: "Sweep", "searcher". It also checks the searcher inside a searcher. A class can
    keep no state if it is a frozen dataclass, or if its objects have no attributes.
    """
    if isinstance(part, Around) and (inside := objection(title, name, part.inner)):
        return inside
    kind, contract = type(part), Searcher if isinstance(part, Searcher) else Scheduler
    place = f"{title}({name}={kind.__name__})"
    if wrong := signatures.objection(place, part, contract):
        return wrong
    for attribute, (is_sound, wanted) in ATTRIBUTES.items():
        if hasattr(contract, attribute) and not is_sound(value := getattr(part, attribute)):
            return f"{place}: {attribute} = {value!r}: must be {wanted}."
    if state := _state(place, part):
        return state
    if isinstance(part, Scheduler) and type(part).promote is not Scheduler.promote and not part.resumes:
        return (
            f"{place}: it has a promote() and does not set `resumes`, so no checkpoint would be kept "
            f"for it, and what it resumes would train again from the start. Add `resumes = True` to the class {kind.__name__}."
        )
    return ""


def _state(place: str, part: Searcher | Scheduler) -> str:
    """A search that continues begins with new objects, so what has changed in them would be lost."""
    kind = type(part)
    names = list(getattr(part, "__dict__", ()))
    if not names or (is_dataclass(kind) and kind.__dataclass_params__.frozen):
        return ""
    kept = " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
    as_fields = "" if is_dataclass(kind) else f", and {kept} as {'a field' if len(names) == 1 else 'fields'}"
    return (
        f"{place}: its objects keep {kept}, which may change between two starts of a search; make it a frozen dataclass: "
        f"@dataclass(frozen=True) above the class{as_fields}."
    )
