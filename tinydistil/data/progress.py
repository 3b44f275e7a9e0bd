"""How far a preparation is, in documents and raw bytes: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import TextIO

from tqdm import tqdm

# Seconds between lines in a log: an hour's run fills six screens.
_SECONDS_A_LINE = 10.0


class Progress:
    """Counts what is done. `total_bytes` of raw text, which may be an estimate, gives a share done and time left;
    None where nobody knows it."""

    def __init__(self, total_bytes: int | None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._total_bytes = total_bytes
        self._bar: tqdm | None = None
        self._documents = self._bytes = 0
        self._began = self._spoke = time.monotonic()

    def start(self, documents: int, raw_bytes: int) -> None:
        """Show what earlier runs did; rates count from here."""
        self._began = self._spoke = time.monotonic()
        if documents:
            self._say(f"going on after {documents:,} documents ({raw_bytes / 1e6:,.1f} MB) of an earlier run")
        if self._stream.isatty():
            self._bar = tqdm(total=self._total_bytes, initial=raw_bytes, unit="B", unit_scale=True, file=self._stream)

    def advance(self, documents: int, raw_bytes: int) -> None:
        """That many more are done."""
        self._documents += documents
        self._bytes += raw_bytes
        # monotonic: a clock that is set back must not make a rate negative.
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"{self._documents / max(1e-9, now - self._began):,.0f} documents/s", refresh=False
            )
            self._bar.update(raw_bytes)
        elif now - self._spoke >= _SECONDS_A_LINE:
            self._spoke = now
            self._say(self._rates(now))

    def close(self) -> None:
        """Say the final rates."""
        if self._bar is not None:
            self._bar.close()
        if self._documents:
            self._say(self._rates(time.monotonic()))

    def _rates(self, now: float) -> str:
        seconds = max(1e-9, now - self._began)
        return (
            f"{self._documents:,} documents, {self._bytes / 1e6:,.1f} MB in {seconds:,.1f} s: "
            f"{self._documents / seconds:,.0f} documents/s, {self._bytes / seconds / 1e6:,.2f} MB/s"
        )

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
