"""Texts that training shares with other rows, and splits of the training rows that share none.

Shapes: N examples.
"""

import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tinydistil.base.errors import require
from tinydistil.tasks.examples import Example, LabelledText, normalised_texts

# Groups of more rows, or of a greater share of all, stay in training: held out they would be most of what is.
LARGEST_GROUP, LARGEST_SHARE = 40, 0.05
# How much is held out by itself: where more than LEAKS of the development pairs are training pairs.
HOLD_OUT, LEAKS = 0.15, 0.1


def shared_with(training: Sequence[Example], others: Sequence[Example]) -> Counter[str]:
    """How many of `others` have the texts of a training row ("same"), of one "swapped", "either" of the two, or only
    "one" text that is in a training row."""
    rows = set(map(normalised_texts, training))
    texts, found = {text for row in rows for text in row}, Counter[str]()
    for row in map(normalised_texts, others):
        same, swapped = row in rows, len(row) == 2 and row[::-1] in rows
        either = same or swapped
        found.update(same=same, swapped=swapped, either=either, one=not either and not texts.isdisjoint(row))
    return found


def apart_from(training: Sequence[Example], others: Sequence[Example]) -> list[Example]:
    """Those of `others` that share no text with a training row."""
    texts = {text for row in map(normalised_texts, training) for text in row}
    return [each for each in others if texts.isdisjoint(normalised_texts(each))]


def groups_of(examples: Sequence[Example]) -> NDArray[np.int64]:
    """The number (N,) of each example's group: those that are connected by shared texts, of both sides of a pair."""
    rows, numbers = list(map(normalised_texts, examples)), dict[str, int]()
    first, last = np.array([[numbers.setdefault(row[at], len(numbers)) for at in (0, -1)] for row in rows]).T
    graph = coo_array((np.ones(len(rows)), (first, last)), shape=(len(numbers), len(numbers)))
    _, group_of_text = connected_components(graph, directed=False)
    found: NDArray[np.int64] = group_of_text[first].astype(np.int64)
    return found


def hold_out(examples: Sequence[Example], share: float, seed: int) -> list[int]:
    """Which examples to hold out: whole groups, drawn by `seed`, until they are `share` of all; none of a large one."""
    groups = groups_of(examples)
    sizes = np.bincount(groups)
    small = np.flatnonzero((sizes > 0) & (sizes <= max(1, min(LARGEST_GROUP, LARGEST_SHARE * len(examples)))))
    drawn = np.random.default_rng(seed).permutation(small)
    before = np.cumsum(sizes[drawn]) - sizes[drawn]
    return np.flatnonzero(np.isin(groups, drawn[before < share * len(examples)])).tolist()


def held_out_of(
    training: Sequence[Example], dev: Sequence[Example], test: Sequence[Example], share: float | None, seed: int
) -> tuple[Sequence[Example], Sequence[Example]]:
    """The training rows without, and then, those that are held out to choose weights by instead of `dev`.

    share: of all; None holds out HOLD_OUT where `dev` leaks, since the best weights on it would be the best memory, and
    else nothing. What dev and test share with training is printed on standard error. Raises InputError where a share
    that was asked for cannot be held out.
    """
    for name, rows in (("test", test), ("dev", dev)):
        shared = shared_with(training, rows)
        if shared["either"] + shared["one"]:
            print(f"{name}: of {len(rows):,} rows {shared['same']:,} have the texts of a training row, "
                  f"{shared['swapped']:,} those of one swapped, {shared['one']:,} share only one text with training",
                  file=sys.stderr)  # fmt: skip
    leaks = is_paired(dev) and shared["either"] > LEAKS * len(dev)
    chosen = (HOLD_OUT if leaks else 0.0) if share is None else share
    part = set(hold_out(training, chosen, seed)) if chosen else set()
    rest = [each for i, each in enumerate(training) if i not in part]
    possible = bool(part and rest) or not share
    connected = "would hold out no row, or all, as shared texts connect them; leave it out"
    require(possible, f"finetune.py --hold-out {share} {connected}")
    if part:
        why = "" if share else "as dev leaks (finetune.py --hold-out 0 keeps to it), "
        print(f"{why}weights are chosen by {len(part):,} of {len(training):,} training rows, held out, "
              "that share no text with the rest", file=sys.stderr)  # fmt: skip
    return rest, [training[i] for i in sorted(part)]


def is_paired(examples: Sequence[Example]) -> bool:
    """Whether these are pairs of texts."""
    return len(examples) > 0 and isinstance(examples[0], LabelledText) and examples[0].second is not None


def folds_of(examples: Sequence[Example], folds: int, seed: int) -> list[list[int]]:
    """Which of the training examples each of `folds` parts holds out, dealt out by `seed`: each once.

    Pairs that share a text are held out together, as far as there are groups enough.
    """
    count = len(examples)
    require(2 <= folds <= count, f"folds must be in 2..{count}, got {folds}")
    random = np.random.default_rng(seed)
    groups = groups_of(examples) if is_paired(examples) else np.arange(count)
    sizes = np.bincount(groups)
    if not folds <= len(sizes) < count:
        order = random.permutation(count)
        return [sorted(order[fold::folds].tolist()) for fold in range(folds)]
    drawn, filled, fold_of = random.permutation(len(sizes)), np.zeros(folds, np.int64), np.empty(len(sizes), np.int64)
    for group in drawn[np.argsort(-sizes[drawn], kind="stable")]:  # the largest first, each to the emptiest fold
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return [np.flatnonzero(fold_of[groups] == fold).tolist() for fold in range(folds)]
