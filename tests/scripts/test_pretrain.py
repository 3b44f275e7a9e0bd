"""scripts/pretrain.py --objective: what a run leaves, that it goes on bit for bit on one rank and two, refusals."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers

from tests.scripts.models import make_models
from tests.scripts.test_new_term import Train
from tests.train.comparison import assert_same_run
from tests.train.processes import RankProcesses
from tinydistil.base.config import override
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError
from tinydistil.base.ranks import Ranks, joined
from tinydistil.corpus.prepare_config import RawRunConfig, resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.distill.recipe import OBJECTIVES
from tinydistil.train import run as run_module
from tinydistil.train.plan import Plan
from tinydistil.train.run_config import RunConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from pretrain import recipe_of

CPU = torch.device("cpu")


def config_of(objective: str, settings: list[str], **more: object) -> RawRunConfig:
    values: dict[str, object] = {
        "train": {"steps": 6, "batch_size": 5, "accumulation": 2, "log_every": 1, "validate_every": 4},
        "student": {"model": "1x8", "tokenizer": "teacher", "dropout": 0.1},
    }  # fmt: skip
    values = override(values, settings)
    return resolve_raw({**values, "recipe": recipe_of(objective, values.get("recipe", {})), **more})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    """Models, and shards/ made of a corpus with the teacher's tokenizer."""
    folder, before = tmp_path_factory.mktemp("objectives"), Path.cwd()
    make_models(folder, write_corpus(folder / "corpus.jsonl", 30))
    os.chdir(folder)
    try:
        config = config_of("mlm", [], corpus=["corpus.jsonl"], prepare={"max_length": 64})
        plan = plan_raw(config, Path("made"), resume=False, device="cpu")
        plan.text.prepare(Ranks(0, 1, CPU), workers=0, say=print)
        (folder / "made" / "shards").rename(folder / "shards")
    finally:
        os.chdir(before)
    return folder


@dataclass(frozen=True)
class Pretrain(Train):
    """What a rank does; `cache` holds the objective."""

    settings: tuple[str, ...] = ()

    def __call__(self) -> None:
        os.chdir(self.folder)
        with joined("cpu") as ranks:
            run_module.build = self.build  # type: ignore[assignment]
            config = config_of(self.cache, [*self.settings], shards="shards")
            outcome = run_module.execute(plan_raw(config, Path(self.output), resume=True, device="cpu"), ranks)
        sys.exit(STOPPED_EXIT_CODE if outcome is None else 0)


GENERATOR = ("recipe.terms.replaced_tokens.generator_width=8",)
SPANS = ("train.mask.longest_span=3", "train.mask.final_rate=0.3")


