"""Entities out of tags, and how many were found: as conlleval (Tjong Kim Sang & De Meulder 2003) counts them.

Tags are "O", "B-TYPE" and "I-TYPE" (IOB2), or others that `tasks.tagged` knows; bare "TYPE" counts as "I-TYPE".
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError
from tinydistil.evaluate.metrics import Scores
from tinydistil.tasks.tagged import entity_starts


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of type `kind` over the tokens `first` to `last`, both included."""

    kind: str
    first: int
    last: int


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence. An "I-" after "O" or after another type begins one, as in conlleval."""
    found: list[Entity] = []
    for position, (kind, begins) in enumerate(entity_starts(tags)):
        if begins:
            found.append(Entity(kind, position, position))
        elif kind:
            found[-1] = replace(found[-1], last=position)
    return found


def count_entities(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """For each of N sentences, the entities that are correct, predicted, and in gold: (N, 3).

    An entity is correct if its type and both ends are. Raises InputError where lengths differ.
    """
    if len(gold) != len(predicted):
        raise InputError(f"gold and predicted must be as many sentences, got {len(gold)} and {len(predicted)}")
    counts = np.zeros((len(gold), 3), np.int64)
    for number, (first, second) in enumerate(zip(gold, predicted, strict=True)):
        if len(first) != len(second):
            raise InputError(f"sentence {number + 1} has {len(first)} gold tags and {len(second)} predicted ones")
        true, found = set(entities_of(first)), set(entities_of(second))
        counts[number] = len(true & found), len(found), len(true)
    return counts


def scores_of(counts: NDArray[np.int64] | NDArray[np.float64]) -> Scores:
    """Precision, recall and F1 (conlleval's headline figure) over all entities of `counts` (N, 3)."""
    return Scores.of(*counts.sum(0).tolist())


def entity_scores_by_type(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Scores]:
    """The scores of each type that is in `gold` or `predicted`, by name, sorted."""
    pairs = [(set(entities_of(a)), set(entities_of(b))) for a, b in zip(gold, predicted, strict=True)]
    correct = Counter(entity.kind for true, found in pairs for entity in true & found)
    claimed = Counter(entity.kind for _, found in pairs for entity in found)
    there = Counter(entity.kind for true, _ in pairs for entity in true)
    return {kind: Scores.of(correct[kind], claimed[kind], there[kind]) for kind in sorted(claimed | there)}
