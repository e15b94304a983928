"""The list of a job's parts: every image once, the same parts again from what is on the disk."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from showattend.exceptions import DataError, UserError
from showattend.export.cluster.partition import (
    LEAST,
    LIST,
    MOST,
    SHARES,
    ImageList,
    Input,
    Part,
    Totals,
    absolute,
    divide,
    write_list,
)
from showattend.export.cluster.stores import Store

OPTIONS = {"inputs": ["a"], "model": "0123", "parts": "parquet", "n_best": 1}


@hypothesis.given(
    inputs=st.lists(st.booleans(), max_size=60),
    size=st.none() | st.integers(1, 9),
    workers=st.integers(1, 3),
)
def test_every_image_is_in_one_part(inputs: list[bool], size: int | None, workers: int) -> None:
    given_ = [Input(f"{number}", is_shard) for number, is_shard in enumerate(inputs)]
    parts = list(divide(iter(given_), size, workers))
    assert [part.number for part in parts] == list(range(len(parts)))
    names = [name for part in parts for name in (*part.images, part.shard) if name]
    assert names == [each.name for each in given_]
    assert all(bool(part.images) != bool(part.shard) for part in parts)
    assert all(len(part.images) <= (size or LEAST) for part in parts)
    assert len({part.name for part in parts}) == len(parts)


@pytest.mark.parametrize(
    ("images", "workers", "expected"),
    [(10, 1, LEAST), (400, 2, 50), (400, 4, 25), (MOST * SHARES * 2, 2, MOST), (9000, 2, MOST)],
)
def test_few_images_are_shared_by_all_workers(images: int, workers: int, expected: int) -> None:
    parts = list(divide((Input(str(number)) for number in range(images)), None, workers))
    assert len(parts[0].images) == min(expected, images)
    assert sum(len(part.images) for part in parts) == images


def test_a_name_depends_on_the_content() -> None:
    part = Part(17, ("a.jpg", "b.jpg"))
    assert part.name == Part(17, ("a.jpg", "b.jpg")).name
    assert part.name.startswith("000017-")
    others = [Part(18, part.images), Part(17, ("a.jpg", "c.jpg")), Part(17, shard="a.jpg")]
    assert len({part.name, *(each.name for each in others)}) == 4


@pytest.mark.parametrize("name", ["é\u2028.jpg", "a\nb.jpg", "\udcff.jpg", 'q".jpg'])
def test_any_name_survives(name: str) -> None:
    part = Part(0, (name,))
    assert part.to_line().count("\n") == 1
    assert Part.of_line(part.to_line().encode()) == part


def test_the_list_is_read_as_it_was_written(store: Store) -> None:
    parts = [Part(0, ("a", "b")), Part(1, shard="c.tar"), Part(2, ("d",))]
    assert write_list(store, iter(parts), "/here", OPTIONS, ["x: no images"]) == 3
    assert store.names() == {LIST}
    images = ImageList(store)
    assert images.folder == "/here"
    assert list(images.parts()) == parts
    assert images.totals() == Totals(3, 3, ("x: no images",))
    images.check(OPTIONS)


def test_no_list_without_images(store: Store) -> None:
    assert write_list(store, iter([]), "/here", OPTIONS) == 0
    assert store.names() == set()


def test_an_interrupted_listing_leaves_nothing(store: Store) -> None:
    def parts() -> object:
        yield Part(0, ("a",))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_list(store, parts(), "/here", OPTIONS)  # type: ignore[arg-type]
    assert store.names() == set()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "4567"}, r"--model \(the digest of its files\) was 0123, is 4567\);"),
        ({"inputs": ["b"]}, r"\(the inputs\);"),
        ({"beam_size": 3}, "--beam-size was None, is 3"),
        ({"parts": "jsonl", "n_best": 2}, "--parts was parquet, is jsonl; --n-best was 1, is 2"),
    ],
)
def test_other_options_are_refused(store: Store, changed: dict[str, object], message: str) -> None:
    write_list(store, [Part(0, ("a",))], "/here", OPTIONS)
    with pytest.raises(UserError, match=f"captions: was begun with other options .*{message}"):
        ImageList(store).check(OPTIONS | changed)


@pytest.mark.parametrize("damage", ["header", "middle", "end", "format"])
def test_a_damaged_list_is_refused(store: Store, damage: str) -> None:
    write_list(store, [Part(0, ("a",)), Part(1, ("b",))], "/here", OPTIONS)
    path = store.folder / LIST
    lines = path.read_text().splitlines(keepends=True)
    if damage == "end":
        lines = lines[:-1]
    elif damage == "format":
        lines[0] = lines[0].replace('"format": 1', '"format": 99')
    else:
        lines[0 if damage == "header" else 1] = "{\n"
    path.write_text("".join(lines))
    with pytest.raises(DataError, match=r"images\.jsonl, .*: damaged, or of another version"):
        list(ImageList(store).parts())
    if damage == "end":
        with pytest.raises(DataError, match="the last line"):
            ImageList(store).totals()


HEADER = {"format": 1, "folder": "/here", "options": OPTIONS}
LINES = [{"part": 0, "images": ["a"]}, {"part": 1, "shard": "b.tar"}]
END = {"parts": 2, "images": 1, "problems": ["x: no images"]}


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        *((0, {key: None}) for key in HEADER),
        *((0, {"folder": each}) for each in (3, ["/here"], {})),
        *((0, {"options": each}) for each in (3, [], "a")),
        *((1, {"part": each}) for each in ("0", 0.0, -1, 1, True, None, 10**30, [])),
        *((1, {"images": each}) for each in ("a", [3], {"a": 1}, None, [], [["a"]])),
        *((2, {"shard": each}) for each in (3, "", [], None)),
        (2, {"images": ["c"]}),
        *((3, {"parts": each}) for each in ("2", -1, 1, 3, None, 2.0)),
        *((3, {"images": each}) for each in ("2", -1, None)),
        *((3, {"problems": each}) for each in ("x", [3], None, {"x": 1})),
    ],
)
def test_values_of_other_types_are_refused(
    store: Store, line: int, changes: dict[str, object]
) -> None:
    write_lines(store, line, changes)
    with pytest.raises(DataError, match=r"images\.jsonl, .*: damaged, or of another version; give"):
        read(store)


def write_lines(store: Store, line: int, changes: dict[str, object]) -> None:
    values = [HEADER, *LINES, END]
    values[line] = {key: each for key, each in (values[line] | changes).items() if each is not None}
    text = "".join(json.dumps(each) + "\n" for each in values)
    (store.folder / LIST).write_text(text)


def read(store: Store) -> list[Part]:
    found = ImageList(store)
    found.totals()
    return list(found.parts())


def test_that_list_without_changes_is_read(store: Store) -> None:
    write_lines(store, 0, {})
    assert read(store) == [Part(0, ("a",)), Part(1, shard="b.tar")]


@pytest.mark.parametrize("line", range(4))
def test_deep_nesting_is_refused(store: Store, line: int) -> None:
    write_lines(store, 0, {})
    lines = (store.folder / LIST).read_text().splitlines()
    lines[line] = lines[line][:-1] + ', "deep": ' + "[" * 100_000 + "}"
    (store.folder / LIST).write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"images\.jsonl, .*: damaged"):
        read(store)


def test_a_list_of_many_problems_can_be_read(store: Store) -> None:
    problems = [f"photo {number} {'é🐕' * 2000}: no\nsuch file" for number in range(3000)]
    write_list(store, [Part(0, ("a",))], "/here", OPTIONS, problems)
    said = ImageList(store).totals().problems
    assert said[0].startswith("photo 0 é")
    assert said[-1] == "2,900 more such problems"
    assert all(each.isprintable() for each in said)


def test_options_of_any_kind_are_compared(store: Store) -> None:
    write_lines(store, 0, {"options": {"beam_size": [[[["x" * 10**6]]]]}})
    with pytest.raises(UserError, match="begun with other options") as found:
        ImageList(store).check(OPTIONS)
    assert len(str(found.value)) < 500


def test_what_a_killed_listing_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bucket's list, which is made in the folder for temporary files."""
    pytest.importorskip("fsspec").filesystem("memory").store.clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stale = tmp_path / f".{LIST}.00000000.part"
    stale.write_bytes(b"half")
    os.utime(stale, (0, 0))
    bucket = Store("memory://lists")
    assert write_list(bucket, [Part(0, ("a",))], "/here", OPTIONS) == 1
    assert list(tmp_path.iterdir()) == []
    assert list(ImageList(bucket).parts()) == [Part(0, ("a",))]


def test_inputs_are_compared_by_their_full_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute(["photos", "s3://b/k"]) == [str(tmp_path / "photos"), "s3://b/k"]
