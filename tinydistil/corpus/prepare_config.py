"""What a prepared corpus is made with: the files that are meant, and every option that changes its bytes."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tinydistil.base.config import LONGEST, Checked, Range, Seed, Share, Whole
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import sha256_of_ends
from tinydistil.corpus.clean import CleanConfig
from tinydistil.corpus.duplicates import DuplicateConfig
from tinydistil.corpus.readers import ReadConfig
from tinydistil.corpus.records import ENDINGS, kind_of
from tinydistil.train.run_config import RunConfig, resolve_run

# What the kernel makes up: files that go while they are listed, links to every folder of the machine.
_MADE_UP = ("/proc", "/sys", "/dev")


@dataclass(frozen=True)
class PrepareConfig(Checked):
    """The options of one preparation; see the classes of its tables for those of each stage.

    max_length: tokens of a sequence, [CLS] and [SEP] included. pack: join sentences up to that length, else each is a
    sequence of its own (for the recipe "partial", which compares sentences). phrases: of a share of the sentences each
    phrase of three to ten words instead, one length for a sentence. single_words: every word that the training
    text holds at least so often becomes a training sequence of its own too, 0 for none (for sentence encoders; it needs
    a second tokenizer). validation_share: of documents, chosen by hash. segment_mb: raw megabytes between two points
    that a restart can go on from. ngram_words: length of the word sequence that a document may not share with an
    evaluation set. sample_dropped: examples kept per rule.
    """

    max_length: Annotated[int, Range(8, LONGEST)] = 128
    pack: bool = True
    phrases: Share = 0.0
    single_words: Whole = 0
    validation_share: Annotated[float, Range(0, 1, without=(1,))] = 0.1
    seed: Seed = 0
    # 64 MB is half a minute of one core's work to lose at a kill, and shards of some 25 MB.
    segment_mb: Annotated[float, Range(0.001, 4096)] = 64.0
    # 13 words, as GPT-3 (appendix C): shorter ones hit proverbs and legal formulas.
    ngram_words: Annotated[int, Range(2, 100)] = 13
    sample_dropped: Annotated[int, Range(0, 10_000)] = 0
    read: ReadConfig = field(default_factory=ReadConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    duplicates: DuplicateConfig = field(default_factory=DuplicateConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not (self.pack and self.phrases),
            f"phrases {self.phrases} cuts sentences, which pack=true joins again; set pack=false too",
        )

    @property
    def capacity(self) -> int:
        """Tokens of text in a full sequence, which [CLS] and [SEP] are added to."""
        return self.max_length - 2


def find_files(inputs: Sequence[str]) -> list[Path]:
    """The readable files that `inputs` (files, folders, glob patterns) mean: sorted, each once.

    Folders are searched to any depth for known endings, hidden names left out; links are followed, and one that leads
    back up is entered once only. Raises InputError for what does not exist, is of no known format, or holds no file.
    """
    found: dict[Path, Path] = {}
    for path in (path for name in inputs for path in _expanded(name)):
        require(path.is_file(), f"{str(path)!r} is no regular file; pipes and devices cannot be read twice")
        require(kind_of(path) is not None, f"{str(path)!r} is of no known format; {ENDINGS}")
        # The same file through two paths or a link would be one big duplicate.
        found.setdefault(path.resolve(), path)
    require(bool(found), "no input files given; name files, folders or glob patterns")
    return sorted(found.values(), key=str)


def _expanded(name: str) -> list[Path]:
    path, is_pattern = Path(name), glob.has_magic(name)
    # A name that exists is taken as it stands, even with [ or * in it.
    if (exists := _exists(path)) and not path.is_dir():
        return [path]
    # glob.glob, since Path.glob takes no absolute pattern.
    names = _walk(path) if exists else sorted(glob.glob(name, recursive=True)) if is_pattern else []  # noqa: PTH207
    missing = "no file matches" if is_pattern else "there is no file or folder"
    require(exists or bool(names), f"{missing} {name!r}; give an existing file, folder or glob pattern")
    files = [each for each in map(Path, names) if kind_of(each)]
    for each in files:
        require(_exists(each), f"{str(each)!r} is a link that leads nowhere; remove it or mend its target")
    if not exists:
        files = [each for each in files if each.is_file()]  # folders are left to `**`
    what = f"folder {str(path)!r} holds" if exists else f"{name!r} matches"
    require(bool(files), f"{what} no file of a known format; {ENDINGS}")
    return files


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        # A link to itself: ELOOP, which Path.exists passes on; also a name that is too long.
        raise InputError(f"{str(path)!r} cannot be followed: {error.strerror}") from None


def _walk(folder: Path) -> Iterator[str]:
    # Device and inode name a folder whatever path leads to it, so a loop of links is seen at once.
    made_up = (Path(name).stat() for name in _MADE_UP if Path(name).is_dir())
    entered = {(status.st_dev, status.st_ino) for status in made_up}
    for root, folders, names in os.walk(folder, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()  # os.walk goes into what is left in this list
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in sorted(names) if not name.startswith("."))  # noqa: PTH118


def described(path: Path) -> dict[str, object]:
    """An input file's name and what distinguishes it from another of that name; instant for files of any size."""
    # Not the time of change, which a copy alters, nor a hash of all bytes, which would be read twice.
    return {"file": str(path), "bytes": path.stat().st_size, "sha256_of_ends": sha256_of_ends(path)}


@dataclass(frozen=True)
class RawRunConfig(RunConfig):
    """A whole run. Its text comes from `shards` (made by scripts/prepare.py) or from `corpus`, prepared as `prepare`
    describes, without what overlaps with `evaluation_sets`."""

    corpus: tuple[str, ...] = ()
    evaluation_sets: tuple[str, ...] = ()
    prepare: PrepareConfig = field(default_factory=PrepareConfig)

    def _check_text(self) -> None:
        shards, corpus = bool(self.shards), bool(self.corpus)
        both = "give --corpus (raw text) or --shards (prepared by scripts/prepare.py), not both"
        require(not (shards and corpus), both)
        require(shards or corpus, "no text: give --corpus FILE ... or --shards DIR")
        late = "--eval-set cleans raw text of evaluation texts; shards are made already: give it to scripts/prepare.py"
        require(not (shards and self.evaluation_sets), late)


def resolve_raw(values: Mapping[str, object]) -> RawRunConfig:
    """The configuration from nested values, as `resolve_run` does it."""
    late = "options of prepare (--max-length ...) are for raw text, but --shards are prepared; leave them out"
    require(not (values.get("shards") and values.get("prepare")), late)
    return resolve_run(values, RawRunConfig)
