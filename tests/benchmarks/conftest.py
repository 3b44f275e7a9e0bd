"""The benchmarks as modules, and their arguments at the small size."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# As when one of them is run: they import each other by bare names.
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def small(tmp_path: Path) -> Namespace:
    """What `--size small` means, on embedded text: what is tested must not depend on data beside the repository."""
    from workload import add_arguments

    parser = ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--size", "small", "--rounds", "1", "--threads", "1", "--data", str(tmp_path)])
    args.device, args.precision = "cpu", "float32"
    return args
