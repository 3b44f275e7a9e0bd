"""How fast raw text becomes token shards, and in how much memory.

    python benchmarks/bench_corpus.py --input corpus/ --tokenizer bertimbau/ [--eval-set FILE ...]

Prints the time of each stage; MB/s a core without and with near-duplicate detection; two workers against one;
peak memory at one and four times the corpus; and what that means for brWaC. MB are 10^6 raw bytes, as they
are after decompression. Every run is a process of its own; rounds are interleaved, so that a busy machine
slows all alike; the median is followed by the smallest and largest value.
"""

import argparse
import gzip
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.document_step import build_sequences, sentences_of
from tinydistil.corpus.duplicates import DuplicateConfig, DuplicateIndex, exact_key, signature
from tinydistil.corpus.prepare import Job, prepare
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import parse_record, read_items
from tinydistil.corpus.records import BadRecord, Document, Record
from tinydistil.tokenizer.tokenizer import Tokenizer

MEGABYTE = 1e6
# brWaC as it is distributed (Wagner Filho et al. 2018): raw bytes and documents.
BRWAC_BYTES, BRWAC_DOCUMENTS = 17.5e9, 3.53e6


def tokenizers_of(arguments: argparse.Namespace) -> list[tuple[str, Tokenizer]]:
    return [(arguments.tokenizer, Tokenizer.from_pretrained(arguments.tokenizer))]


