"""Ways of distilling a sentence encoder into 2 x 128: which of them makes the student's own vector better?

    python benchmarks/bench_sentences.py --data ../shared/data --shards shards/ --output results.jsonl

Each row is a run of `scripts/distill.py --recipe partial` from the same random weights, on the same sentences in the
same order, with e5-small-pt as the teacher in int8. Beside the zero-shot Pearson of the vector that the written folder
gives stands that of the projected one, where a projection was learned; the folder has no place for it. `--shards` are
those of `prepare.py --tokenizer e5-small-pt/ --student-tokenizer bert-tiny/ --set pack=false`: a sentence each.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from measure import Table, machine, options_of, record
from torch import nn
from torch.nn import functional as F

from tinydistil.base.errors import require, run_script
from tinydistil.evaluate.inference import embed
from tinydistil.evaluate.metrics import pearson
from tinydistil.evaluate.parts import columns
from tinydistil.evaluate.similarity import cosine_similarity, untrained_copy, word_overlap
from tinydistil.model.bert import BertModel
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.plan import CHECKPOINTS
from tinydistil.train.records import CheckpointStore

SCRIPT = Path(__file__).parents[1] / "scripts" / "distill.py"
# For all: no masked words; sentences of like length together.
COMMON = ["recipe.hard=0", "train.mask.rate=0", "train.order.window=50"]
POOLED, WORDS = ["recipe.pooled=1", "recipe.hidden=0"], ["recipe.pooled=0", "recipe.hidden=1"]
BOTH = ["recipe.pooled=1", "recipe.hidden=0.3"]
LEARNED, PCA = ["recipe.projection=student-to-teacher"], ["recipe.projection=pca"]
AS_IS = ["recipe.centred=false", "recipe.whitening=0"]
CENTRED = ["recipe.centred=true", "recipe.whitening=0"]
WHITENED = ["recipe.centred=true", "recipe.whitening=1"]
ROWS = {
    "pooled, learned projection": [*POOLED, *LEARNED, *AS_IS],
    "pooled, learned projection, centred": [*POOLED, *LEARNED, *CENTRED],
    "pooled, PCA": [*POOLED, *PCA, *AS_IS],
    "pooled, PCA, centred": [*POOLED, *PCA, *CENTRED],
    "pooled, PCA, centred, whitened": [*POOLED, *PCA, *WHITENED],
    "per word, PCA": [*WORDS, *PCA, *AS_IS],
    "per word, PCA, centred": [*WORDS, *PCA, *CENTRED],
    "per word, PCA, centred, whitened": [*WORDS, *PCA, *WHITENED],
    "both, PCA": [*BOTH, *PCA, *AS_IS],
    "both, PCA, centred": [*BOTH, *PCA, *CENTRED],
    "both, PCA, centred, whitened": [*BOTH, *PCA, *WHITENED],
}


def main() -> None:
    """Run every row and print one table, floors first."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    files = [args.data / "tasks" / "assin2" / f"assin2-{split}.xml" for split in args.splits]
    pairs = columns([row for file in files for row in read_labelled(file, Columns(), numbers=True).examples])
    rows = [("shared words, no model", f"{word_overlap(*pairs).pearson:.3f}", "-")]
    for name, settings in ROWS.items():
        folder = args.runs / name.replace(", ", "-").replace(" ", "-")
        distil(args, folder, settings)
        model = BertModel.from_pretrained(folder / "student", attention="packed").eval()
        tokenizer = Tokenizer.from_pretrained(folder / "student")
        if len(rows) == 1:
            untrained = cosine_similarity(untrained_copy(model), tokenizer, *pairs)
            rows.append(("untrained student", f"{untrained.pearson:.3f}", "-"))
        raw, learned = cosine_similarity(model, tokenizer, *pairs).pearson, learned_map(folder)
        projected = "-" if learned is None else f"{projected_pearson(model, tokenizer, learned, *pairs):.3f}"
        rows.append((name, f"{raw:.3f}", projected))
        print(*rows[-1], sep="  ", flush=True)
    title = (
        f"zero-shot Pearson on ASSIN 2 ({' and '.join(args.splits)}); {args.sentences:,} sentences, seed {args.seed}"
    )
    table = Table(title, ("row", "the folder's vector", "projected"), tuple(rows))
    print(f"\n{table.text()}\n{machine()}")
    record(args.output, "sentences", {}, options=options_of(args), tables=[asdict(table)])


def distil(args: argparse.Namespace, folder: Path, settings: list[str]) -> None:
    """One run, or what it left where it was made before. Raises InputError if it ended badly."""
    changes = [*COMMON, f"train.order.longest={args.longest}", f"train.order.sequences={args.sentences}", *settings]
    models = args.data / "models"
    command = [
        sys.executable, str(SCRIPT), "--recipe", "partial", "--teacher", str(models / "e5-small-pt"),
        "--teacher-precision", "int8", "--student", "2x128", "--tokenizer", str(models / "bert-tiny"),
        "--shards", str(args.shards), "--batch-size", "64", "--learning-rate", "2e-3", "--epochs", "1",
        "--seed", str(args.seed), "--output", str(folder), "--resume", "auto",
        *(part for change in changes for part in ("--set", change)),
    ]  # fmt: skip
    ended = subprocess.run(command, stdout=subprocess.DEVNULL)
    require(ended.returncode == 0, f"{' '.join(command)} ended with {ended.returncode}")


def learned_map(folder: Path) -> nn.Linear | None:
    """The pooled vector's learned projection, D -> E, from the last checkpoint; None where it is not learned."""
    last = CheckpointStore(folder / CHECKPOINTS, keep_last=1, say=print).latest()
    assert last is not None, "the run has ended well"
    if (weight := last.learner.get("terms.pooled.projection.map.weight")) is None:
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": last.learner["terms.pooled.projection.map.bias"]})
    return linear


@torch.no_grad()
def projected_pearson(
    model: BertModel,
    tokenizer: Tokenizer,
    projection: nn.Linear,
    first: Sequence[str],
    second: Sequence[str],
    gold: Sequence[float],
) -> float:
    """As `cosine_similarity`, of mean vectors (N, D) that are projected to (N, E) before."""
    left, right = (
        projection(torch.from_numpy(np.stack([each.vector for each in embed(model, tokenizer, texts, batch_size=64)])))
        for texts in (first, second)
    )
    return pearson(gold, F.cosine_similarity(left.double(), right.double()).numpy())


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with models/ and tasks/")
    parser.add_argument("--shards", type=Path, required=True, help="sentences in both vocabularies")
    parser.add_argument("--runs", type=Path, default=Path("runs/sentences"), help="where the runs are written")
    parser.add_argument(
        "--splits", nargs="+", default=["train-only", "dev"], help="of ASSIN 2; no score trains anything"
    )
    parser.add_argument("--sentences", type=int, default=30_000)
    parser.add_argument("--longest", type=int, default=36, help="tokens of a sentence at most (default 36)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, metavar="FILE", help="append the results to this JSONL file")
    return parser.parse_args()


if __name__ == "__main__":
    run_script(main)
