"""What people read and type: figures without exponents, units of time that fit, tables, the parser of all scripts."""

import argparse
import dataclasses
import difflib
import importlib
import math
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NoReturn

from tinydistil.base.config import Range, cut, hints_of, shown
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import is_utf8


def figure(value: float) -> str:
    """A number without an exponent: 31,080; 6.1234; 0.0000125. Beyond what a person reads out, its order only."""
    sign, size = "-" * (value < 0), abs(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{sign}infinite"
    if size >= 1e15:
        return f"{sign}over 10^{math.floor(math.log10(size))}"
    if 1e-9 <= size < 0.001:
        return f"{Decimal(f'{value:.3g}'):f}"
    # Tokens per second are in the hundreds, losses smaller.
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.4f}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: 45 s, 12 min 30 s, 3 h 05 min, 2 d 04 h."""
    if not math.isfinite(seconds):
        return "unknown"
    for unit, small, size, of in (("d", "h", 86_400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        # rounded first: 59.7 s are 1 min 00 s
        if (whole := round(max(seconds, 0) / of) * of) >= size:
            return f"{whole // size} {unit} {whole % size // of:02} {small}"
    return f"{max(seconds, 0):.0f} s"


def perplexity(loss: float) -> str:
    """exp(loss) of a loss in nats per token."""
    found = math.exp(min(loss, 700.0))
    return f"{found:.1f}" if found < 100 else figure(found)


# Reported numbers that are nats per token, and what a person calls them.
LANGUAGE = {"hard": "masked LM", "causal": "causal LM", "generator": "generator"}


def per_token(loss: float) -> str:
    """A loss in nats per token, with its perplexity."""
    return f"{figure(loss)} nats per token (perplexity {perplexity(loss)})"


def reported(name: str, value: float) -> str:
    """A number that training reports, with what it is called."""
    return f"{LANGUAGE[name]} {per_token(value)}" if name in LANGUAGE else f"{name.replace('_', ' ')} {figure(value)}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, figures to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [[cell.replace("|", r"\|") for cell in line] for line in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """The same with aligned columns, for a terminal; the first `left` of them to the left."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = [[*map(str.ljust, line[:left], widths), *map(str.rjust, line[left:], widths[left:])] for line in lines]
    return "\n".join("  ".join(line) for line in cells)


class Parser(argparse.ArgumentParser):
    """A parser that reports through InputError, takes no abbreviations, and shows the script's docstring as it is.

    options: the configuration class whose fields --set may name, for --help, `without` some of them; given as
    "module:Class", it is imported for --help alone.
    """

    def __init__(
        self, *args: Any, options: type | str | None = None, without: tuple[str, ...] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.formatter_class, self.allow_abbrev = argparse.RawDescriptionHelpFormatter, False
        self.options, self.without = options, without

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse. Texts and folders must be UTF-8, without which no tokenizer reads and no safetensors file opens."""
        args = sys.argv[1:] if args is None else [*args]
        for word in args:
            if word.startswith("--") and word.endswith("=--"):  # of which argparse makes an empty list
                self.error(f"argument {word[:-3]}: expected one argument")
        found = super().parse_args(args, namespace)
        for value in vars(found).values():
            for each in map(str, value if isinstance(value, list) else [value]):
                # A text file may have any name, also below folders (--input, --corpus).
                sound = is_utf8(each) or Path(each).is_file() or (isinstance(value, list) and Path(each).is_dir())
                require(sound, f"argument {shown(each)} holds a lone surrogate (bytes that are no UTF-8); rename it")
            # Longer than any path: its folders could not be made one below the other.
            require(isinstance(value, list) or len(str(value)) <= 1000, f"argument {shown(str(value))} is too long")
        return found

    def error(self, message: str) -> NoReturn:
        """Raise InputError with argparse's message; an unknown flag comes with the nearest one."""
        message = re.sub(r"^argument (\S+): must", r"\1 must", message)
        if found := re.match(r"argument (\S+): invalid (int|float) value: (.*)", message, re.DOTALL):
            kind = "a whole number" if found[2] == "int" else "a number"
            message = f"{found[1]} must be {kind}, got {cut(found[3])}"
        if found := re.match(r"unrecognized arguments: (--[^\s=]{1,100})", message):
            known = [flag for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(found[1], known, n=1)
            message += f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{' '.join(message.split())[:500]} (--help lists the options)")

    def format_help(self) -> str:
        """The help, and the options of --set where the script has it."""
        if self.options is not None:
            flags = " and ".join(flag for flag in ("--set", "--config") if flag in self._option_string_actions)
            options = self.options
            if isinstance(options, str):
                module, _, name = options.partition(":")
                options = typing.cast(type, getattr(importlib.import_module(module), name))
            self.epilog = "\n".join([f"options of {flags}:", *_option_lines(options, self.without)])
        return super().format_help()


def within(limit: Range) -> Callable[[str], int]:
    """An argparse type: a whole number within `limit`. Of other flags their configuration field holds the bounds."""

    def convert(text: str) -> int:
        value = int(text)
        try:
            limit.check(value, "")
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from None
        return value

    convert.__name__ = "int"  # for argparse's message
    return convert


def _option_lines(cls: type, without: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    """Each option of configuration `cls` by dotted name, with its values and default."""
    for field in dataclasses.fields(cls):
        name, hint, default = f"{prefix}{field.name}", hints_of(cls)[field.name], field.default
        if name in without:
            continue
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from _option_lines(hint, without, f"{name}.")
            continue
        plain = list(default) if isinstance(default, tuple) else default
        known = f" ({str(plain).lower() if isinstance(plain, bool) else plain})"
        yield f"  {name:<38} {_allowed(hint)}{known * (default not in ('', (), dataclasses.MISSING))}"


def _allowed(hint: Any) -> str:
    """The values of an option of type `hint`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return str(arguments[1].describe(_allowed(arguments[0])))
    if origin is tuple:
        return f"list of {_allowed(arguments[0])}"
    if origin is dict:
        return "table"
    if arguments:  # X | None, or a number | a table that makes one
        return _allowed(arguments[0])
    return {bool: "true|false", str: "text", int: "int", float: "number"}[hint]
