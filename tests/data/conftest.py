"""Small tokenizers and documents that the tests of data/ share."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tinydistil.data.words import Side
from tinydistil.text.tokenizer_files import SpecialTokens, wordpiece_backend

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyzáàâãçéêíóôõúABCDEFGHIJKLMNOPQRSTUVWXYZÁÉ0123456789"
MARKS = list(".,;:!?-()\"'[]")
CASED = [*SPECIAL, *MARKS, *LETTERS, *(f"##{each}" for each in LETTERS), "casa", "gat", "##inho", "de", "O", "Ama"]
UNCASED = [*SPECIAL, *MARKS, "amanha", "cas", "##as", "gato", *LETTERS[:26], *(f"##{each}" for each in LETTERS[:26])]
WORDS = ["casa", "gatinho", "de", "O", "Amanhã", "abacaxi", ",", ".", "z" * 30, "9" * 12, "\u0301", "日本"]


@pytest.fixture(scope="session")
def cased() -> Side:
    """A WordPiece tokenizer that keeps capitals and accents."""
    return Side(wordpiece_backend(CASED, SpecialTokens(), lowercase=False), unknown_id=1)


@pytest.fixture(scope="session")
def uncased() -> Side:
    """One that keeps neither, has no digits, and another vocabulary."""
    return Side(wordpiece_backend(UNCASED, SpecialTokens(), lowercase=True), unknown_id=1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data beside the repository; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs the real data in {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def random_sentences() -> Callable[[random.Random], list[str]]:
    """Documents of up to twelve sentences, with words that are long, unknown, empty or in another script."""

    def make(source: random.Random) -> list[str]:
        return [" ".join(source.choices(WORDS, k=source.randrange(26))) for _ in range(source.randrange(13))]

    return make
