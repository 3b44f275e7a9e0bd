"""Terms that compare vectors of the student with vectors of the teacher: `hidden` and `pooled`.

Shapes: B sequences, T tokens, W words, N vectors, D student width, E teacher width, F width of a prepared vector.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.errors import require
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.initialise import Moments
from tinydistil.distill.options import FIXED, HiddenOptions, PooledOptions, RepresentationOptions, Shapes
from tinydistil.distill.terms.base import Loss, ModelStates, State, Term, Vectors, register

# Of random directions, the same in every run. What 128 of them keep of e5-small-pt's similarities differs: Pearson on
# ASSIN 2's training pairs is 0.780 in the mean of eight seeds, deviation 0.004; with this one 0.792, of all 384 0.794.
_SEED = 2


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
        self.distance = mean_squared_error if options.distance == "mse" else cosine

    @abstractmethod
    def vectors(self, hidden: Tensor, batch: MaskedBatch, *, of_teacher: bool = False) -> Tensor:
        """The vectors (N, width) that are compared, from the hidden states (B, T, width) of one side's tokens."""

    @abstractmethod
    def present(self, batch: MaskedBatch, *, of_teacher: bool = False) -> Tensor:
        """Which of them (N,) stand for something: no padding, no word that does not exist."""

    def states(self) -> Mapping[str, State]:
        return {name: Prepared(self) for name in self.needs.teacher}

    def count(self, batch: MaskedBatch) -> int:
        return int(self.present(batch).sum())

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        (prepared,) = teacher.values()
        ours, theirs = self.projection(self.vectors(student.hidden, batch), prepared)
        return Loss(self.distance(ours, theirs, self.present(batch)))

    def to_be_fitted(self) -> int:
        return self.options.fit_sequences if self.options.is_fitted else 0

    def observe(self, teacher: ModelStates, batch: MaskedBatch) -> None:
        self.see(self.vectors(teacher.hidden, batch, of_teacher=True), batch)

    def see(self, vectors: Tensor, batch: MaskedBatch) -> None:
        """Count the teacher's vectors (N, E) in."""
        self._moments = self._moments or Moments(vectors.shape[1], vectors.device)
        self._moments.add(vectors[self.present(batch, of_teacher=True)])

    def fitted(self) -> str:
        assert self._moments is not None, "shown at least one batch"
        kept, self._moments = self.projection.fit(self._moments), None
        return f"the projection keeps {kept:.1%} of the teacher's squared length"


class Unprepared(Vectors):
    """The teacher's vectors of `term` as they are: one cache serves any projection, fitted on all that it holds."""

    def __init__(self, term: Representation, width: int | None = None) -> None:
        super().__init__(term.projection.mean.shape[0] if width is None else width)
        self.term = term

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        return self.term.vectors(teacher.hidden, batch, of_teacher=True)

    def present(self, batch: MaskedBatch) -> Tensor:
        return self.term.present(batch, of_teacher=True)


class Prepared(Unprepared):
    """The same, prepared: what of the projection never changes is done once, and less is kept."""

    def __init__(self, term: Representation) -> None:
        super().__init__(term, term.projection.prepared_width)

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        return self.term.projection.prepare(self.term.vectors(teacher.hidden, batch, of_teacher=True))


@register("hidden")
class Hidden(Representation):
    """The distance per token, or per word."""

    Options = HiddenOptions
    options: HiddenOptions

    def vectors(self, hidden: Tensor, batch: MaskedBatch, *, of_teacher: bool = False) -> Tensor:
        """N = B * T tokens, or B * W words."""
        if self.options.unit == "token":
            return hidden.flatten(0, 1)
        view = (batch.teacher if of_teacher else None) or batch
        return word_means(hidden, view.word_index, batch.num_words)[0].flatten(0, 1)

    def present(self, batch: MaskedBatch, *, of_teacher: bool = False) -> Tensor:
        """Tokens of text, or words that exist."""
        view = (batch.teacher if of_teacher else None) or batch
        if self.options.unit == "token":
            return view.valid_mask.flatten()
        # Words are numbered without gaps, so a sequence's last number tells which exist.
        numbers = torch.arange(batch.num_words, device=view.word_index.device)
        return (numbers <= view.word_index.amax(1, keepdim=True)).flatten()


