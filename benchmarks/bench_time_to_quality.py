"""Minutes from raw text to sentence vectors of a given quality: ours beside what other libraries do with the same.

    python benchmarks/bench_time_to_quality.py --data ../shared/data --runs runs/quality --output results.jsonl

Quality is the zero-shot Pearson on ASSIN 2's pairs, which nothing is trained on. Students of one shape learn from one
teacher and one corpus, with one vocabulary; the static vectors of the last row have the teacher's. A schedule decays to
the end of its budget, so there is nothing to read off on the way: each row is trained from the start on --sentences
sentences, then on twice as many, and so on, until the last threshold is reached or the next run would take more than
--minutes. "Minutes to" a threshold are those of the quickest run whose finished student is as good.

The clock holds all from raw text on: reading and cleaning it, the vocabulary, for ours also the preparation of all of
the corpus, the teacher, training, writing, and starting Python. What comes before the teacher is the same for all runs
of a row, so it is done and timed once and counted with each. Measuring is not on the clock. What others do and where
they are treated more kindly than their examples: peer_sentence_vectors.py. Minutes are a wall clock's, so nothing else
may run; the CPU minutes beside them show whether it did. Of more cores than --threads name them: `taskset -c 0,1 python
...`, as reading text and learning a vocabulary take all that they may. What is done is kept in --runs, the same command
goes on; a run that was interrupted begins anew, so that its time is whole.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from measure import Table, machine, options_of, record

from tinydistil.base.config import Range
from tinydistil.base.console import Parser, within
from tinydistil.base.errors import require, run_script
from tinydistil.base.files import Ownership, read_json, write_json
from tinydistil.base.ranks import Ranks
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import make_vocabulary
from tinydistil.evaluate.metrics import pearson
from tinydistil.evaluate.parts import columns
from tinydistil.tasks.labelled import Columns, read_labelled

HERE = Path(__file__).resolve().parent
PEER, SCRIPTS = HERE / "peer_sentence_vectors.py", HERE.parent / "scripts"
Run = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """How a contestant trains on so many sentences into a folder, whose "student" is then measured.

    before: the stages whose time counts with each run. grows: whether more sentences make a difference.
    """

    train: Callable[[argparse.Namespace, int, Path], None]
    before: tuple[str, ...] = ()
    grows: bool = True


def main() -> None:
    """Run what is missing, then print both tables."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    told = {name: each for name, each in options_of(args).items() if name not in FREE}
    told["processor"] = str(machine()["processor"])
    with Ownership("bench.json", lambda name: False, noun="--runs").claim(args.runs, told):
        found = {name: climb(args, name) for name in args.rows or ROWS}
    tables = [thresholds_table(args, found), runs_table(found)]
    print("\n\n".join(table.markdown() for table in tables))
    print(f"\n{machine()}")
    record(
        args.output, "time_to_quality", {}, options=options_of(args), tables=[asdict(each) for each in tables],
        runs=[run for runs in found.values() for run in runs],
    )  # fmt: skip


def climb(args: argparse.Namespace, name: str) -> list[Run]:
    """Runs on more and more sentences."""
    found = [measured(args, name, args.sentences)]
    while ROWS[name].grows and found[-1]["pearson"] < max(args.thresholds) and expected(found) <= args.minutes:
        found.append(measured(args, name, 2 * found[-1]["sentences"]))
    return found


def expected(found: Sequence[Run]) -> float:
    """Minutes of the next run, on twice the sentences: a line through the last two runs; the last alone, of one."""
    minutes = [run["minutes"] for run in found]
    return minutes[-1] + 2 * (minutes[-1] - minutes[-2]) if len(minutes) > 1 else minutes[-1]


def measured(args: argparse.Namespace, name: str, sentences: int) -> Run:
    """One run: its minutes, its student's quality and size."""
    row, folder = ROWS[name], args.runs / f"{name.replace(', ', '-').replace(' ', '-')}-{sentences}"
    parts = [timed(args.runs / stage, STAGES[stage], args) for stage in row.before]
    parts.append(timed(folder, lambda args, folder: row.train(args, sentences, folder), args))
    result = folder / "result.json"
    if not result.exists():
        plan = folder / "run.json"
        precision = str(read_json(plan)["teacher_precision"]) if plan.exists() else "float32"
        minutes, cpu_minutes = (sum(seconds) / 60 for seconds in zip(*parts, strict=True))
        run = {"row": name, "sentences": sentences if row.grows else 0, "minutes": minutes, "cpu_minutes": cpu_minutes}
        write_json(result, run | {"precision": precision} | quality(args, folder / "student"))
        for large in ("cache", "checkpoints"):
            shutil.rmtree(folder / large, ignore_errors=True)
    run = dict(read_json(result))
    print(*cells_of(run), sep="  ", file=sys.stderr, flush=True)
    return run


