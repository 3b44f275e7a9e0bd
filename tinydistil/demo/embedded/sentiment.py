"""Opinions with a class, positive, negative or neutral, that follows from how they are built.

What counts is the main statement about the thing itself: what stands behind "mas" outweighs what stands before it,
"apesar de" outweighs nothing, "não" turns an opinion round, and a fact or an even judgement is neutral.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tinydistil.demo.embedded.draws import Draws, permuted_class, require_position, require_split, split_of
from tinydistil.demo.embedded.lexicon.common import TIMES
from tinydistil.demo.embedded.lexicon.opinions import (
    BLAME,
    DISLIKED,
    EVEN,
    KINDS,
    LIKED,
    PRAISE,
    TARGETS,
    WHO,
)  # fmt: skip
from tinydistil.demo.embedded.morphology import agree
from tinydistil.demo.embedded.phrases import after, determiner_form
from tinydistil.demo.embedded.statements import finish

# Each kind of thing has this many words of praise and of blame of its own; the general ones follow.
OWN_WORDS = 3
LABELS = ("positive", "negative", "neutral")


@dataclass(frozen=True, slots=True)
class SentimentText:
    """A sentence and its class: "positive", "negative" or "neutral"."""

    text: str
    label: str


class _Word(NamedTuple):
    form: str
    gender: str


class _Kind(NamedTuple):
    """A kind of thing: its aspects, adjectives of praise and blame, and facts."""

    targets: tuple[_Word, ...]
    aspects: tuple[_Word, ...]
    praise: tuple[str, ...]
    blame: tuple[str, ...]
    facts: tuple[str, ...]


class _View(NamedTuple):
    """One opinion to put into words: the thing, one of its aspects, and words of the one and the other side."""

    draws: Draws
    thing: _Word
    aspect: _Word
    good: tuple[str, ...]
    bad: tuple[str, ...]
    likes: tuple[tuple[str, str], ...]
    dislikes: tuple[tuple[str, str], ...]
    praises: bool


def _words(text: str) -> tuple[_Word, ...]:
    pairs = (word.split("/") for word in text.split())
    return tuple(_Word(form.replace("_", " "), gender) for form, gender in pairs)


@lru_cache(maxsize=1)
def _kinds() -> tuple[_Kind, ...]:
    targets = dict(line.split(": ", 1) for line in TARGETS.strip().splitlines())
    kinds = []
    for line in KINDS.strip().splitlines():
        name, _, fields = line.partition(": ")
        aspects, praise, blame, facts = (field.strip() for field in fields.split("|"))
        kinds.append(
            _Kind(
                _words(targets[name]),
                _words(aspects),
                (*praise.split(), *PRAISE),
                (*blame.split(), *BLAME),
                tuple(fact.strip() for fact in facts.split(";")),
            )
        )
    return tuple(kinds)


def _the(word: _Word) -> str:
    return f"{determiner_form('o', word.gender, False)} {word.form}"


def _good(view: _View, word: _Word) -> str:
    return agree(view.draws.pick(view.good), word.gender, False)


def _bad(view: _View, word: _Word) -> str:
    return agree(view.draws.pick(view.bad), word.gender, False)


def _flaw(view: _View) -> str:
    """A word of the other side that leaves room for the verdict: "confuso" rather than "horrível"."""
    return agree(view.draws.pick(view.bad[:OWN_WORDS]), view.thing.gender, False)


def _of_aspect(view: _View, words: tuple[str, ...]) -> str:
    """A word that suits any part of a thing: one of the general ones."""
    return agree(view.draws.pick(words[OWN_WORDS:]), view.aspect.gender, False)


def _verdict(pair: tuple[str, str], thing: str) -> str:
    return f"{pair[0]} {after(pair[1], thing) if pair[1] else thing}"


def _liked(view: _View) -> str:
    text = _verdict(view.draws.pick(view.likes), _the(view.thing))
    if view.draws.chance(0.5):
        text += f", {_the(view.aspect)} é {_of_aspect(view, view.good)}"
    return text


def _is(view: _View) -> str:
    degree = view.draws.pick(("", "", "muito ", "realmente "))
    good = _good(view, view.thing)
    # "Muito" goes only with words that are not extreme already.
    mild = good in {agree(word, view.thing.gender, False) for word in ("bom", "ruim", "fraco", *view.good[:OWN_WORDS])}
    return f"{_the(view.thing)} é {degree if mild or degree != 'muito ' else ''}{good}"


def _is_and(view: _View) -> str:
    return f"{_the(view.thing)} é {_good(view, view.thing)} e {_the(view.aspect)} é {_of_aspect(view, view.good)}"


def _despite(view: _View) -> str:
    verdict = _verdict(view.draws.pick(view.likes), _the(view.thing))
    return f"apesar de {_flaw(view)}, {verdict}"


def _although_aspect(view: _View) -> str:
    return f"mesmo com {_the(view.aspect)} {_of_aspect(view, view.bad)}, {_the(view.thing)} é {_good(view, view.thing)}"


def _but(view: _View) -> str:
    return f"{_the(view.aspect)} é {_of_aspect(view, view.bad)}, mas {_the(view.thing)} é {_good(view, view.thing)}"


def _not_bad(view: _View) -> str:
    degree = view.draws.pick(("nada ", "nem um pouco "))
    return f"{_the(view.thing)} não é {degree}{_bad(view, view.thing)}"


def _expected(view: _View) -> str:
    bad, good = _bad(view, view.thing), _good(view, view.thing)
    a_thing = f"{determiner_form('um', view.thing.gender, False)} {view.thing.form}"
    return view.draws.pick((
        f"pensei que {_the(view.thing)} fosse {bad}, mas é {good}",
        f"disseram que {_the(view.thing)} era {bad}, e na verdade é {good}",
        f"esperava {a_thing} {bad} e encontrei algo {view.draws.pick(view.good)}",
    ))  # fmt: skip


def _found(view: _View) -> str:
    who = view.draws.pick(WHO)
    verb = "achei" if who == "eu" else "achou"
    return f"{who} {verb} {_the(view.thing)} {_good(view, view.thing)}"


def _idiom(view: _View) -> str:
    thing = _the(view.thing)
    praise = (
        f"{thing} não decepciona",
        f"não me arrependi de ter escolhido {thing}",
        f"{thing} superou o que eu esperava",
        f"não tenho do que reclamar: {thing} é {_good(view, view.thing)}",
        f"vale a pena conhecer {thing}",
    )
    blame = (
        f"{thing} não vale o preço",
        f"me arrependi de ter escolhido {thing}",
        f"esperava mais {after('de', thing)}",
        f"só tenho do que reclamar: {thing} é {_good(view, view.thing)}",
        f"{thing} ficou abaixo do que eu esperava",
    )
    return view.draws.pick(praise if view.praises else blame)


def _comparison(view: _View) -> str:
    who = view.draws.pick([who for who in WHO if who != "eu"])
    bad = _bad(view, view.thing)
    verdict = _verdict(view.draws.pick(view.likes), _the(view.thing))
    return f"{who} disse que {_the(view.thing)} é {bad}, mas eu {verdict}"


TOLD: tuple[Callable[[_View], str], ...] = (
    _liked, _is, _is_and, _despite, _although_aspect, _but, _not_bad, _expected, _found, _idiom, _comparison,
)  # fmt: skip


def _neutral(draws: Draws, kind: _Kind, thing: _Word, aspect: _Word) -> str:
    """A fact, an even judgement, neither the one nor the other."""
    good, bad = (agree(draws.pick(words), thing.gender, False) for words in (kind.praise, kind.blame))
    even = agree(draws.pick(EVEN), thing.gender, False)
    fact, name = draws.pick(kind.facts), _the(thing)
    even_aspect = agree(draws.pick(EVEN), aspect.gender, False)
    somebody = draws.pick(WHO[1:])
    return draws.pick((
        f"{name} {fact}", f"{name} {fact}", f"{name} não é {good} nem {bad}", f"achei {name} {even}",
        f"{name} é {even}", f"ainda não sei se {name} é {good} ou {bad}",
        f"{somebody} perguntou se {name} é {good}", f"{somebody} falou {after('de', name)}",
        f"{_the(aspect)} é {even_aspect}", f"disseram que {name} {fact}", f"não adorei nem odiei {name}",
    ))  # fmt: skip


def _draw(draws: Draws, label: str) -> str:
    kind = draws.pick(_kinds())
    thing, aspect = draws.pick(kind.targets), draws.pick(kind.aspects)
    if thing.form == aspect.form:
        return _draw(draws, label)
    if label == "neutral":
        text = _neutral(draws, kind, thing, aspect)
    else:
        praises = label == "positive"
        sides = (kind.praise, kind.blame, LIKED, DISLIKED) if praises else (kind.blame, kind.praise, DISLIKED, LIKED)
        text = draws.pick(TOLD)(_View(draws, thing, aspect, *sides, praises))
    kind_of_end = draws.below(10)
    if kind_of_end < 2:
        text = f"{draws.pick(('sinceramente', 'de verdade', 'olha', 'bem', 'pois é'))}, {text}"
    elif kind_of_end < 4:
        text = f"anotei {draws.pick(TIMES['preterite'])}: {text}"
    return finish(text)


def sentiment_text(seed: int, index: int, split: str = "train") -> SentimentText:
    """Text `index` of stream `seed` and `split`; no text of one split occurs in another, whatever the seed."""
    require_split(split)
    label = LABELS[permuted_class(seed, f"sentiment|{split}", index, len(LABELS))]
    draws = Draws(seed, f"sentiment|{split}", index)
    while True:
        text = _draw(draws, label)
        if split_of(text) == split:
            return SentimentText(text, label)


def sentiment_texts(seed: int, count: int, start: int = 0, split: str = "train") -> Iterator[SentimentText]:
    """Texts `start` to `start + count - 1` of a split; every three in a row hold each class once."""
    require_position(seed, start, count)
    require_split(split)
    return (sentiment_text(seed, index, split) for index in range(start, start + count))
