"""A vocabulary trained on a run's own corpus, for a model that starts from nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

from tinydistil.data.settings import PrepareConfig
from tinydistil.errors import InputError, require
from tinydistil.files import read_json, write_json
from tinydistil.text.clean import clean_document
from tinydistil.text.document import BadRecord
from tinydistil.text.files import find_files
from tinydistil.text.readers import parse_record, read_records
from tinydistil.text.tokenizer import Tokenizer
from tinydistil.text.train_wordpiece import train_wordpiece

VOCABULARY = "vocabulary"
_ASKED = "trained_on.json"
# Word counts have settled long before; and the trainer holds every distinct word in memory.
MOST_CHARACTERS = 100_000_000


def vocabulary_for(corpus: tuple[str, ...], prepare: PrepareConfig, output: Path, size: int, *, rank: int) -> Path:
    """Folder `output`/vocabulary with a cased WordPiece vocabulary of at most `size` tokens, trained on `corpus`.

    Found there where an earlier start of the run made it. Rank 0 works, the others wait for it. Raises InputError for
    a corpus without text, and for a vocabulary there that another corpus or size was asked for.
    """
    folder = output / VOCABULARY
    asked = {"corpus": list(corpus), "vocab_size": size}
    if rank != 0:
        while not (folder / _ASKED).exists():
            time.sleep(0.5)
        return folder
    if (folder / _ASKED).exists():
        found = read_json(folder / _ASKED)
        for name, value in asked.items():
            require(
                found.get(name) == value,
                f"{str(folder)!r} was trained with {name} = {found.get(name)!r}, now it is {value!r}; "
                "give the same value, or another --output",
            )
        return folder
    texts = list(_texts(corpus, prepare))
    require(
        bool(texts), f"corpus {', '.join(corpus)} holds no text that the cleaning rules keep; see scripts/prepare.py"
    )
    tokenizer: Tokenizer = train_wordpiece(texts, size)
    try:
        tokenizer.save_pretrained(folder)
        write_json(folder / _ASKED, asked)  # last: it tells the other ranks, and a later start, that all is there
    except OSError as error:
        raise InputError(f"cannot write {str(folder)!r}: {error.strerror}") from None
    return folder


def _texts(corpus: tuple[str, ...], prepare: PrepareConfig) -> Iterator[str]:
    """Clean documents, up to `MOST_CHARACTERS` in all."""
    left = MOST_CHARACTERS
    for path in find_files(corpus):
        for record in read_records(path, prepare.read):
            document = record if isinstance(record, BadRecord) else parse_record(record, prepare.read)
            if isinstance(document, BadRecord):
                continue
            cleaned = clean_document(document, prepare.clean)
            if cleaned.dropped_by is None:
                yield cleaned.document.text
                left -= len(cleaned.document.text)
            if left <= 0:
                return
