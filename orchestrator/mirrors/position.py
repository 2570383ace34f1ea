"""How far a run is mirrored: a small file beside the mirror, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.errors import BadInput
from orchestrator.record.file_lock import FileLock
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import RECORDS
from orchestrator.record.storage import replace_file

DIGITS = 12  # of a run's id


@dataclass(frozen=True)
class Position:
    """The last record that the mirror holds."""

    run: str  # the run's id
    name: str  # the run's name in the mirror
    seq: int = 0
    hash: str = ""  # of the record `seq`
    waiting: tuple[int, ...] = ()  # trials up to `seq` that are to be sent again, from their first step


def run_id(ledger: Ledger) -> str:
    """The beginning of the first record's hash: it holds the driver's host, process and time, so no two are equal."""
    return hash_of(ledger, 1)[:DIGITS]


def hash_of(ledger: Ledger, seq: int) -> str:
    """The hash of a record; empty if there is no such record."""
    found = ledger.query(" UNION ALL ".join(f"SELECT hash FROM {name} WHERE seq = :seq" for name in RECORDS), seq=seq)
    return str(found[0][0]) if found else ""


def load(output: Path, ledger: Ledger) -> Position:
    """The position of the run's mirror in `output`; the beginning if there is none. Raises BadInput like `check`."""
    own = run_id(ledger)
    try:
        data = json.loads(_file(output, own).read_text())
        position = Position(**data | {"waiting": tuple(data["waiting"])})
    except (OSError, ValueError, TypeError, KeyError):
        return Position(own, _free_name(output, ledger.folder.name, own))
    check(output, ledger, position)
    return position


def check(output: Path, ledger: Ledger, position: Position) -> None:
    """Raises BadInput if the mirror holds records that the run has no more."""
    if position.seq and hash_of(ledger, position.seq) != position.hash:
        raise BadInput(
            f"{output}: mirrors records of {ledger.folder} that its ledger does not hold any more (it was repaired, or begun "
            "afresh). Name another --output, or remove that one."
        )


def save(output: Path, position: Position) -> None:
    replace_file(_file(output, position.run), json.dumps(asdict(position)).encode())


def lock(output: Path, run: str) -> FileLock:
    """Keep other mirrors of the same run out. Raises BadInput."""
    lock = FileLock(_file(output, run).with_suffix(".lock"))
    if not lock.acquire():
        raise BadInput(f"{output}: another `orchestrator mirror` of this run is at work here.")
    return lock


def _file(output: Path, run: str) -> Path:
    return output / f".mirrored-{run}.json"


def _free_name(output: Path, name: str, own: str) -> str:
    """The run's name, unless another run's mirror has it."""
    for path in output.glob(".mirrored-*.json"):
        try:
            other = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if other["name"] == name and other["run"] != own:
            return f"{name}-{own[:6]}"
    return name
