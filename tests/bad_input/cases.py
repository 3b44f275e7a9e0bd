"""Bad inputs, drawn at random: each is a pure function of its kind and its number."""

import gzip
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

# Lists of inputs are read by the row, not by the item.
# fmt: off
from tests.bad_input.material import SETTINGS, SOUND
from tinydistil.base.config import hints_of
from tinydistil.corpus.prepare_config import PrepareConfig, RawRunConfig
from tinydistil.tasks.finetune_config import FineTuneConfig

Change = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A script, what is wrong, the bad arguments (over the sound ones), and what is done to the sound folder before.

    refused: whether success would be wrong; a damaged byte, say, may be one that nothing depends on. same: a file that
    must be, after success, what the sound command makes of it. environment: variables that are set.
    """

    script: str
    what: str
    arguments: list[str]
    change: Change = lambda folder: None
    refused: bool = True
    same: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


OPTIONS = {"prepare": PrepareConfig, "distill": RawRunConfig, "pretrain": RawRunConfig, "finetune": FineTuneConfig,
           "evaluate": FineTuneConfig}
_DEEP = "[" * 1000 + "]" * 1000
_LINES = ['"a\\nb"', '"a\\u0000b"', '"a\\u2028b"']
_LITERALS: dict[object, list[str]] = {
    int: ["1.5", "true", "'dez'", "[1]", "{a = 1}", "1e30", str(10**30), str(-(10**30)), "9" * 5000, "nan", "inf",
          "0x" + "f" * 5000, "1979-05-27", "''", _DEEP, "-9223372036854775808", "9223372036854775808"],
    float: ["true", "'dez'", "[1.0]", "{a = 1}", "nan", "inf", "-inf", "1e400", "9" * 5000, "[]", "1979-05-27",
            "1e300", "-1e300", str(-(10**18)), _DEEP],
    bool: ["1", "'sim'", "[]", "0.0", "{}", "2", "1979-05-27", _DEEP],
    str: ["3", "true", "[]", "{a = 1}", "1.5", "nan", *_LINES, _DEEP],
    tuple: ["3", "'x'", "{}", "true", "[[1]]", "[{}]", "[true, 1]", "'a,b'", _DEEP],
    dict: ["3", "[]", "true", "[[1]]", "[{}]", "nan", _DEEP],
}


def kind_of(hint: Any) -> object:
    """The plain type of a field."""
    while get_origin(hint) is Annotated or (get_args(hint) and get_origin(hint) is not tuple):
        hint = get_args(hint)[0]
    return tuple if get_origin(hint) is tuple else dict if is_dataclass(hint) else hint


def options_of(cls: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names and plain types of all options, tables included."""
    for each in fields(cls):
        hint, dotted = hints_of(cls)[each.name], f"{prefix}{each.name}"
        yield dotted, kind_of(hint)
        if is_dataclass(hint):
            yield from options_of(hint, f"{dotted}.")


def text(name: str, content: str | bytes) -> Change:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return write


# A flag of the sound command goes over these.
_SET_BY_FLAG = {"max_length", "recipe.name", "teacher", "student.model", "student.tokenizer", "shards", "train.steps",
                "train.batch_size"}


def option(draw: random.Random) -> Case:
    """A value of a wrong type or out of all bounds for an option, by --set or in a TOML file."""
    script = draw.choice([*OPTIONS])
    name, kind = draw.choice([pair for pair in options_of(OPTIONS[script]) if pair[0] not in _SET_BY_FLAG])
    literal = draw.choice(_LITERALS[kind])
    if draw.random() < 0.5:
        return Case(script, f"option {name}", ["--set", f"{name}={literal}"])
    if script == "evaluate":
        return Case(script, f"option {name}", ["--set", f" {name} = {literal}"])
    *table, key = name.split(".")
    toml = (f"[{'.'.join(table)}]\n" if table else "") + f"{key} = {literal}\n"
    return Case(script, f"TOML {toml[:80]!r}", ["--config", "bad.toml"], text("bad.toml", toml))


