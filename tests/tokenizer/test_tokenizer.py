"""Tokens as transformers makes them: real text, nasty strings, pairs, truncation; folders in and out."""

import gzip
import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import transformers
from tokenizers import Encoding

from tinydistil.base.errors import InputError
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

NASTY = [
    "", " ", "\t", "\n", "\r\n", "   espaços   demais   ",
    "ação", "ac\u0327a\u0303o", "AÇÃO", "AC\u0327A\u0303O", "coração", "ÀÉÎÕÜ", "\u0301", "e\u0301\u0302\u0303",
    "ﬁ ﬂ ﬃ", "ß ẞ", "İstanbul ı", "Ǆ ǆ", "ﷺ", "Ω Ω", "K K", "½ ² ³ ª º n.º 1º",
    "😀", "👩‍👩‍👧‍👦 família", "🇧🇷", "👍🏽", "\u2764\ufe0f", "texto😀colado",
    "zero\u200bwidth", "zero\u200djoiner", "\ufeffBOM", "soft\u00adhyphen", "\u200eLTR\u200f", "a\u2060b",
    "\x00nulo\x00", "\x01\x02\x1f", "\x7f", "\x80\x9f", "\ufffd", "a\u0000b", "\u2028linha\u2029parágrafo", "\u0085",
    "\u00a0não\u00a0quebra", "\u3000ideográfico", "\u2003em\u2003space",
    "中文字符", "中文 e português", "日本語テキスト", "한국어", "العربية", "עברית", "ไทย", "हिन्दी", "ἄλφα", "Привет",
    "a" * 99, "a" * 100, "a" * 101, "a" * 5000, "ç" * 101, "palavra" * 40, "á" * 100,
    "[MASK]", "antes [MASK] depois", "antes[MASK]depois", "[mask]", "[ MASK ]", "[CLS] [SEP] [PAD]", "##ção",
    "[MASK][MASK]",
    "R$ 1.234,56 — 50% d'água", "http://exemplo.com.br/a?b=c&d=e#f", "fulano@exemplo.com", "C++ <b>negrito</b> &amp;",
    "“aspas” ‘simples’ «francesas»", "reticências... …", "guarda-chuva", "pé-de-moleque", "`~^´¨",
    "$%&*()_+-=[]{}|;:'\",.<>/?\\",
    "\U0001d400\U0001d401", "\U0010ffff", "\ue000", "١٢٣", "Ⅷ", "①", "\u1ab0", "a\u0338",
]  # fmt: skip


def fields(encoding: Encoding) -> tuple[list[object], ...]:
    return (
        encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, encoding.word_ids,
        encoding.type_ids, encoding.attention_mask,
    )  # fmt: skip


