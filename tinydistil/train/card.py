"""The card of a student: what it is, how it was made, what was measured, how to use it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tinydistil import __version__
from tinydistil.base.console import figure, per_token, reported
from tinydistil.distill.recipe import Recipe
from tinydistil.model.config import BertConfig
from tinydistil.model.pretrained import Pretrained
from tinydistil.train.plan import Plan

if TYPE_CHECKING:  # which imports this file
    from tinydistil.train.outcome import Outcome

# Last parts of a path that name a role, not a model; with them stands the part before.
_ROLE = re.compile(r"student|teacher|model|encoder|final|best|last|output|checkpoints?|(checkpoint|step|seed)-\d+")
_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license: *['\"]?([\w.+-]+)", re.ASCII)
_FILL_MASK = """\
from transformers import pipeline

for guess in pipeline("fill-mask", model=".")("O gato {mask} no sofá."):
    print(f"{{guess['score']:.3f}} {{guess['token_str']}}")"""
_NEXT_TOKEN = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForCausalLM.from_pretrained(".", is_decoder=True)
begun = tokenizer("O gato dorme no", add_special_tokens=False, return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(begun, max_new_tokens=10)[0]))"""
_VECTORS = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".")
vectors = model.encode(["O gato dorme no sofá.", "Um gato está dormindo.", "A sessão foi aberta."])
print(model.similarity(vectors, vectors))"""


def model_card(plan: Plan, student: Pretrained, outcome: "Outcome") -> str:
    """What the student is, how it was made and from what, what was measured, how to use it; wherever it is moved to."""
    config, own, tokenizer = plan.config, plan.student.own, plan.student.tokenizer
    recipe, train, shards = config.recipe, config.train, plan.text.shards
    marks = {name: f" (files' SHA-256 {found})" for name, found in plan.content.items()}
    how, taught, start = "Trained without a teacher", "none", "random weights"
    folders = {each.given: each.folder for each in plan.teachers}
    if plan.teachers:
        names = [_code(name_of(each.given, each.folder)) for each in plan.teachers]
        shapes = [f"{name}: {_shape(each.config)}" for name, each in zip(names, plan.teachers, strict=True)]
        how, taught = f"Distilled from {' and '.join(names)}", f"{'; '.join(shapes)}{marks['teacher']}"
    if own is not None:
        folders[config.student.model] = own
        respelled = "; embeddings for another vocabulary" if plan.student.respelled else ""
        start = f"{_code(name_of(config.student.model, own))}{marks['student']}{respelled}"
    elif config.student.start == "layers":
        start = "every n-th layer of the teacher"
    text = f"token shards {_code(name_of(str(shards), shards))}{marks.get('shards', '')}"
    text = ", ".join(_code(Path(path).name) for path in plan.text.raw) or text
    # The hub refuses a card whose base model is no hub name, such as a folder.
    hub_names = ", ".join(filter(None, (hub_name(given, folder) for given, folder in folders.items())))
    base, measured = f"base_model: [{hub_names}]\n" * bool(hub_names), "\n".join(_measured(outcome, recipe))
    known = sorted(set(filter(None, map(_licence, folders.values()))))
    normalizer = tokenizer.backend.normalizer
    folded = normalizer is not None and normalizer.normalize_str("Ã").lower() == "a"
    spelling = f"{'lower-cased' if tokenizer.lowercases else 'cased'}, accents {'stripped' if folded else 'kept'}"
    budget = f"{outcome.steps:,} steps of {train.batch_size:,} sequences, {outcome.tokens:,} tokens"
    library, task, use = "transformers", "fill-mask", _FILL_MASK.format(mask=tokenizer.special.mask_token)
    if outcome.head == "trained" and not (recipe.has_hard or recipe.has_soft):
        task, use = "text-generation", _NEXT_TOKEN
    if outcome.head == "none":
        library, task, use = "sentence-transformers", "sentence-similarity", _VECTORS
    return f"""\
---
language: pt
library_name: {library}
pipeline_tag: {task}
{base}license: unknown
tags: [bert, distillation{", sentence-transformers" * (outcome.head == "none")}]
---

# A Portuguese BERT of {sum(p.numel() for p in student.parameters()) / 1e6:.1f} million parameters

{_shape(student.config)} ({spelling}).
{how} with recipe `{recipe.name}` ({terms_of(recipe)}): {outcome.steps:,} steps.

## Measured on held-out text of the same corpus

{measured}

## Use

In this folder, or with its path or hub name in place of the dot:

```python
{use}
```

A sentence's vector is the mean of the last hidden states over its tokens.
The model knows what its corpus and its teacher knew, prejudices included; look at its output before you rely on it.

## Made from

| | |
|---|---|
| teacher | {taught} |
| student's start | {start} |
| text | {text} |
| budget | {budget}, {outcome.seconds:,.0f} s |
| learning rate, seed | {figure(train.optimizer.learning_rate)}, {train.seed} |
| made with | tinydistil {__version__}, torch {torch.__version__} |

## Licence

Unknown to the program that wrote this card: it depends on the text and the models above.\
{f" The models that it comes from declare: {', '.join(known)}." if known else ""} Set `license` at the top before you \
publish the model.
"""


def _measured(outcome: "Outcome", recipe: Recipe) -> list[str]:
    """A line for each figure, by what it is; and what the head is worth."""
    words, objective = outcome.masked_lm_loss, outcome.validation_loss
    found = [] if words is None else [f"* Masked LM loss: {per_token(words)}."]
    if objective is not None and outcome.validation == "objective":
        said = f"{terms_of(recipe)}, as it was trained: {figure(objective)}"
        found.append(f"* The objective, {said}. It is no masked LM loss.")
    none = "* No term of the recipe trains a masked LM head, so this folder has none: it is an encoder."
    copied = "* The masked LM head is the teacher's: copied, and not trained since."
    heads = {"none": [none], "copied": [copied], "trained": []}
    found += [f"* {reported(name, value).capitalize()}." for name, value in outcome.measured.items()]
    return [*(found or ["* Nothing was measured: the corpus has no held-out text."]), *heads[outcome.head]]


def terms_of(recipe: Recipe) -> str:
    """The terms of a recipe and their weights, as in "1 x hard + 1 x soft (T = 2)"."""
    return " + ".join(filter(None, (part.options.described(part.name, part.weight) for part in recipe.parts)))


def hub_name(given: str, folder: Path) -> str | None:
    """The name on the hub of model `given`, found in `folder`; None where it is a folder outside the hub's cache."""
    if not Path(given).exists() and not given.startswith("~"):
        return given
    cached = [part for part in folder.resolve().parts if part.startswith("models--")]
    return cached[0].removeprefix("models--").replace("--", "/") if cached else None


def name_of(given: str, folder: Path) -> str:
    """What to call a model by: its hub name, else the last parts of its path up to one that says more than a role."""
    parts = folder.resolve().parts
    first = next((at for at in range(len(parts) - 1, 0, -1) if not _ROLE.fullmatch(parts[at])), len(parts) - 1)
    return hub_name(given, folder) or "/".join(parts[first:])


def _shape(config: BertConfig) -> str:
    layers = config.num_hidden_layers
    return f"{layers} layer{'s' * (layers > 1)}, {config.hidden_size} wide, {config.vocab_size:,} word pieces"


def _code(name: str) -> str:
    return f"`{name.replace('`', chr(39)).replace('|', '/')}`"


def _licence(folder: Path) -> str | None:
    """The licence that a parent's own card declares."""
    card = folder / "README.md"
    found = _LICENCE.match(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    return found[1] if found else None
