"""The real files that are mutated: small ones of every kind that the package reads or writes."""

from __future__ import annotations

import io
import json
import tarfile
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms

from showattend.data.shard_index import to_json
from tests.fuzz.mutations import PARTS

if TYPE_CHECKING:
    from showattend.captioner import Captioner

ASSETS = Path(__file__).parents[2] / "assets"
CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ("a.jpg", "b.jpg", "folder/c.jpg")
WORDS = ["a", "dog", "runs", "through", "the", "grass", "man", "in", "red", "shirt", "on", "beach"]
SIDE = 32
"""Pixels a side of the models' input."""


def written(folder: Path, name: str, content: bytes) -> Path:
    """A file with this content."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def photograph(width: int = 60, height: int = 40) -> Image.Image:
    """A small real photograph."""
    with Image.open(ASSETS / "photos" / "chelsea.jpg") as photo:
        photo.draft("RGB", (2 * width, 2 * height))
        return photo.convert("RGB").resize((width, height))


@lru_cache
def images() -> list[bytes]:
    """Files of every format, bit depth, compression and colour model that is read."""
    photo = photograph()
    grey, alpha = photo.convert("L"), photo.convert("RGBA")
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    real = Image.fromarray(np.asarray(grey, np.float32))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x9286] = 6, "a camera", "a comment"
    frames = [photo.rotate(angle) for angle in (0, 90, 180)]
    made: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (photo, "JPEG", {"quality": 80}),
        (photo, "JPEG", {"progressive": True, "exif": exif, "icc_profile": srgb}),
        (photo.convert("CMYK"), "JPEG", {}),
        (grey, "JPEG", {"comment": "grey"}),
        (photo, "MPO", {"save_all": True, "append_images": frames[1:2]}),
        (photo, "PNG", {"exif": exif, "icc_profile": srgb}),
        (alpha, "PNG", {}),
        (photo.quantize(16), "PNG", {"transparency": 3}),
        (grey.convert("1"), "PNG", {}),
        (deep, "PNG", {}),
        (photo, "PNG", {"save_all": True, "append_images": frames[1:]}),
        (photo, "WEBP", {"quality": 50, "exif": exif, "icc_profile": srgb}),
        (alpha, "WEBP", {"lossless": True}),
        (photo, "WEBP", {"save_all": True, "append_images": frames[1:]}),
        (photo.quantize(32), "GIF", {}),
        (photo, "GIF", {"save_all": True, "append_images": frames[1:], "loop": 0}),
        (photo, "BMP", {}),
        (photo.quantize(16), "BMP", {}),
        (photo, "PPM", {}),
        (deep, "PPM", {}),
        (grey.convert("1"), "PPM", {}),
        (photo, "AVIF", {"quality": 40}),
        (photo, "TIFF", {"exif": exif, "icc_profile": srgb}),
        (deep, "TIFF", {}),
        (real, "TIFF", {}),
        (photo.convert("CMYK"), "TIFF", {}),
        (photo.convert("LAB"), "TIFF", {}),
        *((photo, "TIFF", {"compression": each}) for each in _COMPRESSIONS),
        (grey.convert("1"), "TIFF", {"compression": "group4"}),
    ]
    written = [_image(*each) for each in made]
    try:
        import pillow_heif

        heif = io.BytesIO()
        pillow_heif.from_pillow(photo).save(heif)
        written.append(heif.getvalue())
    except ImportError:
        pass
    return [*written, *_Y_BIG_TIFF]


_COMPRESSIONS = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
_Y_BIG_TIFF = [b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + bytes(40)]


def _image(image: Image.Image, form: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


# Descriptions in photographs -------------------------------------------------------------------


RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'


@lru_cache
def packets() -> list[bytes]:
    """XMP packets: ours, of other programs, in several encodings."""
    from showattend.images.metadata.xmp_packet import with_description

    ours = with_description(b"", "A dog runs.", "en", "showattend 0.1.0 (everyday)")
    attributes = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description rdf:about="" {DC} '
        'xmlns:p="http://ns.adobe.com/photoshop/1.0/" p:CaptionWriter="A. Person" '
        'dc:description="A café."/></rdf:RDF></x:xmpmeta>'
    )
    languages = (
        f'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><rdf:RDF {RDF}>'
        f'<rdf:Description rdf:about="uuid:1" {DC}><dc:description><rdf:Alt>'
        '<rdf:li xml:lang="x-default">A dog.</rdf:li><rdf:li xml:lang="de">Ein Hund &amp; ein '
        "Ball.</rdf:li></rdf:Alt></dc:description><!-- x --></rdf:Description>"
        f"</rdf:RDF>{' ' * 200}<?xpacket end='w'?>\0"
    )
    latin = f'<?xml version="1.0" encoding="iso-8859-1"?>{attributes}'
    return [
        ours,
        attributes.encode(),
        languages.encode(),
        languages.encode("utf-16"),
        latin.encode("latin-1"),
        f"<rdf:RDF {RDF}/>".encode(),
    ]


@lru_cache
def photos() -> list[bytes]:
    """Photographs that can hold a description, without one and with ours."""
    from showattend.images.metadata.xmp_files import with_packet

    photo = photograph()
    exif = Image.Exif()
    exif[0x010E], exif[0x010F] = "DCIM\\1", "a camera"
    frames = [photo.rotate(90), photo.rotate(180)]
    bare = [
        _image(each, form, options)
        for each, form, options in (
            (photo, "JPEG", {"exif": exif}),
            (photo, "JPEG", {"comment": "none"}),
            (photo, "MPO", {"save_all": True, "append_images": frames}),
            (photo, "PNG", {"exif": exif}),
            (photo, "WEBP", {"quality": 50}),
            (photo, "WEBP", {"quality": 50, "exif": exif}),
            (photo.convert("RGBA"), "WEBP", {"lossless": True}),
            (photo, "TIFF", {"exif": exif, "compression": "tiff_lzw"}),
            (photo.copy(), "TIFF", {"save_all": True, "append_images": [photo.rotate(90)]}),
            (photo.convert("L"), "TIFF", {"big_tiff": True}),
        )
    ]
    return [*bare, *(with_packet(each, packets()[0]) for each in bare)]


# Data sets -------------------------------------------------------------------------------------


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def coco() -> list[bytes]:
    """Captions in COCO's format."""
    pictures = [
        {
            "id": i, "file_name": name, "width": 60, "height": 40, "license": 1,
            "coco_url": f"http://images.cocodataset.org/train2017/{i:012d}.jpg",
        }
        for i, name in enumerate(NAMES)
    ]  # fmt: skip
    said = [
        {"id": 10 + i, "image_id": i % 3, "caption": f"A dog with {i} balls."} for i in range(6)
    ]
    head = {"info": {"year": 2017}, "licenses": [{"id": 1, "name": "CC", "url": "x"}]}
    return [_json(head | {"images": pictures, "annotations": said})]


