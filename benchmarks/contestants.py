"""Who takes part in the benchmark of the whole step: ours in its forms, the peer in its.

Each holds the same weights and takes the same global batches. Shapes: B sequences, T tokens.
"""

import argparse
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from measure import synchronize
from part_watch import PARTS, PartWatch
from processes import peak_mib, start_peak
from workload import LEARNED, batch_at, batches_of, forward_flops, models_of, step_flops, tokenizer_of

from tinydistil.base.ranks import Ranks, device_of
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.losses import vocabulary_loss
from tinydistil.distill.options import CacheConfig
from tinydistil.distill.step import Trainer
from tinydistil.distill.teacher.cached import CachedTeacher, TeacherCache
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.teacher.precision import quantise_teacher
from tinydistil.distill.terms.vocabulary import Vocabulary
from tinydistil.train.models import make_optimizer
from tinydistil.train.run_config import OptimizerConfig

LEARNING_RATE = 5e-4
TERMS = ("hard", "soft", "hidden")
WARMUP = 2
MOST_CACHED = 32  # sequences that the teacher reads at a time while its cache is written


class Contestant(ABC):
    """One way of taking a step of recipe total."""

    renamed: Mapping[str, str] = {}
    projection = LEARNED
    attention = "packed"
    # What of the teacher is computed within the step.
    asked: Sequence[str] = ("encoder", "words")

    def __init__(self, args: argparse.Namespace) -> None:
        torch.set_num_threads(args.threads)
        self.device = device_of(args.device)
        self.tokenizer = tokenizer_of(args)
        self.batches = batches_of(args, self.tokenizer, args.rounds + WARMUP)
        self.teacher, self.learner = models_of(
            args, self.tokenizer, attention=self.attention, projection=self.projection
        )
        self.shapes = self.teacher.config, self.learner.student.config
        self.watch = PartWatch(self.device, self.renamed)

    @abstractmethod
    def prepare(self, batch: MaskedBatch) -> None:
        """What is done before the clock starts."""

    @abstractmethod
    def step(self, cursor: int) -> dict[str, float]:
        """Take the step of the `cursor`-th batch; the mean of each of `TERMS`."""

    def answer(self, question: str) -> dict[str, float]:
        """ "check N": losses and peak memory of the N-th step. "step N": also its seconds, in all and by part."""
        what, cursor = question.split()
        batch = batch_at(self.batches, int(cursor))
        self.prepare(batch)
        if what == "check":
            before_mib = start_peak()
            return {**self.step(int(cursor)), "before_mib": before_mib, "peak_mib": peak_mib()}
        return self.timed(int(cursor), batch)

    def timed(self, cursor: int, batch: MaskedBatch) -> dict[str, float]:
        """The step by the clock, and the work it stands for."""
        synchronize()
        self.watch.read()
        began = time.perf_counter()
        self.watch.mark("")
        terms = self.step(cursor)
        synchronize()
        seconds = time.perf_counter() - began
        parts = {f"part.{name}": value for name, value in self.watch.read().items() if name in PARTS}
        return {
            "seconds": seconds,
            "tokens": batch.tokens,
            "padded_tokens": batch.input_ids.numel(),
            "flops": step_flops(batch, *self.shapes, asked=self.asked),
            "teacher_encoder_flops": forward_flops(batch, self.shapes[0]),
            **terms,
            **parts,
        }


class Ours(Contestant):
    """Our step as `scripts/distill.py` takes it, masking and padding of the batch included."""

    # The trainer marks after the heads; hooks on the encoders have told their own time by then.
    renamed: Mapping[str, str] = {"teacher": "teacher head", "student": "loss"}

    fused = True

    def __init__(self, args: argparse.Namespace, *, ranks: Ranks | None = None) -> None:
        super().__init__(args)
        self.ranks = ranks or Ranks(0, 1, self.device)
        self.learner.to(self.device)
        words = self.learner.terms["vocabulary"]
        assert isinstance(words, Vocabulary)
        if not self.fused:
            words.compute = vocabulary_loss
        self.trainer = Trainer(
            self.learner,
            make_optimizer([self.learner], OptimizerConfig(learning_rate=LEARNING_RATE)),
            self.ranks,
            teacher=LiveTeacher(self.teacher.to(self.device), self.learner.states()),
            precision=args.precision,
        )
        self.trainer.watch = self.watch
        self.watch.after(self.teacher.bert, "teacher encoder")
        self.watch.after(self.learner.student.bert, "student")
        self.learner.train()

    def prepare(self, batch: MaskedBatch) -> None:
        """Nothing: batches are made within the step."""

    def step(self, cursor: int) -> dict[str, float]:
        """Draw this rank's share of the batch and learn from it."""
        ranks = self.ranks
        mine = self.batches.micro_batches(cursor, rank=ranks.rank, world_size=ranks.world_size, accumulation=1)
        return self.trainer.step(mine, LEARNING_RATE).terms


class Padded(Ours):
    """Ours with padding computed as if it were text."""

    attention = "sdpa"


class WrittenOut(Padded):
    """Ours with padding, and losses as they are explained: what a student of the code reads first."""

    fused = False


