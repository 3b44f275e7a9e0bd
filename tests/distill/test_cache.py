"""A cached teacher says what the live one does, to the rounding of 16 bits, whatever batches it is asked in."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.train.toy import CASES, TWO_VOCABULARIES, toy_case
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.losses import SparseTargets
from tinydistil.distill.options import CacheConfig
from tinydistil.distill.teacher import cached as cache_module
from tinydistil.distill.teacher.cached import CODES, FITTED, OWNERSHIP, CachedTeacher, TeacherCache
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import LastHidden, Learner, TeacherStates
from tinydistil.distill.terms.representation import Projection
from tinydistil.model.bert import Decoding
from tinydistil.train.teachers import side_by_side

CPU = torch.device("cpu")
CACHED = [name for name, recipe in CASES.items() if recipe.needs.teacher and recipe.soft_positions == "masked"]
HALF = 2**-11  # the most that a number moves, as a share of it, when it is rounded to 16 bits


def toy(case: str) -> tuple[Learner, LiveTeacher, MaskedBatches]:
    trainer, batches = toy_case(case, Ranks(0, 1, CPU))
    learner, live = trainer.objective, trainer.teacher
    assert isinstance(learner, Learner) and isinstance(live, LiveTeacher)
    live.model.float()
    return learner.float(), live, batches


VECTORS = ("hidden", "pooled", "contrast", "similarity", "layers", "attention", "relations")


def vectors_of(states: TeacherStates) -> dict[str, Tensor]:
    """The teacher's vectors by term, one below the other."""
    return {term: vectors.flatten(0, -2) for term in VECTORS if term in states for vectors in states[term].values()}


def words_of(states: TeacherStates) -> object:
    """The teacher's distribution, None where none is read."""
    return states.get("vocabulary", {}).get("logits")


def write(
    folder: Path, live: LiveTeacher, batches: MaskedBatches, config: CacheConfig, *, size: int = 3
) -> TeacherCache:
    """All parts of two epochs of masks, from batches of `size` sequences in falling order."""
    folder.mkdir(exist_ok=True)
    cache = TeacherCache(folder, batches.candidates, epochs=2).with_codes(live, batches, config, CPU)
    for part in cache.missing:
        ids = np.flip(cache.ids(part[1])).copy()
        shares = [batches.collate(ids[start : start + size], part[0]) for start in range(0, len(ids), size)]
        cache.write(part, shares, live, config, CPU)
    return cache


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "PART", 4)  # 11 sequences: three parts, the last one short


def batches_to_read(batches: MaskedBatches) -> list[MaskedBatch]:
    """Over the borders of parts, one sequence, none, and masks of both epochs."""
    ids = np.random.default_rng(0).permutation(11)
    return [batches.collate(each, epoch) for each, epoch in ((ids, 0), (ids[:5], 1), (ids[7:8], 0), (ids[:0], 0))]


def near(found: Tensor, expected: Tensor) -> bool:
    """To the rounding of 16 bits, and what float32 itself rounds off in another batch."""
    return torch.allclose(found, expected, rtol=1.01 * HALF, atol=2e-6)


