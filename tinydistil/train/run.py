"""A run from its plan to the student's folder: load, build, train, write."""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch

from tinydistil.base.console import duration
from tinydistil.base.errors import InputError, require
from tinydistil.base.ranks import Ranks, attempt, joined
from tinydistil.base.stop import STOPPED_EXIT_CODE, Stopped, stopping
from tinydistil.batches.batch import MaskedBatch
from tinydistil.batches.manifest import MANIFEST
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.batches.shards import TokenShards
from tinydistil.distill.initialise import student_for_vocabulary, student_from_layers, student_respelled
from tinydistil.distill.learner import Learner
from tinydistil.distill.states import TeacherStates
from tinydistil.distill.step import Trainer
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.train.card import model_card
from tinydistil.train.checkpoint import CheckpointStore
from tinydistil.train.export import Head, Outcome, environment, held_out_loss, watched_by, write_records, write_student
from tinydistil.train.loop import Loop
from tinydistil.train.optimizer import make_optimizer
from tinydistil.train.plan import CHECKPOINTS, CONFIG_FILE, Plan, make_plan, ownership
from tinydistil.train.prefetch import Prefetched
from tinydistil.train.records import Records
from tinydistil.train.run_config import RunConfig
from tinydistil.train.teacher_cache import bytes_of, cached_teacher, fit, hash_of_weights
from tinydistil.train.teaching import live_teacher, load_teacher, start_projected
from tinydistil.train.validation import masked_lm_loss, objective_loss

STUDENT = "student"
METRICS = "metrics.jsonl"
OUTCOME = "outcome.json"

_Config = TypeVar("_Config", bound=RunConfig)


def run_command(
    arguments: argparse.Namespace,
    config: _Config,
    *,
    plan_of: Callable[..., Plan] = make_plan,
    vocabulary: Callable[[_Config, Ranks, bool, Path | None], _Config] | None = None,
) -> None:
    """Check, prepare, train, print where the student is. Leaves with exit code 75 where it was asked to stop before.

    plan_of: `make_plan`, or what takes its place for raw text. vocabulary: makes the student's vocabulary first, in the
    folder of the run, or in a temporary one for a dry run; called with configuration, ranks, whether an earlier start
    may be gone on from, and the temporary folder.
    """
    require(arguments.output is not None, "--output is missing; name the folder of the run")
    workers = 2 if arguments.workers is None else arguments.workers
    require(
        arguments.workers is None or bool(getattr(config, "corpus", ())),
        "--workers prepare raw text, but there is no --corpus; drop it",
    )
    # A restart by torchrun runs the same command, and finds what it began.
    resume = arguments.resume == "auto" or attempt() > 0
    with joined(arguments.device) as ranks, ExitStack() as stack:
        if vocabulary is not None:
            trial = Path(stack.enter_context(TemporaryDirectory())) if arguments.dry_run else None
            config = vocabulary(config, ranks, resume, trial)
        # All look before one writes: what is found wrong is found by every rank, and told by one.
        with ranks.agreed():
            plan = plan_of(config, arguments.output, resume=resume, device=arguments.device)
        if arguments.dry_run:
            if ranks.is_main:
                from tinydistil.train.estimate import estimate  # which few runs need

                print(estimate(plan, ranks.device))
            return
        with ranks.agreed():
            if ranks.is_main:
                # The record is written once the models are built: a command that is refused leaves none.
                owner = ownership(config, plan.output)
                stack.enter_context(owner.claim(plan.output, plan.origin, resume=resume, record_now=False))
        try:
            plan.text.prepare(ranks, workers=workers, say=print, later=partial(_seconds_after, plan, ranks))
            outcome = execute(plan, ranks)  # which writes the teacher's cache first, where one is asked for
        except Stopped as stop:
            print(f"stopped by {stop} while preparing; the same command goes on", file=sys.stderr)
            sys.exit(STOPPED_EXIT_CODE)
    if outcome is None:
        if ranks.is_main:
            print("stopped; go on with the same command and --resume auto", file=sys.stderr)
        sys.exit(STOPPED_EXIT_CODE)
    if ranks.is_main:
        took = f"{outcome.steps:,} steps, {outcome.tokens:,} tokens in {duration(outcome.seconds)}"
        print("; ".join([took, *filter(None, [outcome.said])]))
        print(f"student: {arguments.output / STUDENT}")


def _seconds_after(plan: Plan, ranks: Ranks, raw_bytes: int) -> float:
    from tinydistil.train.estimate import seconds_after

    return seconds_after(plan, ranks, raw_bytes)


