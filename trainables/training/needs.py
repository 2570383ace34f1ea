"""Refuse, before the first update, a policy whose needs the user's own loop does not meet; name the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.wording import shown
from trainables.contract import Policy

if TYPE_CHECKING:
    import torch


def refuse_unmet(
    policy: Policy[Any], *, averages: bool, rolls_back: bool, measures: bool, parts: int, metric: str
) -> None:
    """Raise one ValueError for all unmet needs of `policy`.

    averages: the loop can train replicas. rolls_back: its data order can go back. measures: it has a function that
    measures. parts: how many gradients it sees for each batch, from micro-batches or DDP ranks. metric: the name of the
    metric to tune.
    """
    unmet = []
    if "average" in policy.writes and not averages:
        unmet.append(
            "averages replicas of the model, which only our own loop trains; make the model a Workload and call "
            "train(workload, policy, config), or choose a policy that does not average."
        )
    if "replay" in policy.writes and not rolls_back:
        unmet.append(
            "replays samples, which needs a data order that can go back; pass sampler=, to control.attach in a sweep, else "
            "to Control: the BatchSampler(samples, seed=0) that the DataLoader draws from, or give the policy data='fresh'."
        )
    if "metrics" in policy.needs and not measures:
        unmet.append(
            "asks for metrics between two epochs; pass measure=evaluate, to control.attach in a sweep, else to Control: a "
            "function without arguments that returns them."
        )
    if "averages" in policy.writes and not metric:
        unmet.append(
            "keeps averages of the weights, and a metric chooses between them and the last weights; pass its name and "
            "direction: metric='valid_loss', mode='min'."
        )
    if "gradient" in policy.needs and parts < 2:
        unmet.append(
            f"needs the gradient noise, which {parts} backward pass for each batch cannot show; pass parts=2, to "
            "control.attach(…, parts=2) in a sweep, else to Control, and call control.part(samples, loss) after each of "
            "the two, or train on several DDP ranks."
        )
    if unmet:
        raise ValueError(f"{shown(policy)} {' It '.join(unmet)}")


def refuse_without_momentum(policy: Policy[Any], optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError for a policy that needs a momentum to turn, if no parameter group of the optimizer has one."""
    if "momentum" in policy.needs and not any("momentum" in group for group in optimizer.param_groups):
        raise ValueError(
            f"{shown(policy)} changes the momentum, and {type(optimizer).__name__} has none; leave it out of `lanes`, or train "
            "with SGD or RMSprop."
        )


def refuse_unmeasured(policy: Policy[Any], measure: Any) -> None:
    """Raise ValueError for a policy with averages, which a library's own evaluation cannot measure one by one."""
    if "averages" in policy.writes and measure is None:
        raise ValueError(
            f"{shown(policy)} keeps averages of the weights, and each must be measured; pass measure=evaluate, a function without "
            "arguments that returns the metrics."
        )
