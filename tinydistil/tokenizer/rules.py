"""What a tokenizer does to a text: BERT's rules, tokens added to them, bounds on anybody's, and where words begin.

Shapes: B sequences, T tokens, V vocabulary.
"""

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from tinydistil.base.errors import InputError, require

if TYPE_CHECKING:
    from tinydistil.tokenizer.tokenizer import Tokenizer


# The largest published vocabulary has a million tokens; tables are made by the largest id.
_LARGEST_ID = 10_000_000
# Characters that rules may make of one, and tokens of one letter: NFKD makes 18, and a template adds two or three.
_MOST_GROWTH, _MOST_TOKENS = 100, 64


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The special tokens' spellings; BERT's by default."""

    unk_token: str = "[UNK]"
    sep_token: str = "[SEP]"
    pad_token: str = "[PAD]"
    cls_token: str = "[CLS]"
    mask_token: str = "[MASK]"

    def spellings(self) -> tuple[str, ...]:
        """In the order of the fields: unk, sep, pad, cls, mask."""
        return astuple(self)

    def ids(self, backend: tokenizers.Tokenizer) -> list[int]:
        """Their ids, in the same order. Raises InputError naming the first that `backend` lacks."""
        ids: list[int] = []
        for name, spelling in asdict(self).items():
            if (token_id := backend.token_to_id(spelling)) is None:
                raise InputError(
                    f"the vocabulary lacks the {name} {spelling!r}; add it, or name the one it has in "
                    "tokenizer_config.json"
                )
            ids.append(token_id)
        return ids


def wordpiece_backend(
    vocabulary: list[str],
    special: SpecialTokens,
    extra: Sequence[AddedToken] = (),
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    handle_chinese_chars: bool = True,
) -> tokenizers.Tokenizer:
    """BERT's WordPiece (Devlin et al. 2019; Wu et al. 2016, sec. 4.1) over `vocabulary`, ids in list order.

    `extra` tokens are found in the text as they stand; those not in the vocabulary get the next ids.
    `strip_accents=None` follows `lowercase`, as in the original BERT.
    """
    ids = {token: i for i, token in enumerate(vocabulary)}
    backend = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=special.unk_token))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=handle_chinese_chars, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    complete(backend, special, extra)
    return backend


def complete(backend: tokenizers.Tokenizer, special: SpecialTokens, extra: Sequence[AddedToken]) -> None:
    """Make `extra` and the special tokens found in text as they stand; WordPiece without a template gets BERT's.

    Tokens that a file adds already stay as they are. The template: [CLS] a [SEP], or [CLS] a [SEP] b [SEP] with b in
    segment 1. Raises InputError where a special token is lacking.
    """
    _add(backend, extra)
    special.ids(backend)
    # normalized=False: "[MASK]" in a text is found before lower-casing would hide it.
    _add(backend, [AddedToken(token, normalized=False, special=True) for token in special.spellings()])
    if backend.post_processor is None and isinstance(backend.model, models.WordPiece):
        cls, sep = special.cls_token, special.sep_token
        backend.post_processor = processors.TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(token, backend.token_to_id(token)) for token in (cls, sep)],
        )


def _add(backend: tokenizers.Tokenizer, tokens: Sequence[AddedToken]) -> None:
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    for token in tokens:
        if token.content not in known:
            (backend.add_special_tokens if token.special else backend.add_tokens)([token])


def check_rules(backend: tokenizers.Tokenizer) -> None:
    """Refuse rules that fail or swell on any text, before one that matters comes to them."""
    largest = max(backend.get_vocab(with_added_tokens=True).values())
    require(largest <= _LARGEST_ID, f"a token has the id {largest:,}; at most {_LARGEST_ID:,} is allowed")
    # A letter, one that hardly any vocabulary has, and two texts: unknown tokens and the template come to work.
    for probe in (("a",), ("\U000f0000 \u0378",), ("a", "b")):
        tokens = len(backend.encode(*probe).ids)
        fits = tokens <= _MOST_TOKENS
        require(fits, f"its rules make {tokens:,} tokens of {''.join(probe)!r}; fetch the file again")


def steps_of(normalizer: object) -> list[dict[str, object]]:
    """The single steps of a normalizer as tokenizer.json has it, sequences within sequences unrolled."""
    if not isinstance(normalizer, dict):
        return []
    inner = normalizer.get("normalizers")
    return [step for each in inner for step in steps_of(each)] if isinstance(inner, list) else [normalizer]


def check_growth(steps: Sequence[dict[str, object]]) -> None:
    """Refuse a normalizer whose replacements multiply: ten of "a" by ten of it make 10^10 of one letter."""
    growth = 1  # characters that the steps may make of one; those of the Unicode forms have bounds of their own
    for step in steps:
        content, pattern = step.get("content"), step.get("pattern")
        if step.get("type") == "Replace" and isinstance(content, str) and isinstance(pattern, dict):
            # A regular expression may match the empty text before each character, which stays.
            literal = pattern.get("String")
            is_literal = isinstance(literal, str) and literal != ""
            growth *= max(1, -(-len(content) // len(str(literal)))) if is_literal else 1 + len(content)
    fits = growth <= _MOST_GROWTH
    require(fits, f"its normalizer may make {growth:,} characters of one; at most {_MOST_GROWTH} are allowed")


# What begins a word's first piece: SentencePiece's space, and that of GPT-2's bytes.
_OPENERS = ("\u2581", "\u0120")


class WordStarts:
    """Where words begin, from the spelling of tokens: WordPiece marks the pieces that go on with a word ("##"),
    SentencePiece and byte-level BPE the one that begins it ("\u2581", "\u0120"). Punctuation is a word of its own."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        model, tokens = tokenizer.backend.model, [tokenizer.token(i) for i in range(tokenizer.vocab_size)]
        # A token of bytes is spelled in characters that stand for them: beyond ASCII they are not what they look like.
        in_bytes = any(token.startswith(_OPENERS[1]) for token in tokens)
        marks = [(_is_mark(token[:1], in_bytes), _is_mark(token[-1:], in_bytes)) for token in tokens]
        suffix = (isinstance(model, models.BPE) and model.end_of_word_suffix) or None
        if isinstance(model, models.WordLevel):
            prefix = None
            opens = [True] * len(tokens)
        elif prefix := getattr(model, "continuing_subword_prefix", None):
            opens = [not token.startswith(prefix) for token in tokens]
        else:
            opens = [token.startswith(_OPENERS) or first for token, (first, _) in zip(tokens, marks, strict=True)]
        # After "##," the word goes on only where "##" says so; elsewhere nothing but the mark itself tells.
        closes = [prefix is None and (last or (suffix is not None and token.endswith(suffix)))
                  for token, (_, last) in zip(tokens, marks, strict=True)]  # fmt: skip
        self._opens, self._closes = np.array(opens), np.array(closes)  # (V,)
        self._lone = np.array([token in _OPENERS for token in tokens])  # what follows it is its word

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which tokens of ids (B, T) begin a word; of special ones and padding the answer means nothing."""
        starts, before = self._opens[ids], ids[:, :-1]
        starts[:, 1:] = (starts[:, 1:] | self._closes[before]) & ~self._lone[before]
        return starts


def _is_mark(character: str, only_ascii: bool) -> bool:
    """Whether BERT's pre-tokenizer makes a word of this character."""
    if character.isascii():
        return character != "" and character in string.punctuation
    return not only_ascii and unicodedata.category(character).startswith("P")
