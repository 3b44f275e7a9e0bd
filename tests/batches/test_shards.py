"""What is written is read back; what is damaged or does not fit is refused by name."""

import json
import pickle
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from tinydistil.base.errors import InputError
from tinydistil.base.files import sha256_of, sha256_of_ends, write_json
from tinydistil.batches.manifest import FORMAT_VERSION, check_fit
from tinydistil.batches.shards import ShardBuilder, TokenShards, verify
from tinydistil.corpus.document_step import build_sequences
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.tokenizer.word_encoder import WordEncoder

Sentences = Callable[[random.Random], list[str]]
Corpus = tuple[Path, list[list[int]]]


def write_corpus(folder: Path, documents: list[list[str]], encoder: WordEncoder, *, a_shard: int) -> list[list[int]]:
    """Shards of `a_shard` documents each; returns the tokens of every sequence on the first side."""
    entries, expected = [], []
    for number, first in enumerate(range(0, len(documents), a_shard)):
        builder = ShardBuilder(encoder)
        for sentences in documents[first : first + a_shard]:
            document = build_sequences(sentences, encoder)
            tokens = np.frombuffer(document.ids[0], encoder.token_dtypes[0]).tolist() if document.sizes else []
            for size in document.sizes:
                expected.append(tokens[: size[0]])
                tokens = tokens[size[0] :]
            builder.add(document)
        entries.append(builder.write(folder, "train", number))
    manifest = {
        "version": FORMAT_VERSION,
        "tokenizer": {"fingerprint": "a" * 64},
        "student_tokenizer": None,
        "shards": [asdict(entry) for entry in entries if entry is not None],
    }
    write_json(folder / "manifest.json", manifest)
    return expected


@pytest.fixture
def corpus(tmp_path: Path, cased: Tokenizer, random_sentences: Sentences) -> Corpus:
    source = random.Random(1)
    documents = [random_sentences(source) for _ in range(40)]
    return tmp_path, write_corpus(tmp_path, documents, WordEncoder([cased], 30), a_shard=15)


def test_every_sequence_comes_back(corpus: Corpus) -> None:
    folder, expected = corpus
    shards = TokenShards.open(folder)
    assert len(shards) == len(expected) > 40
    assert [shards[index].tolist() for index in range(len(shards))] == expected
    assert shards.lengths().tolist() == list(map(len, expected))
    assert shards[3].dtype == np.uint16
    assert not shards[3].flags.owndata and not shards[3].flags.writeable, "a read-only view of the file"


def test_index_out_of_range(corpus: Corpus) -> None:
    shards = TokenShards.open(corpus[0])
    for index in (-1, len(shards)):
        with pytest.raises(IndexError, match=str(len(shards))):
            shards[index]


def test_pickles_as_a_name(corpus: Corpus) -> None:
    shards = TokenShards.open(corpus[0])
    again = pickle.loads(pickle.dumps(shards))
    assert len(pickle.dumps(shards)) < 1000 and again[5].tolist() == shards[5].tolist()


def test_both_tokenizations(tmp_path: Path, cased: Tokenizer, uncased: Tokenizer, random_sentences: Sentences) -> None:
    source = random.Random(2)
    documents = [random_sentences(source) for _ in range(30)]
    encoder = WordEncoder([cased, uncased], 30)
    expected = write_corpus(tmp_path, documents, encoder, a_shard=20)
    shards = TokenShards.open(tmp_path)
    all_student = [shards.pair(index).student_tokens.tolist() for index in range(len(shards))]
    assert [token for sequence in all_student for token in sequence] == [
        token
        for sentences in documents
        for token in np.frombuffer(build_sequences(sentences, encoder).ids[1], "<u2").tolist()
    ]
    for index in range(len(shards)):
        pair = shards.pair(index)
        assert pair.tokens.tolist() == expected[index]
        assert len(pair.pieces) == len(pair.student_pieces) and pair.pieces.dtype == np.uint8
        assert pair.pieces.sum() == len(pair.tokens) and pair.student_pieces.sum() == len(pair.student_tokens)
        assert max(len(pair.tokens), len(pair.student_tokens)) <= 30


def test_one_tokenization_has_no_pairs(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="--student-tokenizer"):
        TokenShards.open(corpus[0]).pair(0)


def test_a_split_without_shards_is_empty(corpus: Corpus) -> None:
    assert len(TokenShards.open(corpus[0], split="validation")) == 0


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def edit(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("position", [0, 9, 60, 500, -1])
def test_flipped_bytes_are_found(corpus: Corpus, position: int) -> None:
    folder, _ = corpus
    assert len(verify(folder)) == 3
    flip(folder / "train-000001.safetensors", position)
    with pytest.raises(InputError, match=r"train-000001.safetensors: sha256 .* --overwrite"):
        verify(folder)


def zero(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count] + bytes(count))


