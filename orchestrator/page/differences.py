"""What differs between the descriptions of several sweeps: only the settings that differ, each as its script has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.definition.differing import call_of
from orchestrator.page.health.ranges import defined

LEFT_OUT = ("name", "seed", "files", "trains_on", "space", "tasks")  # of their own, or told in another way
NONE = "–"


@dataclass(frozen=True)
class Difference:
    """A setting and its value in each group; several values within a group are listed."""

    setting: str
    values: tuple[str, ...]


def differences(groups: Sequence[Sequence[Mapping[str, Any]]]) -> list[Difference]:
    """`groups`: the descriptions of each group's runs. Seeds and names are no differences."""
    flat = [[_flat(about) for about in group] for group in groups]
    names = dict.fromkeys(name for group in flat for about in group for name in about)
    found = []
    for name in names:
        values = [list(dict.fromkeys(about.get(name, NONE) for about in group)) for group in flat]
        if len({value for group in values for value in group}) > 1:
            found.append(Difference(name, tuple(" or ".join(group) for group in values)))
    return _classes_first(found)


def _flat(about: Mapping[str, Any]) -> dict[str, str]:
    """Setting → text. A searcher Tpe(a=1) becomes searcher: Tpe and searcher.a: 1."""
    flat: dict[str, str] = {}
    for name, value in about.items():
        if name in LEFT_OUT:
            continue
        if isinstance(value, str) and (call := call_of(value)) is not None:
            flat[name] = call[0]
            flat |= {f"{name}.{argument}": text for argument, text in call[1].items()}
        elif isinstance(value, Mapping):
            flat |= {f"{name}.{key}": _shown(each) for key, each in value.items()}
        else:
            flat[name] = NONE if value in (None, [], "") else _shown(value)
    flat.pop("workload.horizon", None)  # told as the horizon
    flat |= {f"space: {name}": defined(each) for name, each in about["space"]["parameters"].items()}
    flat |= {f"constraint: {name}": "yes" for name in about["space"].get("constraints", ())}
    flat |= {f"task: {task['name']}": f"cost {task['cost']:g}" for task in about.get("tasks", ())}
    return flat


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _classes_first(found: list[Difference]) -> list[Difference]:
    """Without the arguments of settings whose classes differ: they have nothing in common."""
    other = {each.setting for each in found}
    return [each for each in found if each.setting.partition(".")[0] not in other or "." not in each.setting]
