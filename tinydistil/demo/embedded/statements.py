"""Single clauses told as statements: simple, in progress, with a modal, passive, with ter and a participle."""

from functools import cache

from tinydistil.demo.embedded.clauses import (
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
from tinydistil.demo.embedded.draws import Draws
from tinydistil.demo.embedded.entries import Frame, lexicon
from tinydistil.demo.embedded.lexicon.common import HARMS, UNMEANT
from tinydistil.demo.embedded.phrases import NounPhrase
from tinydistil.demo.embedded.verbs import conjugate

# With ser these take the short participle, with ter the long one.
TWO_PARTICIPLES = frozenset(
    "limpar aceitar entregar prender eleger acender imprimir pegar salvar expulsar fritar".split()
)
MODALS = ("poder", "querer", "precisar", "dever", "conseguir", "tentar", "costumar")


def finish(text: str, mark: str = ".") -> str:
    """A sentence: first letter upper case, a mark at the end."""
    return text[0].upper() + text[1:] + mark


def statement(clause: Clause, *, front: bool = False) -> str:
    """The clause with its time at the end, or in front behind a comma."""
    text = clause_text(clause)
    if not clause.time:
        return text
    return f"{clause.time}, {text}" if front else f"{text} {clause.time}"


@cache
def _frames(topic: str, kind: str) -> tuple[Frame, ...]:
    """Frames of the topic by what a pattern needs: somebody acting, an object to make passive, no state."""
    frames = lexicon().frames[topic]
    if kind == "people":
        return tuple(frame for frame in frames if frame.people and not frame.state)
    if kind == "passive":
        return tuple(f for f in frames if f.complements and f.complements[0].passive and not f.state)
    if kind == "event":
        return tuple(frame for frame in frames if not frame.state and not frame.impersonal)
    return frames


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
    """A clause of the topic whose frame is of `kind` (people, passive, event, any), of another verb than `beside`."""
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
    if clause.frame.verb.infinitive in HARMS:
        # "Ana está quebrando o braço" would take its time.
        return simple(draws, topic)
    tense = draws.pick(("present", "imperfect"))
    index = person_index(clause.subject)
    head = {"present": "neste momento, ", "imperfect": "naquela hora, "}[tense]
    verb = f"{row(conjugate('estar'), tense)[index]} {gerund(clause.frame, index)}"
    return finish(f"{head if draws.chance(0.5) else ''}{subject_text(clause)}{verb}{tail(clause)}")


def modal(draws: Draws, topic: str) -> str:
    """Poder, querer, ir, começar a ... with an infinitive."""
    clause = draw_of(draws, topic, "people", tense="present")
    if any(part.words.startswith(("há ", "desde ")) for part in clause.circumstances):
        # How long something has lasted goes with the verb itself, not with wanting or trying it.
        clause = clause._replace(circumstances=())
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
        harms = clause.frame.verb.infinitive in HARMS or any(p.words in UNMEANT for p in clause.circumstances)
        verb, time = row(conjugate("poder" if harms else draws.pick(MODALS)), tense)[index], ""
    rest = f"{infinitive(clause.frame, index)}{tail(clause)} {time}".rstrip()
    return finish(f"{subject_text(clause)}{negation}{verb} {rest}")


def passive(draws: Draws, topic: str) -> str:
    """The object first: "os muros foram pintados por Ana"."""
    clause = draw_of(draws, topic, "passive", tense=draws.pick(("preterite", "preterite", "future")), pronouns=False)
    part = passive_part(clause)
    if part is None or part.phrase is None or part.phrase.determiner in ("", "meu", "seu", "nosso"):
        return simple(draws, topic)
    return finish(passive_text(clause))


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
    verb = frame.verb
    if verb.infinitive in TWO_PARTICIPLES:
        return verb.infinitive[:-2] + ("ado" if verb.infinitive.endswith("ar") else "ido")
    return verb.participle
