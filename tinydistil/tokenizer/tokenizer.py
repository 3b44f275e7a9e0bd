"""Text to token ids: a thin, strict front of the `tokenizers` library, and new vocabularies.

Reads what lies on the hub (vocab.txt with or without tokenizer_config.json, or tokenizer.json) and tokenizes as
`transformers` does. Imports torch for padded batches only: no process that prepares text needs it.
Shapes: B sequences, T tokens.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import Encoding, decoders, normalizers, trainers

from tinydistil.base.errors import InputError, require, translated
from tinydistil.base.files import is_utf8
from tinydistil.base.hub import resolve_folder
from tinydistil.tokenizer.folders import load_backend, save_backend
from tinydistil.tokenizer.rules import SpecialTokens, wordpiece_backend

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of B sequences, padded on the right to the longest: int64, (B, T).

    attention_mask: 1 at tokens, 0 at padding. token_type_ids: 0 first text, 1 second.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor


class Tokenizer:
    """A vocabulary and its rules. Make one with `from_pretrained` or `train_wordpiece`.

    Attributes: `backend` (the `tokenizers.Tokenizer`, neither truncating nor padding), `special` (the
    special tokens' spellings), their ids `cls_id`, `sep_id`, `pad_id`, `mask_id` and `unk_id`, `vocab_size`, and
    `max_length` (the folder's own limit in tokens, or None).
    """

    def __init__(self, backend: tokenizers.Tokenizer, special: SpecialTokens, max_length: int | None = None) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.special, self.max_length = backend, special, max_length
        # One more than the largest id: the number of tokens, added ones included, unless ids have gaps.
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        self.unk_id, self.sep_id, self.pad_id, self.cls_id, self.mask_id = special.ids(backend)
        self._truncating: tuple[int, tokenizers.Tokenizer] | None = None

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Tokenizer:
        """The tokenizer in folder or hub name `name`. Raises InputError if absent or damaged."""
        return cls(*load_backend(resolve_folder(name, weights=False)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and (WordPiece) vocab.txt."""
        save_backend(self.backend, self.special, self.max_length, Path(folder))

    def lowercasing(self) -> Tokenizer:
        """The same with capitals made small before anything else."""
        backend = tokenizers.Tokenizer.from_str(self.backend.to_str())
        steps = [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer is not None else [])]
        backend.normalizer = normalizers.Sequence(steps)
        return Tokenizer(backend, self.special, self.max_length)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the serialised rules and vocabulary: equal for tokenizers that tokenize alike."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    @property
    def lowercases(self) -> bool:
        """Whether capital letters are lost."""
        upper, lower = (self.backend.encode(letter, add_special_tokens=False).ids for letter in "Aa")
        return upper == lower

    def encode(
        self, text: str, pair: str | None = None, *, max_length: int | None = None, add_special: bool = True
    ) -> Encoding:
        """One text (or two) as ids, tokens, offsets, word ids and special-token mask, each of length T.

        `max_length` truncates to that many tokens, special ones included, the longer text first.
        Raises InputError where a text holds a lone surrogate.
        """
        return self.encode_all([text], None if pair is None else [pair], max_length, add_special)[0]

    def encode_batch(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int | None = None
    ) -> TokenBatch:
        """Texts (or pairs of texts) as one padded batch of B sequences; see `encode` for the options."""
        return collate(self.encode_all(texts, pairs, max_length), self.pad_id)

    def encode_all(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        max_length: int | None = None,
        add_special: bool = True,
    ) -> list[Encoding]:
        """Like `encode`, for many texts at once, on all cores."""
        for name, given in (("texts", texts), ("pairs", pairs)):
            require(not isinstance(given, str), f"{name} must be a list of texts, got one text; put it in a list")
        if pairs is not None:
            require(len(pairs) == len(texts), f"pairs must be as many as texts, got {len(pairs)} for {len(texts)}")
        backend = self.backend if max_length is None else self._truncated_to(max_length, pairs is not None)
        with translated("the tokenizer's rules fail on a text", "try another tokenizer"):
            try:
                both = [] if pairs is None else list(zip(texts, pairs, strict=True))
                if max_length is not None:
                    both = [self._without_tails(*each, max_length) for each in both]
                inputs = list(texts) if pairs is None else both
                return list(backend.encode_batch(inputs, add_special_tokens=add_special))
            except (TypeError, UnicodeEncodeError):
                for text in (*texts, *(pairs or ())):
                    _refuse_lone_surrogate(text)
                raise

    def _without_tails(self, text: str, pair: str, max_length: int) -> tuple[str, str]:
        """A pair of long texts up to where `max_length` cuts them anyhow.

        The library keeps what it cuts off, of two texts in every combination: of 4,000 words each 4 GB.
        """
        if max(len(text), len(pair)) <= 16 * max_length:
            return text, pair
        parts = [self.backend.encode(each, add_special_tokens=False) for each in (text, pair)]
        first_is_longer = len(parts[0]) > len(parts[1])  # and stays so: it keeps one token more where they are odd

        def kept(text: str, part: Encoding, is_longer: bool) -> str:
            # A word that the cut goes through lies behind all that is left: it has at most 100 tokens.
            most = (1 + is_longer) * max_length + 100
            return text[: part.offsets[most][1]] if len(part) > most else text

        return kept(text, parts[0], first_is_longer), kept(pair, parts[1], not first_is_longer)

    def _truncated_to(self, max_length: int, paired: bool) -> tokenizers.Tokenizer:
        """A copy of the backend that truncates: the backend's own setting is shared."""
        least = self.backend.num_special_tokens_to_add(paired) + 1
        fits = max_length >= least
        require(fits, f"max_length must be >= {least} (special tokens and at least one more), got {max_length}")
        if self._truncating is None or self._truncating[0] != max_length:
            copy = tokenizers.Tokenizer.from_str(self.backend.to_str())
            copy.enable_truncation(max_length, strategy="longest_first")
            self._truncating = (max_length, copy)
        return self._truncating[1]

    def token(self, token_id: int) -> str:
        """The spelling of one token, "" in a gap of the ids. Raises InputError if it is outside the vocabulary."""
        known = 0 <= token_id < self.vocab_size
        require(known, f"token id must be in 0..{self.vocab_size - 1}, got {token_id}")
        return self.backend.id_to_token(token_id) or ""

    def spelling(self, token_id: int) -> str:
        """The text that a token stands for: bytes read as text, without the marks of where words begin and go on."""
        token = self.token(token_id)
        if self.in_bytes:
            token = decoders.ByteLevel().decode([token]).removeprefix(" ")
        return token.removeprefix("##").removeprefix("\u2581")

    @cached_property
    def in_bytes(self) -> bool:
        """Whether tokens are spelled in characters that stand for bytes."""
        return '"ByteLevel"' in self.backend.to_str()


def collate(encodings: Sequence[Encoding], pad_id: int) -> TokenBatch:
    """Pad encodings on the right to the longest: int64 tensors (B, T)."""
    import torch

    longest = max((len(encoding.ids) for encoding in encodings), default=0)

    def padded(name: str, fill: int) -> Tensor:
        lists = [getattr(encoding, name) for encoding in encodings]
        filled = [ids + [fill] * (longest - len(ids)) for ids in lists]
        return torch.tensor(filled, dtype=torch.int64).reshape(len(lists), longest)

    return TokenBatch(padded("ids", pad_id), padded("attention_mask", 0), padded("type_ids", 0))


def _refuse_lone_surrogate(text: str) -> None:
    """Half of a UTF-16 pair is no character: it comes from cut JSON escapes or wrongly decoded files."""
    require(isinstance(text, str), f"a text must be str, got {type(text).__name__}")
    for position, character in enumerate(text):
        require(
            not "\ud800" <= character <= "\udfff",
            f"text holds a lone surrogate {character!r} at character {position}; "
            "decode the source as UTF-8, or drop it with text.encode('utf-8', 'ignore').decode()",
        )


def train_wordpiece(
    texts: Iterable[str],
    vocab_size: int,
    *,
    lowercase: bool = False,
    strip_accents: bool = False,
    max_characters: int = 1000,
    max_length: int | None = 512,
) -> Tokenizer:
    """Learn at most `vocab_size` WordPiece tokens from `texts`, read twice (so no generator).

    Pairs seen twice or more are merged by frequency (the `tokenizers` trainer). Of the characters seen, the
    `max_characters` most frequent are kept, each both as the start and as the continuation of a word: a character known
    only at starts would turn every other word that holds it into [UNK]. Equal texts give equal vocabularies.

    Raises InputError if `vocab_size` cannot hold the special tokens and the characters twice.
    """
    if isinstance(texts, str) or iter(texts) is texts:
        raise InputError("texts must be a list of texts, not one text and, being read twice, not a generator")
    special = SpecialTokens()
    # The order of every BERT vocabulary: padding is id 0.
    specials = [special.pad_token, special.unk_token, special.cls_token, special.sep_token, special.mask_token]
    require(max_characters >= 1, f"max_characters must be >= 1, got {max_characters}")
    backend = wordpiece_backend(specials, special, lowercase=lowercase, strip_accents=strip_accents)
    alphabet = _alphabet(texts, backend, max_characters)
    least = len(specials) + 2 * len(alphabet)
    require(
        vocab_size >= least,
        f"vocab_size must be >= {least}, the special tokens and {len(alphabet)} characters in both forms, "
        f"got {vocab_size}; raise it or lower max_characters",
    )
    # Left alone, the trainer numbers the "##" characters in the order of a hash map and breaks ties between
    # pairs by these numbers: another vocabulary each run. Given as special tokens they come first, in order.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        special_tokens=specials + [f"##{character}" for character in alphabet],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    ids = backend.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    trained = wordpiece_backend(tokens, special, lowercase=lowercase, strip_accents=strip_accents)
    return Tokenizer(trained, special, max_length)


def _alphabet(texts: Iterable[str], backend: tokenizers.Tokenizer, most: int) -> list[str]:
    """The `most` frequent characters after normalisation, sorted; ties go to the lower code point."""
    raw: Counter[str] = Counter()
    for text in texts:
        raw.update(text)
    require(is_utf8("".join(raw)), "texts hold a lone surrogate; decode their source as UTF-8")
    counts: Counter[str] = Counter()
    for character, count in raw.items():
        # BERT's normaliser works character by character, so each distinct one is normalised once.
        for normal in backend.normalizer.normalize_str(character):
            counts[normal] += 0 if normal.isspace() else count
    kept = sorted((-count, character) for character, count in counts.items() if count > 0)[:most]
    return sorted(character for _, character in kept)
