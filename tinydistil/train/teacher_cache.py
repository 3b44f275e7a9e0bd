"""A run's teacher from a cache: bound to the run, written as far as it is missing, read in training."""

import hashlib
import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tinydistil.base.console import duration
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json
from tinydistil.base.ranks import Ranks
from tinydistil.batches.manifest import MANIFEST
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.learner import Learner
from tinydistil.distill.options import CacheConfig
from tinydistil.distill.teacher.cached import OWNERSHIP, CachedTeacher, TeacherCache, checksum
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.train.models import training_s
from tinydistil.train.plan import Plan

# Tokens of a batch that the teacher reads at a time; sequences of like length lie together.
_TOKENS = 4096
_LONG_S = 20.0


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
    """The cache that `plan` names, written as far as it is not there; `learner` gets what was fitted for it.

    fingerprint: of the teacher's weights. Ranks write every n-th part each, as long as that takes any of them. Raises
    InputError where the cache was made for another run, or is being written by one.
    """
    config, bound = plan.config, bound_to(plan, fingerprint)
    seed = zlib.crc32(json.dumps(bound, sort_keys=True).encode())
    cache = TeacherCache(Path(plan.config.teacher_cache), batches.candidates, config.train.mask.epochs, seed)
    with ExitStack() as held:
        with ranks.agreed("look at the teacher's cache"):
            if ranks.is_main:
                OWNERSHIP.check(cache.folder, bound)
                if not (cache.folder / OWNERSHIP.record).exists() or cache.missing:  # many may read a whole one
                    held.enter_context(OWNERSHIP.claim(cache.folder, bound))
        fitted = _load_fitted(cache, learner, say)
        if ranks.all_agree(fitted):
            ranks.broadcast_(learner.fitted_tensors().values())
        else:
            fit(learner, live, batches, ranks, say)
            with ranks.agreed():
                if ranks.is_main:
                    cache.save_fitted(learner.fitted_tensors())
        cache = replace(cache, seed=checksum(learner.fitted_tensors(), seed))
        with ranks.agreed("write their parts of the teacher's cache"):
            later = partial(training_s, learner, live, batches, config.train, ranks)
            _write_missing(cache, ranks, live, batches, say, config.cache, later)
    size = sum(cache.path(*part).stat().st_size for part in cache.parts)
    say(f"teacher's cache {str(cache.folder)!r}: {len(cache.sequences):,} sequences, {cache.epochs} epochs of masks, "
        f"{size / 2**20:,.1f} MiB")  # fmt: skip
    return CachedTeacher(cache, live, config.cache, ranks.device)


def fit(learner: Learner, live: LiveTeacher, batches: MaskedBatches, ranks: Ranks, say: Callable[[str], None]) -> None:
    """Fit what terms of `learner` fit to the teacher, on the first epoch; every rank gets that of rank 0.

    Another machine, or another number of threads, rounds otherwise, and may turn the sign of a component.
    """
    with ranks.agreed("fit the projections"):
        for term, found in learner.fit(live.read, first_epoch(batches)).items():
            say(f"{term}: {found}")
    ranks.broadcast_(learner.fitted_tensors().values())


def _load_fitted(cache: TeacherCache, learner: Learner, say: Callable[[str], None]) -> bool:
    try:
        return cache.load_fitted(learner.fitted_tensors())
    except InputError as error:
        say(f"warning: {error}")
        return False


def _write_missing(
    cache: TeacherCache,
    ranks: Ranks,
    live: LiveTeacher,
    batches: MaskedBatches,
    say: Callable[[str], None],
    config: CacheConfig,
    later: Callable[[], float],
) -> None:
    """Write those of this rank's parts that are not there or not what was written. later: seconds of what follows."""
    mine = cache.parts[ranks.rank :: ranks.world_size]
    missing = [part for part in mine if not _is_whole(cache, part, say)]
    began, later_s = time.monotonic(), 0.0
    for done, part in enumerate(missing, start=1):
        shares = [batches.collate(ids, part[0]) for ids in _by_length(batches, cache.ids(part[1]))]
        cache.write(part, shares, live, config, ranks.device)
        left = len(missing) - done
        if done == 1:
            needed, free = left * cache.path(*part).stat().st_size, shutil.disk_usage(cache.folder).free
            require(
                needed <= free,
                f"teacher_cache {str(cache.folder)!r} needs {needed / 1e9:,.1f} GB more, {free / 1e9:,.1f} are free; "
                "lower train.mask.epochs or cache.top, or give another --teacher-cache",
            )
        left_s = (time.monotonic() - began) / done * left
        # Asked for once, where the answer is a matter of minutes.
        later_s = later() if done == 1 and left_s > _LONG_S and ranks.is_main else later_s
        whole = f", {duration(left_s + later_s)} with training" if later_s else ""
        say(f"teacher's cache: {(len(mine) - left) * len(cache.parts) // len(mine)} of {len(cache.parts)} parts, "
            f"{duration(left_s)} left{whole}")  # fmt: skip


def _is_whole(cache: TeacherCache, part: tuple[int, int], say: Callable[[str], None]) -> bool:
    """Whether a part is there and, as far as its ends tell, what was written."""
    if not cache.path(*part).exists():
        return False
    try:
        cache.open(*part)
    except InputError as error:
        say(f"warning: {error}")
        return False
    return True


def bound_to(plan: Plan, fingerprint: str) -> dict[str, object]:
    """Everything that the numbers in a cache depend on, by the name of the option where it is one."""
    config, teacher = plan.config, plan.teacher
    assert teacher is not None, "checked by RunConfig"
    mask = {f"train.mask.{name}": value for name, value in asdict(config.train.mask).items()}
    return {
        "format": 4,
        "teacher": fingerprint,
        "teacher's files": plan.content.get("teacher"),  # of which the masks are made, with the seed
        "teacher_precision": config.teacher_precision or config.train.precision,
        "teacher's pooling": plan.shapes.teacher_pooling,
        "teacher's tokenizer": teacher.tokenizer.fingerprint,
        "student's tokenizer": plan.student.tokenizer.fingerprint,
        "shards": _hash_of_shards(plan),
        "train.seed": config.train.seed,
        "train.order.sequences": config.train.order.sequences,
        "train.order.longest": config.train.order.longest,
        **mask,
        **config.recipe.bound(config.cache, plan.shapes),
    }


def first_epoch(batches: MaskedBatches) -> Iterator[MaskedBatch]:
    """The first epoch's global batches, the same on every rank."""
    for cursor in range(batches.batches_per_epoch):
        yield from batches.micro_batches(cursor, rank=0, world_size=1, accumulation=1)


def bytes_of(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Names and numbers, for a hash."""
    for name, tensor in tensors.items():
        yield name.encode()
        yield tensor.detach().cpu().flatten().view(torch.uint8).numpy().data


def hash_of_weights(model: nn.Module) -> str:
    """Of the numbers, whatever files they came in."""
    found = hashlib.sha256()
    for part in bytes_of(model.state_dict()):
        found.update(part)
    return found.hexdigest()


def _hash_of_shards(plan: Plan) -> str:
    """Of the manifest's lines, each of which holds the hash of its shard."""
    return hashlib.sha256(repr(read_json(plan.text.shards / MANIFEST).get("shards")).encode()).hexdigest()


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
