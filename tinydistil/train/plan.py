"""What can be refused is refused here, before a weight is loaded: files, vocabularies, widths, heads, output."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tinydistil.base.config import to_mapping
from tinydistil.base.errors import optional, require
from tinydistil.base.files import Ownership, fingerprint, flatten, read_json
from tinydistil.base.hub import fingerprint_of, resolve_folder
from tinydistil.base.ranks import Ranks, device_of
from tinydistil.batches.manifest import MANIFEST, Sides, check_fit, entries_of, made_with, sides_of
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.batches.shards import TokenShards
from tinydistil.distill.options import AUTO, Shapes
from tinydistil.distill.step import check_precision
from tinydistil.distill.teacher.cached import MOST_PARTS, OWNERSHIP
from tinydistil.distill.teacher.live import check_teacher_precision
from tinydistil.model.config import BertConfig, read_config
from tinydistil.model.pretrained import HEAD_BIAS, encoder_weights
from tinydistil.model.sentence_folder import declaration_of
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.models import Student, check_memory, student_of
from tinydistil.train.run_config import INSIDE, RunConfig, TrainConfig
from tinydistil.train.teachers import check_together

# Weights in a teacher's layers from which on a trial of its precision pays: those of e5-small are 21 million.
_LARGE = 4_000_000
CONFIG_FILE, CHECKPOINTS = "run.json", "checkpoints"
SHARDS, VOCABULARY = "shards", "vocabulary"  # which an earlier start may have left before it wrote its configuration
# Options that may differ when a run goes on: how long, how often it looks and saves, and names of what is compared by
# content (see `Plan`), so that folders may be moved. All others would make another run.
FREE_ON_RESUME = re.compile(
    r"train\.(steps|tokens|minutes|epochs|log_every|validate_every|validation_sequences|save_every|keep_last|patience"
    r"|bad_steps|accumulation|tensorboard)|corpus\[|shards|teacher(\[|$)|student\.tokenizer$"
)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A teacher: its name as given, folder, shape, vocabulary, and whether it predicts words.

    pooling: how it declares to pool a sequence, where the recipe compares sequences; None where it says nothing.
    prefix: what it reads before every text; pools_prefix: whether that counts in the pooling.
    """

    given: str
    folder: Path
    config: BertConfig
    tokenizer: Tokenizer
    predicts_words: bool
    pooling: str | None
    prefix: str = ""
    pools_prefix: bool = True

    def called(self, config: RunConfig) -> str:
        """In a message of a run with `config`."""
        return f"teacher {self.given!r}" if len(config.teachers) > 1 else "the teacher"

    @property
    def prefix_ids(self) -> tuple[int, ...]:
        """The prefix in its vocabulary."""
        return tuple(self.tokenizer.encode_all([self.prefix], None, add_special=False)[0].ids)


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
        self,
        ranks: Ranks,
        *,
        workers: int | None,
        say: Callable[[str], None],
        later: Callable[[int], float] | None = None,
    ) -> None:
        """Make the shards. These are there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that may begin. sides: which tokenization of the text feeds which model.

    teachers: of one vocabulary and one prefix. shapes: student and teachers as the terms of the recipe see them.
    content: fingerprints of what the run reads, since under the same path other files may lie when it goes on.
    """

    config: RunConfig
    output: Path
    teachers: tuple[ModelFolder, ...]
    student: Student
    shapes: Shapes
    text: TokenText
    sides: Sides
    content: Mapping[str, str]

    @property
    def origin(self) -> dict[str, object]:
        """What run.json records: every option, and fingerprints of the files behind them."""
        return {**to_mapping(self.config), "content": dict(self.content)}

    @property
    def teacher(self) -> ModelFolder | None:
        """The first teacher, where there is one."""
        return self.teachers[0] if self.teachers else None

    @property
    def teacher_tokenizer(self) -> Tokenizer | None:
        """The teacher's, where there is one."""
        return None if self.teacher is None else self.teacher.tokenizer


