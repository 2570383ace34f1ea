"""What is probably a mistake in a sweep, though it can run: told before the start, and by the plan."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from orchestrator.definition import baseline, from_found
from orchestrator.definition.sources import sources_of
from search.domain.feasible import LISTABLE
from search.rules.population import population_of
from search.searchers.grid import Grid
from search.wording import shown
from trainables.contract import CommandLine
from trainables.import_places import not_found, places_of_command

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

HIGHER = {
    "acc", "accuracy", "top1", "top5", "auc", "auroc", "auprc", "ap", "map", "precision", "recall", "f1", "r2",
    "iou", "miou", "dice", "bleu", "rouge", "meteor", "psnr", "ssim", "ndcg", "mrr", "reward", "rewards", "return",
    "returns", "success",
}  # fmt: skip
LOWER = {
    "loss", "losses", "nll", "err", "error", "errors", "mse", "rmse", "mae", "mape", "logloss", "ppl",
    "perplexity", "wer", "cer", "fid", "bpc", "bpb", "regret",
}  # fmt: skip
TURNED = {"neg", "negative", "minus", "inverse", "inv", "one", "not"}  # words that turn the meaning round


def warnings(sweep: Sweep) -> list[str]:
    """One sentence for each probable mistake, with the remedy."""
    checks = (
        _direction,
        _small_space,
        _members,
        _interval,
        _max_t,
        from_found.warning,
        _unused_seed,
        _unwatched,
        baseline.warning,
    )
    workload, own = sweep.workload, list[str]()
    if isinstance(workload, CommandLine):
        own = workload.warnings(sweep.space, sweep.resources, sweep.max_concurrent)
    return [*own, *(warning for check in checks if (warning := check(sweep)))]


def _direction(sweep: Sweep) -> str:
    """A metric whose name says that it is tuned the wrong way round, such as an accuracy that is minimised."""
    name = sweep.metric_name
    usual = _is_higher_better(name)
    if usual is None or usual == sweep.maximise:
        return ""
    meant = "maximize" if usual else "minimize"
    done = "maximises" if sweep.maximise else "minimises"
    return (
        f"the sweep {done} {name!r}, of which {'higher' if usual else 'lower'} values are usually better: was "
        f"{meant}={name!r} meant?"
    )


def _is_higher_better(name: str) -> bool | None:
    """None if the name says nothing.

    >>> [_is_higher_better(name) for name in ("valid's auc", "val/F1Score", "acc_loss", "neg_loss", "speed")]
    [True, True, False, None, None]
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*(?![a-z])", name)]
    if TURNED & set(words):
        return None
    known = [word for word in words if word in HIGHER | LOWER]
    return known[-1] in HIGHER if known else None


def _small_space(sweep: Sweep) -> str:
    """A space with fewer configurations than the sweep tries, unless the searcher repeats them on purpose."""
    space = sweep.space
    if isinstance(sweep.searcher, Grid) or sweep.searcher.forks or space.size > LISTABLE:
        return ""
    size = sum(1 for _ in space.grid(LISTABLE)) if space.describe()["constraints"] else int(space.size)
    if sweep.limit is not None and sweep.limit <= size:
        return ""
    trials = "as many trials as the budget allows" if sweep.limit is None else f"{sweep.limit} trials"
    grid = ", and so does searcher=Grid()" if space.grid_size(Grid().resolution) == space.size else ""
    return (
        f"the space has only {size} configuration{'s' * (size > 1)} for {trials}: once all are known, trials repeat them, "
        f"each with another seed, which shows only the noise. num_samples={size} tries each once{grid}."
    )


def _members(sweep: Sweep) -> str:
    """A number of configurations that is not that of a population's members, and the baseline."""
    population, samples, own = population_of(sweep.searcher), sweep.num_samples, int(sweep.baseline_config is not None)
    if population is None or samples is None or samples == (wanted := population.population + own):
        return ""
    members = population.population  # at least 2
    if samples > wanted:
        return (
            f"num_samples={samples} has no effect beyond {wanted}: the population has {members} members; for more, raise population to "
            f"{samples - own}"
        )
    return (
        f"num_samples={samples} lets only {samples - own} of the population's {members} members start; give "
        f"num_samples={wanted} for all, or lower population"
    )


def _interval(sweep: Sweep) -> str:
    """A population whose members are never compared before their last step."""
    population, horizon = population_of(sweep.searcher), sweep.workload.horizon
    is_smoke_test = sweep.workload == type(sweep.workload).smallest()
    if population is None or population.interval < horizon or is_smoke_test:
        return ""
    return (
        f"{type(population).__name__}(interval={population.interval}) compares no members, as a full training ends at step "
        f"{horizon}, so none takes over another one's weights: choose a tenth of that, such as {max(1, horizon // 10)}"
    )


def _max_t(sweep: Sweep) -> str:
    """A scheduler's `max_t` that is not the length of a full training."""
    most, horizon = getattr(sweep.scheduler, "max_t", None), sweep.workload.horizon
    if most is None or most == horizon:
        return ""
    if most > horizon:
        return (
            f"{shown(sweep.scheduler)}: max_t has no effect, as a full training ends at step {horizon}; leave it out, or set "
            f"the sweep's steps (the horizon) to {most}"
        )
    return (
        f"{shown(sweep.scheduler)} lets no trial train beyond step {most}, so none reaches step {horizon}, the end of a full "
        f"training; leave out max_t, or set the sweep's steps (the horizon) to {most}"
    )


def _unused_seed(sweep: Sweep) -> str:
    """A script that does not mention its seed, in a sweep that trains finalists again on fresh seeds."""
    workload = sweep.workload
    if not (sweep.finalist_count and isinstance(workload, CommandLine) and workload.ignores_seed):
        return ""
    return (
        f"the script of `{workload.command}` does not mention TRIAL_SEED, nor its command {{seed}}: with a fixed seed of its "
        "own, the repetitions of finalists are copies of the first runs and confirm nothing"
    )


def _unwatched(sweep: Sweep) -> str:
    """A command that starts no file which can be read here, such as one in a container or on another machine."""
    workload = sweep.workload
    if not isinstance(workload, CommandLine):
        return ""
    if sources_of(workload):
        return _not_found(workload)
    return (
        f"no file of the training is known, as `{shorten(workload.command, 60, placeholder=' …')}` names none below "
        f"{Path.cwd()}: its flags are not checked, and an edit of the training will not be noticed"
    )


def _not_found(workload: CommandLine) -> str:
    words = shlex.split(workload.command)
    scripts = [path for path in workload.files() if path.suffix == ".py"]
    places = [(path, [path.absolute().parent, Path.cwd(), *places_of_command(words, path)]) for path in scripts]
    names = [f"{name} ({path.name})" for path, there in places for name in not_found(words, path, there)]
    if not names:
        return ""
    return (
        f"not watched: {', '.join(names)}, which this Python does not find; if the training finds it, an edit of it will not "
        "be noticed"
    )