@register("pooled")
class Pooled(Representation):
    """The distance per sequence: of the mean over its tokens, special ones included, as most sentence encoders pool.

    Of the teacher, the first token's where its folder says so.
    """

    Options = PooledOptions
    fits_kept = True

    def states(self) -> Mapping[str, State]:
        return {name: Unprepared(self) for name in self.needs.teacher}

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        return super().forward(student, {"pooled": self.projection.prepare(teacher["pooled"])}, batch)

    def observe_kept(self, states: Mapping[str, Any], batch: MaskedBatch) -> None:
        self.see(states["pooled"], batch)

    def vectors(self, hidden: Tensor, batch: MaskedBatch, *, of_teacher: bool = False) -> Tensor:
        """(B, D)."""
        if of_teacher and self.shapes.teacher_pooling == "cls":
            return hidden[:, 0]
        view = (batch.teacher if of_teacher else None) or batch
        whole = torch.where(view.valid_mask, 0, -1)  # the sequence as one word
        return word_means(hidden, whole, 1)[0].flatten(0, 1)

    def present(self, batch: MaskedBatch, *, of_teacher: bool = False) -> Tensor:
        """Sequences with text."""
        return ((batch.teacher if of_teacher else None) or batch).valid_mask.any(1)


class Projection(nn.Module):
    """Maps (student (..., D), teacher (..., E)) to a pair of one width.

    "student-to-teacher": a learned D -> E map of the student. "teacher-to-student": a learned E -> D map of the
    teacher. "pca": a fixed E -> D map, the teacher's own first components. "random": a fixed one on D directions drawn
    at random, orthonormal (Johnson & Lindenstrauss 1984: it keeps angles, whatever they are about). "none": D must
    equal E.

    The teacher's vectors are prepared first: with `centred` their mean is taken off, and with `whitening` w each
    principal direction is divided by its standard deviation to the power w (1 is the whitening of Su et al. 2021): in
    sentence encoders what varies most is not what tells near sentences apart. What must be known of the teacher for
    that, and for "pca", comes by `fit`.
    """

    mean: Tensor  # (E,), zeros unless centred
    basis: Tensor | None  # (K, E): the directions that the teacher is seen in; K = D for "pca", else E

    def __init__(
        self, kind: str, student_width: int, teacher_width: int, *, centred: bool = False, whitening: float = 0.0
    ) -> None:
        super().__init__()
        self.kind, self.centred, self.whitening = kind, centred, whitening
        # Buffers, so that a checkpoint holds them: a resumed run must not fit them again.
        self.register_buffer("mean", torch.zeros(teacher_width))
        if kind == "student-to-teacher":
            self.map = nn.Linear(student_width, teacher_width)
        elif kind == "teacher-to-student":
            self.map = nn.Linear(teacher_width, student_width)
        # Of the principal directions: the first ones as they are, or all of them mixed at random.
        self._mix = torch.eye(student_width if kind in FIXED else teacher_width, teacher_width)
        if kind == "random":
            self._mix = random_directions(student_width, teacher_width)
        self.register_buffer("basis", self._mix.clone() if kind in FIXED or whitening > 0 else None)

    @property
    def upwards(self) -> nn.Linear | None:
        """The learned map into the teacher's own space; None where the two meet elsewhere."""
        return self.map if self.kind == "student-to-teacher" and self.basis is None and not self.centred else None

    @property
    def prepared_width(self) -> int:
        """Numbers of a teacher's vector after `prepare`."""
        return self.mean.shape[0] if self.basis is None else self.basis.shape[0]

    def prepare(self, teacher: Tensor) -> Tensor:
        """The teacher's vectors (..., E) centred, reduced and whitened, as far as is asked for: what never changes."""
        if self.centred:
            teacher = teacher - self.mean
        return teacher if self.basis is None else teacher @ self.basis.T

    def forward(self, student: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """The two, comparable: (..., D) and what `prepare` made of (..., E) to the same width."""
        if self.kind == "student-to-teacher":
            return self.map(student), prepared
        if self.kind == "teacher-to-student":
            return student, self.map(prepared)
        return student, prepared

    def fit(self, moments: Moments) -> float:
        """Take mean and directions from the teacher's vectors; returns the share of squares that is kept.

        Raises InputError where there are fewer vectors than directions to find.
        """
        if self.centred:
            self.mean.copy_(moments.mean)
        if self.basis is None:
            return 1.0
        needed = len(self.basis)
        require(
            moments.count > needed,
            f"recipe.fit_sequences: {moments.count} teacher vectors cannot give {needed} directions; "
            "give more sequences",
        )
        directions, squares = moments.directions(centred=self.centred)
        if self.kind == "random" and self.whitening == 0:
            # As drawn: mixed from principal directions they would be others for each corpus.
            share = (self.basis.to(directions) @ directions.T).square() @ squares
            return float(share.sum() / squares.sum().clamp(min=1e-300))
        # A direction in which nothing varies (LayerNorm leaves one) would be blown up to noise: it is left out.
        there = squares > 1e-9 * squares[0]
        scales = torch.where(there, (squares / squares.mean()).clamp(min=1e-300) ** (-self.whitening / 2), 0.0)
        mix = self._mix.to(directions)
        self.basis.copy_(mix @ (directions * scales[:, None]))
        return float((mix.square() @ squares).sum() / squares.sum().clamp(min=1e-300))


def random_directions(count: int, width: int) -> Tensor:
    """(count, width) numbers of `count` directions at right angles, the same in every run."""
    columns, corner = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((width, count)))
    # Unique but for signs, which are the library's.
    return torch.from_numpy((columns * np.sign(np.diag(corner))).T).float().contiguous()


