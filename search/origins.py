"""Who proposed a configuration: the words that `Suggestion.origin` may say, and which of them cover the space.

Models scale losses by the trials that nobody chose: what a model proposes gathers around the best, and says little of
the space. So each new word must be sorted into one of these two; an exam asks every searcher for its words.
"""

from __future__ import annotations

COVERING = frozenset({"initial", "random", "sobol", "grid", "fallback"})
"""Drawn from all of the space, whatever the results."""

CHOSEN = frozenset({"model", "point", "explored", "promotion", "resumed", "retry", "baseline", "finalist"})
"""Named by somebody, or chosen by what is known."""
