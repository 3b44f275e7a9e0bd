"""A run's teacher from a cache: bound to the run, written as far as it is missing, read in training."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tinydistil.data.masked_batches import MaskedBatches
from tinydistil.data.shards import MANIFEST
from tinydistil.distill.build import fit_projections
from tinydistil.distill.cache import CachedTeacher, TeacherCache
from tinydistil.distill.learner import Learner
from tinydistil.distill.recipe import REDUCING
from tinydistil.distill.teacher import LiveTeacher
from tinydistil.files import read_json
from tinydistil.model.batch import MaskedBatch
from tinydistil.ranks import Ranks
from tinydistil.train.plan import Plan

# What of a recipe the teacher's numbers depend on. Weights and divergence may change between runs on one cache.
_RECIPE = ("temperature", "unit", "projection", "centred", "whitening", "fit_sequences", "teacher_sees")
# Tokens of a batch that the teacher reads at a time; sequences of like length lie together.
_TOKENS = 4096


def cached_teacher(
    plan: Plan,
    ranks: Ranks,
    learner: Learner,
    live: LiveTeacher,
    batches: MaskedBatches,
    say: Callable[[str], None],
    *,
    fingerprint: str,
) -> CachedTeacher:
    """The cache that `plan` names, written as far as it is not there; `learner` gets the projections it was made with.

    fingerprint: of the teacher's weights. Ranks write every n-th part each. Raises InputError where the cache was made
    for another run.
    """
    config = plan.config
    cache = TeacherCache(plan.teacher_cache, batches.candidates, config.train.mask.epochs)
    with ranks.agreed():
        if ranks.is_main:
            cache.bind(bound_to(plan, fingerprint))
    if not cache.load_projections(learner):
        for term, kept in fit_projections(learner, live, first_epoch(batches)).items():
            say(f"{term}: the projection keeps {kept:.1%} of the teacher's squared length")
        with ranks.agreed():
            if ranks.is_main:
                cache.save_projections(learner)
    missing = cache.missing
    ranks.barrier()  # none may write before all have looked, or they would share out different lists
    began, mine = time.monotonic(), missing[ranks.rank :: ranks.world_size]
    with ranks.agreed():
        for done, part in enumerate(mine, start=1):
            shares = [batches.collate(ids, part[0]) for ids in _by_length(batches, cache.ids(part[1]))]
            cache.write(part, shares, live, learner, config.cache, ranks.device)
            left_s = (time.monotonic() - began) / done * (len(mine) - done)
            say(f"teacher's cache: {len(cache.parts) - len(missing) + done * ranks.world_size} of {len(cache.parts)} "
                f"parts, {left_s:.0f} s left")  # fmt: skip
    size = sum(cache.path(*part).stat().st_size for part in cache.parts)
    say(f"teacher's cache {str(cache.folder)!r}: {len(cache.sequences):,} sequences, {cache.epochs} epochs of masks, "
        f"{size / 2**20:,.1f} MiB")  # fmt: skip
    return CachedTeacher(cache, live.model, learner, config.cache, ranks.device)


def bound_to(plan: Plan, fingerprint: str) -> dict[str, object]:
    """Everything that the numbers in a cache depend on, by the name of the option where it is one."""
    config, teacher = plan.config, plan.teacher
    assert teacher is not None, "checked by RunConfig"
    recipe = {f"recipe.{name}": getattr(config.recipe, name) for name in _RECIPE}
    terms = {f"recipe.{name} > 0": getattr(config.recipe, name) > 0 for name in ("soft", "hidden", "pooled")}
    mask = {f"train.mask.{name}": value for name, value in asdict(config.train.mask).items()}
    return {
        "format": 2,
        "teacher": fingerprint,
        "teacher_precision": config.teacher_precision or config.train.precision,
        "teacher's tokenizer": teacher.tokenizer.fingerprint,
        "student's tokenizer": plan.tokenizer.fingerprint,
        "student's width": plan.shape.hidden_size if config.recipe.projection in REDUCING else "any",
        "shards": _hash_of_shards(plan),
        "train.seed": config.train.seed,
        "train.order.sequences": config.train.order.sequences,
        "train.order.longest": config.train.order.longest,
        **mask,
        **recipe,
        **terms,
        "cache.words": config.cache.words,
        "cache.top": config.cache.top if config.cache.words == "top" else "any",
        "cache.drawn": config.cache.drawn if config.cache.words == "top" else "any",
        "cache.vector_bits": config.cache.vector_bits,
    }


def first_epoch(batches: MaskedBatches) -> Iterator[MaskedBatch]:
    """The first epoch's global batches, the same on every rank."""
    for cursor in range(batches.batches_per_epoch):
        yield from batches.micro_batches(cursor, rank=0, world_size=1, accumulation=1)


def hash_of_weights(model: nn.Module) -> str:
    """Of the numbers, whatever files they came in."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _hash_of_shards(plan: Plan) -> str:
    """Of the manifest's lines, each of which holds the hash of its shard."""
    return hashlib.sha256(repr(read_json(plan.shards / MANIFEST).get("shards")).encode()).hexdigest()


def _by_length(batches: MaskedBatches, ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The sequences `ids` in batches of like length and about `_TOKENS` tokens."""
    lengths = np.array([batches.length(int(i)) for i in ids])
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # the longest of a batch decides how many there are room for
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= _TOKENS:
            stop += 1
        yield ids[order[start:stop]]
        start = stop
