"""BERT from the transformers library, with a head for masked words or for classes.

Source     Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2019.
Differs    computes the head for masked words only at the masked places; classes come from the mean of the last
           states, not from the state at [CLS].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertModel


@dataclass(frozen=True)
class Shape:
    """Sizes of the encoder; `vocabulary` is the fingerprint of the `entries` pieces that it reads."""

    entries: int
    vocabulary: int
    length: int
    layers: int
    hidden: int
    heads: int
    dropout: float

    def config(self, pad: int) -> BertConfig:
        return BertConfig(
            vocab_size=self.entries,
            max_position_embeddings=self.length,
            num_hidden_layers=self.layers,
            hidden_size=self.hidden,
            intermediate_size=4 * self.hidden,
            num_attention_heads=self.heads,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            pad_token_id=pad,
            attn_implementation="eager",  # the fused ones sum in a different order each time on a GPU
        )


class MaskedBert(nn.Module):
    """Tokens (batch, length), some of their places, what the model sees there (both (batch, masked)) → logits there."""

    vocabulary: Tensor

    def __init__(self, shape: Shape, pad: int) -> None:
        super().__init__()
        self.masked = BertForMaskedLM(shape.config(pad))
        self.register_buffer("vocabulary", torch.tensor(shape.vocabulary))

    def forward(self, tokens: Tensor, places: Tensor, shown: Tensor) -> Tensor:
        hidden: Tensor = self.masked.bert(input_ids=tokens.scatter(1, places, shown)).last_hidden_state
        there = hidden.gather(1, places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        logits: Tensor = self.masked.cls(there)
        return logits


class ClassifyingBert(nn.Module):
    """Tokens (batch, length), padded with `pad` → logits (batch, classes)."""

    vocabulary: Tensor

    def __init__(self, shape: Shape, pad: int, classes: int) -> None:
        super().__init__()
        self.pad = pad
        self.encoder = BertModel(shape.config(pad), add_pooling_layer=False)
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Linear(shape.hidden, classes)
        self.register_buffer("vocabulary", torch.tensor(shape.vocabulary))

    def forward(self, tokens: Tensor) -> Tensor:
        real = tokens != self.pad
        hidden: Tensor = self.encoder(input_ids=tokens, attention_mask=real.long()).last_hidden_state
        mean = (hidden * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)
        logits: Tensor = self.head(self.dropout(mean))
        return logits


def encoder_of(weights: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """The encoder among the weights of a BERT model, named as in ClassifyingBert, with the first `length` positions.

    Accepts weights that this project trains and those that transformers saves; raises ValueError for other models.
    """
    mark = "embeddings.word_embeddings.weight"
    found = [name for name in weights if name.endswith(mark)]
    if not found:
        raise ValueError(f"the weights are not of a BERT model: none is called {mark!r}.")
    prefix = found[0].removesuffix(mark)
    encoder = {
        # gamma and beta: as in BERT's first published files
        "encoder." + name.removeprefix(prefix).replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value
        for name, value in weights.items()
        if name.startswith((prefix + "embeddings.", prefix + "encoder.")) and not name.endswith("position_ids")
    }  # fmt: skip
    positions = "encoder.embeddings.position_embeddings.weight"
    if len(encoder[positions]) < length:
        raise ValueError(
            f"the weights know {len(encoder[positions])} positions; take length={len(encoder[positions])}."
        )
    return {**encoder, positions: encoder[positions][:length]}
