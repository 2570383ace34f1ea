"""Numbers as scripts print them, and what around one makes it another number.

A number is read as it was meant, or not at all: `1'234.5` is 1234.5, and `1 234.5`, `1.5 × 10⁻³`, `2 k` and `0.61 to 0.52`
are doubtful. So is `1,234`, which is 1.234 in many countries, until the script prints a number such as `1,234.5`.
"""

from __future__ import annotations

import math
import re

NOT_FINITE = r"(?:nan(?:\(\w*\)|\b)|inf(?:inity)?\b|1\.#(?:qnan|snan|ind|inf)\d*)"  # also C's -nan(ind), 1.#QNAN
_GROUPING = "'’\u00a0\u2009\u202f"  # between digits, they only separate thousands
_GROUPS = "|".join(rf"(?:{sign}\d{{3}})+" for sign in _GROUPING)
_THOUSANDS = rf"[1-9]\d{{0,2}}(?:(?:,\d{{3}})+\.\d+|(?:,\d{{3}}){{2,}}|(?:{_GROUPS})(?:\.\d+)?)"
NUMBER = (
    rf"[-+]?(?:{NOT_FINITE}|\d+\.\d*[fFdD][-+]?\d+"  # Julia's 0.5f0, Fortran's 0.5D-01
    rf"|(?:{_THOUSANDS}|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
)
WHOLE = (
    rf"(?:[1-9]\d{{0,2}}(?:(?:,\d{{3}})+|{_GROUPS})|\d+)"  # a count has no decimals, so its comma separates thousands
)
COUNT = rf"(?P<number>{WHOLE})\s*/\s*(?P<total>{WHOLE})(?![\w.]*\w| \d{{3}}(?!\d))"

UNIT = r"\s?(?:ms|us|µs|ns|s|secs?|seconds?|min|h|hrs?|dB|[kKMG]i?B|Hz|px|bits|bpc|bpb|°C?|it/s|s/it|/s|/sec)"
_ALONE = rf"(?:{NUMBER})(?![\w.])(?:\s*%)?(?=\s*(?:$|[,;|)\]}}]|[-+.]?\d))"  # a word behind it says that it is something else
_SCALE = (  # behind a blank, not a name: `D loss 0.5 G loss 0.3`, `0.5 k=3`
    r"[kKMGTB]\b|\s?(?:thousand|million|billion)\b|\s[kKMGTB](?=\s*(?:$|[,;|)\]}]))|\s[kM]\b(?!\s*[=:]?\s*[-+.\d])"
)
_FACTOR = rf"\s*[×xX*·]\s*(?:10(?:\^|\*\*|[⁻⁰¹²³⁴-⁹])|1[eE])|\s+[eE][-+]?\d+\b|{_SCALE}"
GOES_ON = re.compile(rf"\s*(?:->|-->|→|=>)|{_FACTOR}|\s*to\s+{_ALONE}|[–—]\d|\s*/\s+\d+(?![\w.])")
SECOND = re.compile(rf"\s+(?:(?:out )?of\s+)?{_ALONE}", re.I)  # of a number without a unit: `54 % of 1000` is whole
SUPPORT = re.compile(r"\s{2,}\d+\s*$")  # behind a share, the examples that it is of, in scikit-learn's reports
STEP_GOES_ON = rf",\d+(?![\d.])|['’]\d|(?: \d{{3}})+(?:\s*/\s*\d{{1,3}}(?: \d{{3}})+|(?!\s*/\s*\d))(?![\w.])|{_FACTOR}"
_ONE_GROUP = re.compile(r"(?<![\w.,'’])([1-9]\d{0,2}),(\d{3})(?![\w.,]*\d)")


def number_of(text: str) -> float:
    """The number that a text in the form of `NUMBER` stands for."""
    if "#" in text:  # as old Microsoft runtimes print it
        return float("-inf" if text.startswith("-") else "inf") if "inf" in text.lower() else math.nan
    return float(_exponent(_without_groups(text).partition("(")[0]))


def whole(text: str) -> float:
    return float(_without_groups(text))


def step_of(text: str, behind: str | None) -> float:
    """The step that a text stands for; `behind`: what follows it in the form of `STEP_GOES_ON`. NaN if it is doubtful.

    >>> step_of("1,000", None), step_of("1", " 000"), step_of("10", " k"), step_of("1.000", None), step_of("1.0", None)
    (1000.0, nan, nan, nan, 1.0)
    """
    may_be_thousands = re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", text)
    is_another = re.match(r" \d", behind or "") and not re.fullmatch(r"[1-9]\d{0,2}", text)  # 1000 512
    return math.nan if may_be_thousands or (behind and not is_another) else whole(text)


def step_in(cell: str) -> float:
    """The step that a cell of a table stands for; NaN if it is doubtful."""
    return whole(cell) if re.fullmatch(WHOLE, cell) else math.nan


def shows_thousands(text: str) -> bool:
    """Whether a number shows that its script separates thousands by commas."""
    return "," in text and ("." in text or text.count(",") > 1)


def join_thousands(text: str) -> str:
    """The text without the commas in numbers such as 1,234, once it is known that they separate thousands."""
    return _ONE_GROUP.sub(r"\1\2", text)


def decimals(text: str) -> int:
    mantissa, _, exponent = _exponent(text).lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return digits - int(exponent) if exponent else digits


def _without_groups(text: str) -> str:
    return re.sub(rf"[,{_GROUPING}]", "", text)


def _exponent(text: str) -> str:
    """The number with its exponent behind an e."""
    return re.sub(r"(?<=[\d.])[fFdD](?=[-+\d])", "e", text)
