"""The options of a run that begins with raw text, which is prepared on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinydistil.base.errors import require
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.train.run_config import RunConfig, resolve_run


@dataclass(frozen=True)
class RawRunConfig(RunConfig):
    """A whole run. Its text comes from `shards` (made by scripts/prepare.py) or from `corpus`, prepared as `prepare`
    describes, without what overlaps with `evaluation_sets`."""

    corpus: tuple[str, ...] = ()
    evaluation_sets: tuple[str, ...] = ()
    prepare: PrepareConfig = field(default_factory=PrepareConfig)

    def _check_text(self) -> None:
        require(
            not (self.shards and self.corpus),
            "give --corpus (raw text) or --shards (prepared by scripts/prepare.py), not both",
        )
        require(bool(self.shards or self.corpus), "no text: give --corpus FILE ... or --shards DIR")
        require(
            not (self.shards and self.evaluation_sets),
            "--eval-set cleans raw text of evaluation texts; shards are made already: give it to scripts/prepare.py",
        )


def resolve_raw(values: Mapping[str, object]) -> RawRunConfig:
    """The configuration from nested values, as `resolve_run` does it."""
    require(
        not (values.get("shards") and values.get("prepare")),
        "options of prepare (--max-length ...) are for raw text, but --shards are prepared; leave them out",
    )
    return resolve_run(values, RawRunConfig)