def karpathy() -> list[bytes]:
    """Karpathy's file."""
    splits = ("train", "val", "restval")
    pictures = [
        {
            "filename": name, "filepath": "val2014", "imgid": i, "cocoid": 100 + i, "split": split,
            "sentids": [2 * i], "sentences": [{"raw": "A dog.", "tokens": ["a", "dog"]}],
        }
        for i, (name, split) in enumerate(zip(NAMES, splits, strict=True))
    ]  # fmt: skip
    return [_json({"images": pictures, "dataset": "coco"})]


def json_lines() -> list[bytes]:
    """This package's own form."""
    return [
        _lines(
            *(
                {
                    "image": name,
                    "captions": ["A dog.", "Two dogs."],
                    "split": "train",
                    "image_id": i,
                }
                for i, name in enumerate(NAMES)
            )
        )
    ]


def metadata() -> list[bytes]:
    """Hugging Face's ``metadata.jsonl``."""
    return [
        _lines(*({"file_name": name, "text": "A dog."} for name in NAMES)),
        _lines(*({"file_name": name, "caption": ["A dog.", "Dogs."]} for name in NAMES)),
    ]


def tables() -> list[bytes]:
    """CSV as several programs write it."""
    rows = [(name, f'A dog, "number" {i}') for i, name in enumerate(NAMES)]
    quoted = [(name, '"' + text.replace('"', '""') + '"') for name, text in rows]
    forms = []
    for separator in (",", ";", "\t", "|"):
        lines = [separator.join(("image", "caption", "split"))]
        lines += [separator.join((*each, "train")) for each in quoted]
        forms.append("\r\n".join([*lines, ""]).encode())
    forms.append(b"sep=;\nFile_Name;Text\na.jpg;A dog.\nb.jpg;Two dogs.\n;\n")
    forms.append(b"\xef\xbb\xbfimage,caption\na.jpg,A dog .\na.jpg,Another .\n\n")
    return forms


