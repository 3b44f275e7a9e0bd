"""The two models of a run: the teacher, in the precision that was asked for, and the student at its start."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tinydistil.base.errors import InputError, require
from tinydistil.base.hub import WEIGHT_FILES, first_existing, resolve_folder
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.initialise import student_for_vocabulary, student_from_layers
from tinydistil.distill.learner import Learner
from tinydistil.distill.projected import project_teacher
from tinydistil.distill.teacher.live import LiveTeacher, quantise_teacher
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig, fitting, read_config
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.run_config import HALF, RunConfig, TrainConfig

if TYPE_CHECKING:
    from tinydistil.train.plan import Plan

# For int8 to see how large channels get.
_CALIBRATION_SEQUENCES = 32
_TRIAL_SEQUENCES = 8
# For a projected start: a feed-forward layer of 2 x 128 has 512 neurons to be fitted. Of BERT-base, more tokens would
# take gigabytes.
_PROJECTION_SEQUENCES, _PROJECTION_TOKENS = 256, 32_768


def load_teacher(plan: "Plan") -> BertForMaskedLM | BertModel:
    """The teacher, every weight of it from its folder, in float32."""
    assert plan.teacher is not None
    if plan.teacher.predicts_words:
        return BertForMaskedLM.from_pretrained(plan.teacher.folder, heads="require", attention="packed")
    return BertModel.from_pretrained(plan.teacher.folder, attention="packed")


def start_projected(
    plan: "Plan", student: BertForMaskedLM, teacher: BertForMaskedLM | BertModel, batches: MaskedBatches, ranks: Ranks
) -> None:
    """Give `student` its teacher's weights in fewer dimensions, the same on every rank."""
    assert plan.teacher is not None, "checked by RunConfig"
    own = plan.config.student_vocabulary == "own"
    count = min(_PROJECTION_SEQUENCES, -(-_PROJECTION_TOKENS * batches.batch_size // int(batches.mean_tokens)))
    sample = _sample(batches, count).to(ranks.device)
    project_teacher(
        student,
        teacher.to(ranks.device),
        sample.teacher or sample,
        (plan.teacher.tokenizer, plan.student.tokenizer) if own else None,
    )
    ranks.broadcast_(tensor.data for tensor in student.parameters())


def live_teacher(
    plan: "Plan",
    model: BertForMaskedLM | BertModel,
    learner: Learner,
    batches: MaskedBatches,
    ranks: Ranks,
    say: Callable[[str], None],
) -> LiveTeacher:
    """`model` as the live teacher of `learner` in a run over `batches`, in the precision of the plan.

    For int8 the model is changed in place, so whatever takes weights from it must have done so; `say` hears the error.
    What int8 is calibrated by is that of rank 0.
    """
    precision = plan.config.teacher_precision
    sees = plan.config.recipe.teacher_sees
    teacher = LiveTeacher(model.to(ranks.device), learner.states(), sees=sees, precision=precision)
    if precision == "int8":
        sample = [_sample(batches, _CALIBRATION_SEQUENCES)]
        say(f"teacher in int8: {quantise_teacher(teacher, sample, agree=ranks.broadcast_)}")
    return teacher


def training_s(
    learner: Learner, teacher: LiveTeacher, batches: MaskedBatches, config: TrainConfig, ranks: Ranks
) -> float:
    """Seconds of all steps of a run whose teacher costs nothing, from a trial that leaves no trace."""
    batch, took = _sample(batches, _TRIAL_SEQUENCES).to(ranks.device), 0.0
    states, before = teacher(batch), torch.get_rng_state()
    for _ in range(2):  # the first compiles
        began = time.monotonic()
        totals = [loss.total.float() for loss in learner(batch, states).values()]
        torch.autograd.backward(torch.stack(totals).sum())
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        took = time.monotonic() - began
    learner.zero_grad(set_to_none=True)
    torch.set_rng_state(before)
    pace, tokens = took / len(batch.input_ids) / ranks.world_size, batches.mean_tokens / batches.batch_size
    return config.seconds_at(pace, len(batches.candidates), tokens)


def _sample(batches: MaskedBatches, count: int) -> MaskedBatch:
    """`count` sequences from all over the text: the same on every rank, after a resume and for any size of a batch."""
    return batches.collate(batches.candidates[:: -(-len(batches.candidates) // count)], 0)


@dataclass(frozen=True, slots=True)
class Student:
    """The student to be trained. own: the folder whose weights it keeps, None where they are new or the teacher's.

    tokenizer: what it reads with.
    own_tokenizer: what its own weights were made for, if it has any; respelled: another than it is to read with, which
    is not the teacher's.
    """

    own: Path | None
    shape: BertConfig
    tokenizer: Tokenizer
    own_tokenizer: Tokenizer | None
    respelled: bool


def student_of(config: RunConfig, teacher: BertConfig | None, teacher_tokenizer: Tokenizer | None) -> Student:
    """The student. Raises InputError where it cannot start as it is to."""
    student, keeps = config.student, config.student.start == "own"
    folder, stored = None, None
    if not student.shape and student.model != HALF:
        folder = resolve_folder(student.model, weights=keeps)
        stored = read_config(folder / "config.json")
    given = Tokenizer.from_pretrained(student.tokenizer) if student.tokenizer else None
    # A folder without a vocabulary goes with the one that is given; with neither it is refused here.
    brings = folder is not None and first_existing(folder, ("tokenizer.json", "vocab.txt")) is not None
    own = Tokenizer.from_pretrained(folder) if folder is not None and (brings or given is None) else given
    adopted = teacher_tokenizer if config.student_vocabulary == "teacher" else None
    tokenizer = adopted or given or own
    if tokenizer is None:
        raise InputError(
            f"student {student.model!r} is a new model and has no vocabulary; give student.tokenizer "
            "(a folder with vocab.txt or tokenizer.json), or a folder as student.model"
        )
    shape = _shape_of(config, stored, teacher, tokenizer)
    if folder is not None and stored is not None and own is not None:
        require(
            not keeps or first_existing(folder, WEIGHT_FILES) is not None,
            f"student {student.model!r} has no weights ({' or '.join(WEIGHT_FILES[::2])}); "
            "set student.start=random to take its shape and vocabulary only",
        )
        require(
            own.vocab_size <= stored.vocab_size,
            f"student {student.model!r}: its tokenizer makes {own.vocab_size} ids, its embeddings have "
            f"{stored.vocab_size}; give the tokenizer that belongs to it",
        )
    if teacher is not None:
        _check_start(config, shape, teacher)
    require(
        adopted is None or given is None or (keeps and not brings),
        "student.tokenizer is of no use to a student that reads with the teacher's vocabulary and brings its own, or "
        "keeps no weights; leave it out",
    )
    require(
        student.embeddings != "spelling" or (folder is not None and keeps),
        "student.embeddings 'spelling' averages word vectors that the student has, and a new one has none; "
        "choose random or pca, or give a folder as student.model",
    )
    # A table may be longer than the tokenizer's ids, for the sake of alignment; never shorter.
    words, same = tokenizer.vocab_size, own is not None and own.fingerprint == tokenizer.fingerprint
    if adopted is not None and teacher is not None:
        words = teacher.vocab_size
    elif stored is not None and same:
        words = stored.vocab_size
    shape = shape.replace(vocab_size=words, pad_token_id=tokenizer.pad_id, **_dropout(student.dropout))
    respelled = folder is not None and keeps and adopted is None and not same
    return Student(folder if keeps else None, shape, tokenizer, own, respelled)


def _dropout(probability: float) -> dict[str, object]:
    return {"hidden_dropout_prob": probability, "attention_probs_dropout_prob": probability}


def _shape_of(
    config: RunConfig, stored: BertConfig | None, teacher: BertConfig | None, tokenizer: Tokenizer
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
        layers, width = student.shape or (teacher.num_hidden_layers // 2 or 1, teacher.hidden_size)
        # heads and feed-forward width come with the layers that are copied
        same = width == teacher.hidden_size
        return teacher.replace(num_hidden_layers=layers) if same else new_shape(layers, width, 1)
    assert student.shape is not None, "a model that is no folder is a shape"
    return new_shape(*student.shape, tokenizer.vocab_size)


def _check_start(config: RunConfig, shape: BertConfig, teacher: BertConfig) -> None:
    """Raise InputError where the teacher's weights, or some of its layers, cannot be the student's."""
    start, layers, width = config.student.start, teacher.num_hidden_layers, teacher.hidden_size
    if start == "projected":
        require(
            shape.hidden_size <= width and shape.num_hidden_layers <= layers,
            f"student.start 'projected' reduces the teacher ({layers}x{width}) to the student, which is larger "
            f"({shape.num_hidden_layers}x{shape.hidden_size}); choose student.start random, or a smaller student.model",
        )
    if start == "layers":
        require(
            shape.hidden_size == width,
            f"student.start 'layers' copies layers, so the student ({shape.hidden_size} wide) must be as wide as the "
            f"teacher ({width}); choose student.start own or random",
        )
        require(
            config.student_vocabulary == "teacher",
            "student.start 'layers' copies the teacher's embeddings too; set student.vocabulary=teacher",
        )
        require(
            layers % shape.num_hidden_layers == 0,
            f"student.start 'layers' takes every n-th layer: {shape.num_hidden_layers} does not divide the teacher's "
            f"{layers}",
        )


def new_shape(layers: int, width: int, vocab_size: int) -> BertConfig:
    """A BERT of this shape as the released ones are: heads of 64, a feed-forward layer four times as wide.

    Raises InputError for a shape that cannot be.
    """
    require(layers >= 1 and width >= 8, f"a shape needs at least 1 layer and a width of 8, got {layers}x{width}")
    # Narrower than a head of 64, or no multiple of it: two heads, as bert-tiny has.
    heads = width // 64 if width % 64 == 0 else 2
    require(width % heads == 0, f"width must be even, got {width}")
    return fitting(BertConfig(vocab_size, width, layers, heads, 4 * width))


def build_student(
    config: RunConfig,
    student: Student,
    teacher: BertForMaskedLM | BertModel | None,
    teacher_tokenizer: Tokenizer | None,
) -> BertForMaskedLM:
    """The student before its first step, in training mode, drawn from torch's global generator where random."""
    shape, chosen = student.shape, config.student
    if chosen.start == "layers":
        assert isinstance(teacher, BertForMaskedLM), "the plan refuses layers of another kind of teacher"
        # A decoder apart from the embeddings, whatever the teacher's config.json says of it, is taken over too.
        tied = teacher.config.tie_word_embeddings
        model = BertForMaskedLM(shape.replace(tie_word_embeddings=tied), attention="packed")
        model.load_state_dict(student_from_layers(teacher, shape.num_hidden_layers).state_dict())
        return model.train()
    if student.own is None:
        model = BertForMaskedLM(shape, attention="packed")
    else:
        changes = _dropout(chosen.dropout)
        model = BertForMaskedLM.from_pretrained(student.own, changes=changes, attention="packed")
        if chosen.layers:
            model = student_from_layers(model, chosen.layers)
    own = student.own_tokenizer
    if config.student_vocabulary == "teacher":
        assert teacher is not None and teacher_tokenizer is not None, "checked by RunConfig"
        # What measured best: see the README's table. A projected start overwrites them.
        drawn = chosen.start == "projected" or teacher.config.hidden_size < shape.hidden_size
        best = "spelling" if student.own is not None else "random" if drawn else "pca"
        model = student_for_vocabulary(model, own, teacher, teacher_tokenizer, chosen.embeddings or best)
    elif student.respelled and own is not None:
        model = student_for_vocabulary(model, own, None, student.tokenizer, "spelling")
    return model.train()
