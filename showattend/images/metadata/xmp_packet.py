"""The description in an XMP packet: read, and written without changing the rest of the packet.

A packet is XML (ISO 16684-1). It is parsed to find positions, and then edited as text: whatever is
not replaced keeps every byte, with its prefixes, comments, processing instructions and padding.

The description is ``dc:description``, an ``rdf:Alt`` of languages. Two more properties record that
this program wrote it: ``photoshop:CaptionWriter``, the IPTC's field for who wrote the description,
and the text itself in our own namespace. If the two texts differ, someone has edited the
description since, and it is theirs.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from showattend.exceptions import DataError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XML = "http://www.w3.org/XML/1998/namespace"
DC = "http://purl.org/dc/elements/1.1/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
OURS = "urn:x-showattend:1.0/"
PREFIXES = {DC: "dc", PHOTOSHOP: "photoshop", OURS: "showattend"}

MAX_BYTES = 16_000_000
"""Larger packets are refused."""

MOST_ELEMENTS = 500_000
"""Packets with more are refused: each takes a hundred times the memory of its four bytes."""
MOST_ATTRIBUTES = 100_000
"""Elements with more are refused: each takes over a kilobyte while it is parsed."""
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso8859-1", "ascii")
"""Others are refused: some of Python's need minutes for a packet of the allowed size."""

WRITER = "showattend"
"""The beginning of ``photoshop:CaptionWriter`` in this program's packets."""

