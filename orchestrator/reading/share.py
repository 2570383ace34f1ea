"""A folder to give away: the record, the report, the best checkpoint, and nothing else.

It is a run that can be read: `orchestrator show FOLDER` works. The record has its secrets masked. A checkpoint is what
the training wrote; if it looks as if it held a secret, it stays at home.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.driving.places import Places
from orchestrator.errors import BadInput
from orchestrator.reading.export import writing
from orchestrator.reading.own_files import scripts_own
from orchestrator.reading.summary import no_result, summary
from orchestrator.record import remarks
from orchestrator.record.ledger import FILE, Ledger
from orchestrator.reporting import PLACE, REPORTS
from orchestrator.secrets import MASK, masked

MOST_SEARCHED = 4 << 20  # bytes of a file that is searched for secrets; larger ones hold weights
_WORD = re.compile(r"[A-Za-z0-9_.+/=-]{12,}")


@dataclass(frozen=True)
class Shared:
    """What is in the folder, and what was left out with the reason."""

    folder: Path
    files: list[str]
    left_out: list[str]


def share(ledger: Ledger, target: Path, report: Mapping[str, bytes]) -> Shared:
    """Make the folder `target`; after a kill it is there whole or not at all. `report`: its files, by name.

    Raises BadInput if `target` exists, StorageError if it cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise BadInput(f"{target} exists already; name another folder with --output, or remove it.")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as half:
            made = Path(half) / target.name
            made.mkdir()
            left_out = list(_fill(ledger, made, report))
            files = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
            os.rename(made, target)
    return Shared(target, files, left_out)


def _fill(ledger: Ledger, made: Path, report: Mapping[str, bytes]) -> Iterator[str]:
    """Write everything; yields what is left out."""
    ledger.query("VACUUM INTO :copy", copy=str(made / FILE))
    if (ledger.folder / remarks.FILE).is_file():
        shutil.copyfile(ledger.folder / remarks.FILE, made / remarks.FILE)
    for name, content in report.items():
        (made / name).write_bytes(content)
    facts = summary(ledger)
    best = facts["best"]
    if best is None:
        yield f"a checkpoint: {no_result(facts)}"
        return
    own, reported = scripts_own(ledger.folder, best["trial"], best["step"])
    source = reported or best["checkpoint"]
    if source is None:
        yield f"a checkpoint: trial {best['trial']}, the best, has none"
        return
    secret = _with_secret(Path(source), best["config"])
    if secret is not None:
        yield f"the checkpoint of trial {best['trial']}: {secret} seems to hold a secret"
        return
    target = made / _place(Path(source), ledger.folder)
    yield from _copy(Path(source), target)
    if source == reported != own:
        _name_checkpoint(Places(made).script(best["trial"]), best["step"], target)


def _name_checkpoint(own: Path, step: int, checkpoint: Path) -> None:
    """The one line of a script's own record that tells which of its files is the checkpoint."""
    (own / PLACE).mkdir(parents=True, exist_ok=True)
    line = {"step": step, "checkpoint": os.path.relpath(checkpoint, own)}
    (own / PLACE / REPORTS).write_text(json.dumps(line) + "\n")


def _place(source: Path, folder: Path) -> Path:
    """Where it lies in the run; a checkpoint that a script keeps elsewhere lies in `checkpoint`."""
    inside = source.is_relative_to(folder) and ".." not in source.parts
    return source.relative_to(folder) if inside else Path("checkpoint") / source.name


def _copy(source: Path, target: Path) -> Iterator[str]:
    """Copy a file or a folder; yields the links in it, which are left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
        return
    links = [path for path in source.rglob("*") if path.is_symlink()]
    shutil.copytree(
        source, target, ignore=lambda place, names: [n for n in names if n == PLACE or Path(place, n).is_symlink()]
    )
    yield from (f"{path}: a link" for path in links)


def _with_secret(source: Path, config: Mapping[str, Any]) -> str | None:
    """The first file that holds a word like a token, or the name of a setting whose value the record masks."""
    hidden = [name for name, value in config.items() if isinstance(value, str) and MASK in value]
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if PLACE in path.relative_to(source).parts:  # ours, and not copied
            continue
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_SEARCHED:
            continue
        text = path.read_bytes().decode("utf-8", "ignore")
        if any(name in text for name in hidden) or any(masked(word) != word for word in _WORD.findall(text)):
            return str(path)
    return None
