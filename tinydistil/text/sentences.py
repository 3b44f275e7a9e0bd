"""Floor 1: Portuguese paragraphs to sentences, by rules.

A sentence ends at . ! ? … (with closing quotes and brackets) before white space and something that can begin
a sentence. A dot does not end one after a title or abbreviation (Sr., art., nº.), after initials (J. K.),
inside numbers (3.000), nor where the next word goes on in lower case.
"""

import re

# Before a name or a number these never end a sentence.
_NAME_ABBREVIATIONS = """
    sr sra srs sras srta dr dra drs dras prof profa profª d dom exmo exma ilmo ilma rev revmo pe st sto
    sta eng engª arq adv des min gen cel cap ten sgt maj alm brig gov pres dep sen s.a v.exa v.sa v.ex
    v.s exa exas exª mr mrs ms jr av
"""
_BEFORE_NAMES = frozenset(_NAME_ABBREVIATIONS.split())
_NUMBER_ABBREVIATIONS = """
    art arts nº no n num p pp pág págs pag fl fls cap caps inc par parág vol vols t ed séc av r tel fone
    km cf fig figs tab tabs al v vs aprox ca cód proc rel dec reg sec seç ap apto
"""
_BEFORE_NUMBERS = frozenset(_NUMBER_ABBREVIATIONS.split())
# Marks, what closes with them, white space. Tried only where a run of marks begins, so that a line of a
# hundred thousand dots is looked at once; the look back stands behind the first mark, since a pattern that
# begins with it would be tried at every character.
_CANDIDATE = re.compile(r"""[.!?…](?<![.!?…][.!?…])[.!?…]*+[”"’')\]»]*+(\s++)""")
_OPENINGS = "—–-“\"‘'([«¿¡ "
# No abbreviation is longer, so a word without end is not searched to its beginning.
MAX_ABBREVIATION_CHARACTERS = 12


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph, without the white space between; [] for a blank one.

    Joined with single spaces they give the paragraph back, but for its own white space.
    """
    sentences, start = [], 0
    for match in _CANDIDATE.finditer(paragraph):
        mark, end = match.span()
        # Most ends stand between a word longer than any abbreviation and a capital: no more to look at.
        plain = mark >= 6 and paragraph[mark - 6 : mark].isalpha() and paragraph[end : end + 1].isupper()
        if plain or _ends_sentence(paragraph, mark, match[0].startswith(". "), end):
            sentences.append(paragraph[start : match.start(1)].strip())
            start = end
    sentences.append(paragraph[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(paragraph: str, mark: int, lone_dot: bool, following: int) -> bool:
    """Whether the mark at position `mark` ends a sentence; the next word begins at `following`."""
    next_word = paragraph[following : following + 4].lstrip(_OPENINGS)
    if not next_word or next_word[0].islower():
        # "Vem? perguntou ela." and "Ele disse... e saiu": the sentence goes on.
        return False
    # No abbreviation ends in "!", "..." or a closing quote.
    if not lone_dot:
        return True
    space = paragraph.rfind(" ", max(0, mark - MAX_ABBREVIATION_CHARACTERS), mark)
    return not _is_abbreviation(paragraph[space + 1 : mark].lstrip(_OPENINGS), next_word[0])


def _is_abbreviation(word: str, beginning: str) -> bool:
    """Whether the dot after `word` belongs to it, given the first character of what follows."""
    if len(word) == 1 and word.isupper():
        return True  # an initial: J. K. Rowling
    if beginning.isdigit():
        return word.lower() in _BEFORE_NUMBERS
    return word.lower() in _BEFORE_NAMES
