"""Labels as files spell them: what stands for none, for the same class, for a number."""

import re
import unicodedata
from collections.abc import Iterable
from math import isfinite

# As pandas, spreadsheets and databases write what is missing.
_MISSING = {"", "nan", "none", "null", "n/a", "na", "<na>", "#n/a", "#na", "-nan"}
_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DECIMALS = {".": "point", ",": "comma"}


def is_missing(text: str) -> bool:
    """Whether `text` stands for a missing value; "na", in small letters, is a word of Portuguese."""
    text = text.strip()
    return text.casefold() in _MISSING and text not in ("na", "Na")


def class_name(label: str) -> str:
    """One spelling of a class: composed (NFC), and 1 for 1.0, which pandas makes of 1 beside a missing value."""
    label = unicodedata.normalize("NFC", label).strip()
    whole = _WHOLE.fullmatch(label)
    return whole[1] if whole else label


def number(text: str, decimal: str = ".") -> str | None:
    """A finite number in ASCII digits, with `decimal` before its fraction, as Python spells it; None for anything else.

    No 1_000 and no other digits, which Python would take; nor 1.000,5, whose point may mean either.
    """
    if decimal != ".":
        text = text.replace(".", "?").replace(decimal, ".")
    text = text.strip()
    return text if _NUMBER.fullmatch(text) and isfinite(float(text)) else None


def spelling_notes(labels: Iterable[str]) -> list[str]:
    """What to say of raw `labels`: spellings that are taken as one class, and classes that look alike."""
    spellings: dict[str, set[str]] = {}
    for label in set(labels):
        spellings.setdefault(class_name(label), set()).add(label.strip())
    notes = [
        f"class {name!r} is also spelled {', '.join(sorted(map(ascii, found - {name})))}"
        for name, found in sorted(spellings.items())
        if found != {name}
    ]
    alike: dict[object, list[str]] = {}
    for name in sorted(spellings):
        alike.setdefault(_rough(name), []).append(name)
    notes += [
        f"classes {', '.join(map(repr, names))} are told apart; spell them alike if they are one"
        for names in alike.values()
        if len(names) > 1
    ]
    # A column of texts, taken for labels by mistake, may have thousands.
    return notes if len(notes) <= 10 else [*notes[:10], f"and {len(notes) - 10} more such classes"]


def _rough(label: str) -> object:
    """What is left of a label without case, accents, spaces and the spelling of numbers."""
    plain = "".join(
        each for each in unicodedata.normalize("NFKD", label.casefold()) if unicodedata.category(each)[0] not in "MZC"
    )
    found = number(plain.replace(",", "."))
    return float(found) if found else plain.replace("_", "")
