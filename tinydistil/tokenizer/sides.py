"""The tokenizers of a corpus, loaded without torch, which no process that prepares text needs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from tinydistil.base.hub import resolve_folder
from tinydistil.tokenizer.folders import load_backend
from tinydistil.tokenizer.rules import SpecialTokens
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

    @classmethod
    def of(cls, name: str, backend: tokenizers.Tokenizer, special: SpecialTokens) -> "NamedSide":
        """The side of `backend`, which neither truncates nor pads, called `name`."""
        # `Tokenizer.fingerprint` itself cannot be had without torch; a test holds the two together.
        fingerprint = hashlib.sha256(backend.to_str().encode()).hexdigest()
        size = backend.get_vocab_size(with_added_tokens=True)
        return cls(Side(backend, special.ids(backend)[0]), TokenizerName(name, fingerprint, size))


def load_side(folder: str | Path) -> NamedSide:
    """The tokenizer in `folder` (or of that name on the hub). InputError if there is none."""
    backend, special, _ = load_backend(resolve_folder(folder, weights=False))
    # As `Tokenizer` does: what a tokenizer.json says of these would be in the fingerprint.
    backend.no_truncation()
    backend.no_padding()
    return NamedSide.of(str(folder), backend, special)
