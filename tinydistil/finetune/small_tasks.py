"""Two quick examinations by fine-tuning that need no files: entailment and sentiment of our own Portuguese."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tinydistil.evaluate.inference import check_match
from tinydistil.evaluate.metrics import precision_recall_f1
from tinydistil.finetune.encode import encode_texts
from tinydistil.finetune.predict import predict
from tinydistil.finetune.settings import FineTuneConfig
from tinydistil.finetune.train import fine_tune
from tinydistil.model.heads import BertForSequenceClassification
from tinydistil.ranks import Ranks
from tinydistil.text.embedded.entailment import entailment_pairs
from tinydistil.text.embedded.sentiment import LABELS, sentiment_texts
from tinydistil.text.tasks.records import LabelledText
from tinydistil.text.tokenizer import Tokenizer
from tinydistil.train.records import Records

ENTAILMENT_LABELS = ("no", "yes")
_SEED = 3


def sentiment_f1(folder: Path, *, num_training: int = 1000, num_test: int = 500, device: torch.device) -> float:
    """Macro F1 over three classes of opinions, after fine-tuning the model in `folder` on `num_training` of them."""
    training, test = (
        [LabelledText(each.text, None, each.label) for each in sentiment_texts(_SEED, count, split=split)]
        for count, split in ((num_training, "train"), (num_test, "test"))
    )
    return text_f1(folder, training, test, LABELS, QUICK, device=device)


def entailment_f1(folder: Path, *, num_training: int = 1000, num_test: int = 500, device: torch.device) -> float:
    """Macro F1 of whether a sentence entails another, after fine-tuning on `num_training` pairs."""
    training, test = (
        [
            LabelledText(each.premise, each.hypothesis, ENTAILMENT_LABELS[each.entails])
            for each in entailment_pairs(_SEED, count, split=split)
        ]
        for count, split in ((num_training, "train"), (num_test, "test"))
    )
    return text_f1(folder, training, test, ENTAILMENT_LABELS, QUICK, device=device)


# Small models learn small tasks fastest at rates ten times those of BERT-base.
QUICK = FineTuneConfig(epochs=3, batch_size=32, learning_rate=5e-4, max_length=64, pooling="max")


def text_f1(
    folder: Path,
    training: Sequence[LabelledText],
    test: Sequence[LabelledText],
    labels: Sequence[str],
    config: FineTuneConfig,
    *,
    device: torch.device,
) -> float:
    """Macro F1 on `test` of the model in `folder`, fine-tuned on `training` with a new head; nothing is kept."""
    tokenizer = Tokenizer.from_pretrained(folder)
    before = torch.get_rng_state()
    torch.manual_seed(config.seed)
    model = BertForSequenceClassification.from_pretrained(
        folder, heads="new", changes={"labels": tuple(labels), "pooling": config.pooling}
    )
    check_match(model, tokenizer)
    encoded, asked = (
        encode_texts(rows, tokenizer, labels=labels, max_length=config.max_length) for rows in (training, test)
    )
    with tempfile.TemporaryDirectory() as checkpoints:
        ranks = Ranks(0, 1, device)
        fine_tune(
            model, encoded, config, pad_id=tokenizer.pad_id, checkpoints=Path(checkpoints), ranks=ranks,
            records=Records(None),
        )  # fmt: skip
    torch.set_rng_state(before)
    predicted = [int(logits.argmax()) for logits in predict(model, asked, pad_id=tokenizer.pad_id)]
    return precision_recall_f1(np.array([each.target for each in asked]), predicted, average="macro").f1
