"""Pairs of sentences with a similarity from 1 to 5 that follows from what they mean.

The rule. An event has up to five facts: the action (weight 3), who acts (2), the object (3), the circumstances (1:
to whom, where, with what) and the time (1). Two sentences agree on a fact wholly (1) if it means the same in both;
by half (0.5) if it is the same person or thing in another number or with another determiner or adjective, or if the
objects or circumstances are different things that the same action takes; else 0. Facts that neither tells do not
count. With A the weighted mean of the agreements,

    score = 1 + 4 A            both affirmed or both denied
    score = 1 + 4 A * 0.5      one denies what the other affirms

rounded to one decimal. So a paraphrase has 5, another topic 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tinydistil.demo.embedded.clauses import Clause, Part, draw_subject
from tinydistil.demo.embedded.draws import Draws, permuted_class, require_position, require_split
from tinydistil.demo.embedded.entries import TOPICS
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
    with_item,
)
from tinydistil.demo.embedded.phrases import NounPhrase

# Action and object carry most of what a sentence tells; time and place colour it.
WEIGHTS = {"action": 3.0, "agent": 2.0, "object": 3.0, "circumstance": 1.0, "time": 1.0}
KINDS = ("paraphrase", "small change", "large change", "roles or denial", "same topic", "other topic")


@dataclass(frozen=True, slots=True)
class SimilarityPair:
    """Two sentences and how alike their meanings are, from 1.0 to 5.0."""

    first: str
    second: str
    score: float


def _alike(first: NounPhrase, second: NounPhrase, *, kind: bool) -> float:
    """Agreement of two phrases; `kind`: different things of one kind agree by half."""
    if first.noun.concept != second.noun.concept or (
        first.noun.gender != second.noun.gender and (first.noun.style == "person")
    ):
        return 0.5 if kind else 0.0
    if (first.plural, first.determiner, first.adjective) == (second.plural, second.determiner, second.adjective):
        return 1.0 if first.owner is second.owner and first.second is second.second else 0.5
    return 0.5


def _part_alike(first: Part, second: Part, *, kind: bool) -> float:
    """Agreement of two circumstances: those after different prepositions say different things."""
    if first.phrase is None or second.phrase is None:
        return float(first.words == second.words != "")
    return _alike(first.phrase, second.phrase, kind=kind) if first.preposition == second.preposition else 0.0


def agreement(first: Clause, second: Clause) -> float:
    """The weighted mean agreement A of two events, from 0 to 1 (the rule above)."""
    assert first.subject is not None and second.subject is not None
    same_action = first.frame.concept == second.frame.concept
    scores = {
        "action": float(same_action),
        "agent": _alike(first.subject, second.subject, kind=False),
        "object": _alike(item_of(first), item_of(second), kind=same_action and first.frame is second.frame),
    }
    here, there = ((*event.complements[1:], *event.circumstances) for event in (first, second))
    if here or there:
        kind = first.frame is second.frame
        met = [_part_alike(one, other, kind=kind) for one, other in zip(here, there, strict=False)]
        scores["circumstance"] = sum(met) / max(len(here), len(there))
    if first.time or second.time:
        scores["time"] = float(first.time == second.time)
    weight = sum(WEIGHTS[fact] for fact in scores)
    return sum(WEIGHTS[fact] * score for fact, score in scores.items()) / weight


def score_of(first: Clause, second: Clause) -> float:
    """The similarity of two events, from 1.0 to 5.0 (the rule above)."""
    share = agreement(first, second) * (1.0 if first.negated == second.negated else 0.5)
    return round(1 + 4 * share, 1)


def _other_item(draws: Draws, event: Clause) -> Clause | None:
    item = item_of(event)
    if is_counted(item) and draws.chance(0.4):
        return with_item(event, item._replace(determiner=draws.pick([n for n in COUNTS if n != item.determiner])))
    nouns = same_kind(item.noun, event.frame, 0)
    nouns = tuple(noun for noun in nouns if noun.style == item.noun.style and noun.style not in ("kin", "person"))
    return with_item(event, renamed(item, draws.pick(nouns))._replace(adjective="")) if nouns else None


def _other_agent(draws: Draws, event: Clause) -> Clause | None:
    subject = draw_subject(draws, event.frame, pronouns=False)
    if subject is None or subject.second is not None or subject.noun.concept == item_of(event).noun.concept:
        return None
    return event._replace(subject=subject)


_CHANGES = (_other_item, at_other_time, at_other_place, _other_agent)


def _changed(draws: Draws, event: Clause, times: int) -> Clause | None:
    """The event with `times` facts changed, or None where one cannot be."""
    changes = list(_CHANGES)
    changed: Clause | None = event
    for _ in range(times):
        change = draws.pick(changes)
        changes.remove(change)
        changed = None if changed is None else change(draws, changed)
    return changed


def _second(draws: Draws, kind: str, event: Clause) -> Clause | None:
    """The event that the second sentence tells."""
    if kind == "paraphrase":
        return event
    if kind == "small change":
        return _changed(draws, event, 1)
    if kind == "large change":
        return _changed(draws, event, 2)
    if kind == "roles or denial":
        item, subject = item_of(event), event.subject
        if subject is not None and subject.noun.style == item.noun.style == "name":
            return with_item(event._replace(subject=item), subject)
        return event._replace(negated=True)
    if kind == "same topic":
        other = draw_event(draws, event.frame.topic)
    else:
        other = draw_event(draws, draws.pick([topic for topic in TOPICS if topic != event.frame.topic]))
    # Unrelated sentences often share who and when, so that shared words alone do not tell them apart.
    assert event.subject is not None
    both = other.frame.people and event.frame.people
    if both and event.subject.noun.concept != item_of(other).noun.concept and draws.chance(0.5):
        other = other._replace(subject=event.subject)
    return other._replace(time=event.time) if draws.chance(0.5) else other


def similarity_pair(seed: int, index: int, split: str = "train") -> SimilarityPair:
    """Pair `index` of stream `seed` and `split`; no event of one split is told in another, whatever the seed."""
    require_split(split)
    kind = KINDS[permuted_class(seed, f"similarity|{split}", index, len(KINDS))]
    draws = Draws(seed, f"similarity|{split}", index)
    while True:
        event = draw_event(draws, people=kind == "roles or denial" and draws.chance(0.6))
        if not in_split(event, split):
            continue
        # Other agents change the key of the event, one in ten keys falls in dev or test: hence many tries.
        for _ in range(40):
            other = _second(draws, kind, event)
            if other is not None and in_split(other, split):
                first, second = retold(draws, event), retold(draws, other)
                if first != second:
                    return SimilarityPair(first, second, score_of(event, other))


def similarity_pairs(seed: int, count: int, start: int = 0, split: str = "train") -> Iterator[SimilarityPair]:
    """Pairs `start` to `start + count - 1` of a split; every six in a row hold each kind of pair once."""
    require_position(seed, start, count)
    require_split(split)
    return (similarity_pair(seed, index, split) for index in range(start, start + count))
