"""How likely hidden words are, whatever pieces each vocabulary cuts them into: the term `words`.

Shapes: B sequences, T tokens (T' the teacher's), W words, N hidden words, K alternatives, R pieces of hidden words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.config import Range
from tinydistil.batches.masked_batches import MaskedBatch, TeacherView
from tinydistil.batches.sampling import mix
from tinydistil.distill.options import CacheConfig, Needs, Schedule, Shapes, Temperature, TermOptions
from tinydistil.distill.terms.base import Loss, ModelStates, State, Term, register
from tinydistil.model.bert import BertForMaskedLM, Decoding


@dataclass(frozen=True)
class WordsOptions(TermOptions, table="recipe.terms.words"):
    """temperature: of the outcomes' log-probabilities. alternatives: words beside the hidden one, at most; 0 leaves two
    outcomes, the word and any other."""

    temperature: Temperature = 2.0
    alternatives: Annotated[int, Range(0, 1000)] = 8

    @property
    def needs(self) -> Needs:
        return Needs(("hidden", "logits"), ("logits",), masks=True, reason="recipe.terms.words compares likelihoods")

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        """What is kept is of no temperature."""
        return {"recipe.alternatives": self.alternatives}


@register("words")
class Words(Term):
    """T^2 KL(p || q) of each hidden word, over outcomes that both sides know: the word itself, up to K other words, and
    "any other", which has what these leave of 1.

        log p(word) = the sum over its pieces of log p(piece at its masked position)
        p = softmax(log p(outcome) / T) of the teacher; q alike of the student

    Without alternatives p is sigmoid(log-odds / T): the binarised divergence of Minixhofer et al. 2025 (Approximate
    Likelihood Matching, arXiv 2503.20083), who compare chunks of causal models and soften the log-probability instead;
    of encoders we know no source. With one vocabulary and T = 1 it is never above the divergence of all pieces, whose
    outcomes it puts together. Boizard et al. 2024 (Universal Logit Distillation) compare sorted probabilities of
    tokens, which say nothing of which is which.

    A word counts where the student is asked for all its pieces, is shown none of them as it is, and neither vocabulary
    writes it with [UNK]: many do with mask.whole_words, without it mostly words of one piece. Alternatives are other
    words of the same sequence, hidden or not, with as many pieces on each side as the word, distinct on both; they are
    drawn by a hash of epoch, sequence and the two words' numbers, so no batch matters. Where a sequence has fewer than
    K, these; where it has none, the word and any other. The teacher reads the masked text, with a pass of its own where
    recipe.teacher_sees is "original". Which words count is found on the host, for which an accelerator is waited.
    """

    Options = WordsOptions

    def __init__(self, options: WordsOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        self.options = options

    def count(self, batch: MaskedBatch) -> int:
        return len(hidden_words(batch, 0).outcome_mask)

    def states(self) -> Mapping[str, State]:
        return {"logits": _Likelihoods(self.options.alternatives)}

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        words, temperature = hidden_words(batch, self.options.alternatives), self.options.temperature
        ours = likelihoods(student, words.student, words.outcome_mask)
        now = temperature.at(self.progress) if isinstance(temperature, Schedule) else temperature
        return Loss(divergence(teacher["logits"].to(ours.dtype), ours, words.outcome_mask, now))


class _Likelihoods(State):
    """The log-probability of each outcome of each hidden word, (N, 2 + K): the word, alternatives, any other."""

    sees = "masked"

    def __init__(self, alternatives: int) -> None:
        self.alternatives = alternatives

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        words = hidden_words(batch, self.alternatives)
        return likelihoods(teacher, words.teacher, words.outcome_mask)

    def lengths(self, batch: MaskedBatch) -> Tensor:
        return torch.bincount(hidden_words(batch, 0).sequences, minlength=len(batch.sequence_ids))

    def keep(self, state: Tensor, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        return {"log_probs": state.clamp(min=torch.finfo(torch.float16).min).half()}

    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Tensor:
        return kept["log_probs"].float() if kept else torch.empty(0, 2 + self.alternatives, device=batch.targets.device)


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is asked of one side, whose hidden words have R pieces: their positions (R,) among the flattened tokens, the
    word (R,) that each is of, and the ids (R, 1 + K) that the word and its alternatives have there."""

    positions: Tensor
    owners: Tensor
    ids: Tensor


@dataclass(frozen=True, slots=True)
class HiddenWords:
    """The N hidden words of a batch, in order: of which sequence (N,), which alternatives there are (N, 1 + K; the
    first column is the word), and the pieces on both sides."""

    sequences: Tensor
    outcome_mask: Tensor
    student: Pieces
    teacher: Pieces


