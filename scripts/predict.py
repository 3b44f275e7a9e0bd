"""Try a model on text: guess masked words, embed sentences, compare poolings.

    python scripts/predict.py fill-mask --model DIR "O gato [MASK] no sofá."
    python scripts/predict.py embed     --model DIR --pooling mean --output vetores.npy --file frases.txt
    python scripts/predict.py pooling   --model DIR "O dia está bonito." "A sessão foi aberta."

MODEL is a folder, or a name on the Hugging Face hub. Texts come from the arguments, from --file (one a line), or
from standard input.
"""

import argparse
import json
import sys
from collections.abc import Iterator

import torch
from tqdm import tqdm

from tinydistil.errors import InputError, require, run_script
from tinydistil.evaluate.inference import check_match, check_pooling, compare_poolings, embed, fill_mask
from tinydistil.evaluate.vector_files import check_output, open_vector_writer
from tinydistil.hub import resolve_folder
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.text.lines import open_lines
from tinydistil.text.tokenizer import Tokenizer


def main() -> None:
    """Parse the command line and do what it says; what can be refused is refused before a model is loaded."""
    args = parse_arguments()
    device = choose_device(args.device)
    texts = texts_of(args)
    if args.command == "fill-mask":
        require(args.top_k >= 1, f"--top-k must be >= 1, got {args.top_k}")
    elif args.command == "embed":
        require(args.batch_size >= 1, f"--batch-size must be >= 1, got {args.batch_size}")
        check_output(args.output)
    folder = resolve_folder(args.model, revision=args.revision, offline=args.offline)
    tokenizer = Tokenizer.from_pretrained(folder)
    if args.command == "fill-mask":
        masked_lm = BertForMaskedLM.from_pretrained(folder, heads="require").to(device)
        check_match(masked_lm, tokenizer)
        run_fill_mask(masked_lm, tokenizer, texts, args)
        return
    encoder = BertModel.from_pretrained(folder).to(device)
    check_match(encoder, tokenizer)
    (run_embed if args.command == "embed" else run_pooling)(encoder, tokenizer, texts, args)


def run_fill_mask(model: BertForMaskedLM, tokenizer: Tokenizer, texts: Iterator[str], args: argparse.Namespace) -> None:
    """Print the likeliest words for every mask of every text."""
    for number, text in enumerate(texts, start=1):
        masks = fill_mask(model, tokenizer, text, top_k=args.top_k, truncate=args.truncate, number=number)
        if args.json:
            found = [[{"token": c.token, "probability": c.probability, "text": c.text} for c in mask] for mask in masks]
            print(json.dumps({"text": text, "masks": found}, ensure_ascii=False), flush=True)
            continue
        print(text)
        for place, candidates in enumerate(masks, start=1):
            if len(masks) > 1:
                print(f" {tokenizer.special.mask_token} {place}")
            for candidate in candidates:
                print(f"  {candidate.probability:7.2%}  {candidate.token:<16} {candidate.text}")


def run_embed(model: BertModel, tokenizer: Tokenizer, texts: Iterator[str], args: argparse.Namespace) -> None:
    """Write one vector a text: JSON lines on standard output or in a file, or a .npy matrix."""
    check_pooling(model, args.pooling)
    vectors = embed(
        model,
        tokenizer,
        texts,
        pooling=args.pooling,
        batch_size=args.batch_size,
        max_length=args.max_length,
        truncate=args.truncate,
        normalize=args.normalize,
    )
    with open_vector_writer(args.output, model.config.hidden_size) as write:
        # disable=None: no bar where standard error is not a terminal
        for embedded in tqdm(vectors, unit=" texts", disable=None):
            write(embedded.text, embedded.vector)


def run_pooling(model: BertModel, tokenizer: Tokenizer, texts: Iterator[str], args: argparse.Namespace) -> None:
    """Print how far a text's CLS, pooler and mean vectors point the same way."""
    if model.pooler is None:
        print("this model has no pooler; CLS and mean only", file=sys.stderr)
    for number, text in enumerate(texts, start=1):
        cosines = compare_poolings(model, tokenizer, text, truncate=args.truncate, number=number)
        if number == 1:
            print("  ".join(f"{first}~{second}".rjust(11) for first, second in cosines), " text")
        print("  ".join(f"{cosine:11.4f}" for cosine in cosines.values()), "", text)


def texts_of(args: argparse.Namespace) -> Iterator[str]:
    """The texts of the command line, else of --file, else of standard input."""
    if args.texts and args.file:
        raise InputError("give texts as arguments or with --file, not both")
    if args.texts:
        return iter(args.texts)
    if args.file is None and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("no text: give it as an argument, with --file, or on standard input")
    return open_lines(args.file)


def choose_device(name: str) -> torch.device:
    """The device asked for; "auto" is the first CUDA device, or the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device must be auto, cpu or cuda[:N], got {name!r}") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        require((device.index or 0) < count, f"--device {name} is not there; this machine has {count} CUDA devices")
    elif device.type != "cpu":
        raise InputError(f"--device must be auto, cpu or cuda[:N], got {name!r}")
    return device


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("texts", nargs="*", metavar="TEXT")
    shared.add_argument("--model", required=True, help="model folder, or a name on the hub")
    shared.add_argument("--revision", help="branch, tag or commit on the hub")
    shared.add_argument("--offline", action="store_true", help="use only what the hub's cache holds")
    shared.add_argument("--file", help="UTF-8 text, one a line; '-' is standard input")
    shared.add_argument("--truncate", action="store_true", help="cut texts that are too long for the model")
    shared.add_argument("--device", default="auto", help="auto (default), cpu or cuda[:N]")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fill = commands.add_parser("fill-mask", parents=[shared], allow_abbrev=False, help="guess masked words")
    fill.add_argument("--top-k", type=int, default=5, help="guesses a mask (default 5)")
    fill.add_argument("--json", action="store_true", help="one JSON object a text")
    embedding = commands.add_parser("embed", parents=[shared], allow_abbrev=False, help="one vector a text")
    embedding.add_argument("--pooling", choices=("mean", "cls", "pooler", "max"), default="mean")
    embedding.add_argument("--output", help="FILE.npy or FILE.jsonl (default: JSON lines on standard output)")
    embedding.add_argument("--batch-size", type=int, default=32)
    embedding.add_argument("--max-length", type=int, help="tokens a text at most (default: the model's limit)")
    embedding.add_argument("--normalize", action="store_true", help="unit vectors")
    commands.add_parser("pooling", parents=[shared], allow_abbrev=False, help="cosines between CLS, pooler and mean")
    return parser.parse_args()


if __name__ == "__main__":
    run_script(main)
