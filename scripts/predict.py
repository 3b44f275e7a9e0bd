"""Try a model on text: guess masked words, embed sentences, compare poolings; run a fine-tuned one.

    python scripts/predict.py fill-mask --model DIR "O gato [MASK] no sofá."
    python scripts/predict.py embed     --model DIR --pooling mean --output vetores.npy --file frases.txt
    python scripts/predict.py pooling   --model DIR "O dia está bonito." "A sessão foi aberta."
    python scripts/predict.py classify  --model runs/entailment "Um gato dorme.<TAB>Um animal dorme."
    python scripts/predict.py tag       --model runs/entities "Maria mora em Belo Horizonte."
    python scripts/predict.py answer    --model runs/answers --context edital.txt "Quando abre a inscrição?"

MODEL is a folder, or a name on the Hugging Face hub. Texts come from the arguments, from --file (one per line), or
from standard input.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from tinydistil.base.config import Range
from tinydistil.base.console import Parser, within
from tinydistil.base.errors import InputError, importing, require, run_script

# Texts whose vectors are held at once.
BATCH = Range(1, 100_000)
# The kinds of fine-tuned models of each command.
TUNED = {"classify": ("classify", "regress", "regress,classify"), "tag": ("tag",), "answer": ("answer",)}


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    shared = Parser(add_help=False)
    shared.add_argument("texts", nargs="*", metavar="TEXT")
    shared.add_argument("--model", required=True, help="model folder, or a name on the hub")
    shared.add_argument("--revision", help="branch, tag or commit on the hub")
    shared.add_argument("--offline", action="store_true", help="use only what the hub's cache holds")
    shared.add_argument("--file", help="UTF-8 text, one per line; '-' is standard input")
    shared.add_argument("--device", default="auto", help="auto (default), cpu or cuda[:N]")
    pretrained = Parser(add_help=False, parents=[shared])
    pretrained.add_argument("--truncate", action="store_true", help="cut texts that are too long for the model")
    tuned = Parser(add_help=False, parents=[shared])
    tuned.add_argument("--json", action="store_true", help="one JSON object per text")
    tuned.add_argument("--batch-size", type=within(BATCH), default=32)
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fill = commands.add_parser("fill-mask", parents=[pretrained], help="guess masked words")
    fill.add_argument("--top-k", type=within(Range(1, 10_000_000)), default=5, help="guesses per mask (default 5)")
    fill.add_argument("--json", action="store_true", help="one JSON object per text")
    embedding = commands.add_parser("embed", parents=[pretrained], help="one vector per text")
    embedding.add_argument(
        "--pooling", choices=("mean", "cls", "pooler", "max"), help="default: what the folder declares, else mean"
    )
    embedding.add_argument("--output", help="FILE.npy or FILE.jsonl (default: JSON lines on standard output)")
    embedding.add_argument("--batch-size", type=within(BATCH), default=32)
    embedding.add_argument("--max-length", type=int, help="tokens per text at most (default: the model's limit)")
    embedding.add_argument("--normalize", action="store_true", help="unit vectors")
    commands.add_parser("pooling", parents=[pretrained], help="cosines between CLS, pooler and mean")
    commands.add_parser(
        "classify",
        parents=[tuned],
        help="class or number of each text, cut to the length that was tuned for",
    )
    commands.add_parser("tag", parents=[tuned], help="a tag for each word")
    asking = commands.add_parser("answer", parents=[tuned], help="answers from a context")
    asking.add_argument("--context", metavar="FILE", help="text that all questions are about (else behind a tab)")
    return parser.parse_args()


with importing(parse_arguments):
    from tinydistil.base.hub import MODULES, notes_on, resolve_folder, sentence_root
    from tinydistil.base.ranks import device_of
    from tinydistil.corpus.records import open_lines
    from tinydistil.evaluate.inference import (
        check_match,
        check_output,
        check_pooling,
        compare_poolings,
        embed,
        fill_mask,
        open_vector_writer,
    )
    from tinydistil.evaluate.metrics import Entity, entities_of
    from tinydistil.model.bert import BertForMaskedLM, BertModel
    from tinydistil.model.sentence_folder import SentenceVectors, read_sentence_folder
    from tinydistil.tasks.answer_task import AnswerTask
    from tinydistil.tasks.folder import (
        FineTuned,
        load,
        question_examples,
        sentence_examples,
        stream,
        text_examples,
        without_blank,
        word_spans,
    )
    from tinydistil.tasks.label_task import TextTask
    from tinydistil.tasks.tag_task import TagTask
    from tinydistil.tasks.tagged import OUTSIDE
    from tinydistil.tokenizer.tokenizer import Tokenizer


def main() -> None:
    """Parse the command line and do what it says; what can be refused is refused before a model is loaded."""
    args = parse_arguments()
    device = device_of(args.device, numbered=True)
    texts = texts_of(args)
    if args.command == "embed":
        check_output(args.output)
    if args.command == "answer" and args.context is not None:
        both = args.context == "-" and not args.texts and args.file in (None, "-")
        require(not both, "standard input cannot be both --context and the questions; give one as a file")
        path, args.context = args.context, "\n".join(open_lines(args.context))
        require(bool(args.context.strip()), f"--context {path!r} holds no text")
    folder = resolve_folder(args.model, revision=args.revision, offline=args.offline)
    for note in notes_on(folder):
        tell(note)
    if args.command in TUNED:
        tuned = load(folder, TUNED[args.command])
        tuned.model.to(device)
        run_tuned(tuned, texts, args)
        return
    tokenizer = Tokenizer.from_pretrained(folder)
    if args.command == "fill-mask":
        masked_lm = BertForMaskedLM.from_pretrained(folder, heads="require", attention="packed").to(device)
        check_match(masked_lm, tokenizer)
        run_fill_mask(masked_lm, tokenizer, texts, args)
        return
    encoder = BertModel.from_pretrained(folder, attention="packed").to(device)
    check_match(encoder, tokenizer)
    if args.command == "embed":
        run_embed(encoder, tokenizer, texts, vectors_for(folder, encoder, args), args)
    else:
        run_pooling(encoder, tokenizer, texts, args)


def tell(note: str) -> None:
    """Say on standard error what a folder lacks and what is done instead, or what of it is not followed."""
    print(f"note: {note}", file=sys.stderr)


def vectors_for(folder: Path, model: BertModel, args: argparse.Namespace) -> str | SentenceVectors:
    """The pooling given, else what the folder declares, else the mean."""
    if args.pooling is not None:
        check_pooling(model, args.pooling)
        if sentence_root(folder) is not None:
            tell(f"--pooling {args.pooling}: what {MODULES} declares of the vectors is not followed")
        return str(args.pooling)
    declared = read_sentence_folder(folder, model.config)
    tell(f"no {MODULES}: mean over the tokens; --pooling chooses" if declared is None else f"{MODULES}: {declared}")
    return "mean" if declared is None else declared


def run_fill_mask(model: BertForMaskedLM, tokenizer: Tokenizer, texts: Iterator[str], args: argparse.Namespace) -> None:
    """Print the likeliest words for every mask of every text."""
    for number, text in enumerate(texts, start=1):
        masks = fill_mask(model, tokenizer, text, top_k=args.top_k, truncate=args.truncate, number=number)
        if args.json:
            found = [[{"token": c.token, "probability": c.probability, "text": c.text} for c in mask] for mask in masks]
            print(json.dumps({"text": text, "masks": found}, ensure_ascii=False), flush=True)
            continue
        print(text)
        for i, candidates in enumerate(masks, start=1):
            if len(masks) > 1:
                print(f" {tokenizer.special.mask_token} {i}")
            for candidate in candidates:
                print(f"  {candidate.probability:7.2%}  {candidate.token:<16} {candidate.text}")


def run_embed(
    model: BertModel,
    tokenizer: Tokenizer,
    texts: Iterator[str],
    pooling: str | SentenceVectors,
    args: argparse.Namespace,
) -> None:
    """Write one vector per text: JSON lines on standard output or in a file, or a .npy matrix."""
    vectors = embed(
        model,
        tokenizer,
        texts,
        pooling=pooling,
        batch_size=args.batch_size,
        max_length=args.max_length,
        truncate=args.truncate,
        normalize=args.normalize,
    )
    size = pooling.size if isinstance(pooling, SentenceVectors) else model.config.hidden_size
    with open_vector_writer(args.output, size) as write:
        # disable=None: no bar where standard error is not a terminal
        for embedded in tqdm(vectors, unit=" texts", disable=None):
            write(embedded.text, embedded.vector)


def run_pooling(model: BertModel, tokenizer: Tokenizer, texts: Iterator[str], args: argparse.Namespace) -> None:
    """Print how far a text's CLS, pooler and mean vectors point the same way."""
    if model.pooler is None:
        tell("no pooler in these weights: CLS and mean are compared")
    for number, text in enumerate(texts, start=1):
        cosines = compare_poolings(model, tokenizer, text, truncate=args.truncate, number=number)
        if number == 1:
            print("  ".join(f"{first}~{second}".rjust(11) for first, second in cosines), " text")
        print("  ".join(f"{cosine:11.4f}" for cosine in cosines.values()), "", text)


