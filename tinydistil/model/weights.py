"""Weights in a folder: safetensors or .bin, whole or sharded, and their names. Nothing in a file is ever executed.

    ours                          in the file
    embeddings.word.weight        embeddings.word_embeddings.weight
    layers.0.attention.qkv.weight encoder.layer.0.attention.self.{query,key,value}.weight, stacked
    layers.0.up.weight            encoder.layer.0.intermediate.dense.weight
    masked_lm.bias                cls.predictions.bias

Files differ further: "bert." may stand before the encoder's names or not, and the first releases call LayerNorm's
weight and bias gamma and beta. `canonical` takes both away.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from tinydistil.base.errors import InputError, require, translated
from tinydistil.base.hub import WEIGHT_FILES, weight_files

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
    (r"\bmasked_lm\.dense\.", "cls.predictions.transform.dense."),
    (r"\bmasked_lm\.norm\.", "cls.predictions.transform.LayerNorm."),
    (r"\bmasked_lm\.decoder$", "cls.predictions.decoder.weight"),
    (r"\bmasked_lm\.bias$", "cls.predictions.bias"),
    (r"\bspan\.", "qa_outputs."),
)

DECODER_WEIGHT = "cls.predictions.decoder.weight"
DECODER_BIAS = "cls.predictions.decoder.bias"
HEAD_BIAS = "cls.predictions.bias"
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
POOLER_WEIGHT = "pooler.dense.weight"

# Wider or narrower numbers than these come from files that no BERT is published in, or are no numbers of a model.
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Constants that old releases stored: 0, 1, 2, ... and 0, 0, 0, ...
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


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


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every weight of a folder under its canonical name, in the file's own dtype, memory-mapped where possible.

    model.safetensors is preferred to pytorch_model.bin. Raises InputError for missing, damaged or unsafe files.
    """
    files = weight_files(folder)
    if not files:
        held = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"folder {str(folder)!r} has no weights ({' or '.join(WEIGHT_FILES[::2])}); it holds {held}")
    weights: dict[str, Tensor] = {}
    for file in files:
        if file.name.endswith(".index.json"):
            continue
        require(file.is_file(), f"{str(files[0])!r} names shard {file.name!r}, which does not exist; fetch it")
        with file.open("rb") as opened:
            pointer = opened.read(40).startswith(b"version https://git-lfs")
        remedy = "run `git lfs pull` in its folder"
        require(not pointer, f"{str(file)!r} is a Git LFS pointer, not the weights; {remedy}")
        stored = _read_safetensors(file) if file.suffix == ".safetensors" else _read_bin(file)
        for name, tensor in stored.items():
            twice = f"{str(file)!r}: weight {name!r} is there twice, in another shard or under an older name"
            require(canonical(name) not in weights, twice)
            weights[canonical(name)] = tensor
    return {name: tensor for name, tensor in weights.items() if name not in _BUFFERS}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    damaged = translated(f"{str(path)!r} is not a whole safetensors file", "it may have been cut short: fetch it again")
    with damaged, safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def _read_bin(path: Path) -> dict[str, Tensor]:
    refused = f"{str(path)!r} is not a plain file of tensors and was refused unopened"
    with translated(f"{str(path)!r} is damaged", "fetch it again"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about what is refused below
        try:
            # The oldest .bin files are bare pickles, which cannot be memory-mapped.
            stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            with translated(refused, "ask its author for safetensors"):
                raise error
    if not isinstance(stored, dict):
        raise InputError(f"{str(path)!r} must hold a mapping of names to tensors, got {type(stored).__name__}")
    for name, tensor in stored.items():
        # plain numbers in memory: neither sparse nor nested, quantised or without data
        plain = isinstance(name, str) and type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.is_meta or tensor.is_nested or tensor.is_quantized:
            raise InputError(
                f"{str(path)!r} must hold a mapping of names to dense tensors, but {name!r} is "
                f"{type(tensor).__name__}; save the model's state_dict() alone"
            )
    # detach: some save parameters, which a copy would otherwise tie to autograd
    return {name: tensor.detach() for name, tensor in stored.items()}


def fill(module: nn.Module, wanted: Mapping[str, tuple[str, ...]], stored: Mapping[str, Tensor], folder: Path) -> None:
    """Give `module`, made on the meta device, memory on the CPU, and the `wanted` parameters their values in float32.

    wanted: for each of its parameters the names in `stored`, to be stacked along the first dimension. Raises InputError
    where one is not finite or of another shape or type.
    """

    def pairs() -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each weight as a message names it, the part of a parameter that it fills, and the stored tensor."""
        for ours, names in wanted.items():
            for name, part in zip(names, module.get_parameter(ours).detach().chunk(len(names)), strict=True):
                yield f"{str(folder)!r}: weight {name!r}", part, stored[name]

    for weight, part, tensor in pairs():  # before memory is taken
        if tensor.shape != part.shape:
            raise InputError(
                f"{weight} has shape {tuple(tensor.shape)}, but config.json asks for {tuple(part.shape)}; "
                "they do not belong together"
            )
        remedy = "fetch the one in float32, float16 or bfloat16"
        require(tensor.dtype in _FLOATS, f"{weight} is {tensor.dtype}, perhaps of a quantised model; {remedy}")
    module.to_empty(device="cpu").float()
    for weight, part, tensor in pairs():
        part.copy_(tensor)
        # aminmax carries NaN through and allocates nothing: a fifth of the time of isfinite().all()
        finite = all(torch.isfinite(extreme) for extreme in part.aminmax())
        require(finite, f"{weight} holds NaN or infinity as {part.dtype}; the file is damaged")
