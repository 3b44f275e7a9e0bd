"""What a run leaves for others: the student's folder, the environment, the outcome."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from tinydistil.base.errors import InputError
from tinydistil.base.files import write_json, write_text
from tinydistil.base.ranks import Ranks
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.learner import Learner
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.train.card import Head, Outcome, model_card, watched_by
from tinydistil.train.loop import Loop
from tinydistil.train.plan import Plan, make_batches
from tinydistil.train.validation import masked_lm_loss

STUDENT = "student"
OUTCOME = "outcome.json"
_PACKAGES = ("torch", "tokenizers", "numpy", "safetensors", "scipy")


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
            parameters = sum(parameter.numel() for parameter in model.parameters())
            write_text(folder / "README.md", model_card(plan, model.config, parameters, outcome))
            write_json(plan.output / OUTCOME, asdict(outcome))
        except OSError as error:
            raise InputError(
                f"cannot write {str(folder)!r}: {error.strerror}; the last checkpoint is whole: free some space, then "
                "--resume auto"
            ) from None
    return outcome


def _outcome(plan: Plan, loop: Loop[MaskedBatch], learner: Learner, loss: float | None) -> Outcome:
    """The outcome, the student's masked LM loss measured where the run did not watch it."""
    state, recipe, train = loop.state, plan.config.recipe, plan.config.train
    head: Head = "copied" if plan.config.student.start == "layers" else "none"
    if "logits" in recipe.needs.student:
        head = "trained"
    words = loss if recipe.is_masked_lm else None
    if not recipe.is_masked_lm and head != "none" and train.mask.rate > 0:
        held_out = make_batches(plan, "validation")
        if held_out is not None:
            words = masked_lm_loss(learner.student, held_out, loop.ranks, sequences=train.validation_sequences)
    seconds = round(state.seconds, 1)
    return Outcome(state.steps, state.tokens, seconds, state.bad_steps, loss, watched_by(recipe), words, head)


def environment(ranks: Ranks) -> dict[str, object]:
    """What the figures of a run depend on beside its configuration."""
    cuda = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else None
    try:  # which Linux tells in a file only
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = [platform.processor()]
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": next(iter(names), "unknown"),
        "cores": os.cpu_count(),
        "cuda_device": cuda,
        "world_size": ranks.world_size,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def write_values(output: Path, file: str, values: Mapping[str, object]) -> None:
    """Write a JSON record of the run into its folder, made if need be. Raises InputError where that fails."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / file, dict(values))
    except OSError as error:
        raise InputError(f"cannot write {str(output / file)!r}: {error.strerror}; choose another --output") from None
