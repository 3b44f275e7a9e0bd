"""Terms that compare vectors of the student with vectors of the teacher: what `hidden` and `pooled` share.

Shapes: B sequences, T tokens, W words, N vectors, D student width, E teacher width, F width of a prepared vector.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tinydistil.batches.batch import MaskedBatch, TeacherView
from tinydistil.distill.losses import cosine, mean_squared_error
from tinydistil.distill.options import DISTANCES, RepresentationOptions, Shapes
from tinydistil.distill.projection import Moments, Projection
from tinydistil.distill.states import ModelStates, State, Vectors
from tinydistil.distill.terms.base import Loss, Term

_DISTANCES = dict(zip(DISTANCES, (cosine, mean_squared_error), strict=True))


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
