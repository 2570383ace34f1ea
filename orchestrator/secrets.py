"""Mask tokens, passwords and keys before anything is recorded.

Only the record is masked: the sweep, its command and its configurations keep the real values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from search.rules.baseline import MASK as MASK

_WORDS = (
    r"(?:[a-z0-9]+[_-])*(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?key|private[_-]?key|account[_-]?key|auth[_-]?key|"
    r"secret|passwd|password|passphrase|pwd|credentials?|authorization|"
    r"(?:access|auth|bearer|refresh|session|hf|hub|api|github|wandb|secret|security|id)?[_-]?token)(?:[_-](?:file|value))?"
)
_NAME = re.compile(_WORDS, re.IGNORECASE)
_VALUES = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    | (?<![A-Za-z0-9])(?:
        hf_[A-Za-z0-9]{8,}                      # Hugging Face
      | sk-[A-Za-z0-9_-]{8,} | [rs]k_(?:live|test)_[A-Za-z0-9]{8,}   # OpenAI and others, Stripe
      | gh[pousr]_[A-Za-z0-9]{8,} | github_pat_[A-Za-z0-9_]{8,} | glpat-[A-Za-z0-9_-]{8,}
      | (?:AKIA|ASIA)[A-Z0-9]{12,}              # AWS
      | xox[abposr]-[A-Za-z0-9-]{8,}            # Slack
      | AIza[A-Za-z0-9_-]{20,} | ya29\.[A-Za-z0-9_-]{8,}             # Google
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}   # JSON web tokens
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_LOGIN = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@:'\"]*:[^\s/@'\"]+@|(?P<bare>\b[a-z][a-z0-9+.-]*://)[^\s/@:'\"]{16,}@", re.IGNORECASE)  # fmt: skip
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# name=value, name: value, 'name': 'value', --name value; a name in the middle of a word does not count ("tokens=512")
_PAIR = re.compile(
    rf"(?<![A-Za-z0-9])(?P<name>{_WORDS})(?![A-Za-z0-9_])(?P<between>['\"]?\s*[=:]\s*|['\"]\s*,\s*(?=['\"]))"
    r"(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\",;&)}\]]+)"
    rf"|(?P<flag>(?<![\w-])--(?:{_WORDS})(?![A-Za-z0-9_-]))(?P<space>\s+)(?P<given>(?!-)\S+)",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"(?:none|null|true|false|\d{1,7}(?:\.\d*)?|\*+)", re.IGNORECASE)  # no secret, often a setting


def masked(text: str) -> str:
    """The text with `***` in place of anything that looks like a secret.

    >>> masked("python train.py --token=abc --lr=0.1 https://me:pw@host/x")
    'python train.py --token=*** --lr=0.1 https://***@host/x'
    """
    text = _VALUES.sub(MASK, text)
    text = _LOGIN.sub(lambda match: (match["scheme"] or match["bare"]) + MASK + "@", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _PAIR.sub(_mask_pair, text)


def is_secret(name: str) -> bool:
    """Whether a parameter, flag or key of this name holds a secret: `api_key`, `HF_TOKEN`, `db-password`.

    >>> is_secret("hf_token"), is_secret("max_tokens"), is_secret("token_dropout")
    (True, False, False)
    """
    return _NAME.fullmatch(name.lstrip("-")) is not None


def masked_value(value: Any) -> Any:
    """A record's value, nested to any depth, with its secrets masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {key: _named(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return masked_words(value) if all(isinstance(item, str) for item in value) else [masked_value(i) for i in value]
    return value


def masked_words(words: Sequence[str]) -> list[str]:
    """A command's words, masked; `--token` masks the word after it."""
    shown: list[str] = []
    for position, word in enumerate(words):
        before = words[position - 1] if position else ""
        hides = before.startswith("-") and "=" not in before and is_secret(before) and not word.startswith("-")
        shown.append(MASK if hides else masked(word))
    return shown


def _named(name: str, value: Any) -> Any:
    return _hidden(value) if is_secret(name) else masked_value(value)


def _hidden(value: Any) -> Any:
    """The value of a secret's name, masked to any depth: every text except a plain number or word."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else MASK
    if isinstance(value, Mapping):
        return {key: item if key == "kind" else _hidden(item) for key, item in value.items()}  # a parameter's
    return [_hidden(item) for item in value] if isinstance(value, (list, tuple)) else value


def _mask_pair(match: re.Match[str]) -> str:
    value = match["value"] if match["name"] else match["given"]
    inner = value.strip("'\"")
    if not inner or _PLAIN.fullmatch(inner):
        return match[0]
    quote = value[0] if value[0] in "'\"" else ""
    head = match["name"] + match["between"] if match["name"] else match["flag"] + match["space"]
    return f"{head}{quote}{MASK}{quote}"
