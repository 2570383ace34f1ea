"""A classifier before and after tuning, example by example: what was fixed, what was broken, and whether by chance."""

from __future__ import annotations

import io
import re

import numpy as np
from numpy.typing import NDArray

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.errors import BadInput
from orchestrator.page.analysis.mcnemar import p_value
from orchestrator.page.analysis.words import counted, percent
from orchestrator.page.charts import Figure, Images, Section, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import place
from orchestrator.reading.predictions import FILE, KINDS, Compared, read
from orchestrator.reading.scores import untrained

SCORES = re.compile(r"acc|matthews|top.?\d|f1|error.?rate|precision|recall", re.IGNORECASE)  # metrics of classifiers
MOST_CLASSES = 12  # in a confusion matrix; of more classes, those that changed most are listed
CHANGED = 20  # classes in that list
LEAST_SIDE = 64  # pixels of a picture; smaller ones are enlarged
SURE = 0.05  # the probability below which chance is ruled out
TEXT = 300  # characters of a sentence

TITLES = {
    "fixed": "Fixed: the baseline was wrong, the tuned model is right",
    "broken": "Broken: the baseline was right, the tuned model is wrong",
    "both wrong": "Both wrong",
    "both right": "Both right",
}


def section(run: Recorded) -> Section | None:
    """None if the run's metrics are not those of a classifier and no predictions are on record."""
    title = "Baseline against tuned, example by example"
    try:
        found = read(run.folder)
    except BadInput as error:
        return Section("examples", title, [str(error)])
    if found is None:
        how = _how(run)
        return Section("examples", title, [how]) if how else None
    figures: list[Figure] = [_four(found)]
    figures += _confusion(found)
    figures += [images for kind in KINDS if not (images := _images(found, kind)).is_empty]
    return Section("examples", title, _sentences(run, found), figures, columns=2)


def _how(run: Recorded) -> str:
    """How to get predictions; empty if the run seems to train no classifier or cannot be compared yet."""
    names = {run.metric}
    if run.about.get("trains_on", True):  # others would have to write the predictions themselves
        names |= {name for row in run.rows["report"][:1] for name in row["metrics"]}
    if not any(SCORES.search(name) for name in names):
        return ""
    if untrained(run.about, run.baseline):
        return ""
    if run.baseline is None:
        return "There is no baseline to compare single examples with; give the sweep one: Sweep(baseline={…})."
    if run.best is None or run.best is run.baseline:
        return ""
    return f"To compare the baseline with the best trial on each example of the test part: {_again(run)}."


def _again(run: Recorded) -> str:
    """How to get predictions: by the command, where the training is a Workload; any other one writes the file itself."""
    if run.about.get("trains_on", True):
        return orchestrator_line("predictions", place(run.folder))
    return f"write the predictions of both to {FILE} in the run's folder (docs/report_methods.md has the format)"


def _sentences(run: Recorded, found: Compared) -> list[str]:
    count = len(found.labels)
    right = {name: int((a == found.labels).sum()) for name, a in (("b", found.baseline), ("t", found.tuned))}
    fixed, broken = int(found.of_kind("fixed").sum()), int(found.of_kind("broken").sum())
    chance = p_value(fixed, broken)
    verdict = "more than chance explains" if chance < SURE else "which may be chance"
    sentences = [
        f"Of {counted(count, 'test example')}, the tuned model (trial {found.trials[1]}) gets {right['t']} right "
        f"({percent(right['t'] / max(1, count))}), the baseline (trial {found.trials[0]}) {right['b']} "
        f"({percent(right['b'] / max(1, count))}): {fixed} fixed, {broken} broken, {verdict} (McNemar's exact test, "
        f"p = {chance:.2g}).",
    ]
    best = run.best
    if best is not None and best.number != found.trials[1]:
        sentences.append(f"The best trial is now {best.number}; to compare that one: {_again(run)}.")
    elif run.baseline is not None and run.baseline.number != found.trials[0]:
        sentences.append(f"The baseline is now trial {run.baseline.number}; to compare with that one: {_again(run)}.")
    sentences.append("The test compares these two trained models; another training of the same settings may differ.")
    return sentences


