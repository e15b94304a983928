"""``prepare coco`` from a faulty server, from local files, and after an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO as COCOFile  # noqa: N811

from showattend.data.coco.annotations import IMAGE_SERVER
from showattend.data.coco.download import Downloader
from showattend.data.coco.prepare_coco import Subset, prepare_coco
from showattend.data.readers import read_dataset
from showattend.exceptions import DataError
from tests.data.server import Coco, Server, jpeg, zipped

COCO = Coco()
ZIP = "/annotations/annotations_trainval2014.zip"


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def coco(server: Server) -> Server:
    """COCO's server, in small: 20 training and 10 validation images."""
    server.files = dict(COCO.files)
    return server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(server: Server, out: Path, **options: Any) -> Any:
    options.setdefault("downloader", Downloader(attempts=3, sleep=nothing))
    names = set(Subset.__dataclass_fields__) & set(options)
    subset = Subset(**{name: options.pop(name) for name in names})
    return prepare_coco(out, subset, base_url=server.url, min_count=1, **options)


def local(folder: Path, *splits: str) -> Path:
    """COCO as people have it: annotations/, train2014/, val2014/."""
    for name, content in COCO.annotations.items():
        if any(split in name for split in splits):
            (folder / "annotations").mkdir(parents=True, exist_ok=True)
            (folder / "annotations" / name).write_bytes(content)
    for name, content in COCO.photos.items():
        if any(name.startswith(f"/{split}") for split in splits):
            (folder / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1:]).write_bytes(content)
    return folder


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text())


def ids(out: Path) -> dict[int | str, str]:
    return {record.image_id: record.split for record in read_dataset(out)}


# Fetched ---------------------------------------------------------------------------------------


def test_all_of_it(coco: Server, out: Path, logged: list[str]) -> None:
    report = run(coco, out)
    assert report.images == {"train": 20, "val": 10}
    assert report.captions == {"train": 100, "val": 50}
    assert report.skipped == ()
    for name, content in COCO.photos.items():
        assert (out / "images" / name[1:]).read_bytes() == content
    assert sorted(coco.got) == sorted([ZIP, *COCO.photos])
    assert logged[0].startswith(f"downloading {coco.url}{ZIP}, ")
    assert logged[1].startswith(f"30 images to download from {coco.url}, about ")
    names = {path.name for path in (out / "annotations").iterdir()}
    assert names == {ZIP.rpartition("/")[2], "captions_train2014.json", "captions_val2014.json"}


def test_500_images_with_faults(server: Server, out: Path) -> None:
    """With 5 % faults everything arrives, and no complete file is downloaded twice."""
    big = Coco(train=500, val=250)
    server.files = dict(big.files)
    kinds: list[str | int] = ["drop", "truncate", 503, "damage", "cut"]
    faulty = sorted(big.photos)[::20]
    server.faults = {name: [kinds[i % 5]] for i, name in enumerate(faulty)}
    server.faults[ZIP] = ["truncate"]
    report = run(server, out, images=500)
    assert report.images == {"train": 333, "val": 167}
    assert report.skipped == ()
    assert manifest(out)["complete"] is True
    chosen = {f"/{each['file']}" for each in manifest(out)["images"]}
    hit = chosen & set(faulty)
    assert 20 <= len(hit) <= 30
    asked = Counter(server.got)
    assert asked == Counter(chosen) + Counter(hit) + Counter([ZIP, ZIP])
    for name in chosen:
        assert (out / "images" / name[1:]).read_bytes() == big.photos[name]

    server.log.clear()
    run(server, out, images=500)
    assert server.log == []


def test_missing_images_are_listed_and_skipped(coco: Server, out: Path, logged: list[str]) -> None:
    gone, busy = sorted(COCO.photos)[3], sorted(COCO.photos)[25]
    del coco.files[gone]
    coco.faults[busy] = [503] * 3
    report = run(coco, out)
    assert report.images == {"train": 19, "val": 9}
    assert sorted(report.skipped) == [
        f"{coco.url}{gone}: 404 Not Found",
        f"{coco.url}{busy}: 503 Service Unavailable, 3 times",
    ]
    assert logged[-1] == "2 images could not be downloaded; run this again to retry"
    assert manifest(out)["complete"] is False
    sizes = {f"/{each['file']}": each["bytes"] for each in manifest(out)["images"]}
    assert [name for name, size in sizes.items() if size is None] == [gone, busy]

    coco.files[gone] = COCO.files[gone]
    coco.log.clear()
    assert run(coco, out).images == {"train": 20, "val": 10}
    assert sorted(coco.got) == [gone, busy]
    assert manifest(out)["complete"] is True


