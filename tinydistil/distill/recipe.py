"""Recipes as data: which terms, with which weights and options. `mlm`, `total`, `partial` and `distilbert` are
compositions of the same terms, in the same loop.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from tinydistil.base.config import Checked, OneOf, Table, from_mapping, nearest, shown, table_of
from tinydistil.base.errors import InputError, require
from tinydistil.distill.options import (
    DIVERGENCES,
    CacheConfig,
    HiddenOptions,
    Needs,
    PooledOptions,
    Schedule,
    Shapes,
    TermOptions,
    VocabularyOptions,
    Weight,
    values_of,
)

if TYPE_CHECKING:  # needs torch
    from tinydistil.distill.terms import Term

_Options = TypeVar("_Options", bound=TermOptions)
# Terms that may have several teachers, see `distill.several`.
AVERAGED = ("vocabulary", "hidden", "pooled")


@dataclass(frozen=True, slots=True)
class Part:
    """One term of a recipe: what it is called here, its class by name or as "module:Class", its weight and options."""

    name: str
    kind: str
    weight: float | Schedule
    options: TermOptions


@dataclass(frozen=True)
class _Weight(Checked):
    """Of a term in `recipe.terms`; a number there is the weight alone."""

    weight: Weight = 1.0


@dataclass(frozen=True)
class Recipe(VocabularyOptions, HiddenOptions, PooledOptions, table="recipe"):
    """The loss of a run, a sum of terms: (hard * cross-entropy + soft * divergence) + hidden * distance +
    pooled * distance + those in `terms`. The options of the first three are those of their classes, side by side.

    hidden, pooled: weights; 0 leaves a term out. teacher_sees: the "masked" text, as the student does, or the
    "original". Every weight and the temperature may follow a schedule, see `options.Schedule`.
    terms: any registered term, by its name, as its weight or as a table of the weight and its own options; what is not
    in this package is named by its class:

        --set recipe.terms.relation=0.5
        --set 'recipe.terms.mine={class = "my_module:Mine", weight = 2, width = 8}'
    """

    name: str = "custom"
    hidden: Weight = 0.0
    pooled: Weight = 0.0
    teacher_sees: Annotated[str, OneOf(("masked", "original"))] = "masked"
    terms: Table = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms:  # which need torch, and --help does without: they are looked at where a recipe is chosen
            _ = self.parts

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The terms, those whose weight is ever above 0."""
        words = self._options(VocabularyOptions)
        of_words = {"vocabulary": words} if words.has_hard or words.has_soft else {}
        if words.has_hard and words.has_soft and words.soft_positions == "all":
            # Of other positions: each has a count of its own.
            of_words = {"hard": replace(words, soft=0.0), "soft": replace(words, hard=0.0)}
        parts = [Part(name, "vocabulary", 1.0, options) for name, options in of_words.items()]
        parts.append(Part("hidden", "hidden", self.hidden, self._options(HiddenOptions)))
        parts.append(Part("pooled", "pooled", self.pooled, self._options(PooledOptions)))
        parts += map(self._part, self.terms)
        parts = [part for part in parts if max(values_of(part.weight)) > 0]
        require(bool(parts), "recipe: one of hard, soft, hidden, pooled must be > 0, or terms given")
        names = [part.name for part in parts]
        require(len(set(names)) == len(names), f"recipe.terms: two terms of one name among {', '.join(names)}")
        return tuple(parts)

    def _options(self, kind: type[_Options]) -> _Options:
        return kind(**{each.name: getattr(self, each.name) for each in fields(kind)})

    def _part(self, name: str) -> Part:
        given = self.terms[name]
        options: dict[str, object] = dict(given) if isinstance(given, Mapping) else {"weight": given}
        where, path = f"recipe.terms.{name}.", options.pop("class", "")
        require(name.isidentifier(), f"recipe.terms: the name of a term must be one word, got {shown(name)}")
        require(isinstance(path, str), f"{where}class must be text, got {shown(path)}")
        require(not path or ":" in str(path), f"{where}class {path!r} cannot be imported; write module:Class")
        kind = str(path) or name
        term = term_of(kind, f"{where}class" if path else "recipe.terms:")
        weight = from_mapping(_Weight, {"weight": options.pop("weight", 1.0)}, where=where).weight
        return Part(name, kind, weight, from_mapping(term.Options, options, where=where))

    @property
    def needs(self) -> Needs:
        """What all terms read together."""
        every = [part.options.needs for part in self.parts]
        student = dict.fromkeys(name for needs in every for name in needs.student)
        teacher = dict.fromkeys(name for needs in every for name in needs.teacher)
        tokens, masks = any(needs.tokens for needs in every), any(needs.masks for needs in every)
        pairs = dict.fromkeys(kind for needs in every for kind in needs.pairs)
        batch, family = max(needs.batch for needs in every), next((n.family for n in every if n.family), "")
        return Needs(tuple(student), tuple(teacher), tokens, masks, batch=batch, pairs=tuple(pairs), family=family)

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        """Raise InputError where it asks what a student and a teacher of these shapes, or a `cache`, cannot give."""
        without = f"recipe {self.name!r} needs a teacher; give one, or choose recipe mlm"
        require(shapes.teacher is not None or not self.needs.teacher, without)
        for part in self.parts:
            asked = part.options.asked_by(part.name)[-1]
            require(
                not shapes.others or not part.options.needs.teacher or part.kind in AVERAGED,
                f"{asked} follows one teacher, and {len(shapes.each)} are given; only soft targets and the vectors of "
                f"recipe.hidden and recipe.pooled are averaged over several: give one teacher, or set {asked}=0",
            )
            for one in shapes.each:
                part.options.check(part.name, one, cache)

    def check_mask_rate(self, rate: float) -> None:
        """Raise InputError where nothing is masked and a term is about masked tokens alone."""
        about = [part for part in self.parts if part.options.needs.masks]
        asked = " and ".join(option for part in about for option in part.options.asked_by(part.name))
        require(
            rate > 0 or not asked,
            f"mask.rate is 0, which leaves {asked} nothing to learn from; give mask.rate > 0, or set {asked} to 0",
        )

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        """What the teacher's states depend on, by option."""
        taught = [part for part in self.parts if part.options.needs.teacher]
        found: dict[str, object] = {
            "teacher's states": [f"{part.name}: {name}" for part in taught for name in part.options.needs.teacher],
            "recipe.teacher_sees": self.teacher_sees,
        }
        for part in taught:
            own = f"recipe.terms.{part.name}." if part.name in self.terms else "recipe."
            found |= {name.replace("recipe.", own): each for name, each in part.options.bound(cache, shapes).items()}
        return found


