"""Parameters as Optuna and Ray Tune write them, and what to write here; `explained` does so for any wrong call."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from search.domain.scalars import is_number, is_whole

P = ParamSpec("P")
R = TypeVar("R")
FORMS = {
    "Space": 'Space({"lr": loguniform(1e-5, 0.1)}), and rules as a second dict: {"small": lambda config: config["lr"] < 0.01}',
    "prior": ".prior(0.1, confidence=0.5)",
    "when": 'when(uniform(0, 1), optimizer="sgd")',
}
LONGEST = 60  # characters of an argument in a message


def explained(make: Callable[P, R]) -> Callable[P, R]:
    """The function or method, whose TypeError for wrong arguments says what to write instead."""
    signature = inspect.signature(make)
    is_method = "self" in signature.parameters
    name = make.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(make)
    def called(*args: P.args, **settings: P.kwargs) -> R:
        try:
            signature.bind(*args, **settings)
        except TypeError as error:
            own = args[1:] if is_method else args
            given = ", ".join([*map(_brief, own), *(f"{key}={_brief(value)}" for key, value in settings.items())])
            form = FORMS.get(name, f"{name}{signature_in_words(signature)}")
            remedy = _remedy(name, own, settings) or f"{error}; write {form}"
            raise TypeError(f"{name}({given}): {remedy}.") from None
        return make(*args, **settings)

    return called


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def signature_in_words(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def foreign(value: object) -> str | None:
    """What to write in place of a parameter of Ray Tune or Optuna; None if `value` is neither."""
    kind = type(value)
    if isinstance(value, Mapping) and list(value) == ["grid_search"]:
        return (
            f"that is Ray Tune's grid_search; write choice({value['grid_search']!r}), with searcher=Grid() in the Sweep"
        )
    if kind.__module__.startswith("ray.tune"):
        title, call = _of_ray(value)
        return f"that is Ray Tune's {title}; write {call}"
    if kind.__module__.startswith("optuna.distributions"):
        return f"that is Optuna's {kind.__name__}; write {_of_optuna(value)}"
    return None


def _of_ray(value: Any) -> tuple[str, str]:
    """Its name there, and the call here."""
    if hasattr(value, "categories"):
        return "choice", f"choice({list(value.categories)!r})"
    if not hasattr(value, "lower"):
        return "sample_from", "the parameters that it uses, and compute the value in the training"
    step = getattr(value.sampler, "q", None)
    sampler = value.sampler if step is None else value.sampler.sampler
    if not math.isfinite(value.lower) or not math.isfinite(value.upper):
        return "randn", "uniform(low, high).prior(mean), with the lowest and the highest value to try"
    is_log, is_int = "Log" in type(sampler).__name__, type(value).__name__ == "Integer"
    title = f"{'q' * (step is not None)}{_title(is_log, is_int)}"
    high = value.upper - 1 if is_int and step is None else value.upper  # Ray leaves out the upper end of integers
    return title, _range(value.lower, high, is_log, is_int, step)


def _of_optuna(value: Any) -> str:
    if hasattr(value, "choices"):
        return f"choice({list(value.choices)!r})"
    is_int = type(value).__name__.startswith("Int")
    step = None if is_int and value.step == 1 else value.step
    return _range(value.low, value.high, value.log, is_int, step)


def _title(is_log: bool, is_int: bool) -> str:
    return f"{'log' * is_log}{'randint' if is_int else 'uniform'}"


def _range(low: Any, high: Any, is_log: bool, is_int: bool, step: Any = None) -> str:
    """The call for a range of numbers; with a step a choice of them, which has no log scale."""
    if step is not None and is_log:
        return f"{_range(low, high, is_log, is_int)}, and round it to multiples of {_short(step)} in the training"
    if step is None or not is_number(low) or not is_number(high) or not is_number(step) or step <= 0:
        return f"{_title(is_log, is_int)}({_short(low)}, {_short(high)})"
    if all(is_whole(each) for each in (low, high, step)):
        return f"choice(list(range({int(low)}, {int(high) + 1}, {int(step)})))"
    many = math.floor((high - low) / step + 1e-9) + 1
    return f"choice([round({_short(low)} + {_short(step)} * i, 9) for i in range({many})])"


def _short(number: object) -> str:
    return f"{number:g}" if isinstance(number, float) else repr(number)


def _remedy(name: str, args: tuple[Any, ...], settings: Mapping[str, Any]) -> str:
    """What to write in place of a call; "" if nobody can tell."""
    if name == "when":
        return f"a condition is the name of another parameter with its value; write {FORMS[name]}, and other rules as constraints"
    if name == "Space" and settings and not args:
        return f"it takes a dict; write Space({{{', '.join(f'{key!r}: …' for key in settings)}}})"
    if name in FORMS:
        return ""
    if name == "choice":
        options = args or tuple(settings.values())
        return f"it takes one list; write choice({list(options)!r})" if len(args) > 1 else ""
    if args and isinstance(args[0], str):
        return f"the name stands in the Space; write {{{args[0]!r}: {name}(…)}}"
    ends = dict(zip(("low", "high"), args, strict=False)) | dict(settings)
    low, high = (ends.get(each, ends.get(other)) for each, other in (("low", "lower"), ("high", "upper")))
    if low is None or high is None or len(args) > 2 or name == "pow2":
        return ""
    is_log, is_int = name.startswith("log") or bool(settings.get("log")), "int" in name
    step = settings.get("step", settings.get("q"))
    if step is not None and not (is_int and step == 1):
        return f"it has no step; write {_range(low, high, is_log, is_int, step)}"
    if set(settings) <= {"low", "high", "lower", "upper", "log", "step", "q", "base"}:
        return f"write {_range(low, high, is_log, is_int)}"
    return ""
