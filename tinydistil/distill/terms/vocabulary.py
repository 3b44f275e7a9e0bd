"""What masked tokens teach: cross-entropy with the token itself, and divergence from the teacher's distribution.

Both are one term, for they share their logits, and one gradient: that of hard * cross-entropy + soft * divergence.
Shapes: R positions, E teacher width, V vocabulary, N tokens of sparse targets, M of them drawn.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.losses import SparseTargets, sparse_targets
from tinydistil.distill.options import CacheConfig, Schedule, Shapes, VocabularyOptions
from tinydistil.distill.teacher.codes import pack_targets, unpack_targets
from tinydistil.distill.terms.base import Loss, ModelStates, State, Term, register
from tinydistil.model.bert import BertForMaskedLM, Decoding


@register("vocabulary")
class Vocabulary(Term):
    """hard * cross-entropy + soft * divergence, per token.

    compute: `fused_vocabulary_loss`, or `losses.vocabulary_loss`, which explains it.
    """

    Options = VocabularyOptions

    def __init__(self, options: VocabularyOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        self.options, self.compute = options, fused_vocabulary_loss
        self.has_hard, self.has_soft = options.has_hard, options.has_soft
        everywhere = options.soft_positions != "masked" and not self.has_hard
        self.positions: Callable[[MaskedBatch], Tensor] = (
            (lambda batch: batch.valid_mask.flatten().nonzero().squeeze(1)) if everywhere else attrgetter("positions")
        )
        self.reports = ("hard",) * self.has_hard + ("soft",) * self.has_soft

    def count(self, batch: MaskedBatch) -> int:
        return len(self.positions(batch))

    def states(self) -> Mapping[str, State]:
        return {name: Distribution(self.positions, self.options, self.shapes) for name in self.needs.teacher}

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        """From the student's logits at the positions, and the teacher's as a `Decoding` or `SparseTargets`."""
        positions, options = self.positions(batch), self.options
        assert isinstance(student.model, BertForMaskedLM), "see TermOptions.check"
        # As tensors, or a weight that a schedule takes to 0 would be another form of the loss.
        now = (each.at(self.progress) if isinstance(each, Schedule) else each
               for each in (options.hard, options.soft, options.temperature))  # fmt: skip
        hard, soft, temperature = (torch.full((), each, dtype=torch.float64, device=positions.device) for each in now)
        found = self.compute(
            student.model.decoding_at(student.hidden, positions),
            batch.targets if self.has_hard else torch.zeros_like(positions),
            teacher.get("logits"),
            hard=hard if self.has_hard else 0.0,
            soft=soft if self.has_soft else 0.0,
            temperature=temperature,
            divergence=options.divergence,
        )
        return Loss(found.total, {name: each for name in self.reports if (each := getattr(found, name)) is not None})


def draws_of(batch: MaskedBatch, sizes: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1) (N, count), as many items of each sequence as `sizes` (B,) has, by it and the epoch alone.

    One from each `count`-th of [0, 1): so draws vary less than from the whole, and have as little bias.
    """
    made = [np.empty((0, count))]
    for sequence, size in zip(batch.sequence_ids.tolist(), sizes.tolist(), strict=True):
        made.append(np.random.default_rng((batch.epoch, sequence)).random((size, count)))
    return torch.from_numpy((np.concatenate(made) + np.arange(count)) / count)


class Distribution(State):
    """The teacher's distribution at R positions: whole, by what makes its logits, or by its top tokens and a sample.

    A cache keeps rows (R, E) in fp16, from which the logits are made again, or the sample, packed.
    """

    def __init__(self, positions: Any, options: VocabularyOptions, shapes: Shapes) -> None:
        assert shapes.teacher is not None, "see Recipe.check"
        self.positions, self.vocab_size = positions, shapes.teacher.vocab_size
        start = options.temperature  # a cache keeps none that changes
        self.temperature = start.at(0.0) if isinstance(start, Schedule) else start

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Decoding:
        assert batch.teacher is None, "see TermOptions.check"
        assert isinstance(teacher.model, BertForMaskedLM), "see TermOptions.check"
        return teacher.model.decoding_at(teacher.hidden, self.positions(batch))

    def lengths(self, batch: MaskedBatch) -> Tensor:
        return torch.bincount(self.positions(batch) // batch.input_ids.shape[1], minlength=len(batch.sequence_ids))

    def keep(self, state: Decoding, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        """The rows, or a sample that depends on sequence and epoch alone, not on the batch."""
        if cache.words == "hidden":
            return {"rows": state.rows.half()}
        uniform = draws_of(batch, self.lengths(batch), cache.drawn).to(state.rows.device)
        targets = sparse_targets(state, cache.top, self.temperature, uniform)
        return {"tokens": pack_targets(targets, cache.top, self.vocab_size)}

    def restore(
        self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any
    ) -> Decoding | SparseTargets:
        """Rows with the teacher's vocabulary matrix, or the sample."""
        device = batch.input_ids.device
        if cache.words == "hidden":
            assert isinstance(model, BertForMaskedLM), "see TermOptions.check"
            rows = kept["rows"] if kept else torch.empty(0, model.config.hidden_size, device=device)
            head, embedding = model.masked_lm, model.bert.embeddings.word.weight
            return Decoding(rows.float(), embedding if head.decoder is None else head.decoder, head.bias)
        if not kept:
            nothing = torch.empty(0, cache.top + cache.drawn, device=device)
            return SparseTargets(nothing.long(), nothing, nothing)
        return unpack_targets(kept["tokens"], cache.top, cache.drawn, self.vocab_size)
