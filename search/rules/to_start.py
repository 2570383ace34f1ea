"""What a sweep will still start, as far as that is known beforehand; forecasts read it, decisions do not."""

from __future__ import annotations

from search.contract import Searcher
from search.history import History, key_of
from search.records import FINALIST
from search.rules.baseline import awaits_baseline
from search.rules.conduct import Rules
from search.rules.finalists import repeats_for_certain
from search.rules.points import to_try
from search.rules.population import population_of


def to_start(history: History, searcher: Searcher, rules: Rules) -> int | None:
    """Configurations to come, the baseline and the points included; None: only a budget or a target ends the search."""
    is_new = awaits_baseline(history, rules)  # it is trained even where there is no room
    room = None if history.limit is None else max(int(is_new), history.limit - history.started)
    if (population := population_of(searcher)) is not None:  # points take places in it
        members = int(is_new) + population.places_left(history)
        return members if room is None else min(room, members)
    rest = searcher.remaining(history)
    if rest is None:
        return room
    keys = {key_of(config) for config, _ in to_try(rules.points, history) if history.known(config) is None}
    if is_new:
        keys.add(key_of(rules.baseline or {}))
    for config in rest:
        if room is not None and len(keys) >= room:
            break
        keys.add(key_of(config))
    return len(keys) if room is None else min(room, len(keys))


def repetitions_to_start(history: History, rules: Rules, configurations: int | None) -> int:
    """Trainings of finalists to come. `configurations`: those still to start; there are no more finalists than those."""
    if repeats_for_certain(history):
        return 0
    finalists = rules.finalists if configurations is None else min(rules.finalists, history.started + configurations)
    return max(0, finalists * rules.confirmations - sum(trial.first_origin == FINALIST for trial in history))
