"""Pack a folder with which gpu.py runs on a machine without a network.

python scripts/benchmark/pack_gpu.py --data data/flickr8k --out outputs/gpu-pack

The folder holds the package, the benchmark, tests/test_gpu.py, the config with its encoder weights,
the training and validation photographs at training size, and pure-Python packages that a machine
with PyTorch, torchvision, timm, NumPy, Pillow, safetensors and PyYAML lacks. Photographs are WebP
files of the best quality that fits; if even the lowest does not, some are left out. The shipped
models are left out: run gpu.py in a checkout to run the tests that caption with them. There is no
Java in it, so METEOR is not computed; captions are packed as tokens, since NLTK needs a compiled
package.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

from PIL import Image

from showattend.config import load_config
from showattend.data.readers import read_dataset
from showattend.data.records import Record
from showattend.exceptions import UserError
from showattend.images.preprocessing import Preprocessing
from showattend.model.backbones import parse_name
from showattend.model.build import build_preprocessing
from showattend.system.provenance import source_state
from showattend.text import tokenizer

ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
QUALITIES = (80, 70, 60, 50, 45, 40, 35, 30, 26, 22, 18)
"""WebP qualities to try; below the last, blocks and smears would be learned."""
SAMPLE = 100
"""Photographs used to estimate the total size."""
CHUNK = 256
"""Photographs encoded at a time."""
COPIED = (
    "showattend/**/*.*", "scripts/benchmark/*.py", "tests/__init__.py", "tests/test_gpu.py",
    "tests/tinyrun.py", "assets/photos/*",
)  # fmt: skip
CONFTEST = '''"""The one fixture of the repository's conftest.py that tests/test_gpu.py takes."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    return sorted((Path(__file__).parents[1] / "assets" / "photos").glob("*.jpg"))
'''
# The parts of a package to copy; None: all of its Python files.
PACKAGES: dict[str, tuple[str, ...] | None] = {
    "filelock": None,
    "pytest": ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py.py"),
    "pycocoevalcap": (
        "pycocoevalcap/__init__.py", "pycocoevalcap/bleu", "pycocoevalcap/cider",
        "pycocoevalcap/rouge", "pycocoevalcap/tokenizer",
    ),
}  # fmt: skip
LEXERS = {"__init__.py", "_mapping.py", "python.py", "special.py", "diff.py"}
"""The Pygments lexers that pytest uses; the others are most of Pygments."""
# NLTK needs a compiled package. The packed captions are tokens already.
NLTK = {
    "nltk/__init__.py": '"""Stands in for NLTK where captions are tokens already."""\n',
    "nltk/tokenize/__init__.py": (
        "class NLTKWordTokenizer:\n    def tokenize(self, text):\n        return text.split()\n"
    ),
}


class Splitting:
    """A replacement for NLTK's tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        """Split at spaces."""
        return text.split()


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack it.

    Raises:
        SystemExit: It does not fit, or something is missing; one line says what.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs/flickr8k.yaml")
    parser.add_argument("--data", type=Path, help="a prepared data set; default: the config's")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu-pack"), metavar="FOLDER")
    parser.add_argument("--megabytes", type=float, default=60.0, help="maximum size")
    parser.add_argument("--images", type=int, help="maximum number of photographs")
    options = parser.parse_args(arguments)
    try:
        print(pack(options))
    except (UserError, OSError) as error:
        raise SystemExit(f"pack_gpu.py: {error}") from error


def pack(options: argparse.Namespace) -> str:
    """Write the folder.

    Returns:
        A line about its contents.

    Raises:
        UserError: It does not fit, or something is missing.
    """
    config, out = load_config(options.config), options.out
    if out.exists() and any(out.iterdir()):
        if not (out / "pack.json").is_file():
            raise UserError(f"{out}: holds other files; choose a new folder")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "pack.json").write_text('{"complete": false}\n')  # so that the next try may replace it
    data = options.data or Path(str(config.data.sets[0].path))
    found = [each for each in read_dataset(data) if each.split in ("train", "val")]
    records = [each for each in map(_as_tokens, found) if each.captions]
    _copy_code(out, options.config)
    weights = _copy_packages(out, config.encoder.name)
    budget = options.megabytes * MEGABYTE - _size(out) - 2000  # for pack.json
    captions = sum(len(json.dumps([*each.captions])) + 90 for each in records)
    sees = build_preprocessing(config.encoder)
    shuffled, quality = _choose(records, sees, budget - captions, options.images)
    chosen = _write_images(shuffled, out / "data", sees, quality, budget)
    splits = {name: sum(each.split == name for each in chosen) for name in ("train", "val")}
    told = {
        "complete": True,
        "config": f"configs/{options.config.name}",
        "images": splits,
        "left out": len(found) - len(chosen),
        "captions left out": sum(len(each.captions) for each in found)
        - sum(len(each.captions) for each in records),
        "size": sees.size,
        "webp quality": quality,
        "encoder weights": weights,
        "code": source_state(),
    }
    (out / "pack.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if (total := _size(out)) > options.megabytes * MEGABYTE:
        raise UserError(
            f"{out}: takes {total / MEGABYTE:.1f} MB, more than {options.megabytes:g}; give fewer "
            "--images, or more --megabytes"
        )
    return (
        f"{out}: {total / MEGABYTE:.1f} MB; {splits['train']:,} training and {splits['val']:,} "
        f"validation photographs of {sees.size} pixels, WebP quality {quality}; "
        f"{told['left out']:,} left out"
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# Code ------------------------------------------------------------------------------------------


def _copy_code(out: Path, config: Path) -> None:
    for pattern in COPIED:
        for file in ROOT.glob(pattern):
            if file.is_file() and "__pycache__" not in file.parts:
                _copy(file, out / file.relative_to(ROOT))
    _copy(config, out / "configs" / config.name)
    (out / "tests/conftest.py").write_text(CONFTEST, encoding="utf-8")


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def _copy_packages(out: Path, encoder: str) -> str | None:
    """Copy packages into ``site/NAME/``.

    Returns:
        The name of the package with the encoder's weights, if it has one.

    Raises:
        UserError: One is not installed.
    """
    for name, parts in PACKAGES.items():
        site = _place(name).parent
        for part in parts or (name,):
            for file in _python_files(site / part):
                _copy(file, out / "site" / name / file.relative_to(site))
    for name, text in NLTK.items():
        file = out / "site/nltk" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    weights = parse_name(encoder).package
    if weights is None:
        return None
    place = _place(weights.module, weights.project)
    for file in place.rglob("*"):
        if file.is_file() and file.suffix != ".pyc":
            _copy(file, out / "site" / weights.module / weights.module / file.relative_to(place))
    return weights.project


def _place(module: str, project: str = "") -> Path:
    """The folder of an installed package.

    Raises:
        UserError: It is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{module} is not installed: pip install {project or module}")
    return Path(spec.submodule_search_locations[0])


def _python_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for file in path.rglob("*.py"):
        if file.parent.name != "lexers" or file.name in LEXERS:
            yield file


# Captions --------------------------------------------------------------------------------------


def _as_tokens(record: Record) -> Record:
    """A record with its captions as tokens, without captions that change when read again."""
    captions = []
    for caption in record.captions:
        tokens = tokenizer.tokenize(caption)
        with mock.patch.object(tokenizer, "_nltk_tokenizer", Splitting):
            if tokens and tokenizer.tokenize(" ".join(tokens)) == tokens:
                captions.append(" ".join(tokens))
    return replace(record, captions=tuple(captions))


# Photographs -----------------------------------------------------------------------------------


def _choose(
    records: Sequence[Record], sees: Preprocessing, budget: float, most: int | None
) -> tuple[list[Record], int]:
    """Choose the order in which photographs are packed while there is room, and their quality.

    Returns:
        The records, shuffled, so that the validation split keeps its share; and the best quality at
        which all should fit, by the mean of a sample.

    Raises:
        UserError: Not even a hundred would fit.
    """
    shuffled = random.Random(0).sample(list(records), len(records))[:most]
    small = [_pixels(each, sees) for each in shuffled[:SAMPLE]]
    for quality in QUALITIES:
        each = sum(len(_webp(pixels, quality)) for pixels in small) / len(small)
        if len(shuffled) * each * 1.02 <= budget:
            break
    if (room := int(budget / each)) < min(100, len(shuffled)):
        raise UserError(
            f"{budget / MEGABYTE:.1f} MB are left for photographs, room for {max(room, 0)}; give "
            "more --megabytes"
        )
    return shuffled, quality


def _pixels(record: Record, sees: Preprocessing) -> Image.Image:
    """A photograph as the network sees it."""
    return Image.fromarray(sees.load_pixels(record.path).pixels)


def _webp(image: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    image.save(content, "WEBP", quality=quality, method=6)
    return content.getvalue()


def _write_images(
    records: Sequence[Record], out: Path, sees: Preprocessing, quality: int, budget: float
) -> list[Record]:
    """Write photographs and captions while there is room.

    Returns:
        The packed records.
    """
    out.mkdir()

    def encoded(record: Record) -> bytes:
        return _webp(_pixels(record, sees), quality)

    lines: list[str] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(records), CHUNK):
            some = records[start : start + CHUNK]
            for record, content in zip(some, pool.map(encoded, some), strict=True):
                name = f"{len(lines) + 1:05}.webp"
                line = {
                    "image": name, "image_id": record.image_id, "split": record.split,
                    "captions": list(record.captions),
                }  # fmt: skip
                text = json.dumps(line, ensure_ascii=False) + "\n"
                budget -= len(content) + len(text.encode())
                if budget < 0:
                    break
                (out / name).write_bytes(content)
                lines.append(text)
            if budget < 0:
                break
    (out / "dataset.jsonl").write_text("".join(lines), encoding="utf-8")
    return list(records[: len(lines)])


if __name__ == "__main__":
    main()
