"""Portuguese of our own making: sentences, documents and labelled tasks from a grammar, for runs without a network.

Everything is a pure function of (seed, index): the same on every machine, in any order.

    from tinydistil.text.embedded.documents import documents      # texts of 4 to 12 sentences
    from tinydistil.text.embedded.sentences import sentences      # single sentences of all patterns
    from tinydistil.text.embedded.similarity import similarity_pairs
    from tinydistil.text.embedded.entailment import entailment_pairs
    from tinydistil.text.embedded.sentiment import sentiment_texts
"""
