"""The work on one document, from raw bytes to token sequences: pure, picklable, the same on any machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinydistil.batches.shards import DocumentSequences
from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.contamination import EvaluationNgrams
from tinydistil.corpus.document import BadRecord, Document, Record
from tinydistil.corpus.duplicates import exact_key, signature
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import parse_record
from tinydistil.corpus.sentences import split_sentences
from tinydistil.corpus.sequences import build_sequences
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.tokenizer.word_encoder import WordEncoder

# Rules decided here and in the segment; the others are named in clean.
UNREADABLE = "unreadable"
EVALUATION_OVERLAP = "evaluation_overlap"
NO_TOKENS = "no_tokens"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that passed every rule that looks at one document alone.

    `key` (16 bytes) is equal for equal normalised texts; `signature` (P) uint32 is the MinHash, None where
    near-duplicates are not looked for; `removed` the characters that each rule took out of the text.
    """

    characters: int
    removed: tuple[tuple[str, int], ...]
    key: bytes
    signature: NDArray[np.uint32] | None
    sequences: DocumentSequences


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record: `kept`, or dropped by a rule; `characters` is the length it came with."""

    characters: int
    dropped_by: str | None = None
    bad: BadRecord | None = None
    replaced: int = 0
    kept: Kept | None = None


class DocumentStep:
    """Reads, cleans, hashes, signs, checks, tokenizes and cuts one document."""

    def __init__(
        self, config: PrepareConfig, tokenizers: Sequence[Tokenizer], evaluation: EvaluationNgrams | None
    ) -> None:
        self.config = config
        self.encoder = WordEncoder(tokenizers, config.capacity)
        self.evaluation = evaluation

    def __call__(self, item: Record | BadRecord) -> Outcome:
        """The outcome of one record. Pure: the same for the same record, in any order and any process."""
        document = parse_record(item, self.config.read)
        if isinstance(document, BadRecord):
            return Outcome(0, dropped_by=UNREADABLE, bad=document)
        # Counted as it came, before any rule: so the table's rows add up to what was read.
        characters, replaced = len(document.text), document.replaced
        cleaned = clean_document(document, self.config.clean)
        document, dropped_by = cleaned.document, cleaned.dropped_by
        # The cleaned text, as the evaluation sets are text without markup; and only of what is still there.
        if dropped_by is None and self.evaluation is not None and self.evaluation.hit(document.text):
            dropped_by = EVALUATION_OVERLAP
        if dropped_by is not None:
            return Outcome(characters, dropped_by=dropped_by, replaced=replaced)
        duplicates = self.config.duplicates
        kept = Kept(
            characters=len(document.text),
            removed=cleaned.removed,
            key=exact_key(document.text),
            signature=signature(document.text, duplicates) if duplicates.near else None,
            sequences=build_sequences(sentences_of(document), self.encoder, packed=self.config.pack),
        )
        if not kept.sequences.sizes:
            return Outcome(characters, dropped_by=NO_TOKENS, replaced=replaced)
        return Outcome(characters, replaced=replaced, kept=kept)


def sentences_of(document: Document) -> list[str]:
    """A document's sentences: as its format marks them, else found in each paragraph."""
    if document.sentences is not None:
        return [sentence for paragraph in document.sentences for sentence in paragraph]
    return split_sentences(document.text)
