"""The reference's model with both heads that BERT was trained with, for tests that compare all of it at once."""

from typing import NamedTuple

from torch import Tensor, nn

from tinydistil.model.bert import BertForMaskedLM, BertModel, EncoderOutput
from tinydistil.model.config import BertConfig


class PreTrainingOutput(NamedTuple):
    """The encoder's output and the next-sentence logits (B, 2)."""

    encoded: EncoderOutput
    next_sentence: Tensor


class BertForPreTraining(BertForMaskedLM):
    """With a pooler and, under the name that files give it, the head that reads it."""

    architecture = "BertForPreTraining"

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config, attention=attention)
        self.bert = BertModel(config, attention=attention)
        self.cls = nn.ModuleDict({"seq_relationship": nn.Linear(config.hidden_size, 2)})
        self.init_weights()

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> PreTrainingOutput:
        encoded = self.bert(input_ids, attention_mask, token_type_ids)
        return PreTrainingOutput(encoded, self.cls["seq_relationship"](encoded.pooled))
