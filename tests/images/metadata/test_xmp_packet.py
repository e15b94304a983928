"""Descriptions in XMP packets: read safely, written without losing anything."""

from __future__ import annotations

import codecs
import time
from xml.etree import ElementTree

import pytest

from showattend.exceptions import DataError
from showattend.images.metadata import xmp_packet
from showattend.images.metadata.xmp_packet import read_description, with_description

WRITER = "showattend 0.1.0 (everyday)"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

LIGHTROOM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- kept by hand: é -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:faf5bdd5"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/'
   xmp:Rating="4" crs:Look=">a's &lt; &amp; b"
   xmp:CreatorTool="Adobe Photoshop Lightroom Classic 13.0">
   <?strange instruction?>
   <xmp:Label><![CDATA[a <b> c]]></xmp:Label>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
PADDING
<?xpacket end="w"?>\0""".replace("PADDING", " " * 40)


def people(content: str, namespaces: str = "") -> bytes:
    """A packet with one property, as another program would write it."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-'
        'syntax-ns#"><r:Description r:about="" xmlns:d="http://purl.org/dc/elements/1.1/" '
        f"{namespaces}>{content}</r:Description></r:RDF></x:xmpmeta>"
    ).encode()


def languages(packet: bytes) -> dict[str, str]:
    """The description's languages, by another parser."""
    root = ElementTree.fromstring(packet.rstrip(b"\0"))
    (alt,) = root.iterfind(f".//{{http://purl.org/dc/elements/1.1/}}description/{RDF}Alt")
    return {item.get(LANG, ""): item.text or "" for item in alt}


@pytest.mark.parametrize("empty", [b"", b" \n\0"])
def test_a_new_packet(empty: bytes) -> None:
    packet = with_description(empty, "A dog & a <cat>.", "en", WRITER)
    assert languages(packet) == dict.fromkeys(("x-default", "en"), "A dog & a <cat>.")
    assert read_description(packet) == ("A dog & a <cat>.", True)
    assert packet.startswith('<?xpacket begin="\ufeff"'.encode())
    for record in (WRITER, "CaptionWriter"):
        assert record.encode() in packet


def test_only_lines_are_added_to_a_packet() -> None:
    before = LIGHTROOM.encode()
    after = with_description(before, "A dog.", "en", WRITER)
    at = before.index(b"</rdf:RDF>")
    assert after.startswith(before[:at])
    assert after.endswith(before[at:])
    assert b'rdf:about="uuid:faf5bdd5">' in after[at : -len(before[at:])]
    assert languages(after) == {"x-default": "A dog.", "en": "A dog."}


def test_writing_it_again_changes_only_the_text() -> None:
    first = with_description(LIGHTROOM.encode(), "A dog.", "en", WRITER)
    assert with_description(first, "A dog.", "en", WRITER) == first
    second = with_description(first, "A cat.", "en", WRITER)
    assert second == first.replace(b"A dog.", b"A cat.")
    assert read_description(second).ours


def test_other_languages_and_writers_stay() -> None:
    before = people(
        "<d:description><r:Alt><!-- two --><r:li xml:lang='x-default'>Rex</r:li>"
        '<r:li xml:lang="de">Rex, im Garten</r:li></r:Alt></d:description>'
        "<p:CaptionWriter>Ada</p:CaptionWriter>",
        'xmlns:p="http://ns.adobe.com/photoshop/1.0/"',
    )
    assert read_description(before) == ("Rex", False)
    after = with_description(before, "A dog.", "en", WRITER)
    assert languages(after) == {"en": "A dog.", "x-default": "A dog.", "de": "Rex, im Garten"}
    assert b"<!-- two -->" in after
    assert b"<p:CaptionWriter>Ada</p:CaptionWriter>" in after
    assert not read_description(after).ours, "somebody's words are among them"


def test_an_edited_description_is_no_longer_ours() -> None:
    packet = with_description(b"", "A dog.", "en", WRITER)
    place = b'"x-default">'
    for edited in (
        packet.replace(place + b"A dog.", place + b"Rex."),
        packet.replace(b'"en">A dog.', b'"en">Rex.'),
    ):
        assert edited != packet
        assert not read_description(edited).ours


@pytest.mark.parametrize(
    ("content", "namespaces"),
    [
        ("<d:description>Rex</d:description>", ""),
        ("<d:description><r:Bag><r:li>Rex</r:li></r:Bag></d:description>", ""),
        ("<d:title/>", "\n d:description = 'Rex'"),
        ('<d:description><r:Alt><r:li xml:lang="x-default">Rex</r:li></r:Alt></d:description>', ""),
    ],
)
def test_every_form_of_a_description_is_found_and_replaced(content: str, namespaces: str) -> None:
    before = people(content, namespaces)
    assert read_description(before) == ("Rex", False)
    after = with_description(before, "A dog.", "en", WRITER)
    assert languages(after) == {"x-default": "A dog.", "en": "A dog."}
    assert b"Rex" not in after
    assert read_description(after).ours


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<d:description/>",
        "<d:description><r:Alt/></d:description>",
        '<d:description><r:Alt><r:li xml:lang="x-default"/></r:Alt></d:description>',
    ],
)
def test_an_empty_description_is_filled(content: str) -> None:
    before = people(content)
    assert read_description(before) == ("", False)
    after = with_description(before, "A dog.", "pt-BR", WRITER)
    assert languages(after) == {"x-default": "A dog.", "pt-BR": "A dog."}


