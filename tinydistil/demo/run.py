"""The demonstration: students learn from the package's teacher in two ways, and without it; all are measured."""

import json
import shutil
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tinydistil.base.console import duration
from tinydistil.base.errors import STOPPED_EXIT_CODE
from tinydistil.base.files import LOCK, Ownership, write_json
from tinydistil.base.ranks import Ranks, joined
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.demo.measures import Measures, Work, works
from tinydistil.demo.show import Row, render, show
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import new_shape
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece
from tinydistil.train.outcome import STUDENT
from tinydistil.train.run import execute

RECORD = "demo.json"
TEACHER = Path(__file__).parent / "teacher"
_LAYERS, _WIDTH = 2, 96


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. Steps are of 32 sequences of up to 64 tokens; num_passages and num_sentences are
    measured on, training_passages are learnt from."""

    seeds: int
    steps: int
    num_passages: int
    num_sentences: int
    training_passages: int


FULL = Scale(seeds=3, steps=80, num_passages=225, num_sentences=1500, training_passages=2000)
QUICK = Scale(seeds=1, steps=30, num_passages=75, num_sentences=500, training_passages=500)
_VOCAB_SIZE = 4000

# The text is clean and no passage stands in it twice: no rule that needs an extra package has anything to do.
_PREPARE: dict[str, object] = {
    "clean": {"skip": ["mojibake"]},
    "duplicates": {"near": False},
    "validation_share": 0.02,
    "max_length": 64,
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """A row of students that differ in their seeds; all with the teacher's vocabulary read one prepared text."""

    title: str
    folder: str
    recipe: str
    own_vocabulary: bool


LESSONS = (
    Lesson("no teacher, own vocabulary", "alone-own", "mlm", True),
    Lesson("partial", "partial", "partial", True),
    Lesson("no teacher, teacher's vocabulary", "alone-total", "mlm", False),
    Lesson("total", "total", "total", False),
)


def demonstrate(output: Path, *, quick: bool, device: str) -> None:
    """Do all of it in `output` and print the table; leaves with exit code 75 where it was asked to stop.

    Raises InputError for an output folder that is not ours.
    """
    began = time.monotonic()
    with joined(device) as ranks, ExitStack() as stack:
        if ranks.is_main:
            stack.enter_context(claim(output))
        ranks.barrier()
        demonstration = Demonstration(output, QUICK if quick else FULL, works(), ranks)
        rows, measures = demonstration.rows(), demonstration.measures
        if ranks.is_main:
            seconds = time.monotonic() - began
            record = {"minutes": round(seconds / 60, 2), "word_overlap": measures.word_overlap()}
            write_json(output / RECORD, record | {"rows": [asdict(row) for row in rows]})
            print(render(rows))
            print(f"next passage: zero-shot recall@10 of {len(measures.snippets[0])} passages")
            print(show([("teacher", TEACHER), ("student (total)", output / "total-1" / STUDENT)], measures.passages))
            print(f"{duration(seconds)}. The students lie in {output}/*/{STUDENT}, ordinary Hugging Face folders.")


def claim(output: Path) -> AbstractContextManager[None]:
    """Hold `output`, an empty folder or one with an earlier demonstration, which goes. InputError for any other."""

    def clear() -> None:
        # The record stays, so that an interrupted demonstration stays known as one.
        for path in output.iterdir() if (output / RECORD).exists() else ():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (RECORD, LOCK):
                path.unlink()

    ownership = Ownership(RECORD, ours=lambda name: False, must_agree=lambda name: False)
    return ownership.claim(output, {}, prepare=clear)


