"""What a person chooses when fine-tuning."""

import math
from dataclasses import dataclass, field

from tinydistil.config import nearest
from tinydistil.errors import InputError, require
from tinydistil.finetune.augment import AugmentConfig
from tinydistil.model.pooling import POOLINGS
from tinydistil.train.optimizer import OptimizerConfig
from tinydistil.train.schedule import ScheduleConfig
from tinydistil.train.settings import TrainConfig

CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True)
class FineTuneConfig:
    """A fine-tuning run; defaults as Devlin et al. 2019 (A.3) had them for models of BERT-base's size.

    epochs: passes over the training examples. batch_size: examples a step, in `accumulation` parts. layer_decay: each
    layer's learning rate over that of the layer above (Howard & Ruder 2018, 3.2 call it discriminative), 1 for none.
    freeze_embeddings, freeze_layers: leave the embeddings, and so many layers from below, as they are.
    max_length: tokens of an example at most; stride: tokens that neighbouring windows of a long context share.
    class_weights: "balanced" weighs each class by the inverse of its share. validations: a pass over the development
    set so many times an epoch; patience: such passes without a better figure before an early stop, 0 for none.
    pooling: which vector a text's classifier reads; only "pooler" is what `transformers` computes.
    soft: weight in [0, 1] of a fine-tuned teacher's predictions, 1 - soft of the labels'; temperature: of both.
    """

    epochs: float = 3.0
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    layer_decay: float = 1.0
    max_length: int = 128
    stride: int = 32
    pooling: str = "pooler"
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    class_weights: str = "none"
    validations: int = 1
    patience: int = 0
    soft: float = 0.0
    temperature: float = 2.0
    precision: str = "float32"
    seed: int = 1
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(not isinstance(value, float) or math.isfinite(value), f"{name} must be finite, got {value}")
        for name in ("epochs", "learning_rate", "temperature"):
            require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")
        for name in ("batch_size", "accumulation", "validations"):
            require(getattr(self, name) >= 1, f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("weight_decay", "freeze_layers", "patience", "seed"):
            require(getattr(self, name) >= 0, f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("warmup_share", "soft"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be in [0, 1], got {getattr(self, name)}")
        require(0 < self.layer_decay <= 1, f"layer_decay must be in (0, 1], got {self.layer_decay}")
        require(self.max_length >= 8, f"max_length must be >= 8 tokens, got {self.max_length}")
        for name, known in (("pooling", POOLINGS), ("class_weights", CLASS_WEIGHTS)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name} {value!r} is unknown{nearest(value, known)}")

    def train_config(self, batches_per_epoch: int) -> TrainConfig:
        """The same for the one loop: validation and checkpoints `validations` times an epoch."""
        every = max(1, batches_per_epoch // self.validations)
        return TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            accumulation=self.accumulation,
            precision=self.precision,
            seed=self.seed,
            validate_every=every,
            save_every=every,
            keep_last=1,
            patience=self.patience,
            optimizer=OptimizerConfig(learning_rate=self.learning_rate, weight_decay=self.weight_decay),
            schedule=ScheduleConfig(warmup_share=self.warmup_share),
        )
