"""Sentences: a clause told as a statement, a question, a wish, a comparison, with clauses inside or beside it."""

from collections.abc import Callable, Iterator
from functools import cache

from tinydistil.text.embedded.clauses import (
    Clause,
    can_negate,
    clause_text,
    draw_clause,
    draw_time,
    finite,
    gerund,
    infinitive,
    passive_part,
    passive_text,
    person_index,
    row,
    says_when,
    subject_text,
    tail,
)
from tinydistil.text.embedded.draws import Draws, require_position
from tinydistil.text.embedded.entries import TOPICS, Adjective, Frame, Noun, lexicon
from tinydistil.text.embedded.morphology import agree
from tinydistil.text.embedded.phrases import (
    YOU,
    NounPhrase,
    attributes,
    draw_person,
    draw_phrase,
    phrase_text,
)
from tinydistil.text.embedded.verbs import conjugate

MODALS = ("poder", "querer", "precisar", "dever", "conseguir", "tentar", "costumar")
REPORTERS = ("dizer", "contar", "achar", "saber", "lembrar", "explicar", "acreditar", "garantir")
WISHES = ("espero que", "talvez", "é bom que", "é importante que", "tomara que", "duvido que", "pode ser que")
FILLERS = ("na verdade", "pelo jeito", "por sorte", "infelizmente", "felizmente", "de repente", "no fim", "afinal")
IRREGULAR_COMPARATIVES = {"bom": "melhor", "ruim": "pior", "grande": "maior", "pequeno": "menor", "mau": "pior"}
REASONS = (
    ("ter", "tempo"), ("ter", "vontade"), ("querer", "ajudar"), ("estar", "com pressa"), ("estar", "de folga"),
    ("precisar", "disso"), ("querer", "aprender"), ("ter", "prometido"), ("estar", "de bom humor"), ("estar", "com saudade"),
    ("ter", "dinheiro"), ("gostar", "disso"), ("ter", "medo de se arrepender"), ("querer", "mudar de vida"),
)  # fmt: skip


def finish(text: str, mark: str = ".") -> str:
    """A sentence: first letter upper case, a mark at the end."""
    return text[0].upper() + text[1:] + mark


def statement(clause: Clause, *, front: bool = False) -> str:
    """The clause with its time at the end, or in front behind a comma."""
    text = clause_text(clause)
    if not clause.time:
        return text
    return f"{clause.time}, {text}" if front else f"{text} {clause.time}"


def _any(draws: Draws, topic: str, **options: object) -> Clause:
    """A clause of the topic; `options` go to draw_clause."""
    while True:
        clause = draw_clause(draws, draws.pick(lexicon().frames[topic]), **options)  # type: ignore[arg-type]
        if clause is not None:
            return clause


@cache
def _frames(topic: str, kind: str) -> tuple[Frame, ...]:
    """Frames of the topic by what a pattern needs: somebody acting, an object to make passive, no state."""
    frames = lexicon().frames[topic]
    if kind == "people":
        return tuple(frame for frame in frames if frame.people and not frame.state)
    if kind == "passive":
        return tuple(f for f in frames if f.complements and f.complements[0].passive and not f.state)
    return tuple(frame for frame in frames if not frame.state and not frame.impersonal)


def draw_of(
    draws: Draws,
    topic: str,
    kind: str,
    *,
    tense: str = "",
    subject: NounPhrase | None = None,
    pronouns: bool = True,
    most_circumstances: int = 2,
    beside: Clause | None = None,
) -> Clause:
    """A clause of the topic whose frame is of `kind` ("people", "passive", "event"), of another verb than `beside`."""
    while True:
        frame = draws.pick(_frames(topic, kind))
        if beside is not None and frame.verb is beside.frame.verb:
            continue
        clause = draw_clause(
            draws, frame, tense=tense, subject=subject, pronouns=pronouns, most_circumstances=most_circumstances
        )
        if clause is not None:
            return clause


def simple(draws: Draws, topic: str) -> str:
    """A statement, perhaps negated, with a time."""
    clause = draw_clause(draws, draws.pick(lexicon().frames[topic]))
    if clause is None:
        return simple(draws, topic)
    subject = clause.subject
    negated = draws.chance(0.13) and can_negate(clause)
    ends_open = bool(clause.circumstances) and clause.circumstances[-1].phrase is None
    timed = draws.chance(0.25 if ends_open else 0.5) and not says_when(clause)
    time = draw_time(draws, clause.tense) if timed and not clause.frame.state else ""
    clause = clause._replace(negated=negated, time=time)
    if subject is not None and subject.noun.person == 1 and not clause.frame.reflexive and draws.chance(0.5):
        # The ending tells the person: "comprei", not "eu comprei".
        verb = finite(clause.frame, clause.tense, subject.person_index, negated=negated) + tail(clause)
        return finish(f"{time}, {verb}" if time and draws.chance(0.5) else f"{verb} {time}".rstrip())
    return finish(statement(clause, front=ends_open or draws.chance(0.35)))