def test_an_interrupted_run_continues(coco: Server, out: Path) -> None:
    def stop(what: str, done: int, total: int, note: str = "") -> None:
        if (what, done) == ("Downloading images", 11):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(coco, out, progress=stop)
    whole = {f"/{path.relative_to(out / 'images')}" for path in (out / "images").rglob("*.jpg")}
    assert 11 <= len(whole) < 30
    assert manifest(out)["complete"] is False
    assert not (out / "dataset.jsonl").exists()
    coco.log.clear()
    assert run(coco, out).images == {"train": 20, "val": 10}
    assert set(coco.got) == set(COCO.photos) - whole
    assert manifest(out)["complete"] is True


def test_an_interrupted_download_of_annotations_continues(server: Server, out: Path) -> None:
    rest = random.Random(0).randbytes(2 << 20)  # what else is in the archive
    archive = zipped(COCO.annotations | {"rest": rest})
    server.files = COCO.files | {ZIP: archive}
    server.faults[ZIP] = ["truncate"]
    with pytest.raises(
        DataError, match=r"broke off at .*; finished downloads are kept, run this again"
    ):
        run(server, out, images=2, downloader=Downloader(attempts=1))
    run(server, out, images=2)
    assert sum(each.sent for each in server.asked(ZIP)) == len(archive)


def test_broken_images_are_downloaded_again(coco: Server, out: Path) -> None:
    run(coco, out)
    broken = sorted(COCO.photos)[7]
    (out / "images" / broken[1:]).write_bytes(b"cut")
    coco.log.clear()
    assert run(coco, out).skipped == ()
    assert coco.got == [broken]


