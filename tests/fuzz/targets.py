"""What is fuzzed: for each target the files that are mutated, how, and what reads them."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from showattend.exceptions import (
    CheckpointError,
    ConfigError,
    DataError,
    ImageError,
    UserError,
)
from tests.fuzz import seeds
from tests.fuzz.mutations import (
    PARTS,
    Mutator,
    either,
    mutate_bytes,
    mutate_header,
    mutate_json,
    mutate_json_lines,
    mutate_parts,
    mutate_tar,
    mutate_text,
    mutate_xml,
)
from tests.fuzz.seeds import written


class Target(NamedTuple):
    """One reader.

    Attributes:
        name: Its name.
        seeds: The files that are mutated.
        mutate: How.
        call: Reads an input, in a folder of its own, and uses what it has read.
        allowed: The errors with which it may refuse.
        inputs: How many of 200,000 inputs it gets.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutator
    call: Callable[[bytes, Path], object]
    allowed: tuple[type[Exception], ...]
    inputs: int

    def input(self, seed: int, number: int) -> bytes:
        """One of its inputs, always the same."""
        return self.mutate(Random(f"{self.name} {seed} {number}"), self.seeds())


# Images ----------------------------------------------------------------------------------------


def open_photo(content: bytes, folder: Path) -> None:
    from showattend.images.preprocessing import Preprocessing
    from showattend.images.upright import open_image

    path = written(folder, "photo.jpg", content)
    fitted = Preprocessing(size=32).load_pixels(path)
    assert fitted.pixels.shape == (32, 32, 3)
    width, height = open_image(path).size
    assert width > 0
    assert height > 0


def claim_of_photo(content: bytes, folder: Path) -> None:
    from showattend.images.claims import claim
    from showattend.images.photo_file import PhotoFile

    assert claim(PhotoFile.of(content, "photo.jpg"), 64).width > 0


# Descriptions in photographs -------------------------------------------------------------------

TEXT = 'Two dogs & a "ball" <run>.'


def edit_packet(content: bytes, folder: Path) -> None:
    """What is written into a packet is read from it, and can be written again."""
    from showattend.images.metadata.xmp_packet import read_description, with_description

    read_description(content)
    changed = with_description(content, TEXT, "en", "showattend 1 (a)")
    assert read_description(changed).text == TEXT
    assert with_description(changed, TEXT, "en", "showattend 1 (a)") == changed


def write_description(content: bytes, folder: Path) -> None:
    """The photo is refused and stays as it is, or it has the description and the same pixels."""
    from showattend.images.metadata import photo_descriptions as descriptions

    photo = written(folder, "photo.jpg", content)
    descriptions.description_in(photo)
    before = _pixels(content)
    try:
        descriptions.write_into(photo, descriptions.Words(TEXT, "en", "showattend"), replace=True)
    except UserError:
        assert photo.read_bytes() == content
        raise
    finally:
        assert [each.name for each in folder.iterdir()] == ["photo.jpg"]
    assert descriptions.read_description(descriptions.packet_in(photo.read_bytes())).text == TEXT
    if before:
        assert _pixels(photo.read_bytes()) == before


def _pixels(content: bytes) -> list[Any]:
    """Modes, sizes and pixels of all frames; empty if they cannot be decoded, or are large."""
    from PIL import Image, ImageSequence

    from showattend.system.quiet import quiet

    try:
        with quiet(), Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > 100_000 or getattr(image, "n_frames", 1) > 8:
                return []
            return [
                (each.mode, each.size, each.tobytes()) for each in ImageSequence.Iterator(image)
            ]
    except Exception:
        return []


# Data sets -------------------------------------------------------------------------------------


def _use(records: Sequence[Any]) -> None:
    """What everything downstream does with records."""
    from showattend.data.records import PackedRecords
    from showattend.text.tokenizer import tokenize

    assert records
    for record in PackedRecords(records):
        for caption in record.captions:
            tokenize(caption)


def read_coco(content: bytes, folder: Path) -> None:
    from showattend.data.readers import read_dataset

    _use(read_dataset(written(folder, "captions_val2017.json", content)))


def read_subset(content: bytes, folder: Path) -> None:
    from showattend.data.coco.annotations import choose, image_ids, images_with, read_entries

    path = written(folder, "captions_train2017.json", content)
    errors = []
    for read in (
        lambda: choose(read_entries([path], None, True)[0], 2, 0),
        lambda: image_ids([path]),
        lambda: images_with(["dog"], [path]),
    ):
        try:
            read()
        except DataError as error:
            errors.append(error)
    if len(errors) == 3:
        raise errors[0]


