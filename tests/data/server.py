"""A local web server with configurable faults, and a small COCO for it to serve."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Request(NamedTuple):
    """A request, and the number of bytes of the body sent in reply."""

    method: str
    path: str
    range: str | None
    status: int
    sent: int


class Server(ThreadingHTTPServer):
    """Serves ``files``. The faults of a path happen one after the other before it is served.

    Faults: a number (that status), ``drop`` (no answer), ``truncate`` (half of the body),
    ``damage`` (another body of the same length), ``cut`` (half of the body, said to be whole).
    A path that is ``silent`` sets ``reached`` and is answered only after ``release``; one that is
    ``endless`` is followed by zeros until the client hangs up.
    """

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 64

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(files or {})
        self.faults: dict[str, list[str | int]] = {}
        self.headers: dict[str, str] = {}
        self.etag = '"one"'
        self.ranges = self.lengths = self.heads = True
        self.silent: set[str] = set()
        self.endless: set[str] = set()
        self.reached, self.release = threading.Event(), threading.Event()
        self.log: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, path: str) -> list[Request]:
        return [each for each in self.log if each.method == "GET" and each.path == path]

    @property
    def got(self) -> list[str]:
        """The paths that were requested, except for requests of the size alone."""
        return [each.path for each in self.log if each.method == "GET"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may hang up
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.serve(fault=None if self.server.heads else 501)

    def do_GET(self) -> None:
        if self.path in self.server.silent:
            self.server.reached.set()
            self.server.release.wait(60)
        faults = self.server.faults.get(self.path)
        self.serve(fault=faults.pop(0) if faults else None)

    def serve(self, fault: str | int | None) -> None:
        body = self.server.files.get(self.path)
        if fault == "drop":
            return self.note(0, 0)
        if body is None or isinstance(fault, int):
            return self.answer(fault if isinstance(fault, int) else 404, b"<html>sorry</html>")
        if fault == "damage":
            return self.answer(200, b"<html>" + b"x" * (len(body) - 6))
        if fault == "cut":
            return self.answer(200, body[: len(body) // 2])
        asked = self.headers.get("Range")
        if asked and self.server.ranges and self.headers.get("If-Range") == self.server.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= len(body):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            where = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return self.answer(206, body[start:], {"Content-Range": where}, fault)
        return self.answer(200, body, {}, fault)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        fault: str | int | None = None,
    ) -> None:
        self.send_response(status)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        endless = self.path in self.server.endless
        if self.server.lengths and not endless:
            self.send_header("Content-Length", str(len(body)))
        for name, value in (*self.server.headers.items(), *(headers or {}).items()):
            self.send_header(name, value)
        sent = b"" if self.command == "HEAD" else body[: len(body) // (1 + (fault == "truncate"))]
        self.note(status, len(sent))  # before the client can know
        self.end_headers()
        self.wfile.write(sent)
        while endless:
            self.wfile.write(bytes(1 << 16))

    def note(self, status: int, sent: int) -> None:
        asked = self.headers.get("Range")
        self.server.log.append(Request(self.command, self.path, asked, status, sent))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(files: Mapping[str, bytes] | None = None) -> Iterator[Server]:
    """A server that runs."""
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()


# COCO ------------------------------------------------------------------------------------------


def jpeg(seed: int, size: tuple[int, int] = (48, 32)) -> bytes:
    """A photograph, of a kind."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


class Coco:
    """A small MS-COCO 2014, with the layout of its server.

    Every second image shows a dog, every third a frisbee, every fifth only a person.
    """

    def __init__(self, train: int = 20, val: int = 10) -> None:
        self.images = {
            split: [self.image(split, number) for number in numbers]
            for split, numbers in (("train", range(1, train + 1)), ("val", range(1001, 1001 + val)))
        }
        self.photos = {
            f"/{split}2014/{image['file_name']}": jpeg(image["id"])
            for split, images in self.images.items()
            for image in images
        }
        self.annotations = {
            f"{kind}_{split}2014.json": json.dumps(form(images)).encode()
            for split, images in self.images.items()
            for kind, form in (("captions", self.captions), ("instances", self.instances))
        }
        self.files = self.photos | {
            "/annotations/annotations_trainval2014.zip": zipped(
                {f"annotations/{name}": content for name, content in self.annotations.items()}
            ),
            "/annotations/caption_datasets.zip": zipped(
                {"dataset_coco.json": json.dumps(self.karpathy()).encode(), "readme.txt": b"hello"}
            ),
        }

    @staticmethod
    def image(split: str, number: int) -> dict[str, Any]:
        name = f"COCO_{split}2014_{number:012}.jpg"
        return {
            "license": 1,
            "file_name": name,
            "coco_url": f"http://images.cocodataset.org/{split}2014/{name}",
            "height": 32,
            "width": 48,
            "id": number,
        }

    @staticmethod
    def captions(images: list[dict[str, Any]]) -> dict[str, Any]:
        annotations = [
            {"image_id": image["id"], "id": 10 * image["id"] + i, "caption": f"A dog runs {i}."}
            for image in images
            for i in range(5)
        ]
        return {"info": {}, "licenses": [], "images": images, "annotations": annotations}

    @staticmethod
    def instances(images: list[dict[str, Any]]) -> dict[str, Any]:
        names = {1: "person", 18: "dog", 34: "frisbee"}
        divisors = {1: 5, 18: 2, 34: 3}
        annotations = [
            {
                "image_id": image["id"],
                "id": image["id"] * 100 + category,
                "category_id": category,
                "bbox": [0, 0, 48, 32],
                "iscrowd": 0,
            }
            for image in images
            for category, divisor in divisors.items()
            if image["id"] % divisor == 0
        ]
        categories = [{"id": each, "name": name} for each, name in names.items()]
        return {"images": images, "annotations": annotations, "categories": categories}

    def karpathy(self) -> dict[str, Any]:
        """All of train, and of val four: restval, restval, val, test, and again."""
        splits = [("train", image, "train2014") for image in self.images["train"]]
        turns = ("restval", "restval", "val", "test")
        splits += [(turns[i % 4], image, "val2014") for i, image in enumerate(self.images["val"])]
        images = [
            {
                "filepath": folder,
                "filename": image["file_name"],
                "cocoid": image["id"],
                "split": split,
                "sentences": [{"raw": "A dog runs."}],
            }
            for split, image, folder in splits
        ]
        return {"images": images, "dataset": "coco"}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """An archive of those files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()
