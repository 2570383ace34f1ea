"""The cards of algorithms and workloads ("Use when …", "Costs …") as tables, for the API reference.

A card is a block of lines in a docstring that begin with a word and two blanks; deeper lines continue the one before.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?) {2,}(\S.*)")


class Cards(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_tables(obj.docstring.value)


def with_tables(docstring: str) -> str:
    """
    >>> print(with_tables("Halves.\\n\\nUse when   a | b\\n           or c.\\nCosts      nothing."))
    Halves.
    <BLANKLINE>
    | | |
    | --- | --- |
    | **Use when** | a \\| b or c. |
    | **Costs** | nothing. |
    """
    blocks = docstring.replace("::\n", ":\n").split("\n\n")
    return "\n\n".join(_table(block) if ENTRY.match(block) else block for block in blocks)


def _table(block: str) -> str:
    rows: list[list[str]] = []
    for line in block.splitlines():
        entry = ENTRY.match(line)
        if entry is not None:
            rows.append([entry[1], entry[2]])
        else:
            rows[-1][1] += f" {line.strip()}"
    return "| | |\n| --- | --- |\n" + "\n".join(
        f"| **{key}** | {text.replace('|', chr(92) + '|')} |" for key, text in rows
    )
