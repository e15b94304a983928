"""Models of the Hugging Face Hub, from a Hub on this machine: one that speaks its protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from showattend.exceptions import CheckpointError
from showattend.export.hub_folder import CARD, write_hub_folder
from showattend.model.checkpoint import FILE_NAME, find_model, load

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(NamedTuple):
    """A Hub with one model, me/mine, and what it was asked for."""

    address: str
    files: dict[str, bytes]
    asked: list[str]


@pytest.fixture
def hub(model: Path) -> Iterator[Hub]:
    files = {FILE_NAME: (model / FILE_NAME).read_bytes(), "README.md": b"# mine", "big.bin": b"0"}
    asked: list[str] = []
    stored: dict[str, bytes] = {}  # large files, before a commit names them

    def listing(path: str) -> object | None:
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": digest(content)}
            for name, content in files.items()
        ]
        if path.startswith("/api/models/me/mine/tree/"):
            return entries
        if path in ("/api/models/me/mine", "/api/models/me/mine/revision/main"):
            siblings = [{"rfilename": each["path"], "size": each["size"]} for each in entries]
            return {
                "id": "me/mine", "modelId": "me/mine", "sha": COMMIT, "private": False,
                "tags": [], "library_name": "showattend", "siblings": siblings,
            }  # fmt: skip
        if path == "/api/models/me/other":
            return {"id": "me/other", "sha": COMMIT, "library_name": "transformers",
                    "siblings": [{"rfilename": FILE_NAME, "size": 10}]}  # fmt: skip
        return None

    def digest(content: bytes) -> str:
        return hashlib.sha1(content).hexdigest()

    def posted(path: str, content: bytes) -> Any:
        """What an upload asks for: where large files go, and a commit of all."""
        if path.endswith("/commit/main"):
            for line in content.splitlines():
                kind, value = (json.loads(line)[key] for key in ("key", "value"))
                if kind == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif kind == "lfsFile":
                    files[value["path"]] = stored[value["oid"]]
            return {"commitUrl": f"{address}/me/mine/commit/{COMMIT}", "commitOid": COMMIT}
        given = json.loads(content)
        if path.endswith("/preupload/main"):
            return {"files": [
                {"path": each["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular"}
                for each in given["files"]
            ]}  # fmt: skip
        if path.endswith("/lfs/objects/batch"):
            return {"objects": [
                {**each, "actions": {"upload": {"href": f"{address}/stored/{each['oid']}"}}}
                for each in given["objects"]
            ]}  # fmt: skip
        assert path in ("/api/repos/create", "/api/validate-yaml"), path
        return {"url": f"{address}/me/mine"}

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            self.reply(json.dumps(posted(path, self.content())).encode())

        def do_PUT(self) -> None:
            asked.append(self.path)
            content = self.content()
            oid = hashlib.sha256(content).hexdigest()
            assert self.path == f"/stored/{oid}"
            stored[oid] = content
            self.reply(b"")

        def content(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            parts = []  # in chunks, each with its size in a line before it
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def reply(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            name = path.partition(f"/me/mine/resolve/{COMMIT}/")[2]
            if name in files:
                content = files[name]
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(content)}"'}
            elif (found := listing(path)) is not None:
                content, headers = json.dumps(found).encode(), {"Content-Type": "application/json"}
            else:
                content, headers = b"{}", {"X-Error-Code": "RepoNotFound"}
            self.send_response(404 if "X-Error-Code" in headers else 200)
            for key, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Hub(address, files, asked)
    server.shutdown()
    thread.join()
    server.server_close()


PROGRAM = """
import json, logging, sys
from showattend.exceptions import CheckpointError
from showattend.model.checkpoint import find_model
from showattend.model.known_models import known_models
from pathlib import Path
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
for name in sys.argv[1:]:
    try:
        print(json.dumps([name, str(find_model(name))]))
    except CheckpointError as error:
        print(json.dumps([name, f"refused: {error}"]))
print(json.dumps(["known", [each.name for each in known_models(Path("none"))]]))
"""


def fetched(home: Path, address: str, *names: str, **more: str) -> tuple[dict[str, str], str]:
    """What a new process finds for each name, and what it logs."""
    done = started(PROGRAM, home, address, *names, **more)
    return dict(map(json.loads, done.stdout.splitlines())), done.stderr


def started(
    program: str, home: Path, address: str, *arguments: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in a new process, for which the Hub is at an address."""
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(home), "HF_ENDPOINT": address,
        "HF_HUB_DISABLE_XET": "1", **more,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_model_is_fetched_once_and_announced(hub: Hub, tmp_path: Path) -> None:
    names = ("hf:me/mine", "hf:me/none", "hf:me/other")
    found, said = fetched(tmp_path, hub.address, *names)
    file = Path(found["hf:me/mine"])
    assert file.read_bytes() == hub.files[FILE_NAME]
    assert load(file).vocabulary
    megabytes = f"{len(hub.files[FILE_NAME]) / 1e6:.1f} MB"
    assert f"downloading me/mine from the Hugging Face Hub ({megabytes})" in said
    assert not any("big.bin" in path for path in hub.asked), "only the model's own files"
    assert "hf:me/none: the Hub has no such model" in found["hf:me/none"]
    assert "hf:me/other: not a model of showattend (transformers)" in found["hf:me/other"]
    assert "hf:me/mine" in found["known"]

    hub.asked.clear()
    again, said = fetched(tmp_path, hub.address, "hf:me/mine")
    assert again["hf:me/mine"] == str(file)
    assert hub.asked == []
    assert "downloading" not in said


UPLOAD = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("me/mine", exist_ok=True)
print(api.upload_folder(repo_id="me/mine", folder_path=sys.argv[1]).oid)
"""


def test_a_folder_is_uploaded_and_fetched_again(hub: Hub, model: Path, tmp_path: Path) -> None:
    """As `hf upload` does it: the weights as a large file, the card checked, one commit."""
    folder = tmp_path / "for-the-hub"
    write_hub_folder(str(model), folder)
    hub.files.clear()
    done = started(UPLOAD, tmp_path / "here", hub.address, str(folder), HF_TOKEN="hf_none")
    assert done.stdout.split() == [COMMIT]
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {FILE_NAME, CARD} <= set(hub.files)
    assert any(path.startswith("/stored/") for path in hub.asked)
    assert "/api/validate-yaml" in hub.asked

    found, _ = fetched(tmp_path / "there", hub.address, "hf:me/mine")
    assert Path(found["hf:me/mine"]).read_bytes() == (model / FILE_NAME).read_bytes()


def test_without_a_network_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = fetched(tmp_path, "http://127.0.0.1:9", "hf:me/mine")
    assert "hf:me/mine: cannot be fetched from the Hugging Face Hub (" in found["hf:me/mine"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        find_model("hf:me/mine")


@pytest.mark.parametrize("name", ["hf:", "hf:mine", "hf:me/mine@", "hf:me/mine/more", "hf:../.."])
def test_other_forms_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="write hf:user/name"):
        find_model(name)


def test_nothing_is_fetched_without_the_prefix() -> None:
    with pytest.raises(CheckpointError, match="for one of the Hugging Face Hub: hf:me/mine"):
        find_model("me/mine")
