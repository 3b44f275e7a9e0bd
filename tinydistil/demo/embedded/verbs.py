"""Conjugation: regular verbs by rule, with spelling and stem changes; irregular verbs from their table."""

from dataclasses import dataclass
from functools import cache

from tinydistil.demo.embedded.irregular import IRREGULAR, IRREGULAR_FIRST, PARTICIPLES

# Persons in every row: eu, ele/ela/você, nós, eles/elas/vocês. "Tu" and "vós" are not used.
Row = tuple[str, str, str, str]

# The infinitive's last vowel changes in the first person and in the subjunctive: sentir, sinto, sinta.
E_TO_I = frozenset(
    "servir sentir vestir preferir sugerir seguir conseguir perseguir repetir divertir mentir despir ferir "
    "investir advertir refletir transferir interferir inserir digerir competir aderir".split()
)
O_TO_U = frozenset("dormir cobrir descobrir engolir tossir".split())
# And the other way round in the third person: subir, sobe.
U_TO_O = frozenset("subir fugir sumir acudir consumir".split())
# Stressed stems that need an accent: reunir, reúne.
HIATUS = {"reunir": "reún", "proibir": "proíb", "saudar": "saúd"}
EAR_LIKE = frozenset("odiar ansiar incendiar mediar remediar".split())


@dataclass(frozen=True, slots=True)
class Verb:
    """All forms the grammar uses, as rows of four persons (eu, ele, nós, eles)."""

    infinitive: str
    present: Row
    preterite: Row
    imperfect: Row
    future: Row
    subjunctive: Row
    future_subjunctive: Row
    conditional: Row
    gerund: str
    participle: str


def _before(stem: str, vowel: str, ending: str) -> str:
    """`stem` respelt so that it sounds the same before `vowel`; `ending` is the infinitive's (ar, er, ir)."""
    if ending == "ar" and vowel in "eéi":
        for last, spelt in (("c", "qu"), ("g", "gu"), ("ç", "c")):
            if stem.endswith(last):
                return stem[:-1] + spelt
    if ending != "ar" and vowel in "ao":
        if stem.endswith("gu"):
            return stem[:-1]
        for last, spelt in (("c", "ç"), ("g", "j")):
            if stem.endswith(last):
                return stem[:-1] + spelt
    return stem


def _row(stem: str, endings: str) -> Row:
    first, third, first_plural, third_plural = endings.split()
    return stem + first, stem + third, stem + first_plural, stem + third_plural


def _last_vowel(stem: str, old: str, new: str) -> str:
    place = stem.rfind(old)
    return stem[:place] + new + stem[place + 1 :]


def _regular(infinitive: str) -> dict[str, Row]:
    stem, ending = infinitive[:-2], infinitive[-2:]
    vowel = ending[0]
    if ending == "ar":
        soft, stressed, soft_stressed = _before(stem, "e", ending), stem, _before(stem, "e", ending)
        if stem.endswith("e") or infinitive in EAR_LIKE:
            stressed = soft_stressed = (stem if stem.endswith("e") else stem[:-1] + "e") + "i"
        elif infinitive in HIATUS:
            stressed = soft_stressed = HIATUS[infinitive]
        present = stressed + "o", stressed + "a", stem + "amos", stressed + "am"
        subjunctive = soft_stressed + "e", soft_stressed + "e", soft + "emos", soft_stressed + "em"
        preterite = soft + "ei", stem + "ou", stem + "amos", stem + "aram"
        imperfect = _row(stem, "ava ava ávamos avam")
    else:
        changed = first = stem
        if infinitive in E_TO_I:
            first = _last_vowel(stem, "e", "i")
        elif infinitive in O_TO_U:
            first = _last_vowel(stem, "o", "u")
        elif infinitive in U_TO_O:
            changed = _last_vowel(stem, "u", "o")
        elif infinitive in HIATUS:
            first = changed = HIATUS[infinitive]
        plural_first = stem if infinitive in HIATUS else first
        first, plural_first = _before(first, "o", ending), _before(plural_first, "a", ending)
        if infinitive in IRREGULAR_FIRST:
            first = plural_first = IRREGULAR_FIRST[infinitive]
        third = changed if infinitive.endswith("uzir") else changed + "e"
        present = first + "o", third, stem + vowel + "mos", changed + "em"
        subjunctive = first + "a", first + "a", plural_first + "amos", first + "am"
        preterite = stem + "i", stem + ("eu" if ending == "er" else "iu"), stem + vowel + "mos", stem + vowel + "ram"
        imperfect = _row(stem, "ia ia íamos iam")
    return {"present": present, "preterite": preterite, "imperfect": imperfect, "subjunctive": subjunctive}


def _vowel_stem(infinitive: str) -> dict[str, Row]:
    """Verbs whose stem ends in a vowel: sair, cair (saio, sai, saem); contribuir; construir (constrói)."""
    stem = infinitive[:-2]
    if infinitive.endswith("air"):
        present, subjunctive = _row(stem, "io i ímos em"), _row(stem, "ia ia iamos iam")
    else:
        present, subjunctive = _row(stem, "o i ímos em"), _row(stem, "a a amos am")
        if infinitive.endswith("struir"):
            present = present[0], stem[:-1] + "ói", present[2], stem[:-1] + "oem"
    return {
        "present": present,
        "preterite": _row(stem, "í iu ímos íram"),
        "imperfect": _row(stem, "ía ía íamos íam"),
        "subjunctive": subjunctive,
    }


def _participle(infinitive: str) -> str:
    if infinitive in PARTICIPLES:
        return PARTICIPLES[infinitive]
    if infinitive.endswith(("air", "uir")) and not infinitive.endswith(("guir", "quir")):
        return infinitive[:-2] + "ído"
    return infinitive[:-2] + ("ado" if infinitive.endswith("ar") else "ido")


@cache
def conjugate(infinitive: str) -> Verb:
    """Every form of the verb `infinitive` (without "-se")."""
    if infinitive in IRREGULAR:
        rows = dict(zip(("present", "preterite", "imperfect", "subjunctive"), IRREGULAR[infinitive], strict=True))
    elif infinitive.endswith(("air", "uir")) and not infinitive.endswith(("guir", "quir")):
        rows = _vowel_stem(infinitive)
    else:
        rows = _regular(infinitive)
    base = {"fazer": "far", "dizer": "dir", "trazer": "trar", "pôr": "por"}.get(infinitive, infinitive)
    # Both are built on the third person plural of the preterite: fizeram, fizer.
    stem = rows["preterite"][3][:-2]
    # saíram keeps the accent of its hiatus only where a syllable follows: sair, saírem.
    bare = stem[:-2] + "ir" if stem.endswith("ír") else stem
    return Verb(
        infinitive=infinitive,
        future=_row(base, "ei á emos ão"),
        conditional=_row(base, "ia ia íamos iam"),
        future_subjunctive=(bare, bare, bare + "mos", stem + "em"),
        gerund="pondo" if infinitive == "pôr" else infinitive[:-1].replace("ô", "o") + "ndo",
        participle=_participle(infinitive),
        **rows,
    )
