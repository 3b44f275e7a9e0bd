"""Clauses: who does what to whom, where, when; and the words for it in any tense, negated, passive."""

from typing import NamedTuple

from tinydistil.demo.embedded.draws import Draws
from tinydistil.demo.embedded.entries import Frame, Noun, Slot
from tinydistil.demo.embedded.lexicon.common import MANNERS, TEMPORAL, TIMES
from tinydistil.demo.embedded.morphology import agree
from tinydistil.demo.embedded.phrases import NounPhrase, after, draw_person, draw_phrase, phrase_text
from tinydistil.demo.embedded.verbs import Row, Verb, conjugate

CLITICS = ("me", "se", "nos", "se")
_PER = ("por semana", "por dia", "por mês")
_COUNTED = frozenset(("poucos", "todos", "vários", "muitos", "alguns", "nenhum", "cada"))
TENSES = ("present", "preterite", "imperfect", "future")


# Named tuples rather than frozen dataclasses: a sentence makes about ten of them, and speed counts here.
class Part(NamedTuple):
    """One complement or circumstance: a noun phrase after a preposition (or none), or fixed words."""

    preposition: str
    phrase: NounPhrase | None
    words: str = ""
    passive: bool = False


class Clause(NamedTuple):
    """What happens, apart from the mood in which it is told."""

    frame: Frame
    subject: NounPhrase | None
    complements: tuple[Part, ...]
    circumstances: tuple[Part, ...]
    tense: str
    negated: bool = False
    time: str = ""


def row(verb: Verb, tense: str) -> Row:
    """The four persons of a tense."""
    found: Row = getattr(verb, tense)
    return found


def person_index(subject: NounPhrase | None) -> int:
    """The column of the conjugation; a verb without subject stands in the third person singular."""
    return 1 if subject is None else subject.person_index


def part_text(part: Part) -> str:
    """The words of one complement or circumstance."""
    if part.phrase is None:
        return part.words
    text = phrase_text(part.phrase)
    return after(part.preposition, text) if part.preposition else text


def finite(frame: Frame, tense: str, index: int, *, negated: bool = False) -> str:
    """The verb in a tense, with its pronoun and negation: "não se levantou"."""
    form = row(frame.verb, tense)[index]
    if frame.reflexive:
        form = f"{CLITICS[index]} {form}"
    if frame.rest:
        form = f"{form} {frame.rest}"
    return f"não {form}" if negated else form


def infinitive(frame: Frame, index: int) -> str:
    """The infinitive, its pronoun before it: "se levantar"."""
    form = frame.verb.infinitive
    form = f"{CLITICS[index]} {form}" if frame.reflexive else form
    return f"{form} {frame.rest}" if frame.rest else form


def gerund(frame: Frame, index: int) -> str:
    """The gerund, its pronoun before it: "se levantando"."""
    form = frame.verb.gerund
    form = f"{CLITICS[index]} {form}" if frame.reflexive else form
    return f"{form} {frame.rest}" if frame.rest else form


def tail(clause: Clause) -> str:
    """Everything behind the verb, with a space before it."""
    words = [part_text(part) for part in clause.complements]
    words += [part_text(part) for part in clause.circumstances]
    return "".join(" " + word for word in words)


def subject_text(clause: Clause) -> str:
    """The subject with a space behind it, or nothing."""
    return "" if clause.subject is None else phrase_text(clause.subject) + " "


def clause_text(clause: Clause, tense: str = "") -> str:
    """The clause as a statement without time, in its own tense or another."""
    subject = clause.subject
    # "Nenhum" before the verb already negates it.
    negated = clause.negated and not (subject is not None and subject.determiner == "nenhum")
    verb = finite(clause.frame, tense or clause.tense, person_index(subject), negated=negated)
    return subject_text(clause) + verb + tail(clause)


def passive_part(clause: Clause) -> Part | None:
    """The complement that may become the subject of a passive, if there is one."""
    first = clause.complements[0] if clause.complements else None
    return first if first is not None and first.passive and first.phrase is not None else None


def passive_text(clause: Clause) -> str:
    """The same event seen from its object: "o bolo foi feito pela avó". Needs passive_part(clause)."""
    part = passive_part(clause)
    assert part is not None and part.phrase is not None and clause.subject is not None
    participle = agree(clause.frame.verb.participle, part.phrase.gender, part.phrase.is_plural)
    verb = row(conjugate("ser"), clause.tense)[part.phrase.person_index]
    negation = "não " if clause.negated else ""
    words = [phrase_text(part.phrase), f"{negation}{verb}", participle]
    words += [part_text(other) for other in clause.complements[1:]]
    agent = after("por", phrase_text(clause.subject))
    # A long tail would separate the agent from its verb, so the agent comes first.
    words += [agent, *(part_text(other) for other in clause.circumstances)]
    return " ".join(words)


