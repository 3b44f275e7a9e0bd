"""Events told in several ways with one meaning: the ground of the similarity and entailment pairs."""

from functools import cache

from tinydistil.demo.embedded.clauses import (
    Clause,
    draw_clause,
    finite,
    part_text,
    passive_part,
    passive_text,
    person_index,
    row,
    subject_text,
    tail,
)
from tinydistil.demo.embedded.draws import Draws, split_of
from tinydistil.demo.embedded.entries import TOPICS, Frame, Noun, lexicon
from tinydistil.demo.embedded.phrases import NounPhrase, after, phrase_text
from tinydistil.demo.embedded.statements import finish
from tinydistil.demo.embedded.verbs import conjugate

# Pairs of one meaning; an event keeps the first.
SAME_TIME = {
    "ontem à noite": "na noite de ontem", "há uma semana": "há sete dias", "no ano passado": "no último ano",
    "anteontem": "há dois dias", "hoje de manhã": "na manhã de hoje", "na semana passada": "na última semana",
    "em dezembro": "no mês de dezembro", "em março": "no mês de março", "no começo do mês": "no início do mês",
    "no fim da tarde": "no final da tarde", "no mês passado": "no último mês", "durante o feriado": "no feriado",
    "na sexta-feira": "no dia de sexta-feira", "há um mês": "há trinta dias", "no verão passado": "no último verão",
}  # fmt: skip
# Told with a noun instead: "fez a compra de". (verb, words before the object).
SAME_ACTION = {
    "comprar": ("fazer", "a compra de"), "vender": ("fazer", "a venda de"), "limpar": ("fazer", "a limpeza de"),
    "visitar": ("fazer", "uma visita a"), "pintar": ("fazer", "a pintura de"), "corrigir": ("fazer", "a correção de"),
    "ler": ("fazer", "a leitura de"), "criticar": ("fazer", "críticas a"), "elogiar": ("fazer", "elogios a"),
    "entrevistar": ("fazer", "uma entrevista com"), "construir": ("fazer", "a construção de"),
    "traduzir": ("fazer", "a tradução de"), "reservar": ("fazer", "a reserva de"), "revisar": ("fazer", "a revisão de"),
    "consertar": ("fazer", "o conserto de"), "trocar": ("fazer", "a troca de"), "gravar": ("fazer", "a gravação de"),
    "publicar": ("fazer", "a publicação de"), "imprimir": ("fazer", "a impressão de"),
    "abraçar": ("dar", "um abraço em"),
    "entregar": ("fazer", "a entrega de"), "escolher": ("fazer", "a escolha de"), "ajudar": ("dar", "ajuda a"),
    "lavar": ("fazer", "a lavagem de"), "examinar": ("fazer", "o exame de"), "contratar": ("fazer", "a contratação de"),
    "adiar": ("fazer", "o adiamento de"), "divulgar": ("fazer", "a divulgação de"), "enviar": ("fazer", "o envio de"),
    "narrar": ("fazer", "a narração de"), "colher": ("fazer", "a colheita de"),
}  # fmt: skip
COUNTS = ("dois", "três", "quatro", "cinco", "seis", "sete", "oito", "dez")
# Words around a statement that change nothing in what is stated.
FRAMINGS = ("é verdade que", "é fato que", "todo mundo sabe que", "o fato é que", "é certo que", "sabe-se que")


@cache
def event_frames(topic: str, people: bool) -> tuple[Frame, ...]:
    """Frames with somebody who acts and a direct object; `people`: the object too can be anybody."""
    found = []
    for frame in lexicon().frames[topic]:
        if frame.state or frame.reflexive or frame.rest or not frame.complements or not frame.complements[0].passive:
            continue
        nouns = [noun for noun, _ in frame.complements[0].nouns]
        living = any(noun.style in ("kin", "name") for noun in nouns)
        acts = frame.people or all(noun.style == "person" for noun, _ in frame.subjects)
        if acts and ((frame.people and living) or not people):
            found.append(frame)
    return tuple(found)


