"""`losses.vocabulary_loss` without its matrices: chunk by chunk of positions, gradients in the same sweep.

A chunk's logits are made, turned into losses and then, in place, into gradients, and multiplied back at once; neither
(R, V) matrix is ever whole in memory. d loss / d logits is written out, so nothing is kept for a backward pass, which
only multiplies by what arrives from above: one number, for the loss is one sum.
Shapes: R positions, C of a chunk, D width of the student, E of the teacher, V vocabulary, N tokens of sparse targets.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tinydistil.distill.losses import IGNORED, SparseTargets, VocabularyLoss
from tinydistil.distill.recipe import check_divergence
from tinydistil.model.bert import Decoding
from tinydistil.model.layers import Compiled, by_onednn, linear

# Positions of a chunk, at most: two matrices of 128 x 30,000 floats are 29 MiB, about what a shared cache holds. A
# product packs the vocabulary matrix anew for each chunk: with 64 positions that is a sixth of the teacher's time.
# 16 bits need copies beside them.
CHUNK, CHUNK_OF_16_BITS = 128, 96
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


def fused_vocabulary_loss(
    student: Decoding,
    targets: Tensor,
    teacher: Decoding | SparseTargets | None,
    *,
    hard: float | Tensor,
    soft: float | Tensor,
    temperature: float | Tensor = 2.0,
    divergence: str = "forward",
    chunk: int | None = None,
    compiled: bool | None = None,
) -> VocabularyLoss:
    """`vocabulary_loss` in little memory.

    Weights and temperature may be scalars of any value: none is a constant of compiled code; a weight that is the
    number 0 leaves its part out. chunk: positions at a time; never changes the result beyond rounding; None leaves it
    to the precision. compiled: by torch.compile; None leaves it to the size of the vocabulary. Raises InputError as
    `vocabulary_loss` does.
    """
    if not isinstance(temperature, Tensor):  # a tensor is a term's, whose options are checked
        check_divergence(divergence, temperature, sparse=isinstance(teacher, SparseTargets))
    has_hard, has_soft = (isinstance(weight, Tensor) or weight > 0 for weight in (hard, soft))
    assert has_hard or has_soft, "one of the two parts must be asked for"
    assert not has_soft or teacher is not None, "soft targets need a teacher"
    device, dtype = student.rows.device, student.rows.dtype
    if torch.is_autocast_enabled(device.type):  # what it would multiply in; losses are in float32 all the same
        dtype = torch.get_autocast_dtype(device.type)
        if isinstance(teacher, Decoding):
            teacher = Decoding(teacher.rows.to(dtype), teacher.weight.to(dtype), teacher.bias.to(dtype))
    # Filled on the device, which need not wait for the host.
    hard_scale, soft_scale, heat = (
        each.double() if isinstance(each, Tensor) else torch.full((), each, dtype=torch.float64, device=device)
        for each in (hard, soft, temperature)
    )
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    scales = Scales(hard_scale, soft_scale, heat, (soft_scale * heat).to(exact), (1 / heat).to(exact))
    compiled = len(student.weight) >= COMPILED_FROM if compiled is None else compiled
    chunk = chunk or (CHUNK if dtype == exact else CHUNK_OF_16_BITS)
    total, hard_sum, soft_sum = _Fused.apply(  # type: ignore[no-untyped-call]
        student.rows, student.weight, student.bias, dtype, targets, teacher if has_soft else None, scales,
        Form(has_hard, has_soft, divergence, gradient=False), chunk, compiled,
    )  # fmt: skip
    return VocabularyLoss(total, hard_sum if has_hard else None, soft_sum if has_soft else None)


class _Fused(torch.autograd.Function):
    """The weighted sum, which has a gradient, and the two sums in it, which are told alone."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
        targets: Tensor,
        teacher: Decoding | SparseTargets | None,
        scales: Scales,
        form: Form,
        chunk: int,
        compiled: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        form = replace(form, gradient=any(ctx.needs_input_grad))
        if dtype != rows.dtype:
            # In here, or autograd would round the gradients to it once more.
            rows, weight, bias = rows.to(dtype), weight.to(dtype), bias.to(dtype)
        student = Decoding(rows, weight, bias)
        compute = compiled_chunk() if compiled else compute_chunk
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        # Cut evenly: a last chunk of a few rows goes another way through BLAS, and rounds otherwise than eager's.
        count = -(-len(rows) // chunk)
        bounds = [len(rows) * number // max(count, 1) for number in range(count + 1)]
        # All are as large as the largest; compiled code has 2 rows at least, as it would be made anew for 1. Rows that
        # fill a chunk up hold anything, even NaN: of them nothing is looked at.
        fixed = max(-(-len(rows) // max(count, 1)), 1 + compiled)
        buffers: tuple[list[Tensor], list[Tensor]] = [], []
        chunk_targets = targets.new_full((fixed,), IGNORED)
        hard_sum, soft_sum = (rows.new_zeros((), dtype=torch.float64) for _ in range(2))
        with torch.autocast(rows.device.type, enabled=False):
            if form.gradient:
                # Not scaled yet (GradScaler's factor comes with the backward pass), it would vanish in float16.
                rows_grad = torch.zeros_like(rows, dtype=exact if dtype == torch.float16 else dtype)
                transposed = by_onednn(rows, weight)  # which takes half of MKL's time for it so
                # Its float32 sum over 8,192 tokens errs 1.4 times as much as eager, by parts of 1,024 1.15 times. Eight
                # parts at most: each makes all threads wait for one another.
                by_parts = transposed and dtype == exact
                summed = max(1024, -(-len(weight) // 8)) if by_parts else max(len(weight), 1)
                weight_grad = weight.new_zeros(weight.T.shape if transposed else weight.shape, dtype=exact)
                # A sum over all rows, chunk by chunk: float32 would round it at each.
                bias_grad = torch.zeros_like(bias, dtype=torch.float64)
            for start, stop in pairwise(bounds):
                size = stop - start
                logits = _logits(student, start, stop, fixed, exact, buffers[0])  # (C, V)
                chunk_targets[:size] = targets[start:stop]
                chunk_targets[size:] = IGNORED
                valid_mask = chunk_targets != IGNORED
                target_ids = chunk_targets.clamp(min=0).unsqueeze(1)  # (C, 1)
                target_logits = logits.gather(1, target_ids).squeeze(1)
                teacher_logits = teacher_max = sparse = sparse_logits = None
                if isinstance(teacher, Decoding):
                    teacher_logits = _logits(teacher, start, stop, fixed, exact, buffers[1])
                    teacher_max = teacher_logits.amax(-1, keepdim=True)
                elif teacher is not None:
                    cut = [each[start:stop] for each in (teacher.ids, teacher.log_probs, teacher.weights)]
                    ids, *numbers = (F.pad(each, (0, 0, 0, fixed - size)) for each in cut)
                    sparse = SparseTargets(ids, *(each.to(exact) for each in numbers))
                    sparse_logits = logits.gather(1, ids)
                # Inductor's maximum takes three times as long as PyTorch's own.
                row_max = logits.amax(-1, keepdim=True)
                given = (logits, row_max, target_logits, valid_mask, teacher_logits, teacher_max)
                if compiled:
                    few = () if sparse is None else (sparse.ids, sparse.log_probs, sparse.weights, sparse_logits)
                    for each in filter(torch.is_tensor, (*given, *few)):
                        torch._dynamo.maybe_mark_dynamic(each, 0)
                hard, soft = compute(*given, sparse, sparse_logits, scales, form)
                hard_sum, soft_sum = hard_sum + hard, soft_sum + soft
                del teacher_logits, given
                if not form.gradient:
                    continue
                # The chunk's logits are their gradient now, but for what it has at a few tokens alone.
                if sparse is not None:
                    scaled = torch.where(valid_mask.unsqueeze(1), sparse.weights, 0.0) * scales.soft_gradient
                    # A token drawn several times is rounded once: all its entries get the same number.
                    same = (sparse.ids.unsqueeze(2) == sparse.ids.unsqueeze(1)).to(exact)  # (C, N, N)
                    shares = (same @ scaled.unsqueeze(2)).squeeze(2)
                    logits.scatter_(1, sparse.ids, logits.gather(1, sparse.ids) - shares)
                if form.hard:
                    logits.scatter_add_(1, target_ids, torch.where(valid_mask, -scales.hard.to(exact), 0.0)[:, None])
                bias_grad += logits[:size].sum(0)
                grad_logits = logits[:size].to(rows_grad.dtype)
                del logits
                for part, tokens in zip(torch.split(grad_logits, summed, 1), torch.split(weight, summed), strict=True):
                    rows_grad[start:stop] += linear(part, tokens.to(part.dtype).T, None)
                if transposed:
                    # By halves: what has 16 bits is copied to be added.
                    for total, part in zip(weight_grad.chunk(2), rows[start:stop].T.chunk(2), strict=True):
                        total += linear(part, grad_logits.T, None)
                elif rows.device.type == "cpu" or grad_logits.dtype == exact:
                    # A CPU without instructions for bfloat16 takes several times as long for it.
                    weight_grad.addmm_(grad_logits.T.to(exact), rows[start:stop].to(exact))
                else:
                    weight_grad += grad_logits.T @ rows[start:stop].to(grad_logits.dtype)
                del grad_logits
        if form.gradient:
            ctx.save_for_backward(rows_grad, weight_grad.T if transposed else weight_grad, bias_grad.to(exact))
        ctx.mark_non_differentiable(hard_sum, soft_sum)
        return scales.hard * hard_sum + scales.soft * soft_sum, hard_sum, soft_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, _hard: Tensor, _soft: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias = ctx.saved_tensors
        weight = weight.clone(memory_format=torch.contiguous_format).mul_(total)
        return rows * total, weight, bias * total, None, None, None, None, None, None, None


def _logits(decoding: Decoding, start: int, stop: int, fixed: int, exact: torch.dtype, buffer: list[Tensor]) -> Tensor:
    """The logits (`fixed`, V) of rows `start` to `stop` in `exact`, filled up; overwrites what the last call gave."""
    dtype = torch.promote_types(decoding.rows.dtype, decoding.weight.dtype)
    rows, weight, bias = decoding.rows[start:stop].to(dtype), decoding.weight.to(dtype), decoding.bias.to(dtype)
    if dtype != exact or by_onednn(rows, weight):
        # oneDNN writes into memory of its own. With the bias, so that 16 bits round it once, and as eager's.
        return linear(F.pad(rows, (0, 0, 0, fixed - len(rows))), weight, bias).to(exact)
    if not buffer:
        buffer.append(rows.new_empty(fixed, len(weight)))
    torch.addmm(bias, rows, weight.T, out=buffer[0][: len(rows)])
    return buffer[0]


def compute_chunk(
    logits: Tensor,
    row_max: Tensor,
    target_logits: Tensor,
    valid_mask: Tensor,
    teacher_logits: Tensor | None,
    teacher_max: Tensor | None,
    sparse: SparseTargets | None,
    sparse_logits: Tensor | None,
    scales: Scales,
    form: Form,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and divergence, summed over a chunk of logits (C, V), which become the gradient of both in place.

    row_max, teacher_max (C, 1): the greatest logits. target_logits (C,), sparse_logits (C, N): those of the targets and
    of the tokens in `sparse`. What the gradient has at these few tokens alone (minus one, minus their weights) is left
    to the caller, for it would part the two sweeps of compiled code: sums of exponentials, and gradients.
    """
    hard = soft = logits.new_zeros((), dtype=torch.float64)
    gradient = torch.zeros_like(logits[:1])
    if form.hard:
        exponentials, total = _exponentials(logits - row_max)
        losses = total.log().squeeze(1) - (target_logits - row_max.squeeze(1))
        hard = torch.where(valid_mask, losses, 0.0).sum()
        gradient = exponentials * (scales.hard / total).to(logits.dtype)
    if form.soft:
        if sparse is not None and sparse_logits is not None:
            exponentials, total = _exponentials((logits - row_max) * scales.inverse)
            # So few that float64 costs nothing.
            weights, shifted = sparse.weights.double(), (sparse_logits.double() - row_max) / scales.temperature
            losses = (weights * (sparse.log_probs.double() - shifted + total.log())).sum(-1)
            grad_soft = exponentials * (weights.sum(-1, keepdim=True) / total).to(logits.dtype)
        else:
            assert teacher_logits is not None and teacher_max is not None
            shifted_q = (logits - row_max) * scales.inverse
            shifted_p = (teacher_logits - teacher_max) * scales.inverse
            losses, grad_soft = _divergence(shifted_q, shifted_p, form.divergence)
        soft = scales.temperature**2 * torch.where(valid_mask, losses, 0.0).sum(dtype=torch.float64)
        # T^2 of the loss, and 1 / T of softmax(logits / T)
        gradient = gradient + scales.soft_gradient * grad_soft
    if form.gradient:
        logits.copy_(torch.where(valid_mask.unsqueeze(1), gradient, 0.0))
    return hard, soft


def _divergence(shifted_q: Tensor, shifted_p: Tensor, divergence: str) -> tuple[Tensor, Tensor]:
    """The divergence at each position (C,) of logits / T, at most 0, (C, V), and its gradient by the student's (C, V).

    p the teacher, q the student; forward KL(p || q): q - p. reverse KL(q || p): q (log q - log p - KL(q || p)).
    jensen-shannon: q / 2 (log q - log m - KL(q || m)).
    """
    if divergence != "forward" and shifted_q.shape[-1] < COMPILED_FROM:
        # Differences of logarithms that nearly cancel; at 29,794 tokens float64 would take 30 to 60 % more time.
        shifted_p, shifted_q = shifted_p.double(), shifted_q.double()
    (exponentials_p, total_p), (exponentials_q, total_q) = _exponentials(shifted_p), _exponentials(shifted_q)
    dtype = shifted_q.dtype
    # Not the exp of log_softmax: that would make the rounding of a logarithm a relative error of probabilities.
    p, q = exponentials_p * (1 / total_p).to(dtype), exponentials_q * (1 / total_q).to(dtype)
    if divergence == "forward":
        # In the sweep of the totals, so not divided yet.
        weighted = (shifted_p.exp() * (shifted_p - shifted_q)).sum(-1, keepdim=True, dtype=torch.float64)
        return (weighted / total_p - total_p.log() + total_q.log()).squeeze(-1), q - p
    log_total_p, log_total_q = total_p.log(), total_q.log()
    if divergence == "reverse":
        ratio = shifted_q - shifted_p - (log_total_q - log_total_p).to(dtype)
        losses = (q * ratio).sum(-1, dtype=torch.float64)
        return losses, q * (ratio - losses.to(dtype).unsqueeze(-1))
    log_p, log_q = shifted_p - log_total_p.to(dtype), shifted_q - log_total_q.to(dtype)
    log_m = torch.logaddexp(log_p, log_q) - torch.log(log_p.new_tensor(2.0))
    ratio = log_q - log_m
    of_student = (q * ratio).sum(-1, dtype=torch.float64)
    losses = ((p * (log_p - log_m)).sum(-1, dtype=torch.float64) + of_student) / 2
    return losses, q * (ratio - of_student.to(dtype).unsqueeze(-1)) / 2


def _exponentials(shifted: Tensor) -> tuple[Tensor, Tensor]:
    """Of logits that are at most 0, (C, V), and their sum (C, 1)."""
    exponentials = shifted.exp()
    total = exponentials.sum(-1, keepdim=True, dtype=torch.float64)
    # Compiled code computes them anew, which costs less than two more matrices (C, V) to write and read.
    return shifted.exp() if torch.compiler.is_compiling() else exponentials, total


@cache  # one for the whole process, made when it is first asked for
def compiled_chunk() -> Compiled:
    """`compute_chunk` by torch.compile."""
    return Compiled(compute_chunk, "the fused loss")
