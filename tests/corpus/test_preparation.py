"""The whole preparation, in this process: what is kept, counted, written, resumed, refused."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tinydistil.base.config import from_mapping
from tinydistil.base.errors import InputError
from tinydistil.batches.shards import TokenShards, verify
from tinydistil.corpus.corpus_folder import OutputFolder
from tinydistil.corpus.prepare import Job, Prepared, prepare
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.segment import describe
from tinydistil.tokenizer.tokenizer import Tokenizer

Writer = Callable[[random.Random], str]
Run = Callable[..., Prepared]
# Half a dozen segments in 100 documents; made-up text repeats itself.
OPTIONS: dict[str, object] = {"segment_mb": 0.02, "max_length": 64, "clean": {"skip": ["repeated_ngrams"]}}


class Silent:
    """Progress that nobody watches, but that can break off: after `stop_after` advances it raises."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.started = (0, 0)

    def start(self, documents: int, raw_bytes: int) -> None:
        self.started = (documents, raw_bytes)

    def advance(self, documents: int, raw_bytes: int) -> None:
        if self.stop_after is not None:
            self.stop_after -= 1
            if self.stop_after < 0:
                raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinydistil.corpus.pool._BATCH_BYTES", 4000)


@pytest.fixture
def corpus(tmp_path: Path, write_text: Writer) -> Path:
    """100 documents in two files, the second compressed; three exact copies and a line that is no JSON among
    them.
    """
    source = random.Random(0)
    lines = [json.dumps({"id": str(n), "text": write_text(source)}, ensure_ascii=False) for n in range(97)]
    lines += [lines[3], lines[50], lines[3].upper().replace('"ID"', '"id"').replace('"TEXT"', '"text"')]
    lines.insert(60, "{broken")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(lines[:40]) + "\n", encoding="utf-8")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[40:]).encode(), mtime=0))
    return folder


@pytest.fixture
def run(corpus: Path, cased: Tokenizer) -> Run:
    def prepare_corpus(
        output: Path,
        *,
        workers: int = 0,
        progress: Silent | None = None,
        tokenizers: list[tuple[str, Tokenizer]] | None = None,
        inputs: list[str] | None = None,
        evaluation: list[str] = [],  # noqa: B006
        overwrite: bool = False,
        **options: object,
    ) -> Prepared:
        config = from_mapping(PrepareConfig, OPTIONS | options)
        job = Job.of(inputs or [str(corpus)], tokenizers or [("cased", cased)], config, evaluation)
        return prepare(job, output, workers=workers, progress=progress or Silent(), overwrite=overwrite)

    return prepare_corpus


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def counts(prepared: Prepared) -> dict[str, dict[str, dict[str, int]]]:
    values = prepared.manifest["counts"]
    assert isinstance(values, dict)
    return values


def test_same_bytes_for_any_number_of_workers(run: Run, tmp_path: Path, cased: Tokenizer, uncased: Tokenizer) -> None:
    tokenizers = [("cased", cased), ("uncased", uncased)]
    results = []
    for workers in (0, 1, 2, 3):
        run(tmp_path / str(workers), workers=workers, tokenizers=tokenizers, sample_dropped=2)
        results.append(contents(tmp_path / str(workers)))
    assert len(results[0]) > 10
    assert results[0] == results[1] == results[2] == results[3]


@pytest.mark.parametrize(("workers", "patterns"), [(0, ([1], [9], [20], [12, 3, 4], [7, 7, 7])), (2, ([11, 6],))])
def test_broken_off_anywhere_it_ends_alike(
    run: Run, tmp_path: Path, workers: int, patterns: tuple[list[int], ...]
) -> None:
    run(tmp_path / "whole", sample_dropped=2)
    resumed = 0
    for stops in patterns:
        output = tmp_path / f"broken{stops}"
        for stop in stops:
            progress = Silent(stop)
            with pytest.raises(KeyboardInterrupt):
                run(output, workers=workers, progress=progress, sample_dropped=2)
            assert not (output / "manifest.json").exists()
        last = Silent()
        run(output, workers=workers, progress=last, sample_dropped=2)
        resumed += last.started[0] > 0
        assert contents(output) == contents(tmp_path / "whole")
    assert resumed >= max(1, len(patterns) - 1)


