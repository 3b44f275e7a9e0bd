"""The shape of an encoder, read from and written to config.json."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeAlias

from tinydistil.base.config import Checked, NonNegative, OneOf, Positive, Range, from_mapping, nearest, shown
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json

# Here and not beside their functions: options are listed (--help) without torch.
ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "gelu_pytorch_tanh", "swish")
POOLINGS = ("pooler", "cls", "mean", "max")
# The head alone would hold half of BERT-base's weights.
MOST_LABELS = 100_000
Dropout = Annotated[float, Range(0, 1, without=(1,))]


@dataclass(frozen=True)
class BertConfig(Checked):
    """What config.json says, under its names; defaults are those of `transformers` (BERT-base).

    `labels` stands for `id2label` (label i is the i-th); `pooling` says which vector a sequence classifier
    reads (ours; config.json holds it as "tinydistil_pooling"). Other families of encoders, see `model.families`, are
    subclasses. model_type, class_prefix: what `transformers` calls it. file_names: fields that config.json calls
    otherwise. computes: keys that change what the encoder computes, with the only value but null that ours has.
    """

    model_type: ClassVar[str] = "bert"
    class_prefix: ClassVar[str] = "Bert"
    file_names: ClassVar[Mapping[str, str]] = {}
    computes: ClassVar[Mapping[str, object]] = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "is_encoder_decoder": False,
    }

    vocab_size: Annotated[int, Range(1, 10_000_000)] = 30522
    hidden_size: Annotated[int, Range(1, 65_536)] = 768
    num_hidden_layers: Annotated[int, Range(1, 1000)] = 12
    num_attention_heads: Annotated[int, Range(1, 65_536)] = 12
    intermediate_size: Annotated[int, Range(1, 1_000_000)] = 3072
    hidden_act: Annotated[str, OneOf(ACTIVATIONS)] = "gelu"
    hidden_dropout_prob: Dropout = 0.1
    attention_probs_dropout_prob: Dropout = 0.1
    max_position_embeddings: Annotated[int, Range(1, 1_000_000)] = 512
    type_vocab_size: Annotated[int, Range(1, 65_536)] = 2
    initializer_range: NonNegative = 0.02
    layer_norm_eps: Positive = 1e-12
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    classifier_dropout: Dropout | None = None
    problem_type: str | None = None
    labels: Annotated[tuple[str, ...], Range(1, MOST_LABELS)] = ("LABEL_0", "LABEL_1")
    pooling: Annotated[str, OneOf(POOLINGS)] = "pooler"

    def __post_init__(self) -> None:
        super().__post_init__()
        width, heads, pad, words = self.hidden_size, self.num_attention_heads, self.pad_token_id, self.vocab_size
        even = f"hidden_size must be a multiple of num_attention_heads, got {width} and {heads}"
        require(width % heads == 0, even)
        require(pad is None or 0 <= pad < words, f"pad_token_id must be in 0..{words - 1}, got {pad}")
        require(bool(self.labels), "labels must be at least one, got none")

    @property
    def parameters(self) -> int:
        """Numbers in the embeddings and matrices, which are all but one in a thousand of a model's."""
        rows = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        layer = 4 * self.hidden_size + 2 * self.intermediate_size
        return self.hidden_size * (rows + self.num_hidden_layers * layer)

    @property
    def embedding_width(self) -> int:
        """Of a row of the word table."""
        return self.hidden_size

    @property
    def first_position(self) -> int:
        """The row of the position table that a sequence begins with."""
        return 0

    @property
    def longest(self) -> int:
        """Tokens of a sequence at most."""
        return self.max_position_embeddings - self.first_position

    def replace(self, **changes: object) -> Self:
        """A copy with some fields changed, names, types and values checked as when read from a file."""
        return from_mapping(type(self), dataclasses.asdict(self) | changes)

    @classmethod
    def from_file(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that a config.json says. Raises InputError where the encoder computes something else."""
        fields = {field.name for field in dataclasses.fields(cls)} - {"labels", "pooling"}
        ours = {theirs: name for name, theirs in cls.file_names.items()}
        known = {ours.get(key, key): value for key, value in values.items() if ours.get(key, key) in fields}
        for key, allowed in cls.computes.items():
            if (value := values.get(key)) not in (allowed, None):
                raise InputError(f"{key} must be {allowed!r}, got {shown(value)}")
        return known

    def to_file(self) -> dict[str, Any]:
        """What `from_file` reads, labels and pooling apart."""
        values = dataclasses.asdict(self)
        del values["labels"], values["pooling"]
        return {self.file_names.get(name, name): value for name, value in values.items()} | dict(self.computes)


Weights: TypeAlias = Mapping[str, Any]  # tensors: this file knows no torch
# Where each family is; a module is imported when a model of its kind is met.
_MODULES = {
    "bert": "tinydistil.model.bert",
    "roberta": "tinydistil.model.families.roberta",
    "xlm-roberta": "tinydistil.model.families.roberta",
    "camembert": "tinydistil.model.families.roberta",
    "distilbert": "tinydistil.model.families.distilbert",
    "electra": "tinydistil.model.families.electra",
    "albert": "tinydistil.model.families.albert",
    "deberta-v2": "tinydistil.model.families.deberta_v2",
    "modernbert": "tinydistil.model.families.modernbert",
}


def no_final(config: Any) -> Any:
    """Nothing behind the last layer."""
    return None


def no_more(weights: Weights, config: Any) -> Weights:
    """The weights as they are."""
    return weights


@dataclass(frozen=True)
class Family:
    """Encoders of one architecture.

    config: their class of configuration. embeddings, layers, final, masked_lm: of a configuration the module of the
    embeddings, all layers, what is behind the last one or None, and the head.
    prefix: what stands before the encoder's names in files of a model with a head. names: parts of BERT's names and
    what they are here, replaced in this order in names of BERT's, backwards in names of files. from_file, to_file:
    what else becomes of weights read, names already BERT's, and before they are written, names still BERT's.
    """

    config: type[BertConfig]
    embeddings: Callable[[Any], Any]
    layers: Callable[[Any], Any]
    masked_lm: Callable[[Any], Any]
    final: Callable[[Any], Any] = no_final
    prefix: str = "bert."
    names: tuple[tuple[str, str], ...] = ()
    from_file: Callable[[Weights, Any], Weights] = no_more
    to_file: Callable[[Weights, Any], Weights] = no_more

    def bert_name(self, name: str) -> str:
        """BERT's name for a file's `name`, without the prefix."""
        name = name.removeprefix("module.").removeprefix(self.prefix)
        for berts, ours in reversed(self.names):
            name = name.replace(ours, berts)
        return name

    def file_name(self, name: str) -> str:
        """What files call BERT's `name`."""
        name = self.prefix + name.removeprefix("bert.") if name.startswith("bert.") else name
        for berts, ours in self.names:
            name = name.replace(berts, ours)
        return name


def family(model_type: object) -> Family:
    """The family of a config.json's `model_type`. Raises InputError for one that is not known."""
    if not isinstance(model_type, str) or model_type not in _MODULES:
        close = nearest(model_type, _MODULES) if isinstance(model_type, str) else ""
        raise InputError(f"model_type must be one of {', '.join(_MODULES)}, got {shown(model_type)}{close}")
    found: Family = import_module(_MODULES[model_type]).FAMILIES[model_type]
    return found


def read_config(path: Path, *, labels: bool = False) -> BertConfig:
    """The configuration in a config.json; keys that do not change the computation are ignored.

    labels: whether its class names matter; where they do not, a table of them that cannot be read is no error.
    Raises InputError for an architecture that `model.families` does not know, or a bad value.
    """
    values, cls = read_json(path), BertConfig
    try:
        cls = family(values.get("model_type") or "bert").config
        known = cls.from_file(values)
        if known.get("pad_token_id") == -1:  # how some folders write "none"
            known["pad_token_id"] = None
        if "tinydistil_pooling" in values:
            known["pooling"] = values["tinydistil_pooling"]
        if labels and (values.get("id2label") is not None or values.get("num_labels") is not None):
            known["labels"] = _labels(values)
        return fitting(from_mapping(cls, known))
    except InputError as error:
        # Under the names that the file has.
        said = re.sub(r"\b\w+\b", lambda word: cls.file_names.get(word[0], word[0]), str(error))
        raise InputError(f"{str(path)!r}: {said}") from None


class Shape(NamedTuple):
    """Of a new model: layers and width; what is 0 is as usual. embedding: the width of word vectors, which a matrix
    widens (ELECTRA's form). heads, feed_forward: of a layer, usually of 64 and four times as wide. groups: of layers
    that share their weights (ALBERT's form)."""

    layers: int
    width: int
    embedding: int = 0
    heads: int = 0
    feed_forward: int = 0
    groups: int = 0

    @classmethod
    def of(cls, text: str) -> "Shape | None":
        """What "2x128" or "3x256,embedding=64,groups=1" says; None for what begins otherwise. Raises InputError for
        an option that is unknown, twice there or no number."""
        found = re.fullmatch(r"(\d{1,3})x(\d{1,5})((?:,.*)?)", text)
        if found is None:
            return None
        options: dict[str, int] = {}
        for option in found[3].split(",")[1:]:
            name, _, value = option.partition("=")
            known, sound = cls._fields[2:], re.fullmatch(r"\d{1,6}", value) is not None and int(value) > 0
            require(name in known, f"student.model {text!r}: unknown option {name!r}{nearest(name, known)}")
            require(sound and name not in options, f"student.model {text!r}: {name} must be a number > 0, given once")
            options[name] = int(value)
        return cls(int(found[1]), int(found[2]), **options)


def new_shape(
    layers: int, width: int, vocab_size: int, embedding: int = 0, heads: int = 0, feed_forward: int = 0, groups: int = 0
) -> BertConfig:
    """A BERT of this shape as the released ones are: heads of 64, a feed-forward layer four times as wide. For what is
    0 otherwise, see `Shape`. Raises InputError for a shape that cannot be."""
    require(layers >= 1 and width >= 8, f"a shape needs at least 1 layer and a width of 8, got {layers}x{width}")
    # Narrower than a head of 64, or no multiple of it: two heads, as bert-tiny has.
    usual = width // 64 if width % 64 == 0 else 2
    require(width % (heads or usual) == 0, f"width must be a multiple of heads ({heads or usual}), got {width}")
    sizes = (vocab_size, width, layers, heads or usual, feed_forward or 4 * width)
    if not embedding and not groups:
        return fitting(BertConfig(*sizes))
    own: dict[str, object] = {"num_hidden_groups": groups, "hidden_act": "gelu"} if groups else {}
    family_of = family("albert" if groups else "electra").config  # whose parts these are, and others read
    plain = {each.name: getattr(BertConfig(*sizes), each.name) for each in dataclasses.fields(BertConfig)}
    return fitting(from_mapping(family_of, {**plain, "embedding_size": embedding or width, **own}))


def memory_there() -> int:
    """Bytes of memory that this machine has, or that its container may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical


def fitting(config: BertConfig) -> BertConfig:
    """`config`. Raises InputError, before any memory is asked for, where this machine cannot hold its weights."""
    there, needed = memory_there(), 4 * config.parameters  # bytes in float32
    require(
        needed <= there,
        f"{config.num_hidden_layers} layers of {config.hidden_size} with {config.vocab_size:,} tokens are "
        f"{config.parameters:,} parameters, {needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f} GiB; "
        "choose a smaller shape",
    )
    return config


def _labels(values: dict[str, object]) -> list[str]:
    table, count = values.get("id2label"), values.get("num_labels")
    if isinstance(table, dict) and table and sorted(table) == sorted(str(i) for i in range(len(table))):
        return [str(table[str(i)]) for i in range(len(table))]
    require(table is None, f"id2label must map '0', '1', ... to names, got {shown(table)}")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_LABELS:
        raise InputError(f"num_labels must be an integer in 1..{MOST_LABELS}, got {shown(count)}")
    return [f"LABEL_{i}" for i in range(count)]


def config_to_json(config: BertConfig, architecture: str, *, has_labels: bool) -> dict[str, object]:
    """The contents of a config.json that `transformers` reads as model class `architecture`."""
    of_family = config.class_prefix + architecture.removeprefix("Bert")
    values: dict[str, object] = {"architectures": [of_family], "model_type": config.model_type, **config.to_file()}
    labels, pooling = config.labels, config.pooling
    if has_labels:
        require(len(set(labels)) == len(labels), f"labels must differ, got {labels}")
        values["id2label"] = {str(i): label for i, label in enumerate(labels)}
        values["label2id"] = {label: i for i, label in enumerate(labels)}
    if pooling != "pooler":
        values["tinydistil_pooling"] = pooling
    unsaid = [config.file_names.get(name, name) for name in ("classifier_dropout", "problem_type")]
    unsaid = [name for name in unsaid if values.get(name) is None]
    return {name: value for name, value in values.items() if name not in unsaid}