def progressive(draws: Draws, topic: str) -> str:
    """Estar with a gerund."""
    clause = draw_of(draws, topic, "event", tense="present", most_circumstances=1)
    tense = draws.pick(("present", "imperfect", "preterite"))
    index = person_index(clause.subject)
    head = {"present": "neste momento, ", "imperfect": "naquela hora, ", "preterite": ""}[tense]
    if tense == "preterite":
        verb = f"{row(conjugate('ficar'), tense)[index]} {gerund(clause.frame, index)}"
        return finish(f"{subject_text(clause)}{verb}{tail(clause)}")
    verb = f"{row(conjugate('estar'), tense)[index]} {gerund(clause.frame, index)}"
    return finish(f"{head if draws.chance(0.5) else ''}{subject_text(clause)}{verb}{tail(clause)}")


def modal(draws: Draws, topic: str) -> str:
    """Poder, querer, ir, começar a ... with an infinitive."""
    clause = draw_of(draws, topic, "people")
    index = person_index(clause.subject)
    kind = draws.below(10)
    negation = "não " if draws.chance(0.15) and can_negate(clause) else ""
    if kind < 3:
        verb = row(conjugate("ir"), "present")[index]
        time = "" if says_when(clause) else draw_time(draws, "future")
    elif kind < 5:
        starter = draws.pick((("começar", "a"), ("voltar", "a"), ("acabar", "de"), ("deixar", "de"), ("parar", "de")))
        verb, time, negation = f"{row(conjugate(starter[0]), 'preterite')[index]} {starter[1]}", "", ""
    else:
        tense = draws.pick(("present", "imperfect"))
        verb, time = row(conjugate(draws.pick(MODALS)), tense)[index], ""
    return finish(f"{subject_text(clause)}{negation}{verb} {infinitive(clause.frame, index)}{tail(clause)} {time}".rstrip())


def passive(draws: Draws, topic: str) -> str:
    """The object first: "os muros foram pintados por Ana"."""
    clause = draw_of(draws, topic, "passive", tense=draws.pick(("preterite", "preterite", "future")), pronouns=False)
    part = passive_part(clause)
    if part is None or part.phrase is None or part.phrase.determiner in ("", "meu", "seu", "nosso"):
        return simple(draws, topic)
    return finish(passive_text(clause))


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
    return finish(f"{relative} {_copula(thing, adjective, tense)}")


def subject_relative(draws: Draws, topic: str) -> str:
    """A person told apart by another clause: "a moça que mora em Natal perdeu o ônibus"."""
    first = draw_of(draws, topic, "people", tense=draws.pick(("present", "preterite")), most_circumstances=1)
    second = draw_of(draws, topic, "people", tense="preterite", subject=first.subject, beside=first)
    subject = first.subject
    assert subject is not None
    if subject.noun.person == 1 or subject.noun.singular in ("ele", "ela", "eles", "elas", "a gente"):
        return simple(draws, topic)
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
    wish = draws.pick(WISHES)
    if clause.subject is not None and clause.subject.noun.singular == "eu" and wish in ("espero que", "duvido que"):
        wish = "talvez"
    return finish(f"{wish} {text}{time}")


def reported(draws: Draws, topic: str) -> str:
    """Somebody says that something happened."""
    speaker = draw_person(draws)
    clause = _any(draws, topic, tense="")
    if clause.tense == "future":
        clause = clause._replace(tense="conditional")
    verb = row(conjugate(draws.pick(REPORTERS)), "preterite")[speaker.person_index]
    if clause.subject is not None and clause.subject.noun is speaker.noun:
        return simple(draws, topic)
    return finish(f"{phrase_text(speaker)} {verb} que {clause_text(clause)}")


def question(draws: Draws, topic: str) -> str:
    """Direct questions: yes or no, who, where, when, what, how many."""
    kind = draws.below(8)
    if kind < 2:
        clause = draw_of(draws, topic, "people", subject=draws.pick(YOU), most_circumstances=1)
        head = draws.pick(("", "", "por que ", "quando ", "com quem "))
        if head == "com quem " and "com" in (part.preposition for part in (*clause.complements, *clause.circumstances)):
            head = ""
        return finish(head + clause_text(clause), "?")
    if kind == 2:
        clause = draw_of(draws, topic, "people", most_circumstances=1)
        verb = finite(clause.frame, clause.tense, 1)
        return finish(f"quem {verb}{tail(clause)}", "?")
    if kind == 3:
        clause = draw_of(draws, topic, "event", most_circumstances=0)
        return finish(f"{draws.pick(('onde', 'quando', 'por que', 'como'))} {clause_text(clause)}", "?")
    if kind == 4:
        clause = draw_of(draws, topic, "event", most_circumstances=1)
        return finish(f"será que {clause_text(clause)}", "?")
    clause = draw_of(draws, topic, "passive", most_circumstances=1)
    part = passive_part(clause)
    if part is None or part.phrase is None or part.phrase.noun.style not in ("count", "own", "person") or (
        part.phrase.noun.plural_only
    ):
        return finish(clause_text(clause._replace(subject=YOU[0])), "?")
    noun = part.phrase.noun
    rest = clause._replace(complements=clause.complements[1:])
    many = "quantas" if noun.gender == "f" else "quantos"
    which = "qual" if kind == 5 else many
    form = noun.singular if which == "qual" else noun.plural
    verb = finite(clause.frame, clause.tense, person_index(clause.subject))
    return finish(f"{which} {form} {subject_text(clause)}{verb}{tail(rest)}", "?")