def head(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


def rewrite(folder: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the first shard, and what the manifest says of its bytes with it."""
    path = folder / "train-000000.safetensors"
    path.write_bytes(change(path.read_bytes()))
    said = {"bytes": path.stat().st_size, "sha256": sha256_of(path), "sha256_of_ends": sha256_of_ends(path)}
    edit(folder, lambda manifest: manifest["shards"][0].update(said))


def reset(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change the arrays of the first shard, and its hashes with them."""
    tensors = load_file(folder / "train-000000.safetensors")
    change(tensors)
    rewrite(folder, lambda _: save(tensors))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json does not exist; make"),
    "cut manifest": (
        lambda folder: (folder / "manifest.json").write_text('{"version": 1'),
        "manifest.json' is not valid JSON",
    ),
    "list for manifest": (lambda folder: (folder / "manifest.json").write_text("[]"), "must hold a JSON object"),
    "binary manifest": (
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff\x00"),
        "manifest.json' is not UTF-8",
    ),
    "other version": (
        lambda folder: edit(folder, lambda m: m.update(version=9)),
        "version is 9, this program reads 1",
    ),
    "no shard list": (lambda folder: edit(folder, lambda m: m.pop("shards")), "no list of shards"),
    "field missing": (lambda folder: edit(folder, lambda m: m["shards"][0].pop("sha256")), "sha256"),
    "field of another type": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(bytes="9")),
        "shards.bytes",
    ),
    "unknown field": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(colour=9)),
        "shards.colour",
    ),
    "shards of text": (lambda folder: edit(folder, lambda m: m.update(shards=["x"])), "bad list of shards"),
    "shard gone": (
        lambda folder: (folder / "train-000002.safetensors").unlink(),
        "train-000002.safetensors is missing",
    ),
    "shard cut short": (
        lambda folder: (folder / "train-000000.safetensors").write_bytes(b"{}"),
        r"train-000000.safetensors has 2 bytes, its manifest says [\d,]+",
    ),
    "header damaged": (
        lambda folder: flip(folder / "train-000000.safetensors", 8),
        "train-000000.safetensors: damaged header",
    ),
    "array's name damaged": (
        lambda folder: flip(folder / "train-000000.safetensors", 11),
        "train-000000.safetensors: damaged header",
    ),
    "header's length damaged": (
        lambda folder: flip(folder / "train-000000.safetensors", 7),
        "damaged header",
    ),
    "name of another folder": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(file="../train-000000.safetensors")),
        r"shards.file '../train-000000.safetensors' is no shard",
    ),
    "whole path": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(file=str(folder / "train-000000.safetensors"))),
        "is no shard of split 'train'",
    ),
    "shard of the other split": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(split="validation")),
        "is no shard of split 'validation'",
    ),
    "unknown split": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(split="test")),
        "shards.split 'test'",
    ),
    "no sequences": (lambda folder: edit(folder, lambda m: m["shards"][0].update(sequences=0)), "shards.sequences"),
    "negative tokens": (lambda folder: edit(folder, lambda m: m["shards"][0].update(tokens=-1)), "shards.tokens"),
    "true bytes": (lambda folder: edit(folder, lambda m: m["shards"][0].update(bytes=True)), "shards.bytes"),
    "more than 64 bits": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(sequences=10**30)),
        "shards.sequences",
    ),
    "a shard twice": (lambda folder: edit(folder, lambda m: m["shards"].append(m["shards"][0])), "one twice"),
    "settings of a list": (
        lambda folder: edit(folder, lambda m: m.update(config=[1])),
        "config.max_length is no whole",
    ),
    "tokenizer of text": (lambda folder: edit(folder, lambda m: m.update(tokenizer="x")), "tokenizer.vocab_size is no"),
    "length of 30 digits": (
        lambda folder: edit(folder, lambda m: m.update(config={"max_length": 10**30})),
        "of at most 65,536",
    ),
    "length as text": (
        lambda folder: edit(folder, lambda m: m.update(config={"max_length": "9"})),
        "is no whole number",
    ),
    "vocabulary of none": (
        lambda folder: edit(folder, lambda m: m["tokenizer"].update(vocab_size=-3)),
        "is no whole number",
    ),
    "zeroed tail": (lambda folder: zero(folder / "train-000001.safetensors", 40), "damaged at its beginning or end"),
    "header within header": (lambda folder: rewrite(folder, lambda data: head(b"[" * 9000) + data), "damaged header"),
    "header beyond the file": (
        lambda folder: rewrite(folder, lambda data: (1 << 60).to_bytes(8, "little") + data[8:]),
        "damaged header",
    ),
    "numbers before the file": (
        lambda folder: rewrite(folder, lambda data: data.replace(b'"data_offsets":[0,', b'"data_offsets":[-8,')),
        "damaged header",
    ),
    "nothing but a header": (lambda folder: rewrite(folder, lambda data: head(b"{}")), "damaged header"),
    "nothing": (lambda folder: rewrite(folder, lambda data: b""), "damaged header|shards.bytes"),
    "first offset": (lambda folder: reset(folder, lambda t: t["offsets"].put(0, 1)), "does not match manifest"),
    "last offset": (lambda folder: reset(folder, lambda t: t["offsets"].put(-1, 10**6)), "does not match manifest"),
    "offsets of 32 bits": (
        lambda folder: reset(folder, lambda t: t.update(offsets=t["offsets"].astype("<u4"))),
        "does not match manifest",
    ),
    "signed tokens": (
        lambda folder: reset(folder, lambda t: t.update(tokens=t["tokens"].astype("<i2"))),
        "damaged header",
    ),
    "counts do not fit": (
        lambda folder: edit(folder, lambda m: m["shards"][0].update(tokens=9)),
        "does not match manifest",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(corpus: Corpus, case: str) -> None:
    damage, message = DAMAGE[case]
    damage(corpus[0])
    with pytest.raises(InputError, match=message):
        TokenShards.open(corpus[0])


WITHIN: dict[str, Callable[[dict[str, np.ndarray]], object]] = {
    "an offset beyond the end": lambda t: t["offsets"].put(3, 10**9),
    "an offset of 64 bits": lambda t: t["offsets"].put(3, 2**64 - 1),
    "an offset before the last": lambda t: t["offsets"].put(3, 0),
    "a sequence of nothing": lambda t: t["offsets"].put(3, t["offsets"][2]),
    "a sequence of all": lambda t: t["offsets"].put(range(1, 5), [0, 0, 0, t["offsets"][-1]]),
    "an id beyond the vocabulary": lambda t: t["tokens"].put(5, 60_000),
    "the first id beyond": lambda t: t["tokens"].put(9, VOCABULARY),
}
BETWEEN: dict[str, Callable[[dict[str, np.ndarray]], object]] = {
    "a student's offset": lambda t: t["student_offsets"].put(3, 10**9),
    "a student's id": lambda t: t["student_tokens"].put(3, 60_000),
    "an offset of words": lambda t: t["word_offsets"].put(3, 10**9),
    "pieces of a word": lambda t: t["pieces"].put(0, t["pieces"][0] + 1),
    "a student's pieces": lambda t: t["student_pieces"].put(1, 200),
    "pieces without a word": lambda t: t["pieces"].put(1, 0),
}
VOCABULARY = 5000


def read_all(folder: Path) -> None:
    shards = TokenShards.open(folder)
    for index in range(len(shards)):
        shards.pair(index) if shards.has_words else shards[index]


@pytest.mark.parametrize("case", [*WITHIN, *BETWEEN])
def test_damage_within_is_named_where_it_is_read(
    case: str, tmp_path: Path, cased: Tokenizer, uncased: Tokenizer, random_sentences: Sentences
) -> None:
    """Whatever the hashes say: of an index that is out of range numpy gives less, and a model garbage."""
    source = random.Random(3)
    documents = [random_sentences(source) for _ in range(20)]
    write_corpus(tmp_path, documents, WordEncoder([cased, uncased][: 2 if case in BETWEEN else 1], 30), a_shard=20)
    edit(tmp_path, lambda m: m.update(config={"max_length": 32}))
    edit(tmp_path, lambda m: m["tokenizer"].update(vocab_size=VOCABULARY))
    edit(tmp_path, lambda m: m.update(student_tokenizer={"fingerprint": "b", "vocab_size": VOCABULARY}))
    read_all(tmp_path)
    verify(tmp_path)
    reset(tmp_path, (WITHIN | BETWEEN)[case])
    with pytest.raises(InputError, match=r"train-000000.safetensors is damaged, .* prepare it again with --overwrite"):
        read_all(tmp_path)
    with pytest.raises(InputError, match=r"train-000000.safetensors is damaged, it holds what no"):
        verify(tmp_path)
    if case in WITHIN and "id" not in case:
        with pytest.raises(InputError, match="its sequences have no such lengths"):
            TokenShards.open(tmp_path).lengths()


def test_a_corpus_of_no_shards_is_not_verified(corpus: Corpus) -> None:
    edit(corpus[0], lambda manifest: manifest.update(shards=[]))
    with pytest.raises(InputError, match="lists no shard"):
        verify(corpus[0])


def test_corpora_without_hashes_of_ends_are_read(corpus: Corpus) -> None:
    """As earlier versions wrote them."""
    edit(corpus[0], lambda manifest: [each.pop("sha256_of_ends") for each in manifest["shards"]])
    read_all(corpus[0])
    assert len(verify(corpus[0])) == 3


def test_another_tokenizer_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InputError, match=r"fingerprint of tokenizer is aaaaaaaaaaaa, that of the one given bbbb"):
        check_fit(corpus[0], "b" * 64, None)
    with pytest.raises(InputError, match=r"fingerprint of student_tokenizer is None"):
        check_fit(corpus[0], None, "b" * 64)


def test_an_unknown_split_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="train, validation, got 'test'"):
        TokenShards.open(corpus[0], split="test")


def test_no_documents_write_no_shard(tmp_path: Path, cased: Tokenizer) -> None:
    assert ShardBuilder(WordEncoder([cased], 30)).write(tmp_path, "train", 0) is None
    assert list(tmp_path.iterdir()) == []
