"""The models that are compared: their names in the tables and on disk, and what their folders hold."""

import io
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import PARTIAL_SUFFIX, fingerprint
from tinydistil.base.hub import TOKENIZER_FILES, resolve_folder, weight_files
from tinydistil.evaluate.inference import check_match
from tinydistil.evaluate.results import OVERLAP, RECORD, TABLES
from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.weights import HEAD_BIAS
from tinydistil.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Model:
    """A model to measure. weights: how many its layers have; content: fingerprints of its files, by kind."""

    name: str
    folder: Path
    tokenizer: Tokenizer
    config: BertConfig
    weights: int
    predicts_words: bool
    has_pooler: bool
    content: dict[str, str]


def open_models(given: Sequence[str], *, offline: bool) -> list[Model]:
    """The models of "[NAME=]MODEL", each loaded once to see that it is whole and fits its tokenizer.

    Raises InputError where one does not, and for names that are no plain and different names of folders.
    """
    models: list[Model] = []
    for each in given:
        name, source = _name_and_source(each)
        folder = resolve_folder(source, offline=offline)
        # A hub name or a folder is called by its last part, unless NAME= says otherwise.
        name = name or (Path(source).name if Path(source).name not in ("", "..") else folder.resolve().name)
        _check_name(name, [model.name for model in models])
        tokenizer, encoder = Tokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
        check_match(encoder, tokenizer)
        weights = sum(parameter.numel() for parameter in encoder.layers.parameters())
        has_head = encoder.load_report is not None and HEAD_BIAS in encoder.load_report.left_over
        has_pooler, content = encoder.pooler is not None, _content_of(folder)
        models.append(Model(name, folder, tokenizer, encoder.config, weights, has_head, has_pooler, content))
    return models


def _content_of(folder: Path) -> dict[str, str]:
    """Fingerprints of what a model's figures depend on: weights, tokenizer, and all else that says how to use it."""
    weights = weight_files(folder)
    # A sentence encoder keeps pooling and further layers in folders beside the weights.
    modules = [path for path in sorted(folder.glob("[0-9]_*/*")) if path.suffix in (".json", ".safetensors", ".bin")]
    tokenizer = [folder / name for name in TOKENIZER_FILES]
    ours = {*weights, *tokenizer}
    others = [path for path in sorted(folder.glob("*.json")) if path not in ours and ".index." not in path.name]
    kinds = {"weights": weights, "tokenizer": tokenizer, "configuration": [*others, *modules]}
    return {kind: fingerprint(path for path in paths if path.is_file()) for kind, paths in kinds.items()}


def _name_and_source(given: str) -> tuple[str, str]:
    """ "NAME=MODEL" in two; both may hold "=" themselves, so the first split whose model is a folder counts."""
    parts = given.split("=")
    splits = [("=".join(parts[:at]), "=".join(parts[at:])) for at in range(len(parts))]
    return next((each for each in splits if each[1] and Path(each[1]).is_dir()), splits[min(1, len(splits) - 1)])


def _check_name(name: str, others: Sequence[str]) -> None:
    plain = name.isprintable() and name.strip() == name and "/" not in name and not name.startswith(".")
    if not plain or not 0 < len(name.encode("utf-8", "surrogatepass")) <= 100:
        raise InputError(
            "models need names of at most 100 bytes, printable, no dot or space in front, without slashes: "
            f"{name[:120]!r}; give NAME=DIR"
        )
    reserved = _folded(name.removesuffix(PARTIAL_SUFFIX)) in (OVERLAP, RECORD, *TABLES)
    require(not reserved, f"models need names of their own, and {name!r} is one of this program's; change NAME")
    # Some file systems keep "Bert" and "bert", or two spellings of "é", in one folder.
    same = [other for other in others if _folded(other) == _folded(name)]
    require(not same, f"models need names of their own, got {name!r} and {[*same, ''][0]!r}; give NAME=DIR")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


Write = Callable[[str, NDArray[np.float32]], None]


def check_output(path: str | None) -> None:
    """Raise InputError where `open_vector_writer` could not write, before any work is done."""
    if path is None:
        return
    target = Path(path)
    require(target.suffix in (".npy", ".jsonl"), f"output {path!r} must end in .npy or .jsonl")
    require(not target.is_dir(), f"output {path!r} is a folder; give a file")
    require(target.parent.is_dir(), f"output folder {str(target.parent)!r} does not exist; make it first")


@contextmanager
def open_vector_writer(path: str | None, width: int) -> Iterator[Write]:
    """A function that writes one text and its vector of `width` numbers.

    To FILE.npy (vectors only), FILE.jsonl, or JSON lines on standard output (None). A file gets its name when
    complete; if the work ends before, for whatever reason, what was done lies readable in FILE.partial.npy (or
    .jsonl), and a line on standard error says so. Raises InputError as `check_output` does.
    """
    check_output(path)
    if path is None:
        yield lambda text, vector: print(_json_line(text, vector))
        return
    target = Path(path)
    partial = target.with_suffix(f".partial{target.suffix}")
    try:
        with (_npy_file if target.suffix == ".npy" else _json_file)(partial, width) as write:
            yield write
    except BaseException as error:
        print(f"what was done before is in {str(partial)!r}", file=sys.stderr)
        if isinstance(error, OSError) and error.filename is None:  # a failing write does not say which file it was
            raise OSError(error.errno, error.strerror, str(partial)) from None
        raise
    partial.replace(target)


@contextmanager
def _json_file(path: Path, width: int) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", buffering=1) as stream:
        yield lambda text, vector: print(_json_line(text, vector), file=stream)


@contextmanager
def _npy_file(path: Path, width: int) -> Iterator[Write]:
    def write(_text: str, vector: NDArray[np.float32]) -> None:
        data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
        while data:  # an unbuffered write may take a part
            data = data[stream.write(data) :]

    def write_header(height: int) -> int:
        # numpy pads the header so that a longer first axis fits in the same space
        header = io.BytesIO()
        npy.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (height, width)})
        stream.seek(0)
        return stream.write(header.getvalue())

    # Unbuffered: on a full disk, what the file holds is what was written.
    with path.open("wb", buffering=0) as stream:
        start = write_header(0)
        try:
            yield write
        finally:
            height = (stream.seek(0, 2) - start) // (4 * width)
            stream.truncate(start + height * 4 * width)
            write_header(height)


def _json_line(text: str, vector: NDArray[np.float32]) -> str:
    # Nine significant digits are enough to give every float32 back exactly.
    numbers = ", ".join(f"{number:.9g}" for number in vector.tolist())
    return f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}'
