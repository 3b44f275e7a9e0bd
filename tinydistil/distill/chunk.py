"""The arithmetic of one chunk of the fused loss, written so that torch.compile makes three sweeps over it.

The greatest, the sums of exponentials, the gradients. Weights and temperature come as tensors: under a schedule,
nothing is compiled again. Shapes: C positions of a chunk, V vocabulary, N tokens of sparse targets.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tinydistil.distill.losses import SparseTargets

# Compiling takes some ten seconds, once a machine; below this vocabulary a run hardly gets them back.
COMPILED_FROM = 8192


@dataclass(frozen=True, slots=True)
class Form:
    """What is computed, apart from numbers: constants of the compiled chunk."""

    hard: bool
    soft: bool
    divergence: str
    gradient: bool


@dataclass(frozen=True, slots=True)
class Scales:
    """The weights of both parts and the temperature: scalars in float64 on the device.

    soft_gradient, inverse: soft * temperature and 1 / temperature in the type of the logits, made before: compiled
    code would make them anew for every few numbers.
    """

    hard: Tensor
    soft: Tensor
    temperature: Tensor
    soft_gradient: Tensor
    inverse: Tensor


def compute_chunk(
    logits: Tensor,
    target_logits: Tensor,
    valid_mask: Tensor,
    teacher_logits: Tensor | None,
    sparse: SparseTargets | None,
    sparse_logits: Tensor | None,
    scales: Scales,
    form: Form,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and divergence, summed over a chunk of logits (C, V), which become the gradient of both in place.

    target_logits (C,), sparse_logits (C, N): the logits of the targets and of the tokens in `sparse`. What the gradient
    has at these few tokens alone (minus one, minus their weights) is left to the caller: it would part the sweeps.
    """
    row_max = logits.amax(-1, keepdim=True)
    hard = soft = logits.new_zeros((), dtype=torch.float64)
    gradient = torch.zeros_like(logits[:1])
    if form.hard:
        _, total = _exponentials(logits - row_max)
        losses = total.log().squeeze(1) - (target_logits - row_max.squeeze(1))
        hard = torch.where(valid_mask, losses, 0.0).sum()
        # Exponentials anew: to keep them costs as much, and is a KeyError of Inductor's where this part stands alone
        # (pytorch/pytorch#196570, torch 2.13).
        gradient = (logits - row_max).exp() * (scales.hard / total).to(logits.dtype)
    if form.soft:
        if sparse is None:
            assert teacher_logits is not None
            losses, grad_soft = _soft(logits, row_max, teacher_logits, scales.inverse, form.divergence)
        else:
            assert sparse_logits is not None
            losses, grad_soft = _sparse_soft(logits, row_max, sparse, sparse_logits, scales)
        soft = scales.temperature**2 * torch.where(valid_mask, losses, 0.0).sum(dtype=torch.float64)
        # T^2 of the loss, and 1 / T of softmax(logits / T)
        gradient = gradient + scales.soft_gradient * grad_soft
    if form.gradient:
        logits.copy_(torch.where(valid_mask.unsqueeze(1), gradient, 0.0))
    return hard, soft


def _sparse_soft(
    logits: Tensor, row_max: Tensor, sparse: SparseTargets, sparse_logits: Tensor, scales: Scales
) -> tuple[Tensor, Tensor]:
    """The forward divergence at each position (C,), and its gradient by logits / T (C, V) but for that at the ids."""
    exponentials, total = _exponentials((logits - row_max) * scales.inverse)
    # So few that float64 costs nothing.
    weights, shifted = sparse.weights.double(), (sparse_logits.double() - row_max) / scales.temperature
    losses = (weights * (sparse.log_probs.double() - shifted + total.log())).sum(-1)
    return losses, exponentials * (weights.sum(-1, keepdim=True) / total).to(logits.dtype)