def name(draw: random.Random) -> Case:
    """An option of no such name, or an assignment of no such form."""
    script = draw.choice([*OPTIONS])
    known = draw.choice([dotted for dotted, kind in options_of(OPTIONS[script]) if kind is not dict])
    place = draw.randrange(len(known))
    wrong = draw.choice([
        known[:place] + "x" + known[place:], known.upper(), f"{known}.mais", f"{known}.", f".{known}", f"..{known}",
        "x" * 5000, "", " ", f"'{known}'", f'"{known}"', known + "\n", known + "\0", "é" + known, f"[{known}]", "=",
        ".".join("a" * 1000), known[::-1], "__class__", "__post_init__", "_table",
    ])
    wrong = wrong.replace("\0", "\\u0000")
    return Case(script, f"name {wrong[:60]!r}", ["--set", f"{wrong}={draw.choice(['1', 'true', 'x', '[]', '{}'])}"])


def toml(draw: random.Random) -> Case:
    """A configuration file that is none."""
    script = draw.choice(["prepare", "distill", "pretrain", "finetune"])
    content = draw.choice([
        "seed = 1\nseed = 2", "[a]\n[a]", "seed 1", "seed = ", "= 1", "[", "[[train]]\nseed = 1", "seed = 1 2",
        "a = " + "[" * 3000, ".".join("a" * 3000) + " = 1", '"" = 1', '"a\\nb" = 1', "\x00", "seed = 1\x00",
        "x" * 2_000_000, "ção = 1", 'seed = """\n1\n"""', "seed = '1'", "seed = 1_0_0_000_000_000_000_000_000",
        "[train.mask.rate]\nx = 1", "[student]\nstart = ['own']", "[recipe]\nname = {a = 1}", "recipe = ['total']",
    ])
    data = draw.choice([content.encode(), content.encode("utf-16"), b"\xff" + content.encode(), os.urandom(300)])
    path = draw.choice(["bad.toml"] * 6 + ["nada.toml", ".", "/dev/zero", "/dev/null/x", "teacher"])
    return Case(script, f"TOML file {path} {data[:40]!r}", ["--config", path], text("bad.toml", data))


_WHOLE = {
    "prepare": ["--max-length", "--workers", "--sample-dropped", "--seed"],
    "distill": ["--steps", "--tokens", "--batch-size", "--accumulation", "--seed", "--workers", "--max-length"],
    "pretrain": ["--steps", "--tokens", "--batch-size", "--accumulation", "--seed", "--workers", "--vocab-size"],
    "finetune": ["--folds", "--seeds"],
    "evaluate": ["--seeds", "--texts"],
    "predict": ["--top-k"],
}
_NUMBERS = {"distill": ["--minutes", "--epochs", "--learning-rate"]}
_NO_NUMBER = ["dez", "1.5.2", "10**30", "9" * 5000, "-1", "", "0x10", "1e400", "1 000", "--", "inf", "nan", "1,5",
              str(2**63), str(10**30), "\udcff", "1\n2", "½", "-" + "9" * 400]


def flag(draw: random.Random) -> Case:
    """A flag that is no such flag, or whose value is no number."""
    script = draw.choice([*SOUND])
    if draw.random() < 0.25:
        wrong = draw.choice(["--stepps", "--model=", "-z", "--set", "--config", "--", "--out put", "--passo\nx",
                             "--device=tpu", "--device=cuda:99", "--device=", "---seed", "--\udcff", "--seed"])
        return Case(script, f"flag {wrong!r}", [wrong], refused=wrong not in ("--", "--model="))
    value = draw.choice(_NO_NUMBER)
    names = _WHOLE[script] + _NUMBERS.get(script, [])
    return Case(script, "flag", [f"{draw.choice(names)}={value}"])


_NAMES = ["", ".", "/", "nada", "a/" * 2000, "x" * 300, "\udcff\udcfe", "a\nb", "/dev/null", "/dev/zero", "corpus.txt",
          "~ninguém/x", "-", "--", "http://x/y", "../../..", "con:1", "a//b", "org/modelo", "org/../modelo", "*", "[",
          "laço", "fila", "\u202e", "teacher/config.json", "out/../teacher/vocab.txt/x"]