def execute(plan: Plan, ranks: Ranks) -> Outcome | None:
    """Train as planned and write the student; None where the run was asked to stop before its end (it is saved then).

    The folder `plan.output` gets run.json, environment.json, metrics.jsonl, checkpoints/, outcome.json and
    student/. An earlier run's checkpoints there are gone on from. Raises InputError where a weight is missing.
    """
    output = plan.output
    loop = build(plan, ranks)
    with ranks.agreed():
        if ranks.is_main:  # only now: a folder where no model could be built is not a run's yet
            write_records(output, CONFIG_FILE, plan.origin)
            write_records(output, "environment.json", environment(ranks))
    try:
        finished = loop.run()
    finally:
        loop.records.close()
    if not finished:
        return None
    if plan.config.train.patience > 0:
        loop.take_best_weights()
    outcome = outcome_of(plan, loop)
    with ranks.agreed():  # a full disk is found by rank 0 alone
        finish(plan, loop, outcome)
    return outcome


def build(plan: Plan, ranks: Ranks) -> Loop[MaskedBatch, TeacherStates]:
    """Everything that a run needs, wired: models, batches, optimizer, checkpoints; resumed where there is something."""
    config = plan.config
    teacher = None if plan.teacher is None else load_teacher(plan)
    torch.manual_seed(config.train.seed)
    student = build_student(plan, teacher)
    train = make_batches(plan, "train")
    assert train is not None, "checked by the plan"
    validation = make_batches(plan, "validation")
    learner = Learner(student, config.recipe, plan.shapes).to(ranks.device)
    # Each rank has read files of its own, maybe from a disk that they do not share.
    ranks.require_same("the configuration", [repr(config).encode()])
    ranks.require_same(f"corpus {str(plan.text.shards)!r}", [(plan.text.shards / MANIFEST).read_bytes()])
    ranks.require_same(f"teacher {config.teacher!r}", bytes_of({} if teacher is None else teacher.state_dict()))
    events = plan.output / "tensorboard" if config.train.tensorboard else None
    records = Records(plan.output / METRICS if ranks.is_main else None, events=events)
    pooling = None if plan.teacher is None else plan.teacher.pooling
    if pooling not in (None, plan.shapes.teacher_pooling):
        records.say(f"the teacher's folder pools by {pooling}, which is not followed; its sequences' vectors are means")
    store = CheckpointStore(plan.output / CHECKPOINTS, keep_last=config.train.keep_last, say=records.say)
    checkpoint = store.latest()
    held = b"" if checkpoint is None else (checkpoint.folder / "hashes.json").read_bytes()
    ranks.require_same(f"the latest checkpoint in {str(store.folder)!r}", [held])
    # What reads the teacher's weights comes before it is quantised, which leaves none.
    if config.student.start == "projected" and teacher is not None and checkpoint is None:
        start_projected(plan, student, teacher, train, ranks)
    fingerprint = hash_of_weights(teacher) if teacher is not None and config.teacher_cache else ""
    live = None if teacher is None else live_teacher(plan, teacher, learner, train, ranks, records.say)
    source: Callable[[MaskedBatch], TeacherStates] | None = live
    if live is not None and config.teacher_cache:
        with stopping():
            source = cached_teacher(plan, ranks, learner, live, train, records.say, fingerprint=fingerprint)
    if live is not None and checkpoint is None and not config.teacher_cache:
        fit(learner, live, train, ranks, records.say)
    trainer = Trainer(
        learner,
        make_optimizer([learner], config.train.optimizer),
        ranks,
        teacher=source,
        precision=config.train.precision,
        clip_norm=config.train.optimizer.clip_norm,
    )
    validate = None
    if validation is not None:
        count = config.train.validation_sequences
        validate = partial(masked_lm_loss, student, validation, ranks, sequences=count)
        if live is not None and not config.recipe.is_masked_lm:
            validate = partial(objective_loss, learner, live, validation, ranks, sequences=count)
    ahead = Prefetched(train, pinned=ranks.device.type == "cuda")
    phrase = partial(held_out_loss, watched_by(config.recipe))
    loop = Loop(trainer, ahead, config.train, store, records, validate=validate, phrase=phrase, validate_first=True)
    if checkpoint is not None:
        loop.resume(checkpoint)
        records.say(f"going on from step {loop.state.steps}, {checkpoint.folder}")
    return loop