def _four(found: Compared) -> Table:
    count = max(1, len(found.labels))
    rows = [[kind, str(n := int(found.of_kind(kind).sum())), percent(n / count)] for kind in KINDS]
    return Table("Examples", ["", "examples", "share"], rows, numeric=("examples", "share"))


def _confusion(found: Compared) -> list[Figure]:
    """Both confusion matrices; of many classes, those whose accuracy changed most."""
    size = int(max(found.labels.max(initial=0), found.baseline.max(initial=0), found.tuned.max(initial=0))) + 1
    names = [found.classes[k] if k < len(found.classes) else str(k) for k in range(size)]
    if size > MOST_CLASSES:
        return [_changed(found, names)]
    tables: list[Figure] = []
    for title, answers in (
        ("Confusion of the baseline", found.baseline),
        ("Confusion of the tuned model", found.tuned),
    ):
        matrix = confusion(found.labels, answers, size)
        rows = [[names[k], *map(str, matrix[k].tolist())] for k in range(size)]
        tables.append(
            Table(
                title,
                ["right class", *names],
                rows,
                numeric=names,
                note="Rows: the right class. Columns: the prediction.",
            )
        )
    return tables


def confusion(labels: NDArray[np.int64], answers: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """(size, size): how often an example of the row's class was called the column's."""
    return np.bincount(labels * size + answers, minlength=size * size).reshape(size, size).astype(np.int64)


def _changed(found: Compared, names: list[str]) -> Table:
    size = len(names)
    total = np.bincount(found.labels, minlength=size)
    before = np.bincount(found.labels[found.baseline == found.labels], minlength=size)
    after = np.bincount(found.labels[found.tuned == found.labels], minlength=size)
    order = [k for k in np.argsort(-np.abs(after - before), kind="stable")[:CHANGED] if after[k] != before[k]]
    rows = [[names[k], str(total[k]), str(before[k]), str(after[k]), f"{after[k] - before[k]:+d}"] for k in order]
    columns = ["class", "examples", "baseline right", "tuned right", "change"]
    note = f"The classes that changed most, of {size}; {MOST_CLASSES} or fewer get confusion matrices."
    return Table("Classes that changed most", columns, rows, numeric=columns[1:], note=note)


def _images(found: Compared, kind: str) -> Images:
    mask = found.of_kind(kind)
    items: list[tuple[bytes | None, str]] = []
    for position, row in enumerate(found.shown.tolist()):
        if row < len(mask) and mask[row]:
            picture = _png(found.images[position]) if position < len(found.images) else None
            text = found.texts[position] if position < len(found.texts) else ""
            if picture is not None or text:
                items.append((picture, _caption(found, kind, row, text)))
    total = int(mask.sum())
    note = (
        f"The {len(items)} of {total} examples with the highest confidence of both models."
        if total > len(items)
        else ""
    )
    return Images(TITLES[kind], items, note)


def _caption(found: Compared, kind: str, row: int, text: str) -> str:
    label, before, after = (_name(found, int(a[row])) for a in (found.labels, found.baseline, found.tuned))
    told = {
        "fixed": f"{label}, not {before}",
        "broken": f"{label}, now called {after}",
        "both wrong": f"{label}; called {before}" + ("" if before == after else f", now {after}"),
        "both right": label,
    }[kind]
    sentence = text if len(text) <= TEXT else f"{text[:TEXT]}…"
    return f"“{sentence}” ({told})" if sentence else told


def _name(found: Compared, number: int) -> str:
    return found.classes[number] if number < len(found.classes) else str(number)


def _png(image: NDArray[np.uint8]) -> bytes:
    """A picture, enlarged in whole steps so that single pixels stay sharp."""
    from PIL import Image

    times = max(1, -(-LEAST_SIDE // max(image.shape[:2])))
    large = image.repeat(times, axis=0).repeat(times, axis=1)
    out = io.BytesIO()
    Image.fromarray(large).save(out, format="PNG", optimize=True)
    return out.getvalue()
