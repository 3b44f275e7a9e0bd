"""Words and their hashes; the table that holds them; repetition against a plain count."""

import random
import subprocess
import sys
from collections import Counter

import pytest

from tinydistil.corpus.clean import CleanConfig, ngrams_repeat, repeated_lines, repeated_share
from tinydistil.corpus.language import mixed, normalised_words, split_words, word_hashes, word_runs

TEXT = "“Olá,” disse-lhe o João — às 10h30 —, «com 3.000 razões»… Não é?\nE a 1ª vez foi boa; e\u00a0só."


def test_words_are_letters_and_digits_in_lower_case() -> None:
    assert normalised_words(TEXT).decode() == (
        "olá disse lhe o joão às 10h30 com 3 000 razões não é e a 1ª vez foi boa e só"
    )
    assert normalised_words("") == b"" and normalised_words(" .,;— ") == b""


def test_words_do_not_depend_on_what_else_the_text_holds() -> None:
    draw = random.Random(5)
    for _ in range(2000):
        text = "".join(draw.choices("aÁç1 _-.«»ªº½µß÷×“”’–—…\u00a0\u0085\n", k=draw.randrange(30)))
        # A letter that is not Latin-1 takes the text the longer way.
        assert split_words(f"Ω {text}")[1:] == split_words(text), text


def test_hashes_are_equal_in_every_process() -> None:
    code = f"from tinydistil.corpus.language import word_hashes; print(word_hashes({TEXT!r}).tolist())"
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert other.stdout.strip() == str(word_hashes(TEXT).tolist())


def test_ngram_hashes_agree_with_tuples_of_words() -> None:
    draw = random.Random(3)
    text = " ".join(draw.choices(["a", "b", "c"], k=200))
    words, hashes = text.split(), word_hashes(text)
    for length, found in zip((1, 2, 5, 9), map(mixed, word_runs(hashes, (1, 2, 5, 9))), strict=True):
        runs = list(zip(*(words[offset:] for offset in range(length)), strict=False))
        assert len(found) == len(runs) and (found == mixed(next(word_runs(hashes, [length])))).all()
        # One hash for each different run, and another for every other.
        assert len(set(zip(runs, found.tolist(), strict=True))) == len(set(runs)) == len(set(found.tolist()))
    assert all(len(next(word_runs(hashes[:count], [length]))) == 0 for count, length in ((3, 4), (0, 1), (1, 9)))


def slow_share(words: list[str], length: int) -> float:
    seen, covered = set(), set()
    for start in range(len(words) - length + 1):
        run = tuple(words[start : start + length])
        if run in seen:
            covered.update(range(start, start + length))
        seen.add(run)
    return len(covered) / len(words)


@pytest.mark.parametrize("vocabulary", [2, 5, 40, 1000])
def test_repetition_agrees_with_a_plain_count(vocabulary: int) -> None:
    draw = random.Random(vocabulary)
    tops, repeated = (0.3, 0.3, 0.3), (0.5, 0.48, 0.46, 0.44, 0.42, 0.4)
    for _ in range(60):
        words = [f"p{draw.randrange(vocabulary)}" for _ in range(draw.randrange(60, 300))]
        start = draw.randrange(len(words))
        words += words[start : start + draw.randrange(200)]
        hashes = word_hashes(" ".join(words))
        for length in (5, 10):
            assert repeated_share(next(word_runs(hashes, [length])), length) == pytest.approx(slow_share(words, length))
        counts = [max(Counter(zip(*(words[i:] for i in range(n)), strict=False)).values()) for n in (2, 3, 4)]
        expected = any(
            count > max(5, int(limit * len(words) / n)) for count, limit, n in zip(counts, tops, (2, 3, 4), strict=True)
        ) or any(slow_share(words, n) > limit for n, limit in enumerate(repeated, start=5))
        assert ngrams_repeat(hashes) == expected


def test_repeated_lines_count_from_the_second_on() -> None:
    short, long = "ab", "uma linha bem mais longa que as outras"
    for lines, drops in (
        (["a", "b", "c"], False),
        ([""], False),
        ([long, short, short], True),  # one line of three
        ([long, "a", "b", short, short], False),  # one of five, and few characters
        ([short, "a", "b", long, long], True),  # one of five, but half of the characters
    ):
        assert repeated_lines("\n".join(lines), CleanConfig()) == drops