@pytest.mark.parametrize(
    ("objective", "world_size", "settings"),
    [("mlm,sentence_order", 1, SPANS), ("next_sentence,causal", 2, ()), ("replaced_tokens", 2, GENERATOR)],
)
def test_resumed_bit_for_bit(
    objective: str, world_size: int, settings: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    names = [f"{objective}-{kind}" for kind in ("whole", "broken")]
    for name, stop_at in ((names[0], -1), (names[1], 3), (names[1], -1)):
        ranks = RankProcesses(tmp_path, world_size, Pretrain(folder, name, objective, stop_at, settings))
        assert ranks.wait() == [STOPPED_EXIT_CODE if stop_at > 0 else 0] * world_size, ranks.errors()
    assert_same_run(folder / names[0], folder / names[1])


WRITTEN = {
    "causal": ("BertForMaskedLM", {"causal"}),
    "next_sentence": ("BertForPreTraining", {"next_sentence", "next_sentence_accuracy"}),
    "mlm,sentence_order": ("BertForPreTraining", {"sentence_order", "sentence_order_accuracy"}),
    "replaced_tokens": ("ElectraForPreTraining", {"generator", "discriminator", "accuracy", "original"}),
}


@pytest.mark.parametrize("objective", WRITTEN)
def test_what_a_run_leaves(objective: str, folder: Path, tmp_path: Path) -> None:
    """An ordinary folder of the architecture that has the head, and what the objective came to on held-out text."""
    architecture, numbers = WRITTEN[objective]
    settings = [*GENERATOR] if objective == "replaced_tokens" else []
    ranks = RankProcesses(tmp_path, 1, Pretrain(folder, str(tmp_path / "run"), objective, -1, tuple(settings)))
    assert ranks.wait() == [0], ranks.errors()
    outcome = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert outcome["measured"].keys() == numbers and all(0 <= value < 20 for value in outcome["measured"].values())
    if objective == "causal":
        assert outcome["validation_loss"] == pytest.approx(outcome["measured"]["causal"], rel=1e-6)
    student = tmp_path / "run" / "student"
    config = json.loads((student / "config.json").read_text())
    assert config["architectures"] == [architecture]
    if objective == "next_sentence":  # a masked LM head that nobody trained is not written
        _, report = transformers.BertForNextSentencePrediction.from_pretrained(student, output_loading_info=True)
    else:
        _, report = getattr(transformers, architecture).from_pretrained(student, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    card = (student / "README.md").read_text(encoding="utf-8")
    assert "Trained without a teacher" in card and ("perplexity" in card) == (objective != "next_sentence")
    assert ("AutoModelForCausalLM" in card) == (objective == "causal")


@pytest.mark.parametrize(
    ("objective", "given", "message"),
    [
        ("mlm,mlm", {}, "--objective names 'mlm' twice"),
        ("mln", {}, "--objective 'mln' is unknown; did you mean 'mlm'"),
        ("", {}, "--objective '' is unknown; known: causal, mlm"),
        ("mlm,", {}, "--objective '' is unknown; known: causal, mlm"),
        ("mlm", {"soft": 1.0}, r"option 'recipe\.soft' is for learning from a teacher"),
        ("mlm", {"name": "total"}, r"option 'recipe\.name' is for learning"),
        ("mlm", {"terms": 3}, "terms must be a table"),
    ],
)
def test_bad_objectives(objective: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe_of(objective, given)


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        ("replaced_tokens", ["student.model='student'"], "trains a model of family electra, and the student is bert"),
        (
            "replaced_tokens",
            ["train.mask.rate=0"],
            r"mask\.rate is 0, which leaves recipe\.terms\.replaced_tokens nothing",
        ),
        ("mlm", ["recipe.terms.hidden=1"], "needs a teacher"),
        ("causal", ["recipe.terms.causal=0"], "one of hard, soft, hidden, pooled must be > 0, or terms given"),
    ],
)
def test_what_does_not_go_together(objective: str, settings: list[str], message: str, folder: Path) -> None:
    before = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.raises(InputError, match=message):
            plan_raw(config_of(objective, settings, shards="shards"), Path("refused"), resume=False, device="cpu")
    finally:
        os.chdir(before)
    assert not (folder / "refused").exists()


def test_one_line_documents_have_no_order(folder: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(i), "text": f"o gato {i} dorme na sala da casa"}) for i in range(40)]
    (folder / "short.jsonl").write_text("\n".join(lines))
    before = Path.cwd()
    os.chdir(folder)
    try:
        clean = {"duplicates": {"near": False}, "clean": {"min_words": 1}, "max_length": 32}
        config = config_of("sentence_order", [], corpus=["short.jsonl"], prepare=clean)
        plan: Plan = plan_raw(config, tmp_path / "short", resume=False, device="cpu")
        plan.text.prepare(Ranks(0, 1, CPU), workers=0, say=print)
        with pytest.raises(InputError, match="objective sentence_order needs documents of two sentences"):
            run_module.build(plan, Ranks(0, 1, CPU), [])
    finally:
        os.chdir(before)


def test_run_config_names_them_all() -> None:
    for name in OBJECTIVES:
        config = config_of(name, [], shards="s")
        assert isinstance(config, RunConfig) and config.recipe.name == name
