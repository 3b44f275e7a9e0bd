"""A run from its plan to the student's folder: build, train, write."""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch

from tinydistil.base.console import duration
from tinydistil.base.ranks import Ranks, attempt, joined
from tinydistil.base.stop import STOPPED_EXIT_CODE, Stopped, stopping
from tinydistil.batches.manifest import MANIFEST
from tinydistil.batches.masked_batches import MaskedBatch, Prefetched
from tinydistil.distill.learner import Learner
from tinydistil.distill.step import Trainer
from tinydistil.distill.terms.base import TeacherStates
from tinydistil.model.sentence_folder import declaration_of
from tinydistil.train.checkpoint import CheckpointStore
from tinydistil.train.export import STUDENT, Outcome, held_out_loss, watched_by, write_beginning, write_results
from tinydistil.train.loop import Loop
from tinydistil.train.models import build_student, live_teacher, load_teacher, start_projected
from tinydistil.train.optimizer import make_optimizer
from tinydistil.train.plan import CHECKPOINTS, Plan, make_batches, make_plan, ownership
from tinydistil.train.records import Records
from tinydistil.train.run_config import RunConfig
from tinydistil.train.teacher_cache import bytes_of, cached_teacher, fit, hash_of_weights
from tinydistil.train.validation import masked_lm_loss, objective_loss

METRICS = "metrics.jsonl"


def run_shards(arguments: argparse.Namespace, config: RunConfig) -> None:
    """The run of a command line on token shards."""

    def plan_of(ranks: Ranks, resume: bool) -> Plan:
        # All look before one writes: what is found wrong is found by every rank, and told by one.
        with ranks.agreed():
            return make_plan(config, arguments.output, resume=resume, device=arguments.device)

    run_command(arguments, plan_of)


def run_command(arguments: argparse.Namespace, plan_of: Callable[[Ranks, bool], Plan]) -> None:
    """Plan, prepare, train, print where the student is. Leaves with exit code 75 where it was asked to stop before.

    plan_of: called on every rank, with whether an earlier start may be gone on from.
    """
    # A restart by torchrun runs the same command, and finds what it began.
    resume = arguments.resume == "auto" or attempt() > 0
    with joined(arguments.device) as ranks, ExitStack() as stack:
        plan = plan_of(ranks, resume)
        if arguments.dry_run:
            if ranks.is_main:
                from tinydistil.train.estimate import estimate  # which few runs need

                print(estimate(plan, ranks.device))
            return
        with ranks.agreed():
            if ranks.is_main:
                # The record is written once the models are built: a command that is refused leaves none.
                owner = ownership(plan.config, plan.output)
                stack.enter_context(owner.claim(plan.output, plan.origin, resume=resume, record_now=False))
        workers = 2 if arguments.workers is None else arguments.workers
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
        print(f"student: {plan.output / STUDENT}")


def _seconds_after(plan: Plan, ranks: Ranks, raw_bytes: int) -> float:
    from tinydistil.train.estimate import seconds_after

    return seconds_after(plan, ranks, raw_bytes)


def execute(plan: Plan, ranks: Ranks) -> Outcome | None:
    """Train as planned and write the student; None where the run was asked to stop before its end (it is saved then).

    The folder `plan.output` gets run.json, environment.json, metrics.jsonl, checkpoints/, outcome.json and
    student/. An earlier run's checkpoints there are gone on from. Raises InputError where a weight is missing.
    """
    loop = build(plan, ranks)
    with ranks.agreed():
        if ranks.is_main:  # only now: a folder where no model could be built is not a run's yet
            write_beginning(plan, ranks)
    try:
        finished = loop.run()
    finally:
        loop.records.close()
    return write_results(plan, loop) if finished else None


def build(plan: Plan, ranks: Ranks) -> Loop[MaskedBatch]:
    """Everything that a run needs, wired: models, batches, optimizer, checkpoints; resumed where there is something."""
    config = plan.config
    teacher = None if plan.teacher is None else load_teacher(plan)
    torch.manual_seed(config.train.seed)
    student = build_student(config, plan.student, teacher, plan.teacher_tokenizer)
    train, held_out = make_batches(plan, "train"), make_batches(plan, "validation")
    assert train is not None, "checked by the plan"
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
    if plan.teacher is not None:
        declared = declaration_of(plan.teacher.folder)
        if beside := declared.beside(pooled="pooled" in config.recipe.needs.teacher) if declared else []:
            records.say(f"the teacher's folder declares {', '.join(beside)}; training does not follow that")
    store = CheckpointStore(plan.output / CHECKPOINTS, keep_last=config.train.keep_last, say=records.say)
    checkpoint = store.latest()
    held = b"" if checkpoint is None else (checkpoint.folder / "hashes.json").read_bytes()
    ranks.require_same(f"the latest checkpoint in {str(store.folder)!r}", [held])
    source: Callable[[MaskedBatch], TeacherStates] | None = None
    live = None
    if teacher is not None:
        # What reads the teacher's weights comes before it is quantised, which leaves none.
        if config.student.start == "projected" and checkpoint is None:
            start_projected(plan, student, teacher, train, ranks)
        fingerprint = hash_of_weights(teacher) if config.teacher_cache else ""
        source = live = live_teacher(plan, teacher, learner, train, ranks, records.say)
        if config.teacher_cache:
            with stopping():
                source = cached_teacher(plan, ranks, learner, live, train, records.say, fingerprint=fingerprint)
        elif checkpoint is None:
            fit(learner, live, train, ranks, records.say)
    precision, clip_norm = config.train.precision, config.train.optimizer.clip_norm
    optimizer = make_optimizer([learner], config.train.optimizer)
    trainer = Trainer(learner, optimizer, ranks, teacher=source, precision=precision, clip_norm=clip_norm)
    validate, count = None, config.train.validation_sequences
    if held_out is not None:
        validate = partial(masked_lm_loss, student, held_out, ranks, sequences=count)
        if live is not None and not config.recipe.has_hard:
            validate = partial(objective_loss, learner, live, held_out, ranks, sequences=count)
    ahead = Prefetched(train, pinned=ranks.device.type == "cuda")
    phrase = partial(held_out_loss, watched_by(config.recipe))
    loop = Loop(trainer, ahead, config.train, store, records, validate=validate, phrase=phrase, validate_first=True)
    if checkpoint is not None:
        loop.resume(checkpoint)
        records.say(f"going on from step {loop.state.steps}, {checkpoint.folder}")
    return loop
