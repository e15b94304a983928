"""``python -m tests.kills``: kill long work at moments drawn by lot, and start it again.

Training, captioning a folder, writing descriptions into photographs, writing shards, and captioning
into parts as on a cluster (with one worker, in the process itself, in place of Ray's) are killed.
After every kill -9 the same command continues. A run's folder must be loadable at once, and when a
run finishes, it must have made what an undisturbed one makes: the same weights and optimizer bit
for bit, the same captions, each once, the same photographs, shards and parts byte for byte, and
nothing else.

--output writes a record.

A process is forked from one that has imported everything, so that a kill costs tenths of a second.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes fork

import numpy as np
import torch
import yaml
from PIL import Image

from showattend.cli import main as showattend
from showattend.model.checkpoint import FILE_NAME, load_tensors
from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command, stamp
from showattend.training.state import FILE_NAME as STATE_NAME

PHOTOS = 100


@dataclass
class Tally:
    """What came of the kills of one kind.

    Attributes:
        kills: Processes killed.
        runs: Runs that got through in spite of them.
        faults: What was wrong.
    """

    kills: int = 0
    runs: int = 0
    faults: list[str] = field(default_factory=list)


def start(args: list[str]) -> int:
    """Run a command line in a forked process; its id."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            code = showattend(args)
        finally:
            os._exit(code)
    return child


def whole(args: list[str], code: int = 0) -> float:
    """Run a command to its end; the seconds that it took.

    Raises:
        AssertionError: It ended with another exit code.
    """
    began = time.monotonic()
    _, status = os.waitpid(start(args), 0)
    assert os.waitstatus_to_exitcode(status) == code, f"{' '.join(args)}: {status}"
    return time.monotonic() - began


def killed(args: list[str], wait: Callable[[], bool], seconds: float) -> int | None:
    """Run a command, and kill it some seconds after ``wait()`` is true.

    Returns:
        Its exit code if it ended before that, else None.
    """
    child, fatal = start(args), time.monotonic() + 120
    while not wait() and time.monotonic() < fatal:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if code == -signal.SIGKILL else code


# Training --------------------------------------------------------------------------------------


def kill_training(kills: int, folder: Path, lots: random.Random) -> Tally:
    """Kill runs on drawn shapes: two epochs, then two self-critical ones that are averaged."""
    from showattend.data.toy import write_toy

    values = {
        "data": {
            "path": str(write_toy(folder / "toy", images=36, size=32)),
            "cache": str(folder / "cache"), "min_count": 1,
        },
        "encoder": {"size": 32},
        "decoder": {"embedding_dim": 16, "hidden_dim": 16, "attention_dim": 16, "dropout": 0.2},
        "train": {
            "epochs": 2, "batch_size": 6, "lr": 1e-2, "precision": "fp32", "device": "cpu",
            "save_every": 0.0, "ema": 0.9,
        },
        "self_critical": {"epochs": 1, "samples": 2, "runs": 2, "max_length": 8},
        "search": {"max_length": 8},
    }  # fmt: skip
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    whole(["train", str(config), f"train.out={folder / 'first'}"])  # makes the cache
    seconds = whole(["train", str(config), f"train.out={folder / 'whole'}"])
    tally = Tally()
    while tally.kills < kills:
        out = folder / f"run-{tally.runs}"
        code = None
        while code is None and tally.kills < kills:
            state = out / STATE_NAME
            args = ["train", str(config), f"train.out={out}", *["--resume"] * state.exists()]
            before = _written(state)
            if lots.random() < 0.3:  # at any moment, importing and building included
                code = killed(args, lambda: True, lots.uniform(0, seconds))
            else:
                code = killed(args, lambda: _written(state) != before, lots.uniform(0, 0.2))  # noqa: B023
            tally.kills += code is None
            tally.faults += _unloadable(out)
        if code is None:  # the last kill; the run goes on to its end
            args = ["train", str(config), f"train.out={out}", *["--resume"] * state.exists()]
            whole(args)
            code = 0
        tally.runs += 1
        if code:
            tally.faults.append(f"{out.name} ended with code {code}")
        tally.faults += [f"{out.name}: {each}" for each in _different(out, folder / "whole")]
    return tally


