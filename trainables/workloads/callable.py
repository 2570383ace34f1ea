"""Your own training function, or a module in Lightning's style, as something that can be tuned.

    def train(config, state):
        model, step = MyModel(config["width"]), 0
        if state:
            model.load_state_dict(state["model"])
            step = state["step"]
        yield
        for step in range(step, 20):
            loss = one_epoch(model, config["learning_rate"])
            yield {"loss": loss}, {"model": model.state_dict(), "step": step + 1}

    Sweep(workload=FromFunction(train, metric="loss", mode="min", horizon=20), ...)

Yield only the metrics, and a training that was interrupted starts over. Yield a function that gives the state, and it
is asked only when a checkpoint is due. Torch's, NumPy's and Python's random streams are seeded for each trial and
restored where the empty `yield` stands (it may be left out: then before the function begins). `FromFunction(Fit(make_module), ...)` trains what `make_module(config)` returns: an object with
`train_dataloader`, `training_step`, `configure_optimizers`, `val_dataloader` and a `validation_step` that returns a dict.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from search.trial import Config
from search.work import Assignment

if TYPE_CHECKING:
    from trainables.run import Run


@dataclass(frozen=True, repr=False)
class FromFunction:
    """`train(config, state)` yields metrics, or (metrics, state), `horizon` times.

    `test(config, state)`, if given, answers the metrics on data that no decision has seen, of a state that was yielded.
    """

    train: Callable[[Config, Any], Iterator[Any]]
    metric: str
    mode: str
    horizon: int
    metrics: tuple[str, ...] = ()  # all that are yielded, if there are more than the tuned one
    baseline: Mapping[str, Any] | None = None
    test_with: Callable[[Config, Any], Mapping[str, float]] | None = None

    takes_policy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (inspect.isgeneratorfunction(self.train) or inspect.isgeneratorfunction(type(self.train).__call__)):
            raise ValueError(
                f"FromFunction(train={self.train!r}): must be a generator function; "
                "yield the metrics, or (metrics, state), after each step."
            )
        if self.metric not in (self.metrics or (self.metric,)):
            raise ValueError(f"FromFunction(metrics={self.metrics!r}): must contain the tuned metric {self.metric!r}.")
        object.__setattr__(self, "metrics", self.metrics or (self.metric,))

    def __repr__(self) -> str:
        name = getattr(self.train, "__qualname__", repr(self.train))
        return f"FromFunction({name}, metric={self.metric!r}, mode={self.mode!r}, horizon={self.horizon})"

    def prepare(self, folder: Path) -> None:
        """Nothing is shared."""

    def run(self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> Run:
        """Raises ValueError for a policy: it could not reach the knobs."""
        from trainables.run import Run
        from trainables.yielding import Yielding

        if policy is not None:
            raise ValueError(f"{self!r} turns its own knobs; leave out Sweep(policy={policy!r}).")
        return Run(
            lambda: Yielding(
                self.train, self.metric, assignment.config, seed=assignment.seed, until=assignment.until
            ),
            assignment,
            should_pause,
        )  # fmt: skip

    def test(self, assignment: Assignment) -> Mapping[str, float]:
        if self.test_with is None:
            return {}
        from trainables.run import saved

        return self.test_with(assignment.config, saved(assignment)["state"])


@dataclass(frozen=True)
class Fit:
    """The shortest training loop over a module in Lightning's style: an epoch, then the validation, again and again."""

    make: Callable[[Config], Any]

    def __repr__(self) -> str:
        return f"Fit({self.make.__qualname__})"

    def __call__(self, config: Config, state: Any) -> Iterator[Any]:
        import torch

        module = self.make(config)
        optimizer = module.configure_optimizers()
        if state is not None:
            module.load_state_dict(state["module"])
            optimizer.load_state_dict(state["optimizer"])
        yield None
        while True:
            module.train()
            for index, batch in enumerate(module.train_dataloader()):
                optimizer.zero_grad()
                module.training_step(batch, index).backward()
                optimizer.step()
            module.eval()
            with torch.no_grad():
                found = [module.validation_step(batch, index) for index, batch in enumerate(module.val_dataloader())]
            means = {name: float(sum(float(each[name]) for each in found) / len(found)) for name in found[0]}
            yield means, lambda: {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
