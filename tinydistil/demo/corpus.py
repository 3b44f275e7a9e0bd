"""What the demonstration learns from and is examined on: texts, two vocabularies, three tasks, all from the grammar."""

import json
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tinydistil.base.claim import LOCK, Ownership
from tinydistil.demo.embedded.documents import documents
from tinydistil.tokenizer.train_wordpiece import train_wordpiece

MARK = "demo.json"
# Streams of the grammar: what is examined is never told in what is learnt from.
TRAINING, EXAMINATION = 1, 2
# What follows from the size of a vocabulary is the same from a part of the text.
_VOCABULARY_DOCUMENTS = 4000


@dataclass(frozen=True, slots=True)
class Texts:
    """Where `make_texts` put things, and the sentences that nobody learns from."""

    folder: Path
    num_held_out: int

    @property
    def corpus(self) -> Path:
        """The documents to learn from, JSON lines."""
        return self.folder / "corpus.jsonl"

    @property
    def teacher_vocabulary(self) -> Path:
        """Cased, with accents, as BERTimbau's."""
        return self.folder / "teacher-vocabulary"

    @property
    def student_vocabulary(self) -> Path:
        """Lower-cased, without accents, as bert-tiny's."""
        return self.folder / "student-vocabulary"

    @property
    def held_out(self) -> list[str]:
        """Paragraphs of `num_held_out` documents of another stream of the grammar."""
        return [line for text in documents(EXAMINATION, self.num_held_out) for line in text.split("\n")]


def make_texts(output: Path, *, num_documents: int, vocab_size: int) -> None:
    """Write corpus and vocabularies into `output`. The same numbers give the same bytes."""
    texts, made = list(documents(TRAINING, num_documents)), Texts(output, 0)
    with made.corpus.open("w", encoding="utf-8") as stream:
        for number, text in enumerate(texts):
            stream.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")
    some = texts[:_VOCABULARY_DOCUMENTS]
    train_wordpiece(some, vocab_size).save_pretrained(made.teacher_vocabulary)
    train_wordpiece(some, vocab_size, lowercase=True, strip_accents=True).save_pretrained(made.student_vocabulary)


def claim(output: Path) -> AbstractContextManager[None]:
    """Hold `output`, an empty folder or one with an earlier demonstration, which goes. InputError for any other."""

    def clear() -> None:
        # The mark stays, so that an interrupted demonstration stays known as one.
        for path in output.iterdir() if (output / MARK).exists() else ():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (MARK, LOCK):
                path.unlink()

    ownership = Ownership(MARK, ours=lambda name: False, must_agree=lambda name: False)
    return ownership.claim(output, {}, prepare=clear)
