"""Our docstrings as Markdown, for the API reference: cards become tables, examples and drawings become blocks of code.

A card is a block of lines that begin with a word and two blanks ("Use when   …"); deeper lines continue the one before.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?) {2,}(\S.*)")


class Cards(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """
    >>> print(as_markdown("Halves.\\n\\nUse when   a | b\\n           or c.\\nCosts      nothing."))
    Halves.
    <BLANKLINE>
    | | |
    | --- | --- |
    | **Use when** | a \\| b or c. |
    | **Costs** | nothing. |
    """
    blocks = docstring.replace("::\n", ":\n").split("\n\n")
    return "\n\n".join(_table(block) if ENTRY.match(block) else _fenced(block) for block in blocks)


def _fenced(block: str) -> str:
    """A block of text; an example in it, or a drawing, in fences."""
    if "├──" in block:
        return f"```text\n{block}\n```"
    text, prompt, example = re.sub(" *# doctest:.*", "", block).partition(">>> ")
    return f"{text}\n```pycon\n{prompt}{example}\n```" if prompt and text[-1:] in ("", "\n") else block


def _table(block: str) -> str:
    rows: list[list[str]] = []
    for line in block.splitlines():
        entry = ENTRY.match(line)
        if entry is not None:
            rows.append([entry[1], entry[2]])
        else:
            rows[-1][1] += f" {line.strip()}"
    cells = (f"| **{key}** | {text.replace('|', chr(92) + '|')} |" for key, text in rows)
    return "| | |\n| --- | --- |\n" + "\n".join(cells)
