"""The terms that are known by name."""

from tinydistil.distill.terms.attention import AttentionMaps as AttentionMaps
from tinydistil.distill.terms.attention import Relations as Relations
from tinydistil.distill.terms.base import TERMS as TERMS
from tinydistil.distill.terms.base import Term as Term
from tinydistil.distill.terms.batchwise import Contrast as Contrast
from tinydistil.distill.terms.batchwise import Similarity as Similarity
from tinydistil.distill.terms.causal import Causal as Causal
from tinydistil.distill.terms.layerwise import Layers as Layers
from tinydistil.distill.terms.replaced_tokens import ReplacedTokens as ReplacedTokens
from tinydistil.distill.terms.representation import Hidden as Hidden
from tinydistil.distill.terms.representation import Pooled as Pooled
from tinydistil.distill.terms.sentences import NextSentence as NextSentence
from tinydistil.distill.terms.sentences import SentenceOrder as SentenceOrder
from tinydistil.distill.terms.vocabulary import Vocabulary as Vocabulary