def assert_same(tokenizer: Tokenizer, reference: transformers.PreTrainedTokenizerBase, texts: list[str]) -> None:
    theirs = reference(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    for i, (text, ours) in enumerate(zip(texts, tokenizer.encode_all(texts), strict=True)):
        assert ours.ids == theirs["input_ids"][i], text
        assert ours.offsets == theirs["offset_mapping"][i], text
        assert ours.special_tokens_mask == theirs["special_tokens_mask"][i], text
        assert ours.word_ids == theirs.word_ids(i), text


@pytest.fixture(scope="module", params=["bertimbau-base-cased", "bert-tiny"])
def real_folder(request: pytest.FixtureRequest, shared_data: Path) -> Path:
    return shared_data / "models" / str(request.param)


def corpus_lines(shared_data: Path, count: int) -> list[str]:
    """Lines from every file of the corpus, in equal parts."""

    def lines(path: Path) -> Iterator[str]:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for document in stream:
                yield from json.loads(document)["text"].split("\n")

    files = sorted((shared_data / "corpus").glob("*.jsonl.gz"))
    share = -(-count // len(files))
    return [line for path in files for line in islice(lines(path), share)]


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\n\n\n"])
def test_empty_lines_at_the_end_of_a_vocabulary_are_no_tokens(tmp_path: Path, end: str) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + end)
    assert Tokenizer.from_pretrained(tmp_path).vocab_size == len(tokens)


def test_real_text(shared_data: Path, real_folder: Path) -> None:
    lines = corpus_lines(shared_data, 20_000)
    assert len(lines) >= 20_000
    assert_same(Tokenizer.from_pretrained(real_folder), transformers.BertTokenizer.from_pretrained(real_folder), lines)


def test_nasty_strings(real_folder: Path) -> None:
    reference = transformers.BertTokenizer.from_pretrained(real_folder)
    assert_same(Tokenizer.from_pretrained(real_folder), reference, NASTY)


def test_unigram_tokenizer_json(shared_data: Path) -> None:
    folder = shared_data / "models" / "e5-small-pt"
    tokenizer = Tokenizer.from_pretrained(folder)
    assert_same(tokenizer, transformers.AutoTokenizer.from_pretrained(folder), NASTY + corpus_lines(shared_data, 500))
    assert (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.unk_id) == (0, 1, 2, 3)


def test_package_tokenizer_json(minilm: Path) -> None:
    assert_same(Tokenizer.from_pretrained(minilm), transformers.AutoTokenizer.from_pretrained(minilm), NASTY)


def test_casing_of_the_two_models(shared_data: Path) -> None:
    bertimbau = Tokenizer.from_pretrained(shared_data / "models" / "bertimbau-base-cased")
    tiny = Tokenizer.from_pretrained(shared_data / "models" / "bert-tiny")
    assert not bertimbau.lowercases and tiny.lowercases
    assert bertimbau.encode("Ação É", add_special=False).tokens == ["Ação", "É"]
    assert tiny.encode("AÇÃO", add_special=False).ids == tiny.encode("acao", add_special=False).ids


# --- folders of our own --------------------------------------------------------------------------------------------

TEXTS = ["O gato dorme no sofá.", "A Ação do coração é rápida!", "Pé-de-moleque, [MASK] e café."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small cased vocabulary, as vocab.txt and nothing else."""
    train_wordpiece(TEXTS * 3, 120).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / file).unlink()
    return tmp_path


@pytest.mark.parametrize("strip_accents", [None, True, False])
@pytest.mark.parametrize("lower", [None, True, False])
@pytest.mark.parametrize("chinese", [None, False])
def test_normalisation_flags(
    folder: Path, lower: bool | None, strip_accents: bool | None, chinese: bool | None
) -> None:
    """Every combination of what a folder may say, silence included, in both file forms."""
    config: dict[str, object] = {"strip_accents": strip_accents}
    config |= {} if lower is None else {"do_lower_case": lower}
    config |= {} if chinese is None else {"tokenize_chinese_chars": chinese}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    reference = transformers.BertTokenizer.from_pretrained(folder)
    assert_same(Tokenizer.from_pretrained(folder), reference, TEXTS + NASTY)
    reference.save_pretrained(folder)
    assert (folder / "tokenizer.json").exists()
    assert_same(Tokenizer.from_pretrained(folder), reference, TEXTS + NASTY)


def test_config_overrides_tokenizer_json(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert tokenizer.lowercases
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"do_lower_case": False}))
    assert not Tokenizer.from_pretrained(folder).lowercases
    assert_same(Tokenizer.from_pretrained(folder), transformers.BertTokenizer.from_pretrained(folder), TEXTS)


def test_tokenizer_json_speaks_where_config_is_silent(tmp_path: Path) -> None:
    """A cased tokenizer.json alone stays cased. transformers 5 would lower-case it: its class default wins there."""
    train_wordpiece(TEXTS * 3, 120).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert not Tokenizer.from_pretrained(tmp_path).lowercases


@pytest.mark.parametrize("lowercase", [True, False])
def test_ours_to_transformers_and_back(tmp_path: Path, lowercase: bool) -> None:
    tokenizer = train_wordpiece(TEXTS * 3, 120, lowercase=lowercase, strip_accents=lowercase, max_length=64)
    tokenizer.save_pretrained(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert reference.model_max_length == 64
    assert_same(tokenizer, reference, TEXTS + NASTY)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert_same(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path), TEXTS + NASTY)
    back = Tokenizer.from_pretrained(tmp_path)
    assert back.fingerprint == tokenizer.fingerprint and back.max_length == 64
    (tmp_path / "tokenizer.json").unlink()  # vocab.txt alone says the same
    assert Tokenizer.from_pretrained(tmp_path).fingerprint == tokenizer.fingerprint


def test_added_tokens(folder: Path) -> None:
    size = Tokenizer.from_pretrained(folder).vocab_size
    (folder / "added_tokens.json").write_text(json.dumps({"<url>": size, "<e-mail>": size + 1}))
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokenizer.vocab_size == size + 2
    assert tokenizer.encode("veja <url>", add_special=False).ids[-1] == size


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("special_tokens_map.json", {"additional_special_tokens": ["<e>", "<f>"]}),
        ("tokenizer_config.json", {"additional_special_tokens": ["<e>"], "do_lower_case": False}),
        ("tokenizer_config.json", {"extra_special_tokens": {"e_token": "<e>"}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"900": {"content": "<e>", "special": True, "lstrip": False,
                                   "rstrip": False, "normalized": False, "single_word": False}}}),
    ],
)  # fmt: skip
def test_further_special_tokens(folder: Path, file: str, values: dict[str, object]) -> None:
    (folder / file).write_text(json.dumps(values))
    reference = transformers.BertTokenizer.from_pretrained(folder)
    assert_same(Tokenizer.from_pretrained(folder), reference, ["o <e> gato <f>", "<e><e>", *TEXTS])


def test_added_tokens_of_another_form(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"x": 3}}))
    with pytest.raises(InputError, match="added tokens of an unknown form"):
        Tokenizer.from_pretrained(folder)


def test_tokenizer_json_in_unusual_forms(folder: Path) -> None:
    """No post-processor, and a normaliser inside a sequence that the flags must reach."""
    Tokenizer.from_pretrained(folder).save_pretrained(folder)
    rules = json.loads((folder / "tokenizer.json").read_text())
    rules |= {"post_processor": None, "normalizer": {"type": "Sequence", "normalizers": [rules["normalizer"]]}}
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    for lower in (True, False):
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
        tokenizer = Tokenizer.from_pretrained(folder)
        assert tokenizer.lowercases is lower
        assert_same(tokenizer, transformers.BertTokenizer.from_pretrained(folder), TEXTS)


# --- pairs, truncation, batches ------------------------------------------------------------------------------------


def test_pairs_and_truncation_longest_first(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    reference = transformers.BertTokenizer.from_pretrained(folder)
    long, short = " ".join(TEXTS * 4), TEXTS[0]
    for text, pair in [(long, short), (short, long), (long, long), (short, short)]:
        for max_length in (4, 5, 9, 16, 33, 200):
            ours = tokenizer.encode(text, pair, max_length=max_length)
            theirs = reference(text, pair, truncation="longest_first", max_length=max_length)
            assert (ours.ids, ours.type_ids) == (theirs["input_ids"], theirs["token_type_ids"]), max_length
    assert len(tokenizer.encode(long).ids) > 33  # a truncating call leaves no trace


@pytest.mark.parametrize("words", [(4000, 4000), (4001, 4000), (4000, 4001), (4000, 3), (3, 4000)])
def test_a_pair_of_long_texts_takes_no_more_than_it_gives(folder: Path, words: tuple[int, int]) -> None:
    """What is cut off was kept in every combination: 4 GB and 20 s for two texts of 4,000 words."""
    tokenizer = Tokenizer.from_pretrained(folder)
    text, pair = (("o gato dorme " * count)[: 7 * count] for count in words)
    for max_length in (7, 32, 33):
        found = tokenizer.encode(text, pair, max_length=max_length)
        assert len(found.overflowing) < 4000
        # what transformers gives for these, which takes minutes: the shorter half first, the odd one to the longer
        lengths = [len(tokenizer.encode(each, add_special=False)) for each in (text, pair)]
        left = max_length - 3
        least = min(min(lengths), left // 2)
        kept = (least, left - least) if lengths[0] <= lengths[1] else (left - least, least)
        assert (found.type_ids.count(0) - 2, found.type_ids.count(1) - 1) == kept
        first = tokenizer.encode(text, add_special=False).ids[: kept[0]]
        assert found.ids[1 : 1 + kept[0]] == first


def test_batch(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    reference = transformers.BertTokenizer.from_pretrained(folder)
    ours = tokenizer.encode_batch(TEXTS, ["outro", "", "mais um texto"], max_length=20)
    theirs = reference(TEXTS, ["outro", "", "mais um texto"], truncation=True, max_length=20, padding=True,
                       return_tensors="pt")  # fmt: skip
    assert ours.input_ids.equal(theirs["input_ids"])
    assert ours.attention_mask.equal(theirs["attention_mask"])
    assert ours.token_type_ids.equal(theirs["token_type_ids"])
    assert tokenizer.encode_batch([]).input_ids.shape == (0, 0)


def test_offsets_point_into_the_text(folder: Path) -> None:
    text = "A  Ação\u200b do coração 😀"
    encoding = Tokenizer.from_pretrained(folder).encode(text)
    pieces = [text[start:end] for start, end in encoding.offsets]
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "").replace("\u200b", "")


def test_decode(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokenizer.backend.decode(tokenizer.encode("o gato dorme").ids) == "o gato dorme"


# --- training ------------------------------------------------------------------------------------------------------


def test_trained_vocabulary_spells_every_word() -> None:
    """A character seen only at the start of words must not turn other words into [UNK]."""
    texts = ["ávido gato", "gatos zelam", "Ávila"] * 3
    tokenizer = train_wordpiece(texts, 60)
    swapped = ["otága", "azeláv", "lÁ"]  # the same characters in other places
    assert all(tokenizer.unk_id not in encoding.ids for encoding in tokenizer.encode_all(texts + swapped))
    assert tokenizer.unk_id in tokenizer.encode("gato ñandu").ids


def test_training_is_reproducible_and_ordered() -> None:
    texts = [f"palavra{i % 97} gato{i % 13} coração {i}" for i in range(2000)]
    first, second = (train_wordpiece(list(texts), 400) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert 200 < first.vocab_size <= 400
    assert tuple(first.token(i) for i in range(5)) == SPECIALS
    assert (first.pad_id, first.unk_id, first.cls_id, first.sep_id, first.mask_id) == (0, 1, 2, 3, 4)


def test_training_in_another_process_gives_the_same(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "from tinydistil.tokenizer.tokenizer import train_wordpiece;"
        "print(train_wordpiece([f'palavra{i % 97} gato{i % 13} coração {i}' for i in range(500)], 200).fingerprint)"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(3)}
    assert len(runs) == 1 and len(runs.pop().strip()) == 64


def test_rare_characters_are_left_out() -> None:
    tokenizer = train_wordpiece(["aaa bbb ccc"] * 5 + ["q"], 20, max_characters=3)
    assert tokenizer.unk_id in tokenizer.encode("q").ids
    assert tokenizer.unk_id not in tokenizer.encode("abc").ids


def test_uncased_training_normalises_characters_first() -> None:
    tokenizer = train_wordpiece(["ÁRVORE árvore Arvore"] * 3, 40, lowercase=True, strip_accents=True)
    assert tokenizer.encode("ÁRVORE", add_special=False).ids == tokenizer.encode("arvore", add_special=False).ids
    assert tokenizer.backend.token_to_id("Á") is None


# --- what is refused -----------------------------------------------------------------------------------------------


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tokenizer: neither tokenizer\.json nor vocab\.txt"):
        Tokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("special", SPECIALS)
def test_vocabulary_without_a_special_token(folder: Path, special: str) -> None:
    vocab = (folder / "vocab.txt").read_text().replace(f"{special}\n", "")
    (folder / "vocab.txt").write_text(vocab)
    with pytest.raises(InputError, match=rf"vocab\.txt': the vocabulary lacks the \w+_token '\[{special[1:-1]}\]'"):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n", r"holds 'a' twice \(lines 6 and 8\)"),
        ("vocab.txt", b"", r"vocab\.txt' is empty"),
        ("vocab.txt", b"[PAD]\nn\xe3o\n", r"is not UTF-8 \(byte 7.*iconv"),
        ("tokenizer.json", b"{}", r"not a valid tokenizer\.json"),
        ("tokenizer.json", b"not json", r"is not valid JSON"),
        ("tokenizer_config.json", b"{", "is not valid JSON"),
        ("tokenizer_config.json", b'{"do_lower_case": "no"}', "do_lower_case must be true or false, got 'no'"),
        ("tokenizer_config.json", b'{"mask_token": "<mascara>"}', "lacks the mask_token '<mascara>'"),
        ("tokenizer_config.json", b'{"mask_token": 7}', "mask_token must be text, got 7"),
    ],
)
def test_broken_files(folder: Path, file: str, content: bytes, message: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        Tokenizer.from_pretrained(folder)


def test_unusual_line_ends_in_vocab(folder: Path, tmp_path: Path) -> None:
    """CRLF is a line end; U+2028 and U+0085 are tokens."""
    other = tmp_path / "other"
    other.mkdir()
    vocab = (folder / "vocab.txt").read_text() + "\u2028\n\x85\n"
    (other / "vocab.txt").write_bytes(vocab.replace("\n", "\r\n").encode())
    tokenizer = Tokenizer.from_pretrained(other)
    assert tokenizer.backend.token_to_id("\u2028") == tokenizer.vocab_size - 2
    assert tokenizer.backend.token_to_id("\x85") == tokenizer.vocab_size - 1


@pytest.mark.parametrize("text", ["\ud800", "gato \udc41 e", "\udfff\ud800"])
def test_lone_surrogates(folder: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"lone surrogate '\\ud\w+' at character \d+"):
        Tokenizer.from_pretrained(folder).encode(text)


def test_bad_calls(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match=r"max_length must be >= 3 .* got 2"):
        tokenizer.encode("a", max_length=2)
    with pytest.raises(InputError, match="pairs must be as many as texts, got 1 for 2"):
        tokenizer.encode_batch(["a", "b"], ["c"])
    with pytest.raises(InputError, match=r"token id must be in 0\.\.\d+, got -1"):
        tokenizer.token(-1)
    with pytest.raises(InputError, match="vocab_size must be >= 11"):
        train_wordpiece(["abc"], 10)
    with pytest.raises(InputError, match="not a generator"):
        train_wordpiece((text for text in TEXTS), 100)
    for call in (lambda: tokenizer.encode_batch("O gato"), lambda: train_wordpiece("abc abc", 50)):
        with pytest.raises(InputError, match="must be a list of texts"):
            call()
    with pytest.raises(InputError, match="a text must be str, got NoneType"):
        tokenizer.encode(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="lone surrogate"):
        train_wordpiece(["a\ud800b"] * 3, 50)


def test_folder_copy_needs_only_the_files_it_reads(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "copy"
    other.mkdir()
    shutil.copy(folder / "vocab.txt", other)
    assert Tokenizer.from_pretrained(other).fingerprint == Tokenizer.from_pretrained(folder).fingerprint
