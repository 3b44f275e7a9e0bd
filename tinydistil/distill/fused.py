"""`losses.vocabulary_loss` without its matrices: chunk by chunk of positions, gradients in the same sweep.

A chunk's logits are made, turned into losses and then, in place, into gradients, and multiplied back at once; neither
(R, V) matrix is ever whole in memory. d loss / d logits is written out (see `chunk`), so nothing is kept for
a backward pass, which only multiplies by what arrives from above: one number, for the loss is one sum.
Shapes: R positions, C of a chunk, D width of the student, E of the teacher, V vocabulary, N tokens of sparse targets.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tinydistil.distill.chunk import COMPILED_FROM, Form, Scales, compiled_chunk, compute_chunk
from tinydistil.distill.losses import IGNORED, SparseTargets, VocabularyLoss, check_divergence
from tinydistil.model.heads import Decoding
from tinydistil.model.layers import by_onednn, linear

# Positions of a chunk: two matrices of 64 x 30,000 floats are 15 MiB, which a shared cache still holds.
CHUNK = 64


def fused_vocabulary_loss(
    student: Decoding,
    targets: Tensor,
    teacher: Decoding | SparseTargets | None,
    *,
    hard: float | Tensor,
    soft: float | Tensor,
    temperature: float | Tensor = 2.0,
    divergence: str = "forward",
    chunk: int = CHUNK,
    compiled: bool | None = None,
) -> VocabularyLoss:
    """`vocabulary_loss` in little memory.

    Weights and temperature may be scalars of any value: none is a constant of compiled code; a weight that is the
    number 0 leaves its part out. chunk: positions at a time; never changes the result beyond rounding. compiled: by
    torch.compile; None leaves it to the size of the vocabulary. Raises InputError as `vocabulary_loss` does.
    """
    check_divergence(divergence, temperature, sparse=isinstance(teacher, SparseTargets))
    has_hard, has_soft = (isinstance(weight, Tensor) or weight > 0 for weight in (hard, soft))
    assert has_hard or has_soft, "one of the two parts must be asked for"
    assert not has_soft or teacher is not None, "soft targets need a teacher"
    if compiled is None:
        compiled = len(student.weight) >= COMPILED_FROM
    student = _in_autocast(student)
    if isinstance(teacher, Decoding):
        teacher = _in_autocast(teacher)
    # Filled on the device, which need not wait for the host.
    numbers = (torch.as_tensor(each, dtype=torch.float64) if isinstance(each, Tensor)
               else torch.full((), each, dtype=torch.float64, device=student.rows.device)
               for each in (hard, soft, temperature))  # fmt: skip
    hard_scale, soft_scale, heat = numbers
    exact = torch.float64 if student.rows.dtype == torch.float64 else torch.float32
    scales = Scales(hard_scale, soft_scale, heat, (soft_scale * heat).to(exact), (1 / heat).to(exact))
    total, hard_sum, soft_sum = _Fused.apply(  # type: ignore[no-untyped-call]
        student.rows, student.weight, student.bias, targets, teacher if has_soft else None, scales,
        Form(has_hard, has_soft, divergence, gradient=False), chunk, compiled,
    )  # fmt: skip
    return VocabularyLoss(total, hard_sum if has_hard else None, soft_sum if has_soft else None)


def _in_autocast(decoding: Decoding) -> Decoding:
    """The matrices in the type that autocast would multiply them in; losses are computed in float32 all the same."""
    device = decoding.rows.device.type
    if not torch.is_autocast_enabled(device):
        return decoding
    dtype = torch.get_autocast_dtype(device)
    return replace(decoding, rows=decoding.rows.to(dtype), weight=decoding.weight.to(dtype))


class _Fused(torch.autograd.Function):
    """The weighted sum, which has a gradient, and the two sums in it, which are told alone."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        teacher: Decoding | SparseTargets | None,
        scales: Scales,
        form: Form,
        chunk: int,
        compiled: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        form = replace(form, gradient=any(ctx.needs_input_grad))
        with torch.autocast(rows.device.type, enabled=False):
            sweep = _Sweep(Decoding(rows, weight, bias), targets, teacher, scales, form, chunk, compiled)
            # Cut evenly: a last chunk of a few rows goes another way through BLAS, and rounds otherwise than eager's.
            chunks = -(-len(rows) // chunk)
            for number in range(chunks):
                sweep.take(len(rows) * number // chunks, len(rows) * (number + 1) // chunks)
        if form.gradient:
            ctx.save_for_backward(sweep.rows_grad, sweep.weight_grad, sweep.bias_grad.to(sweep.exact))
        ctx.mark_non_differentiable(sweep.hard, sweep.soft)
        return scales.hard * sweep.hard + scales.soft * sweep.soft, sweep.hard, sweep.soft

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, _hard: Tensor, _soft: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias = ctx.saved_tensors
        return rows * total, weight * total, bias * total, None, None, None, None, None, None


class _Sweep:
    """Buffers of one chunk, and what is added up over all of them."""

    def __init__(
        self,
        student: Decoding,
        targets: Tensor,
        teacher: Decoding | SparseTargets | None,
        scales: Scales,
        form: Form,
        chunk: int,
        compiled: bool,
    ) -> None:
        self.targets, self.teacher, self.scales, self.form = targets, teacher, scales, form
        self.rows, self.weight = rows, weight = student.rows, student.weight
        self.compute = compiled_chunk() if compiled else compute_chunk
        self.exact = exact = torch.float64 if rows.dtype == torch.float64 else torch.float32
        # One shape for every chunk and every batch, so that compiled code is made once; else that of the largest chunk.
        fixed = chunk if compiled else -(-len(rows) // max(-(-len(rows) // chunk), 1))
        # Rows that fill a chunk up hold anything, even NaN: of them nothing is looked at.
        self.logits = _Chunk(student, fixed, exact)
        self.teacher_logits = _Chunk(teacher, fixed, exact) if isinstance(teacher, Decoding) else None
        self.chunk_targets = targets.new_full((fixed,), IGNORED)
        self.hard = rows.new_zeros((), dtype=torch.float64)
        self.soft = rows.new_zeros((), dtype=torch.float64)
        if form.gradient:
            # Not scaled yet (GradScaler's factor comes with the backward pass), it would vanish in float16.
            self.rows_grad = torch.empty_like(rows, dtype=exact if rows.dtype == torch.float16 else rows.dtype)
            self.weight_grad = torch.zeros_like(weight, dtype=exact)
            # A sum over all rows, chunk by chunk: float32 would round it at each.
            self.bias_grad = torch.zeros_like(student.bias, dtype=torch.float64)

    def take(self, start: int, stop: int) -> None:
        """Add the losses of rows `start` to `stop`, and their gradients."""
        size = stop - start
        logits = self.logits(start, stop)
        teacher_logits = None if self.teacher_logits is None else self.teacher_logits(start, stop)
        self.chunk_targets[:size] = self.targets[start:stop]
        self.chunk_targets[size:] = IGNORED
        valid_mask = self.chunk_targets != IGNORED
        target_ids = self.chunk_targets.clamp(min=0).unsqueeze(1)  # (C, 1)
        target_logits = logits.gather(1, target_ids).squeeze(1)
        sparse = sparse_logits = None
        if isinstance(self.teacher, SparseTargets):
            sparse = _filled(self.teacher, start, stop, logits)
            sparse_logits = logits.gather(1, sparse.ids)
        hard, soft = self.compute(
            logits, target_logits, valid_mask, teacher_logits, sparse, sparse_logits, self.scales, self.form
        )
        self.hard += hard
        self.soft += soft
        if not self.form.gradient:
            return
        if sparse is not None:
            scaled = torch.where(valid_mask.unsqueeze(1), sparse.weights, 0.0) * self.scales.soft_gradient
            # A token drawn several times is rounded once: all its entries get the same number.
            same = (sparse.ids.unsqueeze(2) == sparse.ids.unsqueeze(1)).to(scaled.dtype)  # (C, N, N)
            shares = (same @ scaled.unsqueeze(2)).squeeze(2)
            logits.scatter_(1, sparse.ids, logits.gather(1, sparse.ids) - shares)
        if self.form.hard:
            ones = torch.where(valid_mask, -self.scales.hard.to(logits.dtype), 0.0)
            logits.scatter_add_(1, target_ids, ones.unsqueeze(1))
        self._multiply_back(logits[:size], start, stop)

    def _multiply_back(self, grad_logits: Tensor, start: int, stop: int) -> None:
        """From the gradient of logits (C, V) to those of rows, matrix and bias."""
        self.bias_grad += grad_logits.sum(0)
        rows, dtype = self.rows[start:stop], self.rows_grad.dtype
        torch.mm(grad_logits.to(dtype), self.weight.to(dtype), out=self.rows_grad[start:stop])
        if dtype == self.weight_grad.dtype or rows.device.type == "cpu":
            # bfloat16 would round the sum of every chunk, where eager's sum over all rows is rounded once.
            self.weight_grad.addmm_(grad_logits.T, rows.to(grad_logits.dtype))
        else:
            self.weight_grad += grad_logits.to(dtype).T @ rows.to(dtype)


class _Chunk:
    """The logits of a chunk of rows (C, V) in float32 or float64, filled up to always as many rows."""

    def __init__(self, decoding: Decoding, fixed: int, exact: torch.dtype) -> None:
        self.rows, self.weight, self.bias = decoding.rows, decoding.weight, decoding.bias
        self.fixed, self.exact = fixed, exact
        self.whole = self.rows.dtype == self.weight.dtype == self.bias.dtype
        self.buffer: Tensor | None = None

    def __call__(self, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop`; overwrites what the last call gave."""
        rows, weight, bias, size = self.rows[start:stop], self.weight, self.bias, stop - start
        if self.whole and by_onednn(rows, weight):
            # That library writes into memory of its own, which is used as it comes: no buffer, and no copy.
            return linear(torch.nn.functional.pad(rows, (0, 0, 0, self.fixed - size)), weight, bias)
        if self.buffer is None:
            self.buffer = rows.new_empty(self.fixed, len(weight), dtype=self.exact)
        out = self.buffer[:size]
        if self.whole and rows.dtype == self.exact:
            torch.addmm(bias, rows, weight.T, out=out)
        elif self.whole:
            # With its bias, so that 16 bits round it once, and as eager's.
            out.copy_(linear(rows, weight, bias))
        else:
            dtype = torch.promote_types(rows.dtype, weight.dtype)
            out.copy_(rows.to(dtype) @ weight.to(dtype).T)
            out.add_(bias)
        return self.buffer


def _filled(sparse: SparseTargets, start: int, stop: int, logits: Tensor) -> SparseTargets:
    """Rows `start` to `stop` in the type of `logits`, filled up to as many rows; these are never looked at."""
    missing = (0, 0, 0, len(logits) - (stop - start))
    pad = torch.nn.functional.pad
    return SparseTargets(
        pad(sparse.ids[start:stop], missing),
        pad(sparse.log_probs[start:stop].to(logits.dtype), missing),
        pad(sparse.weights[start:stop].to(logits.dtype), missing),
    )
