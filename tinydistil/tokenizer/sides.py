"""The tokenizers of a corpus, loaded without torch, which no process that prepares text needs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tinydistil.base.hub import resolve_folder
from tinydistil.tokenizer.folders import load_backend
from tinydistil.tokenizer.word_encoder import Side


@dataclass(frozen=True)
class TokenizerName:
    """Which tokenizer made the tokens, for the manifest."""

    folder: str
    fingerprint: str
    vocab_size: int


@dataclass(frozen=True, slots=True)
class NamedSide:
    """A tokenizer ready to encode, and the name it has in the manifest."""

    side: Side
    name: TokenizerName


def load_side(folder: str | Path) -> NamedSide:
    """The tokenizer in `folder` (or of that name on the hub).

    Its fingerprint is that of `text.tokenizer.Tokenizer`, which training uses. InputError if there is none.
    """
    backend, special, _ = load_backend(resolve_folder(folder, weights=False))
    # As `Tokenizer` does: what a tokenizer.json says of these would be in the fingerprint.
    backend.no_truncation()
    backend.no_padding()
    # `Tokenizer.fingerprint` itself cannot be had without torch; a test holds the two together.
    fingerprint = hashlib.sha256(backend.to_str().encode()).hexdigest()
    unknown_id = special.ids(backend)[0]
    name = TokenizerName(str(folder), fingerprint, backend.get_vocab_size(with_added_tokens=True))
    return NamedSide(Side(backend, unknown_id), name)
