"""A saved search: its space, its settings and all its records as JSON; and how it differs from the one that loads it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, get_args

from search.contract import Scheduler, Searcher
from search.records import End, OfRun, OfTrial, Record, Status
from search.space import Space
from search.task import Task
from search.wording import shown

RECORDS = {kind.__name__: kind for kind in get_args(OfTrial) + get_args(OfRun)}
FIXED = ("horizon", "goal")  # settings without which the recorded losses do not mean the same
DECIDES = ("searcher", "scheduler", "seed")  # settings that a change of mind, or a mistake, may have changed
LONGEST = 80  # characters of a value in a message


def written(space: Space, settings: Mapping[str, Any], records: Iterable[Record]) -> str:
    """The text of a search."""
    heads = [{"record": "Space", **space.describe()}, {"record": "Settings", **settings}]
    return json.dumps([*heads, *({"record": type(record).__name__, **asdict(record)} for record in records)])


def read(text: str) -> tuple[dict[str, Any], dict[str, Any], list[Record]]:
    """The description of the space, the settings (each empty: saved by an earlier release), and the records."""
    try:
        rows = json.loads(text)
        if not isinstance(rows, list):
            raise ValueError("no list of records")
        space = rows.pop(0) if rows and rows[0]["record"] == "Space" else {}
        settings = rows.pop(0) if rows and rows[0]["record"] == "Settings" else {}
        return space, settings, [_record(**row) for row in rows]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        start = textwrap.shorten(repr(text), 60, placeholder="…")
        raise ValueError(
            f"AskAndTell.load: {start} is not what `save` returned ({type(error).__name__}: {error}); pass its whole text."
        ) from None


def by_its_settings(thing: Searcher | Scheduler) -> str:
    """A searcher or a scheduler as it was written, without the addresses of functions."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", shown(thing))


def meanings(tasks: Iterable[Task]) -> dict[str, list[Any]]:
    """What the result of each task means, by its name."""
    return {task.name: [task.share, dict(task.changes), task.resumes] for task in tasks}


def other_space(saved: Mapping[str, Any], space: Space) -> str:
    """How the space of a saved search differs, but for priors; "": it does not, or is not on record."""
    if not saved:
        return ""
    now = json.loads(json.dumps(space.describe()))
    ours, theirs = ({name: _plain(about) for name, about in each["parameters"].items()} for each in (now, saved))
    said = [f"{name!r} is not in this one" for name in theirs if name not in ours]
    said += [f"{name!r} is new in this one" for name in ours if name not in theirs]
    said += [
        f"{name!r} was {theirs[name]} and is {ours[name]}"
        for name in ours
        if ours[name] != theirs.get(name, ours[name])
    ]
    if now["constraints"] != saved["constraints"]:
        said.append(f"the constraints were {saved['constraints']} and are {now['constraints']}")
    return "; ".join(said)


def other_training(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which setting gives the recorded losses another meaning now; "": none, or none is on record."""
    differing = changes(saved, now)
    said = [_in_words(name, *differing[name]) for name in FIXED if name in differing]
    before, after = saved.get("tasks", {}), now["tasks"]
    said += [
        f"the task {name!r} was {before[name]} and is {after[name]}"
        for name in after
        if after[name] != before.get(name, after[name])
    ]
    return "; ".join(said)


def changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that were saved and are others now: the value of each before and now."""
    plain = json.loads(json.dumps(now))
    return {name: (saved[name], plain[name]) for name in plain if name in saved and saved[name] != plain[name]}


def in_words(differing: Mapping[str, tuple[Any, Any]], names: Iterable[str]) -> str:
    """The changes of the settings `names` in one line; "": none of them has changed."""
    return "; ".join(_in_words(name, *differing[name]) for name in names if name in differing)


def _in_words(name: str, before: Any, now: Any) -> str:
    old, new = (textwrap.shorten(str(value), LONGEST, placeholder="…") for value in (before, now))
    return f"{name} was {old} and is {new}"


def _record(record: str, **fields: Any) -> Record:
    kind = RECORDS[record]
    made: Record = kind(**fields | ({"status": Status(fields["status"])} if kind is End else {}))
    return made


def _plain(parameter: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameter.items() if name != "prior"}
