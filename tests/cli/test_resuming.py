"""An interrupted ``caption`` goes on: no line is lost, none is repeated, no photo is done twice."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from showattend.cli import caption_command
from showattend.cli.caption_writer import CaptionWriter
from showattend.cli.resuming import captioned_images, image_key, photos_without_text
from showattend.exceptions import DataError
from tests.cli.conftest import picture
from tests.commandline import CommandLine

COUNT = 6


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(COUNT):
        picture(tmp_path / "photos" / f"photo {number}.png", number)
    return tmp_path / "photos"


def captions(output: Path) -> list[tuple[str, str]]:
    text = output.read_text(encoding="utf-8")
    if output.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        return [(row["image"], row["caption"]) for row in rows]
    return [(line["image"], line["caption"]) for line in map(json.loads, text.splitlines())]


def images(output: Path) -> list[str]:
    return [image for image, _ in captions(output)]


# A cut file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_file_cut_anywhere_is_completed(
    run: CommandLine, photos: Path, tmp_path: Path, suffix: str
) -> None:
    """The result has the same captions in the same order, wherever the process was killed."""
    output, part = tmp_path / f"c.{suffix}", tmp_path / f"c.{suffix}.part"
    (photos / "photo 2.png").rename(photos / 'a "quoted"\nname.png')
    options = ["--output", output, "--n-best", 2]
    assert run.caption(photos, *options).code == 0
    whole, expected = output.read_bytes(), captions(output)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {0, 1, len(whole) - 1, len(whole), *ends, *(end - 1 for end in ends)}
    some = random.Random(0).sample(sorted(cuts), 8) + random.Random(1).sample(range(len(whole)), 4)
    for cut in some:
        output.unlink(missing_ok=True)
        part.write_bytes(whole[:cut])
        result = run.caption(photos, *options, "--resume")
        assert result.code == 0
        assert captions(output) == expected, f"cut at {cut}"
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "model") == [
            output.name,
            "photos",
        ]
        # Only what was not in the file is captioned, and printed.
        done = int(result.err[0].split()[0])
        assert len(result.out) == 2 * (COUNT - done)


def test_a_killed_process_is_continued(model: Path, photos: Path, tmp_path: Path) -> None:
    """SIGKILL within a write; the next process finishes the file."""
    output = tmp_path / "c.jsonl"
    program = """
import os, signal, sys
from showattend.cli import main
from showattend.cli.caption_writer import CaptionWriter
append, count = CaptionWriter._append, 0
def killed(self, output, path, ranked):
    global count
    if count == 3:
        part = self._part
        part.write('{"image": "cut')
        part.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    append(self, output, path, ranked)
if sys.argv.pop(1) == "kill":
    CaptionWriter._append = killed
