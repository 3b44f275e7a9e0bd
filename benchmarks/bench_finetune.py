"""Fine-tuning on ASSIN 2's entailment: our loop against a plain `transformers` loop that pads to 128.

    python benchmarks/bench_finetune.py --data ../shared/data --pairs 6500 --epochs 3

Both train bert-tiny's shape from the same random weights, 32 pairs a step, AdamW at the same rate with the same
warm-up, and both are then asked for the same development pairs. Batches differ: ours hold pairs of like length.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from measure import machine, record

from tinydistil.base.ranks import Ranks
from tinydistil.evaluate.metrics import precision_recall_f1
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import new_shape
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import new_model, save
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.train_task import fine_tune
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.records import Records

LENGTH = 128
CONFIG = FineTuneConfig(batch_size=32, learning_rate=5e-4, max_length=LENGTH, pooling="pooler")


def main() -> None:
    """Train both, ours first, then theirs, and print pairs a second and macro F1 on the development pairs."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    tasks = args.data / "tasks" / "assin2"
    training, dev = (
        read_labelled(tasks / f"assin2-{split}.xml", Columns(), numbers=False).examples
        for split in ("train-only", "dev")
    )
    # The files are sorted by label: a few of all, not the first few.
    training, dev = (rows[:: max(1, len(rows) // args.pairs)][: args.pairs] for rows in (training, dev))
    config = replace(CONFIG, epochs=args.epochs)
    with tempfile.TemporaryDirectory() as work:
        tokenizer = Tokenizer.from_pretrained(args.data / "models" / "bertimbau-base-cased")
        encoder, start = Path(work) / "encoder", Path(work) / "start"
        BertForMaskedLM(new_shape(2, 128, tokenizer.vocab_size)).save_pretrained(encoder)
        tokenizer.save_pretrained(encoder)
        task = TextTask.of("classify", training, tokenizer, LENGTH)
        save(new_model(encoder, task, pooling="pooler", seed=1), task, start)
        results = {
            "ours": measured(lambda: train_ours(start, task, training, dev, config, Path(work)), len(training), config),
            "transformers, padded to 128": measured(
                lambda: train_theirs(start, task, training, dev, config), len(training), config
            ),
        }
    for name, (rate, f1) in results.items():
        print(f"{name:<28} {rate:8.1f} pairs/s   F1 {f1:.4f}")
    (ours, _), (theirs, _) = results.values()
    print(f"{ours / theirs:.2f}x   {machine()}")
    record(args.record, "finetune", {}, pairs=len(training), epochs=args.epochs, results=results)


def measured(train: Callable[[], tuple[float, float]], pairs: int, config: FineTuneConfig) -> tuple[float, float]:
    """Pairs a second of training alone, and the F1 after it."""
    seconds, f1 = train()
    return pairs * config.epochs / seconds, f1


def train_ours(
    start: Path,
    task: TextTask,
    training: Sequence[LabelledText],
    dev: Sequence[LabelledText],
    config: FineTuneConfig,
    work: Path,
) -> tuple[float, float]:
    """Seconds, tokenizing and checkpoints included, and F1."""
    model = new_model(start, task, pooling="pooler", seed=1)
    started = time.perf_counter()
    fine_tune(
        model, task.encode(training), config, pad_id=task.tokenizer.pad_id, checkpoints=work / "checkpoints",
        ranks=Ranks(0, 1, torch.device("cpu")), records=Records(None),
    )  # fmt: skip
    seconds = time.perf_counter() - started
    return seconds, task.figures(task.evidence(dev, task.predict(model, dev)))["f1_macro"]


def train_theirs(
    start: Path, task: TextTask, training: Sequence[LabelledText], dev: Sequence[LabelledText], config: FineTuneConfig
) -> tuple[float, float]:
    """The same with a loop as tutorials have it."""
    model = transformers.BertForSequenceClassification.from_pretrained(start).train()
    tokenizer = transformers.AutoTokenizer.from_pretrained(start)
    numbers = {label: i for i, label in enumerate(task.labels)}
    torch.manual_seed(1)
    started = time.perf_counter()
    loader = torch.utils.data.DataLoader(list(training), 32, shuffle=True, drop_last=True, collate_fn=list)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = round(config.epochs * len(loader))
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(0.1 * steps), steps)
    done = 0
    while done < steps:
        for rows in loader:
            inputs = tokenizer([r.text for r in rows], [r.second for r in rows], padding="max_length",
                               max_length=LENGTH, truncation=True, return_tensors="pt")  # fmt: skip
            model(**inputs, labels=torch.tensor([numbers[r.label] for r in rows])).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            done += 1
    seconds = time.perf_counter() - started
    found = []
    with torch.inference_mode():
        for row in dev:
            inputs = tokenizer(row.text, row.second, max_length=LENGTH, truncation=True, return_tensors="pt")
            found.append(int(model.eval()(**inputs).logits.argmax()))
    return seconds, precision_recall_f1([numbers[row.label] for row in dev], found, average="macro").f1


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with tasks/ and models/")
    parser.add_argument("--pairs", type=int, default=6500, help="training pairs (default: all 6,500)")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, help="append one JSON line of results to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
