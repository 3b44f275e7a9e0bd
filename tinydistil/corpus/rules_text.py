"""Cleaning rules that mend a text: mojibake, HTML, Unicode, addresses. Each is text -> text, pure.

Every rule looks first with a cheap test whether it has anything to do: most documents need none of them.
"""

import html
import re
import unicodedata

from tinydistil.base.errors import optional

# What UTF-8 of U+0080-U+00FF and of dashes, quotes and dots looks like when it was read as Latin-1, cp1252
# or Mac Roman. After a capital, Ã with a closing mark is left out: it ends words (“IRMÃ”).
_MARKS = "€‚ƒ„†‡ˆ‰Š‹ŒŽ‘“•˜™š›œžŸ"
_CLOSING_MARKS = "”’»…–—"
_MOJIBAKE = re.compile(
    f"[ÂÃ][\x80-\xba\xbc-\xbf{_MARKS}]|(?<![A-ZÀ-Þ])[ÂÃ][{_CLOSING_MARKS}]"
    f"|â[\x80€][\x80-\xbf{_MARKS}{_CLOSING_MARKS}¦]|√[£ß©°≠≥¥∫]"
)
_ACCENTED = re.compile("[áàâãéêíóôõúç]")
# Two characters that every match of the pattern holds, to be looked for first.
_SUSPECTS = {
    **dict.fromkeys("ÂÃ", frozenset(map(chr, range(0x80, 0xC0))) | frozenset(_MARKS + _CLOSING_MARKS)),
    "â": frozenset("\x80€"),
    "√": frozenset("£ß©°≠≥¥∫"),
}

_ELEMENTS = """
    a abbr acronym address applet area article aside b base basefont big blockquote body br button canvas caption center
    cite code col dd del div dl dt em embed fieldset figcaption figure font footer form frame h1 h2 h3 h4 h5 h6 head
    header hr html i iframe img input ins kbd label legend li link main map meta nav noscript object ol optgroup option
    p param pre q s section select small source span strike strong style script sub sup table tbody td textarea tfoot th
    thead title tr tt u ul var video
"""
_INLINE_ELEMENTS = "a abbr acronym b big cite code del em font i ins kbd q s small span strike strong sub sup tt u var"
_INLINE = frozenset(_INLINE_ELEMENTS.split())
_TAG = re.compile(rf"<(/?)({'|'.join(_ELEMENTS.split())})\b((?:\s[^<>]*)?/?)>", re.IGNORECASE)
_HIDDEN = re.compile(r"<(?:(/?)(script|style)\b[^<>]*|(!)--)>?|(--)>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

_QUOTED = ('""', "''", "“”", "‘’")

# Nothing to a reader: controls, zero-width and direction marks, soft hyphens, private use, noncharacters.
# BERT's own tokenizer drops them too.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ue000-\uf8ff\U000e0000-\U000e007f\U000f0000-\U0010ffff]"
)
_LINE_ENDS = re.compile("[\x0b\x0c\u2028\u2029]")
# Bytes 0x80-0x9F read as Latin-1 were cp1252 in nearly all pages, as HTML 5 decrees too.
_CP1252 = {byte: bytes([byte]).decode("cp1252", errors="ignore") for byte in range(0x80, 0xA0)}

_URL = re.compile(
    r"""[<(\[]?(?:(?:https?|ftp)://|www\.)[^\s<>"'“”«»\])]+[^\s<>"'“”«»\]).,;:!?…]/?[>)\]]?""", re.IGNORECASE
)
# The part before @ begins where no such character stands before it, so a long run is searched only once.
_EMAIL = re.compile(r"[<(\[]?(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+[>)\]]?")
# A mark with a word behind it is that word's: "aplicativos Web .NET".
_SPACE_BEFORE_MARK = re.compile(r"(?<! ) ++([.,;:!?)\]])(?![^\W_])|([(\[]) +")
_LABEL = re.compile(r"[\w-]+(?: \w+)? ?:")


def repair_mojibake(text: str) -> str:
    """Undo a wrong decoding ("informaÃ§Ã£o" -> "informação") with ftfy, line by line where it shows.

    Raises InputError if ftfy is missing and the text needs it.
    """
    # Ã stands in every NÃO; trying the pattern on all such texts would take longer than all other rules.
    if not _suspicious(text):
        return text
    # ftfy takes 0.1 ms a line, ten times what the search costs; and a bad line must not decide for all.
    ftfy = optional("ftfy", needed_by="the rule 'mojibake'", extra="corpus")
    return "\n".join(ftfy.fix_encoding(line) if _is_garbled(line) else line for line in text.split("\n"))


