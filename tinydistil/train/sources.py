"""Models and text of a run as they lie on disk, each opened once; what does not go together or fit is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from tinydistil.base.errors import InputError, rank_and_world_size, require
from tinydistil.base.hub import WEIGHT_FILES, first_existing, resolve_folder
from tinydistil.base.ranks import Ranks
from tinydistil.batches.manifest import MANIFEST, check_fit, entries_of, made_with
from tinydistil.model.config import BertConfig, fitting, memory_there, read_config
from tinydistil.model.sentence_folder import declared_pooling
from tinydistil.model.weights import HEAD_BIAS, read_weights
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.run_config import HALF, RunConfig


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The teacher: its name as given, folder, shape, vocabulary, and whether it predicts words.

    pooling: how it declares to pool a sequence, where the recipe compares sequences; None where it says nothing.
    """

    name: str
    folder: Path
    config: BertConfig
    tokenizer: Tokenizer
    predicts_words: bool
    pooling: str | None


@dataclass(frozen=True, slots=True)
class Student:
    """The student to be trained. folder: where its weights or shape come from, None for a new model of `shape`.

    tokenizer: what it reads with. own_tokenizer: what its own weights were made for, if it has any. respelled: they are
    to read with another vocabulary.
    """

    folder: Path | None
    shape: BertConfig
    tokenizer: Tokenizer
    own_tokenizer: Tokenizer | None
    respelled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenText:
    """The token shards of a run: there, or to be made of `files` files of `raw` text before it begins.

    fingerprints: of the tokenizers they are made with. longest, mean_tokens: of a sequence, special tokens included; 0
    where the mean is not known yet.
    """

    shards: Path
    fingerprints: tuple[str, ...]
    longest: int
    mean_tokens: float
    raw: tuple[str, ...] = ()
    files: int = 0

    def prepare(
        self, ranks: Ranks, *, workers: int, say: Callable[[str], None], later: Callable[[int], float] | None = None
    ) -> None:
        """Make the shards. These are there."""


def teacher_of(config: RunConfig) -> ModelFolder:
    """The teacher. Raises InputError where its folder mixes two models."""
    folder = resolve_folder(config.teacher)
    shape = read_config(folder / "config.json")
    tokenizer = Tokenizer.from_pretrained(folder)
    predicts_words = HEAD_BIAS in read_weights(folder)  # memory-mapped: names cost nothing
    require(
        tokenizer.vocab_size <= shape.vocab_size,
        f"teacher {config.teacher!r}: its tokenizer makes {tokenizer.vocab_size} ids, its embeddings have "
        f"{shape.vocab_size}; the folder mixes two models",
    )
    pooling = declared_pooling(folder) if "pooled" in config.recipe.needs.teacher else None
    return ModelFolder(config.teacher, folder, shape, tokenizer, predicts_words, pooling)


