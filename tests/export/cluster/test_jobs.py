"""Jobs from the first run to the last, with workers in this process in place of Ray's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.exceptions import DataError, UserError
from showattend.export.cluster import caption_many, jobs
from showattend.export.cluster.dispatching import Dispatcher
from showattend.export.cluster.jobs import Summary
from showattend.export.cluster.part_worker import Outcome, PartWorker
from showattend.export.cluster.ray_engine import Work
from showattend.export.cluster.stores import Store


class Workers:
    """One worker in this process, which may be interrupted."""

    def __init__(self, captioner: Captioner) -> None:
        self.captioner, self.made = captioner, list[int]()
        self.interrupt_after: int | None = None

    def run(self, _: Any, dispatcher: Dispatcher, work: Work, **__: Any) -> Iterator[Outcome]:
        worker = PartWorker(
            self.captioner, work.store, work.kind, work.folder, work.batch_size, work.search
        )
        while part := dispatcher.give(0, len(self.made)):
            if self.interrupt_after == len(self.made):
                raise KeyboardInterrupt
            outcome = worker(part)
            dispatcher.finish(0, len(self.made))
            self.made.append(part.number)
            yield outcome


@pytest.fixture
def workers(captioner: Captioner, monkeypatch: pytest.MonkeyPatch) -> Workers:
    @contextmanager
    def connected() -> Iterator[None]:
        yield None

    found = Workers(captioner)
    monkeypatch.setattr(jobs, "connected", connected)
    monkeypatch.setattr(jobs, "count_workers", lambda *_: (2, False))
    monkeypatch.setattr(jobs, "run_parts", found.run)
    monkeypatch.setattr(jobs, "check_packages", lambda *_: None)
    monkeypatch.setattr(jobs, "files_digest", lambda model: f"digest of {model}")
    return found


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "captions"


def run(photographs: Path, output: Path, **options: Any) -> Summary:
    given = {"parts": "jsonl", "part_size": 2} | options
    return caption_many([str(photographs)], str(output), **given)


def images(output: Path, beginning: str = "part-") -> Counter[str]:
    return Counter(
        json.loads(line)["image"]
        for path in output.glob(f"{beginning}*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    )


def test_every_image_once(workers: Workers, photographs: Path, output: Path) -> None:
    done: list[tuple[int, int]] = []
    found = run(photographs, output, progress=lambda *each: done.append(each))
    assert found == Summary(7, 0, 5, 2, (), (), False)
    assert done == [(number, 5) for number in range(1, 6)]
    names = {str(path) for path in photographs.iterdir()}
    assert images(output) + images(output, "bad-") == Counter(names)
    assert {Path(name).name for name in images(output, "bad-")} == {"none.jpg", "cut.png"}
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("after", [0, 2, 4])
def test_an_interrupted_run_is_continued(
    workers: Workers, photographs: Path, output: Path, after: int
) -> None:
    workers.interrupt_after = after
    with pytest.raises(KeyboardInterrupt):
        run(photographs, output)
    assert len(list(output.glob("part-*"))) == after
    workers.interrupt_after = None
    (photographs / "a new one.png").write_bytes((photographs / "photo 1.png").read_bytes())
    found = run(photographs, output)
    assert (found.before, found.made, found.bad) == (after, 5 - after, 2)
    assert sorted(workers.made) == list(range(5))
    # The list is that of the first run.
    both = images(output) + images(output, "bad-")
    assert set(both.values()) == {1}
    assert len(both) == 9


def test_a_complete_job_is_left_alone(workers: Workers, photographs: Path, output: Path) -> None:
    run(photographs, output)
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    found = run(photographs, output)
    assert found == Summary(0, 5, 0, 2, (), (), False)
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before


def test_a_part_that_was_removed_is_made_again(
    workers: Workers, photographs: Path, output: Path
) -> None:
    run(photographs, output)
    path = sorted(output.glob("part-*"))[2]
    content = path.read_bytes()
    path.unlink()
    assert run(photographs, output).made == 1
    assert path.read_bytes() == content


def test_relative_paths_are_continued_from_anywhere(
    workers: Workers, photographs: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photographs.parent)
    workers.interrupt_after = 1
    with pytest.raises(KeyboardInterrupt):
        caption_many(["photos"], "captions", parts="jsonl", part_size=2)
    workers.interrupt_after = None
    monkeypatch.chdir(photographs)
    assert run(photographs, output).captions + 7 > 7
    assert all(name.startswith("photos/") for name in images(output))
    assert sum(images(output).values()) == 7


def test_only_bad_images(workers: Workers, tmp_path: Path, output: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"none")
    for before in (0, 1):
        found = run(tmp_path / "bad", output)
        assert found == Summary(0, before, 1 - before, 1, (), (), True)


def test_nothing_there(workers: Workers, tmp_path: Path, output: Path) -> None:
    found = run(tmp_path / "gone", output)
    assert found.is_empty
    assert found.problems == (f"{tmp_path / 'gone'}: no such file or folder",)
    assert list(output.iterdir()) == []


def test_a_part_input_that_is_missing_is_named_each_time(
    workers: Workers, photographs: Path, output: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        found = caption_many([str(photographs), str(tmp_path / "gone")], str(output), parts="jsonl")
        assert found.problems == (f"{tmp_path / 'gone'}: no such file or folder",)


def test_what_failed_is_tried_again(
    workers: Workers, photographs: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = PartWorker.__call__

    def broken(self: PartWorker, part: Any) -> Outcome:
        return Outcome(1, 0, 0, "no network") if part.number == 1 else call(self, part)

    with monkeypatch.context() as patch:
        patch.setattr(PartWorker, "__call__", broken)
        found = run(photographs, output)
    assert (found.made, found.failures) == (4, ("no network",))
    found = run(photographs, output)
    assert (found.before, found.made, found.failures) == (4, 1, ())
    assert sum(images(output).values()) == 7


def test_other_options_are_refused(workers: Workers, photographs: Path, output: Path) -> None:
    run(photographs, output)
    with pytest.raises(UserError, match="--beam-size was None, is 3"):
        run(photographs, output, beam_size=3)
    with pytest.raises(UserError, match=r"\(the digest of its files\) was digest of None, is"):
        run(photographs, output, model="other")
    with pytest.raises(UserError, match="the inputs"):
        run(photographs / "photo 1.png", output)
    with pytest.raises(UserError, match="csv: parts are parquet or jsonl"):
        run(photographs, output, parts="csv")


def test_parts_of_something_else_are_not_mixed_in(
    workers: Workers, photographs: Path, output: Path
) -> None:
    output.mkdir()
    (output / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds part-00000\.parquet but no images\.jsonl"):
        run(photographs, output)


def test_two_runs_do_not_meet(workers: Workers, photographs: Path, output: Path) -> None:
    def another(*_: int) -> None:
        with pytest.raises(UserError, match="another run is writing it"):
            run(photographs, output)

    assert run(photographs, output, progress=another).captions == 7


def test_an_object_store_as_output(workers: Workers, photographs: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="object stores need fsspec")
    fsspec.filesystem("memory").store.clear()
    workers.interrupt_after = 2
    with pytest.raises(KeyboardInterrupt):
        caption_many([str(photographs)], "memory://out/captions", parts="jsonl", part_size=2)
    workers.interrupt_after = None
    found = caption_many([str(photographs)], "memory://out/captions", parts="jsonl", part_size=2)
    assert (found.before, found.made, found.bad) == (2, 3, 2)
    names = Store("memory://out/captions").names()
    assert len([name for name in names if name.startswith("part-")]) == 5


def test_a_damaged_list_is_named(workers: Workers, photographs: Path, output: Path) -> None:
    run(photographs, output)
    (output / "images.jsonl").write_text("half")
    with pytest.raises(DataError, match="damaged"):
        run(photographs, output)
