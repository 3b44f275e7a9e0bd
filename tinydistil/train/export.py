"""What a run leaves for others: how it ended, the environment, and the student's folder with its model card."""

import importlib.metadata
import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from tinydistil import __version__
from tinydistil.base.console import figure, masked_lm
from tinydistil.base.errors import InputError
from tinydistil.base.files import write_json, write_text
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.learner import Learner
from tinydistil.distill.recipe import Recipe
from tinydistil.model.config import BertConfig
from tinydistil.model.pretrained import Pretrained
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.train.loop import Loop
from tinydistil.train.plan import CONFIG_FILE, Plan, make_batches
from tinydistil.train.validation import masked_lm_loss

STUDENT = "student"
_PACKAGES = ("torch", "tokenizers", "numpy", "safetensors", "scipy")
Watched = Literal["masked_lm", "objective"]
Head = Literal["trained", "copied", "none"]

# Last parts of a path that name a role, not a model; with them stands the part before.
_ROLE = re.compile(r"student|teacher|model|encoder|final|best|last|output|checkpoints?|(checkpoint|step|seed)-\d+")
_HUB_CACHE = re.compile(r"models--(?P<name>.+)")
_LINE = "\n"  # no expression of an f-string may hold one before Python 3.12
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
        watched: Watched = self.validation if self.masked_lm_loss is None else "masked_lm"
        loss = self.validation_loss if self.masked_lm_loss is None else self.masked_lm_loss
        return "" if loss is None else held_out_loss(watched, loss)


def watched_by(recipe: Recipe) -> Watched:
    """What the validation of a run with `recipe` measures."""
    return "masked_lm" if recipe.has_hard else "objective"


def held_out_loss(watched: Watched, loss: float) -> str:
    """A loss on held-out text, for a person: what it is, and in which units."""
    return f"held-out {f'masked LM loss {masked_lm(loss)}' if watched == 'masked_lm' else f'objective {figure(loss)}'}"