def student_of(config: RunConfig, teacher: ModelFolder | None) -> Student:
    """The student. Raises InputError where it cannot start as it is to."""
    student, shared, own_start = config.student, config.student_vocabulary == "teacher", config.student.start == "own"
    folder, stored = None, None
    if not student.shape and student.model != HALF:
        folder = resolve_folder(student.model, weights=own_start)
        stored = read_config(folder / "config.json")
    given = Tokenizer.from_pretrained(student.tokenizer) if student.tokenizer else None
    # A folder without a vocabulary goes with the one that is given; with neither it is refused here.
    brings = folder is not None and first_existing(folder, ("tokenizer.json", "vocab.txt")) is not None
    own = Tokenizer.from_pretrained(folder) if folder is not None and (brings or given is None) else given
    tokenizer = teacher.tokenizer if shared and teacher is not None else given or own
    if tokenizer is None:
        raise InputError(
            f"student {student.model!r} is a new model and has no vocabulary; give student.tokenizer "
            "(a folder with vocab.txt or tokenizer.json), or a folder as student.model"
        )
    shape = _shape_of(config, stored, teacher, tokenizer)
    if folder is not None and stored is not None and own is not None:
        require(
            not own_start or first_existing(folder, WEIGHT_FILES) is not None,
            f"student {student.model!r} has no weights ({' or '.join(WEIGHT_FILES[::2])}); "
            "set student.start=random to take its shape and vocabulary only",
        )
        require(
            own.vocab_size <= stored.vocab_size,
            f"student {student.model!r}: its tokenizer makes {own.vocab_size} ids, its embeddings have "
            f"{stored.vocab_size}; give the tokenizer that belongs to it",
        )
    if student.start == "layers":
        assert teacher is not None, "checked by RunConfig"
        _check_layers(config, shape, teacher)
    if student.start == "projected":
        assert teacher is not None, "checked by RunConfig"
        require(
            shape.hidden_size <= teacher.config.hidden_size
            and shape.num_hidden_layers <= teacher.config.num_hidden_layers,
            f"student.start 'projected' reduces the teacher ({teacher.config.num_hidden_layers}x"
            f"{teacher.config.hidden_size}) to the student, which is larger ({shape.num_hidden_layers}x"
            f"{shape.hidden_size}); choose student.start random, or a smaller student.model",
        )
    require(
        not (shared and given is not None) or (own_start and not brings),
        "student.tokenizer is of no use to a student that reads with the teacher's vocabulary and brings its own, or "
        "keeps no weights; leave it out",
    )
    require(
        student.embeddings != "spelling" or (folder is not None and own_start),
        "student.embeddings 'spelling' averages word vectors that the student has, and a new one has none; "
        "choose random or pca, or give a folder as student.model",
    )
    # A table may be longer than the tokenizer's ids, for the sake of alignment; never shorter.
    same = own is not None and own.fingerprint == tokenizer.fingerprint
    rows = teacher.config.vocab_size if shared and teacher is not None else tokenizer.vocab_size
    shape = shape.replace(
        vocab_size=stored.vocab_size if stored is not None and same and not shared else rows,
        pad_token_id=tokenizer.pad_id,
        hidden_dropout_prob=student.dropout,
        attention_probs_dropout_prob=student.dropout,
    )
    respelled = folder is not None and own_start and not shared and not same
    return Student(folder, shape, tokenizer, own, respelled)


