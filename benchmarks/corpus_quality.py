"""Quality of the cleaning rules and of the duplicate search, on planted cases and on real sentences.

    python benchmarks/corpus_quality.py [--data ../shared/data] [--sentences 2000] [--seed 1]

Planted: real Portuguese paragraphs made dirty in known ways, foreign lines, spam; see each function.
Precision counts what a rule took of paragraphs and sentences that were left clean.
"""

import argparse
import gzip
import html
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corpus_duplicates import memory, near_duplicates

from tinydistil.base.errors import optional, require, run_script
from tinydistil.corpus.clean import CleanConfig, Cleaned, clean_document
from tinydistil.corpus.duplicates import DuplicateConfig, exact_key, signature
from tinydistil.corpus.language import split_sentences, split_words
from tinydistil.corpus.prepare_config import find_files
from tinydistil.corpus.readers import ReadConfig, parse_record, read_records
from tinydistil.corpus.records import Document, Record
from tinydistil.corpus.rules_text import normalise_unicode

HERE = Path(__file__).parent
# Single sentences are judged, so the rule on length stands aside.
ANY_LENGTH = CleanConfig(skip=("too_short",))
SENTENCES_A_DOCUMENT = 5

INLINE_TAGS = ("<b>{}</b>", '<a href="/x?a=1&amp;b=2">{}</a>', '<span class="d">{}</span>', "<em>{}</em>")
MENU_ITEMS = """
    Notícias Esportes Cultura Economia Política Saúde Educação Turismo Vídeos Galeria Agenda Contato Clima
    Empregos Imóveis Veículos Classificados Blogs Colunistas Opinião
"""
GOODS = """
    hotel pousada passagem carro seguro crédito empréstimo cartão celular perfume relógio tênis curso apostila
    concurso imóvel aluguel promoção desconto oferta frete loja remédio dieta
"""


@dataclass(frozen=True)
class Real:
    """Clean real text: single sentences, and documents of a few consecutive ones (a paragraph a line)."""

    sentences: list[str]
    documents: list[str]


