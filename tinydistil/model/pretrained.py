"""What every model of ours can do: start at random, load from a folder, be written to one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

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
    fill,
    is_encoder,
    read_weights,
    write_weights,
)

Heads = Literal["load", "require", "new"]


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

        `only` limits it to parameters of these names. Draws from torch's global generator.
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
        config = config.replace(**(changes or {}))
        stored = _one_decoder(read_weights(folder), config)
        with torch.device("meta"):  # no time spent on random weights that are replaced at once
            model = cls._shaped_by(config, stored, attention=attention, heads=heads)
        wanted = {ours: file_names(ours) for ours in model.state_dict()}
        missing = _missing(wanted, stored, folder, heads)
        loaded = {ours: files for ours, files in wanted.items() if ours not in missing}
        fill(model, loaded, stored, folder)
        used = {canonical(file) for files in loaded.values() for file in files}
        left_over = tuple(sorted(stored.keys() - used - BUFFERS))
        if unused := [name for name in left_over if is_encoder(name)]:
            raise InputError(
                f"{str(folder)!r} holds {len(unused)} encoder weights that config.json has no place for, "
                f"such as {unused[0]!r}; is num_hidden_layers right, and is this a BERT?"
            )
        model.init_weights(only=missing)
        model.load_report = LoadReport(str(name), tuple(loaded), left_over, tuple(sorted(missing)))
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
        in_encoder = is_encoder(canonical(files[0]))
        if absent and in_encoder:
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
        if absent or (heads == "new" and not in_encoder and not canonical(files[0]).startswith("pooler.")):
            missing.add(ours)
    return missing
