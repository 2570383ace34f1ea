"""Run the user's generator function as a training.

It is a generator function of (configuration, state) that yields its metrics after each step, and, if it can resume from
there, its state. With a state, an interruption costs only the work since the last checkpoint; without, the training
starts over, and its recorded steps stay as they are. A state consists of None, numbers, texts, bytes, lists, tuples,
sets, dicts, tensors, and NumPy's numbers and arrays; any other is reported at the first step and not saved. A first,
empty `yield` marks the end of the set-up: the random streams are restored there once more, so that drawing a new
model's first weights, which are then thrown away, does not shift them.

A function that returns, or calls `sys.exit()`, has ended by itself: after one step or more, its trial is complete.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from search.records import Config
from search.work import Ended, Notice, Progress, Reported
from trainables.contract import Policy
from trainables.execution.parents_values import ParentsValues
from trainables.scripts.names import likeliest
from trainables.training import codec
from trainables.training.attach import Unattached
from trainables.training.onednn import Guard
from trainables.training.randomness import read_streams, seed_streams, write_streams

Steps = Callable[[Config, Any, Unattached], Iterator[Any]]
"""(configuration, state or None, control) → metrics, or (metrics, state), after each step.

`state` may also be a function without arguments that returns it.
"""


class Yielding:
    """Runs `steps` as a training."""

    def __init__(
        self, steps: Steps, metric: str, config: Config, *, seed: int, until: int,
        policy: Policy[Any] | None = None, horizon: int | None = None, mode: str = "min",
        parent_config: Config | None = None,
    ) -> None:  # fmt: skip
        self.step = 0
        self.diverged = False
        self._steps, self._metric, self._config, self._until = steps, metric, config, until
        self._policy, self._horizon, self._mode, self._forked = policy, horizon or until, mode, False
        self._parent_config = parent_config
        self._parents_values: ParentsValues | None = None  # of a fork, until its first report
        self._state: Any = None
        self._seed = seed
        self._onednn = Guard()
        self._streams: dict[str, Any] | None = None  # the random streams at the step of the state
        self._is_checked = False  # whether we know that the state can be saved
        self._can_keep = True
        self._left_out: set[str] = set()  # metrics that are no numbers

    @property
    def place(self) -> tuple[int, int]:
        return self.step, 0

    def __iter__(self) -> Iterator[Progress]:
        if self._streams is None:
            seed_streams(self._seed)
        else:
            write_streams(self._streams)
        control = Unattached(
            self._policy,
            epochs=self._horizon,
            metric=self._metric,
            mode=self._mode,
            forked=self._forked,
            resumed=self._state is not None,
        )
        steps = self._steps(self._config, self._state, control)
        try:
            while self.step < self._until and not self.diverged:
                begun = time.perf_counter()
                try:
                    with self._onednn:
                        told = self._next(steps) if self._parents_values is None else self._forks_first(steps)
                except _Ended as end:
                    yield Ended(step=self.step, text=str(end))
                    return
                seconds, streams = time.perf_counter() - begun, read_streams()
                decisions = control.take()
                before = [decision for decision in decisions if decision.step <= self.step]
                yield from before  # decisions come before the report of their epoch
                report = self._report(told, seconds, streams)
                if not self._is_checked and (problem := self._check_state()):
                    yield Notice(step=self.step, text=problem, once=True)
                if problem := self._check_metrics(told):
                    yield Notice(step=self.step, text=problem, once=True)
                yield report  # after which the trial may be stopped, and saved
                yield from decisions[len(before) :]
        finally:
            if hasattr(steps, "close"):
                steps.close()  # so that everything it started ends with it

    def _forks_first(self, steps: Iterator[Any]) -> Any:
        """A fork's first item. Raises ValueError if it was trained with values of the parent's configuration."""
        assert self._parents_values is not None
        with self._parents_values.watched():
            told = self._next(steps)
        self._parents_values.refuse()
        self._parents_values = None
        return told

    def _next(self, steps: Iterator[Any]) -> Any:
        """The training's next item."""
        try:
            told = next(steps)
            if told is None:
                if self._streams is not None:
                    write_streams(self._streams)
                told = next(steps)
        except StopIteration:
            raise self._end("the training returned") from None
        except SystemExit as leaving:
            if leaving.code not in (None, 0):
                raise
            raise self._end(f"the training left by sys.exit({'' if leaving.code is None else leaving.code})") from None
        return told

    def _report(self, told: Any, seconds: float, streams: dict[str, Any]) -> Reported:
        metrics, self._state = told if isinstance(told, tuple) else (told, None)
        self._streams = streams
        self.step += 1
        metrics = _checked(metrics, self._metric, self.step)
        self.diverged = not math.isfinite(metrics[self._metric])
        return Reported(self.step, metrics, seconds)

    def _check_metrics(self, told: Any) -> str:
        """Which metrics are not recorded, as they are no numbers; "" if it is none, or known. None means: not measured."""
        metrics = told[0] if isinstance(told, tuple) else told
        new = {
            str(name): _kind(value)
            for name, value in metrics.items()
            if value is not None and str(name) not in self._left_out and _number(value) is None
        }
        self._left_out |= new.keys()
        named = ", ".join(f"{name} ({kind})" for name, kind in new.items())
        return f"no single numbers, and so not recorded: {named}; yield each as a float" if new else ""

    def _end(self, how: str) -> Exception:
        """The exception for a training that ended by itself; before its first step that is a failure."""
        if not self.step:
            return RuntimeError(f"the training ended before its first report: {how}")
        return _Ended(how)

    def _check_state(self) -> str:
        """Why the state cannot be saved, "" if it can; found at the first state, before a checkpoint is due."""
        if self._state is None:
            return ""
        self._is_checked = True
        try:
            codec.check(_plain(self._state() if callable(self._state) else self._state))
        except Exception as error:
            self._can_keep = False
            return (
                f"no checkpoints, so an interruption starts a trial over: {error}; of another object yield pickle.dumps(it), and "
                "pickle.loads() it when the training starts"
            )
        return ""

    def state(self) -> dict[str, Any]:
        state = self._state() if callable(self._state) and self._can_keep else self._state
        if not self._can_keep:
            state = None
        return {
            "step": 0 if state is None else self.step,  # without a state the training starts over
            "state": _plain(state),
            "streams": None if state is None else self._streams,
            "threads": torch.get_num_threads(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.step, self._state, self._streams = state["step"], state["state"], state["streams"]
        torch.set_num_threads(state["threads"])

    def fork(self, state: dict[str, Any]) -> None:
        """Raises ValueError if the parent saved no state."""
        if state["state"] is None:
            raise ValueError("a fork needs the parent's state; yield (metrics, state) after each step.")
        self.load(state)
        self._forked = True
        if self._parent_config is not None and self._policy is None:  # a policy sets the values itself
            self._parents_values = ParentsValues(self._config, self._parent_config, self._state)


class _Ended(Exception):
    """The training ended by itself, before its last step."""


def _checked(metrics: Any, metric: str, step: int) -> dict[str, float]:
    """The numeric metrics, as plain floats. Raises ValueError if the tuned one is not among them."""
    if not isinstance(metrics, Mapping) or metric not in metrics:
        near = likeliest(metric, [str(name) for name in metrics]) if isinstance(metrics, Mapping) else None
        hint = f" Did you mean {near!r}?" if near else ""
        raise ValueError(f"step {step} yielded {metrics!r}; it must be a dict with the tuned metric {metric!r}.{hint}")
    value = _number(metrics[metric])
    if value is None:
        raise ValueError(
            f"step {step} yielded {metric}={metrics[metric]!r}, {_kind(metrics[metric])}; it must be one number: "
            f"yield {{{metric!r}: float(…)}}."
        )
    others = {str(name): _number(other) for name, other in metrics.items()}
    return {name: other for name, other in others.items() if other is not None} | {metric: value}


def _number(value: Any) -> float | None:
    """A number, or an array or a tensor of one element, as a float; None for all else, texts included."""
    if value is None or isinstance(value, (str, bytes, bytearray)):
        return None
    try:
        return float(value.item() if getattr(value, "shape", ()) and hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor with several elements
        return None


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"a {kind}" if shape is None else f"a {kind} of shape {tuple(shape)}"


def _plain(value: Any) -> Any:
    """A copy with plain dicts for other mappings (a state_dict is an OrderedDict), as checkpoints need them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value
