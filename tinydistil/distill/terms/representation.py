"""Terms that compare vectors of the student with vectors of the teacher: what `hidden` and `pooled` share.

Shapes: B sequences, T tokens, W words, N vectors, D student width, E teacher width, F width of a prepared vector.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor

from tinydistil.base.config import OneOf, Range, Share
from tinydistil.batches.batch import MaskedBatch, TeacherView
from tinydistil.distill.losses import cosine, mean_squared_error
from tinydistil.distill.projection import PROJECTIONS, Moments, Projection, check_projection
from tinydistil.distill.states import CacheConfig, ModelStates, State, Vectors
from tinydistil.distill.terms.base import Loss, Shapes, Term, TermOptions

_DISTANCES = {"cosine": cosine, "mse": mean_squared_error}


@dataclass(frozen=True)
class RepresentationOptions(TermOptions, table="recipe"):
    """distance: of two vectors. projection: brings them to one width: "student-to-teacher" (a learned D -> E map, which
    cannot collapse), "teacher-to-student" (learned, E -> D: it can learn to flatter the student), "pca" (the teacher's
    own first components, fixed) or "none". centred: the teacher's mean vector is taken off first, which otherwise makes
    all cosines large and alike. whitening: in [0, 1], evens out the teacher's directions, see `Projection`.
    fit_sequences: of the training text, for mean and directions."""

    distance: Annotated[str, OneOf(tuple(_DISTANCES))] = "cosine"
    projection: Annotated[str, OneOf(PROJECTIONS)] = "none"
    centred: bool = False
    whitening: Share = 0.0
    fit_sequences: Annotated[int, Range(1, 10_000_000)] = 2048

    @property
    def is_fitted(self) -> bool:
        """Whether a sample of the teacher's vectors must be seen before training."""
        return self.projection == "pca" or self.centred or self.whitening > 0

    def asked_by(self, name: str) -> tuple[str, ...]:
        return (f"recipe.{name}",)

    def check(self, name: str, shapes: Shapes) -> None:
        super().check(name, shapes)
        if shapes.teacher is not None:
            check_projection(self.projection, shapes.student.hidden_size, shapes.teacher.hidden_size)

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        fields = ("projection", "centred", "whitening", *(("fit_sequences",) * self.is_fitted))
        found: dict[str, object] = {f"recipe.{name}": getattr(self, name) for name in fields}
        if self.projection == "pca":
            found["student's width"] = shapes.student.hidden_size
        return found | {"cache.vector_bits": cache.vector_bits}


class Representation(Term):
    """The distance between vectors of both, with a projection of its own."""

    Options = RepresentationOptions

    def __init__(self, options: RepresentationOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        assert shapes.teacher is not None, "see TermOptions.check"
        self.options = options
        self._moments: Moments | None = None
        widths = shapes.student.hidden_size, shapes.teacher.hidden_size
        self.projection = Projection(options.projection, *widths, centred=options.centred, whitening=options.whitening)
        self.distance = _DISTANCES[options.distance]

    @abstractmethod
    def vectors(self, hidden: Tensor, view: MaskedBatch | TeacherView, num_words: int) -> Tensor:
        """The vectors (N, width) that are compared, from hidden states (B, T, width) of the tokens of `view`."""

    @abstractmethod
    def present(self, view: MaskedBatch | TeacherView, num_words: int) -> Tensor:
        """Which of them (N,) stand for something: no padding, no word that does not exist."""

    def teacher_vectors(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        """Those of the teacher (N, E), as they are."""
        return self.vectors(teacher.hidden, batch.teacher_view, batch.num_words)

    def states(self) -> Mapping[str, State]:
        """The teacher's vectors, prepared: what of the projection never changes is done once."""
        (name,) = self.needs.teacher
        return {
            name: Vectors(
                self.projection.prepared_width,
                lambda teacher, batch: self.projection.prepare(self.teacher_vectors(teacher, batch)),
                lambda batch: self.present(batch.teacher_view, batch.num_words),
            )
        }

    def count(self, batch: MaskedBatch) -> int:
        return int(self.present(batch, batch.num_words).sum())

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        ours = self.vectors(student.hidden, batch, batch.num_words)
        (name,) = self.needs.teacher
        ours, theirs = self.projection.compare(ours, teacher[name])
        return Loss(self.distance(ours, theirs, self.present(batch, batch.num_words)))

    def to_be_fitted(self) -> int:
        return self.options.fit_sequences if self.options.is_fitted else 0

    def observe(self, teacher: ModelStates, batch: MaskedBatch) -> None:
        vectors = self.teacher_vectors(teacher, batch)
        self._moments = self._moments or Moments(vectors.shape[1], vectors.device)
        self._moments.add(vectors[self.present(batch.teacher_view, batch.num_words)])

    def fitted(self) -> str:
        assert self._moments is not None, "shown at least one batch"
        kept, self._moments = self.projection.fit(self._moments), None
        return f"the projection keeps {kept:.1%} of the teacher's squared length"
