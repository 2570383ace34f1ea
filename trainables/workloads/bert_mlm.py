"""Pre-train a BERT: guess masked words from their context.

What       transformers' BertForMaskedLM, tiny by default (2 layers, 128 wide), AdamW; no decay for biases and the gains
           of normalisations.
Data       a folder of text (see `trainables.data.text`); None: Python's language reference. The word pieces come from a
           vocabulary file, or are trained on the training part; `prepare` writes them to `vocab.txt`, with which a
           BertClassify can start from these weights.
Baseline   AdamW with a learning rate of 1e-3, batches of 32, weight decay 0.01.
Source     Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2019, sections 3.1 and A.1; the sizes
           are BERT-tiny's of Turc et al., Well-Read Students Learn Better, 2019.
Differs    no next-sentence task; a sample is [CLS] and running text, not two sentences; exactly 15 % of its places are
           masked (rounded), so that samples count the same. The learning rate is constant: schedules are policies.
Published  BERT-base: 1,000,000 updates of 256 x 512 pieces; held-out perplexity 3.99 (table 6, 12 layers). We tried no
           such run here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from search.records import Config
from trainables.data import text, wordpiece
from trainables.models.bert_workload import BertWorkload
from trainables.values import Execution

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SEED = 20_240_601  # of the masks in evaluations: the same each time
_MASKED = 0.15  # of the places
_ROWS = 256  # evaluated at once
_FILE = "vocab.txt"


@dataclass(frozen=True)
class BertMlm(BertWorkload):
    """Pre-trains a BERT on text.

    `evaluations_per_pass`: above 1, an epoch covers only a part of the text: each sample is one of this many
    neighbouring rows of `length` pieces, drawn anew each time.

    >>> workload = BertMlm(horizon=5)
    """

    horizon: int = 10
    data: str | None = None  # a folder; None: Python's own text
    vocabulary: str | None = None  # a file; None: trained on the text
    vocabulary_size: int = 4096  # of a trained vocabulary
    length: int = 64
    layers: int = 2
    hidden: int = 128
    heads: int = 2
    dropout: float = 0.1
    evaluations_per_pass: int = 1
    data_share: float = 1.0  # of the training rows, from the beginning; the evaluation data stay the same
    execution: Execution = Execution()

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    baseline: ClassVar[Config | None] = {"learning_rate": 1e-3, "batch_size": 32, "weight_decay": 0.01}

    def check(self) -> None:
        self._check_heads()
        if self.length < 8:
            raise ValueError(f"BertMlm(length={self.length}): must be 8 or more, so that a place can be masked.")
        if self.evaluations_per_pass < 1:
            raise ValueError(f"BertMlm(evaluations_per_pass={self.evaluations_per_pass}): must be 1 or more.")
        text.check(self.data)
        if self.vocabulary is not None:
            wordpiece.read(self.vocabulary)

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        from trainables.models.bert import MaskedBert

        pieces = self.pieces
        if prepared is not None and wordpiece.read(str(prepared / _FILE)) != pieces:
            raise ValueError(
                f"{prepared / _FILE} differs from the vocabulary of this process: tokenizers has another version, or the "
                f"text has changed. Continue with vocabulary={str(prepared / _FILE)!r}."
            )
        return MaskedBert(self._shape(config), pad=pieces.index(wordpiece.PAD))

    def samples(self) -> int:
        rows = len(self.rows("train", "cpu")) // self.evaluations_per_pass
        return max(1, round(self.data_share * rows))

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        if self.evaluations_per_pass > 1:
            drawn = torch.randint(self.evaluations_per_pass, indices.shape, device=indices.device)
            indices = self.evaluations_per_pass * indices + drawn
        tokens = self.rows("train", str(indices.device))[indices]
        places, shown = masks(tokens, self.pieces)
        logits = model(tokens, places, shown)
        return functional.cross_entropy(logits.flatten(0, 1), tokens.gather(1, places).flatten())

    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        import torch
        from torch.nn import functional

        from trainables.data.fixed_sample import fixed_sample

        device = next(model.parameters()).device
        total = torch.zeros((), dtype=torch.double, device=device)
        right = torch.zeros((), dtype=torch.long, device=device)
        every = self.masked(part, str(device))
        chosen = fixed_sample(len(every[0]), samples, str(device))
        rows, places, shown = (each[chosen] for each in every)
        for begin in range(0, len(rows), _ROWS):
            now = slice(begin, begin + _ROWS)
            logits = model(rows[now], places[now], shown[now]).flatten(0, 1).float()
            hidden = rows[now].gather(1, places[now]).flatten()
            total += functional.cross_entropy(logits, hidden, reduction="sum").double()
            right += (logits.argmax(1) == hidden).sum()
        count = places.numel()
        return {"loss": total.item() / count, "accuracy": right.item() / count}

    def prepare(self, folder: Path) -> None:
        wordpiece.write(folder / _FILE, self.pieces)

    @classmethod
    def smallest(cls) -> BertMlm:
        return cls(horizon=3, vocabulary_size=600, length=32, layers=1, hidden=16, data_share=0.02)

    @property
    def pieces(self) -> wordpiece.Pieces:
        return vocabulary_of(self.data, self.vocabulary, self.vocabulary_size)

    def rows(self, part: str, device: str) -> Tensor:
        return packed(self.data, part, self.vocabulary, self.vocabulary_size, self.length, device)

    def masked(self, part: str, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, masked places and what the model sees there; the same in every process and on every device."""
        import torch

        rows = self.rows(part, "cpu")
        places, shown = masks(rows, self.pieces, torch.Generator().manual_seed(_SEED))
        return rows.to(device), places.to(device), shown.to(device)