def make_plan(
    config: RunConfig,
    output: Path,
    *,
    resume: bool,
    device: str = "auto",
    text: Callable[[Sequence[tuple[str, Tokenizer]]], TokenText] | None = None,
) -> Plan:
    """Check everything that can be checked without loading weights.

    text: what a run on raw text reads, given the tokenizers that its shards are made with and their names, the
    teacher's first. Raises InputError for what is missing, contradictory or does not fit.
    """
    check_precision(config.train.precision)
    config = as_before(config, output, resume=resume, device=device_of(device).type)
    config.recipe.check_mask_rate(config.train.mask.rate)
    check_teacher_precision(config.teacher_precision, device_of(device))
    if config.train.tensorboard:
        optional("tensorboard", needed_by="train.tensorboard", extra="tensorboard")
    # Without "content": what the files hold is not known yet.
    ownership(config, output).check(output, to_mapping(config), resume=resume)
    teachers = tuple(_teacher_of(config, given) for given in config.teachers)
    if len(teachers) > 1:
        check_together(teachers, config.recipe.needs)
    weights = sum(12 * each.config.num_hidden_layers * each.config.hidden_size**2 for each in teachers)
    if config.teacher_precision == AUTO and weights < _LARGE:
        config = replace(config, teacher_precision="")
    teacher = teachers[0] if teachers else None
    seen, read_by = (None, None) if teacher is None else (teacher.config, teacher.tokenizer)
    student = student_of(config, seen, read_by)
    shapes = Shapes(student.shape)
    # Whether both read one vocabulary is decided by the configuration, and here it is acted upon.
    tokenizers: list[tuple[str, Tokenizer]] = []
    content = {"tokenizer": student.tokenizer.fingerprint[:16]}
    if teacher is not None:
        pooled = ["cls" if each.pooling == "cls" else "mean" for each in teachers]
        first, *others = (
            Shapes(student.shape, each.config, each.predicts_words, pooling, each.called(config))
            for each, pooling in zip(teachers, pooled, strict=True)
        )
        shapes = replace(first, others=tuple(others))
        _check_cache(config, output)
        tokenizers.append((teacher.given, teacher.tokenizer))
        content["teacher"] = ", ".join(fingerprint_of(each.folder) for each in teachers)
    config.recipe.check(config.recipe.name, shapes, config.cache if config.teacher_cache else None)
    if config.student_vocabulary == "own":
        tokenizers.append((config.student.tokenizer or config.student.model, student.tokenizer))
    if student.own is not None:
        content["student"] = fingerprint_of(student.own)
    read = _text_in(Path(config.shards)) if text is None else text(tokenizers)
    sides = sides_of(read.fingerprints, student.tokenizer, read_by, f"text {str(read.shards)!r}")
    prefixed = 0 if teacher is None else len(teacher.prefix_ids)
    readers = [("the student", student.shape, 0), *((each.called(config), each.config, prefixed) for each in teachers)]
    for who, shape, more in readers:
        require(
            read.longest + more <= shape.longest,
            f"prepare.max_length {read.longest}{f' and a prefix of {more}' if more else ''} is longer than the "
            f"position table of {who} ({shape.longest}); lower it (--max-length) and prepare the text so",
        )
    check_memory(config, shapes, read.mean_tokens, device_of(device))
    if text is None:
        content["shards"] = fingerprint([read.shards / MANIFEST])
    return Plan(config, output, teachers, student, shapes, read, sides, content)


def as_before(config: RunConfig, output: Path, *, resume: bool, device: str) -> RunConfig:
    """`config` with what AUTO, as the teacher's precision, comes to without a trial: as training computes on CUDA or
    without a teacher, else what an earlier start of this run, or its cache, has found. AUTO where nobody knows yet."""
    if config.teacher_precision != AUTO:
        return config
    if device != "cpu" or not config.teachers:
        return replace(config, teacher_precision="")
    records = [output / CONFIG_FILE] * resume
    if config.teacher_cache:
        records.append(cache_of(config, output) / OWNERSHIP.record)
    found = (read_json(record, remedy="delete it").get("teacher_precision") for record in records if record.exists())
    return replace(config, teacher_precision=next((str(each) for each in found if each is not None), AUTO))


def cache_of(config: RunConfig, output: Path) -> Path:
    """The folder of the teacher's cache."""
    return output / "cache" if config.teacher_cache == INSIDE else Path(config.teacher_cache)


def ownership(config: RunConfig, output: Path) -> Ownership:
    """How a run owns its folder."""
    # A cache or shards may be asked for inside the run's folder, and be there before the run is.
    paths = [Path(config.shards).resolve()] * bool(config.shards)
    paths += [cache_of(config, output).resolve()] * bool(config.teacher_cache)
    within, depth = output.resolve(), len(output.resolve().parts)
    inside = {path.parts[depth] for path in paths if within in path.parents}
    return Ownership(
        CONFIG_FILE,
        lambda name: name in {SHARDS, VOCABULARY} | inside,
        must_agree=lambda name: FREE_ON_RESUME.match(name) is None,
        tables=("content",),
        defaults=flatten({"train": to_mapping(TrainConfig())}),
    )


