"""Floor 0: a model's folder, from a path or from a name on the Hugging Face hub, and the JSON files in it."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tinydistil.errors import InputError

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
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def resolve_folder(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_folder: str | Path | None = None,
    offline: bool = False,
    weights: bool = True,
) -> Path:
    """The local folder that holds model `name`: itself, or its snapshot in the hub's cache.

    A hub name ("neuralmind/bert-base-portuguese-cased") is fetched by `huggingface_hub`, into its cache
    (`cache_folder`, else HF_HOME), at `revision` (branch, tag or commit). Offline (`offline`,
    HF_HUB_OFFLINE, or no network) the cache alone is used. With `weights=False` the weights stay behind.

    Raises InputError where there is no such folder, name, revision or cached copy.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise InputError(f"revision {revision!r} needs a hub name, but {str(name)!r} is a folder")
        return path
    if path.exists():
        raise InputError(f"model {str(name)!r} is a file; give the folder that holds config.json")
    if isinstance(name, Path) or not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise InputError(f"model folder {str(name)!r} does not exist")
    return _fetch_from_hub(name, revision, cache_folder, offline, weights)


def _fetch_from_hub(
    name: str, revision: str | None, cache_folder: str | Path | None, offline: bool, weights: bool
) -> Path:
    # Importing the hub client takes 0.3 s, which a run on a local folder need not pay.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetch(file: str) -> Path | None:
        try:
            found = hf_hub_download(
                name, file, revision=revision, cache_dir=cache_folder, local_files_only=offline
            )
        except EntryNotFoundError:  # also "not in the cache" when offline
            return None
        return Path(found)

    try:
        config = hf_hub_download(
            name, "config.json", revision=revision, cache_dir=cache_folder, local_files_only=offline
        )
        for file in TOKENIZER_FILES:
            fetch(file)
        if weights:
            for file in WEIGHT_FILES:
                if (index := fetch(file)) is not None:
                    for shard in shards_of(index) if file.endswith(".index.json") else ():
                        fetch(shard)
                    break
    except LocalEntryNotFoundError:
        raise InputError(
            f"model {name!r}: no such folder, and the hub's copy is neither in the local cache nor within "
            "reach; check the spelling, go online once, or give a folder"
        ) from None
    except EntryNotFoundError:
        raise InputError(f"model {name!r} on the hub has no config.json: not a model folder") from None
    except GatedRepoError:
        raise InputError(
            f"model {name!r} is gated; accept its terms on the hub, then `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"model {name!r} has no revision {revision!r} on the hub") from None
    except RepositoryNotFoundError:
        raise InputError(
            f"model {name!r} is neither a folder nor a public model on the hub; check the spelling "
            "(a private model needs `hf auth login`)"
        ) from None
    return Path(config).parent


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


def read_json(path: Path) -> dict[str, object]:
    """The object in JSON file `path`. Raises InputError if it is missing, malformed or no object."""
    text = read_text(path)
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not valid JSON ({error}); fetch the file again") from None
    if not isinstance(values, dict):
        raise InputError(f"{str(path)!r} must hold a JSON object, got {type(values).__name__}")
    return values


def read_text(path: Path) -> str:
    """The UTF-8 text of `path`. Raises InputError naming the file, and the byte where it is not UTF-8."""
    try:
        # utf-8-sig: some editors on Windows put a byte-order mark first
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"file {str(path)!r} does not exist") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{str(path)!r} is not UTF-8 (byte {error.start}: {error.reason}); convert it, "
            "for instance with `iconv -f latin1 -t utf-8`"
        ) from None


def write_json(path: Path, values: object) -> None:
    """Write `values` to `path` as indented UTF-8 JSON, keys in the order given."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def first_existing(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of `names` that is a file in `folder`, or None."""
    return next((folder / name for name in names if (folder / name).is_file()), None)