def read_lines(content: bytes, folder: Path) -> None:
    from showattend.data.readers import read_dataset

    _use(read_dataset(written(folder, "dataset.jsonl", content), folder / "images"))


def read_flickr8k(content: bytes, folder: Path) -> None:
    from showattend.data.readers import read_dataset

    names = ("Flickr8k.token.txt", "Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt")
    for name, part in zip(names, content.split(PARTS), strict=False):
        written(folder, name, part)
    _use(read_dataset(folder))


def _use_shard(shard: Any) -> None:
    from showattend.data.shard_files import OpenShard

    opened = OpenShard(shard)
    for row in range(shard.images):
        assert opened.values(row)["captions"]
        assert opened.image(row)
        assert opened.features(row).nbytes < 1 << 20


def read_index(content: bytes, folder: Path) -> None:
    from showattend.data.shard_index import read_index as read

    for split in ("train", "val"):
        written(folder, f"{split}-0.tar", seeds.tars()[0])
    written(folder, "index.json", content)
    index = read(f"{folder}/*.tar")
    assert index.words.total() >= 0
    for shard in index.shards:
        assert Path(shard.place).parent == folder
        _use_shard(shard)


def read_shard(content: bytes, folder: Path) -> None:
    """Both ways of reading a shard; one that can be read in any order is read through too."""
    from showattend.data.shard_index import Shard
    from showattend.data.shards import read

    place = str(written(folder, "train-0.tar", content))
    if content[:2] not in (
        b"\x1f\x8b",
        b"BZ",
        b"\xfd7",
    ):  # a compressed one can only be read through
        _use_shard(Shard(place, "train", 2, 2, len(content), ""))
    for sample in read(place):
        assert isinstance(sample.name, str)


def read_list(content: bytes, folder: Path) -> None:
    """What a run that is continued does with the list of the first one."""
    from showattend.export.cluster.part_files import bad_file_of, file_of
    from showattend.export.cluster.partition import LIST, ImageList, Part
    from showattend.export.cluster.stores import Store

    written(folder, LIST, content)
    found = ImageList(Store(str(folder)))
    refused = []
    try:
        found.check(seeds.OPTIONS)
    except UserError as error:
        refused.append(error)
    totals, parts = found.totals(), list(found.parts())
    assert (len(parts), [part.number for part in parts]) == (totals.parts, [*range(len(parts))])
    for part in parts:
        assert Part.of_line(part.to_line()) == part
        for name in (file_of(part, "jsonl"), bad_file_of(part)):
            assert not (folder / name).exists()
        for image in part.images or (part.shard,):
            assert isinstance(image, str)
    assert isinstance("".join((found.folder, *totals.problems)), str)
    if refused:
        raise refused[0]


def read_table(content: bytes, folder: Path) -> None:
    from showattend.data.tables import read_csv

    records = read_csv(written(folder, "captions.csv", content))
    if records:
        _use(records)


def read_metadata(content: bytes, folder: Path) -> None:
    from showattend.data.tables import read_metadata as read

    records = read(written(folder, "metadata.jsonl", content))
    if records:
        _use(records)


def prepare_folder(content: bytes, folder: Path) -> None:
    """Real photos with mutated texts; what is written must be read again."""
    from showattend.data.prepare_folder import prepare_folder as prepare
    from showattend.data.readers import read_dataset

    photos = folder / "photos"
    for name, text in zip(("a.jpg", "b.jpg"), content.split(PARTS), strict=False):
        written(photos, name, seeds.images()[0])
        written(photos, f"{name[0]}.txt", text)
    out = folder / "out"
    try:
        report = prepare(photos, out)
    except DataError:
        assert not out.exists() or not list(out.iterdir())
        raise
    for line in report.lines():
        assert isinstance(line, str)
    assert len(read_dataset(out)) == sum(report.images.values())


def read_instances(content: bytes, folder: Path) -> None:
    from showattend.evaluation.grounding.instances import Instances

    found = Instances.load(written(folder, "instances.json", content))
    for image_id in found.images:
        found.path(folder, image_id)
        for mask in found.masks(image_id, (60, 40)).values():
            assert mask.shape == (40, 60)
        found.masks(image_id, (60, 40), boxes=True)


@lru_cache
def _records() -> list[Any]:
    from showattend.data.records import Record

    return [Record(i, Path(name), ("A dog.",), "val") for i, name in enumerate(seeds.NAMES)]


