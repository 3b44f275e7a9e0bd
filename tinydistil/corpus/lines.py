"""Lines of text from a file or from standard input."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tinydistil.base.errors import InputError

# Of one text, of which a model reads some 2 KB: whole books pass.
LONGEST_BYTES = 16_000_000


def open_lines(path: str | None) -> Iterator[str]:
    """The lines of UTF-8 file `path`, or of standard input (None or "-"), without their line ends, one at a time.

    An empty line is a text too, so that results stay beside their lines. Raises InputError where the file is
    missing or a line is not UTF-8, naming the line.
    """
    name = "standard input" if path in (None, "-") else repr(path)
    if path in (None, "-") and sys.stdin is None:
        raise InputError("standard input is closed; give texts as arguments or with --file")
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
