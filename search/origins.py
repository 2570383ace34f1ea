"""The origins of configurations: the words that `Suggestion.origin` may use, and which of them cover the space.

Models scale losses by trials that nobody chose, because a model's own proposals gather around the best and say little
about the rest of the space. So every new word must be added to one of these two sets; a test checks all searchers.
"""

from __future__ import annotations

COVERING = frozenset({"initial", "random", "sobol", "grid", "fallback"})
"""Drawn from the whole space, independent of the results."""

CHOSEN = frozenset({"model", "point", "found", "explored", "promotion", "resumed", "retry", "baseline", "finalist"})
"""Given by the user, or chosen from results."""
