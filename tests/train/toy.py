"""A small learner in float64, and the gradient of one global batch with very uneven masks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.batches.sampling import MaskConfig
from tinydistil.batches.shards import WordPair
from tinydistil.distill.gather import GatheringTrainer
from tinydistil.distill.losses import vocabulary_loss
from tinydistil.distill.options import Shapes
from tinydistil.distill.recipe import RECIPES, Recipe
from tinydistil.distill.step import Trainer
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import Learner
from tinydistil.distill.terms.vocabulary import Vocabulary
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.families.electra import ElectraConfig
from tinydistil.tokenizer.tokenizer import train_wordpiece
from tinydistil.train.models import make_optimizer
from tinydistil.train.run_config import OptimizerConfig

TEXT = ["o gato dorme no sofá da sala e a gata corre na rua com os gatinhos ."] * 3
CASES: dict[str, Recipe] = {
    "mlm": RECIPES["mlm"],
    "total": RECIPES["total"],
    "partial": RECIPES["partial"],
    "distilbert": replace(RECIPES["distilbert"], projection="teacher-to-student"),
    "reverse all pooled mse": replace(
        RECIPES["total"],
        divergence="reverse",
        soft_positions="all",
        hidden=0.0,
        pooled=1.0,
        distance="mse",
        projection="pca",
    ),
    "jensen-shannon only": Recipe(hard=0.0, soft=1.0, divergence="jensen-shannon"),
    "hidden only": Recipe(hard=0.0, hidden=1.0, projection="student-to-teacher"),
    "words of one vocabulary": RECIPES["partial"],
    "pooled": Recipe(hard=0.0, pooled=1.0, projection="teacher-to-student", teacher_sees="original"),
    "whitened": Recipe(hard=0.0, hidden=1.0, pooled=1.0, unit="word", projection="pca", centred=True, whitening=0.5),
    "words, masked, mse": Recipe(hidden=0.5, pooled=2.0, unit="word", distance="mse", projection="pca"),
    "layers": Recipe(hard=0.0, terms={"layers": 1.0}),
    "layers by words": Recipe(
        hard=0.0,
        terms={"layers": {"layers": "0:0,2:1", "unit": "word", "projection": "pca", "distance": "cosine"}},
    ),
    "attention": Recipe(hard=0.0, terms={"attention": 2.0}),
    "attention's scores": Recipe(
        hard=0.0, terms={"attention": {"weight": 1.0, "distance": "mse", "heads": "mean", "layers": "2:1"}}
    ),
    "attention, mean heads": Recipe(hard=0.0, terms={"attention": {"heads": "mean", "layers": "last"}}),
    "relations": Recipe(hard=0.0, terms={"relations": {"heads": 4, "student_layer": 1}}),
    "contrast": Recipe(hard=0.0, terms={"contrast": {"projection": "teacher-to-student", "centred": True}}),
    "contrast beside words": Recipe(terms={"contrast": 2.0}),
    "similarity": Recipe(hard=0.0, terms={"similarity": 3.0}),
    "causal": Recipe(hard=0.0, terms={"causal": 2.0}),
    "causal beside masks and a teacher": replace(RECIPES["total"], terms={"causal": 0.5}),
    "sentence order": Recipe(hard=0.5, terms={"sentence_order": 2.0}),
    "next sentence": Recipe(hard=0.0, terms={"next_sentence": 1.0}),
    "order beside words of a teacher": replace(RECIPES["partial"], terms={"sentence_order": 1.0}),
    "replaced tokens": Recipe(
        hard=0.0, terms={"replaced_tokens": {"generator_width": 8, "discriminator": 3.0, "generator_layers": 2}}
    ),
    "similarity, mse": Recipe(hard=0.0, terms={"similarity": {"distance": "mse", "centred": True, "whitening": 0.5}}),
}
# Here the teacher reads the same words in tokens of its own.
TWO_VOCABULARIES = (
    "partial", "pooled", "whitened", "words, masked, mse", "layers by words", "contrast", "similarity",
    "order beside words of a teacher",
)  # fmt: skip


# One long sequence, most of one or two tokens: many slices of a batch of 11 hold no masked token at all.
UNEVEN = (40, 1, 1, 2, 1, 1, 9, 1, 1, 1, 1)


class Rows:
    """Sequences of random tokens, of the lengths given; every fourth is `mark`, where one is given."""

    has_words = False

    def __init__(self, vocab_size: int, lengths: Sequence[int], mark: int | None = None) -> None:
        random = np.random.default_rng(0)
        self.rows = [random.integers(5, vocab_size, length).astype(np.uint16) for length in lengths]
        for row in self.rows if mark is not None else []:
            row[3::4] = mark

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        return self.rows[index]


class Pairs(Rows):
    """The teacher's sequences, and the student's of the same words: one to three random tokens each on its side."""

    has_words = True

    def __init__(
        self, vocab_size: int, student_vocab_size: int, lengths: Sequence[int], mark: int | None = None
    ) -> None:
        super().__init__(vocab_size, lengths)
        random = np.random.default_rng(1)
        self.pairs = []
        for tokens in self.rows:
            pieces = np.diff([0, *np.flatnonzero(random.random(len(tokens) - 1) < 0.6) + 1, len(tokens)])
            student_pieces = random.integers(1, 4, len(pieces))
            student = random.integers(5, student_vocab_size, student_pieces.sum()).astype(np.uint16)
            if mark is not None:
                student[3::4] = mark
            self.pairs.append(WordPair(tokens, student, pieces.astype(np.uint8), student_pieces.astype(np.uint8)))

    def pair(self, index: int) -> WordPair:
        return self.pairs[index]


class Repeating:
    """Forty sequences of one token each, one of four: quickly learnt, and only by learning."""

    has_words = False

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        return np.full(5 + 7 * (index % 5), 10 + index % 4, np.uint16)


def make_learner(student: BertForMaskedLM, teacher: BertForMaskedLM | BertModel | None, recipe: Recipe) -> Learner:
    """The learner for these models; what is fitted to the teacher must still be fitted."""
    shape = None if teacher is None else teacher.config
    return Learner(student, recipe, Shapes(student.config, shape, isinstance(teacher, BertForMaskedLM)))


def toy_trainer(
    recipe: Recipe,
    ranks: Ranks,
    *,
    dropout: float = 0.0,
    precision: str = "float64",
    learning_rate: float = 0.0,
    two_vocabularies: bool = False,
    attention: str = "packed",
    fused: bool = True,
) -> tuple[Trainer, MaskedBatches]:
    """Student 2 x 8, teacher 2 x 12; gradients alone (SGD at rate 0) or a real optimizer."""
    torch.manual_seed(0)
    tokenizer = train_wordpiece(TEXT, 60)
    theirs = train_wordpiece(TEXT, 42, lowercase=True) if two_vocabularies else tokenizer
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 80,
             "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
             "initializer_range": 0.2}  # fmt: skip
    own = BertConfig(hidden_size=8, intermediate_size=16, vocab_size=tokenizer.vocab_size, **shape)
    if recipe.needs.family == "electra":
        own = ElectraConfig(
            hidden_size=8, embedding_size=6, intermediate_size=16, vocab_size=tokenizer.vocab_size, **shape
        )
    other = BertConfig(hidden_size=12, intermediate_size=24, vocab_size=theirs.vocab_size, **shape)
    student = BertForMaskedLM(own, attention=attention).double().train()
    headless = not recipe.has_soft
    teacher: BertForMaskedLM | BertModel = BertForMaskedLM(other, attention=attention)
    if headless:
        teacher = BertModel(other, pooler=False, attention=attention)
    teacher = teacher.double()
    if recipe.projection == "none":
        recipe = replace(recipe, projection="student-to-teacher")
    learner = make_learner(student, teacher if recipe.needs.teacher else None, recipe).double()
    for term in learner.terms.values() if not fused else ():
        if isinstance(term, Vocabulary):
            term.compute = vocabulary_loss
    live = None
    if recipe.needs.teacher:
        live = LiveTeacher(teacher, learner.states(), sees=recipe.teacher_sees)
    if precision != "float64":
        learner.float()
        teacher.float()
    optimizer: torch.optim.Optimizer = torch.optim.SGD(learner.parameters(), lr=0.0)
    if learning_rate > 0:
        optimizer = make_optimizer([learner], OptimizerConfig(learning_rate=learning_rate))
    sizes = (theirs.vocab_size, tokenizer.vocab_size)
    mark = tokenizer.backend.token_to_id(".") if recipe.needs.pairs else None
    sequences = Pairs(*sizes, UNEVEN, mark) if two_vocabularies else Rows(tokenizer.vocab_size, UNEVEN, mark)
    batches = MaskedBatches(
        sequences,
        tokenizer,
        MaskConfig(),
        batch_size=11,
        seed=4,
        teacher_tokenizer=theirs if two_vocabularies else None,
        pairs=recipe.needs.pairs,
    )
    if live is not None:
        learner.fit(live.read, [batches.collate(np.arange(11), epoch) for epoch in (8, 9)])
    precision = "float32" if precision == "float64" else precision
    clip_norm = float(learning_rate > 0)
    kind = GatheringTrainer if recipe.needs.batch > 1 else Trainer
    return kind(learner, optimizer, ranks, teacher=live, precision=precision, clip_norm=clip_norm), batches


def toy_case(case: str, ranks: Ranks) -> tuple[Trainer, MaskedBatches]:
    """`toy_trainer` for a case by its name."""
    return toy_trainer(CASES[case], ranks, two_vocabularies=case in TWO_VOCABULARIES)


def gradients_of(case: str, ranks: Ranks, accumulation: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The gradient of the first global batch and its terms' means."""
    trainer, batches = toy_case(case, ranks)
    micro_batches = batches.micro_batches(0, rank=ranks.rank, world_size=ranks.world_size, accumulation=accumulation)
    kept: dict[str, Tensor] = {}

    def keep(*_: object) -> None:
        kept.update({n: p.grad.clone() for n, p in trainer.objective.named_parameters() if p.grad is not None})

    trainer.optimizer.register_step_pre_hook(keep)
    result = trainer.step(micro_batches, learning_rate=0.0)
    assert result.taken
    return kept, result.terms
