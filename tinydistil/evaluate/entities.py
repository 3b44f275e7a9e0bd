"""Entities out of tags, and how many were found: as conlleval (Tjong Kim Sang & De Meulder 2003) counts them.

Tags are "O", "B-TYPE" and "I-TYPE" (IOB2), or others that `text.tasks.tagged` knows; bare "TYPE" counts as "I-TYPE".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError
from tinydistil.evaluate.metrics import Scores, ratio
from tinydistil.tasks.tagged import entity_starts
from tinydistil.tasks.tagged import split_tag as split_tag  # what tags mean is asked for here too


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of type `kind` over the tokens `first` to `last`, both included."""

    kind: str
    first: int
    last: int


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence. An "I-" after "O" or after another type begins one, as in conlleval."""
    found: list[Entity] = []
    for place, (kind, begins) in enumerate(entity_starts(tags)):
        if begins:
            found.append(Entity(kind, place, place))
        elif kind:
            found[-1] = replace(found[-1], last=place)
    return found


def count_entities(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """For each of N sentences, entities found rightly, predicted, and there: (N, 3).

    An entity is right if its type and both ends are. Raises InputError where lengths differ.
    """
    if len(gold) != len(predicted):
        raise InputError(f"gold and predicted must be as many sentences, got {len(gold)} and {len(predicted)}")
    counts = np.zeros((len(gold), 3), np.int64)
    for number, (first, second) in enumerate(zip(gold, predicted, strict=True)):
        if len(first) != len(second):
            raise InputError(f"sentence {number + 1} has {len(first)} gold tags and {len(second)} predicted ones")
        there, claimed = set(entities_of(first)), set(entities_of(second))
        counts[number] = len(there & claimed), len(claimed), len(there)
    return counts


def entity_f1(counts: NDArray[np.int64]) -> float:
    """F1 over all entities of `counts` (N, 3): conlleval's headline figure; 0 where there is no entity at all."""
    return scores_of(counts).f1


def scores_of(counts: NDArray[np.int64]) -> Scores:
    """Precision, recall and F1 over all entities of `counts` (N, 3) from `count_entities`."""
    right, claimed, there = counts.sum(0).astype(np.float64)
    parts = ratio(np.array([right, right, 2 * right]), np.array([claimed, there, claimed + there]))
    return Scores(*map(float, parts))


def entity_scores_by_type(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Scores]:
    """The scores of each type that is in `gold` or `predicted`, by name, sorted."""
    there = [set(entities_of(tags)) for tags in gold]
    claimed = [set(entities_of(tags)) for tags in predicted]
    kinds = sorted({entity.kind for side in (there, claimed) for each in side for entity in each})
    scores: dict[str, Scores] = {}
    for kind in kinds:
        sides = [[{e for e in each if e.kind == kind} for each in side] for side in (there, claimed)]
        rows = [(len(a & b), len(b), len(a)) for a, b in zip(*sides, strict=True)]
        scores[kind] = scores_of(np.array(rows, np.int64))
    return scores
