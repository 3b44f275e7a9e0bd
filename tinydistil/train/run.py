"""A run from its plan to the student's folder: build (with the teacher, live or from a cache), train, write."""

import argparse
import hashlib
import json
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial

import torch

from tinydistil.base.console import duration
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError, Stopped, require, stopping
from tinydistil.base.files import read_json, write_json
from tinydistil.base.ranks import Ranks, attempt, environment, joined
from tinydistil.batches.manifest import MANIFEST
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches, Prefetched
from tinydistil.distill.gather import GatheringTrainer
from tinydistil.distill.options import AUTO
from tinydistil.distill.step import Trainer
from tinydistil.distill.teacher.cached import (
    CODES,
    FITTED,
    OWNERSHIP,
    CachedTeacher,
    TeacherCache,
    alike,
    checksum,
)
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import Learner, TeacherStates
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.sentence_folder import declaration_of
from tinydistil.train.estimate import estimate, seconds_after, training_s
from tinydistil.train.loop import Loop
from tinydistil.train.models import (
    build_student,
    live_teacher,
    load_teachers,
    make_optimizer,
)
from tinydistil.train.outcome import STUDENT, Outcome, held_out_loss, masked_lm_loss, objective_loss, write_results
from tinydistil.train.plan import CHECKPOINTS, CONFIG_FILE, Plan, cache_of, make_batches, make_plan, ownership
from tinydistil.train.records import CheckpointStore, Records
from tinydistil.train.run_config import RunConfig
from tinydistil.train.teachers import (
    hash_of_weights,
    settle_precision,
    side_by_side,
    start_projected,
    start_with_words,
)

METRICS = "metrics.jsonl"
# While the rest of a cache takes longer, the time left is told with that of training.
_LONG_S = 20.0
Say = Callable[[str], None]


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
                print(estimate(plan, ranks.device))
            return
        with ranks.agreed():
            if ranks.is_main:
                # The record is written once the models are built: a command that is refused leaves none.
                owner = ownership(plan.config, plan.output)
                stack.enter_context(owner.claim(plan.output, plan.origin, resume=resume, record_now=False))
        try:
            plan.text.prepare(ranks, workers=arguments.workers, say=print, later=partial(seconds_after, plan, ranks))
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


def execute(plan: Plan, ranks: Ranks) -> Outcome | None:
    """Train as planned and write the student; None where the run was asked to stop before its end (it is saved then).

    The folder `plan.output` gets run.json, environment.json, metrics.jsonl, checkpoints/, outcome.json and
    student/. An earlier run's checkpoints there are gone on from. Raises InputError where a weight is missing.
    """
    teachers = load_teachers(plan)
    if plan.config.teacher_precision == AUTO or ranks.world_size > 1:  # of ranks any may have found what it was before
        plan = settle_precision(plan, teachers, partial(make_batches, plan, "train"), ranks)
    loop = build(plan, ranks, teachers)
    with ranks.agreed():
        if ranks.is_main:  # only now: a folder where no model could be built is not a run's yet
            for file, values in ((CONFIG_FILE, plan.origin), ("environment.json", environment(ranks))):
                try:
                    plan.output.mkdir(parents=True, exist_ok=True)
                    write_json(plan.output / file, values)
                except OSError as error:
                    wrong = f"cannot write {str(plan.output / file)!r}: {error.strerror}; choose another --output"
                    raise InputError(wrong) from None
    try:
        finished = loop.run()
    finally:
        loop.records.close()
    return write_results(plan, loop) if finished else None


