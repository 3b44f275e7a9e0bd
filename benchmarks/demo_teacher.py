"""Make the demonstration's text, and what its teacher is pretrained from: Machado de Assis alone.

    python benchmarks/demo_teacher.py --data ../shared/data/corpus --package tinydistil/demo/machado.txt.xz --output DIR

DIR gets machado.jsonl (the embedded text without its held-out passages, and the rest of Machado's prose), held_out.txt
and start/, the folder that `scripts/pretrain.py --model DIR/start` goes on from. The same input gives the same bytes.
start/: 3 x 192. A teacher of a few minutes needs a better start than a random one, from which the loss stands at the
frequencies' 6.3 nats for 1,200 steps: words lie where mutual information places them, positions are Fourier's, two
heads of each of the first two layers look at neighbours, and the head's bias is as frequencies are.
"""

import argparse
import gzip
import hashlib
import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from tinydistil.demo.measures import Work, read_works
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import new_shape
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

# Title, first and last piece of the file's "literature_machado-N", and where the work's own text begins.
WORKS = (
    ("Ressurreição", 528, 538, "Naquele dia"),
    ("A Mão e a Luva", 461, 471, "Mas o que pretendes fazer agora?"),
    ("Helena", 427, 443, "O Conselheiro Vale morreu"),
    ("Iaiá Garcia", 445, 460, ""),
    ("Memórias Póstumas de Brás Cubas", 487, 504, "Algum tempo hesitei"),
    ("Casa Velha", 380, 386, "Aqui está o que contava"),
    ("Quincas Borba", 505, 527, "Rubião fitava a enseada"),
    ("Dom Casmurro", 388, 405, ""),
    ("Esaú e Jacó", 406, 426, "Era a primeira vez"),
    ("Memorial de Aires", 472, 486, "Ora bem, faz hoje um ano"),
    ("Papéis Avulsos", 52, 66, ""),
    ("Histórias sem Data", 30, 43, ""),
    ("Várias Histórias", 77, 89, "Hamlet observa a Horácio"),
)
VERSE = range(346, 380)
CHAPTER = re.compile(r"CAPÍTULO (?:[IVXLC]+|PRIMEIRO)\b(?: ?/[^a-zà-ú]*(?=\b[A-ZÀ-Ú][a-zà-ú]|$))?")
# A heading: short, without the punctuation that ends a sentence or lets speech begin.
SENTENCE_END = re.compile(r"[.!?…:;,—][\"”»)’]*$")
PASSAGES_PER_DOCUMENT = 12
LAYERS, WIDTH, POSITIONS, VOCAB_SIZE = 3, 192, 64, 8000
WORD_WIDTH = WIDTH - POSITIONS  # the rest of an embedding says where it stands
WINDOW = 5


def records(data: Path, name: str, source: str) -> dict[int, str]:
    """Texts of one source by their number."""
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = (json.loads(line) for line in lines)
        return {int(each["id"].rsplit("-", 1)[1]): each["text"] for each in found if each["source"] == source}


def paragraphs(text: str) -> Iterator[str]:
    """Lines of running text, without headings and chapter numbers."""
    for line in text.split("\n"):
        clean = " ".join(CHAPTER.sub(" ", line).split())
        if clean and not clean.isupper() and (len(clean) >= 60 or SENTENCE_END.search(clean)):
            yield clean


def work_text(pieces: dict[int, str], first: int, last: int, beginning: str) -> str:
    """One work from its beginning, a paragraph per line."""
    text = "\n".join(pieces[number] for number in range(first, last + 1) if number in pieces)
    return "\n".join(paragraphs(text[text.index(beginning) :]))


def write_jsonl(path: Path, texts: list[str]) -> None:
    """One document per line, and its checksum on the console."""
    lines = [json.dumps({"id": str(i), "text": text}, ensure_ascii=False) + "\n" for i, text in enumerate(texts)]
    content = "".join(lines).encode()
    path.write_bytes(content)
    print(
        f"{path.name}: {len(texts):,} documents, {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
    )


def training_documents(work: Work) -> list[str]:
    """The training passages of a work, some at a time: one that overlaps with held-out text costs only its document."""
    size = PASSAGES_PER_DOCUMENT
    return ["\n".join(run[i : i + size]) for run in work.runs(held_out=False) for i in range(0, len(run), size)]


