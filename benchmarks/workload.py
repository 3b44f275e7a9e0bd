"""What the benchmarks of distillation work on: real batches, and a teacher and a student with random weights.

Speed does not depend on what the weights are, so none need be at hand: shapes and vocabulary are BERTimbau's and
bert-tiny's. Text is real where `--data` has it, else the demonstration's. Shapes: V vocabulary.
"""

import argparse
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from measure import encoder_flops, masked_lm_head_flops
from numpy.typing import NDArray

from tinydistil.base.errors import require
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.batches.sampling import MaskConfig
from tinydistil.batches.shards import WordPair
from tinydistil.corpus.language import split_sentences
from tinydistil.demo.measures import works
from tinydistil.distill.options import Shapes
from tinydistil.distill.recipe import RECIPES
from tinydistil.distill.terms.base import Learner
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig, new_shape
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
MOST_TOKENS = 128
# Headlines and fragments are left out. A batch of 32 such sentences, padded to its longest, is 46 % real tokens; with
# every line of the corpus 41 %, which would suit us better.
LEAST_CHARACTERS = 80
BERTIMBAU_VOCABULARY, SMALL_VOCABULARY = 29794, 2000
LEARNED = "student-to-teacher"  # the projection of recipe total
TEXTS = ("sentences", "blocks")


@dataclass(frozen=True, slots=True)
class Size:
    """Shapes "LAYERSxWIDTH" of teacher and student, sequences a batch, V."""

    teacher: str
    student: str
    sequences: int
    vocab_size: int


SIZES = {
    "full": Size("12x768", "2x128", 32, BERTIMBAU_VOCABULARY),
    "small": Size("2x128", "1x64", 8, SMALL_VOCABULARY),
}


