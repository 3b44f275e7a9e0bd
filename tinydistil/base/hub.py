"""A model's folder, from a path or from a name on the Hugging Face hub, and its files."""

import pickle
import warnings
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinydistil.base.errors import InputError, require, translated
from tinydistil.base.files import fingerprint, read_json, read_json_value

if TYPE_CHECKING:  # processes that prepare text read no weights, and torch takes a second of each
    from torch import Tensor

# In order of preference; sharded forms are named by their index file.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Of sentence-transformers: its modules, and beside the encoder what it does to texts.
MODULES, TEXT_CONFIG, PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
_ABSENT = (
    "model {!r}: no such folder, and the hub's copy is neither in the local cache nor within reach; "
    "check the spelling, go online once, or give a folder"
)


def resolve_folder(
    name: str | Path, *, revision: str | None = None, offline: bool = False, weights: bool = True
) -> Path:
    """The local folder that holds model `name`: itself, or its snapshot in the hub's cache.

    A hub name ("neuralmind/bert-base-portuguese-cased") is fetched by `huggingface_hub` into its cache (HF_HOME), at
    `revision` (branch, tag or commit). Offline (`offline`, HF_HUB_OFFLINE, or no network) the cache alone is used. With
    `weights=False` the weights stay behind. Of a sentence-transformers folder whose encoder lies inside it
    (0_Transformer/), that folder. Raises InputError where there is no such folder, name, revision or cached copy.
    """
    path = Path(name)
    with suppress(RuntimeError):  # "~nobody/x"
        path = path.expanduser()
    if str(name) and path.is_dir():
        require(revision is None, f"revision {revision!r} needs a hub name, but {str(name)!r} is a folder")
        return _encoder_in(path)
    require(not (str(name) and path.exists()), f"model {str(name)!r} is a file; give the folder that holds config.json")
    # Importing the hub's client takes 0.3 s, which a run on a local folder need not pay.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(str(name))
        is_hub_name = isinstance(name, str) and name.isascii()
    except HFValidationError:
        is_hub_name = False
    require(is_hub_name, f"model folder {str(name)!r} does not exist")
    folder = _encoder_in(_fetched(str(name), revision, offline, weights))
    require((folder / "config.json").is_file(), _ABSENT.format(name))
    return folder


def _fetched(name: str, revision: str | None, offline: bool, weights: bool) -> Path:
    """The snapshot of hub model `name` with the files that are needed, fetched if need be."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    present = _listing(name, revision, offline)
    if present is None:
        try:
            # Of this one file: a snapshot that lacks others, as ours do, would count as incomplete.
            only = "config.json"
            return Path(snapshot_download(name, revision=revision, allow_patterns=only, local_files_only=True))
        except LocalEntryNotFoundError:
            raise InputError(_ABSENT.format(name)) from None

    def fetch(files: Iterable[str]) -> list[Path]:
        # One by one: snapshot_download does not say which file the hub has refused.
        paths = []
        for file in present.intersection(files):
            try:
                paths.append(Path(hf_hub_download(name, file, revision=revision)))
            except (HfHubHTTPError, LocalEntryNotFoundError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(f"model {name!r}: {file} could not be fetched ({reason}); try again") from None
        return paths

    def first(folder: str, names: Iterable[str]) -> list[str]:
        return [folder + file for file in names if weights and folder + file in present][:1]

    folders = [f"{module.path}/" for path in fetch([MODULES]) for module in modules_of(path.parent)]
    # As `_encoder_in`: the first releases of sentence-transformers wrote a config.json of their own at the top.
    inner = folders[0] if folders else "0_Transformer/"
    alone = "config.json" in present and not present.isdisjoint(WEIGHT_FILES)
    inside = inner if not alone and f"{inner}config.json" in present else ""
    require(f"{inside}config.json" in present, f"model {name!r} on the hub has no config.json")
    files = [PROMPTS, *(inside + file for file in ("config.json", *TOKENIZER_FILES, TEXT_CONFIG))]
    for folder in folders[1:]:
        files += [f"{folder}config.json", *first(folder, WEIGHT_FILES[::2])]
    fetch(files)
    for path in fetch(first(inside, WEIGHT_FILES)):
        fetch(inside + shard for shard in (shards_of(path) if path.name.endswith(".index.json") else ()))
    (config,) = fetch([f"{inside}config.json"])
    return config.parent


def _listing(name: str, revision: str | None, offline: bool) -> set[str] | None:
    """The files that the hub lists; None where it is out of reach, which leaves the cache."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if offline or constants.HF_HUB_OFFLINE:
        return None
    try:
        info = HfApi().model_info(name, revision=revision, timeout=10)
        return {sibling.rfilename for sibling in info.siblings or ()}
    except GatedRepoError:
        reason = "is gated; accept its terms on the hub, then `hf auth login`"
    except RevisionNotFoundError:
        reason = f"has no revision {revision!r} on the hub"
    except RepositoryNotFoundError:
        reason = "is neither a folder nor a public model on the hub; check the spelling (if private: `hf auth login`)"
    except Exception:  # no network, a proxy's error page, a time-out: each client library has its own
        return None
    raise InputError(f"model {name!r} {reason}")


class Module(NamedTuple):
    """A module of a sentence-transformers folder: the last part of its type ("Pooling"), and its folder inside."""

    kind: str
    path: str


