"""Noun phrases: determiners that agree, adjectives in their place, prepositions that melt into articles."""

from functools import cache, lru_cache
from typing import NamedTuple

from tinydistil.demo.embedded.draws import Draws
from tinydistil.demo.embedded.entries import Adjective, Noun, lexicon
from tinydistil.demo.embedded.morphology import agree

# Masculine and feminine singular, masculine and feminine plural; "" where a determiner lacks the number.
DETERMINER_FORMS = {
    "": ("", "", "", ""),
    "o": ("o", "a", "os", "as"),
    "um": ("um", "uma", "uns", "umas"),
    "este": ("este", "esta", "estes", "estas"),
    "esse": ("esse", "essa", "esses", "essas"),
    "aquele": ("aquele", "aquela", "aqueles", "aquelas"),
    "meu": ("meu", "minha", "meus", "minhas"),
    "seu": ("seu", "sua", "seus", "suas"),
    "nosso": ("nosso", "nossa", "nossos", "nossas"),
    "algum": ("algum", "alguma", "alguns", "algumas"),
    "nenhum": ("nenhum", "nenhuma", "", ""),
    "mais de um": ("mais de um", "mais de uma", "", ""),
    "outro": ("outro", "outra", "outros", "outras"),
    "cada": ("cada", "cada", "", ""),
    "vários": ("", "", "vários", "várias"),
    "muitos": ("", "", "muitos", "muitas"),
    "poucos": ("", "", "poucos", "poucas"),
    "todos": ("", "", "todos os", "todas as"),
    "dois": ("", "", "dois", "duas"),
    "três": ("", "", "três", "três"),
    "quatro": ("", "", "quatro", "quatro"),
    "cinco": ("", "", "cinco", "cinco"),
    "seis": ("", "", "seis", "seis"),
    "sete": ("", "", "sete", "sete"),
    "oito": ("", "", "oito", "oito"),
    "dez": ("", "", "dez", "dez"),
    "doze": ("", "", "doze", "doze"),
    "vinte": ("", "", "vinte", "vinte"),
    "vinte e um": ("", "", "vinte e um", "vinte e uma"),
    "trinta e dois": ("", "", "trinta e dois", "trinta e duas"),
}
NUMERALS = (
    "dois", "três", "quatro", "cinco", "seis", "dois", "três", "dez", "sete", "oito", "doze", "vinte", "vinte e um",
    "trinta e dois",
)  # fmt: skip
SMALL_NUMERALS = ("dois", "três", "quatro", "cinco", "seis")
QUANTITIES = (*SMALL_NUMERALS, *SMALL_NUMERALS, "sete", "oito", "vários", "muitos", "alguns", "poucos", "dez")

_ARTICLES = {"o": 0, "a": 1, "os": 2, "as": 3}
_MELTED = {
    "de": ("do", "da", "dos", "das"),
    "em": ("no", "na", "nos", "nas"),
    "a": ("ao", "à", "aos", "às"),
    "por": ("pelo", "pela", "pelos", "pelas"),
}
_OWNED_BY_PRONOUN = {"eu": "meu", "nós": "nosso", "a gente": "nosso"}

ALWAYS_BEFORE = frozenset(("bom", "mau", "ótimo", "belo"))
OFTEN_BEFORE = frozenset(("novo", "pequeno", "lindo", "velho", "antigo", "grande", "famoso", "longo"))


class NounPhrase(NamedTuple):
    """A noun with everything that agrees with it. `second` joins another name by "e", `owner` follows "de"."""

    noun: Noun
    plural: bool
    determiner: str
    adjective: str = ""
    second: Noun | None = None
    owner: Noun | None = None

    @property
    def is_plural(self) -> bool:
        """The number the verb agrees with."""
        return self.plural or self.second is not None

    @property
    def gender(self) -> str:
        """The gender that adjectives and participles agree with: "f" only if all are feminine."""
        return "m" if self.second is not None and self.second.gender == "m" else self.noun.gender

    @property
    def person_index(self) -> int:
        """The column of the conjugation: eu 0, ele 1, nós 2, eles 3."""
        if self.noun.person == 1:
            return 2 if self.plural else 0
        return 3 if self.is_plural else 1


