"""Actors of Ray: lost ones cost no image and double none.

The rules are tried with an imitation of Ray in this process; the slow tests use Ray itself, two
machines of it, and an S3 server (`make test-cluster`).
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.exceptions import UserError
from showattend.export.cluster import CaptionBatch, caption_many
from showattend.export.cluster.dispatching import LIVES, Dispatcher
from showattend.export.cluster.part_worker import Outcome
from showattend.export.cluster.partition import Part
from showattend.export.cluster.ray_engine import Work, count_workers, run_parts
from showattend.export.cluster.stores import Store
from tests.commandline import save_model

# The rules, with an imitation of Ray ------------------------------------------------------------


class RayError(Exception):
    """As ray.exceptions."""


class RayTaskError(RayError):
    """As ray.exceptions."""


class Call:
    """What a method of an actor returns, until it is asked for."""

    def __init__(self, actor: Actor, method: str, *arguments: Any) -> None:
        self.actor, self.method, self.arguments = actor, method, arguments


class Actor:
    """A handle: ``actor.method.remote(...)``."""

    def __init__(self, ray: FakeRay, number: int) -> None:
        self.ray, self.number = ray, number

    def __getattr__(self, method: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *arguments: Call(self, method, *arguments))


class FakeRay:
    """Ray's calls that `run_parts` uses; what happens to them is drawn or given."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, answer: Callable[[Call], Any], seed: int = 0) -> None:
        self.answer, self.draw = answer, random.Random(seed)
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.options: dict[str, Any] = {}
        self.chosen: list[Call] = []

    def remote(self, _: type) -> SimpleNamespace:
        def options(**given: Any) -> SimpleNamespace:
            self.options = given
            return SimpleNamespace(remote=start)

        def start(*_: Any) -> Actor:
            self.actors.append(Actor(self, len(self.actors)))
            return self.actors[-1]

        return SimpleNamespace(options=options)

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> tuple[list[Call], None]:
        if timeout:  # otherwise the same again: one at a time
            self.chosen = [self.draw.choice(calls)]
        return self.chosen, None

    def get(self, call: Call) -> Any:
        return self.answer(call)

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)


def parts(count: int) -> list[Part]:
    return [Part(number, (f"{number}.jpg",)) for number in range(count)]


def run(ray: FakeRay, count: int, workers: int = 2) -> list[Outcome]:
    work = Work(None, "0", Store("/nowhere"), "jsonl", "/")
    return list(run_parts(ray, Dispatcher(iter(parts(count))), work, workers=workers))


def fine(call: Call) -> Any:
    return "" if call.method == "load" else Outcome(call.arguments[0].number, 1, 0)


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_every_part_is_reported_once(workers: int) -> None:
    ray = FakeRay(fine)
    found = run(ray, 12, workers)
    assert sorted(each.part for each in found) == list(range(12))
    assert len(ray.actors) == workers
    assert {each.number for each in ray.killed} == set(range(workers)), "no actor stays"
    assert ray.options["max_restarts"] == ray.options["max_task_retries"] == 0


@pytest.mark.parametrize("seed", range(10))
def test_lost_workers_cost_no_part_and_double_none(seed: int) -> None:
    draw = random.Random(seed)

    def answer(call: Call) -> Any:
        if call.method != "load" and draw.random() < 0.15:
            raise RayError("the node is gone")
        return fine(call)

    ray = FakeRay(answer, seed)
    found = run(ray, 30, 3)
    assert sorted(each.part for each in found) == list(range(30))
    assert len(ray.actors) > 3
    given_up = [each for each in found if each.failure]
    assert len(given_up) <= 1


def test_a_part_that_ends_every_worker_is_named() -> None:
    def answer(call: Call) -> Any:
        if call.method != "load" and call.arguments[0].number == 2:
            raise RayError("out of memory")
        return fine(call)

    found = run(FakeRay(answer), 5)
    (bad,) = [each for each in found if each.failure]
    assert bad.part == 2
    assert "its worker ended at every attempt" in bad.failure
    assert sorted(each.part for each in found) == list(range(5))


