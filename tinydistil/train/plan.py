"""What can be refused is refused here, before a weight is loaded: files, vocabularies, widths, heads, output."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tinydistil.claim import Ownership
from tinydistil.config import to_mapping
from tinydistil.data.manifest import MANIFEST, check_fit, entries_of, made_with
from tinydistil.data.masked_batches import Sides, sides_of
from tinydistil.data.prepare import Job
from tinydistil.data.tokenization import load_side
from tinydistil.distill.build import check_mask_rate, check_pair
from tinydistil.distill.cache import MOST_PARTS
from tinydistil.distill.teacher import check_teacher_precision
from tinydistil.distill.vocabulary_loss import check_sparse
from tinydistil.errors import InputError, require
from tinydistil.files import fingerprint
from tinydistil.hub import WEIGHT_FILES, fingerprint_of, first_existing, resolve_folder
from tinydistil.model.config import BertConfig, read_config
from tinydistil.model.names import HEAD_BIAS
from tinydistil.model.weight_files import read_weights
from tinydistil.ranks import device_of
from tinydistil.text.optional import optional
from tinydistil.text.tokenizer import Tokenizer
from tinydistil.train.run_config import HALF, RunConfig, new_shape
from tinydistil.train.step import check_precision

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
class ModelFolder:
    """A model as it lies on disk: name as given, folder, shape, vocabulary, and whether it predicts words."""

    name: str
    folder: Path
    config: BertConfig
    tokenizer: Tokenizer
    predicts_words: bool


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
    check_mask_rate(config.recipe, config.train.mask.rate)
    check_teacher_precision(config.teacher_precision, device_of(device))
    if config.train.tensorboard:
        optional("tensorboard", needed_by="train.tensorboard", extra="tensorboard")
    check_output(config, output, resume=resume)
    teacher = _teacher(config) if config.teacher else None
    (folder, own, made_for), shared = _student_sources(config), config.student_vocabulary == "teacher"
    if not shared and own is None:
        raise InputError(
            f"student {config.student.model!r} is a new model and has no vocabulary; give student.tokenizer "
            "(a folder with vocab.txt or tokenizer.json), or a folder as student.model"
        )
    tokenizer = own if not shared or teacher is None else teacher.tokenizer
    assert tokenizer is not None, "either the student has a vocabulary or the teacher lends its own"
    shape = _shape(config, folder, teacher, tokenizer, made_for)
    _check_student(config, folder, shape, teacher, made_for)
    if config.teacher_cache and teacher is not None:
        _check_cache(config, output, teacher)
    job = None if config.shards else _job(config, shared)
    if job is None:
        shards = Path(config.shards)
        made, longest = _check_shards(shards)
    else:
        shards, made, longest = output / "shards", [side.name.fingerprint for side in job.sides], job.config.max_length
    sides = sides_of(made, tokenizer, None if teacher is None else teacher.tokenizer, f"text {str(shards)!r}")
    _check_length(longest, shape, teacher)
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
    # What the files hold is not known yet.
    ownership(config, output, but=lambda name: name.startswith("content.")).check(
        output, to_mapping(config), resume=resume
    )


def ownership(config: RunConfig, output: Path, *, but: Callable[[str], bool] = lambda name: False) -> Ownership:
    """How a run owns its folder; options for which `but` holds are not compared."""
    # A cache or shards may be asked for inside the run's folder, and be there before the run is.
    paths = [Path(name).resolve() for name in (config.teacher_cache, config.shards) if name]
    within, depth = output.resolve(), len(output.resolve().parts)
    inside = {path.parts[depth] for path in paths if within in path.parents}
    return Ownership(
        CONFIG_FILE,
        lambda name: name in _OURS | inside,
        must_agree=lambda name: FREE_ON_RESUME.match(name) is None and not but(name),
    )


def _teacher(config: RunConfig) -> ModelFolder:
    folder = resolve_folder(config.teacher)
    shape = read_config(folder / "config.json", labels=False)
    tokenizer = Tokenizer.from_pretrained(folder)
    predicts_words = HEAD_BIAS in read_weights(folder)  # memory-mapped: names cost nothing
    require(
        tokenizer.vocab_size <= shape.vocab_size,
        f"teacher {config.teacher!r}: its tokenizer makes {tokenizer.vocab_size} ids, its embeddings have "
        f"{shape.vocab_size}; the folder mixes two models",
    )
    return ModelFolder(config.teacher, folder, shape, tokenizer, predicts_words)


def _student_sources(config: RunConfig) -> tuple[Path | None, Tokenizer | None, Tokenizer | None]:
    """The student's folder, None for a new shape; its tokenizer; and the one that its weights were made for."""
    student = config.student
    folder = (
        None
        if student.shape or student.model == HALF
        else resolve_folder(student.model, weights=student.start == "own")
    )
    given = Tokenizer.from_pretrained(student.tokenizer) if student.tokenizer else None
    brings = folder is not None and first_existing(folder, ("tokenizer.json", "vocab.txt")) is not None
    # A folder without a vocabulary goes with the one that is given; with neither it is refused here.
    made_for = Tokenizer.from_pretrained(folder) if folder is not None and (brings or given is None) else given
    return folder, given or made_for, made_for