def run_tuned(tuned: FineTuned, texts: Iterator[str], args: argparse.Namespace) -> None:
    """Print a fine-tuned model's prediction for each text, and on standard error how fast."""
    started, count = time.perf_counter(), 0
    # disable=None: no bar where standard error is not a terminal
    for line, values in tqdm(predictions_of(tuned, texts, args), unit=" texts", disable=None):
        print(json.dumps(values, ensure_ascii=False) if args.json else line, flush=True)
        count += 1
    seconds = time.perf_counter() - started
    print(f"{count} texts in {seconds:.2f} s, {count / seconds:.1f} per second", file=sys.stderr)


def predictions_of(
    tuned: FineTuned, texts: Iterator[str], args: argparse.Namespace
) -> Iterator[tuple[str, dict[str, object]]]:
    """For each text, a line for a person and the same as values for JSON."""
    task, model = tuned.task, tuned.model
    if isinstance(task, TagTask):
        texts, lines = itertools.tee(texts)
        found = stream(task, model, sentence_examples(texts), batch_size=args.batch_size)
        for text, (example, tags) in zip(lines, found, strict=True):
            # Bare tags without "O", such as parts of speech, are no entities.
            entities = [entity_values(text, each) for each in entities_of(tags) if OUTSIDE in task.labels]
            words = " ".join(f"{word}/{tag}" for word, tag in zip(example.words, tags, strict=True))
            grouped = "".join(f"\t{each['type']}: {each['text']}" for each in entities)
            yield words + grouped, {"words": [*example.words], "tags": tags, "entities": entities}
    elif isinstance(task, AnswerTask):
        for example, found in stream(task, model, question_examples(texts, args.context), batch_size=args.batch_size):
            values = {"question": example.question, "answer": found.text, "probability": found.probability}
            yield f"{found.probability:7.2%}  {found.text:<30} {example.question}", values
    else:
        yield from decisions(task, tuned, texts, args)