def make_batches(plan: Plan, split: str) -> MaskedBatches | None:
    """The batches of a split; None where validation has too few sequences to be one."""
    train, shards = plan.config.train, TokenShards.open(plan.text.shards, split=split)
    if split == "validation" and len(shards) == 0:
        return None

    def seed(*parents: str) -> int:
        # A run that begins from models mixes them in. From train.seed alone a run on its parent's text would replay the
        # parent's masks and order: with the same seed held-out losses rose for a hundred steps, from 7.09 to 7.23.
        found = [(name, plan.content[name]) for name in parents if name in plan.content]
        mixed = hashlib.sha256(repr((train.seed, found)).encode())
        return int.from_bytes(mixed.digest()[:8], "big") >> 1 if found else train.seed

    training, prefixed = split == "train", plan.teacher is not None and bool(plan.teacher.prefix)
    made = MaskedBatches(
        shards,
        plan.student.tokenizer,
        train.mask,
        # Held out, what there is memory for.
        batch_size=train.batch_size if training else min(train.micro_batch, len(shards)),
        # Held-out masks are always the same, so that losses of runs compare.
        seed=seed("teacher", "student") if training else 0,
        # A cache holds masks, and may serve several students.
        mask_seed=seed("teacher", *([] if plan.config.teacher_cache else ["student"])) if training else 0,
        order=train.order if training else None,
        side=plan.sides.student,
        teacher_tokenizer=plan.teacher_tokenizer if plan.sides.apart or prefixed else None,
        teacher_prefix=plan.teacher.prefix_ids if plan.teacher is not None and prefixed else (),
        pools_prefix=plan.teacher is None or plan.teacher.pools_prefix,
        pairs=plan.config.recipe.needs.pairs,
    )
    for maker in made.pair_makers.values() if training else ():
        maker.check()
    return made


def _teacher_of(config: RunConfig, given: str) -> ModelFolder:
    """The teacher `given`. Raises InputError where its folder mixes two models, or lacks what a student starts from."""
    folder = resolve_folder(given)
    shape = read_config(folder / "config.json")
    tokenizer = Tokenizer.from_pretrained(folder)
    predicts_words = HEAD_BIAS in encoder_weights(folder, shape)  # memory-mapped: names cost nothing
    require(
        tokenizer.vocab_size <= shape.vocab_size,
        f"teacher {given!r}: its tokenizer makes {tokenizer.vocab_size} ids, its embeddings have "
        f"{shape.vocab_size}; the folder mixes two models",
    )
    require(
        predicts_words or config.student.start != "layers" or given != config.teachers[0],
        f"student.start 'layers' copies the masked LM head too, which teacher {given!r} lacks; choose "
        "another teacher, or student.start own or random",
    )
    declared = declaration_of(folder) if "pooled" in config.recipe.needs.teacher else None
    pooling = declared.poolings[0] if declared and len(declared.poolings) == 1 else None  # none of several side by side
    prefix = config.teacher_prefix or (declared.prompt if declared and not config.recipe.needs.tokens else "")
    pools = declared is None or declared.pools_prompt
    return ModelFolder(given, folder, shape, tokenizer, predicts_words, pooling, prefix, pools)


def _text_in(shards: Path) -> TokenText:
    """The shards that scripts/prepare.py made. Raises InputError where there are none."""
    require(shards.is_dir(), f"shards {str(shards)!r} is no folder; make one with scripts/prepare.py")
    manifest, again = check_fit(shards, None, None), "prepare the corpus again"
    entries = [entry for entry in entries_of(manifest, shards) if entry.split == "train"]
    require(bool(entries), f"{shards / MANIFEST} lists no training shard; {again}")
    options = manifest.get("config")
    longest = options.get("max_length") if isinstance(options, dict) else None
    require(isinstance(longest, int), f"{shards / MANIFEST}: config.max_length is {longest!r}; {again}")
    mean = sum(entry.tokens for entry in entries) / max(sum(entry.sequences for entry in entries), 1)
    made, longest = tuple(made_with(manifest)), cast(int, longest)
    return TokenText(shards=shards, fingerprints=made, longest=longest, mean_tokens=mean + 2)  # [CLS] and [SEP]


def _check_cache(config: RunConfig, output: Path) -> None:
    if not config.teacher_cache:
        return
    folder, epochs = cache_of(config, output), config.train.mask.epochs
    named = f"teacher_cache {str(folder)!r}"
    require(not folder.exists() or folder.is_dir(), f"{named} is a file; name a folder")
    own = f"is the folder of the run itself; name one of its own, say {output / 'cache'}"
    require(folder.resolve() != output.resolve(), f"{named} {own}")
    most = f"{MOST_PARTS:,} with a teacher's cache, which has a file for each at least"
    require(epochs <= MOST_PARTS, f"train.mask.epochs must be <= {most}, got {epochs:,}")
