"""Floor 1: cleaning rules that take away lines which are no text: furniture of pages, and menus.

Each is lines -> lines, pure. Only short lines are looked at, and only as a whole: a sentence that speaks of
cookies or of sharing is longer or goes on differently, so it stays.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from tinydistil.corpus.furniture import FIRST_WORDS, FURNITURE, NOTICE

# No furniture is longer, save cookie notices.
MAX_FURNITURE_CHARACTERS = 120
MAX_NOTICE_CHARACTERS = 400
MAX_MENU_LINE_CHARACTERS = 40
# Seen from six lines on: tables of contents, casts, polls, link lists; in shorter runs, headings.
MENU_RUN_LINES, MENU_LINE_WORDS = 6, 4

# A dash at the beginning is left alone, since it opens what somebody says ("— Assine.").
_EDGES = " :;…»«›‹<>|•·*→←▲▼[]"
# Also what ends a list's item or a heading: those lines belong to a text.
_SENTENCE_END = (".", "!", "?", ":", ";", ",", "…", "”", '"', "»", ")")
_ITEM_MARK = re.compile(r"\s*[|•·»›]\s*|\s+>\s+")


def drop_boilerplate(lines: Sequence[str]) -> list[str]:
    """Without dates, by-lines, sharing and navigation, counters, labels, cookie and copyright notices."""
    return [line for line in lines if len(line) > MAX_NOTICE_CHARACTERS or not is_boilerplate(line)]


def is_boilerplate(line: str) -> bool:
    """Whether the whole of `line` is furniture of a page, or a menu written in one line."""
    if len(line) <= MAX_FURNITURE_CHARACTERS:
        # Full stops stay: "Entrar." and "Assine." are somebody's words.
        bare = line.strip(_EDGES)
        first = bare.partition(" ")[0]
        if (first[:1].isdigit() or first.rstrip(":,.").lower() in FIRST_WORDS) and FURNITURE.fullmatch(bare):
            return True
    if "ookies" in line or "oncorda" in line:
        return NOTICE.fullmatch(line) is not None
    return is_menu_line(line)


def is_menu_line(line: str) -> bool:
    """Whether `line` is a menu or a trail of links: "Início | Notícias | Contato", "Home » Blog » Bolos"."""
    if len(line) > MAX_FURNITURE_CHARACTERS or line.endswith(_SENTENCE_END):
        return False
    # A colon tells prose ("No Opera: Exibir > Estilo > Escolher"); one letter tells formulas (x > y > z).
    if not _ITEM_MARK.search(line) or ":" in line:
        return False
    items = [item for item in _ITEM_MARK.split(line) if item]
    return len(items) >= 3 and all(2 <= len(item) <= 30 and len(item.split()) <= 4 for item in items)


def drop_menus(lines: Sequence[str]) -> list[str]:
    """Without runs of MENU_RUN_LINES or more lines of at most MENU_LINE_WORDS words that end like no sentence."""
    kept: list[str] = []
    # The short lines since the last long one; whether they are a menu shows only where they end.
    run: list[str] = []
    for line in lines:
        short = len(line) <= MAX_MENU_LINE_CHARACTERS and not line.endswith(_SENTENCE_END)
        if short and len(line.split()) <= MENU_LINE_WORDS:
            run.append(line)
            continue
        kept += run if len(run) < MENU_RUN_LINES else []
        run.clear()
        kept.append(line)
    return kept + (run if len(run) < MENU_RUN_LINES else [])


def drop_stutter(lines: Sequence[str]) -> list[str]:
    """Without lines that say one word over and over: "ha ha ha ha", "null null null null", an annotation's tags."""
    return [line for line in lines if not _stutters(line)]


def _stutters(line: str) -> bool:
    # Bills fill the lines that they leave out with dots: ". . . . .".
    words = [word for word in line.split() if word[0].isalnum()]
    again = sum(first == second for first, second in pairwise(words))
    # Three times, so that "muito, muito, muito bom" is no stutter.
    return again >= 3 and 2 * again >= len(words) - 1