def _copula(thing: NounPhrase, adjective: Adjective, tense: str) -> str:
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
    copula, _, form = _copula(thing, first, tense).partition(" ")
    if verb or (degree in ("cada vez mais ", "um pouco ") and not first.passing):
        degree = ""
    text = f"{phrase_text(thing)} {verb}{copula} {degree}{form}"
    if second.passing == first.passing and second is not first and not degree and not verb and draws.chance(0.5):
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
    lasting = [word for word in attributes(first.noun) if not word.passing]
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


def coordination(draws: Draws, topic: str) -> str:
    """Two events one after the other, or against each other."""
    tense = draws.pick(("preterite", "preterite", "future", "present"))
    first = draw_of(draws, topic, "people", tense=tense, most_circumstances=1)
    if draws.chance(0.6):
        second = draw_of(
            draws, topic, "people", tense=tense, subject=first.subject, most_circumstances=1, beside=first
        )
        verb = finite(second.frame, tense, person_index(second.subject))
        return finish(f"{clause_text(first)} e {draws.pick(('', 'depois ', 'em seguida '))}{verb}{tail(second)}")
    second = draw_of(draws, topic, "people", tense=tense, pronouns=False, most_circumstances=0, beside=first)
    if draws.chance(0.5) and can_negate(second):
        return finish(f"{clause_text(first)}, mas {clause_text(second._replace(negated=True))}")
    return finish(f"{clause_text(first)}, e {clause_text(second)}")


def pluperfect(draws: Draws, topic: str) -> str:
    """Ter with a participle: "já tinha saído"."""
    clause = draw_of(draws, topic, "people", most_circumstances=1)
    if clause.frame.reflexive:
        return modal(draws, topic)
    index = person_index(clause.subject)
    adverb = draws.pick(("já", "nunca", "ainda não"))
    participle = _compound_participle(clause.frame)
    rest = f" {clause.frame.rest}" if clause.frame.rest else ""
    verb = f"{row(conjugate('ter'), 'imperfect')[index]} {participle}{rest}"
    return finish(f"{subject_text(clause)}{adverb} {verb}{tail(clause)}")


def _compound_participle(frame: Frame) -> str:
    """With ter the regular participle stands where a verb has two: "tinha limpado", but "foi limpo"."""
    regular = {"limpar", "aceitar", "entregar", "prender", "eleger", "acender", "imprimir", "pegar"}
    verb = frame.verb
    if verb.infinitive in regular:
        return verb.infinitive[:-2] + ("ado" if verb.infinitive.endswith("ar") else "ido")
    return verb.participle


PATTERNS: tuple[tuple[Callable[[Draws, str], str], int], ...] = (
    (simple, 34), (progressive, 6), (modal, 9), (passive, 7), (object_relative, 5), (subject_relative, 5),
    (subordinate, 10), (subjunctive, 5), (reported, 5), (question, 8), (description, 6), (comparison, 4),
    (coordination, 7), (pluperfect, 4),
)  # fmt: skip
_WEIGHTED = tuple(pattern for pattern, weight in PATTERNS for _ in range(weight))


def draw_sentence(draws: Draws, topic: str) -> str:
    """One sentence about a topic."""
    text = draws.pick(_WEIGHTED)(draws, topic)
    if draws.chance(0.03):
        return finish(f"{draws.pick(FILLERS)}, {text[0].lower() if _lowers(text) else text[0]}{text[1:]}", "")
    return text


def _lowers(text: str) -> bool:
    """Whether the first word loses its capital inside a sentence: a name does not."""
    first = text.partition(" ")[0].rstrip(",")
    return not any(first == noun.singular for noun in lexicon().groups["nome"])


def sentence(seed: int, index: int) -> str:
    """Sentence `index` of stream `seed`: the same whatever else was made."""
    draws = Draws(seed, "sentence", index)
    return draw_sentence(draws, draws.pick(TOPICS))


def sentences(seed: int, count: int, start: int = 0) -> Iterator[str]:
    """Sentences `start` to `start + count - 1` of stream `seed`, of all topics mixed."""
    require_position(seed, start, count)
    return (sentence(seed, index) for index in range(start, start + count))
