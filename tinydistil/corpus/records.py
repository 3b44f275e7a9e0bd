"""Records, and the files they are cut from: kinds, decompressed bytes, lines.

Compression and damage are dealt with here alone. No more than a block and a line of a file is held.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from tinydistil.base.errors import InputError, optional, require

Stream: TypeAlias = "io.BufferedReader[io.RawIOBase]"
# What a format's reader yields: the line where a record begins, and its bytes, or (str) why it is set aside.
Cut: TypeAlias = tuple[int, bytes | str]

COMPRESSIONS = (".gz", ".zst")
KINDS = {f".{kind}": kind for kind in ("txt", "jsonl", "csv", "tsv", "vert", "parquet")}
KINDS |= {".ndjson": "jsonl", ".json": "jsonl"}  # C4, OSCAR and others call JSON lines .json, mostly .json.gz
ENDINGS = f"known endings: {', '.join(KINDS)}, each also with {' or '.join(COMPRESSIONS)}"
# Of one text, of which a model reads some 2 KB: whole books pass.
LONGEST_BYTES = 16_000_000

# 1 MiB: large enough that a system call costs nothing beside the decompression of what it brings.
BLOCK_BYTES = 1 << 20
# What is looked at to tell text from binary; executables and images show themselves well before.
PROBE_BYTES = 1 << 16
# Share of control bytes above which the probe is no text: random bytes hold 11 %, UTF-16 text 45 %.
BINARY_SHARE = 0.05
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
# Text shrinks 3 to 20 times. What shrinks more than a thousand times is no text, but may fill any memory; so much is
# let pass in any case, what zstd keeps in memory of a file by default.
MOST_RATIO, ALWAYS_UNPACKED = 1000, 1 << 27
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One document still in the bytes it has on disk: cheap to cut out, cheap to send to a worker.

    line: where it starts, from 1 (for Parquet, its row). kind: one of KINDS. header: the undecoded header row without
    which a table's row cannot be understood, else empty.
    """

    file: str
    line: int
    kind: str
    data: bytes
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class Document:
    """A decoded document: `text` holds its paragraphs, one a line.

    sentences: the format's own division into paragraphs of sentences (.vert), else None. replaced: how many undecodable
    sequences stand in `text` as U+FFFD.
    """

    text: str
    sentences: tuple[tuple[str, ...], ...] | None = None
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class BadRecord:
    """Something in a file that is no document: where it stands and why. Counted, never raised."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Line(NamedTuple):
    """A line without its end mark; `data` is None where it is longer than the limit and was skipped."""

    number: int
    data: bytes | None


class DamagedFile(Exception):
    """The stream ends before its end: truncated, corrupted, or no text at all."""


def kind_of(path: Path) -> str | None:
    """The format that `path`'s name ends in, None if it is none of KINDS."""
    return KINDS.get(Path(plain_name(path)).suffix)


def plain_name(path: Path) -> str:
    """`path`'s name in lower case, without the ending of a compression: .TXT and .JSONL.GZ come from older systems."""
    name = Path(path.name.lower())
    return name.stem if name.suffix in COMPRESSIONS else name.name


def open_lines(path: str | None) -> Iterator[str]:
    """The lines of UTF-8 file `path`, or of standard input (None or "-"), without their ends; empty ones count.

    Raises InputError where the file is missing or a line is not UTF-8, naming the line.
    """
    if path is None or path == "-":
        require(sys.stdin is not None, "standard input is closed; give texts as arguments, or predict.py --file")
        return _decoded_lines(sys.stdin.buffer, "standard input")
    require(Path(path).exists(), f"text file {path!r} does not exist")
    require(not Path(path).is_dir(), f"text file {path!r} is a folder; give a file")
    return _decoded_lines(Path(path).open("rb"), repr(path))


def _decoded_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    with stream:
        # A device, or a binary file, may have no line end at all.
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_BYTES + 1), b""), start=1):
            where = f"line {number} of {name} is"
            require(len(line) <= LONGEST_BYTES, f"{where} longer than {LONGEST_BYTES:,} bytes; is it a text file?")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                remedy = "convert it, for instance with `iconv -f latin1 -t utf-8`"
                raise InputError(f"{where} not UTF-8 (byte {error.start}: {error.reason}); {remedy}") from None