def _shape(
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
        shape = read_config(folder / "config.json", labels=False)
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


def _check_student(
    config: RunConfig, folder: Path | None, shape: BertConfig, teacher: ModelFolder | None, own: Tokenizer | None
) -> None:
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
        table = read_config(folder / "config.json", labels=False).vocab_size
        require(
            own.vocab_size <= table,
            f"student {student.model!r}: its tokenizer makes {own.vocab_size} ids, its embeddings have {table}; "
            "give the tokenizer that belongs to it",
        )
    if student.embeddings == "spelling":
        require(
            folder is not None and student.start == "own",
            "student.embeddings 'spelling' averages word vectors that the student has, and a new one has none; "
            "choose random or pca, or give a folder as student.model",
        )
    if teacher is not None:
        check_pair(config.recipe, shape, teacher.config, predicts_words=teacher.predicts_words)


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
    require(
        config.cache.words != "top" or config.recipe.soft == 0 or config.cache.top < teacher.config.vocab_size,
        f"cache.top must be below the teacher's vocabulary ({teacher.config.vocab_size}), got {config.cache.top}",
    )
    require(
        config.cache.words != "top" or config.recipe.soft == 0 or config.cache.drawn <= teacher.config.vocab_size,
        f"cache.drawn must be <= the teacher's vocabulary ({teacher.config.vocab_size}), got {config.cache.drawn}; "
        "cache.words=hidden keeps the whole distribution",
    )
    if config.cache.words == "top" and config.recipe.soft > 0:
        check_sparse(config.recipe.divergence)


def _check_length(longest: int, shape: BertConfig, teacher: ModelFolder | None) -> None:
    for who, found in (("student", shape), ("teacher", shape if teacher is None else teacher.config)):
        require(
            longest <= found.max_position_embeddings,
            f"prepare.max_length {longest} is longer than the {who}'s position table "
            f"({found.max_position_embeddings}); lower it (--max-length) and prepare the text so",
        )


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


def _check_shards(shards: Path) -> tuple[list[str], int]:
    """Fingerprints of the tokenizers of these shards, and the most tokens of a sequence, special ones included."""
    require(shards.is_dir(), f"shards {str(shards)!r} is no folder; make one with scripts/prepare.py")
    manifest = check_fit(shards, None, None)
    splits = {entry.split for entry in entries_of(manifest, shards)}
    require("train" in splits, f"{shards / MANIFEST} lists no training shard; prepare the corpus again")
    options = manifest.get("config")
    longest = options.get("max_length") if isinstance(options, dict) else None
    require(
        isinstance(longest, int), f"{shards / MANIFEST}: config.max_length is {longest!r}; prepare the corpus again"
    )
    return made_with(manifest), cast(int, longest)
