"""Pairs of texts for next-sentence and sentence-order prediction: against plain Python, and what must not tell."""

import numpy as np
import pytest
import torch

from tests.train.toy import Rows
from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.batches.pairs import NEXT, ORDER, PairMaker
from tinydistil.batches.sampling import MaskConfig
from tinydistil.tokenizer.tokenizer import train_wordpiece

TOKENIZER = train_wordpiece(["o gato dorme . a gata corre ! e o cão ?"] * 3, 60)
MARK = TOKENIZER.backend.token_to_id(".")
MARKS = {i for i in range(TOKENIZER.vocab_size) if TOKENIZER.token(i)[-1:] in (".", "!", "?", "…")}
PLAIN = TOKENIZER.backend.token_to_id("gato")
LENGTHS = [3, 9, 30, 1, 17, 24, 5, 40, 12, 8] * 20


def maker(kind: str, seed: int = 3, lengths: list[int] = LENGTHS) -> tuple[PairMaker, Rows]:
    rows = Rows(TOKENIZER.vocab_size, lengths, MARK)
    for row in rows.rows:  # whose other tokens are random
        row[[i for i, token in enumerate(row) if token in MARKS and i % 4 != 3]] = PLAIN
    return PairMaker(kind, TOKENIZER, rows.__getitem__, np.arange(len(lengths)), seed=seed), rows


def texts_of(maker_: PairMaker, numbers: list[int], epoch: int = 0) -> list[tuple[list[int], list[int], int]]:
    """The two texts of each pair and its label, read back from the view as a model sees it."""
    view, found = maker_(np.array(numbers), epoch), []
    for row in range(len(view.labels)):
        ids, types = (
            each[row][view.attention_mask[row] > 0].tolist() for each in (view.input_ids, view.token_type_ids)
        )
        assert ids[0] == TOKENIZER.cls_id and ids[-1] == TOKENIZER.sep_id
        middle = types.index(1)
        assert ids[middle - 1] == TOKENIZER.sep_id and types == [0] * middle + [1] * (len(ids) - middle)
        found.append((ids[1 : middle - 1], ids[middle:-1], int(view.labels[row])))
    return found


def halves(row: np.ndarray, text: list[int]) -> tuple[list[int], list[int]] | None:
    """The parts of a sequence whose first is `text`, by plain search; None where it is no beginning that ends so."""
    ids, cut = row.tolist(), len(text) + 1
    if ids[: cut - 1] != text or cut >= len(ids) or ids[cut - 1] not in MARKS:
        return None
    return ids[: cut - 1], ids[cut : len(ids) - (ids[-1] in MARKS)]


def test_order_is_the_two_parts_of_one_sequence() -> None:
    maker_, rows = maker(ORDER)
    numbers = [i for i, length in enumerate(LENGTHS) if length > 5]
    found = texts_of(maker_, numbers)
    assert len(found) == len(numbers)
    for number, (first, second, label) in zip(numbers, found, strict=True):
        before, after = (second, first) if label else (first, second)
        assert halves(rows[number], before) == (before, after)
        assert len(first) + len(second) + 3 <= len(rows[number]) + 2  # as long as the sequence itself, at most
    labels = [label for _, _, label in found]
    assert 0.35 < sum(labels) / len(labels) < 0.65


def test_the_second_text_of_another_sequence_comes_from_afar() -> None:
    maker_, rows = maker(NEXT)
    labels = []
    for number in (i for i, length in enumerate(LENGTHS) if length > 5):
        if maker_(np.array([number]), 0).labels.tolist() == [-100]:
            continue  # eight partners that were tried were near, or of one sentence
        [(first, second, label)] = texts_of(maker_, [number])
        own = halves(rows[number], first)
        assert own is not None
        labels.append(label)
        if not label:
            assert own[1][: len(second)] == second
            continue
        texts = [row.tolist() for row in rows.rows]
        others = [
            i for i, text in enumerate(texts) if any(text[at:][: len(second)] == second for at in range(len(text)))
        ]
        assert any(abs(i - number) > len(LENGTHS) // 4 for i in others)
    assert len(labels) > 120
    assert 0.35 < sum(labels) / len(labels) < 0.65


def test_length_does_not_tell_whose_text_it_is() -> None:
    maker_, _ = maker(NEXT)
    numbers = [i for i, length in enumerate(LENGTHS) if length > 5]
    sizes: dict[int, list[int]] = {0: [], 1: []}
    for epoch in range(20):
        for _, second, label in texts_of(maker_, numbers, epoch):
            sizes[label].append(len(second))
    means = [np.mean(sizes[label]) for label in (0, 1)]
    error = np.hypot(*(np.std(sizes[label]) / len(sizes[label]) ** 0.5 for label in (0, 1)))
    assert abs(means[0] - means[1]) < 3 * error


def test_no_text_ends_in_its_mark() -> None:
    """The last text of a document may lack one: if the others had theirs, it would be known."""
    for kind in (ORDER, NEXT):
        for first, second, _ in texts_of(maker(kind)[0], list(range(len(LENGTHS)))):
            assert first[-1] not in MARKS and (kind == NEXT or second[-1] not in MARKS)


@pytest.mark.parametrize("kind", [ORDER, NEXT])
def test_a_pair_is_of_seed_epoch_and_sequence_alone(kind: str) -> None:
    maker_, _ = maker(kind)
    together = texts_of(maker_, [7, 2, 5, 4])
    assert together == [pair for number in (7, 2, 5, 4) for pair in texts_of(maker_, [number])]
    assert together != texts_of(maker_, [7, 2, 5, 4], epoch=1)
    assert together != texts_of(maker(kind, seed=4)[0], [7, 2, 5, 4])


@pytest.mark.parametrize("kind", [ORDER, NEXT])
def test_a_sequence_of_one_sentence_makes_none(kind: str) -> None:
    view = maker(kind)[0](np.array([0, 3]), 0)
    assert view.labels.tolist() == [-100] and view.input_ids.shape == view.attention_mask.shape == (1, 3)


@pytest.mark.parametrize(("kind", "name"), [(ORDER, "sentence_order"), (NEXT, "next_sentence")])
def test_a_corpus_of_single_sentences_is_refused(kind: str, name: str) -> None:
    with pytest.raises(InputError, match=f"objective {name} needs documents of two sentences, and none of 4"):
        maker(kind, lengths=[1, 2, 4, 3])[0].check()
    maker(kind)[0].check()


def test_batches_have_the_pairs_that_are_asked_for() -> None:
    _, rows = maker(ORDER)
    batches = MaskedBatches(rows, TOKENIZER, MaskConfig(), batch_size=8, seed=3, pairs=(ORDER,))
    made = batches.micro_batches(0, rank=0, world_size=1, accumulation=1)[0]
    expected = maker(ORDER)[0](made.sequence_ids.numpy(), 0)
    assert made.pairs.keys() == {ORDER} and torch.equal(made.pairs[ORDER].input_ids, expected.input_ids)
    parts = batches.micro_batches(0, rank=0, world_size=1, accumulation=4)
    assert sum(int((part.pairs[ORDER].labels >= 0).sum()) for part in parts) == int((expected.labels >= 0).sum())
    assert batches.collate(np.array([], np.int64), 0).pairs[ORDER].labels.tolist() == [-100]
