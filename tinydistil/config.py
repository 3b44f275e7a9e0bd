"""Floor 0: frozen dataclasses from TOML and command-line assignments, with every key and type checked.

A configuration class is a frozen dataclass whose fields are bool, int, float, str, `X | None`,
tuples of these, or further configuration classes. Its `__post_init__` checks the values.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from tinydistil.errors import InputError

Config = TypeVar("Config")


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for a mistyped name: "; did you mean 'x'?" or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def from_mapping(cls: type[Config], values: Mapping[str, object], *, where: str = "") -> Config:
    """Build configuration `cls` from nested `values`; `where` is the dotted prefix used in messages.

    Raises InputError for an unknown key (with the nearest known one), a wrong type or a refused value.
    """
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    arguments: dict[str, object] = {}
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in fields:
            raise InputError(f"unknown option {name!r}{nearest(key, fields)}")
        arguments[key] = _convert(hints[key], value, name)
    try:
        return cls(**arguments)
    except TypeError as error:
        raise InputError(f"{where.rstrip('.') or cls.__name__}: {error}") from None


def _convert(hint: object, value: object, name: str) -> object:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise InputError(f"{name} must be a table of options, got {value!r}")
        return from_mapping(hint, value, where=f"{name}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = (option for option in arguments if option is not types.NoneType)
        return _convert(inner, value, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{name} must be a list, got {value!r}")
        return tuple(_convert(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{name} is too large: {str(value)[:20]}...") from None
    # bool is a subclass of int, so `steps = true` would pass isinstance.
    if not isinstance(value, typing.cast(type, hint)) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{name} must be of type {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def read_toml(path: Path) -> dict[str, object]:
    """The tables of TOML file `path`. Raises InputError if it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"configuration file {str(path)!r} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"configuration file {str(path)!r} is not valid TOML: {error}") from None


def assign(values: dict[str, object], assignment: str) -> None:
    """Apply "section.key=value" to nested `values` in place; the value is TOML, bare words count as text."""
    dotted, separator, text = assignment.partition("=")
    if not separator or not dotted.strip():
        raise InputError(f"option assignment {assignment!r} must have the form section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, key = dotted.strip().split(".")
    table = values
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"option {dotted!r}: {section!r} is a value, not a table")
        table = inner
    table[key] = value


def to_mapping(config: object) -> dict[str, object]:
    """The nested plain values of a configuration, ready for JSON."""
    return dataclasses.asdict(config)  # type: ignore[call-overload, no-any-return]
