"""The model card of a student: the README.md of its folder, true wherever the folder is moved to."""

import re
from pathlib import Path

import torch

from tinydistil import __version__
from tinydistil.base.console import figure, masked_lm
from tinydistil.distill.recipe import Recipe
from tinydistil.model.config import BertConfig
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.export import Outcome
from tinydistil.train.plan import Plan
from tinydistil.train.sources import ModelFolder

# Last parts of a path that name a role, not a model; with them stands the part before.
_ROLE = re.compile(r"student|teacher|model|encoder|final|best|last|output|checkpoints?|(checkpoint|step|seed)-\d+")
_HUB_CACHE = re.compile(r"models--(?P<name>.+)")
_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license: *['\"]?([\w.+-]+)", re.ASCII)

_FILL_MASK = """\
from transformers import pipeline

for guess in pipeline("fill-mask", model=".")("O gato {mask} no sofá."):
    print(f"{{guess['score']:.3f}} {{guess['token_str']}}")"""
_VECTORS = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".")
vectors = model.encode(["O gato dorme no sofá.", "Um gato está dormindo.", "A sessão foi aberta."])
print(model.similarity(vectors, vectors))"""


def model_card(plan: Plan, student: BertForMaskedLM, outcome: Outcome) -> str:
    """What the student is, how it was made and from what, what was measured, how to use it."""
    recipe, train, head, content = plan.config.recipe, plan.config.train, outcome.head, plan.content
    encoder = student if head != "none" else student.bert
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    task = ("sentence-transformers", "sentence-similarity") if head == "none" else ("transformers", "fill-mask")
    folders = {} if plan.teacher is None else {plan.config.teacher: plan.teacher.folder}
    if (start := _start(plan)) is not None:
        folders[plan.config.student.model] = start
    hub_names = [name for given, folder in folders.items() if (name := hub_name(given, folder))]
    front = [
        "language: pt",
        f"library_name: {task[0]}",
        f"pipeline_tag: {task[1]}",
        # The hub refuses a card whose base model is no hub name, such as a folder.
        *([f"base_model: [{', '.join(hub_names)}]"] if hub_names else []),
        "license: unknown",
        f"tags: [bert, distillation{', sentence-transformers' * (head == 'none')}]",
    ]
    how = (
        f"Distilled from {_code(name_of(plan.teacher.name, plan.teacher.folder))}"
        if plan.teacher is not None and recipe.needs.teacher
        else "Trained as a masked language model, without a teacher,"
    )
    uses = _VECTORS if head == "none" else _FILL_MASK.format(mask=plan.student.tokenizer.special.mask_token)
    rows = {
        "teacher": "none" if plan.teacher is None else _parent(plan.teacher, content.get("teacher")),
        "student's start": _start_of(plan, content.get("student")),
        "text": _text(plan, content.get("shards")),
        "budget": f"{outcome.steps:,} steps of {train.batch_size:,} sequences, {outcome.tokens:,} tokens, "
        f"{outcome.seconds:,.0f} s",
        "learning rate, seed": f"{figure(train.optimizer.learning_rate)}, {train.seed}",
        "made with": f"tinydistil {__version__}, torch {torch.__version__}",
    }
    known = sorted({licence for folder in folders.values() if (licence := _licence(folder))})
    declared = f" The models that it comes from declare: {', '.join(known)}." if known else ""
    lines = [
        "---", *front, "---", "",
        f"# A Portuguese BERT of {parameters / 1e6:.1f} million parameters", "",
        f"{_shape(student.config)} ({_spelling(plan.student.tokenizer)}).",
        f"{how} with recipe `{recipe.name}` ({terms_of(recipe)}): {outcome.steps:,} steps.", "",
        "## Measured on held-out text of the same corpus", "", *_measured(outcome, recipe), "",
        "## Use", "", "In this folder, or with its path or hub name in place of the dot:", "",
        "```python", uses, "```", "",
        "A sentence's vector is the mean of the last hidden states over its tokens.",
        "The model knows what its corpus and its teacher knew, prejudices included; look at its output before you rely "
        "on it.", "",
        "## Made from", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), "",
        "## Licence", "",
        f"Unknown to the program that wrote this card: it depends on the text and the models above.{declared} Set "
        "`license` at the top before you publish the model.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def terms_of(recipe: Recipe) -> str:
    """The terms of a recipe and their weights, as in "1 x hard + 1 x soft (T = 2)"."""
    return " + ".join(filter(None, (part.options.described(part.name, part.weight) for part in recipe.parts)))


def hub_name(given: str, folder: Path) -> str | None:
    """The name on the hub of model `given`, found in `folder`; None where it is a folder outside the hub's cache."""
    if not Path(given).exists() and not given.startswith("~"):
        return given
    found = next(filter(None, map(_HUB_CACHE.fullmatch, folder.resolve().parts)), None)
    return found["name"].replace("--", "/") if found else None


