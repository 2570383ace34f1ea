"""What people say about a run: tags, a note, an earlier name. Kept in `remarks.jsonl` beside the ledger.

The ledger has one writer, its driver, and people remark on a run while it works: hence a file of its own. Lines are
only appended, the latest counts, and secrets are masked. The lines are not part of the ledger's chain of hashes: no
decision rests on them.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput, StorageError
from orchestrator.record.encoding import now
from orchestrator.secrets import masked

FILE = "remarks.jsonl"
_TAG = re.compile(r"\w[\w.:/=-]{0,63}")


@dataclass(frozen=True)
class Remarks:
    """The remarks in force."""

    tags: tuple[str, ...] = ()  # in the order in which they were given
    note: str = ""
    earlier: tuple[tuple[str, str], ...] = ()  # renamings: the name before, the name after
    all_tags: frozenset[str] = frozenset()  # with those removed since
    all_notes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, folder: Path) -> Remarks:
        """The remarks on the run in `folder`. Leaves out lines that a kill has cut, or that are none of ours."""
        tags: dict[str, None] = {}
        notes, earlier = [""], []
        ever: set[str] = set()
        try:
            lines = (folder / FILE).read_bytes().splitlines()
        except OSError:
            return cls()
        for line in lines:
            match _parsed(line):
                case {"add": [*add], "remove": [*remove]}:
                    ever.update(str(tag) for tag in add)
                    tags |= dict.fromkeys(str(tag) for tag in add)
                    tags = {tag: None for tag in tags if tag not in remove}
                case {"note": str(text)}:
                    notes.append(text)
                case {"from": str(before), "to": str(after)}:
                    earlier.append((before, after))
        return cls(tuple(tags), notes[-1], tuple(earlier), frozenset(ever), frozenset(notes))


def check_tags(tags: Sequence[str]) -> None:
    """Raises BadInput for a word that is no tag."""
    if isinstance(tags, str):
        raise BadInput(f"tags={tags!r}: must be a list; write [{tags!r}].")
    for tag in tags:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise BadInput(
                f"tag {tag!r}: use letters, digits and . : / = _ -, at most 64, beginning with a letter or digit."
            )


def add_tags(folder: Path, add: Sequence[str], remove: Sequence[str] = ()) -> None:
    """Raises BadInput for a word that is no tag, StorageError if the disk refuses."""
    check_tags([*add, *remove])
    if add or remove:
        _append(folder, {"add": [masked(tag) for tag in add], "remove": list(remove)})


def add_note(folder: Path, text: str) -> None:
    """Replace the note; an empty one removes it. Raises StorageError if the disk refuses."""
    if masked(text) != Remarks.of(folder).note:
        _append(folder, {"note": masked(text)})


def remark_once(folder: Path, note: str | None, tags: Sequence[str]) -> None:
    """The remarks of a command that starts the run: run again, it does not undo what was said since."""
    before = Remarks.of(folder)
    add_tags(folder, [tag for tag in tags if masked(tag) not in before.all_tags])
    if note is not None and masked(note) not in before.all_notes:
        add_note(folder, note)


def add_renaming(folder: Path, before: str, after: str) -> None:
    """Note it before the folder is moved: it counts only if the folder has the name `after`."""
    _append(folder, {"from": before, "to": after})


def moved_to(folder: Path) -> Path | None:
    """The run beside `folder` that had its name before it was renamed; the last one."""
    found = []
    for path in folder.parent.glob(f"*/{FILE}"):
        if folder.name in _names_before(path.parent):
            found.append((path.stat().st_mtime, path.parent))
    return max(found)[1] if found else None


def _names_before(folder: Path) -> set[str]:
    """All names that the run in `folder` had. A renaming that a kill prevented leads to a name that it never had."""
    names = {folder.name}
    for before, after in reversed(Remarks.of(folder).earlier):
        if after in names:
            names.add(before)
    return names - {folder.name}


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _append(folder: Path, content: dict[str, Any]) -> None:
    line = json.dumps({"time": now(), **content}, ensure_ascii=False).encode() + b"\n"
    try:
        file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(file).st_size
            is_cut = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # a kill has cut the last line
            os.write(file, b"\n" * is_cut + line)  # at once: two writers do not mix their lines
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        remedy = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Get write permission for this folder"
        raise StorageError(
            f"{folder / FILE}: cannot be written: {error.strerror}. {remedy}, then run the same command again."
        ) from error
