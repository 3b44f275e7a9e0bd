"""What of hidden states is compared: the vectors of tokens, of words, or of whole sequences.

Letters: B sequences, T tokens, W words, D width, N vectors.
"""

import torch
from torch import Tensor

from tinydistil.batches.batch import MaskedBatch, TeacherView
from tinydistil.distill.losses import word_means


def vectors_of(
    term: str, unit: str, hidden: Tensor, batch: MaskedBatch | TeacherView, num_words: int, *, pooling: str = "mean"
) -> Tensor:
    """The vectors (N, D) that `term` compares, from hidden states (B, T, D) of the tokens of `batch`.

    "hidden" by `unit`: N = B * T tokens, or B * W words with W = `num_words`; "pooled": N = B sequences, each the mean
    of its tokens, special ones included, as most sentence encoders pool, or with `pooling` "cls" its first token.
    """
    if term == "pooled" and pooling == "cls":
        return hidden[:, 0]
    if term == "pooled":
        whole = torch.where(batch.counted, 0, -1)  # the sequence as one word
        return word_means(hidden, whole, 1)[0].flatten(0, 1)
    if unit == "word":
        return word_means(hidden, batch.word_index, num_words)[0].flatten(0, 1)
    return hidden.flatten(0, 1)


def there(term: str, unit: str, batch: MaskedBatch | TeacherView, num_words: int) -> Tensor:
    """Which of these vectors (N,) stand for something: no padding, no word that is not there."""
    if term == "pooled":
        return batch.counted.any(1)
    if unit == "word":
        # Words are numbered without gaps, so a sequence's last number tells which are there.
        places = torch.arange(num_words, device=batch.word_index.device)
        return (places <= batch.word_index.amax(1, keepdim=True)).flatten()
    return batch.counted.flatten()
