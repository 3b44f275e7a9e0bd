"""The peer: distillation as one writes it with `transformers`, plain and at its best. Recipe total, written out.

Both pad a batch to its longest sequence and take the same terms: cross-entropy and KL (temperature 2, times T^2) at
masked tokens, cosine of the last hidden states at all real tokens through a learned map of the student. Dropout is
off, weights and batches are ours, so that every loss can be compared. Batches come to it ready made: masking and
padding cost the peer nothing here. Shapes: B sequences, T tokens, V vocabulary, R masked tokens.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.terms.base import Learner
from tinydistil.model.bert import BertForMaskedLM

TEMPERATURE = 2.0
Mark = Callable[[str], None]


def twin(model: BertForMaskedLM) -> transformers.BertForMaskedLM:
    """The same model in `transformers`, with the same weights and PyTorch's fused attention."""
    config = model.config
    fields = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "pad_token_id",
    )  # fmt: skip
    shape = {name: getattr(config, name) for name in fields} | {"attn_implementation": "sdpa"}
    theirs = transformers.BertForMaskedLM(transformers.BertConfig(**shape))
    missing, unexpected = theirs.load_state_dict(model.file_weights(), strict=False)
    # The decoder's weight and bias are tied to tensors that are there.
    assert not unexpected and set(missing) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    return theirs


def collated(batch: MaskedBatch, device: torch.device) -> dict[str, Tensor]:
    """What DataCollatorForLanguageModeling returns: input_ids, attention_mask, labels (-100 unmasked); all (B, T)."""
    labels = torch.full_like(batch.input_ids, -100)
    labels.view(-1)[batch.positions] = batch.targets
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "labels": labels}
    return {name: tensor.to(device) for name, tensor in inputs.items()}


class Peer:
    """The straightforward loop: logits of both models for every position, then the losses."""

    fused_optimizer: bool | None = None  # what a user leaves as it is

    def __init__(
        self, teacher: BertForMaskedLM, learner: Learner, device: torch.device, *, half: bool, mark: Mark
    ) -> None:
        self.teacher = twin(teacher).eval().requires_grad_(False).to(device)
        self.student = twin(learner.student).train().to(device)
        self.projection = nn.Linear(learner.student.config.hidden_size, teacher.config.hidden_size)
        prefix = "terms.hidden.projection.map."
        ours = learner.state_dict()
        self.projection.load_state_dict({name: ours[prefix + name] for name in ("weight", "bias")})
        self.projection.to(device)
        self.device, self.half, self.mark = device, half, mark
        self.optimizer = self.make_optimizer()

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW with weight decay where the example scripts of `transformers` have it."""
        named = [*self.student.named_parameters(), *self.projection.named_parameters()]
        exempt = ("bias", "LayerNorm.weight")
        return torch.optim.AdamW(
            [
                {"params": [p for name, p in named if not name.endswith(exempt)], "weight_decay": 0.01},
                {"params": [p for name, p in named if name.endswith(exempt)], "weight_decay": 0.0},
            ],
            lr=5e-4,
            fused=self.fused_optimizer,
        )

    def step(self, inputs: dict[str, Tensor]) -> dict[str, float]:
        """One step on a collated batch; the means of the three terms."""
        with self.autocast():
            losses = self.losses(inputs)
        self.mark("loss")
        torch.stack(list(losses.values())).sum().backward()
        self.mark("backward")
        parameters = [*self.student.parameters(), *self.projection.parameters()]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.mark("optimizer")
        return {name: loss.item() for name, loss in losses.items()}

    def losses(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The three terms of a batch, each a mean."""
        ids, mask, labels = inputs["input_ids"], inputs["attention_mask"], inputs["labels"]
        with torch.no_grad():
            taught = self.teacher(ids, mask, output_hidden_states=True)
        self.mark("teacher head")
        learned = self.student(ids, mask, output_hidden_states=True)
        self.mark("student")
        hard = F.cross_entropy(learned.logits.view(-1, learned.logits.shape[-1]), labels.view(-1), ignore_index=-100)
        divergence = F.kl_div(
            F.log_softmax(learned.logits / TEMPERATURE, dim=-1),
            F.softmax(taught.logits / TEMPERATURE, dim=-1),
            reduction="none",
        ).sum(-1)  # (B, T)
        masked = labels != -100
        soft = (divergence * masked).sum() / masked.sum() * TEMPERATURE**2
        projected = self.projection(learned.hidden_states[-1])
        distance = 1 - F.cosine_similarity(projected.float(), taught.hidden_states[-1].float(), dim=-1)  # (B, T)
        hidden = distance[mask.bool()].mean()
        return {"hard": hard, "soft": soft, "hidden": hidden}

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 where asked for."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext()


class TunedPeer(Peer):
    """The same at its best: encoders alone, logits at masked tokens only, fused AdamW; and `torch.compile`, if asked.

    Every encoder and the losses are compiled, with dynamic shapes: no two batches have the same.
    """

    fused_optimizer = True  # one kernel for all parameters

    def __init__(
        self,
        teacher: BertForMaskedLM,
        learner: Learner,
        device: torch.device,
        *,
        half: bool,
        mark: Mark,
        compiled: bool = False,
    ) -> None:
        super().__init__(teacher, learner, device, half=half, mark=mark)
        self.teacher_encoder, self.student_encoder = self.teacher.bert, self.student.bert
        self.compare = compare
        if compiled:
            self.teacher_encoder = torch.compile(self.teacher_encoder, dynamic=True)
            self.student_encoder = torch.compile(self.student_encoder, dynamic=True)
            self.compare = torch.compile(compare, dynamic=True)

    def losses(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The three terms of a batch, each a mean."""
        ids, mask, labels = inputs["input_ids"], inputs["attention_mask"], inputs["labels"]
        masked = (labels != -100).nonzero(as_tuple=True)
        with torch.no_grad():
            taught = self.teacher_encoder(ids, mask).last_hidden_state  # (B, T, E)
            self.mark("teacher encoder")
            taught_logits = self.teacher.cls(taught[masked])  # (R, V)
            self.mark("teacher head")
        learned = self.student_encoder(ids, mask).last_hidden_state  # (B, T, D)
        self.mark("student")
        hard, soft = self.compare(self.student.cls(learned[masked]), taught_logits, labels[masked])
        real = mask.bool()
        projected = self.projection(learned[real])
        hidden = (1 - F.cosine_similarity(projected.float(), taught[real].float(), dim=-1)).mean()
        return {"hard": hard, "soft": soft, "hidden": hidden}


def compare(logits: Tensor, taught: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy with labels (R,), and KL from the teacher, of logits (R, V); each a mean."""
    hard = F.cross_entropy(logits, labels)
    soft = F.kl_div(
        F.log_softmax(logits / TEMPERATURE, dim=-1), F.log_softmax(taught / TEMPERATURE, dim=-1),
        reduction="batchmean", log_target=True,
    )  # fmt: skip
    return hard, soft * TEMPERATURE**2
