"""Hub names against a small hub of our own on the loopback address: fetch, revision, cache, offline, refusals."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinydistil.base.errors import InputError
from tinydistil.base.hub import resolve_folder
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.tokenizer import train_wordpiece

COMMITS = {"main": "1" * 40, "v1": "2" * 40}


class FakeHub(BaseHTTPRequestHandler):
    """GET and HEAD of /org/name/resolve/REVISION/FILE, as the hub's clients ask for it."""

    folder: Path
    requests: list[str]
    broken: dict[str, int] = {}  # noqa: RUF012 (shared on purpose) file: the status it is refused with

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.requests.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self.describe(parts[2:4], parts[5] if len(parts) > 5 else "main")
        if parts[:2] != ["org", "tiny"]:
            return self.refuse("RepoNotFound", 404)
        if len(parts) < 5 or (commit := COMMITS.get(parts[3], parts[3])) not in COMMITS.values():
            return self.refuse("RevisionNotFound", 404)
        if parts[4] in self.broken:
            return self.refuse("Broken", self.broken[parts[4]], commit)
        path = self.folder.joinpath(*parts[4:])
        if not path.is_file():
            return self.refuse("EntryNotFound", 404, commit)
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)
        return None

    def describe(self, name: list[str], revision: str) -> None:
        """What the hub's API says of a model: its commit and its files."""
        if name != ["org", "tiny"]:
            return self.refuse("RepoNotFound", 404)
        if revision not in COMMITS:
            return self.refuse("RevisionNotFound", 404)
        found = (path for path in self.folder.rglob("*") if path.is_file())
        files = [{"rfilename": path.relative_to(self.folder).as_posix()} for path in found]
        data = json.dumps({"id": "org/tiny", "sha": COMMITS[revision], "siblings": files}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None

    def refuse(self, code: str, status: int, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit is not None:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hub with one model, "org/tiny": a .bin, a vocab.txt and no tokenizer.json, as bert-tiny's."""
    import torch

    folder = tmp_path_factory.mktemp("hub")
    tokenizer = train_wordpiece(["o gato dorme no sofá", "a gata dorme na cama"] * 2, 80)
    model = BertForMaskedLM(
        BertConfig(vocab_size=tokenizer.vocab_size, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                   intermediate_size=16)
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "model.safetensors").unlink()
    torch.save(model.file_weights(), folder / "pytorch_model.bin")
    FakeHub.folder, FakeHub.requests = folder, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def run(code: str, cache: Path, endpoint: str, *, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own: huggingface_hub reads its settings once, at import."""
    environment = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    prelude = "from tinydistil.base.hub import resolve_folder\nfrom tinydistil.base.errors import InputError\n"
    guarded = f"{prelude}try:\n    {code}\nexcept InputError as error:\n    print('InputError:', error)\n"
    return subprocess.run([sys.executable, "-c", guarded], env=environment, capture_output=True, text=True, timeout=120)


def test_fetch_then_cache_then_offline(hub: str, tmp_path: Path) -> None:
    code = "print(resolve_folder('org/tiny'))"
    fetched = run(code, tmp_path, hub)
    folder = Path(fetched.stdout.strip())
    assert folder.name == COMMITS["main"], fetched
    expected = {"config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "pytorch_model.bin"}
    assert {file.name for file in folder.iterdir()} == expected
    offline = run(code, tmp_path, "http://127.0.0.1:9", offline=True)
    assert offline.stdout == fetched.stdout, offline
    unreachable = run(code, tmp_path, "http://127.0.0.1:9")
    assert unreachable.stdout == fetched.stdout, unreachable


@pytest.mark.parametrize(
    ("inner", "listed", "top"),
    [
        ("0_Transformer", True, None),
        ("0_Transformer", False, None),
        ("0_BERT", True, None),
        ("0_Transformer", True, {"__version__": "0.2.0"}),
        ("0_Transformer", False, {"__version__": "0.2.0"}),
    ],
)
def test_an_encoder_inside_is_fetched(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str, listed: bool, top: dict[str, str] | None
) -> None:
    """0_Transformer/ of sentence-transformers' first releases, one of which had a config.json of its own on top."""
    folder = tmp_path / "hub"
    shutil.copytree(FakeHub.folder, folder / inner)
    if listed:
        modules = [{"idx": 0, "name": "0", "path": inner, "type": "sentence_transformers.models.Transformer"}]
        (folder / "modules.json").write_text(json.dumps(modules))
    if top is not None:
        (folder / "config.json").write_text(json.dumps(top))
    monkeypatch.setattr(FakeHub, "folder", folder)
    code = "print(resolve_folder('org/tiny'))"
    fetched = run(code, tmp_path / "cache", hub)
    found = Path(fetched.stdout.strip())
    assert found.name == inner and (found / "pytorch_model.bin").is_file() and (found / "vocab.txt").is_file(), fetched
    # without the weights, into another cache; then without the hub
    tokenizer = run("print(resolve_folder('org/tiny', weights=False))", tmp_path / "other", hub)
    assert Path(tokenizer.stdout.strip()).name == inner, tokenizer
    offline = run(code, tmp_path / "cache", "http://127.0.0.1:9", offline=True)
    assert offline.stdout == fetched.stdout, offline


def test_revision_and_tokenizer_only(hub: str, tmp_path: Path) -> None:
    FakeHub.requests.clear()
    result = run("print(resolve_folder('org/tiny', revision='v1', weights=False))", tmp_path, hub)
    folder = Path(result.stdout.strip())
    assert folder.name == COMMITS["v1"], result
    assert (folder / "vocab.txt").is_file() and not (folder / "pytorch_model.bin").exists()
    assert not [request for request in FakeHub.requests if "pytorch_model" in request]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("resolve_folder('org/tinny')", "neither a folder nor a public model on the hub"),
        ("resolve_folder('org/tiny', revision='v9')", "has no revision 'v9'"),
    ],
)
def test_refusals(hub: str, tmp_path: Path, code: str, message: str) -> None:
    result = run(code, tmp_path, hub)
    assert result.stdout.startswith("InputError") and message in result.stdout, result


@pytest.mark.parametrize("status", [403, 503])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "pytorch_model.bin"])
def test_a_file_that_is_there_but_refused_is_an_error(hub: str, tmp_path: Path, file: str, status: int) -> None:
    """Passed over, tokenizer_config.json would leave a cased model lower-casing."""
    FakeHub.broken = {file: status}
    try:
        result = run("print(resolve_folder('org/tiny'))", tmp_path, hub)
    finally:
        FakeHub.broken = {}
    assert result.stdout.startswith(f"InputError: model 'org/tiny': {file} could not be fetched"), result


