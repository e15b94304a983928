"""The Dockerfile: what it copies, and the commands of docs/install.md that build and run it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer.main

from showattend.cli.app import app
from tests.commandline import load_once

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def commands(program: str) -> list[list[str]]:
    return [shlex.split(line) for line in PAGE.splitlines() if line.startswith(f"{program} ")]


def copied() -> set[str]:
    return {source for line in instructions("COPY") for source in line.split()[:-1]}


def test_it_copies_what_the_wheel_is_made_of() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    assert copied() == needed | {*wheel["packages"], *wheel["force-include"]}
    assert all((ROOT / each).exists() for each in copied())


def test_what_it_copies_is_sent_to_docker() -> None:
    first, *others = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert first == "*"
    assert {line[1:] for line in others if line.startswith("!")} == copied()


def test_its_command_is_one_of_ours() -> None:
    (entry,) = instructions("ENTRYPOINT")
    program, name, *options = (each.strip('" ') for each in entry.strip("[]").split(","))
    assert program in PROJECT["project"]["scripts"]
    serve = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    for *_, image in (line for line in commands("docker") if line[1] == "build"):
        assert image == "."
    runs = [line for line in commands("docker") if line[1] == "run"]
    assert len(runs) == 2
    for line in runs:
        given = line[line.index("showattend") + 1 :]
        context = serve.make_context(name, [*options, *given])
        (published,) = (line[i + 1] for i, each in enumerate(line) if each == "--publish")
        assert instructions("EXPOSE") == [str(context.params["port"])]
        assert published == f"127.0.0.1:{context.params['port']}:{context.params['port']}"
        assert context.params["host"] == "0.0.0.0"


def test_its_arguments_and_extras_exist() -> None:
    (build,) = (line for line in commands("docker") if line[1] == "build")
    name, _, value = build[build.index("--build-arg") + 1].partition("=")
    assert [f'{name}=""'] == instructions("ARG")
    assert value == f"${name}"
    extras = set(re.findall(r"\[(\w+)\]['\"]", PAGE + "\n".join(instructions("RUN"))))
    assert (
        {"serve", "onnx", "heif", "lite"}
        <= extras
        <= set(PROJECT["project"]["optional-dependencies"])
    )
    python = instructions("FROM")[0]
    (version,) = re.findall(r"python:(\d\.\d+)", python)
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


def test_it_is_an_ordinary_user() -> None:
    (user,) = instructions("USER")
    assert not fnmatch(user, "0*")
    assert user != "root"
    assert "--read-only" in PAGE


def test_no_page_names_an_index_of_packages() -> None:
    for file in ("Dockerfile", "docs/install.md", "README.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not re.search(
            r"https?://(?!127\.0\.0\.1|photos\.example|arxiv\.org"
            r"|pytorch\.org/get-started/locally/\))[\w./-]+",
            text,
        ), file


def test_types_are_announced() -> None:
    assert (ROOT / "showattend" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


# As far as it can be tried without Docker --------------------------------------------------------

USER = 65534
ENTER = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
for place in $BOUND; do
  mkdir -p "$ROOT$place"
  mount --bind "$place" "$ROOT$place"
  mount -o remount,ro,bind "$ROOT$place"
done
for device in null zero random urandom; do
  touch "$ROOT/dev/$device"
  mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mount -t proc proc "$ROOT/proc"
mount -o remount,ro,bind "$ROOT"
exec chroot --userspec="$WHO" "$ROOT" "$@"
"""
"""Enters a root whose every file is read-only, as an ordinary user; Linux, as root."""


