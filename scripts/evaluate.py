"""Measure models on Portuguese: masked words, similarity, entailment, sentiment, entities, questions, size and speed.

    python scripts/evaluate.py --model DIR --model DIR --suite portuguese --data DATA --output runs/tables

DATA holds assin2/assin2-{train-only,dev,test}.xml, sentiment/{train,dev,test}.csv, lenerbr/{train,dev,test}.conll and
faquad/{train,dev}.json; --text names held-out text for the masked words. What was measured is kept in --output, part
by part: the same command goes on where it was. table.md and table.json are written at the end.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from tinydistil.arguments import Parser, whole
from tinydistil.config import Range, from_mapping, nearest, override, to_mapping
from tinydistil.errors import InputError, require, run_script
from tinydistil.evaluate.inference import check_match
from tinydistil.evaluate.intervals import paired_significance
from tinydistil.evaluate.word_loss import Span, choose_words
from tinydistil.files import read_json, write_json
from tinydistil.finetune.settings import FineTuneConfig
from tinydistil.hub import resolve_folder
from tinydistil.model.bert import BertModel
from tinydistil.model.config import read_config
from tinydistil.model.names import HEAD_BIAS
from tinydistil.model.weight_files import read_weights
from tinydistil.ranks import Ranks, device_of
from tinydistil.suite.result import PartResult
from tinydistil.suite.table import as_json, markdown
from tinydistil.suite.tuned_parts import PARTS, missing_files, settings_for, statistic_of, tuned
from tinydistil.suite.untrained_parts import masked_words, overlap_similarity, speed, zero_shot_similarity
from tinydistil.text.document import BadRecord
from tinydistil.text.readers import ReadConfig, parse_record, read_records
from tinydistil.text.tasks.labelled import Columns, read_labelled
from tinydistil.text.tasks.records import LabelledText
from tinydistil.text.tokenizer import Tokenizer
from tinydistil.train.signals import STOPPED_EXIT_CODE

UNTRAINED = ("speed", "masked_lm", "similarity")
ALL_PARTS = (*UNTRAINED, *PARTS)
OVERLAP = "word overlap (no model)"
TEXT_READING = ReadConfig()


@dataclass(frozen=True)
class Model:
    """A model to measure: its name in the tables, folder and tokenizer."""

    name: str
    folder: Path
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Material:
    """What the parts that train nothing are measured on, the same for every model."""

    pairs: Sequence[LabelledText]
    texts: Sequence[str]
    hidden: Sequence[tuple[Span, ...]]

    def stem(self, part: str) -> str:
        """The name of a part's result: of masked words by the words, which change with the models compared."""
        words = repr((self.texts, self.hidden)).encode()
        return f"{part}-{hashlib.sha256(words).hexdigest()[:12]}" if part == "masked_lm" else part


def main() -> None:
    """Check everything, measure what is missing, write the tables."""
    args = parse_arguments()
    parts = parts_of(args)
    seeds = range(1, args.seeds + 1)
    ranks = Ranks(0, 1, device_of(args.device))
    data, output = Path(args.data), Path(args.output)
    missing_files(data, [part for part in parts if part in PARTS])
    models = models_of(args)
    changes = override({}, args.set)
    from_mapping(FineTuneConfig, changes)
    prepare_output(output, args, models)
    material = material_of(args, data, models, parts)
    results: dict[str, dict[str, PartResult]] = {}
    for model in models:
        for part in tqdm(parts, desc=model.name, disable=None):
            place = output / model.name / f"{material.stem(part)}.json"
            if not place.is_file():
                found = measure(model, part, material, args, changes, seeds, place.with_suffix(""), ranks)
                if found is None:
                    continue
                found.save(place)
            results.setdefault(model.name, {})[part] = PartResult.load(place)
    if "similarity" in parts:
        results[OVERLAP] = {"similarity": overlap_similarity(material.pairs)}
    p_values = significance(results, models)
    (output / "table.md").write_text(markdown(results, p_values), encoding="utf-8")
    write_json(output / "table.json", as_json(results, p_values))
    print(markdown(results, p_values), end="")


def measure(
    model: Model,
    part: str,
    material: Material,
    args: argparse.Namespace,
    changes: dict[str, object],
    seeds: Sequence[int],
    work: Path,
    ranks: Ranks,
) -> PartResult | None:
    """One part for one model; None, said aloud, where the model cannot be asked."""
    device = ranks.device
    if part == "speed":
        return speed(model.folder, model.tokenizer, [pair.text for pair in material.pairs], device)
    if part == "similarity":
        return zero_shot_similarity(model.folder, model.tokenizer, material.pairs, args.pooling, args.prefix, device)
    if part == "masked_lm":
        if HEAD_BIAS not in read_weights(model.folder):
            print(f"{model.name}: no masked LM head, so no masked words", file=sys.stderr)
            return None
        return masked_words(model.folder, model.tokenizer, material.texts, material.hidden, device)
    default = settings_for(PARTS[part], read_config(model.folder / "config.json"))
    config = from_mapping(FineTuneConfig, {**to_mapping(default), **changes})
    found = tuned(model.folder, part, Path(args.data), config, seeds, work, ranks)
    if found is None:
        sys.exit(STOPPED_EXIT_CODE)
    return found


