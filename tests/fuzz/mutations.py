"""Mutations: of bytes, of JSON values, of text. The same random generator gives the same result."""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[Random, Sequence[bytes]], bytes]
"""Takes a random generator and the seeds; makes one input."""

MOST = 400_000
"""No input is longer, in bytes."""
WHOLE_NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
NAMES = (
    "../../../etc/passwd", "/etc/passwd", "..\\..\\a.jpg", "C:\\photos\\a.jpg", "~root/a.jpg", "",
    ".", "..", "/", "//", "a/../b.jpg", "-rf", "--output", "a" * 255 + ".jpg", "é" * 200,
    "a\nb.jpg", "a\r\nshowattend: all is well", "a\tb.jpg", "\x1b[2J\x1b[31mred", "a\0b.jpg",
    "\ud800.jpg", "\udcff.jpg", "\u202egpj.a", "e\u0301.jpg", "ａ.jpg", " a.jpg ", "NUL", "con.jpg",
    "a.JPG", "😀.jpg", "http://example.org/a.jpg", "file:///etc/passwd", "$(id).jpg", "a;b.jpg",
    "%s%n%x", "a" * 5000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 64.5, 10**9, 2**31, 2**63, 2**64, -(2**63), 10**30,
    10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), "", " ", "a", "0",
    "1e9", "null", "train", "val", [], {}, [[]], [{}], {"": None}, [None], [0] * 200, ["a"] * 50,
    {"a": {"a": {"a": 1}}}, [1, 2], [1.5, "a", None], *NAMES,
)  # fmt: skip
_DEEP = re.compile(r'"@deep (\d+)@"')


