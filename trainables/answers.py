"""Ask a policy, and check its answer each time, so that a mistake names its class, its method, the value and the remedy.

A check takes about a microsecond. Nothing here imports torch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile
from operator import attrgetter
from typing import Any

from search.domain.scalars import plain_scalar
from trainables.bare_errors import EXPLAINED, explained
from trainables.contract import Policy
from trainables.values import Action, Averaging, Knobs, Signals, knob_objection

LONGEST = 100  # characters of a wrong answer, in a message
_KINDS: dict[str, tuple[type, str]] = {  # of an action's fields, with an example
    "why": (str, "'the loss stalls'"),
    "mark": (str, "'before'"),
    "roll_back_to": (str, "'before'"),
    "reports": (str, "'before'"),
    "average": (Averaging, "Averaging(replicas=2)"),
    "averages": (tuple, "(16.0,)"),
}
_GIVEN = attrgetter(*_KINDS)  # most actions have none of them


def asked(policy: Policy[Any], method: str, signals: Signals, *state: Any) -> tuple[Any, Action]:
    """The state and the action that `policy` answers from `method`: "start", or "act" with its `state`.

    Raises what `checked` raises, and the policy's own errors with its class, its method and the remedy.
    """
    try:
        answer = getattr(policy, method)(*state, signals)
    except EXPLAINED as error:
        raise explained(policy, method, signals, error) from error.__cause__
    return checked(policy, method, answer, signals.knobs)


def checked(policy: Policy[Any], method: str, answer: Any, knobs: Knobs) -> tuple[Any, Action]:
    """The state and the action that `policy` returned from `method`, where it saw `knobs`.

    Raises TypeError for anything else, ValueError for a knob that `writes` does not name or that has an impossible value.
    """
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2 and isinstance(answer[1], Action)):
        raise TypeError(
            f"{_name(policy, method)} returned {_short(answer)}; return the next state and an Action: "
            "`return state, Action(knobs=…)`, or `return state, Action()` to change nothing."
        )
    state, action = answer
    if action.knobs is not None and action.knobs is not knobs:
        _refuse_knobs(policy, method, action.knobs, knobs)
    if any(_GIVEN(action)):
        _refuse_kinds(policy, method, action)
    if action.evidence or action.found:
        numbers = {name: _plain(policy, method, name, getattr(action, name)) for name in ("evidence", "found")}
        action = replace(action, **numbers)
    return state, action


def refuse_changed(policy: Policy[Any], settings: str) -> None:
    """Raise TypeError if the policy's `repr` is no longer `settings`: a list among its fields has changed in place."""
    if (now := repr(policy)) != settings:
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(settings, now, strict=False)))
        begin = max(0, same - LONGEST // 2)
        part = f"{'… ' if begin else ''}{textwrap.shorten(now[begin:], LONGEST, placeholder=' …')}"
        raise TypeError(
            f"{type(policy).__name__} changed itself and is now {part}: a policy keeps nothing on itself, because "
            "no checkpoint would have it; keep what changes in the state that `start` and `act` return."
        )


def _refuse_kinds(policy: Policy[Any], method: str, action: Action) -> None:
    for name, (kind, example) in _KINDS.items():
        if (value := getattr(action, name)) and not isinstance(value, kind):
            raise TypeError(
                f"{_name(policy, method)} returned Action({name}={_short(value)}); write, for example, {name}={example}."
            )


def _refuse_knobs(policy: Policy[Any], method: str, after: Any, before: Knobs) -> None:
    if not isinstance(after, Knobs):
        raise TypeError(
            f"{_name(policy, method)} returned Action(knobs={_short(after)}); write "
            "Action(knobs=replace(signals.knobs, learning_rate=…)), with `replace` of dataclasses."
        )
    known = vars(before)
    for name, value in vars(after).items():
        if value is known[name] or value == known[name]:
            continue
        if name not in policy.writes:
            names = ", ".join(map(repr, sorted({*policy.writes, name})))
            raise ValueError(
                f"{_name(policy, method)} turned {name} to {value!r}, which its `writes` does not name; add it there: "
                f"writes = frozenset({{{names}}})."
            )
        if objection := knob_objection(name, value):
            raise ValueError(f"{_name(policy, method)} turned {name} to {value!r}: {objection}")


def _plain(policy: Policy[Any], method: str, field: str, given: Any) -> dict[str, Any]:
    """The evidence, or what was found, with Python's own numbers, which can be recorded."""
    found = {name: plain_scalar(value) for name, value in given.items()} if isinstance(given, Mapping) else None
    if found is None or not all(isinstance(value, (int, float)) for value in found.values()):
        raise TypeError(
            f"{_name(policy, method)} returned Action({field}={_short(given)}); {field} holds numbers by name, such as "
            "{'loss': 0.5}, and the reason in words belongs in `why`."
        )
    return found


def _name(policy: Policy[Any], method: str) -> str:
    return f"{type(policy).__name__}.{method}"


def _short(value: Any) -> str:
    return textwrap.shorten(repr(value), LONGEST, placeholder=" …")
