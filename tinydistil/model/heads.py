"""Task heads on the encoder.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, R positions asked for, C classes.
"""

from typing import NamedTuple

from torch import Tensor, nn

from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.layers import pool
from tinydistil.model.pretrained import Pretrained

# Families whose classifier of sequences has other parts in `transformers` than BERT's: ALBERT's has the same.
_OTHER_HEADS = ("roberta", "xlm-roberta", "camembert", "distilbert", "electra", "deberta-v2", "modernbert")


def _written_as(architecture: str, config: BertConfig) -> str:
    """`architecture` where `transformers` has this head in this family; else the encoder, so that others who open the
    folder get that rather than a head of their own at random, or wrong predictions."""
    other = _OTHER_HEADS if architecture == "BertForSequenceClassification" else ("modernbert",)
    return "BertModel" if config.model_type in other else architecture


class _Classifier(Pretrained):
    """The encoder, dropout, and a linear layer that gives a logit for each label."""

    has_labels = True
    reads_sequence = False  # its one vector, and not those of its tokens

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config)
        self.architecture = _written_as(self.architecture, config)
        pooler = self.reads_sequence and config.pooling == "pooler"
        self.bert = BertModel(config, pooler=pooler, attention=attention)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, len(config.labels))
        self.init_weights()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Ids (B, T) to logits (B, T, C) or, of a sequence, (B, C); scores (B, 1) for regression."""
        encoded = self.bert(input_ids, attention_mask, token_type_ids)
        vectors = encoded.last_hidden
        if self.reads_sequence:
            pooled = encoded.pooled
            vectors = pool(vectors, attention_mask, self.config.pooling) if pooled is None else pooled
        return self.classifier(self.dropout(vectors))  # type: ignore[no-any-return]


class BertForSequenceClassification(_Classifier):
    """One decision, or one number, per sequence, from the vector that `config.pooling` names.

    "pooler" is what `transformers` computes for this architecture; a folder with another pooling is declared a plain
    BertModel, so that others who open it get its encoder rather than wrong predictions.
    """

    architecture = "BertForSequenceClassification"
    reads_sequence = True

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config, attention=attention)
        if config.pooling != "pooler":
            self.architecture = "BertModel"


class BertForTokenClassification(_Classifier):
    """One decision per token: tagging."""

    architecture = "BertForTokenClassification"


class SpanLogits(NamedTuple):
    """Logits of the first and of the last token of an answer, each (B, T)."""

    first: Tensor
    last: Tensor


class BertForQuestionAnswering(Pretrained):
    """Where an answer begins and ends in the text (Devlin et al. 2019, 4.2)."""

    architecture = "BertForQuestionAnswering"

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config)
        self.architecture = _written_as(self.architecture, config)
        self.bert = BertModel(config, pooler=False, attention=attention)
        self.span = nn.Linear(config.hidden_size, 2)
        self.init_weights()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> SpanLogits:
        """Ids (B, T) to the logits of where the answer begins and ends."""
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden
        return SpanLogits(*self.span(hidden).unbind(-1))