def timed(
    folder: Path, work: Callable[[argparse.Namespace, Path], None], args: argparse.Namespace
) -> tuple[float, float]:
    """Seconds and CPU seconds that `work` took to make `folder`, now or in an earlier start of this program."""
    seconds = folder.with_suffix(".seconds")
    if not seconds.exists():
        shutil.rmtree(folder, ignore_errors=True)
        began, cpu_began = time.perf_counter(), sum(os.times()[:4])
        work(args, folder)
        write_json(seconds, {"wall": time.perf_counter() - began, "cpu": sum(os.times()[:4]) - cpu_began})
    found: dict[str, Any] = read_json(seconds)
    return found["wall"], found["cpu"]


def call(args: argparse.Namespace, script: Path, *options: object) -> None:
    """Run a script on --threads threads. Raises InputError where it ends badly."""
    command = [sys.executable, str(script), *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    require(ended.returncode == 0, f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr[-2000:]}")


def prepare_ours(args: argparse.Namespace, folder: Path) -> None:
    """The vocabulary and the shards that `distill.py --recipe vectors --corpus ... --vocab-size ...` makes first."""
    config = resolve_raw(
        {"recipe": {"name": "vectors"}, "teacher": str(args.teacher), "student": {"model": args.student},
         "corpus": [str(args.corpus)]}
    )  # fmt: skip
    make_vocabulary(config, folder, args.vocab_size, Ranks(0, 1, torch.device("cpu")), lowercase=True, resume=True)
    prepare = config.prepare
    call(
        args, SCRIPTS / "prepare.py", "--input", args.corpus, "--output", folder / "shards", "--tokenizer",
        args.teacher, "--student-tokenizer", folder / "vocabulary", "--workers", args.threads, "--max-length",
        prepare.max_length, "--set", f"pack={str(prepare.pack).lower()}", "--set", f"phrases={prepare.phrases}",
    )  # fmt: skip


def train_ours(args: argparse.Namespace, sentences: int, folder: Path) -> None:
    """Recipe `vectors` with its defaults, but for --epochs."""
    text = args.runs / "ours"
    call(
        args, SCRIPTS / "distill.py", "--recipe", "vectors", "--teacher", args.teacher, "--teacher-prefix",
        args.teacher_prefix, "--student", args.student, "--tokenizer", text / "vocabulary", "--shards", text / "shards",
        "--set", f"train.order.sequences={sentences}", "--epochs", args.epochs, "--seed", args.seed, "--device", "cpu",
        "--output", folder,
    )  # fmt: skip


def prepare_peers(args: argparse.Namespace, folder: Path) -> None:
    """The same vocabulary, and sentences."""
    call(args, PEER, "text", "--corpus", args.corpus, "--vocab-size", args.vocab_size, "--output", folder)


def train_peer(rate: float) -> Callable[[argparse.Namespace, int, Path], None]:
    """That of sentence-transformers at a learning rate."""

    def train(args: argparse.Namespace, sentences: int, folder: Path) -> None:
        call(
            args, PEER, "student", "--text", args.runs / "peers", "--teacher", args.teacher, "--teacher-prefix",
            args.teacher_prefix, "--shape", args.student, "--sentences", sentences, "--learning-rate", rate,
            "--seed", args.seed, "--output", folder,
        )  # fmt: skip

    return train


def train_static(args: argparse.Namespace, _: int, folder: Path) -> None:
    """Word vectors of the teacher's own vocabulary, which no sentence changes."""
    call(args, PEER, "static", "--teacher", args.teacher, "--output", folder)


STAGES = {"ours": prepare_ours, "peers": prepare_peers}
ROWS = {
    "tinydistil, vectors": Row(train_ours, ("ours",)),
    "sentence-transformers, as published": Row(train_peer(1e-4), ("peers",)),
    "sentence-transformers, rate 2e-3": Row(train_peer(2e-3), ("peers",)),
    "static, written after model2vec": Row(train_static, grows=False),
}
# Options that change no run.
FREE = ("output", "runs", "rows", "sentences", "minutes", "thresholds", "size")


def quality(args: argparse.Namespace, student: Path) -> dict[str, float]:
    """Pearson of the cosines with human scores, as a user of the folder finds them, and the number of parameters."""
    from sentence_transformers import SentenceTransformer  # takes seconds, which --help does without

    files = [args.data / "tasks" / "assin2" / f"assin2-{split}.xml" for split in args.splits]
    first, second, gold = columns([row for f in files for row in read_labelled(f, Columns(), numbers=True).examples])
    model = SentenceTransformer(str(student), device="cpu")
    one, other = (model.encode(texts, normalize_embeddings=True, show_progress_bar=False) for texts in (first, second))
    parameters = sum(each.numel() for each in model.parameters())
    return {"pearson": pearson(gold, (one * other).sum(1)), "parameters": parameters}


def thresholds_table(args: argparse.Namespace, found: dict[str, list[Run]]) -> Table:
    """Minutes to each threshold."""
    lines = []
    for name, runs in found.items():
        best, longest = max(run["pearson"] for run in runs), max(run["minutes"] for run in runs)
        cells = []
        for threshold in args.thresholds:
            reached = [run["minutes"] for run in runs if run["pearson"] >= threshold]
            cells.append(f"{min(reached):.1f}" if reached else f"not in {longest:.1f} (best {best:.3f})")
        lines.append((name, f"{runs[0]['parameters'] / 1e6:.2f} M", runs[0]["precision"], *cells))
    title = (
        f"minutes to a zero-shot Pearson on ASSIN 2 ({' and '.join(args.splits)}), {machine()['processor']}, threads: "
    )
    title += f"{args.threads}; {args.student}, float32, vocabulary of {args.vocab_size:,}, teacher {args.teacher.name}"
    return Table(title, ("row", "parameters", "teacher in", *map(str, args.thresholds)), tuple(lines))


def runs_table(found: dict[str, list[Run]]) -> Table:
    """What each run came to."""
    lines = (cells_of(run) for runs in found.values() for run in runs)
    return Table("each run", ("row", "sentences", "minutes", "CPU minutes", "Pearson"), tuple(lines))


def cells_of(run: Run) -> tuple[str, ...]:
    """A run as a line of the table."""
    sentences = f"{run['sentences']:,}" if run["sentences"] else "-"
    return run["row"], sentences, *(f"{run[name]:.1f}" for name in ("minutes", "cpu_minutes")), f"{run['pearson']:.3f}"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    add, whole = parser.add_argument, within(Range(1, 10**9))
    add("--data", type=Path, required=True, help="with corpus/, models/ and tasks/assin2/")
    add("--corpus", type=Path, help="raw text (default: corpus/ in --data)")
    add("--teacher", type=Path, help="a folder (default: models/e5-small-pt in --data)")
    add("--teacher-prefix", default="query: ", metavar="TEXT", help='what it reads first (default "query: ")')
    add("--student", default="2x128", metavar="SHAPE", help="default 2x128")
    add("--vocab-size", type=whole, help="of the student (default 29500)")
    add("--sentences", type=whole, help="of the first run of a row (default 2500)")
    add("--minutes", type=float, help="no run that would take more (default 16)")
    add("--epochs", type=whole, default=2, help="of ours (2); others have one, as published")
    add("--thresholds", type=float, nargs="+", default=[0.64, 0.68, 0.72], help="default 0.64 0.68 0.72")
    add("--splits", nargs="+", default=["train-only", "dev"], help="of ASSIN 2 (default train-only dev)")
    add("--rows", nargs="+", choices=ROWS, metavar="ROW", help=f"some of {'; '.join(ROWS)}")
    add("--seed", type=whole, default=1)
    add("--threads", type=whole, default=torch.get_num_threads())
    add("--size", choices=SIZES, default="full", help="small: short sentences alone and one run of a row")
    add("--runs", type=Path, required=True, metavar="DIR", help="what is done, and goes on")
    add("--output", type=Path, metavar="FILE", help="append the results to this JSONL file")
    args = parser.parse_args()
    args.teacher = args.teacher or args.data / "models" / "e5-small-pt"
    for name, value in SIZES[args.size].items():
        setattr(args, name, value if (given := getattr(args, name)) is None else given)
    args.corpus = args.data / args.corpus
    for path in (args.teacher / "config.json", args.corpus, args.data / "tasks"):
        require(path.exists(), f"{str(path)!r} is not there; see --data, --corpus and --teacher")
    return args


SIZES: dict[str, dict[str, Any]] = {
    "full": {"corpus": "corpus", "vocab_size": 29_500, "sentences": 2500, "minutes": 16.0},
    "small": {"corpus": "corpus/sentences.jsonl.gz", "vocab_size": 2000, "sentences": 1000, "minutes": 0.0},
}


if __name__ == "__main__":
    run_script(main)
