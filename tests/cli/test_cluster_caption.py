"""``showattend caption --engine ray``: what is refused, what is passed on, what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from showattend.cli.cluster_caption import _address
from showattend.export import cluster
from showattend.export.cluster import stores
from showattend.export.cluster.jobs import Summary
from tests.commandline import CommandLine

DONE = Summary(7, 0, 5, 0, (), (), False)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of `caption_many`, and under "result" what it will return or raise."""
    found: dict[str, Any] = {"result": DONE}

    def caption_many(inputs: list[str], output: str, **options: Any) -> Summary:
        found.update(inputs=inputs, output=output, options=options)
        if isinstance(found["result"], BaseException):
            raise found["result"]
        result: Summary = found["result"]
        return result

    monkeypatch.setattr(cluster, "caption_many", caption_many)
    return found


def test_options_are_passed_on(run: CommandLine, calls: dict[str, Any]) -> None:
    args = ["a.jpg", "--input", "s3://b/{0..9}.tar", "--input", "c", "--workers", 3, "--n-best", 2]
    args += ["--worker-cores", 2, "--parts", "jsonl", "--part-size", 50, "--recursive"]
    result = run("caption", "--engine", "ray", *args, "--output", "s3://b/out", "--model", "m")
    assert result.code == 0
    assert calls["inputs"] == ["a.jpg", "s3://b/{0..9}.tar", "c"]
    assert calls["output"] == "s3://b/out"
    options = calls["options"]
    del options["progress"]
    assert options == {
        "recursive": True, "model": "m", "parts": "jsonl", "part_size": 50, "workers": 3,
        "cores": 2, "device": "auto", "precision": "fp32", "n_best": 2,
    }  # fmt: skip
    assert result.out == []
    assert result.err == ["s3://b/out: 7 captions in 5 new parts, 0 parts existed already"]


@pytest.mark.parametrize(
    ("changes", "code", "lines"),
    [
        ({"bad": 2}, 1, ["showattend: 2 images have no caption; out/bad-*.jsonl says why"]),
        ({"problems": ("x: no images",)}, 1, ["showattend: x: no images"]),
        ({"failures": ("no network",)}, 1, ["1 parts are missing; the same command tries"]),
        ({"bad": 7, "captions": 0, "is_empty": True}, 2, ["7 images have no caption"]),
        (
            {"problems": ("x: no images",), "captions": 0, "made": 0, "is_empty": True},
            2,
            ["showattend: x: no images"],
        ),
    ],
)
def test_exit_codes(
    run: CommandLine, calls: dict[str, Any], changes: dict[str, Any], code: int, lines: list[str]
) -> None:
    calls["result"] = DONE._replace(**changes)
    result = run("caption", "--engine", "ray", "photos", "--output", "out")
    assert result.code == code
    for line in lines:
        assert any(line in each for each in result.err), result.err


def test_an_interruption_says_how_to_continue(run: CommandLine, calls: dict[str, Any]) -> None:
    calls["result"] = KeyboardInterrupt()
    result = run("caption", "--engine", "ray", "photos", "--output", "out")
    assert result.code == 130
    assert result.err == [
        "the parts made so far are in out; the same command continues",
        "showattend: interrupted",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--engine", "ray", "--output", "out"], "needs images: give PATHS or --input PLACE"),
        (["photos", "--engine", "ray"], "--engine ray needs --output DIR"),
        (["photos", "--engine", "ray", "--output", "o", "--xmp"], "--xmp is not for --engine ray"),
        (["photos", "--engine", "ray", "--overlay", "o"], "--overlay is not for --engine ray"),
        (["photos", "--workers", "2"], "--workers is for --engine ray; give both"),
        (["--input", "s3://b/x"], "--input is for --engine ray; give both"),
        (["photos", "--part-size", "9"], "--part-size is for --engine ray; give both"),
        ([], "missing argument 'PATHS...'; see showattend caption --help"),
        (["--engine", "onnx"], "missing argument 'PATHS...'"),
    ],
)
def test_mistakes(run: CommandLine, args: list[str], message: str) -> None:
    assert message in run.refused("caption", *args)


def test_a_missing_package_is_named(
    run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "find_spec", lambda _: None)
    output = tmp_path / "out"
    message = run.refused("caption", photo, "--engine", "ray", "--output", output)
    assert message.endswith('a cluster needs ray; run: pip install "showattend[cluster]"')
    assert not output.exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (Path("s3://b/out"), "s3://b/out"),
        (Path("memory://out"), "memory://out"),
        (Path("/a/b"), "/a/b"),
        (Path("out"), "out"),
    ],
)
def test_addresses_as_output(path: Path, expected: str) -> None:
    assert _address(str(path)) == expected
