"""Labelled sentences of a GLUE task, read from its published files.

    cola    in_domain_train.tsv, in_domain_dev.tsv (validation) and out_of_domain_dev.tsv (test, because the labels of
            CoLA's own test part are not public); columns: source, label, mark, sentence
    sst2    train.tsv, dev.tsv, test.tsv; columns: sentence, label

Without a folder: 2,400 sentences of Python's language reference, to be classified into those on objects and their
methods (0) and those on the language around them (1). Counting words reaches an accuracy of about 0.8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trainables.data.text import paragraphs

_OBJECTS = (
    "types", "specialnames", "typesseq", "typesmapping", "string-methods", "objects", "attribute-access", "customization",
)  # fmt: skip
_LANGUAGE = (
    "compound", "assignment", "import", "execmodel", "calls", "strings", "raise", "formatstrings", "debugger",
    "operator-summary", "comparisons", "identifiers", "binary",
)  # fmt: skip
_TURNS = (*["train"] * 7, "valid", "test", "test")  # the parts, in the order in which they take sentences


@dataclass(frozen=True)
class Sentences:
    texts: tuple[str, ...]
    labels: tuple[int, ...]  # 0 or 1


@dataclass(frozen=True)
class _Files:
    """The files of a task's parts, and their columns."""

    parts: dict[str, str]
    columns: tuple[str, ...]


TASKS = {
    "cola": _Files(
        {"train": "in_domain_train.tsv", "valid": "in_domain_dev.tsv", "test": "out_of_domain_dev.tsv"},
        ("source", "label", "mark", "sentence"),
    ),
    "sst2": _Files({"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}, ("sentence", "label")),
}


def check(data: str | None, task: str) -> None:
    """Raise ValueError unless `data` is None or a folder with valid files of `task`."""
    if task not in TASKS:
        raise ValueError(f"task={task!r}: must be one of {', '.join(map(repr, TASKS))}.")
    for part in TASKS[task].parts:
        read(data, task, part)


def classes(data: str | None, task: str) -> tuple[str, str]:
    """The meaning of the labels 0 and 1."""
    if data is None:
        return "objects", "language"
    return ("unacceptable", "acceptable") if task == "cola" else ("negative", "positive")


@lru_cache(maxsize=8)
def read(data: str | None, task: str, part: str) -> Sentences:
    if data is None:
        return _reference()[part]
    files, path = TASKS[task], Path(data) / TASKS[task].parts[part]
    if not path.is_file():
        names = ", ".join(files.parts.values())
        raise ValueError(
            f"data={data!r}: there is no {path.name} in it. Give a folder with {names} (task={task!r}); or data=None for "
            "sentences from Python's own text."
        )
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    found = [_row(line, files, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    return Sentences(tuple(text for text, _ in found), tuple(label for _, label in found))


def _row(line: str, files: _Files, where: str) -> tuple[str, int]:
    columns = line.split("\t")
    if len(columns) != len(files.columns):
        wanted = ", ".join(files.columns)
        raise ValueError(
            f"{where}: has {len(columns)} columns; must have {len(files.columns)} ({wanted}), with tabs between."
        )
    row = dict(zip(files.columns, columns, strict=True))
    if row["label"] not in ("0", "1"):
        raise ValueError(
            f"{where}: the label {row['label']!r} is in column {files.columns.index('label') + 1}; must be 0 or 1."
        )
    return row["sentence"], int(row["label"])


@lru_cache(maxsize=1)
def _reference() -> dict[str, Sentences]:
    each_once: dict[str, tuple[str, int]] = {}  # topics repeat others
    for label, topics in enumerate((_OBJECTS, _LANGUAGE)):
        for paragraph in (paragraph for topic in topics for paragraph in paragraphs(topic)):
            for sentence in re.split(r"(?<=[.:])\s+", paragraph):
                if len(sentence.split()) >= 5 and not re.search(r">>>|::=", paragraph):  # prose, not code or grammar
                    each_once.setdefault(sentence.lower(), (sentence, label))
    parts: dict[str, list[tuple[str, int]]] = {part: [] for part in ("train", "valid", "test")}
    for place, item in enumerate(each_once.values()):
        parts[_TURNS[place % len(_TURNS)]].append(item)
    return {part: Sentences(tuple(t for t, _ in some), tuple(n for _, n in some)) for part, some in parts.items()}
