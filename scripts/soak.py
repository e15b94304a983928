"""A soak of the server: thousands of mixed requests; memory, wrong answers, latencies.

    python scripts/soak.py PHOTOS... [--model everyday] [--requests 10000] [--valid 0.3]

Starts ``showattend serve`` and sends requests from several clients at once: photographs with
options, and every kind of request that must be refused (no image, damaged, too large, too many
pixels, unknown fields, wrong values, another site, not HTTP, heads and uploads that do not end).
For a photograph, the captions must be the model's own, word for word; for the others, the status
must be right, and the answer one line of JSON. Prints how much the server's memory grew: the most
that it held after the first tenth of the requests, against the most during that tenth (photographs
that are just being opened count in both). Prints latencies. The exit code is 1 if an answer was
wrong, memory grew by 50 MB or more, or the server wrote anything on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import re
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from showattend.captioner import Captioner
from showattend.images.finding import find_images

GROWTH = 50e6
"""Bytes by which the server's memory may grow."""
OPTIONS: list[dict[str, Any]] = [
    {}, {"beam_size": 1}, {"beam_size": 3, "n_best": 3}, {"max_length": 4}, {"preview": "true"},
    {"prefix": "a dog"}, {"banned": "a, the"}, {"method": "sample", "samples": 2, "seed": 1},
]  # fmt: skip


