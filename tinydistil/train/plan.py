"""What can be refused is refused here, before a weight is loaded: files, vocabularies, widths, heads, output."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tinydistil.base.claim import Ownership
from tinydistil.base.config import to_mapping
from tinydistil.base.errors import InputError, optional, require
from tinydistil.base.files import fingerprint
from tinydistil.base.hub import fingerprint_of
from tinydistil.base.ranks import device_of
from tinydistil.batches.manifest import MANIFEST, check_fit, entries_of, made_with
from tinydistil.batches.masked_batches import Sides, sides_of
from tinydistil.corpus.prepare import Job
from tinydistil.distill.step import check_precision
from tinydistil.distill.teacher.cached import MOST_PARTS
from tinydistil.distill.teacher.live import check_teacher_precision
from tinydistil.distill.terms.base import Shapes
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.sides import load_side
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.run_config import RunConfig
from tinydistil.train.sources import (
    ModelFolder,
    check_length,
    check_memory,
    check_student,
    shape_of,
    shapes_of,
    student_sources,
    teacher_of,
)

CONFIG_FILE = "run.json"
CHECKPOINTS = "checkpoints"
# What an earlier start may have left before it wrote its configuration.
_OURS = {"shards", "vocabulary"}
# Options that may differ when a run goes on: how long, how often it looks and saves, and names of what is compared by
# content (see `Plan`), so that folders may be moved. All others would make another run.
FREE_ON_RESUME = re.compile(
    r"train\.(steps|tokens|minutes|epochs|log_every|validate_every|validation_sequences|save_every|keep_last|patience"
    r"|bad_steps|accumulation|tensorboard)|corpus\[|shards|teacher$|student\.tokenizer$"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that may begin. student_folder: where its weights or shape come from, None for a new model of `shape`.

    tokenizer: what the student reads with. own_tokenizer: what its own weights were made for, if it has any. sides:
    which tokenization of the text feeds which model. content: fingerprints of what the run reads, since under the same
    path other files may lie when it goes on.
    """

    config: RunConfig
    output: Path
    teacher: ModelFolder | None
    student_folder: Path | None
    shape: BertConfig
    tokenizer: Tokenizer
    own_tokenizer: Tokenizer | None
    shards: Path
    job: Job | None
    sides: Sides
    content: Mapping[str, str]

    @property
    def teacher_pooling(self) -> str:
        """Which vector of the teacher stands for a sequence: as its folder declares, "cls" or else "mean"."""
        return self.shapes.teacher_pooling

    @property
    def shapes(self) -> Shapes:
        """Student and teacher as the terms of the recipe see them."""
        return shapes_of(self.shape, self.teacher)

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

    @property
    def respelled(self) -> bool:
        """Whether the student's own weights are to read with another vocabulary than they were made for."""
        own, config = self.own_tokenizer, self.config
        kept = config.student_vocabulary == "own" and self.student_folder is not None and config.student.start == "own"
        return kept and own is not None and own.fingerprint != self.tokenizer.fingerprint

    @property
    def teacher_cache(self) -> Path:
        """Folder of the teacher's cache, where one is asked for."""
        return Path(self.config.teacher_cache)

    @property
    def events(self) -> Path | None:
        """Folder for TensorBoard, where it is asked for."""
        return self.output / "tensorboard" if self.config.train.tensorboard else None


