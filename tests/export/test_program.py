"""The exported caption.py: on its own, it captions like showattend."""

from __future__ import annotations

import ast
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from showattend.captioner import Captioner
from showattend.exceptions import ImageError
from showattend.export import program as program
from showattend.images.preprocessing import Preprocessing
from showattend.text.tokenizer import sentence
from tests.profiles import grey_profile, matrix_profile, tiff


def alone(exported: Path, *args: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the exported caption.py where neither showattend nor torch can be imported."""
    script = (
        "import sys, runpy; sys.modules['showattend'] = sys.modules['torch'] = None\n"
        f"{before}\n"
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", script, exported / "caption.py", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=exported.parent,
    )


# The command line ------------------------------------------------------------------------------


def test_captions_and_maps(
    exported: Path, captioner: Captioner, pictures: list[Path], tmp_path: Path
) -> None:
    result = alone(exported, *pictures)
    assert result.returncode == 0
    assert result.stderr == ""
    wanted = captioner.caption(pictures)
    assert result.stdout == "".join(
        f"{path}\t{each.text}\n" for path, each in zip(pictures, wanted, strict=True)
    )
    result = alone(exported, pictures[3], "--maps", tmp_path / "maps.npz", "--beam-size", 2)
    assert result.returncode == 0
    best = captioner.caption(pictures[3], beam_size=2)
    best.save_overlay(tmp_path / "wanted.npz")
    with np.load(tmp_path / "maps.npz") as maps, np.load(tmp_path / "wanted.npz") as others:
        assert set(maps.files) - {"score"} <= set(others.files)
        assert maps["words"].tolist() == list(best.words)
        for key in ("image", "caption", "words", "image_size", "box"):
            np.testing.assert_array_equal(maps[key], others[key])
        for key in ("attention", "betas", "log_probs", "confidences"):
            np.testing.assert_allclose(maps[key], others[key], atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.npz", "wanted.npz"]


def test_n_best_and_a_bad_photo(
    exported: Path, captioner: Captioner, pictures: list[Path], tmp_path: Path
) -> None:
    result = alone(exported, tmp_path / "none.jpg", "--n-best", 2, pictures[0])
    best = captioner.caption(pictures[0], n_best=2)
    assert result.returncode == 1
    assert result.stderr == f"caption.py: {tmp_path}/none.jpg: no such file\n"
    assert (
        result.stdout == f"{pictures[0]}\t{best.text}\n{pictures[0]}\t{best.alternatives[0].text}\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["PHOTO", "--beam-size", 0], "beam_size is 0; it must be 1 or more"),
        (["PHOTO", "--n-best", 7], "n_best 7 is over beam_size 5"),
        (["PHOTO", "PHOTO", "--maps", "a.npz"], "--maps takes one photo"),
        (["PHOTO", "--maps", "a.png"], "a name that ends in .npz"),
        (["PHOTO", "--maps", "nowhere/a.npz"], "nowhere/a.npz: cannot be written (No such file"),
        (["."], ".: this is a folder, not an image"),
    ],
)
def test_mistakes_are_one_line(
    exported: Path,
    pictures: list[Path],
    args: list[object],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program.Model.__init__, "__defaults__", (exported, 0))
    given = [str(pictures[0]) if each == "PHOTO" else str(each) for each in args]
    assert program.main(given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("caption.py: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_that_is_not_an_export(
    exported: Path, tmp_path: Path, pictures: list[Path]
) -> None:
    shutil.copy(exported / "caption.py", tmp_path)
    result = alone(tmp_path, pictures[0])
    assert result.returncode == 2
    assert result.stderr == f"caption.py: {tmp_path}: no exported model, it has no model.json\n"


def test_a_missing_package_is_named(exported: Path, pictures: list[Path]) -> None:
    result = alone(exported, pictures[0], before="sys.modules['onnxruntime'] = None")
    assert result.returncode == 2
    assert result.stderr.startswith("caption.py: ")
    assert result.stderr.endswith("; run: pip install onnxruntime numpy pillow\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_name_that_is_not_text(exported: Path, pictures: list[Path], tmp_path: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/\xff.jpg"
    Path(os.fsdecode(strange)).write_bytes(pictures[0].read_bytes())
    result = alone(exported, os.fsdecode(strange))
    assert result.returncode == 0
    assert "\\udcff.jpg\t" in result.stdout


@pytest.mark.parametrize("command", ["caption.py", "showattend"])
def test_onnxruntime_reports_nothing(
    exported: Path, pictures: list[Path], tmp_path: Path, command: str
) -> None:
    """Where it does, it leaves an identifier and a queue in the user's cache folder."""
    quiet = ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS")
    kept = {name: value for name, value in os.environ.items() if name not in quiet}
    given = (
        [exported / "caption.py", pictures[0]]
        if command == "caption.py"
        else ["-m", "showattend", "caption", pictures[0], "--engine", "onnx", "--model", exported]
    )
    result = subprocess.run(
        [sys.executable, *given], env=kept | {"XDG_CACHE_HOME": str(tmp_path)}, cwd=Path.cwd()
    )
    assert result.returncode == 0
    assert list(tmp_path.iterdir()) == []


# The photo -------------------------------------------------------------------------------------


def modes() -> dict[str, Image.Image]:
    """Pictures of every mode that a file can hold."""
    random = np.random.default_rng(2)
    rgb = Image.fromarray(random.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize((91, 61))
    alpha = Image.linear_gradient("L").resize(rgb.size)
    deep = np.asarray(rgb.convert("L")).astype(np.float32)
    with_alpha = rgb.copy()
    with_alpha.putalpha(alpha)
    palette = rgb.quantize(16)
    palette.info["transparency"] = 3
    return {
        "rgb.png": rgb,
        "rgba.png": with_alpha,
        "rgba.webp": with_alpha,
        "grey.jpg": rgb.convert("L"),
        "grey-alpha.png": with_alpha.convert("LA"),
        "bits.png": rgb.convert("1"),
        "palette.png": palette,
        "palette.gif": palette,
        "cmyk.jpg": rgb.convert("CMYK"),
        "16.png": Image.fromarray((deep * 257).astype(np.uint16)),
        "32.tif": Image.fromarray((deep * 1e5).astype(np.int32)),
        "float.tif": Image.fromarray(deep / 255),
        "float-wide.tif": Image.fromarray(deep * 3 - 100),
        "lab.tif": Image.merge("LAB", rgb.split()),
        "rgb.bmp": rgb,
        "rgb.ppm": rgb,
        "rgb.avif": rgb,
        "large.jpg": rgb.resize((900, 610)),
        "thin.jpg": rgb.resize((1000, 30)),
    }


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_every_kind_of_photo_is_read_as_showattend_reads_it(
    tmp_path: Path, fit: str, interpolation: str
) -> None:
    mean = (0.485, 0.456, 0.406)
    ours = Preprocessing(size=50, fit=fit, mean=mean, interpolation=interpolation)
    fill = [round(255 * value) for value in mean]
    for name, image in modes().items():
        for turn in range(1, 9) if name.endswith(("jpg", "png", "webp")) else (1,):
            path = tmp_path / f"{turn}-{name}"
            exif = Image.Exif()
            exif[0x0112] = turn
            image.save(path, **({} if turn == 1 else {"exif": exif}))
            found = program.load_photo(
                path, size=50, fit=fit, fill=fill, interpolation=interpolation
            )
            wanted, geometry = ours.load_pixels(path)
            np.testing.assert_array_equal(found.pixels, wanted, err_msg=path.name)
            assert (found.size, found.box) == (geometry.image_size, geometry.box), path.name


def test_without_showattend_it_reads_colours_and_depths_in_the_same_way(
    exported: Path, captioner: Captioner, tmp_path: Path
) -> None:
    photo = modes()["rgb.png"]
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 16
    paths = [tmp_path / name for name in ("p3.png", "p3.jpg", "grey.jpg", "12.png", "negative.tif")]
    photo.save(paths[0], icc_profile=matrix_profile())
    photo.save(paths[1], icc_profile=matrix_profile())
    photo.convert("L").save(paths[2], icc_profile=grey_profile(1.0))
    Image.fromarray(deep).save(paths[3])
    white_is_zero = {262: (3, struct.pack("<HH", 0, 0))}
    paths[4].write_bytes(tiff(91, 61, 16, deep.astype("<u2").tobytes(), white_is_zero))
    result = alone(exported, *paths)
    assert result.stderr == ""
    assert result.stdout == "".join(
        f"{path}\t{each.text}\n" for path, each in zip(paths, captioner.caption(paths), strict=True)
    )


def huge(path: Path) -> None:
    """Twenty thousand pixels square, of one bit each."""
    data = zlib.compress((b"\0" + b"\xff" * 2500) * 20_000)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_bad_photos_are_refused_as_showattend_refuses_them(tmp_path: Path) -> None:
    bad = {name: tmp_path / f"{name}.jpg" for name in ("empty", "text", "cut", "huge", "missing")}
    bad["empty"].touch()
    bad["text"].write_text("not a photo")
    Image.effect_noise((200, 200), 80).save(bad["cut"])
    bad["cut"].write_bytes(bad["cut"].read_bytes()[:3000])
    huge(bad["huge"])
    ours = Preprocessing(size=50)
    for path in (*bad.values(), tmp_path):
        with pytest.raises(ImageError):
            ours.load_pixels(path)
        with pytest.raises(program.UserError) as caught:
            program.load_photo(path, size=50, fit="squash", fill=(0, 0, 0), interpolation="bicubic")
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words", ["", "i", "a man 's dog does n't run", "the t.v.", "'s", "'", "i 'm i"]
)
def test_sentences_are_those_of_showattend(words: str) -> None:
    assert program.sentence(words.split()) == sentence(words.split())


def test_it_is_self_contained_and_short(exported: Path) -> None:
    assert Path(program.__file__).read_text(encoding="utf-8").count("\n") <= 520
    written = (exported / "caption.py").read_text(encoding="utf-8")
    tree = ast.parse(written)
    roots = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    roots -= {"pillow_heif"}  # asked for when a HEIC photo comes
    assert roots - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}
    # The names of its parts do not collide.
    defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert len(defined) == len(set(defined))
    assert written.count("\n") <= 1550
