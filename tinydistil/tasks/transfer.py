"""A transfer set: texts without labels, given or made of the training rows, which a fine-tuned teacher labels once.

Made as in TinyBERT (Jiao et al. 2020, sec. 3.3 and algorithm 1), and by deletion, exchange and recombined pairs.
Shapes: N vectors of D numbers, R logits of a part of the set, C classes.
"""

import io
import math
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, Interrupted, StopRequest, require, stop_asked
from tinydistil.base.files import Ownership, write_atomic, write_text
from tinydistil.distill.losses import IGNORED
from tinydistil.evaluate.inference import embed, fill_mask
from tinydistil.evaluate.similarity import words_of
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tasks.examples import Example, LabelledText, names_of, rows_and_hash, texts_of
from tinydistil.tasks.finetune import Material
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.soft_targets import SoftTargets
from tinydistil.tasks.task import AnyTask, EncodedExample, TimeLeft
from tinydistil.tasks.task_output import SAMPLE, TRANSFER

MOST, PART, SAMPLED = 1_000_000, 4096, 40  # texts made; labelled and written at a time; shown to a person
# How often each kind is drawn, for single texts and for pairs.
_KINDS = {1: {"word": 8, "deletion": 3, "order": 1},
          2: {"near": 8, "random": 1, "word": 8, "deletion": 2, "order": 1}}  # fmt: skip
_SHARES = (0.2, 0.4)  # of a text's longer words are replaced; TinyBERT has 0.4
_CANDIDATES, _NEAREST, _WORDS = 30, 8, 30_000
_MISSES = 2000  # draws in a row that gave nothing new: no more is expected
# What is replaced, and by what: words of four letters or more that are no function words.
_WORD = re.compile(r"(?i)(?!(?:está|estão|estavam?|para|pel[oa]s?|como|mais|sobre|entre|quando)\b)\w{4,}")


@dataclass(frozen=True, slots=True)
class TransferText:
    """An example without a label, how it came about, and the numbers of the training rows that it was made of."""

    example: Example
    kind: str
    made_of: tuple[int, ...]


def check_transfer(kind: str, made: int | None, unlabelled: bool, teacher: bool) -> None:
    """Raise InputError for options that make no transfer set of a task of this `kind`."""
    given = "--unlabelled" if unlabelled else "--transfer"
    asked = unlabelled or made is not None
    require(teacher or not asked, f"{given} needs --teacher, a fine-tuned model that labels the texts")
    require(kind != "answer" or not asked, f"{given} is for texts and tags, as nobody asks on them; leave it out")
    require(kind != "tag" or made is None, "--transfer makes texts and pairs; to tag, give sentences with --unlabelled")
    require(made is None or 1 <= made <= MOST, f"--transfer must be in 1..{MOST:,}, got {made}; leave it out for none")


def with_transfer(material: Material, *, seed: int, output: Path, content: Mapping[str, object]) -> Material:
    """`material` with its `unlabelled` examples and `made` texts as the teacher labels them, kept in `output` by parts.

    No text of a dev or test example is among them, and no training example. content: of the material. Raises
    Interrupted where it was asked to stop, after which the same call goes on, and InputError for another's folder.
    """
    teacher, folder = material.teacher, output / TRANSFER
    assert teacher is not None
    remedy = f"delete {str(folder)!r}, or choose another --output"
    owner = Ownership("transfer.json", lambda name: bool(re.fullmatch(r"part-\d+\.npy", name)), remedy=remedy)
    with StopRequest():
        texts = _chosen(material, teacher, seed)
        origin = {**content, "texts": rows_and_hash(texts), "max_length": material.task.max_length}
        with owner.claim(folder, origin):
            encoded = _labelled(material.task, teacher, texts, folder)
    write_text(output / SAMPLE, "".join(_sample(material.task, texts, encoded, random.Random(seed))))
    return replace(material, transfer=encoded)