class Demonstration:
    """The runs one after the other, each measured as soon as it is done."""

    def __init__(self, output: Path, scale: Scale, texts: list[Work], ranks: Ranks) -> None:
        self.output, self.scale, self.ranks = output, scale, ranks
        self.corpus, self.vocabulary = output / "corpus.jsonl", output / "vocabulary"
        if ranks.is_main:
            write_texts(texts, self.corpus, self.vocabulary, scale)
        ranks.barrier()
        tokenizers = [Tokenizer.from_pretrained(folder) for folder in (TEACHER, self.vocabulary)]
        self.measures = Measures(
            texts, tokenizers, num_passages=scale.num_passages, num_sentences=scale.num_sentences, device=ranks.device
        )

    def rows(self) -> list[Row]:
        """A row for each lesson between the untrained student and the teacher; empty on other ranks than 0."""
        rows = [self._row("untrained", [self._untrained()])]
        for lesson in LESSONS:
            folders = [self._trained(lesson, seed) for seed in range(1, self.scale.seeds + 1)]
            rows.append(self._row(lesson.title, folders))
        rows.append(self._row("teacher", [TEACHER]))
        return [row for row in rows if row is not None]

    def _trained(self, lesson: Lesson, seed: int) -> Path:
        """The student of one run."""
        ranks, folder, steps = self.ranks, self.output / f"{lesson.folder}-{seed}", self.scale.steps
        taught, first = lesson.recipe != "mlm", f"{lesson.folder if lesson.own_vocabulary else 'alone-total'}-1"
        text: dict[str, object] = {"shards": str(self.output / first / "shards")}
        if folder.name == first:
            text = {"corpus": [str(self.corpus)], "prepare": _PREPARE}
        values: dict[str, object] = {
            "recipe": lesson.recipe,
            "teacher": str(TEACHER) if taught else "",
            "student": {
                "model": f"{_LAYERS}x{_WIDTH}",
                "start": "projected" if taught else "own",
                "tokenizer": str(self.vocabulary if lesson.own_vocabulary else "" if taught else TEACHER),
            },
            **text,
            "train": {
                "seed": seed,
                "steps": steps,
                "batch_size": 32,
                "optimizer": {"learning_rate": 5e-3},
                **dict.fromkeys(("log_every", "validate_every", "save_every"), steps),
                "validation_sequences": 32,
            },
        }
        if ranks.is_main:
            print(f"{lesson.title}, seed {seed}: {steps} steps of recipe {lesson.recipe}", file=sys.stderr, flush=True)
        plan = plan_raw(resolve_raw(values), folder, resume=False, device=ranks.device.type)
        ranks.barrier()  # nobody writes before all have looked
        plan.text.prepare(ranks, workers=1, say=lambda table: None)
        ranks.barrier()
        if execute(plan, ranks) is None:
            sys.exit(STOPPED_EXIT_CODE)
        return folder / STUDENT

    def _untrained(self) -> Path:
        """The student before its first step: what shared words alone are worth."""
        folder, tokenizer = self.output / "untrained" / STUDENT, Tokenizer.from_pretrained(self.vocabulary)
        if self.ranks.is_main:
            torch.manual_seed(1)
            shape = new_shape(_LAYERS, _WIDTH, tokenizer.vocab_size).replace(pad_token_id=tokenizer.pad_id)
            BertForMaskedLM(shape).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder

    def _row(self, title: str, folders: list[Path]) -> Row | None:
        """The scores of the models in `folders`, on rank 0; the others wait."""
        row = None
        if self.ranks.is_main:
            model = BertForMaskedLM.from_pretrained(folders[0])
            normalizer = Tokenizer.from_pretrained(folders[0]).backend.normalizer
            vocabulary = "cased" if normalizer.normalize_str("Ã") == "Ã" else "uncased"
            parameters = sum(parameter.numel() for parameter in model.parameters())
            row = Row(title, parameters, vocabulary, tuple(map(self.measures, folders)))
        self.ranks.barrier()
        return row


def write_texts(texts: list[Work], corpus: Path, vocabulary: Path, scale: Scale) -> None:
    """The passages to learn from as JSON lines, and a lower-cased vocabulary of them, as bert-tiny's is."""
    passages = [passage for work in texts for run in work.runs(held_out=False) for passage in run]
    passages = passages[:: -(-len(passages) // scale.training_passages)]
    lines = [json.dumps({"id": str(i), "text": text}, ensure_ascii=False) for i, text in enumerate(passages)]
    corpus.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    train_wordpiece(passages, _VOCAB_SIZE, lowercase=True, strip_accents=True).save_pretrained(vocabulary)
