"""Floor 1: all cleaning rules in order; every document ends kept or dropped by exactly one named rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from tinydistil.base.config import AtMost, Checked, Count, NonNegative, Share
from tinydistil.base.errors import require
from tinydistil.corpus import rules_document as tests
from tinydistil.corpus.document import Document
from tinydistil.corpus.rules_document import Measured
from tinydistil.corpus.rules_lines import drop_boilerplate, drop_menus, drop_stutter
from tinydistil.corpus.rules_text import normalise_unicode, remove_addresses, repair_mojibake, strip_html
from tinydistil.corpus.sentences import split_sentences

TEXT_RULES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("mojibake", repair_mojibake),
    ("html", strip_html),
    ("unicode", normalise_unicode),
    ("addresses", remove_addresses),
)
LINE_RULES: dict[str, Callable[[Sequence[str], "CleanConfig"], list[str]]] = {
    # Menus first: their items are often furniture too ("Contato"), and without these a run would look short.
    "menus": lambda lines, config: drop_menus(lines, run_lines=config.menu_run_lines, max_words=config.menu_line_words),
    "boilerplate": lambda lines, config: drop_boilerplate(lines),
    # Only where a document repeats itself: it is judged again without these lines.
    "stutter": lambda lines, config: drop_stutter(lines),
}


@dataclass(frozen=True)
class CleanConfig(Checked, table="clean"):
    """A switch for each rule, and its limits. Shares are between 0 and 1."""

    mojibake: bool = True
    html: bool = True
    unicode: bool = True
    addresses: bool = True
    boilerplate: bool = True
    menus: bool = True
    # Seen from six lines on: tables of contents, casts, polls, link lists; in shorter runs, headings.
    menu_run_lines: Count = 6
    menu_line_words: Count = 4
    stutter: bool = True
    too_long: bool = True
    # Longer than a long novel; on the web such a text is a dump, and its beginning is no better than its end.
    max_characters: Count = 1_000_000
    too_short: bool = True
    # Ten words fill a tenth of a sequence of 128 tokens. Corpora of a sentence a line want 3 or so.
    min_words: Count = 10
    undecodable: bool = True
    # One word in seven has an accent in Portuguese: a wrong encoding shows at seven times this share.
    max_undecodable: Share = 0.02
    symbols: bool = True
    # Of the real documents this was tuned on, technical ones among them, one in a thousand has over 0.06.
    max_symbols: Share = 0.08
    digits: bool = True
    # Of the same documents one in a thousand has over 0.075.
    max_digits: Share = 0.20
    word_length: bool = True
    # Bytes; 99.8 % of the same documents lie between 3.5 and 7.4.
    min_word_length: NonNegative = 2.5
    max_word_length: NonNegative = 10.0
    repeated_lines: bool = True
    # Both as in Gopher.
    max_repeated_lines: Share = 0.30
    max_repeated_line_characters: Share = 0.20
    repeated_ngrams: bool = True
    # Gopher's 0.20 to 0.16 and 0.15 to 0.10 dropped a tenth of the real documents this was tuned on: reports
    # that quote, tutorials, court rulings. At these all that was dropped was read and is templates.
    max_top_ngrams: Annotated[tuple[Share, ...], AtMost(20)] = (0.30, 0.30, 0.30)
    max_repeated_ngrams: Annotated[tuple[Share, ...], AtMost(20)] = (0.50, 0.48, 0.46, 0.44, 0.42, 0.40)
    language: bool = True
    # Nats: e^7 is odds of a thousand to one.
    language_margin: NonNegative = 7.0
    # Five foreign sentences have 0.8 (Galician) to 3.7 (English); Portuguese about English mostly less.
    language_margin_per_word: NonNegative = 0.3
    no_prose: bool = True
    # 99 % of the same documents have over 0.32, one in a thousand under 0.15; lists of keywords have 0.
    min_prose: Share = 0.12

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.min_word_length < self.max_word_length,
            f"min_word_length must be below max_word_length, got {self.min_word_length} and {self.max_word_length}",
        )


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`document` as cleaned; `dropped_by` names the one rule that drops it, None if it is kept.

    `removed` pairs each text and line rule that changed the text with the characters it took away.
    """

    document: Document
    dropped_by: str | None
    removed: tuple[tuple[str, int], ...]


