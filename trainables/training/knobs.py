"""The knobs in an optimizer's parameter groups: read at the start, written whenever the policy turns one.

Adam's second moment v keeps its half-life in samples: with k times the batch of the start, beta2 becomes beta2^k (Marek
et al., Small Batch Size Training for Language Models, 2025). Where that happens amid the training, v is multiplied by
(1 - beta2'^n) / (1 - beta2^n) after n updates, so that Adam's correction of the start's bias stays right.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from search.wording import shown
from trainables.contract import Policy
from trainables.values import Knobs

KNOB_OF = {"lr": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay"}


def knobs_of(optimizer: torch.optim.Optimizer, batch_size: int) -> Knobs:
    """The optimizer's arguments as knobs; 0 for those that it lacks, such as Adam's momentum."""
    given = {name: float(optimizer.defaults.get(key) or 0.0) for key, name in KNOB_OF.items()}
    return Knobs(batch_size=batch_size, **given)


def multiples_of(group: Mapping[str, Any], knobs: Knobs) -> dict[str, float]:
    """This parameter group's multiple of each knob; no entry if the group has a value of its own.

    Of Adam and its relatives also "beta2" and the batch that it is meant for.
    """
    multiples = {}
    for key, name in KNOB_OF.items():
        if key in group:
            knob = getattr(knobs, name)
            value = _given(group, key)
            if knob != 0:
                multiples[key] = value / knob
            elif value == 0:
                multiples[key] = 1.0
    if _is_adam(group):
        multiples |= {"beta2": group["betas"][1], "beta2_batch": float(knobs.batch_size)}
    return multiples


class KnobWriter:
    """Writes the knobs that `policy` turns to an optimizer's parameter groups; `initial`: the configuration's.

    The other knobs are written at a fork only, so that the user's loop may set them. A learning rate that no policy turns
    belongs to the user's LR scheduler, if there is one: it leaves "initial_lr" in the groups.
    `alone`: no other code may write what the policy turns. Raises ValueError for an LR scheduler that would.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, initial: Knobs, policy: Policy[Any] | None, *, alone: bool
    ) -> None:
        self._optimizer, self._initial, self._policy, self._alone = optimizer, initial, policy, alone
        self._turned = [key for key, name in KNOB_OF.items() if policy is not None and name in policy.writes]
        self._found = [
            {key: _given(group, key) for key in KNOB_OF.keys() & group.keys()} for group in optimizer.param_groups
        ]  # values of each group when the control was attached
        self._had_state = bool(optimizer.state)  # if so, it was loaded before
        self._has_forked = False  # and not trained since
        self.multiples = [multiples_of(group, initial) for group in self._groups]
        self._refuse_scheduler()

    @property
    def _groups(self) -> list[dict[str, Any]]:
        groups = self._optimizer.param_groups
        if len(groups) != len(self._found):
            raise ValueError(
                f"the optimizer has {len(groups)} parameter groups, but had {len(self._found)} when the control was attached, and no "
                "policy can tell what a later group should have; add all groups first (a group whose parameters have "
                "requires_grad=False is not trained)."
            )
        return groups

    def write(self, knobs: Knobs, *, amid: bool = False) -> None:
        """Write the knobs that the policy turns, each times the group's multiple.

        `amid`: the optimizer's state was made with the values that its groups have now.
        """
        for group, multiples in zip(self._groups, self.multiples, strict=True):
            for key in self._turned:
                if key in multiples:
                    group[key] = multiples[key] * getattr(knobs, KNOB_OF[key])
            if "beta2" in multiples:
                beta2 = multiples["beta2"] ** (knobs.batch_size / multiples["beta2_batch"])
                _turn_beta2(self._optimizer, group, beta2, amid)

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Around a roll-back of the optimizer: the knobs that no policy turns stay as the user's loop has set them."""
        kept = [
            {key: group[key] for key in KNOB_OF if key in group and key not in self._turned} for group in self._groups
        ]
        yield
        for group, values in zip(self._groups, kept, strict=True):
            group.update(values)

    def fork(self, saved: Sequence[Mapping[str, float]], theirs: Knobs) -> None:
        """Write this trial's initial knobs in place of another one's, with its `saved` multiples and its last knobs.

        Raises ValueError if the groups' multiples cannot be told.
        """
        self.multiples, self._has_forked = self._multiples_of_fork(saved, theirs), True
        for group, multiples in zip(self._groups, self.multiples, strict=True):
            for key in self._keys(group, multiples):
                group[key] = multiples[key] * getattr(self._initial, KNOB_OF[key])
            if "lr" in self._turned:  # without a scheduler at `attach`, it came with the other trial's state
                group.pop("initial_lr", None)

    def _multiples_of_fork(self, saved: Sequence[Mapping[str, float]], theirs: Knobs) -> list[dict[str, float]]:
        """The groups' own multiples, unless the optimizer had the other trial's values already when it was attached."""
        if len(saved) != len(self._groups):
            return self.multiples
        keys = [self._keys(group, multiples) for group, multiples in zip(self._groups, saved, strict=True)]
        each = [(number, key) for number, keys_here in enumerate(keys) for key in keys_here]
        if all(self._found[n].get(key) == saved[n][key] * getattr(theirs, KNOB_OF[key]) for n, key in each):
            kept = {"beta2_batch"} if self._had_state else {"beta2", "beta2_batch"}
            return [
                {**multiples, **{key: own[key] for key in kept & own.keys()}}
                for multiples, own in zip(saved, self.multiples, strict=True)
            ]
        for n, key in each:
            if self._had_state and not math.isclose(self.multiples[n].get(key, math.nan), saved[n][key], rel_tol=1e-6):
                raise ValueError(
                    f"control.load_state_dict: the trial forks with {KNOB_OF[key]} {getattr(self._initial, KNOB_OF[key]):g}, and its "
                    f"share for parameter group {n} is unknown: the optimizer was loaded before control.attach and had {key!r} "
                    f"{float(self._found[n][key]):g}; attach first, then load the model, the optimizer and, last, the control."
                )
        return self.multiples

    def _keys(self, group: Mapping[str, Any], multiples: Mapping[str, float]) -> list[str]:
        """The keys whose values in this group are this trial's own from its start, also if it is a fork."""
        is_scheduled = "initial_lr" in group and "lr" not in self._turned
        return [key for key in KNOB_OF if key in multiples and key in group and not (key == "lr" and is_scheduled)]

    def scheduled_for_another(self) -> str:
        """At the first update after a fork: that the user's LR scheduler goes on from the other trial's rate; "" if it does
        not."""
        if not self._has_forked:
            return ""
        self._has_forked = False
        for group, multiples in zip(self._groups, self.multiples, strict=True):
            rate = multiples.get("lr", math.nan) * self._initial.learning_rate
            if "lr" not in self._turned and abs(group.get("initial_lr", rate) - rate) > 1e-6 * rate:
                return (
                    f"the LR scheduler starts from {group['initial_lr']:g}, the learning rate of the trial that this one forked "
                    f"from, and not from {rate:g}; after loading both, set group['initial_lr'] of each parameter group and "
                    "scheduler.base_lrs to this trial's rate, or leave the scheduler out and use the policy LrSchedule"
                )
        return ""

    def refuse_other_writers(self, knobs: Knobs) -> None:
        """Raise ValueError if other code has written what the policy turns since `knobs` were written."""
        self._refuse_scheduler()
        for number, (group, multiples) in enumerate(zip(self._groups, self.multiples, strict=True)):
            for key in self._turned if self._alone else []:
                if key in multiples and group[key] != (written := multiples[key] * getattr(knobs, KNOB_OF[key])):
                    raise ValueError(
                        f"{shown(self._policy)} sets {key!r}, and so does other code: the policy wrote {float(written):g} to parameter "
                        f"group {number}, which now has {float(group[key]):g}. Leave that code out; {_INSTEAD}. If the training has "
                        "just loaded a state, load the control's state last."
                    )

    def _refuse_scheduler(self) -> None:
        if self._alone and "lr" in self._turned and any("initial_lr" in group for group in self._groups):
            raise ValueError(
                f"{shown(self._policy)} sets the learning rate, and so does an LR scheduler of yours, which has put 'initial_lr' into "
                f"the optimizer's parameter groups (if none is left: for group in optimizer.param_groups: group.pop('initial_lr')). Leave the "
                f"scheduler out; {_INSTEAD}."
            )