def determiner_form(determiner: str, gender: str, is_plural: bool) -> str:
    """The form of a determiner (given as its masculine) beside a noun."""
    if determiner == "alguns":
        determiner = "algum"
    return DETERMINER_FORMS[determiner][(gender == "f") + 2 * is_plural]


# Bounded, so that a long run does not keep every phrase it ever made.
@lru_cache(maxsize=50_000)
def phrase_text(phrase: NounPhrase) -> str:
    """The words of a noun phrase: "os nossos dois gatos pretos" without a preposition."""
    noun = phrase.noun
    form = noun.plural if phrase.plural else noun.singular
    determiner = determiner_form("o" if noun.article else phrase.determiner, noun.gender, phrase.plural)
    words = [determiner] if determiner else []
    if phrase.adjective:
        adjective = agree(phrase.adjective, noun.gender, phrase.plural)
        before = phrase.adjective in ALWAYS_BEFORE
        words += [adjective, form] if before else [form, adjective]
    else:
        words.append(form)
    if phrase.second is not None:
        words += ["e", phrase.second.singular]
    if phrase.owner is not None:
        words.append(after("de", phrase.owner.singular))
    return " ".join(words)


@lru_cache(maxsize=50_000)
def after(preposition: str, text: str) -> str:
    """`text` behind a preposition, melted with its first word where Portuguese does so: em + a sala = na sala.

    Only the last word of a preposition such as "em cima de" melts. Raises nothing: what does not melt stays.
    """
    before, _, last = preposition.rpartition(" ")
    first, space, rest = text.partition(" ")
    melted = f"{last} {first}"
    if last in _MELTED and first in _ARTICLES:
        melted = _MELTED[last][_ARTICLES[first]]
    elif last in ("de", "em") and first.startswith(("este", "esta", "esse", "essa", "aquel", "ele", "ela")):
        if first.rstrip("s") in ("este", "esta", "esse", "essa", "aquele", "aquela", "ele", "ela"):
            melted = ("d" if last == "de" else "n") + first
    elif last == "a" and first.rstrip("s") in ("aquele", "aquela"):
        melted = "à" + first[1:]
    elif last == "com" and first == "nós":
        melted = "conosco"
    elif last == "com" and first == "eu":
        melted = "comigo"
    return f"{before} {melted}{space}{rest}".lstrip()


@cache
def attributes(noun: Noun) -> tuple[Adjective, ...]:
    """The adjectives that suit a noun: its group's, or those of the first group of its style that holds it."""
    words = lexicon()
    if noun.group in words.adjectives:
        return words.adjectives[noun.group]
    for group, adjectives in words.adjectives.items():
        wanted = noun.singular, noun.gender, noun.style
        if any((other.singular, other.gender, other.style) == wanted for other in words.groups[group]):
            return adjectives
    return ()


@cache
def lasting(noun: Noun) -> tuple[str, ...]:
    """The adjectives that can stand beside the noun in a phrase: those that go with ser."""
    return tuple(
        adjective.lemma
        for adjective in attributes(noun)
        # No "jovem jovem", no "centro histórico histórico".
        if not adjective.passing and agree(adjective.lemma, noun.gender, False) not in noun.singular.split(" ")
    )


def _pronoun(text: str, gender: str, person: int, *, plural: bool = False) -> NounPhrase:
    noun = Noun(text, text, gender, "nome", "name", text, person=person)
    return NounPhrase(noun, plural, "")


PRONOUNS = (
    _pronoun("eu", "m", 1), _pronoun("eu", "f", 1), _pronoun("eu", "m", 1), _pronoun("eu", "f", 1),
    _pronoun("nós", "m", 1, plural=True), _pronoun("nós", "m", 1, plural=True), _pronoun("ele", "m", 3),
    _pronoun("ela", "f", 3), _pronoun("eles", "m", 3, plural=True), _pronoun("elas", "f", 3, plural=True),
    _pronoun("a gente", "m", 3),
)  # fmt: skip
YOU = (_pronoun("você", "m", 3), _pronoun("você", "f", 3), _pronoun("vocês", "m", 3, plural=True))
HE, SHE = _pronoun("ele", "m", 3), _pronoun("ela", "f", 3)
THEY = {"m": _pronoun("eles", "m", 3, plural=True), "f": _pronoun("elas", "f", 3, plural=True)}


