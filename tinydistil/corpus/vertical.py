"""BrWaC's vertical format, one token a line between <doc>, <p> and <s> tags.

The file is not well-formed XML: no root element, attributes of any text, tags that may be damaged.
So it is read by line, and whatever is not recognised as a tag is a token.
"""

import re
from collections.abc import Iterator

from tinydistil.corpus.record_stream import BLOCK_BYTES, Cut, Stream

# A document begins at "<doc" and also right after "</doc>", should the next opening tag be damaged.
_BOUNDARY = re.compile(rb"<[ \t]*(?:(?P<opening>doc\b)|/[ \t]*doc\b[^\n]*\n)", re.IGNORECASE)
# A damaged tag may have lost its ">", so a tag runs to the end of its line.
_PARAGRAPH = re.compile(r"\n[ \t]*<[ \t]*/?[ \t]*(?:p|doc)\b[^\n]*", re.IGNORECASE)
_SENTENCE = re.compile(r"\n[ \t]*<[ \t]*/?[ \t]*s\b[^\n]*", re.IGNORECASE)
# Written <g/> throughout brWaC; other corpora have <g /> and <g>.
_GLUE = re.compile(r"\n[ \t]*<[ \t]*/?[ \t]*g\b[^\n]*\n", re.IGNORECASE)
# Left-overs of HTML on lines of their own; a token such as <3 or < has no ">" and stays.
_OTHER_TAG = re.compile(r"\n[ \t]*</?[a-z!?][^<>\n]*>[ \t]*(?=\n)", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(?<![\w-])([\w-]++)\s*+=\s*(?:"([^"\n]*)|'([^'\n]*)|([^\s"'>]+))""")


def vertical_records(stream: Stream, max_bytes: int) -> Iterator[Cut]:
    """The documents of a .vert stream, tags included. Memory is bounded by `max_bytes` and a block."""
    buffer, line, too_long = b"", 1, False
    reason = f"document is longer than {max_bytes} bytes"
    while True:
        block = stream.read1(BLOCK_BYTES)
        *whole, buffer = _cut(buffer + block)
        for piece in whole if block else [*whole, buffer]:
            # The piece after a document given up is that document's own end.
            if not too_long and (len(piece) > max_bytes or _is_document(piece)):
                yield line, reason if len(piece) > max_bytes else piece
            too_long = False
            line += piece.count(b"\n")
        if not block:
            return
        if len(buffer) > max_bytes:
            if not too_long:
                yield line, reason
            too_long = True
            line += buffer.count(b"\n")
            # The unfinished last line may hold half a tag; a line longer than that holds none, and the
            # dot keeps what follows from looking like the beginning of a line.
            last = buffer[buffer.rfind(b"\n") + 1 :]
            buffer = last if len(last) < BLOCK_BYTES else b"."


def _cut(data: bytes) -> list[bytes]:
    """`data` cut where documents begin; the last piece may be unfinished, and is all of it if none is."""
    cuts = [0]
    for match in _BOUNDARY.finditer(data):
        line_start = data.rfind(b"\n", 0, match.start()) + 1
        if data[line_start : match.start()].strip(b" \t"):
            continue  # a token that looks like a tag inside a line
        position = line_start if match["opening"] else match.end()
        if position > cuts[-1]:
            cuts.append(position)
    return [data[start:end] for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]


def _is_document(data: bytes) -> bool:
    """Whether `data` is more than what stands between documents: blank lines, a stray closing tag, a root element's
    tags. A document without tokens is one, to be counted as empty."""
    if data.lstrip()[:4].lower() == b"<doc":
        return True
    return any(line.strip() and not line.lstrip().startswith(b"<") for line in data.split(b"\n"))


def vertical_attributes(text: str) -> dict[str, str]:
    """The attributes of the tag that opens a document, names in lower case; {} where it is damaged away."""
    opening = text.lstrip().partition("\n")[0]
    if not opening.lower().startswith("<doc"):
        return {}
    # The first of a name wins: a title may hold quotes and what looks like attributes.
    return {
        name.lower(): first or second or bare for name, first, second, bare in reversed(_ATTRIBUTE.findall(opening))
    }


def vertical_paragraphs(text: str) -> tuple[tuple[str, ...], ...]:
    """Paragraphs of sentences, tokens joined by a space except around <g/> glue; empty ones left out."""
    # A line end on both sides lets every pattern require one.
    paragraphs = (
        tuple(sentence for part in _SENTENCE.split(paragraph) if (sentence := _join(part)))
        for paragraph in _PARAGRAPH.split(f"\n{text}\n")
    )
    return tuple(paragraph for paragraph in paragraphs if paragraph)


def _join(part: str) -> str:
    # The plain form first: it is thirteen times as fast as the tolerant one, which few sentences need.
    tokens = part.replace("\n<g/>\n", "")
    if "<" in tokens:
        tokens = _OTHER_TAG.sub("", _GLUE.sub("", f"{tokens}\n"))
    return " ".join(tokens.split())
