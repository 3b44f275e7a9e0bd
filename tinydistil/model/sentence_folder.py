"""What makes a folder open in `sentence-transformers`: which vector of the encoder stands for a sentence."""

from pathlib import Path

from tinydistil.errors import InputError, require
from tinydistil.files import write_json
from tinydistil.model.config import BertConfig

# Our names and theirs; its Pooling module knows no pooler.
_MODES = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
_MODULES = {"": "Transformer", "1_Pooling": "Pooling"}


def declare_sentence_encoder(folder: Path, config: BertConfig, *, pooling: str, max_length: int) -> None:
    """Write modules.json, sentence_bert_config.json and 1_Pooling/config.json beside the encoder in `folder`.

    pooling: "cls", "mean" or "max". max_length: tokens beyond which a text is cut. Raises InputError for another
    pooling, or a length that the model has no positions for.
    """
    if pooling not in _MODES:
        raise InputError(f"pooling {pooling!r} cannot be declared; choose one of {', '.join(_MODES)}")
    longest = config.max_position_embeddings
    require(3 <= max_length <= longest, f"max_length must be in 3..{longest}, the model's positions, got {max_length}")
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{name}"}
        for place, (path, name) in enumerate(_MODULES.items())
    ]
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    modes = {f"pooling_mode_{theirs}": ours == pooling for ours, theirs in _MODES.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": config.hidden_size, **modes})
