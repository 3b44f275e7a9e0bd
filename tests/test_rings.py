"""The rings of the house (DESIGN): the core imports nothing of the tools, and nobody a test-only package."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
# From the innermost room out: a room imports from those before it.
CORE = ("base", "tokenizer", "model", "batches", "distill", "train")
TOOLS = ("corpus", "evaluate", "tasks", "demo")
FORBIDDEN = {"transformers", "accelerate", "datasets", "sentence_transformers", "sklearn", "seqeval", "datatrove"}


def imports_of(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its room"
            names += [
                f"{node.module}.{alias.name}" if node.module == "tinydistil" else str(node.module)
                for alias in node.names
            ]
    return names


def rooms_imported(room: str) -> set[tuple[str, str]]:
    """(file, room) for each import of another room by a file of `room`."""
    return {
        (str(path.relative_to(ROOT)), name.split(".")[1])
        for path in (ROOT / "tinydistil" / room).rglob("*.py")
        for name in imports_of(path)
        if name.startswith("tinydistil.") and name.split(".")[1] not in (room, "__version__")
    }


def test_every_folder_is_in_a_ring() -> None:
    folders = {path.parent.relative_to(ROOT / "tinydistil").parts[0] for path in ROOT.glob("tinydistil/*/*.py")}
    assert folders == {*CORE, *TOOLS}


def test_the_core_imports_nothing_of_the_tools() -> None:
    for room in CORE:
        found = {(path, other) for path, other in rooms_imported(room) if other in TOOLS}
        assert not found, sorted(found)


def test_a_room_of_the_core_imports_only_inner_rooms() -> None:
    for number, room in enumerate(CORE):
        found = {(path, other) for path, other in rooms_imported(room) if other in CORE[number:]}
        assert not found, sorted(found)


def test_no_test_only_package_at_run_time() -> None:
    for folder in ("tinydistil", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            found = FORBIDDEN & {name.split(".")[0] for name in imports_of(path)}
            assert not found, f"{path} imports {found}"
