"""The fused loss against float64, against the eager form, and against finite differences."""

import random
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.distill import fused
from tinydistil.distill.fused import COMPILED_FROM, compute_chunk, fused_vocabulary_loss
from tinydistil.distill.losses import IGNORED, SparseTargets, sparse_targets, vocabulary_loss
from tinydistil.distill.options import DIVERGENCES
from tinydistil.model import layers
from tinydistil.model.bert import Decoding
from tinydistil.model.layers import Compiled

# R, V and K as batches and vocabularies have them: nothing, one, primes, a chunk and one more, BERTimbau's.
ROWS = (0, 1, 7, 64, 65, 131, 599)
VOCABULARIES = (11, 127, 1000)
SLACK = 1e-7


def decoding(rows: int, width: int, vocabulary: int, scale: float) -> Decoding:
    """Random rows whose logits have a spread of `scale`."""
    weight = torch.randn(vocabulary, width) * scale / width**0.5
    return Decoding(torch.randn(rows, width), weight, torch.randn(vocabulary) * 0.1)


def cut(teacher: Decoding, top: int, temperature: float, drawn: int = 6) -> SparseTargets:
    """The teacher's `top` likeliest tokens, and some of the rest."""
    return sparse_targets(teacher, top, temperature, torch.rand(len(teacher.rows), drawn))


def in_type(given: Decoding | SparseTargets | None, dtype: torch.dtype) -> Decoding | SparseTargets | None:
    """The same numbers in another type; ids stay."""
    if isinstance(given, Decoding):
        return Decoding(given.rows.to(dtype), given.weight.to(dtype), given.bias.to(dtype))
    return None if given is None else SparseTargets(given.ids, given.log_probs.to(dtype), given.weights.to(dtype))


def run(form, student: Decoding, targets: Tensor, teacher, **options) -> list[Tensor]:
    """Both sums and the gradients of rows, weight and bias for the loss, in float64 for comparison."""
    leaves = [getattr(student, name).detach().clone().requires_grad_() for name in ("rows", "weight", "bias")]
    found = form(Decoding(*leaves), targets, teacher, **options)
    found.total.backward()
    parts = [part for part in (found.hard, found.soft) if part is not None]
    return [part.double() for part in parts] + [leaf.grad.double() for leaf in leaves]


def random_case(number: int) -> tuple[Decoding, Tensor, Decoding | SparseTargets | None, dict[str, object]]:
    """A case drawn from its number: sizes, weights, temperature, divergence, teacher whole, cut or absent."""
    choose = random.Random(number)
    torch.manual_seed(number)
    rows, vocabulary = choose.choice(ROWS), choose.choice(VOCABULARIES)
    hard, soft = choose.choice([(1.0, 1.0), (0.5, 2.0), (1.0, 0.0), (0.0, 1.0)])
    temperature = choose.choice([0.5, 1.0, 2.0, 8.0])
    # 1e4 is far beyond what exp can hold
    scale = choose.choice([1.0, 5.0, 1e4])
    student = decoding(rows, choose.choice([8, 32]), vocabulary, scale)
    teacher: Decoding | SparseTargets | None = decoding(rows, 24, vocabulary, scale) if soft > 0 else None
    if isinstance(teacher, Decoding) and choose.random() < 0.3:
        teacher = cut(teacher, choose.choice([1, 5, vocabulary - 1]), temperature)
    ignored = choose.choice([0.0, 0.3, 1.0])
    targets = torch.where(torch.rand(rows) < ignored, IGNORED, torch.randint(vocabulary, (rows,)))
    divergence = choose.choice(DIVERGENCES) if not isinstance(teacher, SparseTargets) else "forward"
    return student, targets, teacher, dict(hard=hard, soft=soft, temperature=temperature, divergence=divergence)


@dataclass(frozen=True, slots=True)
class Rounded(Decoding):
    """Logits as `dtype` holds them, in float64; gradients as if they were not rounded."""

    dtype: torch.dtype

    def logits(self) -> Tensor:
        exact = F.linear(self.rows, self.weight, self.bias)
        rounded = F.linear(*(each.detach().to(self.dtype) for each in (self.rows, self.weight, self.bias)))
        return exact + (rounded.double() - exact).detach()


