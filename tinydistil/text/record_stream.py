"""Floor 1: files as streams of bounded lines; compression and damage dealt with in one place."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, cast

from tinydistil.text.optional import optional

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
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMPRESSIONS = (".gz", ".zst")


class DamagedFile(Exception):
    """The stream ends before its end: truncated, corrupted, or no text at all."""


class Line(NamedTuple):
    """A line without its end mark; `data` is None where it is longer than the limit and was skipped."""

    number: int
    data: bytes | None


@contextmanager
def open_stream(path: Path) -> Iterator[Stream]:
    """The decompressed bytes of `path`, past a byte order mark.

    Raises InputError if a package is missing, DamagedFile (here or in the body) if it cannot be read on.
    """
    try:
        with io.BufferedReader(_raw(path), BLOCK_BYTES) as stream:
            _refuse_binary(stream.peek(PROBE_BYTES)[:PROBE_BYTES])
            if stream.peek(len(BYTE_ORDER_MARK)).startswith(BYTE_ORDER_MARK):
                stream.read(len(BYTE_ORDER_MARK))
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
    if path.suffix.lower() == ".gz":
        return _Decompressed(cast(_Source, gzip.open(path, "rb")))
    if path.suffix.lower() == ".zst":
        zstandard = optional("zstandard", needed_by=f"reading {str(path)!r}", extra="formats")
        # A frame may be followed by another, as pzstd and `cat a.zst b.zst` write them.
        return _Decompressed(zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), read_across_frames=True, closefd=True))
    return path.open("rb", buffering=0)


class _Source(Protocol):
    def read1(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _Decompressed(io.RawIOBase):
    """Hands on what one step of decompression gives, so that damage further on costs nothing before it."""

    def __init__(self, source: _Source) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        data = self._source.read1(len(target))
        target[:len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


def _refuse_binary(probe: bytes) -> None:
    control = len(probe) - len(probe.translate(None, CONTROL_BYTES))
    if control > BINARY_SHARE * len(probe):
        raise DamagedFile(f"not UTF-8 text: {control} of the first {len(probe)} bytes are control bytes")


def lines(stream: Stream, max_line_bytes: int) -> Iterator[Line]:
    """The lines of `stream`, ends (LF or CRLF) removed. Memory is bounded by `max_line_bytes`."""
    number = 0
    # + 2: the longest line allowed still comes with its CRLF.
    while data := stream.readline(max_line_bytes + 2):
        number += 1
        data, whole = data.rstrip(b"\r\n"), data.endswith(b"\n")
        if len(data) <= max_line_bytes:
            yield Line(number, data)
            continue
        if not whole:
            _skip_line(stream)
        yield Line(number, None)


def _skip_line(stream: Stream) -> None:
    while (rest := stream.readline(BLOCK_BYTES)) and not rest.endswith(b"\n"):
        pass
