"""Fixed masks, masked LM figures against a plain loop, words hidden alike from two vocabularies."""

import math
import random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from tests.evaluate.conftest import random_model
from tinydistil.base.errors import InputError
from tinydistil.evaluate import masked_lm
from tinydistil.evaluate.masked_lm import (
    choose_words,
    encode_sequences,
    evaluation_batches,
    masked_lm_scores,
    ratio,
    word_loss,
)
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

Sequences = list[NDArray[np.integer]]


def masks_of(sequences: Sequences, vocabulary: Tokenizer, batch_size: int) -> dict[bytes, tuple[list[int], list[int]]]:
    """Of each sequence, by its tokens, the masked input and the targets."""
    found = {}
    for batch in evaluation_batches(sequences, vocabulary, batch_size=batch_size):
        width = batch.input_ids.shape[1]
        for row, number in {(int(p) // width, int(i)) for p, i in zip(batch.positions, batch.sequences, strict=True)}:
            length = len(sequences[number])
            targets = batch.targets[batch.positions // width == row].tolist()
            found[sequences[number].tobytes()] = (batch.input_ids[row, 1 : length + 1].tolist(), targets)
    return found


def test_masks_depend_on_the_sequence_alone(sequences: Sequences, vocabulary: Tokenizer) -> None:
    shuffled = random.Random(0).sample(sequences, len(sequences))
    assert masks_of(sequences, vocabulary, 32) == masks_of(shuffled, vocabulary, 7)
    one = masks_of(sequences[:1], vocabulary, 1)
    assert one.items() <= masks_of(sequences, vocabulary, 32).items()


def test_share_of_masked_tokens(sequences: Sequences, vocabulary: Tokenizer) -> None:
    batches = list(evaluation_batches(sequences, vocabulary))
    masked, tokens = sum(len(b.positions) for b in batches), sum(map(len, sequences))
    # rounding by chance, one a sequence: variance at most 1/4
    assert abs(masked - 0.15 * tokens) < 3 * math.sqrt(len(sequences) / 4)
    ids = torch.cat([b.input_ids.flatten()[b.positions] for b in batches])
    share = (ids == vocabulary.mask_id).double().mean()
    assert abs(share - 0.8) < 3 * math.sqrt(0.8 * 0.2 / masked)


def test_scores_equal_a_plain_loop(
    small_model: BertForMaskedLM, vocabulary: Tokenizer, sequences: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, first, five = [], [], []
    with torch.inference_mode():
        for batch in evaluation_batches(sequences, vocabulary, batch_size=1):
            logits = small_model.logits_at(small_model(batch.input_ids).last_hidden)[0].double()
            for row, target in zip(batch.positions.tolist(), batch.targets.tolist(), strict=True):
                ranked = logits[row].argsort(descending=True).tolist()
                losses.append(-logits[row].log_softmax(0)[target].item())
                first.append(ranked[0] == target)
                five.append(target in ranked[:5])
    monkeypatch.setattr(masked_lm, "LOGITS_AT_ONCE", 3 * vocabulary.vocab_size)  # three rows at a time
    scores = masked_lm_scores(small_model, vocabulary, sequences)
    assert scores[:, 3].sum() == len(losses)
    assert ratio(scores, 0, 3) == pytest.approx(np.mean(losses), rel=1e-5)
    assert ratio(scores, 1, 3) == pytest.approx(np.mean(first))
    assert ratio(scores, 2, 3) == pytest.approx(np.mean(five))
    assert ratio(scores, 1, 3) < ratio(scores, 2, 3)
    again = masked_lm_scores(small_model, vocabulary, sequences)
    assert (again == scores).all()


def test_chunks_and_batches_change_nothing(
    small_model: BertForMaskedLM, vocabulary: Tokenizer, sequences: Sequences, texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Never more logits at once than allowed, one row at least; the same figures, whatever that is and the batch."""
    largest: list[int] = []
    logits_at = BertForMaskedLM.logits_at

    def watched(model: BertForMaskedLM, hidden: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        logits = logits_at(model, hidden, rows)
        largest.append(logits.numel())
        return logits

    monkeypatch.setattr(BertForMaskedLM, "logits_at", watched)
    chosen = choose_words(texts, [vocabulary])
    found = []
    for rows_at_once, batch_size in ((10**6, 32), (5, 32), (5, 200), (0.5, 7)):
        most = int(rows_at_once * vocabulary.vocab_size)
        monkeypatch.setattr(masked_lm, "LOGITS_AT_ONCE", most)
        largest.clear()
        found.append((
            masked_lm_scores(small_model, vocabulary, sequences, batch_size=batch_size),
            word_loss(small_model, vocabulary, texts, chosen, batch_size=batch_size),
        ))  # fmt: skip
        assert max(largest) <= max(most, vocabulary.vocab_size)
    for other in found[1:]:
        assert (other[0][:, 1:] == found[0][0][:, 1:]).all()  # guesses are right or not
        for ours, expected in zip(other, found[0], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_words_are_the_same_for_two_vocabularies(texts: list[str], vocabulary: Tokenizer) -> None:
    smaller = train_wordpiece(texts, 160)
    chosen = choose_words(texts, [vocabulary, smaller])
    assert chosen == choose_words(texts, [smaller, vocabulary])
    hidden, words = sum(map(len, chosen)), sum(len(text.split()) for text in texts)
    assert abs(hidden - 0.15 * words) < 3 * math.sqrt(len(texts) / 4)
    for text, spans in zip(texts, chosen, strict=True):
        assert all(text[start:end] in text.split() for start, end in spans)
    model = random_model(smaller.vocab_size, 0)
    figures = [
        word_loss(model, smaller, texts, chosen),
        word_loss(random_model(vocabulary.vocab_size, 0), vocabulary, texts, chosen),
    ]
    assert (figures[0][:, 1:] == figures[1][:, 1:]).all()


def test_a_word_that_one_vocabulary_lacks_is_hidden_from_none(texts: list[str], vocabulary: Tokenizer) -> None:
    text = "☃ neve " * 20
    assert {text[s:e] for s, e in choose_words([text], [vocabulary], rate=0.9)[0]} == {"neve"}
    assert choose_words(["\u200b \u200b"], [vocabulary], rate=0.9) == [()]
    # words beyond the tokens that fit are left out too
    assert max(end for _, end in choose_words([texts[0] * 9], [vocabulary], max_length=12, rate=0.9)[0]) < 60


def test_word_loss_equals_a_plain_loop(small_model: BertForMaskedLM, vocabulary: Tokenizer, texts: list[str]) -> None:
    chosen = choose_words(texts[:40], [vocabulary])
    total, characters = 0.0, 0
    for text, spans in zip(texts[:40], chosen, strict=True):
        encoding = vocabulary.encode(text)
        ids = torch.tensor([encoding.ids])
        places = [
            place
            for place, (start, end) in enumerate(encoding.offsets)
            if any(first <= start and end <= last for first, last in spans) and end > start
        ]
        masked = ids.clone()
        masked[0, places] = vocabulary.mask_id
        with torch.inference_mode():
            logits = small_model.logits_at(small_model(masked).last_hidden)[0].double()
        total += float(F.cross_entropy(logits[places], ids[0, places], reduction="sum")) if places else 0.0
        characters += sum(end - start for start, end in spans)
    ours = word_loss(small_model, vocabulary, texts[:40], chosen)
    assert ratio(ours, 0, 1) == pytest.approx(total / sum(map(len, chosen)), rel=1e-5)
    assert ratio(ours, 0, 2) == pytest.approx(total / characters, rel=1e-5)


def test_refusals(small_model: BertForMaskedLM, vocabulary: Tokenizer, sequences: Sequences) -> None:
    with pytest.raises(InputError, match="no token to mask"):
        masked_lm_scores(small_model, vocabulary, [np.empty(0, np.int64)])
    with pytest.raises(InputError, match="do not belong together"):
        masked_lm_scores(random_model(50, 0), vocabulary, sequences)
    with pytest.raises(InputError, match="no word to hide"):
        word_loss(small_model, vocabulary, ["Não."], [()])
    with pytest.raises(InputError, match="max_length must be >= 3"):
        encode_sequences(["Não."], vocabulary, max_length=2)
    with pytest.raises(InputError, match="rate"):
        choose_words(["Não."], [vocabulary], rate=1.0)
