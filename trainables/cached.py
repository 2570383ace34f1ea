"""Lets functions under `functools.lru_cache` or `functools.cache` go to other processes.

Pickle stores them by name, as the function of a module. A script's own functions have no module there: `__main__` is
another program in a worker, which then "can't get attribute 'data'". So a pickler that stores functions by value is told
to store those of `__main__` with the function that they wrap; the copy begins with an empty cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cloudpickle

_Cached = type(functools.lru_cache(len))


def cached_again(function: Callable[..., Any], settings: dict[str, Any]) -> Any:
    """The function under a cache of its own. `settings`: `maxsize` and `typed`."""
    return functools.lru_cache(**settings)(function)


def _reduced(cached: Any) -> Any:
    if cached.__module__ not in ("__main__", *cloudpickle.list_registry_pickle_by_value()):
        return cached.__qualname__  # by name, as always
    return cached_again, (cached.__wrapped__, cached.cache_parameters())


def store_by_value(pickler: Any) -> None:
    """Tell a class of picklers, that of cloudpickle or Ray's own copy of it."""
    pickler.dispatch_table[_Cached] = _reduced
