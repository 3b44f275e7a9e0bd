"""Frozen dataclasses from TOML and command-line assignments, with every key, type and range checked.

A configuration class is a frozen dataclass whose fields are bool, int, float, str, `X | None`, tuples of these, a
`Table`, further configuration classes, a number or such a class, or a text or a tuple of texts. Bounds stand beside the
type, `Annotated[int, Range(1, 1024)]`; `__post_init__` checks only what concerns several fields.
"""

import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from tinydistil.base.errors import InputError, require

Config = TypeVar("Config")

INT64 = 2**63 - 1
# Tokens of a sequence; attention over more would ask for 17 GB a head.
LONGEST = 65_536
FLOAT32 = 3.4e38
# Tables in tables and lists in lists; the deepest option (train.mask.rate) has three.
_DEEPEST = 10
# The longest documented configuration has 5 KB.
_LARGEST_FILE = 1 << 20
# What neither a name, a path nor a delimiter of a table can hold; a message with them would be two lines.
_UNPRINTABLE = re.compile("[\0\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `least` to `most`, ends in `without` excluded; of a list, how many items it may have."""

    least: float
    most: float
    without: tuple[float, ...] = ()

    def check(self, value: Any, name: str) -> None:
        """Raise InputError that names the bound which `value` breaks."""
        if isinstance(value, tuple):
            require(len(value) <= self.most, f"{name} must be a list of at most {self.most:g}, got {len(value)}")
            return
        below = value < self.least or (value == self.least and value in self.without)
        if below or value > self.most or (value == self.most and value in self.without):
            raise InputError(f"{name} must be {self._bound(isinstance(value, int), below)}, got {shown(value)}")

    def describe(self, kind: str) -> str:
        """The allowed values of a field of type `kind`, for --help."""
        if kind.startswith("list"):
            return f"{kind} of at most {self.most:g}"
        return f"{kind} {self._bound(kind == 'int', True)}".replace(" in ", " ")

    def _bound(self, whole: bool, below: bool) -> str:
        """Both ends where both are likely to be met, else the one that was."""
        ends = (self.least, self.most)
        least, most = (f"{end:,}" if abs(end) > 65_536 and end < FLOAT32 else f"{end:g}" for end in ends)
        if self.most > 65_536:
            return f"<= {most}" if not below else f"{'>' if self.least in self.without else '>='} {least}"
        opening, closing = "(" if self.least in self.without else "[", ")" if self.most in self.without else "]"
        return f"in {least}..{most}" if whole else f"in {opening}{least}, {most}{closing}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A choice among `known`; "" may be one of them and stands for none."""

    known: Sequence[str | int]

    def check(self, value: object, name: str) -> None:
        """Raise InputError with the nearest known value."""
        if value in self.known:
            return
        words = [str(each) for each in self.known if each != ""]
        if isinstance(value, str):
            raise InputError(f"{name} {shown(value)} is unknown{nearest(value, words)}")
        raise InputError(f"{name} must be {' or '.join(words)}, got {shown(value)}")

    def describe(self, kind: str) -> str:
        """The choices, for --help."""
        return "|".join(str(each) for each in self.known if each != "")


Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, FLOAT32, without=(0,))]
NonNegative = Annotated[float, Range(0, FLOAT32)]
# Of sequences, steps or rows, all of which are held or counted one by one.
Count = Annotated[int, Range(1, 10**9)]
Whole = Annotated[int, Range(0, 10**9)]
Seed = Annotated[int, Range(0, INT64)]
# Of options that somebody else checks.
Table = dict[str, object]


