"""Several teachers of one vocabulary, as one: what a term compares the student with is their mean.

Soft targets are of the mean of their logits: the geometric mean of their distributions, at any temperature (Hinton et
al. 2015, sec. 1; You et al. 2017 take the arithmetic one). Vectors are averaged after each teacher's own projection,
where that leads into the student's space; where the student is mapped up into each teacher's space, which have no mean
in common, it is the distances that are averaged. No vector is normalised first: longer ones weigh more in a mean.

Shapes: R positions, E teacher width, V vocabulary, N vectors, F width of a kept one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.losses import SparseTargets
from tinydistil.distill.options import CacheConfig, RepresentationOptions, Shapes, TermOptions
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import Loss, ModelStates, State, Term, Vectors
from tinydistil.distill.terms.representation import Representation
from tinydistil.distill.terms.vocabulary import Distribution, Vocabulary
from tinydistil.model.bert import Decoding


class SeveralTeachers(LiveTeacher):
    """Live teachers that read the same tokens. What it computes are the first one's states, which hold the others'."""

    def __init__(self, each: Sequence[LiveTeacher], states: Mapping[str, Mapping[str, State]]) -> None:
        first = each[0]
        super().__init__(first.model, states, sees=first.sees, precision=first.precision)
        self.each, self.model = each, nn.ModuleList(one.model for one in each)  # type: ignore[assignment]

    @torch.no_grad()
    def read(self, batch: MaskedBatch, sees: str = "") -> ModelStates:
        """Of all of them."""
        first, *others = (one.read(batch, sees) for one in self.each)
        return replace(first, others=tuple(others))


def of_several(term: type[Term], options: TermOptions, shapes: Shapes) -> Term:
    """The term with several teachers; `Recipe.check` refuses those that are of one."""
    if issubclass(term, Representation):
        assert isinstance(options, RepresentationOptions)
        return MeanRepresentation(term, options, shapes)
    assert issubclass(term, Vocabulary), "see Recipe.check"
    return MeanVocabulary(options, shapes)  # type: ignore[arg-type]


class MeanVocabulary(Vocabulary):
    """`Vocabulary` with the mean of all teachers' logits."""

    def states(self) -> Mapping[str, State]:
        return {name: MeanDistribution(self.positions, self.options, self.shapes) for name in self.needs.teacher}


class MeanDistribution(Distribution):
    """The distribution of the mean logits, as one decoding: rows side by side, a share of each, and matrices too.

    A cache keeps it as that of one teacher: rows (R, E_1 + E_2 + ...), or tokens of the mean itself.
    """

    _matrix: tuple[Tensor, Tensor] | None = None

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Decoding:
        take = super().take
        return self._mean([take(one, batch) for one in (teacher, *teacher.others)])

    def restore(
        self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any
    ) -> Decoding | SparseTargets:
        """As of one; `model` is a list of all teachers."""
        restore = super().restore
        if cache.words != "hidden":
            return restore(kept, batch, cache, model)
        whole = self._mean([each for one in model if isinstance(each := restore({}, batch, cache, one), Decoding)])
        return replace(whole, rows=kept["rows"].float()) if kept else whole

    def _mean(self, every: Sequence[Decoding]) -> Decoding:
        if self._matrix is None:  # (V, E_1 + E_2 + ...), made once: it is as large as all their word embeddings
            bias = torch.stack([each.bias for each in every]).mean(0)
            self._matrix = torch.cat([each.weight for each in every], 1), bias
        return Decoding(torch.cat([each.rows / len(every) for each in every], 1), *self._matrix)


class MeanRepresentation(Term):
    """A term of vectors, with a part of its own for each teacher: its projection, and how it pools."""

    def __init__(self, term: type[Representation], options: RepresentationOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        self.fits_kept, self.upwards = term.fits_kept, options.projection == "student-to-teacher"  # type: ignore[misc]
        self.parts = [term(options, one) for one in shapes.each]
        self.each = nn.ModuleList(self.parts)
        self.state = SideBySide([state for part in self.parts for state in part.states().values()])

    def count(self, batch: MaskedBatch) -> int:
        return self.parts[0].count(batch)

    def states(self) -> Mapping[str, State]:
        return dict.fromkeys(self.needs.teacher, self.state)

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        first, (found,) = self.parts[0], teacher.values()
        ours, present = first.vectors(student.hidden, batch), first.present(batch)
        pairs = []
        for part, theirs in zip(self.parts, self.state.split(found), strict=True):
            # What may be fitted to kept states is kept unprepared.
            prepared = part.projection.prepare(theirs) if self.fits_kept else theirs
            pairs.append(part.projection(ours, prepared))
        if self.upwards:
            return Loss(torch.stack([first.distance(mine, theirs, present) for mine, theirs in pairs]).mean())
        mean = torch.stack([theirs for _, theirs in pairs]).mean(0)
        return Loss(first.distance(ours, mean, present))

    def to_be_fitted(self) -> int:
        return self.parts[0].to_be_fitted()

    def observe(self, teacher: ModelStates, batch: MaskedBatch) -> None:
        for part, one in zip(self.parts, (teacher, *teacher.others), strict=True):
            part.observe(one, batch)

    def observe_kept(self, states: Mapping[str, Any], batch: MaskedBatch) -> None:
        for name, found in states.items():
            for part, one in zip(self.parts, self.state.split(found), strict=True):
                part.observe_kept({name: one}, batch)

    def fitted(self) -> str:
        return "; ".join(f"teacher {number}: {part.fitted()}" for number, part in enumerate(self.parts, start=1))


class SideBySide(Vectors):
    """The vectors of all teachers (N, F_1 + F_2 + ...); a cache keeps each one's by its number."""

    def __init__(self, each: Sequence[State]) -> None:
        self.each = [state for state in each if isinstance(state, Vectors)]
        super().__init__(sum(state.width for state in self.each))

    def split(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """Those of each teacher."""
        return torch.split(vectors, [state.width for state in self.each], -1)

    def present(self, batch: MaskedBatch) -> Tensor:
        return self.each[0].present(batch)

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        every = zip(self.each, (teacher, *teacher.others), strict=True)
        return torch.cat([state.take(one, batch) for state, one in every], -1)

    def keep(self, state: Tensor, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        return {
            f"{number}.{kind}": tensor
            for number, (each, part) in enumerate(zip(self.each, self.split(state), strict=True), start=1)
            for kind, tensor in each.keep(part, batch, cache).items()
        }

    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Tensor:
        found = []
        for number, each in enumerate(self.each, start=1):
            own = {kind.partition(".")[2]: kept[kind] for kind in kept if kind.startswith(f"{number}.")}
            found.append(each.restore(own, batch, cache, model))
        return torch.cat(found, -1)