def cosine(student: Tensor, teacher: Tensor, valid_mask: Tensor) -> Tensor:
    """1 - cos(student, teacher) of vectors (N, D), where `valid_mask` (N,) (Sanh et al. 2019, sec. 3)."""
    exact = torch.float64 if student.dtype == torch.float64 else torch.float32
    losses = 1 - F.cosine_similarity(student.to(exact), teacher.to(exact), dim=-1)
    return torch.where(valid_mask, losses, 0.0).sum()


def mean_squared_error(student: Tensor, teacher: Tensor, valid_mask: Tensor) -> Tensor:
    """Squared difference of vectors (N, D), averaged over their numbers, where `valid_mask` (N,) (Jiao et al. 2020)."""
    exact = torch.float64 if student.dtype == torch.float64 else torch.float32
    return torch.where(valid_mask, (student.to(exact) - teacher.to(exact)).square().mean(-1), 0.0).sum()


def word_means(hidden: Tensor, word_index: Tensor, num_words: int) -> tuple[Tensor, Tensor]:
    """The mean vector of each word's tokens, (B, W, D), and which words exist, (B, W).

    hidden (B, T, D); word_index (B, T) is the number of the token's word in its sequence, below W = `num_words`, or
    negative for special tokens and padding.
    """
    # Tokens of no word go to an extra word W, dropped at the end: no shape depends on what the batch holds.
    index = torch.where(word_index < 0, num_words, word_index)
    sums = hidden.new_zeros(hidden.shape[0], num_words + 1, hidden.shape[2])
    sums = sums.scatter_add(1, index.unsqueeze(-1).expand_as(hidden), hidden)[:, :num_words]
    sizes = index.new_zeros(index.shape[0], num_words + 1).scatter_add(1, index, torch.ones_like(index))
    sizes = sizes[:, :num_words]
    return sums / sizes.clamp(min=1).unsqueeze(-1), sizes > 0
