"""Trials that wait for a place in the cluster: shown, and noted for those who read the record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from orchestrator.record.encoding import to_json


@dataclass(frozen=True)
class Waiting:
    """A place is the room for one trial at a time."""

    since: str  # when the first of them began to wait, in UTC
    places: int  # that wait
    of: int  # places in all
    why: str

    @property
    def is_all(self) -> bool:
        """Whether nothing trains meanwhile."""
        return self.places == self.of

    @property
    def words(self) -> str:
        return f"{self.places} of {self.of} places for trials wait since {self.since[11:19]} UTC: {self.why}"


def written(waiting: Waiting | None) -> str:
    """The text of an event; empty if no place waits any more."""
    return "" if waiting is None else to_json(asdict(waiting))


def read(text: str) -> Waiting | None:
    """What such a text says."""
    return Waiting(**json.loads(text)) if text else None
