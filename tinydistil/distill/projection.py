"""Bringing vectors of two widths together, so that they can be compared.

Letters: D student width, E teacher width, N vectors.
"""

import torch
from torch import Tensor, nn

from tinydistil.base.errors import require
from tinydistil.distill.options import check_projection


class Projection(nn.Module):
    """Maps (student (..., D), teacher (..., E)) to a pair of one width.

    "student-to-teacher": a learned D -> E map of the student. "teacher-to-student": a learned E -> D map of the
    teacher. "pca": a fixed E -> D map, the teacher's own first components. "none": D must equal E.

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
        check_projection(kind, student_width, teacher_width)
        self.kind, self.centred, self.whitening = kind, centred, whitening
        # Buffers, so that a checkpoint holds them: a resumed run must not fit them again.
        self.register_buffer("mean", torch.zeros(teacher_width))
        if kind == "student-to-teacher":
            self.map = nn.Linear(student_width, teacher_width)
        elif kind == "teacher-to-student":
            self.map = nn.Linear(teacher_width, student_width)
        seen = student_width if kind == "pca" else teacher_width
        self.register_buffer("basis", torch.eye(seen, teacher_width) if kind == "pca" or whitening > 0 else None)

    @property
    def prepared_width(self) -> int:
        """Numbers of a teacher's vector after `prepare`."""
        return self.mean.shape[0] if self.basis is None else self.basis.shape[0]

    def prepare(self, teacher: Tensor) -> Tensor:
        """The teacher's vectors (..., E) centred, reduced and whitened, as far as is asked for: what never changes."""
        if self.centred:
            teacher = teacher - self.mean
        return teacher if self.basis is None else teacher @ self.basis.T

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The two, comparable: (..., D) and (..., E) to the same width."""
        return self.compare(student, self.prepare(teacher))

    def compare(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a teacher that is prepared already."""
        if self.kind == "student-to-teacher":
            return self.map(student), teacher
        if self.kind == "teacher-to-student":
            return student, self.map(teacher)
        return student, teacher

    def fit(self, moments: "Moments") -> float:
        """Take mean and directions from the teacher's vectors; returns the share of squares that "pca" keeps, else 1.

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
        # A direction in which nothing varies (LayerNorm leaves one) would be blown up to noise: it is left out.
        there = squares > 1e-9 * squares[0]
        scales = torch.where(there, (squares / squares.mean()).clamp(min=1e-300) ** (-self.whitening / 2), 0.0)
        self.basis.copy_((directions * scales[:, None])[:needed])
        return float(squares[:needed].sum() / squares.sum().clamp(min=1e-300))


class Moments:
    """First and second moments of vectors (N, E) that come in parts, in float64; nothing else of them is kept."""

    def __init__(self, width: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self._sum = torch.zeros(width, dtype=torch.float64, device=device)
        self._squares = torch.zeros(width, width, dtype=torch.float64, device=device)

    def add(self, vectors: Tensor) -> None:
        """Count vectors (N, E) in."""
        exact = vectors.double()
        self.count += len(exact)
        self._sum += exact.sum(0)
        self._squares += exact.T @ exact

    @property
    def mean(self) -> Tensor:
        """The mean vector (E,), zero where there is none."""
        return self._sum / max(self.count, 1)

    def directions(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """The principal directions, orthonormal rows (E, E), and the mean square along each (E,), largest first.

        By the eigenvectors of the covariance or, not `centred`, of the second moments. Each row's sign is set so that
        its largest entry is positive, since an eigenvector has none of its own.
        """
        matrix = self._squares / max(self.count, 1)
        if centred:
            matrix = matrix - self.mean.outer(self.mean)
        values, columns = torch.linalg.eigh(matrix)  # ascending
        rows = columns.T.flip(0)
        signs = rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
        return rows * signs, values.flip(0).clamp(min=0)


def principal_components(vectors: Tensor, count: int) -> tuple[Tensor, Tensor, float]:
    """Mean (E,), the first `count` components (count, E) of centred vectors (N, E), and the share of variance kept."""
    moments = Moments(vectors.shape[1], vectors.device)
    moments.add(vectors)
    directions, squares = moments.directions(centred=True)
    kept = float(squares[:count].sum() / squares.sum().clamp(min=1e-300))
    return moments.mean.to(vectors.dtype), directions[:count].to(vectors.dtype), kept
