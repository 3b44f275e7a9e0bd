"""A dry run: the real models and three steps of the run's shapes; nothing is written.

What it says of time and memory is measured on this machine with this configuration, and scaled to the whole batch.
"""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.ranks import Ranks
from tinydistil.batches.manifest import MANIFEST
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.batches.shards import WordPair
from tinydistil.distill.step import Trainer
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import Learner
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.quantised import weight_bytes
from tinydistil.train.card import terms_of
from tinydistil.train.models import build_student, kept_bytes, live_teacher, load_teachers, make_optimizer, sample_of
from tinydistil.train.plan import Plan, make_batches
from tinydistil.train.run_config import TrainConfig
from tinydistil.train.teachers import settle_precision

# Sequences of the trial: enough to keep the cores busy, few enough that BERT-base answers in seconds.
_TRIAL_SEQUENCES = 8
_STEPS = 3
# Longer than this no dry run tries a whole micro-batch.
_MEMORY_TRIAL_S = 15.0
# Share of a sequence that text fills where no shards tell: mixed Portuguese, see the README of benchmarks.
_FILLED = 0.82
# Tokens of a sentence in such text.
_SENTENCE = 16
# Of raw Portuguese text in UTF-8, for BERTimbau's vocabulary.
_BYTES_PER_TOKEN = 4.6


class _RandomText:
    """Sequences of random ids, in one or two tokenizations of as many words; `sizes` of the vocabularies.

    marks: ids of each that end sentences, and end them here after `_SENTENCE` tokens.
    """

    def __init__(self, count: int, tokens: int, sizes: Sequence[int], marks: Sequence[int | None]) -> None:
        self._count, self._tokens, self._sizes, self._marks = count, tokens, sizes, marks
        self.has_words = len(sizes) == 2

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, side: int = 0) -> NDArray[np.unsignedinteger]:
        random, mark = np.random.default_rng((index, side)), self._marks[side]
        ids = random.integers(0, self._sizes[side], self._tokens).astype(np.uint32)
        if mark is not None:
            ids[_SENTENCE - 1 :: _SENTENCE] = mark
        return ids

    def pair(self, index: int) -> WordPair:
        """Two tokenizations with a piece per word."""
        ones = np.ones(self._tokens, np.uint8)
        return WordPair(self[index], self.__getitem__(index, 1), ones, ones)

    def lengths(self, side: int = 0) -> NDArray[np.int64]:
        """All are of one length."""
        return np.full(self._count, self._tokens)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Seconds of a step per sequence, the teacher's apart, and what an epoch reads: its sequences, None before the
    corpus is prepared, and their tokens on average, [CLS] and [SEP] included."""

    trainer: Trainer[MaskedBatch]
    learner: Learner
    teachers: list[BertForMaskedLM | BertModel]
    batches: MaskedBatches | None
    step_s: float
    teacher_s: float
    sequences: int | None
    tokens: float


def estimate(plan: Plan, device: torch.device) -> str:
    """What a run of `plan` would be: models, text, steps; seconds per step and memory per rank, as measured in a trial.

    Raises InputError where a weight is missing or does not fit, as the run would.
    """
    config, trial = plan.config, _tried(plan, device)
    batch_size, precision = config.train.batch_size, config.teacher_precision
    taught_by = [f"{name}: {_described(each)}" for name, each in zip(config.teachers, trial.teachers, strict=True)]
    text = f"{plan.text.files} files, not prepared yet, sequences of at most {plan.text.longest} tokens"
    if trial.sequences is not None:
        text = f"{plan.text.shards}: {trial.sequences:,} sequences of {trial.tokens:.0f} tokens on average"
    return "\n".join([
        f"student   {config.student.model}: {_described(trial.learner.student)}, vocabulary "
        f"{plan.student.tokenizer.vocab_size:,} ({config.student_vocabulary})",
        *(f"teacher   {each}" + (f", in {precision}" if precision else "") for each in taught_by or ["none"]),
        f"recipe    {config.recipe.name}: {terms_of(config.recipe)}",
        f"text      {text}",
        f"step      {(trial.step_s + trial.teacher_s) * batch_size:.2f} s for {batch_size} sequences on one process "
        f"of this machine (measured with {min(_TRIAL_SEQUENCES, batch_size)})",
        f"memory    {_described_memory(plan, trial, device)}",
        f"time      {_described_time(plan, trial)}",
    ])  # fmt: skip


def seconds_after(plan: Plan, ranks: Ranks, raw_bytes: int) -> float:
    """Seconds that a run takes once `raw_bytes` of text are prepared: cache and steps, from a trial without a trace."""
    before = torch.get_rng_state()
    trial = _tried(plan, ranks.device)
    torch.set_rng_state(before)
    # Nobody knows yet what cleaning leaves; rather too long than too short.
    sequences = trial.sequences or round(raw_bytes / _BYTES_PER_TOKEN / trial.tokens)
    sequences = min(sequences, plan.config.train.order.sequences or sequences)
    train, cached = plan.config.train, bool(plan.config.teacher_cache)
    cache_s = train.mask.epochs * sequences * trial.teacher_s / ranks.world_size if cached else 0.0
    pace_s = trial.step_s + (0 if cached else trial.teacher_s)
    return cache_s + _budget_s(train, pace_s / ranks.world_size, sequences, trial.tokens)


def training_s(
    learner: Learner, teacher: LiveTeacher, batches: MaskedBatches, train: TrainConfig, ranks: Ranks
) -> float:
    """Seconds of all steps with a cache of `teacher`, from a trial of the run's own models that leaves no trace."""
    batch, took = sample_of(batches, _TRIAL_SEQUENCES).to(ranks.device), 0.0
    states, before = teacher(batch), torch.get_rng_state()
    for _ in range(2):  # the first compiles
        began = time.monotonic()
        totals = [loss.total.float() for loss in learner(batch, states).values()]
        torch.autograd.backward(torch.stack(totals).sum())
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        took = time.monotonic() - began
    learner.zero_grad(set_to_none=True)
    torch.set_rng_state(before)
    pace_s, tokens = took / len(batch.input_ids) / ranks.world_size, batches.mean_tokens / batches.batch_size
    return _budget_s(train, pace_s, len(batches.candidates), tokens)