def write_results(plan: Plan, loop: Loop[MaskedBatch]) -> Outcome:
    """Write the student as an ordinary Hugging Face folder, its card and outcome.json; called on all ranks together."""
    early = plan.config.train.patience > 0
    if early:
        loop.take_best_weights()
    learner = loop.trainer.module
    assert isinstance(learner, Learner)
    student, tokenizer, folder = learner.student, plan.student.tokenizer, plan.output / STUDENT
    outcome = _outcome(plan, loop, learner, loop.state.best_loss if early else loop.state.validation_loss)
    # Dropout is of the run; whoever fine-tunes the student gets what BERT has.
    student.config = student.config.replace(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    student.bert.config = student.config
    with loop.ranks.agreed():  # a full disk is found by rank 0 alone
        if not loop.ranks.is_main:
            return outcome
        if outcome.head == "none":
            # A head that nobody trained guesses at random, and would be believed.
            loop.records.say("no term of the recipe trains the masked LM head: the student is written without one")
        try:
            model = student.bert if outcome.head == "none" else student
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            longest = student.config.max_position_embeddings
            declared = min(tokenizer.max_length or longest, longest)
            declare_sentence_encoder(folder, student.config, pooling="mean", max_length=declared)
            write_text(folder / "README.md", model_card(plan, model, outcome))
            write_json(plan.output / "outcome.json", asdict(outcome))
        except OSError as error:
            raise InputError(
                f"cannot write {str(folder)!r}: {error.strerror}; the last checkpoint is whole: free some space, then "
                "--resume auto"
            ) from None
    return outcome


def _outcome(plan: Plan, loop: Loop[MaskedBatch], learner: Learner, loss: float | None) -> Outcome:
    """The outcome, the student's masked LM loss measured where the run did not watch it."""
    state, recipe, train = loop.state, plan.config.recipe, plan.config.train
    copied: Head = "copied" if plan.config.student.start == "layers" else "none"
    head: Head = "trained" if "logits" in recipe.needs.student else copied
    words = loss if recipe.has_hard else None
    held_out = None if recipe.has_hard or head == "none" else make_batches(plan, "validation")
    if held_out is not None and train.mask.rate > 0:
        words = masked_lm_loss(learner.student, held_out, loop.ranks, sequences=train.validation_sequences)
    seconds = round(state.seconds, 1)
    return Outcome(state.steps, state.tokens, seconds, state.bad_steps, loss, watched_by(recipe), words, head)


def write_beginning(plan: Plan, ranks: Ranks) -> None:
    """Write run.json, and environment.json: what the figures of a run depend on beside its configuration."""
    try:  # which Linux tells in a file only
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        processor = platform.processor()
    environment = {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": processor,
        "cores": os.cpu_count(),
        "cuda_device": torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else None,
        "world_size": ranks.world_size,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    for file, values in ((CONFIG_FILE, plan.origin), ("environment.json", environment)):
        path = plan.output / file
        try:
            plan.output.mkdir(parents=True, exist_ok=True)
            write_json(path, values)
        except OSError as error:
            raise InputError(f"cannot write {str(path)!r}: {error.strerror}; choose another --output") from None


def model_card(plan: Plan, student: Pretrained, outcome: Outcome) -> str:
    """What the student is, how it was made and from what, what was measured, how to use it.

    It stays true wherever the folder is moved to, so it names models by hub name or the last parts of their path.
    """
    config, teacher, own, tokenizer = plan.config, plan.teacher, plan.student.own, plan.student.tokenizer
    recipe, train, shards = config.recipe, config.train, plan.text.shards
    marks = {name: f" (files' SHA-256 {found})" for name, found in plan.content.items()}
    how, taught, start = "Trained as a masked language model, without a teacher,", "none", "random weights"
    folders = {}
    if teacher is not None:
        folders[config.teacher] = teacher.folder
        name = _code(name_of(config.teacher, teacher.folder))
        how = f"Distilled from {name}"
        taught = f"{name}: {_shape(teacher.config)}{marks['teacher']}"
    if own is not None:
        folders[config.student.model] = own
        respelled = "; embeddings for another vocabulary" if plan.student.respelled else ""
        start = f"{_code(name_of(config.student.model, own))}{marks['student']}{respelled}"
    elif config.student.start == "layers":
        start = "every n-th layer of the teacher"
    text = f"token shards {_code(name_of(str(shards), shards))}{marks.get('shards', '')}"
    text = ", ".join(_code(Path(path).name) for path in plan.text.raw) or text
    # The hub refuses a card whose base model is no hub name, such as a folder.
    hub_names = list(filter(None, (hub_name(given, folder) for given, folder in folders.items())))
    known = sorted(set(filter(None, map(_licence, folders.values()))))
    normalizer = tokenizer.backend.normalizer
    folded = normalizer is not None and normalizer.normalize_str("Ã").lower() == "a"
    spelling = f"{'lower-cased' if tokenizer.lowercases else 'cased'}, accents {'stripped' if folded else 'kept'}"
    budget = f"{outcome.steps:,} steps of {train.batch_size:,} sequences, {outcome.tokens:,} tokens"
    library, task, use = "transformers", "fill-mask", _FILL_MASK.format(mask=tokenizer.special.mask_token)
    if outcome.head == "none":
        library, task, use = "sentence-transformers", "sentence-similarity", _VECTORS
    return f"""\
---
language: pt
library_name: {library}
pipeline_tag: {task}
{f"base_model: [{', '.join(hub_names)}]{_LINE}" if hub_names else ""}license: unknown
tags: [bert, distillation{", sentence-transformers" * (outcome.head == "none")}]
---

# A Portuguese BERT of {sum(p.numel() for p in student.parameters()) / 1e6:.1f} million parameters

{_shape(student.config)} ({spelling}).
{how} with recipe `{recipe.name}` ({terms_of(recipe)}): {outcome.steps:,} steps.

## Measured on held-out text of the same corpus

{_LINE.join(_measured(outcome, recipe))}

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


def _measured(outcome: Outcome, recipe: Recipe) -> list[str]:
    """A line for each figure, by what it is; and what the head is worth."""
    found, objective = [], outcome.validation_loss
    if outcome.masked_lm_loss is not None and outcome.head != "none":
        found.append(f"* Masked LM loss: {masked_lm(outcome.masked_lm_loss)}.")
    if objective is not None and outcome.validation == "objective":
        said = f"{terms_of(recipe)}, as it was trained: {figure(objective)}"
        found.append(f"* The objective, {said}. It is no masked LM loss.")
    found = found or ["* Nothing was measured: the corpus has no held-out text."]
    if outcome.head == "none":
        found.append("* No term of the recipe trains a masked LM head, so this folder has none: it is an encoder.")
    if outcome.head == "copied":
        found.append("* The masked LM head is the teacher's: copied, and not trained since.")
    return found


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


def _shape(config: BertConfig) -> str:
    layers = config.num_hidden_layers
    return f"{layers} layer{'s' * (layers > 1)}, {config.hidden_size} wide, {config.vocab_size:,} word pieces"


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