def parse_arguments() -> argparse.Namespace:
    """The command line. `--measure` is how the program calls itself for one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="PATH")
    add("--tokenizer", required=True, metavar="DIR")
    add("--eval-set", nargs="+", default=[], metavar="FILE")
    add("--only", choices=["stages", "throughput", "memory"], help="one part of the measurements")
    add("--rounds", type=int, default=3, help="of each timing (default 3)")
    add("--near-only", action="store_true", help="measure memory with near-duplicates only")
    add("--output", type=Path, metavar="FILE", help="append the figures of each run as a JSON line")
    add("--measure", metavar="JSON", help=argparse.SUPPRESS)
    return parser.parse_args()


class Quiet:
    """No progress display."""

    def start(self, documents: int, raw_bytes: int) -> None:
        """Nothing."""

    def advance(self, documents: int, raw_bytes: int) -> None:
        """Nothing."""


def measure(arguments: argparse.Namespace) -> None:
    """One preparation, in this process; prints its figures as JSON."""
    options = json.loads(arguments.measure)
    config = PrepareConfig(duplicates=DuplicateConfig(near=options["near"]))
    job = Job.of(
        arguments.input,
        tokenizers_of(arguments),
        config,
        arguments.eval_set,
    )
    with tempfile.TemporaryDirectory() as folder:
        began, cpu_began = time.perf_counter(), time.process_time()
        prepared = prepare(job, Path(folder) / "out", workers=options["workers"], progress=Quiet())
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    counts = prepared.manifest["counts"]
    own = resource.getrusage(resource.RUSAGE_SELF)
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": cpu_seconds + child.ru_utime + child.ru_stime,
                "megabytes": counts["bytes"] / MEGABYTE,
                "documents": counts["read"]["documents"],
                "kept": sum(tally["documents"] for tally in counts["kept"].values()),
                "peak_mib": own.ru_maxrss / 1024,
                "worker_peak_mib": child.ru_maxrss / 1024,
            }
        )
    )


def run(arguments: argparse.Namespace, inputs: Sequence[str], *, near: bool, workers: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--input", *inputs, "--tokenizer", arguments.tokenizer]
    command += ["--measure", json.dumps({"near": near, "workers": workers})]
    if arguments.eval_set:
        command += ["--eval-set", *arguments.eval_set]
    figures: dict[str, float] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    # Here, not above: this imports torch, which no measured process may hold.
    from measure import record

    record(arguments.output, "corpus", {}, near=near, workers=workers, **figures)
    return figures


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} ... {max(values):.{digits}f})"


def stages(arguments: argparse.Namespace) -> None:
    """CPU time of each stage over the whole corpus, one after the other in this process."""
    config = PrepareConfig()
    job = Job.of(
        arguments.input,
        tokenizers_of(arguments),
        config,
        arguments.eval_set,
    )
    step = job.step()
    records = [item for item in read_items(job.files, config.read) if isinstance(item, Record)]
    megabytes = sum(len(record.data) for record in records) / MEGABYTE

    def timed(name: str, work: Callable[[], list[object]]) -> list[object]:
        began = time.process_time()
        results = work()
        seconds = time.process_time() - began
        print(f"  {name:<28} {seconds / megabytes * 1000:7.1f} ms/MB")
        return results

    print(f"time by stage, one core, {megabytes:.1f} MB, {len(records):,} documents")
    timed("read and cut into records", lambda: list(read_items(job.files, config.read)))
    documents = timed("decode", lambda: [parse_record(record, config.read) for record in records])
    good = [each for each in documents if isinstance(each, Document)]
    cleaned = timed("clean", lambda: [clean_document(each, config.clean) for each in good])
    kept = [each.document for each in cleaned if each.dropped_by is None]
    if step.evaluation is not None:
        timed("evaluation overlap", lambda: [step.evaluation.hit(each.text) for each in kept])
    keys = timed("exact key", lambda: [exact_key(each.text) for each in kept])
    signatures = timed("near-duplicate signature", lambda: [signature(each.text, config.duplicates) for each in kept])
    index = DuplicateIndex(config.duplicates)
    timed(
        "duplicate index",
        lambda: [look_up_and_add(index, *pair) for pair in zip(keys, signatures, strict=True)],
    )
    sentences = timed("sentences", lambda: [sentences_of(each) for each in kept])
    timed("tokens and sequences", lambda: [build_sequences(each, step.encoder) for each in sentences])
    print(f"  index: {index.bytes_held / len(keys):.0f} bytes a document")


def look_up_and_add(index: DuplicateIndex, key: bytes, sign: object) -> bool:
    """What the parent does with each document."""
    seen = index.seen_exact(key) or index.seen_near(sign)
    if not seen:
        index.add(key, sign)
    return seen


def throughput(arguments: argparse.Namespace) -> dict[str, float]:
    """MB/s a core without and with near-duplicates, and two workers against one, in interleaved rounds."""
    variants = {(near, workers): [] for near in (False, True) for workers in (1, 2)}
    for _ in range(arguments.rounds):
        for (near, workers), figures in variants.items():
            figures.append(run(arguments, arguments.input, near=near, workers=workers))
    print(f"throughput, {arguments.rounds} rounds: median (smallest ... largest)")
    for near in (False, True):
        one, two = variants[near, 1], variants[near, 2]
        name = "with" if near else "without"
        print(f"  {name} near-duplicates")
        print(f"    MB a CPU second     {spread([each['megabytes'] / each['cpu_seconds'] for each in one])}")
        print(f"    MB/s, one worker    {spread([each['megabytes'] / each['seconds'] for each in one])}")
        print(f"    MB/s, two workers   {spread([each['megabytes'] / each['seconds'] for each in two])}")
        ratios = [first["seconds"] / second["seconds"] for first, second in zip(one, two, strict=True)]
        print(f"    two against one     {spread(ratios)}")
    return {
        "seconds_a_mb": statistics.median(each["seconds"] / each["megabytes"] for each in variants[True, 2]),
        "worker_peak_mib": max(each["worker_peak_mib"] for each in variants[True, 2]),
    }


def copies(arguments: argparse.Namespace, folder: Path, count: int) -> list[str]:
    """The corpus `count` times over as JSON lines. Each copy has its own ids and, but for the first, the words of
    each line in an order of its own, so that no copy is dropped as a duplicate, exact or near, of another."""
    config = PrepareConfig()
    job = Job.of(arguments.input, tokenizers_of(arguments), config)
    paths = []
    for copy in range(count):
        draw = random.Random(copy)
        path = folder / f"copy{copy}.jsonl.gz"
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as lines:
            for item in read_items(job.files, config.read):
                document = item if isinstance(item, BadRecord) else parse_record(item, config.read)
                if isinstance(document, Document):
                    text_lines = document.text.split("\n")
                    text = "\n".join([shuffled(line, draw) for line in text_lines] if copy else text_lines)
                    values = {"id": f"{copy}-{item.line}", "text": text}
                    lines.write(json.dumps(values, ensure_ascii=False) + "\n")
        paths.append(str(path))
    return paths


def shuffled(line: str, draw: random.Random) -> str:
    """The words of `line` in some other order."""
    words = line.split()
    draw.shuffle(words)
    return " ".join(words)


def memory(arguments: argparse.Namespace) -> dict[str, float]:
    """Peak resident memory, one process doing everything, at once and four times the corpus."""
    with tempfile.TemporaryDirectory() as name:
        paths = copies(arguments, Path(name), 4)
        print("peak memory of one process (workers = 0)")
        result: dict[str, float] = {}
        for near in (True,) if arguments.near_only else (False, True):
            once = run(arguments, paths[:1], near=near, workers=0)
            four = run(arguments, paths, near=near, workers=0)
            growth = four["peak_mib"] / once["peak_mib"] - 1
            added = (four["peak_mib"] - once["peak_mib"]) * 2**20 / (four["documents"] - once["documents"])
            print(
                f"  {'with' if near else 'without'} near-duplicates: {once['peak_mib']:.0f} MiB at 1x "
                f"({once['kept']:,} documents kept), {four['peak_mib']:.0f} MiB at 4x ({four['kept']:,}): "
                f"{growth:+.1%}, {added:.0f} bytes a further document"
            )
            result["peak_mib"] = once["peak_mib"]
        return result | {"state_bytes": state_bytes()}


def state_bytes(documents: int = 200_000) -> float:
    """Bytes a document of the duplicate index, at that many documents with nothing in common."""
    config = DuplicateConfig()
    random, index = np.random.default_rng(0), DuplicateIndex(config)
    for _ in range(documents):
        index.add(random.bytes(16), random.integers(1 << 32, size=config.num_permutations, dtype=np.uint32))
    print(
        f"duplicate index at {documents:,} documents: {index.bytes_held / documents:.0f} bytes a document, "
        f"{index.bytes_held / documents * 1e6 / 2**20:.0f} MiB a million"
    )
    return index.bytes_held / documents


def main() -> None:
    """All measurements, or one."""
    arguments = parse_arguments()
    if arguments.measure:
        measure(arguments)
        return
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    if arguments.only in (None, "stages"):
        stages(arguments)
    speed = throughput(arguments) if arguments.only in (None, "throughput") else None
    peak = memory(arguments) if arguments.only in (None, "memory") else None
    if speed and peak:
        extrapolate(speed, peak)


def extrapolate(speed: dict[str, float], peak: dict[str, float]) -> None:
    """What the measured figures mean for brWaC, with near-duplicates and two workers."""
    hours = BRWAC_BYTES / MEGABYTE * speed["seconds_a_mb"] / 3600
    index_mib = peak["state_bytes"] * BRWAC_DOCUMENTS / 2**20
    total_mib = peak["peak_mib"] + 2 * speed["worker_peak_mib"] + index_mib
    print(
        f"brWaC (17.5 GB, 3.53 M documents) with near-duplicates, two workers: {hours:.1f} hours; "
        f"{total_mib / 1024:.1f} GiB at most in all three processes, {index_mib / 1024:.2f} of it the index"
    )


if __name__ == "__main__":
    main()