def test_an_error_in_a_worker_is_that_parts() -> None:
    def answer(call: Call) -> Any:
        if call.method != "load" and call.arguments[0].number == 2:
            raise RayTaskError("Traceback ...\n  File ...\nMemoryError: 9 GB\n")
        return fine(call)

    ray = FakeRay(answer)
    found = {each.part: each.failure for each in run(ray, 5)}
    assert found.pop(2).endswith(": MemoryError: 9 GB")
    assert found == dict.fromkeys((0, 1, 3, 4), "")
    assert len(ray.actors) == 2


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_model_that_cannot_be_loaded_ends_the_run(is_lost: bool) -> None:
    def answer(call: Call) -> Any:
        if is_lost:
            raise RayError("...\nModuleNotFoundError: No module named 'showattend'")
        return "mine: no such model"

    ray = FakeRay(answer)
    with pytest.raises(UserError, match=r"no worker can be started: (mine: no such|ModuleNot)"):
        run(ray, 5)
    assert len(ray.actors) < 2 + LIVES


def test_one_machine_without_the_model_is_done_without() -> None:
    def answer(call: Call) -> Any:
        if call.method == "load" and call.actor.number == 1:
            return "mine: no such model"
        return fine(call)

    assert len(run(FakeRay(answer), 5)) == 5


def test_workers_end_with_the_run() -> None:
    ray = FakeRay(fine)
    work = Work(None, "0", Store("/nowhere"), "jsonl", "/")
    running = run_parts(ray, Dispatcher(iter(parts(9))), work, workers=2)
    next(running)
    running.close()
    assert {each.number for each in ray.killed} == {0, 1}


@pytest.mark.parametrize(
    ("nodes", "wanted", "cores", "device", "expected"),
    [
        ([{"CPU": 4.0}, {"CPU": 3.0}], None, 1, "auto", (7, False)),
        ([{"CPU": 4.0}, {"CPU": 3.0}], None, 2, "auto", (3, False)),
        ([{"CPU": 4.0}, {"CPU": 3.0}], 2, 1, "cpu", (2, False)),
        ([{"CPU": 4.0, "GPU": 2.0}, {"CPU": 3.0}], None, 1, "auto", (2, True)),
        ([{"CPU": 4.0, "GPU": 2.0}, {"CPU": 3.0}], None, 1, "cpu", (7, False)),
    ],
)
def test_as_many_workers_as_there_is_room(
    nodes: list[dict[str, float]], wanted: int | None, cores: int, device: str, expected: object
) -> None:
    machines = [{"Alive": True, "Resources": each} for each in nodes]
    machines.append({"Alive": False, "Resources": {"CPU": 64.0}})
    ray = SimpleNamespace(nodes=lambda: machines)
    assert count_workers(ray, wanted, cores, device) == expected
    with pytest.raises(UserError, match="no machine of the cluster has 8 cores free"):
        count_workers(ray, wanted, 8, "cpu")


# With Ray itself --------------------------------------------------------------------------------

COUNT = 24


def with_ray(test: Any) -> Any:
    """Mark a test as slow; Ray's own warnings are not ours."""
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore")(test))


