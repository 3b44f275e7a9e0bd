"""ALBERT (Lan et al. 2020): factorised word vectors (sec. 3.1), and layers that share their weights within a group."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from torch import nn

from tinydistil.base.config import OneOf, Range
from tinydistil.base.errors import require
from tinydistil.model.bert import BERT, Layer
from tinydistil.model.config import ACTIVATIONS, Dropout, Family
from tinydistil.model.families.electra import FactorisedConfig, ProjectedEmbeddings


@dataclass(frozen=True)
class AlbertConfig(FactorisedConfig):
    """Defaults are those of `transformers` (ALBERT-xxlarge)."""

    model_type: ClassVar[str] = "albert"
    class_prefix: ClassVar[str] = "Albert"
    file_names: ClassVar[dict[str, str]] = {"classifier_dropout": "classifier_dropout_prob"}
    computes: ClassVar[dict[str, Any]] = {**FactorisedConfig.computes, "inner_group_num": 1}

    vocab_size: Annotated[int, Range(1, 10_000_000)] = 30000
    hidden_size: Annotated[int, Range(1, 65_536)] = 4096
    num_attention_heads: Annotated[int, Range(1, 65_536)] = 64
    intermediate_size: Annotated[int, Range(1, 1_000_000)] = 16384
    hidden_act: Annotated[str, OneOf(ACTIVATIONS)] = "gelu_new"
    hidden_dropout_prob: Dropout = 0.0
    attention_probs_dropout_prob: Dropout = 0.0
    classifier_dropout: Dropout | None = 0.1
    num_hidden_groups: Annotated[int, Range(1, 1000)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        layers, groups = self.num_hidden_layers, self.num_hidden_groups
        require(layers % groups == 0, f"num_hidden_groups must divide num_hidden_layers {layers}, got {groups}")

    @property
    def parameters(self) -> int:
        shared = self.num_hidden_layers - self.num_hidden_groups
        return super().parameters - shared * self.hidden_size * (4 * self.hidden_size + 2 * self.intermediate_size)


class SharedLayers(nn.ModuleList):
    """The groups' layers, each as often as it has layers, one behind the other; their weights are there once."""

    order: tuple[int, ...] = ()

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(Layer(config) for _ in range(config.num_hidden_groups))
        layers, groups = config.num_hidden_layers, config.num_hidden_groups
        self.order = tuple(layer * groups // layers for layer in range(layers))

    def __iter__(self) -> Iterator[nn.Module]:
        own = list(self._modules.values())
        return iter([own[group] for group in self.order])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


_INNER = "albert_layers.0."
_NAMES = (
    ("attention.self.", f"{_INNER}attention."),
    ("attention.output.dense", f"{_INNER}attention.dense"),
    ("attention.output.LayerNorm", f"{_INNER}attention.LayerNorm"),
    ("intermediate.dense", f"{_INNER}ffn"),
    ("output.dense", f"{_INNER}ffn_output"),
    ("output.LayerNorm", f"{_INNER}full_layer_layer_norm"),
    ("encoder.layer.", "encoder.albert_layer_groups."),
    ("embeddings.project", "encoder.embedding_hidden_mapping_in"),
    ("pooler.dense", "pooler"),
    ("cls.predictions.transform.dense", "predictions.dense"),
    ("cls.predictions.transform.LayerNorm", "predictions.LayerNorm"),
    ("cls.predictions.decoder.", "predictions.decoder."),
    ("cls.predictions.bias", "predictions.bias"),
)
FAMILIES = {
    "albert": Family(AlbertConfig, ProjectedEmbeddings, SharedLayers, BERT.masked_lm, prefix="albert.", names=_NAMES)
}
