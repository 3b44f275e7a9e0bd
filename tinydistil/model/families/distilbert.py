"""DistilBERT (Sanh et al. 2019): BERT's encoder without segments and pooler."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from tinydistil.base.config import Range
from tinydistil.base.errors import require
from tinydistil.model.bert import BERT
from tinydistil.model.config import BertConfig, Dropout, Family


@dataclass(frozen=True)
class DistilbertConfig(BertConfig):
    """Defaults are those of `transformers`."""

    model_type: ClassVar[str] = "distilbert"
    class_prefix: ClassVar[str] = "DistilBert"
    file_names: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout": "seq_classif_dropout",
    }
    computes: ClassVar[dict[str, Any]] = {"is_decoder": False, "add_cross_attention": False}

    num_hidden_layers: Annotated[int, Range(1, 1000)] = 6
    type_vocab_size: Annotated[int, Range(0, 0)] = 0
    classifier_dropout: Dropout | None = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.layer_norm_eps == 1e-12, f"layer_norm_eps must be 1e-12 in DistilBERT, got {self.layer_norm_eps}")


_NAMES = (
    ("encoder.layer.", "transformer.layer."),
    ("attention.self.query", "attention.q_lin"),
    ("attention.self.key", "attention.k_lin"),
    ("attention.self.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"),
    ("attention.output.LayerNorm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"),
    ("output.dense", "ffn.lin2"),
    ("output.LayerNorm", "output_layer_norm"),
    ("cls.predictions.transform.dense", "vocab_transform"),
    ("cls.predictions.transform.LayerNorm", "vocab_layer_norm"),
    ("cls.predictions.decoder.", "vocab_projector."),
    ("cls.predictions.bias", "vocab_projector.bias"),
)
FAMILIES = {
    "distilbert": Family(
        DistilbertConfig, BERT.embeddings, BERT.layers, BERT.masked_lm, prefix="distilbert.", names=_NAMES
    )
}