def make_plan(config: RunConfig, output: Path, *, resume: bool, device: str = "auto") -> Plan:
    """Check everything that can be checked without loading weights.

    Raises InputError for what is missing, contradictory or does not fit, naming field, value and remedy.
    """
    check_precision(config.train.precision)
    config.recipe.check_mask_rate(config.train.mask.rate)
    check_teacher_precision(config.teacher_precision, device_of(device))
    if config.train.tensorboard:
        optional("tensorboard", needed_by="train.tensorboard", extra="tensorboard")
    check_output(config, output, resume=resume)
    teacher = teacher_of(config) if config.teacher else None
    (folder, own, made_for), shared = student_sources(config), config.student_vocabulary == "teacher"
    if not shared and own is None:
        raise InputError(
            f"student {config.student.model!r} is a new model and has no vocabulary; give student.tokenizer "
            "(a folder with vocab.txt or tokenizer.json), or a folder as student.model"
        )
    tokenizer = own if not shared or teacher is None else teacher.tokenizer
    assert tokenizer is not None, "either the student has a vocabulary or the teacher lends its own"
    shape = shape_of(config, folder, teacher, tokenizer, made_for)
    check_student(config, folder, shape, teacher, made_for)
    if config.teacher_cache and teacher is not None:
        _check_cache(config, output, teacher)
    job = None if config.shards else _job(config, shared)
    if job is None:
        shards = Path(config.shards)
        made, longest, tokens = _check_shards(shards)
    else:
        shards, made = output / "shards", [side.name.fingerprint for side in job.sides]
        longest, tokens = job.config.max_length, 0.0
    sides = sides_of(made, tokenizer, None if teacher is None else teacher.tokenizer, f"text {str(shards)!r}")
    check_length(longest, shape, teacher)
    check_memory(config, shape, teacher, tokens, device_of(device))
    content = {"tokenizer": tokenizer.fingerprint[:16]}
    if teacher is not None:
        content["teacher"] = fingerprint_of(teacher.folder)
    if folder is not None and config.student.start == "own":
        content["student"] = fingerprint_of(folder)
    if job is None:
        content["shards"] = fingerprint([shards / MANIFEST])
    return Plan(config, output, teacher, folder, shape, tokenizer, made_for, shards, job, sides, content)


def check_output(config: RunConfig, output: Path, *, resume: bool) -> None:
    """Raise InputError where `output` is not a folder of ours, or holds a run and is not to be gone on from."""
    # Without "content": what the files hold is not known yet.
    ownership(config, output).check(output, to_mapping(config), resume=resume)


def ownership(config: RunConfig, output: Path) -> Ownership:
    """How a run owns its folder."""
    # A cache or shards may be asked for inside the run's folder, and be there before the run is.
    paths = [Path(name).resolve() for name in (config.teacher_cache, config.shards) if name]
    within, depth = output.resolve(), len(output.resolve().parts)
    inside = {path.parts[depth] for path in paths if within in path.parents}
    return Ownership(
        CONFIG_FILE,
        lambda name: name in _OURS | inside,
        must_agree=lambda name: FREE_ON_RESUME.match(name) is None,
    )


def _check_cache(config: RunConfig, output: Path, teacher: ModelFolder) -> None:
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


def _job(config: RunConfig, shared: bool) -> Job:
    """The preparation of raw text: one tokenizer, or teacher's and student's side by side."""
    sides = [load_side(source) for source in tokenizer_sources(config, shared)]
    return Job.of(config.corpus, sides, config.prepare, config.evaluation_sets)


def tokenizer_sources(config: RunConfig, shared: bool) -> list[str]:
    """Folders or names of the tokenizers that the shards are made with, the teacher's first."""
    student = config.student
    own = student.tokenizer or student.model
    if not config.teacher:
        return [own]
    return [config.teacher] if shared else [config.teacher, own]


def _check_shards(shards: Path) -> tuple[list[str], int, float]:
    """Fingerprints of the tokenizers of these shards; tokens of a sequence, special ones included: most, and mean."""
    require(shards.is_dir(), f"shards {str(shards)!r} is no folder; make one with scripts/prepare.py")
    manifest = check_fit(shards, None, None)
    entries = [entry for entry in entries_of(manifest, shards) if entry.split == "train"]
    require(bool(entries), f"{shards / MANIFEST} lists no training shard; prepare the corpus again")
    options = manifest.get("config")
    longest = options.get("max_length") if isinstance(options, dict) else None
    require(
        isinstance(longest, int), f"{shards / MANIFEST}: config.max_length is {longest!r}; prepare the corpus again"
    )
    mean = sum(entry.tokens for entry in entries) / max(sum(entry.sequences for entry in entries), 1)
    return made_with(manifest), cast(int, longest), mean + 2
