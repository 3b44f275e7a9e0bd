"""What people read on a terminal: no exponents, time in units that fit."""

import math

import pytest

from tinydistil.base.console import duration, figure, per_token


@pytest.mark.parametrize(
    ("value", "text"),
    [(31_080.4, "31,080"), (6.12341, "6.1234"), (1.25e-5, "0.0000125"), (5e-4, "0.0005"), (0, "0.0000"),
     (-0.733, "-0.7330"), (823.4567, "823.5"), (-4.4e6, "-4,400,000"), (3e-12, "0.0000"), (2e38, "over 10^38"),
     (-2e38, "-over 10^38"), (math.nan, "not a number"), (math.inf, "infinite")],
)  # fmt: skip
def test_figures_have_no_exponent(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-3, "0 s"), (45.4, "45 s"), (59.7, "1 min 00 s"), (750, "12 min 30 s"), (3599.8, "1 h 00 min"),
     (11_100, "3 h 05 min"), (86_399, "1 d 00 h"), (187_200, "2 d 04 h"), (math.inf, "unknown")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_masked_lm_loss_has_its_perplexity() -> None:
    assert per_token(math.log(1234)) == "7.1180 nats per token (perplexity 1,234)"
    assert per_token(2.0).endswith("(perplexity 7.4)")
    assert per_token(1e9).endswith("(perplexity over 10^304)") and "not a number" in per_token(math.nan)