_INSTEAD = (
    "LrSchedule('cosine'), Warmup(…, then=…) and Plateau() are policies for the same, and Watchdog(…) takes one; or keep it "
    "beside a policy that leaves the rate alone: None, Averaged(), NoiseScaleBatch()"
)


def _given(group: Mapping[str, Any], key: str) -> Any:
    """The value that the group was given, which an LR scheduler may have changed since."""
    return group.get("initial_lr", group[key]) if key == "lr" else group[key]


def _is_adam(group: Mapping[str, Any]) -> bool:
    """Whether this group's optimizer divides by the root of a second moment, as Lion, which has no eps, does not."""
    betas = group.get("betas", ())
    return "eps" in group and len(betas) == 2 and isinstance(betas[1], float)


def _turn_beta2(optimizer: torch.optim.Optimizer, group: dict[str, Any], beta2: float, amid: bool) -> None:
    beta1, before = group["betas"]
    if beta2 == before:
        return
    group["betas"] = (beta1, beta2)
    if not amid or not group.get("bias_correction", True):
        return
    for parameter in group["params"]:
        state = optimizer.state.get(parameter, {})
        for moment in ("exp_avg_sq", "max_exp_avg_sq"):
            if moment in state:
                updates = float(state["step"])
                state[moment].mul_((1 - beta2**updates) / (1 - before**updates))