def read_results(content: bytes, folder: Path) -> None:
    from showattend.evaluation.evaluate import made_with
    from showattend.evaluation.evaluate import read_results as read
    from showattend.model.score_settings import describe_settings

    path = written(folder, "results.json", content)
    if made := made_with(path):
        describe_settings(made)
    assert read(path, _records())


def read_part(content: bytes, folder: Path) -> None:
    from showattend.cli.resuming import captioned_images

    name = "c.jsonl.part" if content[:1] in b"{[ " else "c.csv.part"
    done = captioned_images(written(folder, name, content), 1, folder)
    assert 0 <= done.length <= len(content)


def find_names(content: bytes, folder: Path) -> None:
    """A folder of files with these names: all are found, described and written down."""
    from showattend.data.prepare_folder import read_folder
    from showattend.images.finding import find_images

    photos = folder / "photos"
    photos.mkdir()
    for name in content.split(b"/")[:8]:
        try:
            Path(os.fsdecode(os.fsencode(photos) + b"/" + name)).write_bytes(seeds.images()[0])
        except (OSError, ValueError):  # no name of a file
            continue
    for recursive in (False, True):
        find_images([photos, str(photos / "*"), photos / "none"], recursive)
    read_folder(photos)


# Configs ---------------------------------------------------------------------------------------


def read_config(content: bytes, folder: Path) -> None:
    from showattend.config import load_config, to_dict
    from showattend.training.check import check

    config = load_config(written(folder, "config.yaml", content))
    to_dict(config)
    check(config)


def read_overrides(content: bytes, folder: Path) -> None:
    from showattend.config import load_config, to_dict

    given = content.decode("utf-8", "surrogateescape")
    to_dict(load_config("tiny.yaml", [given]))


# Models ----------------------------------------------------------------------------------------


def load_model(content: bytes, folder: Path) -> None:
    """The header and all that is in it; the network is not built."""
    from showattend.model.checkpoint import load
    from showattend.model.description import describe

    path = written(folder, "model.safetensors", content)
    load(path)
    for line in describe(path).split("\n"):
        assert line.isprintable()


def build_model(content: bytes, folder: Path) -> None:
    """The model is built and captions a photo."""
    from showattend.captioner import Captioner

    path = written(folder, "model.safetensors", content)
    captioner = Captioner.from_pretrained(path, device="cpu")
    captioner.caption(seeds.photograph(), beam_size=2, max_length=3, min_length=0)


def make_card(content: bytes, folder: Path) -> None:
    """The card of a model for the Hub, as `export --hub` makes it."""
    from showattend.export.hub_folder import model_card
    from showattend.model.checkpoint import load
    from showattend.model.description import describe

    path = written(folder, "model.safetensors", content)
    facts = describe(path)
    card = model_card(load(path), "a", facts, license="mit", language="en")
    for line in card.encode("utf-8", "backslashreplace").decode().split("\n"):
        assert "\x1b" not in line
    assert card.count("\n# ") == 1


def show_record(content: bytes, folder: Path) -> None:
    """A record is shown, and compared with another one."""
    from showattend.cli.info_command import _record
    from showattend.evaluation.reproduce import differing, read_record

    path = written(folder, "record.json", content)
    other = read_record(written(folder, "other.json", seeds.records()[1]))
    differing(read_record(path), other)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        _record(path)
    assert "\x1b" not in shown.getvalue()


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Nothing of the command's log on the terminal, where another test has set it up."""
    log = logging.getLogger("showattend")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def read_reports(content: bytes, folder: Path) -> None:
    """What `finetune --resume` reads: its own report, and that of the data set."""
    from showattend.cli.finetune_command import _print
    from showattend.training.finetune import _begin, _gather
    from showattend.training.reporter import Silent

    source, out = written(folder, "a.jsonl", b""), folder / "out"
    given = {"source": os.path.realpath(source), "model": "flickr8k"}
    written(out, "finetune.json", content.replace(b"@source@", given["source"].encode()))
    written(out / "data", "dataset.jsonl", b"{}")
    written(out / "data", "report.json", content)
    shown, errors = io.StringIO(), []
    try:
        found = _begin(out, source, given, True)
        if "kept" in found:
            with contextlib.redirect_stdout(shown), unlogged():
                _print(found, source, out)
    except DataError as error:
        errors.append(error)
    assert "\x1b" not in shown.getvalue()
    try:
        _gather(source, None, out, True, Silent())
    except DataError as error:
        errors.append(error)
    if len(errors) == 2:
        raise errors[0]


