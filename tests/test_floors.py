"""A file of tinydistil/ imports only from lower floors, and never a test-only package (DESIGN)."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"", "errors"},
    {"config", "ranks", "files"},
    {"hub", "claim", "mapped", "arguments", "console"},
    {"text", "model"},
    {"data", "distill"},
    {"train", "evaluate"},
    {"finetune"},
    {"report", "demo", "suite"},
]
FORBIDDEN = {"transformers", "accelerate", "datasets", "sentence_transformers", "sklearn", "seqeval"}


def floor_of(module: str) -> int:
    part = module.split(".")[1] if "." in module else ""
    return next(floor for floor, names in enumerate(FLOORS) if part in names)


def imports_of(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import hides its floor"
            names += [
                f"{node.module}.{alias.name}" if node.module == "tinydistil" else str(node.module)
                for alias in node.names
            ]
    return names


def test_imports_only_from_lower_floors() -> None:
    for path in (ROOT / "tinydistil").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name in imports_of(path):
            if name.split(".")[0] == "tinydistil":
                part, own = name.split(".")[1], module.split(".")[1:2]
                # text and model are neighbours on floor 1: neither may lean on the other
                lower = part == "__version__" or floor_of(name) < floor_of(module) or [part] == own
                assert lower, f"{path} (floor {floor_of(module)}) imports {name}"


def test_no_test_only_package_at_run_time() -> None:
    for folder in ("tinydistil", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            found = FORBIDDEN & {name.split(".")[0] for name in imports_of(path)}
            assert not found, f"{path} imports {found}"