def build_student(plan: Plan, teacher: BertForMaskedLM | BertModel | None) -> BertForMaskedLM:
    """The student before its first step, in training mode, drawn from torch's global generator where random."""
    config, shape = plan.config.student, plan.student.shape
    if config.start == "layers":
        assert isinstance(teacher, BertForMaskedLM), "the plan refuses layers of another kind of teacher"
        # A decoder apart from the embeddings, whatever the teacher's config.json says of it, is taken over too.
        tied = teacher.config.tie_word_embeddings
        student = BertForMaskedLM(shape.replace(tie_word_embeddings=tied), attention="packed")
        student.load_state_dict(student_from_layers(teacher, shape.num_hidden_layers).state_dict())
        return student.train()
    dropout = {
        "hidden_dropout_prob": shape.hidden_dropout_prob,
        "attention_probs_dropout_prob": shape.attention_probs_dropout_prob,
    }
    own = plan.student.folder if config.start == "own" else None
    if own is None:
        student = BertForMaskedLM(shape, attention="packed")
    else:
        student = BertForMaskedLM.from_pretrained(own, changes=dropout, attention="packed")
        if config.layers:
            student = student_from_layers(student, config.layers)
    if plan.student.respelled:
        assert plan.student.own_tokenizer is not None, "a plan property"
        student = student_respelled(student, plan.student.own_tokenizer, plan.student.tokenizer)
    if plan.config.student_vocabulary == "teacher":
        assert plan.teacher is not None and teacher is not None
        narrower = teacher.config.hidden_size < shape.hidden_size
        # What measured best: see the README's table.
        embeddings = config.embeddings or ("spelling" if own is not None else "random" if narrower else "pca")
        student = student_for_vocabulary(
            student, plan.student.own_tokenizer, teacher, plan.teacher.tokenizer, embeddings
        )
    return student.train()


def make_batches(plan: Plan, split: str) -> MaskedBatches | None:
    """The batches of a split; None where validation has too few sequences to be one."""
    config = plan.config
    shards = TokenShards.open(plan.text.shards, split=split)
    if split == "validation" and len(shards) == 0:
        return None
    training = split == "train"
    micro = -(-config.train.batch_size // config.train.accumulation)  # what there is memory for
    # A cache holds masks, and may serve several students.
    parents = ("teacher",) if config.teacher_cache else ("teacher", "student")
    return MaskedBatches(
        shards,
        plan.student.tokenizer,
        config.train.mask,
        batch_size=config.train.batch_size if training else min(micro, len(shards)),
        # Held-out masks are always the same, so that losses of runs compare.
        seed=plan.seed("teacher", "student") if training else 0,
        mask_seed=plan.seed(*parents) if training else 0,
        order=config.train.order if training else None,
        side=plan.sides.student,
        teacher_tokenizer=plan.teacher.tokenizer if plan.teacher is not None and plan.sides.apart else None,
    )


def outcome_of(plan: Plan, loop: Loop[MaskedBatch, TeacherStates]) -> Outcome:
    """How the run ended, the student's masked LM loss included; called on all ranks together."""
    state, recipe, learner = loop.state, plan.config.recipe, loop.trainer.module
    assert isinstance(learner, Learner)
    loss = state.best_loss if plan.config.train.patience > 0 else state.validation_loss
    copied: Head = "copied" if plan.config.student.start == "layers" else "none"
    head: Head = "trained" if "logits" in recipe.needs.student else copied
    words = loss if recipe.is_masked_lm else None
    if not recipe.is_masked_lm and head != "none" and plan.config.train.mask.rate > 0:
        held_out = make_batches(plan, "validation")
        if held_out is not None:
            sequences = plan.config.train.validation_sequences
            words = masked_lm_loss(learner.student, held_out, loop.ranks, sequences=sequences)
    seconds = round(state.seconds, 1)
    return Outcome(state.steps, state.tokens, seconds, state.bad_steps, loss, watched_by(recipe), words, head)


def finish(plan: Plan, loop: Loop[MaskedBatch, TeacherStates], outcome: Outcome) -> None:
    """Write the student as it stands, its card, and how the run ended."""
    learner, folder = loop.trainer.module, plan.output / STUDENT
    assert isinstance(learner, Learner)
    student = learner.student
    # Dropout is of the run; whoever fine-tunes the student gets what BERT has.
    student.config = student.config.replace(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    student.bert.config = student.config
    if not loop.ranks.is_main:
        return
    if outcome.head == "none":
        # A head that nobody trained guesses at random, and would be believed.
        loop.records.say("no term of the recipe trains the masked LM head: the student is written without one")
    try:
        card = model_card(plan, student, outcome)
        write_student(folder, student.bert if outcome.head == "none" else student, plan.student.tokenizer, card)
        write_records(plan.output, OUTCOME, asdict(outcome))
    except OSError as error:
        raise InputError(
            f"cannot write {str(folder)!r}: {error.strerror}; the last checkpoint is whole: free some space, then "
            "--resume auto"
        ) from None