def load_beside(content: bytes, folder: Path) -> None:
    from showattend.model.checkpoint import load

    written(folder, "model.safetensors", seeds.headers()[0])
    name = "search.json" if content[:1] in b"{[ \n" else "calibration.safetensors"
    written(folder, name, content)
    load(folder)


def resume_state(content: bytes, folder: Path) -> None:
    import torch

    from showattend.config import Config, to_dict
    from showattend.training.state import check_folder, has_begun, load_state

    written(folder, "state.safetensors", content)
    has_begun(folder)
    config = to_dict(Config()) | {"n": 1}
    check_folder(folder, config, resume=True)
    decoder = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(decoder.parameters())
    load_state(folder, {"decoder": decoder}, optimizer, config)
    decoder(torch.ones(1, 3)).sum().backward()
    optimizer.step()


def load_settings(content: bytes, folder: Path) -> None:
    for name, part in seeds.exported().items():
        written(folder, name, part)
    written(folder, "model.json", content)
    _caption_onnx(folder)


def load_networks(content: bytes, folder: Path) -> None:
    from showattend.export.folder import NETWORKS

    for name, part in seeds.exported().items():
        written(folder, name, part)
    for name, part in zip(NETWORKS, content.split(PARTS), strict=False):
        written(folder, name, part)
    _caption_onnx(folder)


def _caption_onnx(folder: Path) -> None:
    from showattend.export.engine import OnnxCaptioner

    captioner = OnnxCaptioner(folder)
    captioner.caption(written(folder, "a.jpg", seeds.images()[0]), beam_size=2, max_length=3)


def read_maps(content: bytes, folder: Path) -> None:
    from showattend.visualize.raw import read_maps as read

    suffix = ".npz" if content[:2] == b"PK" else ".json"
    caption = read(written(folder, f"maps{suffix}", content), seeds.photograph())
    assert len(caption.words) == len(caption.attention)


def open_cache(content: bytes, folder: Path) -> None:
    from showattend.data.cache_listing import list_caches
    from showattend.data.shelf import Shelf

    place = folder / "cache" / "shelf"
    names = ("keys", "status", "features")
    parts = content.split(PARTS)
    for name, part in zip(names, parts, strict=False):
        written(place, f"0001-abcd-float16.{name}.npy", part)
    for name, part in zip(("recipe.json", "failures.json"), parts[3:], strict=False):
        written(place, name, part)
    list_caches(folder / "cache")
    shelf = Shelf(place, (2, 2, 8))
    shelf.failures()
    for part in shelf.parts():
        part.read([0])


# The server ------------------------------------------------------------------------------------

_stack = ExitStack()


@lru_cache
def _client() -> Any:
    from fastapi.testclient import TestClient

    from showattend.server.api import create_app
    from showattend.server.limits import LOOPBACK

    app = create_app(seeds.captioner(), hosts=LOOPBACK)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=True)
    return _stack.enter_context(client)


class RefusedError(Exception):
    """The server has refused a request as its API says: a status of 4xx, and one line of JSON."""


def upload(content: bytes, folder: Path) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = _client().post("/api/caption", content=content, headers=headers)
    values = answer.json()
    if answer.status_code == 200:
        assert values["captions"]
        return
    assert 400 <= answer.status_code < 500, answer.status_code
    assert list(values) == ["error"]
    raise RefusedError(values["error"])


# The table -------------------------------------------------------------------------------------

