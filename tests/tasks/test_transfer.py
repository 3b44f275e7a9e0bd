"""Transfer sets: the two terms by hand, and texts of which none is in a development or test row."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.tasks.conftest import (
    Left,
    entailments,
    opinions,
    similarities,
    tagged,
)
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks
from tinydistil.distill.losses import IGNORED
from tinydistil.distill.step import Trainer
from tinydistil.evaluate.inference import fill_mask
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tasks import transfer
from tinydistil.tasks.examples import LabelledText, TaggedSentence, names_of, texts_of
from tinydistil.tasks.finetune import Material
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import FineTuned, new_model
from tinydistil.tasks.grid import cross_validated
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.soft_targets import SoftTargets
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.task import AnyTask, EncodedExample, collate
from tinydistil.tasks.train_task import TaskBatches, TaskObjective
from tinydistil.tasks.transfer import with_transfer
from tinydistil.tokenizer.tokenizer import Tokenizer

Script = Callable[..., Left]
ALONE = Ranks(0, 1, torch.device("cpu"))
ASSIN2 = Path(__file__).parents[3] / "shared" / "data" / "tasks" / "assin2"


def rows_of(kind: str, count: int) -> list[LabelledText] | list[TaggedSentence]:
    if kind == "tag":
        return tagged(count)
    return similarities(count) if kind == "regress" else entailments(count)


def task_of(kind: str, vocabulary: Tokenizer, count: int = 24) -> AnyTask:
    rows = rows_of(kind, count)
    return TagTask.of(rows, vocabulary, 64) if kind == "tag" else TextTask.of(kind, rows, vocabulary, 64)  # type: ignore[arg-type]


def material_of(kind: str, folder: Path, vocabulary: Tokenizer, count: int = 24, **changes: object) -> Material:
    """A material of `count` rows with a random teacher, which is the encoder in `folder` under a new head."""
    task = task_of(kind, vocabulary, count)
    teacher = FineTuned(new_model(folder, task, pooling="mean", seed=5).eval(), task)
    material = Material(folder, task, rows_of(kind, count), [], [], {}, SoftTargets(teacher, task), folder)
    return replace(material, **changes)  # type: ignore[arg-type]


def labelled(material: Material, output: Path, seed: int = 1) -> Material:
    return with_transfer(material, seed=seed, output=output, content=material.content())


@pytest.fixture(params=["classify", "regress", "tag"])
def mixed(
    request: pytest.FixtureRequest, folder: Path, vocabulary: Tokenizer, tmp_path: Path
) -> tuple[Material, list[EncodedExample]]:
    """Four examples with a label and six without, all with soft targets far from flat."""
    kind = request.param
    rows = rows_of(kind, 30)[24:]
    unlabelled = [replace(each, **({"tags": ()} if kind == "tag" else {"label": ""})) for each in rows]  # type: ignore[arg-type]
    material = labelled(material_of(kind, folder, vocabulary, unlabelled=unlabelled), tmp_path)
    rows = material.training[:4]
    encoded = material.task.encode(rows)
    teacher = material.teacher
    assert teacher is not None and len(material.transfer) == 6
    soft = teacher.of_tokens(rows, encoded) if kind == "tag" else teacher.of_texts(rows)  # type: ignore[arg-type]
    both = [replace(each, soft=own) for each, own in zip(encoded, soft, strict=True)]
    return material, [
        replace(each, soft=7 * each.soft) for each in [*both, *material.transfer] if each.soft is not None
    ]


def test_both_terms_by_hand(mixed: tuple[Material, list[EncodedExample]], folder: Path) -> None:
    """Each example alone, in float64: labels where there are any, the teacher's predictions everywhere."""
    material, examples = mixed
    task = material.task
    model = new_model(folder, task, pooling="mean", seed=2).eval()
    hard, soft, counts = 0.0, 0.0, {"task": 0, "soft": 0}
    for number, each in enumerate(examples):
        with torch.no_grad():
            logits = model(torch.from_numpy(each.ids)[None], None, torch.from_numpy(each.type_ids)[None])[0].double()
        assert each.soft is not None
        aim, target = torch.from_numpy(each.soft).double(), torch.as_tensor(each.target)
        if task.kind == "regress":
            hard += float((logits[0] - target) ** 2) if number < 4 else 0.0
            soft, seen = soft + float((logits[0] - aim[0]) ** 2), 1
        else:
            chosen = torch.tensor(each.spans >= 0) if task.kind == "tag" else torch.tensor([True])
            logits, aim, target = (
                logits.reshape(-1, len(task.labels))[chosen],
                aim.reshape(-1, len(task.labels))[chosen],
                target.reshape(-1)[chosen],
            )
            hard += float(F.cross_entropy(logits, target, reduction="sum")) if number < 4 else 0.0
            soft += 9 * float(F.kl_div((logits / 3).log_softmax(-1), (aim / 3).softmax(-1), reduction="sum"))
            seen = int(chosen.sum())
        counts = {"task": counts["task"] + (seen if number < 4 else 0), "soft": counts["soft"] + seen}
    objective = TaskObjective(model, soft=0.5, temperature=3.0)
    batch = collate(examples, task.tokenizer.pad_id)
    parts = objective(batch)
    assert parts["task"].total.item() == pytest.approx(hard, rel=1e-4)
    assert parts["soft"].total.item() == pytest.approx(soft, rel=1e-4) and soft > 1e-3
    assert objective.counts(batch) == counts and 0 < counts["task"] < counts["soft"]


