"""Batches of one vocabulary and of two: what each side sees, whose words are whose, and in what order."""

import gzip
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers

from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.batches.sampling import MaskConfig, OrderConfig, epoch_order, padded
from tinydistil.batches.shards import WordPair
from tinydistil.corpus.document_step import build_sequences
from tinydistil.corpus.language import split_sentences
from tinydistil.tokenizer.rules import SpecialTokens, WordStarts
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece
from tinydistil.tokenizer.word_encoder import WordEncoder

TEXT = ["o gato dorme no sofá da sala, e a gata corre na rua com os gatinhos amarelos"] * 3
SENTENCES = [
    "O gato dorme no sofá.",
    "A gata corre, na rua!",
    " ".join(["gatinhos"] * 9),
    "sala",
    "e 😀 joão\u0301zinho\u00a0dorme 漢字 na rua",
    "x" * 200,
]
STUDENT = train_wordpiece(TEXT, 50, lowercase=True)


def unigram() -> Tokenizer:
    """A tokenizer of the sentence encoders' kind: Unigram over words that begin with U+2581, <s> and </s>."""
    special = SpecialTokens("<unk>", "</s>", "<pad>", "<s>", "<mask>")
    pieces = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "▁",
        "▁gat",
        "o",
        "a",
        "inho",
        "▁dorme",
        "▁sala",
        "s",
        ",",
        "▁na",
        "▁rua",
    ]
    letters = "abcdefghijlmnopqrstuvxzãáé.!Ox"
    scores = [(piece, -float(i)) for i, piece in enumerate(dict.fromkeys([*pieces, *letters]))]
    backend = Backend(models.Unigram([*scores, ("<mask>", 0.0)], unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens(list(special.spellings()))
    return Tokenizer(backend, special)


TEACHER = unigram()


class Pairs:
    """Sentences tokenized by teacher and student, as the shards hold them."""

    has_words = True

    def __init__(self, sentences: list[str], teacher: Tokenizer, student: Tokenizer) -> None:
        encoder = WordEncoder([teacher, student], 254)
        self.pairs: list[WordPair] = []
        for sentence in sentences:
            document = build_sequences([sentence], encoder)
            assert len(document.sizes) == 1, sentence
            ids = [np.frombuffer(each, dtype) for each, dtype in zip(document.ids, encoder.token_dtypes, strict=True)]
            pieces = [np.frombuffer(each, encoder.piece_dtype) for each in document.pieces]
            self.pairs.append(WordPair(*ids, *pieces))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> NDArray[np.unsignedinteger]:
        return self.pairs[index].tokens

    def pair(self, index: int) -> WordPair:
        return self.pairs[index]

    def lengths(self, side: int = 0) -> NDArray[np.int64]:
        return np.array([len(pair.side(side)[0]) for pair in self.pairs])


class Single:
    """The student's side of them, as shards of one tokenization hold it."""

    has_words = False

    def __init__(self, sentences: list[str]) -> None:
        self.tokens = [pair.student_tokens for pair in Pairs(sentences, TEACHER, STUDENT).pairs]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> NDArray[np.unsignedinteger]:
        return self.tokens[index]


def paired(rate: float = 0.3, **options: object) -> MaskedBatches:
    sequences = Pairs(SENTENCES, TEACHER, STUDENT)
    mask = MaskConfig(rate=rate, whole_words=bool(options.pop("whole_words", False)))
    return MaskedBatches(sequences, STUDENT, mask, batch_size=6, seed=1, teacher_tokenizer=TEACHER, **options)  # type: ignore[arg-type]


EVERYTHING = np.arange(len(SENTENCES))


def test_each_side_reads_what_its_own_tokenizer_makes() -> None:
    batch = paired().collate(EVERYTHING, epoch=0)
    assert batch.teacher is not None
    for row, sentence in enumerate(SENTENCES):
        for tokenizer, view in ((STUDENT, batch), (TEACHER, batch.teacher)):
            text = tokenizer.encode(sentence, add_special=False).ids
            ids = view.original_ids[row].tolist()
            assert ids[: len(text) + 2] == [tokenizer.cls_id, *text, tokenizer.sep_id], sentence
            assert set(ids[len(text) + 2 :]) <= {tokenizer.pad_id}
            assert view.attention_mask[row].tolist() == view.valid_mask[row].tolist()
            assert int(view.attention_mask[row].sum()) == len(text) + 2
            assert view.word_index[row, 0] == view.word_index[row, len(text) + 1] == -1


def test_word_w_is_the_same_word_on_both_sides() -> None:
    batch = paired().collate(np.array([0, 1]), epoch=0)
    assert batch.teacher is not None
    spelled = []
    for tokenizer, view in ((STUDENT, batch), (TEACHER, batch.teacher)):
        words: dict[tuple[int, int], str] = {}
        for place in torch.nonzero(view.word_index >= 0).tolist():
            key = place[0], int(view.word_index[*place])
            words[key] = words.get(key, "") + tokenizer.token(int(view.original_ids[*place])).strip("▁#")
        spelled.append(words)
    assert spelled[0].keys() == spelled[1].keys()
    assert spelled[0][0, 1] == spelled[1][0, 1] == "gato" and spelled[1][0, 0] == "O"
    assert [spelled[0][1, word] for word in range(4)] == ["a", "gata", "corre", ","]


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_teacher_loses_the_words_that_the_student_is_asked_about(whole_words: bool) -> None:
    masked = 0
    for epoch in range(20):
        batch = paired(whole_words=whole_words).collate(EVERYTHING, epoch)
        view, width = batch.teacher, batch.input_ids.shape[1]
        assert view is not None
        asked = {(int(row) // width, int(batch.word_index.flatten()[row])) for row in batch.positions}
        masked += len(asked)
        for row, place in itertools.product(range(len(SENTENCES)), range(view.input_ids.shape[1])):
            hidden = (row, int(view.word_index[row, place])) in asked
            expected = TEACHER.mask_id if hidden else int(view.original_ids[row, place])
            assert int(view.input_ids[row, place]) == expected
    assert masked > 100


def test_the_students_masks_do_not_depend_on_the_teacher() -> None:
    class Alone(Pairs):
        has_words = False

        def __getitem__(self, index: int) -> NDArray[np.unsignedinteger]:
            return self.pairs[index].student_tokens

    alone = MaskedBatches(Alone(SENTENCES, TEACHER, STUDENT), STUDENT, MaskConfig(rate=0.3), batch_size=6, seed=1)
    one, two = alone.collate(EVERYTHING, 3), paired().collate(EVERYTHING, 3)
    assert one.teacher is None
    for name in ("input_ids", "original_ids", "attention_mask", "positions", "targets"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_a_rate_of_zero_masks_nothing() -> None:
    batch = paired(rate=0.0).collate(EVERYTHING, 0)
    assert batch.teacher is not None and len(batch.positions) == 0
    assert torch.equal(batch.input_ids, batch.original_ids)
    assert torch.equal(batch.teacher.input_ids, batch.teacher.original_ids)


@pytest.mark.parametrize("pools", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_a_prefix_stands_before_the_teachers_text_alone(apart: bool, pools: bool) -> None:
    """Of two tokenizations, or of one that both read; it is attended to, is no word, and counts where it is pooled."""
    reader, sequences = (TEACHER, Pairs(SENTENCES, TEACHER, STUDENT)) if apart else (STUDENT, Single(SENTENCES))
    prefix = tuple(reader.encode("gato", add_special=False).ids)
    options: dict[str, Any] = {"batch_size": 6, "seed": 1, "teacher_tokenizer": reader}
    batches = [
        MaskedBatches(sequences, STUDENT, MaskConfig(), teacher_prefix=before, pools_prefix=pools, **options)
        for before in ((), prefix)
    ]
    without, batch = (each.collate(EVERYTHING, epoch=0) for each in batches)
    plain, view = without.teacher, batch.teacher
    assert plain is not None and view is not None and len(prefix) > 0
    for name in ("input_ids", "original_ids", "valid_mask", "word_index", "positions", "targets"):
        assert torch.equal(getattr(batch, name), getattr(without, name)), name
    cut = len(prefix) + 1
    for name in ("input_ids", "original_ids"):
        ids, shorter = getattr(view, name), getattr(plain, name)
        assert ids[:, 1:cut].tolist() == [list(prefix)] * len(ids) and torch.equal(ids[:, 0], shorter[:, 0])
        assert torch.equal(ids[:, cut:], shorter[:, 1:])
    assert torch.equal(view.word_index[:, cut:], plain.word_index[:, 1:])
    assert bool((view.word_index[:, :cut] == -1).all())
    assert torch.equal(view.attention_mask[:, cut:], plain.attention_mask[:, 1:])
    assert bool((view.attention_mask[:, :cut] == 1).all())
    assert torch.equal(view.valid_mask[:, cut:], plain.valid_mask[:, 1:])
    assert view.valid_mask[:, :cut].all() if pools else not view.valid_mask[:, :cut].any()
    if not apart:
        assert torch.equal(plain.original_ids, without.original_ids)


def test_an_empty_share_has_an_empty_view() -> None:
    batch = paired().collate(EVERYTHING[:0], 0)
    assert batch.teacher is not None and not batch.teacher.valid_mask.any() and batch.tokens == 0
    assert batch.teacher.input_ids.tolist() == [[TEACHER.cls_id, TEACHER.sep_id]]


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 1), (2, 1), (1, 3), (4, 2)])
def test_the_same_masks_for_any_number_of_ranks(world_size: int, accumulation: int) -> None:
    whole = {}
    for batch in paired().micro_batches(2, rank=0, world_size=1, accumulation=1):
        whole = {int(i): (batch, row) for row, i in enumerate(batch.sequence_ids)}
    seen = 0
    for rank in range(world_size):
        for part in paired().micro_batches(2, rank=rank, world_size=world_size, accumulation=accumulation):
            for row, number in enumerate(part.sequence_ids.tolist()):
                batch, place = whole[number]
                for one, two in ((part, batch), (part.teacher, batch.teacher)):
                    length = int(one.attention_mask[row].sum())
                    assert torch.equal(one.input_ids[row, :length], two.input_ids[place, :length])
                seen += 1
    assert seen == len(SENTENCES)


def test_order_is_a_permutation_dealt_out_by_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 1000)
    order = epoch_order(np.arange(1000), lengths, 16, 10, seed=3, epoch=1)
    assert len(order) == 992 and len(set(order.tolist())) == 992
    assert np.array_equal(order, epoch_order(np.arange(1000), lengths, 16, 10, seed=3, epoch=1))
    assert not np.array_equal(order, epoch_order(np.arange(1000), lengths, 16, 10, seed=3, epoch=2))
    at_random = epoch_order(np.arange(1000), None, 16, 1, seed=3, epoch=1)
    assert set(at_random.tolist()) == set(order.tolist()), "the window changes neighbours, not who is read"

    def padding(numbers: NDArray[np.int64]) -> float:
        batches = lengths[numbers].reshape(-1, 16)
        return float(1 - batches.sum() / (batches.max(1) * 16).sum())

    assert padding(order) < padding(at_random) / 3
    means = lengths[order].reshape(-1, 16).mean(1)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.3, "short batches do not all come first"


def test_long_sequences_can_be_left_out() -> None:
    batches = MaskedBatches(
        Pairs(SENTENCES, TEACHER, STUDENT), STUDENT, MaskConfig(), batch_size=2, seed=1, teacher_tokenizer=TEACHER,
        order=OrderConfig(longest=20, window=2),
    )  # fmt: skip
    read = {int(i) for cursor in range(batches.batches_per_epoch * 3) for i in batches.global_batch(cursor)[1]}
    lengths = Pairs(SENTENCES, TEACHER, STUDENT).lengths(1) + 2  # the student's tokens, as in every other option
    assert lengths.tolist() != (Pairs(SENTENCES, TEACHER, STUDENT).lengths(0) + 2).tolist()
    assert read == set(np.flatnonzero(lengths <= 20).tolist()) and 0 < len(read) < len(SENTENCES)
    with pytest.raises(InputError, match=r"batch_size must be <= \d, the sequences of the corpus of at most 20 tokens"):
        MaskedBatches(
            Pairs(SENTENCES, TEACHER, STUDENT),
            STUDENT,
            MaskConfig(),
            batch_size=6,
            seed=1,
            order=OrderConfig(longest=20),
        )


def test_short_sequences_can_be_left_out() -> None:
    lengths = Pairs(SENTENCES, TEACHER, STUDENT).lengths(1) + 2
    for order in (OrderConfig(shortest=12), OrderConfig(shortest=12, longest=20)):
        batches = MaskedBatches(
            Pairs(SENTENCES, TEACHER, STUDENT), STUDENT, MaskConfig(), batch_size=1, seed=1,
            teacher_tokenizer=TEACHER, order=order,
        )  # fmt: skip
        wanted = np.flatnonzero((lengths >= 12) & (lengths <= (order.longest or 999))).tolist()
        assert batches.candidates.tolist() == wanted and 0 < len(wanted) < len(SENTENCES)
    with pytest.raises(InputError, match=r"batch_size must be <= \d, .* of at least 12 tokens, got 6"):
        MaskedBatches(
            Pairs(SENTENCES, TEACHER, STUDENT), STUDENT, MaskConfig(), batch_size=6, seed=1,
            order=OrderConfig(shortest=12),
        )  # fmt: skip


def test_a_part_of_the_corpus_spread_over_it() -> None:
    batches = MaskedBatches(
        Pairs(SENTENCES, TEACHER, STUDENT), STUDENT, MaskConfig(), batch_size=3, seed=1, teacher_tokenizer=TEACHER,
        order=OrderConfig(sequences=3),
    )  # fmt: skip
    assert batches.candidates.tolist() == [0, 2, 4] and batches.batches_per_epoch == 1
    assert sorted(batches.global_batch(5)[1].tolist()) == [0, 2, 4]


def test_masks_come_again_after_so_many_epochs() -> None:
    """With mask.epochs 2 the third pass has the first one's masks, in another order of sequences."""
    share = dict(rank=0, world_size=1, accumulation=1)

    def masked(epochs: int, cursor: int) -> dict[int, list[int]]:
        batches = MaskedBatches(
            Pairs(SENTENCES, TEACHER, STUDENT), STUDENT, MaskConfig(rate=0.5, epochs=epochs), batch_size=6, seed=1,
            teacher_tokenizer=TEACHER,
        )  # fmt: skip
        [batch] = batches.micro_batches(cursor, **share)
        ids = zip(batch.sequence_ids.tolist(), batch.input_ids.tolist(), strict=True)
        return {sequence: tokens for sequence, tokens in ids}

    assert masked(2, 0) == masked(2, 2) == masked(2, 4) == masked(0, 0)
    assert masked(2, 1) == masked(2, 3) != masked(2, 0)
    assert masked(0, 2) != masked(0, 0)


def bpe() -> Tokenizer:
    """Byte-level BPE: words begin with U+0120, letters beyond ASCII are two bytes."""
    backend = Backend(models.BPE(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    special = SpecialTokens()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special.spellings()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*TEXT, *SENTENCES], trainer)
    return Tokenizer(backend, special)


def word_level() -> Tokenizer:
    words = {
        word: place for place, word in enumerate([*SpecialTokens().spellings(), *"o gato dorme , . na rua".split()])
    }
    backend = Backend(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Tokenizer(backend, SpecialTokens())


MARKED = ["(o gato) dorme, na rua.", "sala,rua; gato!", "o gato-dorme... na 'rua'", "¿gato? «na rua»"]


@pytest.mark.parametrize("make", [unigram, bpe, word_level, lambda: STUDENT], ids=["unigram", "bpe", "words", "pieces"])
@pytest.mark.parametrize("sentence", [*SENTENCES[:4], *MARKED])
def test_words_of_one_tokenization_are_those_of_two(make: Callable[[], Tokenizer], sentence: str) -> None:
    """From the spelling of tokens alone, where the shards hold no number of pieces: same words as where they do."""
    tokenizer = make()
    if make is bpe and not sentence.isascii():
        pytest.skip("a mark beyond ASCII is several tokens of bytes, none of which says so")
    encoder = WordEncoder([tokenizer], 254)
    split, [[ids]] = encoder.encode([sentence])
    [[counts]] = encoder.pieces(split)
    pieces = np.frombuffer(counts, encoder.piece_dtype)
    tokens = np.frombuffer(ids, encoder.token_dtypes[0])
    found = padded(tokenizer, [tokens], WordStarts(tokenizer))
    assert found.words[0, 1:-1].tolist() == np.repeat(np.arange(len(pieces)), pieces).tolist()


@pytest.mark.parametrize("side", ["tokens", "student_tokens", "pieces"])
def test_an_id_beyond_the_vocabulary_reaches_no_model(side: str) -> None:
    class Damaged(Pairs):
        def pair(self, index: int) -> WordPair:
            return replace(self.pairs[index], **{side: np.full_like(getattr(self.pairs[index], side), 60)})

    batches = MaskedBatches(
        Damaged(SENTENCES, TEACHER, STUDENT), STUDENT, MaskConfig(), batch_size=2, seed=1, teacher_tokenizer=TEACHER
    )
    with pytest.raises(InputError, match=r"holds id 60, the vocabulary that reads it ends at \d+|words do not add up"):
        batches.collate(EVERYTHING, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"longest": 2}, "order.longest must be 0 or >= 3, got 2"),
        ({"window": 0}, "order.window must be >= 1, got 0"),
        ({"shortest": 9, "longest": 8}, r"order.shortest must be <= order.longest \(8\), got 9"),
    ],
)
def test_bad_orders(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OrderConfig(**options)


def test_words_of_two_thousand_real_sentences(shared_data: Path) -> None:
    """Unigram and WordPiece on real text: words are the same stretches of it, and every token is where it belongs."""
    teacher, student = (
        Tokenizer.from_pretrained(shared_data / "models" / each) for each in ("e5-small-pt", "bert-tiny")
    )
    sentences: list[str] = []
    for source in ("sentences", "news", "literature", "blogs"):
        with gzip.open(shared_data / "corpus" / f"{source}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts = (json.loads(line)["text"].split("\n") for line in lines)
            found = (each for text in texts for paragraph in text for each in split_sentences(paragraph))
            sentences += itertools.islice((each for each in found if 0 < len(each) < 300), 500)
    pairs = Pairs(sentences, teacher, student)
    differ = words = 0
    for sentence, pair in zip(sentences, pairs.pairs, strict=True):
        kept = zip((teacher, student), (pair.tokens, pair.student_tokens), strict=True)
        differ += any(each.encode(sentence, add_special=False).ids != ids.tolist() for each, ids in kept)
        assert len(pair.pieces) == len(pair.student_pieces) and min(pair.pieces.min(), pair.student_pieces.min()) > 0
        words += len(pair.pieces)
        for one, two in zip(
            spelling(teacher, pair.tokens, pair.pieces),
            spelling(student, pair.student_tokens, pair.student_pieces),
            strict=True,
        ):
            assert one == two or "unk" in one + two, (sentence, one, two)
    assert len(sentences) == 2000 and words > 20_000
    assert differ <= 1


def spelling(
    tokenizer: Tokenizer, tokens: NDArray[np.unsignedinteger], pieces: NDArray[np.unsignedinteger]
) -> list[str]:
    """What each word says, without case and accents; "unk" where a token is unknown."""
    fold = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(lowercase=True, strip_accents=True)])
    ends = np.cumsum(pieces.astype(int))
    texts = [
        "".join(tokenizer.token(int(i)).removeprefix("##") for i in tokens[end - count : end])
        for end, count in zip(ends, pieces.astype(int), strict=True)
    ]
    folded = ["".join(fold.normalize_str(each.replace("▁", "")).split()) for each in texts]
    return ["unk" if "unk" in text.lower() else each for text, each in zip(texts, folded, strict=True)]
