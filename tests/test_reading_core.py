"""The README's reading core: files that exist, in the core, and short enough to be read in an afternoon."""

import re
from pathlib import Path

from tests.test_rings import CORE

ROOT = Path(__file__).parent.parent
MOST_LINES = 1_800


def test_the_reading_core_is_short() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"`([\w/]+\.py)`", readme.split("<!-- reading core -->")[1].split("\n\n")[0])
    assert len(listed) == len(set(listed)) >= 8 and {name.split("/")[0] for name in listed} <= {*CORE}
    lines = sum(len((ROOT / "tinydistil" / name).read_text(encoding="utf-8").splitlines()) for name in listed)
    assert lines <= MOST_LINES, lines


def test_the_step_is_one_screen() -> None:
    source = (ROOT / "tinydistil/distill/step.py").read_text(encoding="utf-8")
    step = source.split("    def step(")[1].split("\n    def ")[0]
    assert len(step.splitlines()) <= 50
