"""A worker's part: the captions of the plain engine, exactly once, or no part at all."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.exceptions import DataError, UserError
from showattend.export.cluster import part_worker
from showattend.export.cluster.part_files import bad_file_of, file_of
from showattend.export.cluster.part_worker import Outcome, PartWorker
from showattend.export.cluster.partition import Part
from showattend.export.cluster.stores import Store

Work = Callable[[Part], Outcome]


@pytest.fixture
def work(captioner: Captioner, store: Store, photographs: Path) -> PartWorker:
    return PartWorker(captioner, store, "jsonl", str(photographs), 3, {"n_best": 2})


def lines(store: Store, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store.folder / name).read_text("utf-8").splitlines()]


def test_captions_are_those_of_the_plain_engine(
    captioner: Captioner, work: Work, store: Store, photographs: Path
) -> None:
    names = sorted(path.name for path in photographs.iterdir())
    part = Part(3, (*names, "gone.jpg"))
    assert work(part) == Outcome(3, 7, 3)
    rows = lines(store, file_of(part, "jsonl"))
    good = [name for name in names if name.startswith("photo")]
    assert [row["image"] for row in rows] == good
    expected = captioner.caption([photographs / name for name in good], n_best=2)
    for row, each in zip(rows, expected, strict=True):
        plain = each.to_dict()
        assert row["words"] == plain["words"]
        assert row["log_probs"] == pytest.approx(plain["log_probs"], abs=1e-5)
        assert [other["words"] for other in row["alternatives"]] == [
            other["words"] for other in plain["alternatives"]
        ]
        assert list(row) == list(plain)
        assert {other["image"] for other in row["alternatives"]} == {row["image"]}
    bad = {row["image"]: row["error"] for row in lines(store, bad_file_of(part))}
    assert set(bad) == {"cut.png", "none.jpg", "gone.jpg"}
    assert bad["gone.jpg"] == "no such file"
    assert all(name not in error for name, error in bad.items())


def test_the_names_of_addresses_stay_whole(
    captioner: Captioner, store: Store, photographs: Path
) -> None:
    fsspec = pytest.importorskip("fsspec", reason="object stores need fsspec")
    system = fsspec.filesystem("memory")
    for name in ("photo 1.png", "none.jpg"):
        system.pipe_file(f"/bucket/{name}", (photographs / name).read_bytes())
    part = Part(0, ("memory:///bucket/photo 1.png", "memory:///bucket/none.jpg"))
    worker = PartWorker(captioner, store, "jsonl", "/", 3, {})
    assert worker(part) == Outcome(0, 1, 1)
    assert lines(store, file_of(part, "jsonl"))[0]["image"] == part.images[0]
    (bad,) = lines(store, bad_file_of(part))
    assert bad["image"] == part.images[1]
    assert "bucket" not in bad["error"]


def test_the_images_of_a_shard(
    captioner: Captioner, store: Store, photographs: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("photo 1.png", "none.jpg", "photo 2.png"):
            content = (photographs / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    part = Part(0, shard=str(tmp_path / "x.tar"))
    assert PartWorker(captioner, store, "jsonl", "/", 2, {})(part) == Outcome(0, 2, 1)
    rows = lines(store, file_of(part, "jsonl"))
    assert [row["image"] for row in rows] == [f"{part.shard}/photo {n}.png" for n in (1, 2)]
    expected = captioner.caption([photographs / f"photo {n}.png" for n in (1, 2)])
    assert [row["caption"] for row in rows] == [each.text for each in expected]


def test_a_part_that_is_there_is_not_made_again(work: Work, store: Store) -> None:
    part = Part(0, ("photo 1.png", "gone.jpg"))
    assert work(part) == Outcome(0, 1, 1)
    path = store.folder / file_of(part, "jsonl")
    before = path.stat()
    assert work(part) == Outcome(0, 1, 1)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("where", ["contents", "write_part"])
def test_what_cannot_be_reached_or_written_leaves_no_part(
    where: str, work: Work, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise (DataError if where == "contents" else UserError)("the network is down")

    with monkeypatch.context() as patch:
        patch.setattr(part_worker, where, broken)
        assert work(Part(5, ("photo 1.png",))) == Outcome(5, 0, 0, "the network is down")
    assert store.names() == set()
    assert work(Part(5, ("photo 1.png",))) == Outcome(5, 1, 0)