def _chosen(material: Material, teacher: SoftTargets, seed: int) -> list[TransferText]:
    """The texts of a transfer set, each once (a pair either way); how many of each kind is printed."""
    held_out = frozenset[str]().union(*map(names_of, [*material.dev, *material.held_out, *material.test]))
    known, dropped = {frozenset[str](), *map(names_of, material.training)}, 0

    def is_new(example: Example) -> bool:
        nonlocal dropped
        names, is_pair = names_of(example), len(texts_of(example)) == 2
        if not names.isdisjoint(held_out):
            dropped += 1
        elif names not in known and len(names) == 1 + is_pair and "" not in names:
            known.add(names)
            return True
        return False

    texts = [TransferText(each, "unlabelled", ()) for each in material.unlabelled if is_new(each)]
    wanted = len(texts) + material.made
    if material.made:
        maker, source, time_left, misses = _Maker(material, teacher), random.Random(seed), TimeLeft(), 0
        while len(texts) < wanted and misses < _MISSES:
            if stop_asked():
                raise Interrupted
            text, misses = maker.draw(source), misses + 1
            if is_new(text.example):
                texts.append(text)
                misses = 0
                time_left.say(f"made {len(texts):,} of {wanted:,} texts", len(texts) / wanted)
    if len(texts) < wanted:
        few = f"{len(texts) - wanted + material.made:,} different texts, not {material.made:,}"
        print(f"--transfer: these rows make {few}", file=sys.stderr)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(each.kind for each in texts).items())
    said = f"{dropped:,} dropped as --dev or --test has a text of them"
    print(f"transfer set: {len(texts):,} texts ({kinds}); {said}", file=sys.stderr)
    require(bool(texts), "--unlabelled, --transfer: no text is left that no row of --train, --dev or --test has")
    return texts


class _Near:
    """The others of `names` that are nearest by the cosine of their vectors (N, D) from the mean, nearest first."""

    def __init__(self, names: Sequence[str], vectors: Sequence[NDArray[np.float32]]) -> None:
        self.names, self._numbers = names, {name: number for number, name in enumerate(names)}
        units = np.stack(vectors) - np.mean(vectors, 0)
        self._units = units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
        self.of = cache(self._of)  # the same are drawn again and again

    def _of(self, name: str) -> list[str]:
        if (number := self._numbers.get(name)) is None:
            return []
        order = np.argsort(-(self._units @ self._units[number]), kind="stable")[: _CANDIDATES + 1]
        return [self.names[i] for i in order if i != number]


