"""The shape of a BERT, read from and written to config.json."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tinydistil.base.config import Checked, NonNegative, OneOf, Positive, Range, from_mapping, nearest, shown
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json

# Here and not beside their functions: options are listed (--help) without torch.
ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "gelu_pytorch_tanh", "swish")
POOLINGS = ("pooler", "cls", "mean", "max")
# The head alone would hold half of BERT-base's weights.
MOST_LABELS = 100_000
Dropout = Annotated[float, Range(0, 1, without=(1,))]


@dataclass(frozen=True)
class BertConfig(Checked):
    """What config.json says, under its names; defaults are those of `transformers` (BERT-base).

    `labels` stands for `id2label` (label i is the i-th); `pooling` says which vector a sequence classifier
    reads (ours; config.json holds it as "tinydistil_pooling").
    """

    vocab_size: Annotated[int, Range(1, 10_000_000)] = 30522
    hidden_size: Annotated[int, Range(1, 65_536)] = 768
    num_hidden_layers: Annotated[int, Range(1, 1000)] = 12
    num_attention_heads: Annotated[int, Range(1, 65_536)] = 12
    intermediate_size: Annotated[int, Range(1, 1_000_000)] = 3072
    hidden_act: Annotated[str, OneOf(ACTIVATIONS)] = "gelu"
    hidden_dropout_prob: Dropout = 0.1
    attention_probs_dropout_prob: Dropout = 0.1
    max_position_embeddings: Annotated[int, Range(1, 1_000_000)] = 512
    type_vocab_size: Annotated[int, Range(1, 65_536)] = 2
    initializer_range: NonNegative = 0.02
    layer_norm_eps: Positive = 1e-12
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    classifier_dropout: Dropout | None = None
    problem_type: str | None = None
    labels: Annotated[tuple[str, ...], Range(1, MOST_LABELS)] = ("LABEL_0", "LABEL_1")
    pooling: Annotated[str, OneOf(POOLINGS)] = "pooler"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} "
            f"and {self.num_attention_heads}",
        )
        require(
            self.pad_token_id is None or 0 <= self.pad_token_id < self.vocab_size,
            f"pad_token_id must be in 0..{self.vocab_size - 1}, got {self.pad_token_id}",
        )
        require(bool(self.labels), "labels must be at least one, got none")

    @property
    def parameters(self) -> int:
        """Numbers in the embeddings and matrices, which are all but one in a thousand of a model's."""
        rows = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        layer = 4 * self.hidden_size + 2 * self.intermediate_size
        return self.hidden_size * (rows + self.num_hidden_layers * layer)

    def replace(self, **changes: object) -> "BertConfig":
        """A copy with some fields changed, names, types and values checked as when read from a file."""
        return from_mapping(BertConfig, dataclasses.asdict(self) | changes)


# Layers, width and vocabulary. Turc et al. 2019 (table 1) for tiny to medium, Devlin et al. 2019 for base and large;
# BERTimbau: Souza et al. 2020.
PRESETS = {
    "bert-tiny": (2, 128, 30522),
    "bert-mini": (4, 256, 30522),
    "bert-small": (4, 512, 30522),
    "bert-medium": (8, 512, 30522),
    "bert-base": (12, 768, 30522),
    "bert-large": (24, 1024, 30522),
    "bertimbau-base": (12, 768, 29794),
    "bertimbau-large": (24, 1024, 29794),
}


def preset(name: str) -> BertConfig:
    """The configuration of a released model. Raises InputError with the nearest name if unknown."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is unknown{nearest(name, PRESETS)}")
    layers, hidden, vocab_size = PRESETS[name]
    # Every released BERT has heads of 64 and a feed-forward layer four times as wide as the model.
    return BertConfig(vocab_size, hidden, layers, hidden // 64, 4 * hidden)


# Keys that change what the encoder computes, with the only values but null that this one implements.
_COMPUTES = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
}


def read_config(path: Path, *, labels: bool = False) -> BertConfig:
    """The configuration in a config.json; keys that do not change the computation are ignored.

    labels: whether its class names matter; where they do not, a table of them that cannot be read is no error.
    Raises InputError for another architecture (RoBERTa, DistilBERT, relative positions ...) or a bad value.
    """
    values = read_json(path)
    for key, allowed in _COMPUTES.items():
        if (value := values.get(key)) not in (allowed, None):
            raise InputError(f"{str(path)!r}: {key} must be {allowed!r} (a BERT encoder), got {shown(value)}")
    names = {field.name for field in dataclasses.fields(BertConfig)} - {"labels", "pooling"}
    known = {key: value for key, value in values.items() if key in names}
    if known.get("pad_token_id") == -1:  # how some folders write "none"
        known["pad_token_id"] = None
    if labels and (values.get("id2label") is not None or values.get("num_labels") is not None):
        known["labels"] = _labels(values, path)
    if "tinydistil_pooling" in values:
        known["pooling"] = values["tinydistil_pooling"]
    try:
        return fitting(from_mapping(BertConfig, known))
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None


def memory_there() -> int:
    """Bytes of memory that this machine has, or that its container may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical


def fitting(config: BertConfig) -> BertConfig:
    """`config`. Raises InputError, before any memory is asked for, where this machine cannot hold its weights."""
    there = memory_there()
    needed = 4 * config.parameters  # bytes in float32
    require(
        needed <= there,
        f"{config.num_hidden_layers} layers of {config.hidden_size} with {config.vocab_size:,} tokens are "
        f"{config.parameters:,} parameters, {needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f} GiB; "
        "choose a smaller shape",
    )
    return config


def _labels(values: dict[str, object], path: Path) -> list[str]:
    table, count = values.get("id2label"), values.get("num_labels")
    if table is None:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_LABELS:
            raise InputError(f"{str(path)!r}: num_labels must be an integer in 1..{MOST_LABELS}, got {shown(count)}")
        return [f"LABEL_{i}" for i in range(count)]
    if isinstance(table, dict) and table and sorted(table) == sorted(str(i) for i in range(len(table))):
        return [str(table[str(i)]) for i in range(len(table))]
    raise InputError(f"{str(path)!r}: id2label must map '0', '1', ... to names, got {shown(table)}")


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
