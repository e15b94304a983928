"""Disks that are full or read-only, links in circles, files that vanish: one line, and no half of a
file."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from showattend.data import shard_files
from showattend.data.prepare_folder import prepare_folder, read_folder
from showattend.data.shard_files import OpenShard
from showattend.data.shard_index import read_index
from showattend.data.shard_writer import write_shards
from showattend.exceptions import DataError, ImageError, UserError
from showattend.images import finding
from showattend.images.finding import find_images
from showattend.images.upright import open_image
from showattend.system.files import write_bytes
from showattend.system.npy_files import map_array
from tests.cli.conftest import picture
from tests.commandline import CommandLine
from tests.data.sharded import photographs

FULL, READ_ONLY = "No space left on device", "Read-only file system"


@pytest.fixture(params=[FULL, READ_ONLY])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that holds a photo, and cannot hold more; its name says why."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]
    if (
        not sys.platform.startswith("linux")
        or subprocess.run(command, capture_output=True).returncode
    ):
        pytest.skip("a disk can be mounted by root only")
    try:
        picture(place / "photo.png")
        (place / "photo.txt").write_text("A dog.\n")
        if request.param == FULL:
            with contextlib.suppress(OSError), (place / "filler").open("wb", 0) as file:
                while True:
                    file.write(bytes(4096))
        else:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def annotations(folder: Path) -> dict[str, Path]:
    captions = {
        "images": [{"id": 1, "file_name": "photo.png"}],
        "annotations": [{"image_id": 1, "caption": "a red dog"}],
    }
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "results.json").write_text('[{"image_id": 1, "caption": "a blue cat"}]')
    return {"--annotations": folder / "captions.json", "--results": folder / "results.json"}


WRITERS = {
    "JSON Lines": ["caption", "{photo}", "--output", "{disk}/new/c.jsonl"],
    "CSV": ["caption", "{photo}", "--output", "{disk}/c.csv"],
    "text files": ["caption", "{disk}/photo.png", "--sidecar", "--overwrite"],
    "figures": ["caption", "{photo}", "--overlay", "{disk}/figures"],
    "a figure": ["attend", "{photo}", "--output", "{disk}/a.png"],
    "a vector figure": ["attend", "{photo}", "--output", "{disk}/a.pdf"],
    "an animation": ["attend", "{photo}", "--output", "{disk}/a.gif"],
    "a page": ["attend", "{photo}", "--output", "{disk}/a.html"],
    "raw maps": ["attend", "{photo}", "--output", "{disk}/a.npz"],
    "XMP": ["caption", "{disk}/photo.png", "--xmp"],
    "metadata": ["caption", "{disk}/photo.png", "--write-metadata"],
    "a data set": ["prepare", "folder", "{photos}", "--out", "{disk}/out", "--min-count", "1"],
    "shards": [
        *("prepare", "folder", "{photos}", "--out", "{out}", "--min-count", "1"),
        *("--shards", "{disk}/shards"),
    ],
    "a folder for the Hub": ["export", "--hub", "{disk}/hub"],
    "an export": ["export", "--out", "{disk}/onnx"],
    "a training": ["train", "{config}", "train.out={disk}/run"],
    "a comparison": ["compare", "{config}", "--out", "{disk}/runs"],
    "a fine-tuned model": ["finetune", "{photos}", "--out", "{disk}/mine"],
    "a report": ["errors", "{given}", "--output", "{disk}/errors.md"],
}

CONFIG = """
data: {{path: "{folder}/data/dataset.jsonl", cache: "{folder}/cache", min_count: 1}}
encoder: {{size: 64}}
decoder: {{embedding_dim: 8, hidden_dim: 8, attention_dim: 8}}
train: {{epochs: 1, batch_size: 4, precision: fp32, device: cpu}}
"""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n == "an export" else ()) for n in WRITERS],
)
def test_nothing_can_be_written(
    name: str, disk: Path, run: CommandLine, photo: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for each in "abcde":
        picture(photos / f"{each}.png")
        (photos / f"{each}.txt").write_text("A dog.\n")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    if "{config}" in WRITERS[name]:
        prepare_folder(photos, tmp_path / "data", min_count=1)
    before = {path: path.read_bytes() for path in disk.iterdir()}
    args: list[object] = []
    for each in WRITERS[name]:
        if each == "{given}":
            args += [str(x) for pair in annotations(tmp_path).items() for x in pair]
        else:
            given = {"photo": photo, "photos": photos, "disk": disk, "config": config}
            args.append(each.format(**given, out=tmp_path / "out"))
    if args[0] in ("caption", "attend", "export", "finetune"):
        args += ["--model", run.model]
    result = run(*args)
    assert result.code in (1, 2)
    complaints = [line for line in result.err if line.startswith("showattend: ")]
    assert len(complaints) <= (2 if name == "a comparison" else 1), result.err  # one for each run
    wanted = "cannot be (written|created)|no description can be written"
    assert complaints
    assert all(re.search(wanted, line) and str(disk) in line for line in complaints)
    assert not any("Traceback" in line for line in result.err)
    now = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    assert now == before, "a file was lost, or half of one was left"


def test_a_shard_from_elsewhere_has_no_room(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    write_shards(photographs(tmp_path / "images", {"train": 1}), tmp_path / "shards")
    system = fsspec.filesystem("memory")
    for path in (tmp_path / "shards").iterdir():
        system.pipe(f"/disks/{path.name}", path.read_bytes())
    shard = read_index("memory://disks/*.tar").shards[0]
    monkeypatch.setattr(shard_files.time, "sleep", None)  # another try would not help
    for _ in range(2):  # with check_room, and where the system does not know how much is left
        with pytest.raises(DataError, match=f"{disk}.*: cannot hold a copy of a shard"):
            OpenShard(shard, disk / "copies")
        monkeypatch.setattr(shard_files, "check_room", lambda *_: None)
    assert OpenShard(shard, tmp_path / "copies").image(0)


def test_a_file_is_kept_when_its_new_content_does_not_fit(disk: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_bytes(disk / "photo.txt", bytes(100_000))
    assert (disk / "photo.txt").read_text() == "A dog.\n"


# Links in circles ------------------------------------------------------------------------------


def test_links_in_circles(tmp_path: Path, run: CommandLine) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "one.png").symlink_to("two.png")
    (tmp_path / "two.png").symlink_to("one.png")
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    result = run.caption(tmp_path, "--recursive", "--beam-size", 1)
    assert result.code == 1
    assert [line.partition("\t")[0] for line in result.out] == [str(tmp_path / "good.png")]
    assert len(result.err) == 3
    for name in ("circle", "circle/a.png", "self.png"):
        assert "Traceback" not in run.refused("caption", tmp_path / name, "--model", run.model)
    for target in ("circle/c.jsonl", "circle"):
        line = run.refused(
            "caption", tmp_path / "good.png", "--model", run.model, "--overlay", tmp_path / target
        )
        assert "cannot be written" in line
    with pytest.raises(ImageError):
        open_image(tmp_path / "self.png")
    records, skipped = read_folder(tmp_path)
    assert records == []
    assert len(skipped) == 4


# What vanishes ---------------------------------------------------------------------------------


def test_photos_that_vanish_after_they_were_listed(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [picture(tmp_path / "photos" / f"{number}.png", number) for number in range(4)]

    def vanishing(*args: Any, **options: Any) -> Any:
        found = find_images(*args, **options)
        photos[1].unlink()
        return found

    monkeypatch.setattr(finding, "find_images", vanishing)
    output = tmp_path / "c.jsonl"
    result = run.caption(tmp_path / "photos", "--output", output, "--beam-size", 1)
    assert result.code == 1
    assert result.err[0] == f"showattend: {photos[1]}: no such file"
    assert len(output.read_text().splitlines()) == 3


def test_a_data_set_whose_photos_vanish(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "photos" / f"{number}.png", number)
        (tmp_path / "photos" / f"{number}.txt").write_text("A dog.\n")

    def remove(label: str, done: int, total: int) -> None:
        (tmp_path / "photos" / "2.txt").unlink(missing_ok=True)
        (tmp_path / "photos" / "1.png").unlink(missing_ok=True)

    (tmp_path / "photos" / "0.png").unlink()
    (tmp_path / "photos" / "0.png").symlink_to("gone.png")
    report = prepare_folder(tmp_path / "photos", tmp_path / "out", progress=remove, min_count=1)
    assert any("0.png: no such file" in line for line in report.skipped)
    assert sum(report.images.values()) + len(report.skipped) == 3
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path / "gone")


# NumPy's files ---------------------------------------------------------------------------------


def test_a_mapped_file_never_grows(tmp_path: Path) -> None:
    """NumPy makes a file that is opened for writing as long as its header claims."""
    path = tmp_path / "a.npy"
    head = b"\x93NUMPY\x01\x00v\x00{'descr': '<f2', 'fortran_order': False, 'shape': (99999999,), }"
    path.write_bytes(head.ljust(127) + b"\n" + bytes(20))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"a\.npy is damaged"):
        map_array(path, write=True)
    assert path.read_bytes() == before