def build(plan: Plan, ranks: Ranks, teachers: Sequence[BertForMaskedLM | BertModel]) -> Loop[MaskedBatch]:
    """Everything that a run needs, wired: models, batches, optimizer, checkpoints; resumed where there is something."""
    config = plan.config
    teacher = teachers[0] if teachers else None
    torch.manual_seed(config.train.seed)
    student = build_student(plan, teacher)
    train, held_out = make_batches(plan, "train"), make_batches(plan, "validation")
    assert train is not None, "checked by the plan"
    learner = Learner(student, config.recipe, plan.shapes).to(ranks.device)
    # Each rank has read files of its own, maybe from a disk that they do not share.
    ranks.require_same("the configuration", [repr(config).encode()])
    ranks.require_same(f"corpus {str(plan.text.shards)!r}", [(plan.text.shards / MANIFEST).read_bytes()])
    weights = [hash_of_weights(each) for each in teachers if config.teacher_cache or ranks.world_size > 1]
    for given, found in zip(config.teachers, weights, strict=False):
        ranks.require_same(f"teacher {given!r}", [found.encode()])
    events = plan.output / "tensorboard" if config.train.tensorboard else None
    records = Records(plan.output / METRICS if ranks.is_main else None, events=events)
    for each, seen in zip(plan.teachers, plan.shapes.each, strict=False):
        declared, folder = declaration_of(each.folder), f"{seen.name}'s folder"
        if each.pooling not in (None, seen.teacher_pooling):
            followed = "which is not followed; its sequences' vectors are means"
            records.say(f"{folder} pools by {each.pooling}, {followed}")
        pooled, prefixed = "pooled" in config.recipe.needs.teacher, bool(each.prefix)
        if beside := declared.beside(pooled=pooled, prefixed=prefixed) if declared else []:
            records.say(f"{folder} declares {', '.join(beside)}; training does not follow that")
    store = CheckpointStore(plan.output / CHECKPOINTS, keep_last=config.train.keep_last, say=records.say)
    checkpoint = store.latest()
    held = b"" if checkpoint is None else (checkpoint.folder / "hashes.json").read_bytes()
    ranks.require_same(f"the latest checkpoint in {str(store.folder)!r}", [held])
    source: Callable[[MaskedBatch], TeacherStates] | None = None
    live, cached = None, None
    if teacher is not None:
        # What reads the teacher's weights comes before it is quantised, which leaves none.
        if config.student.start == "projected" and checkpoint is None:
            start_projected(plan, student, teacher, train, ranks)
        source = live = live_teacher(plan, teachers, learner, train, ranks, records.say)
        if config.teacher_cache:
            with stopping():
                source = cached = _cached_teacher(plan, ranks, learner, live, train, records.say, ", ".join(weights))
            if checkpoint is None:
                every = (train.collate(cached.cache.ids(part), 0) for epoch, part in cached.cache.parts if not epoch)
                _agree_on(learner, ranks, records.say, partial(learner.fit_kept, cached, every))
        elif checkpoint is None:
            _fit(learner, live, train, ranks, records.say)
        if config.student.embeddings == "encoded" and checkpoint is None:
            start_with_words(plan, learner, live, ranks, None if cached is None else cached.cache)
    precision, clip_norm = config.train.precision, config.train.optimizer.clip_norm
    optimizer = make_optimizer([learner], config.train.optimizer)
    kind: type[Trainer[MaskedBatch]] = GatheringTrainer if config.recipe.needs.batch > 1 else Trainer
    trainer = kind(learner, optimizer, ranks, teacher=source, precision=precision, clip_norm=clip_norm)
    validate, has_hard, count = None, config.recipe.has_hard, config.train.validation_sequences
    if held_out is not None:
        validate = partial(masked_lm_loss, student, held_out, ranks, sequences=count)
        if not has_hard:
            validate = partial(objective_loss, learner, live, held_out, ranks, sequences=count)

    def told(loss: float) -> tuple[str, float, str]:
        return "validation_loss", loss, held_out_loss(loss, is_masked_lm=has_hard)

    ahead = Prefetched(train, pinned=ranks.device.type == "cuda")
    loop = Loop(trainer, ahead, config.train, store, records, validate=validate, told=told, validate_first=True)
    if checkpoint is not None:
        loop.resume(checkpoint)
        records.say(f"going on from step {loop.state.steps}, {checkpoint.folder}")
    return loop