@pytest.mark.parametrize("call", range(0, 40, 3))
def test_a_failing_write_loses_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    run(tmp_path / "whole")
    calls = 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinydistil.base.files.os.fsync", failing)
    try:
        run(tmp_path / "full")
    except (InputError, OSError):
        assert not (tmp_path / "full" / "manifest.json").exists()
        assert not list(tmp_path.glob("full/**/*.partial"))
        run(tmp_path / "full")
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_the_tokens_are_those_of_the_kept_documents(run: Run, tmp_path: Path, corpus: Path, cased: Tokenizer) -> None:
    run(tmp_path / "out", validation_share=0.0)
    expected: list[int] = []
    lines = (corpus / "a.jsonl").read_bytes() + gzip.decompress((corpus / "b.jsonl.gz").read_bytes())
    for line in lines.decode().splitlines()[:98]:
        if line != "{broken":
            expected += cased.backend.encode(json.loads(line)["text"], add_special_tokens=False).ids
    shards = TokenShards.open(tmp_path / "out")
    assert np.concatenate([shards[index] for index in range(len(shards))]).tolist() == expected
    assert max(shards.lengths()) <= 62 and len(TokenShards.open(tmp_path / "out", split="validation")) == 0


def test_every_document_is_counted_once(run: Run, tmp_path: Path) -> None:
    found = counts(run(tmp_path / "out"))
    assert found["read"]["documents"] == found["items"] == 101
    assert {rule: tally["documents"] for rule, tally in found["dropped"].items()} == {
        "exact_duplicate": 3,
        "unreadable": 1,
    }
    assert sum(tally["documents"] for tally in found["kept"].values()) == 97
    assert str(found["first_unreadable"]).endswith(
        "b.jsonl.gz:21: not valid JSON: Expecting property name enclosed in double quotes at column 2"
    )
    characters = [sum(each["characters"] for each in found[part].values()) for part in ("dropped", "removed", "kept")]
    assert found["read"]["characters"] == sum(characters) + int(str(found["changed"]))


def test_near_duplicates_go_and_only_if_asked(run: Run, tmp_path: Path, write_text: Writer) -> None:
    source = random.Random(5)
    texts = [write_text(source) + "\n" + write_text(source) for _ in range(30)]
    near = [text.replace("chuva", "neve", 1).replace("casa", "choupana", 1) + " Fim." for text in texts[:10]]
    file = tmp_path / "near.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts + near), encoding="utf-8")
    with_near = counts(run(tmp_path / "with", inputs=[str(file)]))
    assert with_near["dropped"]["near_duplicate"]["documents"] >= 9
    without = counts(run(tmp_path / "without", inputs=[str(file)], duplicates={"near": False}))
    assert without["dropped"] == {}


def test_documents_of_the_evaluation_sets_go(run: Run, tmp_path: Path, corpus: Path) -> None:
    text = json.loads((corpus / "a.jsonl").read_text().splitlines()[7])["text"]
    (tmp_path / "test.txt").write_text("Outra frase que não está em lugar nenhum do corpus.\n" + text.split("\n")[0])
    found = counts(run(tmp_path / "out", evaluation=[str(tmp_path / "test.txt")]))
    assert found["dropped"]["evaluation_overlap"]["documents"] >= 1
    assert found["dropped"]["evaluation_overlap"]["documents"] <= 10


def test_split_by_document(run: Run, tmp_path: Path) -> None:
    shares = {}
    for seed in range(3):
        kept = counts(run(tmp_path / str(seed), seed=seed, validation_share=0.3))["kept"]
        shares[seed] = kept["validation"]["documents"]
    assert all(15 <= documents <= 45 for documents in shares.values())
    assert contents(tmp_path / "0") != contents(tmp_path / "1")


def test_samples_show_what_the_rules_did(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "out", sample_dropped=2)
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    by_rule: dict[str, list[dict[str, str]]] = {}
    for sample in samples:
        by_rule.setdefault(f"{sample['effect']} {sample['rule']}", []).append(sample)
    assert len(by_rule["dropped exact_duplicate"]) == len(by_rule["kept kept"]) == 2
    assert by_rule["dropped unreadable"][0]["text"] == "{broken"
    assert ".jsonl" in by_rule["kept kept"][0]["place"] and len(by_rule["kept kept"][0]["text"]) > 100


def test_finished_is_left_alone(run: Run, tmp_path: Path) -> None:
    assert not run(tmp_path / "out").was_finished
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    assert run(tmp_path / "out").was_finished
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    verify(tmp_path / "out")


