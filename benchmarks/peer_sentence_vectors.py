"""Sentence vectors as other libraries distil them, for bench_time_to_quality.py: three stages, each a process.

text: raw text to a vocabulary, the one that scripts/distill.py learns, and to cleaned sentences in random order.
student: sentence-transformers' example `model_distillation.py`: the teacher in float32 encodes each sentence, PCA makes
the student's width of it, MSE, batches of 64, AdamW, rate 1e-4, a tenth of warmup, then linear decay, one epoch. Two
things are kinder to it than the example: what PCA is fitted on is encoded once, not twice, and no score is taken during
training. The loop is the library's `old_fit`, which has the updates of its trainer and needs no `datasets`; the student
begins with random weights.
static: as model2vec does (Tulkens & van Dongen 2024): the teacher in float32 encodes each of its own tokens alone, PCA
to 256, less weight for the frequent (SIF by Zipf's law, 1e-4); a text is the mean of its tokens. Order and constants
are those of the package's `distill`.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import InputExample, SentenceTransformer, losses
from sentence_transformers.models import StaticEmbedding
from sklearn.decomposition import PCA
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from tinydistil.base.errors import require, run_script
from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.document_step import sentences_of
from tinydistil.corpus.prepare_config import PrepareConfig, find_files
from tinydistil.corpus.raw_text import MOST_CHARACTERS
from tinydistil.corpus.readers import parse_record, read_items
from tinydistil.corpus.records import BadRecord
from tinydistil.model.bert import BertModel
from tinydistil.model.config import Shape, new_shape
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

VOCABULARY, SENTENCES, BARE = "vocabulary", "sentences.txt", "bare"
# Shorter ones are scraps; these bounds are about those of recipe `vectors`, 5 to 40 tokens.
WORDS = range(3, 31)
PCA_SENTENCES = 40_000
BATCH = 64
STATIC_WIDTH, SIF = 256, 1e-4


def main() -> None:
    """One stage of the command line."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    STAGES[args.stage](args)


def write_text(args: argparse.Namespace) -> None:
    """OUTPUT/vocabulary and OUTPUT/sentences.txt."""
    config, texts, sentences, left = PrepareConfig(), list[str](), list[str](), MOST_CHARACTERS
    for record in read_items(find_files([str(args.corpus)]), config.read):
        document = parse_record(record, config.read)
        if isinstance(document, BadRecord) or (cleaned := clean_document(document, config.clean)).dropped_by:
            continue
        texts.append(cleaned.document.text)
        sentences += [each for each in sentences_of(cleaned.document) if len(each.split()) in WORDS]
        left -= len(texts[-1])
        if left <= 0:
            break
    train_wordpiece(texts, args.vocab_size, lowercase=True).save_pretrained(args.output / VOCABULARY)
    sentences = list(dict.fromkeys(sentences))
    random.Random(args.seed).shuffle(sentences)
    (args.output / SENTENCES).write_text("\n".join(sentences), encoding="utf-8")


def distil_student(args: argparse.Namespace) -> None:
    """A student of --shape that follows the teacher on --sentences of --text."""
    sentences = (args.text / SENTENCES).read_text(encoding="utf-8").split("\n")
    require(len(sentences) >= args.sentences, f"--sentences {args.sentences}: the corpus has {len(sentences)}")
    sentences = sentences[: args.sentences]
    words, bare = Tokenizer.from_pretrained(args.text / VOCABULARY), args.output / BARE
    require((shape := Shape.of(args.shape)) is not None, f"--shape is LAYERSxWIDTH, such as 2x128, got {args.shape!r}")
    config = new_shape(shape.layers, shape.width, words.vocab_size, *shape[2:])
    BertModel(config, pooler=False).save_pretrained(bare)
    words.save_pretrained(bare)
    student = SentenceTransformer(str(bare), device="cpu")  # of such a folder: its encoder and mean pooling
    teacher = SentenceTransformer(str(args.teacher), device="cpu", model_kwargs={"dtype": torch.float32})
    vectors = teacher.encode(sentences, batch_size=BATCH, prompt=args.teacher_prefix, show_progress_bar=False)
    pca = PCA(n_components=config.hidden_size).fit(vectors[:PCA_SENTENCES])
    labels = vectors @ pca.components_.T  # not centred, as by the example's Dense layer without a bias
    examples = [InputExample(texts=[text], label=label) for text, label in zip(sentences, labels, strict=True)]
    batches = DataLoader(examples, shuffle=True, batch_size=BATCH)
    student.old_fit(
        [(batches, losses.MSELoss(student))], epochs=1, warmup_steps=len(batches) // 10, weight_decay=0.0,
        optimizer_params={"lr": args.learning_rate}, show_progress_bar=False, output_path=str(args.output / "student"),
    )  # fmt: skip


@torch.no_grad()
def distil_static(args: argparse.Namespace) -> None:
    """Word vectors of the teacher's own vocabulary."""
    tokenizer = AutoTokenizer.from_pretrained(args.teacher)
    model = AutoModel.from_pretrained(args.teacher, dtype=torch.float32).eval()
    ids = torch.arange(len(tokenizer))
    first, *_, last = tokenizer("A").input_ids
    # The end before it and the start behind: better on the package's own benchmarks.
    alone = torch.stack([torch.full_like(ids, last), ids, torch.full_like(ids, first)], 1)  # (V, 3)
    vectors = torch.cat([model(some).last_hidden_state.mean(1) for some in alone.split(1024)]).numpy()
    vectors = PCA(n_components=min(STATIC_WIDTH, *vectors.shape), svd_solver="full").fit_transform(vectors)
    shares = 1 / np.arange(2, len(ids) + 2)
    vectors *= (SIF / (SIF + shares / shares.sum()))[:, None]
    module = StaticEmbedding(tokenizer, embedding_weights=np.ascontiguousarray(vectors, np.float32))
    SentenceTransformer(modules=[module], device="cpu").save(str(args.output / "student"))


STAGES = {"text": write_text, "student": distil_student, "static": distil_static}


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--corpus", type=Path, help="text: raw text")
    parser.add_argument("--vocab-size", type=int, default=29_500, help="text: of the vocabulary (default 29500)")
    parser.add_argument("--text", type=Path, metavar="DIR", help="student: what stage text wrote")
    parser.add_argument("--teacher", type=Path, metavar="DIR", help="student, static: its folder")
    parser.add_argument("--teacher-prefix", default="", metavar="TEXT", help="student: before each text")
    parser.add_argument("--shape", default="2x128", help="student: of what it trains (default 2x128)")
    parser.add_argument("--sentences", type=int, help="student: that it learns from")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="student: its peak (default 1e-4)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    return parser.parse_args()


if __name__ == "__main__":
    run_script(main)
