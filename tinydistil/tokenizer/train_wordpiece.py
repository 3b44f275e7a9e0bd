"""A new WordPiece vocabulary from text, one that spells every word it was trained on."""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import trainers

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import is_utf8
from tinydistil.tokenizer.rules import SpecialTokens, wordpiece_backend
from tinydistil.tokenizer.tokenizer import Tokenizer


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
    backend = wordpiece_backend(
        sorted(ids, key=ids.__getitem__), special, lowercase=lowercase, strip_accents=strip_accents
    )
    return Tokenizer(backend, special, max_length)


def _alphabet(texts: Iterable[str], backend: tokenizers.Tokenizer, most: int) -> list[str]:
    """The `most` frequent characters after normalisation, sorted; ties go to the lower code point."""
    raw: Counter[str] = Counter()
    for text in texts:
        raw.update(text)
    if not is_utf8("".join(raw)):
        raise InputError("texts hold a lone surrogate; decode their source as UTF-8")
    counts: Counter[str] = Counter()
    for character, count in raw.items():
        # BERT's normaliser works character by character, so each distinct one is normalised once.
        for normal in backend.normalizer.normalize_str(character):
            counts[normal] += 0 if normal.isspace() else count
    kept = sorted((-count, character) for character, count in counts.items() if count > 0)[:most]
    return sorted(character for _, character in kept)
