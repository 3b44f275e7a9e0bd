"""Tagged sentences from CoNLL files: a word and its tag per line, an empty line between sentences."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tinydistil.errors import require
from tinydistil.text.document import BadRecord
from tinydistil.text.readers import ReadConfig
from tinydistil.text.tasks.records import TaggedSentence, TaskData, checked, content_of, is_sound

ENDINGS = (".conll", ".iob", ".tsv", ".txt")
OUTSIDE = "O"
_OUTSIDES = frozenset((OUTSIDE, "o", "0"))
# B begin, I inside, E or L end, S or U single (BIOES, BILOU); before or behind the type.
_LETTERS = frozenset("BIESLU")
_PREFIXED = re.compile(r"(?P<letter>[BIESLU])[-_](?P<kind>.+)", re.IGNORECASE)
_SUFFIXED = re.compile(r"(?P<kind>.+)[-_](?P<letter>[BIESLU])", re.IGNORECASE)
_NO_TAG = re.compile(r"[A-Za-z]?-|[A-Za-z]-.*|[1-9]\d*|0\d+")
# "\r\r\n" comes of line ends that were converted twice.
_LINE_END = re.compile(rb"\r*\n|\r")
_BLANKS = re.compile(r"[ \t]+")  # other spaces of Unicode, such as U+00A0, stand inside words
_NUMBER = re.compile(r"\d+(?:[-.]\d+)?", re.ASCII)
_HEADERS = frozenset(("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "upos", "iob", "etiqueta"))


@dataclass(frozen=True, slots=True)
class _Line:
    """A line cut into columns, from the word to the tag; trouble: why it cannot be read, or doubt: why it may not."""

    number: int
    columns: tuple[str, ...]
    trouble: str = ""
    doubt: str = ""


@lru_cache(maxsize=4096)  # files have few different tags
def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type: "B-PESSOA", "B_PESSOA" or "PESSOA-B" to ("B", "PESSOA"), "O" to ("O", "").

    Bare "B" and "I" are of type "_"; any other bare "PESSOA" is ("I", "PESSOA").
    """
    if tag in _OUTSIDES:
        return OUTSIDE, ""
    if found := _PREFIXED.fullmatch(tag) or _SUFFIXED.fullmatch(tag):
        return found["letter"].upper(), found["kind"]
    return (tag.upper(), "_") if tag.upper() in ("B", "I") else ("I", tag)