def _budget_s(train: TrainConfig, pace_s: float, sequences: int, tokens: float) -> float:
    """Seconds of the whole budget at `pace_s` per sequence of `tokens`, with so many `sequences` in the corpus."""
    counted = _sequences_in(train, tokens)
    found = ([] if counted is None else [pace_s * counted]) + ([60 * train.minutes] if train.minutes else [])
    return min(found or [pace_s * train.epochs * sequences])


def _sequences_in(train: TrainConfig, tokens: float) -> float | None:
    """Sequences of the budget in steps or tokens, with `tokens` in one on average; None where there is neither."""
    found = [float(train.steps * train.batch_size)] if train.steps else []
    return min(found + ([train.tokens / tokens] if train.tokens else []), default=None)


def _tried(plan: Plan, device: torch.device) -> _Trial:
    """The median of the steps after the first, on random text of the mean length."""
    config, alone, sequences = plan.config, Ranks(0, 1, device), None
    tokens = (plan.text.longest - 2) * _FILLED + 2
    prepared = make_batches(plan, "train") if (plan.text.shards / MANIFEST).exists() else None
    if prepared is not None:
        sequences, tokens = len(prepared.candidates), float(prepared.lengths()[prepared.candidates].mean())
    teachers = [each.to(device) for each in load_teachers(plan)]
    count = min(_TRIAL_SEQUENCES, config.train.batch_size)
    batches = _random(plan, count, tokens)
    plan = settle_precision(plan, teachers, lambda: prepared or batches, alone, lambda _: None)
    learner = Learner(build_student(plan, teachers[0] if teachers else None), config.recipe, plan.shapes).to(device)
    # What int8 costs is not told: on random ids it would say nothing of text.
    teach = live_teacher(plan, teachers, learner, batches, alone, lambda _: None) if teachers else None
    optimizer = make_optimizer([learner], config.train.optimizer)
    trainer = Trainer(learner, optimizer, alone, teacher=teach, precision=config.train.precision)
    own_s, teacher_s = [], []
    for step in range(_STEPS):
        trainer.watch.mark("")
        trainer.step(batches.micro_batches(step, rank=0, world_size=1, accumulation=1), 0.0)
        parts = trainer.watch.read()
        teacher_s.append(parts.pop("teacher") / count)
        own_s.append(sum(parts.values()) / count)
    step_s, taught_s = median(own_s[1:]), median(teacher_s[1:])
    return _Trial(trainer, learner, teachers, prepared, step_s, taught_s, sequences, tokens)


