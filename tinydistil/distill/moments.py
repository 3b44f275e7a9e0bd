"""First and second moments of many vectors, and their principal directions. Shapes: E width, N vectors."""

import torch
from torch import Tensor


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
