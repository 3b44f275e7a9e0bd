"""What can be refused is refused here, before a weight is loaded: files, vocabularies, widths, heads, output."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinydistil.base.claim import Ownership
from tinydistil.base.config import to_mapping
from tinydistil.base.errors import optional, require
from tinydistil.base.files import fingerprint
from tinydistil.base.hub import fingerprint_of
from tinydistil.base.ranks import device_of
from tinydistil.batches.manifest import MANIFEST
from tinydistil.batches.masked_batches import Sides, sides_of
from tinydistil.distill.options import Shapes
from tinydistil.distill.step import check_precision
from tinydistil.distill.teacher.cached import MOST_PARTS
from tinydistil.distill.teacher.live import check_teacher_precision
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.run_config import RunConfig
from tinydistil.train.sources import (
    ModelFolder,
    Student,
    TokenText,
    check_length,
    check_memory,
    student_of,
    teacher_of,
    text_in,
)

CONFIG_FILE = "run.json"
CHECKPOINTS = "checkpoints"
# What an earlier start may have left before it wrote its configuration.
SHARDS = "shards"
VOCABULARY = "vocabulary"
# Options that may differ when a run goes on: how long, how often it looks and saves, and names of what is compared by
# content (see `Plan`), so that folders may be moved. All others would make another run.
FREE_ON_RESUME = re.compile(
    r"train\.(steps|tokens|minutes|epochs|log_every|validate_every|validation_sequences|save_every|keep_last|patience"
    r"|bad_steps|accumulation|tensorboard)|corpus\[|shards|teacher$|student\.tokenizer$"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that may begin. sides: which tokenization of the text feeds which model.

    shapes: student and teacher as the terms of the recipe see them. content: fingerprints of what the run reads, since
    under the same path other files may lie when it goes on.
    """

    config: RunConfig
    output: Path
    teacher: ModelFolder | None
    student: Student
    shapes: Shapes
    text: TokenText
    sides: Sides
    content: Mapping[str, str]

    @property
    def origin(self) -> dict[str, object]:
        """What run.json records: every option, and fingerprints of the files behind them."""
        return {**to_mapping(self.config), "content": dict(self.content)}

    def seed(self, *parents: str) -> int:
        """The seed of a stream of numbers: train.seed, or for a run that begins from models one made of both.

        parents: which models, "teacher" and "student". From train.seed alone a run on its parent's text would replay
        the parent's masks and order: with the same seed held-out losses rose for a hundred steps, from 7.09 to 7.23.
        """
        found = [(name, self.content[name]) for name in parents if name in self.content]
        if not found:
            return self.config.train.seed
        mixed = hashlib.sha256(repr((self.config.train.seed, found)).encode())
        return int.from_bytes(mixed.digest()[:8], "big") >> 1


def make_plan(
    config: RunConfig,
    output: Path,
    *,
    resume: bool,
    device: str = "auto",
    text: Callable[[Sequence[tuple[str, Tokenizer]]], TokenText] | None = None,
) -> Plan:
    """Check everything that can be checked without loading weights.

    text: what a run on raw text reads, given the tokenizers that its shards are made with and their names; the
    teacher's first. Raises InputError for what is missing, contradictory or does not fit, naming field, value and
    remedy.
    """
    check_precision(config.train.precision)
    config.recipe.check_mask_rate(config.train.mask.rate)
    check_teacher_precision(config.teacher_precision, device_of(device))
    if config.train.tensorboard:
        optional("tensorboard", needed_by="train.tensorboard", extra="tensorboard")
    # Without "content": what the files hold is not known yet.
    ownership(config, output).check(output, to_mapping(config), resume=resume)
    teacher = teacher_of(config) if config.teacher else None
    student = student_of(config, teacher)
    shapes = Shapes(student.shape)
    if teacher is not None:
        pooling = "cls" if teacher.pooling == "cls" else "mean"
        shapes = Shapes(student.shape, teacher.config, teacher.predicts_words, pooling)
        config.recipe.check(config.recipe.name, shapes)
        _check_cache(config, output, teacher)
    # Whether both read one vocabulary is decided by the configuration, and here it is acted upon.
    tokenizers = [] if teacher is None else [(config.teacher, teacher.tokenizer)]
    if config.student_vocabulary == "own":
        tokenizers.append((config.student.tokenizer or config.student.model, student.tokenizer))
    read = text_in(config.shards) if text is None else text(tokenizers)
    taught_with = None if teacher is None else teacher.tokenizer
    sides = sides_of(read.fingerprints, student.tokenizer, taught_with, f"text {str(read.shards)!r}")
    check_length(read.longest, student.shape, teacher)
    check_memory(config, student.shape, teacher, read.mean_tokens, device_of(device))
    content = {"tokenizer": student.tokenizer.fingerprint[:16]}
    if teacher is not None:
        content["teacher"] = fingerprint_of(teacher.folder)
    if student.folder is not None and config.student.start == "own":
        content["student"] = fingerprint_of(student.folder)
    if text is None:
        content["shards"] = fingerprint([read.shards / MANIFEST])
    return Plan(config, output, teacher, student, shapes, read, sides, content)


def ownership(config: RunConfig, output: Path) -> Ownership:
    """How a run owns its folder."""
    # A cache or shards may be asked for inside the run's folder, and be there before the run is.
    paths = [Path(name).resolve() for name in (config.teacher_cache, config.shards) if name]
    within, depth = output.resolve(), len(output.resolve().parts)
    inside = {path.parts[depth] for path in paths if within in path.parents}
    return Ownership(
        CONFIG_FILE,
        lambda name: name in {SHARDS, VOCABULARY} | inside,
        must_agree=lambda name: FREE_ON_RESUME.match(name) is None,
    )


def _check_cache(config: RunConfig, output: Path, teacher: ModelFolder) -> None:
    if not config.teacher_cache:
        return
    folder = Path(config.teacher_cache)
    require(not folder.exists() or folder.is_dir(), f"teacher_cache {str(folder)!r} is a file; name a folder")
    require(
        folder.resolve() != output.resolve(),
        f"teacher_cache {str(folder)!r} is the folder of the run itself; name one of its own, say {output / 'cache'}",
    )
    require(
        config.train.mask.epochs <= MOST_PARTS,
        f"train.mask.epochs must be <= {MOST_PARTS:,} with a teacher's cache, which has a file for each at least, got "
        f"{config.train.mask.epochs:,}",
    )
    config.recipe.check_cache(config.cache, teacher.config)