def modules_of(root: Path) -> list[Module]:
    """What modules.json in `root` lists, in order; nothing where there is none. Raises InputError for another form."""
    if not (root / MODULES).is_file():
        return []
    entries, found = read_json_value(root / MODULES), []
    for entry in entries if isinstance(entries, list) else [None]:
        kind, path = (entry.get("type"), entry.get("path", "")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(path, str) or "\0" in path or not _is_inside(Path(path)):
            raise InputError(f"{str(root / MODULES)!r} must list modules with a type, and a path inside its folder")
        found.append(Module(kind.rpartition(".")[2], path))
    return found


def _is_inside(path: Path) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def sentence_root(encoder: Path) -> Path | None:
    """The folder whose modules.json describes `encoder`, itself or the one around it; None where there is none."""
    if (encoder / MODULES).is_file():
        return encoder
    around = modules_of(encoder.parent)
    return encoder.parent if around and around[0].path == encoder.name else None


def _encoder_in(folder: Path) -> Path:
    """`folder`, or the one inside it that holds the encoder, where it lies there alone."""
    if (folder / "config.json").is_file() and first_existing(folder, WEIGHT_FILES) is not None:
        return folder
    inner = folder / next((module.path for module in modules_of(folder)), "0_Transformer")
    return inner if (inner / "config.json").is_file() else folder


def shards_of(index: Path) -> list[str]:
    """The names of the weight files that an `*.index.json` refers to, each once, sorted."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise InputError(f"{str(index)!r} has no 'weight_map' of tensor names to files")
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        # An index comes from elsewhere: it may not point outside its own folder.
        if Path(shard).name != shard:
            raise InputError(f"{str(index)!r} names shard {shard!r}, which is not in the same folder")
    return shards


def weight_files(folder: Path) -> list[Path]:
    """The weights of `folder`: one file, or an index and the shards that it names; nothing where there are none."""
    first = first_existing(folder, WEIGHT_FILES)
    if first is None:
        return []
    return [first, *(folder / shard for shard in shards_of(first))] if first.name.endswith(".index.json") else [first]


def first_existing(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of `names` that is a file in `folder`, or None."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def notes_on(folder: Path) -> list[str]:
    """What a model's folder does not say and nothing else tells, and what is taken instead."""
    files = (folder / "config.json", folder / "tokenizer_config.json")
    config, rules = (read_json(file) if file.is_file() else {} for file in files)
    assumed = {"num_attention_heads": 12, "hidden_act": "gelu"}  # sizes are seen from the weights
    missing = [(key, value) for key, value in assumed.items() if key not in config]
    notes = [f"no {key} in config.json: {value}, as of BERT-base, is taken" for key, value in missing]
    if first_existing(folder, ("tokenizer.json", "vocab.txt")) == folder / "vocab.txt" and "do_lower_case" not in rules:
        notes.append("no do_lower_case in tokenizer_config.json: texts lose capitals and accents, as BERT's own do")
    return notes


def fingerprint_of(folder: Path) -> str:
    """Of what makes a model: the files of its configuration, weights and tokenizer. Reads all of them once."""
    found = [*weight_files(folder), *(folder / name for name in ("config.json", *TOKENIZER_FILES, TEXT_CONFIG))]
    if (root := sentence_root(folder)) is not None:
        found += [root / MODULES, root / PROMPTS]
        for module in modules_of(root)[1:]:
            found += [root / module.path / name for name in ("config.json", *WEIGHT_FILES[::2])]
    return fingerprint(path for path in found if path.is_file())


def read_weights(folder: Path) -> "dict[str, Tensor]":
    """Every weight of a folder under its name there, in the file's own dtype, memory-mapped where possible.

    model.safetensors is preferred to pytorch_model.bin. Raises InputError for missing, damaged or unsafe files.
    """
    files = weight_files(folder)
    if not files:
        held = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"folder {str(folder)!r} has no weights ({' or '.join(WEIGHT_FILES[::2])}); it holds {held}")
    weights: dict[str, Tensor] = {}
    for file in files:
        if file.name.endswith(".index.json"):
            continue
        require(file.is_file(), f"{str(files[0])!r} names shard {file.name!r}, which does not exist; fetch it")
        with file.open("rb") as opened:
            pointer = opened.read(40).startswith(b"version https://git-lfs")
        remedy = "run `git lfs pull` in its folder"
        require(not pointer, f"{str(file)!r} is a Git LFS pointer, not the weights; {remedy}")
        stored = _read_safetensors(file) if file.suffix == ".safetensors" else _read_bin(file)
        if twice := sorted(stored.keys() & weights.keys()):
            raise InputError(f"{str(file)!r}: weight {twice[0]!r} is there twice, in another shard")
        weights |= stored
    return weights


def _read_safetensors(path: Path) -> "dict[str, Tensor]":
    from safetensors import safe_open

    damaged = translated(f"{str(path)!r} is not a whole safetensors file", "it may have been cut short: fetch it again")
    with damaged, safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def _read_bin(path: Path) -> "dict[str, Tensor]":
    import torch

    refused = f"{str(path)!r} is not a plain file of tensors and was refused unopened"
    with translated(f"{str(path)!r} is damaged", "fetch it again"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about what is refused below
        try:
            # The oldest .bin files are bare pickles, which cannot be memory-mapped.
            stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            with translated(refused, "ask its author for safetensors"):
                raise error
    if not isinstance(stored, dict):
        raise InputError(f"{str(path)!r} must hold a mapping of names to tensors, got {type(stored).__name__}")
    for name, tensor in stored.items():
        # plain numbers in memory: neither sparse nor nested, quantised or without data
        plain = (
            isinstance(name, str)
            and type(tensor) in (torch.Tensor, torch.nn.Parameter)
            and tensor.layout == torch.strided
        )
        if not plain or tensor.is_meta or tensor.is_nested or tensor.is_quantized:
            raise InputError(
                f"{str(path)!r} must hold a mapping of names to dense tensors, but {name!r} is "
                f"{type(tensor).__name__}; save the model's state_dict() alone"
            )
    # detach: some save parameters, which a copy would otherwise tie to autograd
    return {name: tensor.detach() for name, tensor in stored.items()}
