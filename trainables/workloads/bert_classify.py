"""Fine-tune a BERT on a GLUE task: is a sentence acceptable (CoLA), is a film review positive (SST-2)?

What       an encoder, the mean of its last states over the real places, one linear layer; AdamW. The encoder starts at
           random, or from `weights`: a trial of BertMlm, a file, or a model of the Hugging Face hub.
Data       a folder with the task's files (see `trainables.data.sentences`); None: sentences of Python's language
           reference. The test part of CoLA here is its out-of-domain development part, as its own test labels are
           not public.
Baseline   AdamW with a learning rate of 3e-4, batches of 32, weight decay 0.01: the highest rate in the grid that
           BERT-tiny was published with.
Source     Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2019, section 4.1 and A.3; Turc et al.,
           Well-Read Students Learn Better, 2019, for the small sizes. Wang et al., GLUE, 2019, for tasks and metrics.
Differs    uses the mean of the states, not the state at [CLS]; no warm-up and no decay, which are policies. SST-2's
           folder has whole sentences, not the 67,349 phrases of GLUE's training part.
Published  BERT-base: CoLA 52.1 (Matthews, times 100), SST-2 93.5 %; BERT-tiny: CoLA 0.0, SST-2 83.2 %; GLUE's test
           parts. They need published weights; we reproduced none of them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from search.records import Config
from trainables.data import sentences, wordpiece
from trainables.models.bert_workload import BertWorkload
from trainables.values import Execution, Predictions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_CLASSES = 2
_ROWS = 256  # evaluated at once


@dataclass(frozen=True)
class BertClassify(BertWorkload):
    """Tunes accuracy on SST-2; for CoLA use "matthews": Sweep(metric="matthews", mode="max").

    `weights` know the word pieces that they were trained with, so `vocabulary` must be the same file
    (`prepared/vocab.txt` of a sweep of BertMlm, or the vocab.txt of a published model); layers, hidden and heads must
    match them, too.

    >>> workload = BertClassify(task="cola")
    """

    horizon: int = 3
    task: str = "sst2"  # or "cola"
    data: str | None = None  # a folder; None: Python's own text, whatever the task
    weights: str | None = None  # a checkpoint folder, a .safetensors file, or a name on the Hugging Face hub
    vocabulary: str | None = None  # a file; None: trained on the text
    vocabulary_size: int = 4096  # of a trained vocabulary
    length: int = 64
    layers: int = 2
    hidden: int = 128
    heads: int = 2
    dropout: float = 0.1
    data_share: float = 1.0  # of the training sentences, evenly spread; the evaluation data stay the same
    execution: Execution = Execution()

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "matthews", "loss")
    baseline: ClassVar[Config | None] = {"learning_rate": 3e-4, "batch_size": 32, "weight_decay": 0.01}

    def check(self) -> None:
        self._check_heads()
        if self.length < 3:
            raise ValueError(f"BertClassify(length={self.length}): must be 3 or more: [CLS], a piece, [SEP].")
        sentences.check(self.data, self.task)
        if self.vocabulary is not None:
            wordpiece.read(self.vocabulary)
        elif self.weights is not None:
            raise ValueError(f"weights={self.weights!r}: also give vocabulary=, the file with their word pieces.")
        if self.weights is not None and _is_here(self.weights):
            self.model({}, None)

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        from trainables.models.bert import ClassifyingBert

        model = ClassifyingBert(self._shape(config), self.pieces.index(wordpiece.PAD), _CLASSES)
        if self.weights is not None:
            self._take_over(model, self.weights)
        return model

    def samples(self) -> int:
        return max(1, round(self.data_share * len(self.part("train", "cpu")[1])))

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        from torch.nn import functional

        tokens, labels = self.part("train", str(indices.device))
        chosen = indices * len(labels) // self.samples()
        return functional.cross_entropy(model(tokens[chosen]), labels[chosen])

    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        from torch.nn import functional

        from trainables.data.fixed_sample import fixed_sample

        device = str(next(model.parameters()).device)
        tokens, labels = self.part(part, device)
        rows = fixed_sample(len(labels), samples, device)
        tokens, labels = tokens[rows], labels[rows]
        logits = _logits(model, tokens)
        answers = logits.argmax(1)
        return {
            "accuracy": (answers == labels).double().mean().item(),
            "matthews": matthews(answers, labels),
            "loss": functional.cross_entropy(logits.double(), labels).item(),
        }

    def predictions(self, model: torch.nn.Module, part: str) -> Predictions:
        from trainables.models.answers import answers

        tokens, labels = self.part(part, str(next(model.parameters()).device))
        texts, classes = sentences.read(self.data, self.task, part).texts, sentences.classes(self.data, self.task)
        return answers(_logits(model, tokens), labels, texts=texts, classes=classes)

    @classmethod
    def smallest(cls) -> BertClassify:
        return cls(horizon=3, vocabulary_size=600, length=40, layers=1, hidden=16, data_share=0.04)

    def _take_over(self, model: torch.nn.Module, name: str) -> None:
        """Load the encoder of the weights `name` into the model; the head keeps its initial weights."""
        from trainables.models import weights
        from trainables.models.bert import encoder_of

        given = weights.read(name) if _is_here(name) else _from_hub(name)
        if "vocabulary" in given and given["vocabulary"].item() != wordpiece.fingerprint(self.pieces):
            raise ValueError(
                f"weights={name!r} were trained with another vocabulary than vocabulary={self.vocabulary!r}; give the "
                "vocab.txt in the folder prepared/ of their sweep."
            )
        try:
            weights.put(model, encoder_of(given, self.length), fresh=("head.", "vocabulary"))
        except ValueError as error:
            raise ValueError(f"weights={name!r}, vocabulary={self.vocabulary!r}: {error}") from error

    @property
    def pieces(self) -> wordpiece.Pieces:
        return _vocabulary(self.data, self.task, self.vocabulary, self.vocabulary_size)

    def part(self, part: str, device: str) -> tuple[Tensor, Tensor]:
        return _encoded(self.data, self.task, part, self.vocabulary, self.vocabulary_size, self.length, device)


def _logits(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    import torch

    return torch.cat([model(some).float() for some in torch.split(tokens, _ROWS)])


def matthews(answers: Tensor, labels: Tensor) -> float:
    """The correlation of two rows of 0 and 1; 0 if one row is constant."""
    import torch

    both = torch.stack([answers, labels]).double()
    centred = both - both.mean(1, keepdim=True)
    spread = centred.square().sum(1).prod().sqrt().item()
    return centred.prod(0).sum().item() / spread if spread > 0 else 0.0


def _is_here(weights: str) -> bool:
    """Whether `weights` is a local file or folder, or meant to be; a name on the hub is `model` or `owner/model`."""
    return Path(weights).exists() or weights.endswith(".safetensors") or weights.count("/") > 1


def _from_hub(name: str) -> dict[str, Tensor]:
    from transformers import AutoModel

    try:
        return dict(AutoModel.from_pretrained(name).state_dict())
    except Exception as error:  # each version of the library raises its own
        raise ValueError(
            f"weights={name!r}: there is no such file or folder here, and the Hugging Face hub returned no such model "
            f"({type(error).__name__}). Give a checkpoint folder of a BertMlm trial or a .safetensors file; weights=None "
            "starts at random."
        ) from error


@lru_cache(maxsize=4)
def _vocabulary(data: str | None, task: str, path: str | None, size: int) -> wordpiece.Pieces:
    return (
        wordpiece.read(path) if path is not None else wordpiece.train(sentences.read(data, task, "train").texts, size)
    )


@lru_cache(maxsize=8)
def _encoded(
    data: str | None, task: str, part: str, path: str | None, size: int, length: int, device: str
) -> tuple[Tensor, Tensor]:
    import torch

    found = sentences.read(data, task, part)
    tokens = wordpiece.padded(found.texts, _vocabulary(data, task, path, size), length)
    return tokens.to(device), torch.tensor(found.labels, device=device)
