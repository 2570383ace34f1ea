"""Running text as numbers: read, split into words or characters, numbered by a vocabulary of the training part.

A folder of text contains `train.txt`, `valid.txt` and `test.txt`; a single file whose name contains the part's name is
also fine (`ptb.train.txt`). Without a test part, the second half of the lines of the valid part is the test part. Each
line is a sentence or a paragraph; lines are stripped, blank ones skipped. Without a folder, the text is the one in
Python's `help()`: 340,000 characters of the language reference, the same for all users of a Python version. The numbers
of a folder are computed once per node.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("train", "valid", "test")
LEVELS = ("words", "characters")
UNKNOWN, END = "<unk>", "<eos>"  # as in the Penn Treebank of Mikolov

_BLOCK = 16  # neighbouring paragraphs of the reference that stay in one part
_TURNS = (*["train"] * 8, "test", "valid")  # the parts, in the order in which they take blocks


def check(data: str | None) -> None:
    """Raise ValueError unless `data` is None or a folder of text; reads only the first lines."""
    if data is not None:
        for path in set(_files(data).values()):
            try:
                with path.open(encoding="utf-8") as file:
                    filled = any(line.strip() for line in file)
            except UnicodeDecodeError as error:
                raise _not_text(data, path, error) from error
            if not filled:
                raise _empty(data, path)


@lru_cache(maxsize=8)
def lines(data: str | None, part: str) -> tuple[str, ...]:
    """The lines of a part of the text in the folder `data`; of Python's own text if that is None."""
    if data is None:
        return _reference()[part]
    files = _files(data)
    path = files.get(part, files["valid"])
    try:
        stripped = (line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
    except UnicodeDecodeError as error:
        raise _not_text(data, path, error) from error
    found = tuple(line for line in stripped if line)
    if not found:
        raise _empty(data, path)
    if "test" in files or part == "train":
        return found
    half = (len(found) + 1) // 2
    return found[:half] if part == "valid" else found[half:]


def units(line: str, level: str) -> list[str]:
    """The words or the characters of a line, and the mark of its end."""
    return [*(line.split() if level == "words" else line), END]


@lru_cache(maxsize=8)
def vocabulary(data: str | None, level: str, size: int) -> dict[str, int]:
    """The number of each of the `size` most frequent units of the training part, most frequent first.

    They include the marks of unknown units and of line ends. There are fewer if the text has fewer.
    """
    counts = Counter(unit for line in lines(data, "train") for unit in units(line, level))
    ends = counts.pop(END)
    counts.pop(UNKNOWN, None)
    kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: size - 2])
    unknown = sum(len(units(line, level)) for line in lines(data, "train")) - sum(kept.values()) - ends
    kept |= {END: ends, UNKNOWN: unknown}
    return {unit: number for number, unit in enumerate(sorted(kept, key=lambda unit: (-kept[unit], unit)))}


@lru_cache(maxsize=16)
def numbers(data: str | None, part: str, level: str, size: int, device: str) -> Tensor:
    """The whole part as one stream of numbers of the vocabulary; long, (units,)."""
    return streams(data, level, size)[part].to(device)


def entries(data: str | None, level: str, size: int) -> int:
    """The number of units in the vocabulary; reads no text if a process of this node has read it before."""
    return int(streams(data, level, size)["entries"])


def once(
    data: str | None, key_parts: tuple[object, ...], make: Callable[[], Mapping[str, Tensor]]
) -> Mapping[str, Tensor]:
    """The result of `make`, shared by all processes of the node, unless it is Python's own text, which is short."""
    from trainables.data import node_cache

    return make() if data is None else node_cache.once(key_parts, list(_files(data).values()), make)


def paragraphs(topic: str) -> list[str]:
    """The paragraphs of a topic of Python's reference, each as one line, without the lines of headings and tables."""
    from pydoc_data.topics import topics

    bare = re.sub(r"[-=*~^+|]{3,}", " ", topics.get(topic, ""))
    found = (" ".join(text.split()) for text in re.split(r"\n\s*\n", bare))
    return [text for text in found if text]


@lru_cache(maxsize=1)
def _reference() -> dict[str, tuple[str, ...]]:
    from pydoc_data.topics import topics

    each_once = dict.fromkeys(text for topic in sorted(topics) for text in paragraphs(topic))  # topics repeat others
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for place, text in enumerate(each_once):
        parts[_TURNS[place // _BLOCK % len(_TURNS)]].append(text)
    return {part: tuple(found) for part, found in parts.items()}


@lru_cache(maxsize=4)
def streams(data: str | None, level: str, size: int) -> Mapping[str, Tensor]:
    """The stream of each part, and "entries"."""
    return once(data, ("text", level, size), lambda: numbered(data, level, size))


def numbered(data: str | None, level: str, size: int) -> dict[str, Tensor]:
    import torch

    known = vocabulary(data, level, size)
    unknown = known[UNKNOWN]
    streams = {
        part: torch.tensor([known.get(unit, unknown) for line in lines(data, part) for unit in units(line, level)])
        for part in PARTS
    }
    return {**streams, "entries": torch.tensor(len(known))}


def _files(data: str) -> dict[str, Path]:
    folder = Path(data)
    wanted = "a folder with train.txt, valid.txt and test.txt (or ptb.train.txt and so on), one sentence a line"
    if not folder.is_dir():
        raise ValueError(f"data={data!r}: there is no such folder. Give {wanted}; or data=None for Python's own text.")
    files = {}
    for part in PARTS:
        exact = folder / f"{part}.txt"
        found = [exact] if exact.is_file() else sorted(folder.glob(f"*{part}*.txt"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ValueError(f"data={data!r}: {names} could all be the {part} part; call one of them {part}.txt.")
        if found:
            files[part] = found[0]
        elif part != "test":
            raise ValueError(f"data={data!r}: there is no {part} file (*{part}*.txt) in it. Give {wanted}.")
    return files


def _empty(data: str, path: Path) -> ValueError:
    return ValueError(f"data={data!r}: {path.name} is empty; put text into it, one sentence a line.")


def _not_text(data: str, path: Path, error: UnicodeDecodeError) -> ValueError:
    return ValueError(f"data={data!r}: {path.name} is not UTF-8 text ({error.reason}, byte {error.start}).")
