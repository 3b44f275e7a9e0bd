"""The models of a run as they lie on disk, and the student's shape; what does not go together or fit is refused."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tinydistil.base.errors import rank_and_world_size, require
from tinydistil.base.hub import WEIGHT_FILES, first_existing, resolve_folder
from tinydistil.distill.terms.base import Shapes
from tinydistil.model.config import BertConfig, memory_there, read_config
from tinydistil.model.sentence_folder import declared_pooling
from tinydistil.model.weights import HEAD_BIAS, read_weights
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.run_config import HALF, RunConfig, new_shape


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as it lies on disk: name as given, folder, shape, vocabulary, and whether it predicts words.

    pooling: how it declares to pool a sequence, where the recipe compares sequences; None where it says nothing.
    """

    name: str
    folder: Path
    config: BertConfig
    tokenizer: Tokenizer
    predicts_words: bool
    pooling: str | None


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


def shapes_of(student: BertConfig, teacher: ModelFolder | None) -> Shapes:
    """Student and teacher as the terms of a recipe see them."""
    if teacher is None:
        return Shapes(student)
    pooling = "cls" if teacher.pooling == "cls" else "mean"
    return Shapes(student, teacher.config, teacher.predicts_words, pooling)


def student_sources(config: RunConfig) -> tuple[Path | None, Tokenizer | None, Tokenizer | None]:
    """The student's folder, None for a new shape; its tokenizer; and the one that its weights were made for."""
    student = config.student
    folder = (
        None
        if student.shape or student.model == HALF
        else resolve_folder(student.model, weights=student.start == "own")
    )
    given = Tokenizer.from_pretrained(student.tokenizer) if student.tokenizer else None
    # A folder without a vocabulary goes with the one that is given; with neither it is refused here.
    own = folder is not None and (_brings_vocabulary(folder) or given is None)
    made_for = Tokenizer.from_pretrained(folder) if folder is not None and own else given
    return folder, given or made_for, made_for


def _brings_vocabulary(folder: Path | None) -> bool:
    return folder is not None and first_existing(folder, ("tokenizer.json", "vocab.txt")) is not None


def shape_of(
    config: RunConfig,
    folder: Path | None,
    teacher: ModelFolder | None,
    tokenizer: Tokenizer,
    made_for: Tokenizer | None,
) -> BertConfig:
    """The shape of the student to be trained, with the vocabulary it will read with."""
    student = config.student
    if student.start == "layers" and folder is None and teacher is not None:
        layers, width = student.shape or (teacher.config.num_hidden_layers // 2 or 1, teacher.config.hidden_size)
        # heads and feed-forward width come with the layers that are copied
        same = width == teacher.config.hidden_size
        shape = teacher.config.replace(num_hidden_layers=layers) if same else new_shape(layers, width, 1)
    elif folder is None:
        assert student.shape is not None, "a model that is no folder is a shape"
        shape = new_shape(*student.shape, tokenizer.vocab_size)
    else:
        shape = read_config(folder / "config.json")
        if student.layers:
            require(
                shape.num_hidden_layers % student.layers == 0,
                f"student.layers must divide the {shape.num_hidden_layers} of {student.model!r}, got {student.layers}",
            )
            shape = shape.replace(num_hidden_layers=student.layers)
    # A table may be longer than the tokenizer's ids, for the sake of alignment; never shorter.
    if config.student_vocabulary == "teacher" and teacher is not None:
        rows = teacher.config.vocab_size
    else:
        as_stored = folder is not None and made_for is not None and made_for.fingerprint == tokenizer.fingerprint
        rows = shape.vocab_size if as_stored else tokenizer.vocab_size
    return shape.replace(
        vocab_size=rows,
        pad_token_id=tokenizer.pad_id,
        hidden_dropout_prob=student.dropout,
        attention_probs_dropout_prob=student.dropout,
    )


def check_student(
    config: RunConfig, folder: Path | None, shape: BertConfig, teacher: ModelFolder | None, own: Tokenizer | None
) -> None:
    """Raise InputError where the student cannot start as it is to, or cannot learn from the teacher."""
    student = config.student
    if student.start == "own" and folder is not None:
        require(
            first_existing(folder, WEIGHT_FILES) is not None,
            f"student {student.model!r} has no weights ({' or '.join(WEIGHT_FILES[::2])}); "
            "set student.start=random to take its shape and vocabulary only",
        )
    if student.start == "layers":
        assert teacher is not None, "checked by RunConfig"
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
    if folder is not None and own is not None:
        table = read_config(folder / "config.json").vocab_size
        require(
            own.vocab_size <= table,
            f"student {student.model!r}: its tokenizer makes {own.vocab_size} ids, its embeddings have {table}; "
            "give the tokenizer that belongs to it",
        )
    given = config.student_vocabulary == "teacher" and bool(student.tokenizer)
    require(
        not given or (student.start == "own" and own is not None and not _brings_vocabulary(folder)),
        "student.tokenizer is of no use to a student that reads with the teacher's vocabulary and brings its own, or "
        "keeps no weights; leave it out",
    )
    if student.embeddings == "spelling":
        require(
            folder is not None and student.start == "own",
            "student.embeddings 'spelling' averages word vectors that the student has, and a new one has none; "
            "choose random or pca, or give a folder as student.model",
        )
    if teacher is not None:
        config.recipe.check(config.recipe.name, shapes_of(shape, teacher))


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