def clean_document(document: Document, config: CleanConfig) -> Cleaned:
    """Mend `document`, take out lines that are no text, and judge what is left. Pure.

    Raises InputError if a package that a rule needs for this document is missing.
    """
    removed: list[tuple[str, int]] = []
    text = document.text
    for name, rule in TEXT_RULES:
        if getattr(config, name):
            # A rule with nothing to do gives the same object back, so this comparison is free.
            changed = rule(text)
            if changed != text:
                removed.append((name, max(0, len(text) - len(changed))))
            text = changed
    left = Measured(text, text.split("\n"))
    left = _without(_without(left, "menus", config, removed), "boilerplate", config, removed)
    dropped_by = dropping_rule(left, config)
    if dropped_by == "repeated_ngrams":
        left = _without(left, "stutter", config, removed)
        dropped_by = dropping_rule(left, config)
    if left.text != document.text:
        document = replace(document, text=left.text, sentences=_sentences(document, left.lines))
    return Cleaned(document, dropped_by, tuple(removed))


def _without(text: Measured, name: str, config: CleanConfig, removed: list[tuple[str, int]]) -> Measured:
    """`text` without the lines that line rule `name` takes away, which are counted in `removed`."""
    lines = LINE_RULES[name](text.lines, config) if getattr(config, name) else text.lines
    if len(lines) == len(text.lines):
        return text
    shorter = Measured("\n".join(lines), lines)
    removed.append((name, len(text.text) - len(shorter.text)))
    return shorter


def _sentences(document: Document, lines: Sequence[str]) -> tuple[tuple[str, ...], ...] | None:
    """The format's own sentences where a paragraph is unchanged, else those of its cleaned text."""
    if document.sentences is None:
        return None
    original = {" ".join(sentences): sentences for sentences in document.sentences}
    return tuple(original.get(line) or tuple(split_sentences(line)) for line in lines if line)


def dropping_rule(text: Measured, config: CleanConfig) -> str | None:
    """The name of the first document rule that drops `text`, None if all let it pass."""
    return next((name for name, test in _DOCUMENT_TESTS if getattr(config, name, True) and test(text, config)), None)


# The cheapest first. "empty" has no switch: a document without words can never be kept.
_DOCUMENT_TESTS: tuple[tuple[str, Callable[[Measured, CleanConfig], bool]], ...] = (
    ("empty", lambda text, config: not text.words),
    ("too_long", lambda text, config: tests.too_long(text, max_characters=config.max_characters)),
    ("too_short", lambda text, config: tests.too_short(text, min_words=config.min_words)),
    ("undecodable", lambda text, config: tests.undecodable(text, max_share=config.max_undecodable)),
    ("symbols", lambda text, config: tests.symbols(text, max_share=config.max_symbols)),
    ("digits", lambda text, config: tests.digits(text, max_share=config.max_digits)),
    (
        "word_length",
        lambda text, config: tests.word_length(text, shortest=config.min_word_length, longest=config.max_word_length),
    ),
    (
        "repeated_lines",
        lambda text, config: tests.repeated_lines(
            text, max_lines=config.max_repeated_lines, max_characters=config.max_repeated_line_characters
        ),
    ),
    (
        "repeated_ngrams",
        lambda text, config: tests.repeated_ngrams(
            text, top_shares=config.max_top_ngrams, repeated_shares=config.max_repeated_ngrams
        ),
    ),
    (
        "language",
        lambda text, config: tests.language(
            text, margin=config.language_margin, margin_per_word=config.language_margin_per_word
        ),
    ),
    ("no_prose", lambda text, config: tests.no_prose(text, min_share=config.min_prose)),
)
DOCUMENT_RULES = tuple(name for name, _ in _DOCUMENT_TESTS)
RULES = (*(name for name, _ in TEXT_RULES), *LINE_RULES, *DOCUMENT_RULES)
