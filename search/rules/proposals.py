"""Turn a searcher's draw into a suggestion: allowed, not yet known, and with its true origin.

A searcher may draw a configuration that breaks a constraint or repeats a trial. Then it draws a few more times, with
other seeds; after that a feasible random configuration replaces it, marked "fallback", with the reason as evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from search.contract import derived_seed
from search.domain.feasible import LISTABLE
from search.history import History
from search.records import Suggestion, start
from search.space import Space
from search.task import FULL

BELIEVED = 0.5  # share of the initial configurations drawn from the priors; the others guard against a wrong prior
EVENLY = 4  # one in so many bracketed configurations is drawn evenly: the best value may be at an end of its range
MANY = 128  # configurations: by then the middle has been searched, and only one in four still comes from there
ALL_KNOWN = "every configuration is known"  # how the evidence begins where nothing new is left to draw
DRAWS = 20  # random draws for an unknown configuration; then list a finite space
NUMERICAL = (ArithmeticError, ValueError, RuntimeError)  # raised by a model on data that it cannot fit


def propose(
    history: History,
    draw: Callable[[int], dict[str, Any]],
    *,
    origin: str = "model",
    evidence: str = "",
    attempts: int = 5,
) -> Suggestion:
    """The first `draw(seed)` of a few seeds that is in the space and unknown; otherwise a random configuration."""
    reason = ""
    for attempt in range(attempts):
        try:
            config = draw(derived_seed(history.seed, len(history), attempt))
        except NUMERICAL as error:
            reason = f"the model failed with {type(error).__name__}: {error}"
            break
        objection = _objection(history, config)
        if objection is None:
            return start(history.space.check(config), origin=origin, evidence=evidence)
        reason = f"{attempts} proposals were refused, the last because {objection}"
    return start(_unknown(history)[0], origin="fallback", evidence=f"random, because {reason}")


def propose_random(
    history: History, *, origin: str = "random", evidence: str = "", bracketed: bool = False
) -> Suggestion:
    """A random configuration, unknown if any is left; an "initial" one may be drawn from the space's priors.

    `bracketed`: prefer the middle of the logarithmic ranges, see `is_bracketed`.
    """
    believed = BELIEVED if origin == "initial" and history.space.has_priors else 0.0
    config, is_new = _unknown(history, believed, bracketed and is_bracketed(len(history.trials)))
    if not is_new:
        return start(config, origin="fallback", evidence=f"{ALL_KNOWN}; this repeats one")
    return start(config, origin=origin, evidence=evidence)


def is_bracketed(number: int) -> bool:
    """Whether configuration `number` comes from the middle of the logarithmic ranges, see `Space.sample`.

    Three in four of the first 128 do, and one in four later.
    """
    return number % EVENLY != EVENLY - 1 if number < MANY else number % EVENLY == 0


def refuse_for_model(title: str, space: Space) -> None:
    """Raise ValueError if `space` has nothing for a model to search, or if BoTorch is not installed."""
    if not space.coordinates:
        raise ValueError(f"{title}(): every parameter of the space is fixed, there is nothing to search.")
    if find_spec("botorch") is None:
        raise ValueError(
            f"{title}(): its model needs botorch, which is not installed; pip install botorch "
            "(Python 3.11 or later), or use Tpe()."
        )


def _objection(history: History, config: dict[str, Any]) -> str | None:
    objection = history.space.why_not(config)
    if objection is None and history.space.is_finite and (twin := history.known(config)) is not None:
        return f"trial {twin.number} is the same"
    return objection


def _unknown(history: History, believed: float = 0.0, bracketed: bool = False) -> tuple[dict[str, Any], bool]:
    """A random configuration, and whether it is unknown; a continuous space never repeats itself.

    It depends on the seed, the number of the trial to be and the configurations before it, not on what has been reported:
    so trial 7 is the same with one worker and with eight, under any scheduler, and after any kill.

    Configurations of earlier sweeps come last: with the same seed their draws would return, and teach nothing new.
    With probability `believed` it is drawn from the space's priors.
    """
    space = history.space
    rng = np.random.default_rng(derived_seed(history.seed, "random", len(history.trials)))
    for _ in range(DRAWS):
        is_believed = believed and rng.random() < believed
        config = space.sample_prior(rng) if is_believed else space.sample(rng, bracketed=bracketed)
        if (not space.is_finite or history.known(config) is None) and not _is_avoided(history, config):
            return config, True
    if space.size <= LISTABLE:
        unknown = [config for config in space.grid(LISTABLE) if history.known(config) is None]
        if unknown:
            return unknown[int(rng.integers(len(unknown)))], True
    return config, not space.is_finite


def _is_avoided(history: History, config: dict[str, Any]) -> bool:
    """Whether an earlier sweep has started this configuration, on any task, and is to be avoided."""
    avoided = [earlier for earlier in history.earlier if earlier.is_avoided]
    return any(earlier.known(config, name) for earlier in avoided for name in (FULL, *(t.name for t in earlier.tasks)))
