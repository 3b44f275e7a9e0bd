"""What a teacher computes in: how far it is then from float32, and which is the fastest on this machine.

Shapes: N tokens, R positions, D width.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.console import text_table
from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.teacher.live import PRECISIONS, LiveTeacher, check_teacher_precision
from tinydistil.distill.terms.vocabulary import Distribution
from tinydistil.model.bert import Decoding
from tinydistil.model.layers import Linear
from tinydistil.model.pretrained import Pretrained
from tinydistil.model.quantised import Batches, quantise

# What a precision may cost to be chosen: the least mean cosine of tokens with float32, the most KL at the temperature.
LEAST_COSINE, MOST_DIVERGENCE = 0.998, 0.003
_ROUNDS = 3
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model makes of a text: hidden states (N, D), and at some positions the distribution of words at a
    temperature."""

    hidden: Tensor
    words: list[tuple[Decoding, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PrecisionError:
    """How far a precision is from float32 on `tokens` tokens of text: the mean cosine of their hidden states.

    divergence: where the distribution is read, the mean KL(float32 || precision) over `positions` at `temperature`.
    """

    tokens: int
    cosine: float
    positions: int
    divergence: float
    temperature: float

    @classmethod
    @torch.no_grad()
    def between(cls, exact: Sequence[Reading], rough: Sequence[Reading]) -> "PrecisionError":
        """Of readings of the same texts."""
        cosines, divergence, positions, temperature = [], 0.0, 0, 1.0
        for before, after in zip(exact, rough, strict=True):
            cosines.append(F.cosine_similarity(before.hidden.float(), after.hidden.float(), dim=-1))
            for (p, temperature), (q, _) in zip(before.words, after.words, strict=True):
                any_target = torch.zeros(len(q.rows), dtype=torch.int64, device=q.rows.device)
                q = replace(q, rows=q.rows.float())
                found = fused_vocabulary_loss(
                    q, any_target, p, hard=0.0, soft=1.0, temperature=temperature, compiled=False
                )
                divergence += float(found.total) / temperature**2  # the loss is scaled up by T^2
                positions += len(any_target)
        together = torch.cat(cosines)
        return cls(len(together), float(together.mean()), positions, divergence / max(positions, 1), temperature)

    def __str__(self) -> str:
        soft = f", KL at T = {self.temperature:g} {self.divergence:.4f} at {self.positions:,} positions"
        words = soft if self.positions else ""
        return f"mean token cosine with float32 {self.cosine:.4f} on {self.tokens:,} tokens{words}"


def convert(model: Pretrained, precision: str, texts: Batches) -> None:
    """Change the linear layers of `model` to those of `precision`, where it has its own.

    texts: ids and attention masks by which int8 is calibrated. Raises InputError as `model.quantised.quantise` does.
    """
    if precision == "int8":
        quantise(model, texts)
    elif precision == "bfloat16" and next(model.parameters()).device.type == "cpu":
        from tinydistil.model.halved import halve  # which other precisions do without

        halve(model)


def quantise_teacher(
    teacher: LiveTeacher,
    sample: Iterable[MaskedBatch],
    *,
    agree: Callable[[Iterable[Tensor]], None] = lambda tensors: None,
) -> PrecisionError:
    """Quantise the model of `teacher` in place, smoothed by the batches of `sample`, and compare it with before.

    A pure function of model and sample: ranks, and resumed runs, that draw the same sample get the same teacher. agree:
    as in `model.quantised.quantise`, which raises InputError.
    """
    batches = list(sample)
    before = [_reading(teacher, batch) for batch in batches]
    quantise(teacher.model, _texts(teacher, batches), agree=agree)
    return PrecisionError.between(before, [_reading(teacher, batch) for batch in batches])


def _texts(teacher: LiveTeacher, batches: Iterable[MaskedBatch]) -> list[tuple[Tensor, Tensor | None]]:
    """The ids and attention masks that `teacher` reads of them."""
    views = [batch.teacher or batch for batch in batches]
    masked = teacher.sees == "masked"
    return [(view.input_ids if masked else view.original_ids, view.attention_mask) for view in views]


@torch.no_grad()
def _reading(teacher: LiveTeacher, batch: MaskedBatch) -> Reading:
    """With the distributions that its states read."""
    read, states = teacher.read(batch), [state for of_term in teacher.states.values() for state in of_term.values()]
    words = [(state.take(read, batch), state.temperature) for state in states if isinstance(state, Distribution)]
    return Reading(read.hidden[(batch.teacher or batch).valid_mask], words)


@dataclass(frozen=True, slots=True)
class Trial:
    """How `precision` did: seconds of a pass, how far it is from float32; or why this machine has none."""

    precision: str
    seconds: float = 0.0
    error: PrecisionError | None = None
    lacks: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it is exact enough to be chosen without being asked for."""
        error = self.error
        return error is not None and error.cosine >= LEAST_COSINE and error.divergence <= MOST_DIVERGENCE


def try_teachers(teachers: Sequence[LiveTeacher], batch: MaskedBatch) -> list[Trial]:
    """Each of PRECISIONS with all of `teachers`, not converted yet, reading `batch`."""
    models = [each.model for each in teachers]
    return tried(models, _texts(teachers[0], [batch]), lambda: [_reading(each, batch) for each in teachers])


@torch.no_grad()
def tried(models: Sequence[Pretrained], texts: Batches, read: Callable[[], Sequence[Reading]]) -> list[Trial]:
    """Each of PRECISIONS with what `read` computes by `models` on the CPU, which are afterwards as they were.

    texts: as of `convert`.
    """
    plain = [[(name, each) for name, each in model.named_modules() if isinstance(each, Linear)] for model in models]
    trials: list[Trial] = []
    exact: Sequence[Reading] = ()
    for precision in PRECISIONS:
        half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
        try:
            check_teacher_precision(precision, _CPU)
            for model in models:
                convert(model, precision, texts)
            with half:
                found, seconds = _timed(read, 3 * trials[0].seconds if trials else float("inf"))
        except InputError as error:
            trials.append(Trial(precision, lacks=str(error)))
        else:
            exact = exact or found
            trials.append(Trial(precision, seconds, PrecisionError.between(exact, found)))
        finally:
            for model, layers in zip(models, plain, strict=True):
                for name, layer in layers:
                    model.set_submodule(name, layer)
    return trials


def _timed(read: Callable[[], Sequence[Reading]], limit_s: float) -> tuple[Sequence[Reading], float]:
    """What `read` gives, and the least seconds of several calls; of the first alone, where that takes the limit."""
    took = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        found = read()
        took.append(time.perf_counter() - began)
        if took[0] > limit_s:
            break
    return found, min(took)


def fastest(trials: Sequence[Trial]) -> str:
    """The precision of those that are exact enough."""
    return min((trial for trial in trials if trial.allowed), key=lambda trial: trial.seconds).precision


def table_of(trials: Sequence[Trial]) -> str:
    """The trials for a person to read, with the one that is taken."""
    taken, rows, exact = fastest(trials), [], trials[0]
    for trial in trials:
        cells = ["not here", "", "", trial.lacks]
        if (error := trial.error) is not None:
            outcome = "taken" if trial.precision == taken else "" if trial.allowed else "not exact enough"
            divergence = f"{error.divergence:.4f}" if error.positions else ""
            cells = [f"{exact.seconds / trial.seconds:.2f}x", f"{error.cosine:.4f}", divergence, outcome]
        rows.append([trial.precision, *cells])
    found = exact.error
    divergence = f"KL at T = {found.temperature:g}" if found is not None and found.positions else ""
    header = ["teacher computes in", "speed", "token cosine", divergence]
    lines = text_table(header, [row[:4] for row in rows]).splitlines()
    return "\n".join(
        f"{line}  {end}".rstrip() for line, end in zip(lines, ["", *(row[4] for row in rows)], strict=True)
    )