def test_offline_without_a_copy(tmp_path: Path) -> None:
    result = run("resolve_folder('org/tiny')", tmp_path, "http://127.0.0.1:9", offline=True)
    assert "neither in the local cache nor within reach" in result.stdout, result


def test_fill_mask_by_hub_name(hub: str, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "predict.py"
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, str(script), "fill-mask", "--model", "org/tiny", "--json", "o gato [MASK]"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["masks"][0]) == 5


def test_local_paths(tmp_path: Path) -> None:
    assert resolve_folder(tmp_path) == tmp_path
    assert resolve_folder(str(tmp_path)) == tmp_path
    (tmp_path / "file").write_text("")
    for name, message in [
        (tmp_path / "nothing", "does not exist"),
        ("./nothing", "does not exist"),
        ("", "does not exist"),
        ("ação/modelo", "does not exist"),
        ("a--b", "does not exist"),
        ("org/x.git", "does not exist"),
        ("x" * 97, "does not exist"),
        ("~nobody-at-all/x", "does not exist"),
        ("a/b/c", "does not exist"),
        (tmp_path / "file", "is a file; give the folder"),
    ]:
        with pytest.raises(InputError, match=message):
            resolve_folder(name)
    with pytest.raises(InputError, match="revision 'main' needs a hub name"):
        resolve_folder(tmp_path, revision="main")