def on_rounded_logits(student: Decoding, targets: Tensor, teacher, *, dtype: torch.dtype, **options):
    """The eager form in float64, of eager's own logits in `dtype`."""
    if isinstance(teacher, Decoding):
        teacher = Rounded(teacher.rows, teacher.weight, teacher.bias, dtype)
    return vocabulary_loss(Rounded(student.rows, student.weight, student.bias, dtype), targets, teacher, **options)


def assert_errs_no_more(student: Decoding, targets: Tensor, teacher, options: dict[str, object], what: object) -> None:
    """Error over each tensor no greater than eager's, or than all that logits and gradients in this type allow.

    Past its logits eager errs by more roundings, which now and then undo some of their rounding by chance. That
    fused form cannot follow, so it may come as near as float64 on the same logits comes, its gradients rounded once.
    """
    dtype = student.rows.dtype
    doubled = in_type(student, torch.float64), targets, in_type(teacher, torch.float64)
    exact = run(vocabulary_loss, *doubled, **options)
    best = run(on_rounded_logits, *doubled, dtype=dtype, **options)
    eager = run(vocabulary_loss, student, targets, teacher, **options)
    ours = run(fused_vocabulary_loss, student, targets, teacher, **options)
    for truth, nearest, theirs, mine in zip(exact, best, eager, ours, strict=True):
        nearest = nearest.to(dtype).double() if truth.dim() > 0 else nearest
        # 16 bits: half a last place, for slopes are cast once more before they are multiplied.
        slack = SLACK if truth.dim() == 0 or dtype == torch.float32 else torch.finfo(dtype).eps / 2
        assert torch.isfinite(mine).all(), what
        allowed = max((theirs - truth).norm(), (nearest - truth).norm()) + slack * max(1.0, float(truth.norm()))
        assert (mine - truth).norm() <= allowed, (what, options, float((mine - truth).norm()), float(allowed))


@pytest.mark.parametrize("block", range(10))
def test_it_errs_no_more_than_eager_does(block: int) -> None:
    """Sum and gradients of 500 random cases in three types, against the eager form in float64."""
    for number in range(block * 50, block * 50 + 50):
        student, targets, teacher, options = random_case(number)
        # float16 ends at 65,504: logits of 1e4 and the matrices that make them are at its end
        small = not len(student.rows) or float(student.logits().abs().max()) < 1e3
        for dtype in (torch.float32, torch.bfloat16, *[torch.float16] * small):
            given = in_type(student, dtype), targets, in_type(teacher, dtype)
            assert_errs_no_more(*given, options, (number, dtype))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(("rows", "vocabulary"), [(7, 29_794), (4096, 127)])
def test_it_errs_no_more_in_large(rows: int, vocabulary: int, divergence: str) -> None:
    torch.manual_seed(rows)
    student, teacher = decoding(rows, 16, vocabulary, 3.0), decoding(rows, 24, vocabulary, 3.0)
    options = dict(hard=1.0, soft=1.0, temperature=2.0, divergence=divergence)
    assert_errs_no_more(student, torch.randint(vocabulary, (rows,)), teacher, options, rows)


@pytest.mark.parametrize(("divergence", "top"), [*((each, False) for each in DIVERGENCES), ("forward", True)])
def test_gradient_by_finite_differences(divergence: str, top: bool) -> None:
    """gradcheck of the weighted sum in float64."""
    torch.manual_seed(3)
    teacher = decoding(5, 6, 13, 2.0)
    student = decoding(5, 4, 13, 2.0)
    targets = torch.tensor([3, 12, IGNORED, 0, 7])
    taught = in_type(cut(teacher, 4, 2.0) if top else teacher, torch.float64)

    def loss(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        options = dict(hard=0.7, soft=1.3, temperature=2.0, divergence=divergence, chunk=2)
        return fused_vocabulary_loss(Decoding(rows, weight, bias), targets, taught, **options).total

    leaves = [getattr(student, name).double().requires_grad_() for name in ("rows", "weight", "bias")]
    assert torch.autograd.gradcheck(loss, leaves)


def test_chunks_change_nothing_beyond_rounding_and_two_runs_are_equal() -> None:
    student, targets, teacher, options = random_case(1)
    student, teacher = decoding(131, 16, 127, 3.0), decoding(131, 16, 127, 3.0)
    targets = torch.randint(127, (131,))
    options |= dict(hard=1.0, soft=1.0)
    whole = run(fused_vocabulary_loss, student, targets, teacher, chunk=131, **options)
    for chunk in (1, 5, 64, 1000):
        first, second = (run(fused_vocabulary_loss, student, targets, teacher, chunk=chunk, **options) for _ in "ab")
        for mine, again, reference in zip(first, second, whole, strict=True):
            assert torch.equal(mine, again)
            torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-5)


