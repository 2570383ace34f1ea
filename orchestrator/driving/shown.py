"""Events that say what happens at this moment. The ledger gets WAITING (driving/waiting.py), and none of the others."""

from __future__ import annotations

ASSIGNED = "assigned"  # a trial was handed to a worker
DOING = "doing"  # what the engine does before the trials can train; an empty text ends it
WAITING = "waiting"  # why workers wait for their places; an empty text ends it
