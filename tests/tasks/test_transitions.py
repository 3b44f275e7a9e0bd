"""Which tags follow which: counts by hand, Viterbi's path against every path, folders with and without transitions."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.conftest import tagged
from tinydistil.base.errors import InputError
from tinydistil.tasks.examples import TaggedSentence
from tinydistil.tasks.folder import load, new_model, save
from tinydistil.tasks.tag_task import TagTask, likeliest, transitions_of
from tinydistil.tokenizer.tokenizer import Tokenizer


def test_counts_by_hand() -> None:
    """Four tags: "O" thrice, "B" once; what was seen never, seldom and always."""
    rows = [TaggedSentence(("a", "b", "c"), ("O", "B", "O")), TaggedSentence(("d",), ("O",))]
    found = np.array(transitions_of(rows, ("B", "O")))
    share = np.array([1 / 4, 3 / 4])
    seen = np.array([[0, 1], [1, 0], [0, 2]])  # behind B, behind O, at the beginning
    expected = 0.7 * np.log((seen + share) / (seen.sum(1, keepdims=True) + 1) / share)
    np.testing.assert_allclose(found, expected, atol=5e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_likeliest_of_all_paths(seed: int) -> None:
    source = np.random.default_rng(seed)
    words, count = int(source.integers(1, 6)), int(source.integers(1, 5))
    logits = source.normal(size=(words, count)).astype(np.float32) * 2
    transitions = source.normal(size=(count + 1, count)) * 2
    scores = torch.from_numpy(logits).double().log_softmax(1).numpy()

    def score(path: tuple[int, ...]) -> float:
        steps = transitions[-1, path[0]] + sum(transitions[pair] for pair in itertools.pairwise(path))
        return float(steps + sum(scores[word, tag] for word, tag in enumerate(path)))

    best = max(itertools.product(range(count), repeat=words), key=score)
    assert tuple(likeliest(logits, transitions)) == best
    assert likeliest(logits, np.zeros_like(transitions)) == logits.argmax(1).tolist()


def test_no_entity_goes_on_that_never_began(vocabulary: Tokenizer) -> None:
    """Weak evidence for "I" behind "O" is overruled, strong evidence is not; parts of a sentence are read as one."""
    rows = [TaggedSentence(tuple("e a Ana Lima dorme já".split()), ("O", "O", "B-NOME", "I-NOME", "O", "O"))] * 24
    task = TagTask.of(rows, vocabulary, 5)
    inside = task.labels.index("I-NOME")
    sentence = TaggedSentence(("o", "gato", "dorme", "no", "jardim"), ())
    parts = task.encode([sentence], labelled=False)
    assert len(parts) > 1

    def tags(strength: float, task: TagTask) -> list[str]:
        logits = [np.zeros((len(part.ids), len(task.labels)), np.float32) for part in parts]
        for part, each in zip(parts, logits, strict=True):
            each[:, task.labels.index("O")] = 9
            each[part.spans == 3, inside] = 9 + strength
        return task.decode([sentence], parts, logits)[0]

    alone = ["O", "O", "O", task.labels[inside], "O"]
    assert tags(0.5, task) == ["O"] * 5 and tags(30, task) == alone
    assert tags(0.5, replace(task, transitions=())) == alone


def test_folders_keep_transitions(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    task = TagTask.of(tagged(9), vocabulary, 48)
    save(new_model(folder, task, pooling="mean", seed=0), task, tmp_path)
    again = load(tmp_path, ("tag",)).task
    assert isinstance(again, TagTask) and again.transitions == task.transitions != ()
    known = json.loads((tmp_path / "task.json").read_text())
    rows = known.pop("transitions")
    (tmp_path / "task.json").write_text(json.dumps(known))
    older = load(tmp_path, ("tag",)).task  # a folder of a version before
    assert isinstance(older, TagTask) and older.transitions == ()
    for broken in (5, rows[1:], [row[1:] for row in rows], [*rows[1:], 3], [["x"] * len(row) for row in rows],
                   [[10**400] * len(row) for row in rows], [[True] * len(row) for row in rows]):  # fmt: skip
        (tmp_path / "task.json").write_text(json.dumps(known | {"transitions": broken}))
        with pytest.raises(InputError, match=r"task.json.*transitions must be \[\], or a row of numbers"):
            load(tmp_path, ("tag",))
