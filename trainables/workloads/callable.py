"""Tune your own training function: one that reports, or one that yields.

A plain function of the configuration calls `report` wherever it has the numbers: in a loop, a callback, a Trainer. Each
trial is a process of its own, so no trial affects another; after an interruption it resumes from the checkpoint that it
reported:

    def train(config):
        model, first = MyModel(config["width"]), 1
        if (checkpoint := resumed_from()) is not None:
            ...
        for epoch in range(first, 21):
            ...
            torch.save(..., path)
            if not report(epoch, loss=loss, checkpoint=path):
                break

    Sweep(workload=FromFunction(train, metric="loss", mode="min", horizon=20), ...)

A function that only has a result may return it, a number or a dict of metrics: it counts as the report of its last step.

A generator function of (configuration, state) yields its metrics and its state. Its trials share warm processes, which
suits short trainings, and the worker saves the yielded state:

    def train(config, state):
        model, step = MyModel(config["width"]), 0
        if state:
            model.load_state_dict(state["model"])
            step = state["step"]
        yield
        for step in range(step, 20):
            loss = one_epoch(model, config["learning_rate"])
            yield {"loss": loss}, {"model": model.state_dict(), "step": step + 1}

A third parameter named `control` receives the sweep's policy; attach it to the model and its optimizer
(`trainables.training.attach` shows a whole function). Sweep(policy=…) works with such a generator only.

If you yield only the metrics (the function may then take the configuration alone), an interrupted training starts over.
If you yield a function that returns the state, the worker calls it only when a checkpoint is due. Each trial gets its
own seed for the random streams of torch, NumPy and Python. For a generator they are restored at the empty `yield`, or,
if it has none, before the function begins. A function that seeds them itself, with a fixed number, trains copies where
the sweep asks for finalists on fresh seeds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from search.records import Config
from search.wording import shown
from search.work import FUNCTIONS, SCRIPT, Assignment
from trainables.contract import OwnTraining
from trainables.execution import call
from trainables.execution.foreign_functions import expects_a_trial

if TYPE_CHECKING:
    from search.space import Space
    from trainables.execution.run import Run
    from trainables.scripts.run import ScriptRun

Train = Callable[[Config], Any] | Callable[[Config, Any], Iterator[Any]] | Callable[[Config, Any, Any], Iterator[Any]]


@dataclass(frozen=True, repr=False)
class FromFunction(OwnTraining):
    """Tunes `train`: `train(config)` calls `report` at rising steps or returns its result, or `train(config, state)` yields
    `horizon` times.

    `test_with(config, state)`, if given, returns the metrics on data that no decision used, for a yielded state or for
    the path of a reported checkpoint.

    >>> def train(config, state):
    ...     for step in range(3):
    ...         yield {"loss": config["x"] / (step + 1)}
    >>> workload = FromFunction(train, metric="loss", mode="min", horizon=3)
    """

    train: Train
    metric: str
    mode: str
    horizon: int
    metrics: tuple[str, ...] = ()  # all metrics of `train`, if there are more than the tuned one
    baseline: Mapping[str, Any] | None = None
    test_with: Callable[[Config, Any], Mapping[str, float]] | None = None

    policy_remedy = (
        "write a generator that takes it, def train(config, state, control), and attach the control to your model and "
        "optimizer; or leave out policy."
    )

    def __post_init__(self) -> None:
        if not callable(self.train):
            raise ValueError(f"FromFunction(train={self.train!r}): must be a function of the configuration.")
        call.modules_go_by_name()
        wrong = _problem(self.train)
        if wrong:
            raise ValueError(f"FromFunction(train={_name(self.train)}): {wrong}")
        if self.metric not in (self.metrics or (self.metric,)):
            raise ValueError(f"FromFunction(metrics={self.metrics!r}): must contain the tuned metric {self.metric!r}.")
        object.__setattr__(self, "metrics", self.metrics or (self.metric,))

    def __repr__(self) -> str:
        return f"FromFunction({_name(self.train)}, metric={self.metric!r}, mode={self.mode!r}, horizon={self.horizon})"

    def check_space(self, space: Space) -> None:
        """Refuse a function whose first parameter is one of the space's: it would get the whole configuration there."""
        first = next((each.name for each in _positional(self.train) or ()), "config")
        if first in space.names and first != "config":
            raise ValueError(
                f"{_name(self.train)} takes {inspect.signature(self.train)}, and its first parameter has the name of a parameter "
                f"of the space: it gets the whole configuration there, not {first!r}; {_spread(self.train)}."
            )

    @property
    def forks(self) -> bool:  # type: ignore[override]
        """Whether a trial can fork from another: from a yielded state, or a reported checkpoint."""
        return not _yields(self.train) or _takes_state(self.train)

    why_no_forks = "takes no state to go on from"

    @property
    def has_own_process(self) -> bool:  # type: ignore[override]
        """Whether each trial is a process of its own: that of a function that reports."""
        return not _yields(self.train)

    @property
    def takes_policy(self) -> bool:  # type: ignore[override]
        """Whether a policy can reach the knobs: only a generator that takes `control` can attach it to them."""
        return _yields(self.train) and _takes_control(self.train)

    def run(
        self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None
    ) -> Run | ScriptRun:
        """Raises ValueError for a policy that cannot reach the knobs."""
        if policy is not None and not self.takes_policy:
            raise ValueError(
                f"{self!r} sets its own learning rate and batch size, so {shown(policy)} cannot change them; {self.policy_remedy}"
            )
        if _yields(self.train):
            return self._run_here(policy, assignment, should_pause)
        from trainables.scripts.channels import Program
        from trainables.scripts.run import ScriptRun

        def arguments(config: Config, _: Mapping[str, Any]) -> list[str]:
            """Write the function to a file and return the command that runs it."""
            path, shared = assignment.folder / "train.pickle", assignment.folder
            if assignment.prepared is not None and assignment.prepared.parent in assignment.folder.parents:
                shared = assignment.prepared.parent  # the run's; a replay, in another place, leaves it as it is
            call.write(path, shared / FUNCTIONS, self.train, config, self.metric, self.horizon)
            return call.command(path)

        program = Program(self.metric, self.metrics, self.horizon, arguments, reports=True)
        return ScriptRun(program, assignment, should_pause)

    def _run_here(self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None) -> Run:
        from trainables.execution.generator import Yielding
        from trainables.execution.run import Run

        return Run(
            lambda: Yielding(
                self._steps, self.metric, assignment.config, seed=assignment.seed, until=assignment.until,
                policy=policy, horizon=self.horizon, mode=self.mode, parent_config=assignment.parent_config,
            ),
            assignment,
            should_pause,
        )  # fmt: skip

    def test(self, assignment: Assignment) -> Mapping[str, float]:
        if self.test_with is None:
            return {}
        if not _yields(self.train):
            from trainables.scripts.trial_folder import TrialFolder

            found = TrialFolder(assignment.folder / SCRIPT).checkpoint(assignment.recorded)
            return self.test_with(assignment.config, found)
        from trainables.execution.run import saved

        return self.test_with(assignment.config, saved(assignment)["state"])

    def _steps(self, config: Config, state: Any, control: Any) -> Iterator[Any]:
        train: Any = self.train
        more = {"control": control} if _takes_control(train) else {}
        if _takes_state(train):
            return cast("Iterator[Any]", train(config, state, **more))
        return self._starting_over(train(config, **more))

    def _starting_over(self, steps: Any) -> Generator[Any]:
        """The steps of a generator of the configuration alone, which cannot take a state."""
        try:
            for told in steps:
                if isinstance(told, tuple):
                    raise ValueError(
                        f"{_name(self.train)} yields a state but takes none to resume from; write def train(config, state)."
                    )
                yield told
        finally:
            steps.close()