def flickr8k() -> list[bytes]:
    """Flickr8k's two kinds of text files."""
    tokens = "".join(f"{name}#{i}\tA dog {i} .\n" for name in NAMES for i in range(2))
    return [PARTS.join((tokens.encode(), b"a.jpg\nb.jpg\n", b"folder/c.jpg\n"))]


def instances() -> list[bytes]:
    """Object masks: polygons, run lengths of both kinds, boxes."""
    objects = [
        {"segmentation": [[5, 5, 50, 5, 50, 30, 5, 30]], "bbox": [5, 5, 45, 25]},
        {"segmentation": {"counts": [100, 900, 1400], "size": [40, 60]}, "iscrowd": 1},
        {"bbox": [1.5, 2.5, 20, 10]},
        {"segmentation": {"counts": "`1X14L4L4M2N3N1O1O", "size": [40, 60]}},
    ]
    return [
        _json(
            {
                "images": [
                    {"id": i, "file_name": name, "width": 60, "height": 40}
                    for i, name in enumerate(NAMES)
                ],
                "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "ball"}],
                "annotations": [
                    {"id": i, "image_id": i % 3, "category_id": 1 + i % 2, "area": 9.5} | each
                    for i, each in enumerate(objects)
                ],
            }
        )
    ]


def results() -> list[bytes]:
    """Captions to be scored, in every form that is read."""
    said = [{"image_id": i, "caption": "a dog"} for i in range(3)]
    made = {
        "settings": {"model": "everyday", "beam_size": 5, "size": None},
        "metrics": {"CIDEr": 1},
    }
    return [
        _json(said),
        _json({"captions": said} | made),
        _json(dict.fromkeys(NAMES, "a dog")),
        _lines(*({"image": name, "caption": "a dog"} for name in NAMES)),
    ]


def parts_of_captions() -> list[bytes]:
    """What an interrupted ``caption`` leaves: JSON Lines, CSV."""
    from showattend.cli.caption_writer import CSV_COLUMNS

    rows = [",".join(CSV_COLUMNS)]
    rows += [f'"{name}",1,a dog' + ",0.5" * (len(CSV_COLUMNS) - 3) for name in NAMES]
    return [
        _lines(*({"image": name, "caption": "a dog", "words": ["a", "dog"]} for name in NAMES)),
        "\r\n".join([*rows, ""]).encode(),
    ]


# Configs ---------------------------------------------------------------------------------------


BOMB = "&a [x,x,x,x,x,x,x,x,x]".join(["[", "]"])
for _sign, _next in zip("abcdefgh", "bcdefghi", strict=True):
    BOMB = f"{BOMB[:-1]}, &{_next} [{','.join([f'*{_sign}'] * 9)}]]"
"""YAML of a few lines whose text would have a billion elements."""


def configs() -> list[bytes]:
    """The configs that come with the package; a bomb, a circle."""
    shipped = [path.read_bytes() for path in sorted(CONFIGS.rglob("*.yaml"))]
    odd = [f"train: {{out: {BOMB}}}\n".encode(), b"data: {path: &a [*a, *a]}\n"]
    return [*shipped, *odd]


def overrides() -> list[bytes]:
    """Overrides of the command line."""
    return [
        each.encode()
        for each in (
            "train.epochs=20", "train.lr=1e-3", "train.out=runs/a", "data.path=[a.jsonl, b.jsonl]",
            "data.path=[{path: a.jsonl, weight: 2}]", "encoder.finetune_from=null", "search={}",
            "encoder.size=224", "attention.kind=multi_head", "train.compile=true",
            f"train.lr={BOMB}", "data.path=&a [*a, {path: *a}]",
            "search.length_penalty=.5", "data.cache=", "decoder={kind: lstm, hidden_dim: 8}",
        )
    ]  # fmt: skip


# Models ----------------------------------------------------------------------------------------


