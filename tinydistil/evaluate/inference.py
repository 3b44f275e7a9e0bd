"""A model at work on text: the words behind a mask, and one vector a text.

Letters: B texts, T tokens, D hidden size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.errors import InputError, require
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.model.pooling import pool
from tinydistil.model.pretrained import Pretrained
from tinydistil.model.sentence_folder import SentenceVectors
from tinydistil.tokenizer.tokenizer import TokenBatch, Tokenizer, collate

# Texts are sorted by length inside a window of this many batches: little padding, bounded memory, and the
# order of the results restored within the window.
WINDOW_BATCHES = 32
LARGEST_BATCH = 65536


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word piece for a masked place: its spelling, its probability, and the text with it filled in."""

    token: str
    probability: float
    text: str


@dataclass(frozen=True, slots=True)
class TextVector:
    """A text and its float32 vector (D,)."""

    text: str
    vector: NDArray[np.float32]


def check_match(model: Pretrained, tokenizer: Tokenizer) -> None:
    """Raise InputError if the tokenizer makes ids that the model's embeddings have no row for."""
    if tokenizer.vocab_size > model.config.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, but the model's vocab_size is "
            f"{model.config.vocab_size}; they do not belong together"
        )


@torch.inference_mode()
def fill_mask(
    model: BertForMaskedLM, tokenizer: Tokenizer, text: str, *, top_k: int = 5, truncate: bool = False, number: int = 1
) -> list[list[Candidate]]:
    """The `top_k` likeliest pieces for each mask token in `text`, masks in order, each predicted by itself.

    Raises InputError, calling the text `number`, if it holds no mask token, if it is longer than the model takes and
    not `truncate`, or if truncation would cut a mask away.
    """
    require(1 <= top_k <= tokenizer.vocab_size, f"top_k must be in 1..{tokenizer.vocab_size}, got {top_k}")
    mask = tokenizer.special.mask_token
    asked = tokenizer.encode(text).ids.count(tokenizer.mask_id)
    if asked == 0:
        raise InputError(f"text {number} has no {mask}: {_short(text)!r}; put {mask} where a word is to be guessed")
    (encoding,) = encode_to_fit(model, tokenizer, [text], truncate=truncate, first_number=number)
    places = [place for place, token_id in enumerate(encoding.ids) if token_id == tokenizer.mask_id]
    if len(places) < asked:
        raise InputError(
            f"text {number} has {asked} {mask}, but only {len(places)} within the first {len(encoding.ids)} tokens; "
            "shorten the text before them"
        )
    batch = to_device(collate([encoding], tokenizer.pad_id), model)
    hidden = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).last_hidden
    rows = torch.tensor(places, device=hidden.device)
    # A model's table may be padded beyond the tokenizer's last id; those rows spell nothing.
    logits = model.logits_at(hidden, rows)[:, : tokenizer.vocab_size]
    probabilities, tokens = finite(logits.float().softmax(-1), number).topk(top_k)

    return [
        [
            Candidate(token, probability, _filled(text, encoding.offsets[place], token))
            for token, probability in zip(map(tokenizer.token, token_row), probability_row, strict=True)
        ]
        for place, token_row, probability_row in zip(places, tokens.tolist(), probabilities.tolist(), strict=True)
    ]


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _filled(text: str, offsets: tuple[int, int], token: str) -> str:
    """`text` with `token` in the place of its characters `offsets`; a continuation joins the word before."""
    before, after = text[: offsets[0]], text[offsets[1] :]
    if token.startswith("##"):
        return before.rstrip() + token[2:] + after
    # SentencePiece marks a word's start with U+2581
    return before + token.removeprefix("\u2581") + after


def embed(
    model: BertModel,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    pooling: str | SentenceVectors = "mean",
    batch_size: int = 32,
    max_length: int | None = None,
    truncate: bool = False,
    normalize: bool = False,
) -> Iterator[TextVector]:
    """Each text with its float32 vector (D,), in order, streamed: at most 32 batches of texts are held at a time.

    pooling: "mean", "max", "cls", or "pooler" where the model has one; or what a folder declares, which also cuts texts
    at its own length. `max_length` lowers the model's own limit in tokens; a text beyond it raises InputError unless
    `truncate`. `normalize` gives unit vectors.
    """
    require(1 <= batch_size <= LARGEST_BATCH, f"batch_size must be in 1..{LARGEST_BATCH}, got {batch_size}")
    if isinstance(texts, str):
        raise InputError("texts must be a list of texts, got one text; put it in a list")
    prompt, prompt_tokens = "", 0
    if isinstance(pooling, SentenceVectors):
        pooling.layers.to(next(model.parameters()).device)
        tokenizer, prompt = tokenizer.lowercasing() if pooling.lowercase else tokenizer, pooling.prompt
        prompt_tokens = len(tokenizer.encode(prompt).ids) - 1 if prompt else 0  # without the last, [SEP]
        if max_length is None:
            max_length, truncate = pooling.max_length, True
    else:
        check_pooling(model, pooling)
    texts = iter(texts)
    done = 0
    limit = _limit(model, tokenizer, truncate, max_length)
    while window := list(islice(texts, batch_size * WINDOW_BATCHES)):
        encodings = tokenizer.encode_all([prompt + text for text in window], max_length=limit if truncate else None)
        fitting = next((i for i, encoding in enumerate(encodings) if len(encoding.ids) > limit), len(window))
        pooled = partial(pool_batch, model, pooling=pooling, prompt_tokens=prompt_tokens)
        vectors = _embed_window(model, tokenizer, encodings[:fitting], pooled, batch_size, normalize)
        for place, (text, vector) in enumerate(zip(window[:fitting], vectors, strict=True)):
            yield TextVector(text, finite(torch.from_numpy(vector), done + place + 1).numpy())
        _refuse_long(encodings, limit, done + 1)
        done += len(window)