def test_a_subset_depends_on_its_seed_alone(coco: Server, tmp_path: Path) -> None:
    for name, options in (
        ("one", {"images": 9}),
        ("two", {"images": 9}),
        ("other", {"images": 9, "seed": 1}),
        ("more", {"images": 18}),
    ):
        run(coco, tmp_path / name, **options)
    one = ids(tmp_path / "one")
    assert Counter(one.values()) == {"train": 6, "val": 3}
    assert all((number > 1000) == (split == "val") for number, split in one.items())
    for file in ("manifest.json", "dataset.jsonl", "captions_train.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert ids(tmp_path / "other") != one
    assert set(one) < set(ids(tmp_path / "more"))


def test_a_damaged_file_of_the_same_size_is_fetched_again(
    coco: Server, out: Path, logged: list[str]
) -> None:
    run(coco, out)
    listed = {each["file"]: each["sha256"] for each in manifest(out)["images"]}
    assert all(len(digest) == 16 for digest in listed.values())
    name = sorted(COCO.photos)[3]
    path = out / "images" / name[1:]
    whole, times = path.read_bytes(), path.stat()
    path.write_bytes(whole[:-9] + bytes(9))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a failing disk leaves it
    coco.log.clear()
    logged.clear()
    run(coco, out)
    assert coco.got == [name]
    assert path.read_bytes() == whole
    assert any("1 images are damaged" in line and str(path) in line for line in logged)
    assert {each["file"]: each["sha256"] for each in manifest(out)["images"]} == listed


def test_another_draw_is_kept(coco: Server, out: Path, logged: list[str]) -> None:
    run(coco, out, images=9, seed=1)
    first = (out / "dataset.jsonl").read_bytes()
    run(coco, out, images=9, seed=1)
    assert not list(out.glob("dataset-*.jsonl")), "the same draw"
    logged.clear()
    run(coco, out, images=9, seed=2)
    assert (out / "dataset.jsonl").read_bytes() != first
    (kept,) = out.glob("dataset-*.jsonl")
    assert kept.read_bytes() == first
    assert any("another draw" in line and kept.name in line for line in logged)
    (old,) = out.glob("manifest-*.json")
    assert json.loads(old.read_text())["settings"]["seed"] == 1


def test_a_file_of_the_user_that_has_changed_is_named(
    coco: Server, out: Path, tmp_path: Path, logged: list[str]
) -> None:
    run(coco, out)
    options = {"image_root": out / "images", "annotations": [out / "annotations"]}
    run(coco, tmp_path / "other", **options)
    path = next((out / "images").rglob("*.jpg"))
    path.write_bytes(path.read_bytes() + b"0")
    logged.clear()
    run(coco, tmp_path / "other", **options)
    assert any("1 images are not the files" in line and path.name in line for line in logged)


def test_manifest(coco: Server, out: Path) -> None:
    run(coco, out, images=2, seed=5)
    found = manifest(out)
    captions = COCO.annotations["captions_train2014.json"]
    assert found["annotations"][0] == {
        "file": "captions_train2014.json",
        "bytes": len(captions),
        "sha256": hashlib.sha256(captions).hexdigest(),
    }
    assert found["settings"] == {
        "images": 2,
        "categories": [],
        "split": "official",
        "restval": None,
        "seed": 5,
    }
    assert found["counts"] == {"train": 1, "val": 1, "test": 0}
    for image in found["images"]:
        assert image["bytes"] == len(COCO.photos[f"/{image['file']}"])
        assert ids(out)[image["id"]] == image["split"]


def test_categories(coco: Server, out: Path) -> None:
    run(coco, out, categories=("dog", "frisbee"))
    every = [*range(1, 21), *range(1001, 1011)]
    assert set(ids(out)) == {number for number in every if not number % 2 or not number % 3}
    assert coco.got.count(ZIP) == 1
    with pytest.raises(DataError, match="did you mean 'dog'"):
        run(coco, out, categories=("dgo",))
    coco.log.clear()
    run(coco, out, categories=("dog",), images=4)
    assert len(ids(out)) == 4
    assert coco.log == []


@pytest.mark.parametrize(("restval", "train"), [(True, 26), (False, 20)])
@pytest.mark.parametrize("place", ["/annotations/", "/", "/people/karpathy/deepimagesent/"])
def test_karpathy(coco: Server, out: Path, restval: bool, train: int, place: str) -> None:
    archive = coco.files.pop("/annotations/caption_datasets.zip")
    coco.files[f"{place}caption_datasets.zip"] = archive
    report = run(coco, out, split="karpathy", restval=restval)
    assert report.images == {"train": train, "val": 2, "test": 2}
    assert manifest(out)["settings"]["split"] == "karpathy"
    assert manifest(out)["settings"]["restval"] is restval
    assert ZIP not in coco.got


def test_2017(server: Server, out: Path) -> None:
    """File names without a split: the folder follows from the annotation file's name."""
    files = {}
    for split, number in (("train", 30), ("val", 40)):
        image = {"id": number, "file_name": f"{number:012}.jpg"}
        files[f"captions_{split}2017.json"] = json.dumps(COCO.captions([image])).encode()
        server.files[f"/{split}2017/{number:012}.jpg"] = jpeg(number)
    server.files["/annotations/annotations_trainval2017.zip"] = zipped(files)
    assert run(server, out, year=2017).images == {"train": 1, "val": 1}
    assert (out / "images/val2017/000000000040.jpg").read_bytes() == jpeg(40)


def test_karpathy_by_categories(coco: Server, out: Path) -> None:
    run(coco, out, split="karpathy", categories=("dog",))
    assert all(int(number) % 2 == 0 for number in ids(out))
    assert Counter(ids(out).values()) == {"train": 13, "test": 2}


# There already ---------------------------------------------------------------------------------


def test_local_files(server: Server, out: Path, tmp_path: Path) -> None:
    """Nothing is downloaded, and nothing is written to their folder."""
    mine = local(tmp_path / "mine", "train", "val")
    before = sorted(mine.rglob("*"))
    files = [mine / f"annotations/captions_{split}2014.json" for split in ("train", "val")]
    for options in (
        {"annotations": files, "image_root": mine},
        {"annotations": files, "image_root": mine, "base_url": server.url},
        {"annotations": files},
        {"annotations": [mine / "annotations"]},
        {"image_root": mine},
    ):
        report = prepare_coco(out, downloader=Downloader(attempts=1), **options)
        assert report.images == {"train": 20, "val": 10}
        assert report.image_root == mine
    assert server.log == []
    assert sorted(mine.rglob("*")) == before
    subset = Subset(categories=("dog",))
    assert prepare_coco(out, subset, annotations=files).images == {"train": 10, "val": 5}


def test_images_held_out_of_training(out: Path, tmp_path: Path, logged: list[str]) -> None:
    """Images held out of training may still be used for validation."""
    mine = local(tmp_path / "mine", "train", "val")
    prepare_coco(out, annotations=[mine / "annotations"])
    splits = ids(out)
    train, val = ([i for i, s in splits.items() if s == split] for split in ("train", "val"))
    held = tmp_path / "instances.json"
    held.write_text(json.dumps({"images": [{"id": i} for i in [*train[:3], val[0], -1]]}))
    report = prepare_coco(out, annotations=[mine / "annotations"], hold_out=[held])
    assert report.images == {"train": 17, "val": 10}
    assert not set(train[:3]) & ids(out).keys()
    assert logged[0] == "3 images are held out of training"
    assert "instances.json" in [each["file"] for each in manifest(out)["annotations"]]
    held.write_text("[]")
    with pytest.raises(DataError, match="not a COCO file, which lists its images by id"):
        prepare_coco(out, annotations=[mine / "annotations"], hold_out=[held])


def test_a_local_karpathy_file(out: Path, tmp_path: Path) -> None:
    mine = local(tmp_path / "mine", "train", "val")
    (mine / "dataset_coco.json").write_text(json.dumps(COCO.karpathy()))
    for options in ({"annotations": [mine / "dataset_coco.json"]}, {"annotations": [mine]}):
        report = prepare_coco(out, **options)
        assert report.images == {"train": 26, "val": 2, "test": 2}
    report = prepare_coco(out, Subset(split="karpathy"), image_root=mine)
    assert report.images == {"train": 26, "val": 2, "test": 2}


def test_images_missing_from_image_root_are_not_downloaded(out: Path, tmp_path: Path) -> None:
    mine = local(tmp_path / "mine", "train", "val")
    gone = mine / sorted(COCO.photos)[0][1:]
    gone.unlink()
    report = prepare_coco(out, annotations=[mine / "annotations"], image_root=mine)
    assert report.images == {"train": 19, "val": 10}
    assert [line.endswith(f"{gone.name}: no such file") for line in report.skipped] == [True]


def test_base_url_completes_image_root(coco: Server, out: Path, tmp_path: Path) -> None:
    mine = local(tmp_path / "mine", "train")
    for _ in range(2):
        report = run(coco, out, image_root=mine)
        assert report.images == {"train": 20, "val": 10}
    assert sorted(coco.got) == [ZIP, *(name for name in sorted(COCO.photos) if "val" in name)]
    assert not (mine / "val2014").exists()


def test_an_existing_archive_is_not_downloaded(coco: Server, out: Path) -> None:
    (out / "annotations").mkdir(parents=True)
    (out / ZIP[1:]).write_bytes(COCO.files[ZIP])
    run(coco, out, images=3)
    assert ZIP not in coco.got
    (out / ZIP[1:]).write_bytes(b"no archive")
    (out / "annotations/captions_val2014.json").unlink()
    with pytest.raises(DataError, match=r"trainval2014\.zip: damaged .*; delete it"):
        run(coco, out)


# Refused ---------------------------------------------------------------------------------------


def test_no_server(out: Path, tmp_path: Path) -> None:
    with Server() as server:
        pass
    advice = r"cannot be reached .*; connect to the internet .* --annotations FILE"
    with pytest.raises(DataError, match=rf"trainval2014\.zip: {advice}"):
        run(server, out)
    annotations = [local(tmp_path / "mine", "train") / "annotations/captions_train2014.json"]
    for photo in (tmp_path / "mine/train2014").iterdir():
        photo.unlink()
    with pytest.raises(DataError, match=rf"0001\.jpg: {advice}"):
        run(server, out, annotations=annotations, downloader=Downloader(workers=1, sleep=nothing))


def test_a_server_without_the_annotations(server: Server, out: Path) -> None:
    with pytest.raises(DataError, match="404 Not Found; give the annotations with --annotations"):
        run(server, out)


def test_other_files_are_left_alone(coco: Server, tmp_path: Path) -> None:
    for name in ("manifest.json", "dataset.jsonl"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(DataError, match=f"{name}: not written by prepare"):
            run(coco, tmp_path)
        (tmp_path / name).unlink()
    assert coco.log == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "0 images: give at least 1"),
        ({"split": "test"}, "unknown split 'test'"),
        ({"year": 2015}, "no COCO of the year 2015"),
        ({"year": 2017, "split": "karpathy"}, "leave --year out"),
    ],
)
def test_impossible_subsets_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Subset(**options)


