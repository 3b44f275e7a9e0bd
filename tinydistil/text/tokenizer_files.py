"""Tokenizer folders in and out: vocab.txt, tokenizer.json and the small JSON files beside them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypedDict

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from tinydistil.errors import InputError
from tinydistil.files import read_json, read_text, write_json
from tinydistil.hub import first_existing

# Above this, a file's model_max_length is the "no limit" that transformers writes (1e30).
LARGEST_MAX_LENGTH = 10**9


class SpecialTokenError(InputError):
    """A vocabulary lacks a special token."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The special tokens' spellings; BERT's by default."""

    unk_token: str = "[UNK]"
    sep_token: str = "[SEP]"
    pad_token: str = "[PAD]"
    cls_token: str = "[CLS]"
    mask_token: str = "[MASK]"

    def spellings(self) -> tuple[str, str, str, str, str]:
        """In the order of the fields: unk, sep, pad, cls, mask."""
        return self.unk_token, self.sep_token, self.pad_token, self.cls_token, self.mask_token

    def ids(self, backend: tokenizers.Tokenizer) -> list[int]:
        """Their ids, in the same order. Raises SpecialTokenError naming the first that `backend` lacks."""
        ids: list[int] = []
        for field, spelling in zip(fields(self), self.spellings(), strict=True):
            token_id = backend.token_to_id(spelling)
            if token_id is None:
                raise SpecialTokenError(
                    f"the vocabulary lacks the {field.name} {spelling!r}; add it, or name the one it has "
                    "in tokenizer_config.json"
                )
            ids.append(token_id)
        return ids


class NormalizerFlags(TypedDict, total=False):
    """What a folder may say of normalisation: the options of `wordpiece_backend`."""

    lowercase: bool
    strip_accents: bool | None
    split_chinese: bool


def load_backend(folder: Path) -> tuple[tokenizers.Tokenizer, SpecialTokens, int | None]:
    """The `tokenizers` object of a folder, its special tokens, and its length limit if it states one.

    Rules come from tokenizer.json where there is one; `do_lower_case`, `strip_accents` and
    `tokenize_chinese_chars` in tokenizer_config.json override it, as in transformers. A folder with vocab.txt
    alone is lower-cased and loses its accents, BERT's own default. Raises InputError for anything missing.
    """
    config = _optional_json(folder / "tokenizer_config.json")
    special_map = _optional_json(folder / "special_tokens_map.json")
    special = _special_tokens(config, special_map)
    path = first_existing(folder, ("tokenizer.json", "vocab.txt"))
    if path is None:
        raise InputError(f"folder {str(folder)!r} has no tokenizer: neither tokenizer.json nor vocab.txt")
    try:
        if path.name == "tokenizer.json":
            backend = _from_tokenizer_json(path, config)
        else:
            extra = extra_tokens(config, special_map, _optional_json(folder / "added_tokens.json"))
            backend = wordpiece_backend(read_vocab(path), special, extra, **_normalizer_flags(config))
        _add_special(backend, special)
        if backend.post_processor is None and isinstance(backend.model, models.WordPiece):
            backend.post_processor = _bert_template(special, backend)
    except SpecialTokenError as error:
        raise InputError(f"{str(path)!r}: {error}") from None
    limit = config.get("model_max_length")
    has_limit = isinstance(limit, int) and 0 < limit < LARGEST_MAX_LENGTH
    return backend, special, limit if has_limit else None  # type: ignore[return-value]


def read_vocab(path: Path) -> list[str]:
    """The tokens of a vocab.txt, one a line; line number = id. Raises InputError on duplicates."""
    # Not str.splitlines: it also breaks at U+2028 and U+0085, which are tokens in some vocabularies.
    tokens = read_text(path).split("\n")
    while tokens and tokens[-1] == "":
        tokens.pop()
    if not tokens:
        raise InputError(f"{str(path)!r} is empty; fetch it again")
    first_line: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        if token in first_line:
            raise InputError(
                f"{str(path)!r} holds {token!r} twice (lines {first_line[token]} and {line}); "
                "each line is a token's id, so remove neither blindly: fetch the file again"
            )
        first_line[token] = line
    return tokens


def wordpiece_backend(
    vocabulary: list[str],
    special: SpecialTokens,
    extra: Sequence[AddedToken] = (),
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    split_chinese: bool = True,
) -> tokenizers.Tokenizer:
    """BERT's WordPiece (Devlin et al. 2019; Wu et al. 2016, sec. 4.1) over `vocabulary`, ids in list order.

    `extra` tokens are found in the text as they stand; those not in the vocabulary get the next ids.
    `strip_accents=None` follows `lowercase`, as in the original BERT.
    """
    ids = {token: i for i, token in enumerate(vocabulary)}
    backend = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=special.unk_token))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    for token in extra:
        (backend.add_special_tokens if token.special else backend.add_tokens)([token])
    _add_special(backend, special)
    backend.post_processor = _bert_template(special, backend)
    return backend


