"""Tokenizer folders in and out: vocab.txt, tokenizer.json and the small JSON files beside them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, normalizers

from tinydistil.base.config import shown
from tinydistil.base.errors import InputError, require, translated
from tinydistil.base.files import read_json, read_text, write_json, write_text
from tinydistil.base.hub import first_existing
from tinydistil.tokenizer.rules import SpecialTokens, check_growth, check_rules, complete, steps_of, wordpiece_backend

# Above this, a file's model_max_length is the "no limit" that transformers writes (1e30).
LARGEST_MAX_LENGTH = 10**9
# Keys of tokenizer_config.json, and the same in a BertNormalizer.
_FLAGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def load_backend(folder: Path) -> tuple[tokenizers.Tokenizer, SpecialTokens, int | None]:
    """The `tokenizers` object of a folder, its special tokens, and its length limit if it states one.

    Rules come from tokenizer.json where there is one; `do_lower_case`, `strip_accents` and
    `tokenize_chinese_chars` in tokenizer_config.json override it, as in transformers. A folder with vocab.txt
    alone is lower-cased and loses its accents, BERT's own default. Raises InputError for anything missing.
    """
    config, special_map, added = (
        read_json(folder / name) if (folder / name).is_file() else {}
        for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    )
    path = first_existing(folder, ("tokenizer.json", "vocab.txt"))
    if path is None:
        raise InputError(f"folder {str(folder)!r} has no tokenizer: neither tokenizer.json nor vocab.txt")
    special, extra = _special_tokens(config, special_map), _extra_tokens(config, special_map, added)
    flags: dict[str, Any] = {name: config[key] for key, name in _FLAGS.items() if key in config}
    for key, name in _FLAGS.items():
        known = isinstance(flags.get(name, True), bool) or (flags[name] is None and key == "strip_accents")
        require(known, f"tokenizer_config.json: {key} must be true or false, got {shown(flags.get(name))}")
    content = read_json(path) if path.name == "tokenizer.json" else _read_vocab(path)
    with translated(f"{str(path)!r} holds rules that fail", "fetch the file again"), _silent():
        try:
            if isinstance(content, dict):
                backend = _backend_of(content, flags)
                complete(backend, special, extra)
            else:
                backend = wordpiece_backend(content, special, extra, **flags)
            for token, number in added.items():
                # Of another id, the embeddings would be read wrongly.
                found = backend.token_to_id(token)
                require(
                    found == int(number),  # type: ignore[call-overload]
                    f"added_tokens.json gives {token!r} the id {number}, but after this vocabulary it is {found}; "
                    "do the files belong together?",
                )
            check_rules(backend)
        except InputError as error:
            raise InputError(f"{str(path)!r}: {error}") from None
    limit = config.get("model_max_length")
    has_limit = isinstance(limit, int | float) and not isinstance(limit, bool) and 1 <= limit < LARGEST_MAX_LENGTH
    return backend, special, int(limit) if has_limit else None  # type: ignore[call-overload]


@contextmanager
def _silent() -> Iterator[None]:
    """Keep a Rust panic's own lines off standard error: its message comes as an exception too."""
    try:
        kept = os.dup(2)
    except OSError:  # closed
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _backend_of(rules: dict[str, object], flags: dict[str, object]) -> tokenizers.Tokenizer:
    """What a tokenizer.json holds, with the flags of tokenizer_config.json."""
    steps = steps_of(rules.get("normalizer"))
    for step in steps:
        if step.get("type") == "BertNormalizer":
            step |= flags
    check_growth(steps)
    # Lengths are a caller's: a padding of 10^12, say, ends the process inside the library.
    with translated("not a valid tokenizer.json", "fetch it again"):
        return tokenizers.Tokenizer.from_str(json.dumps(rules | {"truncation": None, "padding": None}))