class _Side:
    """The words of one side by number, B * W: how many pieces, where the first is, a hash of all, and whether there is
    such a word, written without [UNK]."""

    def __init__(self, view: MaskedBatch | TeacherView, num_words: int, unk_id: int) -> None:
        ids, words = (each.cpu().numpy() for each in (view.original_ids, view.word_index))
        count, self.ids = len(ids) * num_words, ids.reshape(-1)
        self.text = np.flatnonzero(words >= 0)
        self.words = (words + num_words * np.arange(len(words))[:, None]).reshape(-1)[self.text]
        self.pieces = np.bincount(self.words, minlength=count)
        self.first = np.zeros(count, np.int64)
        self.first[self.words[::-1]] = self.text[::-1]
        places = self.text - self.first[self.words]
        self.hashes = np.zeros(count, np.uint64)
        np.add.at(self.hashes, self.words, mix(places.astype(np.uint64), self.ids[self.text].astype(np.uint64)))
        self.sound = self.pieces > 0
        self.sound[self.words[self.ids[self.text] == unk_id]] = False

    def pieces_of(self, words: NDArray[np.int64], device: torch.device) -> Pieces:
        """Of hidden words and their alternatives (N, 1 + K)."""
        sizes = self.pieces[words[:, 0]]
        owners = np.repeat(np.arange(len(words)), sizes)
        places = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        positions = self.first[words[owners]] + places[:, None]  # (R, 1 + K)
        return Pieces(*(torch.from_numpy(each).to(device) for each in (positions[:, 0], owners, self.ids[positions])))


def hidden_words(batch: MaskedBatch, alternatives: int) -> HiddenWords:
    """The words that count, and so many others for each: a pure function of epoch and sequence."""
    width, device = batch.num_words, batch.input_ids.device
    sides = own, other = [
        _Side(view, width, unk) for view, unk in zip((batch, batch.teacher or batch), batch.unk_ids, strict=True)
    ]
    masked = np.zeros(len(own.ids), np.bool_)
    masked[batch.positions.cpu().numpy()] = True
    masked &= (batch.input_ids != batch.original_ids).flatten().cpu().numpy()
    sound = own.sound & other.sound
    whole = np.bincount(own.words[masked[own.text]], minlength=len(sound)) == own.pieces
    words = np.flatnonzero(sound & whole)  # (N,)
    sequences, numbers = np.divmod(words, width)
    candidates = (sequences * width)[:, None] + np.arange(width)  # (N, W)
    fits, none = sound[candidates], np.iinfo(np.uint64).max
    for side in sides:
        fits &= side.pieces[candidates] == side.pieces[words][:, None]
    key = mix(np.uint64(batch.epoch), batch.sequence_ids.cpu().numpy().astype(np.uint64)[sequences])
    draws = mix(mix(key, numbers.astype(np.uint64))[:, None], np.arange(width, dtype=np.uint64))
    draws = np.where(fits, draws, none)  # (N, W), the least is the next
    chosen = np.repeat(words[:, None], 1 + alternatives, 1)
    outcome_mask, hashes = np.ones(chosen.shape, np.bool_), [side.hashes[candidates] for side in sides]
    for k in range(1 + alternatives):
        if k > 0:
            best = draws.argmin(1, keepdims=True)
            outcome_mask[:, k] = np.take_along_axis(draws, best, 1)[:, 0] < none
            chosen[:, k] = np.where(outcome_mask[:, k], np.take_along_axis(candidates, best, 1)[:, 0], words)
        for side, each in zip(sides, hashes, strict=True):
            draws[each == side.hashes[chosen[:, k]][:, None]] = none  # an outcome is there once
    sequence, present = (torch.from_numpy(each).to(device) for each in (sequences, outcome_mask))
    return HiddenWords(sequence, present, *(side.pieces_of(chosen, device) for side in sides))


def likelihoods(states: ModelStates, pieces: Pieces, outcome_mask: Tensor) -> Tensor:
    """The log-probability of each outcome, (N, 2 + K), by the masked LM head of `states.model`; of an alternative that
    `outcome_mask` leaves out, any number."""
    assert isinstance(states.model, BertForMaskedLM), "see TermOptions.check"
    decoding: Decoding = states.model.decoding_at(states.hidden, pieces.positions)
    logits = decoding.logits()
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # (R, V)
    log_probs = logits.gather(1, pieces.ids) - logits.logsumexp(1, keepdim=True)
    words = log_probs.new_zeros(outcome_mask.shape).index_add(0, pieces.owners, log_probs)
    # Above this the gradient of log(1 - p) is rounding errors: 1 - p has no digits left.
    most = -64 * torch.finfo(words.dtype).eps
    together = words.masked_fill(~outcome_mask, -torch.inf).logsumexp(1, keepdim=True).clamp(max=most)
    return torch.cat([words, torch.log(-torch.expm1(together))], 1)


def divergence(theirs: Tensor, ours: Tensor, outcome_mask: Tensor, temperature: float) -> Tensor:
    """T^2 KL of the outcomes (N, 2 + K), summed; outcome_mask (N, 1 + K): which of words and alternatives exist."""
    outcomes = torch.cat([outcome_mask, torch.ones_like(outcome_mask[:, :1])], 1)
    least = torch.finfo(ours.dtype).min
    log_p, log_q = ((each / temperature).masked_fill(~outcomes, least).log_softmax(1) for each in (theirs, ours))
    # times T^2: soft-target gradients shrink as 1 / T^2 (Hinton et al. 2015, sec. 2)
    return temperature**2 * torch.where(outcomes, log_p.exp() * (log_p - log_q), 0.0).sum()