def test_properties_that_another_program_made_attributes() -> None:
    """As exiv2 and Adobe write them."""
    before = people(
        "",
        'xmlns:p="http://ns.adobe.com/photoshop/1.0/" xmlns:s="urn:x-showattend:1.0/" '
        "p:CaptionWriter = 'showattend 0.0.9' s:Caption=\"x\" p:City='s:Caption=\"y\"'",
    )
    after = with_description(before, 'A "dog".', "en", WRITER)
    assert f'p:CaptionWriter="{WRITER}"'.encode() in after
    assert b"s:Caption='A \"dog\".'" in after
    assert b"p:City='s:Caption=\"y\"'" in after
    assert read_description(after) == ('A "dog".', True)


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"])
def test_packets_keep_their_encoding(codec: str) -> None:
    text = LIGHTROOM.replace("\ufeff", "").rstrip("\0")
    if codec == "latin-1":
        text = f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{text}'
    before = text.encode(codec)
    after = with_description(before, "A dög, 犬.", "en", WRITER)
    at = text.index("</rdf:RDF>")
    assert after.startswith(text[:at].encode(codec))
    assert read_description(after) == ("A dög, 犬.", True)
    assert after.startswith(codecs.BOM_UTF8) == (codec == "utf-8-sig")


def test_a_packet_with_nothing_in_it() -> None:
    before = b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
    after = with_description(before, "A dog.\0\x07", "en", WRITER)
    assert read_description(after) == ("A dog.", True)


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "document type declaration"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "document type declaration"),
        (b"<x>", "not valid XML"),
        (b"<x/>", "no rdf:RDF"),
        (b"plain text", "not valid XML"),
        (b"\xff<x/>", "encoding"),
        (b'<?xml version="1.0" encoding="none-such"?><x/>', "encoding"),
        (b"<x>&a;</x>", "not valid XML"),
    ],
)
def test_what_is_not_safe_is_refused(packet: bytes, message: str) -> None:
    for do in (
        lambda: read_description(packet),
        lambda: with_description(packet, "A dog.", "en", WRITER),
    ):
        with pytest.raises(DataError, match=message):
            do()


def test_a_huge_packet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmp_packet, "MAX_BYTES", 1_000_000)
    with pytest.raises(DataError, match="larger than 1 MB"):
        read_description(LIGHTROOM.encode() + b" " * 1_000_000)


def test_deep_nesting_is_no_matter() -> None:
    deep = "<d:a>" * 5000 + "</d:a>" * 5000
    assert read_description(with_description(people(deep), "A dog.", "en", WRITER)).ours


@pytest.mark.parametrize("codec", ["punycode", "idna", "utf-7", "cp1252", "unicode_escape"])
def test_other_encodings_are_refused(codec: str) -> None:
    """Some of Python's take time that grows with the square of the text."""
    packet = f'<?xml version="1.0" encoding="{codec}"?>'.encode() + people("")
    with pytest.raises(DataError, match="its XMP is in the encoding"):
        read_description(packet)


def test_many_elements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmp_packet, "MOST_ELEMENTS", 1000)
    assert read_description(people("<d:a/>" * 990)).text == ""
    with pytest.raises(DataError, match="more than 1,000 elements"):
        read_description(people("<d:a/>" * 1001))
    monkeypatch.setattr(xmp_packet, "MOST_ATTRIBUTES", 100)
    with pytest.raises(DataError, match="more than 100 attributes in one element"):
        read_description(people(f"<d:a {' '.join(f'a{n}=1' for n in range(101))}/>"))


def test_the_time_grows_with_the_length() -> None:
    """Of text between elements, and of attributes that many prefixes have."""

    def seconds(count: int) -> float:
        text = "x" * 40 + "<d:a/>"
        names = " ".join(f'p{n}:description=""' for n in range(count))
        spaces = " ".join(f'xmlns:p{n}="urn:{n}"' for n in range(count))
        packet = people(text * count, f'{spaces} d:description="A cat." {names}')
        began = time.process_time()
        assert read_description(packet).text == "A cat."
        assert read_description(with_description(packet, "A dog.", "en", WRITER)).text == "A dog."
        return time.process_time() - began

    seconds(100)
    assert seconds(4_000) < 16 * seconds(500) + 0.5


@pytest.mark.parametrize("writer", ["showattend 1 (a\x1bb)", "showattend 1 (\udce9)", "a\0b\ufffe"])
def test_the_name_of_a_model_does_not_break_the_packet(writer: str) -> None:
    """A model's folder may be called anything, and XML cannot hold every character."""
    after = with_description(b"", "A dog.", "en", writer)
    assert read_description(after) == ("A dog.", True)
    assert read_description(with_description(after, "A cat.", "en", writer)).text == "A cat."
