"""Every option of a run on token shards: recipe, teacher, student, budget; from TOML and the command line; no torch."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from tinydistil.base.config import (
    Checked,
    Count,
    NonNegative,
    OneOf,
    Positive,
    Range,
    Seed,
    Share,
    from_mapping,
    override,
    shown,
    table_of,
)
from tinydistil.base.errors import require
from tinydistil.batches.sampling import MaskConfig, OrderConfig
from tinydistil.distill.options import AUTO, EMBEDDINGS, CacheConfig, RepresentationOptions
from tinydistil.distill.recipe import HALF, RECIPES, RUNS, Recipe, with_changes
from tinydistil.model.config import Shape


@dataclass(frozen=True)
class OptimizerConfig(Checked, table="optimizer"):
    """AdamW (Loshchilov & Hutter 2019) as BERT used it; `clip_norm` limits the whole gradient's norm, 0 does not.

    word_rate: what the learning rate of word embeddings is multiplied by. Each is in few batches, so that its gradient
    has less noise than those of the layers, and bears a higher rate.
    """

    learning_rate: Positive = 5e-4
    word_rate: Positive = 1.0
    weight_decay: NonNegative = 0.01
    beta1: Annotated[float, Range(0, 1, without=(1,))] = 0.9
    beta2: Annotated[float, Range(0, 1, without=(1,))] = 0.999
    epsilon: Positive = 1e-8
    clip_norm: NonNegative = 1.0


@dataclass(frozen=True)
class ScheduleConfig(Checked, table="schedule"):
    """Warm-up from 0 over a share of the steps, then a shape down to `final` (a share of the peak).

    linear    straight down (Devlin et al. 2019)
    cosine    half a cosine wave (Loshchilov & Hutter 2017)
    wsd       at the peak until the last `decay_share`, then straight down (Hu et al. 2024)
    constant  at the peak
    """

    shape: Annotated[str, OneOf(("linear", "cosine", "wsd", "constant"))] = "linear"
    warmup_share: Share = 0.06
    decay_share: Share = 0.2
    final: Share = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = self.warmup_share + self.decay_share
        wrong = f"schedule.warmup_share + schedule.decay_share must be <= 1, got {shares}"
        require(self.shape != "wsd" or shares <= 1, wrong)


@dataclass(frozen=True)
class TrainConfig(Checked, table="train"):
    """A training run.

    steps, tokens, minutes: the budget; the first to be used up ends the run, 0 means no such limit. epochs: passes over
    the corpus, the budget where none of the three is given. batch_size is the global one, in sequences; each rank's
    share is cut into `accumulation` micro-batches. log_every, validate_every and save_every are in steps. patience:
    validations without a better loss before an early stop, 0 for none. bad_steps: steps in a row that were not finite
    before the run gives up. order: which sequences are read together. tensorboard: write the figures for it, too.
    """

    steps: Annotated[int, Range(0, 10**12)] = 0
    tokens: Annotated[int, Range(0, 10**15)] = 0
    minutes: Annotated[float, Range(0, 5_300_000)] = 0.0
    epochs: Annotated[float, Range(0, 1_000_000, without=(0,))] = 1.0
    # Ids and masks of a step are held at once: a million sequences of 128 tokens are 2 GB.
    batch_size: Annotated[int, Range(1, 1_000_000)] = 64
    accumulation: Annotated[int, Range(1, 1_000_000)] = 1
    precision: str = "float32"
    seed: Seed = 1
    log_every: Count = 10
    validate_every: Count = 200
    validation_sequences: Count = 1000
    save_every: Count = 200
    keep_last: Count = 2
    patience: Annotated[int, Range(0, 10**9)] = 0
    bad_steps: Count = 5
    tensorboard: bool = False
    order: OrderConfig = field(default_factory=OrderConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parts(self.accumulation, self.batch_size, "train.")

    @property
    def micro_batch(self) -> int:
        """Sequences that one process has in memory at a time, at the most."""
        return -(-self.batch_size // self.accumulation)


def require_parts(accumulation: int, batch_size: int, table: str = "") -> None:
    """Raise InputError where a step is to be cut into more micro-batches than it has sequences."""
    most = f"{table}batch_size ({batch_size}), of which each part holds at least one"
    require(accumulation <= batch_size, f"{table}accumulation must be <= {most}, got {accumulation}")


# A teacher's cache in the folder of the run.
INSIDE = "inside"


@dataclass(frozen=True)
class StudentConfig(Checked, table="student"):
    """Who learns, and from where.

    model: a folder, a hub name, a shape "LAYERSxWIDTH" such as "2x128" for a new model, see `Shape`, or "half": as
    the teacher, with half its layers. start: its "own" weights, "random" ones of its shape, "neighbours": random,
    but begun to look at the words beside each, see `distill.initialise`; "layers" of the
    teacher, taken evenly (a shape as wide as the teacher), or "projected": the teacher's weights in fewer
    dimensions (a shape no wider), see `distill.projected`. vocabulary: its "own" or the "teacher"'s; "" leaves it
    to the recipe. tokenizer: folder of its own vocabulary where `model` brings none, or of another that its own
    weights are to learn to read with: each word then starts as the mean of its pieces. layers: of its own weights
    keep so many layers, taken evenly; 0 for all. embeddings: how the words of the teacher's vocabulary start, see
    `distill.initialise`; "" is "spelling" for a student with weights of its own, "pca" for a new one; of any
    vocabulary, "encoded" begins with the teacher's vector of each word, prepared as those of sequences are.
    dropout: in training; a small student that sees each text once needs none, and config.json keeps what is usual
    for fine-tuning.
    """

    model: str = "2x128"
    start: Annotated[str, OneOf(("own", "random", "neighbours", "layers", "projected"))] = "own"
    vocabulary: Annotated[str, OneOf(("", "own", "teacher"))] = ""
    tokenizer: str = ""
    layers: Annotated[int, Range(0, 1000)] = 0
    embeddings: Annotated[str, OneOf(("", *EMBEDDINGS, "encoded"))] = ""
    dropout: Annotated[float, Range(0, 1, without=(1,))] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        taken = "takes layers of a folder's own weights; give a folder as student.model, or leave it out"
        require(self.layers == 0 or (self.start == "own" and self.shape is None), f"student.layers {taken}")
        require(bool(self.model), "student.model is empty; give a folder, a hub name or a shape such as 2x128")
        half = "student.model 'half' takes layers of the teacher; set student.start=layers"
        require(self.model != HALF or self.start == "layers", half)

    @property
    def shape(self) -> Shape | None:
        """Where `model` is one."""
        return Shape.of(self.model)


@dataclass(frozen=True)
class RunConfig(Checked):
    """A whole run on `shards`, which scripts/prepare.py makes; see `RawRunConfig` for one that begins with raw text.

    teacher: a folder or hub name, or a list of several with one vocabulary, whose mean is followed, see
    `distill.several`; the first of them is the one that the student may start from.
    teacher_cache: folder in which what the teacher says is kept for all sequences and `train.mask.epochs` epochs of
    masks; "inside" the run's own; "" asks the teacher itself each time. cache: how it is kept.
    teacher_precision: what the teacher computes in, one of `live.PRECISIONS`; "" is what training does; "auto" is that
    on CUDA and for a small teacher, else the fastest that is exact enough in a trial at the start, see `distill.teacher
    .precision`, or what an earlier start of the run, or its cache, has found. teacher_prefix: what the teacher reads
    before every text, as E5 reads "query: "; "" is the default prompt that its folder declares, where the recipe
    compares sequences.
    """

    train: TrainConfig
    recipe: Recipe = RECIPES["total"]
    teacher: str | tuple[str, ...] = ""
    teacher_precision: str = AUTO
    teacher_prefix: str = ""
    student: StudentConfig = field(default_factory=StudentConfig)
    shards: str = ""
    teacher_cache: str = ""
    cache: CacheConfig = field(default_factory=CacheConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        named = isinstance(self.teacher, str) or (bool(self.teacher) and all(self.teacher))
        require(named, f"teacher {shown(self.teacher)} names none; give a folder or hub name each, or leave it out")
        recipe, student, taught, own = self.recipe, self.student, bool(self.teacher), self.student_vocabulary == "own"
        wants = "asks no teacher, but one was given; drop --teacher or choose total or partial"
        wants = wants if taught else "needs a teacher: give --teacher, or choose recipe mlm"
        require(taught == bool(recipe.needs.teacher), f"recipe {recipe.name!r} {wants}")
        self._check_text()
        taking = student.start if student.start in ("layers", "projected") else ""
        for option, value in (
            ("teacher_precision", self.teacher_precision.removeprefix(AUTO)),
            ("teacher_cache", self.teacher_cache),
            ("teacher_prefix", self.teacher_prefix),
            ("student.start", taking),
            ("student.vocabulary", "" if own else "teacher"),
        ):
            needs = f"{option} {shown(value)} needs a teacher, and there is none; give --teacher, or leave it out"
            require(taught or not value, needs)
        if self.teacher_cache:
            remedy = "set train.mask.epochs to the number of epochs to be kept"
            require(self.train.mask.epochs >= 1, f"--teacher-cache needs masks that come again: {remedy}")
        else:
            require(self.cache == CacheConfig(), "options of cache are for a --teacher-cache, and there is none")
        reason = "says how a new vocabulary starts, but this student keeps its own; leave it out"
        if student.start == "projected":
            reason = "is of no use with student.start 'projected', which makes them too; leave it out"
        kept = own and student.embeddings != "encoded"
        require(not student.embeddings or not (kept or student.start == "projected"), f"student.embeddings {reason}")
        if student.embeddings == "encoded":
            of_sentences = (each.options for each in recipe.parts if "pooled" in each.options.needs.teacher)
            begins = [each for each in of_sentences if isinstance(each, RepresentationOptions) and each.begins_words]
            require(
                bool(begins) and (student.start in ("random", "neighbours") or student.shape is not None),
                "student.embeddings 'encoded' begins a new student with the teacher's vectors as a term of sentences "
                "projects them (recipe.projection pca, random, or student-to-teacher, which is neither centred nor "
                "whitened); give recipe vectors, and as student.model a shape (or student.start=random), or leave it "
                "out",
            )
        require(
            own or not (student.tokenizer and student.shape),
            "student.tokenizer is of no use to a new model that reads with the teacher's vocabulary; leave it out",
        )
        require(
            not (own and recipe.needs.tokens),
            f"recipe {recipe.name!r} compares teacher and student token by token, so both must share a vocabulary: "
            "choose student.vocabulary teacher, or recipe partial",
        )
        for part in recipe.parts:
            least, asked = part.options.needs.batch, part.options.asked_by(part.name)[0]
            require(
                self.train.batch_size >= least,
                f"train.batch_size must be >= {least} for {asked}, which compares the sequences of a batch with each "
                f"other, got {self.train.batch_size}; raise it, or leave {asked} out",
            )
        require(
            not (self.teacher_prefix and recipe.needs.tokens),
            f"teacher_prefix {shown(self.teacher_prefix)} moves the teacher's tokens, and recipe {recipe.name!r} "
            "compares them with the student's one by one; leave it out, or choose recipe vectors or partial",
        )

    def _check_text(self) -> None:
        require(bool(self.shards), "no text: give --corpus FILE ... or --shards DIR")

    @property
    def teachers(self) -> tuple[str, ...]:
        """None, one or several."""
        return tuple(filter(None, [self.teacher])) if isinstance(self.teacher, str) else self.teacher

    @property
    def student_vocabulary(self) -> str:
        """Whose vocabulary the student reads with: "own" or "teacher"."""
        return self.student.vocabulary or ("teacher" if self.recipe.needs.tokens else "own")


_Config = TypeVar("_Config", bound=RunConfig)


def resolve_run(values: Mapping[str, object], kind: type[_Config]) -> _Config:
    """The configuration from nested values; a recipe's name brings its defaults, other fields of it are changes.

    Raises InputError for whatever is unknown, of a wrong type, out of range or contradictory.
    """
    values, given, teacher = dict(values), values.get("recipe", {}), values.get("teacher")
    if isinstance(teacher, list) and len(teacher) == 1:
        values["teacher"] = teacher[0]
    changes = {"name": given} if isinstance(given, str) else dict(table_of(given, "recipe"))
    name = changes.get("name", "total")
    require(isinstance(name, str), f"recipe {shown(name)} is unknown; choose one of {', '.join(RECIPES)}")
    OneOf(tuple(RECIPES)).check(name, "recipe")
    student = table_of(values.get("student", {}), "student")
    default = {} if student.get("start", "layers") != "layers" and name == "distilbert" else RUNS.get(str(name), {})
    used = {"prepare": values.get("corpus"), "cache": values.get("teacher_cache", default.get("teacher_cache"))}
    default = {key: each for key, each in default.items() if used.get(key, True)}
    values = override(deepcopy(default), [], values)
    values["recipe"] = with_changes(RECIPES[str(name)], changes)
    train = values["train"] = dict(table_of(values.get("train", {}), "train"))
    if values.get("teacher_cache"):
        train["mask"] = {"epochs": 1} | dict(table_of(train.get("mask", {}), "train.mask"))
    return from_mapping(kind, values)
