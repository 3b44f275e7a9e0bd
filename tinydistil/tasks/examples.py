"""What task files hold: labelled texts and pairs, tagged sentences, questions with their answers."""

import hashlib
import random
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Generic, TypeAlias, TypeVar

from tinydistil.base.config import Checked, Range, Seed, Share
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import is_utf8, read_text
from tinydistil.corpus.readers import ReadConfig, read_records
from tinydistil.corpus.records import BadRecord, DamagedFile, Record, kind_of, open_stream, plain_name
from tinydistil.corpus.tables import parquet_rows
from tinydistil.model.config import memory_there

# Of one task file, which is held in memory several times over; SQuAD has 30 MB.
LARGEST_BYTES = 1_000_000_000
# Characters of a context: a long novel, about 4,000 windows of 128 tokens for each question.
LONGEST_TEXT = 1_000_000


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, or a pair of texts, and its label: a class's name, or a number's spelling where a number is asked for."""

    text: str
    second: str | None
    label: str


@dataclass(frozen=True, slots=True)
class ScoredText(LabelledText):
    """One with a number beside its class, spelled as there."""

    number: str


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """Words and their tags, equally many."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question on a context; `answers` are (text, first character in the context), each a right one."""

    identifier: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]


ExampleT = TypeVar("ExampleT", LabelledText, TaggedSentence, Question)
Example: TypeAlias = LabelledText | TaggedSentence | Question


@dataclass(frozen=True, slots=True)
class TaskData(Generic[ExampleT]):
    """A task file: its sound examples, what was set aside, with line and reason, and what a user should know."""

    examples: tuple[ExampleT, ...]
    bad: tuple[BadRecord, ...]
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """How many rows were read and set aside, the first five of these by line, and the notes; one line each."""
        lines: list[str] = [f"{len(self.examples)} rows, {len(self.bad)} set aside", *map(str, self.bad[:5])]
        lines += [f"and {len(self.bad) - 5} more"] if len(self.bad) > 5 else []
        return "\n  ".join([*lines, *self.notes])


def data_of(path: Path, found: Iterable[tuple[int, ExampleT | str]], notes: Sequence[str] = ()) -> TaskData[ExampleT]:
    """What lines of `path` hold: an example, or why there is none. Raises InputError where no line has one."""
    found = list(found)
    examples = tuple(each for _, each in found if not isinstance(each, str))
    bad = tuple(BadRecord(str(path), line, each) for line, each in found if isinstance(each, str))
    reason = f"; the first of {len(bad)} set aside: {bad[0]}" if bad else ": it is empty"
    require(bool(examples), f"{str(path)!r} holds no usable row{reason}")
    return TaskData(examples, bad, tuple(notes))


def portions(examples: Iterable[ExampleT], most: int) -> Iterator[list[ExampleT]]:
    """The examples in lists of at most `most`, and of contexts of LONGEST_TEXT characters: what is read at a time."""
    some: list[ExampleT] = []
    size = 0
    for example in examples:
        some.append(example)
        size += len(example.context) if isinstance(example, Question) else 0
        if len(some) >= most or size >= LONGEST_TEXT:
            yield some
            some, size = [], 0
    if some:
        yield some


def existing(path: Path) -> Path:
    """`path`, if it is a file. Raises InputError if not."""
    what = "is a folder; give a file" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
    require(path.is_file(), f"task file {str(path)!r} {what}")
    return path


def records_of(path: Path, config: ReadConfig) -> Iterator[Record | BadRecord]:
    """The rows of `path`, of Parquet with all columns."""
    return parquet_rows(path, None, None, config.encoding) if kind_of(path) == "parquet" else read_records(path, config)


def content_of(path: Path, endings: Sequence[str], what: str) -> bytes:
    """The bytes of a task file, decompressed, without a byte order mark. Raises InputError for another ending."""
    known = plain_name(existing(path)).endswith(tuple(endings))
    require(known, f"{str(path)!r} is of no known {what}; known endings: {', '.join(endings)}")
    try:
        with open_stream(path) as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except DamagedFile as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from None
    require(len(content) <= LARGEST_BYTES, f"{str(path)!r} holds more than {LARGEST_BYTES:,} bytes; split it")
    return content


