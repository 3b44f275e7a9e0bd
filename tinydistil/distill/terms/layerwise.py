"""What lies between a model's ends: how it is read, which layers are compared, and the term `layers`.

Shapes: B sequences, T tokens, N tokens or words, D student width, E teacher width, H heads, K head size.
"""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from tinydistil.base.config import OneOf
from tinydistil.base.errors import InputError, require
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.initialise import Moments
from tinydistil.distill.options import CacheConfig, HiddenOptions, Needs, Shapes
from tinydistil.distill.terms.base import Loss, ModelStates, State, Vectors, register
from tinydistil.distill.terms.representation import Hidden, Projection
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.layers import Attention, PackedAttention

MAPS = ("uniform", "last", "first", "top")


def pairs_of(layers: str, name: str, shapes: Shapes, *, least: int) -> tuple[tuple[int, int], ...]:
    """Layers of the student, each with one of the teacher: "uniform" (every L / l-th, Jiao et al. 2020, sec. 4.1),
    "last" and "first" (as many), "top" (the last of both alone), or pairs such as "1:4,2:12". Layer 0 is that of the
    embeddings, allowed where `least` is 0.

    Raises InputError, naming option `name`, for what is none, or a layer that is not there.
    """
    assert shapes.teacher is not None, "see TermOptions.check"
    own, theirs = shapes.student.num_hidden_layers, shapes.teacher.num_hidden_layers
    numbers = range(1, own + 1)
    if layers == "top":
        return ((own, theirs),)
    if layers in MAPS:
        fits = own <= theirs
        require(fits, f"{name} {layers!r} needs a teacher of as many layers at least: it has {theirs}, not {own}")
        of = {"uniform": lambda i: round(i * theirs / own), "last": lambda i: theirs - own + i, "first": lambda i: i}
        return tuple((i, of[layers](i)) for i in numbers)
    try:
        found = tuple((int(one), int(other)) for one, other in (pair.split(":") for pair in layers.split(",")))
    except ValueError:
        raise InputError(f"{name} must be {', '.join(MAPS)}, or pairs such as 1:4,2:12; got {layers!r}") from None
    for each, most, whose in (*((s, own, "student") for s, _ in found), *((t, theirs, "teacher") for _, t in found)):
        require(least <= each <= most, f"{name}: the {whose} has layers {least}..{most}, got {each} in {layers!r}")
    require(len(set(found)) == len(found), f"{name} names a pair twice: {layers!r}")
    return found


def read_between(
    model: BertForMaskedLM | BertModel, ids: Tensor, mask: Tensor, compares: Collection[int]
) -> ModelStates:
    """The states of `model` for ids and mask (B, T) with those of all its layers; `compares`: of which what attention
    compares, too."""
    encoder = model.encoder
    attends, found = list[Attention](), dict[int, Tensor]()

    def see(module: nn.Module, inputs: object, output: Tensor) -> None:
        # What a layer computes first is of its tokens; DeBERTa's goes on with distances. A copy where a layer may
        # overwrite it; autograd forbids that itself.
        if (number := len(attends)) in compares and number not in found:
            found[number] = output if torch.is_grad_enabled() else output.clone()

    # Layers that share their weights are one module, which is called again.
    layers = {id(layer): layer for layer in encoder.layers}.values()
    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.attention.qkv.register_forward_hook(see).remove)
            hooks.callback(layer.register_forward_pre_hook(lambda _, inputs: attends.append(inputs[1])).remove)
        read = encoder(ids, mask, output_hidden_states=True)
    attend, heads = attends[0], encoder.config.num_attention_heads
    if isinstance(attend, PackedAttention):
        found = {number: attend.unpack(each, ids.shape) for number, each in found.items()}
    compared = {number: each.view(*each.shape[:-1], 3, heads, -1) for number, each in found.items()}
    return ModelStates(model, read.last_hidden, read.hidden_states, compared)


def freeze_above(encoder: BertModel, depth: int, compares: Collection[int]) -> None:
    """Freeze what has no part in the output of layer `depth`, nor in what the layers `compares` compare."""
    reached = {id(layer) for layer in encoder.layers[:depth]}
    above: list[nn.Module] = [layer for layer in encoder.layers if id(layer) not in reached]
    for module in [*above, *([encoder.final] if encoder.final is not None and above else [])]:
        module.requires_grad_(False)
    for number in compares:
        encoder.layers[number - 1].attention.qkv.requires_grad_(True)