def mutate_bytes(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One to eight changes of a seed: bits, bytes, numbers, runs, parts of another seed."""
    content = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        content = _changed(random, content, seeds)
    return bytes(content[:MOST])


def _changed(random: Random, content: bytearray, seeds: Sequence[bytes]) -> bytearray:
    kind = random.randrange(10)
    if not content:
        return bytearray(random.randbytes(random.randrange(64)))
    # Headers matter most: half of the changes are within the first 200 bytes.
    reach = min(len(content), 200) if random.random() < 0.5 else len(content)
    place = random.randrange(reach)
    if kind == 0:
        content[place] ^= 1 << random.randrange(8)
    elif kind == 1:
        content[place] = random.choice((0, 1, 127, 128, 254, 255, random.randrange(256)))
    elif kind == 2:
        number, form = random.choice(WHOLE_NUMBERS), random.choice("<>") + random.choice("hiq")
        size = struct.calcsize(form)
        content[place : place + size] = (number & (256**size - 1)).to_bytes(
            size, "little" if form[0] == "<" else "big"
        )
    elif kind == 3:
        return content[:place]
    elif kind == 4:
        return content[: random.randrange(len(content))]
    elif kind == 5:
        del content[place : place + random.choice((1, 2, 4, 16, 300))]
    elif kind == 6:
        content[place:place] = random.randbytes(random.choice((1, 2, 4, 16, 300)))
    elif kind == 7:
        run = content[place : place + random.choice((4, 16, 64, 1000))]
        content[place:place] = run * random.choice((1, 2, 20))
    elif kind == 8:
        other = random.choice(seeds)
        if other:
            start = random.randrange(len(other))
            end = start + random.choice((8, 64, 1000, len(other)))
            content[place : place + random.choice((0, 8, 64, len(content)))] = other[start:end]
    else:
        size = random.choice((1, 8, 100))
        content[place : place + size] = bytes([random.choice((0, 255, 32))]) * size
    return content


def mutate_json(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A change of a JSON document's values, or of its text."""
    if random.random() < 0.25:
        return mutate_text(random, seeds)
    try:
        value = json.loads(random.choice(seeds))
    except ValueError:
        return mutate_bytes(random, seeds)
    return json_bytes(random, change_value(random, value))


def mutate_json_lines(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A change of one line's values, or of the text."""
    if random.random() < 0.25:
        return mutate_text(random, seeds)
    lines = random.choice(seeds).split(b"\n")
    place = random.randrange(len(lines))
    lines[place] = mutate_json(random, [lines[place] or b"{}"])
    if random.random() < 0.2:
        lines.insert(place, random.choice(lines))
    return b"\n".join(lines)[:MOST]


def json_bytes(random: Random, value: Any) -> bytes:
    """JSON as a program would write it, and as none should: NaN, lone surrogates, deep nesting."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.5)
    text = _DEEP.sub(lambda found: "[" * int(found[1]) + "]" * int(found[1]), text)
    return text.encode("utf-8", "surrogatepass")[:MOST]


def deep(random: Random) -> str:
    """A mark that `json_bytes` turns into nested lists."""
    return f"@deep {random.choice((30, 200, random.randrange(850, 1000), 5000, 100_000))}@"


def change_value(random: Random, value: Any) -> Any:
    """One to three changes somewhere in a plain value."""
    value = [copy.deepcopy(value)]
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(value))
        holder, key = random.choice(places)
        kind = random.randrange(8)
        if kind < 4:
            holder[key] = deep(random) if random.random() < 0.1 else _hostile(random)
        elif kind == 4 and holder is not value:
            del holder[key]
        elif kind == 5 and isinstance(holder, list):
            holder.insert(random.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        elif kind == 6 and isinstance(holder, dict):
            holder[random.choice((*holder, *NAMES[:20], "id", "image_id"))] = holder[key]
        else:
            other, there = random.choice(places)
            with_other = copy.deepcopy(other[there]) if there in _keys(other) else None
            holder[key] = with_other
        if not value:
            value = [None]
    return value[0]


def _hostile(random: Random) -> Any:
    found = random.choice(VALUES)
    return copy.deepcopy(found)


def _keys(holder: Any) -> Any:
    return holder if isinstance(holder, dict) else range(len(holder))


def _places(value: Any) -> Any:
    """(holder, key) of every value within."""
    stack = [value]
    while stack:
        holder = stack.pop()
        for key in _keys(holder):
            yield holder, key
            if isinstance(holder[key], dict | list):
                stack.append(holder[key])


WORDS = (
    ",", ";", "\t", "|", '"', "'", '""', "\n", "\r\n", "\r", "\0", "\x1b[31m", "\ufeff", "#", "#0",
    "sep=;", "{", "}", "[", "]", ":", "null", "NaN", "-1", "1e999", "0x10", "1_000", "🐕", "\u202e",
    "\u2028", "\x85", "image", "caption", "split", "train", "val", "...", "---", "- ", "? ",
    "!!int x", "!!bool x", "!!float x", "!!timestamp x", "!!binary x", "!!set {a, b}", "!!omap [a]",
    "!!null x",
    "!!python/object/apply:os.system ['id']", "!!map []", "!!seq {}", "!x y", "&a ", "*a", "*b",
    "<<: *a", "<<: 3", "{a: &a [*a]}", "2026-13-01", "2026-11-27", "12:30:45", "0b", "0o9", "1e400",
    ".inf", ".nan", "9" * 400, "9" * 5000, "[" * 100, "[" * 3000, "{a: " * 300, "- " * 2000,
    "%YAML 9.9",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "a" * 5000, *NAMES[:30],
)  # fmt: skip


def mutate_text(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Words that mean something to a parser put into a text, lines moved; or bytes changed."""
    if random.random() < 0.3:
        return mutate_bytes(random, seeds)
    content = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 3))):
        kind = random.randrange(4)
        place = random.randrange(len(content) + 1)
        if kind == 0:
            lines = content.split(b"\n")
            one, other = random.randrange(len(lines)), random.randrange(len(lines))
            lines[one] = lines[other] if random.random() < 0.5 else b""
            content = bytearray(b"\n".join(lines))
        elif kind == 1:  # instead of a word
            words = list(re.finditer(rb"[^\s,:;|\"{}\[\]]+", content))
            if words:
                word = random.choice(words)
                content[word.start() : word.end()] = _word(random)
        else:
            content[place:place] = _word(random)
    return bytes(content[:MOST])


