"""Every option of a run on token shards: recipe, teacher, student, budget; from TOML and the command line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from tinydistil.base.config import Checked, OneOf, Range, from_mapping, nearest, shown, table_of, to_mapping
from tinydistil.base.errors import InputError, require
from tinydistil.distill.options import EMBEDDINGS, CacheConfig
from tinydistil.distill.recipe import RECIPES, Recipe
from tinydistil.train.train_config import TrainConfig

STARTS = ("own", "random", "layers", "projected")
VOCABULARIES = ("own", "teacher")
# The student of Sanh et al. 2019: every second layer of its teacher.
HALF = "half"
_SHAPE = re.compile(r"(\d{1,3})x(\d{1,5})")


@dataclass(frozen=True)
class StudentConfig(Checked, table="student"):
    """Who learns, and from where.

    model: a folder, a hub name, a shape "LAYERSxWIDTH" such as "2x128" for a new model, or "half": as the teacher, with
    half its layers. start: its "own" weights, "random" ones of its shape, "layers" of the teacher, taken evenly (a
    shape as wide as the teacher), or "projected": the teacher's weights in fewer dimensions (a shape no wider), see
    `distill.projected`. vocabulary: its "own" or the "teacher"'s; "" leaves it to the recipe. tokenizer: folder of its
    own vocabulary where `model` brings none, or of another that its own weights are to learn to read with: each word
    then starts as the mean of its pieces. layers: of its own weights keep so many layers, taken evenly; 0 for all.
    embeddings: how the words of the teacher's vocabulary start, see `distill.initialise`; "" is "spelling" for a
    student with weights of its own, "pca" for a new one. dropout: in training; a small student that sees each text once
    needs none, and config.json keeps what is usual for fine-tuning.
    """

    model: str = "2x128"
    start: Annotated[str, OneOf(STARTS)] = "own"
    vocabulary: Annotated[str, OneOf(("", *VOCABULARIES))] = ""
    tokenizer: str = ""
    layers: Annotated[int, Range(0, 1000)] = 0
    embeddings: Annotated[str, OneOf(("", *EMBEDDINGS))] = ""
    dropout: Annotated[float, Range(0, 1, without=(1,))] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.layers == 0 or (self.start == "own" and self.shape is None),
            "student.layers takes layers of a folder's own weights; give a folder as student.model, or leave it out",
        )
        require(bool(self.model), "student.model is empty; give a folder, a hub name or a shape such as 2x128")
        require(
            self.model != HALF or self.start == "layers",
            "student.model 'half' takes layers of the teacher; set student.start=layers",
        )

    @property
    def shape(self) -> tuple[int, int] | None:
        """Layers and width, where `model` is a shape."""
        found = _SHAPE.fullmatch(self.model)
        return None if found is None else (int(found[1]), int(found[2]))


@dataclass(frozen=True)
class RunConfig(Checked):
    """A whole run on `shards`, which scripts/prepare.py makes; see `RawRunConfig` for one that begins with raw text.

    teacher_cache: folder in which what the teacher says is kept for all sequences and `train.mask.epochs` epochs of
    masks; "" asks the teacher itself each time. cache: how it is kept.
    teacher_precision: what the teacher computes in, see `distill.teacher`; "" is what training does.
    """

    train: TrainConfig
    recipe: Recipe = RECIPES["total"]
    teacher: str = ""
    teacher_precision: str = ""
    student: StudentConfig = field(default_factory=StudentConfig)
    shards: str = ""
    teacher_cache: str = ""
    cache: CacheConfig = field(default_factory=CacheConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        recipe, student = self.recipe, self.student
        require(
            bool(self.teacher) or not recipe.needs.teacher,
            f"recipe {recipe.name!r} needs a teacher: give --teacher, or choose recipe mlm",
        )
        require(
            not self.teacher or bool(recipe.needs.teacher),
            f"recipe {recipe.name!r} asks no teacher, but one was given; drop --teacher or choose total or partial",
        )
        require(
            bool(self.teacher) or not self.teacher_precision,
            f"teacher_precision is {shown(self.teacher_precision)}, but there is no teacher; leave it out",
        )
        self._check_text()
        self._check_cache()
        require(
            not (student.start in ("layers", "projected") and not self.teacher),
            f"student.start {student.start!r} takes the teacher's weights, and there is none; choose own or random",
        )
        require(
            not (self.student_vocabulary == "teacher" and not self.teacher),
            "student.vocabulary 'teacher' needs a teacher; choose own",
        )
        require(
            not (self.student_vocabulary == "own" and student.embeddings),
            "student.embeddings says how a new vocabulary starts, but this student keeps its own; leave it out",
        )
        require(
            not (student.start == "projected" and student.embeddings),
            "student.embeddings is of no use with student.start 'projected', which makes them too; leave it out",
        )
        require(
            not (self.student_vocabulary == "teacher" and student.tokenizer and student.shape),
            "student.tokenizer is of no use to a new model that reads with the teacher's vocabulary; leave it out",
        )
        require(
            not (self.student_vocabulary == "own" and recipe.needs.tokens),
            f"recipe {recipe.name!r} compares teacher and student token by token, so both must share a vocabulary: "
            "choose student.vocabulary teacher, or recipe partial",
        )

    def _check_text(self) -> None:
        require(bool(self.shards), "no text: give --corpus FILE ... or --shards DIR")

    def _check_cache(self) -> None:
        if not self.teacher_cache:
            require(self.cache == CacheConfig(), "options of cache are for a --teacher-cache, and there is none")
            return
        require(bool(self.teacher), "--teacher-cache keeps what a teacher says, and there is none; give --teacher")
        require(
            self.train.mask.epochs >= 1,
            "--teacher-cache needs masks that come again: set train.mask.epochs to the number of epochs to be kept",
        )
        self.recipe.check_cache(self.cache, None)

    @property
    def student_vocabulary(self) -> str:
        """Whose vocabulary the student reads with: "own" or "teacher"."""
        return self.student.vocabulary or ("teacher" if self.recipe.needs.tokens else "own")


_Config = TypeVar("_Config", bound=RunConfig)


def resolve_run(values: Mapping[str, object], kind: type[_Config]) -> _Config:
    """The configuration from nested values; a recipe's name brings its defaults, other fields of it are changes.

    Raises InputError for whatever is unknown, of a wrong type, out of range or contradictory.
    """
    values = dict(values)
    given = values.get("recipe", {})
    changes = {"name": given} if isinstance(given, str) else dict(table_of(given, "recipe"))
    name = changes.get("name", "total")
    if not isinstance(name, str) or name not in RECIPES:
        raise InputError(f"recipe {shown(name)} is unknown{nearest(str(name), RECIPES)}")
    values["recipe"] = to_mapping(RECIPES[name]) | changes
    values.setdefault("train", {})
    if name == "distilbert":
        student = dict(table_of(values.get("student", {}), "student"))
        half = {"start": "layers", "model": HALF} if student.get("start", "layers") == "layers" else {}
        values["student"] = half | student
    if values.get("teacher_cache"):
        train = dict(table_of(values["train"], "train"))
        values["train"] = train | {"mask": {"epochs": 1} | dict(table_of(train.get("mask", {}), "train.mask"))}
    return from_mapping(kind, values)