def entity_values(text: str, entity: Entity) -> dict[str, object]:
    """An entity's type, its text, and where that stands: words `first` to `last`, characters `start` to `end`."""
    spans = word_spans(text)
    start, end = spans[entity.first][0], spans[entity.last][1]
    span = {"first": entity.first, "last": entity.last, "start": start, "end": end}
    return {"type": entity.kind, "text": text[start:end], **span}


def decisions(
    task: TextTask, tuned: FineTuned, texts: Iterator[str], args: argparse.Namespace
) -> Iterator[tuple[str, dict[str, object]]]:
    """The likeliest class with all probabilities, the number, or both, of each text or pair."""
    for example, found in stream(
        task, tuned.model, text_examples(texts, paired=task.paired), batch_size=args.batch_size
    ):
        values: dict[str, object] = {"text": example.text} | ({"text_b": example.second} if task.paired else {})
        shown = example.text if example.second is None else f"{example.text} | {example.second}"
        number, found = found[: task.num_numbers], found[task.num_numbers :]
        line = "".join(f"{each:8.3f}  " for each in number)
        values |= {"number": float(number[0])} if len(number) else {}
        if task.classes:
            best = int(found.argmax())
            line += f"{found[best]:7.2%}  {task.classes[best]:<12} "
            values["label"] = task.classes[best]
            values["probabilities"] = dict(zip(task.classes, map(float, found), strict=True))
        yield line + shown, values


def texts_of(args: argparse.Namespace) -> Iterator[str]:
    """The texts of the command line, else of --file, else of standard input."""
    if args.texts and args.file:
        raise InputError("give texts as arguments or with --file, not both")
    if args.texts:
        return iter(args.texts)
    if args.file is None and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("no text: give it as an argument, with --file, or on standard input")
    lines = open_lines(args.file)
    return lines if args.command == "embed" else without_blank(lines)  # vectors stay beside their lines


if __name__ == "__main__":
    run_script(main, pipe=True)
