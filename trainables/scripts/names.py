"""Names as scripts print them: which are one name in other spellings, and which words name a step."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

ENVIRONMENT_STEPS = (
    "timestep", "timesteps", "time_step", "time_steps", "num_timesteps", "total_timesteps",
    "env_step", "env_steps", "environment_step", "environment_steps",
)  # fmt: skip
"""What reinforcement learning counts. They come first: a wrong one soon passes the horizon, a wrong epoch never does."""

STEP_WORDS = (
    *ENVIRONMENT_STEPS,
    "epoch", "step", "global_step", "env", "iteration", "iter", "update", "num_updates", "round", "episode", "ep", "it", "index",
)  # fmt: skip
"""Names of a step. If a line has several, the first that may be one of this training's steps counts."""

SPLITS = (
    "train",
    "training",
    "train_inner",
    "valid",
    "val",
    "validation",
    "test",
    "testing",
    "eval",
    "evaluation",
    "dev",
)
SAME = {"val": "valid", "validation": "valid", "training": "train", "testing": "test", "evaluation": "eval"}
OTHERS = {*SPLITS, "best", "min", "max", "lowest", "highest", "final", "last", "previous", "old", "smoothed", "ema"}

MARKS = "".join(sign for sign in map(chr, range(0x300, 0x2000)) if unicodedata.category(sign).startswith("M"))
"""Signs that belong to the letter before them, such as the vowels of Hindi and Thai; \\w has none of them."""
LETTER = r"[^\W\d]"  # of any alphabet, or _, as a name begins
_BETWEEN_WORDS = re.compile(rf"(?:[^\w{MARKS}@%]|_)+")


def splits_in(text: str) -> set[str]:
    """The parts of the data that a name or a path mentions: {"valid"} of `logs/val_metrics.csv`."""
    return {SAME.get(word, word) for word in re.split(r"[\W\d_]+", text.lower()) if word in SPLITS}


def likeliest(name: str, seen: list[str]) -> str | None:
    """The name among `seen` that `name` probably means."""
    wanted = _words(name)
    if "train" not in wanted and set(wanted) & {"valid", "test"}:
        seen = [other for other in seen if "train" not in _words(other)]
    same = [other for other in seen if _words(other) == wanted]
    ends = [other for other in seen if _words(other)[-1:] == wanted[-1:] and set(_words(other)) & set(wanted)]
    close = difflib.get_close_matches(key_of(name), [key_of(other) for other in seen], n=1, cutoff=0.6)
    near = [other for other in seen if [key_of(other)] == close]
    joined = [other for other in seen if any("".join(_words(other)[at:]) == "".join(wanted) for at in range(3))]
    found = [*same, *near, *joined, *[other for other in ends if len(wanted) == 1]]
    return found[0] if found else None


def is_synonym(name: str, other: str) -> bool:
    """Whether two names are spellings of the same words: val_loss, valid_loss, Validation loss."""
    return _words(name) == _words(other)


def is_typing_error(name: str, other: str) -> bool:
    """Whether two names differ as by a typing error: a doubled letter or an s at the end left out, two letters exchanged,
    one missing inside of a long word.

    Others are different metrics: acc1 and acc5, mae and mse, iou and miou, rmse and rmsle, rouge and rougel.
    """
    first, second = key_of(name), key_of(other)
    if len(first) == len(second):
        at = next((at for at in range(len(first)) if first[at] != second[at]), len(first))
        moved = first[:at] + first[at + 1 : at + 2] + first[at : at + 1] + first[at + 2 :]
        return at > 0 and moved == second and first[at : at + 2].isalpha()
    short, long = sorted((first, second), key=len)
    if len(long) != len(short) + 1:
        return False
    at = next((at for at in range(len(short)) if short[at] != long[at]), len(short))
    if short[:at] + long[at] + short[at:] != long or not long[at].isalpha():
        return False
    before, after = re.split("_", long[:at])[-1], re.split("_", long[at + 1 :])[0]
    is_doubled, is_plural = before[-1:] == long[at], len(before) >= 4 and not after and long[at] == "s"
    return is_doubled or is_plural or bool(before and after and len(before) + len(after) >= 5)


def is_record(name: str, metric: str) -> bool:
    """Whether a name is the metric's best, last or previous value, not its present one: `new best val_acc`."""
    words = name.split()
    ends = (key_of(" ".join(words[place:])) == key_of(metric) for place in range(1, len(words)))
    return any(ends) and bool(OTHERS.difference(SPLITS).intersection(key_of(name).split("_")))


def same_name(name: str, among: Iterable[str]) -> str | None:
    """The one of some names that is `name`, or else another spelling of it; None if there is none."""
    alike = [other for other in among if key_of(other) == key_of(name)]
    return name if name in alike else next(iter(alike), None)


def may_be_a_setting(word: str) -> bool:
    """Whether a script may print this word with the number of all its steps: `timesteps=100000`."""
    return word in ENVIRONMENT_STEPS and (word.startswith("total_") or word.endswith("s"))


def key_of(name: str) -> str:
    """A key that ignores spelling: "Val Loss", "val/loss" and "val_loss" have the same."""
    key = _BETWEEN_WORDS.sub("_", name.casefold()).strip("_") or name.strip()  # a name may be signs only
    return key.removeprefix("current_").removeprefix("trainer_") if key.endswith(STEP_WORDS) else key


def _words(name: str) -> list[str]:
    known = {**SAME, "accuracy": "acc", "eval": "valid", "dev": "valid", "evaluation": "valid", "error": "err"}
    return [known.get(word, word) for word in key_of(name).split("_")]
