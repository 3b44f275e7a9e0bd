"""The demonstration: a teacher is pretrained, students learn from it in two ways and without it, all are examined."""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from tinydistil.base.files import write_json
from tinydistil.base.ranks import Ranks, joined
from tinydistil.base.stop import STOPPED_EXIT_CODE
from tinydistil.demo.corpus import MARK, Texts, claim, make_texts
from tinydistil.demo.examination import Examination
from tinydistil.demo.table import Marks, render
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.plan import make_plan
from tinydistil.train.run import STUDENT, execute, prepare_shards
from tinydistil.train.run_config import new_shape, resolve_run


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. Steps are of 32 sequences; examples are labelled sentences or pairs of a task."""

    num_documents: int
    teacher: str
    student: str
    teacher_steps: int
    student_steps: int
    num_training_examples: int
    num_test_examples: int
    vocab_size: int = 3000
    max_length: int = 64


FULL = Scale(10_000, "4x128", "2x64", 360, 240, 600, 600)
QUICK = Scale(800, "2x64", "1x32", 40, 40, 120, 120, vocab_size=1500)

# The text is clean and each document told once: no rule that needs an extra package has anything to do.
_PREPARE: dict[str, object] = {
    "clean": {"skip": ["mojibake"]},
    "duplicates": {"near": False},
    "validation_share": 0.02,
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """One run: its row's title, its folder, and what `train.run_config` wants to know. shards: where they are made."""

    title: str
    folder: str
    recipe: str
    shape: str
    steps: int
    learning_rate: float
    vocabulary: str
    teacher: str = ""
    shards: str = ""


def demonstrate(output: Path, *, quick: bool, device: str) -> None:
    """Do all of it in `output` and print the table; leaves with exit code 75 where it was asked to stop.

    Raises InputError for an output folder that is not ours.
    """
    began = time.monotonic()
    scale = QUICK if quick else FULL
    with joined(device) as ranks, ExitStack() as stack:
        if ranks.is_main:
            stack.enter_context(claim(output))
        texts = _texts(output, scale, ranks)
        marks = _Demonstration(output, scale, texts, ranks).marks()
        if ranks.is_main:
            minutes = (time.monotonic() - began) / 60
            write_json(output / MARK, {"minutes": round(minutes, 2), "rows": [mark.as_json() for mark in marks]})
            print(render(marks))
            print(f"{minutes:.1f} minutes. The students lie in {output}/*/{STUDENT}, ordinary Hugging Face folders.")


def _texts(output: Path, scale: Scale, ranks: Ranks) -> Texts:
    """The texts: rank 0 writes them, the others wait."""
    if ranks.is_main:
        print(f"writing {scale.num_documents:,} documents of our own Portuguese, and two vocabularies", file=sys.stderr)
        make_texts(output, num_documents=scale.num_documents, vocab_size=scale.vocab_size)
    ranks.barrier()
    return Texts(output, num_held_out=scale.num_documents // 40)


class _Demonstration:
    """The runs one after the other, each examined as soon as it is done."""

    def __init__(self, output: Path, scale: Scale, texts: Texts, ranks: Ranks) -> None:
        self.output, self.scale, self.texts, self.ranks = output, scale, texts, ranks
        vocabularies = (texts.teacher_vocabulary, texts.student_vocabulary)
        self.examination = Examination(
            texts.held_out, vocabularies, scale.num_training_examples, scale.num_test_examples, ranks.device
        )

    def marks(self) -> list[Marks]:
        """A row for each model, teacher last; empty on other ranks than 0."""
        scale, texts = self.scale, self.texts
        own, cased = str(texts.student_vocabulary), str(texts.teacher_vocabulary)
        taught = self._run(Lesson("teacher", "teacher", "mlm", scale.teacher, scale.teacher_steps, 1e-3, cased))
        teacher, shards = str(self.output / "teacher" / STUDENT), str(self.output / "teacher" / "shards")
        lessons = (
            ("no teacher, own words", "alone-own", "mlm", own, "", ""),
            ("partial", "partial", "partial", own, teacher, ""),
            ("no teacher, teacher's words", "alone-total", "mlm", cased, "", shards),
            ("total", "total", "total", "", teacher, shards),
        )
        rows = self._untrained()
        for title, folder, recipe, words, who, text in lessons:
            rows += self._run(Lesson(title, folder, recipe, scale.student, scale.student_steps, 2e-3, words, who, text))
        return [*rows, *taught]

    def _run(self, lesson: Lesson) -> list[Marks]:
        """Train and examine one model."""
        ranks, folder = self.ranks, self.output / lesson.folder
        text: dict[str, object] = {"shards": lesson.shards}
        if not lesson.shards:
            prepare = {**_PREPARE, "max_length": self.scale.max_length}
            text = {"corpus": [str(self.texts.corpus)], "prepare": prepare}
        values: dict[str, object] = {
            "recipe": lesson.recipe,
            "teacher": lesson.teacher,
            "student": {"model": lesson.shape, "tokenizer": lesson.vocabulary},
            **text,
            "train": {
                "steps": lesson.steps,
                "batch_size": 32,
                "optimizer": {"learning_rate": lesson.learning_rate},
                "log_every": max(1, lesson.steps // 5),
                "validate_every": lesson.steps,
                "save_every": lesson.steps,
                "validation_sequences": 200,
            },
        }
        self._say(f"{lesson.title}: {lesson.steps} steps of recipe {lesson.recipe}")
        plan = make_plan(resolve_run(values), folder, resume=False, device=ranks.device.type)
        ranks.barrier()  # nobody writes before all have looked
        prepare_shards(plan, ranks, workers=1, say=lambda table: None)
        ranks.barrier()
        if execute(plan, ranks) is None:
            sys.exit(STOPPED_EXIT_CODE)
        return self._examined(lesson.title, folder / STUDENT)

    def _untrained(self) -> list[Marks]:
        """The student before its first step: what words in common alone are worth."""
        tokenizer = Tokenizer.from_pretrained(self.texts.student_vocabulary)
        layers, width = map(int, self.scale.student.split("x"))
        folder = self.output / "untrained" / STUDENT
        if self.ranks.is_main:
            torch.manual_seed(1)
            model = BertForMaskedLM(
                new_shape(layers, width, tokenizer.vocab_size).replace(pad_token_id=tokenizer.pad_id)
            )
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return self._examined("untrained", folder)

    def _examined(self, title: str, folder: Path) -> list[Marks]:
        """The marks of the model in `folder`, on rank 0; the others wait."""
        marks = [self.examination(title, folder)] if self.ranks.is_main else []
        self.ranks.barrier()
        return marks

    def _say(self, message: str) -> None:
        if self.ranks.is_main:
            print(message, file=sys.stderr, flush=True)
