"""What a person chooses when fine-tuning."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

from tinydistil.base.config import (
    LONGEST,
    Checked,
    Count,
    NonNegative,
    OneOf,
    Positive,
    Range,
    Seed,
    Share,
    Whole,
    from_mapping,
    to_mapping,
)
from tinydistil.model.config import POOLINGS, BertConfig
from tinydistil.tasks.examples import AugmentConfig
from tinydistil.train.run_config import OptimizerConfig, ScheduleConfig, TrainConfig, require_parts

CLASS_WEIGHTS = ("none", "balanced")
FORMS, COMPARISONS = ("", "siamese", "cross"), ("", "cosine", "aligned")


@dataclass(frozen=True)
class FineTuneConfig(Checked):
    """A fine-tuning run; defaults as Devlin et al. 2019 (A.3) had them for BERT-base, others in `settings_for`.

    epochs: passes over the training examples. batch_size: examples per step, in `accumulation` parts. layer_decay: each
    layer's learning rate over that of the layer above (Howard & Ruder 2018, 3.2 call it discriminative), 1 for none.
    freeze_embeddings, freeze_layers: leave the embeddings, and so many layers from below, as they are.
    max_length: tokens of an example at most; stride: tokens that neighbouring windows of a long context share.
    class_weights: "balanced" weighs each class by the inverse of its share. validations: a pass over the development
    set so many times per epoch; patience: such passes without a better figure before an early stop, 0 for none.
    pooling: which vector a text's classifier reads; only "pooler" is what `transformers` computes.
    form: of pairs, "cross" reads both texts as one sequence, "siamese" each by itself; "" by the layers, see `form_of`.
    comparison: of siamese pairs, "cosine" of their vectors (numbers only, with CoSENT) or "aligned", token by token; ""
    is the cosine for numbers alone.
    soft: weight in [0, 1] of a fine-tuned teacher's predictions, 1 - soft of the labels'; temperature: of both.
    """

    epochs: Annotated[float, Range(0, 1_000_000, without=(0,))] = 3.0
    batch_size: Annotated[int, Range(1, 1_000_000)] = 32
    accumulation: Annotated[int, Range(1, 1_000_000)] = 1
    learning_rate: Positive = 5e-5
    weight_decay: NonNegative = 0.01
    warmup_share: Share = 0.1
    layer_decay: Annotated[float, Range(0, 1, without=(0,))] = 1.0
    max_length: Annotated[int, Range(8, LONGEST)] = 128
    stride: Annotated[int, Range(1, LONGEST)] = 32
    pooling: Annotated[str, OneOf(POOLINGS)] = "pooler"
    form: Annotated[str, OneOf(FORMS)] = ""
    comparison: Annotated[str, OneOf(COMPARISONS)] = ""
    freeze_embeddings: bool = False
    freeze_layers: Annotated[int, Range(0, 1000)] = 0
    class_weights: Annotated[str, OneOf(CLASS_WEIGHTS)] = "none"
    validations: Count = 1
    patience: Whole = 0
    soft: Share = 0.0
    temperature: Annotated[float, Range(0, 1000, without=(0,))] = 2.0
    precision: str = "float32"
    seed: Seed = 1
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parts(self.accumulation, self.batch_size)

    def train_config(self, batches_per_epoch: int, batch_size: int) -> TrainConfig:
        """The same for the one loop: validation and checkpoints `validations` times per epoch of so many batches."""
        every = max(1, batches_per_epoch // self.validations)
        return TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            # Parts without an example would only be waited for: a million of them for minutes.
            accumulation=min(self.accumulation, batch_size),
            precision=self.precision,
            seed=self.seed,
            validate_every=every,
            save_every=every,
            keep_last=1,
            patience=self.patience,
            optimizer=OptimizerConfig(learning_rate=self.learning_rate, weight_decay=self.weight_decay),
            schedule=ScheduleConfig(warmup_share=self.warmup_share),
        )


# Learning rate and epochs by the model's width: up to 256 as measured for 2 x 128 (benchmarks/README.md), above 512 as
# Devlin et al. 2019 had them, between the two from the grid of Turc et al. 2019.
_BY_WIDTH = ((256, 1e-3, 10.0), (512, 1e-4, 4.0))


# A small model reads few rows more often, to this many steps. 2 x 128 on 100 tweets, macro F1 on the development set:
# 0.48 after 30 steps, 0.69 after 120, 0.71 after 300; on 100 pairs Pearson 0.709 after 40, 0.723 after 320.
LEAST_STEPS = 300


def settings_for(
    kind: str, model: BertConfig, changes: Mapping[str, object], rows: int | None = None
) -> FineTuneConfig:
    """What a model of this size is tuned with for a task of this `kind` and so many training rows, but for `changes`
    (nested option values).

    Tags and answers need longer texts; a stride that is not named is a quarter of `max_length`.
    """
    rate, epochs = next((found for width, *found in _BY_WIDTH if model.hidden_size <= width), (5e-5, 3.0))
    default = FineTuneConfig(
        epochs=epochs,
        learning_rate=rate,
        batch_size=16 if kind == "answer" else 32,
        max_length=max(8, min(256 if kind in ("tag", "answer") else 128, model.longest)),
    )
    config = from_mapping(FineTuneConfig, {**to_mapping(default), **changes})
    if rows and "epochs" not in changes and model.hidden_size <= _BY_WIDTH[0][0]:
        least = math.ceil(LEAST_STEPS / math.ceil(rows / config.batch_size))
        config = replace(config, epochs=max(config.epochs, float(least)))
    return config if "stride" in changes else replace(config, stride=config.max_length // 4)
