"""Tokenizers of every family of encoders, trained on real text: the ids of `transformers`, and of words one by one."""

import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import (
    Tokenizer as Backend,
)

from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.tokenizer.word_encoder import WordEncoder

ANGLES = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
SQUARE = {"cls_token": "[CLS]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]",
          "mask_token": "[MASK]"}  # fmt: skip


def real_lines(data: Path, count: int) -> list[str]:
    """Lines of news, documentation and old books, some empty, as they are."""
    found: list[str] = []
    for source in ("news", "docs", "literature"):
        with gzip.open(data / "corpus" / f"{source}.jsonl.gz", "rt", encoding="utf-8") as documents:
            lines = (line for document in documents for line in json.loads(document)["text"].split("\n"))
            found += islice(lines, count // 3 + 1)
    return found[:count]


def templated(backend: Backend, special: dict[str, str], twice: bool = False) -> Backend:
    cls, sep = special["cls_token"], special["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} {sep} $B {sep}" if twice else f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(each, backend.token_to_id(each)) for each in (cls, sep)],
    )
    return backend


def byte_level(lines: list[str]) -> tuple[Backend, dict[str, str]]:
    """RoBERTa's, GPT-2's and ModernBERT's kind; the mask takes the space before it."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=list(ANGLES.values()), initial_alphabet=alphabet,
                                  show_progress=False)  # fmt: skip
    backend.train_from_iterator(lines, trainer)
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", backend.token_to_id("</s>")), ("<s>", backend.token_to_id("<s>")), add_prefix_space=False
    )
    return backend, ANGLES


def unigram(lines: list[str]) -> tuple[Backend, dict[str, str]]:
    """XLM-R's, CamemBERT's and ALBERT's kind: SentencePiece's Unigram."""
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=1500, special_tokens=list(ANGLES.values()), unk_token="<unk>",
                                      show_progress=False)  # fmt: skip
    backend.train_from_iterator(lines, trainer)
    return templated(backend, ANGLES, twice=True), ANGLES


def deberta(lines: list[str]) -> tuple[Backend, dict[str, str]]:
    """DeBERTa-v2's: Unigram with BERT's names of special tokens."""
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=1500, special_tokens=list(SQUARE.values()), unk_token="[UNK]",
                                      show_progress=False)  # fmt: skip
    backend.train_from_iterator(lines, trainer)
    return templated(backend, SQUARE), SQUARE


def word_piece(lines: list[str]) -> tuple[Backend, dict[str, str]]:
    """BERT's, DistilBERT's and ELECTRA's."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=list(SQUARE.values()), show_progress=False)
    backend.train_from_iterator(lines, trainer)
    return templated(backend, SQUARE), SQUARE


KINDS: dict[str, Callable[[list[str]], tuple[Backend, dict[str, str]]]] = {
    "byte-level BPE": byte_level, "Unigram": unigram, "Unigram, DeBERTa's": deberta, "WordPiece": word_piece,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_of_transformers(kind: str, real_data: Path, tmp_path: Path) -> None:
    """5,000 lines alone, some with a mask, and in pairs."""
    lines = real_lines(real_data, 5000)
    assert len(lines) == 5000
    backend, special = KINDS[kind](lines[::3])
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.from_pretrained(tmp_path)
    lines = [line.replace(" de ", f" {special['mask_token']} ") if n % 7 == 0 else line for n, line in enumerate(lines)]
    assert [each.ids for each in ours.encode_all(lines)] == theirs(lines)["input_ids"]
    pairs = theirs(lines[:500], lines[500:1000])
    found = ours.encode_all(lines[:500], lines[500:1000])
    assert [each.ids for each in found] == pairs["input_ids"]
    names = ("mask", "pad", "cls", "sep", "unk")
    assert [getattr(ours, f"{name}_id") for name in names] == [getattr(theirs, f"{name}_token_id") for name in names]


@pytest.mark.parametrize("kind", KINDS)
def test_words_one_by_one(kind: str, real_data: Path, tmp_path: Path) -> None:
    """What a corpus is prepared by: the ids of the whole sentence, behind a space where bytes mark words by it."""
    lines = [" ".join(line.split()) for line in real_lines(real_data, 600)]
    backend, special = KINDS[kind](lines)
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path)
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    encoder = WordEncoder([tokenizer], 500)
    _, (ids,) = encoder.encode(lines)
    behind = " " if kind == "byte-level BPE" else ""
    whole = tokenizer.encode_all([behind + line if line else line for line in lines], add_special=False)
    assert [each.ids for each in whole] == [np.frombuffer(found, "<u2").tolist() for found in ids]


@pytest.mark.parametrize("kind", KINDS)
def test_what_tokens_stand_for(kind: str, real_data: Path, tmp_path: Path) -> None:
    """The spellings of a text's tokens are its letters, whatever marks or bytes the vocabulary is written in."""
    backend, special = KINDS[kind](real_lines(real_data, 3000))
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path)
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    text = "corrupção não é opinião , disse o senador"
    spelled = [tokenizer.spelling(i) for i in tokenizer.encode(text, add_special=False).ids]
    # A letter of two bytes may be two tokens, of which neither is one.
    whole = "".join(spelled) if kind != "byte-level BPE" else "".join(each for each in spelled if "\ufffd" not in each)
    expected = text.replace(" ", "")
    expected = "corrupcaonaoeopiniao,disseosenador" if kind == "WordPiece" else expected
    assert whole == expected or (kind == "byte-level BPE" and set(whole) <= set(expected) and len(whole) > 25)
    assert not any(mark in "".join(spelled) for mark in ("\u2581", "\u0120", "##", "Ã"))