def _shape_of(
    config: RunConfig, stored: BertConfig | None, teacher: ModelFolder | None, tokenizer: Tokenizer
) -> BertConfig:
    """Layers and widths of the student; `stored` is the shape in its folder."""
    student = config.student
    if stored is not None:
        require(
            student.layers == 0 or stored.num_hidden_layers % student.layers == 0,
            f"student.layers must divide the {stored.num_hidden_layers} of {student.model!r}, got {student.layers}",
        )
        return stored.replace(num_hidden_layers=student.layers) if student.layers else stored
    if student.start == "layers" and teacher is not None:
        layers, width = student.shape or (teacher.config.num_hidden_layers // 2 or 1, teacher.config.hidden_size)
        # heads and feed-forward width come with the layers that are copied
        same = width == teacher.config.hidden_size
        return teacher.config.replace(num_hidden_layers=layers) if same else new_shape(layers, width, 1)
    assert student.shape is not None, "a model that is no folder is a shape"
    return new_shape(*student.shape, tokenizer.vocab_size)


def _check_layers(config: RunConfig, shape: BertConfig, teacher: ModelFolder) -> None:
    """Raise InputError where layers of the teacher cannot be the student's."""
    require(
        teacher.predicts_words,
        f"student.start 'layers' copies the masked LM head too, which teacher {teacher.name!r} lacks; choose "
        "another teacher, or student.start own or random",
    )
    require(
        shape.hidden_size == teacher.config.hidden_size,
        f"student.start 'layers' copies layers, so the student ({shape.hidden_size} wide) must be as wide as the "
        f"teacher ({teacher.config.hidden_size}); choose student.start own or random",
    )
    require(
        config.student_vocabulary == "teacher",
        "student.start 'layers' copies the teacher's embeddings too; set student.vocabulary=teacher",
    )
    require(
        teacher.config.num_hidden_layers % shape.num_hidden_layers == 0,
        f"student.start 'layers' takes every n-th layer: {shape.num_hidden_layers} does not divide the teacher's "
        f"{teacher.config.num_hidden_layers}",
    )


def new_shape(layers: int, width: int, vocab_size: int) -> BertConfig:
    """A BERT of this shape as the released ones are: heads of 64, a feed-forward layer four times as wide.

    Raises InputError for a shape that cannot be.
    """
    require(layers >= 1 and width >= 8, f"a shape needs at least 1 layer and a width of 8, got {layers}x{width}")
    # Narrower than a head of 64, or no multiple of it: two heads, as bert-tiny has.
    heads = width // 64 if width % 64 == 0 else 2
    require(width % heads == 0, f"width must be even, got {width}")
    return fitting(
        BertConfig(
            vocab_size=vocab_size,
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=4 * width,
        )
    )


def text_in(folder: str) -> TokenText:
    """The shards that scripts/prepare.py made in `folder`. Raises InputError where there are none."""
    shards = Path(folder)
    require(shards.is_dir(), f"shards {folder!r} is no folder; make one with scripts/prepare.py")
    manifest = check_fit(shards, None, None)
    entries = [entry for entry in entries_of(manifest, shards) if entry.split == "train"]
    require(bool(entries), f"{shards / MANIFEST} lists no training shard; prepare the corpus again")
    options = manifest.get("config")
    longest = options.get("max_length") if isinstance(options, dict) else None
    require(
        isinstance(longest, int), f"{shards / MANIFEST}: config.max_length is {longest!r}; prepare the corpus again"
    )
    mean = sum(entry.tokens for entry in entries) / max(sum(entry.sequences for entry in entries), 1)
    return TokenText(
        shards=shards,
        fingerprints=tuple(made_with(manifest)),
        longest=cast(int, longest),
        mean_tokens=mean + 2,  # [CLS] and [SEP]
    )


def check_length(longest: int, shape: BertConfig, teacher: ModelFolder | None) -> None:
    """Raise InputError where sequences of `longest` tokens do not fit a model's position table."""
    for who, found in (("student", shape), ("teacher", shape if teacher is None else teacher.config)):
        require(
            longest <= found.max_position_embeddings,
            f"prepare.max_length {longest} is longer than the {who}'s position table "
            f"({found.max_position_embeddings}); lower it (--max-length) and prepare the text so",
        )


def check_memory(
    config: RunConfig, shape: BertConfig, teacher: ModelFolder | None, tokens: float, device: torch.device
) -> None:
    """Raise InputError where training cannot fit the memory of `device`, by what it takes at the least.

    tokens: of a sequence on average, 0 where that is not known. What it really takes a dry run measures.
    """
    cuda = device.type == "cuda"
    there = torch.cuda.get_device_properties(device).total_memory if cuda else memory_there()
    # Weights, gradients and AdamW's two moments in float32; the teacher's weights, a byte each in int8.
    held = 16 * shape.parameters + (0 if teacher is None else teacher.config.parameters)
    require(
        held <= there,
        f"training a student of {shape.parameters / 1e6:,.0f} M parameters takes at least {held / 2**30:,.1f} GiB "
        f"(weights, gradients, moments), there are {there / 2**30:,.1f}; choose a smaller student",
    )
    train = config.train
    micro = -(-train.batch_size // (train.accumulation * rank_and_world_size()[1]))
    # Of each token a layer keeps some 14 vectors for its backward pass; half of that in 16 bits.
    number_bytes = 4 if train.precision == "float32" else 2
    kept = micro * tokens * shape.num_hidden_layers * shape.hidden_size * 14 * number_bytes
    require(
        held + kept <= there,
        f"a micro-batch of {micro:,} sequences takes at least {kept / 2**30:,.1f} GiB, there are "
        f"{(there - held) / 2**30:,.1f}; lower train.batch_size or raise train.accumulation",
    )