def needs_ray() -> None:
    pytest.importorskip("ray", reason="make test-cluster installs Ray")
    pytest.importorskip("pyarrow", reason="make test-cluster installs pyarrow")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, and three files that are none."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(COUNT):
        draw = np.random.default_rng(number)
        small = draw.integers(0, 256, (3 + number % 5, 4, 3), dtype=np.uint8)
        photo = Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)
        photo.save(folder / f"{number:03d}.jpg", quality=90)
    for number in range(3):
        (folder / f"{number:03d}x.jpg").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def sharp(untrained: Captioner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on disk whose captions differ from image to image."""
    import torch

    with torch.no_grad():
        before = [parameter.clone() for parameter in untrained.decoder.parameters()]
        for parameter in untrained.decoder.parameters():
            parameter.mul_(12)
        saved = save_model(untrained, tmp_path_factory.mktemp("models") / "sharp")
        for parameter, old in zip(untrained.decoder.parameters(), before, strict=True):
            parameter.copy_(old)
    return saved


@pytest.fixture(scope="module")
def expected(many: Path, sharp: Path) -> dict[str, str]:
    """The plain engine's captions by file name."""
    captioner = Captioner.from_pretrained(sharp)
    photos = [path for path in sorted(many.iterdir()) if "x" not in path.name]
    found = {path.name: each[1].text for path, each in zip(photos, captioner.stream(photos))}  # noqa: B905
    assert len(set(found.values())) > 3, "the test can fail"
    return found


class Machines:
    """A cluster of machines that are processes here: one without a core, and one with one."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.room = {"object_store_memory": 100 << 20}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **self.room})
        self.first = self.add()

    def add(self, cores: int = 1) -> Any:
        """Add a machine."""
        return self.cluster.add_node(num_cpus=cores, **self.room)

    def kill_first(self) -> None:
        """End the first machine and all that runs on it, without a warning."""
        self.cluster.remove_node(self.first, allow_graceful=False)


@pytest.fixture
def machines() -> Iterator[Machines]:
    needs_ray()
    import ray

    found = Machines()
    ray.init(address=found.cluster.address, logging_level="ERROR", log_to_driver=False)
    yield found
    ray.shutdown()
    found.cluster.shutdown()


@pytest.fixture
def bucket(many: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The photographs in a bucket of an S3 server."""
    moto = pytest.importorskip("moto.server", reason="make test-cluster installs moto")
    s3fs = pytest.importorskip("s3fs", reason="make test-cluster installs s3fs")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem()
    system.mkdir("photos")
    for path in many.iterdir():
        system.pipe_file(f"photos/set/{path.name}", path.read_bytes())
    yield "s3://photos/set"
    server.stop()


def rows(output: str, kind: str) -> list[tuple[str, str]]:
    """The captions of all parts: image, caption."""
    import fsspec

    system, path = fsspec.core.url_to_fs(output)
    found = []
    for name in system.ls(path, detail=False):
        file = name.rpartition("/")[2]
        if not file.startswith("part-"):
            continue
        with system.open(name, "rb") as opened:
            if kind == "jsonl":
                held = [json.loads(line) for line in opened]
            else:
                from pyarrow import parquet

                held = parquet.read_table(opened).to_pylist()
        found += [(row["image"], row["caption"]) for row in held]
    return found


def check(output: str, kind: str, beginning: str, expected: dict[str, str]) -> None:
    found = rows(output, kind)
    assert Counter(image for image, _ in found) == Counter(f"{beginning}/{n}" for n in expected)
    assert {image.rpartition("/")[2]: text for image, text in found} == expected


@with_ray
def test_a_machine_that_is_killed_costs_no_image(
    machines: Machines,
    bucket: str,
    sharp: Path,
    expected: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From S3 to S3. The machine that has done the first part is killed; another has come."""
    caplog.set_level(logging.INFO, logger="showattend")
    killed = []

    def progress(*_: int) -> None:
        if not killed:
            machines.add()
            machines.kill_first()
            killed.append(True)

    output = "s3://photos/captions"
    options = {"model": str(sharp), "part_size": 2, "batch_size": 2, "workers": 2}
    found = caption_many([bucket], output, progress=progress, **options)
    assert any("is done by another" in each for each in caplog.messages), caplog.messages
    assert (found.captions, found.bad, found.failures) == (COUNT, 3, ())
    check(output, "parquet", bucket, expected)
    # Nothing is left to do.
    again = caption_many([bucket], output, **options)
    assert (again.before, again.made) == (found.made, 0)


@with_ray
def test_a_step_of_somebodys_pipeline(
    machines: Machines, many: Path, sharp: Path, expected: dict[str, str]
) -> None:
    import ray

    machines.add(3)  # two for the model, and what Ray Data reads with
    data = ray.data.read_binary_files(str(many), include_paths=True)
    data = data.map_batches(
        CaptionBatch,
        fn_constructor_kwargs={"model": str(sharp), "threads": 1},
        compute=ray.data.ActorPoolStrategy(size=2),
        batch_size=8,
        num_cpus=1,
    )
    found = data.take_all()
    assert len(found) == COUNT + 3
    captions = {Path(row["path"]).name: row["caption"] for row in found if row["error"] is None}
    assert captions == expected
    bad = {Path(row["path"]).name for row in found if row["error"] is not None}
    assert bad == {f"{number:03d}x.jpg" for number in range(3)}


@with_ray
def test_the_command_is_interrupted_and_continued(
    many: Path, sharp: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    needs_ray()
    output = tmp_path / "captions"
    command = [sys.executable, "-m", "showattend", "caption", "--engine", "ray", str(many)]
    command += ["--output", str(output), "--parts", "jsonl", "--part-size", "2"]
    command += ["--model", str(sharp), "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(output.glob("part-*")) and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert f"the parts made so far are in {output}; the same command continues" in said
    before = len(rows(str(output), "jsonl"))
    assert 0 < before < COUNT
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "parts; " in result.stderr
    assert "3 images have no caption" in result.stderr
    check(str(output), "jsonl", str(many), expected)