@torch.inference_mode()
def _embed_window(
    model: BertModel,
    tokenizer: Tokenizer,
    encodings: list[Encoding],
    pooled: Callable[[TokenBatch], Tensor],
    batch_size: int,
    normalize: bool,
) -> list[NDArray[np.float32]]:
    """The vectors (F,) of one window's B texts, computed from the longest text to the shortest."""
    order = sorted(range(len(encodings)), key=lambda i: -len(encodings[i].ids))
    vectors: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        found = pooled(to_device(collate([encodings[i] for i in chosen], tokenizer.pad_id), model))
        found = F.normalize(found.double(), dim=-1) if normalize else found  # squares of 1e20 are beyond float32
        vectors |= zip(chosen, found.float().cpu().numpy(), strict=True)
    return [vectors[i] for i in range(len(encodings))]


def pool_batch(model: BertModel, batch: TokenBatch, pooling: str | SentenceVectors, prompt_tokens: int = 0) -> Tensor:
    """The pooled vectors (B, F) of one batch, of which each text begins with so many tokens of a prompt."""
    encoded = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    if isinstance(pooling, SentenceVectors):
        return pooling(encoded.last_hidden, batch.attention_mask, prompt_tokens=prompt_tokens)
    if pooling == "pooler":
        return encoded.pooled  # type: ignore[no-any-return]
    return pool(encoded.last_hidden, batch.attention_mask, pooling)


@torch.inference_mode()
def compare_poolings(
    model: BertModel, tokenizer: Tokenizer, text: str, *, truncate: bool = False, number: int = 1
) -> dict[tuple[str, str], float]:
    """Cosines between the vectors of one text under "cls", "mean" and, where the model has it, "pooler"."""
    (encoding,) = encode_to_fit(model, tokenizer, [text], truncate=truncate, first_number=number)
    batch = to_device(collate([encoding], tokenizer.pad_id), model)
    poolings = ["cls", "mean"] if model.pooler is None else ["cls", "pooler", "mean"]
    vectors = {pooling: finite(pool_batch(model, batch, pooling), number).double() for pooling in poolings}
    return {
        (first, second): float(F.cosine_similarity(vectors[first], vectors[second]))
        for i, first in enumerate(poolings)
        for second in poolings[i + 1 :]
    }


def finite(numbers: Tensor, number: int) -> Tensor:
    """`numbers` as they are. Raises InputError where a model gives NaN or infinity for text `number`."""
    if not bool(numbers.isfinite().all()):
        raise InputError(f"text {number} gives numbers that are not finite; is the model sound?")
    return numbers


def check_pooling(model: BertModel, pooling: str) -> None:
    """Raise InputError if the model cannot pool that way."""
    if pooling == "pooler" and model.pooler is None:
        raise InputError("pooling 'pooler' needs a pooler, which this model lacks; use 'mean' or 'cls'")


def encode_to_fit(
    model: Pretrained, tokenizer: Tokenizer, texts: Sequence[str], *, truncate: bool, first_number: int = 1
) -> list[Encoding]:
    """Encode texts, each no longer than the model takes.

    Raises InputError for a longer one, by its number counted from `first_number`, unless `truncate`.
    """
    limit = _limit(model, tokenizer, truncate, None)
    encodings = tokenizer.encode_all(texts, max_length=limit if truncate else None)
    _refuse_long(encodings, limit, first_number)
    return encodings


def _limit(model: Pretrained, tokenizer: Tokenizer, truncate: bool, max_length: int | None) -> int:
    """Tokens of a text at most: `max_length`, else the position table; cut texts also keep to the tokenizer's own."""
    limit = model.config.max_position_embeddings
    if max_length is not None:
        least = tokenizer.backend.num_special_tokens_to_add(False) + 1
        require(
            least <= max_length <= limit,
            f"max_length must be in {least}..{limit} (the model's position table), got {max_length}",
        )
        return max_length
    return min(limit, tokenizer.max_length or limit) if truncate else limit


def _refuse_long(encodings: Sequence[Encoding], limit: int, first_number: int) -> None:
    for number, encoding in enumerate(encodings, start=first_number):
        if len(encoding.ids) > limit:
            raise InputError(
                f"text {number} has {len(encoding.ids)} tokens, more than the limit of {limit}; "
                "shorten it, split it, or allow truncation (predict.py --truncate)"
            )


def to_device(batch: TokenBatch, model: Pretrained) -> TokenBatch:
    """The batch on the model's device."""
    device = next(model.parameters()).device
    return TokenBatch(
        batch.input_ids.to(device), batch.attention_mask.to(device), batch.token_type_ids.to(device), batch.encodings
    )
