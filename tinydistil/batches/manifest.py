"""The manifest of a corpus: the JSON that lists its shards and vouches for them, checked as it is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from tinydistil.base.config import INT64, Checked, OneOf, Range, from_mapping
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json
from tinydistil.tokenizer.tokenizer import Tokenizer

MANIFEST = "manifest.json"
# What mends a damaged corpus, whichever script has found it.
AGAIN = "prepare it again with --overwrite (scripts/prepare.py), or delete the folder"
FORMAT_VERSION = 1
SPLITS = ("train", "validation")
DAMAGED = f"the corpus is damaged, {AGAIN}"


@dataclass(frozen=True)
class ShardEntry(Checked):
    """One line of the manifest. Student tokens and words are 0 where there is one tokenizer.

    sha256_of_ends: of the first and last 64 KiB, which are read whenever the shard is opened; "" in older corpora.
    """

    file: str
    split: Annotated[str, OneOf(SPLITS)]
    sequences: Annotated[int, Range(1, INT64)]
    tokens: Annotated[int, Range(1, INT64)]
    student_tokens: Annotated[int, Range(0, INT64)]
    words: Annotated[int, Range(0, INT64)]
    bytes: Annotated[int, Range(1, INT64)]
    sha256: str
    sha256_of_ends: str = ""


def made_with(manifest: Mapping[str, object]) -> list[str]:
    """The fingerprints of the tokenizers, one or two, that a corpus was made with."""
    named = [manifest.get(name) for name in ("tokenizer", "student_tokenizer")]
    return [str(each.get("fingerprint")) for each in named if isinstance(each, dict)]


def number_of(manifest: Mapping[str, object], folder: Path, table: str, name: str, most: int) -> int:
    """A number of the manifest; `most` where it is absent."""
    values = manifest.get(table)
    value = values.get(name, most) if isinstance(values, dict) else most if values is None else values
    where = f"{folder / MANIFEST}: {table}.{name}"
    require(type(value) is int and 0 < value <= most, f"{where} is no whole number of at most {most:,}; {DAMAGED}")
    return cast(int, value)


def check_fit(folder: Path, tokenizer: str | None, student_tokenizer: str | None) -> dict[str, object]:
    """The manifest in `folder`, if it has the version read here and, where given, these fingerprints.

    Raises InputError where it has not.
    """
    path = folder / MANIFEST
    require(path.is_file(), f"{path} does not exist; make a corpus with scripts/prepare.py")
    manifest = read_json(path, remedy=DAMAGED)
    version = manifest.get("version")
    require(
        version == FORMAT_VERSION,
        f"{path}: version is {version!r}, this program reads {FORMAT_VERSION}; prepare the corpus again",
    )
    for field, wanted in (("tokenizer", tokenizer), ("student_tokenizer", student_tokenizer)):
        made_with = manifest.get(field)
        found = made_with.get("fingerprint") if isinstance(made_with, dict) else None
        require(
            wanted in (None, found),
            f"{path}: the fingerprint of {field} is {str(found)[:12]}, "
            f"that of the one given {str(wanted)[:12]}; "
            "give the tokenizer that the corpus was made with, or prepare the corpus again",
        )
    return manifest


def entries_of(manifest: Mapping[str, object], folder: Path) -> list[ShardEntry]:
    """The shards a manifest lists. Raises InputError where an entry lacks a field or holds a wrong type."""
    shards = manifest.get("shards")
    require(isinstance(shards, list), f"{folder / MANIFEST}: no list of shards; {DAMAGED}")
    try:
        entries = [from_mapping(ShardEntry, each, where="shards.") for each in cast(list[dict[str, object]], shards)]
        for each in entries:
            own = re.fullmatch(rf"{each.split}-\d{{6,}}\.safetensors", each.file)  # in no other folder
            require(own is not None, f"shards.file {each.file!r} is no shard of split {each.split!r}")
    except (InputError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST}: bad list of shards ({error}); {DAMAGED}") from None
    alike = len({each.file for each in entries}) == len(entries) and len({each.words > 0 for each in entries}) <= 1
    require(alike, f"{folder / MANIFEST}: bad list of shards (one twice, or not all of as many tokenizers); {DAMAGED}")
    return entries


@dataclass(frozen=True, slots=True)
class Sides:
    """Which tokenization of the text, 0 or 1, the student reads, and which the teacher; None without a teacher."""

    student: int
    teacher: int | None

    @property
    def apart(self) -> bool:
        """Whether the teacher reads other tokens than the student."""
        return self.teacher not in (None, self.student)


def sides_of(made_with: Sequence[str], student: Tokenizer, teacher: Tokenizer | None, where: str) -> Sides:
    """Which of the tokenizations with fingerprints `made_with` each model reads: that of its own vocabulary.

    Raises InputError, naming `where` the text is from, if a model's is not among them.
    """
    found: list[int | None] = []
    for who, tokenizer in (("student", student), ("teacher", teacher)):
        place = None
        if tokenizer is not None:
            own = tokenizer.fingerprint
            require(
                own in made_with,
                f"{where} was made with the vocabulary {' and '.join(each[:12] for each in made_with)} (fingerprints), "
                f"the {who} reads with {own[:12]}; give the tokenizer that it was made with, or prepare it again with "
                "scripts/prepare.py --tokenizer DIR, and --student-tokenizer DIR where teacher and student differ",
            )
            place = list(made_with).index(own)
        found.append(place)
    assert found[0] is not None
    return Sides(found[0], found[1])
