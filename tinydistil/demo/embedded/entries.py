"""The lexicon's records, and how its compact lists are read into them."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

from tinydistil.base.errors import require
from tinydistil.demo.embedded.morphology import feminine, plural
from tinydistil.demo.embedded.verbs import Verb, conjugate

TOPICS = (
    "home", "kitchen", "school", "football", "health", "travel", "news", "arts", "work", "nature",
)  # fmt: skip
PEOPLE = "P"
STYLES = frozenset("count own mass place unique bare person kin name city".split())
DETERMINERS = frozenset("duibpqk")


# Words are made once and compared by identity: hashing nine fields for every phrase would double its cost.
@dataclass(frozen=True, slots=True, eq=False)
class Noun:
    """A noun with both numbers. `style` says which determiners suit it, `concept` which words mean the same."""

    singular: str
    plural: str
    gender: str
    group: str
    style: str
    concept: str
    plural_only: bool = False
    person: int = 3
    article: bool = False


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective in the masculine singular; `passing` ones go with estar (cansado), the others with ser (alto)."""

    lemma: str
    passing: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """What may stand in one place of a frame: nouns after a preposition, or fixed words."""

    preposition: str
    nouns: tuple[tuple[Noun, str], ...]
    words: str
    passive: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One thing that can happen: a verb, who does it, to what, and where or how."""

    verb: Verb
    concept: str
    rest: str
    reflexive: bool
    state: bool
    people: bool
    subjects: tuple[tuple[Noun, str], ...]
    complements: tuple[Slot, ...]
    circumstances: tuple[Slot, ...]
    topic: str

    @property
    def impersonal(self) -> bool:
        """True for verbs without a subject: chover, haver."""
        return not self.people and not self.subjects


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All words of all topics."""

    groups: dict[str, tuple[Noun, ...]]
    adjectives: dict[str, tuple[Adjective, ...]]
    frames: dict[str, tuple[Frame, ...]]
    synonyms: dict[str, tuple[str, ...]]
    nouns_of: dict[str, tuple[Noun, ...]]  # concept -> nouns
    wider: dict[str, tuple[Noun, ...]]  # concept -> hypernyms