_PATHS = {
    "prepare": ["--input", "--tokenizer", "--student-tokenizer", "--eval-set", "--output"],
    "distill": ["--teacher", "--student", "--shards", "--output", "--teacher-cache", "--recipe", "--precision",
                "--teacher-precision", "--tokenizer"],
    "pretrain": ["--model", "--tokenizer", "--shards", "--output", "--corpus", "--precision"],
    "finetune": ["--model", "--train", "--dev", "--test", "--output", "--teacher", "--synonyms", "--task",
                 "--text-column", "--delimiter", "--encoding", "--revision", "--grid"],
    "evaluate": ["--model", "--data", "--output", "--parts", "--text", "--suite", "--pooling"],
    "predict": ["--model", "--file", "--revision"],
}
# Where these are a folder or text that may be meant.
_MEANT = {"--output", "--revision", "--text-column", "--text", "--teacher", "--file", "--eval-set", "--input",
          "--teacher-cache", "--student-tokenizer", "--data", "--corpus", "--train", "--dev", "--test", "--synonyms"}


def path(draw: random.Random) -> Case:
    """A name that is no file, folder or choice of its kind."""
    script = draw.choice([*_PATHS])
    flag, value = draw.choice(_PATHS[script]), draw.choice(_NAMES)

    def make(folder: Path) -> None:
        (folder / "laço").symlink_to("laço")
        os.mkfifo(folder / "fila")

    refused = flag not in _MEANT or (
        value in ("nada", "x" * 300, "laço") and flag not in ("--output", "--teacher-cache")
    )
    refused = refused and not (flag == "--revision" or (flag, value) in (("--encoding", ""), ("--parts", "")))
    arguments = [f"{flag}={value}"] if value.startswith("-") else [flag, value]
    return Case(script, "path", arguments, make, refused=refused)


# What stands for a value of JSON that has lost its type, range or form.
_JSON = [None, True, False, -1, 0, 2**31 - 1, 2**63, 10**30, 1.5, 1e308, "", "x", "ção", "../../x", "\ud800", "a\nb",
    [],
         {}, [[]], [None], {"a": {}}, "x" * 10_000, [1] * 1000, float("nan"), "\0"]


