"""The names of weights: ours, and those that files on the hub use.

    ours                          in the file
    embeddings.word.weight        embeddings.word_embeddings.weight
    layers.0.attention.qkv.weight encoder.layer.0.attention.self.{query,key,value}.weight, stacked
    layers.0.up.weight            encoder.layer.0.intermediate.dense.weight
    masked_lm.bias                cls.predictions.bias
    ...

Files differ further: "bert." may stand before the encoder's names or not, and the first releases call LayerNorm's
weight and bias gamma and beta. `canonical` takes both away.
"""

import re

# Applied in this order, each to what the one before left.
_TO_FILE: tuple[tuple[str, str], ...] = (
    (r"\blayers\.", "encoder.layer."),
    (r"\battention\.output\.", "attention.output.dense."),
    (r"\battention_norm\.", "attention.output.LayerNorm."),
    (r"\bup\.", "intermediate.dense."),
    (r"\bdown\.", "output.dense."),
    (r"\boutput_norm\.", "output.LayerNorm."),
    (r"\bembeddings\.(word|position|token_type)\.", r"embeddings.\1_embeddings."),
    (r"\bembeddings\.norm\.", "embeddings.LayerNorm."),
    (r"\bpooler\.", "pooler.dense."),
    (r"\bmasked_lm\.(dense)\.", r"cls.predictions.transform.\1."),
    (r"\bmasked_lm\.norm\.", "cls.predictions.transform.LayerNorm."),
    (r"\bmasked_lm\.decoder$", "cls.predictions.decoder.weight"),
    (r"\bmasked_lm\.bias$", "cls.predictions.bias"),
    (r"\bnext_sentence\.", "cls.seq_relationship."),
    (r"\bspan\.", "qa_outputs."),
)

DECODER_WEIGHT = "cls.predictions.decoder.weight"
DECODER_BIAS = "cls.predictions.decoder.bias"
HEAD_BIAS = "cls.predictions.bias"
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
POOLER_WEIGHT = "pooler.dense.weight"

_ENCODER = re.compile(r"(embeddings|encoder)\.")
# Constants that old releases stored: 0, 1, 2, ... and 0, 0, 0, ...
BUFFERS = frozenset({"embeddings.position_ids", "embeddings.token_type_ids"})


def file_names(name: str) -> tuple[str, ...]:
    """The name or names in a file for our weight `name`: three, to be stacked, for query, key and value."""
    for pattern, replacement in _TO_FILE:
        name = re.sub(pattern, replacement, name)
    if ".attention.qkv." in name:
        return tuple(name.replace(".attention.qkv.", f".attention.self.{part}.") for part in ("query", "key", "value"))
    return (name,)


def canonical(name: str) -> str:
    """A file's name without "bert." or DataParallel's "module." in front, gamma and beta called weight and bias."""
    name = name.removeprefix("module.").removeprefix("bert.")
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))


def is_encoder(name: str) -> bool:
    """Whether a canonical name belongs to embeddings or layers, without which there is no encoder."""
    return _ENCODER.match(name) is not None and name not in BUFFERS
