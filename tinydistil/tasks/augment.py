"""More training examples from those there are, word by word (Wei & Zou 2019, "EDA"); never dev or test examples."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tinydistil.base.config import Checked, Range, Seed, Share
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_text
from tinydistil.model.config import memory_there
from tinydistil.tasks.examples import LabelledText, existing

Synonyms = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class AugmentConfig(Checked, table="augment"):
    """copies: changed copies of each example, 0 for none. replace, swap, delete: the share of words that is exchanged
    for a synonym, swapped with the next word, or left out. What is drawn depends on `seed` and the example."""

    copies: Annotated[int, Range(0, 1000)] = 0
    replace: Share = 0.1
    swap: Share = 0.05
    delete: Share = 0.05
    seed: Seed = 1


def augmented(examples: Sequence[LabelledText], config: AugmentConfig, synonyms: Synonyms) -> list[LabelledText]:
    """The examples, then `copies` changed copies of each, labels as they were. A text never loses its last word."""
    copies = []
    for number, example in enumerate(examples):
        for copy in range(config.copies):
            source = random.Random(f"{config.seed} {number} {copy}")
            second = None if example.second is None else _changed(example.second, config, synonyms, source)
            copies.append(replace(example, text=_changed(example.text, config, synonyms, source), second=second))
    return [*examples, *copies]


def check_copies(examples: Sequence[LabelledText], config: AugmentConfig, max_length: int) -> None:
    """Raise InputError where the copies of `examples` would not fit half of this machine's memory."""
    # An example and its encoding: both texts, two 64-bit numbers per token, and the objects around them.
    sizes = (len(example.text) + len(example.second or "") for example in examples)
    copy_bytes = sum(600 + 2 * size + 16 * min(size, max_length) for size in sizes)
    room = memory_there() // 2
    most = max(0, room // copy_bytes - 1)
    require(
        config.copies <= most,
        f"augment.copies must be <= {most} for {len(examples):,} rows of this length, as half of this machine's memory "
        f"is {room / 2**30:.1f} GiB, got {config.copies}",
    )


def _changed(text: str, config: AugmentConfig, synonyms: Synonyms, source: random.Random) -> str:
    words = text.split()
    for i, word in enumerate(words):
        if (others := synonyms.get(word.lower())) and source.random() < config.replace:
            other = source.choice(others)
            words[i] = other.capitalize() if word[:1].isupper() else other
    for i in range(len(words) - 1):
        if source.random() < config.swap:
            words[i], words[i + 1] = words[i + 1], words[i]
    kept = [word for word in words if source.random() >= config.delete]
    return " ".join(kept or words[:1])


def read_synonyms(path: Path) -> Synonyms:
    """A table of a word a line: the word, a tab, its synonyms with commas between, in lower case.

    Raises InputError, naming the line, where it has another form.
    """
    found: dict[str, tuple[str, ...]] = {}
    lines = read_text(existing(path)).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, tab, others = line.partition("\t")
        synonyms = tuple(other.strip() for other in others.split(",") if other.strip())
        if not tab or not word.strip() or not synonyms:
            raise InputError(f"line {number} of {str(path)!r} must be: word, tab, synonyms with commas; got {line!r}")
        found[word.strip().lower()] = synonyms
    require(bool(found), f"{str(path)!r} holds no synonym")
    return found