def test_what_a_crash_left_after_the_manifest_goes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "_discard_uncommitted", lambda self: None)
        run(tmp_path / "out")
    assert (tmp_path / "out" / "segments").exists()
    assert run(tmp_path / "out").was_finished
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_length": 32}, "config.max_length = 64, now it is 32"),
        ({"seed": 1}, "config.seed = 0, now it is 1"),
        ({"duplicates": {"near": False}}, "config.duplicates.near = True, now it is False"),
        ({"read": {"text_field": "corpo"}}, "config.read.text_field = 'text', now it is 'corpo'"),
        ({"inputs": ["b"]}, r"inputs\[0\].file = "),
        ({"tokenizers": "uncased"}, "tokenizer.folder = 'cased', now it is 'uncased'"),
        ({"tokenizers": "both"}, "student_tokenizer"),
    ],
)
def test_another_origin_is_refused(
    run: Run, tmp_path: Path, corpus: Path, cased: Tokenizer, uncased: Tokenizer, options: dict[str, object], field: str
) -> None:
    run(tmp_path / "out")
    tokenizers = {"uncased": [("uncased", uncased)], "both": [("cased", cased), ("uncased", uncased)]}
    if "tokenizers" in options:
        options = {"tokenizers": tokenizers[str(options["tokenizers"])]}
    if "inputs" in options:
        options = {"inputs": [str(corpus / "b.jsonl.gz")]}
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=field) as error:
        run(tmp_path / "out", **options)
    assert "--overwrite" in str(error.value)
    assert contents(tmp_path / "out") == before


