"""Two clauses in one sentence: relative, subordinate, reported, wished for, side by side."""

from tinydistil.demo.embedded.clauses import (
    can_negate,
    clause_text,
    draw_time,
    finite,
    infinitive,
    passive_part,
    person_index,
    row,
    subject_text,
    tail,
)
from tinydistil.demo.embedded.descriptions import copula
from tinydistil.demo.embedded.draws import Draws
from tinydistil.demo.embedded.lexicon.common import HARMS
from tinydistil.demo.embedded.phrases import attributes, draw_person, phrase_text
from tinydistil.demo.embedded.statements import draw_of, finish, simple
from tinydistil.demo.embedded.verbs import conjugate

REPORTERS = ("dizer", "contar", "achar", "saber", "lembrar", "explicar", "acreditar", "garantir")
FEARS = ("talvez", "pode ser que", "é possível que", "tenho medo de que")
WISHES = ("espero que", "talvez", "é bom que", "é importante que", "tomara que", "duvido que", "pode ser que")
REASONS = (
    ("ter", "tempo"), ("ter", "vontade"), ("querer", "ajudar"), ("estar", "com pressa"), ("estar", "de folga"),
    ("precisar", "disso"), ("querer", "aprender"), ("ter", "prometido"), ("estar", "de bom humor"),
    ("estar", "com saudade"),
    ("ter", "dinheiro"), ("gostar", "disso"),
)  # fmt: skip


def object_relative(draws: Draws, topic: str) -> str:
    """A clause about an object that somebody did something to: "o bolo que a avó fez estava macio"."""
    clause = draw_of(draws, topic, "passive", tense="preterite", most_circumstances=0)
    part = passive_part(clause)
    if part is None or part.phrase is None or part.phrase.noun.style in ("kin", "name", "bare"):
        return simple(draws, topic)
    words = attributes(part.phrase.noun)
    if not words or len(clause.complements) > 1:
        return simple(draws, topic)
    adjective = draws.pick(words)
    thing = part.phrase._replace(determiner="o", adjective="")
    if thing.plural != part.phrase.plural:
        return simple(draws, topic)
    tense = draws.pick(("present", "imperfect"))
    verb = finite(clause.frame, "preterite", person_index(clause.subject))
    relative = f"{phrase_text(thing)} que {subject_text(clause)}{verb}"
    return finish(f"{relative} {copula(thing, adjective, tense)}")


def subject_relative(draws: Draws, topic: str) -> str:
    """A person told apart by another clause: "a moça que mora em Natal perdeu o ônibus"."""
    first = draw_of(draws, topic, "people", tense=draws.pick(("present", "preterite")), most_circumstances=1)
    second = draw_of(draws, topic, "people", tense="preterite", subject=first.subject, beside=first)
    subject = first.subject
    assert subject is not None
    if subject.noun.person == 1 or subject.noun.singular in ("ele", "ela", "eles", "elas", "a gente"):
        return simple(draws, topic)
    # A name needs no telling apart, so its relative clause stands between commas.
    comma = "," if subject.noun.style in ("name", "kin") else ""
    relative = finite(first.frame, first.tense, subject.person_index) + tail(first)
    main = finite(second.frame, "preterite", subject.person_index) + tail(second)
    return finish(f"{phrase_text(subject)}{comma} que {relative}{comma} {main}")


def subordinate(draws: Draws, topic: str) -> str:
    """When, while, before, after, if, because."""
    kind = draws.below(6)
    if kind == 0:
        first = draw_of(draws, topic, "people", tense="preterite", pronouns=False, most_circumstances=1)
        second = draw_of(draws, topic, "people", tense="imperfect", pronouns=False, most_circumstances=1, beside=first)
        return finish(f"enquanto {clause_text(second)}, {clause_text(first)}")
    if kind == 1:
        first = draw_of(draws, topic, "people", tense="preterite", most_circumstances=1)
        second = draw_of(draws, topic, "people", tense="preterite", most_circumstances=0, beside=first)
        return finish(f"quando {clause_text(second)}, {clause_text(first)}")
    if kind < 4:
        first = draw_of(draws, topic, "people", tense="preterite", most_circumstances=1)
        second = draw_of(draws, topic, "people", subject=first.subject, most_circumstances=0, beside=first)
        index = person_index(first.subject)
        link = draws.pick(("depois de", "antes de", "em vez de", "além de"))
        return finish(f"{link} {infinitive(second.frame, index)}{tail(second)}, {clause_text(first)}")
    if kind == 4:
        first = draw_of(draws, topic, "people", tense="future", most_circumstances=1)
        second = draw_of(draws, topic, "people", tense="future", most_circumstances=0, beside=first)
        link = draws.pick(("se", "quando"))
        return finish(f"{link} {clause_text(second, 'future_subjunctive')}, {clause_text(first)}")
    first = draw_of(draws, topic, "people", tense="preterite", most_circumstances=1)
    verb, rest = draws.pick(REASONS)
    reason = f"{row(conjugate(verb), 'imperfect')[person_index(first.subject)]} {rest}"
    if draws.chance(0.3):
        return finish(f"como {reason}, {clause_text(first)}")
    return finish(f"{clause_text(first)} porque {reason}")


def subjunctive(draws: Draws, topic: str) -> str:
    """Talvez, espero que ... with the present subjunctive."""
    clause = draw_of(draws, topic, "event", tense="future", most_circumstances=1)
    text = clause_text(clause._replace(negated=draws.chance(0.15) and can_negate(clause)), "subjunctive")
    time = f" {draw_time(draws, 'future')}" if not clause.circumstances else ""
    wish = draws.pick(FEARS if clause.frame.verb.infinitive in HARMS else WISHES)
    mine = clause.subject is not None and clause.subject.noun.singular == "eu"
    if mine and wish in ("espero que", "duvido que", "tenho medo de que"):
        wish = "talvez"
    return finish(f"{wish} {text}{time}")


def reported(draws: Draws, topic: str) -> str:
    """Somebody says that something happened."""
    speaker = draw_person(draws)
    clause = draw_of(draws, topic, "any")
    # What was future when it was said: "disse que viria".
    if clause.tense == "future":
        clause = clause._replace(tense="conditional")
    verb = row(conjugate(draws.pick(REPORTERS)), "preterite")[speaker.person_index]
    if clause.subject is not None and clause.subject.noun is speaker.noun:
        return simple(draws, topic)
    return finish(f"{phrase_text(speaker)} {verb} que {clause_text(clause)}")


def coordination(draws: Draws, topic: str) -> str:
    """Two events one after the other, or against each other."""
    tense = draws.pick(("preterite", "preterite", "future", "present"))
    first = draw_of(draws, topic, "people", tense=tense, most_circumstances=1)
    if draws.chance(0.6):
        second = draw_of(draws, topic, "people", tense=tense, subject=first.subject, most_circumstances=1, beside=first)
        verb = finite(second.frame, tense, person_index(second.subject))
        return finish(f"{clause_text(first)} e {draws.pick(('', 'depois ', 'em seguida '))}{verb}{tail(second)}")
    second = draw_of(draws, topic, "people", tense=tense, pronouns=False, most_circumstances=0, beside=first)
    if draws.chance(0.5) and can_negate(second):
        return finish(f"{clause_text(first)}, mas {clause_text(second._replace(negated=True))}")
    return finish(f"{clause_text(first)}, e {clause_text(second)}")
