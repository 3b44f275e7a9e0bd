"""Tagged sentences from CoNLL files, a word and its tag per line, and from lists in JSON lines and Parquet."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from tinydistil.base.errors import require
from tinydistil.corpus.readers import ReadConfig
from tinydistil.corpus.records import BadRecord, kind_of
from tinydistil.corpus.tables import json_object
from tinydistil.tasks.examples import TaggedSentence, TaskData, content_of, data_of, existing, is_sound, records_of

ENDINGS = (".conll", ".iob", ".jsonl", ".parquet", ".tsv", ".txt")
OUTSIDE = "O"
_OUTSIDES = frozenset((OUTSIDE, "o", "0", "_", "OUT", "out"))
# B begin, I inside, E or L end, S or U single (BIOES, BILOU); before or behind the type.
_LETTERS = frozenset("BIESLU")
_PREFIXED = re.compile(r"(?P<letter>[BIESLU])[-_](?P<kind>.+)", re.IGNORECASE)
_SUFFIXED = re.compile(r"(?P<kind>.+)[-_](?P<letter>[BIESLU])", re.IGNORECASE)
_OTHER_MARKS = re.compile(r"[.:/|](?=[BIESLU]$)|(?<=^[BIESLU])[.:/|]", re.IGNORECASE)  # "B.PESSOA", "PESSOA:B"
_NO_TAG = re.compile(r"[A-Za-z]?-|[A-Za-z]-.*|[1-9]\d*|0\d+")
# "\r\r\n" comes of line ends that were converted twice.
_LINE_END = re.compile(rb"\r*\n|\r")
_BLANKS = re.compile(r"[ \t]+")  # other spaces of Unicode, such as U+00A0, stand inside words
_OTHER_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
_NUMBER = re.compile(r"\d+\.?|\d+[-.]\d+", re.ASCII)
# What `datasets` calls the columns.
_WORDS, _TAGS = ("tokens", "words"), ("tags", "ner_tags", "pos_tags", "labels")
_HEADERS = frozenset(("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "upos", "iob", "etiqueta"))
_Value = TypeVar("_Value")


class _Line(NamedTuple):
    """A word with its tag; trouble: why the line cannot be read, or doubt: why it may not."""

    number: int
    word: str
    tag: str
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
    """The sentences of `path`: CoNLL, or lists of words and tags as JSON lines or in Parquet.

    The first column that does not number words is the word, the last its tag. Tags are "O" and IOB, BIOES or BILOU
    with types ("B-TYPE", "B_TYPE", "TYPE-B"), which are returned as "B-TYPE" and "I-TYPE"; the letters alone; or bare
    types. Comments, a header and document marks are left out. A sentence with a line that has no tag, more or fewer
    columns than others, a tag unlike the others, or bytes not of the encoding is set aside whole, with that line's
    number. Raises InputError where none is left.
    """
    config = ReadConfig(encoding=encoding)  # refuses what is no encoding, or does not end lines as ASCII does
    in_lists = kind_of(path) in ("jsonl", "parquet")
    sentences = list(_listed(existing(path), config)) if in_lists else _in_columns(path, encoding)
    tags = [line.tag for sentence in sentences for line in sentence if not line.trouble]
    require(
        not tags or not all(tag == "_" or "=" in tag for tag in tags),
        f"the last column of {str(path)!r} holds no tags, as in CoNLL-U; keep words and tags (say, with cut -f 2,4)",
    )
    tags = [tag for tag in tags if tag not in _OUTSIDES]
    forms = _usual_forms(tags)
    usual = next((tag for tag in tags if _form(tag) in forms), OUTSIDE)

    def sentence_of(lines: Sequence[_Line]) -> tuple[int, TaggedSentence | str]:
        """The sentence, or its first fault, with its line."""
        # What cannot be read comes first: there is no doubt about it.
        faults = [(line.number, line.trouble) for line in lines if line.trouble]
        faults += [(line.number, line.doubt) for line in lines if line.doubt]
        faults += [
            (line.number, f"tag {line.tag!r} is unlike most of the file's, such as {usual!r}")
            for line in lines
            if line.tag not in _OUTSIDES and _form(line.tag) not in forms
        ]
        sentence = TaggedSentence(tuple(line.word for line in lines), _iob([line.tag for line in lines], forms))
        return faults[0] if faults else (lines[0].number, sentence)

    return data_of(path, map(sentence_of, sentences))


@lru_cache(maxsize=4096)
def _form(tag: str) -> str:
    """How a tag marks where an entity begins: by a prefix, a suffix, as a letter alone, or not at all ("bare")."""
    if tag.upper() in _LETTERS:
        return "letter"
    tag = _OTHER_MARKS.sub("-", tag)
    return "prefix" if _PREFIXED.fullmatch(tag) else "suffix" if _SUFFIXED.fullmatch(tag) else "bare"


def _usual_forms(tags: Sequence[str]) -> set[str]:
    """The form that most tags have, and those that pass for it."""
    # Tags of words such as "N_S", for the singular, have no other letter, and some have only letters.
    marked = any(_form(tag) == "suffix" and tag[-1] in "BIbi" for tag in tags)
    plain = {"bare", "letter"} | (set() if marked else {"suffix"})
    form = _most_common(map(_form, tags), "bare")
    return plain if form == "bare" or (form == "suffix" and form in plain) else {form}


def _iob(tags: Sequence[str], forms: set[str]) -> tuple[str, ...]:
    """The tags as "B-TYPE", "I-TYPE" and "O"; as "B", "I" and "O"; or bare."""
    tags = [OUTSIDE if tag in _OUTSIDES else tag for tag in tags]
    if "bare" in forms:
        return tuple(tags)
    alone = forms == {"letter"}
    typed = [tag if tag == OUTSIDE else f"{tag}-_" if alone else _OTHER_MARKS.sub("-", tag) for tag in tags]
    letters, starts = [split_tag(tag)[0] for tag in typed], list(entity_starts(typed))
    if not set(letters) <= set("BIO"):
        letters = ["B" if begins else "I" for _, begins in starts]
    return tuple(
        OUTSIDE if not kind else letter if alone else f"{letter}-{kind}"
        for letter, (kind, _) in zip(letters, starts, strict=True)
    )


def _listed(path: Path, config: ReadConfig) -> Iterator[list[_Line]]:
    """The sentences of JSON lines or Parquet: a list of words and a list of tags each, as `datasets` has them."""
    for record in records_of(path, config):
        fields: dict[str, object] = {}
        reason = record.reason if isinstance(record, BadRecord) else "has no lists of words (tokens) and tags"
        try:
            fields = {} if isinstance(record, BadRecord) else json_object(record.data.decode(config.encoding))
        except (ValueError, RecursionError) as error:
            reason = f"cannot be read: {error}"
        words, tags = (next((fields[name] for name in names if name in fields), None) for names in (_WORDS, _TAGS))
        if not (isinstance(words, list) and isinstance(tags, list) and words):
            yield [_Line(record.line, "", "", reason)]
        elif len(words) != len(tags):
            yield [_Line(record.line, "", "", f"has {len(words)} words and {len(tags)} tags")]
        else:
            pairs = [(str(word), unicodedata.normalize("NFC", str(tag))) for word, tag in zip(words, tags, strict=True)]
            yield [_Line(record.line, *pair, _trouble(*pair)) for pair in pairs]


def _in_columns(path: Path, encoding: str) -> list[list[_Line]]:
    """The sentences of a CoNLL file, its lines cut as most of them are; what is no word of a sentence left out."""
    texts: dict[int, str] = {}  # by the number of the line
    damaged: dict[int, str] = {}
    sentences: list[list[int]] = [[]]
    for number, line in enumerate(_LINE_END.split(content_of(path, ENDINGS, "tagging format")), start=1):
        if not line.strip() or line.split()[0] == b"-DOCSTART-":
            sentences.append([])
            continue
        sentences[-1].append(number)
        try:
            texts[number] = line.decode(encoding)
        except UnicodeDecodeError as error:
            damaged[number] = f"not {encoding} (byte {error.start}: {error.reason})"
    data = [number for number, text in texts.items() if not text.startswith("#")]
    tabs = 2 * sum("\t" in texts[number] for number in data) > len(data)
    unnamed = all(texts[number].endswith("\t") for number in data)  # a last column without a name
    columns_of: dict[int, list[str]] = {}
    for number, text in texts.items():
        text = text.rstrip("\t") if unnamed else text
        *columns, tag = text.split("\t") if tabs else _BLANKS.split(text.strip(" \t"))
        # Labels are compared by their code points, and macOS decomposes what it writes.
        columns_of[number] = [*(each.strip(" ") for each in columns), unicodedata.normalize("NFC", tag.strip())]
    known = Counter(columns_of[number][-1] for number in data if len(columns_of[number]) > 1)
    if data and (title := columns_of[data[0]][-1]).lower() in _HEADERS and known[title] == 1:
        del columns_of[data.pop(0)]
    cut = [columns_of[number] for number in data]
    width = _most_common((len(columns) for columns in cut if len(columns) > 1), 2)
    # Several tabs may align columns, or stand about an empty one.
    filled = _most_common((n for columns in cut if (n := sum(map(bool, columns))) > 1), 2)
    numbers = 0  # columns of numbers before the word
    while width - numbers > 2:
        if 10 * sum(bool(_NUMBER.fullmatch("".join(each[numbers : numbers + 1]))) for each in cut) < 9 * len(cut):
            break
        numbers += 1
    capitals, bare = all(tag.isupper() for tag in known), all(_form(tag) == "bare" for tag in known)

    def is_comment(text: str, columns: Sequence[str], first: bool) -> bool:
        if not text.startswith("#"):
            return False
        tag = columns[-1]
        # "#" and hashtags are words where they have a tag such as others have.
        like_others = tag in known.keys() | _OUTSIDES or _form(tag) != "bare" or (capitals and tag.isupper())
        if len(columns) == width and (like_others or (bare and not first)):
            return False
        return text[1:2] in (" ", "\t") or (first and (len(columns) > 1 or "=" in text or text == "#"))

    def line_of(number: int, columns: Sequence[str]) -> _Line:
        """The line from its word on, with what is wrong with it."""
        word, tag = columns[min(numbers, len(columns) - 1)], columns[-1]
        trouble, doubt = _trouble(word, tag if len(columns) - numbers > 1 else ""), ""
        if not trouble and numbers and not _NUMBER.fullmatch(columns[numbers - 1]):
            trouble = f"{columns[numbers - 1]!r} is no number, as most lines have before the word"
        elif not trouble and (other := _OTHER_LINE_ENDS.search(texts[number])):
            trouble = f"holds U+{ord(other[0]):04X}, a line end of another kind"
        elif not trouble and len(columns) != width and sum(map(bool, columns)) != filled:
            doubt = f"has {len(columns)} columns where most lines have {width}"
        return _Line(number, word, tag, trouble, doubt)

    found: list[list[_Line]] = []
    for sentence in sentences:
        kept: list[_Line] = []
        for number in sentence:
            if number in damaged:
                kept.append(_Line(number, "", "", damaged[number]))
            elif number in columns_of:  # else it is the header
                columns = columns_of[number]
                span = numbers and re.fullmatch(r"\d+[-.]\d+", columns[min(numbers, len(columns)) - 1])
                if not (span or is_comment(texts[number], columns, not kept)):
                    kept.append(line_of(number, columns))
        found += [kept] if kept else []
    counted = sum(map(len, found)) > 1 and _count_up([[line.word for line in sentence] for sentence in found])
    require(not counted, f"the first column of {str(path)!r} numbers words that are not there; add them")
    return found


def _count_up(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether the words of each sentence are numbers from 0 or 1, or from the last one, upwards."""
    last = 0
    for words in sentences:
        if not all(map(_NUMBER.fullmatch, words)):
            return False
        numbers = [int(re.split("[.-]", word)[0]) for word in words]
        if numbers[0] not in (0, 1, last + 1) or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return False
        last = numbers[-1]
    return True


def _most_common(values: Iterable[_Value], default: _Value) -> _Value:
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else default


def _trouble(word: str, tag: str) -> str:
    """Why a word and its tag are none."""
    if not tag:
        return "no tag beside the word"
    if _form(tag) == "bare" and _NO_TAG.fullmatch(tag):
        return f"tag {tag!r} does not fit IOB2 (O, B-TYPE, I-TYPE), BIOES or BILOU"
    if not is_sound(word):
        return "the word is empty"
    return "" if is_sound(tag) else f"tag {tag!r} holds half of a UTF-16 pair"
