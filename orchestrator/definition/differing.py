"""Two recorded values of a setting, reduced to what differs: the fields of an object, the keys of a mapping, a part of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

LONGEST = 60  # characters of a value
CONTEXT = 20  # characters of a long value before the first difference
_OBJECT = re.compile(r"([A-Za-z_][\w.]*)\((.*)\)", re.S)
_FIELD = re.compile(r"([A-Za-z_]\w*)=(.*)", re.S)
_ABSENT = "not set"


def differing(name: str, before: object, after: object) -> Iterator[tuple[str, str, str]]:
    """The name and both values of each part that differs; values are cut to `LONGEST` characters, not before they differ.

    >>> list(differing("workload", "Script(command='a.py', horizon=10)", "Script(command='a.py', horizon=20)"))
    [('workload.horizon', '10', '20')]
    """
    if before == after:
        return
    old, new = _parts(before), _parts(after)
    if old is None or new is None or old[0] != new[0]:
        yield name, *_cut(str(before), str(after))
        return
    for part in dict.fromkeys([*old[1], *new[1]]):
        yield from differing(f"{name}.{part}", old[1].get(part, _ABSENT), new[1].get(part, _ABSENT))


def other_function(before: object, after: object) -> str:
    """That two identities of workloads name different functions, in words; empty if they do not.

    >>> other_function("FromFunction(train, horizon=1)", "FromFunction(train=<lambda>:1c6e5a00(), horizon=1)")
    'this run was made by train(), and this is a <lambda>'
    """
    calls = [call_of(text) if isinstance(text, str) else None for text in (before, after)]
    named = [call[1].get("train") or call[1].get("1", "") for call in calls if call and call[0] == "FromFunction"]
    if len(named) < 2 or named[0].partition("(")[0] == named[1].partition("(")[0]:
        return ""
    old, new = map(_function, named)
    return f"this run was made by {old}, and this is {new if old != new else new.replace('a ', 'another ', 1)}"


def without_edits(identity: str) -> str:
    """The identity of a function's workload without what is told as an edit: the code of a lambda, the arguments of a partial.

    >>> without_edits("FromFunction(train=partial(<lambda>:1c6e5a00(), 2.0, k=3), horizon=1)")
    'FromFunction(train=<lambda>, horizon=1)'
    """
    call = call_of(identity)
    if call is None or call[0] != "FromFunction":
        return identity
    train = call[1].get("train") or call[1].get("1", "")
    inner = call_of(train)
    function = inner[1]["1"] if inner and inner[0] == "partial" else train
    return identity.replace(train, "<lambda>" if "<lambda>:" in function else function, 1)


def _function(text: str) -> str:
    """A function as people write it; a lambda has no name, and its digest tells them nothing."""
    name = text.partition("(")[0]
    return f"a {name.partition(':')[0]}" if "<lambda>:" in name else text if text.endswith(")") else f"{text}()"


def call_of(text: str) -> tuple[str, Mapping[str, str]] | None:
    """The class and the arguments of an object's `identity`, by name or by position; None for any other text.

    >>> call_of("Tpe(3, startup=5, priors=[1, 2])")
    ('Tpe', {'1': '3', 'startup': '5', 'priors': '[1, 2]'})
    """
    found = _OBJECT.fullmatch(text)
    if found is None:
        return None
    arguments = {}
    for position, part in enumerate(_split(found[2]), start=1):
        named = _FIELD.fullmatch(part)
        arguments[named[1] if named else str(position)] = named[2] if named else part
    return found[1], arguments


def _parts(value: object) -> tuple[str, Mapping[str, object]] | None:
    """The class and the parts of an object's `identity`, or of a mapping; None for another value."""
    if isinstance(value, Mapping):
        return ("", value) if value else None
    return call_of(value) if isinstance(value, str) else None


def _split(text: str) -> list[str]:
    """The text at its commas that are outside of brackets and quotes."""
    parts, start, depth, quote, at = [], 0, 0, "", 0
    while at < len(text):
        letter = text[at]
        if quote:
            at += letter == "\\"  # the next one is escaped
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
        at += 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _cut(before: str, after: str) -> tuple[str, str]:
    """Both texts around their first difference, if one is too long."""
    if max(len(before), len(after)) <= LONGEST:
        return before, after
    same = next(
        (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = same - CONTEXT if same > LONGEST - CONTEXT else 0

    def part(text: str) -> str:
        shown = text[start : start + LONGEST]
        return ("…" if start else "") + shown + ("…" if start + LONGEST < len(text) else "")

    return part(before), part(after)
