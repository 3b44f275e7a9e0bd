"""The losses of `vocabulary_loss` without their matrices: chunk by chunk of rows, gradients in the same sweep.

A chunk's logits are made, turned into losses and then, in place, into gradients, and multiplied back at once; neither
(R, V) matrix is ever whole in memory. The gradients are those of d loss / d logits written out (see `_slope`), so
nothing is kept for a backward pass, which only multiplies by what arrives from above.
Letters: R rows, C rows of a chunk, D width of the student, E of the teacher, V vocabulary, N tokens of sparse targets.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.distill.losses import DIVERGENCES, IGNORED, SumCount
from tinydistil.distill.vocabulary_loss import SparseTargets, VocabularyLosses, check_sparse
from tinydistil.model.heads import Decoding
from tinydistil.model.product import by_onednn, linear

# Rows of a chunk: two matrices of 64 x 30,000 floats are 15 MiB, which a shared cache still holds.
CHUNK = 64
# Compiling takes some ten seconds, once a machine; below this vocabulary a run hardly gets them back.
COMPILED_FROM = 8192


@dataclass(frozen=True, slots=True)
class _Terms:
    """What is computed, apart from tensors: constants of the compiled chunk."""

    hard: float
    soft: float
    temperature: float
    divergence: str
    slopes: bool


def fused_vocabulary_losses(
    student: Decoding,
    targets: Tensor,
    teacher: Decoding | SparseTargets | None,
    *,
    hard: float,
    soft: float,
    temperature: float = 2.0,
    divergence: str = "forward",
    chunk: int = CHUNK,
    compiled: bool | None = None,
) -> VocabularyLosses:
    """`vocabulary_losses` in little memory.

    Both terms have one count, and one gradient is computed, that of hard * cross-entropy + soft * divergence: the
    weights of the two in the final loss must stand in this ratio; a backward pass with others is refused.
    chunk: rows at a time; never changes the result beyond rounding. compiled: by torch.compile; None leaves it to the
    size of the vocabulary. Raises InputError for a temperature that is not positive or an unknown divergence.
    """
    require(temperature > 0, f"temperature must be > 0, got {temperature}")
    if divergence not in DIVERGENCES:
        raise InputError(f"divergence {divergence!r} is unknown{nearest(divergence, DIVERGENCES)}")
    if isinstance(teacher, SparseTargets):
        check_sparse(divergence)
    assert hard > 0 or soft > 0, "one of the two terms must be asked for"
    assert soft == 0 or teacher is not None, "soft targets need a teacher"
    if compiled is None:
        compiled = len(student.weight) >= COMPILED_FROM
    terms = _Terms(hard, soft, temperature, divergence, slopes=False)
    student = _in_autocast(student)
    if isinstance(teacher, Decoding):
        teacher = _in_autocast(teacher)
    hard_sum, soft_sum = _Fused.apply(  # type: ignore[no-untyped-call]
        student.rows, student.weight, student.bias, targets, teacher if soft > 0 else None, terms, chunk, compiled
    )
    count = (targets != IGNORED).sum()
    return VocabularyLosses(
        SumCount(hard_sum, count) if hard > 0 else None, SumCount(soft_sum, count) if soft > 0 else None
    )


def _in_autocast(decoding: Decoding) -> Decoding:
    """The matrices in the type that autocast would multiply them in; losses are computed in float32 all the same."""
    device = decoding.rows.device.type
    if not torch.is_autocast_enabled(device):
        return decoding
    dtype = torch.get_autocast_dtype(device)
    return replace(decoding, rows=decoding.rows.to(dtype), weight=decoding.weight.to(dtype))


class _Fused(torch.autograd.Function):
    """Outputs the two sums; their gradient is that of the weighted sum, for both together."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        teacher: Decoding | SparseTargets | None,
        terms: _Terms,
        chunk: int,
        compiled: bool,
    ) -> tuple[Tensor, Tensor]:
        terms = replace(terms, slopes=any(ctx.needs_input_grad))
        with torch.autocast(rows.device.type, enabled=False):
            sweep = _Sweep(Decoding(rows, weight, bias), targets, teacher, terms, chunk, compiled)
            # Cut evenly: a last chunk of a few rows goes another way through BLAS, and rounds otherwise than eager's.
            chunks = -(-len(rows) // chunk)
            for number in range(chunks):
                sweep.take(len(rows) * number // chunks, len(rows) * (number + 1) // chunks)
        if terms.slopes:
            ctx.save_for_backward(sweep.rows_grad, sweep.weight_grad, sweep.bias_grad.to(sweep.exact))
        ctx.terms = terms
        return sweep.hard, sweep.soft

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, hard: Tensor, soft: Tensor) -> tuple[Tensor | None, ...]:
        terms = ctx.terms
        # What the weighted sum has been multiplied by since, according to each of its terms.
        shares = [share / weight for share, weight in ((hard, terms.hard), (soft, terms.soft)) if weight > 0]
        # On CUDA the host does not wait for this.
        torch._assert_async(
            torch.isclose(shares[0], shares[-1], rtol=1e-4, atol=0, equal_nan=True),
            f"the fused terms were made with hard={terms.hard:g} and soft={terms.soft:g} and can only be added in this "
            "ratio; give the same weights inside and outside, or use vocabulary_losses",
        )
        rows, weight, bias = ctx.saved_tensors
        return rows * shares[0], weight * shares[0], bias * shares[0], None, None, None, None, None


class _Sweep:
    """Buffers of one chunk, and what is added up over all of them."""

    def __init__(
        self,
        student: Decoding,
        targets: Tensor,
        teacher: Decoding | SparseTargets | None,
        terms: _Terms,
        chunk: int,
        compiled: bool,
    ) -> None:
        self.targets, self.teacher, self.terms = targets, teacher, terms
        self.rows, self.weight = student.rows, student.weight
        self.compute = _compiled_chunk() if compiled else _compute_chunk
        rows, weight = self.rows, self.weight
        self.exact = exact = torch.float64 if rows.dtype == torch.float64 else torch.float32
        # One shape for every chunk and every batch, so that compiled code is made once; else that of the largest chunk.
        fixed = chunk if compiled else -(-len(rows) // max(-(-len(rows) // chunk), 1))
        # Rows that fill a chunk up hold anything, even NaN: of them nothing is looked at.
        self.logits = _Chunk(student, fixed, exact)
        self.taught = _Chunk(teacher, fixed, exact) if isinstance(teacher, Decoding) else None
        self.asked = targets.new_full((fixed,), IGNORED)
        self.hard = rows.new_zeros((), dtype=torch.float64)
        self.soft = rows.new_zeros((), dtype=torch.float64)
        if terms.slopes:
            # Slopes are not scaled yet (GradScaler's factor comes with the backward pass) and would vanish in float16.
            self.rows_grad = torch.empty_like(rows, dtype=exact if rows.dtype == torch.float16 else rows.dtype)
            self.weight_grad = torch.zeros_like(weight, dtype=exact)
            # A sum over all rows, chunk by chunk: float32 would round it at each.
            self.bias_grad = torch.zeros_like(student.bias, dtype=torch.float64)

    def take(self, start: int, stop: int) -> None:
        """Add the losses of rows `start` to `stop`, and their gradients."""
        size = stop - start
        rows, weight, logits = self.rows[start:stop], self.weight, self.logits(start, stop)
        taught = None if self.taught is None else self.taught(start, stop)
        self.asked[:size] = self.targets[start:stop]
        self.asked[size:] = IGNORED
        valid = self.asked != IGNORED
        chosen = self.asked.clamp(min=0).unsqueeze(1)  # (C, 1)
        answers = logits.gather(1, chosen).squeeze(1)
        sparse = told = None
        if isinstance(self.teacher, SparseTargets):
            sparse = _filled(self.teacher, start, stop, logits)
            told = logits.gather(1, sparse.ids)
        hard, soft = self.compute(logits, answers, valid, taught, sparse, told, self.terms)
        self.hard += hard
        self.soft += soft
        if not self.terms.slopes:
            return
        if sparse is not None:
            scaled = torch.where(valid.unsqueeze(1), sparse.weights, 0.0) * (self.terms.soft * self.terms.temperature)
            # A token drawn several times is rounded once: all its places get the same number.
            same = (sparse.ids.unsqueeze(2) == sparse.ids.unsqueeze(1)).to(scaled.dtype)  # (C, N, N)
            shares = (same @ scaled.unsqueeze(2)).squeeze(2)
            logits.scatter_(1, sparse.ids, logits.gather(1, sparse.ids) - shares)
        logits.scatter_add_(1, chosen, torch.where(valid, -self.terms.hard, 0.0).unsqueeze(1).to(logits.dtype))
        slopes = logits[:size]
        self.bias_grad += slopes.sum(0)
        dtype = self.rows_grad.dtype
        torch.mm(slopes.to(dtype), weight.to(dtype), out=self.rows_grad[start:stop])
        if dtype == self.weight_grad.dtype or rows.device.type == "cpu":
            # bfloat16 would round the sum of every chunk, where eager's sum over all rows is rounded once.
            self.weight_grad.addmm_(slopes.T, rows.to(slopes.dtype))
        else:
            self.weight_grad += slopes.to(dtype).T @ rows.to(dtype)


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


def _compute_chunk(
    logits: Tensor,
    answers: Tensor,
    valid: Tensor,
    taught: Tensor | None,
    sparse: SparseTargets | None,
    told: Tensor | None,
    terms: _Terms,
) -> tuple[Tensor, Tensor]:
    """The two sums over a chunk of logits (C, V), which become their gradient in place where slopes are asked for.

    answers (C,): the logits of the targets; told (C, N): those of the tokens in `sparse`. What slopes have at these few
    tokens alone (minus one, minus their weights) is left to the caller: it would part the sweeps over the matrix.
    """
    # Three sweeps, if torch.compile sees it so: the greatest, the sums of exponentials, the slopes.
    greatest = logits.amax(-1, keepdim=True)
    hard = soft = logits.new_zeros((), dtype=torch.float64)
    slopes = torch.zeros_like(logits[:1])
    if terms.hard > 0:
        _, total = _exponentials(logits - greatest)
        rows = total.log().squeeze(1) - (answers - greatest.squeeze(1))
        hard = torch.where(valid, rows, 0.0).sum()
        # Exponentials anew: to keep them costs as much, and is a KeyError of Inductor's where this term stands alone
        # (pytorch/pytorch#196570, torch 2.13).
        slopes = (logits - greatest).exp() * (terms.hard / total).to(logits.dtype)
    if terms.soft > 0:
        if sparse is None:
            assert taught is not None
            rows, slope = _soft(logits, greatest, taught, terms)
        else:
            assert told is not None
            rows, slope = _sparse_soft(logits, greatest, sparse, told, terms)
        soft = terms.temperature**2 * torch.where(valid, rows, 0.0).sum(dtype=torch.float64)
        # T^2 of the loss, and 1 / T of softmax(logits / T)
        slopes = slopes + terms.soft * terms.temperature * slope
    if terms.slopes:
        logits.copy_(torch.where(valid.unsqueeze(1), slopes, 0.0))
    return hard, soft


def _sparse_soft(
    logits: Tensor, greatest: Tensor, sparse: SparseTargets, told: Tensor, terms: _Terms
) -> tuple[Tensor, Tensor]:
    """The forward divergence of each row (C,), and its slope by logits / T (C, V) but for the weights at their ids."""
    exponentials, total = _exponentials((logits - greatest) / terms.temperature)
    # So few that float64 costs nothing.
    weights, shifted = sparse.weights.double(), (told.double() - greatest) / terms.temperature
    rows = (weights * (sparse.log_probs.double() - shifted + total.log())).sum(-1)
    return rows, exponentials * (weights.sum(-1, keepdim=True) / total).to(logits.dtype)


def _soft(logits: Tensor, greatest: Tensor, taught: Tensor, terms: _Terms) -> tuple[Tensor, Tensor]:
    """The divergence of each row (C,) from a whole teacher (C, V), and its slope by logits / T (C, V)."""
    learned = (logits - greatest) / terms.temperature
    taught = (taught - taught.amax(-1, keepdim=True)) / terms.temperature
    if terms.divergence != "forward" and logits.shape[-1] < COMPILED_FROM:
        # Differences of logarithms that nearly cancel; at 29,794 tokens float64 would take 30 to 60 % more time.
        taught, learned = taught.double(), learned.double()
    return _slope(_softmax(taught), _softmax(learned), terms.divergence)


def _exponentials(shifted: Tensor) -> tuple[Tensor, Tensor]:
    """The exponentials of logits that are at most 0, and each row's sum of them (C, 1) in float64."""
    exponentials = shifted.exp()
    return exponentials, exponentials.sum(-1, keepdim=True, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class _Softmax:
    """A softmax (C, N) of `shifted` logits (C, N), which are at most 0, and the logarithm of what it divides by (C, 1).

    Not the exp of log_softmax: that would make the rounding of a logarithm a relative error of probabilities.
    """

    probabilities: Tensor
    shifted: Tensor
    log_total: Tensor

    def log(self) -> Tensor:
        """The logarithms of the probabilities (C, N)."""
        return self.shifted - self.log_total.to(self.shifted.dtype)

    def log_ratio(self, other: "_Softmax") -> Tensor:
        """log(self / other) (C, N). Of near ones the difference is taken before it is rounded."""
        return self.shifted - other.shifted - (self.log_total - other.log_total).to(self.shifted.dtype)


def _softmax(shifted: Tensor) -> _Softmax:
    exponentials, total = _exponentials(shifted)
    return _Softmax(exponentials / total.to(shifted.dtype), shifted, total.log())


def _slope(taught: _Softmax, learned: _Softmax, divergence: str) -> tuple[Tensor, Tensor]:
    """The divergence of each row (C,), p `taught` and q `learned`, and its derivative by the logits of q (C, N).

    forward KL(p || q): q - p. reverse KL(q || p): q (log q - log p - KL(q || p)).
    jensen-shannon: q / 2 (log q - log m - KL(q || m)).
    """
    p, q = taught.probabilities, learned.probabilities
    if divergence == "forward":
        return (p * taught.log_ratio(learned)).sum(-1, dtype=torch.float64), q - p
    if divergence == "reverse":
        ratio = learned.log_ratio(taught)
        rows = (q * ratio).sum(-1, dtype=torch.float64)
        return rows, q * (ratio - rows.to(ratio.dtype).unsqueeze(-1))
    log_p, log_q = taught.log(), learned.log()
    log_m = torch.logaddexp(log_p, log_q) - torch.log(log_p.new_tensor(2.0))
    ratio = log_q - log_m
    student = (q * ratio).sum(-1, dtype=torch.float64)
    rows = ((p * (log_p - log_m)).sum(-1, dtype=torch.float64) + student) / 2
    return rows, q * (ratio - student.to(q.dtype).unsqueeze(-1)) / 2


class _CompiledChunk:
    """`_compute_chunk` by torch.compile; itself, after a warning, for terms with which compiling fails."""

    def __init__(self) -> None:
        self.compute: Callable[..., tuple[Tensor, Tensor]] = torch.compile(_compute_chunk, dynamic=False)
        self.compiles: dict[object, bool] = {}

    def __call__(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        *_, sparse, _told, terms = arguments
        key = terms, sparse is None  # each is compiled apart
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
        return self.compute(*arguments) if self.compiles[key] else _compute_chunk(*arguments)


def _uncompiled(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    remedy = "; it needs a C++ compiler (Debian, Ubuntu: apt install g++), on CUDA the package triton"
    missing = "compiler" in reason.lower() or "triton" in reason.lower()
    return f"the fused loss runs uncompiled, and slower: torch.compile failed ({reason}){remedy if missing else ''}"


_compiled_chunk = cache(_CompiledChunk)  # one for the whole process, made when it is first asked for
