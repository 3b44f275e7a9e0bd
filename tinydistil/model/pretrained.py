"""What every model of ours can do: start at random, load from a folder, be written to one.

Names of weights:

    ours                          in the file
    embeddings.word.weight        embeddings.word_embeddings.weight
    layers.0.attention.qkv.weight encoder.layer.0.attention.self.{query,key,value}.weight, stacked
    masked_lm.bias                cls.predictions.bias

In files "bert." may stand before the encoder's names, and the first releases call LayerNorm's weight and bias gamma and
beta: `canonical` takes both away. Other families have names of their own, see `config.Family`; here all are BERT's.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import write_atomic, write_json
from tinydistil.base.hub import read_weights, resolve_folder
from tinydistil.model.config import BertConfig, config_to_json, family, read_config

if TYPE_CHECKING:  # which imports this file
    from tinydistil.model.bert import BertModel

# Applied in this order, each to what the one before left.
_TO_FILE: tuple[tuple[str, str], ...] = (
    (r"\blayers\.", "encoder.layer."),
    (r"\bfinal\.", "encoder.final."),
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

# Constants that old releases stored: 0, 1, 2, ... and 0, 0, 0, ...
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def file_names(name: str) -> tuple[str, ...]:
    """The name or names in a file for our weight `name`: three, to be stacked, for query, key and value."""
    for pattern, replacement in _TO_FILE:
        name = re.sub(pattern, replacement, name)
    if ".attention.qkv." in name:
        return tuple(name.replace(".attention.qkv.", f".attention.self.{part}.") for part in ("query", "key", "value"))
    return (name,)


def canonical(name: str, model_type: str = "bert") -> str:
    """BERT's name for a file's, without "bert." or DataParallel's "module." in front, gamma and beta called weight and
    bias."""
    name = family(model_type).bert_name(name)
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))


def encoder_weights(folder: Path, config: BertConfig) -> dict[str, Tensor]:
    """Every weight of a folder under its canonical name, see `read_weights`. Raises InputError."""
    weights: dict[str, Tensor] = {}
    for name, tensor in read_weights(folder).items():
        twice = f"{str(folder)!r}: weight {name!r} is there twice, in another shard or under an older name"
        require(canonical(name, config.model_type) not in weights, twice)
        weights[canonical(name, config.model_type)] = tensor
    weights = {name: tensor for name, tensor in weights.items() if name not in _BUFFERS}
    return dict(family(config.model_type).from_file(weights, config))


# Wider or narrower numbers than these come from files that no BERT is published in, or are no numbers of a model.
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


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


Heads = Literal["load", "require", "new"]
# Weights without which there is no encoder.
_ENCODER = ("embeddings.", "encoder.")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of a folder's weights: ours loaded, the file's left over, ours newly made at random."""

    folder: str
    loaded: tuple[str, ...]
    left_over: tuple[str, ...]
    newly_made: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.folder}: {len(self.loaded)} weights loaded"
        for what, names in (("left over in the file", self.left_over), ("newly made at random", self.newly_made)):
            text += f"\n  {what}: {', '.join(names)}" if names else ""
        return text


@torch.no_grad()
def init_weights(module: nn.Module, config: BertConfig, only: set[str] | None = None) -> None:
    """Normal weights of sd `initializer_range`, zero biases, LayerNorm at identity, for parameters named in `only`, or
    all. Draws from torch's global generator."""
    norms = {name for name, part in module.named_modules() if isinstance(part, nn.LayerNorm)}
    for name, parameter in module.named_parameters():
        if parameter.is_meta or (only is not None and name not in only):
            continue
        owner, _, kind = name.rpartition(".")
        if kind == "bias":
            parameter.zero_()
        elif owner in norms:
            parameter.fill_(1.0)
        else:
            parameter.normal_(0.0, config.initializer_range)
        if name.endswith("embeddings.word.weight") and config.pad_token_id is not None:
            parameter[config.pad_token_id] = 0.0


