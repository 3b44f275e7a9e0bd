"""What a student should be distilled by before it is tuned: recipes and terms at equal FLOPs, over seeds.

    python benchmarks/bench_recipes.py --data ../shared/data --output runs/recipes --record results.jsonl

The text, the teacher, the student's shape, batches of 32, rate and schedule are the same for all rows. Each sentence is
tokenized in two vocabularies: a lower-case one of the corpus, and the teacher's for recipes that compare token by token
(more parameters, and of masked words other losses, so random weights, `mlm` and `vectors` stand there again). What the
teacher cannot teach is in the table with the reason; one that has a masked LM head would run these rows too.

FLOPs are the products of one real step (torch's counter; a multiply-add is two) for every sequence that the student
reads, and of the teacher, in whatever precision, for every sequence it reads: each once, for a cache, which the student
then passes over --passes times; what projections are fitted on and words that begin encoded count too. So N sentences
follow from --budget; without a teacher it buys more sentences instead, each read once. Not counted: AdamW, the 32
sequences that int8 is calibrated by, measuring. In `partial` and `vectors and mlm` masks come again with each pass.

No test set is read. Zero-shot: ASSIN 2's training pairs, before any is trained on. Entailment: macro F1 on the half of
--pairs of them that shares no text with the half that is trained on (the development set leaks). Entities: F1 on
LeNER-Br's development set. In both these rows also choose the epoch. What is done is kept in --output, and the same
command goes on.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from bench_students import rows_of
from flops import CPU, cost_of, plan_of
from measure import Table, options_of, record

from tinydistil.base.config import Range
from tinydistil.base.console import Parser, within
from tinydistil.base.errors import InputError, require, run_script
from tinydistil.base.files import Ownership, read_json, write_json
from tinydistil.base.ranks import Ranks
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import make_vocabulary
from tinydistil.evaluate.parts import columns
from tinydistil.evaluate.similarity import cosine_similarity
from tinydistil.model.bert import BertModel
from tinydistil.model.sentence_folder import read_sentence_folder
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.models import build_student

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
# Of every stage, before its own settings.
COMMON = (
    "train.order.shortest=5", "train.order.longest=40", "train.order.window=32", "train.optimizer.learning_rate=2e-3",
    "train.schedule.shape=cosine", "train.schedule.warmup_share=0.05", "train.save_every=1000000",
    "train.validate_every=1000000", "train.validation_sequences=1000", "recipe.fit_sequences=512",
)  # fmt: skip
OWN, TEACHERS = "own", "teacher's"
NEW_WORDS, PCA_START = 'student.embeddings=""', ("student.vocabulary=teacher", "student.embeddings=pca")
ALONE = ("recipe.pooled=0", NEW_WORDS)
HEADS = "recipe.terms.attention.heads=mean"
Stages = tuple[tuple[str, tuple[str, ...]], ...]
# By name: the vocabulary, and what the student learns by, one after the other: a recipe and its settings.
ROWS: dict[str, tuple[str, Stages]] = {
    "random weights": (OWN, ()),
    "mlm": (OWN, (("mlm", ()),)),
    "partial": (OWN, (("partial", ()),)),
    "vectors": (OWN, (("vectors", ()),)),
    "vectors, words not encoded": (OWN, (("vectors", (NEW_WORDS,)),)),
    "mlm, then vectors": (OWN, (("mlm", ()), ("vectors", (NEW_WORDS,)))),
    "vectors and mlm": (OWN, (("vectors", ("recipe.hard=1", "train.mask.rate=0.15")),)),
    "leaf": (OWN, (("leaf", ()),)),
    "contrast": (OWN, (("contrast", ("train.batch_size=128",)),)),
    "similarity": (OWN, (("vectors", (*ALONE, "recipe.terms.similarity=1")),)),
    "layers, of words": (OWN, (("vectors", (*ALONE, 'recipe.terms.layers={unit = "word"}')),)),
    "random weights, teacher's words": (TEACHERS, ()),
    "mlm, teacher's words": (TEACHERS, (("mlm", ()),)),
    "vectors, teacher's words": (TEACHERS, (("vectors", PCA_START),)),
    "tinybert": (TEACHERS, (("tinybert", (HEADS,)),)),
    "minilm": (TEACHERS, (("minilm", (HEADS, "recipe.terms.relations.heads=16")),)),
    "minilmv2": (TEACHERS, (("minilmv2", ()),)),
    "total": (TEACHERS, (("total", ()),)),
    "distilbert": (TEACHERS, (("distilbert", ("student.start=own", "recipe.projection=student-to-teacher")),)),
}
# Options that change no row.
FREE = ("output", "record", "rows", "seeds", "jobs")
FIGURES = ("masked LM loss", "Pearson", "Spearman", "entities F1", "entailment F1")


def main() -> None:
    """Run what is missing, then print the table."""
    args = parse_arguments()
    torch.set_num_threads(1)
    told = {name: each for name, each in options_of(args).items() if name not in FREE}
    with Ownership("bench.json", lambda name: name == "text").claim(args.output, told):
        prepare(args)
        plans, refused = dict[str, list[tuple[int, int, float]]](), {}
        for row in args.rows or ROWS:
            count = len(ROWS[row][1])
            try:
                costs = [cost_of(plan_of(settings_of(args, row, number))) for number in range(count)]
                plans[row] = [each.plan(1e12 * args.budget / count, args.passes) for each in costs]
            except InputError as error:
                refused[row] = str(error)
        require(bool(plans), f"no row can be run: {', '.join(refused.values())}")
        with ThreadPoolExecutor(args.jobs) as pool:
            every = [(row, seed) for seed in range(1, args.seeds + 1) for row in plans]
            done = [pool.submit(run, args, row, seed, plans[row]) for row, seed in every]
            try:
                wait(done)  # for all: an error of one row is told when the others are done
            finally:
                pool.shutdown(cancel_futures=True)
        results = [each.result() for each in done]
        table = table_of(args, results, refused)
    print(table.markdown())
    record(args.record, "recipes", {}, tables=[asdict(table)], runs=results, options=options_of(args))


def prepare(args: argparse.Namespace) -> None:
    """A lower-case vocabulary of the corpus and the sentences in both vocabularies, as far as they are not there."""
    corpus, folder = args.data / "corpus", args.output / "text"
    config = resolve_raw({"recipe": "mlm", "corpus": [str(corpus)], "student": {"model": args.student}})
    make_vocabulary(config, folder, args.vocab_size, Ranks(0, 1, CPU), lowercase=True, resume=True)
    tasks = [path for kind in ("assin2/*.xml", "lenerbr/*.conll") for path in (args.data / "tasks").glob(kind)]
    call("prepare", "--input", corpus, "--output", folder / "shards", "--tokenizer", args.teacher,
         "--student-tokenizer", folder / "vocabulary", "--eval-set", *sorted(tasks), "--max-length", 64,
         "--workers", args.jobs, settings=["pack=false"])  # fmt: skip


def call(script: str, *options: object, settings: Sequence[str]) -> float:
    """Run one of scripts/ on one thread; its CPU seconds. Raises InputError where it ends badly."""
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, options)]
    command += [word for each in settings for word in ("--set", each)]
    with TemporaryFile() as said:
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env=one_thread)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = said.read().decode(errors="replace")[-2000:]
    require(process.returncode == 0, f"{' '.join(command)} ended with {process.returncode}: {last}")
    return usage.ru_utime + usage.ru_stime


def settings_of(args: argparse.Namespace, row: str, number: int) -> list[str]:
    """Of the `number`-th stage of a row, all but budget, seed and where a stage before has led."""
    vocabulary, stages = ROWS[row]
    recipe, own = stages[number] if stages else ("mlm", ())
    taught = (f"teacher={args.teacher}", "teacher_precision=auto", "teacher_cache=inside")
    words = args.output / "text" / "vocabulary" if vocabulary == OWN else args.teacher
    given = () if vocabulary == TEACHERS and recipe != "mlm" else (f"student.tokenizer={words}",)
    return [
        f"recipe.name={recipe}", f"shards={args.output / 'text' / 'shards'}", f"student.model={args.student}", *given,
        *(taught if recipe != "mlm" else ()), f"train.batch_size={args.batch_size}", *COMMON, *own, *args.set,
    ]  # fmt: skip


def run(args: argparse.Namespace, row: str, seed: int, plans: list[tuple[int, int, float]]) -> dict[str, Any]:
    """Distil, measure and tune one student; what is done is not done again."""
    folder = args.output / f"{row.replace(', ', '-').replace(' ', '-')}-{seed}"
    if (folder / "result.json").exists():
        return dict(read_json(folder / "result.json"))
    student, seconds = folder / "student", 0.0
    for number, (sequences, steps, _) in enumerate(plans):
        output = folder / f"stage-{number}"
        if not (timed := output.with_suffix(".seconds")).exists():
            settings = [*settings_of(args, row, number), f"train.steps={steps}", f"train.seed={seed}"]
            settings += [f"train.order.sequences={sequences}"]
            settings += [f"student.model={student}", 'student.tokenizer=""'] if number else []
            where = ("--output", output, "--resume", "auto", "--device", "cpu")
            timed.write_text(str(call("distill", *where, settings=settings)))
            for large in ("cache", "checkpoints"):
                shutil.rmtree(output / large, ignore_errors=True)
        student, seconds = output / "student", seconds + float(timed.read_text())
    if not plans:
        plan = plan_of(settings_of(args, row, 0))
        torch.manual_seed(seed)
        build_student(plan, None).bert.save_pretrained(student)
        plan.student.tokenizer.save_pretrained(student)
    names, sums = ("sentences", "steps", "flops"), map(sum, zip(*plans, strict=True)) if plans else (0, 0, 0.0)
    result = {"row": row, "seed": seed, **dict(zip(names, sums, strict=True)), "seconds": seconds}
    result |= measured(args, student, folder, seed)
    write_json(folder / "result.json", result)
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def measured(args: argparse.Namespace, student: Path, folder: Path, seed: int) -> dict[str, float | None]:
    """The size of a student and its figures, as it is and tuned."""
    model, words = BertModel.from_pretrained(student, attention="packed").eval(), Tokenizer.from_pretrained(student)
    outcome, tasks = student.parent / "outcome.json", args.data / "tasks"
    loss = read_json(outcome)["masked_lm_loss"] if outcome.exists() else None
    pairs = tasks / "assin2" / "assin2-train-only.xml"
    rated = columns(read_labelled(pairs, Columns(), numbers=True).examples)
    found = cosine_similarity(model, words, *rated, pooling=read_sentence_folder(student, model.config) or "mean")
    tuned = []
    for task, file, count, split, more in (
        ("tag", tasks / "lenerbr" / "train.conll", args.sentences, "dev", ("--dev", tasks / "lenerbr" / "dev.conll")),
        ("classify", pairs, args.pairs, "held_out", ("--hold-out", 0.5)),
    ):
        rows, output = rows_of(file, str(count), args.output / "rows"), folder / task
        call("finetune", "--model", student, "--task", task, "--train", rows, *more, "--output", output, "--resume",
             "--seeds", seed, "--device", "cpu", settings=[f"epochs={args.epochs}", "max_length=64"])  # fmt: skip
        tuned.append(read_json(output / "figures.json")[split])
    figures = (loss, found.pearson, found.spearman, tuned[0]["entity_f1"], tuned[1]["f1_macro"])
    parameters = sum(each.numel() for each in model.parameters())
    return {"parameters": parameters, **dict(zip(FIGURES, figures, strict=True))}


def table_of(args: argparse.Namespace, results: Sequence[Mapping[str, Any]], refused: Mapping[str, str]) -> Table:
    """Means and deviations over seeds; of what cannot be run, why."""
    lines = []
    for row in args.rows or ROWS:
        runs = [each for each in results if each["row"] == row]
        if row in refused:
            lines.append((f"{row}: {refused[row].partition(';')[0]}", *"-" * (len(FIGURES) + 5)))
            continue
        cells = []
        for values in ([each[name] for each in runs if each[name] is not None] for name in FIGURES):
            spread = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}" if values else "-")
        one, seconds = runs[0], statistics.fmean(each["seconds"] for each in runs)
        spent = (f"{one['flops'] / 1e12:.2f}", f"{one['sentences']:,}", f"{one['steps']:,}", f"{seconds:.0f}")
        lines.append((row, f"{one['parameters'] / 1e6:.2f} M", *cells, *spent))
    header = ("learns by", "parameters", *FIGURES, "TFLOP", "sentences", "steps", "CPU seconds")
    return Table(f"{args.student}, teacher {args.teacher.name}; seeds: {args.seeds}", header, tuple(lines))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="with corpus/, tasks/assin2/ and tasks/lenerbr/")
    parser.add_argument("--teacher", type=Path, help="default: models/e5-small-pt in --data")
    parser.add_argument("--student", default="2x128", metavar="SHAPE", help="default 2x128")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help=f"some of {'; '.join(ROWS)}")
    parser.add_argument("--budget", type=float, default=8.0, help="TFLOP of a run (default 8)")
    for name, default, help in (
        ("seeds", 3, "runs of each row"), ("jobs", 2, "runs side by side, a thread each"),
        ("vocab-size", 8000, "of the student's own vocabulary"), ("batch-size", 32, "sequences of a step"),
        ("passes", 6, "over what a teacher has read"), ("pairs", 4000, "of ASSIN 2, half of them to tune on"),
        ("sentences", 1500, "of LeNER-Br to tune on"), ("epochs", 5, "of tuning"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=within(Range(1, 10**9)), default=default, help=f"{help} ({default})")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of distill.py, for all rows")
    parser.add_argument("--output", type=Path, required=True, help="what is done, and goes on")
    parser.add_argument("--record", type=Path, metavar="FILE", help="a JSONL file to append to")
    args = parser.parse_args()
    args.teacher = args.teacher or args.data / "models" / "e5-small-pt"
    for path in (args.teacher / "config.json", args.data / "corpus", args.data / "tasks"):
        require(path.exists(), f"{str(path)!r} is not there; see --data and --teacher")
    return args


if __name__ == "__main__":
    run_script(main)