@dataclass(frozen=True)
class LayersOptions(HiddenOptions, table="recipe.terms.layers"):
    """layers: which of the student learns from which of the teacher, see `pairs_of`; embeddings: these too."""

    layers: str = "uniform"
    embeddings: bool = False
    projection: Annotated[str, OneOf(("none", "student-to-teacher", "teacher-to-student", "pca", "random"))] = (
        "student-to-teacher"
    )
    distance: Annotated[str, OneOf(("cosine", "mse"))] = "mse"

    @property
    def needs(self) -> Needs:
        return Needs(("layers",), ("layers",), tokens=self.unit == "token", reason=f"unit is {self.unit!r}")

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        super().check(f"terms.{name}", shapes, cache)
        if shapes.teacher is not None:
            self.pairs(f"recipe.terms.{name}.layers", shapes)

    def pairs(self, name: str, shapes: Shapes) -> tuple[tuple[int, int], ...]:
        """All that are compared; see `pairs_of`."""
        found = pairs_of(self.layers, name, shapes, least=0)
        return ((0, 0), *found) if self.embeddings and (0, 0) not in found else found

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        return super().bound(cache, shapes) | {"recipe.layers": [theirs for _, theirs in self.pairs("", shapes)]}


@register("layers")
class Layers(Hidden):
    """The distance of hidden states, per token or word, layer by layer, each pair with a projection of its own.

    The mean over pairs; with `distance` mse and a learned map that is Jiao et al. 2020 (TinyBERT), eq. 8 and 9.
    """

    Options = LayersOptions
    options: LayersOptions
    compares = ()

    def __init__(self, options: LayersOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        del self.projection
        assert shapes.teacher is not None
        self.pairs = options.pairs("recipe.terms.layers.layers", shapes)
        self.depth = max(own for own, _ in self.pairs)
        widths, how = (shapes.student.hidden_size, shapes.teacher.hidden_size), options
        self.maps = [
            Projection(how.projection, *widths, centred=how.centred, whitening=how.whitening) for _ in self.pairs
        ]
        self.projections = nn.ModuleList(self.maps)
        self._of_layers: list[Moments] = []

    def states(self) -> Mapping[str, State]:
        return {"layers": _PreparedLayers(self)}

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        prepared = teacher["layers"].chunk(len(self.pairs), -1)
        present, losses = self.present(batch), []
        for (own, _), projection, kept in zip(self.pairs, self.maps, prepared, strict=True):
            ours, theirs = projection(self.vectors(student.layers[own], batch), kept)
            losses.append(self.distance(ours, theirs, present))
        return Loss(torch.stack(losses).mean())

    def observe(self, teacher: ModelStates, batch: MaskedBatch) -> None:
        present = self.present(batch, of_teacher=True)
        for number, (_, theirs) in enumerate(self.pairs):
            vectors = self.vectors(teacher.layers[theirs], batch, of_teacher=True)
            if len(self._of_layers) == number:
                self._of_layers.append(Moments(vectors.shape[1], vectors.device))
            self._of_layers[number].add(vectors[present])

    def fitted(self) -> str:
        kept = [each.fit(moments) for each, moments in zip(self.maps, self._of_layers, strict=True)]
        self._of_layers = []
        return f"the projections keep {min(kept):.1%} to {max(kept):.1%} of the teacher's squared length"


class _PreparedLayers(Vectors):
    """What each pair compares of the teacher, prepared, side by side."""

    compares = ()

    def __init__(self, term: Layers) -> None:
        super().__init__(sum(each.prepared_width for each in term.maps))
        self.term = term

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        pairs = zip(self.term.pairs, self.term.maps, strict=True)
        vectors = ((p, self.term.vectors(teacher.layers[t], batch, of_teacher=True)) for (_, t), p in pairs)
        return torch.cat([projection.prepare(each) for projection, each in vectors], -1)

    def present(self, batch: MaskedBatch) -> Tensor:
        return self.term.present(batch, of_teacher=True)