def significance(results: dict[str, dict[str, PartResult]], models: Sequence[Model]) -> dict[str, dict[str, float]]:
    """For each part, the p of each further model's first figure against the first model's, on the same items."""
    found: dict[str, dict[str, float]] = {}
    first = results[models[0].name]
    for model in models[1:]:
        for part, result in results.get(model.name, {}).items():
            base = first.get(part)
            # Tokens are not the same items for two vocabularies, so masked words are not compared.
            if part in ("speed", "masked_lm") or base is None or base.rows.shape != result.rows.shape:
                continue
            p = paired_significance(statistic_of(part), base.rows, result.rows)
            found.setdefault(part, {})[model.name] = p
    return found


def material_of(args: argparse.Namespace, data: Path, models: Sequence[Model], parts: Sequence[str]) -> Material:
    """Test pairs of ASSIN 2, held-out texts, and the words to hide from every model."""
    pairs: Sequence[LabelledText] = ()
    if {"speed", "similarity"} & set(parts):
        pairs = read_labelled(data / "assin2" / "assin2-test.xml", Columns(), numbers=True).rows
    texts: list[str] = []
    if "masked_lm" in parts:
        texts = list(islice(held_out(args.text), args.texts))
        require(bool(texts), f"--text {args.text!r} holds no text")
    return Material(pairs, texts, choose_words(texts, [model.tokenizer for model in models]) if texts else ())


def held_out(path: str) -> Iterator[str]:
    """The texts of a file as prepare.py reads them: lines of .txt, the field "text" of .jsonl, .csv and .tsv."""
    if not Path(path).is_file():
        raise InputError(f"text file {path!r} does not exist")
    for record in read_records(Path(path), TEXT_READING):
        document = record if isinstance(record, BadRecord) else parse_record(record, TEXT_READING)
        if not isinstance(document, BadRecord) and document.text.strip():
            yield document.text


def models_of(args: argparse.Namespace) -> list[Model]:
    """The models, loaded once to see that they are whole and fit their tokenizers; names must differ."""
    models = []
    for given in args.model:
        name, _, place = given.rpartition("=")
        folder = resolve_folder(place, offline=args.offline)
        # A hub name or a folder is called by its last part, unless NAME= says otherwise.
        model = Model(name or Path(place).name or folder.resolve().name, folder, Tokenizer.from_pretrained(folder))
        check_match(BertModel.from_pretrained(folder), model.tokenizer)
        if "/" in model.name or model.name in [other.name for other in models]:
            raise InputError(f"models need names of their own, without slashes: {model.name!r}; give NAME=DIR")
        models.append(model)
    return models


def parts_of(args: argparse.Namespace) -> list[str]:
    """The parts asked for; masked words only where there is text."""
    names = args.parts.split(",") if args.parts else [p for p in ALL_PARTS if p != "masked_lm" or args.text]
    for name in names:
        if name not in ALL_PARTS:
            raise InputError(f"part {name!r} is unknown{nearest(name, ALL_PARTS)}")
    require("masked_lm" not in names or args.text is not None, "part 'masked_lm' needs --text, held-out text")
    return names


def prepare_output(output: Path, args: argparse.Namespace, models: Sequence[Model]) -> None:
    """Refuse a folder that was measured with other settings; parts and models may be added."""
    if output.exists() and not output.is_dir():
        raise InputError(f"output {str(output)!r} is a file; choose a folder")
    output.mkdir(parents=True, exist_ok=True)
    names = ("suite", "data", "text", "texts", "seeds", "set", "pooling", "prefix", "device")
    wanted: dict[str, object] = {name: getattr(args, name) for name in names}
    path = output / "settings.json"
    before = read_json(path) if path.is_file() else {}
    folders = {**before.get("models", {}), **{model.name: str(model.folder.resolve()) for model in models}}  # type: ignore[dict-item]
    for name, value in json.loads(json.dumps({**wanted, "models": folders})).items():
        if before and name != "models" and before.get(name) != value:
            raise InputError(f"{str(output)!r} was measured with {name} = {before.get(name)!r}, now it is {value!r}")
    for name, folder in before.get("models", {}).items():  # type: ignore[attr-defined]
        require(folders[name] == folder, f"{str(output)!r} knows {name!r} as {folder!r}; choose another output")
    write_json(path, {**wanted, "models": folders})


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, options=FineTuneConfig)
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[NAME=]MODEL",
        help="folder or hub name, several times; NAME is for the tables",
    )
    parser.add_argument("--suite", choices=("portuguese",), default="portuguese")
    parser.add_argument("--data", required=True, metavar="DIR", help="the tasks' files")
    parser.add_argument("--output", required=True, metavar="DIR", help="results, part by part, and the tables")
    parser.add_argument("--parts", help=f"some of {','.join(ALL_PARTS)} (default: all that can be)")
    parser.add_argument("--text", metavar="FILE", help="held-out text for masked words (.txt, .jsonl, .csv, .tsv)")
    parser.add_argument(
        "--texts", type=whole(Range(1, 10**9)), default=2000, help="so many of its texts (default 2000)"
    )
    parser.add_argument("--seeds", type=whole(Range(1, 100_000)), default=1, help="fine-tuning runs a part (default 1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a fine-tuning setting")
    parser.add_argument("--pooling", choices=("mean", "max", "cls", "pooler"), default="mean", help="zero-shot vectors")
    parser.add_argument("--prefix", default="", help='before every sentence, zero-shot ("query: " for E5 models)')
    parser.add_argument("--offline", action="store_true", help="use only what the hub's cache holds")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    run_script(main)
