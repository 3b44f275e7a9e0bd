"""Bringing vectors of two widths together, so that they can be compared.

Letters: D student width, E teacher width.
"""

import torch
from torch import Tensor, nn

from tinydistil.errors import require


class Projection(nn.Module):
    """Maps (student (..., D), teacher (..., E)) to a pair of one width.

    "student-to-teacher": a learned D -> E map of the student. "teacher-to-student": a learned E -> D map of the
    teacher. "pca": a fixed E -> D map, the teacher's own first components (see `fit_pca`). "none": D must equal E.
    """

    mean: Tensor  # (E,), of "pca"
    components: Tensor  # (D, E), of "pca"

    def __init__(self, kind: str, student_width: int, teacher_width: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "none":
            require(
                student_width == teacher_width,
                f"recipe.projection must not be 'none' where widths differ ({student_width} and {teacher_width}); "
                "choose student-to-teacher, teacher-to-student or pca",
            )
        elif kind == "student-to-teacher":
            self.map = nn.Linear(student_width, teacher_width)
        elif kind == "teacher-to-student":
            self.map = nn.Linear(teacher_width, student_width)
        else:
            require(
                teacher_width >= student_width,
                f"recipe.projection 'pca' reduces the teacher ({teacher_width}) to the student ({student_width}), "
                "which is wider; choose student-to-teacher",
            )
            self.register_buffer("mean", torch.zeros(teacher_width))
            self.register_buffer("components", torch.eye(student_width, teacher_width))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The two, comparable: (..., D) and (..., E) to the same width."""
        if self.kind == "student-to-teacher":
            return self.map(student), teacher
        if self.kind == "teacher-to-student":
            return student, self.map(teacher)
        if self.kind == "pca":
            return student, (teacher - self.mean) @ self.components.T
        return student, teacher

    def fit_pca(self, vectors: Tensor) -> float:
        """Take mean and first D components from teacher vectors (N, E); returns the share of variance they keep."""
        mean, components, kept = principal_components(vectors, len(self.components))
        self.mean.copy_(mean)
        self.components.copy_(components)
        return kept


def principal_components(vectors: Tensor, count: int) -> tuple[Tensor, Tensor, float]:
    """Mean (E,), the first `count` components (count, E) as orthonormal rows, and the share of variance they keep.

    By the eigenvectors of the covariance of vectors (N, E), in float64; each row's sign is set so that its largest
    entry is positive, since an eigenvector has none of its own.
    """
    exact = vectors.double()
    mean = exact.mean(0)
    values, columns = torch.linalg.eigh((exact - mean).T @ (exact - mean))  # ascending
    components = columns.T.flip(0)[:count]
    signs = components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    kept = float(values.flip(0)[:count].sum() / values.sum().clamp(min=1e-300))
    return mean.to(vectors.dtype), (components * signs).to(vectors.dtype), kept
