"""The terms that are known by name."""

from tinydistil.distill.terms.base import term_of as term_of
from tinydistil.distill.terms.representation import Hidden as Hidden
from tinydistil.distill.terms.representation import Pooled as Pooled
from tinydistil.distill.terms.vocabulary import Vocabulary as Vocabulary