def word_vectors(sequences: list[NDArray[np.int64]], vocab_size: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors (V, WORD_WIDTH) of tokens: the SVD of positive PMI within WINDOW tokens (Levy et al. 2015)."""
    ids = np.concatenate([np.append(each, [-1] * WINDOW) for each in sequences])  # no window reaches into the next text
    counts = scipy.sparse.csr_matrix((vocab_size, vocab_size))
    for distance in range(1, WINDOW + 1):
        left, right = ids[:-distance], ids[distance:]
        both = (left >= 0) & (right >= 0)
        weights = np.full(both.sum(), 1 / distance)
        counts = counts + scipy.sparse.coo_matrix((weights, (left[both], right[both])), counts.shape).tocsr()
    counts = (counts + counts.T).tocoo()
    totals = np.asarray(counts.tocsr().sum(1)).ravel()
    smooth = totals**0.75
    pmi = np.log(counts.data * smooth.sum() / (totals[counts.row] * smooth[counts.col]))
    positive = scipy.sparse.csr_matrix((np.maximum(pmi, 0), (counts.row, counts.col)), counts.shape)
    random = np.random.default_rng(seed)
    left, values, _ = svds(positive, k=WORD_WIDTH, v0=random.standard_normal(vocab_size))
    rotation, _ = np.linalg.qr(random.standard_normal((WORD_WIDTH, WORD_WIDTH)))  # else few numbers would hold most
    found = left * np.sqrt(values) @ rotation
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return np.where(norms > 1e-6, found / np.maximum(norms, 1e-6), 0).astype(np.float32)


def fourier(positions: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors (len(positions), POSITIONS) of unit variance; those of two positions are orthogonal or nearly."""
    angles = positions[:, None] * (np.pi * np.arange(1, POSITIONS // 2 + 1) / (POSITIONS // 2))
    return (np.concatenate([np.sin(angles), np.cos(angles)], 1) * 2**0.5).astype(np.float32)


def shift(distance: int) -> NDArray[np.float32]:
    """The rotation (POSITIONS, POSITIONS) that takes a position's vector to that of the one `distance` further on."""
    angles = distance * np.pi * np.arange(1, POSITIONS // 2 + 1) / (POSITIONS // 2)
    sine, cosine = np.diag(np.sin(angles)), np.diag(np.cos(angles))
    return np.block([[cosine, sine], [-sine, cosine]]).astype(np.float32)


def write_start(folder: Path, texts: list[str]) -> None:
    """The model that pretraining goes on from."""
    tokenizer = train_wordpiece(texts, VOCAB_SIZE)
    sequences = [np.array(each.ids, np.int64) for each in tokenizer.encode_all(texts, add_special=False)]
    shape = new_shape(LAYERS, WIDTH, tokenizer.vocab_size).replace(
        pad_token_id=tokenizer.pad_id, max_position_embeddings=POSITIONS, initializer_range=0.05
    )
    torch.manual_seed(0)
    model = BertForMaskedLM(shape)
    counts = np.bincount(np.concatenate(sequences), minlength=tokenizer.vocab_size)
    with torch.no_grad():
        vectors = torch.from_numpy(word_vectors(sequences, tokenizer.vocab_size)) * 0.05 * WORD_WIDTH**0.5
        embeddings = model.bert.embeddings
        embeddings.word.weight[:, :WORD_WIDTH] = torch.where(
            vectors.any(1, keepdim=True), vectors, embeddings.word.weight[:, :WORD_WIDTH]
        )
        embeddings.word.weight[:, WORD_WIDTH:] = 0
        embeddings.position.weight[:, :WORD_WIDTH] = 0
        embeddings.position.weight[:, WORD_WIDTH:] = torch.from_numpy(fourier(np.arange(POSITIONS))) * 0.05
        for layer, head, distance in ((0, 0, -1), (0, 1, 1), (1, 0, -2), (1, 1, 2)):
            query, key, _ = model.bert.layers[layer].attention.qkv.weight.view(3, WIDTH // 64, 64, WIDTH)[:, head]
            query[:], key[:] = 0, 0
            query[:, WORD_WIDTH:], key[:, WORD_WIDTH:] = torch.from_numpy(shift(distance)), torch.eye(64)
        model.masked_lm.bias.copy_(
            torch.from_numpy(np.log((counts + 0.1) / counts.sum())) + np.log(tokenizer.vocab_size)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Write the package's file, then what follows from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with literature.jsonl.gz")
    parser.add_argument("--package", type=Path, required=True, help="what to write: the text, or the teacher's folder")
    parser.add_argument("--output", type=Path, help="folder for the teacher's corpus and start")
    parser.add_argument("--halve", type=Path, metavar="DIR", help="write this model in 16 bits into --package instead")
    args = parser.parse_args()
    if args.halve is not None:
        BertForMaskedLM.from_pretrained(args.halve, heads="require").half().save_pretrained(args.package)
        Tokenizer.from_pretrained(args.halve).save_pretrained(args.package)
        return
    pieces = records(args.data, "literature", "literature_machado")
    texts = [f"# {title}\n{work_text(pieces, first, last, begins)}\n" for title, first, last, begins in WORKS]
    content = "".join(texts).encode()
    args.package.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    print(f"{args.package.name}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    works = read_works(content)
    args.output.mkdir(parents=True, exist_ok=True)
    held_out = [passage for work in works for run in work.runs(held_out=True) for passage in run]
    (args.output / "held_out.txt").write_text("\n".join(held_out) + "\n", encoding="utf-8")
    machado = [document for work in works for document in training_documents(work)]
    used = {number for _, first, last, _ in WORKS for number in range(first, last + 1)}
    rest = ["\n".join(paragraphs(text)) for number, text in pieces.items() if number not in used | {*VERSE}]
    write_jsonl(args.output / "machado.jsonl", machado + rest)
    write_start(args.output / "start", machado + rest)


if __name__ == "__main__":
    main()
