"""A dry run: the real models, three steps on random text of the run's shapes, one of the run's own; nothing written.

What it says of time and memory is measured on this machine with this configuration, and scaled to the whole batch.
"""

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.ranks import Ranks
from tinydistil.batches.batch import MaskedBatch
from tinydistil.batches.manifest import MANIFEST
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.batches.shards import WordPair
from tinydistil.distill.learner import Learner
from tinydistil.distill.states import TeacherStates
from tinydistil.distill.step import Trainer
from tinydistil.model.pretrained import Pretrained
from tinydistil.model.quantised import weight_bytes
from tinydistil.train.card import terms_of
from tinydistil.train.optimizer import make_optimizer
from tinydistil.train.plan import Plan
from tinydistil.train.run import build_student, make_batches
from tinydistil.train.teaching import live_teacher, load_teacher

# Sequences of the trial: enough to keep the cores busy, few enough that BERT-base answers in seconds.
_TRIAL_SEQUENCES = 8
_STEPS = 3
# Longer than this no dry run tries a whole micro-batch.
_MEMORY_TRIAL_S = 15.0
# Share of a sequence that text fills where no shards tell: mixed Portuguese, see the README of benchmarks.
_FILLED = 0.82
# Of raw Portuguese text in UTF-8, for BERTimbau's vocabulary.
_BYTES_PER_TOKEN = 4.6


class _RandomText:
    """Sequences of random ids, in one or two tokenizations of as many words; `sizes` of the vocabularies."""

    def __init__(self, count: int, tokens: int, sizes: Sequence[int]) -> None:
        self._count, self._tokens, self._sizes = count, tokens, sizes
        self.has_words = len(sizes) == 2

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> NDArray[np.unsignedinteger]:
        return self._draw(index, 0)

    def pair(self, index: int) -> WordPair:
        """Two tokenizations with a piece a word."""
        ones = np.ones(self._tokens, np.uint8)
        return WordPair(self._draw(index, 0), self._draw(index, 1), ones, ones)

    def lengths(self, side: int = 0) -> NDArray[np.int64]:
        """All are of one length."""
        return np.full(self._count, self._tokens)

    def _draw(self, index: int, side: int) -> NDArray[np.unsignedinteger]:
        random = np.random.default_rng((index, side))
        return random.integers(0, self._sizes[side], self._tokens).astype(np.uint32)


_Trainer = Trainer[MaskedBatch, TeacherStates]


@dataclass(frozen=True, slots=True)
class _Text:
    """Sequences of an epoch, None before the corpus is prepared; tokens of one on average, [CLS] and [SEP] included."""

    sequences: int | None
    tokens: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """Of a sequence: seconds of a step without the teacher, those of the teacher, and the bytes that autograd keeps."""

    seconds: float
    teacher_seconds: float
    saved_bytes: float


def estimate(plan: Plan, device: torch.device) -> str:
    """What a run of `plan` would be: models, text, steps; seconds a step and memory a rank, as measured in a trial.

    Raises InputError where a weight is missing or does not fit, as the run would.
    """
    config, text = plan.config, _text_of(plan)
    trial, trainer, teacher = _tried(plan, device, text)
    learner = trainer.objective
    assert isinstance(learner, Learner)
    student, count = learner.student, min(_TRIAL_SEQUENCES, config.train.batch_size)
    taught_by = "none" if teacher is None else f"{config.teacher}: {_described(teacher)}"
    # weights, gradients and AdamW's two moments, each in float32
    trained = sum(p.numel() for p in learner.parameters()) * 16
    held = trained + (0 if teacher is None else weight_bytes(teacher))
    step = (trial.seconds + trial.teacher_seconds) * config.train.batch_size
    lines = [
        f"student   {config.student.model}: {_described(student)}, vocabulary {plan.student.tokenizer.vocab_size:,} "
        f"({config.student_vocabulary})",
        f"teacher   {taught_by}" + (f", in {config.teacher_precision}" if config.teacher_precision else ""),
        f"recipe    {config.recipe.name}: {terms_of(config.recipe)}",
        f"text      {_described_text(plan, text)}",
        f"step      {step:.2f} s for {config.train.batch_size} sequences on one process of this machine "
        f"(measured with {count})",
        f"memory    {_described_memory(plan, trainer, trial, device)}; weights and optimizer {held / 2**20:,.0f}",
        f"time      {_described_time(plan, trial, text)}",
    ]
    return "\n".join(lines)


