"""Numbers and lists as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from orchestrator.failures import signature

_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?:e[-+]?\d+)?(?![\w])")
_LONG = re.compile(r"(?<![\w.])\d+\.\d{4,}(?:e[-+]?\d+)?(?![\w.])")  # a decimal number


def short(value: Any) -> str:
    """A number with four digits, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def shortened(text: str) -> str:
    """A text with at most four digits of each decimal number.

    >>> shortened("at 0.020743111369377315"), shortened("epoch 10000, 1.5"), shortened("3.141592e-05")
    ('at 0.02074', 'epoch 10000, 1.5', '3.142e-05')
    """
    return _LONG.sub(lambda found: short(float(found[0])), text)


def in_common(texts: Sequence[str]) -> str:
    """Texts of one `signature` as one, "…" in the place of each number that differs.

    >>> in_common(["a race of 3 rates at 0.1", "a race of 12 rates at 0.1"])
    'a race of … rates at 0.1'
    """
    split = [(_NUMBER.split(each), _NUMBER.findall(each)) for each in dict.fromkeys(texts)]
    words = split[0][0]
    if any(each != words for each, _ in split):  # they differ in more: in quoted values, say
        return signature(texts[0]).replace("#", "…")
    same = [values[0] if len({*values}) == 1 else "…" for values in zip(*(each for _, each in split), strict=True)]
    return "".join(word + number for word, number in zip(words, [*same, ""], strict=True))


def percent(share: float) -> str:
    """
    >>> percent(0.614), percent(0.0061)
    ('61 %', '0.6 %')
    """
    return f"{100 * share:.0f} %" if abs(share) >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def listed(names: Sequence[str], most: int = 4) -> str:
    """
    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=1)
    ('a, b and c', 'a and 2 more')
    """
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def counted(number: int, one: str, many: str = "") -> str:
    """
    >>> counted(1, "trial"), counted(2, "suggestion by hand", "suggestions by hand")
    ('1 trial', '2 suggestions by hand')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
