"""Plurals and feminines of Portuguese nouns and adjectives, by rule with the exceptions listed."""

from functools import cache

PLURAL_EXCEPTIONS = {
    "pão": "pães", "cão": "cães", "capitão": "capitães", "alemão": "alemães", "tabelião": "tabeliães",
    "irmão": "irmãos", "mão": "mãos", "cidadão": "cidadãos", "grão": "grãos", "chão": "chãos", "órgão": "órgãos",
    "órfão": "órfãos", "cristão": "cristãos", "mal": "males", "cônsul": "cônsules", "gol": "gols", "mel": "méis",
    "guarda-chuva": "guarda-chuvas", "meio-campo": "meio-campos", "pão-duro": "pães-duros",
    "guarda-roupa": "guarda-roupas", "beija-flor": "beija-flores", "lobo-guará": "lobos-guarás", "juiz": "juízes",
    "e-mail": "e-mails",
    "cartão-postal": "cartões-postais", "pronto-socorro": "prontos-socorros", "curto-circuito": "curtos-circuitos",
    "micro-ondas": "micro-ondas", "bem-te-vi": "bem-te-vis",
    "vice-prefeito": "vice-prefeitos", "vice-prefeita": "vice-prefeitas", "primeiro-ministro": "primeiros-ministros",
    "qualquer": "quaisquer",
}  # fmt: skip

FEMININE_EXCEPTIONS = {
    "ator": "atriz", "avô": "avó", "pai": "mãe", "homem": "mulher", "rei": "rainha", "juiz": "juíza",
    "garçom": "garçonete", "bom": "boa", "mau": "má", "leão": "leoa", "patrão": "patroa", "genro": "nora",
    "padrinho": "madrinha", "rapaz": "moça", "embaixador": "embaixadora", "europeu": "europeia", "cru": "crua",
    "nu": "nua", "espanhol": "espanhola", "boi": "vaca", "cão": "cadela", "galo": "galinha",
    "marido": "mulher", "chorão": "chorona", "brincalhão": "brincalhona", "comilão": "comilona",
    "mandão": "mandona", "melhor": "melhor", "pior": "pior", "maior": "maior", "menor": "menor",
    "anterior": "anterior", "interior": "interior", "superior": "superior", "inferior": "inferior",
    "simples": "simples", "primeiro-ministro": "primeira-ministra", "sem-teto": "sem-teto", "cortês": "cortês",
}  # fmt: skip

ACCENTED = frozenset("áéíóúâêôàãõ")


def _pluralise_word(word: str) -> str:
    if word in PLURAL_EXCEPTIONS:
        return PLURAL_EXCEPTIONS[word]
    stem, accented_before = word[:-2], not ACCENTED.isdisjoint(word[:-2])
    if word.endswith("ão"):
        return stem + "ões"
    if word[-2:] in ("al", "ol", "ul"):
        vowel = {"a": "a", "o": "o" if accented_before else "ó", "u": "u"}[word[-2]]
        return stem + vowel + "is"
    if word.endswith("el"):
        # An accent earlier in the word means the ending is unstressed: possível, possíveis; papel, papéis.
        return stem + ("eis" if accented_before else "éis")
    if word.endswith("il"):
        return stem + ("eis" if accented_before else "is")
    if word.endswith("m"):
        return word[:-1] + "ns"
    if word.endswith(("r", "z")):
        return word + "es"
    if word.endswith("ês"):
        return stem + "eses"
    if word[-2:] in ("ás", "ís", "ós", "ús"):
        # país keeps its accent (hiatus); gás and the like lose none of it either in our lexicon.
        return word + "es"
    return word if word[-1] in "sx" else word + "s"


@cache
def plural(phrase: str) -> str:
    """The plural of a noun or adjective in the singular.

    In "dor de cabeça" the noun before the preposition takes the plural, in "ar condicionado" every word does.
    """
    words = phrase.split(" ")
    for place, word in enumerate(words):
        if word in ("de", "do", "da", "dos", "das", "em", "a", "à", "ao", "com", "sem", "para"):
            return " ".join([*map(_pluralise_word, words[:place]), *words[place:]])
    return " ".join(map(_pluralise_word, words))


@cache
def feminine(word: str) -> str:
    """The feminine singular of a masculine singular noun or adjective."""
    if word in FEMININE_EXCEPTIONS:
        return FEMININE_EXCEPTIONS[word]
    if " " in word:
        head, _, rest = word.partition(" ")
        return f"{feminine(head)} {rest}"
    if word.endswith("ão"):
        return word[:-1]
    if word.endswith("o"):
        return word[:-1] + "a"
    if word.endswith("or"):
        return word + "a"
    if word.endswith("ês"):
        return word[:-2] + "esa"
    if word.endswith("eu"):
        return word[:-2] + "eia"
    return word


def agree(adjective: str, gender: str, is_plural: bool) -> str:
    """The form of a masculine singular `adjective` beside a noun of `gender` ("m" or "f") and number."""
    form = feminine(adjective) if gender == "f" else adjective
    return plural(form) if is_plural else form