def _written(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _unloadable(out: Path) -> list[str]:
    """The files of a run that cannot be loaded."""
    found = []
    for path in sorted(out.glob("*.safetensors")) if out.is_dir() else ():
        try:
            load_tensors(path, "a file of a run")
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def _different(out: Path, undisturbed: Path) -> list[str]:
    """In what a run differs from an undisturbed one."""
    names, others = ({path.name for path in each.iterdir()} for each in (out, undisturbed))
    found = [f"{name} is there, or is not" for name in names ^ others]
    for name in (FILE_NAME, STATE_NAME):
        (mine, _), (theirs, _) = (load_tensors(each / name, "one") for each in (out, undisturbed))
        found += [f"{name}: other tensors"] * (mine.keys() != theirs.keys())
        found += [
            f"{name}: {key} differs"
            for key in mine.keys() & theirs.keys()
            if not torch.equal(mine[key], theirs[key])
        ]
    return found


# Captioning ------------------------------------------------------------------------------------


def kill_captioning(kills: int, folder: Path, lots: random.Random) -> Tally:
    """Kill the captioning of a folder; JSON Lines and CSV with three captions a photo in turn."""
    _model(folder)
    _photos(folder, PHOTOS)
    tally, seconds, expected = Tally(), {}, {}
    for suffix in ("jsonl", "csv"):
        args = _captioning(folder, folder / f"whole.{suffix}")
        seconds[suffix] = whole(args)
        expected[suffix] = _captions(folder / f"whole.{suffix}")
        assert len(expected[suffix]) == (PHOTOS if suffix == "jsonl" else 3 * PHOTOS)
    while tally.kills < kills:
        suffix = ("jsonl", "csv")[tally.runs % 2]
        output = folder / f"run-{tally.runs}.{suffix}"
        part, args = output.with_name(f"{output.name}.part"), _captioning(folder, output)
        code = None
        while code is None and tally.kills < kills:
            before = _size(part)
            if lots.random() < 0.3:
                code = killed(args, lambda: True, lots.uniform(0, seconds[suffix]))
            else:
                code = killed(args, lambda: _size(part) != before, lots.uniform(0, 0.05))  # noqa: B023
            tally.kills += code is None
        if code is None:
            whole(args)
        elif code:
            tally.faults.append(f"{output.name} ended with code {code}")
        tally.runs += 1
        found = _captions(output)
        if found != expected[suffix]:
            rows = [each for each in found if found.count(each) > 1]
            lost = [each for each in expected[suffix] if each not in found]
            tally.faults.append(f"{output.name}: {len(rows)} lines repeated, {len(lost)} lost")
        if left := [
            path.name for path in folder.iterdir() if path.name.startswith(f"{output.name}.")
        ]:
            tally.faults.append(f"left behind: {', '.join(left)}")
    return tally


def _model(folder: Path) -> Path:
    """A small model, made in a process of its own: this one must not compute before it forks."""
    from showattend.model.checkpoint import save
    from tests.fuzz import seeds

    child = os.fork()
    if child == 0:
        save(folder / "model", seeds.captioner().to_checkpoint())
        os._exit(0)
    os.waitpid(child, 0)
    return folder / "model"


def _photos(folder: Path, count: int) -> Path:
    photos = folder / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0)
    for number in range(count):
        pixels = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"photo {number:03d}.png")
    return photos


def _captioning(folder: Path, output: Path) -> list[str]:
    args = ["caption", str(folder / "photos"), "--model", str(folder / "model"), "--device", "cpu"]
    args += ["--beam-size", "3", "--batch-size", "4", "--output", str(output), "--resume"]
    return args if output.suffix == ".jsonl" else [*args, "--n-best", "3"]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _captions(output: Path) -> list[tuple[str, ...]]:
    text = output.read_text(encoding="utf-8")
    if output.suffix == ".csv":
        return [
            (row["image"], row["rank"], row["caption"]) for row in csv.DictReader(text.split("\n"))
        ]
    return [(line["image"], line["caption"]) for line in map(json.loads, text.splitlines())]


# Descriptions ----------------------------------------------------------------------------------


