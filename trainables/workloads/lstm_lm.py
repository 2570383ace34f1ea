"""Train a language model: predict each word, or character, from those before it.

What       an LSTM of one or more layers, trained with plain SGD and clipped gradients. `LstmLm.ptb_small()` and
           `ptb_large()` are the shapes of the literature; `cutoffs` replaces the full softmax, which is most of the
           cost on a CPU, by the adaptive one.
Data       a folder of text (see `trainables.data.text`), such as the Penn Treebank; None: Python's language reference.
Baseline   SGD with a learning rate of 1, batches of 20, as in all of the sources below. They also lower the rate from
           some epoch on, which is a policy's task here.
Source     Zaremba et al., Recurrent Neural Network Regularization, 2014, section 4.1, and the TensorFlow tutorial based
           on it (small: 2x200, 13 epochs).
Differs    a sample is a window of `steps` tokens; windows do not overlap, come in another order each epoch, and start
           from a zero state, where the usual recipe runs through the text and carries the state along. Evaluation
           carries it, in 20 streams, each a twentieth of the part: only the first words of a stream lack their context.
Published  Penn Treebank, perplexity on the test part: about 115 (small), 78.4 (large: 2x1500, dropout 0.65).
           We reproduced neither here: on one CPU core an epoch of the small shape takes 200 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from search.records import Config
from trainables.data import text
from trainables.models.sampled_workload import SampledWorkload
from trainables.values import Execution, Knobs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_STREAMS = 20  # evaluated side by side
_STRETCH = 128  # tokens of each stream at once


@dataclass(frozen=True)
class LstmLm(SampledWorkload):
    """Trains an LSTM language model. Perplexity is exp of "loss", the mean negative log-likelihood (nats) of a token.

    The training loss of a window is the sum over its tokens, as in the sources: with a mean, their learning rates and
    clipping norms would have another meaning.

    >>> workload = LstmLm(level="characters")
    """

    horizon: int = 13
    data: str | None = None  # a folder; None: Python's own text
    level: str = "words"  # or "characters"
    vocabulary_size: int = 10_000
    hidden: int = 200
    layers: int = 2
    steps: int = 20
    dropout: float = 0.0
    clip_at: float = 5.0
    scale: float = 0.1  # of the initial weights
    cutoffs: tuple[int, ...] = ()
    data_share: float = 1.0  # of the training windows, from the beginning; the evaluation data stay the same
    execution: Execution = Execution()

    metric: ClassVar[str] = "perplexity"
    mode: ClassVar[str] = "min"
    metrics: ClassVar[tuple[str, ...]] = ("perplexity", "loss")
    baseline: ClassVar[Config | None] = {"learning_rate": 1.0, "batch_size": 20}

    @classmethod
    def ptb_small(cls, data: str | None = None) -> LstmLm:
        return cls(data=data)

    @classmethod
    def ptb_large(cls, data: str | None = None) -> LstmLm:
        return cls(horizon=55, data=data, hidden=1500, steps=35, dropout=0.65, clip_at=10.0, scale=0.04)

    def check(self) -> None:
        if self.level not in text.LEVELS:
            raise ValueError(f"LstmLm(level={self.level!r}): must be one of {', '.join(map(repr, text.LEVELS))}.")
        if self.vocabulary_size < 3:
            raise ValueError(f"LstmLm(vocabulary_size={self.vocabulary_size}): must be 3 or more.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LstmLm(dropout={self.dropout}): must be a share, 0 or more and below 1.")
        if list(self.cutoffs) != sorted({*self.cutoffs}) or not all(cut > 0 for cut in self.cutoffs):
            raise ValueError(f"LstmLm(cutoffs={self.cutoffs}): must grow, such as (1000, 4000).")
        if self.hidden < 4 ** len(self.cutoffs):
            raise ValueError(
                f"LstmLm(hidden={self.hidden}, cutoffs={self.cutoffs}): each cut-off has a quarter of the width of the "
                f"one before; use hidden={4 ** len(self.cutoffs)} or more, or fewer cut-offs."
            )
        text.check(self.data)
        entries = len(text.vocabulary(self.data, self.level, self.vocabulary_size)) if self.cutoffs else 0
        if self.cutoffs and self.cutoffs[-1] >= entries:
            raise ValueError(
                f"LstmLm(cutoffs={self.cutoffs}): must stay below the {entries} entries of the vocabulary."
            )

    def knobs(self, config: Config) -> Knobs:
        """Optional parameters: momentum, weight_decay, optimizer, trust_coefficient, dropout, clip_norm."""
        return Knobs(
            config["learning_rate"],
            config["batch_size"],
            momentum=config.get("momentum", 0.0),
            weight_decay=config.get("weight_decay", 0.0),
        )

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        from trainables.models.lstm_lm import LstmLm as Model

        dropout = config.get("dropout", self.dropout)
        entries = text.entries(self.data, self.level, self.vocabulary_size)
        return Model(entries, self.hidden, self.layers, dropout, self.cutoffs, self.scale)

    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        from trainables.optim.by_name import configured

        return configured(config, "sgd", model.parameters(), self.knobs(config))

    def clip_norm(self, config: Config) -> float:
        norm: float = config.get("clip_norm", self.clip_at)
        return norm

    def samples(self) -> int:
        windows = (len(self._stream("train", "cpu")) - 1) // self.steps
        return max(1, round(self.data_share * windows))

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        import torch

        stream = self._stream("train", str(indices.device))
        places = indices[:, None] * self.steps + torch.arange(self.steps, device=indices.device)
        surprise, _ = model(stream[places], stream[places + 1])
        total: Tensor = surprise.sum(1).mean()
        return total

    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        """The metrics on a part; `samples`: on as many tokens as so many windows have, the first ones of each stream."""
        import torch
        from torch.nn import functional

        stream = self._stream(part, str(next(model.parameters()).device))
        count = len(stream) - 1
        length = -(-count // _STREAMS)
        rest = _STREAMS * length - count  # padding at the end, which does not count
        tokens = functional.pad(stream[:-1], (0, rest)).view(_STREAMS, length)
        successors = functional.pad(stream[1:], (0, rest)).view(_STREAMS, length)
        counted = torch.arange(_STREAMS * length, device=stream.device).view(_STREAMS, length) < count
        total, state = torch.zeros((), dtype=torch.double, device=stream.device), None
        if samples is not None:
            length = min(length, -(-samples * self.steps // _STREAMS))
            counted = counted[:, :length]
            count = int(counted.sum())
        for begin in range(0, length, _STRETCH):
            now = slice(begin, min(begin + _STRETCH, length))
            surprise, state = model(tokens[:, now], successors[:, now], state)
            total += surprise[counted[:, now]].double().sum()
        loss = total / count
        return {"perplexity": loss.exp().item(), "loss": loss.item()}

    @classmethod
    def smallest(cls) -> LstmLm:
        return cls(horizon=3, vocabulary_size=64, hidden=12, layers=1, steps=8, data_share=0.012)

    def _stream(self, part: str, device: str) -> Tensor:
        return text.numbers(self.data, part, self.level, self.vocabulary_size, device)
