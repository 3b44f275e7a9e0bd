"""Tokenizer folders: what we save gives the same ids elsewhere, what lies beside is followed, bad rules are refused."""

import json
import os
from pathlib import Path

import pytest
import tokenizers
import transformers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from tinydistil.base.errors import InputError
from tinydistil.tokenizer.rules import SpecialTokens, wordpiece_backend
from tinydistil.tokenizer.tokenizer import Tokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [f"{prefix}{letter}" for letter in "abcdefghijklmnopqrstuvwxyzãçéóSNA" for prefix in ("", "##")]
VOCABULARY = [*SPECIALS, *LETTERS, "São", "Paulo", "não", "sao", "paulo", "nao", "-", ",", "##-", "##,", "▁não", "▁São"]
TEXTS = ["São Paulo não", "SAO Paulo, Na\u0303o", "  não-sei [MASK] e\u00a0Sóê", "SA\u0303O\tnão", "[mask] ﬁ ½", ""]


def bert(**flags: bool) -> tokenizers.Tokenizer:
    return wordpiece_backend(VOCABULARY, SpecialTokens(), **({"lowercase": False, "strip_accents": False} | flags))


def with_rules(**rules: object) -> tokenizers.Tokenizer:
    backend = bert()
    for name, value in rules.items():
        setattr(backend, name, value)
    return backend


