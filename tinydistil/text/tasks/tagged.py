"""Tagged sentences from CoNLL files: a word and its tag a line, an empty line between sentences."""

from collections.abc import Iterator
from pathlib import Path

from tinydistil.errors import InputError
from tinydistil.text.document import BadRecord
from tinydistil.text.tasks.records import TaggedSentence, TaskData, checked, existing, is_sound


def read_conll(path: Path, *, encoding: str = "utf-8") -> TaskData[TaggedSentence]:
    """The sentences of `path`. The first column is the word, the last its tag: "O", "B-TYPE" or "I-TYPE", or bare.

    A sentence with a line that has no tag, a tag such as "B-" or "X-LOCAL" in a file of "B-" and "I-" tags, or bytes
    not of the encoding is set aside whole, with that line's number. Raises InputError where none is left.
    """
    if existing(path).suffix.lower() not in (".conll", ".txt", ".tsv", ".iob"):
        raise InputError(f"{str(path)!r} is of no known tagging format; known endings: .conll, .iob, .tsv, .txt")
    rows: list[TaggedSentence] = []
    bad: list[BadRecord] = []
    for sentence in _sentences(path):
        words, tags, trouble = [], [], None
        for number, line in sentence:
            word, tag, reason = _word(line, encoding)
            trouble = trouble or (reason and BadRecord(str(path), number, reason))
            words.append(word)
            tags.append(tag)
        if trouble:
            bad.append(trouble)
        elif words:
            rows.append(TaggedSentence(tuple(words), tuple(tags)))
    return checked(path, rows, bad)


def _sentences(path: Path) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of each sentence with their numbers; document marks left out."""
    lines: list[tuple[int, bytes]] = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                yield lines
                lines = []
            elif not line.startswith(b"-DOCSTART-"):
                lines.append((number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line))
    yield lines


def _word(line: bytes, encoding: str) -> tuple[str, str, str | None]:
    """Word, tag and what is wrong with them."""
    try:
        text = line.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        return "", "", f"not {encoding} (byte {error.start}: {error.reason})"
    columns = text.split("\t") if "\t" in text else text.split()
    if len(columns) < 2 or not columns[-1].strip():
        return "", "", "no tag beside the word"
    word, tag = columns[0].strip(), columns[-1].strip()
    prefix, dash, kind = tag.partition("-")
    if dash and (not kind or (len(prefix) == 1 and prefix not in "BI")):
        return word, tag, f"tag {tag!r} does not fit IOB2: O, B-TYPE or I-TYPE"
    return word, tag, None if is_sound(word) else "the word is empty"