def test_a_batch_without_a_label(mixed: tuple[Material, list[EncodedExample]], folder: Path) -> None:
    """Finite, attached, and its gradient is that of the teacher's predictions alone."""
    material, examples = mixed
    gradients = []
    for soft in (0.5, 1.0):
        model = new_model(folder, material.task, pooling="mean", seed=2).eval()
        objective = TaskObjective(model, soft=soft)
        batch = collate(examples[4:], material.task.tokenizer.pad_id)
        parts = objective(batch)
        if soft == 0.5:
            assert parts["task"].total.item() == 0 and parts["task"].total.requires_grad
            assert objective.counts(batch)["task"] == 0
        (parts["soft"].total + (parts["task"].total if "task" in parts else 0)).backward()
        gradients.append([each.grad for each in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one is not None and other is not None and torch.isfinite(one).all()
        assert torch.equal(one, other)


def test_accumulation_gives_the_same_gradient(mixed: tuple[Material, list[EncodedExample]], folder: Path) -> None:
    """In float64, though some parts hold no label: each term has its own global count."""
    material, examples = mixed
    batches = TaskBatches(examples, pad_id=material.task.tokenizer.pad_id, batch_size=10, seed=1)
    found = []
    for accumulation in (1, 7):
        model = new_model(folder, material.task, pooling="mean", seed=2).double().eval()
        trainer = Trainer(
            TaskObjective(model, soft=0.5), torch.optim.SGD(model.parameters(), lr=1.0), ALONE, clip_norm=0
        )
        result = trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=accumulation), 1.0)
        assert result.taken
        found.append([each.detach().clone() for each in model.parameters()])
    for one, other in zip(*found, strict=True):
        # `logits` are read as float32 by the loss
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_every_epoch_passes_over_all(mixed: tuple[Material, list[EncodedExample]]) -> None:
    batches = TaskBatches(mixed[1], pad_id=0, batch_size=5, seed=1)
    assert batches.batches_per_epoch == 2
    assert sorted(i for cursor in (2, 3) for i in batches.global_batch(cursor)[1]) == list(range(10))