XML_WORDS = (
    "<rdf:li>", "</rdf:li>", "<rdf:li/>", "<rdf:Alt>", "<rdf:Seq/>", "<dc:description>",
    "<a/>" * 500, "<a>" * 3000, "<!--", "-->", "<![CDATA[", "]]>", "<?xpacket end='w'?>", "<?x?>",
    "&amp;", "&#1;", "&#x10FFFF;", "&lol;", "<!DOCTYPE a [<!ENTITY lol 'lol'>]>",
    "xml:lang='x-default'", "xmlns:b='c'", "xmlns:dc='http://purl.org/dc/elements/1.1/'",
    "dc:description='x>y'", "b:description=''", "=", "<?xml version='1.0' encoding='punycode'?>",
    "<?xml version='1.0' encoding='utf-7'?>", "<?xml version='1.0' encoding='idna'?>",
    "<?xml version='1.0' encoding='latin-1'?>", "<?xml version='1.1'?>", "\0", "\ufeff", "\ufffe",
    "'", '"', "/>", "<", ">", "é", "\x85", "a" * 5000,
)  # fmt: skip


def mutate_xml(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Pieces of markup put into XML, at tags above all; or bytes changed."""
    if random.random() < 0.3:
        return mutate_bytes(random, seeds)
    content = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 3))):
        ends = [found.start() for found in re.finditer(rb"[<> =\"]", content)] or [0]
        place = random.choice(ends) if random.random() < 0.8 else random.randrange(len(content) + 1)
        word = random.choice(XML_WORDS).encode()
        content[place : place + random.choice((0, 0, 1, 20))] = word
    return bytes(content[:MOST])


def _word(random: Random) -> bytes:
    return random.choice(WORDS).encode("utf-8", "surrogatepass")


PARTS = b"\n--8<-- the next file --8<--\n"
"""Between the files of an input that consists of several."""


def mutate_parts(*mutators: Mutator) -> Mutator:
    """One file of several is changed, each by its own mutator."""

    def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
        parts = random.choice(seeds).split(PARTS)
        place = random.randrange(len(parts))
        others = [seed.split(PARTS) for seed in seeds]
        same = [each[place] for each in others if len(each) > place]
        parts[place] = mutators[place % len(mutators)](random, [parts[place], *same])
        return PARTS.join(parts)

    return mutate


def mutate_tar(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Like `mutate_bytes`, and changes of members' headers; their checksums are put right."""
    content = bytearray(mutate_bytes(random, seeds))
    headers = [
        at for at in range(0, len(content) - 511, 512) if content[at + 257 : at + 262] == b"ustar"
    ]
    for at in headers:
        if random.random() < 0.3:
            start, size = random.choice(((0, 100), (100, 24), (124, 12), (156, 1), (157, 100)))
            field = mutate_bytes(random, [bytes(content[at + start : at + start + size])])
            content[at + start : at + start + size] = field[:size].ljust(size, b"\0")
        content[at + 148 : at + 156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    return bytes(content)


def either(*mutators: Mutator) -> Mutator:
    """One of several mutators, drawn by lot."""

    def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
        return random.choice(mutators)(random, seeds)

    return mutate


def mutate_header(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A change of a safetensors file: of its header, of the JSON text in it, or of its bytes."""
    if random.random() < 0.25:
        return mutate_bytes(random, seeds)
    seed = random.choice(seeds)
    (length,) = struct.unpack("<Q", seed[:8])
    header, tensors = json.loads(seed[8 : 8 + length]), seed[8 + length :]
    if random.random() < 0.25:
        text = json_bytes(random, change_value(random, header))
    else:
        meta = json.loads(header["__metadata__"]["showattend"])
        changed = json_bytes(random, change_value(random, meta)).decode("utf-8", "replace")
        header["__metadata__"]["showattend"] = changed
        text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors
