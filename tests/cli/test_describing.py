"""``caption --xmp`` and ``--write-metadata``: which photos are described, and where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from showattend.cli.describing import Describer, model_name
from showattend.images.metadata.photo_descriptions import (
    Words,
    description_in,
    description_next_to,
    write_into,
    write_next_to,
)
from tests.cli.conftest import picture
from tests.commandline import CommandLine
from tests.images.metadata.test_xmp_files import mpo

REX = Words("Rex.", "en", "Ada")
NOT_REPLACED = "has a description by others; --replace-description replaces it"


def by_a_person(sidecar: Path) -> Path:
    write_next_to(sidecar, REX)
    sidecar.write_bytes(sidecar.read_bytes().replace(b"showattend:Caption", b"showattend:Other"))
    assert not description_next_to(sidecar).ours
    return sidecar


def test_sidecars_are_written_once(run: CommandLine, folder: Path) -> None:
    result = run.caption(folder, "--recursive", "--xmp", "--n-best", 2)
    assert (result.code, len(result.out)) == (0, 6)
    assert result.err == ["wrote photo.jpg.xmp for 3 photos"]
    best = {line.split("\t")[0]: line.split("\t")[1] for line in reversed(result.out)}
    for photo, caption in best.items():
        assert description_next_to(Path(f"{photo}.xmp")) == (caption, True)
    by_a_person(folder / "b.png.xmp")
    result = run.caption(folder, "--recursive", "--xmp")
    assert (result.code, result.out) == (0, [])
    assert result.err == [
        "2 of 3 photos have their description already; --overwrite replaces it",
        "1 of 3 photos have a description by others; --replace-description replaces it",
    ]
    result = run.caption(folder, "--recursive", "--xmp", "--overwrite")
    assert (result.code, len(result.out)) == (0, 2)
    assert description_next_to(folder / "b.png.xmp") == ("Rex.", False)
    result = run.caption(folder, "--recursive", "--xmp", "--replace-description")
    assert [line.split("\t")[0] for line in result.out] == [str(folder / "b.png")]
    assert description_next_to(folder / "b.png.xmp").ours


def test_photos_are_described_within(run: CommandLine, folder: Path) -> None:
    result = run.caption(folder, "--recursive", "--write-metadata", "--language", "pt-BR")
    assert (result.code, result.err) == (0, ["wrote the metadata of 3 photos"])
    for line in result.out:
        photo, caption = line.split("\t")
        assert description_in(Path(photo)) == (caption, True)
        assert b'xml:lang="pt-BR"' in Path(photo).read_bytes()
    # A sidecar is still missing, and the captions are those of the same pixels.
    again = run.caption(folder, "--recursive", "--write-metadata", "--xmp")
    assert (again.code, again.out) == (0, result.out)
    assert again.err == ["wrote photo.jpg.xmp for 3 photos, the metadata of 3 photos"]
    assert run.caption(folder, "--recursive", "--write-metadata", "--xmp").out == []


def test_the_other_name_of_a_sidecar(run: CommandLine, folder: Path) -> None:
    picture(folder / "a.png")
    result = run.caption(folder, "--xmp", "--xmp-name", "photo.xmp")
    assert result.code == 1
    assert result.err == [
        f"showattend: {folder / 'a.png'}: has no a.xmp of its own, a.jpg has it; rename one of the "
        "two",
        "wrote photo.xmp for 2 photos",
    ]
    assert description_next_to(folder / "a.xmp").ours


def test_a_description_in_the_photo_is_not_hidden_by_a_sidecar(
    run: CommandLine, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010E] = "Rex in the garden"
    Image.new("RGB", (20, 10)).save(photo, exif=exif)
    result = run.caption(photo, "--xmp")
    assert (result.code, result.out) == (0, [])
    result = run.caption(photo, "--xmp", "--output", tmp_path / "captions.jsonl")
    assert (result.code, len(result.out)) == (1, 1)
    assert result.err[0] == f"showattend: {photo}: {NOT_REPLACED}"
    assert not (tmp_path / "photo.jpg.xmp").exists()
    assert run.caption(photo, "--xmp", "--replace-description").code == 0
    assert description_next_to(tmp_path / "photo.jpg.xmp").ours


def test_with_an_output_all_are_captioned_and_an_interrupted_run_goes_on(
    run: CommandLine, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "captions.jsonl"
    assert run.caption(folder / "a.jpg", "--xmp").code == 0
    by_a_person(folder / "b.png.xmp")
    result = run.caption(folder, "--xmp", "--output", output)
    assert (result.code, len(result.out)) == (1, 2)
    assert result.err == [
        f"showattend: {folder / 'b.png.xmp'}: {NOT_REPLACED}",
        f"wrote {output} (2 photos), photo.jpg.xmp for 1 photo",
    ]
    (folder / "a.jpg.xmp").unlink()
    picture(folder / "c.png")
    result = run.caption(folder, "--xmp", "--output", output, "--resume")
    assert [line.split("\t")[0] for line in result.out] == [str(folder / "c.png")]
    assert len([json.loads(line) for line in output.read_text().splitlines()]) == 3
    assert not (folder / "a.jpg.xmp").exists(), "what the output holds is done"


def test_formats_that_hold_no_description(run: CommandLine, tmp_path: Path) -> None:
    picture(tmp_path / "a.gif")
    line = run.refused("caption", tmp_path, "--write-metadata", code=1)
    assert "a.gif: cannot hold a description" in line
    result = run.caption(tmp_path, "--write-metadata", "--sidecar")
    assert (result.code, len(result.out)) == (1, 1)
    assert len(result.err) == 2, "said once"
    assert result.err[1] == "wrote photo.txt for 1 photo"


def test_a_read_only_folder_is_one_line(
    run: CommandLine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))
    said = f"showattend: {folder}: no description can be written (the folder is read-only)"
    for option in ("--xmp", "--write-metadata"):
        assert run.refused("caption", folder, option, code=1) == said
    result = run.caption(folder, "--xmp", "--output", tmp_path / "captions.jsonl")
    assert (result.code, len(result.out)) == (1, 2)
    assert result.err == [said, f"wrote {tmp_path / 'captions.jsonl'} (2 photos)"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--language de", "--language is for --xmp and --write-metadata"),
        ("--replace-description", "--replace-description is for --xmp and --write-metadata"),
        ("--xmp-name photo.xmp", "--xmp-name is for --xmp"),
        ("--write-metadata --xmp-name photo.xmp", "--xmp-name is for --xmp"),
        ("--xmp --xmp-name other.xmp", "give photo.jpg.xmp or photo.xmp"),
        ("--xmp --language", "--language"),
        ("--xmp --language english!", "give a code, such as en, de or pt-BR"),
    ],
)
def test_wrong_options_are_one_line(run: CommandLine, args: str, message: str) -> None:
    assert message in run.refused("caption", "photo.jpg", *args.split())


def test_names_of_models(tmp_path: Path) -> None:
    assert model_name(None) == "everyday"
    assert model_name("flickr8k") == "flickr8k"
    assert model_name(str(tmp_path / "runs" / "mine")) == "mine"
    assert model_name(str(tmp_path / "mine" / "model.safetensors")) == "mine"


def test_who_wrote_it_is_recorded(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.jpg")
    Describer("photo.jpg.xmp", embed=True, model="flickr8k").write(photo, "A dog.")
    for place in (photo, tmp_path / "photo.jpg.xmp"):
        assert b">showattend 0.1.0 (flickr8k)</photoshop:CaptionWriter>" in place.read_bytes()


def test_one_place_that_fails_does_not_stop_the_other(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg.xmp").write_bytes(b"no XMP")
    describer = Describer("photo.jpg.xmp", embed=True)
    (problem,) = describer.write(photo, "A dog.")
    assert "photo.jpg.xmp: its XMP is not valid XML" in problem
    assert describer.written == {"metadata": 1}
    write_into(photo, REX)
    assert description_in(photo).text == "Rex."


def test_a_photo_whose_metadata_is_damaged_does_not_end_the_run(
    run: CommandLine, tmp_path: Path
) -> None:
    hostile, good = tmp_path / "photos" / "a.jpg", picture(tmp_path / "photos" / "b.jpg")
    hostile.write_bytes(mpo(0, 2**32 - 1))
    before = hostile.read_bytes()
    result = run.caption(tmp_path / "photos", "--write-metadata")
    assert result.code == 1
    assert len(result.out) == 2
    assert result.err == [
        f"showattend: {hostile}: its index of pictures is damaged",
        "wrote the metadata of 1 photo",
    ]
    assert hostile.read_bytes() == before
    assert description_in(good).ours


# Kills -----------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from showattend.system.files import rewrite, write_bytes
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
{"rewrite": rewrite, "write_bytes": write_bytes}[sys.argv[1]](Path(sys.argv[2]), b"half")
"""


