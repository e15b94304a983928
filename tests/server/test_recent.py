"""Photos kept as features: found by their token alone, for a short time, in bounded memory."""

from __future__ import annotations

import pytest
import torch

from showattend.caption import Photo
from showattend.given import Looked
from showattend.images.geometry import Geometry
from showattend.server.recent import OVERHEAD, Recent

PHOTO = Photo("secret.jpg", Geometry((8, 8), (0, 0, 8, 8)), (2, 2), None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def looked(value: float, cells: int = 2) -> Looked:
    return Looked(torch.full((1, cells, cells, 16), float(value)), PHOTO)


def test_a_photo_is_found_by_its_token_only(clock: Clock) -> None:
    recent = Recent(60, now=clock)
    one, other = recent.keep(looked(1), "one.jpg"), recent.keep(looked(2), "other.jpg")
    assert one is not None
    assert other is not None
    assert one != other
    assert min(len(one), len(other)) >= 32
    found = recent.find(one)
    assert found is not None
    assert found[1] == "one.jpg"
    assert torch.equal(found[0].features, looked(1).features)
    assert found[0].photo.image is None, "the photo itself is not kept"
    for wrong in ("", one[:-1], one.swapcase(), "../" + one):
        assert recent.find(wrong) is None


def test_it_is_forgotten_after_a_while(clock: Clock) -> None:
    recent = Recent(60, now=clock)
    token = recent.keep(looked(1), "one.jpg") or ""
    clock.now = 50
    assert recent.find(token)
    clock.now = 100  # asked for at 50
    assert recent.find(token)
    clock.now = 161
    recent.drop_old()  # nobody has asked
    assert (len(recent), recent.bytes) == (0, 0)
    assert recent.find(token) is None


def test_its_memory_is_bounded(clock: Clock) -> None:
    each = 4 * 16 * 4 + OVERHEAD
    recent = Recent(60, most=3 * each, now=clock)
    tokens = []
    for number in range(50):
        tokens.append(recent.keep(looked(number), f"{number}.jpg"))
        assert recent.bytes <= 3 * each
        assert recent.find(tokens[0] or ""), "the one that is asked for stays"
    assert len(recent) == 3
    kept = [number for number, token in enumerate(tokens) if recent.find(token or "")]
    assert kept == [0, 48, 49]
    # A photo that would need more than all is not kept, and drives nobody out.
    assert recent.keep(looked(1, cells=100), "large.jpg") is None
    assert len(recent) == 3


def test_a_view_of_a_batch_does_not_keep_the_batch() -> None:
    batch = torch.zeros(64, 2, 2, 16)
    recent = Recent()
    token = recent.keep(Looked(batch[:1], PHOTO), "one.jpg")
    found = recent.find(token or "")
    assert found is not None
    assert found[0].features.untyped_storage().nbytes() == 4 * 16 * 4


def test_nothing_is_kept_for_no_seconds() -> None:
    recent = Recent(0)
    assert recent.keep(looked(1), "one.jpg") is None
    assert len(recent) == 0
    assert recent.bytes == 0