def damage_json(draw: random.Random, path: Path) -> None:
    """Replace or remove a value somewhere in a JSON file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    table, key = None, None
    inner = values
    while isinstance(inner, dict | list) and inner and (table is None or draw.random() < 0.75):
        keys: Sequence[Any] = [*inner] if isinstance(inner, dict) else range(len(inner))
        table, key = inner, draw.choice(keys)
        inner = inner[key]
    if table is None:
        values = draw.choice(_JSON)
    elif draw.random() < 0.2:
        del table[key]
    else:
        table[key] = draw.choice(_JSON)
    path.write_text(json.dumps(values))


def damage_bytes(draw: random.Random, path: Path) -> None:
    """Cut, empty, flip, overwrite or replace a file."""
    data = bytearray(path.read_bytes())
    path.unlink()
    way = draw.choice(["cut", "empty", "flip", "zeros", "random", "tail", "folder", "none", "text", "header", "nul"])
    if way == "folder":
        path.mkdir()
    elif way == "cut":
        path.write_bytes(data[: draw.randrange(len(data) or 1)])
    elif way == "flip":
        for _ in range(draw.choice([1, 20])):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
    elif way == "header":
        path.write_bytes(draw.randbytes(8) + data[8:])
    elif way in ("zeros", "tail"):
        keep = 0 if way == "zeros" else len(data) // 2
        path.write_bytes(data[:keep] + bytes(len(data) - keep))
    elif way != "none":
        path.write_bytes({"empty": b"", "random": draw.randbytes(500), "text": b"ol\xe1\n", "nul": b"{}\0"}[way])


def damaged(
    script: str, pattern: str, *arguments: str, refused: bool = False, same: str = ""
) -> Callable[[random.Random], Case]:
    """One file that matches `pattern` is damaged, or one value in it if it is JSON and may still be read."""

    def make(draw: random.Random) -> Case:
        number = draw.random()

        def change(folder: Path) -> None:
            chosen = random.Random(number)
            found = chosen.choice([path for path in sorted(folder.glob(pattern)) if path.is_file()])
            if found.suffix == ".json" and chosen.random() < 0.7 and not refused:
                damage_json(chosen, found)
            else:
                damage_bytes(chosen, found)

        return Case(script, f"damage in {pattern} ({number})", [*arguments], change, refused, same)

    return make


_TEXTS: list[str | bytes] = [
    b"", b"\n\n\n", b"\xff\xfe", bytes(range(256)) * 5, b"\0" * 5000, "text\tlabel\n", "a", "\ufeff", "\ud800\n",
    "text,label\n\"aberta,sim\nmais,não\n", "text;label\na;b\n", "text\ttext\tlabel\na\tb\tc\n", "[" * 100_000,
    '{"text": ' * 3000, '{"text": "a", "label": 1e999}\n', '{"text": 3, "label": []}\n', '{"text": null}\n',
    '{"text": "a", "text": "b"}\n', '{"text": "\\ud800", "label": "\\udfff"}\n', "x" * 3_000_000, "a\tb\n" * 3,
    "text\tlabel\n" + "a\tNaN\n" * 5, "text\tlabel\n" + "a\t" + "9" * 5000 + "\nb\tx\n", "<doc>\n<p>\n<s>\na\tb\tc\n",
    "<entailment-corpus><pair id='1'/></entailment-corpus>", '<?xml version="1.0" encoding="x-nada"?><a/>',
    '<?xml version="1.0" encoding="utf-16"?><a/>', "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<a>" * 50_000,
    "B-X\n", "a B-X b\n", "a X\n" * 4, "# text = a\n", "-DOCSTART- O\n\n", "a\x85B-PER\n", "a\rO\rb\rO\r",
    '{"data": 3}', '{"data": [{"paragraphs": [{"context": "a", "qas": 3}]}]}', '{"version": "1.1"}', "null", "3",
    '{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": 1, "question": null, "answers": [3]}]}]}]}',
    b"PAR1" + bytes(100) + b"PAR1", b"\x1f\x8b" + bytes(50), b"\x28\xb5\x2f\xfd" + bytes(50), "sep=;\ntext;label\n",
    "text\tlabel\n" + "frase\tsim\n" * 3, '"' * 9999, "text\n" + "a\n" * 9, "label\n1\n", "\t\n" * 50,
]
_ENDINGS = [".txt", ".jsonl", ".csv", ".tsv", ".vert", ".parquet", ".conll", ".json", ".xml", ".txt.gz", ".jsonl.gz",
            ".tsv.zst", ".xml.gz", ".json.gz", ".gz", "", ".doc", ".TXT", ".tar.gz", ".jsonl.zst"]


def bad_file(draw: random.Random) -> tuple[str, Change]:
    """A file of an unfit content under some ending, and how it is written; .gz sometimes really is."""
    content, ending = draw.choice(_TEXTS), draw.choice(_ENDINGS)
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    if ending.endswith(".gz") and draw.random() < 0.7:
        data = gzip.compress(data)
        data = data[: draw.choice([len(data), len(data), len(data) // 2])]
    return f"bad{ending}", text(f"bad{ending}", data)


def corpus(draw: random.Random) -> Case:
    """Raw text that holds no document that would be kept."""
    name, write = bad_file(draw)
    script = draw.choice(["prepare", "prepare", "distill", "pretrain", "eval-set"])
    if script == "eval-set":
        return Case("prepare", f"evaluation set {name}", ["--eval-set", name], write, refused=False)
    if script == "prepare":
        return Case(script, f"corpus {name}", ["--input", name], write)
    return Case(script, f"corpus {name}", ["--shards", "", "--corpus", name, "--max-length", "32"], write)


def task_file(draw: random.Random) -> Case:
    """A task's file in which no row is whole, for any task."""
    name, write = bad_file(draw)
    task = draw.choice(["classify", "regress", "tag", "answer"])
    sound = {"tag": "train.conll", "answer": "train.json"}.get(task, "train.tsv")
    where = draw.choice(["--train", "--train", "--dev", "--test"])
    extra = ["--encoding", draw.choice(["utf-16", "latim", "rot13", "hex", "idna", "cp037", "undefined"])] if (
        draw.random() < 0.15) else []
    arguments = ["--task", task, "--train", sound, "--dev", sound.replace("train", "dev"), where, name, *extra]
    # "a B-X b" and the like are a sound line for some task: an answer either way must be one without a traceback.
    return Case("finetune", f"{task} {where} {name}", [*arguments, "--set", "stride=8"], write, refused=False)