def kill_describing(kills: int, folder: Path, lots: random.Random) -> Tally:
    """Kill the writing of descriptions into photographs, and into text files next to them.

    After a kill every file must be the old one or the new one, byte for byte, or not there if it
    was not; after the next run that gets through, all must be new, with nothing else next to them.
    """
    model, originals, undisturbed = (
        folder / name for name in ("model", "originals", "undisturbed")
    )
    child = os.fork()  # this process must not compute before it forks
    if child == 0:
        from showattend.model.checkpoint import save
        from tests.fuzz import seeds

        save(model, seeds.captioner().to_checkpoint())
        os._exit(0)
    os.waitpid(child, 0)
    noise = np.random.default_rng(0)
    originals.mkdir()
    for number, suffix in enumerate(("jpg", "png", "webp", "tif", "jpg", "png")):
        pixels = noise.integers(
            0, 256, (700, 900, 3), dtype=np.uint8
        )  # large: writing takes a while
        options = {"lossless": True, "quality": 0, "method": 0} if suffix == "webp" else {}
        Image.fromarray(pixels).save(originals / f"photo {number}.{suffix}", **options)
    old = _contents(originals)
    shutil.copytree(originals, undisturbed)
    seconds = whole(_describing(model, undisturbed))
    new = _contents(undisturbed)
    assert len(new) == 3 * len(old)
    assert not any(new[name] == old[name] for name in old)
    tally, photos = Tally(), folder / "photos"
    while tally.kills < kills:
        shutil.rmtree(photos, ignore_errors=True)
        shutil.copytree(originals, photos)
        args, code = _describing(model, photos), None
        while code is None and tally.kills < kills:
            before = _names(photos)
            if lots.random() < 0.2:
                code = killed(args, lambda: True, lots.uniform(0, seconds))
            else:  # in the middle of a file
                code = killed(args, lambda: _names(photos) != before, lots.uniform(0, 0.01))  # noqa: B023
            tally.kills += code is None
            for name, content in _contents(photos).items():
                if not name.endswith(".part") and content not in (old.get(name), new.get(name)):
                    tally.faults.append(f"{name} is neither the old file nor the new one")
        if code is None:
            whole(args)
        elif code:
            tally.faults.append(f"a run ended with code {code}")
        tally.runs += 1
        if (now := _contents(photos)) != new:
            other = [name for name in now.keys() | new.keys() if now.get(name) != new.get(name)]
            tally.faults.append(
                f"after the run, differs or is left behind: {', '.join(sorted(other))}"
            )
    return tally


def _describing(model: Path, photos: Path) -> list[str]:
    args = ["caption", str(photos), "--model", str(model), "--device", "cpu", "--beam-size", "1"]
    return [*args, "--batch-size", "1", "--write-metadata", "--xmp", "--sidecar"]


def _contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # renamed by now
            found[path.name] = path.read_bytes()
    return found


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Shards, and parts of a cluster ----------------------------------------------------------------


def kill_shards(kills: int, folder: Path, lots: random.Random) -> Tally:
    """Kill `prepare --shards`; every second time into the folder of a larger data set."""
    photos = _photos(folder, 40)
    for path in sorted(photos.glob("*.png")):
        path.with_suffix(".txt").write_text(f"A dog of {path.stem}.\nAnother one.\n")

    def args(out: str, size: int = 4) -> list[str]:
        places = ["--out", str(folder / out), "--shards", str(folder / f"{out}-shards")]
        return ["prepare", "folder", str(photos), *places, "--shard-size", str(size)]

    def begin(out: str) -> None:
        if int(out.rpartition("-")[2]) % 2:
            whole(args(out, 2))

    return _kill_writing(kills, folder, lots, args, begin, ("", "-shards"), share=0.05)


def kill_parts(kills: int, folder: Path, lots: random.Random) -> Tally:
    """Kill the captioning of a folder into parts."""
    from showattend.export.cluster import jobs

    @contextmanager
    def connected() -> Iterator[None]:
        yield None

    given: Any = jobs  # its processes are forked from this one
    given.connected, given.count_workers = connected, lambda *_: (1, False)
    given.run_parts, given.check_packages = _work, lambda *_: None
    photos, model = _photos(folder, 40), _model(folder)
    (photos / "bad.jpg").write_bytes(b"no image")

    def args(out: str) -> list[str]:
        places = [str(photos), "--model", str(model), "--output", str(folder / out)]
        return ["caption", "--engine", "ray", *places, "--parts", "jsonl", "--part-size", "3"]

    return _kill_writing(kills, folder, lots, args, lambda _: None, ("",), share=0.3, bad=1)