@contextmanager
def open_stream(path: Path, *, text: bool = True) -> Iterator[Stream]:
    """The decompressed bytes of `path`, past a byte order mark; line ends that are all CR come as LF.

    text: refuse what is binary, UTF-16 included. Raises InputError if a package is missing, DamagedFile (here or in the
    body) if it cannot be read on.
    """
    try:
        with io.BufferedReader(_raw(path), BLOCK_BYTES) as stream:
            # Looked at before anything is cut, so that an image gives one bad record and not thousands.
            probe = stream.peek(PROBE_BYTES)
            probed = probe[:PROBE_BYTES]
            control = len(probed) - len(probed.translate(None, CONTROL_BYTES))
            if text and control > BINARY_SHARE * len(probed):
                raise DamagedFile(
                    f"not UTF-8 text: {control} of the first {len(probed)} bytes are control bytes; "
                    "UTF-16, for instance, is converted with `iconv -f utf-16 -t utf-8`"
                )
            if probe.startswith(BYTE_ORDER_MARK):
                stream.read(len(BYTE_ORDER_MARK))
            if text and b"\r" in probe and b"\n" not in probe:
                # Lines that end in CR alone, as old Macintosh programs and some spreadsheets write them.
                replaced = _Reader(stream, lambda size: stream.read1(size).replace(b"\r", b"\n"))
                yield io.BufferedReader(replaced, BLOCK_BYTES)
            else:
                yield stream
    except EOFError:
        raise DamagedFile("truncated: the compressed stream ends too early") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFile(f"damaged gzip data: {error}") from None
    except Exception as error:
        # zstandard's own error class cannot be named without importing the optional package.
        if type(error).__name__ != "ZstdError":
            raise
        raise DamagedFile(f"damaged zstd data: {error}") from None


def _raw(path: Path) -> io.RawIOBase:
    if path.suffix.lower() not in COMPRESSIONS:
        return path.open("rb", buffering=0)  # a buffer of our own size goes around it
    source, left = _decompressor(path), max(ALWAYS_UNPACKED, MOST_RATIO * path.stat().st_size)
    damage: Exception | None = None

    def read(size: int) -> bytes:
        """All that was decompressed before some damage, too, which Python's own buffers would lose."""
        nonlocal left, damage
        if damage is not None:
            raise damage
        parts: list[bytes] = []
        try:
            # One step gives some 8 KiB; whole blocks spare the layers above most of their calls.
            while size > 0 and (part := source.read1(size)):
                parts.append(part)
                size, left = size - len(part), left - len(part)
        except Exception as error:
            damage = error  # told at the next call: a decompressor that has failed once may not fail again
            if not parts:
                raise
        if left < 0:
            raise DamagedFile(f"unpacks to more than {MOST_RATIO:,} times its size, which no text does")
        return b"".join(parts)

    return _Reader(source, read)


def _decompressor(path: Path, head: bytes | None = None) -> Any:
    """A reader of the bytes packed in `path`, or in its `head`."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path if head is None else io.BytesIO(head), "rb")
    zstandard = optional("zstandard", needed_by=f"reading {str(path)!r}", extra="formats")
    # `zstd --long=31` looks back over 2 GiB; no more of it is kept in memory than was unpacked. A frame may be followed
    # by another, as pzstd and `cat a.zst b.zst` write them.
    unpacking = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    return unpacking.stream_reader(path.open("rb") if head is None else head, read_across_frames=True, closefd=True)


class _Reader(io.RawIOBase):
    """The bytes that `read` gives for the number wanted at most; `source` is closed with it."""

    def __init__(self, source: Any, read: Callable[[int], bytes]) -> None:
        self._source, self._read = source, read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._source.close()
        super().close()


def unpacked_bytes(path: Path) -> int:
    """The size of `path` once decompressed; of a compressed file an estimate, by what its first 64 KiB unpack to."""
    size, length = path.stat().st_size, 0
    if path.suffix.lower() not in COMPRESSIONS:
        return size
    with path.open("rb") as file:
        head = file.read(PROBE_BYTES)
    try:
        with _decompressor(path, head) as reader:
            # Bounded by the output: 64 KiB may unpack to gigabytes.
            while length < ALWAYS_UNPACKED // 2 and (data := reader.read1(BLOCK_BYTES)):
                length += len(data)
    except InputError:
        raise
    except Exception:  # the head breaks off; damage is reported by who reads the file, with its line
        length = length or len(head)
    return size * length // max(1, len(head))


def lines(stream: Stream, max_line_bytes: int) -> Iterator[Line]:
    """The lines of `stream`, ends (LF or CRLF) removed. Memory is bounded by `max_line_bytes`."""
    number = 0
    # + 2: the longest line allowed still comes with its CRLF.
    while data := stream.readline(max_line_bytes + 2):
        number += 1
        # A carriage return goes only with its line feed here; `open_stream` deals with those that stand alone.
        bare = data.rstrip(b"\r\n")
        if len(bare) <= max_line_bytes:
            yield Line(number, bare)
            continue
        while data and not data.endswith(b"\n"):
            data = stream.readline(BLOCK_BYTES)
        yield Line(number, None)
