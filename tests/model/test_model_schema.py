"""A header or model.json that is damaged or hostile is refused in one line, whatever it holds."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.exceptions import CheckpointError
from showattend.model.checkpoint import save
from showattend.model.description import describe
from showattend.model.model_schema import EXPORT, MODEL, number, parse_json


@pytest.fixture(scope="module")
def parts(untrained: Captioner, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, bytes]:
    """A model file: its tensors' header, its showattend header, its tensors."""
    raw = save(tmp_path_factory.mktemp("model"), untrained.to_checkpoint()).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["showattend"]), raw[8 + length :]


def written(folder: Path, header: Any, meta: str, tensors: bytes) -> Path:
    """A model file with another header."""
    text = json.dumps(header | {"__metadata__": {"showattend": meta}}).encode()
    text += b" " * (-len(text) % 8)
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + tensors)
    return file


def at(*path: str | int, value: Any) -> Callable[[Any], str]:
    """The header with another value in one place."""

    def change(meta: Any) -> str:
        *way, last = path
        inner = meta = copy.deepcopy(meta)
        for key in way:
            inner = inner[key]
        inner[last] = value
        return json.dumps(meta)

    return change


HOSTILE: dict[str, tuple[Callable[[Any], str], str]] = {
    "list": (lambda _: "[]", "not an object"),
    "null": (lambda _: "null", "not an object"),
    "deep": (lambda _: "[" * 5000 + "]" * 5000, "damaged"),
    "cut": (lambda meta: json.dumps(meta)[:100], "damaged"),
    "mean of texts": (at("preprocessing", "mean", value=["a", "b", "c"]), r"mean\[0\]"),
    "mean of two": (at("preprocessing", "mean", value=[1, 2]), "a list of 3"),
    "std of zero": (at("preprocessing", "std", value=[0, 0, 0]), r"std\[0\] is 0"),
    "size of a fraction": (at("preprocessing", "size", value=64.5), "size is 64.5"),
    "size of gigabytes": (at("preprocessing", "size", value=100_000), "from 1 to 4,096"),
    "hidden_dim of 31 digits": (at("config", "decoder", "hidden_dim", value=10**30), "up to"),
    "hidden_dim of gigabytes": (at("config", "decoder", "hidden_dim", value=10**9), "do not fit"),
    "hidden_dim negative": (at("config", "decoder", "hidden_dim", value=-1), "hidden_dim is -1"),
    "decoder of a list": (at("config", "decoder", value=[]), "config.decoder is"),
    "kind of a list": (at("config", "decoder", "kind", value=["lstm"]), "kind is"),
    "search of a list": (at("config", "search", value=[]), "config.search is"),
    "beam_size of 2^63": (at("config", "search", "beam_size", value=2**63), "beam_size is"),
    "min_length for ever": (at("config", "search", "min_length", value=10**8), "min_length is"),
    "length_penalty NaN": (at("config", "search", "length_penalty", value=float("nan")), "is nan"),
    "record of a list": (at("record", value=[]), r"record is \[\]"),
    "calibration of text": (at("calibration", value={"unsure_below": "x"}), "unsure_below is"),
    "vocabulary of an object": (at("vocabulary", value={"a": 1}), "vocabulary is"),
    "a word that colours": (at("vocabulary", 0, value="\x1b[31mred"), r"vocabulary\[0\]"),
    "a word of two lines": (at("vocabulary", 0, value="a\nshowattend: all is well"), "vocabulary"),
    "fingerprint of a number": (at("encoder_fingerprint", value=3), "encoder_fingerprint is 3"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_in_one_line(
    name: str, parts: tuple[Any, Any, bytes], tmp_path: Path
) -> None:
    header, meta, tensors = parts
    change, message = HOSTILE[name]
    file = written(tmp_path, header, change(meta), tensors)
    with pytest.raises(CheckpointError, match=message) as caught:
        Captioner.from_pretrained(file, device="cpu")
    shown = str(caught.value)
    assert str(file) in shown
    assert len(shown) < len(str(file)) + 300
    assert shown.isprintable()


def test_weights_of_one_dimension(parts: tuple[Any, Any, bytes], tmp_path: Path) -> None:
    header, meta, tensors = parts
    for flat in (["decoder.attention.W_a.weight"], [key for key in header if "decoder" in key]):
        changed = copy.deepcopy(header)
        for key in flat:
            shape = changed[key]["shape"]
            size = 1
            for side in shape:
                size *= side
            changed[key]["shape"] = [size]
        file = written(tmp_path, changed, json.dumps(meta), tensors)
        with pytest.raises(CheckpointError, match="weights do not fit the model") as caught:
            Captioner.from_pretrained(file, device="cpu")
        assert "\n" not in str(caught.value)


def test_a_record_does_not_reach_the_terminal_raw(
    parts: tuple[Any, Any, bytes], tmp_path: Path
) -> None:
    header, meta, tensors = parts
    figures = [{"data": "val\x1b[2J\nforged", "settings": {}, "metrics": {"CIDEr": 1}}]
    change = at("record", value={"figures": figures})
    told = describe(written(tmp_path, header, change(meta), tensors))
    assert "val\\x1b[2J\\nforged" in told
    assert all(line.isprintable() for line in told.split("\n"))


def test_keys_of_later_versions_are_left_alone(parts: tuple[Any, Any, bytes]) -> None:
    meta = copy.deepcopy(parts[1])
    meta["later"] = meta["preprocessing"]["later"] = {"x": 1}
    MODEL(meta, "it")


def test_numbers_are_numbers() -> None:
    check = number(0, 10, whole=True)
    check(3, "x")
    for wrong in (True, "3", 3.0, 11, -1, None, float("nan")):
        with pytest.raises(ValueError, match=r"^x is .*it must be a whole number from 0 to 10"):
            check(wrong, "x")


def test_json_of_any_depth_is_an_answer() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
    with pytest.raises(ValueError, match="it has no vocabulary"):
        EXPORT(
            {
                "preprocessing": {
                    "size": 1,
                    "fit": "pad",
                    "interpolation": "bicubic",
                    "fill": [0, 0, 0],
                }
            },
            "it",
        )
