"""Explain a KeyError of a training that asked its configuration for a parameter that it does not have."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Mapping

from orchestrator.errors import did_you_mean
from search.records import Config
from search.space import Space

_KEY_ERROR = re.compile(r"\bKeyError: '([^']+)'(?=$| \()")


def missing_parameter(error: BaseException, says: str, config: Config, space: Space) -> str:
    """A hint to append to the message; empty unless the error is about a key of the configuration.

    Its line must ask a copy of `config` for a key. An error in another process is known by its message alone (`says`);
    there, the key must resemble the name of a parameter.
    """
    names = space.names
    found = _KEY_ERROR.search(says)
    if found is None or (name := found[1]) in config:
        return ""
    if type(error) is KeyError:
        is_asked = _asks(error, name, config)
    else:
        is_asked = name in names or bool(difflib.get_close_matches(name, names, n=1))
    if not is_asked:
        return ""
    if name in names and space.conditions[name]:
        return f": this parameter is not active in this configuration; write config.get({name!r})."
    if name in names:  # added to the space when the trial was on record
        return f": this trial began without a value for it; write config.get({name!r}, …) with the value of then."
    return f": the space has no such parameter.{did_you_mean(name, names)}"


def _asks(error: KeyError, name: str, config: Config) -> bool:
    """Whether the line that raised the error asks a copy of the configuration for this key, or for that of a variable."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    holders = [each for each, value in frame.f_locals.items() if isinstance(value, Mapping) and value == config]
    key = rf"""\s*\[\s*(["']{re.escape(name)}["']|[^"'\s])"""
    return any(re.search(rf"\b{re.escape(holder)}{key}", line) for holder in holders)