def prediction(draw: random.Random) -> Case:
    """Texts, files and lengths that a model cannot read."""
    name, write = bad_file(draw)
    command, model = draw.choice([("fill-mask", "teacher"), ("embed", "teacher"), ("pooling", "teacher"),
                                  ("classify", "tuned"), ("tag", "tagger"), ("answer", "answerer"), ("tag", "tuned"),
                                  ("classify", "teacher"), ("fill-mask", "encoder"), ("answer", "tagger")])
    extra = draw.choice([[], [], ["--offline"], ["--revision", "x"]])
    if command == "embed":
        extra += draw.choice([["--max-length", draw.choice(["0", "2", "-5", "99999", str(10**25)])], ["--output",
            draw.choice(
            ["x.txt", "x.npy/y.npy", "nada/x.npy", ".", "", "/dev/full", "x.jsonl"])], ["--pooling", "pooler"]])
    if command == "answer" and draw.random() < 0.5:
        extra += ["--context", draw.choice([name, ".", "nada", "context.txt", "/dev/zero"])]
    given = draw.choice([["--file", name], ["--file", "/dev/zero"], [""], [" \t "], ["a" * 100_000], ["\udcff"],
        ["[MASK]" * 3000],
                         ["um\tdois\ttrês"], ["[MASK]\n[MASK]"], ["\0"], ["\u0300" * 500], ["--file", "."]])
    given = [each.replace("\0", "\x01") for each in given]
    return Case(
        "predict", f"{command} {given[:2]!r:.60}", [command, "--model", model, *extra, *given], write, refused=False
    )


def evaluation(draw: random.Random) -> Case:
    """A data folder with a damaged file, or held-out text that is none."""
    if draw.random() < 0.4:
        name, write = bad_file(draw)
        arguments = ["--parts", "masked_lm", "--text", name, "--texts", "5"]
        return Case("evaluate", f"text {name}", arguments, write, refused=False)
    part, folder = draw.choice([("similarity", "assin2"), ("entailment", "assin2"), ("sentiment", "sentiment"),
                                ("entities", "lenerbr"), ("answers", "faquad")])
    return damaged("evaluate", f"tasks/{folder}/*", "--parts", part, *SETTINGS, "--set", "stride=8")(draw)


# Options that say how long a run lasts, for which a large number is no mistake.
_LONG = ("steps", "tokens", "minutes", "epochs", "validations", "max_length", "copies")


def large(draw: random.Random) -> Case:
    """A large number for an option: the run ends within the limit, or is refused by what it would need."""
    script = draw.choice([*OPTIONS])
    hints = [
        (dotted, kind) for dotted, kind in options_of(OPTIONS[script]) if kind in (int, float) and
        dotted.rpartition(".")[2] not in _LONG
    ]
    dotted, kind = draw.choice(hints)
    value = draw.choice(
        ["1000", "65536", "100000", "1000000", "1000000000"] + (["3.4e38", "1e-40"] if kind is float else [])
    )
    extra = (
        ["--teacher-cache", "new"]
        if dotted.startswith("cache.") or (script == "distill" and draw.random() < 0.3)
        else []
    )
    extra += ["--shards", "", "--corpus", "corpus.txt"] if script == "distill" and dotted.startswith("prepare") else []
    extra += ["--parts", "sentiment"] if script == "evaluate" else []
    extra += (
        ["--resume", "auto", "--output", "run"] if extra == [] and script == "distill" and draw.random() < 0.2 else []
    )
    return Case(script, f"large {dotted}", [*extra, "--set", f"{dotted}={value}"], refused=False)


