"""The fingerprint in a manifest is the one that training asks for."""

from pathlib import Path

from tinydistil.tokenizer.sides import load_side
from tinydistil.tokenizer.tokenizer import Tokenizer


def test_fingerprint_and_unknown_are_the_tokenizers(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\na\n##b\n")
    mine, theirs = load_side(tmp_path), Tokenizer.from_pretrained(tmp_path)
    assert mine.name.fingerprint == theirs.fingerprint
    assert mine.name.vocab_size == theirs.vocab_size == 7
    assert mine.side.unknown_id == theirs.unk_id == 4
    assert mine.side.tokenizer.to_str() == theirs.backend.to_str()
