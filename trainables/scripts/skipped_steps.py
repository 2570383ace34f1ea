"""A script whose first step after a resume does not fit its record.

If it goes on beyond the record, it has loaded a checkpoint that is newer than its own last step. Its own checkpoint may be: a step is missing if the script was killed after it had saved the checkpoint and before it told
the step, and more of them if it buffers what it prints. Otherwise the checkpoint is another trial's, and what follows is
the training of another configuration.

If it begins at its first step again, with another value, it may start over, and be trained a little differently each time.
Or it goes on from its checkpoint and counts anew ("Epoch 1" of the rest): then its values are at wrong steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from trainables.scripts.line import Value
from trainables.scripts.reading import Reading
from trainables.scripts.shared_files import REMEDY, at_one_place, has_checkpoint, shared
from trainables.scripts.trial_folder import COMPARED, TrialFolder

SURELY = 2  # steps: one may be saved and not told
FAR = 3.5  # times nearer to the last value on record than to its own: no repeated training, which differs by noise


def skipped(step: int, own: Sequence[int], others: Iterable[Sequence[int]]) -> list[int]:
    """The steps between the record `own` and the first `step` of a new start that the training must have passed.

    Its own pace tells them, or with fewer than two steps on record another trial (`others`: their steps).

    >>> skipped(6, [1, 2, 3], []), skipped(4, [1, 2, 3], []), skipped(200, [1, 100], []), skipped(4, [], [[1, 2, 3, 4]])
    ([4, 5], [], [], [1, 2, 3])
    """
    if len(own) > 1:
        pace = own[-1] - own[-2]
        return list(range(own[-1] + pace, step, pace)) if step >= own[-1] + 2 * pace else []
    for steps in others:
        if own and steps[:1] == own[:1]:  # both begin alike, so they have one pace
            between = [each for each in steps if own[-1] < each < step]
        else:
            between = [] if own else [each for at, each in enumerate(steps, 1) if at == each < step]
            between = between if len(between) == step - 1 else []
        if between:
            return between
    return []


def why_not_its_own(
    step: int, own: Sequence[int], folder: TrialFolder, memory: dict[str, object], metrics: Collection[Path]
) -> tuple[str, bool]:
    """That the first `step` of a new start cannot follow the record `own`, and whether this is certain; empty if it can.

    `metrics`: the files in the trial's folder that hold only its metrics.
    """
    missing = skipped(step, own, folder.steps_of_others(COMPARED) if len(own) < 2 and step > 1 else [])
    if not missing or has_checkpoint(folder.path):
        return "", False
    paths, keeps = shared(folder, memory), bool(folder.files - set(metrics))
    if not paths and (keeps or memory.get("wrote")):
        return "", False  # it goes on from something of its own
    paths = paths or at_one_place(folder.memories_of_others(COMPARED))
    if not paths and not own:
        return "", False  # it may report fewer steps than the others
    is_certain = not keeps and bool(paths) and (len(missing) >= SURELY or not own)
    at = f"after step {own[-1]}" if own else "at its start"
    named = ", ".join(map(str, missing[:3])) + (", …" if len(missing) > 3 else "")
    where = f"other trials write {paths[0]}" if paths else "TRIAL_FOLDER holds none; if trials share a place for them"
    text = (
        f"{at} the script goes on with step {step}, and step{'s' if len(missing) > 1 else ''} {named} never came: it "
        f"{'has' if is_certain else 'may have'} loaded a checkpoint that is not its own, and {where}{':' if paths else ','} {REMEDY}"
    )
    return text, is_certain


def why_counted_anew(reading: Reading, step: int, values: Mapping[int, Value]) -> str:
    """That a start which had a checkpoint repeats the first step on record with the value of a later one; empty if not."""
    first, last = min(values, default=0), max(values, default=0)
    if step != first or is_repeated(reading.value, values[first], values[last]):
        return ""
    return (
        f"the script was started again with its checkpoint and counts from its first step again: {reading} says {reading.value.text}, "
        f"step {step} on record is {values[step].text}. If it continues its training, {reading.verb} the steps since its first start "
        "(the epoch of the checkpoint added), or call report() with them. If it starts over, seed it with TRIAL_SEED"
    )


def is_repeated(new: Value, known: Value, last: Value) -> bool:
    """Whether a value at the first step is that of a repeated training, not of a training continued after the `last` one.

    A continued one lies far nearer to the last value than to the first, or beyond it by no more than these are apart. With one
    value on record, nothing can be told.

    >>> is_repeated(*(Value("loss", text) for text in ("2.21", "2.28", "0.83")))  # on a GPU, or with another seed
    True
    >>> is_repeated(*(Value("loss", text) for text in ("0.67", "2.28", "0.83")))
    False
    >>> is_repeated(*(Value("accuracy", text) for text in ("0.9175", "0.91", "0.9165")))
    False
    >>> is_repeated(*(Value("loss", text) for text in ("0.6925", "0.7001", "0.6901")))  # noise
    True
    """
    passed, ahead = last.number - known.number, new.number - last.number
    is_beyond = passed * ahead > 0 and abs(ahead) <= abs(passed)
    return new.repeats(known) or not (is_beyond or abs(new.number - known.number) > FAR * abs(ahead))