sys.exit(main(sys.argv[1:]))
"""
    args = ["caption", str(photos), "--model", str(model), "--output", str(output), "--resume"]
    first = subprocess.run([sys.executable, "-c", program, "kill", *args], capture_output=True)
    assert first.returncode == -signal.SIGKILL
    second = subprocess.run(
        [sys.executable, "-c", program, "live", *args], capture_output=True, text=True
    )
    assert second.returncode == 0
    assert f"3 of {COUNT} photos are in {output}.part already" in second.stderr
    assert images(output) == [str(path) for path in sorted(photos.iterdir())]


def test_a_damaged_line_is_named(run: CommandLine, photos: Path, tmp_path: Path) -> None:
    part = tmp_path / "c.jsonl.part"
    for content in ("\0\0\0\n", "[]\n", '{"image": 3}\n', "{}\n", "[" * 5000 + "\n"):
        part.write_text('{"image": "x.jpg"}\n' + content)
        line = run.refused(
            "caption", photos, "--resume", "--output", tmp_path / "c.jsonl", "--model", run.model
        )
        assert f"{part}, line 2: not written by" in line
        assert part.exists()
    other = tmp_path / "c.csv.part"
    other.write_text("image,caption\r\n")
    with pytest.raises(DataError, match="line 1"):
        captioned_images(other, 1)


# The same command, or another ------------------------------------------------------------------


def interrupted(run: CommandLine, photos: Path, output: Path, *args: object) -> Path:
    """A part file with half of the photos."""
    with pytest.MonkeyPatch.context() as patch:
        write, count = CaptionWriter.write, iter(range(COUNT))

        def fail(writer: CaptionWriter, path: Path, caption: object) -> list[str]:
            if next(count) == COUNT // 2:
                raise KeyboardInterrupt
            return write(writer, path, caption)  # type: ignore[arg-type]

        patch.setattr(CaptionWriter, "write", fail)
        result = run.caption(photos, "--output", output, *args)
    assert result.code == 130
    assert "the same command with --resume continues" in result.err[0]
    return output.with_name(f"{output.name}.part")


def test_other_options_are_refused_by_name(run: CommandLine, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.jsonl"
    part = interrupted(run, photos, output, "--beam-size", 2)
    before = part.read_bytes()
    for args, told in (
        (["--beam-size", 3], "--beam-size was 2, is 3"),
        ([], "--beam-size was 2, is None"),
        (["--beam-size", 2, "--n-best", 2], "--n-best was 1, is 2"),
        (["--beam-size", 2, "--precision", "auto"], "--precision was fp32, is auto"),
        (["--beam-size", 2, "--size", 96], "--size was None, is 96"),
    ):
        line = run.refused(
            "caption", photos, "--output", output, "--resume", "--model", run.model, *args
        )
        assert told in line
        assert part.read_bytes() == before
    # The model may lie elsewhere, but must be the same.
    moved = tmp_path / "moved"
    shutil.copytree(run.model, moved)
    weights = moved / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    args = ["caption", photos, "--output", output, "--resume", "--beam-size", 2, "--model", moved]
    assert "--model (the digest of its files) was" in run.refused(*args)
    weights.write_bytes(content)
    assert run(*args).code == 0
    assert len(set(images(output))) == COUNT == len(images(output))


def test_resume_leaves_a_complete_file_and_adds_what_is_new(
    run: CommandLine, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "c.csv"
    args = [photos, "--output", output, "--resume"]
    assert run.caption(*args).code == 0, "there is nothing to resume yet"
    whole = output.read_bytes()
    result = run.caption(*args)
    assert (result.code, result.out) == (0, [])
    assert output.read_bytes() == whole
    picture(photos / "z.png")
    result = run.caption(*args)
    assert (result.code, len(result.out)) == (0, 1)
    assert "options are not recorded" in result.err[0]
    assert output.read_bytes().startswith(whole)
    assert len(images(output)) == COUNT + 1


def test_a_photo_that_failed_is_tried_again(run: CommandLine, photos: Path, tmp_path: Path) -> None:
    output, bad = tmp_path / "c.jsonl", photos / "bad.jpg"
    bad.touch()
    assert run.caption(photos, "--output", output, "--resume").code == 1
    assert run.caption(photos, "--output", output, "--resume").code == 1
    picture(bad.with_suffix(".png")).rename(bad)
    assert run.caption(photos, "--output", output, "--resume").code == 0
    assert len(images(output)) == COUNT + 1


def test_paths_may_be_written_otherwise(
    run: CommandLine, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "c.jsonl"
    interrupted(run, Path("photos"), output)
    assert run.caption("photos/../photos/*.png", "--output", output, "--resume").code == 0
    assert len(images(output)) == COUNT
    part = interrupted(run, Path("photos"), output)
    monkeypatch.chdir(photos)
    line = run.refused("caption", ".", "--output", output, "--resume", "--model", run.model)
    assert line.endswith(
        f"{part}: was begun in the folder {tmp_path}; continue it there, or give absolute paths"
    )
    assert run.caption(photos, "--output", output, "--resume").code == 0
    assert len(images(output)) == COUNT
    assert image_key("a/b.jpg", "/x") == image_key("/x/y/../a/b.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked by their process there")
def test_two_runs_do_not_write_one_file(run: CommandLine, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.jsonl"
    part = interrupted(run, photos, output)
    program = (
        "import sys; from showattend.system.files import hold; file = open(sys.argv[1], 'a');"
        "assert hold(file); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, part], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for more in ([], ["--resume"]):
            args = ["caption", photos, "--output", output, "--model", run.model, *more]
            assert "another run is writing it" in run.refused(*args)
        other.communicate(b"\n")
    assert run.caption(photos, "--output", output, "--resume").code == 0
    assert len(images(output)) == COUNT


def test_resume_needs_an_output(run: CommandLine, photos: Path) -> None:
    assert "--resume is for --output" in run.refused("caption", photos, "--resume")


# Text files next to photos ---------------------------------------------------------------------


def test_sidecar_skips_before_the_model_runs(
    run: CommandLine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "photo 0.txt").write_text("My dog Rex.\n")
    (photos / "photo 1.txt").write_text(" \n")
    result = run.caption(photos, "--sidecar")
    assert (result.code, len(result.out)) == (0, COUNT - 1)
    assert result.err == [
        f"1 of {COUNT} photos have a text already; --overwrite replaces it",
        f"wrote photo.txt for {COUNT - 1} photos",
    ]
    assert (photos / "photo 0.txt").read_text() == "My dog Rex.\n"
    assert (photos / "photo 1.txt").read_text().strip(), "an empty text is none"

    def fail(*_: object) -> None:
        raise AssertionError("no model is needed")

    with monkeypatch.context() as patch:
        patch.setattr(caption_command, "load_captioner", fail)
        result = run.caption(photos, "--sidecar")
    assert (result.code, result.out, len(result.err)) == (0, [], 1)
    assert run.caption(photos, "--sidecar", "--overwrite").code == 0
    assert (photos / "photo 0.txt").read_text() != "My dog Rex.\n"


def test_photos_that_share_a_text_are_named(tmp_path: Path) -> None:
    first, second, named = (picture(tmp_path / name) for name in ("a.jpg", "a.png", "b.png"))
    named = named.rename(tmp_path / "b.txt")
    found = photos_without_text([first, second, named])
    assert (found.without, found.texts) == ([first, named], 0)
    assert found.problems == [
        f"{second}: has no a.txt of its own, a.jpg has it; rename one of the two"
    ]
