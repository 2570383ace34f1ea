"""Start, end or restart the averaging of replicas when a policy acts."""

from __future__ import annotations

from trainables.training.model_state import Weights
from trainables.values import Action, Knobs


def averaged(action: Action, weights: Weights, before: Knobs, knobs: Knobs, samples: int) -> str:
    """Average as `action` asks, which turned `before` into `knobs`; returns a description of it, "" for no change.

    Raises ValueError if a batch of the training's `samples` samples leaves a replica without any.
    """
    averaging, present = action.average, weights.averaging
    turned = action.why and knobs.learning_rate != before.learning_rate
    if turned and present is not None and not present.outer:
        averaging = averaging or present  # a restart, as Crossbow does when the rate drops
    how = "" if averaging is None else weights.average(averaging)
    present = weights.averaging
    if present is not None and min(knobs.batch_size, samples) < present.replicas:
        raise ValueError(
            f"{present}: batch_size={knobs.batch_size} of {samples} samples leaves some replica without any; "
            "use a larger batch or fewer replicas."
        )
    return how
