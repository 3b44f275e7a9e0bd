"""The two models of a run, the teacher in its precision and the student at its start, and the student's optimizer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tinydistil.base.errors import InputError, rank_and_world_size, require
from tinydistil.base.hub import WEIGHT_FILES, first_existing, resolve_folder
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.initialise import look_at_neighbours, student_for_vocabulary, student_from_layers, wider
from tinydistil.distill.options import Shapes
from tinydistil.distill.recipe import HALF
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.teacher.precision import convert, quantise_teacher
from tinydistil.distill.terms.base import Learner
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig, Shape, memory_there, new_shape, read_config
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.run_config import OptimizerConfig, RunConfig

if TYPE_CHECKING:
    from tinydistil.train.plan import Plan

_DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
# For int8 to see how large channels get.
_CALIBRATION_SEQUENCES = 32


@dataclass(frozen=True, slots=True)
class Student:
    """The student to be trained. own: the folder whose weights it keeps, None where they are new or the teacher's.

    tokenizer: what it reads with. own_tokenizer: what its own weights were made for, if it has any; respelled: another
    than it is to read with, which is not the teacher's.
    """

    own: Path | None
    shape: BertConfig
    tokenizer: Tokenizer
    own_tokenizer: Tokenizer | None
    respelled: bool


def student_of(config: RunConfig, teacher: BertConfig | None, teacher_tokenizer: Tokenizer | None) -> Student:
    """The student. Raises InputError where it cannot start as it is to."""
    student, keeps, named = config.student, config.student.start == "own", f"student {config.student.model!r}"
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
            f"{named} is a new model and has no vocabulary; give student.tokenizer (a folder with vocab.txt or "
            "tokenizer.json), or a folder as student.model"
        )
    shape = _shape_of(config, stored, teacher, tokenizer.vocab_size)
    if folder is not None and stored is not None and own is not None:
        require(
            not keeps or first_existing(folder, WEIGHT_FILES) is not None,
            f"{named} has no weights ({' or '.join(WEIGHT_FILES[::2])}); set student.start=random to take its shape "
            "and vocabulary only",
        )
        require(
            own.vocab_size <= stored.vocab_size,
            f"{named}: its tokenizer makes {own.vocab_size} ids, its embeddings have {stored.vocab_size}; give the "
            "tokenizer that belongs to it",
        )
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
    shape = wider(shape) if student.start == "neighbours" else shape
    dropout = dict.fromkeys(_DROPOUT, student.dropout)
    shape = shape.replace(vocab_size=words, pad_token_id=tokenizer.pad_id, **dropout)
    respelled = folder is not None and keeps and adopted is None and not same
    return Student(folder if keeps else None, shape, tokenizer, own, respelled)


def _shape_of(config: RunConfig, stored: BertConfig | None, teacher: BertConfig | None, vocab_size: int) -> BertConfig:
    """Layers and widths of the student; `stored` is the shape in its folder. Raises InputError where some of the
    teacher's layers or dimensions, which it is to start from, cannot be its own."""
    student, start, copied = config.student, config.student.start, teacher if config.student.start == "layers" else None
    if stored is not None:
        require(
            student.layers == 0 or stored.num_hidden_layers % student.layers == 0,
            f"student.layers must divide the {stored.num_hidden_layers} of {student.model!r}, got {student.layers}",
        )
        shape = stored.replace(num_hidden_layers=student.layers or stored.num_hidden_layers)
    elif copied is not None:
        asked = student.shape or Shape(copied.num_hidden_layers // 2 or 1, copied.hidden_size)
        layers, width = asked[:2]
        plain = asked == Shape(layers, width)
        require(plain, "student.start 'layers' copies layers as they are; give student.model as LAYERSxWIDTH alone")
        # Heads and feed-forward width come with the layers that are copied.
        same = width == copied.hidden_size
        shape = copied.replace(num_hidden_layers=layers) if same else new_shape(layers, width, 1)
    else:
        assert student.shape is not None, "a model that is no folder is a shape"
        layers, width, embedding, *others = student.shape
        # Of ELECTRA's family is what has word vectors of a width of their own, be it the same.
        embedding = embedding or width * (config.recipe.needs.family == "electra")
        shape = new_shape(layers, width, vocab_size, embedding, *others)
    if teacher is None:
        return shape
    layers, width = teacher.num_hidden_layers, teacher.hidden_size
    berts = shape.model_type == teacher.model_type == "bert"
    require(
        start != "projected" or berts,
        f"student.start 'projected' is from BERT to BERT, got {teacher.model_type} to {shape.model_type}; choose "
        "student.start random or own",
    )
    require(
        start != "projected" or (shape.hidden_size <= width and shape.num_hidden_layers <= layers),
        f"student.start 'projected' reduces the teacher ({layers}x{width}) to the student, which is larger "
        f"({shape.num_hidden_layers}x{shape.hidden_size}); choose student.start random, or a smaller student.model",
    )
    require(
        copied is None or shape.hidden_size == width,
        f"student.start 'layers' copies layers, so the student ({shape.hidden_size} wide) must be as wide as the "
        f"teacher ({width}); choose student.start own or random",
    )
    require(
        copied is None or config.student_vocabulary == "teacher",
        "student.start 'layers' copies the teacher's embeddings too; set student.vocabulary=teacher",
    )
    require(
        copied is None or layers % shape.num_hidden_layers == 0,
        f"student.start 'layers' takes every n-th layer: {shape.num_hidden_layers} does not divide the teacher's "
        f"{layers}",
    )
    return shape


def load_teachers(plan: "Plan") -> list[BertForMaskedLM | BertModel]:
    """The teachers, every weight of them from their folders, in float32."""
    return [
        BertForMaskedLM.from_pretrained(each.folder, heads="require", attention="packed")
        if each.predicts_words
        else BertModel.from_pretrained(each.folder, attention="packed")
        for each in plan.teachers
    ]


def build_student(plan: "Plan", teacher: BertForMaskedLM | BertModel | None) -> BertForMaskedLM:
    """The student before its first step, in training mode, drawn from torch's global generator where random."""
    config, student, chosen = plan.config, plan.student, plan.config.student
    shape, own = student.shape, student.own_tokenizer
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
        changes = dict.fromkeys(_DROPOUT, chosen.dropout)
        model = BertForMaskedLM.from_pretrained(student.own, changes=changes, attention="packed")
        if chosen.layers:
            model = student_from_layers(model, chosen.layers)
    if chosen.start == "neighbours":
        look_at_neighbours(model.bert)
    if config.student_vocabulary == "teacher":
        assert teacher is not None and plan.teacher_tokenizer is not None, "checked by RunConfig"
        # What measured best: see the README's table. A projected start overwrites them, as "encoded" does.
        drawn = chosen.start == "projected" or teacher.config.hidden_size < shape.hidden_size
        begin = chosen.embeddings or ("spelling" if student.own is not None else "random" if drawn else "pca")
        begin = "random" if begin == "encoded" else begin
        model = student_for_vocabulary(model, own, teacher, plan.teacher_tokenizer, begin)
    elif student.respelled and own is not None:
        model = student_for_vocabulary(model, own, None, student.tokenizer, "spelling")
    return model.train()


def live_teacher(
    plan: "Plan",
    models: Sequence[BertForMaskedLM | BertModel],
    learner: Learner,
    batches: MaskedBatches,
    ranks: Ranks,
    say: Callable[[str], None],
) -> LiveTeacher:
    """`models` as the live teacher of `learner` in a run over `batches`, in the precision of the plan.

    For int8 they are changed in place, so whatever takes weights from them must have done so; `say` hears the error.
    What int8 is calibrated by is that of rank 0.
    """
    precision, sees, found = plan.config.teacher_precision, plan.config.recipe.teacher_sees, []
    for own, model in zip(plan.teachers, models, strict=True):
        teacher = LiveTeacher(model.to(ranks.device), learner.states(), sees=sees, precision=precision)
        if precision == "int8":
            sample = [sample_of(batches, _CALIBRATION_SEQUENCES)]
            error = quantise_teacher(teacher, sample, agree=ranks.broadcast_)
            say(f"{own.called(plan.config).removeprefix('the ')} in int8: {error}")
        elif precision == "bfloat16":
            convert(teacher.model, precision, ())
        found.append(teacher)
    if len(found) == 1:
        return found[0]
    from tinydistil.distill.several import SeveralTeachers  # which a run with one does without

    return SeveralTeachers(found, learner.states())


def sample_of(batches: MaskedBatches, count: int) -> MaskedBatch:
    """`count` sequences from all over the text: the same on every rank, after a resume and for any size of a batch."""
    return batches.collate(batches.candidates[:: -(-len(batches.candidates) // count)], 0)


def kept_bytes(config: RunConfig, shape: BertConfig, tokens: float) -> float:
    """What of a sequence is kept for the backward pass at the least: of each token, 14 vectors per layer."""
    number_bytes = 4 if config.train.precision == "float32" else 2
    return tokens * shape.num_hidden_layers * shape.hidden_size * 14 * number_bytes


def check_memory(config: RunConfig, shapes: Shapes, tokens: float, device: torch.device) -> None:
    """Raise InputError where training cannot fit the memory of `device`, by what it takes at the least.

    tokens: of a sequence on average, 0 where that is not known. What it really takes a dry run measures.
    """
    cuda = device.type == "cuda"
    there = torch.cuda.get_device_properties(device).total_memory if cuda else memory_there()
    # Weights, gradients and AdamW's two moments in float32; teachers' weights, a byte each in int8.
    student, teachers = shapes.student.parameters, sum(each.teacher.parameters for each in shapes.each if each.teacher)
    held = 16 * student + teachers
    require(
        held <= there,
        f"training a student of {student / 1e6:,.0f} M parameters takes at least {held / 2**30:,.1f} GiB "
        f"(weights, gradients, moments), there are {there / 2**30:,.1f}; choose a smaller student",
    )
    micro = -(-config.train.batch_size // (config.train.accumulation * rank_and_world_size()[1]))
    kept = micro * kept_bytes(config, shapes.student, tokens)
    require(
        held + kept <= there,
        f"a micro-batch of {micro:,} sequences takes at least {kept / 2**30:,.1f} GiB, there are "
        f"{(there - held) / 2**30:,.1f}; lower train.batch_size or raise train.accumulation",
    )


def make_optimizer(modules: Iterable[nn.Module], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of `modules`, each once; no decay on biases and LayerNorm.

    Those are the parameters of fewer than two dimensions (Devlin et al. 2019, A.2).
    """
    names = {p: name for module in modules for name, p in module.named_parameters() if p.requires_grad}
    apart = config.word_rate != 1
    words = [p for p, name in names.items() if apart and name.endswith("embeddings.word.weight")]
    others = [p for p, name in names.items() if not (apart and name.endswith("embeddings.word.weight"))]
    groups = [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
    ]
    if words:
        groups.append({"params": words, "weight_decay": config.weight_decay, "lr_scale": config.word_rate})
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, "moment/parameter"; parameters it has not stepped yet are absent."""
    return {
        f"{kind}/{name}": tensor
        for name, parameter in module.named_parameters()
        for kind, tensor in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put `optimizer_tensors` back.

    Raises InputError where they are not those of `module`, one of each kind for a parameter: the kernel of AdamW reads
    as many numbers as the parameter has, whatever is there.
    """
    parameters = dict(module.named_parameters())
    kinds = {"step", "exp_avg", "exp_avg_sq"} if isinstance(optimizer, torch.optim.AdamW) else set()
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        require(name in parameters, f"the checkpoint's optimizer knows {name!r}, this model does not; start anew")
        parameter = parameters[name]
        wanted = (torch.Size(), torch.float32) if kind == "step" else (parameter.shape, parameter.dtype)
        require(
            kind in kinds and (tensor.shape, tensor.dtype) == wanted,
            f"the checkpoint's optimizer has {key!r} of shape {list(tensor.shape)} in {tensor.dtype}, where "
            f"{list(wanted[0])} in {wanted[1]} belongs; start anew",
        )
        # AdamW's step counter stays on the CPU unless the kernel is a fused CUDA one
        device = parameter.device if tensor.dim() or parameter.is_cuda else tensor.device
        found.setdefault(name, {})[kind] = tensor.to(device).clone()
    for name, state in found.items():
        require(state.keys() == kinds, f"the checkpoint's optimizer lacks numbers of {name!r}; start anew")
        optimizer.state[parameters[name]].update(state)
