"""What a run leaves for others: the student's folder with a model card, the environment, the outcome."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tinydistil.distill.recipe import Recipe
from tinydistil.errors import InputError
from tinydistil.files import write_json
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.ranks import Ranks
from tinydistil.text.tokenizer import Tokenizer
from tinydistil.train.run_config import RunConfig

_PACKAGES = ("torch", "tokenizers", "numpy", "safetensors", "scipy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: steps taken, text tokens read, seconds of training, the last masked LM loss on held-out text."""

    steps: int
    tokens: int
    seconds: float
    skipped_steps: int
    validation_loss: float | None


def write_student(folder: Path, student: BertForMaskedLM, tokenizer: Tokenizer, card: str) -> None:
    """Write an ordinary Hugging Face folder: weights, configuration, tokenizer, model card."""
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    longest = student.config.max_position_embeddings
    declare_sentence_encoder(
        folder, student.config, pooling="mean", max_length=min(tokenizer.max_length or longest, longest)
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


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


def model_card(config: RunConfig, student: BertForMaskedLM, outcome: Outcome, tokenizer: Tokenizer) -> str:
    """The README.md of a student: what it is, how it was made, how to use it, what it is not good for."""
    recipe, shape = config.recipe, student.config
    parameters = sum(parameter.numel() for parameter in student.parameters())
    # The hub refuses a card whose base model is no hub name, such as a folder.
    base = [f"base_model: {config.teacher}"] if _is_hub_name(config.teacher) else []
    front = [
        "language: pt",
        "library_name: transformers",
        "pipeline_tag: fill-mask",
        *base,
        "tags: [bert, distillation]",
    ]
    how = (
        f"Distilled from `{Path(config.teacher).name}` with recipe `{recipe.name}` of tinydistil ({terms_of(recipe)})"
        if recipe.needs_teacher
        else "Trained as a masked language model with tinydistil, without a teacher"
    )
    loss = "not measured" if outcome.validation_loss is None else f"{outcome.validation_loss:.3f} nats a masked token"
    cased = "lower-cased, accents stripped" if _folds_case(tokenizer) else "cased, accents kept"
    lines = [
        "---", *front, "---", "",
        f"# A Portuguese BERT of {parameters / 1e6:.1f} million parameters", "",
        f"{shape.num_hidden_layers} layers, {shape.hidden_size} wide, {shape.vocab_size:,} word pieces ({cased}).",
        f"{how}: {outcome.steps:,} steps, {outcome.tokens:,} tokens.", "",
        f"Masked LM loss on held-out text of the same corpus: {loss}.", "",
        "```python", "from transformers import pipeline", "",
        f'pipeline("fill-mask", model="DIR")("O gato {tokenizer.special.mask_token} no sofá.")', "```", "",
        "For a sentence's vector take the mean of the last hidden states over its tokens.",
        "It knows what its corpus and its teacher knew, prejudices included; look at its output before you rely on it.",
        "The options of the run lie beside this folder in `run.json`, its course in `metrics.jsonl`.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def terms_of(recipe: Recipe) -> str:
    """The terms of a recipe and their weights, as in "1 x hard + 1 x soft (T = 2)"."""
    said = []
    for name in ("hard", "soft", "hidden", "pooled"):
        if (weight := getattr(recipe, name)) > 0:
            detail = f" (T = {recipe.temperature:g})" if name == "soft" else ""
            said.append(f"{weight:g} x {name}{detail}")
    return " + ".join(said)


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not Path(name).exists()


def _folds_case(tokenizer: Tokenizer) -> bool:
    normalizer = tokenizer.backend.normalizer
    return normalizer is not None and normalizer.normalize_str("Ã") == "a"


def write_records(output: Path, file: str, values: Mapping[str, object]) -> None:
    """Write a JSON record of the run into its folder, made if need be. Raises InputError where that fails."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / file, dict(values))
    except OSError as error:
        raise InputError(f"cannot write {str(output / file)!r}: {error.strerror}; choose another --output") from None
