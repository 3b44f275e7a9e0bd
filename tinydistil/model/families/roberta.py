"""RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2020) and CamemBERT (Martin et al. 2020): BERT's encoder with
positions counted from behind the padding id and, mostly, one segment."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from tinydistil.base.config import Positive, Range
from tinydistil.base.errors import require
from tinydistil.model.bert import BERT
from tinydistil.model.config import BertConfig, Family


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """Defaults are those of `transformers`."""

    model_type: ClassVar[str] = "roberta"
    class_prefix: ClassVar[str] = "Roberta"

    vocab_size: Annotated[int, Range(1, 10_000_000)] = 50265
    type_vocab_size: Annotated[int, Range(1, 65_536)] = 2
    layer_norm_eps: Positive = 1e-12
    pad_token_id: int | None = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.pad_token_id is not None, "pad_token_id must be a token, as positions are counted from behind it")
        fits, most = self.longest >= 1, self.max_position_embeddings
        require(fits, f"max_position_embeddings must be > {self.first_position} (pad_token_id + 1), got {most}")

    @property
    def first_position(self) -> int:
        return (self.pad_token_id or 0) + 1


class XlmRobertaConfig(RobertaConfig):
    """The same with another name."""

    model_type: ClassVar[str] = "xlm-roberta"
    class_prefix: ClassVar[str] = "XLMRoberta"


class CamembertConfig(RobertaConfig):
    """The same with another name."""

    model_type: ClassVar[str] = "camembert"
    class_prefix: ClassVar[str] = "Camembert"


_NAMES = (
    ("cls.predictions.transform.dense", "lm_head.dense"),
    ("cls.predictions.transform.LayerNorm", "lm_head.layer_norm"),
    ("cls.predictions.decoder.", "lm_head.decoder."),
    ("cls.predictions.bias", "lm_head.bias"),
)
FAMILIES = {
    config.model_type: Family(config, BERT.embeddings, BERT.layers, BERT.masked_lm, prefix="roberta.", names=_NAMES)
    for config in (RobertaConfig, XlmRobertaConfig, CamembertConfig)
}
