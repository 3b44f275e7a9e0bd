"""The benchmark of recipes: what it counts, budgets that are alike, a whole run that goes on, wrong input."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import bench_recipes
import flops
import pytest
import torch
from bench_recipes import ROWS, main, parse_arguments, settings_of
from flops import Cost, cost_of, flops_of, plan_of
from measure import encoder_flops, masked_lm_head_flops

from tests.portuguese import entailments, sentences
from tinydistil.base.errors import InputError
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import new_shape
from tinydistil.tokenizer.tokenizer import train_wordpiece
from tinydistil.train.plan import make_batches

# A student of 1 x 16 and a teacher of 2 x 32, both with heads of a layer's half; texts of a few hundred words.
SMALL = "--student 1x16 --vocab-size 300 --batch-size 8 --passes 2 --pairs 40 --sentences 12 --epochs 1 --seeds 1 --set"
READS = "\n".join(f"{word} O" for word in "lê um livro de história antiga em".split())
PAIR = '<pair entailment="{}" id="{}" similarity="{}"><t>{}</t><h>{}</h></pair>'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, tasks and a teacher."""
    data = tmp_path_factory.mktemp("data")
    texts = sentences(800)
    (data / "corpus").mkdir()
    documents = ({"text": " ".join(texts[at : at + 8])} for at in range(0, 800, 8))
    (data / "corpus" / "texts.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (data / "tasks" / "assin2").mkdir(parents=True)
    pairs = (
        PAIR.format("Entailment" if entails else "None", number, 1.0 + 4 * entails, text, other)
        for number, (text, other, entails) in enumerate(entailments(60, "test"))
    )
    header = '<?xml version="1.0" encoding="UTF-8"?>\n<entailment-corpus>'
    whole = f"{header}{''.join(pairs)}</entailment-corpus>"
    (data / "tasks" / "assin2" / "assin2-train-only.xml").write_text(whole, encoding="utf-8")
    (data / "tasks" / "lenerbr").mkdir()
    for split in ("train", "dev"):
        words = "\n\n".join(f"Ana{number} B-PER\n{READS}\nParis B-LOC" for number in range(20))
        (data / "tasks" / "lenerbr" / f"{split}.conll").write_text(words + "\n", encoding="utf-8")
    tokenizer, folder = train_wordpiece(texts, 400), data / "models" / "e5-small-pt"
    torch.manual_seed(0)
    BertModel(new_shape(2, 32, tokenizer.vocab_size), pooler=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return data


def arguments(monkeypatch: pytest.MonkeyPatch, data: Path, output: Path, *more: str) -> Namespace:
    words = ["", "--data", str(data), "--output", str(output), *SMALL.split(), "train.validation_sequences=20", *more]
    monkeypatch.setattr(sys, "argv", words)
    return parse_arguments()


@pytest.fixture(scope="module")
def prepared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with its text."""
    output = tmp_path_factory.mktemp("output")
    with pytest.MonkeyPatch.context() as patch:
        bench_recipes.prepare(arguments(patch, data, output))
    return output


def test_a_counter_knows_all_products_of_a_cpu() -> None:
    model, ids = BertForMaskedLM(new_shape(2, 256, 500), attention="packed").eval(), torch.zeros(3, 20).long()
    encoder = encoder_flops(60, 20, 2, 256, 1024)
    with torch.no_grad():  # wide enough for oneDNN
        assert flops_of(lambda: model(ids, torch.ones_like(ids))) == encoder
        assert flops_of(lambda: model.logits_at(torch.zeros(3, 20, 256), torch.arange(7))) == masked_lm_head_flops(
            7, 256, 500
        )


def test_costs_are_a_closed_form(data: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(monkeypatch, data, prepared, "--set", "train.order.sequences=8")
    for row in ("mlm", "vectors"):
        plan = plan_of(settings_of(args, row, 0))
        cost, batches = cost_of(plan), make_batches(plan, "train")
        assert batches is not None and cost.there == cost.batch_size == len(batches.candidates) == 8
        batch, words = batches.collate(batches.candidates, 0), plan.student.tokenizer
        own, theirs = (each.valid_mask.sum(1).tolist() for each in (batch, batch.teacher or batch))
        student = 3 * sum(encoder_flops(length, length, 1, 16, 64) for length in own)
        student += sum(2 * length * length * 16 for length in own)  # attention's weights are made again
        if row == "mlm":
            assert (cost.teacher, cost.before) == (0, 0) and len(batch.positions) > 10
            student += 3 * masked_lm_head_flops(len(batch.positions), 16, words.vocab_size)
        else:
            assert plan.teacher is not None and batch.teacher is not None
            student += 2 * 8 * 32 * 16  # the teacher's vectors on 16 directions
            teacher = sum(encoder_flops(length, length, 2, 32, 128) for length in theirs)
            assert cost.teacher == pytest.approx(teacher / 8)
            spelt = [words.spelling(number) for number in range(words.vocab_size)]
            read = sum(len(each.ids) for each in plan.teacher.tokenizer.encode_all(spelt))
            assert cost.before == pytest.approx(teacher / sum(theirs) * read)
        assert cost.student == pytest.approx(student / 8)


def test_budgets_are_alike(data: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(monkeypatch, data, prepared)
    for row, (_, stages) in ROWS.items():
        for number in range(len(stages)):
            settings = settings_of(args, row, number)
            if row in ("total", "distilbert"):
                with pytest.raises(InputError, match="no masked language model head"):
                    plan_of(settings)
                continue
            plan = plan_of(settings)
            cost, budget = cost_of(plan), 4e9
            sequences, steps, spent = cost.plan(budget, 2)
            assert 0.97 * budget < spent <= budget
            assert sequences <= cost.there and cost.batch_size <= steps * cost.batch_size
            assert not plan.teacher or steps * cost.batch_size >= 1.8 * sequences


def test_a_budget_in_sequences_and_steps() -> None:
    taught, alone = Cost(1.0, 10.0, 100.0, 1000, 8), Cost(1.0, 0.0, 0.0, 1000, 8)
    assert taught.plan(500.0, 6) == (25, 18, 100 + 25 * 10 + 18 * 8)
    assert alone.plan(500.0, 6) == (500, 62, 62 * 8)
    assert alone.plan(5000.0, 6) == (1000, 625, 5000)  # all that there are, five times each
    with pytest.raises(InputError, match="--budget: of 2e-10 TFLOP 1e-10 go before"):
        taught.plan(200.0, 6)


def test_what_is_done_is_not_done_again(
    data: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows, results = ["--rows", "random weights", "mlm, then vectors", "total"], tmp_path / "results.jsonl"
    arguments(monkeypatch, data, prepared, "--budget", "0.004", *rows, "--record", str(results))
    main()
    table = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    header, _, random, both, total = lines
    assert header[0] == "learns by" and (random[0], both[0]) == tuple(rows[1:3])
    assert random[2] == both[2] == "-" and random[-4:] == ["0.00", "0", "0", "0"] and int(both[-2]) > 10
    assert all(-1 <= float(cell) <= 1 for each in (random, both) for cell in each[3:7])
    assert "recipe.soft is 1.0, but the teacher has no masked language model head" in total[0] and total[3] == "-"
    found = json.loads(results.read_text())
    assert [run["row"] for run in found["runs"]] == rows[1:3] and found["runs"][1]["flops"] > 0.0038e12
    assert not [*prepared.glob("*/stage-*/cache"), *prepared.glob("*/stage-*/checkpoints")]

    called = []
    monkeypatch.setattr(bench_recipes, "call", lambda script, *_, **__: called.append(script))
    main()
    assert capsys.readouterr().out == table and called == ["prepare"]
    arguments(monkeypatch, data, prepared, "--budget", "0.005", *rows)
    with pytest.raises(InputError, match=r"was begun with budget = '0\.004', now it is '0\.005'"):
        main()


def test_wrong_input_is_told(data: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json' is not there; see --data and --teacher"):
        arguments(monkeypatch, data, tmp_path, "--teacher", str(tmp_path))
    with pytest.raises(InputError, match=r"distill\.py .* ended with 2: .*no_such"):
        bench_recipes.call("distill", "--output", tmp_path / "run", settings=["train.no_such=1"])
    args = arguments(monkeypatch, data, prepared, "--set", "student.layers=7")
    with pytest.raises(InputError, match=r"student\.layers"):
        flops.plan_of(settings_of(args, "mlm", 0))
