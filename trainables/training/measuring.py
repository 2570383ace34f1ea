"""Measure the weights that count: in their place in the model, the last and each average; the better one is chosen."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch

from search.wording import shown
from trainables.training.model_state import Weights, copied, put_model
from trainables.training.randomness import read_streams, write_streams
from trainables.training.weight_averages import WeightAverages
from trainables.training.workers import Alone
from trainables.values import AVERAGED, of_last

Metrics = Mapping[str, float]
Snapshot = Mapping[str, Any]


class Measured(NamedTuple):
    """What an evaluation found."""

    metrics: Metrics  # of the chosen weights; with averages also "last_<metric>" and "averaged"
    each: Mapping[str, Metrics] = {}  # of the last weights and of each average, by name; empty without averages
    chosen: float = 0.0  # the exponent of the chosen average; 0: the last weights


class Measuring:
    """Measures `model`, which `weights` reads, by the function `measure` (None: there is none); `group`: the workers.

    `probe`: answers a policy's questions (None: `measure` does). `metric` and `mode` choose between the last weights and their averages.
    """

    def __init__(
        self, model: torch.nn.Module, weights: Weights, group: Alone, measure: Callable[[], Metrics] | None,
        probe: Callable[[], Metrics] | None, metric: str, mode: str,
    ) -> None:  # fmt: skip
        self._model, self._weights, self._group, self._measure = model, weights, group, measure
        self._probe = measure if probe is None else probe
        self._metric, self._mode = metric, mode
        self.found: Measured | None = None  # since the weights changed

    @property
    def is_possible(self) -> bool:
        """Whether there is a function to measure by."""
        return self._measure is not None

    def place(
        self,
        metrics: Metrics | Callable[[], Metrics] | None,
        snapshot: Snapshot | None,
        averages: WeightAverages | None,
    ) -> Measured:
        """The first rank's metrics at this place of the training; `snapshot`: that of an exploration.

        `metrics`: a function to measure with, or more metrics, measured already. Does not measure twice at one place.
        """
        ready = cast("Metrics", self._group.told(metrics)) if isinstance(metrics, Mapping) else {}
        if isinstance(metrics, Mapping) and averages is None:
            return Measured(ready)
        if callable(metrics) or self.found is None:
            with self.at(snapshot, averages) as found:
                self.found = self._now(found, metrics if callable(metrics) else lambda: self._kept_modes(self._measure))
        return self.found._replace(metrics={**ready, **self.found.metrics})

    def asked(self, averages: WeightAverages | None) -> Measured:
        """The first rank's metrics of the present weights, for a policy that asks."""
        return self._now(averages, lambda: self._kept_modes(self._probe))

    def _now(self, averages: WeightAverages | None, measure: Callable[[], Metrics]) -> Measured:
        return measured(averages, lambda: cast("Metrics", self._group.told(measure())), self._metric, self._mode)

    @contextlib.contextmanager
    def at(self, snapshot: Snapshot | None, averages: WeightAverages | None) -> Iterator[WeightAverages | None]:
        """A context in which the model has the weights at `snapshot` (None: its own), with their averages."""
        if snapshot is None:
            yield averages
            return
        live = self._weights.read()
        tried = copied({key: live[key] for key in ("model", "buffers")})
        put_model(self._model, snapshot["weights"])
        try:
            yield snapshot["averages"] and WeightAverages.restored(self._model, snapshot["averages"])
        finally:
            put_model(self._model, tried)

    @contextlib.contextmanager
    def chosen(self, gamma: float, snapshot: Snapshot | None, averages: WeightAverages | None) -> Iterator[None]:
        """A context in which the model has the average with this exponent; 0, or none kept: the last weights."""
        with self.at(snapshot, averages) as found:
            if found is None or gamma not in found.gammas:
                yield
            else:
                with found.swapped(gamma):
                    yield

    def refuse(
        self, metrics: Metrics | Callable[[], Metrics] | None, policy: Any, *, exploring: bool, averages: bool
    ) -> None:
        """Raise ValueError if an epoch's end has no metrics, or ready ones of the wrong weights.

        `exploring`: these are not the weights to measure. `averages`: others are to be measured, too.
        """
        if metrics is None and not self.is_possible:
            raise ValueError("control.end_epoch(): no metrics; pass them, or give Control(…, measure=evaluate).")
        if not isinstance(metrics, Mapping):
            return
        if exploring and metrics:
            raise ValueError(
                f"control.end_epoch({dict(metrics)}): {shown(policy)} is exploring, so the weights at the snapshot must be "
                "measured; pass a function, control.end_epoch(lambda: evaluate(model)), or measure within "
                "`with control.evaluating():`."
            )
        if averages and not self.is_possible:
            raise ValueError(
                f"control.end_epoch({dict(metrics)}): {shown(policy)} keeps averages of the weights, and each must be measured; "
                "pass a function, control.end_epoch(lambda: evaluate(model)), or give Control(…, measure=evaluate)."
            )

    def _kept_modes(self, measure: Callable[[], Metrics] | None) -> Metrics:
        """Measure, and restore each module's training or evaluation mode."""
        if measure is None:
            raise ValueError("the policy asks for metrics; pass Control(…, measure=evaluate).")
        modes = [(module, module.training) for module in self._model.modules()]
        metrics = measure()
        for module, training in modes:
            module.training = training
        return metrics


def measured(averages: WeightAverages | None, measure: Callable[[], Metrics], metric: str, mode: str) -> Measured:
    """Measure the model, and each average in its place.

    All see the same random numbers, and afterwards the streams are as after one measurement. If values are equal, or
    that of the last weights is not finite, these are chosen. Raises ValueError if `measure` does not return `metric`.
    """
    last = read_streams() if averages is not None else {}
    metrics = measure()
    if averages is None:
        return Measured(metrics)
    if metric not in metrics:
        other = next(iter(metrics), "valid_loss")
        raise ValueError(
            f"averages of the weights are kept, and the tuned metric {metric!r} chooses between them, but "
            f"{', '.join(map(repr, metrics)) or 'nothing'} was measured. Let your evaluation return {metric!r} too, or tune "
            f"what it returns: Sweep(…, {mode}imize={other!r}), in a loop without a sweep Control(…, metric={other!r})."
        )
    each, after = {"last": metrics}, read_streams()
    sign = 1 if mode == "min" else -1
    chosen, best, found = 0.0, sign * float(metrics[metric]), metrics
    for gamma in averages.gammas:
        write_streams(last)
        with averages.swapped(gamma):
            each[f"γ={gamma:g}"] = metrics = measure()
        if math.isfinite(best) and (value := sign * float(metrics[metric])) < best:
            chosen, best, found = gamma, value, metrics
    write_streams(after)
    return Measured({**found, of_last(metric): each["last"][metric], AVERAGED: chosen}, each, chosen)
