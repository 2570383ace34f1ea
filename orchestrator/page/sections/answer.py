"""The first screen: what won, by how much, on what evidence, what it cost, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.console.plurals import plural
from orchestrator.console.typed_command import recorded_line
from orchestrator.definition.description import NO_POLICY, described_population
from orchestrator.money.amounts import budget_words, trainings
from orchestrator.page.analysis.idle import idle, simulated_seconds
from orchestrator.page.analysis.influence import influences_in
from orchestrator.page.analysis.words import counted, percent
from orchestrator.page.charts import Section, Table
from orchestrator.page.health.copies import copies
from orchestrator.page.health.finding import Finding
from orchestrator.page.health.progress import few_trials
from orchestrator.page.health.starts import starts
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.health import checks
from orchestrator.page.words import brief, duration, listed, number, place, setting, settings
from orchestrator.reading.ahead import ahead_words
from orchestrator.reading.certainty import against_noise, noise_between_seeds
from orchestrator.reading.costs import WORTH_SAYING, cost_words
from orchestrator.reading.out_of_time import out_of_time_words
from orchestrator.reading.scores import outside, rests_on, scores, unfair, untrained
from orchestrator.reading.spending import COPIES
from orchestrator.reading.trial_counts import status_words
from orchestrator.reading.untried import UNTRIED, untried
from orchestrator.reading.used_up import used_up
from orchestrator.record.encoding import seconds_between
from orchestrator.record.moved import with_present_places
from search.history import Trial, key_of
from search.records import Status
from search.rules.finalists import Finalist, confirmed, score
from search.wording import with_found

ENDINGS = {
    Status.COMPLETED: "trained to the end",
    Status.STOPPED: "stopped early",
    Status.DIVERGED: "diverged",
    Status.FAILED: "failed",
    Status.RUNNING: "running",
}
DOUBTS = ("alike", "edited", "resumed", "shared")  # checks whose serious findings say that results may not be compared
BY_SEEDS = ("noise", "copies")  # checks of the repetitions, which have their place among the usual steps
FAILING, LEAST_FAILING = 0.2, 2  # of the trials that have ended, and at least: their cause comes before more search
LEAST_APART = 1.0  # seconds between two drivers: what a start takes anyway


def section(run: Recorded) -> Section:
    found = _findings(run)
    rows = [
        ("What won", _won(run) + _without_baseline(run, found)),
        ("By how much", _lead(run, found)),
        ("On what evidence", _evidence(run)),
        ("What mattered", _mattered(run)),
        ("What it cost", _cost(run)),
        ("What next", _next(run, found)),
    ]
    figures = [Table("", ("", ""), [row for row in rows if row[1]]), _settings(run)]
    return Section("answer", "Answer", figures=[figure for figure in figures if not figure.is_empty])


def _won(run: Recorded) -> str:
    best = run.best
    if best is None:
        begun, diverged = len(run.history.trials), run.history.count(Status.DIVERGED)
        return (
            f"Nothing yet: {plural(begun, 'trial', 'have begun')}, and no full training has {'a finite value' if diverged else 'reported'}."
            if begun
            else "Nothing yet: no trial has begun."
        )
    is_over = run.state == "finished" and best.status is Status.COMPLETED
    where = "" if best.status is Status.COMPLETED else f" at step {best.step} of {run.history.horizon}"
    label = f"Trial {best.number}" if is_over else f"So far trial {best.number}"
    beyond = outside(run.about, best)
    notes = [beyond, ahead_words(run.ahead, run.metric, run.about["mode"]) if run.ahead else ""]
    forked = (
        f". These values hold after step {best.began} only: up to it, the training is that of trial {best.parent}; the section "
        "Lineage has the whole schedule"
        if best.parent is not None
        else ""
    )
    note = forked + "".join(f". Note: {text}" for text in notes if text)
    again = rests_on(scores(run.history, best, run.goal))
    how = f" ({again})" if again else ""
    return f"{label}: {run.metric} {number(run.value(score(run.history, best)))}{how}{where}. {settings(with_found(best))}{note}"


def _lead(run: Recorded, found: list[Finding]) -> str:
    best, baseline = run.best, run.baseline
    if why := untrained(run.about, baseline):
        return f"Unknown: {why} ({settings(run.about['baseline'])})."
    if baseline is None:
        return "Unknown: the sweep has no baseline. Sweep(baseline=…) trains one for comparison."
    if best is None:
        return ""
    if why := unfair(best, baseline, run.history.horizon):
        return f"Unknown: {why}."
    if best is baseline or key_of(best.config) == key_of(baseline.config):
        policy = " The policy trained the baseline, too." if run.about.get("policy", NO_POLICY) != NO_POLICY else ""
        value = number(run.value(baseline.loss))
        if why := untried(run.about, run.history, best, baseline):
            return f"Unknown: {UNTRIED} ({run.metric} of the baseline: {value}): {why.rstrip('.')}."
        return f"Nothing: no configuration is better than the baseline ({run.metric} {value}).{policy}"
    mine, theirs = run.value(score(run.history, best)), run.value(score(run.history, baseline))
    gain = _gain(run)
    how = "better" if gain > 0 else "worse" if gain < 0 else "no difference"
    share = abs(gain / theirs) if theirs else 0.0
    way = "higher" if mine > theirs else "lower"
    percent = f" ({brief(100 * share)} % {way})" if 0.001 < share < 10 else ""
    by = f"{how} by {number(abs(gain))}{percent}" if gain else how
    return f"{number(mine)} against the baseline's {number(theirs)}: {by}.{_on_test(run, best, baseline)}{_in_doubt(found)}"


def _without_baseline(run: Recorded, found: list[Finding]) -> str:
    """The doubt beside the winner, where no baseline is compared with it."""
    doubt = "" if run.best is None or run.baseline is not None else _in_doubt(found)
    return f".{doubt}" if doubt else ""


def _in_doubt(found: list[Finding]) -> str:
    """What makes the comparison itself doubtful; empty if nothing does."""
    doubts = [finding.sentence for finding in found if finding.key in DOUBTS and finding.severity == "serious"]
    return f" In doubt: {' '.join(doubts)}" if doubts else ""


def _on_test(run: Recorded, best: Trial, baseline: Trial) -> str:
    """Their results on the test part, which no decision has seen; empty if they are not on record."""
    found = {row["trial"]: row["metrics"].get(run.metric) for row in run.rows["test"]}
    mine, theirs = found.get(best.number), found.get(baseline.number)
    if mine is None or theirs is None:
        return ""
    return f" On the test data: {number(mine)} against {number(theirs)}."


def _evidence(run: Recorded) -> str:
    best = run.best
    if best is None:
        return ""
    if best.status is not Status.COMPLETED:
        return "None yet: no full training is completed."
    found = confirmed(run.history)
    mine = next((finalist for finalist in found if finalist.trial is best), None)
    if mine is None or not mine.losses:
        lucky = f"It is the best of {len(run.full):,} full trainings" if len(run.full) > 1 else "It was trained once"
        return (
            f"Not confirmed. {lucky}, each on one seed, so the true value is probably worse than its score."
            if len(run.full) > 1
            else f"Not confirmed. {lucky}, on one seed."
        )
    if run.accounts["depends_on_seed"] is False:
        return f"{COPIES}."  # what to do is next, and in Health
    scores = listed([number(run.value(loss)) for loss in mine.losses])
    first = f"{number(run.value(best.loss))} when it was found"
    if len(mine.losses) == 1:
        return f"Trained once more on a fresh seed: {scores} ({first}). One repetition does not measure the noise."
    noise, _ = noise_between_seeds([finalist.losses for finalist in found])
    if noise == 0 and len(set(mine.losses)) == 1:
        return (
            f"Not confirmed: {len(mine.losses)} fresh seeds gave equal values: {scores} ({first}). The training may not use its "
            "seed (a script reads TRIAL_SEED), or the metric is too coarse to measure the noise."
        )
    told = f"Confirmed on {len(mine.losses)} fresh seeds: {scores} ({first})."
    if not noise:
        return f"{told} At least one run diverged, or there are too few to measure the noise."
    return (
        f"{told} Noise between seeds: {number(noise)} (standard deviation). {_against_noise(run, mine, noise)}".rstrip()
    )


def _against_noise(run: Recorded, mine: Finalist, noise: float) -> str:
    """What the noise, more than 0, says about the lead; nothing without a baseline of another configuration."""
    baseline = run.baseline
    if (
        baseline is None
        or baseline.status is not Status.COMPLETED
        or key_of(baseline.config) == key_of(mine.trial.config)
    ):
        return ""
    gain, (_, freedom) = _gain(run), noise_between_seeds([finalist.losses for finalist in confirmed(run.history)])
    if gain <= 0:
        return "On fresh seeds it does not beat the baseline."
    lead = against_noise(gain, noise, freedom, len(mine.losses), _runs(run, baseline))
    needed = f", it would have to be {brief(lead.sure)} times" if lead.is_too_rarely_repeated else ""
    return f"The lead over the baseline is {brief(lead.times)} times its standard error ({number(lead.error)}): {lead.words}{needed}."


def _mattered(run: Recorded) -> str:
    """The parameter that mattered most; empty if no influence is proved, as with few trials, or if its section fails."""
    try:
        proved = [(each, bar) for each in reversed(influences_in(run)) for bar in each.bars if bar.shows]
    except Exception:
        return ""
    if not proved:
        return ""
    found, most = proved[0]
    share = f"{percent(most.share)} ({percent(most.low)} to {percent(most.high)})"
    return (
        f"Most of all {most.name}: {found.stage.where}, it accounts for {share} of the variation between "
        f"{counted(found.trials, 'trial')}; see Parameters."
    )


def _endings(run: Recorded) -> Iterator[tuple[str, int]]:
    """How trials have ended, in words, and how many have. Nothing stops the members of a population early."""
    stopped = {trial.number for trial in run.history.having(Status.STOPPED)}
    replaced = len(stopped & {trial.replaces for trial in run.history})
    for status, words in ENDINGS.items():
        if status is Status.STOPPED and described_population(run.about) is not None:
            yield from (("replaced by forks", replaced), ("resting", len(stopped) - replaced))
        else:
            yield words, run.history.count(status)


def _cost(run: Recorded) -> str:
    history, cost = run.history, run.accounts["cost"]
    trials = (
        listed([f"{count:,} {status_words(words, run.state)}" for words, count in _endings(run) if count]) or "none"
    )
    money = (
        cost_words(cost).partition(";")[0].replace("  (", " (") if cost["device_seconds"] else ""
    )  # its bill says more
    before, after = (f"{money}. ", "") if cost["usd"] is not None else ("", f" {money}." if money else "")
    budget = "" if cost["budget"] is None else f" The budget was {budget_words(cost['budget'])}."
    seconds, slow = sum(trial.cost_seconds for trial in history), sum(run.start_seconds.values())
    beside = f" ({duration(slow)} of it before first reports)" if slow > WORTH_SAYING * seconds else ""
    if run.seconds_before_training > WORTH_SAYING * seconds:
        beside += f", and {duration(run.seconds_before_training)} of starts"
    times = [row["time"] for table in ("sweep", "report", "ending") for row in run.rows[table]]
    passed = seconds_between(min(times), max(times)) if times else 0.0
    held = idle(run)
    apart = held.downtime if held is not None and held.downtime > LEAST_APART else 0.0
    took = f"the sweep took {duration(passed - apart)}"
    if (simulated := simulated_seconds(run)) is not None:
        took += f" ({duration(simulated) if simulated else 'under 1 ms'} on its simulated clock)"
    if apart:
        took += f", not counting {duration(apart)} until it was continued"
    return (
        f"{before}{trainings(history.spent)} full trainings: {duration(seconds)} of training{beside}; {took}. "
        f"{plural(len(history.trials), 'trial')}: {trials}.{after}{budget}"
    )


def _next(run: Recorded, found: list[Finding]) -> str:
    """One step; the most urgent one."""
    best, name = run.best, place(run.folder)
    if run.state == "running":
        running = run.history.count(Status.RUNNING)
        if run.accounts["over"] and not running:
            return "Wait a moment: the search is over, and the sweep is finishing."
        return f"Wait: the sweep is running ({plural(running, 'trial')} under way)."
    if run.state == "interrupted":
        return f"Continue: the sweep was interrupted; the same command continues it. {_command(run)}".rstrip()
    if cut := run.accounts["out_of_time"]:
        return out_of_time_words(cut)
    if best is None:
        return f"Find out why there is no result: {orchestrator_line('logs', name, '--failed')}"
    usual = _usual(run, found)
    urgent = [each for each in found if each.severity == "serious" and each.key not in BY_SEEDS]
    first = f"{urgent[0].sentence} {urgent[0].remedy}" if urgent else _failing(run, name)
    return f"{first} After that: {usual}" if first else usual


def _failing(run: Recorded, name: str) -> str:
    """To find out why trials fail, if a good part of them do; else empty."""
    failed, ended = run.history.having(Status.FAILED), len(run.history.trials) - run.history.count(Status.RUNNING)
    if len(failed) < max(LEAST_FAILING, FAILING * ended):
        return ""
    return (
        f"Find out why {len(failed)} of {ended} trials failed: {orchestrator_line('logs', name, '--failed')}. Once the cause is fixed, "
        "the same command with --retry-failed (in a program retry_failed=True) retries them."
    )


def _usual(run: Recorded, found: list[Finding]) -> str:
    """The step after a search in which nothing is wrong."""
    best, name = run.best, place(run.folder)
    assert best is not None
    if why := untrained(run.about, run.baseline):
        return f"Run the same command again: {why}. {_command(run)}".rstrip()
    few = next(iter(few_trials(run)), None)
    used = used_up(run.accounts["over"], run.about["space"], run.history)
    on = "" if few is None else f"{'' if used else 'Search longer. '}{few.sentence} {few.remedy}"
    if dear := starts(run):
        on = f"Reduce the time of starts before you search longer. {dear[0].sentence} {dear[0].remedy}"
    if best.status is not Status.COMPLETED:
        what = "num_samples or budget" if described_population(run.about) is None else "the budget"
        longer = f"Train longer: no full training was completed; raise {what}, and run the command again."
        return on if dear else longer
    if not any(finalist.losses for finalist in confirmed(run.history)):
        if few is not None:
            return on
        asked = next((each.remedy for each in found if each.key == "noise" and each.severity != "note"), "")
        how = asked or "Confirm the best on fresh seeds (finalists=3, confirmations=3)."
        return f"{how} Add these settings to the sweep and run the same command: only the repetitions are trained."
    if repeated := copies(run):
        return f"{repeated[0].sentence} {repeated[0].remedy} To use it: {orchestrator_line('export', name)}"
    if run.baseline is None:
        return "Give the sweep a baseline (Sweep(baseline=…)), so that the gain can be measured."
    if why := unfair(best, run.baseline, run.history.horizon):
        return f"Find out why the gain is unknown ({why}): {orchestrator_line('logs', name, run.baseline.number)}"
    if cut := untried(run.about, run.history, best, run.baseline):
        return f"Train longer: {UNTRIED}: {cut}"
    if _gain(run) <= 0:
        how = "Add values to the space" if used else "Search longer, or widen the space"
        return f"{how}: nothing better than the baseline was found."
    noisy = [finding for finding in found if finding.severity == "serious" and finding.key in BY_SEEDS]
    use = orchestrator_line("export", name)
    if few is not None:
        return f"{on} To use it as it is: {use}"
    return f"{noisy[0].sentence} {noisy[0].remedy} To use it: {use}" if noisy else f"Use it: {use}"


def _findings(run: Recorded) -> list[Finding]:
    """What the health checks found; nothing if they fail, for then their own section says so."""
    try:
        return checks(run)
    except Exception:
        return []


def _settings(run: Recorded) -> Table:
    """The winner's configuration beside the baseline's."""
    best, baseline = run.best, run.baseline
    if best is None or baseline is None or best is baseline:
        rows = [] if best is None else [[name, setting(value)] for name, value in with_found(best).items()]
        return Table("Configuration", ("parameter", "winner"), rows, numeric=("winner",))
    both = [with_found(trial) for trial in (best, baseline)]
    rows = [[name, *(setting(each.get(name, "–")) for each in both)] for name in dict.fromkeys([*both[0], *both[1]])]
    return Table("Configuration", ("parameter", "winner", "baseline"), rows, numeric=("winner", "baseline"))


def _gain(run: Recorded) -> float:
    """How much lower the winner's loss is than the baseline's; 0 without both."""
    if run.best is None or run.baseline is None:
        return 0.0
    return score(run.history, run.baseline) - score(run.history, run.best)


def _runs(run: Recorded, trial: Trial) -> int:
    """How many trainings the score of a trial is the mean of."""
    return next((len(each.losses) for each in confirmed(run.history) if each.trial is trial and each.losses), 1)


def _command(run: Recorded) -> str:
    return recorded_line(with_present_places(run.rows["sweep"][-1], run.folder))