def term_of(kind: str, where: str = "recipe.terms:") -> type["Term"]:
    """The term known by this name, or the class at "module:Class". Raises InputError, naming `where`, for another."""
    from tinydistil.distill.terms import TERMS, Term  # needs torch

    module, colon, attribute = kind.partition(":")
    if not colon:
        if kind not in TERMS:
            raise InputError(f"{where} term {kind!r} is unknown{nearest(kind, TERMS)}, or give its class")
        return TERMS[kind]
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{where} {kind!r} cannot be imported ({error}); write module:Class") from None
    if not (isinstance(found, type) and issubclass(found, Term)):
        raise InputError(f"{where} {kind!r} is no Term")
    return found


def term_for(part: Part, shapes: Shapes) -> "Term":
    """The term of `part`, for one teacher or for several."""
    term = term_of(part.kind)
    if not shapes.others or not part.options.needs.teacher:
        return term(part.options, shapes)
    from tinydistil.distill.several import of_several  # needs torch

    return of_several(term, part.options, shapes)


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `recipe` with `changes`, those of its terms term by term: a number is the weight alone."""
    own, given = (
        {name: dict(each) if isinstance(each, Mapping) else {"weight": each} for name, each in terms.items()}
        for terms in (recipe.terms, table_of(changes.get("terms", {}), "recipe.terms"))
    )
    terms = {name: {**own.get(name, {}), **given.get(name, {})} for name in {**own, **given}}
    return {**{each.name: getattr(recipe, each.name) for each in fields(recipe)}, **changes, "terms": terms}


def check_divergence(divergence: str, temperature: object, *, sparse: bool = False) -> None:
    """Raise InputError for what `vocabulary_loss` does not know. A tensor's value is not looked at: it may be far."""
    require(not isinstance(temperature, int | float) or temperature > 0, f"temperature must be > 0, got {temperature}")
    OneOf(DIVERGENCES).check(divergence, "divergence")
    require(
        not sparse or divergence == "forward",
        f"recipe.divergence {divergence!r} needs the teacher's whole distribution, of which cache.words=top keeps a "
        "sample; choose cache.words=hidden, or the forward divergence",
    )