def _is_garbled(line: str) -> bool:
    """Whether garbled letters are not outnumbered by sound ones, which mark a line about mojibake."""
    sound, garbled = _MOJIBAKE.subn("", line)
    return garbled > 0 and garbled >= len(_ACCENTED.findall(sound))


def _suspicious(text: str) -> bool:
    for lead, followers in _SUSPECTS.items():
        position = text.find(lead)
        while position >= 0:
            if text[position + 1 : position + 2] in followers:
                return True
            position = text.find(lead, position + 1)
    return False


def strip_html(text: str) -> str:
    """Remove tags, comments, scripts and styles with what is in them, and decode entities.

    A tag that prose only speaks of ("o elemento <p> abre um parágrafo") stays: one goes where the text also
    closes it, or it has attributes, or it breaks a line, unless it is quoted or is used as a word.
    Entities come after tags, so that "&lt;b&gt;" is read as the text "<b>".
    """
    if "<" in text and ">" in text:
        if "</" in text or "<!--" in text:
            text = _without_hidden(text)
        # Names that the text closes somewhere are used as markup there.
        closed = {match[2].lower() for match in _TAG.finditer(text) if match[1]}
        text = _TAG.sub(lambda match: _untagged(match, closed), text)
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return text


def _untagged(match: re.Match[str], closed: set[str]) -> str:
    name, text = match[2].lower(), match.string
    before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
    # With a mark right behind it a tag is used as a word: "a marca <br>."
    spoken_of = before in (" ", "(") and after in (".", ",", ";", ":", ")")
    markup = name in closed or (not spoken_of and ("=" in match[3] or name in ("br", "hr")))
    if before + after in _QUOTED or not markup:
        return match[0]
    if name in ("td", "th"):
        return " "  # the cells of a row stay on a line
    return "" if name in _INLINE else "\n"


def _without_hidden(text: str) -> str:
    """`text` without comments, scripts and styles. One pass: an opening mark never closed costs no search."""
    kept, position, opening = [], 0, None
    for match in _HIDDEN.finditer(text):
        closing, name, comment, comment_end = match.groups()
        # A second opening mark replaces the first: less is lost if that one was prose.
        if opening is None or not (closing or comment_end):
            if (name and not closing) or comment:
                opening = match
        elif (opening[2] or "").lower() == (name or "").lower():
            kept.append(text[position : opening.start()])
            position, opening = match.end(), None
    return "".join([*kept, text[position:]])


def normalise_unicode(text: str) -> str:
    """Compose to NFC, drop invisible characters, and make all spaces and line ends plain and single."""
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    lines = text.split("\n")
    # isprintable is false for everything sought here, at a fraction of the price.
    if not all(map(str.isprintable, lines)):
        text = _LINE_ENDS.sub("\n", text.translate(_CP1252))
        lines = [_INVISIBLE.sub("", line.replace("\t", " ")) for line in text.split("\n")]
    elif "  " not in text and all(lines) and lines == list(map(str.strip, lines)):
        return text
    return "\n".join(line for line in (" ".join(line.split()) for line in lines) if line)


def remove_addresses(text: str) -> str:
    """Remove URLs and e-mail addresses, with brackets of their own; a line of nothing else vanishes."""
    if not _may_hold_address(text):
        return text
    lines = (_without_addresses(line) if _may_hold_address(line) else line for line in text.split("\n"))
    return "\n".join(filter(None, lines))


def _may_hold_address(text: str) -> bool:
    # One character is found ten times as fast as two, and w is rare in Portuguese.
    url = ("/" in text and "://" in text) or ("w" in text and "www." in text) or ("W" in text and "WWW." in text)
    return url or "@" in text


def _without_addresses(line: str) -> str:
    shorter = _URL.sub("", line) if "://" in line or "www." in line or "WWW." in line else line
    shorter = _EMAIL.sub("", shorter) if "@" in shorter else shorter
    if shorter == line:
        return line
    shorter = " ".join(_SPACE_BEFORE_MARK.sub(r"\1\2", shorter).split())
    # Brackets, bullets and numbers that stood around addresses are no text, nor is "E-mail:" alone.
    return shorter if any(map(str.isalpha, shorter)) and not _LABEL.fullmatch(shorter) else ""
