"""NumPy's files: whatever is in one, an array or a ValueError."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from showattend.system.npy_files import map_array, read_array, read_arrays


def test_arrays_come_back(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float16).reshape(3, 4)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", one=values, two=values[0])
    for found in (read_array(tmp_path / "a.npy"), map_array(tmp_path / "a.npy")):
        assert (found == values).all()
    assert {key: each.shape for key, each in read_arrays(tmp_path / "a.npz").items()} == {
        "one": (3, 4),
        "two": (4,),
    }
    map_array(tmp_path / "a.npy", write=True)[0, 0] = 5
    assert read_array(tmp_path / "a.npy")[0, 0] == 5


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("opened"),)  # type: ignore[return-value]


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    attack = np.empty(1, object)
    attack[0] = _Attack()
    np.save("a.npy", attack, allow_pickle=True)
    np.savez("a.npz", a=attack)
    Path("b.npy").write_bytes(pickle.dumps(_Attack()))
    for read, name in (
        (read_array, "a.npy"),
        (read_array, "b.npy"),
        (map_array, "a.npy"),
        (read_arrays, "a.npz"),
        (read_arrays, "b.npy"),
    ):
        with pytest.raises(ValueError, match="is damaged"):
            read(Path(name))
    assert not Path("opened").exists()


def test_every_cut_and_any_byte(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.arange(6))
    whole, lots = file.getvalue(), random.Random(0)
    path = tmp_path / "a.npy"
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        for read in (read_array, map_array):
            with pytest.raises(ValueError, match="damaged"):
                read(path)
    for _ in range(60):
        changed = bytearray(whole)
        changed[lots.randrange(128)] = lots.randrange(256)
        path.write_bytes(changed)
        for read in (read_array, map_array):
            with contextlib.suppress(ValueError):
                read(path)


def test_zeros_do_not_fill_the_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.npy", b"")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    place = content.rindex(b"PK\x01\x02") + 24
    content[place : place + 4] = (2**31).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="more than the limit"):
        read_arrays(tmp_path / "a.npz")


def test_what_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    for read in (read_array, map_array, read_arrays):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "gone.npy")