def test_soft_targets_are_the_teachers(mixed: tuple[Material, list[EncodedExample]], tmp_path: Path) -> None:
    """In the student's order of classes; of tags at the first piece of each word, and without a class to learn."""
    material, _ = mixed
    task = material.task
    for each, example in zip(material.transfer, material.unlabelled, strict=True):
        assert material.teacher is not None and each.soft is not None and each.made_of == ()
        (expected,) = material.teacher.task.predict(material.teacher.model, [example])
        (found,) = task.decode([example], [replace(each, source=0)], [each.soft])
        if task.kind == "tag":
            assert list(found) == list(expected)
            assert ((each.target != IGNORED) == (each.spans >= 0)).all()
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.skipif(not ASSIN2.is_dir(), reason="ASSIN 2 is not at ../shared/data")
def test_no_text_of_assin_2_that_is_measured_by(
    folder: Path, vocabulary: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most development sentences, and a third of the test's, are in training rows; none is in the transfer set."""
    rows, dev, test = (read_labelled(ASSIN2 / f"assin2-{split}.xml", Columns(), numbers=False).examples
                       for split in ("train-only", "dev", "test"))  # fmt: skip
    rows = rows[::4]
    task = TextTask.of("classify", rows, vocabulary, 64)
    teacher = FineTuned(new_model(folder, task, pooling="mean", seed=5).eval(), task)
    held_out = {name for row in [*dev, *test] for name in names_of(row)}
    assert sum(not names_of(row).isdisjoint(held_out) for row in rows) > 500
    material = Material(
        folder, task, rows, dev, test, {}, SoftTargets(teacher, task), folder, [*test[:50], *rows[:50]], 600
    )
    texts = transfer._chosen(material, material.teacher, 1)
    said = capsys.readouterr().err
    assert len(texts) == 600 and {each.kind for each in texts} == {"near", "random", "word", "deletion", "order"}
    assert held_out.isdisjoint(name for each in texts for name in names_of(each.example))
    assert int(re.search(r"; (\d+) dropped as --dev or --test has", said.replace(",", ""))[1]) > 100  # type: ignore[index]
    # Each is new, and follows from the rows that it names.
    assert len({names_of(each.example) for each in texts}) == 600
    assert not {names_of(row) for row in rows} & {names_of(each.example) for each in texts}
    for each in texts:
        sources = [text for number in each.made_of for text in texts_of(rows[number])]
        pair = texts_of(each.example)
        assert sum(text in sources for text in pair) >= (2 if each.kind in ("near", "random") else 1), each
        if each.kind == "deletion":
            (changed,) = [text for text in pair if text not in sources] or [pair[0]]
            assert any(set(changed.split()) < set(source.split()) or changed in source for source in sources)
        if each.kind == "order":
            (changed,) = [text for text in pair if text not in sources]
            assert sorted(changed.split()) in [sorted(source.split()) for source in sources]


def test_case_and_space_make_no_other_text(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    rows = opinions(24)
    spelled = LabelledText(f"  {rows[0].text.upper()} ".replace(" ", "  "), None, "positive")
    given = [LabelledText(text, None, "") for text in (rows[0].text, "Um  TEXTO novo", "um texto novo", "outro")]
    task = TextTask.of("classify", rows[1:], vocabulary, 64)
    teacher = SoftTargets(FineTuned(new_model(folder, task, pooling="mean", seed=5).eval(), task), task)
    material = Material(folder, task, rows[1:], [], [spelled], {}, teacher, folder, given)
    found = labelled(material, tmp_path)
    assert len(found.transfer) == 2
    lines = (tmp_path / "transfer_sample.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[2] for line in lines] == ["Um  TEXTO novo", "outro"]
    chosen = transfer._chosen(replace(material, held_out=[LabelledText("OUTRO", None, "positive")]), teacher, 1)
    assert [each.example.text for each in chosen] == ["Um  TEXTO novo"]  # type: ignore[union-attr]


def test_the_seed_decides(folder: Path, vocabulary: Tokenizer) -> None:
    material = material_of("classify", folder, vocabulary, made=40)
    assert material.teacher is not None
    first, again, other = (transfer._chosen(material, material.teacher, seed) for seed in (1, 1, 2))
    assert first == again and len(first) == 40 and first != other
    texts = {text for row in material.training for text in texts_of(row)}
    near = [each for each in first if each.kind == "near"]
    assert near and all(set(texts_of(each.example)) <= texts for each in near)


def test_too_few_are_said(folder: Path, vocabulary: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [LabelledText("sim", None, "a"), LabelledText("não", None, "b"), LabelledText("eu sei", None, "a")]
    task = TextTask.of("classify", rows, vocabulary, 16)
    teacher = SoftTargets(FineTuned(new_model(folder, task, pooling="mean", seed=5).eval(), task), task)
    texts = transfer._chosen(Material(folder, task, rows, [], [], {}, teacher, folder, made=50), teacher, 1)
    assert {each.example.text for each in texts} == {"eu", "sei", "sei eu"}  # type: ignore[union-attr]
    assert "--transfer: these rows make 3 different texts, not 50" in capsys.readouterr().err
    with pytest.raises(InputError, match="no text is left"):
        transfer._chosen(Material(folder, task, rows[:2], [], [], {}, teacher, folder, made=5), teacher, 1)


def test_words_are_replaced_by_the_teachers_guesses(folder: Path, vocabulary: Tokenizer) -> None:
    """By a masked LM where the folder has its head, else by what is near in the table of words."""
    rows = opinions(60)
    task = TextTask.of("classify", rows, vocabulary, 64)
    model = new_model(folder, task, pooling="mean", seed=5).eval()
    teacher = SoftTargets(FineTuned(model, task), task)
    masked_lm = BertForMaskedLM.from_pretrained(folder, heads="require")
    maker = transfer._Maker(Material(folder, task, rows, [], [], {}, teacher, folder), teacher)
    assert maker.masked_lm is not None
    words = "Minha tia disse que o livro é ótimo.".split()
    word = next(
        i for i, each in enumerate(words) if transfer._WORD.search(each) and len(vocabulary.encode(each).ids) == 3
    )
    span = transfer._WORD.search(words[word])
    assert span is not None
    found = maker._others(words, word, span)
    text = " ".join([*words[:word], vocabulary.special.mask_token, *words[word + 1 :]])
    likely = [each.token for each in fill_mask(masked_lm, vocabulary, text, top_k=30)[0]]
    assert found == [each for each in likely if each.isalpha() and each != words[word].lower()][:8] and found

    maker.masked_lm = None
    assert maker.words is not None
    table = model.bert.embeddings.word.weight.detach().numpy()
    vectors = {each: table[vocabulary.encode(each).ids[1:-1]].mean(0) for each in maker.words.names}
    mean = np.mean(list(vectors.values()), 0)
    name = maker.words.names[0]
    wanted = vectors[name] - mean
    cosines = {w: (v - mean) @ wanted / np.linalg.norm(v - mean) for w, v in vectors.items()}
    expected = [each for each in sorted(cosines, key=lambda w: -cosines[w])[1:31] if each[:4] != name[:4]][:8]
    found_name = transfer._WORD.search(name.upper())
    assert found_name is not None and maker._others([name.upper()], 0, found_name) == expected
    texts = transfer._chosen(Material(folder, task, rows, [], [], {}, teacher, folder, made=50), teacher, 1)
    changed = [texts_of(each.example)[0] for each in texts if each.kind == "word"]
    assert changed and all(text[:1].isupper() for text in changed)


def test_a_folds_rows_are_no_source_of_its_texts(
    folder: Path, vocabulary: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = labelled(material_of("classify", folder, vocabulary, made=60), tmp_path)
    learnt: list[list[EncodedExample]] = []
    monkeypatch.setattr(
        "tinydistil.tasks.finetune.fine_tune", lambda model, examples, *_, **__: bool(learnt.append(examples)) or True
    )
    config = FineTuneConfig(pooling="mean", soft=0.5)
    assert len(list(cross_validated(material, config, folds=4, ranks=ALONE))) == 4
    everything = {each.ids.tobytes(): i for i, each in enumerate(material.task.encode(material.training))}
    for examples in learnt:
        kept = {everything[each.ids.tobytes()] for each in examples if each.made_of is None}
        made = [each.made_of for each in examples if each.made_of is not None]
        assert len(kept) == 18 and made and all(set(rows) <= kept for rows in made)
        assert len(made) == sum(set(each.made_of or ()) <= kept for each in material.transfer)