def _random(plan: Plan, count: int, tokens: float) -> MaskedBatches:
    other, pairs = plan.teacher_tokenizer if plan.sides.apart else None, plan.config.recipe.needs.pairs
    read = [each for each in (other, plan.student.tokenizer) if each is not None]
    marks = [each.backend.token_to_id(".") if pairs else None for each in read]
    text = _RandomText(count, max(1, round(tokens) - 2), [each.vocab_size for each in read], marks)
    mask, own = plan.config.train.mask, plan.student.tokenizer
    return MaskedBatches(text, own, mask, batch_size=count, seed=0, teacher_tokenizer=other, pairs=pairs)


def _described(model: BertForMaskedLM | BertModel) -> str:
    encoder = model.encoder
    words, layers, every = (
        sum(parameter.numel() for parameter in part.parameters()) / 1e6
        for part in (encoder.embeddings.word, encoder.layers, model)
    )
    parts = f"words {words:.2f}, layers {layers:.2f}, the rest {every - words - layers:.2f}"
    return f"{model.config.num_hidden_layers} layers x {model.config.hidden_size}, {every:.1f} M parameters ({parts})"


def _described_memory(plan: Plan, trial: _Trial, device: torch.device) -> str:
    """The most that this process has held so far, which built all that a run builds, and a step of the run's own.

    That step is on a batch with many tokens: of the text where it is prepared, else as long as they can be. Where a
    whole micro-batch takes too long, on what there is time for, and for the rest what its layers keep is added.
    """
    micro, batches = plan.config.train.micro_batch, trial.batches
    count = min(micro, max(_TRIAL_SEQUENCES, int(_MEMORY_TRIAL_S / (trial.step_s + trial.teacher_s))))
    if batches is None:
        batch = _random(plan, count, plan.text.longest).collate(np.arange(count), 0)
    else:
        lengths = batches.lengths()
        drawn = [batches.global_batch(cursor)[1][:count] for cursor in range(min(20, batches.batches_per_epoch))]
        batch = batches.collate(max(drawn, key=lambda ids: int(lengths[ids].sum())), 0)
    trial.trainer.step([batch], 0.0)
    if device.type == "cuda":
        peak = float(torch.cuda.max_memory_allocated(device))
    else:
        try:  # not getrusage, which goes on from the parent process
            status = Path("/proc/self/status").read_text(encoding="ascii")
            peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024.0
        except (OSError, IndexError):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    peak += (micro - count) * kept_bytes(plan.config, plan.student.shape, batch.input_ids.shape[1])
    # weights, gradients and AdamW's two moments, each in float32
    held = sum(p.numel() for p in trial.learner.parameters()) * 16
    held += sum(map(weight_bytes, trial.teachers))
    projected = f", projected from {count}" if count < micro else ""
    return (
        f"{peak / 2**20:,.0f} MiB at most on one process, with a micro-batch of {micro}{projected}; weights and "
        f"optimizer {held / 2**20:,.0f}"
    )


def _described_time(plan: Plan, trial: _Trial) -> str:
    """With a cache the teacher reads `mask.epochs` epochs before the first step, and nothing after it."""
    train, sequences, tokens, first = plan.config.train, trial.sequences, trial.tokens, ""
    pace_s = trial.step_s + trial.teacher_s
    if plan.config.teacher_cache:
        pace_s, first = trial.step_s, f"{trial.teacher_s * 1000:.1f} ms per sequence for the cache, then "
        if sequences is not None:
            minutes = train.mask.epochs * sequences * trial.teacher_s / 60
            first = f"at most {minutes:,.1f} minutes for what of the cache is missing, then "
    if train.minutes and not (train.steps or train.tokens):
        return f"{first}{train.minutes:g} minutes, as asked; about {60 * train.minutes / pace_s * tokens:,.0f} tokens"
    budget = _sequences_in(train, tokens)
    if budget is None and sequences is not None:
        budget = train.epochs * sequences
    if budget is None:
        return f"{first}{pace_s * 1000:.1f} ms per sequence; an epoch's are known once the corpus is prepared"
    return f"{first}{budget * pace_s / 60:,.1f} minutes on one process for {budget * tokens:,.0f} tokens"
