"""Short texts about one topic, told of the same people, who come back by name and by pronoun."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tinydistil.demo.embedded.clauses import (
    Clause,
    clause_text,
    draw_clause,
    draw_time,
    finite,
    passive_part,
    row,
    says_when,
    tail,
)
from tinydistil.demo.embedded.draws import Draws, require_position
from tinydistil.demo.embedded.entries import TOPICS, Frame, Noun, lexicon
from tinydistil.demo.embedded.lexicon.common import GRADABLE, HARMS
from tinydistil.demo.embedded.morphology import agree
from tinydistil.demo.embedded.phrases import HE, SHE, THEY, NounPhrase, after, attributes, phrase_text
from tinydistil.demo.embedded.statements import finish
from tinydistil.demo.embedded.verbs import conjugate

# Who the people of a topic may be by trade; a trade opens the frames of its group to them.
TRADES = {
    "home": (), "kitchen": ("cozinheiro", "garçom"), "school": ("professor", "aluno"),
    "football": ("jogador", "técnico"),
    "health": ("médico", "enfermeiro", "dentista"), "travel": ("guia", "motorista"), "news": ("jornalista", "político"),
    "arts": ("músico", "escritor", "pintor", "ator"), "work": ("trabalhador", "vendedor", "engenheiro"),
    "nature": ("agricultor", "pescador", "cientista"),
}  # fmt: skip
FIRST_LINKS = {
    "preterite": ("primeiro", "logo cedo", "de manhã", "naquele dia", "assim que pôde"),
    "present": ("de manhã", "quase sempre", "todos os dias", "em geral"),
}
LINKS = {
    "preterite": ("depois", "em seguida", "mais tarde", "à tarde", "logo depois", "então", "no dia seguinte"),
    "present": ("às vezes", "à tarde", "aos sábados", "à noite", "de vez em quando", "depois", "nas férias"),
}
SCENES = (
    "Fazia muito calor.", "Chovia um pouco.", "O dia estava bonito.", "Ventava bastante.", "Ainda era cedo.",
    "A manhã estava fria.", "Havia pouca gente na rua.", "Era véspera de feriado.", "A cidade estava tranquila.",
    "O céu estava limpo.", "Já era quase noite.", "Era o primeiro dia das férias.",
)  # fmt: skip
FEELINGS = ("cansado", "feliz", "satisfeito", "animado", "contente", "tranquilo", "orgulhoso", "emocionado")
TALK = (
    ("Você quer ajuda?", "Quero, sim"), ("O que vamos fazer agora?", "Vamos descansar um pouco"),
    ("Você gostou do dia?", "Gostei muito"), ("Está tudo bem?", "Está, obrigado"), ("Falta muito?", "Falta pouco"),
    ("Podemos voltar amanhã?", "Claro que sim"), ("Você está com fome?", "Ainda não"),
    ("Já terminamos?", "Quase tudo está pronto"),
)  # fmt: skip


# What happens once in a life does not fit between breakfast and the afternoon.
LIFE_EVENTS = ("formar", "aposentar", "mudar", "matricular")


class Person(NamedTuple):
    """One of the people of a document."""

    name: Noun
    trade: Noun | None

    @property
    def phrase(self) -> NounPhrase:
        """The name as a noun phrase."""
        return NounPhrase(self.name, False, "")

    @property
    def pronoun(self) -> NounPhrase:
        """He or she."""
        return SHE if self.name.gender == "f" else HE


@cache
def _frames(topic: str, trade: str) -> tuple[Frame, ...]:
    """What somebody of a trade ("" for none) may do in a story: events, of people in general or of the trade."""
    return tuple(
        frame
        for frame in lexicon().frames[topic]
        if not frame.state
        and frame.verb.infinitive not in LIFE_EVENTS
        and (frame.people or any(noun.group == trade for noun, _ in frame.subjects))
    )


@cache
def _trades(topic: str, gender: str) -> tuple[Noun, ...]:
    return tuple(n for group in TRADES[topic] for n in lexicon().groups[group] if n.gender == gender)


class _Teller:
    """Tells one story sentence by sentence, remembering whom and what it mentioned last."""

    def __init__(self, draws: Draws, topic: str, tense: str) -> None:
        self.draws, self.topic, self.tense = draws, topic, tense
        names = lexicon().groups["nome"]
        first, second = draws.pick(names), draws.pick(names)
        while second is first:
            second = draws.pick(names)
        self.hero = self._person(first)
        self.friend = self._person(second)
        self.last: NounPhrase | None = None
        self.rival_named = False
        self.thing: NounPhrase | None = None
        self.told: set[Frame] = set()
        self.events = 0
        self.link = ""
        self.talked = False

    def _person(self, name: Noun) -> Person:
        trades = _trades(self.topic, name.gender)
        return Person(name, self.draws.pick(trades) if trades and self.draws.chance(0.7) else None)

    def both(self) -> NounPhrase:
        """The two of them."""
        return NounPhrase(self.hero.name, False, "", second=self.friend.name)

    def opening(self) -> str:
        """Who the people are, and where."""
        draws, hero, friend = self.draws, self.hero, self.friend
        city = after("em", phrase_text(NounPhrase(draws.pick(lexicon().groups["cidade"]), False, "")))
        told = "present" if self.tense == "present" else "imperfect"
        live = row(conjugate("morar"), "present")
        kind = draws.below(4)
        if kind == 0 and hero.trade is not None:
            self.last = hero.phrase
            near = f"perto de {friend.name.singular}"
            return finish(f"{hero.name.singular} é {hero.trade.singular} e {live[1]} {city}, {near}")
        if kind == 1:
            self.last = self.both()
            gender = self.both().gender
            bond = agree(draws.pick(("amigo", "vizinho", "colega", "primo")), gender, True)
            be = row(conjugate("ser"), told)[3]
            return finish(f"{phrase_text(self.both())} {be} {bond} e {row(conjugate('morar'), told)[3]} {city}")
        if kind == 2 and self.tense == "preterite":
            self.last = self.both()
            plan = draws.pick(("se encontraram", "passaram o dia juntos", "combinaram um passeio", "acordaram cedo"))
            if self.both().gender == "f":
                plan = plan.replace("juntos", "juntas")
            return finish(f"{draw_time(draws, 'preterite')}, {phrase_text(self.both())} {plan} {city}")
        self.last = hero.phrase
        bond = agree(draws.pick(("amigo", "vizinho", "colega", "primo")), friend.name.gender, False)
        article = "a" if friend.name.gender == "f" else "o"
        near = f"perto de {friend.name.singular}, {article} {bond} de infância"
        return finish(f"{hero.name.singular} {live[1]} {city}, {near}")

    def event(self) -> str:
        """One of them, or both, do something."""
        draws = self.draws
        kind = draws.below(10)
        who, trade = (self.hero, self.hero.trade) if kind < 6 else (self.friend, self.friend.trade)
        subject = self.both() if kind == 9 else who.phrase
        frames = _frames(self.topic, trade.group if trade is not None and kind < 9 else "")
        clause = self._draw(frames, subject)
        text = self._told(clause, who, subject)
        if not says_when(clause) and draws.chance(0.45):
            links = FIRST_LINKS if self.events == 0 else LINKS
            self.link = draws.pick([link for link in links[self.tense] if link != self.link])
            text = f"{self.link}, {text}"
        self.events += 1
        self.last = subject
        part = passive_part(clause)
        self.thing = None if part is None else part.phrase
        return finish(text)

    def _draw(self, frames: tuple[Frame, ...], subject: NounPhrase) -> Clause:
        """An event not yet told, in which other people named are the people of the story."""
        for _ in range(40):
            frame = self.draws.pick(frames)
            # A mishap happens once; nobody breaks an arm "every Saturday".
            habit = self.tense == "present" and frame.verb.infinitive in HARMS
            if frame in self.told or habit:
                continue
            clause = draw_clause(self.draws, frame, tense=self.tense, subject=subject)
            if clause is not None and self._settle(clause) is not None:
                break
        else:
            frame = next(frame for frame in lexicon().frames["health"] if frame.verb.infinitive == "descansar")
            clause = Clause(frame, subject, (), (), self.tense)
        self.told.add(clause.frame)
        settled = self._settle(clause)
        assert settled is not None
        return settled

    def _settle(self, clause: Clause) -> Clause | None:
        """Put the other person of the story where a stranger's name stands; None if there is nobody left to put."""
        assert clause.subject is not None
        self.rival_named = False
        groups = []
        for parts in (clause.complements, clause.circumstances):
            settled = []
            for part in parts:
                if part.phrase is not None and part.phrase.noun.style == "name":
                    if clause.subject.second is not None or self.rival_named:
                        return None
                    other = self.friend if clause.subject.noun is self.hero.name else self.hero
                    part = part._replace(phrase=other.phrase)
                    self.rival_named = True
                settled.append(part)
            groups.append(tuple(settled))
        return clause._replace(complements=groups[0], circumstances=groups[1])

    def _told(self, clause: Clause, who: Person, subject: NounPhrase) -> str:
        """The clause with its subject named, by pronoun or left out, whichever stays clear."""
        same = self.last is not None and self.last == subject
        # A pronoun is clear only where the sentence before had the same subject.
        if same and self.draws.chance(0.75):
            pronoun = THEY[subject.gender] if subject.second is not None else who.pronoun
            # A sentence may not begin with an unstressed pronoun, so reflexives keep their subject.
            if self.events and not clause.frame.reflexive and self.draws.chance(0.3):
                return finite(clause.frame, clause.tense, subject.person_index) + tail(clause)
            return clause_text(clause._replace(subject=pronoun))
        return clause_text(clause)

    def detail(self) -> str | None:
        """What the thing last mentioned was like, if there is something to say."""
        thing, self.thing = self.thing, None
        if thing is None or thing.noun.style in ("name", "kin", "bare", "person"):
            return None
        words = attributes(thing.noun)
        if not words:
            return None
        adjective = self.draws.pick(words)
        if adjective.lemma == thing.adjective:
            return None
        verb = conjugate("estar" if adjective.passing else "ser")
        form = agree(adjective.lemma, thing.gender, thing.is_plural)
        tense = "present" if self.tense == "present" else "imperfect"
        degree = self.draws.pick(("", "", "muito ", "bastante ")) if adjective.lemma in GRADABLE else ""
        named = phrase_text(NounPhrase(thing.noun, thing.plural, "o"))
        # The thing was the subject now: "ele" would mean it.
        self.last = None
        return finish(f"{named} {row(verb, tense)[thing.person_index]} {degree}{form}")

    def talk(self) -> str:
        """A question and its answer."""
        self.talked = True
        asked, answered = self.draws.pick(TALK)
        hero, friend = self.hero, self.friend
        if answered.endswith("obrigado") and friend.name.gender == "f":
            answered = answered[:-1] + "a"
        verbs = ("pergunta", "responde") if self.tense == "present" else ("perguntou", "respondeu")
        self.last = friend.phrase
        return f"“{asked}”, {verbs[0]} {hero.name.singular}. “{answered}”, {verbs[1]} {friend.name.singular}."

    def closing(self) -> str:
        """How it ended."""
        draws, hero = self.draws, self.hero
        feeling = agree(draws.pick(FEELINGS), hero.name.gender, False)
        if self.tense == "present":
            return draws.pick((
                f"{hero.name.singular} gosta dessa vida.", f"No fim do dia, {hero.name.singular} fica {feeling}.",
                f"{hero.name.singular} e {self.friend.name.singular} quase nunca reclamam.",
            ))  # fmt: skip
        return draws.pick((
            f"No fim do dia, {hero.name.singular} voltou para casa {feeling}.", "Foi um dia inesquecível.",
            f"{hero.name.singular} ficou {feeling}.", f"À noite, {hero.name.singular} contou tudo para a família.",
            f"{hero.name.singular} nunca se esqueceu daquele dia.", "No fim, deu tudo certo.",
            f"{hero.name.singular} e {self.friend.name.singular} prometeram repetir a experiência.",
        ))  # fmt: skip

    def tell(self, length: int) -> str:
        """The whole story, of `length` sentences, in one or two paragraphs."""
        told = [self.opening()]
        if self.tense == "preterite" and self.draws.chance(0.3):
            told.append(self.draws.pick(SCENES))
        break_after = length // 2 if length >= 7 else length
        while len(told) < length - 1:
            chance = self.draws.below(10)
            detail = self.detail() if chance < 3 else None
            if detail is not None:
                told.append(detail)
            elif chance == 9 and not self.talked and self.events > 1 and len(told) < length - 2:
                told.append(self.talk())
            else:
                told.append(self.event())
        told.append(self.closing())
        paragraphs = [" ".join(told[:break_after]), " ".join(told[break_after:])]
        return "\n".join(paragraph for paragraph in paragraphs if paragraph)


def document(seed: int, index: int) -> str:
    """Document `index` of stream `seed`: 4 to 12 sentences, a paragraph a line. The same whatever else was made."""
    draws = Draws(seed, "document", index)
    tense = "preterite" if draws.chance(0.7) else "present"
    return _Teller(draws, draws.pick(TOPICS), tense).tell(4 + draws.below(9))


def documents(seed: int, count: int, start: int = 0) -> Iterator[str]:
    """Documents `start` to `start + count - 1` of stream `seed`."""
    require_position(seed, start, count)
    return (document(seed, index) for index in range(start, start + count))
