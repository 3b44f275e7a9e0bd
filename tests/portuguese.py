"""Portuguese for tests: sentences of the demonstration's text, and labelled ones made of a few words."""

import random
from functools import lru_cache

from tinydistil.corpus.language import split_sentences
from tinydistil.demo.measures import works

LABELS = ("positive", "negative", "neutral")
_ADJECTIVES = {
    "positive": "ótimo excelente agradável maravilhoso perfeito incrível adorável sensacional".split(),
    "negative": "péssimo horrível lamentável terrível decepcionante desagradável ruim fraco".split(),
    "neutral": "comum normal simples mediano regular aceitável razoável habitual".split(),
}
_FRAMES = (
    "O {noun} é {adjective}.",
    "Minha tia disse que o {noun} é {adjective}.",
    "Achei o {noun} de {name} {adjective}.",
    "Anotei em {month}: o {noun} de minha irmã foi {adjective}.",
    "De verdade, o {noun} ainda é bastante {adjective}, disse {name}.",
)
_NOUNS = {
    "train": "livro celular hotel filme passeio almoço curso vestido teatro café jogo jardim bolo concerto".split(),
    "dev": "romance relógio restaurante festival sapato".split(),
    "test": "conto computador albergue espetáculo casaco".split(),
}
_NAMES = "Ana Bruno Camila Daniel Elisa Fernando Helena Otávio Renata Simone".split()
_MONTHS = "janeiro março abril maio julho agosto setembro dezembro".split()


@lru_cache(maxsize=1)
def _all_sentences() -> list[str]:
    passages = (passage for work in works() for passage in work.passages)
    return [s for passage in passages for s in split_sentences(passage) if 40 <= len(s) <= 120]


def sentences(count: int, *, first: int = 0) -> list[str]:
    """`count` sentences of Machado de Assis, 40 to 120 characters long, from number `first` on."""
    return _all_sentences()[first : first + count]


def opinions(seed: int, count: int, split: str) -> list[tuple[str, str]]:
    """`count` texts with a label that follows from their adjective; things differ from split to split."""
    found = []
    for number in range(count):
        draws, label = random.Random(f"{seed} {split} {number}"), LABELS[number % 3]
        noun, adjective = draws.choice(_NOUNS[split]), draws.choice(_ADJECTIVES[label])
        text = draws.choice(_FRAMES).format(
            noun=noun, adjective=adjective, name=draws.choice(_NAMES), month=draws.choice(_MONTHS)
        )
        found.append((text, label))
    return found


def entailments(count: int, split: str) -> list[tuple[str, str, bool]]:
    """A sentence, another text, and whether that is a part of the sentence."""
    several = sentences(count + 1, first=1000 * list(_NOUNS).index(split))
    return [(text, " ".join(several[i + i % 2].split()[:5]), i % 2 == 0) for i, text in enumerate(several[:count])]


def similarities(count: int, split: str) -> list[tuple[str, str, float]]:
    """A sentence, another that shares its first words, and a score from 1 to 5 by how many."""
    several = sentences(count + 1, first=1000 * list(_NOUNS).index(split))
    pairs = []
    for number in range(count):
        words, others, shared = several[number].split(), several[number + 1].split(), number % 5
        pairs.append((several[number], " ".join([*words[: 2 * shared], *others[2 * shared :]]), 1.0 + shared))
    return pairs
