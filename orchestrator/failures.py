"""When two failures have the same cause: they read the same once numbers, paths, addresses and times are left out."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# In this order: what an earlier pattern takes, a later one does not see.
_LEFT_OUT = (
    (re.compile(r"(?<=--)([\w-]+)=('[^']*'|\"[^\"]*\"|\S+)"), r"\1=…"),  # a flag's value: argparse prints them all
    (re.compile(r"\b(?:[a-z][a-z0-9+.-]*://|[A-Za-z]:\\)[^\s'\",;)\]}>]+"), "…"),  # URLs, Windows' paths
    (re.compile(r"(?<![\w.])(?:~|\.{1,2})?/[^\s'\",;:)\]}>]+"), "…"),  # /home/me/data.csv, ./data.csv
    (re.compile(r"(?<![\w/])[\w.-]+(?:/[\w.-]+)+"), "…"),  # data/train.csv
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "…"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "…"),
    (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b"), "…"),  # hashes, addresses without 0x
    (re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|\d+:\d\d(?::\d\d)?"), "…"),
    (re.compile(r"(?<![A-Za-z0-9_])[+-]?(?:\d[\d_,.]*\d|\d)(?:\.(?!\w))?(?:e[+-]?\d+)?", re.IGNORECASE), "…"),
    (re.compile(r"(?<![\w.])[+-]?(?:nan|inf(?:inity)?)(?![\w.])", re.IGNORECASE), "…"),
    (re.compile(r"[█▏▎▍▌▋▊▉▁▂▃▄▅▆▇]+"), ""),  # progress bars
    (re.compile(r"\s+"), " "),
)  # fmt: skip


def same_cause(reason: str) -> str:
    """Equal for reasons that differ only in numbers, paths, addresses, times and the values of flags.

    >>> same_cause("ValueError: 0.3 in /tmp/a.csv")
    'ValueError: … in …'
    """
    text = _COLOUR.sub("", reason)
    for pattern, instead in _LEFT_OUT:
        text = pattern.sub(instead, text)
    return text.strip()
