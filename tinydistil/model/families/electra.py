"""ELECTRA (Clark et al. 2020): BERT's encoder over word vectors of a width of their own; the generator's head."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from tinydistil.base.config import Range
from tinydistil.model.bert import BERT, Embeddings, MaskedLMHead
from tinydistil.model.config import BertConfig, Family
from tinydistil.model.layers import Linear


@dataclass(frozen=True)
class FactorisedConfig(BertConfig):
    """Word, position and segment vectors of `embedding_size`, which a matrix makes `hidden_size` wide."""

    embedding_size: Annotated[int, Range(1, 65_536)] = 128

    @property
    def embedding_width(self) -> int:
        return self.embedding_size

    @property
    def parameters(self) -> int:
        # BERT's would count the tables at their full width.
        rows = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        return super().parameters + (self.embedding_size - self.hidden_size) * rows


@dataclass(frozen=True)
class ElectraConfig(FactorisedConfig):
    """Defaults are those of `transformers` (ELECTRA-small)."""

    model_type: ClassVar[str] = "electra"
    class_prefix: ClassVar[str] = "Electra"

    hidden_size: Annotated[int, Range(1, 65_536)] = 256
    num_attention_heads: Annotated[int, Range(1, 65_536)] = 4
    intermediate_size: Annotated[int, Range(1, 1_000_000)] = 1024


class ProjectedEmbeddings(Embeddings):
    """Embeddings as wide as `embedding_size`, and a matrix from there to the layers."""

    def __init__(self, config: FactorisedConfig) -> None:
        super().__init__(config)
        self.project = Linear(config.embedding_size, config.hidden_size)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None = None) -> Tensor:
        """Ids (..., T) to vectors (..., T, D)."""
        return self.project(super().forward(input_ids, token_type_ids, position_ids))  # type: ignore[no-any-return]


def _embeddings(config: ElectraConfig) -> Embeddings:
    return Embeddings(config) if config.embedding_size == config.hidden_size else ProjectedEmbeddings(config)


def _masked_lm(config: ElectraConfig) -> MaskedLMHead:
    return MaskedLMHead(config.replace(hidden_act="gelu"))  # whatever the layers have


_NAMES = (
    ("embeddings.project", "embeddings_project"),
    ("cls.predictions.transform.", "generator_predictions."),
    ("cls.predictions.decoder.", "generator_lm_head."),
    ("cls.predictions.bias", "generator_lm_head.bias"),
)
FAMILIES = {"electra": Family(ElectraConfig, _embeddings, BERT.layers, _masked_lm, prefix="electra.", names=_NAMES)}
