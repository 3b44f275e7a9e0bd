"""Portuguese paragraphs to sentences, by rules.

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
# Letters of a word that is no abbreviation before names, unless it is one of the few that have as many.
_PLAIN_LETTERS = 4
_LONG_ABBREVIATIONS = [each.rpartition(".")[2] for each in _BEFORE_NAMES if len(each) >= _PLAIN_LETTERS]
_NO_ABBREVIATION = "".join(rf"(?<!\b{each}. )" for each in sorted(_LONG_ABBREVIATIONS))
# Ends that need no closer look: a mark between a word that is no abbreviation and a capital. The space comes first, as
# the search for one character is what the engine does fastest.
_PLAIN_END = re.compile(rf" (?<=[.!?…] )(?<=[^\W\d_]{{{_PLAIN_LETTERS}}}. )(?=[A-ZÀ-ÖØ-Þ])(?i:{_NO_ABBREVIATION})")
# Marks, what closes with them, white space. Tried only where a run of marks begins, so that a line of a
# hundred thousand dots is looked at once; the look back stands behind the first mark, since a pattern that
# begins with it would be tried at every character.
_CANDIDATE = re.compile(r"""[.!?…](?<![.!?…][.!?…])[.!?…]*+[”"’')\]»]*+([^\S\n]++)""")
_OPENINGS = "—–-“\"‘'([«¿¡ "
# No abbreviation is longer, so a word without end is not searched to its beginning.
MAX_ABBREVIATION_CHARACTERS = 12


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, of whose lines each is a paragraph, without the white space between; [] for a blank one.

    Joined with single spaces they give the text back, but for its own white space.
    """
    text = _PLAIN_END.sub("\n", text)
    stretches, start = [], 0
    for match in _CANDIDATE.finditer(text):
        mark, end = match.span()
        if _ends_sentence(text, mark, match[0].startswith(". "), end):
            stretches.append(text[start : match.start(1)])
            start = end
    lines = "\n".join([*stretches, text[start:]]).split("\n")
    return [sentence for sentence in map(str.strip, lines) if sentence]


def _ends_sentence(text: str, mark: int, lone_dot: bool, following: int) -> bool:
    """Whether the mark at position `mark` ends a sentence; the next word begins at `following`."""
    next_word = text[following : following + 4].partition("\n")[0].lstrip(_OPENINGS)
    if not next_word or next_word[0].islower():
        # "Vem? perguntou ela." and "Ele disse... e saiu": the sentence goes on.
        return False
    # No abbreviation ends in "!", "..." or a closing quote.
    if not lone_dot:
        return True
    before = text[max(0, mark - MAX_ABBREVIATION_CHARACTERS) : mark].replace("\n", " ")
    return not _is_abbreviation(before.rpartition(" ")[2].lstrip(_OPENINGS), next_word[0])


def _is_abbreviation(word: str, beginning: str) -> bool:
    """Whether the dot after `word` belongs to it, given the first character of what follows."""
    if len(word) == 1 and word.isupper():
        return True  # an initial: J. K. Rowling
    if beginning.isdigit():
        return word.lower() in _BEFORE_NUMBERS
    return word.lower() in _BEFORE_NAMES