class Container:
    """What `docker run --read-only` has, made of mounts: the image's files, nothing writable.

    Python and the packages are those that run the tests, at their own places; this package is put
    together from what the image copies, as the wheel is. There is no home, no other file of this
    machine, and no variable but those given.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("dev", "proc", "tmp", "etc", "app"):
            (root / folder).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "etc" / "passwd").write_text(f"nobody:x:{USER}:{USER}::/nonexistent:/bin/false\n")
        shutil.copyfile("/etc/ld.so.cache", root / "etc" / "ld.so.cache")
        for each in ("bin", "lib", "lib64", "sbin"):
            if Path("/", each).is_symlink():
                (root / each).symlink_to(Path("/", each).readlink())
        wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
        ignored = shutil.ignore_patterns("__pycache__")
        places = dict(zip(wheel["packages"], wheel["packages"], strict=True))
        for source, place in (places | wheel["force-include"]).items():
            assert source in copied()
            shutil.copytree(ROOT / source, root / "app" / place, ignore=ignored)
        for folder in (root, *root.rglob("*")):  # whatever the mask of who runs the tests
            if not folder.is_symlink():
                folder.chmod(folder.stat().st_mode | (0o755 if folder.is_dir() else 0o644))
        needed = [sys.prefix, sys.base_prefix, *(each for each in sys.path if "-packages" in each)]
        needed += [f"/{each}" for each in ("usr", "bin", "lib", "lib64") if not self._linked(each)]
        self.bound = [each for each in dict.fromkeys(needed) if Path(each).is_dir()]

    def _linked(self, name: str) -> bool:
        return (self.root / name).is_symlink() or not Path("/", name).exists()

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command in it, which is process 1 as in a container."""
        enter = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", ENTER, "sh"]
        inside = ["/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "PYTHONPATH=/app", *command]
        env = {**os.environ, "ROOT": str(self.root), "BOUND": " ".join(self.bound)}
        process = subprocess.Popen(
            [*enter, *inside], env={**env, "WHO": f"{USER}:{USER}"}, text=True, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def run(self, *command: str) -> tuple[int, str, str]:
        with self.started(*command) as process:
            out, err = process.communicate(timeout=600)
            return process.returncode, out, err

    def showattend(self, *arguments: str) -> tuple[int, str, str]:
        return self.run(sys.executable, "-m", "showattend", *arguments)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Container:
    if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs to be root, and unshare of util-linux")
    made = Container(tmp_path_factory.mktemp("container") / "root")
    code, _, err = made.run("/bin/true")
    if code:
        pytest.skip(f"cannot mount here: {err.strip()}")
    return made


@pytest.mark.slow
def test_nothing_can_be_written_in_it(container: Container) -> None:
    script = "id -u; echo ${HOME-none}; for d in / /tmp /app /dev; do touch $d/new || true; done"
    code, out, err = container.run("/bin/sh", "-c", script)
    assert (code, out.split()) == (0, [str(USER), "none"])
    assert err.count("Read-only file system") == 4


@pytest.mark.slow
def test_it_captions_in_a_read_only_container(container: Container, photos: list[Path]) -> None:
    photo = f"/app/showattend/assets/photos/{photos[0].name}"
    code, out, err = container.showattend("caption", photo)
    assert (code, err) == (0, "")
    assert out == f"{photo}\t{load_once().caption(photos[0]).text}\n"
    for command in (
        ("attend", photo, "--output", "/tmp/figure.png"),
        ("caption", photo, "--output", "/tmp/captions.jsonl"),
    ):
        code, out, err = container.showattend(*command)
        assert code == 2
        (line,) = err.splitlines()
        assert line.startswith(f"showattend: {command[-1]}: cannot be written (")


@pytest.mark.slow
def test_it_serves_from_a_read_only_container(container: Container, photos: list[Path]) -> None:
    (entry,) = instructions("ENTRYPOINT")
    program, *options = json.loads(entry)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with container.started(sys.executable, "-m", program, *options, "--port", str(port)) as server:
        until = time.monotonic() + 300
        while True:
            assert server.poll() is None, server.communicate()
            assert time.monotonic() < until
            try:
                page = urllib.request.urlopen(address, timeout=10).read()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(1)
        assert b"<!DOCTYPE html>" in page
        for photo in photos:
            content = photo.read_bytes()
            head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
            request = urllib.request.Request(
                f"{address}/api/caption", head + content + b"\r\n--b--\r\n",
                {"Content-Type": "multipart/form-data; boundary=b"},
            )  # fmt: skip
            answer = json.load(urllib.request.urlopen(request, timeout=300))
            assert answer["captions"][0]["words"] == list(load_once().caption(photo).words)
        os.killpg(server.pid, signal.SIGTERM)  # as `docker stop` does
        out, err = server.communicate(timeout=60)
        assert "Traceback" not in out + err