@pytest.mark.parametrize("words", ["top", "hidden"])
@pytest.mark.parametrize("case", CACHED)
def test_a_cached_teacher_says_what_the_live_one_says(case: str, words: str, tmp_path: Path) -> None:
    learner, live, batches = toy(case)
    config = CacheConfig(words=words, top=6, vector_bits=16)
    cached = CachedTeacher(write(tmp_path, live, batches, config), live, config, CPU)
    for batch in batches_to_read(batches):
        found, expected = cached(batch), live(batch)
        assert found.keys() == expected.keys() == learner.states().keys()
        for term, vectors in vectors_of(found).items():
            present = present_in(learner, term, batch)
            assert near(vectors[present], vectors_of(expected)[term][present])
        distribution, whole = words_of(found), words_of(expected)
        assert (distribution is None) == (not learner.recipe.has_soft)
        if isinstance(distribution, Decoding):
            assert words == "hidden" and isinstance(whole, Decoding)
            assert near(distribution.rows, whole.rows)
            assert torch.equal(distribution.weight, whole.weight) and torch.equal(distribution.bias, whole.bias)
        elif isinstance(distribution, SparseTargets):
            assert words == "top" and isinstance(whole, Decoding)
            log_probs = (whole.logits() / learner.recipe.temperature).log_softmax(-1)
            best = log_probs.topk(6)
            assert torch.equal(distribution.ids[:, :6], best.indices)
            # Shares of the likeliest are off by half a 24th of a nat, what is left of all of them by 16 bits.
            assert torch.allclose(distribution.log_probs[:, :6], best.values, rtol=0, atol=1 / 24)
            assert torch.equal(distribution.weights[:, :6], distribution.log_probs[:, :6].exp())
            tail = log_probs.exp().scatter(1, best.indices, 0.0)
            rest, drawn = tail.sum(1, keepdim=True), config.drawn
            assert torch.allclose(distribution.weights[:, 6:], (rest / drawn).expand(-1, drawn), rtol=2e-3)
            mean = (tail * log_probs).sum(1, keepdim=True) / rest
            assert torch.allclose(distribution.log_probs[:, 6:], mean.expand(-1, drawn), rtol=1.01 * HALF)
            assert torch.allclose(distribution.weights.sum(1), torch.ones(len(rest)), atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("case", CACHED)
def test_vectors_in_few_bits_are_off_by_half_a_step(case: str, bits: int, tmp_path: Path) -> None:
    """Where they are within the range of their code; nowhere by more than they vary."""
    learner, live, batches = toy(case)
    terms = [term for term in VECTORS if term in learner.terms]
    if not terms:
        pytest.skip("this recipe compares no vectors")
    config = CacheConfig(top=6, vector_bits=bits)
    cached = CachedTeacher(write(tmp_path, live, batches, config), live, config, CPU)
    kept = cached._open(0, 0)(0)
    for batch in batches_to_read(batches):
        both = [vectors_of(teacher(batch)) for teacher in (cached, live)]
        for term in terms:
            found, exact = (each[term][present_in(learner, term, batch)] for each in both)
            codes = cached.cache.codes[f"{term}.vectors"]
            assert kept[f"{term}.vectors"].dtype == np.uint8
            assert 8 * kept[f"{term}.vectors"].shape[1] < bits * exact.shape[1] + 8
            reach = codes.steps * (2 ** codes.table[2] - 1) / 2
            most = torch.maximum(codes.steps / 2, (exact - codes.mean).abs() - reach)
            assert ((found - exact).abs() <= most + 2e-5).all()
            assert not len(exact) or not torch.equal(found, exact)


def test_last_hidden_states_that_two_terms_read_are_kept_once(tmp_path: Path) -> None:
    _, live, batches = toy("total")
    width = live.model.config.hidden_size
    live.states = {name: {"hidden": LastHidden(width)} for name in ("first", "second")}
    config = CacheConfig(vector_bits=16)
    cached = CachedTeacher(write(tmp_path, live, batches, config), live, config, CPU)
    assert cached._open(0, 0)(0).keys() == {"first.vectors"}
    for batch in batches_to_read(batches):
        found, exact = cached(batch), live(batch)["first"]["hidden"]
        assert found["first"]["hidden"] is found["second"]["hidden"]
        present = batch.valid_mask
        assert torch.allclose(found["first"]["hidden"][present], exact[present], rtol=HALF, atol=1e-6)


def present_in(learner: Learner, term: str, batch: MaskedBatch) -> Tensor:
    of_term = learner.terms[term]
    return of_term.present(batch, of_teacher=True) if hasattr(of_term, "present") else batch.valid_mask.flatten()


@pytest.mark.parametrize("case", CACHED)
def test_losses_from_a_cache_are_those_of_the_live_teacher(case: str, tmp_path: Path) -> None:
    """Rows in 16 bits move a logit by a thousandth of its size; no term by more than a hundredth of its own."""
    learner, live, batches = toy(case)
    config = CacheConfig(words="hidden", vector_bits=16)
    cached = CachedTeacher(write(tmp_path, live, batches, config), live, config, CPU)
    for batch in batches_to_read(batches):
        with torch.no_grad():
            found, expected = learner(batch, cached(batch)), learner(batch, live(batch))
        assert found.keys() == expected.keys()
        for term, part in found.items():
            assert float(part.total) == pytest.approx(float(expected[term].total), rel=1e-2, abs=1e-5)


def test_more_draws_come_nearer_to_the_whole(tmp_path: Path) -> None:
    learner, live, batches = toy("total")
    batch = batches_to_read(batches)[0]
    whole = float(learner(batch, live(batch))["vocabulary"].numbers["soft"])
    errors = []
    for drawn in (1, 10_000):
        config = CacheConfig(top=4, drawn=drawn)
        cached = CachedTeacher(write(tmp_path / str(drawn), live, batches, config), live, config, CPU)
        errors.append(abs(float(learner(batch, cached(batch))["vocabulary"].numbers["soft"]) / whole - 1))
    assert errors[1] < errors[0] and errors[1] < 0.02


def test_draws_depend_on_sequence_and_epoch_alone(tmp_path: Path) -> None:
    """The same for any batches, other ones in another epoch of masks."""
    _, live, batches = toy("total")
    config = CacheConfig(top=2, drawn=5)
    read = []
    for size in (1, 4):
        cached = CachedTeacher(write(tmp_path / str(size), live, batches, config, size=size), live, config, CPU)
        words = words_of(cached(batches.collate(batches.candidates, 0)))
        assert isinstance(words, SparseTargets)
        read.append(words.ids)
    assert torch.equal(*read)
    assert len({tuple(row) for row in read[0][:, 2:].tolist()}) > len(read[0]) / 2


@pytest.mark.parametrize("case", ["total", "partial"])
def test_bytes_do_not_depend_on_the_batches_they_came_in_beyond_rounding(case: str, tmp_path: Path) -> None:
    _, live, batches = toy(case)
    config = CacheConfig(top=6, vector_bits=16)
    caches = [write(tmp_path / str(size), live, batches, config, size=size) for size in (1, 4)]
    again = write(tmp_path / "again", live, batches, config, size=4)
    for part in caches[1].parts:
        assert caches[1].path(*part).read_bytes() == again.path(*part).read_bytes()
    one, other = (CachedTeacher(cache, live, config, CPU) for cache in caches)
    batch = batches_to_read(batches)[0]
    for term in vectors_of(one(batch)):
        both = [vectors_of(teacher(batch))[term] for teacher in (one, other)]
        torch.testing.assert_close(*both, rtol=2 * HALF, atol=2e-6)


def test_a_share_of_a_batch_gets_the_same_bits(tmp_path: Path) -> None:
    """What a rank reads of its sequences is what one process reads of all."""
    _, live, batches = toy("total")
    config = CacheConfig(top=6)
    cached = CachedTeacher(write(tmp_path, live, batches, config), live, config, CPU)
    (whole,) = batches.micro_batches(0, rank=0, world_size=1, accumulation=1)
    words = words_of(cached(whole))
    assert isinstance(words, SparseTargets)
    owners = whole.sequence_ids[whole.positions // whole.input_ids.shape[1]]
    for world_size in (2, 3):
        for rank in range(world_size):
            (share,) = batches.micro_batches(0, rank=rank, world_size=world_size, accumulation=1)
            mine = words_of(cached(share))
            assert isinstance(mine, SparseTargets)
            picked = torch.cat([(owners == sequence).nonzero()[:, 0] for sequence in share.sequence_ids])
            assert torch.equal(mine.log_probs, words.log_probs[picked]) and torch.equal(mine.ids, words.ids[picked])


def test_projections_come_with_the_cache(tmp_path: Path) -> None:
    learner, live, batches = toy("whitened")
    cache = write(tmp_path, live, batches, CacheConfig())
    cache.save_tensors(FITTED, learner.fitted_tensors())
    other, _, _ = toy("whitened")
    for buffer in other.terms.buffers():
        buffer.zero_()
    assert cache.load_tensors(FITTED, other.fitted_tensors())
    for name, found in other.fitted_tensors().items():
        assert torch.equal(found, learner.fitted_tensors()[name])
    assert not TeacherCache(tmp_path / "none", batches.candidates, 1).load_tensors(FITTED, other.fitted_tensors())


def test_missing_parts_are_those_that_are_not_whole(tmp_path: Path) -> None:
    _, live, batches = toy("total")
    cache = write(tmp_path, live, batches, CacheConfig(top=6))
    assert cache.missing == [] and len(cache.parts) == 2 * 3
    lost = cache.path(1, 2)
    whole = lost.read_bytes()
    lost.rename(lost.with_name(lost.name + ".partial"))  # as a power cut leaves it
    assert cache.missing == [(1, 2)]
    write(tmp_path, live, batches, CacheConfig(top=6))
    assert lost.read_bytes() == whole


def edited(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def tail(tensors: dict[str, Tensor], kind: str) -> None:
    tensors[kind][-1:] = 0


def beyond(tensors: dict[str, Tensor]) -> None:
    tensors["vocabulary.tokens"] = torch.full_like(tensors["vocabulary.tokens"], 255)


def backwards(tensors: dict[str, Tensor]) -> None:
    tensors["vocabulary.tokens_starts"][1] = 10**6


def narrower(tensors: dict[str, Tensor]) -> None:
    tensors["vocabulary.tokens"] = tensors["vocabulary.tokens"][:, :-1]


def zeroed(path: Path) -> None:
    """As a power cut may leave it: of the right size, with nothing in its last half."""
    data = path.read_bytes()
    path.write_bytes(data[: -len(data) // 2] + bytes(len(data) // 2))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "no safetensors": lambda path: path.write_bytes(b"\xff" * 3000),
    "zeroed tail": zeroed,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "last tokens": lambda path: edited(path, lambda tensors: tail(tensors, "vocabulary.tokens")),
    "last vector": lambda path: edited(path, lambda tensors: tail(tensors, "hidden.vectors")),
    "ids beyond the vocabulary": lambda path: edited(path, beyond),
    "offsets beyond": lambda path: edited(path, backwards),
    "offsets one short": lambda path: edited(
        path, lambda t: t.update(**{"vocabulary.tokens_starts": t["vocabulary.tokens_starts"][:-1]})
    ),
    "offsets as floats": lambda path: edited(
        path, lambda t: t.update(**{"vocabulary.tokens_starts": t["vocabulary.tokens_starts"].float()})
    ),
    "offsets scalar": lambda path: edited(path, lambda t: t.update(**{"vocabulary.tokens_starts": torch.tensor(0)})),
    "numbers scalar": lambda path: edited(path, lambda t: t.update(**{"vocabulary.tokens": torch.tensor(0.0)})),
    "another width": lambda path: edited(path, narrower),
    "another type": lambda path: edited(
        path, lambda t: t.update(**{"vocabulary.tokens": t["vocabulary.tokens"].view(torch.int8)})
    ),
    "a kind gone": lambda path: edited(path, lambda t: t.pop("vocabulary.tokens")),
    "no checksums": lambda path: edited(path, lambda t: t.pop("crc")),
    "few checksums": lambda path: edited(path, lambda t: t.update(crc=t["crc"][:1])),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_is_named(damage: str, tmp_path: Path) -> None:
    _, live, batches = toy("total")
    config = CacheConfig(top=6)
    cache = write(tmp_path, live, batches, config)
    DAMAGE[damage](cache.path(0, 1))
    cached = CachedTeacher(cache, live, config, CPU)
    cached(batches.collate(batches.candidates[:4], 0))
    with pytest.raises(InputError, match=r"epoch-000-part-000001.safetensors is damaged .* delete it and run again"):
        cached(batches.collate(batches.candidates[4:8], 0))


def test_any_flipped_bit_of_what_is_read_is_found(tmp_path: Path) -> None:
    _, live, batches = toy("partial")
    config = CacheConfig(vector_bits=8)
    path = (cache := write(tmp_path, live, batches, config)).path(0, 0)
    whole, header = path.read_bytes(), 8 + int.from_bytes(path.read_bytes()[:8], "little")
    expected = vectors_of(CachedTeacher(cache, live, config, CPU)(batches.collate(cache.ids(0), 0)))
    for position in np.random.default_rng(0).integers(0, len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        try:
            found = vectors_of(CachedTeacher(cache, live, config, CPU)(batches.collate(cache.ids(0), 0)))
        except InputError:
            continue
        assert position < header and all(torch.equal(found[term], expected[term]) for term in expected)


def test_a_part_of_another_cache_is_no_part_of_this_one(tmp_path: Path) -> None:
    _, live, batches = toy("total")
    cache = write(tmp_path, live, batches, CacheConfig(top=6))
    cache.open(0, 0)
    with pytest.raises(InputError, match=r"or was written for another run"):
        replace(cache, seed=1).open(0, 0)


@pytest.mark.parametrize("damage", ["cut", "a bit"])
def test_damaged_codes_of_vectors_are_named(damage: str, tmp_path: Path) -> None:
    """Nor does a part open whose vectors were written by other ones."""
    _, live, batches = toy("total")
    config = CacheConfig(top=6)
    cache, path = write(tmp_path, live, batches, config), tmp_path / CODES
    fresh = replace(cache, seed=0, codes={})
    again = fresh.with_codes(live, batches, config, CPU)
    assert again.seed == cache.seed and torch.equal(
        again.codes["hidden.vectors"].table, cache.codes["hidden.vectors"].table
    )
    path.rename(tmp_path / "whole")
    other = fresh.with_codes(live, batches, replace(config, vector_bits=5), CPU)
    with pytest.raises(InputError, match=r"or was written for another run"):
        other.open(0, 0)
    whole = (tmp_path / "whole").read_bytes()
    path.write_bytes(whole[:-8] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"codes.safetensors is damaged .* delete it"):
        fresh.with_codes(live, batches, config, CPU)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        lambda path: path.write_bytes(path.read_bytes()[:-64] + bytes(64)),
        lambda path: edited(path, lambda t: t.pop("hidden.projection.basis")),
        lambda path: edited(path, lambda t: t["hidden.projection.basis"].neg_()),
        lambda path: edited(path, lambda t: t.pop("crc")),
    ],
)
def test_damaged_projections_are_named(damage: Callable[[Path], object], tmp_path: Path) -> None:
    learner, live, batches = toy("whitened")
    cache = write(tmp_path, live, batches, CacheConfig())
    cache.save_tensors(FITTED, learner.fitted_tensors())
    damage(tmp_path / "projections.safetensors")
    with pytest.raises(InputError, match=r"projections.safetensors is damaged .* delete it"):
        cache.load_tensors(FITTED, learner.fitted_tensors())


def test_projections_of_other_shapes_are_named(tmp_path: Path) -> None:
    learner, live, batches = toy("whitened")
    cache = write(tmp_path, live, batches, CacheConfig())
    cache.save_tensors(FITTED, learner.fitted_tensors())
    other, _, _ = toy("hidden only")
    with pytest.raises(InputError, match=r"holds other tensors than this run has"):
        cache.load_tensors(FITTED, other.fitted_tensors())


def test_few_parts_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a memory map; of these the system gives a process 65,530."""
    monkeypatch.setattr(cache_module, "_MOST_OPEN", 2)
    _, live, batches = toy("total")
    config = CacheConfig(top=6)
    cache = write(tmp_path, live, batches, config)
    cached = CachedTeacher(cache, live, config, CPU)
    for epoch in (0, 1):
        words = words_of(cached(batches.collate(batches.candidates, epoch)))
        assert isinstance(words, SparseTargets) and len(words.ids)
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line}
    assert 1 <= len(mapped) <= 2


@pytest.mark.parametrize("epochs", [10**9, 66_667, 10**30])
def test_more_parts_than_a_folder_should_hold_are_refused(epochs: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train.mask.epochs [\d,]+ over 11 sequences .* at most 200,000; lower"):
        TeacherCache(tmp_path, np.arange(11), epochs)


def test_a_cache_of_anything_else_is_refused_by_the_field(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    bound: dict[str, object] = {"format": 1, "teacher": "abc", "mask.rate": 0.15, "cache.words": "top"}
    for _ in range(2):
        with OWNERSHIP.claim(folder, bound):
            pass
    for name in bound:
        with pytest.raises(InputError, match=rf"begun with {name} = .*, now it is 'x'; give the same value"):
            OWNERSHIP.check(folder, bound | {name: "x"})
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "a.txt").touch()
    with pytest.raises(InputError, match=r"teacher_cache '.*strange' holds 'a.txt', which this program did not write"):
        OWNERSHIP.check(tmp_path / "strange", bound)
    (folder / "cache.json").write_text("{")
    with pytest.raises(InputError, match=r"cache.json' is not valid JSON .* delete it to go on"):
        OWNERSHIP.check(folder, bound)


def test_mistakes() -> None:
    with pytest.raises(InputError, match=r"cache.words 'hiden' is unknown; did you mean 'hidden'"):
        CacheConfig(words="hiden")
    with pytest.raises(InputError, match=r"cache.top must be >= 1, got 0"):
        CacheConfig(top=0)
    with pytest.raises(InputError, match=r"cache.drawn must be >= 1, got 0"):
        CacheConfig(drawn=0)


def test_two_vocabularies_are_among_the_cases() -> None:
    assert set(TWO_VOCABULARIES) <= set(CACHED)


def test_pooled_vectors_are_kept_as_they_are_and_fitted_on_all(tmp_path: Path) -> None:
    """What a cache holds of sequences does not depend on the projection, which is fitted on every one of them."""
    learner, live, batches = toy("whitened")
    config = CacheConfig(vector_bits=16)
    cached = CachedTeacher(write(tmp_path, live, batches, config), live, config, CPU)
    parts = [batches.collate(cached.cache.ids(number), 0) for number in range(3)]
    raw = torch.cat([cached(batch)["pooled"]["pooled"] for batch in parts]).double()
    exact = torch.cat([live.states["pooled"]["pooled"].take(live.read(batch), batch) for batch in parts])
    assert raw.shape == (11, 12) and near(raw.float(), exact.float())
    assert set(learner.fit_kept(cached, parts)) == {"pooled"}
    fitted = learner.terms["pooled"].projection
    torch.testing.assert_close(fitted.mean.double(), raw.mean(0), rtol=1e-5, atol=1e-6)
    covariance = np.cov(raw.numpy().T, bias=True)
    directions = np.linalg.eigh(covariance)[1][:, ::-1][:, :8].T
    ours = nn.functional.normalize(fitted.basis.double(), dim=1).numpy()
    np.testing.assert_allclose(np.abs((ours * directions).sum(1)), 1, atol=1e-4)
    assert set(learner.fitted_tensors(kept=True)) == {"pooled.projection.mean", "pooled.projection.basis"}
    assert not learner.fitted_tensors(kept=False).keys() & learner.fitted_tensors(kept=True).keys()


def test_several_at_a_time_in_order_the_first_alone() -> None:
    """Cores are shared between the workers and given back; a mistake ends it, with what has not begun left out."""
    cores, begun, done = torch.get_num_threads(), list[int](), list[int]()

    def work(item: int) -> None:
        begun.append(item)
        assert torch.get_num_threads() == 1
        time.sleep(0.02)
        if item == 4:
            raise InputError("the fourth")
        done.append(item)

    torch.set_num_threads(2)
    try:
        for number, _ in enumerate(side_by_side(work, range(4), CPU), start=1):
            assert done[0] == 0 and len(done) >= number and (number > 1 or begun == [0])
        assert sorted(done) == [0, 1, 2, 3] and torch.get_num_threads() == 2
        with pytest.raises(InputError, match="the fourth"):
            list(side_by_side(work, range(100), CPU))
        assert len(begun) < 20 and torch.get_num_threads() == 2
        torch.set_num_threads(1)
        list(side_by_side(work, range(3), CPU))
        assert begun[-3:] == [0, 1, 2]
    finally:
        torch.set_num_threads(cores)


def test_random_directions_of_words_are_kept(tmp_path: Path) -> None:
    projection = Projection("random", 8, 12)
    cache = TeacherCache(tmp_path, np.arange(3), epochs=1)
    cache.save_tensors(FITTED, {"basis": projection.basis})
    found = {"basis": torch.zeros(8, 12)}
    assert cache.load_tensors(FITTED, found) and torch.equal(found["basis"], projection.basis)
