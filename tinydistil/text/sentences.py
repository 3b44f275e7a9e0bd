"""Floor 1: Portuguese paragraphs to sentences, by rules.

A sentence ends at . ! ? … (with closing quotes and brackets) before white space and something that can begin
a sentence. A dot does not end one after a title or abbreviation (Sr., art., nº.), after initials (J. K.),
inside numbers (3.000), nor where the next word goes on in lower case.
"""

import re

# Before a name or a number these never end a sentence.
_BEFORE_NAMES = frozenset(
    """sr sra srs sras srta dr dra drs dras prof profa profª d dom exmo exma ilmo ilma rev revmo pe st sto sta
    eng engª arq adv des min gen cel cap ten sgt maj alm brig gov pres dep sen ver s.a v.exa v.sa v.ex v.s exa
    exas exª mr mrs ms jr""".split()
)
_BEFORE_NUMBERS = frozenset(
    """art arts nº no n num p pp pág págs pag fl fls cap caps inc par parág vol vols t ed séc av r tel fone ramal
    km cf fig figs tab tabs item al v vs aprox ca cód proc rel res lei dec reg sec seç ap apto""".split()
)
# These may end a sentence, so they are no end only where the next word is in lower case.
_CANDIDATE = re.compile(r"""(?P<mark>\.{3}|…|[.!?]+)(?P<close>[”"’')\]»]*)(?P<space>\s+)(?=(?P<next>[—–\-“"‘'(\[«¿¡]*\s?\w))""")
_WORD_BEFORE = re.compile(r"[\w.ªº-]+$")


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph, without the white space between; [] for a blank one.

    Joined with single spaces they give the paragraph back, but for its own white space.
    """
    sentences, start = [], 0
    for match in _CANDIDATE.finditer(paragraph):
        if _ends_sentence(paragraph, match):
            sentences.append(paragraph[start:match.start("space")].strip())
            start = match.end("space")
    sentences.append(paragraph[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(paragraph: str, match: re.Match[str]) -> bool:
    beginning = match["next"][-1]
    if beginning.islower():
        # "Vem? perguntou ela." and "Ele disse... e saiu": the sentence goes on.
        return False
    if match["mark"] != "." or match["close"]:
        return True
    # 40 characters: no abbreviation is longer, and a word without end is not searched to its beginning.
    word = _WORD_BEFORE.search(paragraph[max(0, match.start() - 40):match.start()])
    return word is None or not _is_abbreviation(word[0], beginning)


def _is_abbreviation(word: str, beginning: str) -> bool:
    """Whether the dot after `word` belongs to it, given the first character of what follows."""
    lowered = word.lower()
    if len(word) == 1 and word.isupper():
        return True  # an initial: J. K. Rowling
    if lowered in _BEFORE_NAMES:
        return not beginning.isdigit()
    return beginning.isdigit() and lowered in _BEFORE_NUMBERS
