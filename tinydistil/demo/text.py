"""Thirteen works of Machado de Assis (1839-1908, free of rights): the package's text, and which part is held out."""

import hashlib
import lzma
from dataclasses import dataclass
from pathlib import Path

from tinydistil.base.errors import require

TEXT = Path(__file__).parent / "machado.txt.xz"
SHA256 = "3a15860dc46d74e090d630754fc4191fec41f9264915c6ed222aaf21ed1c7069"
# A passage: paragraphs that follow one another, of at least so many characters together.
PASSAGE_CHARACTERS = 400
# Of every 120 passages of a work, twelve in a row are held out: neighbours to be found, and nothing learnt beside them.
PERIOD, HELD_OUT = 120, 12


@dataclass(frozen=True, slots=True)
class Work:
    """A novel or a collection of stories: `passages` in the order of the book, each of whole paragraphs."""

    title: str
    passages: tuple[str, ...]

    def held_out_runs(self) -> list[list[str]]:
        """Passages that nobody learns from, in runs that follow one another."""
        starts = range(PERIOD // 2, len(self.passages), PERIOD)
        return [list(self.passages[start : start + HELD_OUT]) for start in starts]

    def held_out(self) -> list[str]:
        """All of `held_out_runs` in one list."""
        return [passage for run in self.held_out_runs() for passage in run]

    def training_runs(self) -> list[list[str]]:
        """What lies between the held-out runs."""
        starts = [0, *range(PERIOD // 2 + HELD_OUT, len(self.passages), PERIOD)]
        ends = [*range(PERIOD // 2, len(self.passages), PERIOD), len(self.passages)]
        return [list(self.passages[start:end]) for start, end in zip(starts, ends, strict=False)]


def read_works(content: bytes) -> list[Work]:
    """The works in the text file's own format: a title after "# ", then a paragraph per line."""
    works = []
    for part in content.decode("utf-8").removeprefix("# ").split("\n# "):
        title, *paragraphs = part.strip().split("\n")
        passages, open_passage = [], ""
        for paragraph in paragraphs:
            open_passage = f"{open_passage}\n{paragraph}" if open_passage else paragraph
            if len(open_passage) >= PASSAGE_CHARACTERS:
                passages.append(open_passage)
                open_passage = ""
        works.append(Work(title, (*passages, open_passage) if open_passage else tuple(passages)))
    return works


def works() -> list[Work]:
    """The package's works. Raises InputError where the file is damaged."""
    try:
        content = lzma.decompress(TEXT.read_bytes())
    except (OSError, lzma.LZMAError):
        content = b""
    require(hashlib.sha256(content).hexdigest() == SHA256, f"{str(TEXT)!r} is damaged; install the package anew")
    return read_works(content)
