"""Every family of encoders as a teacher, live, in int8 and from a cache, by `partial` and `total`; and as a student."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from tests.model.test_families import FAMILIES
from tinydistil.base.ranks import Ranks
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import family, read_config
from tinydistil.tokenizer.tokenizer import train_wordpiece
from tinydistil.train.run import execute

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    """A folder with a corpus and for each family a teacher/ that `transformers` wrote, all of one vocabulary."""
    folder = tmp_path_factory.mktemp("families")
    corpus = write_corpus(folder / "corpus.jsonl", 40)
    tokenizer = train_wordpiece([str(json.loads(line)["text"]) for line in corpus.read_text().splitlines()], 220)
    for name, (values, _) in FAMILIES.items():
        torch.manual_seed(0)
        width: dict[str, int] = {"dim" if name == "distilbert" else "hidden_size": 128}
        width |= {"embedding_size": 128} if "embedding_size" in values else {}
        own = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_id, **width}
        config = transformers.AutoConfig.for_model(name, **values | own)
        model = transformers.AutoModelForMaskedLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def trained(folder: Path, name: str, recipe: str, output: Path, **changes: object) -> list[dict[str, float]]:
    """What the steps of a run said; changes: options with "__" for dots."""
    values: dict[str, dict[str, object]] = {
        "recipe": {"name": recipe}, "student": {"model": "2x128"}, "prepare": {"max_length": 32},
        "train": {"steps": 4, "batch_size": 6, "log_every": 1, "validate_every": 4},
    }  # fmt: skip
    top: dict[str, object] = {"teacher": str(folder / name), "corpus": [str(folder / "corpus.jsonl")]}
    if recipe == "partial":
        values["student"]["tokenizer"] = str(folder / name)
    for option, value in changes.items():
        section, _, key = option.rpartition("__")
        (values[section] if section else top)[key] = value
    plan = plan_raw(resolve_raw({**top, **values}), output, resume=False, device="cpu")
    plan.text.prepare(ALONE, workers=0, say=print)
    execute(plan, ALONE)
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [each for each in map(json.loads, lines) if "gradient_norm" in each]


@pytest.mark.parametrize("recipe", ["partial", "total"])
@pytest.mark.parametrize("name", FAMILIES)
def test_it_teaches(name: str, recipe: str, teachers: Path, tmp_path: Path) -> None:
    """The first step, before anything is learnt, says the same live, in int8 and from a cache of all words."""
    live, cached, rough = (
        trained(teachers, name, recipe, tmp_path / label, **changes)
        for label, changes in (
            ("live", {}),
            ("cached", {"teacher_cache": str(tmp_path / "cache"), "cache": {"words": "hidden"}}),
            ("int8", {"teacher_precision": "int8"}),
        )
    )
    terms = {"total": ("hard", "soft", "hidden"), "partial": ("hard", "hidden")}[recipe]
    assert len(live) == len(cached) == len(rough) == 4
    for term in terms:
        assert cached[0][term] == pytest.approx(live[0][term], rel=2e-3), term
        assert rough[0][term] == pytest.approx(live[0][term], rel=0.05), term
    student = BertForMaskedLM.from_pretrained(tmp_path / "live" / "student", heads="require")
    assert student.config.model_type == "bert"


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_learnt_on(name: str, teachers: Path, tmp_path: Path) -> None:
    """As a student it keeps its family, and `transformers` opens what was written."""
    trained(teachers, "bert", "total", tmp_path / "run", student__model=str(teachers / name))
    assert read_config(tmp_path / "run" / "student" / "config.json").model_type == name
    loader = transformers.AutoModelForMaskedLM
    _, report = loader.from_pretrained(tmp_path / "run" / "student", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    assert family(name).config.model_type == name
