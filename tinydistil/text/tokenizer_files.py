"""Tokenizer folders in and out: vocab.txt, tokenizer.json and the small JSON files beside them."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypedDict

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from tinydistil.errors import InputError
from tinydistil.hub import read_json, read_text, write_json

# Above this, a file's model_max_length is the "no limit" that transformers writes (1e30).
LARGEST_MAX_LENGTH = 10**9


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
        """Their ids, in the same order. Raises InputError naming the first that `backend` lacks."""
        ids: list[int] = []
        for field, spelling in zip(fields(self), self.spellings(), strict=True):
            token_id = backend.token_to_id(spelling)
            if token_id is None:
                raise InputError(
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
    special = _special_tokens(config, _optional_json(folder / "special_tokens_map.json"))
    if (path := folder / "tokenizer.json").is_file():
        backend = _from_tokenizer_json(path, config)
    elif (path := folder / "vocab.txt").is_file():
        backend = wordpiece_backend(read_vocab(path), special, **_normalizer_flags(config))
        _add_extra_tokens(backend, _optional_json(folder / "added_tokens.json"))
    else:
        raise InputError(f"folder {str(folder)!r} has no tokenizer: neither tokenizer.json nor vocab.txt")
    try:
        special.ids(backend)
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None
    backend.add_special_tokens(_special(special))
    limit = config.get("model_max_length")
    has_limit = isinstance(limit, int) and 0 < limit < LARGEST_MAX_LENGTH
    return backend, special, limit if has_limit else None  # type: ignore[return-value]


def read_vocab(path: Path) -> list[str]:
    """The tokens of a vocab.txt, one a line; line number = id. Raises InputError on duplicates."""
    # Not str.splitlines: it also breaks at U+2028 and U+0085, which are tokens in some vocabularies.
    tokens = read_text(path).split("\n")
    if tokens[-1] == "":
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
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    split_chinese: bool = True,
) -> tokenizers.Tokenizer:
    """BERT's WordPiece (Devlin et al. 2019; Wu et al. 2016, sec. 4.1) over `vocabulary`, ids in list order.

    `strip_accents=None` follows `lowercase`, as in the original BERT.
    """
    ids = {token: i for i, token in enumerate(vocabulary)}
    backend = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=special.unk_token))
    special.ids(backend)
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    cls, sep = special.cls_token, special.sep_token
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, ids[cls]), (sep, ids[sep])],
    )
    backend.add_special_tokens(_special(special))
    return backend


def save_backend(
    backend: tokenizers.Tokenizer, special: SpecialTokens, max_length: int | None, folder: Path
) -> None:
    """Write the tokenizer's files into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
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
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in by_id), encoding="utf-8")
    else:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", names)


def _from_tokenizer_json(path: Path, config: dict[str, object]) -> tokenizers.Tokenizer:
    text = read_text(path)
    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception for every malformed file
        raise InputError(f"{str(path)!r} is not a valid tokenizer.json ({error}); fetch it again") from None
    if isinstance(backend.normalizer, normalizers.BertNormalizer):
        for attribute, value in _normalizer_flags(config).items():
            name = {"split_chinese": "handle_chinese_chars"}.get(attribute, attribute)
            setattr(backend.normalizer, name, value)
    return backend


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


def _special(special: SpecialTokens) -> list[AddedToken]:
    # normalized=False: "[MASK]" in a text is found before lower-casing would hide it.
    return [AddedToken(spelling, normalized=False, special=True) for spelling in special.spellings()]


def _add_extra_tokens(backend: tokenizers.Tokenizer, added: dict[str, object]) -> None:
    """Tokens that a user added after the vocabulary was made, in the order of their ids."""
    extra = sorted((str(token_id).zfill(12), token) for token, token_id in added.items())
    backend.add_tokens([token for _, token in extra if backend.token_to_id(token) is None])


def _optional_json(path: Path) -> dict[str, object]:
    return read_json(path) if path.is_file() else {}