def seconds_after(plan: Plan, ranks: Ranks, raw_bytes: int) -> float:
    """Seconds that the run takes once so much raw text is prepared: its cache and its steps, as measured in a trial."""
    text = _text_of(plan)
    # Nobody knows yet what cleaning leaves; rather too long than too short.
    guessed = _Text(round(raw_bytes / _BYTES_PER_TOKEN / text.tokens), text.tokens)
    before = torch.get_rng_state()
    trial = _tried(plan, ranks.device, guessed)[0]
    torch.set_rng_state(before)
    return sum(_seconds(plan, trial, guessed, ranks.world_size))


def _seconds(plan: Plan, trial: _Trial, text: _Text, world_size: int = 1) -> tuple[float, float]:
    """What the cache takes, whole, and what the steps take. The number of sequences must be known."""
    train, cached = plan.config.train, bool(plan.config.teacher_cache)
    assert text.sequences is not None, "measured or guessed"
    pace = trial.seconds + (0.0 if cached else trial.teacher_seconds)
    steps = train.seconds_at(pace / world_size, text.sequences, text.tokens)
    return cached * train.mask.epochs * text.sequences * trial.teacher_seconds / world_size, steps


def _tried(plan: Plan, device: torch.device, text: _Text) -> tuple[_Trial, _Trainer, Pretrained | None]:
    """The trial, and what it was made with."""
    config, alone = plan.config, Ranks(0, 1, device)
    teacher = None if plan.teacher is None else load_teacher(plan).to(device)
    learner = Learner(build_student(plan, teacher), config.recipe, plan.shapes).to(device)
    batches = _batches(plan, min(_TRIAL_SEQUENCES, config.train.batch_size), text.tokens)
    # What int8 costs is not told: on random ids it would say nothing of text.
    teach = None if teacher is None else live_teacher(plan, teacher, learner, batches, alone, lambda _: None)
    optimizer = make_optimizer([learner], config.train.optimizer)
    trainer = Trainer(learner, optimizer, alone, teacher=teach, precision=config.train.precision)
    return _trial(trainer, batches), trainer, teacher


