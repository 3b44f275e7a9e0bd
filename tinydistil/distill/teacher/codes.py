"""Numbers in few bits, as a cache keeps them: packed whole numbers, vectors in steps, a distribution by some tokens.

Shapes: N vectors, F numbers of each, R positions, K likeliest tokens, M drawn, V vocabulary, P bytes of a packed row.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from tinydistil.distill.losses import SparseTargets

MOST_BITS = 8
# Half ranges that are tried, in standard deviations: of 1 bit the best of a normal distribution is 1.6, of 8 bits 3.9.
_RANGES = [0.8 * 1.04**number for number in range(48)]
_MOST_FITTED = 8192  # vectors by which steps are chosen
_STEPS_PER_NAT = 24  # of a likely token's share beside the likeliest's, so off by 2 % at most, down to e^-10.6


class Packing:
    """Rows of whole numbers, each column in so many `bits` (F,), at most 25: one behind the other, in (N, P) bytes."""

    def __init__(self, bits: Tensor) -> None:
        self.bits = bits.long()
        ends = self.bits.cumsum(0)
        starts = ends - self.bits
        self.first, self.shift = starts // 8, (starts % 8).int()
        self.mask = ((1 << self.bits) - 1).int()
        self.size = -(-int(ends[-1]) // 8)
        self.span = (int(self.bits.max()) + 14) // 8  # bytes that a number can touch, wherever in one it begins

    def pack(self, numbers: Tensor) -> Tensor:
        """(N, F), none below 0, as bytes (N, P)."""
        shifted = (numbers.int() & self.mask) << self.shift
        rows = numbers.new_zeros(len(numbers), self.size + self.span, dtype=torch.int32)
        for byte in range(self.span):  # no two numbers share a bit, so a sum is a union
            rows.index_add_(1, self.first + byte, shifted >> 8 * byte & 255)
        return rows[:, : self.size].to(torch.uint8)

    def unpack(self, rows: Tensor) -> Tensor:
        """The numbers (N, F) in bytes (N, P)."""
        padded = pad(rows, (0, self.span)).int()
        # By the bytes from where a number begins; the mask takes off what an arithmetic shift fills in.
        windows = padded[:, : self.size + 1]
        for byte in range(1, self.span):
            windows = windows | padded[:, byte : byte + self.size + 1] << 8 * byte
        found = windows.index_select(1, self.first)
        found >>= self.shift
        found &= self.mask
        return found


class VectorCodes:
    """How vectors (N, F) are written: in each direction by 2^b even steps about its mean.

    table: mean, step and b of each, (3, F).
    """

    def __init__(self, table: Tensor) -> None:
        self.table, self.packing = table, Packing(table[2])
        self.mean, self.steps, self._most = table[0], table[1], self.packing.mask.float()
        self._least = self.mean - self._most / 2 * self.steps

    @classmethod
    def fitted(cls, sample: Tensor, bits: int) -> "VectorCodes":
        """For vectors like `sample` (N, F): `bits` bits a number in the mean, 0 to 8 by how much varies in a direction.

        A bit goes where it takes most off the squared error (reverse water-filling, Cover & Thomas 2006, 10.3.3), and
        steps are those that leave the least of it. Directions that vary alike, as whitened ones do, get the same.
        """
        sample = (
            sample[:: -(-len(sample) // _MOST_FITTED)].float() if len(sample) else sample.new_zeros(1, sample.shape[1])
        )
        mean, variance = sample.double().mean(0), sample.double().var(0, correction=0)
        # What b bits leave of a direction is its variance / 4^b; where most is left, the next bit goes.
        left = variance[:, None] * 0.25 ** torch.arange(MOST_BITS, device=variance.device)
        given = left.flatten().topk(bits * len(variance)).indices // MOST_BITS
        own = torch.bincount(given, minlength=len(variance))
        centred, most = sample - mean.float(), (2.0**own - 1).float()
        least, steps = torch.full_like(mean, torch.inf), torch.ones_like(centred[0])
        for half in _RANGES:
            tried = (2 * half * variance.sqrt() / (most + 1)).float().clamp(min=torch.finfo(torch.float32).tiny)
            errors = (_decoded(_encoded(centred, tried, most), tried, most) - centred).square().sum(0)
            steps, least = torch.where(errors < least, tried, steps), errors.minimum(least)
        return cls(torch.stack([mean.float(), steps, own.float()]))

    def encode(self, vectors: Tensor) -> Tensor:
        """Vectors (N, F) as bytes (N, P)."""
        return self.packing.pack(_encoded(vectors.float() - self.mean, self.steps, self._most))

    def decode(self, rows: Tensor) -> Tensor:
        """Bytes (N, P) as vectors (N, F): a number is off by half a step, or by what it lies beyond the last one."""
        return torch.addcmul(self._least, self.packing.unpack(rows).float(), self.steps)


def _encoded(centred: Tensor, steps: Tensor, most: Tensor) -> Tensor:
    return (centred / steps + most / 2).round().clamp(min=0).minimum(most)


def _decoded(codes: Tensor, steps: Tensor, most: Tensor) -> Tensor:
    return (codes - most / 2) * steps


def pack_targets(targets: SparseTargets, top: int, vocab_size: int) -> Tensor:
    """The `top` likeliest tokens and those that were drawn, as bytes (R, P).

    Of the former each one's share beside the first's, in 8 bits; of all the rest the odds and the mean log-probability,
    each in 16.
    """
    best, rest = targets.log_probs[:, :top], targets.weights[:, top:].sum(1)
    shares = ((best[:, :1] - best) * _STEPS_PER_NAT).round().clamp(max=255)
    # As odds, both the rest and what it leaves keep three digits, however near to 0 either is.
    halves = torch.stack([rest.log() - best.logsumexp(1), targets.log_probs[:, -1]], 1)
    halves = halves.clamp(min=torch.finfo(torch.float16).min).half().view(torch.int16)
    numbers = torch.cat([targets.ids, shares.long(), halves.long()], 1)
    return _packing_of(top, targets.ids.shape[1] - top, vocab_size, numbers.device).pack(numbers)


def unpack_targets(rows: Tensor, top: int, drawn: int, vocab_size: int) -> SparseTargets:
    """What `pack_targets` has packed: the sum of all weights is 1."""
    numbers = _packing_of(top, drawn, vocab_size, rows.device).unpack(rows)
    ids, shares, halves = torch.split(numbers, [top + drawn, top, 2], 1)
    odds, mean = halves.to(torch.int16).view(torch.float16).float().chunk(2, 1)
    best = (shares / -_STEPS_PER_NAT).log_softmax(1) + logsigmoid(-odds)
    log_probs = torch.cat([best, mean.expand(-1, drawn)], 1)
    weights = torch.cat([best.exp(), (odds.sigmoid() / drawn).expand(-1, drawn)], 1)
    return SparseTargets(ids.long(), log_probs, weights)


@cache
def _packing_of(top: int, drawn: int, vocab_size: int, device: torch.device) -> Packing:
    return Packing(torch.tensor([(vocab_size - 1).bit_length()] * (top + drawn) + [8] * top + [16] * 2, device=device))
