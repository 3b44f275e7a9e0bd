"""tinydistil: distil BERTimbau into a 4.4-million-parameter Portuguese BERT, in pure PyTorch."""

__version__ = "0.1.0"