def _work(_: Any, dispatcher: Any, work: Any, **__: Any) -> Iterator[Any]:
    """Do all parts in this process."""
    from showattend.export.cluster.caption_batch import load_worker
    from showattend.export.cluster.part_worker import PartWorker

    captioner = load_worker(work.model, "cpu", work.precision, work.size, None)
    worker = PartWorker(captioner, work.store, work.kind, work.folder, 4, work.search)
    while part := dispatcher.give(0, time.monotonic()):
        outcome = worker(part)
        dispatcher.finish(0, time.monotonic())
        yield outcome


def _kill_writing(
    kills: int,
    folder: Path,
    lots: random.Random,
    args: Callable[[str], list[str]],
    begin: Callable[[str], None],
    suffixes: tuple[str, ...],
    *,
    share: float,
    bad: int = 0,
) -> Tally:
    """Kill a command that writes folders, and compare them with those of an undisturbed one.

    Args:
        kills: How many.
        folder: Where they are.
        lots: Draws the moments.
        args: The command that writes a folder of this name.
        begin: Is called with the name before the first attempt.
        suffixes: What comes after that name in the names of its folders.
        share: How much of the time of a run it writes.
        bad: The exit code of a whole run.
    """
    seconds = whole(args("whole-0"), bad)
    expected = _files(folder, "whole-0", suffixes)
    tally = Tally()
    while tally.kills < kills:
        name, code = f"run-{tally.runs}", None
        begin(name)
        while code is None and tally.kills < kills:
            before = _state(folder, name, suffixes)
            if lots.random() < 0.3:
                code = killed(args(name), lambda: True, lots.uniform(0, seconds))
            else:
                wait = lambda: _state(folder, name, suffixes) != before  # noqa: B023, E731
                code = killed(args(name), wait, lots.uniform(0, share * seconds))
            tally.kills += code is None
        if code is None:
            whole(args(name), bad)
        elif code != bad:
            tally.faults.append(f"{name} ended with code {code}")
        tally.runs += 1
        found = _files(folder, name, suffixes)
        tally.faults += [f"{name}: {each} left behind" for each in found.keys() - expected.keys()]
        tally.faults += [f"{name}: {each} is missing" for each in expected.keys() - found.keys()]
        for each in found.keys() & expected.keys():
            if found[each] != expected[each]:
                tally.faults.append(f"{name}: {each} differs")
    return tally


def _files(folder: Path, name: str, suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """The content of all files that a command has written."""
    return {
        f"{suffix}/{path.name}": path.read_bytes().replace(name.encode(), b"NAME")
        for suffix in suffixes
        for path in (folder / f"{name}{suffix}").iterdir()
    }


def _state(folder: Path, name: str, suffixes: tuple[str, ...]) -> set[tuple[str, int | None]]:
    """The names and times of the files that a command is writing."""
    return {
        (path.name, _written(path))
        for suffix in suffixes
        if (folder / f"{name}{suffix}").is_dir()
        for path in (folder / f"{name}{suffix}").iterdir()
    }


KINDS = {
    "training": kill_training,
    "captioning": kill_captioning,
    "describing": kill_describing,
    "shards": kill_shards,
    "parts": kill_parts,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code is 1 if there are faults."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kills", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=200, help="of each kind")
    parser.add_argument("--only", choices=KINDS, help="one kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, help="file for the record")
    given = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "tests.kills")
    for name in (
        "showattend.captioner",
        "showattend.training.trainer",
        "timm",
        "matplotlib.pyplot",
    ):
        import_module(name)
    kinds: dict[str, dict[str, float]] = {}
    for name in [given.only] if given.only else KINDS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            tally = KINDS[name](given.kills, Path(folder), random.Random(given.seed))
        seconds, faults = time.monotonic() - began, len(tally.faults)
        kinds[name] = {"kills": tally.kills, "runs": tally.runs, "faults": faults}
        kinds[name]["seconds"] = seconds
        print(
            f"{name}: {tally.kills} kills, {tally.runs} runs got through, "
            f"{faults} faults, {seconds:.0f} s",
            flush=True,
        )
        for fault in tally.faults[:20]:
            print(f"  {fault}")
    if given.output:
        record = {"seed": given.seed, "kinds": kinds, "provenance": stamp(torch.device("cpu"))}
        write_json(given.output, portable(record))
    return 1 if any(each["faults"] for each in kinds.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
