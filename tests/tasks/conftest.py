"""A small random model in a folder, and task files of a few dozen rows of simple Portuguese."""

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests import portuguese
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig
from tinydistil.tasks.examples import LabelledText, Question, TaggedSentence
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece
from tinydistil.train.records import Records


def stop_after(step: int, patch: pytest.MonkeyPatch) -> None:
    """Have whatever trains in this process asked to stop by SIGTERM once it has taken so many steps."""
    step_done = Records.step_done

    def asked_to_stop(records: Records, steps: int, *rest: object) -> None:
        if steps == step:
            os.kill(os.getpid(), signal.SIGTERM)
        step_done(records, steps, *rest)  # type: ignore[arg-type]

    patch.setattr(Records, "step_done", asked_to_stop)


def opinions(count: int, split: str = "train") -> list[LabelledText]:
    return [LabelledText(text, None, label) for text, label in portuguese.opinions(1, count, split)]


def entailments(count: int, split: str = "train") -> list[LabelledText]:
    pairs = portuguese.entailments(count, split)
    return [LabelledText(first, second, "Entailment" if entails else "None") for first, second, entails in pairs]


def similarities(count: int, split: str = "train") -> list[LabelledText]:
    return [LabelledText(first, second, str(score)) for first, second, score in portuguese.similarities(count, split)]


def tagged(count: int, split: str = "train") -> list[TaggedSentence]:
    """Words that begin with a capital are a name, and so is what follows "de": learnable from spelling alone."""
    rows = []
    for text, _ in portuguese.opinions(2, count, split):
        words = text.replace(".", " .").split()
        tags = ["B-NOME" if word[0].isupper() else "O" for word in words]
        for position in range(1, len(words)):
            if words[position - 1] == "de":
                tags[position] = "I-NOME" if tags[position - 1] != "O" else "B-NOME"
        rows.append(TaggedSentence(tuple(words), tuple(tags)))
    return rows


def questions(count: int, split: str = "train") -> list[Question]:
    """Contexts of several opinions; asked is the one whose second word the question repeats, answered by that word."""
    texts = [text for text, _ in portuguese.opinions(3, 4 * count, split)]
    rows = []
    for number in range(count):
        context = " ".join(texts[4 * number : 4 * number + 4])
        word = context.split()[1]
        rows.append(Question(str(number), f"Onde está {word}?", context, ((word, context.index(word)),)))
    return rows


@pytest.fixture(scope="session")
def vocabulary() -> Tokenizer:
    rows = [*opinions(150), *entailments(100)]
    return train_wordpiece([row.text for row in rows] + [row.second or "" for row in rows], 500)


@pytest.fixture(scope="session")
def folder(vocabulary: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of 32, 96 positions, without a pooler."""
    path = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=vocabulary.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=96)  # fmt: skip
    BertForMaskedLM(config).save_pretrained(path)
    vocabulary.save_pretrained(path)
    return path


def write_csv(path: Path, rows: Sequence[LabelledText]) -> None:
    lines = ["text\ttext_b\tlabel" if rows[0].second else "text\tlabel"]
    lines += ["\t".join(filter(None, (row.text, row.second, row.label))) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_assin(path: Path, rows: Sequence[LabelledText], scores: Sequence[float]) -> None:
    pairs = [
        f'<pair entailment="{row.label}" id="{i}" similarity="{score}">\n<t>{row.text}</t><h>{row.second}</h>\n</pair>'
        for i, (row, score) in enumerate(zip(rows, scores, strict=True))
    ]
    path.write_text("<entailment-corpus>\n" + "\n".join(pairs) + "\n</entailment-corpus>\n", encoding="utf-8")


def write_conll(path: Path, rows: Sequence[TaggedSentence]) -> None:
    sentences = ("\n".join(f"{w} {t}" for w, t in zip(r.words, r.tags, strict=True)) for r in rows)
    path.write_text("\n\n".join(sentences) + "\n", encoding="utf-8")


def write_squad(path: Path, rows: Sequence[Question]) -> None:
    paragraphs = [
        {
            "context": row.context,
            "qas": [
                {
                    "id": row.identifier,
                    "question": row.question,
                    "answers": [{"text": text, "answer_start": start} for text, start in row.answers],
                }
            ],
        }
        for row in rows
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}, ensure_ascii=False), encoding="utf-8")


def write_suite(path: Path) -> Path:
    for name in ("assin2", "sentiment", "lenerbr", "faquad"):
        (path / name).mkdir()
    for split, count in (("train", 48), ("dev", 12), ("test", 24)):
        pairs, scores = entailments(count, split), [float(row.label) for row in similarities(count, split)]
        write_assin(path / "assin2" / f"assin2-{'train-only' if split == 'train' else split}.xml", pairs, scores)
        rows = opinions(count, split)
        lines = ["text,label", *(f'"{row.text}",{row.label}' for row in rows)]
        (path / "sentiment" / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_conll(path / "lenerbr" / f"{split}.conll", tagged(count, split))
        if split != "test":
            write_squad(path / "faquad" / f"{split}.json", questions(count, split))
    return path


@pytest.fixture(scope="session")
def suite_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's folder with a few dozen rows a file."""
    return write_suite(tmp_path_factory.mktemp("tasks"))


# Settings of a run of a second.
QUICK = ("--set", "epochs=1", "--set", "batch_size=8", "--set", "max_length=48", "--set", "learning_rate=0.002",
         "--device", "cpu")  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """train.tsv, dev.tsv and test.tsv of opinions."""
    for split, count in (("train", 40), ("dev", 12), ("test", 12)):
        write_csv(tmp_path / f"{split}.tsv", opinions(count, split))
    return tmp_path


def classify(files: Path, folder: Path) -> list[object]:
    return ["--model", folder, "--task", "classify", "--train", files / "train.tsv", "--dev", files / "dev.tsv",
            "--test", files / "test.tsv", *QUICK]  # fmt: skip


@dataclass(frozen=True)
class Left:
    """How a script left: its exit code, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Left]:
    """Run scripts/NAME.py with these arguments in this process."""

    def run(name: str, *arguments: object) -> Left:
        path = Path(__file__).parents[2] / "scripts" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{name}_script", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [path.name, *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            module.run_script(module.main)
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        return Left(code, *capsys.readouterr())

    return run
