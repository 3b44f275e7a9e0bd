"""What is written is read back; what is damaged or does not fit is refused by name."""

import json
import pickle
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tinydistil.data.sequences import build_sequences
from tinydistil.data.shards import FORMAT_VERSION, ShardBuilder, TokenShards, verify
from tinydistil.data.words import Side, WordEncoder
from tinydistil.errors import InputError
from tinydistil.files import write_json

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
def corpus(tmp_path: Path, cased: Side, random_sentences: Sentences) -> Corpus:
    source = random.Random(1)
    documents = [random_sentences(source) for _ in range(40)]
    return tmp_path, write_corpus(tmp_path, documents, WordEncoder([cased], 30), a_shard=15)


def test_every_sequence_comes_back(corpus: Corpus) -> None:
    folder, expected = corpus
    shards = TokenShards.open(folder, tokenizer_fingerprint="a" * 64)
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


def test_both_tokenizations(tmp_path: Path, cased: Side, uncased: Side, random_sentences: Sentences) -> None:
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


def test_another_tokenizer_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InputError, match=r"fingerprint of tokenizer is aaaaaaaaaaaa, that of the one given bbbb"):
        TokenShards.open(corpus[0], tokenizer_fingerprint="b" * 64)
    with pytest.raises(InputError, match=r"fingerprint of student_tokenizer is None"):
        TokenShards.open(corpus[0], student_fingerprint="b" * 64)


def test_an_unknown_split_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="train, validation, got 'test'"):
        TokenShards.open(corpus[0], split="test")


def test_no_documents_write_no_shard(tmp_path: Path, cased: Side) -> None:
    assert ShardBuilder(WordEncoder([cased], 30)).write(tmp_path, "train", 0) is None
    assert list(tmp_path.iterdir()) == []