def masks(tokens: Tensor, pieces: wordpiece.Pieces, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Places to guess in each row, never its [CLS], and what the model sees there; both (rows, masked).

    80 % of the places show [MASK], 10 % any piece, 10 % the true one. Drawn from `generator`, or torch's own stream.
    """
    import torch

    rows, length = tokens.shape
    device = tokens.device
    order = torch.rand(rows, length - 1, generator=generator, device=device)
    places = order.topk(round(_MASKED * length)).indices + 1
    fate = torch.rand(places.shape, generator=generator, device=device)
    any_piece = torch.randint(len(pieces), places.shape, generator=generator, device=device)
    unmasked = torch.where(fate < 0.9, any_piece, tokens.gather(1, places))
    return places, torch.where(fate < 0.8, pieces.index(wordpiece.MASK), unmasked)


@lru_cache(maxsize=4)
def vocabulary_of(data: str | None, path: str | None, size: int) -> wordpiece.Pieces:
    import tokenizers
    import torch

    if path is not None:
        return wordpiece.read(path)

    def trained() -> dict[str, Tensor]:
        pieces = wordpiece.train(text.lines(data, "train"), size)
        return {"pieces": torch.frombuffer(bytearray("\n".join(pieces).encode()), dtype=torch.uint8)}

    found = text.once(data, ("wordpiece", size, tokenizers.__version__), trained)
    return tuple(bytes(found["pieces"].numpy()).decode().split("\n"))


@lru_cache(maxsize=8)
def packed(data: str | None, part: str, path: str | None, size: int, length: int, device: str) -> Tensor:
    return all_packed(data, path, size, length)[part].to(device)


@lru_cache(maxsize=4)
def all_packed(data: str | None, path: str | None, size: int, length: int) -> Mapping[str, Tensor]:
    import tokenizers

    pieces = vocabulary_of(data, path, size)

    def packed() -> dict[str, Tensor]:
        return {part: wordpiece.packed(text.lines(data, part), pieces, length) for part in text.PARTS}

    key_parts = ("packed", wordpiece.fingerprint(pieces), length, tokenizers.__version__)
    return text.once(data, key_parts, packed)
