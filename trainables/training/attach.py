"""The `control` that a sweep passes to `train(config, state, control)`: a policy that waits for model and optimizer.

def train(config, state, control):
    model, optimizer = …
    control = control.attach(model, optimizer, batch_size=config["batch_size"], samples=len(data))
    if state:
        …  # model and optimizer first
        control.load_state_dict(state["control"])
    while not control.done:
        for inputs, targets in batches(control.batch_size):
            control.update(step(model, optimizer, inputs, targets), len(inputs))
        metrics = control.end_epoch(lambda: {"valid_loss": evaluate(model)})
        yield metrics, {…, "control": control.state_dict()}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from search.wording import shown
from search.work import Decision
from trainables.contract import Policy
from trainables.training.control import Control
from trainables.training.data_order import DataOrder


class Unattached:
    """`policy` (None: the knobs stay as they are) for a training of `epochs` epochs that tunes `metric` towards its `mode`.

    `forked`: the loaded state belongs to another trial; this trial's policy starts afresh on its weights. `resumed`: the
    training goes on from a state, so the control must do so too. Once attached, it is used like the control itself.
    """

    def __init__(
        self, policy: Policy[Any] | None, *, epochs: int, metric: str, mode: str = "min", forked: bool = False,
        resumed: bool = False,
    ) -> None:  # fmt: skip
        self.policy, self._mode = policy, mode
        self._epochs, self._metric, self._forked, self._resumed = epochs, metric, forked, resumed
        self._control: Control | None = None

    def __getattr__(self, name: str) -> Any:
        control = self.__dict__.get("_control")
        if control is None:
            raise AttributeError(
                f"control.{name}: the control is not attached yet; write "
                "control = control.attach(model, optimizer, batch_size=…, samples=…) before."
            )
        return getattr(control, name)

    def attach(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        batch_size: int,
        samples: int,
        measure: Callable[[], Mapping[str, float]] | None = None,
        probe: Callable[[], Mapping[str, float]] | None = None,
        parts: int = 1,
        sampler: DataOrder | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> Control:
        """Return the control of this model's training; see `Control` for the arguments. Call it once, before loading a state.

        Raises ValueError for a second call: a trial records the decisions of one control.
        """
        if self._control is not None:
            raise ValueError(
                "control.attach: this training has attached a control already, and a trial records the decisions of one. "
                "With two optimizers, attach one of them and set the other's rate after each update: "
                "group['lr'] = ratio * control.knobs.learning_rate; or give both models to one optimizer, as two parameter "
                "groups, and attach torch.nn.ModuleList([one, other]) with it (docs/own_training.md)."
            )
        self._control = Control(
            self.policy, model, optimizer, batch_size=batch_size, samples=samples, epochs=self._epochs, measure=measure,
            probe=probe, metric=self._metric, mode=self._mode, parts=parts, sampler=sampler, scaler=scaler,
            forked=self._forked,
        )  # fmt: skip
        return self._control

    def take(self) -> list[Decision]:
        """The decisions since the last call.

        Raises ValueError if the training never attached a policy's control, or resumed without the control's state.
        """
        if self._control is not None:
            if self._resumed and self.policy is not None and not self._control.is_loaded:
                raise ValueError(
                    f"{shown(self.policy)} starts over in a training that goes on: yield the control's state too, "
                    'yield metrics, {…, "control": control.state_dict()}, and load it when `state` is given: '
                    'control.load_state_dict(state["control"]).'
                )
            return self._control.decisions.take()
        if self.policy is not None:
            raise ValueError(
                f"{shown(self.policy)} controls nothing: the training takes `control` but never attaches it; call "
                "control = control.attach(model, optimizer, batch_size=…, samples=…) before the first update."
            )
        return []