def is_sound(text: str) -> bool:
    """Whether `text` has something to read, and no half of a UTF-16 pair, which no tokenizer takes."""
    return bool(text.strip()) and is_utf8(text)


def texts_of(example: Example) -> list[str]:
    """The text of an example, or the two of a pair."""
    if isinstance(example, LabelledText):
        return [example.text] if example.second is None else [example.text, example.second]
    return [" ".join(example.words)] if isinstance(example, TaggedSentence) else [example.context]


def normalised_texts(example: Example) -> tuple[str, ...]:
    """The same as texts are compared with each other: composed, without case, with single spaces."""
    return tuple(" ".join(unicodedata.normalize("NFC", text).casefold().split()) for text in texts_of(example))


def names_of(example: Example) -> frozenset[str]:
    """The same of a pair in either order."""
    return frozenset(normalised_texts(example))


def rows_and_hash(examples: Sequence[object]) -> str:
    """How many examples, and a hash of them; "" for none."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example!r}\n".encode("utf-8", "surrogatepass"))
    return f"{len(examples):,} rows, {digest.hexdigest()[:16]}" if examples else ""


Synonyms = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class AugmentConfig(Checked, table="augment"):
    """copies: changed copies of each example, 0 for none. replace, swap, delete: the share of words that is exchanged
    for a synonym, swapped with the next word, or left out. What is drawn depends on `seed` and the example."""

    copies: Annotated[int, Range(0, 1000)] = 0
    replace: Share = 0.1
    swap: Share = 0.05
    delete: Share = 0.05
    seed: Seed = 1


def augmented(examples: Sequence[LabelledText], config: AugmentConfig, synonyms: Synonyms) -> list[LabelledText]:
    """The examples, then `copies` changed copies of each, labels as they were. A text never loses its last word."""
    copies = []
    for number, example in enumerate(examples):
        for copy in range(config.copies):
            source = random.Random(f"{config.seed} {number} {copy}")
            second = None if example.second is None else _changed(example.second, config, synonyms, source)
            copies.append(replace(example, text=_changed(example.text, config, synonyms, source), second=second))
    return [*examples, *copies]


def _changed(text: str, config: AugmentConfig, synonyms: Synonyms, source: random.Random) -> str:
    words = text.split()
    for i, word in enumerate(words):
        if (others := synonyms.get(word.lower())) and source.random() < config.replace:
            other = source.choice(others)
            words[i] = other.capitalize() if word[:1].isupper() else other
    for i in range(len(words) - 1):
        if source.random() < config.swap:
            words[i], words[i + 1] = words[i + 1], words[i]
    kept = [word for word in words if source.random() >= config.delete]
    return " ".join(kept or words[:1])


def check_copies(examples: Sequence[LabelledText], config: AugmentConfig, max_length: int) -> None:
    """Raise InputError where the copies of `examples` would not fit half of this machine's memory."""
    # An example and its encoding: both texts, two 64-bit numbers per token, and the objects around them.
    sizes = (len(example.text) + len(example.second or "") for example in examples)
    copy_bytes, room = sum(600 + 2 * n + 16 * min(n, max_length) for n in sizes), memory_there() // 2
    most = max(0, room // copy_bytes - 1)
    require(
        config.copies <= most,
        f"augment.copies must be <= {most} for {len(examples):,} rows of this length, as half of this machine's memory "
        f"is {room / 2**30:.1f} GiB, got {config.copies}",
    )


def read_synonyms(path: Path) -> Synonyms:
    """A table of a word a line: the word, a tab, its synonyms with commas between, in lower case.

    Raises InputError, naming the line, where it has another form.
    """
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(read_text(existing(path)).splitlines(), start=1):
        word, _, others = line.partition("\t")
        synonyms = tuple(other.strip() for other in others.split(",") if other.strip())
        sound = not line.strip() or (word.strip() and synonyms)
        require(bool(sound), f"line {number} of {str(path)!r} must be: word, tab, synonyms with commas; got {line!r}")
        found |= {word.strip().lower(): synonyms} if synonyms else {}
    require(bool(found), f"{str(path)!r} holds no synonym")
    return found
