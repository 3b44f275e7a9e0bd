"""What a run enters: files and functions of tinydistil/, from the command line to the first update and in one step.

    python tests/trace_step.py --teacher bertimbau/ --student 2x128 --shards shards/ --output runs/traced --steps 3

Takes the options of scripts/distill.py, runs it in this process and prints every function with its calls, by file: up
to the first update on all threads, for the second step on the thread that trains, as `sys.setprofile` sees it, and
apart from it what other threads do meanwhile (the next batch); also the files that were imported. What Python makes of
a comprehension, and what dataclasses generate, is no function.
"""

import inspect
import json
import runpy
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = str(ROOT / "tinydistil") + "/"

Calls = Counter[tuple[str, str]]


class Trace:
    """Counts calls into the package: in `calls` while it is set, those of other threads in `elsewhere` if that is."""

    def __init__(self) -> None:
        self.calls: Calls | None = Counter()
        self.elsewhere: Calls | None = None

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        calls, code = self.calls, frame.f_code
        if event == "call" and calls is not None and code.co_filename.startswith(PACKAGE):
            name = code.co_qualname.removeprefix("<locals>.")
            # No module, class body, comprehension or lambda.
            if code.co_flags & inspect.CO_OPTIMIZED and not name.endswith(">"):
                if self.elsewhere is not None and threading.current_thread() is not threading.main_thread():
                    calls = self.elsewhere
                calls[code.co_filename.removeprefix(PACKAGE), name] += 1


def trace(arguments: list[str]) -> dict[str, Any]:
    """Run scripts/distill.py with `arguments`; what was entered up to the first update, and in the second step."""
    traced, found = Trace(), dict[str, Any]()
    start: Calls = Counter()
    traced.calls = start
    threading.setprofile(traced)
    sys.setprofile(traced)

    def watch() -> None:
        """Once torch is there: stop at the first update, and look at the second step."""
        import torch

        from tinydistil.train.loop import Loop

        update, one_step = torch.optim.AdamW.step, Loop._one_step

        def first_update(optimizer: Any, *rest: Any, **more: Any) -> Any:
            if "start" not in found:
                found["start"], found["imported"] = dict(start), _imported()
                traced.calls = None
            return update(optimizer, *rest, **more)

        def step(loop: Any, *rest: Any) -> Any:
            if loop.state.steps != 1 or "step" in found:
                return one_step(loop, *rest)
            traced.calls, traced.elsewhere = calls, elsewhere = Counter(), Counter()
            try:
                return one_step(loop, *rest)
            finally:
                traced.calls, found["step"], found["ahead"] = None, dict(calls), dict(elsewhere)

        torch.optim.AdamW.step, Loop._one_step = first_update, step  # type: ignore[method-assign, assignment]

    sys.meta_path.insert(0, _After("tinydistil.train.run", watch))
    sys.argv = ["distill.py", *arguments]
    try:
        runpy.run_path(str(ROOT / "scripts" / "distill.py"), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


class _After:
    """Calls `then` when module `name` has been imported."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self.name, self.then = name, then

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.name:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = __import__("importlib.util").util.find_spec(name)
        execute = spec.loader.exec_module

        def run(module: Any) -> None:
            execute(module)
            self.then()

        spec.loader.exec_module = run
        return spec


def _imported() -> list[str]:
    """Files of the package that are loaded, empty ones not counted."""
    paths = {str(getattr(module, "__file__", "") or "") for module in list(sys.modules.values())}
    own = (Path(path) for path in paths if path.startswith(PACKAGE))
    return sorted(str(path.relative_to(PACKAGE)) for path in own if path.stat().st_size > 0)


def summary(found: dict[str, Any]) -> dict[str, int]:
    """The numbers."""
    start, step, both = found["start"], found["step"], {**found["step"], **found["ahead"]}
    return {
        "step files": len({file for file, _ in step}),
        "step functions": len(step),
        "step calls": sum(step.values()),
        "step files, batches ahead included": len({file for file, _ in both}),
        "step functions, batches ahead included": len(both),
        "start files": len({file for file, _ in start}),
        "start functions": len(start),
        "start imported": len(found["imported"]),
    }


def main() -> None:
    """Trace, and print; with --json as the first option the numbers alone."""
    brief = sys.argv[1:2] == ["--json"]
    found = trace(sys.argv[2 if brief else 1 :])
    if brief:
        print(json.dumps(summary(found)))
        return
    titles = {"start": "from the command line to the first update", "step": "one step", "ahead": "on other threads"}
    for part, title in titles.items():
        print(f"\n{title}")
        files = sorted({file for file, _ in found[part]})
        for file in files:
            names = [f"{name} ({calls})" for (where, name), calls in found[part].items() if where == file]
            print(f"  {file}: {', '.join(names)}")
    entered = {file for file, _ in found["start"]}
    print("\nimported, none of its functions entered\n  " + "\n  ".join(sorted(set(found["imported"]) - entered)))
    print("\n" + ", ".join(f"{name} {number}" for name, number in summary(found).items()))


if __name__ == "__main__":
    main()
