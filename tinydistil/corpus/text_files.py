"""Which files a user means by the paths, folders and globs given; the lines of one text file or of standard input."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tinydistil.base.errors import InputError
from tinydistil.corpus.record_stream import COMPRESSIONS

KINDS = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    # C4, OSCAR and others call JSON lines so, mostly as .json.gz.
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".vert": "vert",
    ".parquet": "parquet",
}
ENDINGS = f"known endings: {', '.join(KINDS)}, each also with {' or '.join(COMPRESSIONS)}"
# What the kernel makes up: files that go while they are listed, links to every folder of the machine.
_MADE_UP = ("/proc", "/sys", "/dev")
# Of one text, of which a model reads some 2 KB: whole books pass.
LONGEST_BYTES = 16_000_000


def kind_of(path: Path) -> str | None:
    """The format that `path`'s name ends in, None if it is none of KINDS."""
    return KINDS.get(Path(plain_name(path)).suffix)


def plain_name(path: Path) -> str:
    """`path`'s name in lower case, without the ending of a compression: .TXT and .JSONL.GZ come from older systems."""
    name = Path(path.name.lower())
    return name.stem if name.suffix in COMPRESSIONS else name.name


def find_files(inputs: Sequence[str]) -> list[Path]:
    """The readable files that `inputs` (files, folders, glob patterns) mean: sorted, each once.

    Folders are searched to any depth for known endings, hidden names left out; links are followed, and one
    that leads back up is entered once only. Raises InputError for what does not exist, is of no known
    format, or holds no file.
    """
    found: dict[Path, Path] = {}
    for name in inputs:
        for path in _expand(name):
            # The same file through two paths or a link would be one big duplicate.
            found.setdefault(path.resolve(), path)
    if not found:
        raise InputError("no input files given; name files, folders or glob patterns")
    return sorted(found.values(), key=str)


def _expand(name: str) -> list[Path]:
    path = Path(name)
    # A name that exists is taken as it stands, even with [ or * in it.
    if _exists(path):
        if not path.is_dir():
            return [_checked(path)]
        files, what = [_checked(_reached(each)) for each in _walk(path) if kind_of(each)], f"folder {str(path)!r} holds"
    else:
        # glob.glob, since Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else []  # noqa: PTH207
        if not matches:
            missing = "no file matches" if glob.has_magic(name) else "there is no file or folder"
            raise InputError(f"{missing} {name!r}; give an existing file, folder or glob pattern")
        # Folders are left to `**`, other formats skipped.
        files = [each for each in map(Path, matches) if _reached(each).is_file() and kind_of(each)]
        what = f"{name!r} matches"
    if not files:
        raise InputError(f"{what} no file of a known format; {ENDINGS}")
    return files


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        # A link to itself: ELOOP, which Path.exists passes on; also a name that is too long.
        raise InputError(f"{str(path)!r} cannot be followed: {error.strerror}") from None


def _reached(path: Path) -> Path:
    if not _exists(path):
        raise InputError(f"{str(path)!r} is a link that leads nowhere; remove it or mend its target")
    return path


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{str(path)!r} is no regular file; pipes and devices cannot be read twice")
    if kind_of(path) is None:
        raise InputError(f"{str(path)!r} is of no known format; {ENDINGS}")
    return path


def _walk(folder: Path) -> Iterator[Path]:
    # Device and inode name a folder whatever path leads to it, so a loop of links is seen at once.
    made_up = (Path(name).stat() for name in _MADE_UP if Path(name).is_dir())
    entered = {(status.st_dev, status.st_ino) for status in made_up}
    for root, folders, names in os.walk(folder, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in entered:
            # os.walk goes into what is left in this list.
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def open_lines(path: str | None) -> Iterator[str]:
    """The lines of UTF-8 file `path`, or of standard input (None or "-"), without their line ends, one at a time.

    An empty line is a text too, so that results stay beside their lines. Raises InputError where the file is
    missing or a line is not UTF-8, naming the line.
    """
    name = "standard input" if path in (None, "-") else repr(path)
    if path in (None, "-") and sys.stdin is None:
        raise InputError("standard input is closed; give texts as arguments, or predict.py --file")
    try:
        stream = sys.stdin.buffer if path is None or path == "-" else Path(path).open("rb")  # noqa: SIM115
    except FileNotFoundError:
        raise InputError(f"text file {name} does not exist") from None
    except IsADirectoryError:
        raise InputError(f"text file {name} is a folder; give a file") from None
    return _lines(stream, name)


def _lines(stream: BinaryIO, name: str) -> Iterator[str]:
    with stream:
        # A device, or a binary file, may have no line end at all.
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_BYTES + 1), b""), start=1):
            if len(line) > LONGEST_BYTES:
                raise InputError(f"line {number} of {name} is longer than {LONGEST_BYTES:,} bytes; is it a text file?")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"line {number} of {name} is not UTF-8 (byte {error.start}: {error.reason}); convert it, "
                    "for instance with `iconv -f latin1 -t utf-8`"
                ) from None
            yield text.rstrip("\r\n")