BERT_NORMALIZER = normalizers.BertNormalizer(clean_text=True, strip_accents=False, lowercase=False)
RULES: dict[str, tuple[bool, dict[str, object]]] = {
    "bare": (True, {}),
    "NFC": (False, {"normalizer": normalizers.NFC()}),
    "sequence": (False, {"normalizer": normalizers.Sequence([normalizers.NFC(), BERT_NORMALIZER])}),
    "one in a sequence": (False, {"normalizer": normalizers.Sequence([BERT_NORMALIZER])}),
    "none": (False, {"normalizer": None}),
    "unclean": (False, {"normalizer": normalizers.BertNormalizer(clean_text=False, lowercase=False)}),
    "two others": (False, {"normalizer": normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])}),
    "whitespace": (False, {"pre_tokenizer": pre_tokenizers.Whitespace()}),
    "whitespace split": (False, {"pre_tokenizer": pre_tokenizers.WhitespaceSplit()}),
    "metaspace": (False, {"pre_tokenizer": pre_tokenizers.Metaspace()}),
    "no pre-tokenizer": (False, {"pre_tokenizer": None}),
    "another prefix": (False, {"model": models.WordPiece(
        {token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]", continuing_subword_prefix="@@")}),
    "short words": (False, {"model": models.WordPiece(
        {token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]", max_input_chars_per_word=3)}),
    "no template": (False, {"post_processor": processors.TemplateProcessing(single="$A", pair="$A $B:1")}),
}  # fmt: skip


def assert_same(folder: Path, tokenizer: Tokenizer) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids, text
        assert theirs(text, "não")["token_type_ids"] == tokenizer.encode(text, "não").type_ids, text


@pytest.mark.parametrize("name", RULES)
def test_what_is_saved_gives_the_same_ids_in_transformers(tmp_path: Path, name: str) -> None:
    plain, rules = RULES[name]
    tokenizer = Tokenizer(with_rules(**rules), SpecialTokens())
    tokenizer.save_pretrained(tmp_path)
    assert_same(tmp_path, tokenizer)
    again = Tokenizer.from_pretrained(tmp_path)
    assert [again.encode(text).ids for text in TEXTS] == [tokenizer.encode(text).ids for text in TEXTS]
    # as short as ever where BERT's own class does
    named = json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"]
    assert (named == "BertTokenizer") == plain == (tmp_path / "vocab.txt").exists()


@pytest.mark.parametrize("flags", [{"lowercase": True}, {"strip_accents": True}, {"handle_chinese_chars": False}])
def test_flags_of_the_bare_normaliser_are_saved(tmp_path: Path, flags: dict[str, bool]) -> None:
    tokenizer = Tokenizer(bert(**flags), SpecialTokens())
    tokenizer.save_pretrained(tmp_path)
    assert_same(tmp_path, tokenizer)


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("strip", [True, False])
def test_tokens_added_to_a_vocabulary_are_saved(tmp_path: Path, special: bool, strip: bool) -> None:
    backend = bert()
    token = AddedToken("<e1>", lstrip=strip, normalized=False, special=special)
    (backend.add_special_tokens if special else backend.add_tokens)([token])
    tokenizer = Tokenizer(backend, SpecialTokens())
    tokenizer.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("a <e1> não", "<e1>São<e1>", "a <E1>"):
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids, text


# --- what lies beside tokenizer.json -------------------------------------------------------------------------------

ADDED_ID = len(VOCABULARY)
DECODER = {str(ADDED_ID): {"content": "<e1>", "lstrip": False, "normalized": False, "rstrip": False,
                           "single_word": False, "special": True}}  # fmt: skip
BESIDE: list[tuple[str, dict[str, object]]] = [
    ("added_tokens.json", {"<e1>": ADDED_ID}),
    ("tokenizer_config.json", {"additional_special_tokens": ["<e1>"]}),
    ("special_tokens_map.json", {"additional_special_tokens": ["<e1>"]}),
    ("special_tokens_map.json", {"additional_special_tokens": [{"content": "<e1>", "lstrip": False}]}),
    ("tokenizer_config.json", {"added_tokens_decoder": DECODER}),
    ("tokenizer_config.json", {"extra_special_tokens": {"entity": "<e1>"}}),
]


@pytest.mark.parametrize("form", ["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize(("file", "values"), BESIDE)
def test_added_tokens_beside_the_rules(tmp_path: Path, form: str, file: str, values: dict[str, object]) -> None:
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    (tmp_path / ({"tokenizer.json", "vocab.txt"} - {form}).pop()).unlink()
    path = tmp_path / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode("a <e1> não", add_special=False).ids == [5, ADDED_ID, VOCABULARY.index("não")]
    assert tokenizer.vocab_size == ADDED_ID + 1


def test_a_listed_token_of_the_vocabulary_stays_whole_at_its_id(tmp_path: Path) -> None:
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    path = tmp_path / "special_tokens_map.json"
    path.write_text(json.dumps({"additional_special_tokens": ["Paulo"]}))
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode("São-Paulo", add_special=False).tokens == ["São", "-", "Paulo"]
    assert tokenizer.vocab_size == len(VOCABULARY)


@pytest.mark.parametrize("number", [ADDED_ID + 3, 5, -1])
def test_an_added_token_of_another_id_is_refused(tmp_path: Path, number: int) -> None:
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<e1>": number}))
    with pytest.raises(InputError, match=rf"gives '<e1>' the id {number}, but after this vocabulary it is {ADDED_ID}"):
        Tokenizer.from_pretrained(tmp_path)


# --- what `tokenizers` raises --------------------------------------------------------------------------------------


def replace(pattern: dict[str, str], content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def template(**change: object) -> dict[str, object]:
    parts = [{"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": parts, "pair": parts, "special_tokens": {}} | change


WORDPIECE = json.loads(bert().to_str())["model"]
BAD_RULES: dict[str, dict[str, object]] = {
    "normalizers null": {"normalizer": {"type": "Sequence", "normalizers": None}},
    "normalizers int": {"normalizer": {"type": "Sequence", "normalizers": 3}},
    "normalizers of null": {"normalizer": {"type": "Sequence", "normalizers": [None, 7]}},
    "normalizer text": {"normalizer": "NFC"},
    "unknown type": {"pre_tokenizer": {"type": "Bert2"}},
    "missing unk": {"model": WORDPIECE | {"unk_token": "<none>"}},
    "unigram without unk": {"model": {"type": "Unigram", "unk_id": None, "vocab": [[t, -1.0] for t in SPECIALS]}},
    "bpe unk": {"model": {"type": "BPE", "vocab": WORDPIECE["vocab"], "merges": [], "unk_token": "<none>"}},
    "word level": {"model": {"type": "WordLevel", "vocab": WORDPIECE["vocab"], "unk_token": "<none>"}},
    "panic at load": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},
    "panic at work": {"post_processor": template(single=[{"SpecialToken": {"id": "[X]", "type_id": 0}}])},
    "template of many": {"post_processor": template(single=[{"Sequence": {"id": "A", "type_id": 0}}] * 1000)},
    "regex": {"normalizer": replace({"Regex": "("}, "x")},
    "regex limit": {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(?:a|aa|aaa){100000}{100000}b"},
                                      "behavior": "Isolated", "invert": False}},
    "growth": {"normalizer": {"type": "Sequence", "normalizers": [replace({"String": "a"}, "a" * 1000)] * 5}},
    "growth of a regex": {"normalizer": {"type": "Sequence", "normalizers": [replace({"Regex": ""}, "aaaa")] * 9}},
    "growth within": {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Sequence", "normalizers": [replace({"String": "a"}, "aa")] * 5}] * 5}},
    "huge id": {"model": WORDPIECE | {"vocab": WORDPIECE["vocab"] | {"enorme": 2**32 - 1}}},
    "id beyond": {"model": WORDPIECE | {"vocab": WORDPIECE["vocab"] | {"enorme": 2**33}}},
    "not a number": {"model": WORDPIECE | {"max_input_chars_per_word": float("nan")}},
    "lone surrogate": {"added_tokens": "\ud800"},
    "no model": {"model": None},
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_RULES)
def test_bad_rules_are_one_message(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Found when the folder is read, whatever the library raises, panics included, with nothing on standard error."""
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | BAD_RULES[name]))
    with pytest.raises(InputError, match=r"tokenizer\.json'.*"):
        Tokenizer.from_pretrained(tmp_path)
    assert capfd.readouterr().err == ""


def test_lengths_of_a_tokenizer_json_are_not_taken(tmp_path: Path) -> None:
    """A padding of 10^12 would end the process inside the library."""
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    padding = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
               "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding": padding}))
    assert len(Tokenizer.from_pretrained(tmp_path).encode("a").ids) == 3


def test_failure_at_work_is_one_message() -> None:
    backend = bert()
    backend.model = models.WordPiece(WORDPIECE["vocab"], unk_token="<none>")
    with pytest.raises(InputError, match=r"fail on a text \(WordPiece error: Missing"):
        Tokenizer(backend, SpecialTokens()).encode("ж")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mask_token": "\ud800"}, "mask_token must be text"),
        ({"mask_token": ["[MASK]"]}, "mask_token must be text"),
        ({"do_lower_case": "yes"}, "do_lower_case must be true or false"),
        ({"strip_accents": 1}, "strip_accents must be true or false"),
        ({"added_tokens_decoder": [1]}, "added tokens of an unknown form"),
        ({"added_tokens_decoder": {"7": None}}, "added tokens of an unknown form"),
        ({"added_tokens_decoder": {"sete": {"content": "x"}}}, "added tokens of an unknown form"),
        ({"additional_special_tokens": 7}, "added tokens of an unknown form"),
        ({"additional_special_tokens": ["\udfff"]}, "added tokens of an unknown form"),
        ({"additional_special_tokens": [""]}, "added tokens of an unknown form"),
        ({"extra_special_tokens": [{}]}, "added tokens of an unknown form"),
    ],
)
def test_values_of_odd_types(tmp_path: Path, values: dict[str, object], message: str) -> None:
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(InputError, match=message):
        Tokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("given", "limit"), [(True, None), (512.0, 512), (1e30, None), ("512", None), (-3, None), (64, 64)]
)
def test_length_limit(tmp_path: Path, given: object, limit: int | None) -> None:
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": given}))
    assert Tokenizer.from_pretrained(tmp_path).max_length == limit


def test_a_closed_standard_error(tmp_path: Path) -> None:
    Tokenizer(bert(), SpecialTokens()).save_pretrained(tmp_path)
    kept = os.dup(2)
    os.close(2)
    try:
        assert Tokenizer.from_pretrained(tmp_path).vocab_size == len(VOCABULARY)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
