"""A model at work on text: the tokens behind a mask, one vector per text, and files of vectors.

Shapes: B texts, T tokens, D hidden size, F size of a text's vector.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.errors import InputError, require
from tinydistil.batches.sampling import by_length
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.layers import pool
from tinydistil.model.pretrained import Pretrained
from tinydistil.model.sentence_folder import SentenceVectors
from tinydistil.tokenizer.tokenizer import Tokenizer, collate

# Texts are sorted by length inside a window of this many batches: little padding, bounded memory, and the
# order of the results restored within the window.
WINDOW_BATCHES = 32
LARGEST_BATCH = 65536


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token for a mask: its spelling, its probability, and the text with it filled in."""

    token: str
    probability: float
    text: str


@dataclass(frozen=True, slots=True)
class TextVector:
    """A text and its float32 vector (F,)."""

    text: str
    vector: NDArray[np.float32]


def check_match(model: Pretrained, tokenizer: Tokenizer) -> None:
    """Raise InputError if the tokenizer makes ids beyond the model's embeddings."""
    require(
        tokenizer.vocab_size <= model.config.vocab_size,
        f"the tokenizer has {tokenizer.vocab_size} tokens, but the model's vocab_size is {model.config.vocab_size}; "
        "they do not belong together",
    )


@torch.inference_mode()
def fill_mask(
    model: BertForMaskedLM, tokenizer: Tokenizer, text: str, *, top_k: int = 5, truncate: bool = False, number: int = 1
) -> list[list[Candidate]]:
    """The `top_k` likeliest tokens for each mask token in `text`, masks in order, each predicted by itself.

    Raises InputError, calling the text `number`, if it holds no mask token, if it is longer than the model takes and
    not `truncate`, or if truncation would cut a mask away.
    """
    require(1 <= top_k <= tokenizer.vocab_size, f"top_k must be in 1..{tokenizer.vocab_size}, got {top_k}")
    mask = tokenizer.special.mask_token
    wanted = tokenizer.encode(text).ids.count(tokenizer.mask_id)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    require(wanted > 0, f"text {number} has no {mask}: {shown!r}; put {mask} where a word is to be guessed")
    limit = _limit(model, tokenizer, truncate, None)
    encoding = tokenizer.encode(text, max_length=limit if truncate else None)
    _refuse_long([encoding], limit, number)
    positions = [position for position, token_id in enumerate(encoding.ids) if token_id == tokenizer.mask_id]
    require(
        len(positions) == wanted,
        f"text {number} has {wanted} {mask}, but only {len(positions)} within the first {len(encoding.ids)} tokens; "
        "shorten the text before them",
    )
    hidden = model(*_inputs(model, tokenizer, [encoding])).last_hidden
    # A model's table may be padded beyond the tokenizer's last id: those ids spell nothing.
    logits = model.logits_at(hidden, torch.tensor(positions, device=hidden.device))[:, : tokenizer.vocab_size]
    probabilities, tokens = _finite(logits.float().softmax(-1), number).topk(top_k)
    return [
        [
            Candidate(token, probability, _filled(text, encoding.offsets[position], token))
            for token, probability in zip(map(_shown(tokenizer), ids), likely, strict=True)
        ]
        for position, ids, likely in zip(positions, tokens.tolist(), probabilities.tolist(), strict=True)
    ]


def _shown(tokenizer: Tokenizer) -> Callable[[int], str]:
    """How a token is told: as it is spelled in the vocabulary, unless that is in bytes."""
    return tokenizer.spelling if tokenizer.in_bytes else tokenizer.token


def _filled(text: str, offsets: tuple[int, int], token: str) -> str:
    """`text` with `token` instead of its characters `offsets`; a continuation joins the word before."""
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
    first_number: int = 1,
) -> Iterator[TextVector]:
    """Each text with its float32 vector (F,), in order, streamed: at most 32 batches of texts are held at a time.

    pooling: "mean", "max", "cls", or "pooler" where the model has one; or what a folder declares, which also cuts texts
    at its own length. `max_length` lowers the model's own limit in tokens; a text beyond it raises InputError unless
    `truncate`. `normalize` gives unit vectors. Errors call the first text `first_number`.
    """
    require(1 <= batch_size <= LARGEST_BATCH, f"batch_size must be in 1..{LARGEST_BATCH}, got {batch_size}")
    require(not isinstance(texts, str), "texts must be a list of texts, got one text; put it in a list")
    prompt, prompt_tokens = "", 0
    if isinstance(pooling, SentenceVectors):
        pooling.layers.to(next(model.parameters()).device)
        tokenizer, prompt = tokenizer.lowercasing() if pooling.lowercase else tokenizer, pooling.prompt
        prompt_tokens = len(tokenizer.encode(prompt).ids) - 1 if prompt else 0  # without the last, [SEP]
        if max_length is None:
            max_length, truncate = pooling.max_length, True
    else:
        check_pooling(model, pooling)
    texts, number = iter(texts), first_number
    limit = _limit(model, tokenizer, truncate, max_length)
    while window := list(islice(texts, batch_size * WINDOW_BATCHES)):
        encodings = tokenizer.encode_all([prompt + text for text in window], max_length=limit if truncate else None)
        fitting = next((i for i, encoding in enumerate(encodings) if len(encoding.ids) > limit), len(window))
        found: dict[int, Tensor] = {}
        # The longest first: what is too much for the memory is so at once.
        for chosen in by_length({i: -len(encodings[i].ids) for i in range(fitting)}, batch_size):
            with torch.inference_mode():
                inputs = _inputs(model, tokenizer, [encodings[i] for i in chosen])
                encoded, attention_mask = model(*inputs), inputs[1]
                if isinstance(pooling, SentenceVectors):
                    vectors = pooling(encoded.last_hidden, attention_mask, prompt_tokens=prompt_tokens)
                elif pooling == "pooler":
                    vectors = encoded.pooled
                else:
                    vectors = pool(encoded.last_hidden, attention_mask, pooling)
                # squares of 1e20 are beyond float32
                vectors = F.normalize(vectors.double(), dim=-1) if normalize else vectors
                found |= zip(chosen, vectors.float().cpu(), strict=True)  # (B, F)
        for index in range(fitting):
            yield TextVector(window[index], _finite(found[index], number + index).numpy())
        _refuse_long(encodings, limit, number)
        number += len(window)


