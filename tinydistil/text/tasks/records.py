"""What task files hold: labelled texts and pairs, tagged sentences, questions with their answers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, or a pair of texts, and its label: a class's name, or a number's spelling where a number is asked for."""

    text: str
    second: str | None
    label: str


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """Words and their tags, equally many."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question on a context; `answers` are (text, first character in the context), each a right one."""

    identifier: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
