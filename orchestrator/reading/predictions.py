"""The answers of a classifier's baseline and of the best trial, example by example, kept in the run's folder.

`predictions.npz` holds the arrays of `Compared`, without pickles, so any program can write it: `labels`, `baseline` and
`tuned` (n,) are needed, and `trials` (2,); the others may be left out.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.driving.assignments import assignment
from orchestrator.driving.places import Places
from orchestrator.errors import BadInput
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import refuse_links
from orchestrator.worker.job import predictions
from search.history import History, Trial
from search.records import Config
from search.rules.baseline import baseline_trial
from search.rules.finalists import winner

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep
    from trainables.values import Predictions

FILE = "predictions.npz"
SHOWN = 12  # examples of each kind whose picture or sentence is kept
KINDS = ("fixed", "broken", "both wrong", "both right")
NEEDED = ("labels", "baseline", "tuned", "trials")


@dataclass(frozen=True, eq=False)
class Compared:
    """Two classifiers' answers to the same n examples; `shown` are the rows of the m examples in `images` or `texts`."""

    labels: NDArray[np.int64]  # (n,)
    baseline: NDArray[np.int64]  # (n,): the answers of the baseline …
    tuned: NDArray[np.int64]  # … and of the best trial
    trials: tuple[int, int]  # the numbers of both
    baseline_confidence: NDArray[np.float64]  # (n,): 1 if unknown
    tuned_confidence: NDArray[np.float64]
    classes: tuple[str, ...]  # the classes' names; empty: their numbers
    shown: NDArray[np.int64]  # (m,)
    images: NDArray[np.uint8]  # (m, height, width) or (m, height, width, 3); without rows if there are none
    texts: tuple[str, ...]  # (m,), or empty

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        """(n,): the examples that are "fixed", "broken", "both wrong" or "both right"."""
        before, after = self.baseline == self.labels, self.tuned == self.labels
        masks = {"fixed": ~before & after, "broken": before & ~after, "both wrong": ~before & ~after}
        return np.asarray(masks.get(kind, before & after))

    @property
    def surest(self) -> NDArray[np.float64]:
        """(n,): how sure both were of their answers; the examples worth looking at come first."""
        return self.baseline_confidence * self.tuned_confidence


def print_written(sweep: Sweep, folder: Path) -> None:
    """Compute the predictions, write them, and print where; see `write`."""
    path, found = write(sweep, folder)
    counts = ", ".join(f"{int(found.of_kind(kind).sum())} {kind}" for kind in KINDS)
    print(f"{len(found.labels)} examples of the test part, trials {found.trials[0]} and {found.trials[1]}: {counts}")
    print(path)


def write(sweep: Sweep, folder: Path) -> tuple[Path, Compared]:
    """Let the baseline and the best trial answer the test part, and write `predictions.npz`.

    Raises BadInput if the workload gives no predictions, or one of the trials or its checkpoint is missing.
    """
    ledger = Ledger.read(folder)
    try:
        history = ledger.history(
            sweep.space, sweep.workload.horizon, sweep.seed, sweep.goal, tasks=sweep.tasks
        )  # with the real values of secrets
        seeds = {row["trial"]: row["seed"] for row in ledger.rows("suggestion")}
        pair = _pair(history, folder, sweep.baseline_config)
        places = Places(folder)
        given = [
            assignment(t, seeds[t.number], (), sweep=sweep, history=history, ledger=ledger, places=places) for t in pair
        ]
    finally:
        ledger.close()
    answers = []
    for each in given:
        try:
            answers.append(predictions(sweep, each))
        except FileNotFoundError as error:
            raise BadInput(f"{folder}: trial {each.trial} has no checkpoint left: {error}.") from error
    before, after = answers
    if before is None or after is None:
        raise BadInput(
            f"{type(sweep.workload).__name__} gives no predictions. A Workload defines predictions(model, part); any other "
            f"training can write {folder / FILE} itself, as docs/report_methods.md says."
        )
    found = compared(before, after, (pair[0].number, pair[1].number))
    target, unfinished = folder / FILE, folder / f"{FILE}.tmp"
    refuse_links(target, unfinished)
    save(found, unfinished)
    os.replace(unfinished, target)
    return target, found


