"""What a record says of code, command, packages and machine; two of them compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from showattend.images.photo_file import PhotoFile
from showattend.system import provenance
from showattend.system.provenance import (
    changes,
    describe,
    differences,
    file_digest,
    hide_secrets,
    joint_digest,
    portable,
    remember_command,
    stamp,
)


def test_a_stamp_says_with_what_and_on_what() -> None:
    remember_command(["evaluate", "--annotations", "a.json"])
    made = stamp(torch.device("cpu"), model={"weights": "abc"})
    assert made["command"] == ["showattend", "evaluate", "--annotations", "a.json"]
    assert made["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"python", "torchvision", "timm", "numpy"} <= made["packages"].keys()
    assert made["machine"]["threads"] == torch.get_num_threads()
    assert made["machine"]["processor"]
    assert made["model"] == {"weights": "abc"}
    assert json.loads(json.dumps(made)) == made
    told = "\n".join(describe(made))
    for part in (made["code"]["sources"], "--annotations a.json", "timm", "threads", "weights"):
        assert part in told


def test_the_environment_is_recorded_as_far_as_it_changes_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("SERVICE_TOKEN", "secret")
    found = stamp(torch.device("cpu"))
    assert found["machine"]["environment"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "secret" not in json.dumps(found)


def test_a_checkout_says_its_commit_and_a_copy_its_sources(tmp_path: Path) -> None:
    """In processes of their own, since a process reads its sources once."""
    package = tmp_path / "showattend"
    (package / "system").mkdir(parents=True)
    for name in ("__init__.py", "exceptions.py", "system/__init__.py", "system/provenance.py"):
        shutil.copy(provenance.PACKAGE / name, package / name)
    program = (
        "import json\nfrom showattend.system.provenance import source_state\n"
        "print(json.dumps(source_state()))"
    )

    def state() -> dict[str, object]:
        done = subprocess.run(
            (sys.executable, "-B", "-c", program), cwd=tmp_path, capture_output=True, check=True,
            env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def git(*words: str) -> None:
        subprocess.run(("git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words),
                       check=True, capture_output=True)  # fmt: skip

    installed = state()
    assert set(installed) == {"version", "sources"}
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    clean = state()
    assert clean["sources"] == installed["sources"]
    assert (len(str(clean["commit"])), clean["changed"]) == (40, False)
    (package / "exceptions.py").write_text("# changed\n")
    changed = state()
    assert (changed["commit"], changed["changed"]) == (clean["commit"], True)
    assert changed["sources"] != clean["sources"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--api-key=abc", "x"], ["--api-key=***", "x"]),
        (["--password", "abc", "x"], ["--password", "***", "x"]),
        (["--base-url", "https://me:abc@host/a"], ["--base-url", "https://***@host/a"]),
        (["train.lr=0.1", "--out", "runs/keys"], ["train.lr=0.1", "--out", "runs/keys"]),
    ],
)
def test_no_secret_is_kept(given: list[str], kept: list[str]) -> None:
    assert hide_secrets(given) == kept


def test_a_model_that_is_given_away_has_no_paths_of_its_machine() -> None:
    words = ["showattend", "train", "/home/me/a.yaml", "data.path=/data/b.jsonl", "runs/c"]
    made = {"command": words, "model": {"n": 3}}
    assert portable(made) == {
        "command": ["showattend", "train", ".../a.yaml", "data.path=.../b.jsonl", "runs/c"],
        "model": {"n": 3},
    }


def test_digests_follow_the_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    other.write_text("a")
    assert file_digest(one) == file_digest(other)
    before = joint_digest([file_digest(one), file_digest(other)])
    other.write_text("b")
    assert file_digest(one) != file_digest(other)
    assert joint_digest([file_digest(one), file_digest(other)]) != before
    assert file_digest(tmp_path) is None
    assert joint_digest([file_digest(one), None]) != joint_digest([file_digest(one)])
    photo = PhotoFile(one)
    assert photo.digest is None
    photo.read_bytes()
    assert photo.digest is not None
    assert photo.digest.startswith(str(file_digest(one)))


def test_differences_are_named() -> None:
    one = {"code": {"sources": "a", "commit": "x"}, "machine": {"threads": 2}, "seed": 1}
    other = {"code": {"sources": "b", "commit": "y"}, "machine": {"threads": 1}, "seed": 2}
    assert differences(one, other) == [
        ("code.sources", "a", "b"), ("code.commit", "x", "y"), ("machine.threads", 2, 1),
        ("seed", 1, 2),
    ]  # fmt: skip
    assert changes(one, other) == ["code.sources was a, is b", "machine.threads was 2, is 1"]
    assert changes(one, {**one, "seed": 3}) == []