class _Maker:
    """Draws changed texts and recombined pairs of training rows; unlabelled texts only lend their words."""

    def __init__(self, material: Material, teacher: SoftTargets) -> None:
        self.tokenizer, encoder = teacher.task.tokenizer, teacher.model.bert
        self.rows = [texts_of(row) for row in material.training]
        self.row_of = {text: number for number, texts in enumerate(self.rows) for text in texts}
        counts = Counter[str]()
        for text in [*self.row_of, *(text for other in material.unlabelled for text in texts_of(other))]:
            counts.update(sorted(word for word in words_of(text) if _WORD.match(word)))
        words = [word for word, _ in counts.most_common(_WORDS)]
        # Not the encoder's vectors of words alone: near to e5-small-pt's of "praia" is what begins alike (paisagem,
        # palácio), and in its table what means alike (piscina, surf).
        table = encoder.embeddings.word.weight.detach().float().cpu().numpy()
        pieces = [self.tokenizer.encode(word).ids[1:-1] or [self.tokenizer.unk_id] for word in words]
        self.words = _Near(words, [table[ids].mean(0) for ids in pieces]) if words else None
        self.texts: _Near | None = None
        if len(self.rows[0]) == 2:
            found = embed(encoder, self.tokenizer, self.row_of, batch_size=64, truncate=True)
            self.texts = _Near(list(self.row_of), [each.vector for each in found])
        self.masked_lm: BertForMaskedLM | None = None
        with suppress(InputError):  # few fine-tuned folders have such a head
            masked_lm = BertForMaskedLM.from_pretrained(str(material.teacher_folder), heads="require")
            self.masked_lm = masked_lm.to(next(encoder.parameters()).device)

    def draw(self, source: random.Random) -> TransferText:
        """A text or pair, which may be there already."""
        number = source.randrange(len(self.rows))
        texts, made_of = self.rows[number], [number]
        kinds, one, other = _KINDS[len(texts)], source.choice(texts), source.choice(texts)
        (kind,) = source.choices(list(kinds), list(kinds.values()))
        if self.texts is not None and kind in ("near", "random"):
            near = self.texts.of(one)[:_NEAREST] if kind == "near" else []
            other = source.choice(near or self.texts.names)
            made_of.append(self.row_of[other])
        else:
            other = self._changed(kind, other, source)
        first, second = source.sample((one, other), 2) if len(texts) == 2 else (other, None)
        return TransferText(LabelledText(first, second, ""), kind, tuple(made_of))

    def _changed(self, kind: str, text: str, source: random.Random) -> str:
        words = text.split()
        if kind == "deletion":
            length = source.randint(1, max(1, len(words) // 3))
            start = source.randrange(len(words) - length + 1)
            del words[start : start + length]
        elif kind == "order":
            i, j = source.choices(range(len(words)), k=2)
            words[i], words[j] = words[j], words[i]
        else:
            spans = {i: span for i, word in enumerate(words) if (span := _WORD.search(word))}
            for i in source.sample(list(spans), math.ceil(source.choice(_SHARES) * len(spans))):
                if others := self._others(words, i, spans[i]):
                    other, (start, end) = source.choice(others), spans[i].span()
                    other = other.capitalize() if words[i][start].isupper() else other
                    words[i] = words[i][:start] + other + words[i][end:]
        return " ".join(words)

    def _others(self, words: Sequence[str], i: int, span: re.Match[str]) -> list[str]:
        """The masked LM's guesses for a word of one piece, else what is near in the table and begins otherwise."""
        word = span[0].lower()
        if self.masked_lm is not None and len(self.tokenizer.encode(span[0]).ids) == 3:
            hidden = words[i][: span.start()] + self.tokenizer.special.mask_token + words[i][span.end() :]
            text, top = " ".join([*words[:i], hidden, *words[i + 1 :]]), min(_CANDIDATES, self.tokenizer.vocab_size)
            with suppress(InputError):  # the mask is behind what the model reads of a long text
                found = fill_mask(self.masked_lm, self.tokenizer, text, top_k=top, truncate=True)[0]
                tokens = [each.token.removeprefix("\u2581") for each in found]
                return [each for each in tokens if each.isalpha() and each.lower() != word][:_NEAREST]
        near = self.words.of(word) if self.words is not None else []
        return [other for other in near if other[:4] != word[:4]][:_NEAREST]


def _labelled(task: AnyTask, teacher: SoftTargets, texts: Sequence[TransferText], folder: Path) -> list[EncodedExample]:
    """The texts encoded, `source` the number of each, with the teacher's logits (R, C) out of the parts in `folder`; it
    is asked for those that are missing or damaged."""
    tags, found, time_left = task.kind == "tag", list[EncodedExample](), TimeLeft()
    for start in range(0, len(texts), PART):
        some, path = texts[start : start + PART], folder / f"part-{start // PART:05}.npy"
        examples: list[Any] = [each.example for each in some]
        if not (encoded := task.encode(examples, labelled=False)):
            continue  # sentences of control characters
        sizes = [len(each.ids) if tags else 1 for each in encoded]
        shape, logits = (sum(sizes), len(task.labels)), None
        with suppress(OSError, EOFError, ValueError):  # missing, or no array
            logits = np.load(path, allow_pickle=False)
        if logits is None or logits.shape != shape or logits.dtype != np.float32 or not np.isfinite(logits).all():
            if path.exists():
                print(f"{str(path)!r} is damaged; its texts are labelled again", file=sys.stderr)
            logits = np.vstack(teacher.of_tokens(examples, encoded) if tags else teacher.of_texts(examples))
            data, done = io.BytesIO(), start + len(some)
            np.save(data, logits)
            write_atomic(path, data.getvalue())
            time_left.say(f"labelled {done:,} of {len(texts):,} texts", done / len(texts))
        for number, (each, soft) in enumerate(zip(encoded, np.split(logits, np.cumsum(sizes)[:-1]), strict=True)):
            number = each.source if tags else number
            soft, target = (soft, np.where(each.spans >= 0, 0, IGNORED)) if tags else (soft[0], each.target)
            made_of = some[number].made_of
            found.append(replace(each, soft=soft, target=target, source=start + number, made_of=made_of))
    return found


def _sample(
    task: AnyTask, texts: Sequence[TransferText], encoded: Sequence[EncodedExample], source: random.Random
) -> Iterator[str]:
    """Lines for a person to read: the kind, the teacher's label, and the text or both, with tabs between."""
    for number in sorted(source.sample(range(len(texts)), min(SAMPLED, len(texts)))):
        example = texts[number].example
        parts = [replace(each, source=0) for each in encoded if each.source == number]
        (found,) = task.decode([example], parts, [each.soft for each in parts if each.soft is not None])
        if isinstance(task, TextTask):
            scores, likely = found[: task.num_numbers], found[task.num_numbers :]
            best = [f"{task.classes[likely.argmax()]} {likely.max():.2f}"] if task.classes else []
            found = [*(f"{score:.2f}" for score in scores), *best]
        label = " ".join(found)
        yield "\t".join([texts[number].kind, label, *texts_of(example)]) + "\n"