def _read_vocab(path: Path) -> list[str]:
    """The tokens of a vocab.txt, one a line; line number = id. Raises InputError on duplicates."""
    # Not str.splitlines: it also breaks at U+2028 and U+0085, which are tokens in some vocabularies.
    tokens = read_text(path).rstrip("\n").split("\n")
    require(tokens != [""], f"{str(path)!r} is empty; fetch it again")
    first_line: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        require(
            first_line.setdefault(token, line) == line,
            f"{str(path)!r} holds {token!r} twice (lines {first_line[token]} and {line}); "
            "each line is a token's id, so remove neither blindly: fetch the file again",
        )
    return tokens


def _special_tokens(config: dict[str, object], special_map: dict[str, object]) -> SpecialTokens:
    found: dict[str, str] = {}
    for field in fields(SpecialTokens):
        spelling = config.get(field.name) or special_map.get(field.name)
        # An AddedToken is written out as {"content": "[MASK]", "lstrip": false, ...}.
        if isinstance(spelling, dict):
            spelling = spelling.get("content")
        if spelling is None:
            continue
        if not isinstance(spelling, str) or not spelling.isprintable():
            raise InputError(f"tokenizer_config.json: {field.name} must be text, got {shown(spelling)}")
        found[field.name] = spelling
    return SpecialTokens(**found)


def _extra_tokens(config: dict[str, Any], special_map: dict[str, Any], added: dict[str, Any]) -> list[AddedToken]:
    """Tokens that a user added after the vocabulary was made, from every file where releases have written them.

    added_tokens.json (token: id), tokenizer_config.json's "added_tokens_decoder" (id: fields), and lists of further
    special tokens; in the order of their ids where they have one. Raises InputError for another form.
    """
    try:
        numbered = {int(number): AddedToken(token, normalized=True, special=False) for token, number in added.items()}
        for number, options in (config.get("added_tokens_decoder") or {}).items():
            numbered[int(number)] = AddedToken(**options)
        listed: list[Any] = []
        for source in (config, special_map):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                found = source.get(key) or []
                listed += found.values() if isinstance(found, dict) else found
        spelled = [str(each["content"] if isinstance(each, dict) else each) for each in listed]
        further = [AddedToken(token, normalized=False, special=True) for token in dict.fromkeys(spelled)]
        if any(not token.content for token in (*numbered.values(), *further)):
            raise ValueError("a token without a spelling")
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        raise InputError(f"added tokens of an unknown form in the tokenizer's JSON files ({error!r})") from None
    return [numbered[number] for number in sorted(numbered)] + further


def save_backend(backend: tokenizers.Tokenizer, special: SpecialTokens, max_length: int | None, folder: Path) -> None:
    """Write the tokenizer's files into `folder`, made if need be.

    `transformers` makes a BertTokenizer from vocabulary and flags alone and drops all other rules. So that class is
    named only where it gives the same rules; else the generic one, which follows tokenizer.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tokenizer.json", backend.to_str(pretty=True))
    config: dict[str, object] = asdict(special)
    if max_length is not None:
        config["model_max_length"] = max_length
    vocabulary = backend.get_vocab(with_added_tokens=False)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if _is_plain_bert(backend, special, tokens):
        config |= {key: getattr(backend.normalizer, name) for key, name in _FLAGS.items()}
        config["tokenizer_class"] = "BertTokenizer"
        write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in tokens))
    else:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]  # it leaves the second out else
        (folder / "vocab.txt").unlink(missing_ok=True)  # of another tokenizer that was here
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", asdict(special))


def _is_plain_bert(backend: tokenizers.Tokenizer, special: SpecialTokens, tokens: list[str]) -> bool:
    """Whether BERT's usual rules over `tokens`, in the order of their ids, are all of `backend`."""
    normalizer = backend.normalizer
    gaps = not tokens or backend.model.token_to_id(tokens[-1]) != len(tokens) - 1
    if gaps or not isinstance(normalizer, normalizers.BertNormalizer) or any("\n" in token for token in tokens):
        return False
    usual = wordpiece_backend(tokens, special, **{name: getattr(normalizer, name) for name in _FLAGS.values()})
    rules, usual_rules = (json.loads(each.to_str()) for each in (backend, usual))
    deciding = rules.keys() - {"truncation", "padding", "decoder"}  # what decides the ids of a text
    return all(rules[key] == usual_rules.get(key) for key in deciding)