class Request(NamedTuple):
    """A request, and the expected answer.

    Attributes:
        kind: Its name in the report.
        raw: All bytes to send; the connection then stays open.
        status: The valid statuses.
        captions: The expected captions; None if none are expected.
    """

    kind: str
    raw: bytes
    status: tuple[int, ...]
    captions: list[str] | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak and print the report; 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--valid", type=float, default=0.3, help="share of photographs")
    parser.add_argument("--photos", type=int, default=20, help="photographs to choose from")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found, _ = find_images(options.paths, recursive=True)
    photos = found[:: max(len(found) // options.photos, 1)][: options.photos]
    valid = valid_requests(Captioner.from_pretrained(options.model, device="cpu"), photos)
    wrong = wrong_requests(photos[0].read_bytes())
    lots = random.Random(options.seed)
    requests = [
        lots.choice(valid) if lots.random() < options.valid else lots.choice(wrong)
        for _ in range(options.requests)
    ]
    command = [sys.executable, "-m", "showattend", "serve", "--port", "0", "--device", "cpu"]
    command += ["--max-megabytes", "2", "--queue", "64"]
    command += ["--model", options.model] if options.model else []
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        port = int(server.stderr.readline().split(":")[3].split("/")[0])
        faulty = asyncio.run(soak(requests, port, server.pid, options.clients))
    finally:
        server.terminate()
        said = server.communicate()[1].replace("showattend: terminated\n", "")
    if said:
        print(f"the server wrote on stderr: {said[:2000]}")
    return int(bool(faulty or said))


def valid_requests(captioner: Captioner, photos: list[Path]) -> list[Request]:
    """Photographs with options, and the model's captions."""
    requests = []
    for number, photo in enumerate(photos):
        options = OPTIONS[number % len(OPTIONS)]
        steer = {key: value for key, value in options.items() if key in ("prefix",)}
        if "banned" in options:
            steer["banned"] = options["banned"].split(", ")
        if options.get("method") == "sample":
            best = captioner.sample(photo, samples=2, temperature=0.7, seed=1)
        else:
            beams = options.get("beam_size", captioner.search.beam_size)
            lengths = {key: options[key] for key in ("max_length",) if key in options}
            if lengths:
                lengths["min_length"] = min(captioner.search.min_length, lengths["max_length"])
            best = captioner.caption(
                photo, beam_size=beams, n_best=options.get("n_best", beams), **steer, **lengths
            )
        captions = [each.text for each in (best, *best.alternatives)]
        content = photo.read_bytes()
        requests.append(Request("photograph", post(content, **options), (200,), captions))
    return requests


def wrong_requests(photo: bytes) -> list[Request]:
    """One request of every kind that is refused, and a few that need no photograph."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    small = io.BytesIO()
    Image.fromarray(noise).save(small, "PNG")
    get = b"GET / HTTP/1.1\r\nhost: localhost\r\n"
    head = b"POST /api/caption HTTP/1.1\r\nhost: localhost\r\n"
    return [
        Request("page", get + b"\r\n", (200,)),
        Request("description", get.replace(b"/ ", b"/openapi.json ") + b"\r\n", (200,)),
        Request("other address", get.replace(b"/ ", b"/nowhere ") + b"\r\n", (404,)),
        Request("other method", get.replace(b"/ ", b"/api/caption ") + b"\r\n", (405,)),
        Request("other host", get.replace(b"localhost", b"evil.example") + b"\r\n", (403,)),
        Request("other site", get + b"origin: http://evil.example\r\n\r\n", (403,)),
        Request("malformed origin", get + b"origin: http://[::1\r\n\r\n", (403,)),
        Request("malformed length", head + b"content-length: 1e3\r\n\r\n", (400,)),
        Request("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", (400,)),
        Request("endless head", get + b"x: " + b"y" * 100_000, (400,)),
        Request("no form", head + b"content-length: 2\r\n\r\n{}", (422,)),
        Request("malformed form", post(b"x", name='a"; [b'), (200, 400, 422)),
        Request("form without an end", post(b"x").replace(b"--b--", b"--c--"), (400, 422)),
        Request("malformed part", post(b"x").replace(b"content-disposition", b"[x]"), (400,)),
        Request("no image", post(b"hello, I am no image"), (400,)),
        Request("empty", post(b""), (400,)),
        Request("cut short", post(photo[: len(photo) // 2]), (400,)),
        Request("too large", post(b"\0" * 3_000_000), (413,)),
        Request("too many pixels", post(claiming(9_000, 9_000)), (413,)),
        Request("far too many pixels", post(claiming(60_000, 60_000)), (400,)),
        Request("unknown field", post(small.getvalue(), beam=3), (422,)),
        Request("wrong value", post(small.getvalue(), beam_size=0), (422,)),
        Request("values that do not fit", post(small.getvalue(), beam_size=2, n_best=3), (400,)),
        Request("strange name", post(b"x", name="../\u202e\\" + "犬" * 200), (400,)),
        Request("head that does not end", get, ()),
        Request("upload that does not end", post(photo)[:-500], ()),
    ]


def post(content: bytes, name: str = "photo.jpg", **fields: Any) -> bytes:
    """A form that sends a photograph."""
    parts = [
        f'--b\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    kind = f'--b\r\ncontent-disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    body = b"".join([*parts, kind.encode(), content, b"\r\n--b--\r\n"])
    head = [
        "POST /api/caption HTTP/1.1",
        "host: localhost",
        "content-type: multipart/form-data; boundary=b",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*head, "\r\n"]).encode() + body


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says that it is large."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


async def soak(requests: list[Request], port: int, pid: int, clients: int) -> int:
    """Send the requests and report."""
    left, kinds, faults = iter(requests), Counter[str](), list[str]()
    seconds: dict[str, list[float]] = {"photograph": [], "others": []}
    memory, most, done, kept = 0, 0, 0, list[asyncio.StreamWriter]()

    async def client() -> None:
        nonlocal done, memory, most
        for request in left:
            began = time.perf_counter()
            problem = await ask(request, port, kept)
            name = request.kind if request.kind in seconds else "others"
            if request.status:
                seconds[name].append(time.perf_counter() - began)
            kinds[request.kind] += 1
            if problem:
                faults.append(f"{request.kind}: {problem}")
            done += 1
            if done <= len(requests) // 10:
                memory = max(memory, resident(pid))
            else:
                most = max(most, resident(pid))
            if done % 1000 == 0:
                print(f"{done:,} requests, {resident(pid) / 1e6:.0f} MB", flush=True)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    spent = time.perf_counter() - began
    for writer in kept:
        writer.close()
    print(f"{len(requests):,} requests in {spent:.0f} s, {clients} at a time")
    print("  " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()))
    for name, values in seconds.items():
        spread = np.quantile(values, (0.5, 0.95, 0.99, 1)) if values else np.zeros(4)
        print(
            f"{name}: median {spread[0]:.3f} s, 95 % within {spread[1]:.3f} s, 99 % within "
            f"{spread[2]:.3f} s, longest {spread[3]:.3f} s"
        )
    growth = most - memory
    print(
        f"memory: {memory / 1e6:.0f} MB at most in the first tenth, {most / 1e6:.0f} MB after it, "
        f"{growth / 1e6:.0f} MB more; {resident(pid) / 1e6:.0f} MB at the end"
    )
    print(f"wrong answers: {len(faults)}")
    for fault in faults[:20]:
        print(f"  {fault}")
    return int(bool(faults) or growth >= GROWTH)


async def ask(request: Request, port: int, kept: list[asyncio.StreamWriter]) -> str | None:
    """Send a request; return what is wrong with the answer, or None."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.raw)
        await writer.drain()
        if not request.status:  # it does not end, and stays
            kept.append(writer)
            if len(kept) > 100:
                kept.pop(0).close()
            return None
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)).decode().lower()
        (length,) = re.findall(r"content-length: (\d+)", head)
        body = (await asyncio.wait_for(reader.readexactly(int(length)), 120)).decode()
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        return f"{type(error).__name__} {error}"
    finally:
        if request.status:
            writer.close()
    status = int(head.split()[1])
    if status not in request.status:
        return f"{status} {body[:200]}, not {request.status}"
    if request.captions is not None:
        said = [each["caption"] for each in json.loads(body)["captions"]]
        return None if said == request.captions else f"{said}, not {request.captions}"
    if status == 200:
        return None
    refusal = json.loads(body)
    fine = list(refusal) == ["error"] and "\n" not in refusal["error"] and "Traceback" not in body
    return None if fine else body[:200]


def resident(pid: int) -> int:
    """The memory that a process holds, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    sys.exit(main())
