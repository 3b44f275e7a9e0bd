"""Small tokenizers and documents that the tests of corpus, batches and tokenizer share."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tinydistil.tokenizer.rules import SpecialTokens, wordpiece_backend
from tinydistil.tokenizer.tokenizer import Tokenizer

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyzáàâãçéêíóôõúABCDEFGHIJKLMNOPQRSTUVWXYZÁÉ0123456789"
MARKS = list(".,;:!?-()\"'[]")
CASED = [
    *SPECIAL,
    *MARKS,
    *LETTERS,
    *(f"##{each}" for each in LETTERS),
    "casa",
    "gat",
    "##inho",
    "de",
    "O",
    "Ama",
]
UNCASED = [
    *SPECIAL,
    *MARKS,
    "amanha",
    "cas",
    "##as",
    "gato",
    *LETTERS[:26],
    *(f"##{each}" for each in LETTERS[:26]),
]
WORDS = ["casa", "gatinho", "de", "O", "Amanhã", "abacaxi", ",", ".", "z" * 30, "9" * 12, "\u0301", "日本"]


@pytest.fixture(scope="session")
def cased() -> Tokenizer:
    """A WordPiece tokenizer that keeps capitals and accents."""
    return Tokenizer(wordpiece_backend(CASED, SpecialTokens(), lowercase=False), SpecialTokens())


@pytest.fixture(scope="session")
def uncased() -> Tokenizer:
    """One that keeps neither, has no digits, and another vocabulary."""
    return Tokenizer(wordpiece_backend(UNCASED, SpecialTokens(), lowercase=True), SpecialTokens())


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


SUBJECTS = """
A vizinha do terceiro andar
O padeiro da esquina
Minha avó
O menino que vendia jornais
A professora de história
Um pescador de mãos calejadas
A enfermeira do turno da noite
O carteiro
Quem morava naquela rua
O velho relojoeiro
A moça do guichê
O motorista do ônibus
Uma senhora de chapéu azul
O fotógrafo da praça
A dona da livraria
Meu primo mais novo
""".strip().splitlines()
VERBS = """
guardou
procurava desde cedo
esqueceu em casa
mostrou a todos
comprou na feira
devolveu sem explicação
consertou com calma
deixou sobre a mesa
encontrou por acaso
levou para a escola
pintou de verde
vendeu por pouco
descreveu em detalhes
trocou no mercado
""".strip().splitlines()
OBJECTS = """
as cartas que vieram de longe
um guarda-chuva sem cabo
o retrato da família
duas caixas de laranjas
a chave do portão
o livro de receitas
uma bicicleta enferrujada
o mapa da cidade antiga
três cadernos de capa dura
a notícia do jornal de domingo
um relógio que atrasava
o vestido de festa
as sementes de girassol
a conta do armazém
""".strip().splitlines()
ENDINGS = """
antes que a chuva chegasse
porque ninguém mais queria
enquanto os outros dormiam
sem dizer uma palavra
e depois foi embora
na manhã de segunda-feira
como fazia todos os anos
apesar do frio
quando o sino tocou
para surpresa de todos
com a ajuda do irmão
já perto do Natal
""".strip().splitlines()


@pytest.fixture(scope="session")
def write_text() -> Callable[[random.Random], str]:
    """Clean Portuguese of one to three paragraphs: what every cleaning rule keeps."""

    def sentence(source: random.Random) -> str:
        words = " ".join(map(source.choice, (SUBJECTS, VERBS, OBJECTS, ENDINGS)))
        return words + source.choice("....!?")

    def write(source: random.Random) -> str:
        paragraphs = [
            " ".join(sentence(source) for _ in range(source.randrange(4, 9))) for _ in range(source.randrange(1, 4))
        ]
        return "\n".join(paragraphs)

    return write