def name_of(given: str, folder: Path) -> str:
    """What to call a model by: its hub name, else the last parts of its path up to one that says more than a role."""
    parts = folder.resolve().parts
    first = next((at for at in range(len(parts) - 1, 0, -1) if not _ROLE.fullmatch(parts[at])), len(parts) - 1)
    return hub_name(given, folder) or "/".join(parts[first:])


def _measured(outcome: Outcome, recipe: Recipe) -> list[str]:
    """A line for each figure, by what it is; and what the head is worth."""
    found = []
    if outcome.masked_lm_loss is not None and outcome.head != "none":
        found.append(f"* Masked LM loss: {masked_lm(outcome.masked_lm_loss)}.")
    if outcome.validation_loss is not None and outcome.validation == "objective":
        found.append(
            f"* The objective, {terms_of(recipe)}, as it was trained: {figure(outcome.validation_loss)}. It is no "
            "masked LM loss."
        )
    notes = {
        "none": "* No term of the recipe trains a masked LM head, so this folder has none: it is an encoder.",
        "copied": "* The masked LM head is the teacher's: copied, and not trained since.",
        "trained": "",
    }
    return [
        *(found or ["* Nothing was measured: the corpus has no held-out text."]),
        *filter(None, [notes[outcome.head]]),
    ]


def _spelling(tokenizer: Tokenizer) -> str:
    normalizer = tokenizer.backend.normalizer
    folded = normalizer is not None and normalizer.normalize_str("Ã").lower() == "a"
    return f"{'lower-cased' if tokenizer.lowercases else 'cased'}, accents {'stripped' if folded else 'kept'}"


def _shape(config: BertConfig) -> str:
    layers = config.num_hidden_layers
    return f"{layers} layer{'s' * (layers > 1)}, {config.hidden_size} wide, {config.vocab_size:,} word pieces"


def _parent(model: ModelFolder, fingerprint: object) -> str:
    return f"{_code(name_of(model.name, model.folder))}: {_shape(model.config)}{_marked(fingerprint)}"


def _start(plan: Plan) -> Path | None:
    return plan.student.folder if plan.config.student.start == "own" else None


def _start_of(plan: Plan, fingerprint: object) -> str:
    folder, model = _start(plan), plan.config.student.model
    if plan.config.student.start == "layers":
        return "every n-th layer of the teacher"
    if folder is None:
        return "random weights"
    respelled = "; embeddings for another vocabulary" if plan.student.respelled else ""
    return f"{_code(name_of(model, folder))}{_marked(fingerprint)}{respelled}"


def _text(plan: Plan, fingerprint: object) -> str:
    if plan.text.raw:
        return ", ".join(_code(Path(path).name) for path in plan.text.raw)
    return f"token shards {_code(name_of(str(plan.text.shards), plan.text.shards))}{_marked(fingerprint)}"


def _marked(fingerprint: object) -> str:
    return f" (files' SHA-256 {fingerprint})" if isinstance(fingerprint, str) else ""


def _code(name: str) -> str:
    """A name as code within a table's cell."""
    return f"`{name.replace('`', chr(39)).replace('|', '/')}`"


def _licence(folder: Path) -> str | None:
    """The licence that a parent's own card declares."""
    try:
        found = _LICENCE.match((folder / "README.md").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return found[1] if found else None