def owned_by(subject: NounPhrase | None) -> str:
    """The possessive for what belongs to the subject."""
    return "seu" if subject is None else _OWNED_BY_PRONOUN.get(subject.noun.singular, "seu")


def draw_person(draws: Draws, *, pronouns: bool = True) -> NounPhrase:
    """Somebody: a name, two names, a relative, or a pronoun."""
    kind = draws.below(100)
    groups = lexicon().groups
    if kind < 50 or (kind >= 78 and not pronouns):
        return NounPhrase(draws.pick(groups["nome"]), False, "")
    if kind < 57:
        first, second = draws.pick(groups["nome"]), draws.pick(groups["nome"])
        return NounPhrase(first, False, "", second=None if first is second else second)
    if kind < 78:
        return draw_kin(draws, draws.pick(groups["parente"]))
    return draws.pick(PRONOUNS)


def draw_kin(draws: Draws, noun: Noun, owner: str = "") -> NounPhrase:
    """A relative: meu pai, nossa avó, os tios de Ana; `owner` fixes the possessive."""
    many = draws.chance(0.12) and noun.singular not in ("pai", "mãe", "sogro", "sogra", "marido", "mulher", "esposa")
    if owner:
        return NounPhrase(noun, many, owner)
    kind = draws.below(10)
    if kind < 6:
        return NounPhrase(noun, many, "meu")
    if kind < 7 and noun.singular not in ("marido", "mulher", "esposa"):
        return NounPhrase(noun, many, "nosso")
    possessor = draws.pick(lexicon().groups["nome"])
    # A husband is a woman's, a wife a man's, in this small world of forms.
    if noun.singular in ("marido", "mulher", "esposa") and possessor.gender == noun.gender:
        return NounPhrase(noun, many, "meu")
    return NounPhrase(noun, many, "o", owner=possessor)


# Determiners and numbers by code; a repeated entry is likelier.
_BY_CODE = {
    "d": (("o", False), ("o", False), ("o", True)),
    "u": (("o", False),),
    "i": (("um", False),),
    "b": (("", False),),
    "p": (("", True),),
}
_COUNT = (("o", False),) * 7 + (("um", False),) * 6 + (("o", True),) * 3 + (("aquele", False), ("este", False))
_PERSON = (("o", False),) * 10 + (("o", True),) * 5 + (("um", False),) * 2 + (("aquele", False), ("todos", True))


def draw_phrase(
    draws: Draws, noun: Noun, code: str, subject: NounPhrase | None = None, *, leads: bool = False
) -> NounPhrase:
    """A phrase around `noun`; `code` asks for a determiner, else its style decides. `leads`: it is a subject."""
    style = noun.style
    if style in ("name", "city", "bare"):
        return NounPhrase(noun, noun.plural_only, "")
    if style == "kin":
        return draw_kin(draws, noun, "" if leads else owned_by(subject))
    if style in ("unique", "place"):
        adjective = _adjective(draws, noun, 0.12) if style == "place" else ""
        return NounPhrase(noun, noun.plural_only, "o", adjective)
    if style == "mass":
        bare = not leads and (code not in ("d", "u")) and (code == "b" or draws.chance(0.6))
        return NounPhrase(noun, noun.plural_only, "" if bare else "o", _adjective(draws, noun, 0.1))
    # Quantities stand without adjectives: "três longos belos livros" tires the reader.
    if code in ("q", "k"):
        return NounPhrase(noun, True, draws.pick(QUANTITIES if code == "q" else SMALL_NUMERALS))
    if noun.plural_only:
        return NounPhrase(noun, True, "" if code in ("b", "p") else "o")
    if style == "own" and code in ("", "d", "u") and not leads and draws.chance(0.35):
        return NounPhrase(noun, code == "" and draws.chance(0.15), owned_by(subject), _adjective(draws, noun, 0.2))
    if code:
        determiner, many = draws.pick(_BY_CODE[code])
        if code == "b":
            return NounPhrase(noun, many, determiner)
    elif draws.chance(0.15):
        determiner, many = draws.pick(QUANTITIES), True
    else:
        determiner, many = draws.pick(_PERSON if style == "person" else _COUNT)
    return NounPhrase(noun, many, determiner, _adjective(draws, noun, 0.22))


def _adjective(draws: Draws, noun: Noun, probability: float) -> str:
    words = lasting(noun)
    return draws.pick(words) if words and draws.chance(probability) else ""
