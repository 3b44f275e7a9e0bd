"""How far a preparation is, in documents and raw bytes: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

from tinydistil.base.console import duration

# Seconds between lines in a log: an hour's run fills six screens.
_SECONDS_PER_LINE = 10.0


class Progress:
    """Counts what is done. `total_bytes` of raw text, which may be an estimate, gives a share done and time left;
    None where it is unknown. later: seconds that the command takes after this, computed once it is worth showing."""

    def __init__(
        self, total_bytes: int | None, stream: TextIO | None = None, *, later: Callable[[int], float] | None = None
    ) -> None:
        self._later, self._later_s = later, 0.0
        self._stream = stream or sys.stderr
        self._total_bytes = total_bytes
        self._bar: tqdm | None = None
        self._documents = self._bytes = self._before = 0
        self._began = self._spoke = time.monotonic()

    def start(self, documents: int, raw_bytes: int) -> None:
        """Show what earlier runs did; rates count from here."""
        self._began = self._spoke = time.monotonic()
        self._before = raw_bytes
        if documents:
            self._print(f"going on after {documents:,} documents ({raw_bytes / 1e6:,.1f} MB) of an earlier run")
        if self._stream.isatty():
            self._bar = tqdm(total=self._total_bytes, initial=raw_bytes, unit="B", unit_scale=True, file=self._stream)

    def advance(self, documents: int, raw_bytes: int) -> None:
        """That many more are done."""
        self._documents += documents
        self._bytes += raw_bytes
        # monotonic: a clock that is set back must not make a rate negative.
        now = time.monotonic()
        speaks = now - self._spoke >= _SECONDS_PER_LINE
        if self._bar is None and not speaks:
            return
        left = self._left(now, settle=speaks)
        if self._bar is not None:
            rate = f"{self._documents / max(1e-9, now - self._began):,.0f} documents/s"
            self._bar.set_postfix_str(f"{rate}{left}", refresh=False)
            self._bar.update(raw_bytes)
        else:
            self._spoke = now
            self._print(f"{self._rates(now)}{left}")

    def _left(self, now: float, *, settle: bool) -> str:
        """Share done and time left, of the whole command where that is known or can be `settle`d now."""
        if not self._total_bytes:
            return ""
        share = min(1.0, (self._before + self._bytes) / self._total_bytes)
        left_s = (now - self._began) / max(self._bytes, 1) * self._total_bytes * (1 - share)
        if settle and self._later is not None and left_s > _SECONDS_PER_LINE:
            self._later_s, self._later = self._later(self._total_bytes), None
        whole = f", {duration(left_s + self._later_s)} with what comes after" if self._later_s else ""
        return f", {share:.0%}, {duration(left_s)} left{whole}"

    def close(self) -> None:
        """Print the final rates."""
        if self._bar is not None:
            self._bar.close()
        if self._documents:
            self._print(self._rates(time.monotonic()))

    def _rates(self, now: float) -> str:
        seconds = max(1e-9, now - self._began)
        return (
            f"{self._documents:,} documents, {self._bytes / 1e6:,.1f} MB in {seconds:,.1f} s: "
            f"{self._documents / seconds:,.0f} documents/s, {self._bytes / seconds / 1e6:,.2f} MB/s"
        )

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