def shape(draw: random.Random) -> Case:
    """A model of a size that no machine holds, as a shape or in config.json."""
    if draw.random() < 0.4:
        wrong = draw.choice(["999x9998", "999x99999", "0x8", "1x0", "2x7", "1x1", "1000x128", "12x99968", "2x128x2",
            "2 x 128",
                             "-2x128", "2x", "x128", "2X128", "2.5x128", "1x99998"])
        script, flag = draw.choice([("distill", "--student"), ("pretrain", "--model")])
        return Case(script, f"shape {wrong}", [f"{flag}={wrong}"])
    key = draw.choice(["num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings",
                       "type_vocab_size", "num_attention_heads", "num_labels", "pad_token_id", "layer_norm_eps"])
    value = draw.choice([20_000, 10**6, 2**31 - 1, 2**31, 10**12, -1, 0, 1e308, "12", None, [], True, 7.5])
    script, folder, arguments = draw.choice([
        ("predict", "teacher", []), ("finetune", "teacher", []), ("evaluate", "teacher", []), ("distill", "teacher",
            []),
        ("predict", "tuned", ["classify", "--model", "tuned", "Bom."]), ("pretrain", "student", ["--model", "student"]),
        ("distill", "student", ["--student", "student", "--set", "student.start=random"]),
    ])

    def change(folder_of: Path) -> None:
        path = folder_of / folder / "config.json"
        values = json.loads(path.read_text())
        if key == "num_labels":
            values.pop("id2label", None)
        path.write_text(json.dumps(values | {key: value}))

    small = key in ("pad_token_id", "num_labels", "layer_norm_eps") or value is None
    return Case(script, f"{folder}: {key} = {value!r}", arguments, change, refused=not small)


def packed(draw: random.Random) -> Case:
    """A small file that unpacks to gigabytes, or is packed otherwise than its name says."""
    import zstandard

    ending = draw.choice(
        [".txt.gz", ".txt.zst", ".jsonl.zst", ".jsonl.gz", ".tsv.gz", ".tsv.zst", ".xml.gz", ".json.gz", ".conll.gz"]
    )
    one = draw.choice([b"\0", b"a", b"\n", b"a\tb\n", b'{"text": "a"}\n', b"<a>"])
    # Lines take a second a million, and a run that reads them is at work.
    size = 1 << 20 if one.endswith(b"\n") else draw.choice([1 << 27, 1 << 28])

    def write(folder: Path) -> None:
        block = (one * (1 << 20))[: 1 << 20]
        with (folder / f"bad{ending}").open("wb") as raw:
            writer = zstandard.ZstdCompressor().stream_writer(raw,
                closefd=False) if ending.endswith("zst") else gzip.GzipFile(
                fileobj=raw, mode="wb", compresslevel=1)
            for _ in range(size >> 20):
                writer.write(block)
            writer.close()

    name = f"bad{ending}"
    script, arguments = draw.choice([
        ("finetune", ["--train", name]), ("finetune", ["--dev", name]), ("predict", ["embed", "--model", "teacher",
            "--file", name]),
        ("prepare", ["--input", name]), ("finetune", ["--task", "answer", "--train", name, "--dev", "dev.json"]),
        ("finetune", ["--task", "tag", "--train", name, "--dev", "dev.conll"]),
        ("evaluate", ["--parts", "masked_lm", "--text", name]),
    ])
    return Case(script, f"packed {name} of {size >> 20} MiB of {one!r}", arguments, write, refused=False)


def environment(draw: random.Random) -> Case:
    """Variables of torchrun that say what cannot be."""
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"]
    values = ["", "x", "-1", "1.5", "9" * 5000, "99", "2", "0x1", " 1", "\u0661"]
    found = {each: draw.choice(values) for each in draw.sample(names, draw.randint(1, 4))}
    return Case(draw.choice([*SOUND]), f"environment {found!r:.90}", [], refused=False, environment=found)


def output(draw: random.Random) -> Case:
    """An output that holds something else."""
    script = draw.choice([each for each in SOUND if each != "predict"])
    own = {"prepare": ("shards", "shards2"), "evaluate": ("tables",)}.get(script, ())
    folders = [each for each in ("teacher", "shards", "shards2", "run", "cache", "tuned", "tables", "tasks", ".",
        "corpus.txt",
                                 "run/student", "run/checkpoints", "teacher/config.json/x") if each not in own]
    extra = ["--overwrite"] if script == "prepare" and draw.random() < 0.3 else []
    return Case(script, "output", ["--output", draw.choice(folders), *extra])