either_json = either(mutate_json, mutate_text)
TARGETS = {
    target.name: target
    for target in (
        Target("image", seeds.images, mutate_bytes, open_photo, (ImageError,), 50_000),
        Target("claim", seeds.images, mutate_bytes, claim_of_photo, (ImageError,), 20_000),
        Target(
            "xmp packet",
            seeds.packets,
            either(mutate_xml, mutate_text),
            edit_packet,
            (DataError,),
            15_000,
        ),
        Target("xmp file", seeds.photos, mutate_bytes, write_description, (UserError,), 20_000),
        Target("coco", seeds.coco, mutate_json, read_coco, (DataError,), 20_000),
        Target(
            "coco subset",
            lambda: [*seeds.coco(), *seeds.karpathy(), *seeds.instances()],
            mutate_json,
            read_subset,
            (DataError,),
            10_000,
        ),
        Target("karpathy", seeds.karpathy, mutate_json, read_coco, (DataError,), 12_000),
        Target("json lines", seeds.json_lines, mutate_json_lines, read_lines, (DataError,), 15_000),
        Target("metadata", seeds.metadata, mutate_json_lines, read_metadata, (DataError,), 15_000),
        Target("csv", seeds.tables, mutate_text, read_table, (DataError,), 15_000),
        Target(
            "flickr8k",
            seeds.flickr8k,
            mutate_parts(mutate_text),
            read_flickr8k,
            (DataError,),
            12_000,
        ),
        Target(
            "folder",
            lambda: [PARTS.join((b"A dog.\nTwo dogs.\n", b"A cat .\r\n"))],
            mutate_parts(mutate_text),
            prepare_folder,
            (DataError,),
            500,
        ),
        Target(
            "shard index",
            seeds.indexes,
            either(mutate_json, mutate_bytes),
            read_index,
            (DataError,),
            4_000,
        ),
        Target("shard", seeds.tars, mutate_tar, read_shard, (DataError,), 6_000),
        Target("images.jsonl", seeds.lists, mutate_json_lines, read_list, (UserError,), 10_000),
        Target(
            "names", lambda: [b"a.jpg/b.JPG/c.png"], mutate_text, find_names, (DataError,), 3_000
        ),
        Target("instances", seeds.instances, mutate_json, read_instances, (DataError,), 10_000),
        Target(
            "results",
            seeds.results,
            either(mutate_json, mutate_json_lines),
            read_results,
            (DataError,),
            20_000,
        ),
        Target(
            "part file",
            seeds.parts_of_captions,
            either(mutate_json_lines, mutate_text),
            read_part,
            (DataError,),
            15_000,
        ),
        Target(
            "maps", seeds.maps, either(mutate_bytes, mutate_json), read_maps, (UserError,), 5_000
        ),
        Target("config", seeds.configs, mutate_text, read_config, (ConfigError, DataError), 3_000),
        Target("overrides", seeds.overrides, mutate_text, read_overrides, (ConfigError,), 4_000),
        Target("model", seeds.headers, mutate_header, load_model, (CheckpointError,), 5_000),
        Target(
            "model, built",
            seeds.models,
            mutate_header,
            build_model,
            (CheckpointError, ConfigError),
            300,
        ),
        Target(
            "beside a model",
            lambda: [*seeds.searches(), *seeds.calibrations()],
            either(mutate_json, mutate_bytes),
            load_beside,
            (CheckpointError,),
            2_000,
        ),
        Target("hub card", seeds.headers, mutate_header, make_card, (CheckpointError,), 10_000),
        Target("record", seeds.records, mutate_json, show_record, (DataError,), 12_000),
        Target(
            "finetune report",
            seeds.finetune_reports,
            mutate_json,
            read_reports,
            (DataError,),
            6_000,
        ),
        Target("state", seeds.states, mutate_header, resume_state, (CheckpointError,), 4_000),
        Target("model.json", seeds.settings, mutate_json, load_settings, (UserError,), 600),
        Target(
            "onnx", seeds.networks, mutate_parts(mutate_bytes), load_networks, (UserError,), 400
        ),
        Target(
            "feature cache",
            seeds.npy,
            mutate_parts(mutate_bytes, mutate_bytes, mutate_bytes, mutate_json, mutate_json),
            open_cache,
            (DataError,),
            4_000,
        ),
        Target(
            "upload",
            seeds.uploads,
            either(mutate_text, mutate_bytes),
            upload,
            (RefusedError,),
            1_200,
        ),
    )
}


def import_all() -> None:
    """Import what the targets import, so that a forked process need not."""
    for name in (
        "fastapi.testclient", "filelock", "onnxruntime", "pycocotools.mask", "timm", "yaml",
        "showattend.data.cache_listing", "showattend.data.coco.annotations",
        "showattend.training.check",
        "showattend.evaluation.evaluate", "showattend.evaluation.grounding.instances",
        "showattend.export.cluster.part_files",
        "showattend.export.engine", "showattend.export.program", "showattend.cli.resuming",
        "showattend.model.description", "showattend.server.api", "showattend.visualize.raw",
        "huggingface_hub", "rich.table", "showattend.cli.finetune_command",
        "showattend.cli.info_command", "showattend.export.hub_folder",
        "showattend.images.metadata.photo_descriptions", "showattend.training.finetune",
    ):  # fmt: skip
        import_module(name)


def emptied(folder: Path) -> Path:
    """The folder without what an input has left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
