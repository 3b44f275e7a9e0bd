"""Sentences of every pattern, numbered."""

from collections.abc import Callable, Iterator

from tinydistil.demo.embedded.descriptions import comparison, description
from tinydistil.demo.embedded.draws import Draws, require_position
from tinydistil.demo.embedded.entries import TOPICS, lexicon
from tinydistil.demo.embedded.joined import (
    coordination,
    object_relative,
    reported,
    subject_relative,
    subjunctive,
    subordinate,
)
from tinydistil.demo.embedded.questions import question
from tinydistil.demo.embedded.statements import finish, modal, passive, pluperfect, progressive, simple

FILLERS = ("na verdade", "pelo jeito", "por sorte", "infelizmente", "felizmente", "afinal", "finalmente", "certamente")
# Pattern and weight; the weights are shares of the whole, tuned by reading.
PATTERNS: tuple[tuple[Callable[[Draws, str], str], int], ...] = (
    (simple, 34), (progressive, 6), (modal, 9), (passive, 7), (object_relative, 5), (subject_relative, 5),
    (subordinate, 10), (subjunctive, 5), (reported, 5), (question, 8), (description, 6), (comparison, 4),
    (coordination, 7), (pluperfect, 4),
)  # fmt: skip
_WEIGHTED = tuple(pattern for pattern, weight in PATTERNS for _ in range(weight))


def draw_sentence(draws: Draws, topic: str) -> str:
    """One sentence about a topic."""
    pattern = draws.pick(_WEIGHTED)
    text = pattern(draws, topic)
    if pattern in (simple, passive, coordination) and draws.chance(0.06):
        return finish(f"{draws.pick(FILLERS)}, {text[0].lower() if _lowers(text) else text[0]}{text[1:]}", "")
    return text


def _lowers(text: str) -> bool:
    """Whether the first word loses its capital inside a sentence: a name does not."""
    first = text.partition(" ")[0].rstrip(",")
    return not any(first == noun.singular for noun in lexicon().groups["nome"])


def sentence(seed: int, index: int) -> str:
    """Sentence `index` of stream `seed`: the same whatever else was made."""
    draws = Draws(seed, "sentence", index)
    return draw_sentence(draws, draws.pick(TOPICS))


def sentences(seed: int, count: int, start: int = 0) -> Iterator[str]:
    """Sentences `start` to `start + count - 1` of stream `seed`, of all topics mixed."""
    require_position(seed, start, count)
    return (sentence(seed, index) for index in range(start, start + count))
