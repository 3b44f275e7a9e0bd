"""Bringing vectors of two widths together, so that they can be compared.

Letters: D student width, E teacher width, N vectors.
"""

import torch
from torch import Tensor, nn

from tinydistil.config import nearest
from tinydistil.distill.recipe import PROJECTIONS
from tinydistil.errors import InputError, require


class Projection(nn.Module):
    """Maps (student (..., D), teacher (..., E)) to a pair of one width.

    "student-to-teacher": a learned D -> E map of the student. "teacher-to-student": a learned E -> D map of the
    teacher. "pca": a fixed E -> D map, the teacher's own first components (see `fit`). "none": D must equal E.
    With `centred` the teacher's mean is taken off first, whatever the kind.
    """

    mean: Tensor  # (E,), zeros unless centred
    components: Tensor  # (D, E), of "pca"

    def __init__(self, kind: str, student_width: int, teacher_width: int, *, centred: bool = False) -> None:
        super().__init__()
        check_projection(kind, student_width, teacher_width)
        self.kind, self.centred = kind, centred
        # Buffers, so that a checkpoint holds them: a resumed run must not fit them again.
        self.register_buffer("mean", torch.zeros(teacher_width))
        if kind == "student-to-teacher":
            self.map = nn.Linear(student_width, teacher_width)
        elif kind == "teacher-to-student":
            self.map = nn.Linear(teacher_width, student_width)
        elif kind == "pca":
            self.register_buffer("components", torch.eye(student_width, teacher_width))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The two, comparable: (..., D) and (..., E) to the same width."""
        if self.centred:
            teacher = teacher - self.mean
        if self.kind == "student-to-teacher":
            return self.map(student), teacher
        if self.kind == "teacher-to-student":
            return student, self.map(teacher)
        if self.kind == "pca":
            return student, teacher @ self.components.T
        return student, teacher

    def fit(self, moments: "Moments") -> float:
        """Take the mean, if centred, and for "pca" the first D components; returns the share of squares they keep.

        Raises InputError where there are fewer vectors than components.
        """
        if self.centred:
            self.mean.copy_(moments.mean)
        if self.kind != "pca":
            return 1.0
        require(
            moments.count > len(self.components),
            f"recipe.fit_sequences: {moments.count} teacher vectors cannot give {len(self.components)} components; "
            "give more sequences",
        )
        components, kept = moments.components(len(self.components), centred=self.centred)
        self.components.copy_(components)
        return kept


def check_projection(kind: str, student_width: int, teacher_width: int) -> None:
    """Raise InputError for an unknown kind of projection or one that these widths do not allow."""
    if kind not in PROJECTIONS:
        raise InputError(f"recipe.projection {kind!r} is unknown{nearest(kind, PROJECTIONS)}")
    require(
        kind != "none" or student_width == teacher_width,
        f"recipe.projection must not be 'none' where widths differ ({student_width} and {teacher_width}); "
        "choose student-to-teacher, teacher-to-student or pca",
    )
    require(
        kind != "pca" or teacher_width >= student_width,
        f"recipe.projection 'pca' reduces the teacher ({teacher_width}) to the student ({student_width}), "
        "which is wider; choose student-to-teacher",
    )


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

    def components(self, count: int, *, centred: bool) -> tuple[Tensor, float]:
        """The first `count` principal directions (count, E), orthonormal rows, and the share of squares they keep.

        By the eigenvectors of the covariance or, not `centred`, of the second moments. Each row's sign is set so that
        its largest entry is positive, since an eigenvector has none of its own.
        """
        matrix = self._squares / max(self.count, 1)
        if centred:
            matrix = matrix - self.mean.outer(self.mean)
        values, columns = torch.linalg.eigh(matrix)  # ascending
        rows = columns.T.flip(0)[:count]
        signs = rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
        kept = float(values.flip(0)[:count].sum() / values.sum().clamp(min=1e-300))
        return rows * signs, kept


def principal_components(vectors: Tensor, count: int) -> tuple[Tensor, Tensor, float]:
    """Mean (E,), the first `count` components (count, E) of centred vectors (N, E), and the share of variance kept."""
    moments = Moments(vectors.shape[1], vectors.device)
    moments.add(vectors)
    components, kept = moments.components(count, centred=True)
    return moments.mean.to(vectors.dtype), components.to(vectors.dtype), kept