def _other(draws: Draws, choices: tuple[tuple[Noun, str], ...], taken: list[str]) -> tuple[Noun, str] | None:
    """A noun that means none of `taken`: nobody embraces himself. None after eight vain tries."""
    for _ in range(8):
        choice = draws.pick(choices)
        if choice[0].concept not in taken:
            return choice
    return None


def draw_part(draws: Draws, slot: Slot, subject: NounPhrase | None, taken: list[str]) -> Part | None:
    """Fill one slot, avoiding the concepts in `taken`, which grows."""
    if slot.words:
        return Part("", None, slot.words)
    choice = _other(draws, slot.nouns, taken)
    if choice is None:
        return None
    taken.append(choice[0].concept)
    return Part(slot.preposition, draw_phrase(draws, choice[0], choice[1], subject), "", slot.passive)


def draw_subject(draws: Draws, frame: Frame, *, pronouns: bool = True) -> NounPhrase | None:
    """Somebody or something that can do what the frame says."""
    if frame.people and (not frame.subjects or draws.chance(0.6)):
        return draw_person(draws, pronouns=pronouns)
    if not frame.subjects:
        return None
    noun, code = draws.pick(frame.subjects)
    return draw_phrase(draws, noun, code, leads=True)


def fitting(slot: Slot, tense: str) -> bool:
    """Whether fixed words suit a tense: "há dez anos" and "todo ano" tell of no single event."""
    words = slot.words
    lasts = words.startswith(("há ", "desde ", "todas as ", "todos os ", "todo ano")) or words.endswith(_PER)
    once = words.startswith(("pela primeira", "pela segunda"))
    return tense in ("present", "imperfect") if lasts else not once or tense in ("preterite", "future")


def draw_tense(draws: Draws, frame: Frame) -> str:
    """States are mostly told in the present or imperfect, events in the preterite."""
    kind = draws.below(100)
    if frame.state:
        return "present" if kind < 55 else "imperfect" if kind < 90 else "future"
    return "preterite" if kind < 64 else "present" if kind < 80 else "imperfect" if kind < 87 else "future"


def draw_clause(
    draws: Draws,
    frame: Frame,
    *,
    tense: str = "",
    subject: NounPhrase | None = None,
    pronouns: bool = True,
    most_circumstances: int = 2,
) -> Clause | None:
    """An event made from `frame`, or None where its slots cannot be filled without repeating a word."""
    tense = tense or draw_tense(draws, frame)
    if subject is None:
        subject = draw_subject(draws, frame, pronouns=pronouns)
    # By concept, not by word: "o menino abraçou o garoto" would be as odd as a repetition.
    taken: list[str] = []
    if subject is not None:
        taken.append(subject.noun.concept)
        if subject.second is not None:
            taken.append(subject.second.concept)
        if subject.owner is not None:
            taken.append(subject.owner.concept)
    complements = []
    for slot in frame.complements:
        part = draw_part(draws, slot, subject, taken)
        if part is None:
            return None
        complements.append(part)
    circumstances: list[Part] = []
    slots = frame.circumstances
    if slots and most_circumstances and draws.chance(1.0 if frame.impersonal else 0.75 if frame.complements else 0.95):
        slot = draws.pick(slots)
        part = draw_part(draws, slot, subject, taken) if fitting(slot, tense) else None
        if part is not None:
            circumstances.append(part)
    elif most_circumstances > 1 and not frame.state and not frame.impersonal and draws.chance(0.2):
        circumstances.append(Part("", None, draws.pick(MANNERS)))
    return Clause(frame, subject, tuple(complements), tuple(circumstances), tense)


def can_negate(clause: Clause) -> bool:
    """Whether "não" reads well: not beside a quantity ("não leu poucos livros") nor without a subject."""
    phrases = [clause.subject, *(part.phrase for part in clause.complements)]
    counted = [phrase for phrase in phrases if phrase is not None and phrase.determiner in _COUNTED]
    return not counted and not clause.frame.impersonal


def says_when(clause: Clause) -> bool:
    """Whether a circumstance already tells the time."""
    return any(part.words.startswith(TEMPORAL) for part in clause.circumstances)


def draw_time(draws: Draws, tense: str) -> str:
    """An adverbial of time that suits the tense."""
    return draws.pick(TIMES[tense])