def compared(before: Predictions, after: Predictions, trials: tuple[int, int]) -> Compared:
    """Both answers side by side, with the pictures or sentences of the surest examples of each kind.

    Raises ValueError if they are not about the same examples.
    """
    if not np.array_equal(before.labels, after.labels):
        raise ValueError(f"trials {trials[0]} and {trials[1]} did not predict the same examples in the same order.")
    none = np.zeros(0, dtype=np.int64)
    whole = Compared(
        before.labels, before.predicted, after.predicted, trials, before.confidence, after.confidence,
        tuple(before.classes), none, np.zeros((0, 0, 0), dtype=np.uint8), (),
    )  # fmt: skip
    order = np.argsort(-whole.surest, kind="stable")
    rows = np.concatenate([order[whole.of_kind(kind)[order]][:SHOWN] for kind in KINDS])
    images = whole.images if before.images is None else before.images[rows]
    texts = tuple(before.texts[row] for row in rows) if before.texts else ()
    return Compared(
        whole.labels, whole.baseline, whole.tuned, trials, whole.baseline_confidence, whole.tuned_confidence,
        whole.classes, rows if len(images) or texts else none, images, texts,
    )  # fmt: skip


def save(found: Compared, path: Path) -> None:
    """Write the arrays to `path`."""
    arrays = {
        "labels": found.labels, "baseline": found.baseline, "tuned": found.tuned, "trials": np.array(found.trials),
        "baseline_confidence": found.baseline_confidence, "tuned_confidence": found.tuned_confidence,
        "classes": np.array(found.classes, dtype=np.str_), "shown": found.shown, "images": found.images,
        "texts": np.array(found.texts, dtype=np.str_),
    }  # fmt: skip
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(folder: Path) -> Compared | None:
    """The predictions of a run; None if there are none. Raises BadInput if the file is not one of these."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: is not a file of arrays without pickles ({error}); write it again.") from error
    if (problem := _problem(arrays)) is not None:
        raise BadInput(f"{path}: {problem}; docs/report_methods.md says what it holds.")
    labels = arrays["labels"]
    sure = np.ones(len(labels))
    shown = arrays.get("shown", np.zeros(0, dtype=np.int64)).astype(np.int64)
    return Compared(
        labels.astype(np.int64), arrays["baseline"].astype(np.int64), arrays["tuned"].astype(np.int64),
        (int(arrays["trials"][0]), int(arrays["trials"][1])),
        arrays.get("baseline_confidence", sure), arrays.get("tuned_confidence", sure),
        tuple(map(str, arrays.get("classes", ()))), shown,
        arrays.get("images", np.zeros((0, 0, 0))).astype(np.uint8), tuple(map(str, arrays.get("texts", ()))),
    )  # fmt: skip


def _problem(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """What is wrong with the arrays, in words; None if nothing is."""
    if missing := [name for name in NEEDED if name not in arrays]:
        return f"it lacks {', '.join(missing)}"
    shape = arrays["labels"].shape
    for name in ("labels", "baseline", "tuned"):
        if arrays[name].shape != shape or len(shape) != 1:
            return f"{name} has the shape {arrays[name].shape}; labels, baseline and tuned need one length"
        if arrays[name].dtype.kind not in "iu" or arrays[name].min(initial=0) < 0:
            return f"{name} must hold whole numbers from 0 on"
    if arrays["trials"].shape != (2,):
        return f"trials has the shape {arrays['trials'].shape}; it needs two numbers"
    shown = arrays.get("shown", np.zeros(0, dtype=np.int64))
    if shown.size and (shown.min() < 0 or shown.max() >= shape[0]):
        return f"shown holds rows beyond the {shape[0]} examples"
    for name in ("images", "texts"):
        if len(arrays.get(name, ())) not in (0, len(shown)):
            return f"{name} has {len(arrays[name])} entries for the {len(shown)} in shown"
    images = arrays.get("images")
    if images is not None and len(images) and (images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,))):
        return f"images has the shape {images.shape}; it needs (m, height, width) or (m, height, width, 3)"
    return None


def _pair(history: History, folder: Path, config: Config | None) -> tuple[Trial, Trial]:
    best = winner(history)
    baseline = None if config is None else baseline_trial(history, config)
    if best is None or not best.steps:
        raise BadInput(f"{folder}: no full training has a finite value yet, so there is no best trial to compare.")
    if config is not None and (baseline is None or not baseline.steps):
        raise BadInput(f"{folder}: the baseline is not trained yet; run the sweep first.")
    if baseline is None:
        raise BadInput(f"{folder}: has no baseline to compare with; give the sweep one: Sweep(baseline={{…}}).")
    if best is baseline:
        raise BadInput(f"{folder}: the baseline itself is the best trial so far; there is nothing to compare.")
    return baseline, best
