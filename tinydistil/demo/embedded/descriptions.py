"""What things and people are like: ser and estar, comparisons."""

from functools import cache

from tinydistil.demo.embedded.clauses import row
from tinydistil.demo.embedded.draws import Draws
from tinydistil.demo.embedded.entries import Adjective, Noun, lexicon
from tinydistil.demo.embedded.lexicon.common import EXCLUSIVE, GRADABLE
from tinydistil.demo.embedded.morphology import agree
from tinydistil.demo.embedded.phrases import NounPhrase, attributes, draw_person, draw_phrase, phrase_text
from tinydistil.demo.embedded.statements import finish
from tinydistil.demo.embedded.verbs import conjugate

IRREGULAR_COMPARATIVES = {"bom": "melhor", "ruim": "pior", "grande": "maior", "pequeno": "menor", "mau": "pior"}


def copula(thing: NounPhrase, adjective: Adjective, tense: str) -> str:
    """Ser or estar and the adjective, agreeing: "estava cansada"."""
    verb = conjugate("estar" if adjective.passing else "ser")
    form = agree(adjective.lemma, thing.gender, thing.is_plural)
    return f"{row(verb, tense)[thing.person_index]} {form}"


@cache
def _described(topic: str) -> tuple[tuple[str, Noun], ...]:
    """(group, noun) of the topic's frames for which adjectives are known."""
    found: dict[Noun, None] = {}
    for frame in lexicon().frames[topic]:
        for slot in frame.complements:
            found.update((noun, None) for noun, _ in slot.nouns if attributes(noun) and noun.style != "bare")
        found.update((noun, None) for noun, _ in frame.subjects if attributes(noun))
    return tuple((noun.group, noun) for noun in found)


def description(draws: Draws, topic: str) -> str:
    """Something or somebody is so: "a sopa está quente", perhaps "mas barata"."""
    if draws.chance(0.3):
        thing = draw_person(draws)
    else:
        thing = draw_phrase(draws, draws.pick(_described(topic))[1], "d", leads=True)
    thing = thing._replace(adjective="")
    words = attributes(thing.noun)
    first, second = draws.pick(words), draws.pick(words)
    tense = draws.pick(("present", "present", "imperfect", "future"))
    verb = "não " if draws.chance(0.12) else ""
    degree = draws.pick(("", "", "muito ", "bastante ", "um pouco ", "cada vez mais "))
    if first.lemma not in GRADABLE:
        degree = ""
    be, _, form = copula(thing, first, tense).partition(" ")
    if verb or (degree in ("cada vez mais ", "um pouco ") and not first.passing):
        degree = ""
    text = f"{phrase_text(thing)} {verb}{be} {degree}{form}"
    clash = any({first.lemma, second.lemma} <= words_apart for words_apart in EXCLUSIVE)
    apart = clash or second.lemma == first.lemma or second.passing != first.passing
    if not apart and not degree and not verb and draws.chance(0.5):
        text += f" e {agree(second.lemma, thing.gender, thing.is_plural)}"
    return finish(text)


def comparison(draws: Draws, topic: str) -> str:
    """More, less, as much: the second thing is of the first one's group."""
    if draws.chance(0.4):
        first, second = draw_person(draws, pronouns=False), draw_person(draws, pronouns=False)
    else:
        group, noun = draws.pick(_described(topic))
        other = draws.pick(lexicon().groups[group])
        first = draw_phrase(draws, noun, "d", leads=True)._replace(adjective="")
        second = draw_phrase(draws, other, "d", leads=True)._replace(adjective="")
    lasting = [word for word in attributes(first.noun) if not word.passing and word.lemma in GRADABLE]
    # Only like is compared with like: a chair is never "mais paciente do que" a pupil.
    if not lasting or first.noun.concept == second.noun.concept or first.noun.group != second.noun.group:
        return description(draws, topic)
    adjective = draws.pick(lasting)
    form = agree(adjective.lemma, first.gender, first.is_plural)
    verb = row(conjugate("ser"), draws.pick(("present", "present", "imperfect")))[first.person_index]
    kind = draws.below(4)
    if kind < 2 and adjective.lemma in IRREGULAR_COMPARATIVES:
        form = agree(IRREGULAR_COMPARATIVES[adjective.lemma], first.gender, first.is_plural)
        return finish(f"{phrase_text(first)} {verb} {form} do que {phrase_text(second)}")
    degree, link = (("mais", "do que"), ("mais", "do que"), ("menos", "do que"), ("tão", "quanto"))[kind]
    return finish(f"{phrase_text(first)} {verb} {degree} {form} {link} {phrase_text(second)}")
