"""Two stretches of text in one input: for next-sentence and sentence-order prediction, from a corpus of sequences.

A pair is a pure function of (seed, epoch, sequence id), as masks are. A sequence is cut behind one of its sentences:
what stands before the cut is the first text, what follows the second. Both lose the mark that ends them, or the text
that lacks it would be known for the end of a document. Shapes: P pairs, T tokens, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.errors import require
from tinydistil.batches.sampling import CUT, LABEL, PARTNER, Ids, Tokens, mix, pad, uniform
from tinydistil.tokenizer.tokenizer import Tokenizer

NEXT, ORDER = "next_sentence", "sentence_order"  # as the objectives are called
_MARKS = (".", "!", "?", "…")
# Partners that are tried for a sequence, and how far they are at least: what stands nearer may be of its document.
_TRIES, _FAR = 8, 64
# Sequences that are looked at before a corpus is said to have no two sentences in any.
_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class PairView:
    """[CLS] first [SEP] second [SEP] of P pairs; where no sequence of a micro-batch makes one, a row without a label.

    input_ids, attention_mask, token_type_ids: (P, T). labels (P,): 0 where the second text follows the first in the
    corpus, 1 where it does not (another text, or their order is the other way), -100 without a pair.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor

    def map(self, move: Callable[[Tensor], Tensor]) -> "PairView":
        """The same with `move` done to each tensor."""
        return PairView(*(move(getattr(self, name)) for name in self.__slots__))


class PairMaker:
    """Makes the pairs of one `kind`: NEXT (Devlin et al. 2019, 3.1) or ORDER (Lan et al. 2020, 3.1).

    read: the tokens of a sequence by its number; candidates: the numbers there are.
    """

    def __init__(
        self, kind: str, tokenizer: Tokenizer, read: Callable[[int], Tokens], candidates: Ids, *, seed: int
    ) -> None:
        self.kind, self.tokenizer, self.read, self.candidates, self.seed = kind, tokenizer, read, candidates, seed
        spellings = (tokenizer.spelling(i) for i in range(tokenizer.vocab_size))
        self._ends = np.array([each.endswith(_MARKS) for each in spellings])  # (V,)

    def check(self) -> None:
        """Raise InputError where none of a thousand sequences from all over the corpus has two sentences."""
        looked_at = self.candidates[:: -(-len(self.candidates) // _LOOKED_AT)]
        require(
            any(len(self._cuts(self.read(int(i)))) for i in looked_at),
            f"the objective {self.kind} needs documents of two sentences, and none of {len(looked_at):,} sequences "
            f"holds one that ends in {' '.join(_MARKS)} and goes on; prepare documents with prepare.pack=true, or "
            "leave the objective out",
        )

    def __call__(self, sequence_ids: Ids, epoch: int) -> PairView:
        """The pairs of these sequences; one without two sentences, or without a partner, makes none."""
        found = [pair for i in sequence_ids.tolist() if (pair := self._pair(i, epoch)) is not None]
        own, none = self.tokenizer, np.empty(0, np.uint32)
        texts = [(first, second) for first, second, _ in found] or [(none, none)]
        rows = [np.r_[own.cls_id, first, own.sep_id, second, own.sep_id].astype(np.int64) for first, second in texts]
        types = [np.r_[np.zeros(len(first) + 2, int), np.ones(len(second) + 1, int)] for first, second in texts]
        masks = [np.ones(len(row), int) for row in rows]
        columns = pad(rows, own.pad_id), pad(masks, 0), pad(types, 0), np.array([p[2] for p in found] or [-100])
        return PairView(*map(torch.from_numpy, columns))

    def _pair(self, number: int, epoch: int) -> tuple[Tokens, Tokens, int] | None:
        key = self._key(number, epoch)
        parts, label = self._parts(number, epoch), int(uniform(key, np.uint64(0), LABEL) < 0.5)
        if parts is None:
            return None
        first, second = parts
        if self.kind == ORDER:
            return (second, first, 1) if label else (first, second, 0)
        other = next(filter(None, (self._other(key, number, epoch, attempt) for attempt in range(_TRIES))), None)
        if other is None:
            return None
        # As long whichever it is: a text that was cut off would be known for another's.
        length = min(len(second), len(other[1]))
        return first, (other[1] if label else second)[:length], label

    def _other(self, key: NDArray[np.uint64], number: int, epoch: int, attempt: int) -> tuple[Tokens, Tokens] | None:
        """The parts of another sequence, of another document as far as distance tells."""
        drawn = self.candidates[int(uniform(key, np.uint64(attempt), PARTNER) * len(self.candidates))]
        near = abs(int(drawn) - number) <= min(_FAR, len(self.candidates) // 4)
        return None if near else self._parts(int(drawn), epoch)

    def _parts(self, number: int, epoch: int) -> tuple[Tokens, Tokens] | None:
        """What stands before and behind the cut of this sequence; None where it has but one sentence."""
        tokens = self.read(number)
        cuts = self._cuts(tokens)
        if not len(cuts):
            return None
        cut = int(cuts[int(uniform(self._key(number, epoch), np.uint64(0), CUT) * len(cuts))])
        end = int(np.flatnonzero(~self._ends[tokens])[-1]) + 1  # behind `cut`, where there is no mark
        return tokens[: cut - 1], tokens[cut:end]

    def _key(self, number: int, epoch: int) -> NDArray[np.uint64]:
        return mix(mix(np.uint64(self.seed), np.uint64(epoch)), np.uint64(number))

    def _cuts(self, tokens: Tokens) -> Ids:
        """Where a sentence ends and another begins: the number of tokens before it, its mark among them."""
        ends = self._ends[tokens]
        return np.flatnonzero(ends[1:-1] & ~ends[2:] & ~ends[:-2]) + 2
