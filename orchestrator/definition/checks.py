"""Checks of a sweep before anything starts, beyond those of each single field.

`on_description` needs no files, no clock and no torch: `Sweep` calls it in its constructor. `on_this_machine` looks at
files, devices and models: it runs where the sweep is started, `--dry-run` included.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.definition import first_answers, from_found
from orchestrator.definition.identity import ADDRESS, identity
from orchestrator.definition.machine import HAVE
from orchestrator.definition.sending import check_sending
from orchestrator.definition.wording import trained
from orchestrator.errors import BadInput, did_you_mean
from orchestrator.money.amounts import USD, Amount
from orchestrator.money.devices import device_name
from orchestrator.money.prices import CPU, GPU, held_by_trial, prices_of
from search.contract import Scheduler, Searcher
from search.own_class import objection as objection_to_class
from search.schedulers.run_to_end import RunToEnd
from search.space import Space
from search.task import FULL, Task
from search.wording import as_class, shown, underived
from trainables.carry_out import refused_at_start
from trainables.contract import CommandLine, Workload

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

MODES = {
    "min": ("minimize", "minimise", "minimum", "minimal", "lower", "lowest", "smaller", "loss", "down"),
    "max": ("maximize", "maximise", "maximum", "maximal", "higher", "highest", "larger", "score", "up"),
}
READERS = 200  # random configurations given to the workload and the policy, to see which parameters they read
DRAWS = 2000  # random configurations, to estimate the share that meets the constraints


def on_description(sweep: Sweep) -> None:
    """Raise BadInput for parts that do not go together."""
    first_answers.ask(sweep)
    _parts(sweep)
    _sign(sweep)
    _placeholders(sweep)
    _identities(sweep)


def on_this_machine(sweep: Sweep, *, local: bool = True, simulated: bool = False) -> None:
    """Raise BadInput for missing files, for parameters that nothing reads, for an optimizer that the policy cannot turn,
    for what cannot be sent to a worker (of a `simulated` sweep, to a process of a trial) and, if the trials run on this
    machine (`local`), for devices that it does not have or whose price is missing."""
    if local:
        _resources(sweep)
    _prices(sweep, device_name(held_by_trial(sweep.resources)[0]) if local else "")
    for task in sweep.tasks or (Task(FULL, 1.0),):
        workload = sweep.workload_for(task.name)
        try:
            workload.check()
        except (ValueError, OSError) as error:
            names_itself = str(error).startswith(type(workload).__name__)
            place = type(workload).__name__ if isinstance(workload, CommandLine) else shown(workload)
            raise BadInput(str(error) if names_itself else f"{place}: {error}") from error
    check_sending(sweep, simulated=simulated)
    _unread(sweep)
    _optimizers(sweep)


def mode(sweep: Sweep) -> None:
    """Accept only the words "min" and "max"."""
    value, place = (sweep.mode, "Sweep") if sweep.mode else (sweep.workload.mode, type(sweep.workload).__name__)
    if value in MODES:
        return
    meant = next((word for word, others in MODES.items() if str(value).lower() in (word, *others)), None)
    hint = f" Did you mean {meant!r}?" if meant else ""
    raise BadInput(f"{place}(mode={value!r}): must be 'min' or 'max'.{hint}")


def horizon(sweep: Sweep, *, is_steps: bool) -> None:
    """Require a whole number of steps, 1 or more; `is_steps`: the sweep was given it as `steps`."""
    value = sweep.workload.horizon
    place, name = ("Sweep", "steps") if is_steps else (type(sweep.workload).__name__, "horizon")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        try:
            whole = 0 if isinstance(value, bool) else int(float(value))
        except (TypeError, ValueError, OverflowError):
            whole = 0
        raise BadInput(
            f"{place}({name}={value!r}): must be a whole number of steps, 1 or more; try {name}={max(whole, 1)}."
        )


def kind(name: str, value: object, wanted: type) -> None:
    """Require an instance of `wanted` (a searcher, a scheduler, a space), not its class or its name."""
    if objection := as_class(f"Sweep({name}={shown(value)})", value, wanted):
        raise BadInput(objection)
    if isinstance(value, wanted):
        if isinstance(value, (Searcher, Scheduler)) and (broken := objection_to_class("Sweep", name, value)):
            raise BadInput(broken)
        return
    if wanted is Space:
        wrap = "write Space({…}) around the dict." if isinstance(value, Mapping) else "write space=Space({…})."
        raise BadInput(f"Sweep(space={value!r}): {wrap}")
    known = _offered(wanted)
    meant = next((each for each in known if each.lower() == str(value).lower().replace("_", "").strip("()")), None)
    remedy = f"write {name}={meant}()" if meant else f"write one of {', '.join(f'{each}()' for each in known)}"
    raise BadInput(f"Sweep({name}={shown(value)}): must be a {wanted.__name__}; {underived(value, wanted) or remedy}.")


def _offered(wanted: type) -> list[str]:
    import search

    package = "search.searchers." if wanted is Searcher else "search.schedulers."
    return sorted(name for name, home in search.HOMES.items() if home.startswith(package))


def _parts(sweep: Sweep) -> None:
    searcher, workload = sweep.searcher, sweep.workload
    what, title = type(workload).__name__, type(searcher).__name__
    if searcher.schedules and not isinstance(sweep.scheduler, RunToEnd):
        raise BadInput(
            f"Sweep(searcher={shown(searcher)}, scheduler={shown(sweep.scheduler)}): {title} decides by itself how long each trial "
            "trains, and a scheduler would stop what it still needs; leave out scheduler."
        )
    if sweep.policy is not None and not workload.takes_policy:
        raise BadInput(
            f"Sweep(policy={_policy(sweep.policy)}): {what} sets its own learning rate and batch size, so a policy "
            f"cannot change them; {workload.policy_remedy}"
        )
    from_found.refuse(sweep)
    if searcher.forks and not workload.forks:
        raise BadInput(
            f"Sweep(searcher={shown(searcher)}): {title} starts trials from the state of others, and {trained(workload)} {workload.why_no_forks}; "
            "call report(step, …, checkpoint=path) and load what resumed_from() returns, or write a generator, def train(config, state), that "
            "yields (metrics, state) after each step (docs/choose.md), or use a searcher that does not fork, such as Tpe()."
        )


def _policy(policy: object) -> str:
    return identity(policy) if callable(policy) else shown(policy)


def feasible_share(space: Space) -> float:
    """The share of the space that meets its constraints, estimated from random draws."""
    if not space.describe()["constraints"]:
        return 1.0
    rng = np.random.default_rng(0)
    return sum(space.contains(space.from_unit(rng.random(space.dimension))) for _ in range(DRAWS)) / DRAWS


def _sign(sweep: Sweep) -> None:
    """Refuse a metric with a minus before its name, which no name has."""
    if (name := sweep.metric_name).startswith(("-", "−")):
        done, right = ("maximize", "minimize") if sweep.maximise else ("minimize", "maximize")
        raise BadInput(
            f"Sweep({done}={name!r}): the sign is no part of the metric's name; write {right}={name[1:].strip()!r}."
        )


def _placeholders(sweep: Sweep) -> None:
    try:
        sweep.workload.check_space(sweep.space)
    except ValueError as error:
        raise BadInput(f"Sweep(space): {error}") from error


def _identities(sweep: Sweep) -> None:
    """Refuse parts that the record could not recognise: an address in memory differs in every process."""
    parts = {name: getattr(sweep, name) for name in ("workload", "policy", "searcher", "scheduler")}
    parts |= {f"tasks: {task.name}": dict(task.changes) for task in sweep.tasks}
    for name, part in parts.items():
        text = identity(part)
        if ADDRESS in text:
            at = text.index(ADDRESS)
            raise BadInput(
                f"Sweep({name}): {text[max(0, at - 60) : at + 24]!r} is known only by its address in memory, which differs "
                "at each start, so the same command could never continue this run; give its class a __repr__ that names its settings, or use a "
                "function defined with def."
            )


def _resources(sweep: Sweep) -> None:
    if _other_cluster():
        return
    for name, asked in sweep.resources.items():
        amount = sweep.memory_bytes if name == "memory" else asked
        if not amount:
            continue
        there = HAVE[name]()
        if amount > there:
            shown = f"{there / 2**30:.1f} GiB" if name == "memory" else f"{there:g}"
            seen = os.environ.get("CUDA_VISIBLE_DEVICES")
            why = f" (CUDA_VISIBLE_DEVICES={seen!r})" if name == "gpu" and seen is not None else ""
            remedy = "Ask for less" if there else f"Leave out {name}"
            raise BadInput(
                f"Sweep(resources={dict(sweep.resources)!r}): one trial asks for {name}={asked!r}, and this machine has "
                f"{shown}{why}. {remedy}, or name a cluster with --address."
            )


def _prices(sweep: Sweep, device: str) -> None:
    """Require prices for a budget in dollars; `device`: the one that the trials will use, if it is known."""
    if not isinstance(sweep.budget, Amount) or sweep.budget.unit != USD:
        return
    kind, prices = held_by_trial(sweep.resources)[0], prices_of(sweep.prices)
    missing = prices.of(CPU) is None if kind == CPU else not prices.gpus
    if missing:
        known = f"; the prices are for {', '.join(sorted(prices.table))}" if prices else ""
        example = "prices={'cpu': 0.04}" if kind == CPU else "prices={'H100': 2.49}"
        what = "a CPU core" if kind == CPU else "a GPU"
        raise BadInput(
            f"Sweep(budget={str(sweep.budget)!r}): needs the price of {what} for an hour{known}. Write {example}, or "
            "--prices FILE."
        )
    if device not in ("", CPU, GPU) and prices.of(device) is None:
        raise BadInput(
            f"Sweep(budget={str(sweep.budget)!r}): this machine has {device!r}, and the prices are for "
            f"{', '.join(sorted(prices.table))}. Add a word of that name: prices={{{device!r}: 2.49}}."
        )


def _other_cluster() -> bool:
    """Whether the trials will run on an existing Ray, which may have more than this machine."""
    ray = sys.modules.get("ray")
    started = ray is not None and getattr(ray, "is_initialized", bool)()
    return bool(started or os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_HEAD_IP"))


def _unread(sweep: Sweep) -> None:
    """Refuse a parameter that neither the workload nor the policy reads: tuning it would be useless."""
    rng = np.random.default_rng(1)
    configs = [sweep.space.sample(rng) for _ in range(READERS)]
    searched = {name for name, parameter in sweep.space.parameters.items() if parameter.size > 1}
    names = searched & {name for config in configs for name in config}
    asked = sweep.workload.reads(sweep.policy_for, configs, names)
    if asked is None or names <= asked:  # None: the user's own training
        return
    never, others = min(names - asked), asked - set(sweep.space.names)
    raise BadInput(
        f"Sweep(space): nothing reads the parameter {never!r}: neither {type(sweep.workload).__name__} nor the policy asks "
        f"for it.{did_you_mean(never, others) if others else ''} Leave it out, or correct its name."
    )


def _optimizers(sweep: Sweep) -> None:
    """Refuse a policy that turns what the optimizer of some configuration lacks; each trial of it would fail."""
    if not isinstance(sweep.workload, Workload):  # of the user's own training nobody knows the optimizer
        return
    configs = [config for config in (sweep.baseline_config, *sweep.points_to_evaluate, *sweep.examples) if config]
    told = [why for each in configs if (why := refused_at_start(sweep.workload, sweep.policy_for(each), each))]
    if told:
        some = "" if len(told) == len(configs) else (
            f" This is so with {len(told)} of {len(configs)} configurations that were checked. To give them another policy, use "
            "a function of the configuration: policy=lambda config: …"
        )  # fmt: skip
        raise BadInput(f"Sweep(policy): {told[0]}{some}")