def draw_event(draws: Draws, topic: str = "", *, people: bool = False) -> Clause:
    """Somebody did something to something, somewhere, at some time: a preterite clause without pronouns."""
    while True:
        frames = event_frames(topic or draws.pick(TOPICS), people)
        if not frames:
            topic = ""
            continue
        clause = draw_clause(draws, draws.pick(frames), tense="preterite", pronouns=False, most_circumstances=1)
        event = None if clause is None else _plain(draws, clause, people)
        if event is not None:
            return event


def _plain(draws: Draws, clause: Clause, people: bool) -> Clause | None:
    """The clause without what makes its meaning hard to compare; None if nothing is left to tell."""
    subject, item = clause.subject, clause.complements[0].phrase
    if subject is None or item is None or subject.second is not None:
        return None
    if subject.determiner in _VAGUE or item.determiner in _VAGUE or item.determiner in ("meu", "nosso", "seu"):
        return None
    complements = (clause.complements[0], *clause.complements[1:])
    if people:
        # Relatives are told by whose they are ("sua avó"), which a change of roles would turn over; names are not.
        if item.noun.style not in ("kin", "name") or item.second is not None:
            return None
        name = draws.pick(lexicon().groups["nome"])
        if name is subject.noun:
            return None
        complements = (clause.complements[0]._replace(phrase=NounPhrase(name, False, "")), *complements[1:])
    kept = tuple(part for part in clause.circumstances if part.phrase is not None or part.words.startswith("em "))
    time = draws.pick(tuple(SAME_TIME)) if draws.chance(0.8) else ""
    return clause._replace(complements=complements, circumstances=kept, time=time)


_VAGUE = frozenset(("vários", "muitos", "alguns", "poucos", "todos", "nenhum", "cada", "algum"))


def event_key(event: Clause) -> str:
    """What decides the split: the action and the people who act or suffer it, whoever of them does what.

    Every wording and every change that a pair makes to object, place, time, number or polarity keeps the key.
    """
    people = [] if event.subject is None else [event.subject.noun.concept]
    item = event.complements[0].phrase
    if item is not None and item.noun.style in ("name", "kin", "person"):
        people.append(item.noun.concept)
    return "|".join([event.frame.concept, *sorted(people)])


def in_split(event: Clause, split: str) -> bool:
    """Whether the event may be told in `split`."""
    return split_of(event_key(event)) == split


def item_of(event: Clause) -> NounPhrase:
    """The direct object of an event."""
    phrase = event.complements[0].phrase
    assert phrase is not None
    return phrase


def with_item(event: Clause, item: NounPhrase) -> Clause:
    """The event with another direct object."""
    first = event.complements[0]._replace(phrase=item)
    return event._replace(complements=(first, *event.complements[1:]))


def renamed(phrase: NounPhrase, noun: Noun) -> NounPhrase:
    """The phrase around another noun."""
    return phrase._replace(noun=noun)


@cache
def twins(noun: Noun) -> tuple[Noun, ...]:
    """Other words for the same thing or kind of person."""
    return tuple(
        other for other in lexicon().nouns_of[noun.concept]
        if other.singular != noun.singular and other.style == noun.style and other.plural_only == noun.plural_only
        and (noun.style != "person" or other.gender == noun.gender)
    )  # fmt: skip


def _synonymous(draws: Draws, phrase: NounPhrase) -> NounPhrase:
    others = twins(phrase.noun) if phrase.noun.style not in ("name", "city") else ()
    return phrase._replace(noun=draws.pick(others)) if others and draws.chance(0.8) else phrase


