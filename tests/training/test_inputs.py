"""From a config to records: several processes, and data sets without their images."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.config import Config, from_dict
from showattend.data.mixture import Mixture
from showattend.data.records import PackedRecords, Record
from showattend.exceptions import DataError
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import build_encoder
from showattend.system.processes import ALONE, Processes
from showattend.training import inputs
from showattend.training.inputs import cached_inputs, pixel_inputs, read_mixture
from showattend.training.reporter import Silent

SQUARE = Preprocessing(size=64)


class Pair(Processes):
    """One of two processes, here two threads."""

    def gather(self, mine: Any) -> list[Any]:
        table[self.rank] = mine
        barrier.wait(60)
        return table

    def from_first(self, make: Callable[[], Any]) -> Any:
        found: Any = None
        if self.first:
            try:
                found = make(), None
            except DataError as error:
                found = None, error
        value, error = self.gather(found)[0]
        if error is not None:
            raise error
        return value


table: list[Any] = [None, None]
barrier = threading.Barrier(2)


def together(config: Config) -> list[Mixture]:
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(read_mixture, config, Pair(rank, 2)) for rank in (0, 1)]
        return [run.result() for run in runs]


def test_the_first_process_draws_and_the_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []

    def write(folder: Path, images: int) -> Path:
        drawn.append(folder)
        return draw(folder, images, size=32)

    draw = inputs.write_toy
    monkeypatch.setattr(inputs, "write_toy", write)
    data = {"path": "toy", "toy_images": 12, "cache": str(tmp_path / "cache")}
    one, other = together(from_dict(Config, {"data": data}, "test"))
    assert list(one.records) == list(other.records)
    assert len(one) == 12
    assert drawn == [tmp_path / "cache" / "toy-12"]


def test_what_stops_the_first_process_stops_all(tmp_path: Path) -> None:
    data = {"path": "toy", "toy_images": 3, "cache": str(tmp_path)}
    with ThreadPoolExecutor(2) as pool:
        config = from_dict(Config, {"data": data}, "test")
        runs = [pool.submit(read_mixture, config, Pair(rank, 2)) for rank in (0, 1)]
        for run in runs:
            with pytest.raises(DataError, match="draw at least 6"):
                run.result()


# Images that are not there ---------------------------------------------------------------------


class Lines(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def records(folder: Path, count: int) -> PackedRecords:
    return PackedRecords(
        Record(i, folder / f"{i}.png", ("A dog.",), "val" if i % 2 else "train")
        for i in range(count)
    )


def mix(found: PackedRecords) -> Mixture:
    return Mixture(found, np.zeros(len(found), np.uint16), ("one",), (1.0,))


def config(folder: Path) -> Config:
    data = {"path": str(folder / "dataset.jsonl"), "cache": str(folder / "cache")}
    return from_dict(Config, {"data": data}, "test")


def cached(folder: Path, found: PackedRecords, reporter: Lines) -> PackedRecords:
    encoder = build_encoder(name="efficientnet_lite0", pretrained=False)
    encoder.measure(64)
    kind: dict[str, Any] = {"dtype": inputs.torch.float32, "device": inputs.torch.device("cpu")}
    return cached_inputs(
        config(folder), mix(found), encoder, SQUARE, processes=ALONE, reporter=reporter, **kind
    )[0].records


def pixels(folder: Path, found: PackedRecords, reporter: Lines) -> PackedRecords:
    return pixel_inputs(config(folder), mix(found), SQUARE, reporter)[0].records


@pytest.mark.parametrize("read", [cached, pixels])
def test_images_that_are_missing(read: Any, tmp_path: Path) -> None:
    lines = Lines()
    with pytest.raises(
        DataError, match=r"none of the 25 images of .*dataset\.jsonl is there"
    ) as no:
        read(tmp_path, records(tmp_path, 25), lines)
    assert str(no.value).startswith(f"{tmp_path}: ")
    assert "data.images=DIR" in str(no.value)
    assert not (tmp_path / "cache").exists()
    assert lines.said == []

    for i in range(12):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    kept = read(tmp_path, records(tmp_path, 25), lines)
    assert [record.image_id for record in kept] == list(range(12))
    skipped = [line for line in lines.said if line.startswith("skipped: ")]
    assert len(skipped) == 11
    assert skipped[0].startswith(f"skipped: {tmp_path / '12.png'}: no such file")
    assert skipped[-1] == "skipped: and 3 more"