@pytest.mark.parametrize(
    "url",
    [
        "http://[x", "http://ex..ample.com", "http://localhost:abc", "http://localhost:99999",
        "http://local host", "http://", "http://a\0b", "http://host/?q", "http://host/\ud800",
    ],
)  # fmt: skip
def test_invalid_urls_are_refused(url: str, out: Path) -> None:
    with pytest.raises(DataError, match="not a URL; give --base-url in the form"):
        prepare_coco(out, base_url=url, downloader=Downloader(attempts=1, sleep=nothing))


def test_a_url_that_is_not_ascii(server: Server, out: Path) -> None:
    server.files = {f"/%C3%A4%20b{name}": content for name, content in COCO.files.items()}
    report = prepare_coco(out, Subset(images=2), base_url=f"{server.url}/ä b/", min_count=1)
    assert sum(report.images.values()) == 2


def test_two_ids_may_share_a_file(server: Server, out: Path, tmp_path: Path) -> None:
    name = "COCO_train2014_000000000001.jpg"
    images = [{"id": number, "file_name": name} for number in (1, 2)]
    (tmp_path / "captions_train.json").write_text(json.dumps(COCO.captions(images)))
    server.files = dict(COCO.files)
    for _ in range(2):
        report = run(server, out, annotations=[tmp_path / "captions_train.json"])
        assert (report.images, report.skipped) == ({"train": 2}, ())
    assert server.got == [f"/train2014/{name}"]