def _verb(draws: Draws, event: Clause) -> tuple[str, str]:
    """The verb's form, and words that stand between it and its object."""
    frame, index = event.frame, person_index(event.subject)
    negation = "não " if event.negated else ""
    noun = SAME_ACTION.get(frame.verb.infinitive)
    item = item_of(event)
    if noun is not None and item.determiner not in ("nenhum", "", "mais de um") and draws.chance(0.5):
        return f"{negation}{row(conjugate(noun[0]), event.tense)[index]}", noun[1]
    words = lexicon().synonyms.get(frame.verb.infinitive, ())
    if words and draws.chance(0.6):
        return f"{negation}{row(conjugate(draws.pick(words)), event.tense)[index]}", ""
    return finite(frame, event.tense, index, negated=event.negated), ""


def retold(draws: Draws, event: Clause) -> str:
    """The event in other words: synonyms, passive, "foi Ana quem", time in front, another framing."""
    assert event.subject is not None
    event = with_item(event, _synonymous(draws, item_of(event)))._replace(subject=_synonymous(draws, event.subject))
    assert event.subject is not None
    time = SAME_TIME.get(event.time, "") if draws.chance(0.6) else event.time
    kind = draws.below(10)
    item = item_of(event)
    if kind < 3 and item.determiner not in ("", "nenhum") and passive_part(event) is not None:
        text = passive_text(event)
    elif kind < 5 and not event.negated and event.subject.determiner != "um":
        be, index = ("foram", 3) if event.subject.is_plural else ("foi", 1)
        verb = row(event.frame.verb, event.tense)[index]
        text = f"{be} {phrase_text(event.subject)} {'quem' if index == 1 else 'que'} {verb}{tail(event)}"
    else:
        verb, link = _verb(draws, event)
        parts = [part_text(part) for part in (*event.complements, *event.circumstances)]
        if link:
            before, _, last = link.rpartition(" ")
            parts[0] = f"{before} {after(last, phrase_text(item))}"
        text = " ".join([subject_text(event) + verb, *parts])
    return wrapped(draws, text, time)


def told(event: Clause) -> str:
    """The event in the plainest words."""
    text = subject_text(event) + finite(event.frame, event.tense, person_index(event.subject), negated=event.negated)
    return finish(f"{text}{tail(event)} {event.time}".rstrip())


def wrapped(draws: Draws, text: str, time: str) -> str:
    """The statement with its time in front or behind, perhaps framed."""
    kind = draws.below(10)
    if kind < 3:
        return finish(f"{draws.pick(FRAMINGS)} {text} {time}".rstrip())
    if kind < 6 and time:
        return finish(f"{time}, {text}")
    return finish(f"{text} {time}".rstrip())


def same_kind(noun: Noun, frame: Frame, place: int) -> tuple[Noun, ...]:
    """Other nouns that fit the frame's complement `place` and share the group of `noun`."""
    nouns = [other for other, _ in frame.complements[place].nouns]
    return tuple(n for n in nouns if n.concept != noun.concept and n.plural_only == noun.plural_only)


def is_counted(phrase: NounPhrase) -> bool:
    """Whether the phrase stands with a numeral."""
    return phrase.determiner in COUNTS


def at_other_time(draws: Draws, event: Clause) -> Clause | None:
    """The event at another time, if it tells one."""
    return event._replace(time=draws.pick([time for time in SAME_TIME if time != event.time])) if event.time else None


def at_other_place(draws: Draws, event: Clause) -> Clause | None:
    """The event at another place or in other company, if it tells one and its frame knows another."""
    if not event.circumstances or event.circumstances[0].phrase is None:
        return None
    old = event.circumstances[0]
    assert old.phrase is not None
    choices = [
        noun for slot in event.frame.circumstances if slot.preposition == old.preposition
        for noun, _ in slot.nouns if noun.concept != old.phrase.noun.concept and noun.style == old.phrase.noun.style
    ]  # fmt: skip
    if not choices:
        return None
    return event._replace(
        circumstances=(old._replace(phrase=old.phrase._replace(noun=draws.pick(choices), adjective="")),)
    )