def real_text(folder: Path, sources: Sequence[str], count: int, draw: random.Random) -> Real:
    """`count` sentences of five words and more, the same number from each source, and what surrounds them."""
    sentences: list[str] = []
    documents: list[str] = []
    for source in sources:
        with gzip.open(folder / "corpus" / f"{source}.jsonl.gz", "rt", encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
        draw.shuffle(texts)
        wanted = len(sentences) + count // len(sources)
        for text in texts:
            found = [
                sentence
                for line in text.split("\n")
                for sentence in split_sentences(line)
                if sentence.endswith((".", "!", "?")) and is_sentence(sentence)
            ]
            # A few from each text, so that no author or event weighs much.
            start = draw.randrange(max(1, len(found) - SENTENCES_A_DOCUMENT))
            part = found[start : start + SENTENCES_A_DOCUMENT][: wanted - len(sentences)]
            sentences += part
            documents += ["\n".join(part)] if part else []
            if len(sentences) >= wanted:
                break
    return Real(sentences, documents)


def is_sentence(text: str) -> bool:
    """At least five words of letters, which dates that end in a dot have not."""
    return sum(word.decode().isalpha() for word in split_words(text)) >= 5


def cleaned(text: str, config: CleanConfig = ANY_LENGTH) -> Cleaned:
    return clean_document(Document(text), config)


def row(name: str, found: int, planted: int, wrongly: int, clean: int, note: str = "") -> str:
    """One line of the table; precision is of all that was found, recall of all that was planted."""
    precision = found / (found + wrongly) if found + wrongly else 1.0
    recall = f"{100 * found / planted:6.1f} %" if planted else "      - "
    return f"{name:34} {100 * precision:6.1f} %  {recall}   {found:5} of {planted:<5} {wrongly:4} of {clean:<6}{note}"


def real_sentences(real: Real) -> Iterable[str]:
    """False positives: sentences that a rule drops or changes, alone and in documents."""
    for name, texts in (("single lines", real.sentences), ("documents", real.documents)):
        results = [cleaned(text) for text in texts]
        dropped = [result for result in results if result.dropped_by]
        changed = [
            result
            for text, result in zip(texts, results, strict=True)
            if not result.dropped_by and lost_sentences(text, result.document.text)
        ]
        yield (
            f"real {name:12} {len(texts):5}: dropped {len(dropped)} "
            f"({100 * len(dropped) / len(texts):.2f} %), sentences taken away or changed in "
            f"{len(changed)} ({100 * len(changed) / len(texts):.2f} %)"
        )
        for result in [*dropped, *changed][:8]:
            rules = ", ".join(name for name, _ in result.removed)
            yield f"    {result.dropped_by or rules}: {result.document.text[:90]!r}"


def lost_sentences(before: str, after: str) -> int:
    """How many lines of `before` have other words, or are missing, `after`.

    Invisible characters and cp1252 dashes read as Latin-1, which news sites are full of, are no words.
    """
    left = {tuple(split_words(line)) for line in after.split("\n")}
    return sum(tuple(split_words(line)) not in left for line in normalise_unicode(before).split("\n"))


def plant_html(text: str, draw: random.Random) -> str:
    """A page around `text`: paragraphs, inline tags on words, entities, a script, a comment."""
    lines = []
    for line in text.split("\n"):
        words = html.escape(line, quote=False).split(" ")
        place = draw.randrange(len(words))
        words[place] = draw.choice(INLINE_TAGS).format(words[place])
        joined = " ".join(words)
        if draw.random() < 0.5:
            joined = "".join(f"&#{ord(letter)};" if letter in "ãçéí" else letter for letter in joined)
        lines.append(f'<p class="texto">{joined}</p>' if draw.random() < 0.7 else f"{joined}<br />")
    top, bottom = "<!-- topo --><script>var a = 1 < 2;</script>", "<style>p { margin: 0 }</style>"
    return "\n".join([top, *lines, bottom])


def plant_mojibake(text: str, draw: random.Random) -> str:
    """`text` in UTF-8 read as cp1252 (its five missing bytes as Latin-1) or as Latin-1, once or twice."""
    for _ in range(1 if draw.random() < 0.8 else 2):
        wrong = "sloppy-windows-1252" if draw.random() < 0.7 else "latin-1"
        text = text.encode().decode(wrong)
    return text


def mended(
    name: str, rule: str, documents: Sequence[str], plant: Callable[[str, random.Random], str], draw: random.Random
) -> str:
    """Found: the planted document comes back word for word. Wrongly: a clean one was touched by the rule."""
    wrongly = sum(rule in dict(cleaned(text).removed) for text in documents)
    # Texts that other rules change, or that have nothing to garble, could not come back word for word.
    cases = [(text, plant(text, draw)) for text in documents if not cleaned(text).removed]
    cases = [(text, dirty) for text, dirty in cases if dirty != text]
    found = sum(split_words(cleaned(dirty).document.text) == split_words(text) for text, dirty in cases)
    return row(name, found, len(cases), wrongly, len(documents))


def furniture(documents: Sequence[str], draw: random.Random) -> str:
    """Lines of pages put between real lines. Found: the line is gone; wrongly: a real one is."""
    planted = (HERE / "furniture_lines.txt").read_text(encoding="utf-8").splitlines()
    found = total = wrongly = clean = 0
    for text in documents:
        lines = text.split("\n")
        extra = draw.sample(planted, 2)
        for line in extra:
            lines.insert(draw.randrange(len(lines) + 1), line)
        left = set(cleaned("\n".join(lines)).document.text.split("\n"))
        found += sum(line not in left for line in extra)
        total += len(extra)
        wrongly += lost_sentences(text, "\n".join(left))
        clean += len(text.split("\n"))
    missed = [line for line in planted if cleaned(f"Uma frase.\n{line}").document.text.endswith(line)]
    return row("menus, dates, shares, cookies", found, total, wrongly, clean, f" missed: {missed}")


def menus(documents: Sequence[str], draw: random.Random) -> str:
    """Menus of six to twelve items, one a line. Found: all of it is gone."""
    found = wrongly = 0
    for text in documents:
        menu = draw.sample(MENU_ITEMS.split(), draw.randrange(6, 13))
        left = cleaned("\n".join([*menu, text])).document.text
        found += not set(menu) & set(left.split("\n"))
        wrongly += lost_sentences(text, left) > 0
    return row("menus over many lines", found, len(documents), wrongly, len(documents))


def languages(real: Real, draw: random.Random) -> Iterable[str]:
    """Foreign lines alone, and five together, against as many real Portuguese ones as there are."""
    lines: dict[str, list[str]] = {}
    for line in (HERE / "foreign_lines.tsv").read_text(encoding="utf-8").splitlines():
        code, text = line.split("\t")
        lines.setdefault(code, []).append(text)
    by_language = replace(ANY_LENGTH, skip=("too_short", "repeated_ngrams", "no_prose"))
    for size, unit, clean in ((1, "line", real.sentences), (5, "document", real.documents)):
        wrongly = sum(cleaned(text, by_language).dropped_by == "language" for text in clean)
        for code, texts in lines.items():
            draw.shuffle(texts)
            groups = ["\n".join(texts[start : start + size]) for start in range(0, len(texts), size)]
            found = sum(cleaned(text, by_language).dropped_by == "language" for text in groups)
            yield row(f"language: {code}, a {unit}", found, len(groups), wrongly, len(clean))


def spam(documents: Sequence[str], draw: random.Random) -> Iterable[str]:
    """Four kinds of pages that are no prose, a hundred each; wrongly: real documents dropped by any rule."""
    nouns = GOODS.split()

    def phrase() -> str:
        verb = draw.choice(("compre", "confira", "aproveite"))
        return " ".join([verb, *draw.sample(nouns, 3), "barato hoje"])

    kinds: dict[str, Callable[[], str]] = {
        "spam: a phrase again and again": lambda: f"{phrase()}. " * draw.randrange(8, 30),
        "spam: keywords": lambda: " ".join(draw.choices(nouns, k=80)),
        "spam: prices and numbers": lambda: "\n".join(
            f"{draw.choice(nouns)} {draw.randrange(10**6)} R$ {draw.randrange(10**4)},00 (11) {draw.randrange(10**8)}"
            for _ in range(15)
        ),
        "spam: code": lambda: "\n".join(
            f"var {draw.choice(nouns)}{i} = document.getElementById('{i}'); if (x[{i}] == null) {{ y += 1; }}"
            for i in range(10)
        ),
    }
    wrongly = sum(cleaned(text).dropped_by is not None for text in documents)
    for name, make in kinds.items():
        found = sum(cleaned(make()).dropped_by is not None for _ in range(100))
        yield row(name, found, 100, wrongly, len(documents))


def speed(folder: Path, every: int = 40, repeats: int = 5) -> Iterable[str]:
    """MB of JSON lines a second on one core, the best of some runs over each 40th document of the corpus."""
    reading, cleaning, near = ReadConfig(), CleanConfig(), DuplicateConfig()
    records = [
        record
        for path in find_files([str(folder / "corpus")])
        for number, record in enumerate(read_records(path, reading))
        if number % every == 0 and isinstance(record, Record)
    ]
    megabytes = sum(len(record.data) for record in records) / 1e6

    def key(record: Record) -> str:
        document = parse_record(record, reading)
        assert isinstance(document, Document)
        text = clean_document(document, cleaning).document.text
        exact_key(text)
        return text

    texts = [key(record) for record in records]
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("parse, clean, exact key", lambda: [key(record) for record in records]),
        ("signature alone", lambda: [signature(text, near) for text in texts]),
    )
    for name, step in steps:
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            step()
            seconds.append(time.process_time() - start)
        yield f"speed: {name:24} {megabytes / min(seconds):5.1f} MB/s ({megabytes:.1f} MB, best of {repeats})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with corpus/*.jsonl.gz")
    parser.add_argument("--sentences", type=int, default=2000, help="real sentences to judge")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn and planted")
    arguments = parser.parse_args()
    require(
        (arguments.data / "corpus").is_dir(),
        f"--data {str(arguments.data)!r} holds no folder corpus/; give the folder of the real data",
    )
    draw = random.Random(arguments.seed)
    real = real_text(arguments.data, ("news", "literature"), arguments.sentences, draw)
    print(*real_sentences(real), sep="\n")
    print(f"\n{'planted':34} {'precision':>8}  {'recall':>8}   {'found':13} wrongly, of clean ones")
    # Importing ftfy registers the codec sloppy-windows-1252.
    optional("ftfy", needed_by="the rule 'mojibake'", extra="corpus")
    print(mended("HTML", "html", real.documents, plant_html, draw))
    print(mended("mojibake", "mojibake", real.documents, plant_mojibake, draw))
    print(furniture(real.documents, draw))
    print(menus(real.documents, draw))
    print(*languages(real, draw), *spam(real.documents, draw), "", sep="\n")
    long_texts = [" ".join(real.sentences[start : start + 20]) for start in range(0, len(real.sentences), 20)]
    print(*near_duplicates(long_texts, draw), *memory(), *speed(arguments.data), sep="\n")


if __name__ == "__main__":
    run_script(main)