def mismatch(draw: random.Random) -> Case:
    """Sound parts that may not belong together."""
    script = draw.choice(["distill", "distill", "pretrain"])
    folders = ["teacher", "student", "encoder", "run/student", "tuned", "tagger", "2x16", "1x8"]
    arguments = ["--student" if script == "distill" else "--model", draw.choice(folders)]
    arguments += ["--shards", draw.choice(["shards", "shards2"])]
    if script == "distill":
        arguments += [
            "--recipe",
            draw.choice(["total", "partial", "distilbert"]),
            "--teacher",
            draw.choice(folders[:6]),
        ]
        arguments += draw.choice([[], ["--set", "student.vocabulary=own"], ["--set", "student.vocabulary=teacher"]])
        arguments += draw.choice([[], [], ["--teacher-cache", "cache"], ["--teacher-cache", "new"]])
    arguments += draw.choice([[], ["--tokenizer", "student"], ["--tokenizer", "teacher"]])
    return Case(script, "mismatch", arguments, refused=False)


def changed(draw: random.Random) -> Case:
    """A run gone on with, of which something has changed."""
    flags = {"--seed": "7", "--batch-size": "2", "--learning-rate": "0.1", "--shards": "shards2", "--recipe": "mlm",
             "--teacher": "run/student", "--student": "2x8", "--precision": "bfloat16"}
    name = draw.choice([*flags])
    return Case("distill", f"changed {name}", [*_RESUMED, name, flags[name]])


_RESUMED = ["--output", "run", "--teacher-cache", "cache", "--steps", "6", "--set",
            "train.save_every=2", "--resume", "auto"]
KINDS: dict[str, Callable[[random.Random], Case]] = {
    "option": option,
    "option 2": option,
    "option 3": option,
    "name": name,
    "toml": toml,
    "flag": flag,
    "flag 2": flag,
    "path": path,
    "path 2": path,
    "corpus": corpus,
    "task file": task_file,
    "task file 2": task_file,
    "prediction": prediction,
    "evaluation": evaluation,
    "large": large,
    "large 2": large,
    "shape": shape,
    "packed": packed,
    "environment": environment,
    "output": output,
    "mismatch": mismatch,
    "changed": changed,
    "teacher": damaged("distill", "teacher/**/*"),
    "student": damaged("distill", "student/**/*", "--recipe", "partial", "--shards", "shards2", "--student", "student"),
    "tokenizer": damaged("prepare", "teacher/**/*"),
    "pretrain folder": damaged("pretrain", "student/**/*", "--model", "student", "--tokenizer", "student", "--shards",
        "",
                               "--corpus", "corpus.txt", "--max-length", "32"),
    "predict folder": damaged("predict", "teacher/**/*"),
    "tuned folder": damaged("predict", "tuned/**/*", "classify", "--model", "tuned", "Bom."),
    "tagger folder": damaged("predict", "tagger/**/*", "tag", "--model", "tagger", "Maria mora aqui."),
    "answerer folder": damaged("predict", "answerer/**/*", "answer", "--model", "answerer", "--context",
        "context.txt", "Quem?"),
    "finetune folder": damaged("finetune", "teacher/**/*"),
    "finetune teacher": damaged("finetune", "tuned/**/*", "--teacher", "tuned"),
    "evaluate folder": damaged("evaluate", "teacher/**/*"),
    "shards": damaged("distill", "shards/**/*"),
    "verify": damaged("prepare", "shards/*.safetensors", "--output", "shards", "--verify", refused=True),
    "prepared": damaged("prepare", "shards/**/*", "--output", "shards"),
    "checkpoint": damaged("distill", "run/checkpoints/**/*", *_RESUMED, same="run/student/model.safetensors"),
    "run": damaged("distill", "run/*", *_RESUMED),
    "cache": damaged("distill", "cache/**/*", "--teacher-cache", "cache"),
    "resumed tuning": damaged("finetune", "tuned/**/*", "--output", "tuned", "--resume"),
    "tables": damaged("evaluate", "tables/**/*", "--output", "tables"),
}


def case(seed: int, number: int) -> tuple[str, Case]:
    """Case `number` of `seed`, with its kind: kinds take turns."""
    kind = [*KINDS][number % len(KINDS)]
    return kind, KINDS[kind](random.Random(f"{seed} {number}"))


def command_of(made: Case) -> list[str]:
    """All arguments: the sound ones, then the bad ones."""
    if made.script == "predict" and made.arguments and not made.arguments[0].startswith("-"):
        return made.arguments if "--device" in made.arguments else [*made.arguments, "--device", "cpu"]
    return [*SOUND[made.script], *made.arguments]
