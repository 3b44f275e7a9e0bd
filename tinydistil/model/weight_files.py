"""Tensors as they lie in a folder: safetensors or .bin, whole or sharded. Nothing in a file is ever executed."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tinydistil.base.errors import InputError, translated
from tinydistil.base.files import replacing
from tinydistil.base.hub import WEIGHT_FILES, first_existing, shards_of
from tinydistil.model.names import canonical


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder under its canonical name, in the file's own dtype, memory-mapped where possible.

    model.safetensors is preferred to pytorch_model.bin. Raises InputError for missing, damaged or unsafe files.
    """
    path = first_existing(folder, WEIGHT_FILES)
    if path is None:
        others = sorted(file.name for file in folder.iterdir()) or ["nothing"]
        raise InputError(
            f"folder {str(folder)!r} has no weights ({' or '.join(WEIGHT_FILES[::2])}); "
            f"it holds {', '.join(others[:8])}"
        )
    is_index = path.name.endswith(".index.json")
    files = [folder / shard for shard in shards_of(path)] if is_index else [path]
    weights: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            raise InputError(f"{str(path)!r} names shard {file.name!r}, which does not exist; fetch it")
        _refuse_pointer(file)
        stored = _read_safetensors(file) if file.suffix == ".safetensors" else _read_bin(file)
        for name, tensor in stored.items():
            if canonical(name) in weights:
                raise InputError(
                    f"{str(file)!r}: weight {name!r} is there twice, in another shard or under an older name"
                )
            weights[canonical(name)] = tensor
    return weights


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
        if not isinstance(name, str) or not _is_plain(tensor):
            raise InputError(
                f"{str(path)!r} must hold a mapping of names to dense tensors, but {name!r} is "
                f"{type(tensor).__name__}; save the model's state_dict() alone"
            )
    # detach: some save parameters, which a copy would otherwise tie to autograd
    return {name: tensor.detach() for name, tensor in stored.items()}


def _is_plain(value: object) -> bool:
    """Whether `value` is plain numbers in memory: neither sparse nor nested, quantised or without data."""
    if type(value) not in (Tensor, nn.Parameter) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not (value.is_meta or value.is_nested or value.is_quantized)


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise InputError(f"{str(path)!r} is a Git LFS pointer, not the weights; run `git lfs pull` in its folder")


def write_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write `weights` as safetensors: under a temporary name first, so that an old file survives a failure."""
    plain = {name: tensor.detach().to("cpu").clone().contiguous() for name, tensor in weights.items()}
    # What earlier versions left behind when they were killed.
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)
    with replacing(path) as partial:
        try:
            save_file(plain, partial, metadata={"format": "pt"})  # without it transformers refuses the file
        except SafetensorError as error:
            raise InputError(f"cannot write {str(path)!r}: {error}; free some space or choose another folder") from None