@lru_cache
def captioner() -> Captioner:
    """A model with random weights: one of timm's smallest networks, and a decoder of 8 units."""
    import torch

    from showattend.captioner import Captioner
    from showattend.images.preprocessing import Preprocessing
    from showattend.model.build import build_encoder
    from showattend.model.calibration import Calibration
    from showattend.model.familiarity import Familiarity
    from showattend.model.fast.fused_lstm import FusedLSTMDecoder
    from showattend.text.vocabulary import Vocabulary

    torch.manual_seed(0)
    vocabulary = Vocabulary(WORDS)
    name = "timm:test_efficientnet"
    encoder = build_encoder(name=name, pretrained=False)
    sizes = {"embedding_dim": 8, "hidden_dim": 8, "attention_dim": 8}
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((encoder.dim, 2)))[0]
    return Captioner(
        encoder=encoder,
        decoder=FusedLSTMDecoder(vocabulary_size=len(vocabulary), feature_dim=encoder.dim, **sizes),
        vocabulary=vocabulary,
        preprocessing=Preprocessing(size=SIDE),
        config={"encoder": {"name": name, "pretrained": False}, "decoder": sizes, "search": {}},
        record={"figures": [{"data": "val", "settings": {}, "metrics": {"CIDEr": 0.5}}]},
        calibration=Calibration(
            0.4, Familiarity(basis.astype(np.float32), np.linspace(0, 1, 9), SIDE)
        ),
        name="fuzzed",
    )


MADE: dict[str, Any] = {
    "code": {"version": "0.1.0", "sources": "0" * 16, "commit": "1" * 40, "changed": True},
    "command": ["showattend", "train", "a.yaml"],
    "packages": {"python": "3.11.9", "torch": "2.8.0"},
    "machine": {
        "system": "Linux x86_64", "processor": "a processor", "processors": 2, "threads": 2,
        "instructions": "AVX2", "device": "cuda", "gpu": "a card",
        "environment": {"OMP_NUM_THREADS": "2"},
    },
    "data": {"annotations": "2" * 16, "images": "3" * 16},
}  # fmt: skip
SETTINGS = {
    "beam_size": 5, "length_penalty": 0.7, "block_ngrams": 2, "min_length": 1, "max_length": 30,
    "size": SIDE, "precision": "float32", "images": 1000,
}  # fmt: skip
SCORES = {"BLEU-1": 0.7, "BLEU-4": 0.25, "METEOR": 0.2, "ROUGE-L": 0.5, "CIDEr": 0.6}
RECORD: dict[str, Any] = {
    "showattend": "0.1.0",
    "config": {
        "data": {"path": [{"path": "a.jsonl", "weight": 1.0, "name": None}], "images": None},
        "encoder": {"size": SIDE},
        "train": {"out": "runs/a", "init_from": "flickr8k", "validate_beam": 3},
        "search": {key: SETTINGS[key] for key in list(SETTINGS)[:5]},
    },
    "data": {"train_images": 6000, "val_images": 1000, "size": SIDE, "grid": [1, 1]},
    "best": {"epoch": 2, "CIDEr": 0.5},
    "history": [
        {"epoch": 1, "phase": "cross-entropy", "loss": 2.5, "lr": 0.001, "seconds": 3.5},
        {
            "epoch": 2, "phase": "cross-entropy", "loss": 2.25, "val_loss": 2.5, "BLEU-4": 0.2,
            "CIDEr": 0.5, "sets": {"a": {"val_loss": 2.5, "BLEU-4": 0.2, "CIDEr": 0.5}},
        },
    ],
    "figures": [
        {"data": "Flickr8k validation split", "settings": SETTINGS, "metrics": SCORES},
        {"data": "others", "settings": {}, "metrics": {"CIDEr": 0.5}},
    ],
    "seconds": 12.5,
    "machine": {"device": "cpu", "precision": "bfloat16", "threads": 2},
    "validation": SETTINGS | {"split": "val"},
    "provenance": MADE,
    "resumed": [{"epoch": 2, "batch": 1} | MADE],
}  # fmt: skip
"""All that a record may hold."""