_START_TAG = re.compile(rb"""<(?P<name>[^\s<>/="']+)(?:[^<>"']|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE = re.compile(rb"""\s+(?P<name>[^\s=]+)(?P<value>\s*=\s*(?:"[^"]*"|'[^']*'))""")
_DECLARED = re.compile(r"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


class Description(NamedTuple):
    """The description of a photograph.

    Attributes:
        text: The text in the default language.
        ours: Whether this program wrote it, and it is unchanged since.
    """

    text: str
    ours: bool


class _Element:
    """An element, and its position in the packet.

    Attributes:
        name: The namespace and the local name, separated by a space.
        attributes: The attributes' values by such names.
        start: The offset of its start tag.
        inside: The offset after its start tag.
        close: The offset of its end tag; None if the element is one empty tag.
        end: The offset after the element.
        pieces: Its own text, in the pieces that the parser found.
    """

    __slots__ = ("attributes", "children", "close", "end", "inside", "name", "pieces", "start")

    def __init__(self, name: str, attributes: dict[str, str], start: int, inside: int) -> None:
        self.name, self.attributes = name, attributes
        self.start, self.inside, self.end = start, inside, inside
        self.close: int | None = None
        self.children: list[_Element] = []
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """Its own text, without that of its children."""
        return "".join(self.pieces)

    def walk(self) -> Iterator[_Element]:
        """The element and all elements within it, in document order."""
        waiting = [self]
        while waiting:
            each = waiting.pop()
            yield each
            waiting += reversed(each.children)

    def named(self, name: str) -> list[_Element]:
        """The children of this name."""
        return [child for child in self.children if child.name == name]


class _Packet:
    """A parsed packet, and the edits to it.

    Args:
        packet: The packet, in one of `ENCODINGS`.

    Raises:
        DataError: It is not XMP, or is not safe to parse.
    """

    def __init__(self, packet: bytes) -> None:
        self.mark, self.codec = next(
            ((mark, codec) for mark, codec in _MARKS if packet.startswith(mark)), (b"", "")
        )
        try:
            self.codec = self.codec or _codec(packet)
            whole = packet[len(self.mark) :].decode(self.codec)
            content = whole.rstrip("\0")  # some writers end with a zero byte, as in C
            self.content, self.tail = content.encode(), whole[len(content) :]
        except (UnicodeError, LookupError):
            raise DataError("its XMP is not text in the encoding that it states") from None
        self.edits: list[tuple[int, int, str]] = []
        root = self._parse()
        found = next((each for each in root.walk() if each.name == f"{RDF} RDF"), None)
        if found is None:
            raise DataError("its XMP has no rdf:RDF element")
        self.rdf = found
        self.blocks = found.named(f"{RDF} Description")

    def _parse(self) -> _Element:
        if max(piece.count(b"=") for piece in self.content.split(b"<")) > MOST_ATTRIBUTES:
            raise DataError(f"its XMP has more than {MOST_ATTRIBUTES:,} attributes in one element")
        open_elements = [_Element("", {}, 0, 0)]
        parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        count = 0

        def refuse(*_: object) -> None:
            raise DataError("its XMP has a document type declaration, which XMP does not allow")

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal count
            count += 1
            if count > MOST_ELEMENTS:
                raise DataError(f"its XMP has more than {MOST_ELEMENTS:,} elements")
            at = parser.CurrentByteIndex
            tag = _START_TAG.match(self.content, at)
            if tag is None:
                raise DataError("its XMP cannot be edited safely")
            element = _Element(name, attributes, at, tag.end())
            open_elements[-1].children.append(element)
            open_elements.append(element)

        def end(_: str) -> None:
            element = open_elements.pop()
            if self.content[element.inside - 2 : element.inside] != b"/>":
                element.close = parser.CurrentByteIndex
                element.end = self.content.index(b">", element.close) + 1

        def text(data: str) -> None:
            open_elements[-1].pieces.append(data)

        parser.StartDoctypeDeclHandler = refuse
        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.CharacterDataHandler = text
        try:
            parser.Parse(self.content, True)
        except expat.ExpatError as error:
            raise DataError(f"its XMP is not valid XML ({error})") from None
        return open_elements[0]

    def element(self, space: str, local: str) -> _Element | None:
        """The first element of a property."""
        found = (each for block in self.blocks for each in block.named(f"{space} {local}"))
        return next(found, None)

    def attribute(self, space: str, local: str) -> tuple[_Element, str] | None:
        """The first block that has a property as an attribute, with its value."""
        name = f"{space} {local}"
        found = ((block, block.attributes.get(name)) for block in self.blocks)
        return next(((block, value) for block, value in found if value is not None), None)

    def plain(self, space: str, local: str) -> str | None:
        """The value of a property that is plain text."""
        if element := self.element(space, local):
            return element.text
        found = self.attribute(space, local)
        return found and found[1]

    def set_plain(self, space: str, local: str, value: str) -> str:
        """Set a property; returns what must be added if it is missing."""
        written = _property(space, local, escape(value))
        if element := self.element(space, local):
            self.edits.append((element.start, element.end, written.strip()))
        elif found := self.attribute(space, local):
            self._set_attribute(found[0], space, local, f"={quoteattr(value)}")
        else:
            return written
        return ""

    def _set_attribute(self, block: _Element, space: str, local: str, value: str | None) -> None:
        """Replace the value of an attribute, or with None remove the attribute."""
        tag = self.content[block.start : block.inside]
        # The prefix may be declared by any element around this one.
        declared = rf"""\sxmlns:([^\s=]+)\s*=\s*["']{re.escape(space)}["']"""
        prefixes = set(re.findall(declared.encode(), self.content[: block.inside]))
        for match in _ATTRIBUTE.finditer(tag):
            prefix, _, name = match["name"].rpartition(b":")
            if name.decode() == local and prefix in prefixes:
                begin = match.start() if value is None else match.start("value")
                self.edits.append((block.start + begin, block.start + match.end(), value or ""))
                return
        raise DataError("its XMP cannot be edited safely")

    def alternatives(self) -> list[_Element]:
        """The texts of the description, one for each language."""
        element = self.element(DC, "description")
        lists = element.named(f"{RDF} Alt") if element else []
        return lists[0].named(f"{RDF} li") if lists else []

    def description(self) -> str:
        """The text of the description in the default language; empty if there is none."""
        texts = self.alternatives()
        default = [each for each in texts if _language(each) == "x-default"]
        if texts:
            return (default or texts)[0].text.strip()
        if element := self.element(DC, "description"):
            return " ".join("".join(each.text for each in element.walk()).split())
        return (self.plain(DC, "description") or "").strip()

    def set_description(self, text: str, language: str) -> str:
        """Set the description; returns what must be added if it is missing."""
        texts, element = self.alternatives(), self.element(DC, "description")
        if element is None or not texts:
            written = _property(DC, "description", _languages(text, language))
            if element is not None:
                self.edits.append((element.start, element.end, written.strip()))
                return ""
            if found := self.attribute(DC, "description"):
                self._set_attribute(found[0], DC, "description", None)
            return written
        name = self._tag_name(texts[0])
        added = ""
        for each in dict.fromkeys(("x-default", language)):
            there = [item for item in texts if _language(item) == each.lower()]
            if not there:
                added += f'<{name} xml:lang="{each}">{escape(text)}</{name}>'
            for item in there:
                if item.close is None:
                    self.edits.append((item.end - 2, item.end, f">{escape(text)}</{name}>"))
                else:
                    self.edits.append((item.inside, item.close, escape(text)))
        before = texts[0].start
        self.edits.append((before, before, added))
        return ""

    def add(self, properties: str) -> None:
        """Add properties in a block of their own, with the same rdf:about as the others."""
        about = next(
            (
                each.attributes[name]
                for each in self.blocks
                for name in (f"{RDF} about", "about")
                if name in each.attributes
            ),
            "",
        )
        block = (
            f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={quoteattr(about)}>\n'
            f"{properties} </rdf:Description>\n"
        )
        if self.rdf.close is None:
            name = self._tag_name(self.rdf)
            self.edits.append((self.rdf.end - 2, self.rdf.end, f">\n {block}</{name}>"))
        else:
            self.edits.append((self.rdf.close, self.rdf.close, f" {block} "))

    def edited(self) -> bytes:
        """The packet with the edits, in its own encoding."""
        pieces, at = [], 0
        for begin, end, text in sorted(self.edits, key=lambda edit: edit[:2]):
            pieces += [self.content[at:begin], text.encode()]
            at = end
        whole = b"".join([*pieces, self.content[at:]]).decode()
        return self.mark + (whole + self.tail).encode(self.codec, "xmlcharrefreplace")

    def _tag_name(self, element: _Element) -> str:
        tag = _START_TAG.match(self.content, element.start)
        assert tag is not None  # it matched when the element was found
        return tag["name"].decode()


def _codec(packet: bytes) -> str:
    """The encoding of a packet without a byte order mark."""
    if packet.startswith(b"<\0"):
        return "utf-16-le"
    if packet.startswith(b"\0<"):
        return "utf-16-be"
    declared = _DECLARED.match(packet[:200].decode("ascii", "replace"))
    found = codecs.lookup(declared[1]).name if declared else "utf-8"
    if found not in ENCODINGS:
        raise DataError(f"its XMP is in the encoding {found}; XMP is written in UTF-8 or UTF-16")
    return found


def _language(item: _Element) -> str:
    return item.attributes.get(f"{XML} lang", "").lower()


def _property(space: str, local: str, content: str) -> str:
    name = f"{PREFIXES[space]}:{local}"
    return f'  <{name} xmlns:{PREFIXES[space]}="{space}">{content}</{name}>\n'


def _languages(text: str, language: str) -> str:
    items = "".join(
        f'\n    <rdf:li xml:lang="{each}">{escape(text)}</rdf:li>'
        for each in dict.fromkeys(("x-default", language))
    )
    return f'\n   <rdf:Alt xmlns:rdf="{RDF}">{items}\n   </rdf:Alt>\n  '


def _is_blank(packet: bytes) -> bool:
    if len(packet) > MAX_BYTES:
        raise DataError(f"its XMP is larger than {MAX_BYTES // 1_000_000} MB")
    return not packet.strip(b"\0\t\r\n ")


def read_description(packet: bytes) -> Description:
    """Read the description of a packet.

    Args:
        packet: The packet, or only white space.

    Returns:
        The description; its text is empty if there is none.

    Raises:
        DataError: The packet is not XMP, or is not safe to parse.
    """
    if _is_blank(packet):
        return Description("", ours=False)
    parsed = _Packet(packet)
    text, written = parsed.description(), (parsed.plain(OURS, "Caption") or "").strip()
    # Any text that someone has added, in any language, makes it theirs.
    texts = {text, *(each.text.strip() for each in parsed.alternatives())}
    return Description(text, ours=bool(text) and texts == {written})


def with_description(packet: bytes, text: str, language: str, writer: str) -> bytes:
    """Set the description of a packet; other languages and everything else stay.

    Args:
        packet: The packet; if it is only white space, a new one is made.
        text: The description.
        language: Its language, a BCP 47 tag: en, pt-BR.
        writer: Who wrote it: this program, its version and the model.

    Raises:
        DataError: The packet is not XMP, or is not safe to parse.
    """
    text, writer = (" ".join(_NOT_XML.sub("", each).split()) for each in (text, writer))
    parsed = _Packet(_EMPTY.encode() if _is_blank(packet) else packet)
    added = parsed.set_description(text, language)
    before = parsed.plain(PHOTOSHOP, "CaptionWriter")
    if not before or before.startswith(WRITER):  # otherwise a person's name
        added += parsed.set_plain(PHOTOSHOP, "CaptionWriter", writer)
    added += parsed.set_plain(OURS, "Caption", text)
    added += parsed.set_plain(OURS, "Writer", writer)
    if added:
        parsed.add(added)
    return parsed.edited()