class Int8(Ours):
    """Ours with the linear layers of the teacher's encoder in int8, on a CPU."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        live = self.trainer.teacher
        assert isinstance(live, LiveTeacher)
        quantise_teacher(live, [batch_at(self.batches, 0)])


class Cached(Ours):
    """Ours with a teacher whose words and hidden states were written down before."""

    config = CacheConfig("hidden", vector_bits=16)
    asked = ("words",)

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        with tempfile.TemporaryDirectory() as folder:
            # Mapped files stay readable when the folder is gone.
            self.trainer.teacher, self.cache_bytes = self.written(Path(folder))

    def written(self, folder: Path) -> tuple[CachedTeacher, int]:
        """The teacher's cache of every batch, all parts opened, and its size."""
        live, batches = self.trainer.teacher, self.batches
        assert isinstance(live, LiveTeacher)
        whole = [batch_at(batches, cursor) for cursor in range(batches.batches_per_epoch)]
        self.learner.fit(live.read, whole)
        cache = TeacherCache(folder, batches.candidates, epochs=1)
        cache = cache.with_codes(live, batches, self.config, self.device)
        for epoch, number in cache.parts:
            ids = cache.ids(number)
            shares = [batches.collate(ids[i : i + MOST_CACHED], epoch) for i in range(0, len(ids), MOST_CACHED)]
            cache.write((epoch, number), shares, live, self.config, self.device)
        teacher = CachedTeacher(cache, live, self.config, self.device)
        for batch in whole:
            teacher(batch)
        return teacher, sum(cache.path(*part).stat().st_size for part in cache.parts)

    def answer(self, question: str) -> dict[str, float]:
        """The same, and how much is kept a token."""
        tokens = sum(batch_at(self.batches, cursor).tokens for cursor in range(self.batches.batches_per_epoch))
        return {**super().answer(question), "cache_bytes_a_token": self.cache_bytes / tokens}


class CachedTop(Cached):
    """Of each masked token the likeliest words and a draw of the rest."""

    config = CacheConfig("top", drawn=64, vector_bits=16)
    asked = ()


class CachedReduced(Cached):
    """Hidden states on as many principal components as the student is wide: another recipe, a sixth of the bytes."""

    projection = "pca"


class CachedTopReduced(CachedTop):
    """Both."""

    projection = "pca"


class CachedReducedInt8(CachedReduced):
    """The same components in 8 bits."""

    config = CacheConfig("hidden", vector_bits=8)


class CachedPacked(CachedTop):
    """The same components with a cache's defaults: in 4 bits in the mean, beside half as many draws."""

    projection = "pca"
    config = CacheConfig()


class Theirs(Contestant):
    """The peer's step on batches that lie ready."""

    def __init__(self, args: argparse.Namespace, *, tuned: bool = False, compiled: bool = False) -> None:
        # Not above: importing transformers takes seconds, and ours need none of it.
        from peer_transformers import Peer, TunedPeer, collated

        super().__init__(args)
        self.collated = collated
        half = args.precision == "bfloat16"
        if tuned:
            self.peer: Peer = TunedPeer(
                self.teacher, self.learner, self.device, half=half, mark=self.watch.mark, compiled=compiled
            )
        else:
            self.peer = Peer(self.teacher, self.learner, self.device, half=half, mark=self.watch.mark)
            self.watch.after(self.peer.teacher.bert, "teacher encoder")
        # The peer has weights of its own now; a second teacher would count as its memory.
        del self.teacher, self.learner

    def prepare(self, batch: MaskedBatch) -> None:
        """Masked, padded and on the device."""
        self.inputs = self.collated(batch, self.device)

    def step(self, cursor: int) -> dict[str, float]:
        """Learn from the batch that was prepared."""
        return self.peer.step(self.inputs)


CONTESTANTS: dict[str, Callable[[argparse.Namespace], Contestant]] = {
    "peer": Theirs,
    "tuned": partial(Theirs, tuned=True),
    "tuned-compiled": partial(Theirs, tuned=True, compiled=True),
    "eager": WrittenOut,
    "fused": Padded,
    "live": Ours,
    "int8": Int8,
    "cached-rows": Cached,
    "cached-top": CachedTop,
    "cached-rows-pca": CachedReduced,
    "cached-top-pca": CachedTopReduced,
    "cached-rows-pca-int8": CachedReducedInt8,
    "cached-packed": CachedPacked,
}
# By how much, relative, terms may be off whose numbers have 8 bits, or 16 in a cache. What is not named differs by
# design: a draw of words is not the whole distribution, and moves the first update a little; 128 components are not the
# whole vector.
OWN_TOLERANCES: dict[str, dict[str, float]] = {
    "int8": {"hard": 1e-3, "soft": 5e-2, "hidden": 1e-2},
    "cached-rows": {"hard": 1e-3, "soft": 1e-2, "hidden": 1e-3},
    "cached-top": {"hard": 5e-3, "hidden": 1e-3},
    "cached-rows-pca": {"hard": 1e-3, "soft": 1e-2},
    "cached-top-pca": {"hard": 5e-3},
    "cached-rows-pca-int8": {"hard": 1e-3, "soft": 1e-2},
    "cached-packed": {"hard": 5e-3},
}