def records() -> list[bytes]:
    """Records as files: training.json, of `evaluate`, results.json of `compare`."""
    said = [{"image_id": i, "caption": "a dog", "scores": {"CIDEr": 0.5}} for i in range(2)]
    how = {
        "annotations": "a.jsonl", "image_folder": "images", "split": "val", "model": "everyday",
        "batch_size": 32, "tokenizer": "PTB",
    }  # fmt: skip
    evaluated = {
        "metrics": SCORES,
        "settings": SETTINGS | how,
        "captions": said,
        "provenance": MADE,
    }
    compared = {
        "metrics": SCORES, "best": RECORD["best"], "machine": RECORD["machine"], "captions": said,
        "config": RECORD["config"], "provenance": MADE,
        "evaluation": {
            "data": "a.jsonl", "split": "val", "images": 2, "size": SIDE, "precision": "float32",
            "search": RECORD["config"]["search"],
        },
    }  # fmt: skip
    return [_json(each) for each in (RECORD, evaluated, compared)]


def finetune_reports() -> list[bytes]:
    """finetune.json, of a run that is finished and of one that is not; the data's report.json."""
    begun = {"source": "@source@", "model": "flickr8k", "temperature": 1.5}
    example = {"photo": "a.jpg", "before": "A dog.", "after": "Two dogs.", "people": "Dogs."}
    finished = begun | {
        "images": {"train": 16, "val": 12}, "kept": "start", "before": SCORES, "after": SCORES,
        "loss": [2.5, 2.25], "gain": [0.5, 0.25], "examples": [example, example],
        "skipped": ["b.jpg: no caption"], "unread": 1, "evaluate": ["--annotations", "a.jsonl"],
        "settings": {"before": SETTINGS, "after": SETTINGS}, "notes": ["a note"], "seconds": 3.5,
    }  # fmt: skip
    return [_json(each) for each in (begun, finished, {"skipped": ["b.jpg: no caption"]})]


@lru_cache
def models() -> list[bytes]:
    """A model's file."""
    from showattend.model.checkpoint import save

    with TemporaryDirectory() as folder:
        return [save(Path(folder) / "model", captioner().to_checkpoint()).read_bytes()]


@lru_cache
def headers() -> list[bytes]:
    """A model's file without its encoder, of which only the header matters; an old one's."""
    from dataclasses import replace

    from showattend.model.checkpoint import save

    whole = captioner().to_checkpoint()
    weights = {key: value for key, value in whole.weights.items() if "encoder" not in key}
    old = {"figures": {"Flickr8k test": {"BLEU-4": 0.2, "CIDEr": 0.5}}, "best_epoch": 1}
    with TemporaryDirectory() as folder:
        return [
            save(
                Path(folder) / "model", replace(whole, weights=weights, record=record)
            ).read_bytes()
            for record in (RECORD, old)
        ]


@lru_cache
def calibrations() -> list[bytes]:
    """A calibration's file, which lies beside a model's."""
    from showattend.model.checkpoint import FILE_NAME, save_calibration

    checkpoint = captioner().to_checkpoint()
    with TemporaryDirectory() as folder:
        path = written(Path(folder), FILE_NAME, headers()[0])
        return [save_calibration(path, checkpoint).read_bytes()]


def searches() -> list[bytes]:
    """Search defaults, which lie beside a model."""
    return [
        _json(
            {"beam_size": 3, "length_penalty": 0.7, "min_length": 4, "figures": [{"data": "val"}]}
        ),
        _json({"weights": "0" * 16, "max_length": 20}),
    ]