def _cached_teacher(
    plan: Plan, ranks: Ranks, learner: Learner, live: LiveTeacher, batches: MaskedBatches, say: Say, fingerprint: str
) -> CachedTeacher:
    """The cache that `plan` names, written as far as it is not there; `learner` gets what was fitted for it.

    fingerprint: of the teachers' weights. Ranks write every n-th part each, as long as that takes any of them. Raises
    InputError where the cache was made for another run, or is being written by one.
    """
    config, bound = plan.config, bound_to(plan, fingerprint)
    seed = zlib.crc32(json.dumps(bound, sort_keys=True).encode())
    cache = TeacherCache(cache_of(plan.config, plan.output), batches.candidates, config.train.mask.epochs, seed)

    def sound(found: Callable[[], object]) -> bool:
        try:
            return bool(found())
        except InputError as error:
            say(f"warning: {error}")
            return False

    with ExitStack() as held:
        with ranks.agreed("look at the teacher's cache"):
            if ranks.is_main:
                OWNERSHIP.check(cache.folder, bound)
                if not (cache.folder / OWNERSHIP.record).exists() or cache.missing:  # many may read a whole one
                    held.enter_context(OWNERSHIP.claim(cache.folder, bound))
        fitted = learner.fitted_tensors(kept=False)
        if ranks.all_agree(sound(lambda: cache.load_tensors(FITTED, fitted))):
            ranks.broadcast_(fitted.values())
        else:
            _fit(learner, live, batches, ranks, say, kept=False)
            with ranks.agreed():
                if ranks.is_main:
                    cache.save_tensors(FITTED, fitted)
        cache = replace(cache, seed=checksum(fitted, seed))

        def coded() -> TeacherCache:
            return cache.with_codes(live, batches, config.cache, ranks.device)

        with ranks.agreed("see how the teacher's vectors are to be written"):
            if ranks.is_main and not sound(coded):
                (cache.folder / CODES).unlink()
                coded()
        cache = coded()
        with ranks.agreed("write their parts of the teacher's cache"):
            mine = cache.parts[ranks.rank :: ranks.world_size]
            is_whole = [cache.path(*part).exists() and sound(partial(cache.open, *part)) for part in mine]
            missing = [part for part, whole in zip(mine, is_whole, strict=True) if not whole]
            began, later_s = time.monotonic(), 0.0

            def write(part: tuple[int, int]) -> None:
                shares = [batches.collate(ids, part[0]) for ids in alike(batches, cache.ids(part[1]))]
                cache.write(part, shares, live, config.cache, ranks.device)

            for done, _ in enumerate(side_by_side(write, missing, ranks.device), start=1):
                left = len(missing) - done
                if done == 1:
                    needed, free = left * cache.path(*missing[0]).stat().st_size, shutil.disk_usage(cache.folder).free
                    require(
                        needed <= free,
                        f"teacher_cache {str(cache.folder)!r} needs {needed / 1e9:,.1f} GB more, {free / 1e9:,.1f} are "
                        "free; lower train.mask.epochs or cache.top, or give another --teacher-cache",
                    )
                left_s = (time.monotonic() - began) / done * left
                # Asked for once, where the answer is a matter of minutes.
                if done == 1 and left_s > _LONG_S and ranks.is_main:
                    later_s = training_s(learner, live, batches, config.train, ranks)
                whole = f", {duration(left_s + later_s)} with training" if later_s else ""
                say(f"teacher's cache: {(len(mine) - left) * len(cache.parts) // len(mine)} of {len(cache.parts)} "
                    f"parts, {duration(left_s)} left{whole}")  # fmt: skip
    size = sum(cache.path(*part).stat().st_size for part in cache.parts)
    say(f"teacher's cache {str(cache.folder)!r}: {len(cache.sequences):,} sequences, {cache.epochs} epochs of masks, "
        f"{size / 2**20:,.1f} MiB")  # fmt: skip
    return CachedTeacher(cache, live, config.cache, ranks.device)


def _fit(
    learner: Learner, live: LiveTeacher, batches: MaskedBatches, ranks: Ranks, say: Say, *, kept: bool | None = None
) -> None:
    """Fit what terms of `learner` fit to the teacher, on the first epoch. kept: see `Learner.fitted_tensors`."""
    cursors = range(batches.batches_per_epoch)
    drawn = (batches.micro_batches(cursor, rank=0, world_size=1, accumulation=1)[0] for cursor in cursors)
    _agree_on(learner, ranks, say, partial(learner.fit, live.read, drawn, kept=kept))


def _agree_on(learner: Learner, ranks: Ranks, say: Say, fit: Callable[[], dict[str, str]]) -> None:
    """Fit; every rank gets what rank 0 has found.

    Another machine, or another number of threads, rounds otherwise, and may turn the sign of a component.
    """
    with ranks.agreed("fit the projections"):
        for term, found in fit().items():
            say(f"{term}: {found}")
    ranks.broadcast_(learner.fitted_tensors().values())


def bound_to(plan: Plan, fingerprint: str) -> dict[str, object]:
    """Everything that the numbers in a cache depend on, by the name of the option where it is one."""
    config, teacher, shards = plan.config, plan.teacher, read_json(plan.text.shards / MANIFEST).get("shards")
    states = config.recipe.bound(config.cache, plan.shapes)
    # Whole rows and vectors in 16 bits are still written as they were in format 5.
    packed = states.get("cache.words") == "top" or states.get("cache.vector_bits", 16) != 16
    assert teacher is not None, "checked by RunConfig"
    masks: dict[str, object] = {f"train.mask.{name}": value for name, value in asdict(config.train.mask).items()}
    for name in ("final_rate", "rate_epochs", *(["longest_span"] * (config.train.mask.longest_span == 0))):
        del masks[f"train.mask.{name}"]  # as they are with a cache; those written before they were options know none
    if config.train.mask.rate > 0:
        masks["train.seed"] = config.train.seed
    return {
        "teacher": fingerprint,
        "teacher's files": plan.content.get("teacher"),  # of which the masks are made, with the seed
        "teacher_precision": config.teacher_precision or config.train.precision,
        "teacher's pooling": ", ".join(each.teacher_pooling for each in plan.shapes.each),
        "teacher_prefix": teacher.prefix,
        "teacher's tokenizer": teacher.tokenizer.fingerprint,
        "student's tokenizer": plan.student.tokenizer.fingerprint,
        "shards": hashlib.sha256(repr(shards).encode()).hexdigest(),  # whose lines hold the hash of each
        "train.order.sequences": config.train.order.sequences,
        "train.order.shortest": config.train.order.shortest,
        "train.order.longest": config.train.order.longest,
        **masks,
        **states,
        "format": 6 if packed else 5,  # last, so that a cache that options would open is refused by those
    }
