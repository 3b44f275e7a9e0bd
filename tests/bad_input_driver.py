"""Bad inputs, generated over all scripts: none may end in a traceback, hang, or pass as if it were good.

python -m tests.bad_input_driver --count 300 --seed 1
python -m tests.bad_input_driver --only 17 --seed 1        # one of them, with all that it says
"""

import argparse
import collections
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bad_input.cases import Case, case, command_of
from tests.bad_input.material import make_material
from tests.bad_input.processes import Left, call, warm


@dataclass(frozen=True)
class Outcome:
    """A case, how it left, and the verdict: refused and accepted are right, all others failures."""

    number: int
    kind: str
    case: Case
    left: Left
    other: bool = False

    @property
    def verdict(self) -> str:
        """As `Left.verdict`; "silent" where success is wrong or gave something else."""
        verdict = self.left.verdict
        return "silent" if verdict == "accepted" and (self.case.refused or self.other) else verdict

    @property
    def failed(self) -> bool:
        """Whether this is a fault of ours."""
        return self.verdict not in ("refused", "accepted")

    def __str__(self) -> str:
        command = shlex.join([f"scripts/{self.case.script}.py", *(each[:200] for each in command_of(self.case))])
        said = "".join(f"\n    {line[:600]}" for line in self.left.err.splitlines()[-8:])
        about = f"{self.number} {self.verdict} ({self.kind}: {self.case.what}), {self.left.seconds:.1f} s"
        return f"{about}\n  {command}{said}"


def outcome(number: int, seed: int, good: Path, work: Path) -> Outcome:
    """Run case `number` of `seed` on a copy of the sound folder."""
    kind, made = case(seed, number)
    folder = work / f"case-{number}"
    shutil.copytree(good, folder, symlinks=True)
    made.change(folder)
    left = call(made.script, command_of(made), folder, environment=made.environment)
    other = left.code == 0 and bool(made.same) and (folder / made.same).read_bytes() != expected(made, good, work)
    return Outcome(number, kind, made, left, other)


def expected(made: Case, good: Path, work: Path) -> bytes:
    """What the command of `made` writes to its file `same` where nothing is damaged."""
    folder = work / f"same-{made.script}"
    if not folder.exists():
        shutil.copytree(good, folder, symlinks=True)
        left = call(made.script, command_of(made), folder)
        assert left.code == 0, left
    return (folder / made.same).read_bytes()


def main() -> None:
    """Run the cases, print each failure with its command, then the totals; exit code 1 where there was a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="print every case, not failures alone")
    parser.add_argument("--only", type=int, nargs="+", help="the numbers of some cases, told in full")
    args = parser.parse_args()
    warm()
    verdicts: collections.Counter[str] = collections.Counter()
    scripts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="bad-input-") as name:
        work = Path(name)
        make_material(work / "good")
        for number in args.only or range(args.count):
            found = outcome(number, args.seed, work / "good", work)
            verdicts[found.verdict] += 1
            scripts[found.case.script] += 1
            if found.failed or args.only or args.all:
                print(found, flush=True)
            if not args.only:
                shutil.rmtree(work / f"case-{number}", ignore_errors=True)
    print(", ".join(f"{count} {script}" for script, count in sorted(scripts.items())))
    print(f"{sum(verdicts.values())} inputs: " + ", ".join(f"{count} {word}" for word, count in verdicts.most_common()))
    sys.exit(any(word not in ("refused", "accepted") for word in verdicts))


if __name__ == "__main__":
    main()
