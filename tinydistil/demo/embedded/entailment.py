"""Pairs of sentences of which the first entails the second, or does not, by what the words mean.

An affirmed event entails the same event told with less: without its adjective, circumstance or time, with "mais de
um" for a number, with a wider word (fruta for maçã). A denied event ("não comprou nenhuma fruta") entails the denial
of anything narrower: another adjective or time added, maçã for fruta. The opposite direction entails nothing, nor do
another number, place, time or object, exchanged roles, or a denial beside its affirmation. "Another time" and "another
place" do not follow from the first sentence; they need not contradict it.

Both directions use the same pairs of sentences, one way round and the other, so the number of shared words does not
tell the labels apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinydistil.demo.embedded.clauses import Clause
from tinydistil.demo.embedded.draws import Draws, permuted_class, require_position, require_split
from tinydistil.demo.embedded.entries import Noun, lexicon
from tinydistil.demo.embedded.events import (
    COUNTS,
    at_other_place,
    at_other_time,
    draw_event,
    in_split,
    is_counted,
    item_of,
    renamed,
    retold,
    same_kind,
    told,
    with_item,
)
from tinydistil.demo.embedded.phrases import lasting


@dataclass(frozen=True, slots=True)
class EntailmentPair:
    """Two sentences, and whether the second must be true where the first is."""

    premise: str
    hypothesis: str
    entails: bool


Change = Callable[[Draws, Clause], Clause | None]


def _without_time(draws: Draws, event: Clause) -> Clause | None:
    return event._replace(time="") if event.time else None


def _without_place(draws: Draws, event: Clause) -> Clause | None:
    return event._replace(circumstances=()) if event.circumstances else None


def _without_adjective(draws: Draws, event: Clause) -> Clause | None:
    item = item_of(event)
    # Who read "os livros caros" need not have read "os livros".
    if not item.adjective or (item.plural and not is_counted(item) and item.determiner):
        return None
    return with_item(event, item._replace(adjective=""))


def _wider(draws: Draws, event: Clause) -> Clause | None:
    """The object by a wider word: "uma fruta" for "a maçã"."""
    item = item_of(event)
    tops: tuple[Noun, ...] = lexicon().wider.get(item.noun.concept, ())
    if not tops or item.noun.style not in ("count", "own", "person"):
        return None
    fitting = [top for top in tops if item.noun.style != "person" or top.gender == item.noun.gender]
    if not fitting:
        return None
    wide = renamed(item, draws.pick(fitting))._replace(adjective="")
    # "A maçã" is one that both know of; the fruit is then some fruit.
    if wide.determiner in ("o", "este", "esse", "aquele") and not wide.plural:
        wide = wide._replace(determiner="um")
    return with_item(event, wide) if not wide.plural or is_counted(wide) else None


def _uncounted(draws: Draws, event: Clause) -> Clause | None:
    """A number told as "mais de um"."""
    item = item_of(event)
    return with_item(event, item._replace(determiner="mais de um", plural=False)) if is_counted(item) else None


def _other_number(draws: Draws, event: Clause) -> Clause | None:
    item = item_of(event)
    if not is_counted(item):
        return None
    return with_item(event, item._replace(determiner=draws.pick([word for word in COUNTS if word != item.determiner])))


def _other_item(draws: Draws, event: Clause) -> Clause | None:
    item = item_of(event)
    if item.noun.style not in ("count", "own", "mass"):
        return None
    # A wider or narrower word would not be another thing.
    near = {top.concept for top in lexicon().wider.get(item.noun.concept, ())}
    nouns = [
        noun for noun in same_kind(item.noun, event.frame, 0)
        if noun.style == item.noun.style and noun.concept not in near
        and item.noun.concept not in {top.concept for top in lexicon().wider.get(noun.concept, ())}
    ]  # fmt: skip
    return with_item(event, renamed(item, draws.pick(nouns))._replace(adjective="")) if nouns else None


def _roles(draws: Draws, event: Clause) -> Clause | None:
    item, subject = item_of(event), event.subject
    if subject is None or not subject.noun.style == item.noun.style == "name":
        return None
    return with_item(event._replace(subject=item), subject)


def _denied(draws: Draws, event: Clause) -> Clause | None:
    return event._replace(negated=not event.negated)


NARROW_TO_WIDE: tuple[Change, ...] = (_wider, _wider, _without_adjective, _without_place, _without_time)
DIFFERENT: tuple[Change, ...] = (_other_number, at_other_time, at_other_place, _other_item, _roles, _denied)


def _none(event: Clause) -> Clause | None:
    """The denial of the event for any such object: "não comprou nenhuma fruta"."""
    item = item_of(event)
    if item.noun.style not in ("count", "own") or item.noun.plural_only:
        return None
    return with_item(event, item._replace(determiner="nenhum", plural=False))._replace(negated=True)


def _events(draws: Draws, event: Clause, entails: bool) -> tuple[Clause, Clause] | None:
    """Premise and hypothesis made from one event; None where the change drawn does not fit it."""
    kind = draws.below(20)
    if not entails and kind < 8:
        other = draws.pick(DIFFERENT)(draws, event)
        return None if other is None else (event, other)
    if entails and kind < 3:
        return event, event  # told in other words
    if entails and kind < 6:
        wide = _uncounted(draws, event)
        return None if wide is None else (event, wide)
    wide = draws.pick(NARROW_TO_WIDE)(draws, event)
    if wide is None:
        return None
    if kind < 14:
        return (event, wide) if entails else (wide, event)
    narrow_denied, wide_denied = _none(event), _none(wide)
    if narrow_denied is None or wide_denied is None:
        return None
    return (wide_denied, narrow_denied) if entails else (narrow_denied, wide_denied)


def _enriched(draws: Draws, event: Clause) -> Clause:
    """The event with a number or an adjective to take away, more often than chance gives it."""
    item = item_of(event)
    if item.noun.style in ("count", "own") and not item.noun.plural_only and draws.chance(0.4):
        item = item._replace(determiner=draws.pick(COUNTS), plural=True)
    words = lasting(item.noun)
    if words and not item.adjective and item.noun.style in ("count", "own", "mass") and draws.chance(0.4):
        item = item._replace(adjective=draws.pick(words))
    return with_item(event, item)


def _text(draws: Draws, event: Clause) -> str:
    """Plain or in other words."""
    return told(event) if draws.chance(0.4) else retold(draws, event)


def entailment_pair(seed: int, index: int, split: str = "train") -> EntailmentPair:
    """Pair `index` of stream `seed` and `split`; no event of one split is told in another, whatever the seed."""
    require_split(split)
    entails = permuted_class(seed, f"entailment|{split}", index, 2) == 0
    draws = Draws(seed, f"entailment|{split}", index)
    while True:
        event = draw_event(draws, people=draws.chance(0.15))
        if not in_split(event, split):
            continue
        pair = _events(draws, _enriched(draws, event), entails)
        if pair is None:
            continue
        premise, hypothesis = _text(draws, pair[0]), _text(draws, pair[1])
        if premise != hypothesis:
            return EntailmentPair(premise, hypothesis, entails)


def entailment_pairs(seed: int, count: int, start: int = 0, split: str = "train") -> Iterator[EntailmentPair]:
    """Pairs `start` to `start + count - 1` of a split; every two in a row hold one of each label."""
    require_position(seed, start, count)
    require_split(split)
    return (entailment_pair(seed, index, split) for index in range(start, start + count))