def _soft(
    logits: Tensor, row_max: Tensor, teacher_logits: Tensor, inverse: Tensor, divergence: str
) -> tuple[Tensor, Tensor]:
    """The divergence at each position (C,) from a whole teacher (C, V), and its gradient by logits / T (C, V).

    p the teacher, q the student; forward KL(p || q): q - p. reverse KL(q || p): q (log q - log p - KL(q || p)).
    jensen-shannon: q / 2 (log q - log m - KL(q || m)).
    """
    student_shifted = (logits - row_max) * inverse
    teacher_shifted = (teacher_logits - teacher_logits.amax(-1, keepdim=True)) * inverse
    if divergence != "forward" and logits.shape[-1] < COMPILED_FROM:
        # Differences of logarithms that nearly cancel; at 29,794 tokens float64 would take 30 to 60 % more time.
        teacher_shifted, student_shifted = teacher_shifted.double(), student_shifted.double()
    p, q = _softmax(teacher_shifted), _softmax(student_shifted)
    if divergence == "forward":
        return (p.probabilities * p.log_ratio(q)).sum(-1, dtype=torch.float64), q.probabilities - p.probabilities
    if divergence == "reverse":
        ratio = q.log_ratio(p)
        losses = (q.probabilities * ratio).sum(-1, dtype=torch.float64)
        return losses, q.probabilities * (ratio - losses.to(ratio.dtype).unsqueeze(-1))
    log_p, log_q = p.log(), q.log()
    log_m = torch.logaddexp(log_p, log_q) - torch.log(log_p.new_tensor(2.0))
    ratio = log_q - log_m
    of_student = (q.probabilities * ratio).sum(-1, dtype=torch.float64)
    losses = ((p.probabilities * (log_p - log_m)).sum(-1, dtype=torch.float64) + of_student) / 2
    return losses, q.probabilities * (ratio - of_student.to(ratio.dtype).unsqueeze(-1)) / 2


def _exponentials(shifted: Tensor) -> tuple[Tensor, Tensor]:
    """The exponentials of logits that are at most 0, and the sum of them at each position (C, 1) in float64."""
    exponentials = shifted.exp()
    return exponentials, exponentials.sum(-1, keepdim=True, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class _Softmax:
    """A softmax (C, V) of `shifted` logits (C, V), which are at most 0, and the logarithm of what it divides by (C, 1).

    Not the exp of log_softmax: that would make the rounding of a logarithm a relative error of probabilities.
    """

    probabilities: Tensor
    shifted: Tensor
    log_total: Tensor

    def log(self) -> Tensor:
        """The logarithms of the probabilities (C, V)."""
        return self.shifted - self.log_total.to(self.shifted.dtype)

    def log_ratio(self, other: "_Softmax") -> Tensor:
        """log(self / other) (C, V). Of near ones the difference is taken before it is rounded."""
        return self.shifted - other.shifted - (self.log_total - other.log_total).to(self.shifted.dtype)


def _softmax(shifted: Tensor) -> _Softmax:
    exponentials, total = _exponentials(shifted)
    return _Softmax(exponentials / total.to(shifted.dtype), shifted, total.log())


class CompiledChunk:
    """`compute_chunk` by torch.compile; itself, after a warning, for forms with which compiling fails."""

    def __init__(self) -> None:
        self.compute: Callable[..., tuple[Tensor, Tensor]] = torch.compile(compute_chunk, dynamic=False)
        self.compiles: dict[object, bool] = {}

    def __call__(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        *_, sparse, _sparse_logits, _scales, form = arguments
        key = form, sparse is None  # each is compiled apart
        if key not in self.compiles:
            try:
                found = self.compute(*arguments)
            except Exception as error:  # torch raises another kind for each thing that may be missing
                if False not in self.compiles.values():
                    warnings.warn(_uncompiled(error), stacklevel=2)
                self.compiles[key] = False
            else:
                self.compiles[key] = True
                return found
        return self.compute(*arguments) if self.compiles[key] else compute_chunk(*arguments)


def _uncompiled(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    remedy = "; it needs a C++ compiler (Debian, Ubuntu: apt install g++), on CUDA the package triton"
    missing = "compiler" in reason.lower() or "triton" in reason.lower()
    return f"the fused loss runs uncompiled, and slower: torch.compile failed ({reason}){remedy if missing else ''}"


compiled_chunk = cache(CompiledChunk)  # one for the whole process, made when it is first asked for