class Checked:
    """Base of configuration classes: however one is made, its fields are held to their types and bounds.

    table: the name of its table of options, for messages.
    """

    _table: ClassVar[str] = ""

    def __init_subclass__(cls, table: str = "") -> None:
        cls._table = f"{table}." if table else ""

    def __post_init__(self) -> None:
        for name, hint in hints_of(typing.cast(type, type(self))).items():
            _convert(hint, getattr(self, name), f"{self._table}{name}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for a mistyped name: "; did you mean 'x'?" or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name[:100], known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def shown(value: object) -> str:
    """`value` as Python writes it, on one line and cut to what a message can hold."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of over 4,300 digits; lists nested a thousand deep
        text = f"a {type(value).__name__} too large to show"
    return cut(text)


def cut(text: str) -> str:
    """As much of `text` as a message can hold."""
    return text if len(text) <= 80 else f"{text[:77]}..."


def from_mapping(cls: type[Config], values: Mapping[str, object], *, where: str = "") -> Config:
    """Build configuration `cls` from nested `values`; `where` is the dotted prefix used in messages.

    Raises InputError for an unknown key (with the nearest known one), a wrong type or a refused value.
    """
    hints = hints_of(typing.cast(type, cls))
    arguments: dict[str, object] = {}
    for key, value in values.items():
        if key not in hints:
            raise InputError(f"unknown option {shown(f'{where}{key}')}{nearest(str(key), hints)}")
        arguments[key] = _convert(hints[key], value, f"{where}{key}")
    try:
        return cls(**arguments)
    except TypeError as error:
        raise InputError(f"{where.rstrip('.') or cls.__name__}: {error}") from None


@cache
def hints_of(cls: type) -> dict[str, object]:
    """The fields of dataclass `cls` with their types, bounds included."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _convert(hint: Any, value: object, name: str) -> object:
    """`value` as one of type `hint`. Raises InputError that says what option `name` must be."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        value = _convert(arguments[0], value, name)
        for limit in arguments[1:]:
            limit.check(value, name)
        return value
    if _is_table(hint):
        return value if isinstance(value, hint) else from_mapping(hint, table_of(value, name), where=f"{name}.")
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in arguments:
            return None
        # A number or a table that makes one, a text or a list of texts: which of them tells the value.
        tables = list(filter(_is_table, arguments))
        lists = [option for option in arguments if typing.get_origin(option) is tuple]
        plain = [option for option in arguments if option not in (*tables, *lists, types.NoneType)]
        chosen = tables if tables and isinstance(value, (Mapping, *tables)) else plain or lists
        return _convert((lists if lists and isinstance(value, list | tuple) else chosen)[0], value, name)
    if origin is dict:
        pairs, kind = table_of(value, name).items(), arguments[1]
        return {key: each if kind is object else _convert(kind, each, f"{name}.{key}") for key, each in pairs}
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{name} must be a list, got {shown(value)}")
        return tuple(_convert(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value))
    if hint is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            raise InputError(f"{name} is too large for a number with a fraction, got {shown(value)}") from None
    # bool is a subclass of int, so `steps = true` would pass isinstance.
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        remedy = "; put it in quotes" if hint is str and not isinstance(value, Mapping | list) else ""
        raise InputError(f"{name} must be of type {hint.__name__}, got {shown(value)}{remedy}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} must be finite, got {value}")
    if isinstance(value, int) and abs(value) > INT64:
        raise InputError(f"{name} must fit 64 bits, got {shown(value)}")
    return value


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def table_of(value: object, name: str) -> Mapping[str, object]:
    """`value` as a table of options. Raises InputError where option `name` was given something else."""
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must be a table of options, got {shown(value)}")
    return value


def override(
    values: dict[str, object], assignments: Iterable[str], flags: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Nested option `values`, changed in place by `assignments`, then by `flags`.

    assignments: "section.key=value"; the value is TOML, bare words count as text. flags: values by dotted name, None
    where one was not given. Raises InputError for what is no such form.
    """
    for assignment in assignments:
        dotted, separator, text = assignment.partition("=")
        dotted = ".".join(key.strip() for key in dotted.split("."))
        if not separator or not all(dotted.split(".")):
            raise InputError(f"option assignment {shown(assignment)} must have the form section.key=value")
        _require_plain(assignment, "option assignment")
        try:
            # Within braces, where a comment ("3 # 4") or a second key ("3, more = 4") does not pass.
            found = tomllib.loads(f"x = {{value = {text}}}")["x"]
        except tomllib.TOMLDecodeError:
            found = {"value": text}
        except (ValueError, RecursionError) as error:
            raise InputError(f"option assignment {shown(assignment)} is not valid TOML: {_reason(error)}") from None
        value = found["value"] if len(found) == 1 else text
        _require_plain(value, f"option {dotted!r}")
        _put(values, dotted, value)
    for dotted, value in (flags or {}).items():
        if value is not None:
            _put(values, dotted, value)
    return values


def read_toml(path: Path | None) -> dict[str, object]:
    """The tables of TOML file `path`, none without one. Raises InputError if it is missing or malformed."""
    if path is None:
        return {}
    named = f"configuration file {str(path)!r}"
    require(path.exists(), f"{named} does not exist")
    small = path.is_file() and path.stat().st_size <= _LARGEST_FILE  # a pipe might never end
    require(small, f"{named} must be a regular file of at most 1 MiB")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{named} is not valid TOML: {_reason(error)}") from None
    _require_plain(values, named)
    return values


def _put(values: dict[str, object], dotted: str, value: object) -> None:
    """Set option `dotted` of nested `values`; a table's keys one by one, so that others stay."""
    *sections, key = dotted.split(".")
    table = values
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"option {dotted!r}: {section!r} must be a table of options, got {shown(inner)}")
        table = inner
    if not isinstance(table.get(key), dict):
        table[key] = value
        return
    for name, each in table_of(value, f"option {dotted!r}").items():
        _put(values, f"{dotted}.{name}", each)


def _require_plain(value: object, where: str, depth: int = 0) -> None:
    """Refuse text of several lines or with NUL, and nesting that no option has, before anything else walks it."""
    require(depth < _DEEPEST, f"{where} is nested more than {_DEEPEST} deep")
    if isinstance(value, str):
        sound = _UNPRINTABLE.search(value) is None
        require(sound, f"{where} holds a line break, a NUL or half a surrogate pair: {shown(value)}")
    for each in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _require_plain(each, where, depth + 1)


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    known = isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError)
    return str(error).splitlines()[0] if known else "a number of too many digits"


def to_mapping(config: object) -> dict[str, object]:
    """The nested plain values of a configuration, ready for JSON."""
    return dataclasses.asdict(config)  # type: ignore[call-overload, no-any-return]