def kill_while_writing(path: Path, how: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, how, path])
    assert done.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not looked for there")
@pytest.mark.parametrize(
    ("options", "how", "name"),
    [
        (["--write-metadata"], "rewrite", "a.jpg"),
        (["--xmp"], "write_bytes", "a.jpg.xmp"),
        (["--sidecar"], "write_bytes", "a.txt"),
        (["--overlay", "{figures}"], "write_bytes", "figures/a.png"),
    ],
)
def test_the_next_run_leaves_nothing_of_a_killed_one(
    options: list[str], how: str, name: str, run: CommandLine, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photo = picture(photos / "a.jpg")
    (photos / "figures").mkdir()
    place = photos / name
    before = place.read_bytes() if place.exists() else None
    kill_while_writing(place, how)
    assert (place.read_bytes() if place.exists() else None) == before
    theirs = [photos / each for each in (".notes.part", ".a.jpg.0123abcd.part.txt", "b.part")]
    for each in theirs:
        each.write_text("mine")
    assert len(list(place.parent.glob(".a*.*-*-*.part"))) == 1
    args = [each.format(figures=photos / "figures") for each in options]
    assert run.caption(photo, *args).code == 0
    assert place.read_bytes() not in (b"", b"half", before)
    assert not list(photos.rglob(".a*.*-*-*.part"))
    assert all(each.read_text() == "mine" for each in theirs)
    # And when there is nothing left to do.
    kill_while_writing(place, how)
    run.caption(photo, *args)
    assert not list(photos.rglob(".a*.*-*-*.part"))


@pytest.mark.slow
def test_photos_are_old_or_new_after_kills_at_any_moment() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", "--only", "describing", "--kills", "12"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kills" in done.stdout
