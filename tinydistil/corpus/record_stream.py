"""Files as streams of bounded lines; compression and damage dealt with in one module."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tinydistil.base.errors import InputError, optional

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Stream: TypeAlias = "io.BufferedReader[io.RawIOBase]"

# 1 MiB: large enough that a system call costs nothing beside the decompression of what it brings.
BLOCK_BYTES = 1 << 20
# What is looked at to tell text from binary; executables and images show themselves well before.
PROBE_BYTES = 1 << 16
# Share of control bytes above which the probe is no text: random bytes hold 11 %, UTF-16 text 45 %.
BINARY_SHARE = 0.05
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
# Text shrinks 3 to 20 times. What shrinks more than a thousand times is no text, but may fill any memory.
MOST_RATIO = 1000
# So much is let pass in any case: what zstd keeps in memory of a file by default.
ALWAYS_UNPACKED = 1 << 27
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMPRESSIONS = (".gz", ".zst")


class DamagedFile(Exception):
    """The stream ends before its end: truncated, corrupted, or no text at all."""


class Line(NamedTuple):
    """A line without its end mark; `data` is None where it is longer than the limit and was skipped."""

    number: int
    data: bytes | None


# What a format's reader yields: the line where a record begins, and its bytes, or (str) why it is set aside.
Cut: TypeAlias = tuple[int, bytes | str]


@contextmanager
def open_stream(path: Path, *, text: bool = True) -> Iterator[Stream]:
    """The decompressed bytes of `path`, past a byte order mark; line ends that are all CR come as LF.

    text: refuse what is binary, UTF-16 included.
    Raises InputError if a package is missing, DamagedFile (here or in the body) if it cannot be read on.
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
            if stream.peek(len(BYTE_ORDER_MARK)).startswith(BYTE_ORDER_MARK):
                stream.read(len(BYTE_ORDER_MARK))
            if text and b"\r" in probe and b"\n" not in probe:
                yield io.BufferedReader(_Macintosh(stream), BLOCK_BYTES)
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
    most = max(ALWAYS_UNPACKED, MOST_RATIO * path.stat().st_size)
    if path.suffix.lower() == ".gz":
        return _Decompressed(gzip.open(path, "rb"), most)
    if path.suffix.lower() == ".zst":
        # A frame may be followed by another, as pzstd and `cat a.zst b.zst` write them.
        reader = _decompressor(path).stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
        return _Decompressed(reader, most)
    # Unbuffered, since a buffer of our own size goes around it.
    return path.open("rb", buffering=0)


def _decompressor(path: Path) -> Any:
    # `zstd --long=31` looks back over 2 GiB; no more of it is kept in memory than was unpacked.
    zstandard = optional("zstandard", needed_by=f"reading {str(path)!r}", extra="formats")
    return zstandard.ZstdDecompressor(max_window_size=1 << 31)


def unpacked_bytes(path: Path) -> int:
    """The size of `path` once decompressed; of a compressed file an estimate, by what its first 64 KiB unpack to."""
    size, ending = path.stat().st_size, path.suffix.lower()
    if ending not in COMPRESSIONS:
        return size
    with path.open("rb") as file:
        head = file.read(PROBE_BYTES)
    try:
        if ending == ".gz":
            unpacking = zlib.decompressobj(wbits=31)
            length = len(unpacking.decompress(head, ALWAYS_UNPACKED))
            rest = len(unpacking.unused_data) + len(unpacking.unconsumed_tail)
        else:
            # Bounded by the output: 64 KiB may unpack to gigabytes. What it read ahead counts as used.
            with _decompressor(path).stream_reader(io.BytesIO(head), read_across_frames=True) as reader:
                length, rest = sum(map(len, islice(iter(lambda: reader.read1(BLOCK_BYTES), b""), 64))), 0
    except Exception as error:
        if isinstance(error, InputError):
            raise
        # Damage is reported by who reads the file, with its line.
        return size
    # A file of several streams one after the other is judged by its first.
    return size * length // max(1, len(head) - rest)


class _Decompressed(io.RawIOBase):
    """Hands on all that was decompressed before some damage, which Python's own buffers would lose."""

    def __init__(self, source: Any, most: int) -> None:
        self._source, self._left = source, most
        self._damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if self._damage is not None:
            raise self._damage
        target, filled = memoryview(buffer).cast("B"), 0
        try:
            # One step gives some 8 KiB; whole blocks spare the layers above most of their calls.
            while filled < len(target) and (data := self._source.read1(len(target) - filled)):
                target[filled : filled + len(data)] = data
                filled += len(data)
        except Exception as damage:
            if not filled:
                raise
            # Told at the next call: a decompressor that has failed once may not fail again.
            self._damage = damage
        self._left -= filled
        if self._left < 0:
            raise DamagedFile(f"unpacks to more than {MOST_RATIO:,} times its size, which no text does")
        return filled

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


class _Macintosh(io.RawIOBase):
    """Lines that end in CR alone, as old Macintosh programs and some spreadsheets write them, with LF instead."""

    def __init__(self, source: Stream) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        data = self._source.read1(len(target)).replace(b"\r", b"\n")
        target[: len(data)] = data
        return len(data)


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
