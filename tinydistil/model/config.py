"""The shape of a BERT, read from and written to config.json."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from tinydistil.config import from_mapping, nearest
from tinydistil.errors import InputError, require
from tinydistil.files import read_json
from tinydistil.model.activations import ACTIVATIONS
from tinydistil.model.pooling import POOLINGS

# Beyond what an index can count, a size is a typing error.
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class BertConfig:
    """What config.json says, under its names; defaults are those of `transformers` (BERT-base).

    `labels` stands for `id2label` (label i is the i-th); `pooling` says which vector a sequence classifier
    reads (ours; config.json holds it as "tinydistil_pooling").
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    classifier_dropout: float | None = None
    problem_type: str | None = None
    labels: tuple[str, ...] = ("LABEL_0", "LABEL_1")
    pooling: str = "pooler"

    def __post_init__(self) -> None:
        for name in (
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
            "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
        ):  # fmt: skip
            value = getattr(self, name)
            require(0 < value <= LARGEST and math.isfinite(value), f"{name} must be > 0 and finite, got {value}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            probability = getattr(self, name)
            require(probability is None or 0 <= probability < 1, f"{name} must be in [0, 1), got {probability}")
        require(
            0 <= self.initializer_range < math.inf,
            f"initializer_range must be >= 0 and finite, got {self.initializer_range}",
        )
        require(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} "
            f"and {self.num_attention_heads}",
        )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"hidden_act {self.hidden_act!r} is unknown{nearest(self.hidden_act, ACTIVATIONS)}")
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling {self.pooling!r} is unknown{nearest(self.pooling, POOLINGS)}")
        require(
            self.pad_token_id is None or 0 <= self.pad_token_id < self.vocab_size,
            f"pad_token_id must be in 0..{self.vocab_size - 1}, got {self.pad_token_id}",
        )
        require(len(self.labels) >= 1, "labels must hold at least one name, got none")

    @property
    def head_size(self) -> int:
        """Width of one attention head, K = D / H."""
        return self.hidden_size // self.num_attention_heads

    def replace(self, **changes: object) -> "BertConfig":
        """A copy with some fields changed, names, types and values checked as when read from a file."""
        return from_mapping(BertConfig, dataclasses.asdict(self) | changes)


def _shape(layers: int, hidden: int, *, vocab_size: int = 30522) -> BertConfig:
    # Every released BERT has heads of 64 and a feed-forward layer four times as wide as the model.
    return BertConfig(
        vocab_size=vocab_size,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )


# Turc et al. 2019 (table 1) for tiny to medium, Devlin et al. 2019 for base and large; BERTimbau: Souza et al. 2020.
PRESETS: dict[str, BertConfig] = {
    "bert-tiny": _shape(2, 128),
    "bert-mini": _shape(4, 256),
    "bert-small": _shape(4, 512),
    "bert-medium": _shape(8, 512),
    "bert-base": _shape(12, 768),
    "bert-large": _shape(24, 1024),
    "bertimbau-base": _shape(12, 768, vocab_size=29794),
    "bertimbau-large": _shape(24, 1024, vocab_size=29794),
}


def preset(name: str) -> BertConfig:
    """The configuration of a released model. Raises InputError with the nearest name if unknown."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is unknown{nearest(name, PRESETS)}")
    return PRESETS[name]


# Keys that change what the encoder computes, with the only values this one implements.
_COMPUTES = {
    "model_type": ("bert", None),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
}


def read_config(path: Path) -> BertConfig:
    """The configuration in a config.json; keys that do not change the computation are passed over.

    Raises InputError for another architecture (RoBERTa, DistilBERT, relative positions ...) or a bad value.
    """
    values = read_json(path)
    for key, allowed in _COMPUTES.items():
        if (value := values.get(key)) not in allowed:
            raise InputError(f"{str(path)!r}: {key} must be {allowed[0]!r} (a BERT encoder), got {value!r}")
    names = {field.name for field in dataclasses.fields(BertConfig)} - {"labels", "pooling"}
    known = {key: value for key, value in values.items() if key in names}
    if "id2label" in values or "num_labels" in values:
        known["labels"] = _labels(values, path)
    if "tinydistil_pooling" in values:
        known["pooling"] = values["tinydistil_pooling"]
    try:
        return from_mapping(BertConfig, known)
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None


def _labels(values: dict[str, object], path: Path) -> list[str]:
    table, count = values.get("id2label"), values.get("num_labels")
    if table is None:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= LARGEST:
            raise InputError(f"{str(path)!r}: num_labels must be an integer >= 1, got {count!r}")
        return [f"LABEL_{i}" for i in range(count)]
    if isinstance(table, dict) and table and sorted(table) == sorted(str(i) for i in range(len(table))):
        return [str(table[str(i)]) for i in range(len(table))]
    raise InputError(f"{str(path)!r}: id2label must map '0', '1', ... to names, got {table!r}")


def config_to_json(config: BertConfig, architecture: str, *, has_labels: bool) -> dict[str, object]:
    """The contents of a config.json that `transformers` reads as model class `architecture`."""
    values: dict[str, object] = {"architectures": [architecture], "model_type": "bert"}
    values |= dataclasses.asdict(config)
    values["position_embedding_type"] = "absolute"
    labels, pooling = config.labels, values.pop("pooling")
    del values["labels"]
    if has_labels:
        require(len(set(labels)) == len(labels), f"labels must differ, got {labels}")
        values["id2label"] = {str(i): label for i, label in enumerate(labels)}
        values["label2id"] = {label: i for i, label in enumerate(labels)}
    if pooling != "pooler":
        values["tinydistil_pooling"] = pooling
    for optional in ("classifier_dropout", "problem_type"):
        if values[optional] is None:
            del values[optional]
    return values
