"""Task heads on the encoder.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, R positions asked for, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from tinydistil.model.bert import BertModel, EncoderOutput
from tinydistil.model.config import BertConfig
from tinydistil.model.layers import Linear, activate, linear, pool
from tinydistil.model.pretrained import Heads, Pretrained
from tinydistil.model.weights import DECODER_WEIGHT


@dataclass(frozen=True, slots=True)
class Decoding:
    """Rows (R, D) before the product with the vocabulary matrix (V, D) and its bias (V,) that makes logits of them."""

    rows: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self) -> Tensor:
        """(R, V)."""
        return linear(self.rows, self.weight, self.bias)


class MaskedLMHead(nn.Module):
    """Dense, activation, LayerNorm, then a score for every token of the vocabulary (Devlin et al. 2019, 3.1).

    The decoder is the word embedding matrix itself (tied), passed in by the model, so that it exists once;
    with `tie_word_embeddings` off the head owns a `decoder` of its own.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.hidden_act = config.hidden_act
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        tied = config.tie_word_embeddings
        self.decoder = None if tied else nn.Parameter(torch.empty(config.vocab_size, config.hidden_size))

    def forward(self, hidden: Tensor, embedding: Tensor) -> Decoding:
        """hidden (..., D) and the word embeddings (V, D) to what logits (..., V) are made of."""
        return self.decoding(self.norm(activate(self.hidden_act, self.dense(hidden))), embedding)

    def decoding(self, rows: Tensor, embedding: Tensor) -> Decoding:
        """Rows that the dense layer has passed, with the matrix that they are multiplied with."""
        return Decoding(rows, embedding if self.decoder is None else self.decoder, self.bias)


class BertForMaskedLM(Pretrained):
    """The encoder with a masked language model head. Call it for the encoder's output, then `logits_at`."""

    architecture = "BertForMaskedLM"

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config)
        self.bert = BertModel(config, pooler=False, attention=attention)
        self.masked_lm = MaskedLMHead(config)
        self.init_weights()

    @classmethod
    def _shaped_by(cls, config: BertConfig, stored: Mapping[str, Tensor], *, attention: str, heads: Heads) -> Self:
        # A stored decoder that differs from the embeddings was trained apart from them, whatever config.json says.
        tied = config.tie_word_embeddings and DECODER_WEIGHT not in stored
        return cls(config.replace(tie_word_embeddings=tied), attention=attention)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> EncoderOutput:
        """The encoder's output for ids (B, T); see `BertModel.forward`."""
        return self.bert(input_ids, attention_mask, token_type_ids)  # type: ignore[no-any-return]

    def decoding_at(self, hidden: Tensor, positions: Tensor | None = None) -> Decoding:
        """What logits are made of, for hidden states (B, T, D): all, or only those at `positions`.

        `positions` (R,) index the flattened B * T tokens. With 15 % of tokens masked the full product would be nearly
        seven times the work and memory, for logits that no loss reads.
        """
        if positions is not None:
            hidden = hidden.flatten(0, 1).index_select(0, positions)  # (R, D)
        return self.masked_lm(hidden, self.bert.embeddings.word.weight)  # type: ignore[no-any-return]

    def decoding_of(self, rows: Tensor) -> Decoding:
        """What `decoding_at` gave, from its rows (R, D) alone."""
        return self.masked_lm.decoding(rows, self.bert.embeddings.word.weight)

    def logits_at(self, hidden: Tensor, positions: Tensor | None = None) -> Tensor:
        """Vocabulary logits of hidden states (B, T, D): all, (B, T, V), or only at `positions`, (R, V)."""
        return self.decoding_at(hidden, positions).logits()


class _Classifier(Pretrained):
    """The encoder, dropout, and a linear layer that gives a logit for each label."""

    has_labels = True

    def __init__(self, config: BertConfig, *, pooler: bool, attention: str) -> None:
        super().__init__(config)
        self.bert = BertModel(config, pooler=pooler, attention=attention)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, len(config.labels))
        self.init_weights()


class BertForSequenceClassification(_Classifier):
    """One decision, or one number, per sequence, from the vector that `config.pooling` names.

    "pooler" is what `transformers` computes for this architecture; a folder with another pooling is declared a plain
    BertModel, so that others who open it get its encoder rather than wrong predictions.
    """

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config, pooler=config.pooling == "pooler", attention=attention)
        self.architecture = "BertForSequenceClassification" if config.pooling == "pooler" else "BertModel"

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Ids (B, T) to logits (B, C), or scores (B, 1) for regression."""
        encoded = self.bert(input_ids, attention_mask, token_type_ids)
        vector = encoded.pooled
        if vector is None:
            vector = pool(encoded.last_hidden, attention_mask, self.config.pooling)
        return self.classifier(self.dropout(vector))  # type: ignore[no-any-return]


class BertForTokenClassification(_Classifier):
    """One decision per token: tagging."""

    architecture = "BertForTokenClassification"

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config, pooler=False, attention=attention)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Ids (B, T) to logits (B, T, C)."""
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden
        return self.classifier(self.dropout(hidden))  # type: ignore[no-any-return]


class SpanLogits(NamedTuple):
    """Logits of the first and of the last token of an answer, each (B, T)."""

    first: Tensor
    last: Tensor


class BertForQuestionAnswering(Pretrained):
    """Where an answer begins and ends in the text (Devlin et al. 2019, 4.2)."""

    architecture = "BertForQuestionAnswering"

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config)
        self.bert = BertModel(config, pooler=False, attention=attention)
        self.span = nn.Linear(config.hidden_size, 2)
        self.init_weights()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> SpanLogits:
        """Ids (B, T) to the logits of where the answer begins and ends."""
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden
        return SpanLogits(*self.span(hidden).unbind(-1))
