"""WordPiece: split words into the pieces that BERT reads, by a vocabulary file or one trained on the text.

A vocabulary file has one piece per line, numbered from 0, like BERT's published ones; pieces that continue a word
begin with `##`. Text is converted to lower case unless some piece has a capital letter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PAD, UNKNOWN, BEGIN, SEPARATOR, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Pieces = tuple[str, ...]


@lru_cache(maxsize=4)
def read(path: str) -> Pieces:
    """The pieces in a vocabulary file; raises ValueError if it is not one."""
    file = Path(path)
    if not file.is_file():
        raise ValueError(
            f"vocabulary={path!r}: there is no such file. Give one with a piece per line (BERT's vocab.txt, or the one in "
            "the folder prepared/ of a sweep of BertMlm), or vocabulary=None to train one on the text."
        )
    pieces = tuple(file.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    missing = [piece for piece in SPECIAL if piece not in pieces]
    if missing:
        raise ValueError(
            f"vocabulary={path!r}: it has no {', '.join(missing)}; a WordPiece vocabulary has {' '.join(SPECIAL)}, "
            "each on a line of its own."
        )
    if len(set(pieces)) < len(pieces):
        again = next(piece for place, piece in enumerate(pieces) if piece in pieces[:place])
        raise ValueError(f"vocabulary={path!r}: {again!r} is in it more than once; keep one of them.")
    return pieces


def write(path: Path, pieces: Pieces) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text("".join(piece + "\n" for piece in pieces), encoding="utf-8")
    os.replace(unfinished, path)


def train(lines: Sequence[str], size: int) -> Pieces:
    """At most `size` pieces that split these lines into few; more if the lines have more characters than that.

    Training again on the same lines gives the same pieces.
    """
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    letters = sorted(set(chain.from_iterable(map(tokenizer.normalize, lines))) - {" "})
    # The trainer numbers unlisted characters in the order of a hash table, which differs between processes, and breaks
    # ties by these numbers.
    told = [*SPECIAL, *(f"##{letter}" for letter in letters)]
    tokenizer.train_from_iterator(lines, vocab_size=size, show_progress=False, special_tokens=told)
    numbered: dict[str, int] = tokenizer.get_vocab()
    return tuple(sorted(numbered, key=numbered.__getitem__))


def pieces_of(lines: Iterable[str], vocabulary: Pieces) -> list[list[int]]:
    """The numbers of the pieces of each line."""
    return [encoding.ids for encoding in _tokenizer(vocabulary).encode_batch(list(lines), add_special_tokens=False)]


def packed(lines: Iterable[str], vocabulary: Pieces, length: int) -> Tensor:
    """All lines as one stream, in rows of [CLS] and `length` - 1 pieces; an incomplete last row is dropped."""
    import torch

    stream = torch.tensor(list(chain.from_iterable(pieces_of(lines, vocabulary))), dtype=torch.long)
    rows = len(stream) // (length - 1)
    begin = torch.full((rows, 1), vocabulary.index(BEGIN))
    return torch.cat([begin, stream[: rows * (length - 1)].view(rows, length - 1)], dim=1)


def padded(lines: Iterable[str], vocabulary: Pieces, length: int) -> Tensor:
    """One row per line: [CLS], its pieces, [SEP], and [PAD] up to `length`; long lines are cut."""
    import torch

    pad, begin, separator = map(vocabulary.index, (PAD, BEGIN, SEPARATOR))
    rows = [[begin, *pieces[: length - 2], separator] for pieces in pieces_of(lines, vocabulary)]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def fingerprint(vocabulary: Pieces) -> int:
    """A number, 0 to 2^63 - 1, by which a model recognises the vocabulary that it was trained with."""
    return int.from_bytes(hashlib.sha256("\n".join(vocabulary).encode()).digest()[:8], "big") >> 1


@lru_cache(maxsize=4)
def _tokenizer(vocabulary: Pieces) -> Any:
    from tokenizers import BertWordPieceTokenizer

    has_capitals = any(piece != piece.lower() for piece in vocabulary if piece not in SPECIAL)
    numbered = {piece: number for number, piece in enumerate(vocabulary)}
    return BertWordPieceTokenizer(vocab=numbered, lowercase=not has_capitals)