def test_instances_are_not_downloaded_for_local_annotations(
    coco: Server, out: Path, tmp_path: Path
) -> None:
    mine = local(tmp_path / "mine", "train", "val")
    karpathy = mine / "dataset_coco.json"
    karpathy.write_text(json.dumps(COCO.karpathy()))
    subset, options = {"categories": ("dog",)}, {"annotations": [karpathy], "image_root": mine}
    run(coco, out, **subset, **options)  # annotations/ of the images' folder has them
    for file in (mine / "annotations").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"holds no instances\*\.json, which --categories needs"):
        run(coco, out, **subset, **options)
    assert coco.log == []


def test_invalid_folders_are_refused(out: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions_mine.json"
    captions.write_text(json.dumps(COCO.captions([{"id": 1, "file_name": "beach.jpg"}])))
    for options, message in (
        ({"base_url": "images"}, f"images: not a URL; give --base-url in the form {IMAGE_SERVER}"),
        ({"base_url": "file:///etc"}, "not a URL"),
        ({"image_root": tmp_path / "none"}, "none: no such folder of images"),
        ({"annotations": [tmp_path / "none.json"]}, r"none\.json: no such file"),
        ({"annotations": [out]}, r"out: holds no captions_\*\.json"),
        ({"annotations": [captions]}, r"beach\.jpg: .* give their folder with --image-root"),
    ):
        out.mkdir(exist_ok=True)
        with pytest.raises(DataError, match=message):
            prepare_coco(out, **options)
    subset = Subset(categories=("dog",))
    with pytest.raises(DataError, match=r"holds no instances\*\.json"):
        prepare_coco(out, subset, annotations=[captions])
    with pytest.raises(DataError, match=r"no dataset_coco\.json"):
        prepare_coco(out, Subset(split="karpathy"), annotations=[tmp_path])


@pytest.mark.realdata
def test_real_photographs(real_data: Path, out: Path) -> None:
    folder = real_data / "coco_subset"
    files = [folder / "captions_train.json", folder / "captions_val.json"]
    report = prepare_coco(out, annotations=files, image_root=folder / "images")
    assert report.images == {"train": 863, "val": 152}
    assert report.skipped == ()
    report = prepare_coco(out, Subset(categories=("person",)), annotations=[folder])
    with contextlib.redirect_stdout(io.StringIO()):
        instances = COCOFile(folder / "instances.json")
    people = set(instances.getImgIds(catIds=instances.getCatIds(["person"])))
    captioned = {image["id"] for file in files for image in json.loads(file.read_text())["images"]}
    assert set(ids(out)) == people & captioned
