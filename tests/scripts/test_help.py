"""--help of every script is answered at once: without torch, and without what only a run needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinydistil.evaluate.parts import PARTS
from tinydistil.tasks.folder import KINDS

ROOT = Path(__file__).parents[2]
SAYS = {
    "distill": "--recipe",
    "pretrain": "--vocab-size",
    "prepare": "duplicates.near",
    "evaluate": ",".join(PARTS),
    "finetune": f"{{{','.join(KINDS)}}}",
    "predict": "fill-mask",
}
# An exit handler, as --help itself ends the process.
CODE = """
import atexit, runpy, sys
atexit.register(lambda: print("imported:", sorted({"torch", "scipy"} & sys.modules.keys())))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", SAYS)
def test_help_needs_no_torch(script: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.argv = ['scripts/{script}.py', '--help']{CODE}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "COLUMNS": "500"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert SAYS[script] in done.stdout and "imported: []" in done.stdout


def test_every_script_is_asked() -> None:
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == SAYS.keys()