def test_full_vocabulary_and_many_rows() -> None:
    """R = 600 and BERTimbau's 29,794 tokens, compiled as in a run; sums and gradients as eager's."""
    torch.manual_seed(5)
    student, teacher = decoding(600, 16, 29_794, 2.0), decoding(600, 24, 29_794, 2.0)
    targets = torch.randint(29_794, (600,))
    options = dict(hard=1.0, soft=1.0, temperature=2.0, divergence="forward")
    eager = run(vocabulary_loss, student, targets, teacher, **options)
    for mine, theirs in zip(run(fused_vocabulary_loss, student, targets, teacher, **options), eager, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rows(dtype: torch.dtype) -> None:
    """Rows and matrices of 16 bits: losses in float32, as near to float64 as eager comes."""
    torch.manual_seed(7)
    student, teacher = decoding(65, 32, 127, 3.0), decoding(65, 32, 127, 3.0)
    targets = torch.randint(127, (65,))
    options = dict(hard=1.0, soft=1.0, temperature=2.0, divergence="forward")
    student, teacher = in_type(student, dtype), in_type(teacher, dtype)
    exact = run(vocabulary_loss, in_type(student, torch.float64), targets, in_type(teacher, torch.float64), **options)
    eager = run(vocabulary_loss, student, targets, teacher, **options)
    ours = run(fused_vocabulary_loss, student, targets, teacher, **options)
    for truth, theirs, mine in zip(exact, eager, ours, strict=True):
        # A sum is one number, in which the roundings of logits cancel by chance; a gradient is thousands.
        allowed = 1e-3 * truth.norm() if truth.dim() == 0 else 1.1 * (theirs - truth).norm()
        assert (mine - truth).norm() <= allowed


def test_rare_words_learn_in_float16() -> None:
    """Slopes of 1e-9, which float16 cannot hold, reach the rows of the vocabulary matrix under a gradient scale."""
    torch.manual_seed(10)
    exact, targets = decoding(4, 16, 50, 1.0), torch.zeros(4, dtype=torch.int64)
    exact.bias[25:] = -20.0
    gradients = []
    for dtype in (torch.float64, torch.float16):
        given = in_type(exact, dtype)
        assert isinstance(given, Decoding)
        weight = given.weight.clone().requires_grad_()
        found = fused_vocabulary_loss(Decoding(given.rows, weight, given.bias), targets, None, hard=1.0, soft=0.0)
        (found.total * 65536).backward()
        gradients.append(weight.grad.double()[25:])
    truth, ours = gradients
    assert 0 < float(truth.abs().max()) / 65536 < 1e-8
    assert float((ours - truth).norm()) <= 0.05 * float(truth.norm())


def test_autocast_multiplies_in_bfloat16_as_eager_does() -> None:
    torch.manual_seed(8)
    student, teacher = decoding(65, 32, 127, 3.0), decoding(65, 32, 127, 3.0)
    targets = torch.randint(127, (65,))
    options = dict(hard=1.0, soft=1.0, temperature=2.0, divergence="forward")
    exact = run(vocabulary_loss, student, targets, teacher, **options)
    with torch.autocast("cpu", torch.bfloat16):
        eager = run(vocabulary_loss, student, targets, teacher, **options)
        ours = run(fused_vocabulary_loss, student, targets, teacher, **options)
    for truth, theirs, mine in zip(exact, eager, ours, strict=True):
        assert (mine - truth).norm() <= 1.5 * (theirs - truth).norm()
        assert not torch.equal(mine, truth)


def test_draws_average_to_the_whole_divergence_and_its_gradient() -> None:
    """Every token of the rest drawn once by itself, weighed by how likely its draw is: the whole, without a bias."""
    torch.manual_seed(9)
    rows, vocabulary, top, temperature = 5, 13, 3, 2.0
    student, teacher = (in_type(decoding(rows, 8, vocabulary, 3.0), torch.float64) for _ in "st")
    targets = torch.zeros(rows, dtype=torch.int64)
    options = dict(hard=0.0, soft=1.0, temperature=temperature)
    whole = run(fused_vocabulary_loss, student, targets, teacher, **options)
    p = (teacher.logits() / temperature).softmax(-1)
    kept = p.topk(top).indices
    # The middle of each token's stretch of [0, 1), and its length; kept tokens have none.
    chances = p.scatter(1, kept, 0.0) / p.scatter(1, kept, 0.0).sum(1, keepdim=True)
    middles = chances.cumsum(1) - chances / 2
    for form in (vocabulary_loss, fused_vocabulary_loss):
        for row in range(rows):  # a row at a time: each has chances of its own
            one = Decoding(student.rows[row : row + 1], student.weight, student.bias)
            alone = Decoding(teacher.rows[row : row + 1], teacher.weight, teacher.bias)
            expected = run(fused_vocabulary_loss, one, targets[:1], alone, **options)
            mean = [torch.zeros_like(each) for each in expected]
            for token in chances[row].nonzero().flatten().tolist():
                drawn = sparse_targets(alone, top, temperature, middles[row : row + 1, token : token + 1])
                assert int(drawn.ids[0, -1]) == token
                found = run(form, one, targets[:1], drawn, **options)
                mean = [total + chances[row, token] * part for total, part in zip(mean, found, strict=True)]
            for mine, exact in zip(mean, expected, strict=True):
                torch.testing.assert_close(mine, exact, rtol=1e-10, atol=1e-12)
    assert float(whole[0]) > 0.1


def test_draws_follow_the_probabilities_of_the_rest() -> None:
    """100,000 draws of one row: shares within three standard deviations, and none of a token that is kept."""
    torch.manual_seed(11)
    teacher, drawn = decoding(1, 8, 20, 2.0), 100_000
    sparse = sparse_targets(teacher, 4, 2.0, torch.rand(1, drawn))
    p = (teacher.logits() / 2.0).double().softmax(-1)[0]
    kept = sparse.ids[0, :4]
    assert set(kept.tolist()) == set(p.topk(4).indices.tolist())
    assert float(sparse.weights.double().sum()) == pytest.approx(1, abs=1e-4)
    chances = p.scatter(0, kept, 0.0) / (1 - p[kept].sum())
    shares = torch.bincount(sparse.ids[0, 4:], minlength=20) / drawn
    assert ((shares - chances).abs() <= 3.5 * (chances * (1 - chances) / drawn).sqrt()).all()


@pytest.mark.parametrize("form", [vocabulary_loss, fused_vocabulary_loss])
@pytest.mark.parametrize("divergence", ["reverse", "jensen-shannon"])
def test_other_divergences_need_the_whole_distribution(form, divergence: str) -> None:
    student, teacher = decoding(3, 8, 20, 2.0), decoding(3, 8, 20, 2.0)
    with pytest.raises(InputError, match=r"choose cache\.words=hidden"):
        form(student, torch.zeros(3).long(), cut(teacher, 4, 2.0), hard=1.0, soft=1.0, divergence=divergence)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [("InvalidCxxCompiler: No working C++ compiler found", r"; .*apt install g\+\+"), ("buf1", "$")],
)
def test_what_does_not_compile_runs_uncompiled_and_says_why_once(
    monkeypatch: pytest.MonkeyPatch, reason: str, remedy: str
) -> None:
    def broken(*_: object, **__: object):
        def fail(*arguments: object) -> tuple[Tensor, Tensor]:
            if arguments[-1].hard:
                raise RuntimeError(f"{reason}\n\nSet TORCHDYNAMO_VERBOSE=1; see torch.compiler")
            return compute_chunk(*arguments)

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    chunk = Compiled(compute_chunk, "the fused loss")
    monkeypatch.setattr(fused, "compiled_chunk", lambda: chunk)
    student, teacher = decoding(70, 8, 50, 3.0), decoding(70, 8, 50, 3.0)
    targets = torch.randint(50, (70,))
    options = dict(soft=1.0, temperature=2.0, divergence="forward", compiled=True)
    with pytest.warns(UserWarning, match=rf"failed \(RuntimeError: {re.escape(reason)}\){remedy}"):
        first = run(fused_vocabulary_loss, student, targets, teacher, hard=1.0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = run(fused_vocabulary_loss, student, targets, teacher, hard=1.0, **options)
        run(fused_vocabulary_loss, student, targets, teacher, hard=0.0, **options)
        run(fused_vocabulary_loss, student, targets, None, **(options | dict(hard=1.0, soft=0.0)))
    assert sorted(chunk.compiles.values()) == [False, False, True]
    for mine, other in zip(first, again, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("hard", "soft", "divergence", "sparse"),
    [
        (1.0, 0.0, "forward", False),
        (0.0, 1.0, "forward", False),
        (2.0, 5.0, "forward", False),
        (1.0, 1.0, "reverse", False),
        (1.0, 1.0, "jensen-shannon", False),
        (1.0, 1.0, "forward", True),
    ],
)
def test_each_combination_of_terms_compiles(hard: float, soft: float, divergence: str, sparse: bool) -> None:
    """And gives what it gives uncompiled; a warning of a fallback would be an error."""
    torch.manual_seed(11)
    torch._dynamo.reset()  # which forgets what the other cases compiled, and with them the limit of eight
    vocabulary = COMPILED_FROM
    student, whole = decoding(65, 8, vocabulary, 2.0), decoding(65, 8, vocabulary, 2.0)
    targets, teacher = torch.randint(vocabulary, (65,)), cut(whole, 4, 2.0) if sparse else whole
    options = dict(hard=hard, soft=soft, divergence=divergence)
    plain = run(fused_vocabulary_loss, student, targets, teacher, compiled=False, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the fused loss runs uncompiled")
        compiled = run(fused_vocabulary_loss, student, targets, teacher, **options)
    for mine, other in zip(compiled, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-5, atol=1e-6)


@pytest.fixture
def fresh_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("fresh_memory_is_nan")
def test_one_graph_is_compiled_for_all_numbers_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch makes torch compile again; rows that fill a chunk up may hold anything."""
    assert torch.empty(3).isnan().all()
    torch._dynamo.reset()
    counter, sizes = CompileCounter(), set()
    compiled = torch.compile(compute_chunk, dynamic=False, backend=counter)

    def spy(logits: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        sizes.add(len(logits))
        return compiled(logits, *rest)

    monkeypatch.setattr(fused, "compiled_chunk", lambda: spy)
    for rows in (65, 1, 2, 63, 64, 200):
        student, teacher = decoding(rows, 8, 50, 3.0), decoding(rows, 8, 50, 3.0)
        targets = torch.randint(50, (rows,))
        options = dict(hard=1.0, soft=1.0, compiled=True, chunk=64)
        for taught in (teacher, cut(teacher, 3, 2.0)):
            filled = run(fused_vocabulary_loss, student, targets, taught, **options)
            plain = run(fused_vocabulary_loss, student, targets, taught, **(options | dict(compiled=False)))
            for mine, other in zip(filled, plain, strict=True):
                torch.testing.assert_close(mine, other)
    assert sizes == {2, 33, 50, 63, 64}
    assert counter.frame_count == 2, "one for a whole teacher, one for some of its tokens"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sum_over_many_chunks_errs_no_more_than_eager_does(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """A vocabulary matrix so wide that oneDNN multiplies, whatever the processor; two backward passes give the same."""
    monkeypatch.setattr(layers, "_prefers_onednn", lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    torch.manual_seed(17)
    student, teacher = decoding(500, 32, 4096, 3.0), decoding(500, 48, 4096, 3.0)
    targets = torch.randint(4096, (500,))
    options = dict(hard=1.0, soft=1.0, temperature=2.0, divergence="forward")
    exact = run(vocabulary_loss, in_type(student, torch.float64), targets, in_type(teacher, torch.float64), **options)
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        eager = run(vocabulary_loss, student, targets, teacher, **options)
        ours = run(fused_vocabulary_loss, student, targets, teacher, chunk=16, **options)
    for truth, theirs, mine in zip(exact, eager, ours, strict=True):
        slack = SLACK if dtype == torch.float32 else torch.finfo(dtype).eps / 2
        assert (mine - truth).norm() <= (theirs - truth).norm() + slack * truth.norm()
    weight = student.weight.clone().requires_grad_()
    total = fused_vocabulary_loss(Decoding(student.rows, weight, student.bias), targets, teacher, **options).total
    (first,), (second,) = (torch.autograd.grad(total, weight, retain_graph=True) for _ in "ab")
    assert torch.equal(first, second)
    assert first.is_contiguous()


@pytest.mark.parametrize(
    ("wrong", "said"), [(dict(temperature=0.0), "temperature"), (dict(divergence="forwrd"), "forward")]
)
def test_wrong_options_are_refused(wrong: dict[str, object], said: str) -> None:
    student = decoding(3, 4, 11, 1.0)
    with pytest.raises(InputError, match=said):
        fused_vocabulary_loss(student, torch.zeros(3, dtype=torch.int64), replace(student), hard=1.0, soft=1.0, **wrong)


WEIGHTS = [(2.0, 0.5), (2.0, 0.0), (0.0, 0.5), (0.3, 0.7), (1e-3, 1.0)]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("factor", [1e-6, 0.37, 65536.0, -1.0])
def test_any_factor_outside_gives_the_gradient_of_eager(weights: tuple[float, float], factor: float) -> None:
    """Divided by a count, weighed and scaled up, as a step does it."""
    torch.manual_seed(4)
    student, teacher = in_type(decoding(9, 8, 13, 2.0), torch.float64), in_type(decoding(9, 6, 13, 2.0), torch.float64)
    targets, gradients = torch.randint(13, (9,)), []
    for form in (vocabulary_loss, fused_vocabulary_loss):
        rows = student.rows.detach().clone().requires_grad_()
        given = Decoding(rows, student.weight, student.bias)
        (factor / 9 * form(given, targets, teacher, hard=weights[0], soft=weights[1]).total).backward()
        gradients.append(rows.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.7, 3.0])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_each_part_alone_and_both_err_no_more_than_eager(
    weights: tuple[float, float], temperature: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(14)
    student, teacher = decoding(131, 32, 127, 3.0), decoding(131, 24, 127, 3.0)
    options = dict(hard=weights[0], soft=weights[1], temperature=temperature, divergence="forward")
    assert_errs_no_more(in_type(student, dtype), torch.randint(127, (131,)), in_type(teacher, dtype), options, weights)


def test_scalars_as_tensors_are_the_same_numbers() -> None:
    torch.manual_seed(15)
    student, teacher, targets = decoding(65, 16, 127, 3.0), decoding(65, 24, 127, 3.0), torch.randint(127, (65,))
    numbers = dict(hard=0.3, soft=0.7, temperature=3.0)
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    for form in (vocabulary_loss, fused_vocabulary_loss):
        for mine, other in zip(
            *(run(form, student, targets, teacher, **each) for each in (numbers, tensors)), strict=True
        ):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)
    found = fused_vocabulary_loss(student, targets, teacher, hard=torch.tensor(0.0), soft=1.0)
    assert found.hard is not None and float(found.hard) > 0, "a schedule at 0 leaves the number there"


@pytest.mark.parametrize("sparse", [False, True])
def test_no_schedule_compiles_anything_again(sparse: bool) -> None:
    torch.manual_seed(16)
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = Compiled(compute_chunk, "the fused loss")
    compiled.compute = torch.compile(compute_chunk, dynamic=False, backend=counter)
    student, whole = decoding(70, 8, 50, 2.0), decoding(70, 8, 50, 2.0)
    targets, teacher = torch.randint(50, (70,)), cut(whole, 4, 2.0) if sparse else whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "compiled_chunk", lambda: compiled)
        for progress in range(6):
            options = dict(hard=0.2 * progress, soft=1 - 0.1 * progress, temperature=4.0 - 0.5 * progress)
            tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in options.items()}
            mine = run(fused_vocabulary_loss, student, targets, teacher, compiled=True, **tensors)
            plain = run(vocabulary_loss, student, targets, teacher, **tensors)
            for one, other in zip(mine, plain, strict=True):
                torch.testing.assert_close(one, other, rtol=2e-5, atol=1e-5)
    assert counter.frame_count == 1
