"""Find the parameters that a workload and a policy read: tuning any others would be useless.

The methods that take the configuration get one that records each parameter read. A model may be large, so one is built
only for parameters that nothing else has read, and only if the code of `model` uses the configuration at all. (Not on
torch's meta device: workloads keep data between calls, which would then be empty.)
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from search.records import Config

if TYPE_CHECKING:
    from trainables.contract import Workload

BUILT = 20  # most models to build, for parameters that are read only beside certain values of others


def asked_for(
    workload: Workload, policy_for: Callable[[Config], Any], configs: Sequence[Config], names: set[str]
) -> set[str] | None:
    """All names read, at least until `names` are among them; None if some of `names` remain unknown."""
    asked: set[str] = set()
    try:
        for config in configs:
            if names <= asked:
                return asked
            watched = Watched(config, asked)
            workload.knobs(watched)
            workload.clip_norm(watched)
            workload.cost_seconds(watched, 1)
            policy_for(watched)
        for config in [config for config in configs if not (names & set(config)) <= asked][:BUILT]:
            if not names <= asked:
                _build(workload, Watched(config, asked))
    except Exception:  # the training will raise the same error; or it needs files that are not prepared yet
        return None if not names <= asked else asked
    return asked


def _build(workload: Workload, config: Watched) -> None:
    uses_optimizer, uses_model = _uses_config(workload.optimizer), _uses_config(workload.model)
    if not (uses_optimizer or uses_model):
        return
    import torch

    with torch.random.fork_rng(devices=[]):
        if uses_optimizer and not uses_model:
            try:  # most optimisers take any model
                workload.optimizer(torch.nn.Linear(2, 2), config)
                return
            except Exception:
                pass
        workload.optimizer(workload.model(config, None), config)


def _uses_config(method: Callable[..., Any]) -> bool:
    """False only if the code cannot read its argument `config`."""
    function = inspect.unwrap(method)
    code = getattr(function, "__code__", None)
    if code is None or "config" not in code.co_varnames:
        return True
    loads = (each for each in dis.get_instructions(code) if each.opname != "STORE_FAST")
    return any("config" in (each.argval if isinstance(each.argval, tuple) else (each.argval,)) for each in loads)


class Watched(dict[str, Any]):
    """A configuration that records each name read; iterating over it reads all names."""

    def __init__(self, config: Config, asked: set[str]) -> None:
        super().__init__(config)
        self.asked = asked

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._all()
        return super().__iter__()

    def keys(self) -> Any:
        return self._all().keys()

    def values(self) -> Any:
        return self._all().values()

    def items(self) -> Any:
        return self._all().items()

    def copy(self) -> dict[str, Any]:
        return self._all()

    def __or__(self, other: Any) -> Any:
        return self._all() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._all()

    def _all(self) -> dict[str, Any]:
        self.asked.update(super().__iter__())
        return {name: super(Watched, self).__getitem__(name) for name in super().__iter__()}
