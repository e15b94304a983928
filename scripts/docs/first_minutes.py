"""Time the first minutes of a newcomer: docs/first-minutes.md, in a fresh clone and environment.

    python scripts/docs/first_minutes.py --annotations captions_train.json --images DIR \
        --output docs/records/first_minutes.json

Clones this repository, makes an environment in the clone, and runs what the page says, one step
after the other. --annotations and --images give the twenty photographs to fine-tune on. What each
step printed is kept in --place, to be read for surprises. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showattend.evaluation.evaluate import read_references
from showattend.exceptions import UserError
from showattend.system.files import write_json
from showattend.system.provenance import remember_command, stamp

ROOT = Path(__file__).parents[2]
NOTEBOOK = "docs/notebooks/see_where_it_looks"
PHOTO = "assets/photos/coffee.jpg"
ADDRESS = "http://127.0.0.1:8123/"
STEPS = {
    "clone": ("git clone URL showattend",),
    "installing": ("python3 -m venv .venv", "pip install '.[serve]'"),
    "a caption": (f"showattend {PHOTO}",),
    "a figure": (f"showattend attend {PHOTO} --output figure.png",),
    "a page": (f"showattend attend {PHOTO} --output page.html",),
    "in the browser": ("showattend serve --port 8123",),
    "installing notebooks": ("pip install notebook jupytext '.[onnx]'",),
    "a notebook": (
        f"jupytext --to notebook {NOTEBOOK}.py",
        f"jupyter execute {NOTEBOOK}.ipynb",
    ),
    "your own photographs": (
        "showattend finetune my-photos --out runs/mine",
        "showattend caption my-photos/one.jpg --model runs/mine",
    ),
}
"""The steps and their commands, as the page shows them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--annotations", type=Path, required=True, help="captions of photographs")
    parser.add_argument("--images", type=Path, help="their folder")
    parser.add_argument("--photos", type=int, default=20, help="how many to fine-tune on")
    parser.add_argument("--python", default=sys.executable, help="what makes the environment")
    parser.add_argument("--place", type=Path, help="folder to work in, kept; default: temporary")
    parser.add_argument("--output", type=Path, required=True, help="the record (.json)")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "docs/first_minutes.py")
    place = args.place or Path(tempfile.mkdtemp(prefix="showattend-first-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        trial = Trial(place.resolve(), args.python)
        trial.photographs(args.annotations, args.images, args.photos)
        trial.run()
    except UserError as error:
        print(f"first_minutes: {error}", file=sys.stderr)
        return 1
    finally:
        if args.place is None:
            shutil.rmtree(place, ignore_errors=True)
    found = {"steps": trial.steps, "megabytes": trial.megabytes, "python": trial.version}
    write_json(args.output, found | {"photographs": args.photos, "provenance": stamp()})
    for name, step in trial.steps.items():
        print(f"{name:22} {step['seconds']:7.1f} s, {step['processor_seconds']:7.1f} s of work")
    return 0


class Trial:
    """A fresh clone and its environment.

    Args:
        place: The folder to work in.
        python: The program that makes the environment.

    Attributes:
        steps: By name: seconds by the clock, and of processor time of the commands.
        megabytes: What the environment takes on the disk, of 2^20 bytes each as `du -m` counts.
        version: Its Python.
    """

    def __init__(self, place: Path, python: str) -> None:
        self.place, self.python = place, python
        self.clone, self.logs = place / "showattend", place / "logs"
        self.logs.mkdir(exist_ok=True)
        self.steps: dict[str, dict[str, float]] = {}
        self.megabytes, self.version = 0, ""
        venv = self.clone / ".venv"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.environment = kept | {
            "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(venv),
        }

    def photographs(self, annotations: Path, images: Path | None, count: int) -> None:
        """Put photographs and their captions, a text file next to each, into my-photos."""
        folder = self.place / "my-photos"
        folder.mkdir(exist_ok=True)
        for record in read_references(annotations, images)[:count]:
            shutil.copy(record.path, folder)
            text = "".join(f"{each}\n" for each in record.captions)
            (folder / record.path.with_suffix(".txt").name).write_text(text, encoding="utf-8")
        first = min(folder.glob("*.jpg"), default=None)
        if first is None:
            raise UserError(f"{annotations}: has no JPEG photographs")
        first.with_suffix(".txt").rename(folder / "one.txt")
        first.rename(folder / "one.jpg")

    def run(self) -> None:
        """Run all steps.

        Raises:
            UserError: One of them failed.
        """
        for name, commands in STEPS.items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            words = " && ".join(commands)
            if name == "clone":
                words = f"git clone --quiet {ROOT} {self.clone}"
            elif name == "installing":
                words = words.replace("python3", self.python)
            before, started = _processor_seconds(), time.monotonic()
            if name == "in the browser":
                self.steps[name] = self._serve(words)
                continue
            self._shell(name, words)
            seconds = time.monotonic() - started
            self.steps[name] = {
                "seconds": round(seconds, 1),
                "processor_seconds": round(_processor_seconds() - before, 1),
            }
            if name == "clone":
                shutil.move(self.place / "my-photos", self.clone / "my-photos")
            elif name == "installing":
                size = subprocess.check_output(["du", "-sm", str(self.clone / ".venv")], text=True)
                self.megabytes = int(size.split()[0])
                said = subprocess.check_output(
                    ["python", "--version"], env=self.environment, text=True
                )
                self.version = said.split()[1]

    def _shell(self, name: str, words: str) -> None:
        log = self.logs / f"{name.replace(' ', '_')}.txt"
        folder = self.clone if self.clone.is_dir() else self.place
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                words, shell=True, cwd=folder, env=self.environment, stdout=file, stderr=file
            )
        if done.returncode:
            tail = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise UserError(f"{name}: {words} ended with {done.returncode}: {' '.join(tail)}")

    def _serve(self, words: str) -> dict[str, Any]:
        """Start the server; seconds until its page is there, and until a photo has a caption."""
        log = (self.logs / "serve.txt").open("w", encoding="utf-8")
        started, before = time.monotonic(), _processor_seconds()
        server = subprocess.Popen(
            ["sh", "-c", f"exec {words}"], cwd=self.clone, env=self.environment,
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            self._answer(server, urllib.request.Request(ADDRESS))
            there = time.monotonic() - started
            asked = time.monotonic()
            self._answer(server, _upload(self.clone / PHOTO))
            captioned = time.monotonic() - asked
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
            log.close()
        return {
            "seconds": round(there, 1),
            "caption_seconds": round(captioned, 1),
            "processor_seconds": round(_processor_seconds() - before, 1),
        }

    def _answer(self, server: subprocess.Popen[bytes], request: urllib.request.Request) -> bytes:
        limit = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                raise UserError(f"serve: {request.full_url}: {error} {error.read()!r}") from None
            except OSError as error:
                if server.poll() is not None or time.monotonic() > limit:
                    raise UserError(f"serve: no answer: {error}") from None
                time.sleep(0.05)


def _upload(photo: Path) -> urllib.request.Request:
    """The request of a form with a photograph."""
    field = 'Content-Disposition: form-data; name="image"; filename="photo.jpg"'
    head = f"--part\r\n{field}\r\nContent-Type: image/jpeg\r\n\r\n"
    body = head.encode() + photo.read_bytes() + b"\r\n--part--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=part"}
    return urllib.request.Request(f"{ADDRESS}api/caption", body, kind, method="POST")


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
