"""Direct questions."""

from tinydistil.demo.embedded.clauses import clause_text, finite, passive_part, person_index, subject_text, tail
from tinydistil.demo.embedded.draws import Draws
from tinydistil.demo.embedded.phrases import YOU
from tinydistil.demo.embedded.statements import draw_of, finish


def question(draws: Draws, topic: str) -> str:
    """Direct questions: yes or no, who, where, when, what, how many."""
    kind = draws.below(8)
    if kind < 2:
        clause = draw_of(draws, topic, "people", subject=draws.pick(YOU), most_circumstances=1)
        head = draws.pick(("", "", "por que ", "quando ", "com quem "))
        if clause.complements and head == "com quem ":
            head = ""
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
    if (
        part is None
        or part.phrase is None
        or part.phrase.noun.style not in ("count", "own", "person")
        or (part.phrase.noun.plural_only)
    ):
        return finish(f"será que {clause_text(clause)}", "?")
    noun = part.phrase.noun
    rest = clause._replace(complements=clause.complements[1:])
    # The question takes the object's place, so the object leaves the tail.
    many = "quantas" if noun.gender == "f" else "quantos"
    which = "qual" if kind == 5 else many
    form = noun.singular if which == "qual" else noun.plural
    verb = finite(clause.frame, clause.tense, person_index(clause.subject))
    return finish(f"{which} {form} {subject_text(clause)}{verb}{tail(rest)}", "?")
