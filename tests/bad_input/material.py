"""A folder of sound things of every kind that scripts read, each as small as can be, for inputs to be made bad from."""

import json
import random
from pathlib import Path

from tests.bad_input.processes import call
from tests.scripts.conftest import write_document
from tests.scripts.models import make_models
from tests.tasks.conftest import opinions, questions, tagged, write_conll, write_csv, write_squad, write_suite

COMMON = ["--batch-size", "4", "--device", "cpu"]
SETTINGS = ["--set", "epochs=1", "--set", "batch_size=8", "--set", "max_length=32", "--device", "cpu"]
ANSWER = ["--model", "teacher", "--task", "answer", "--train", "train.json", "--set", "stride=8", *SETTINGS]
# A sound command for each script; what is bad comes after, and so over, it.
SOUND: dict[str, list[str]] = {
    "prepare": ["--input", "corpus.jsonl", "--output", "out", "--tokenizer", "teacher", "--workers", "0",
                "--max-length", "32"],
    "distill": ["--recipe", "total", "--teacher", "teacher", "--student", "1x8", "--shards", "shards", "--output",
                "out", "--steps", "2", *COMMON],
    "pretrain": ["--model", "1x8", "--tokenizer", "teacher", "--shards", "shards", "--output", "out", "--steps", "2",
                 *COMMON],
    "finetune": ["--model", "teacher", "--task", "classify", "--train", "train.tsv", "--dev", "dev.tsv", "--output",
                 "out", *SETTINGS],
    "evaluate": ["--model", "teacher", "--data", "tasks", "--output", "out", "--parts", "similarity", "--device",
                 "cpu"],
    "predict": ["fill-mask", "--model", "teacher", "--device", "cpu", "O dia [MASK] bonito."],
}  # fmt: skip
_MADE: list[tuple[str, list[str]]] = [
    ("prepare", [*SOUND["prepare"], "--output", "shards"]),
    ("prepare", [*SOUND["prepare"], "--output", "shards2", "--student-tokenizer", "student"]),
    ("distill", [*SOUND["distill"], "--output", "run", "--teacher-cache", "cache", "--steps", "6", "--set",
                 "train.save_every=2"]),
    ("finetune", [*SOUND["finetune"], "--output", "tuned"]),
    ("finetune", ["--model", "teacher", "--task", "tag", "--train", "train.conll", "--output", "tagger", *SETTINGS]),
    ("finetune", [*ANSWER, "--output", "answerer"]),
    ("evaluate", [*SOUND["evaluate"], "--output", "tables"]),
]  # fmt: skip


def make_material(folder: Path) -> None:
    """Models, corpora, task files, shards, a finished run with checkpoints, a cache, tuned models, tables."""
    folder.mkdir(parents=True)
    source = random.Random(0)
    documents = [write_document(source) for _ in range(40)]
    lines = [json.dumps({"id": str(n), "text": text}, ensure_ascii=False) for n, text in enumerate(documents)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "corpus.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    make_models(folder, folder / "corpus.jsonl")
    for split, count in (("train", 24), ("dev", 12), ("test", 12)):
        write_csv(folder / f"{split}.tsv", opinions(count, split))
        write_conll(folder / f"{split}.conll", tagged(count, split))
        write_squad(folder / f"{split}.json", questions(count, split))
    (folder / "context.txt").write_text(documents[0], encoding="utf-8")
    (folder / "tasks").mkdir()
    write_suite(folder / "tasks")
    for script, arguments in _MADE:
        left = call(script, arguments, folder, limit_s=120)
        assert left.code == 0, (script, arguments, left)