def _name(train: Any) -> str:
    """A lambda or partial has no name; the address in its `repr` tells the record to look closer."""
    name = getattr(train, "__qualname__", "<lambda>")
    return repr(train) if name.endswith("<lambda>") else str(name)


def _yields(train: Any) -> bool:
    """Whether it is a generator function, beneath partials and decorators, or an object whose __call__ is one."""
    while isinstance(train, functools.partial):
        train = train.func
    return any(map(inspect.isgeneratorfunction, (inspect.unwrap(train), vars(type(train)).get("__call__"))))


def _is_async(train: Any) -> bool:
    """Whether a call of it returns a coroutine or an asynchronous generator."""
    while isinstance(train, functools.partial):
        train = train.func
    forms = (inspect.unwrap(train), vars(type(train)).get("__call__"))
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in forms)


def _positional(train: Any) -> list[inspect.Parameter] | None:
    """The parameters that accept positional arguments; None if it takes any number, or has no signature."""
    try:
        parameters = inspect.signature(train).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return None
    return [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def _takes_state(train: Any) -> bool:
    """Whether it has a state. A second parameter with a default must be named so: `data=data` binds something else."""
    parameters = _positional(train)
    if parameters is None:
        return True
    second = parameters[1] if len(parameters) > 1 else None
    return (
        second is not None and second.name != "control" and (second.default is second.empty or second.name == "state")
    )


def _takes_control(train: Any) -> bool:
    """Whether it has a parameter `control` at any place that no default or partial has bound already."""
    try:
        found = inspect.signature(train).parameters.get("control")
    except (TypeError, ValueError):
        return False
    return (
        found is not None
        and found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)
        and found.default is found.empty
    )


def _problem(train: Any) -> str | None:
    """Why a worker could not call it with (config), or a generator with (config, state); None if it could."""
    if _is_async(train):
        return "is async, and nothing awaits it; write def, and call asyncio.run(…) inside for what must be awaited."
    parameters = _positional(train)
    if parameters is None:
        return None
    signature = inspect.signature(train)
    required = [each.name for each in parameters if each.default is each.empty]
    named = [
        each.name
        for each in signature.parameters.values()
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    ]
    if not parameters:
        return f"takes {signature}; it must take the configuration: def train(config)."
    if len(required) == 1 and (objection := expects_a_trial(train, required[0])):
        return objection
    if not _yields(train) and required[1:] == ["state"]:
        return (
            f"takes {signature} and yields nothing; yield the metrics, or (metrics, state), after each step, "
            "or take only the configuration and call report(step, valid_loss=…)."
        )
    if not _yields(train) and _takes_control(train):
        return (
            f"takes {signature} and yields nothing; only a generator gets a control: yield the metrics after each step."
        )
    extra = [
        name for name in required[2 if _yields(train) and _takes_state(train) else 1 :] + named if name != "control"
    ]
    if extra:
        return (
            f"takes {signature}, but nothing provides {extra[0]!r}; bind it: functools.partial(train, {extra[0]}=…). If it is a "
            f"parameter of the space, {_spread(train)}."
        )
    return None


def _spread(train: Any) -> str:
    """How to hand a function its parameters by name."""
    if _yields(train):
        return "give the sweep def by_name(config): yield from train(**config)"
    return "write lambda config: train(**config)"
