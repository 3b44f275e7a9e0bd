"""Portuguese of our own making: sentences, documents and labelled tasks from a grammar, for runs without a network.

Everything is a pure function of (seed, index): the same on every machine, in any order.

    from tinydistil.demo.embedded.documents import documents      # texts of 4 to 12 sentences
    from tinydistil.demo.embedded.sentences import sentences      # single sentences of all patterns
    from tinydistil.demo.embedded.similarity import similarity_pairs
    from tinydistil.demo.embedded.entailment import entailment_pairs
    from tinydistil.demo.embedded.sentiment import sentiment_texts
"""