# A student that takes every second layer of its teacher.
HALF = "half"
OBJECTIVES = ("mlm", "causal", "replaced_tokens", "next_sentence", "sentence_order")  # of RECIPES
RECIPES = {
    "mlm": Recipe(name="mlm"),
    # Without a teacher, too: what else scripts/pretrain.py learns by, alone or beside others.
    **{name: Recipe(name=name, hard=0.0, terms={name: 1.0}) for name in OBJECTIVES[1:]},
    # The student keeps its vocabulary: words and sentences are what both have in common. Vectors weigh much, for the
    # reason given at "total": zero-shot Pearson on ASSIN 2's test set is 0.63 after 42,000 sentences, where weights of
    # 0.3 and 1 gave 0.41 after 20,000; components that are not whitened, pooled alone, give 0.56.
    "partial": Recipe(
        name="partial",
        teacher_sees="original",
        hidden=30.0,
        pooled=100.0,
        unit="word",
        projection="pca",
        centred=True,
        whitening=1.0,
    ),
    # Hidden states weigh much: they say something of every token, guesses of one in seven, and cosines have gradients a
    # hundredth of theirs. Held-out masked LM loss of 2 x 128 after 500 steps: hidden=1 7.21, 10 6.94 (rate 1e-3); 100
    # 6.52 (3e-3); without a teacher 7.19 (1e-3).
    "total": Recipe(name="total", soft=1.0, hidden=100.0, projection="student-to-teacher"),
    # Weights and temperature of the command that Sanh et al. 2019 published: --alpha_ce 5 --alpha_mlm 2 --alpha_cos 1.
    # Their soft targets are of all tokens, not the masked: soft_positions=all, at seven times the vocabulary products.
    "distilbert": Recipe(name="distilbert", hard=2.0, soft=5.0, hidden=1.0),
    # Hidden states and embeddings of every n-th layer and scores of attention, by squares (Jiao et al. 2020); their
    # second stage, on a task, is finetune.py's --teacher and --transfer.
    "tinybert": Recipe(
        name="tinybert",
        hard=0.0,
        teacher_sees="original",
        terms={"layers": {"weight": 1.0, "embeddings": True}, "attention": {"weight": 1.0, "distance": "mse"}},
    ),
    # The last layer's attention, and how alike its values are (Wang et al. 2020); of any heads, how alike queries, keys
    # and values are (Wang et al. 2021).
    "minilm": Recipe(
        name="minilm",
        hard=0.0,
        teacher_sees="original",
        terms={"attention": {"weight": 1.0, "layers": "top"}, "relations": {"heads": 0, "relations": ["value"]}},
    ),
    "minilmv2": Recipe(name="minilmv2", hard=0.0, teacher_sees="original", terms={"relations": 1.0}),
    # Vectors of sentences and phrases that the teacher has encoded once; `RUNS` has the rest. Those of their words
    # too (hidden=0.3, unit=word) are no help: Spearman on ASSIN 2's training pairs 0.690 for 0.716.
    "vectors": Recipe(name="vectors", hard=0.0, pooled=1.0, teacher_sees="original", projection="random", centred=True),
}
# The student's vectors are mapped up into the teacher's own space, and the map is kept with them: texts that the
# teacher has encoded are found by the student (LEAF, Vujanic & Rueckstiess 2025).
RECIPES["leaf"] = replace(
    RECIPES["vectors"], name="leaf", projection="student-to-teacher", centred=False, distance="mse"
)  # fmt: skip
RECIPES["contrast"] = replace(
    RECIPES["vectors"], name="contrast", pooled=0.0,
    terms={"contrast": {"weight": 1.0, "projection": "random", "centred": True}},
)  # fmt: skip
# What a recipe changes in the rest of a run, below what a user says.
_UNMASKED: dict[str, Any] = {"train": {"mask": {"rate": 0.0}}}
RUNS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("tinybert", "minilm", "minilmv2", "causal", "next_sentence", "sentence_order"), _UNMASKED),
    "distilbert": {"student": {"start": "layers", "model": HALF}},
    "vectors": {
        "teacher_cache": "inside",
        # In 4 a contrast of sequences moves by 2 %.
        "cache": {"vector_bits": 8},
        "student": {"embeddings": "encoded"},
        "train": {
            "batch_size": 64,
            "epochs": 3.0,
            # The teacher reads what is held out anew each time.
            "validate_every": 1000,
            "validation_sequences": 500,
            "save_every": 1000,
            # Shorter ones are scraps: a full stop, a name before a speech.
            "order": {"shortest": 5, "longest": 40, "window": 32},
            "mask": {"rate": 0.0, "epochs": 1},
            "optimizer": {"learning_rate": 2e-3},
            "schedule": {"shape": "cosine", "warmup_share": 0.05},
        },
        "prepare": {"pack": False, "phrases": 0.5, "max_length": 48},
    },
}
_VECTORS = RUNS["vectors"]
RUNS["leaf"] = _VECTORS
# Whose sequences are compared with all others of the batch: there should be many.
RUNS["contrast"] = {**_VECTORS, "train": {**_VECTORS["train"], "batch_size": 512}}