class TokenRows:
    """Token sequences in memory, as `MaskedBatches` asks for them."""

    has_words = False

    def __init__(self, rows: list[NDArray[np.uint16]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        return self.rows[index]

    def pair(self, index: int) -> WordPair:
        """There is one tokenization only."""
        raise NotImplementedError(index)

    def lengths(self, side: int = 0) -> NDArray[np.int64]:
        """Tokens of every sequence, without special ones."""
        return np.array([len(row) for row in self.rows])


def add_arguments(parser: argparse.ArgumentParser, *, rounds: int = 5) -> None:
    """What every benchmark of distillation is told."""
    add = parser.add_argument
    add("--size", choices=SIZES, default="full", help="small: a few seconds in all, to see that it works")
    add("--text", choices=TEXTS, default="sentences", help="sentences, or full blocks of 128 tokens")
    add("--data", type=Path, default=DATA, help="folder with corpus/ and models/; without it, the demonstration's text")
    add("--teacher-shape", metavar="LxD", help="layers and width of the teacher (full: 12x768)")
    add("--student-shape", metavar="LxD", help="layers and width of the student (full: 2x128)")
    add("--sequences", type=int, help="of a batch (full: 32)")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--rounds", type=int, default=rounds)
    add("--output", type=Path, metavar="FILE", help="append the results to this JSONL file")


def size_of(args: argparse.Namespace) -> Size:
    """The size that the arguments ask for."""
    size = SIZES[args.size]
    return Size(
        args.teacher_shape or size.teacher,
        args.student_shape or size.student,
        args.sequences or size.sequences,
        size.vocab_size,
    )


def tokenizer_of(args: argparse.Namespace) -> Tokenizer:
    """BERTimbau's where the data are at hand and the size is full, else one learnt from the demonstration's text."""
    folder = args.data / "models" / "bertimbau-base-cased"
    if args.size == "full" and folder.is_dir():
        return Tokenizer.from_pretrained(folder)
    return train_wordpiece(list(works()[0].passages), SMALL_VOCABULARY)


def sentences_of(args: argparse.Namespace, count: int) -> list[str]:
    """`count` sentences in random order, real ones where the data are at hand."""
    path = args.data / "corpus" / "sentences.jsonl.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found = [text for line in lines for text in json.loads(line)["text"].split("\n")]
        found = [text for text in found if len(text) >= LEAST_CHARACTERS]
    else:
        found = [text for work in works() for passage in work.passages for text in split_sentences(passage)]
    random.Random(0).shuffle(found)
    require(len(found) >= count, f"the corpus has {len(found)} sentences, {count} are asked for; lower --rounds")
    return found[:count]


def batches_of(args: argparse.Namespace, tokenizer: Tokenizer, count: int) -> MaskedBatches:
    """`count` masked batches without repetition, the same for every candidate."""
    size = size_of(args)
    needed = count * size.sequences
    if args.text == "sentences":
        rows = _tokens(tokenizer, sentences_of(args, needed))
    else:
        # A block takes some four sentences.
        joined = np.concatenate(_tokens(tokenizer, sentences_of(args, 20 * needed)))
        inner = MOST_TOKENS - 2
        rows = list(islice((joined[i : i + inner] for i in range(0, len(joined) - inner, inner)), needed))
    return MaskedBatches(TokenRows(rows), tokenizer, MaskConfig(), batch_size=size.sequences, seed=0)


def _tokens(tokenizer: Tokenizer, texts: list[str]) -> list[NDArray[np.uint16]]:
    encoded = tokenizer.encode_all(texts, max_length=MOST_TOKENS)
    return [np.array(each.ids[1:-1], np.uint16) for each in encoded]


def config_of(shape: str, vocab_size: int, tokenizer: Tokenizer) -> BertConfig:
    """A BERT of the shape "LAYERSxWIDTH" without dropout. Raises InputError where it is no shape."""
    layers, x, width = shape.partition("x")
    require(x == "x" and layers.isdigit() and width.isdigit(), f"a shape is LAYERSxWIDTH, such as 2x128, got {shape!r}")
    return new_shape(int(layers), int(width), vocab_size).replace(
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=tokenizer.pad_id
    )


def models_of(
    args: argparse.Namespace, tokenizer: Tokenizer, *, attention: str = "packed", projection: str = LEARNED
) -> tuple[BertForMaskedLM, Learner]:
    """Teacher and learner of recipe total, the same random weights in every process; dropout is off in both."""
    size = size_of(args)
    torch.manual_seed(0)
    teacher, student = (
        BertForMaskedLM(config_of(shape, size.vocab_size, tokenizer), attention=attention)
        for shape in (size.teacher, size.student)
    )
    alike = replace(RECIPES["total"], hidden=1.0, projection=projection)  # the peers weigh all terms alike
    return teacher, Learner(student, alike, Shapes(student.config, teacher.config, teacher_has_head=True))


def batch_at(batches: MaskedBatches, cursor: int) -> MaskedBatch:
    """The `cursor`-th batch, whole."""
    return batches.micro_batches(cursor, rank=0, world_size=1, accumulation=1)[0]


def forward_flops(batch: MaskedBatch, shape: BertConfig) -> float:
    """Operations of an encoder's forward pass over the real tokens of `batch`, each sequence at its own length."""
    return sum(
        encoder_flops(length, length, shape.num_hidden_layers, shape.hidden_size, shape.intermediate_size)
        for length in batch.attention_mask.sum(1).tolist()
    )


def step_flops(
    batch: MaskedBatch, teacher: BertConfig, student: BertConfig, *, asked: Sequence[str] = ("encoder", "words")
) -> float:
    """The operations that a step needs: nothing for padding, heads at masked tokens only.

    Forward for what is `asked` of the teacher; for student and projection forward and backward, three times as much.
    """
    rows = len(batch.positions)
    taught = forward_flops(batch, teacher) if "encoder" in asked else 0.0
    if "words" in asked:
        taught += masked_lm_head_flops(rows, teacher.hidden_size, teacher.vocab_size)
    learned = forward_flops(batch, student) + masked_lm_head_flops(rows, student.hidden_size, student.vocab_size)
    projection = 2.0 * batch.tokens * student.hidden_size * teacher.hidden_size
    return taught + 3 * (learned + projection)
