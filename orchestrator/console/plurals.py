"""Numbers and their nouns in sentences."""

from __future__ import annotations


def plural(count: int, noun: str, verb: str = "") -> str:
    """`count` and its noun, with the verb that agrees.

    >>> plural(1, "trial"), plural(0, "trial", "are"), plural(1, "configuration", "have been started")
    ('1 trial', '0 trials are', '1 configuration has been started')
    """
    first, _, rest = verb.partition(" ")
    singular = {"are": "is", "were": "was", "have": "has"}.get(first, first)
    words = [f"{count:,}", noun if count == 1 else f"{noun}s", singular if count == 1 else first, rest]
    return " ".join(word for word in words if word)


def times(count: int) -> str:
    """
    >>> times(1), times(2), times(3)
    ('once', 'twice', '3 times')
    """
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")