@lru_cache
def states() -> list[bytes]:
    """The state of a training run that was interrupted."""
    import torch

    from showattend.config import Config, to_dict
    from showattend.training.state import FILE_NAME, Progress, save_state

    decoder = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(decoder.parameters())
    decoder(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    progress = Progress(epoch=1, batch=2, sums={"loss": 1.0}, best=0.5, history=[{"epoch": 0}])
    with TemporaryDirectory() as folder:
        save_state(
            Path(folder), {"decoder": decoder}, optimizer, progress, to_dict(Config()) | {"n": 1}
        )
        return [(Path(folder) / FILE_NAME).read_bytes()]


@lru_cache
def exported() -> dict[str, bytes]:
    """The files of an exported model."""
    from showattend.export.folder import export

    with TemporaryDirectory() as folder:
        export(captioner(), Path(folder) / "out")
        return {path.name: path.read_bytes() for path in (Path(folder) / "out").iterdir()}


def settings() -> list[bytes]:
    """An export's model.json."""
    return [exported()["model.json"]]


def networks() -> list[bytes]:
    """An export's networks, the three of them one after another."""
    from showattend.export.folder import NETWORKS

    return [PARTS.join(exported()[name] for name in NETWORKS)]


@lru_cache
def maps() -> list[bytes]:
    """Raw maps as ``attend`` writes them: .npz, .json."""
    from showattend.visualize.raw import json_bytes, npz_bytes

    caption = captioner().attend(photograph(), "a dog runs")
    return [npz_bytes(caption), json_bytes(caption)]


# The cache -------------------------------------------------------------------------------------


def npy() -> list[bytes]:
    """The files of a part of the feature cache: keys, states, features."""
    parts = []
    for array in (
        np.array([b"0" * 32, b"1" * 32], "S32"), np.ones(2, np.uint8),
        np.ones((2, 2, 2, 8), np.float16),
    ):  # fmt: skip
        file = io.BytesIO()
        np.save(file, array)
        parts.append(file.getvalue())
    recipe = {
        "encoder": "e", "crop": 0, "mirror": False, "format": 1, "reading": "x",
        "preprocessing": {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]},
    }  # fmt: skip
    return [PARTS.join((*parts, _json(recipe), _json({"0" * 32: "damaged"})))]


def tars() -> list[bytes]:
    """Shards of two samples, with headers of all three formats; the last ones compressed."""
    array = io.BytesIO()
    np.save(array, np.ones((2, 2, 3), np.float16))
    found = []
    for form, mode in (
        (tarfile.USTAR_FORMAT, "w"),
        (tarfile.PAX_FORMAT, "w"),
        (tarfile.GNU_FORMAT, "w:gz"),
        (tarfile.GNU_FORMAT, "w:bz2"),
        (tarfile.GNU_FORMAT, "w:xz"),
    ):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=form) as tar:
            for name in ("0", "1" if form == tarfile.USTAR_FORMAT else "1" * 120):
                for extension, content in (
                    ("jpg", images()[0]),
                    ("json", _json({"captions": ["A dog."], "name": "a.jpg", "id": 1})),
                    ("npy", array.getvalue()),
                ):
                    member = tarfile.TarInfo(f"{name}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        found.append(file.getvalue())
    return found


def indexes() -> list[bytes]:
    """The index of a folder of shards, which is that of `tars`."""
    shards = [
        {
            "name": f"{split}-0.tar", "split": split, "images": 2, "captions": 2,
            "bytes": len(tars()[0]), "sha256": "0" * 64,
        }
        for split in ("train", "val")
    ]  # fmt: skip
    words = {"a": 4, "dog": 2}
    return [
        _json(to_json(shards, words, features)) for features in (None, {"encoder": "e", "crop": 0})
    ]


OPTIONS = {
    "inputs": ["/photos"],
    "recursive": False,
    "model": "0123",
    "parts": "jsonl",
    "size": None,
}


def lists() -> list[bytes]:
    """The list of images that a job on a cluster writes first."""
    from showattend.export.cluster.partition import LIST, Part, write_list
    from showattend.export.cluster.stores import Store

    parts = [Part(0, NAMES), Part(1, shard="s3://bucket/a.tar"), Part(2, ("é\n.jpg",))]
    with TemporaryDirectory() as folder:
        write_list(Store(folder), parts, "/here", OPTIONS, ["x: no images"])
        return [(Path(folder) / LIST).read_bytes()]


def uploads() -> list[bytes]:
    """The bodies of requests: a photo and options as a form."""
    fields = (
        {"beam_size": "2"},
        {"method": "sample", "samples": "2", "seed": "3", "temperature": "0.7"},
        {"prefix": "a dog", "banned": "man cat", "max_length": "5", "preview": "true"},
    )
    bodies = []
    for values, photo in zip(fields, (images()[0], images()[5], images()[11]), strict=True):
        lines = []
        for name, value in values.items():
            lines += [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n']
        head = 'Content-Disposition: form-data; name="image"; filename="a.jpg"'
        lines += [f"--b\r\n{head}\r\nContent-Type: image/jpeg\r\n\r\n"]
        bodies.append("".join(lines).encode() + photo + b"\r\n--b--\r\n")
    return bodies