def _bert_template(special: SpecialTokens, backend: tokenizers.Tokenizer) -> processors.TemplateProcessing:
    """[CLS] a [SEP], or [CLS] a [SEP] b [SEP] with b in segment 1."""
    cls, sep = special.cls_token, special.sep_token
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in (cls, sep)],
    )


def _add_special(backend: tokenizers.Tokenizer, special: SpecialTokens) -> None:
    """Make the special tokens found in text before it is normalised; those that a file already defines stay so."""
    special.ids(backend)
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    # normalized=False: "[MASK]" in a text is found before lower-casing would hide it.
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in special.spellings() if token not in known]
    )


def save_backend(backend: tokenizers.Tokenizer, special: SpecialTokens, max_length: int | None, folder: Path) -> None:
    """Write the tokenizer's files into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not backend.save: it reports a full disk as a bare Exception.
    (folder / "tokenizer.json").write_text(backend.to_str(pretty=True), encoding="utf-8")
    names = {field.name: getattr(special, field.name) for field in fields(special)}
    config: dict[str, object] = dict(names)
    if max_length is not None:
        config["model_max_length"] = max_length
    if isinstance(backend.model, models.WordPiece):
        normalizer = backend.normalizer
        if isinstance(normalizer, normalizers.BertNormalizer):
            config["do_lower_case"] = normalizer.lowercase
            config["strip_accents"] = normalizer.strip_accents
            config["tokenize_chinese_chars"] = normalizer.handle_chinese_chars
        config["tokenizer_class"] = "BertTokenizer"
        by_id = sorted(backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        if by_id[-1][1] == len(by_id) - 1:  # a line's number is its id, so a gap cannot be written down
            (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in by_id), encoding="utf-8")
    else:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", names)


def _from_tokenizer_json(path: Path, config: dict[str, object]) -> tokenizers.Tokenizer:
    rules = read_json(path)
    flags = {_NORMALIZER_FIELDS[name]: value for name, value in _normalizer_flags(config).items()}
    normalizer = rules.get("normalizer")
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    for step in steps:
        if isinstance(step, dict) and step.get("type") == "BertNormalizer":
            step |= flags
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(rules))
    except Exception as error:  # the library raises bare Exception for every malformed file
        raise InputError(f"{str(path)!r} is not a valid tokenizer.json ({error}); fetch it again") from None


_NORMALIZER_FIELDS = {
    "lowercase": "lowercase",
    "strip_accents": "strip_accents",
    "split_chinese": "handle_chinese_chars",
}


def _normalizer_flags(config: dict[str, object]) -> NormalizerFlags:
    """What tokenizer_config.json says of normalisation; only the keys it has."""
    names = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "split_chinese",
    }
    flags: NormalizerFlags = {}
    for key, name in names.items():
        if key in config:
            value = config[key]
            if not (isinstance(value, bool) or (value is None and key == "strip_accents")):
                raise InputError(f"tokenizer_config.json: {key} must be true or false, got {value!r}")
            flags[name] = value  # type: ignore[literal-required]
    return flags


def _special_tokens(config: dict[str, object], special_map: dict[str, object]) -> SpecialTokens:
    special = SpecialTokens()
    for field in fields(special):
        spelling = config.get(field.name) or special_map.get(field.name)
        # An AddedToken is written out as {"content": "[MASK]", "lstrip": false, ...}.
        if isinstance(spelling, dict):
            spelling = spelling.get("content")
        if spelling is None:
            continue
        if not isinstance(spelling, str):
            raise InputError(f"tokenizer_config.json: {field.name} must be text, got {spelling!r}")
        special = replace(special, **{field.name: spelling})
    return special


def extra_tokens(
    config: dict[str, object], special_map: dict[str, object], added: dict[str, object]
) -> list[AddedToken]:
    """Tokens that a user added after the vocabulary was made, from every place where releases have written them.

    added_tokens.json (token: id), tokenizer_config.json's "added_tokens_decoder" (id: fields), and lists of further
    special tokens; in the order of their ids where they have one. Raises InputError for another form.
    """
    numbered: dict[int, AddedToken] = {}
    try:
        for token, number in added.items():
            numbered[int(number)] = AddedToken(token, normalized=True, special=False)  # type: ignore[call-overload]
        for number, fields_of in (config.get("added_tokens_decoder") or {}).items():  # type: ignore[attr-defined]
            options = {key: value for key, value in fields_of.items() if key != "content"}
            numbered[int(number)] = AddedToken(fields_of["content"], **options)
        listed: list[object] = []
        for source in (config, special_map):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                found = source.get(key) or []
                listed += list(found.values() if isinstance(found, dict) else found)  # type: ignore[call-overload]
        spelled = [str(each["content"] if isinstance(each, dict) else each) for each in listed]
        further = [AddedToken(token, normalized=False, special=True) for token in dict.fromkeys(spelled)]
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise InputError(f"added tokens of an unknown form in the tokenizer's JSON files ({error!r})") from None
    return [numbered[number] for number in sorted(numbered)] + further


def _optional_json(path: Path) -> dict[str, object]:
    return read_json(path) if path.is_file() else {}
