"""sentence-transformers folders: what they declare of a sentence's vector, read and written.

Shapes: B sequences, T tokens, D hidden size, F size of a sentence's vector.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.config import shown
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, write_atomic, write_json
from tinydistil.base.hub import MODULES, PROMPTS, TEXT_CONFIG, Module, modules_of, read_weights, sentence_root
from tinydistil.model.config import BertConfig
from tinydistil.model.layers import REDUCTIONS, pool
from tinydistil.model.pretrained import fill

# What may follow the pooling.
_FOLLOWED = ("Dense", "LayerNorm", "Normalize", "Dropout")
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU", "ELU", "Mish", "Softplus")
# Our names and those in the files of old; it knows no pooler.
_MODES = {name: name + "_tokens" for name in REDUCTIONS} | {
    "cls": "cls_token", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "lasttoken": "lasttoken"
}  # fmt: skip


class _Dense(nn.Module):
    """A Dense module as its config.json says. Raises InputError for what is not followed here."""

    def __init__(self, path: Path, inputs: int) -> None:
        super().__init__()
        stated, outputs, read, written, function, bias, residual = _values(
            path, in_features=int, out_features=int, module_input_name=str, module_output_name=str,
            activation_function=str, bias=bool, use_residual=bool,
        )  # fmt: skip
        outputs = inputs if outputs is None else outputs
        require(stated in (None, inputs), f"{str(path)!r}: in_features must be {inputs}, got {stated}")
        require(1 <= outputs <= 65_536, f"{str(path)!r}: out_features must be in 1..65536, got {outputs}")
        name = (function or "Tanh").rpartition(".")[2]
        for key, value, followed in (
            ("module_input_name", read, (None, "sentence_embedding")),
            ("module_output_name", written, (None, "sentence_embedding")),
            ("activation_function", name, _ACTIVATIONS),
        ):
            require(value in followed, f"{str(path)!r}: {key} {shown(value)} is not followed here")
        self.linear = nn.Linear(inputs, outputs, bias=bias is not False)
        self.activation: nn.Module = getattr(nn, name)()
        self.use_residual = bool(residual)
        projected = self.use_residual and inputs != outputs
        self.residual = nn.Linear(inputs, outputs, bias=False) if projected else nn.Identity()

    def forward(self, vectors: Tensor) -> Tensor:
        changed: Tensor = self.activation(self.linear(vectors))
        return changed + self.residual(vectors) if self.use_residual else changed


class _Unit(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


@dataclass(frozen=True)
class Declaration:
    """What a folder declares of a sentence's vector, without the weights.

    modules: all, in order. poolings: side by side, none without a module for them. pools_prompt: whether the prompt's
    tokens count in the pooling. max_length: of a text in tokens, None where nothing is said. prompt: stands before
    every text. lowercase: whether capitals are lost whatever the tokenizer says.
    """

    modules: list[Module]
    poolings: tuple[str, ...]
    pools_prompt: bool
    max_length: int | None
    prompt: str
    lowercase: bool

    def beside(self, *, pooled: bool, prefixed: bool) -> list[str]:
        """What is declared beside a pooling, in words; `pooled`: of the sequence's vector too; `prefixed`: where a text
        gets its prompt, or another in its place."""
        kinds = [module.kind for module in self.modules[1:] if module.kind not in ("Pooling", "Dropout")]
        found = ["do_lower_case"] * self.lowercase
        found += [f"the default prompt {shown(self.prompt)}"] if self.prompt and not prefixed else []
        return found + [f"{kind} behind the pooling" for kind in kinds if pooled]


def declaration_of(encoder: Path) -> Declaration | None:
    """What the folder of `encoder` declares; None where it has no modules.json.

    Raises InputError for a value of a wrong type, and for a default prompt that is none of the prompts.
    """
    root = sentence_root(encoder)
    if root is None:
        return None
    limit, lowercase = _values(encoder / TEXT_CONFIG, max_seq_length=int, do_lower_case=bool)
    if limit is not None and limit < 1:
        raise InputError(f"{str(encoder / TEXT_CONFIG)!r}: max_seq_length must be >= 1, got {limit}")
    name, prompts = _values(root / PROMPTS, default_prompt_name=str, prompts=dict)
    prompt = "" if name is None else (prompts or {}).get(name)
    if not isinstance(prompt, str):
        raise InputError(f"{str(root / PROMPTS)!r}: default_prompt_name {shown(name)} is none of its prompts")
    modules, poolings, pools_prompt = modules_of(root), [], True
    if folders := [module.path for module in modules if module.kind == "Pooling"]:
        path = root / folders[0] / "config.json"
        flags = {f"pooling_mode_{theirs}": bool for theirs in _MODES.values()}
        named, included, *set_flags = _values(path, pooling_mode=object, include_prompt=bool, **flags)
        # Old form, a flag each and the mean where none is set; or new, a name or a list of names.
        poolings = [ours for ours, flag in zip(_MODES, set_flags, strict=True) if flag] or ["mean"]
        if named is not None:
            poolings = named if isinstance(named, list) else [named]
        known = bool(poolings) and all(isinstance(each, str) and each in REDUCTIONS for each in poolings)
        some = ", ".join(REDUCTIONS)
        require(known, f"{str(path)!r}: pooling_mode must be one or some of {some}, got {shown(named)}")
        pools_prompt = included is not False
    return Declaration(modules, tuple(poolings), pools_prompt, limit, prompt, bool(lowercase))


def _values(path: Path, **kinds: type) -> list[Any]:
    """The values of some keys of a small JSON file, each of its type; None where the value or the file is missing."""
    values = read_json(path) if path.is_file() else {}
    for key, kind in kinds.items():
        value = values.get(key)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise InputError(f"{str(path)!r}: {key} must be of type {kind.__name__}, got {shown(value)}")
    return [values.get(key) for key in kinds]


@dataclass(frozen=True)
class SentenceVectors(Declaration):
    """A declaration with the layers on the poolings. size: F."""

    layers: nn.Sequential
    size: int

    def __call__(self, hidden: Tensor, attention_mask: Tensor, *, prompt_tokens: int = 0) -> Tensor:
        """Last hidden states (B, T, D) to vectors (B, F)."""
        first = 0 if self.pools_prompt else min(prompt_tokens, hidden.shape[1] - 1)
        pooled = [pool(hidden, attention_mask, each, first=first) for each in self.poolings]
        return self.layers(torch.cat(pooled, -1))  # type: ignore[no-any-return]

    def __str__(self) -> str:
        kinds = [module.kind for module in self.modules[2:] if module.kind != "Dropout"]
        parts = ["+".join(self.poolings), *("unit length" if kind == "Normalize" else kind for kind in kinds)]
        parts += [f"prompt {shown(self.prompt)}"] if self.prompt else []
        parts += ["lower-cased"] if self.lowercase else []
        parts += [f"texts cut to {self.max_length} tokens"] if self.max_length else []
        return ", ".join(parts)


def read_sentence_folder(encoder: Path, config: BertConfig) -> SentenceVectors | None:
    """What the folder of `encoder` declares, with its weights; None where it has no modules.json.

    Raises InputError as `declaration_of` does, for modules that are not followed here and weights that do not fit.
    """
    root, found = sentence_root(encoder), declaration_of(encoder)
    if root is None or found is None:
        return None
    kinds = [module.kind for module in found.modules]
    # BERT: the first releases' name for it
    if kinds[:2] not in (["Transformer", "Pooling"], ["BERT", "Pooling"]) or not {*kinds[2:]} <= {*_FOLLOWED}:
        raise InputError(
            f"{str(root / MODULES)!r} declares {', '.join(kinds)}; followed are Transformer, Pooling and then "
            f"{', '.join(_FOLLOWED)}. To take the encoder alone, choose a pooling yourself "
            "(predict.py --pooling), or for a teacher remove that file"
        )
    size, layers = config.hidden_size * len(found.poolings), list[nn.Module]()
    for kind, path in found.modules[2:]:
        if kind == "Normalize":
            layers.append(_Unit())
        elif kind != "Dropout":  # which does nothing where nothing is trained
            with torch.device("meta"):
                norm = nn.Sequential(OrderedDict(norm=nn.LayerNorm(size)))
                layer = norm if kind == "LayerNorm" else _Dense(root / path / "config.json", size)
            wanted, stored = {name: (name,) for name, _ in layer.named_parameters()}, read_weights(root / path)
            if missing := sorted(wanted.keys() - stored.keys()):
                raise InputError(f"{str(root / path)!r} lacks the weight {missing[0]!r} of its {kind}; fetch it again")
            fill(layer, wanted, stored, root / path)
            layers.append(layer)
            size = layer.linear.out_features if isinstance(layer, _Dense) else size
    limit = None if found.max_length is None else min(found.max_length, config.longest)
    return SentenceVectors(**vars(replace(found, max_length=limit)), layers=nn.Sequential(*layers).eval(), size=size)


def declare_sentence_encoder(
    folder: Path, config: BertConfig, *, pooling: str, max_length: int, dense: nn.Linear | None = None
) -> None:
    """Write modules.json, sentence_bert_config.json and 1_Pooling/config.json beside the encoder in `folder`.

    pooling: "cls", "mean" or "max". max_length: tokens beyond which a text is cut. dense: what takes the pooled vectors
    elsewhere, written as 2_Dense. Raises InputError for another pooling, or a length that the model has no positions
    for.
    """
    known, longest = ("cls", "mean", "max"), config.longest
    require(pooling in known, f"pooling {pooling!r} cannot be declared; choose one of {', '.join(known)}")
    require(3 <= max_length <= longest, f"max_length must be in 3..{longest}, the model's positions, got {max_length}")
    modes = {f"pooling_mode_{_MODES[each]}": each == pooling for each in known}
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), *([] if dense is None else [("2_Dense", "Dense")])]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
        for index, (path, name) in enumerate(parts)
    ]
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    write_json(folder / MODULES, modules)
    write_json(folder / TEXT_CONFIG, {"max_seq_length": max_length, "do_lower_case": False})
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": config.hidden_size, **modes})
    if dense is not None:
        (folder / "2_Dense").mkdir(exist_ok=True)
        weights = {f"linear.{name}": tensor.detach().cpu().contiguous() for name, tensor in dense.state_dict().items()}
        write_atomic(folder / "2_Dense" / "model.safetensors", save(weights))
        sizes = {"in_features": dense.in_features, "out_features": dense.out_features, "bias": dense.bias is not None}
        activation = {"activation_function": "torch.nn.modules.linear.Identity"}
        write_json(folder / "2_Dense" / "config.json", {**sizes, **activation})