def entity_starts(tags: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The type of each tag, "" outside, and whether an entity begins there.

    As in conlleval and seqeval, "I-" begins one after "O", after another type, and after "E-", "L-", "S-" or "U-".
    """
    before, ended = "", True
    for tag in tags:
        prefix, kind = split_tag(tag)
        yield kind, bool(kind) and (prefix in "BSU" or ended or kind != before)
        before, ended = kind, prefix in "OESLU"


def read_conll(path: Path, *, encoding: str = "utf-8") -> TaskData[TaggedSentence]:
    """The sentences of `path`: the first column that does not number words is the word, the last its tag.

    Tags are "O" and IOB, BIOES or BILOU with types ("B-TYPE", "B_TYPE", "TYPE-B"), which are returned as "B-TYPE" and
    "I-TYPE"; the letters alone; or bare types. Comments, a header and document marks are left out. A sentence with a
    line that has no tag, more or fewer columns than others, a tag unlike the others, or bytes not of the encoding is
    set aside whole, with that line's number. Raises InputError where none is left.
    """
    ReadConfig(encoding=encoding)  # refuses what is no encoding, or does not end lines as ASCII does
    sentences = _in_columns(_sentences(content_of(path, ENDINGS, "tagging format"), encoding), path)
    tags = [line.columns[-1] for sentence in sentences for line in sentence if not line.trouble]
    require(
        not tags or not all(tag == "_" or "=" in tag for tag in tags),
        f"the last column of {str(path)!r} holds no tags, as in CoNLL-U; keep words and tags (say, with cut -f 2,4)",
    )
    forms = Counter(_form(tag) for tag in tags if tag not in _OUTSIDES)
    form = forms.most_common(1)[0][0] if forms else "bare"
    example = next((tag for tag in tags if _form(tag) == form), OUTSIDE)
    rows: list[TaggedSentence] = []
    bad: list[BadRecord] = []
    for sentence in sentences:
        # What cannot be read comes first: there is no doubt about it.
        faults = [(line.number, line.trouble) for line in sentence if line.trouble]
        faults += [(line.number, line.doubt) for line in sentence if line.doubt]
        faults += [
            (line.number, f"tag {line.columns[-1]!r} is unlike most of the file's, such as {example!r}")
            for line in sentence
            if not _fits(line.columns[-1], form)
        ]
        if faults:
            bad.append(BadRecord(str(path), *faults[0]))
        else:
            found = _iob([line.columns[-1] for line in sentence], form)
            rows.append(TaggedSentence(tuple(line.columns[0] for line in sentence), found))
    return checked(path, rows, bad)


@lru_cache(maxsize=4096)
def _form(tag: str) -> str:
    """How a tag tells its place: by a prefix, a suffix, as a letter alone, or not at all ("bare")."""
    if tag.upper() in _LETTERS:
        return "letter"
    return "prefix" if _PREFIXED.fullmatch(tag) else "suffix" if _SUFFIXED.fullmatch(tag) else "bare"


def _fits(tag: str, form: str) -> bool:
    return tag in _OUTSIDES or _form(tag) == form or (_form(tag), form) == ("letter", "bare")


def _iob(tags: Sequence[str], form: str) -> tuple[str, ...]:
    """The tags as "B-TYPE", "I-TYPE" and "O"; as "B", "I" and "O"; or bare."""
    if form == "bare":
        return tuple(OUTSIDE if tag in _OUTSIDES else tag for tag in tags)
    typed = [f"{tag}-_" if form == "letter" and tag not in _OUTSIDES else tag for tag in tags]
    letters = [split_tag(tag)[0] for tag in typed]
    starts = list(entity_starts(typed))
    if not set(letters) <= set("BIO"):
        letters = ["B" if begins else "I" for _, begins in starts]
    return tuple(
        OUTSIDE if not kind else letter if form == "letter" else f"{letter}-{kind}"
        for letter, (kind, _) in zip(letters, starts, strict=True)
    )


def _sentences(content: bytes, encoding: str) -> list[list[_Line]]:
    """The lines of each sentence, uncut."""
    sentences: list[list[_Line]] = [[]]
    for number, data in enumerate(_LINE_END.split(content), start=1):
        if not data.strip() or data.split()[0] == b"-DOCSTART-":
            sentences.append([])
            continue
        try:
            sentences[-1].append(_Line(number, (data.decode(encoding),)))
        except UnicodeDecodeError as error:
            sentences[-1].append(_Line(number, ("",), f"not {encoding} (byte {error.start}: {error.reason})"))
    return sentences


def _in_columns(sentences: Sequence[Sequence[_Line]], path: Path) -> list[list[_Line]]:
    """The lines cut into columns as most of them are; what is no word of a sentence left out."""
    readable = {line.number: line.columns[0] for sentence in sentences for line in sentence if not line.trouble}
    data = [number for number, text in readable.items() if not text.startswith("#")]
    tabs = 2 * sum("\t" in readable[number] for number in data) > len(data)
    rows = {number: _cut(text, tabs) for number, text in readable.items()}
    cut = [rows[number] for number in data]
    width = _usual([len(columns) for columns in cut if len(columns) > 1], 2)
    # Several tabs may align columns, or stand about an empty one.
    filled = _usual([n for columns in cut if (n := sum(map(bool, columns))) > 1], 2)
    numbers = 0
    while width - numbers > 2 and 10 * sum(_is_number(columns, numbers) for columns in cut) >= 9 * len(cut):
        numbers += 1
    known = Counter(columns[-1] for columns in cut if len(columns) > 1)

    def is_comment(text: str, columns: Sequence[str], first: bool) -> bool:
        if not text.startswith("#"):
            return False
        if len(columns) == width and (columns[-1] in known.keys() | _OUTSIDES or _form(columns[-1]) != "bare"):
            return False  # "#" and hashtags are words
        return text[1:2] in (" ", "\t") or (first and (len(columns) > 1 or "=" in text or text == "#"))

    found: list[list[_Line]] = []
    for sentence in sentences:
        kept: list[_Line] = []
        for line in sentence:
            if line.trouble:
                kept.append(line)
                continue
            columns = rows[line.number]
            header = not any(found) and not kept and columns[-1].lower() in _HEADERS and known[columns[-1]] == 1
            span = numbers > 0 and _is_number(columns, numbers - 1) and not columns[numbers - 1].isdigit()
            if not (header or span or is_comment(line.columns[0], columns, not kept)):
                kept.append(_checked(line.number, columns, numbers, (width, filled)))
        found.append(kept)
    words = [[line.columns[0] for line in sentence] for sentence in found]
    counted = sum(map(len, words)) > 2 and all(each == [str(n + 1) for n in range(len(each))] for each in words)
    require(not counted, f"the first column of {str(path)!r} numbers words that are not there; add them")
    return [sentence for sentence in found if sentence]


def _cut(text: str, tabs: bool) -> list[str]:
    *columns, tag = text.split("\t") if tabs else _BLANKS.split(text.strip(" \t"))
    # Labels are compared by their code points, and macOS decomposes what it writes.
    return [*[column.strip(" ") for column in columns], unicodedata.normalize("NFC", tag.strip())]


def _usual(counts: Sequence[int], default: int) -> int:
    return Counter(counts).most_common(1)[0][0] if counts else default


def _is_number(columns: Sequence[str], place: int) -> bool:
    return place < len(columns) and bool(_NUMBER.fullmatch(columns[place]))


def _checked(number: int, columns: Sequence[str], numbers: int, usual: tuple[int, int]) -> _Line:
    """The line from its word on, with what is wrong with it."""
    width, filled = usual
    trouble = doubt = ""
    word, tag = columns[min(numbers, len(columns) - 1)], columns[-1]
    if len(columns) - numbers < 2 or not tag:
        trouble = "no tag beside the word"
    elif _form(tag) == "bare" and _NO_TAG.fullmatch(tag):
        trouble = f"tag {tag!r} does not fit IOB2 (O, B-TYPE, I-TYPE), BIOES or BILOU"
    elif not is_sound(word):
        trouble = "the word is empty"
    elif numbers and not _is_number(columns, numbers - 1):
        trouble = f"{columns[numbers - 1]!r} is no number, as most lines have before the word"
    elif len(columns) != width and sum(map(bool, columns)) != filled:
        doubt = f"has {len(columns)} columns where most lines have {width}"
    return _Line(number, (word, tag), trouble, doubt)