class _Reader:
    def __init__(self) -> None:
        self.nouns: dict[tuple[str, str, str], Noun] = {}
        self.groups: dict[str, list[Noun]] = {}
        self.adjectives: dict[str, list[Adjective]] = {}
        self.concepts: dict[str, str] = {}
        self.synonyms: dict[str, tuple[str, ...]] = {}

    def read_synonyms(self, text: str) -> None:
        for line in text.split("\n"):
            words = tuple(word.replace("_", " ") for word in line.split())
            for word in words:
                self.concepts[word] = words[0]
                self.synonyms[word] = words

    def read_nouns(self, text: str) -> None:
        for line in text.strip().splitlines():
            head, _, words = line.partition(": ")
            group, _, style = head.partition("(")
            style = style.rstrip(")") or "count"
            require(style in STYLES, f"lexicon: group {group!r} has unknown style {style!r}")
            for word in words.split():
                self._add_noun(group, style, word)

    def _add_noun(self, group: str, style: str, word: str) -> None:
        lemma, _, mark = word.partition("/")
        gender, lemma = mark.rstrip("+*"), lemma.replace("_", " ")
        require(gender in ("m", "f", "mf", "c"), f"lexicon: {word!r} in group {group!r} needs a gender")
        pairs = {"m": ("m",), "f": ("f",), "mf": ("m", "f"), "c": ("m", "f")}[gender]
        for each in pairs:
            form = feminine(lemma) if gender == "mf" and each == "f" else lemma
            concept = self.concepts.get(lemma, lemma) if gender in ("mf", "c") else self.concepts.get(form, form)
            noun = self.nouns.get((form, each, group))
            if noun is None:
                one_number = "+" in mark or style in ("name", "city")
                noun = Noun(
                    form, form if one_number else plural(form), each, group, style, concept,
                    plural_only="+" in mark, article="*" in mark,
                )  # fmt: skip
                self.nouns[form, each, group] = noun
            self.groups.setdefault(group, []).append(noun)

    def read_adjectives(self, text: str) -> None:
        for line in text.strip().splitlines():
            group, _, words = line.partition(": ")
            require(group in self.groups, f"lexicon: adjectives for unknown group {group!r}")
            found = [Adjective(word.rstrip("@").replace("_", " "), word.endswith("@")) for word in words.split()]
            self.adjectives.setdefault(group, []).extend(found)

    def choices(self, groups: str) -> tuple[tuple[Noun, str], ...]:
        """(noun, determiner code) for every noun of the groups named."""
        found: list[tuple[Noun, str]] = []
        for name in groups.split():
            group, _, code = name.partition(".")
            require(group in self.groups, f"lexicon: unknown group {group!r}")
            require(not code or code in DETERMINERS, f"lexicon: unknown determiner code in {name!r}")
            found += [(noun, code) for noun in self.groups[group]]
        return tuple(found)

    def slot(self, text: str) -> Slot:
        text = text.strip()
        if text.startswith("!"):
            return Slot("", (), text[1:], False)
        passive = text.startswith("*")
        first, _, rest = text.lstrip("*").partition(" ")
        if first.split(".")[0] in self.groups:
            return Slot("", self.choices(text.lstrip("*")), "", passive)
        return Slot(first.replace("_", " "), self.choices(rest), "", passive)

    def frame(self, line: str, topic: str) -> Frame:
        parts = [part.strip() for part in line.split("|")]
        require(len(parts) == 4, f"lexicon: frame {line!r} needs four fields")
        verb, subjects, complements, circumstances = parts
        state, verb = verb.endswith("~"), verb.rstrip("~")
        head, _, rest = verb.partition("_")
        reflexive, rest = head.endswith("-se"), rest.replace("_", " ")
        head = head.removesuffix("-se")
        groups = subjects.split()
        return Frame(
            verb=conjugate(head),
            concept=f"{self.concepts.get(head, head)} {rest}".strip(),
            rest=rest,
            reflexive=reflexive,
            state=state,
            people=PEOPLE in groups,
            subjects=self.choices(" ".join(group for group in groups if group != PEOPLE)),
            complements=tuple(self.slot(part) for part in complements.split(";") if part.strip()),
            circumstances=tuple(self.slot(part) for part in circumstances.split(";") if part.strip()),
            topic=topic,
        )


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The whole lexicon, read on first use (about 0.2 s)."""
    reader = _Reader()
    modules = [import_module(f"tinydistil.demo.embedded.lexicon.{name}") for name in ("common", *TOPICS)]
    # Synonyms first: a noun gets its concept when it is made.
    for module in modules:
        reader.read_synonyms(module.SYNONYMS)
    for module in modules:
        reader.read_nouns(module.NOUNS)
    for module in modules:
        reader.read_adjectives(module.ADJECTIVES)
    frames = {
        module.__name__.rpartition(".")[2]: tuple(
            reader.frame(line, module.__name__.rpartition(".")[2]) for line in module.FRAMES.strip().splitlines()
        )
        for module in modules[1:]
    }
    nouns_of: dict[str, list[Noun]] = {}
    for noun in reader.nouns.values():
        nouns_of.setdefault(noun.concept, []).append(noun)
    wider: dict[str, tuple[Noun, ...]] = {}
    for module in modules:
        for line in module.HYPERNYMS.strip().splitlines():
            top, _, words = line.partition(": ")
            top = top.replace("_", " ")
            require(top in nouns_of, f"lexicon: hypernym {top!r} is no noun")
            for word in words.split():
                word = word.replace("_", " ")
                concept = reader.concepts.get(word, word)
                require(concept in nouns_of, f"lexicon: {word!r} under {top!r} is no noun")
                wider[concept] = (*wider.get(concept, ()), *nouns_of[top])
    return Lexicon(
        groups={name: tuple(nouns) for name, nouns in reader.groups.items()},
        adjectives={name: tuple(words) for name, words in reader.adjectives.items()},
        frames=frames,
        synonyms=reader.synonyms,
        nouns_of={concept: tuple(nouns) for concept, nouns in nouns_of.items()},
        wider=wider,
    )