def _described_memory(plan: Plan, trainer: _Trainer, trial: _Trial, device: torch.device) -> str:
    """The most that this process has held so far, which built all that a run builds, and a step of the run's own.

    Where a whole micro-batch takes too long, of what there is time for, and for the rest what autograd keeps of it.
    """
    micro = -(-plan.config.train.batch_size // plan.config.train.accumulation)
    count = min(micro, max(_TRIAL_SEQUENCES, int(_MEMORY_TRIAL_S / (trial.seconds + trial.teacher_seconds))))
    trainer.step([_longest(plan, count)], 0.0)
    peak = _most_bytes(device) + trial.saved_bytes * (micro - count)
    projected = f", projected from {count}" if count < micro else ""
    return f"{peak / 2**20:,.0f} MiB at most on one process, with a micro-batch of {micro}{projected}"


def _longest(plan: Plan, count: int) -> MaskedBatch:
    """`count` sequences of a batch with many tokens: of the text where it is prepared, else as long as they can be."""
    if not (plan.text.shards / MANIFEST).exists():
        return _batches(plan, count, plan.text.longest).collate(np.arange(count), 0)
    batches = make_batches(plan, "train")
    assert batches is not None, "only validation may have too few sequences"
    lengths = batches.lengths()
    drawn = [batches.global_batch(cursor)[1][:count] for cursor in range(min(20, batches.batches_per_epoch))]
    return batches.collate(max(drawn, key=lambda ids: int(lengths[ids].sum())), 0)


def _most_bytes(device: torch.device) -> int:
    """The most memory that this process has held on `device` at a time."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:  # not getrusage, which goes on from the parent process
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _batches(plan: Plan, count: int, tokens: float) -> MaskedBatches:
    config = plan.config
    other = plan.teacher.tokenizer if plan.teacher is not None and plan.sides.apart else None
    sizes = [each.vocab_size for each in (other, plan.student.tokenizer) if each is not None]
    text = _RandomText(count, max(1, round(tokens) - 2), sizes)
    return MaskedBatches(
        text, plan.student.tokenizer, config.train.mask, batch_size=count, seed=0, teacher_tokenizer=other
    )


def _trial(trainer: _Trainer, batches: MaskedBatches) -> _Trial:
    """The median of the steps after the first, and the bytes that autograd keeps for one."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in trainer.module.parameters()}
    own_times, teacher_times = [], []
    for step in range(_STEPS):
        trainer.watch.start()
        micro_batches: list[MaskedBatch] = batches.micro_batches(step, rank=0, world_size=1, accumulation=1)
        if step == 0:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                trainer.step(micro_batches, 0.0)
        else:
            trainer.step(micro_batches, 0.0)
        parts = trainer.watch.read()
        teacher_times.append(parts.pop("teacher"))
        own_times.append(sum(parts.values()))
    saved = sum(size for pointer, size in kept.items() if pointer not in own)
    count = batches.batch_size
    return _Trial(median(own_times[1:]) / count, median(teacher_times[1:]) / count, saved / count)


def _text_of(plan: Plan) -> _Text:
    """What an epoch reads, of what is prepared; a guess of its tokens before."""
    if not (plan.text.shards / MANIFEST).exists():
        return _Text(None, (plan.text.longest - 2) * _FILLED + 2)
    batches = make_batches(plan, "train")
    assert batches is not None, "only validation may have too few sequences"
    return _Text(len(batches.candidates), float(batches.lengths()[batches.candidates].mean()))


def _described(model: Pretrained) -> str:
    shape = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{shape.num_hidden_layers} layers x {shape.hidden_size}, {parameters / 1e6:.1f} M parameters"


def _described_text(plan: Plan, text: _Text) -> str:
    if text.sequences is not None:
        return f"{plan.text.shards}: {text.sequences:,} sequences of {text.tokens:.0f} tokens on average"
    return f"{plan.text.files} files, not prepared yet, sequences of at most {plan.text.longest} tokens"


def _described_time(plan: Plan, trial: _Trial, text: _Text) -> str:
    """With a cache the teacher reads `mask.epochs` epochs before the first step, and nothing after it."""
    train, sequences, tokens = plan.config.train, text.sequences, text.tokens
    cached = bool(plan.config.teacher_cache)
    seconds = trial.seconds + (0.0 if cached else trial.teacher_seconds)
    first = ""
    if cached and sequences is not None:
        minutes = _seconds(plan, trial, text)[0] / 60
        first = f"at most {minutes:,.1f} minutes for what of the cache is missing, then "
    elif cached:
        first = f"{trial.teacher_seconds * 1000:.1f} ms a sequence for the cache, then "
    if train.minutes and not (train.steps or train.tokens):
        return f"{first}{train.minutes:g} minutes, as asked; about {60 * train.minutes / seconds * tokens:,.0f} tokens"
    budget = train.counted_sequences(tokens)
    if budget is None and sequences is not None:
        budget = train.epochs * sequences
    if budget is None:
        return f"{first}{seconds * 1000:.1f} ms a sequence; an epoch's are known once the corpus is prepared"
    return f"{first}{budget * seconds / 60:,.1f} minutes on one process for {budget * tokens:,.0f} tokens"
