"""What every model of ours can do: start at random, load from a folder, be written to one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError
from tinydistil.base.files import write_json
from tinydistil.base.hub import resolve_folder
from tinydistil.model.config import BertConfig, config_to_json, read_config
from tinydistil.model.weights import (
    BUFFERS,
    DECODER_BIAS,
    DECODER_WEIGHT,
    HEAD_BIAS,
    WORD_EMBEDDINGS,
    canonical,
    file_names,
    is_encoder,
    read_weights,
    write_weights,
)

Heads = Literal["load", "require", "new"]
HEADS = ("load", "require", "new")
# Wider or narrower numbers than these come from files that no BERT is published in, or are no numbers of a model.
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


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


class Pretrained(nn.Module):
    """Base of the encoder and of the encoder with a head."""

    architecture: str  # the class of `transformers` that reads what we write
    has_labels = False
    load_report: LoadReport | None = None

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def init_weights(self, only: set[str] | None = None) -> None:
        """BERT's start: normal weights of sd `initializer_range`, zero biases, LayerNorm at identity.

        `only` limits it to the parameters of these  Draws from torch's global generator.
        """
        norms = {name for name, module in self.named_modules() if isinstance(module, nn.LayerNorm)}
        for name, parameter in self.named_parameters():
            if parameter.is_meta or (only is not None and name not in only):
                continue
            owner, _, kind = name.rpartition(".")
            if kind == "bias":
                parameter.zero_()
            elif owner in norms:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, self.config.initializer_range)
            if name.endswith("embeddings.word.weight") and self.config.pad_token_id is not None:
                parameter[self.config.pad_token_id] = 0.0

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        heads: Heads = "load",
        changes: Mapping[str, object] | None = None,
        attention: str = "sdpa",
        dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        cache_folder: str | Path | None = None,
        offline: bool = False,
    ) -> Self:
        """The model in folder or hub name `name`, in eval mode; `load_report` says what was found.

        heads: "load" takes a head's weights where the folder has them and makes them at random where not,
            "require" raises where one is missing, "new" makes them at random in any case.
        changes: fields of the configuration to replace (labels, pooling, dropout).
        dtype: of the parameters, whatever the file's.

        Raises InputError, naming the weight, where one of the encoder is missing, left over, not finite or of
        another shape than config.json says, and where the folder or a file is missing or damaged.
        """
        folder = resolve_folder(name, revision=revision, cache_folder=cache_folder, offline=offline)
        if heads not in HEADS:
            raise InputError(f"heads {heads!r} is unknown{nearest(heads, HEADS)}")
        # A new head brings labels of its own.
        config = read_config(folder / "config.json", labels=cls.has_labels and heads != "new")
        config = config.replace(**(changes or {}))
        stored = _one_decoder(read_weights(folder), config)
        with torch.device("meta"):  # no time spent on random weights that are replaced at once
            model = cls._shaped_by(config, stored, attention=attention, heads=heads)
        wanted = {ours: file_names(ours) for ours in model.state_dict()}
        missing = _missing(wanted, stored, folder, heads)
        loaded = tuple(ours for ours in wanted if ours not in missing)
        fill(model, {ours: wanted[ours] for ours in loaded}, stored, folder, dtype=dtype)
        used = {canonical(file) for ours in loaded for file in wanted[ours]}
        left_over = tuple(sorted(stored.keys() - used - BUFFERS))
        unused = [name for name in left_over if is_encoder(name)]
        if unused:
            raise InputError(
                f"{str(folder)!r} holds {len(unused)} encoder weights that config.json has no place for, "
                f"such as {unused[0]!r}; is num_hidden_layers right, and is this a BERT?"
            )
        model.init_weights(only=missing)
        model.load_report = LoadReport(str(name), loaded, left_over, tuple(sorted(missing)))
        return model.eval()

    @classmethod
    def _shaped_by(cls, config: BertConfig, stored: Mapping[str, Tensor], *, attention: str, heads: Heads) -> Self:
        """An instance whose optional parts are those that the stored weights have."""
        return cls(config, attention=attention)  # type: ignore[call-arg]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, an ordinary Hugging Face folder; made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(self.file_weights(), folder / "model.safetensors")
        values = config_to_json(self.config, self.architecture, has_labels=self.has_labels)
        write_json(folder / "config.json", values)

    def file_weights(self) -> dict[str, Tensor]:
        """The weights under the names that files use, query, key and value apart; tied weights once."""
        weights: dict[str, Tensor] = {}
        for ours, tensor in self.state_dict().items():
            files = file_names(ours)
            weights |= dict(zip(files, tensor.chunk(len(files)), strict=True))
        if DECODER_WEIGHT in weights:
            # transformers holds the untied decoder's bias under a name of its own
            weights[DECODER_BIAS] = weights[HEAD_BIAS]
        return weights


def _one_decoder(stored: dict[str, Tensor], config: BertConfig) -> dict[str, Tensor]:
    """Drop a tied masked LM decoder, which only repeats the word embeddings; its bias goes by one name."""
    stored = dict(stored)
    if DECODER_BIAS in stored:
        # Where both are there and differ, transformers computes with this one.
        stored[HEAD_BIAS] = stored.pop(DECODER_BIAS)
    decoder, words = stored.get(DECODER_WEIGHT), stored.get(WORD_EMBEDDINGS)
    if config.tie_word_embeddings and decoder is not None and words is not None and torch.equal(decoder, words):
        del stored[DECODER_WEIGHT]
    return stored


def _missing(
    wanted: Mapping[str, tuple[str, ...]], stored: Mapping[str, Tensor], folder: Path, heads: Heads
) -> set[str]:
    """Our names of the head weights to make at random. Raises InputError for those that must not be."""
    missing: set[str] = set()
    for ours, files in wanted.items():
        absent = [file for file in files if canonical(file) not in stored]
        first = canonical(files[0])
        if absent and is_encoder(first):
            held = ", ".join(sorted(stored)[:3]) or "no tensor"
            raise InputError(
                f"{str(folder)!r} lacks the encoder weight {absent[0]!r}; does its config.json (num_hidden_layers) "
                f"belong to these weights, and is it a BERT? It holds {held} ..."
            )
        if absent and heads == "require":
            raise InputError(
                f"{str(folder)!r} lacks {absent[0]!r}: a model without that head; "
                "train one, or choose a model that has it"
            )
        # The pooler is no head: it is part of what was pretrained.
        is_head = not is_encoder(first) and not first.startswith("pooler.")
        if absent or (heads == "new" and is_head):
            missing.add(ours)
    return missing


def fill(
    module: nn.Module,
    wanted: Mapping[str, tuple[str, ...]],
    stored: Mapping[str, Tensor],
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Give `module`, made on the meta device, memory on the CPU, and the `wanted` parameters their stored values.

    wanted: for each of its parameters the file's names, to be stacked along the first dimension. Raises InputError
    where one is not finite or of another shape or type.
    """
    for file, part, tensor in _pairs(module, wanted, stored):  # before memory is taken
        if tensor.shape != part.shape:
            raise InputError(
                f"{str(folder)!r}: weight {file!r} has shape {tuple(tensor.shape)}, but config.json asks for "
                f"{tuple(part.shape)}; they do not belong together"
            )
        if tensor.dtype not in FLOATS:
            raise InputError(
                f"{str(folder)!r}: weight {file!r} is {tensor.dtype}, perhaps of a quantised model; "
                "fetch the one in float32, float16 or bfloat16"
            )
    module.to_empty(device="cpu").to(dtype)
    for file, part, tensor in _pairs(module, wanted, stored):
        part.copy_(tensor)
        # aminmax carries NaN through and allocates nothing: a fifth of the time of isfinite().all()
        if not all(torch.isfinite(extreme) for extreme in part.aminmax()):
            raise InputError(
                f"{str(folder)!r}: weight {file!r} holds NaN or infinity as {part.dtype}; the file is damaged"
            )


def _pairs(
    module: nn.Module, wanted: Mapping[str, tuple[str, ...]], stored: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each file name, the part of `module`'s parameter that it fills, and the stored tensor."""
    for ours, files in wanted.items():
        for file, part in zip(files, module.get_parameter(ours).detach().chunk(len(files)), strict=True):
            yield file, part, stored[canonical(file)]
