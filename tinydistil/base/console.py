"""Figures as people read them: no exponents, units of time that fit, tables."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal


def figure(value: float) -> str:
    """A number without an exponent: 31,080; 6.1234; 0.0000125. Beyond what a person reads out, its order only."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{'-' * (value < 0)}infinite"
    if abs(value) >= 1e15:
        return f"{'-' * (value < 0)}over 10^{math.floor(math.log10(abs(value)))}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:  # tokens per second, say; losses are smaller
        return f"{value:.1f}"
    return f"{value:.4f}" if abs(value) >= 0.001 or abs(value) < 1e-9 else f"{Decimal(f'{value:.3g}'):f}"


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


def masked_lm(loss: float) -> str:
    """A masked LM loss in nats per token, with its perplexity."""
    return f"{figure(loss)} nats per token (perplexity {perplexity(loss)})"


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