def test_changed_input_is_noticed(run: Run, tmp_path: Path, corpus: Path) -> None:
    run(tmp_path / "out")
    text = (corpus / "a.jsonl").read_text(encoding="utf-8")
    (corpus / "a.jsonl").write_text(text.replace("a", "e", 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"inputs\[0\].sha256_of_ends"):
        run(tmp_path / "out")


def test_overwrite_leaves_nothing_of_the_old(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "out", sample_dropped=3)
    run(tmp_path / "fresh", segment_mb=64.0)
    run(tmp_path / "out", segment_mb=64.0, overwrite=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_folder_of_others_is_not_touched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tese.txt").write_text("importante")
    with pytest.raises(InputError, match=r"holds 'tese.txt', which this program did not write"):
        run(tmp_path / "out", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tese.txt"]


def test_two_runs_do_not_share_a_folder(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "out")
    origin = json.loads((tmp_path / "out" / "config.json").read_text())
    with OutputFolder.claim(tmp_path / "out", origin), pytest.raises(InputError, match="another run"):
        run(tmp_path / "out")
    assert run(tmp_path / "out").was_finished


def test_a_lost_shard_of_a_finished_segment_is_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", progress=Silent(20))
    (tmp_path / "out" / "train-000000.safetensors").unlink()
    with pytest.raises(InputError, match=r"train-000000.safetensors, of a finished segment, is missing"):
        run(tmp_path / "out")


def changed(**changes: object) -> Callable[[Path], object]:
    """A segment's JSON with other values."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def counted(name: str, value: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        values = json.loads(path.read_text())
        values["counts"][name] = value
        path.write_text(json.dumps(values))

    return change


def shard(**changes: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        values = json.loads(path.read_text())
        values["shards"][0].update(changes)
        path.write_text(json.dumps(values))

    return change


SEGMENTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a middle one gone": ("000001.json", Path.unlink),
    "the first one gone": ("000000.json", Path.unlink),
    "its state gone": ("000001.state", Path.unlink),
    "empty": ("000001.json", lambda path: path.write_text("")),
    "a list": ("000001.json", lambda path: path.write_text("[]")),
    "nested deep": ("000001.json", lambda path: path.write_text("[" * 100_000)),
    "nothing": ("000001.json", lambda path: path.write_text("{}")),
    "no UTF-8": ("000000.json", lambda path: path.write_bytes(b"\xff\xfe{}")),
    "counts of text": ("000000.json", changed(counts="x")),
    "counts of a list": ("000000.json", changed(counts=[1])),
    "a negative count": ("000000.json", counted("items", -1)),
    "a count of text": ("000000.json", counted("bytes", "9")),
    "a count of 30 digits": ("000000.json", counted("items", 10**30)),
    "a tally of a number": ("000000.json", counted("read", 3)),
    "rules of a list": ("000000.json", counted("dropped", [])),
    "a rule of a number": ("000000.json", counted("removed", {"urls": 3})),
    "a rule of text": ("000000.json", counted("kept", {"train": {"documents": "9", "characters": 1}})),
    "samples of a number": ("000000.json", changed(samples=3)),
    "a sample of text": ("000000.json", changed(samples=["x"])),
    "half a sample": ("000000.json", changed(samples=[{"rank": 1}])),
    "shards of a number": ("000000.json", changed(shards=3)),
    "a shard elsewhere": ("000000.json", shard(file="../train-000000.safetensors")),
    "a shard of text": ("000000.json", changed(shards=["train-000000.safetensors"])),
    "a shard of negative size": ("000000.json", shard(sequences=-4)),
    "hash of a number": ("000000.json", changed(state_sha256=3)),
    "no hash": ("000000.json", lambda path: edit_out(path, "state_sha256")),
    "a state of zeros": ("000001.state", lambda path: path.write_bytes(path.read_bytes()[:-64] + bytes(64))),
    "a state cut": ("000001.state", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "a state of another segment": ("000001.state", lambda p: p.write_bytes(p.with_name("000000.state").read_bytes())),
    "no state": ("000000.state", lambda path: path.write_bytes(b"{}")),
    "a shard of zeros": (
        "../train-000001.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-64] + bytes(64)),
    ),
}  # fmt: skip


def edit_out(path: Path, name: str) -> None:
    values = json.loads(path.read_text())
    del values[name]
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("case", SEGMENTS)
def test_a_damaged_segment_is_named_before_work_goes_on(run: Run, tmp_path: Path, case: str) -> None:
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(output, progress=Silent(stop_after=20))
    name, damage = SEGMENTS[case]
    path = output / "segments" / name
    assert path.exists() and (output / "segments" / "000002.json").exists()
    shards = sorted(output.glob("train-*"))
    damage(path)
    with pytest.raises(InputError, match=rf"{Path(name).name}.*(with --overwrite|UTF-8)"):
        run(output)
    assert sorted(output.glob("train-*")) == shards


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": 3}, "counts must be a table"),
        ({"counts": {"dropped": {}, "removed": {}, "kept": {"train": [1]}}}, "counts.kept.train must be a table"),
        ({"packing_efficiency": [1]}, "packing_efficiency must be a table"),
        ({"packing_efficiency": {"tokens": "x"}}, "packing_efficiency must hold numbers"),
        ({"shards": "x"}, "no list of shards"),
        ({"version": "1"}, "version is '1'"),
    ],
)
def test_a_damaged_manifest_is_one_message(run: Run, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    run(tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=message):
        describe(run(tmp_path / "out").manifest)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9] + bytes(9))])
def test_a_finished_corpus_that_was_damaged_since_is_not_found_finished(
    run: Run, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    run(tmp_path / "out")
    damage(tmp_path / "out" / "train-000001.safetensors")
    with pytest.raises(InputError, match=r"train-000001.safetensors is (missing|damaged)"):
        run(tmp_path / "out")


def test_no_document_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text('{"text": "Oi."}\n{"text": 5}\n')
    with pytest.raises(InputError, match=r"no document of 2 was kept; 1 were dropped by rule '\w+'.*table.json"):
        run(tmp_path / "out", inputs=[str(tmp_path / "short.jsonl")])
    assert not (tmp_path / "out" / "manifest.json").exists()


def words_by_hand(folder: Path, at_least: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Each different word that the sentences of a corpus hold so often, by its pieces, in order of first occurrence."""
    shards, found = TokenShards.open(folder), Counter()
    for number in range(len(shards)):
        pair = shards.pair(number)
        teacher, student = iter(pair.tokens.tolist()), iter(pair.student_tokens.tolist())
        for mine, theirs in zip(pair.pieces.tolist(), pair.student_pieces.tolist(), strict=True):
            found[tuple(islice(teacher, mine)), tuple(islice(student, theirs))] += 1
    return [word for word, count in found.items() if count >= at_least]


def test_single_words_are_those_that_counting_finds(
    run: Run, tmp_path: Path, cased: Tokenizer, uncased: Tokenizer
) -> None:
    tokenizers = [("cased", cased), ("uncased", uncased)]
    run(tmp_path / "without", tokenizers=tokenizers)
    for at_least in (1, 3):
        output = tmp_path / str(at_least)
        run(output, tokenizers=tokenizers, single_words=at_least)
        sentences, shards = len(TokenShards.open(tmp_path / "without")), TokenShards.open(output)
        pairs = [shards.pair(number) for number in range(sentences, len(shards))]
        assert all(len(pair.pieces) == len(pair.student_pieces) == 1 for pair in pairs)
        expected = words_by_hand(tmp_path / "without", at_least)
        assert [(tuple(pair.tokens.tolist()), tuple(pair.student_tokens.tolist())) for pair in pairs] == expected
        assert len(expected) > 50
        verify(output)
        # Validation and the sentences before are as they were; only what was made with what differs.
        for name, data in contents(tmp_path / "without").items():
            assert name in {"config.json", "manifest.json"} or contents(output)[name] == data, name


def test_single_words_by_any_number_of_workers_and_after_a_break(
    run: Run, tmp_path: Path, cased: Tokenizer, uncased: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, object] = {"tokenizers": [("cased", cased), ("uncased", uncased)], "single_words": 2}
    for workers in (0, 2):
        run(tmp_path / str(workers), workers=workers, **options)
    assert contents(tmp_path / "0") == contents(tmp_path / "2")
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(OutputFolder, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(tmp_path / "broken", **options)
    run(tmp_path / "broken", **options)
    assert contents(tmp_path / "broken") == contents(tmp_path / "0")


def test_single_words_need_two_tokenizers(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--student-tokenizer"):
        run(tmp_path / "output", single_words=2)
