"""The code with which each trial has trained: another one after each edit, numbered as they came into use."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from orchestrator.definition.sources import EDITED, Source, edited, edits_told
from orchestrator.record.ledger import Ledger

Code = Mapping[str, Source]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Codes:
    """`distinct`: the codes, from number 1. `order`: their numbers as they came into use, again after an edit was taken back.
    `trials`: trial → the numbers of those that it reported with; of a trial that has not reported, the one it began with."""

    distinct: list[Code] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    trials: dict[int, list[int]] = field(default_factory=dict)

    def number(self, code: Code) -> int | None:
        """None if no trial has trained with it."""
        return next((at for at, known in enumerate(self.distinct, start=1) if not edited(known, code)), None)

    def of(self, trial: int) -> list[Code]:
        return [self.distinct[number - 1] for number in self.trials.get(trial, [])]

    def last_of(self, trial: int | None) -> Code:
        """The code of the trial's last report."""
        return {} if trial is None else next(reversed(self.of(trial)), {})

    def edits(self) -> dict[str, str]:
        """What was edited → this in words, with all values if they are short.

        >>> codes = Codes([{"K": {"sha256": text, "text": text}} for text in "12"], [1, 2, 1])
        >>> codes.edits()
        {'K': 'K: 1 → 2 → 1'}
        """
        chains: dict[str, list[Source]] = {}
        for old, new in pairwise(self.order):
            for name, (before, after) in edited(self.distinct[old - 1], self.distinct[new - 1]).items():
                chains.setdefault(name, [before]).append(after)
        found = {}
        for name, chain in chains.items():
            texts = [each.get("text") for each in chain]
            times = f" {len(chain) - 1} times" if len(chain) > 2 else ""
            found[name] = f"{name}: {' → '.join(map(str, texts))}" if None not in texts else f"{name} was edited{times}"
        return found


def codes_of_record(ledger: Ledger) -> Codes:
    events = ledger.rows("event", "WHERE kind = :kind", kind=EDITED)
    versions = ledger.query("SELECT count(DISTINCT json_extract(description, '$.files')) FROM sweep")[0][0]
    return codes_of(
        ledger.sweeps() if events or versions > 1 else [ledger.sweep()],  # to parse all of many starts takes long
        events,
        *(
            [
                {"trial": trial, "seq": seq}
                for trial, seq in ledger.query(f"SELECT trial, seq FROM {table} ORDER BY seq")
            ]
            for table in ("report", "suggestion")
        ),
    )


def codes_of(sweeps: Rows, events: Rows, reports: Rows, suggestions: Rows) -> Codes:
    """Of the trials that have reported, and of those that were begun after the first report."""
    starts: dict[int, list[tuple[int, Code]]] = {}
    for row in events:
        if row["kind"] == EDITED:
            starts.setdefault(row["trial"], []).append((row["seq"], json.loads(row["text"])))
    files = [(each["seq"], each["description"].get("files", {})) for each in sweeps]
    if not reports:
        return Codes()
    reported = {row["trial"] for row in reports}
    silent = [row for row in suggestions if row["trial"] not in reported and row["seq"] > reports[0]["seq"]]
    if not starts and not any(edited(old, new) for (_, old), (_, new) in pairwise(files)):
        return Codes([files[-1][1]], [1], {row["trial"]: [1] for row in [*reports, *silent]})
    asked: dict[int, list[int]] = {}
    for row in suggestions:
        asked.setdefault(row["trial"], []).append(row["seq"])
    found: list[tuple[int, int]] = []  # trial, and the record (`seq`) with which it started
    codes: dict[int, Code] = {}
    for row in [*reports, *silent]:
        begun, code = next(each for each in reversed(files) if each[0] < row["seq"])
        until = row["seq"] if row["trial"] in reported else math.inf
        own = [(seq, changed) for seq, changed in starts.get(row["trial"], []) if begun < seq < until]
        latest = max((seq for seq in asked[row["trial"]] if begun < seq < until), default=begun)
        start, code = (own[-1][0], {**code, **own[-1][1]}) if own else (latest, code)
        codes[start] = code
        found.append((row["trial"], start))
    return _numbered(found, codes)


def _numbered(found: Sequence[tuple[int, int]], codes: Mapping[int, Code]) -> Codes:
    result, numbers = Codes(), {}
    for start in sorted(codes):
        number = result.number(codes[start])
        if number is None:
            result.distinct.append(codes[start])
            number = len(result.distinct)
        result.distinct[number - 1] = codes[start]  # a later release may watch more
        if result.order[-1:] != [number]:
            result.order.append(number)
        numbers[start] = number
    for trial, start in found:
        known = result.trials.setdefault(trial, [])
        if known[-1:] != [numbers[start]]:
            known.append(numbers[start])
    return result


def present_code(sweeps: Rows) -> Code:
    """The code at the latest start of the sweep."""
    found: Code = sweeps[-1]["description"].get("files", {})
    return found


def edits_since(codes: Codes, trial: int, now: Code) -> str:
    """What was edited since the trial has trained, in words; empty if nothing was."""
    return ", ".join(dict.fromkeys(told for code in codes.of(trial) for told in edits_told(edited(code, now))))