class Pretrained(nn.Module):
    """Base of the encoder and of the encoder with a head."""

    architecture: str  # the class of `transformers` that reads what we write
    has_labels = False
    load_report: LoadReport | None = None

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def encoder(self) -> "BertModel":
        """The model without its head."""
        return getattr(self, "bert", self)  # type: ignore[arg-type]

    def init_weights(self, only: set[str] | None = None) -> None:
        """BERT's start. `only` limits it to parameters of these names."""
        init_weights(self, self.config, only)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        heads: Heads = "load",
        changes: Mapping[str, object] | None = None,
        attention: str = "sdpa",
    ) -> Self:
        """The model in folder or hub name `name`, in float32 and eval mode; `load_report` says what was found.

        heads: "load" takes a head's weights where the folder has them and makes them at random where not,
            "require" raises where one is missing, "new" makes them at random in any case.
        changes: fields of the configuration to replace (labels, pooling, dropout).

        Raises InputError, naming the weight, where one of the encoder is missing, left over, not finite or of
        another shape than config.json says, and where the folder or a file is missing or damaged.
        """
        folder = resolve_folder(name)
        if heads not in get_args(Heads):
            raise InputError(f"heads {heads!r} is unknown{nearest(heads, get_args(Heads))}")
        # A new head brings labels of its own.
        config = read_config(folder / "config.json", labels=cls.has_labels and heads != "new")
        config, stored = config.replace(**(changes or {})), encoder_weights(folder, config)
        if DECODER_BIAS in stored:
            # Where both are there and differ, transformers computes with this one.
            stored[HEAD_BIAS] = stored.pop(DECODER_BIAS)
        decoder, words = stored.get(DECODER_WEIGHT), stored.get(WORD_EMBEDDINGS)
        if config.tie_word_embeddings and decoder is not None and words is not None and torch.equal(decoder, words):
            del stored[DECODER_WEIGHT]  # it only repeats the word embeddings
        with torch.device("meta"):  # no time spent on random weights that are replaced at once
            model = cls._shaped_by(config, stored, attention=attention, heads=heads)
        called = family(config.model_type).file_name
        wanted, newly_made = {ours: tuple(map(canonical, file_names(ours))) for ours in model.state_dict()}, set()
        for ours, names in wanted.items():
            absent = [each for each in names if each not in stored]
            if absent and absent[0].startswith(_ENCODER):
                raise InputError(
                    f"{str(folder)!r} lacks the encoder weight {called(absent[0])!r}; does its config.json "
                    f"(num_hidden_layers) belong to these weights, and are they of a {config.model_type}? It holds "
                    f"{', '.join(sorted(stored)[:3]) or 'no tensor'} ..."
                )
            if absent and heads == "require":
                raise InputError(
                    f"{str(folder)!r} lacks {called(absent[0])!r}: a model without that head; train one, or choose "
                    "a model that has it"
                )
            # The pooler is no head: it is part of what was pretrained.
            if absent or (heads == "new" and not names[0].startswith((*_ENCODER, "pooler."))):
                newly_made.add(ours)
        loaded = {ours: names for ours, names in wanted.items() if ours not in newly_made}
        fill(model, loaded, stored, folder)
        left_over = sorted(stored.keys() - {each for names in loaded.values() for each in names})
        if unused := [each for each in left_over if each.startswith(_ENCODER)]:
            raise InputError(
                f"{str(folder)!r} holds {len(unused)} encoder weights that config.json has no place for, "
                f"such as {called(unused[0])!r}; is num_hidden_layers right, and are they of a {config.model_type}?"
            )
        model.init_weights(only=newly_made)
        model.load_report = LoadReport(str(name), tuple(loaded), tuple(left_over), tuple(sorted(newly_made)))
        return model.eval()

    @classmethod
    def _shaped_by(cls, config: BertConfig, stored: Mapping[str, Tensor], *, attention: str, heads: Heads) -> Self:
        """An instance whose optional parts are those that the stored weights have."""
        return cls(config, attention=attention)  # type: ignore[call-arg]

    def save_pretrained(self, folder: str | Path, *, beside: tuple[str, Mapping[str, Tensor]] | None = None) -> None:
        """Write config.json and model.safetensors, an ordinary Hugging Face folder; made if need be.

        beside: another architecture that this model is part of, and its further weights by the names of files.
        """
        folder, parts = Path(folder), family(self.config.model_type)
        folder.mkdir(parents=True, exist_ok=True)
        architecture, more = beside or (self.architecture, {})
        named = self.file_weights()
        if beside and not any(name.startswith("bert.") for name in self.state_dict()):
            named = {parts.prefix + name: tensor for name, tensor in named.items()}
        weights = {name: each.detach().to("cpu").clone().contiguous() for name, each in {**named, **more}.items()}
        # without the metadata transformers refuses the file
        write_atomic(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
        values = config_to_json(self.config, architecture, has_labels=self.has_labels)
        write_json(folder / "config.json", values)

    def file_weights(self) -> dict[str, Tensor]:
        """The weights under the names that files use, query, key and value apart; tied weights once."""
        weights: dict[str, Tensor] = {}
        for ours, tensor in self.state_dict().items():
            names = file_names(ours)
            weights |= dict(zip(names, tensor.chunk(len(names)), strict=True))
        if DECODER_WEIGHT in weights:
            # transformers holds the untied decoder's bias under a name of its own
            weights[DECODER_BIAS] = weights[HEAD_BIAS]
        parts = family(self.config.model_type)
        return {parts.file_name(name): tensor for name, tensor in parts.to_file(weights, self.config).items()}
