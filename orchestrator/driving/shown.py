"""Events that listeners get and the ledger does not: they only say what happens at this moment."""

from __future__ import annotations

ASSIGNED = "assigned"  # a trial was handed to a worker
DOING = "doing"  # what the engine does before the trials can train; an empty text ends it
WAITING = "waiting"  # why workers wait for their places; an empty text ends it
