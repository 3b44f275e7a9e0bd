"""What a run leaves for others: the student's folder, the environment, the outcome."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tinydistil.base.console import figure, masked_lm
from tinydistil.base.errors import InputError
from tinydistil.base.files import write_json, write_text
from tinydistil.base.ranks import Ranks
from tinydistil.distill.recipe import Recipe
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.tokenizer.tokenizer import Tokenizer

_PACKAGES = ("torch", "tokenizers", "numpy", "safetensors", "scipy")


Watched = Literal["masked_lm", "objective"]
Head = Literal["trained", "copied", "none"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: steps taken, text tokens read, seconds of training, and what was measured on held-out text.

    validation_loss: what the run watched, the "masked_lm" loss or, for recipes without it, the "objective", as
    `validation` says; None without held-out text. masked_lm_loss: in nats per token, None where the student has no
    head to measure. head: the student's masked LM head is "trained" by the run, "copied" from the teacher, or "none".
    """

    steps: int
    tokens: int
    seconds: float
    skipped_steps: int
    validation_loss: float | None
    validation: Watched
    masked_lm_loss: float | None
    head: Head

    @property
    def said(self) -> str:
        """What was measured, for a person; "" where nothing was."""
        if self.masked_lm_loss is not None:
            return held_out_loss("masked_lm", self.masked_lm_loss)
        return "" if self.validation_loss is None else held_out_loss(self.validation, self.validation_loss)


def watched_by(recipe: Recipe) -> Watched:
    """What the validation of a run with `recipe` measures."""
    return "masked_lm" if recipe.is_masked_lm else "objective"


def held_out_loss(watched: Watched, loss: float) -> str:
    """A loss on held-out text, for a person: what it is, and in which units."""
    return f"held-out {f'masked LM loss {masked_lm(loss)}' if watched == 'masked_lm' else f'objective {figure(loss)}'}"


def write_student(folder: Path, student: BertForMaskedLM | BertModel, tokenizer: Tokenizer, card: str) -> None:
    """Write an ordinary Hugging Face folder: weights, configuration, tokenizer, model card.

    student: with its masked LM head, or the encoder alone where no head was trained.
    """
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    longest = student.config.max_position_embeddings
    declare_sentence_encoder(
        folder, student.config, pooling="mean", max_length=min(tokenizer.max_length or longest, longest)
    )
    write_text(folder / "README.md", card)


def environment(ranks: Ranks) -> dict[str, object]:
    """What the figures of a run depend on beside its configuration."""
    cuda = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cuda_device": cuda,
        "world_size": ranks.world_size,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    """The processor's name, which Linux tells in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def write_records(output: Path, file: str, values: Mapping[str, object]) -> None:
    """Write a JSON record of the run into its folder, made if need be. Raises InputError where that fails."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / file, dict(values))
    except OSError as error:
        raise InputError(f"cannot write {str(output / file)!r}: {error.strerror}; choose another --output") from None