def compare_poolings(
    model: BertModel, tokenizer: Tokenizer, text: str, *, truncate: bool = False, number: int = 1
) -> dict[tuple[str, str], float]:
    """Cosines between the vectors of one text under "cls", "mean" and, where the model has it, "pooler"."""
    vectors = {}
    for pooling in ("cls", "mean") if model.pooler is None else ("cls", "pooler", "mean"):
        (found,) = embed(model, tokenizer, [text], pooling=pooling, truncate=truncate, first_number=number)
        vectors[pooling] = torch.from_numpy(found.vector).double()
    return {(a, b): float(F.cosine_similarity(vectors[a], vectors[b], dim=0)) for a, b in combinations(vectors, 2)}


def check_pooling(model: BertModel, pooling: str) -> None:
    """Raise InputError if the model cannot pool that way."""
    known = pooling != "pooler" or model.pooler is not None
    require(known, "pooling 'pooler' needs a pooler, which this model lacks; use 'mean' or 'cls'")


def _finite(numbers: Tensor, number: int) -> Tensor:
    sound = bool(numbers.isfinite().all())
    require(sound, f"text {number} gives numbers that are not finite; is the model sound?")
    return numbers


def _inputs(model: Pretrained, tokenizer: Tokenizer, encodings: Sequence[Encoding]) -> tuple[Tensor, Tensor, Tensor]:
    """Padded ids, attention mask and token types, each (B, T), on the model's device."""
    batch, device = collate(encodings, tokenizer.pad_id), next(model.parameters()).device
    return batch.input_ids.to(device), batch.attention_mask.to(device), batch.token_type_ids.to(device)


def _limit(model: Pretrained, tokenizer: Tokenizer, truncate: bool, max_length: int | None) -> int:
    """Tokens per text at most: `max_length`, else the position table; cut texts also keep to the tokenizer's own."""
    limit = model.config.longest
    if max_length is None:
        return min(limit, tokenizer.max_length or limit) if truncate else limit
    least = tokenizer.backend.num_special_tokens_to_add(False) + 1
    fits = least <= max_length <= limit
    require(fits, f"max_length must be in {least}..{limit} (the model's position table), got {max_length}")
    return max_length


def _refuse_long(encodings: Sequence[Encoding], limit: int, first_number: int) -> None:
    for number, encoding in enumerate(encodings, start=first_number):
        if (length := len(encoding.ids)) > limit:
            raise InputError(
                f"text {number} has {length} tokens, more than the limit of {limit}; shorten it, split it, or allow "
                "truncation (predict.py --truncate)"
            )


Write = Callable[[str, NDArray[np.float32]], None]


def check_output(path: str | None) -> None:
    """Raise InputError where `open_vector_writer` could not write, before any work is done."""
    if path is None:
        return
    target = Path(path)
    require(target.suffix in (".npy", ".jsonl"), f"output {path!r} must end in .npy or .jsonl")
    require(not target.is_dir(), f"output {path!r} is a folder; give a file")
    require(target.parent.is_dir(), f"output folder {str(target.parent)!r} does not exist; make it first")


@contextmanager
def open_vector_writer(path: str | None, width: int) -> Iterator[Write]:
    """A function that writes one text and its vector of `width` numbers to a `path` that `check_output` lets pass.

    To FILE.npy (vectors only), FILE.jsonl, or JSON lines on standard output (None). A file gets its name when
    complete; if the work ends before, for whatever reason, what was done lies readable in FILE.partial.npy (or
    .jsonl), and a line on standard error says so.
    """
    if path is None:
        yield lambda text, vector: print(_json_line(text, vector))
        return
    target, is_npy = Path(path), path.endswith(".npy")
    partial = target.with_suffix(f".partial{target.suffix}")

    def write(text: str, vector: NDArray[np.float32]) -> None:
        line = np.asarray(vector, "<f4").tobytes() if is_npy else f"{_json_line(text, vector)}\n".encode()
        while line:  # an unbuffered write may take a part
            line = line[stream.write(line) :]

    def write_header(height: int) -> None:
        # numpy pads the header so that a longer first axis fits in the same space
        stream.seek(0)
        npy.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (height, width)})

    try:
        # Unbuffered: on a full disk, what the file holds is what was written.
        with partial.open("wb", buffering=0) as stream:
            if is_npy:
                write_header(0)
            start = stream.tell()
            try:
                yield write
            finally:
                if is_npy:
                    height = (stream.seek(0, 2) - start) // (4 * width)
                    stream.truncate(start + height * 4 * width)
                    write_header(height)
    except BaseException as error:
        print(f"what was done before is in {str(partial)!r}", file=sys.stderr)
        if isinstance(error, OSError) and error.filename is None:  # a failing write does not say which file it was
            raise OSError(error.errno, error.strerror, str(partial)) from None
        raise
    partial.replace(target)


def _json_line(text: str, vector: NDArray[np.float32]) -> str:
    # Nine significant digits are enough to give every float32 back exactly.
    numbers = ", ".join(f"{number:.9g}" for number in vector.tolist())
    return f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}'
