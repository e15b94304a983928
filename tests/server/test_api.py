"""The API: what it answers, and that whatever is wrong is one clear line."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import json
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is absent")
pytest.importorskip("python_multipart", reason="the extra serve is absent")
from fastapi.testclient import TestClient

from showattend.caption_forms import NOTE
from showattend.captioner import Captioner
from showattend.model.calibration import Calibration
from showattend.model.familiarity import Familiarity
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.server.api import Options, create_app
from showattend.server.examples import SHOWN, examples
from showattend.server.limits import LOOPBACK, Limits
from showattend.server.recent import Recent
from tests.commandline import load_once

URL = "/api/caption"


@pytest.fixture
def client(untrained: Captioner) -> Iterator[TestClient]:
    with TestClient(create_app(untrained, hosts=LOOPBACK), base_url="http://localhost") as client:
        yield client


def post(client: TestClient, content: bytes | Path, name: str = "photo.png", **values: Any) -> Any:
    data = content.read_bytes() if isinstance(content, Path) else content
    fields = {key: str(value) for key, value in values.items()}
    return client.post(URL, files={"image": (name, data)}, data=fields)


def refused(answer: Any, status: int) -> str:
    """The one line of an answer that refuses."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert error
    assert "\n" not in error
    assert tempfile.gettempdir() not in error
    assert "Traceback" not in error
    return error


# Captions --------------------------------------------------------------------------------------


def test_a_model_without_a_gate_answers_with_null(untrained: Captioner, photos: list[Path]) -> None:
    sizes = {"embedding_dim": 16, "hidden_dim": 16, "attention_dim": 16}
    gateless = copy.copy(untrained)
    gateless.decoder = FusedLSTMDecoder(
        vocabulary_size=len(untrained.vocabulary), feature_dim=1280, gate="none", **sizes
    ).eval()
    with TestClient(create_app(gateless)) as client:
        answer = post(client, photos[0])
    assert answer.status_code == 200, answer.text
    assert {each["betas"] for each in answer.json()["captions"]} == {None}


def test_a_photo_gets_the_captioners_captions(
    client: TestClient,
    untrained: Captioner,
    photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(untrained, "calibration", Calibration(0.3))
    answer = post(client, photos[0], "my photo.jpg", beam_size=3)
    assert answer.status_code == 200, answer.text
    values = answer.json()
    best = untrained.caption(photos[0], beam_size=3, n_best=3)
    ranked = (best, *best.alternatives)
    assert [each["words"] for each in values["captions"]] == [list(each.words) for each in ranked]
    for said, caption in zip(values["captions"], ranked, strict=True):
        assert said["caption"] == caption.text
        assert np.array(said["attention"]) == pytest.approx(caption.attention, abs=1e-5)
        assert said["log_probs"] == pytest.approx(caption.log_probs, abs=1e-4)
        assert said["betas"] == pytest.approx(caption.betas, abs=1e-5)
        assert said["confidences"] == pytest.approx(caption.confidences, abs=1e-5)
        assert said["confidence"] == pytest.approx(caption.confidence, abs=1e-5)
        assert said["unsure"] == list(caption.unsure)
        assert said["score"] == pytest.approx(caption.score, abs=1e-4)
    assert values["unsure_below"] == 0.3
    assert (values["familiarity"], values["note"]) == (None, None)
    assert any(any(caption.unsure) for caption in ranked), "of a random model all are"
    assert values["geometry"] == best.geometry.to_dict()
    assert values["name"] == "my photo.jpg"
    assert values["model"] == "untrained"
    assert (values["fixed"], values["notes"], values["seed"]) == (0, [], None)
    assert values["preview"] is None
    assert values["seconds"] > 0


def test_a_strange_photo_is_answered_with_a_note(
    untrained: Captioner, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = Calibration(0.3, Familiarity(np.eye(1280, 1), np.array([0, 1e-9]), 64))
    monkeypatch.setattr(untrained, "calibration", strange)
    with TestClient(create_app(untrained)) as client:
        values = post(client, photo, n_best=1).json()
    assert (values["familiarity"], values["note"]) == (0.0, NOTE)
    assert "note" not in values["captions"][0]


def test_the_defaults_are_the_models(client: TestClient, untrained: Captioner, photo: Path) -> None:
    values = post(client, photo).json()
    assert len(values["captions"]) == untrained.search.beam_size
    assert len(post(client, photo, beam_size=4, n_best=2).json()["captions"]) == 2
    short = post(client, photo, max_length=2).json()["captions"]
    assert all(len(each["words"]) <= 2 for each in short)


def again(client: TestClient, token: str, **values: Any) -> Any:
    return client.post(URL, data={"token": token, **values})


def test_a_token_stands_for_the_photo(client: TestClient, photos: list[Path]) -> None:
    """The same captions as from the photo itself, steered, sampled and given."""
    sent = post(client, photos[0], "my photo.jpg", beam_size=2).json()
    first = sent["captions"][0]["words"][0]
    for values in (
        {"beam_size": "2"},
        {"prefix": f"{first} dog", "banned": "grass"},
        {"method": "sample", "seed": "3"},
        {"text": "a zebra on the beach"},
    ):
        answer = again(client, sent["token"], **values)
        assert answer.status_code == 200, answer.text
        wanted = post(client, photos[0], "my photo.jpg", **values).json()
        volatile = ("seconds", "token")
        one, other = (
            {key: value for key, value in each.items() if key not in volatile}
            for each in (answer.json(), wanted)
        )
        assert one == other
        assert answer.json()["token"] == sent["token"]
    assert one["captions"][0]["words"] == ["a", "zebra", "on", "the", "beach"]
    assert one["notes"] == ["the model does not know zebra, and reads <unk> there"]
    assert one["fixed"] == 0


def test_a_token_that_is_not_kept_is_gone(
    client: TestClient, untrained: Captioner, photo: Path
) -> None:
    assert "send it again" in refused(again(client, "unknown"), 410)
    assert "image: " in refused(client.post(URL, data={"beam_size": "1"}), 422)
    token = post(client, photo, n_best=1).json()["token"]
    assert "not both" in refused(post(client, photo, token=token), 422)
    assert refused(again(client, token, preview="true"), 422).startswith("preview: ")
    assert refused(again(client, token, text="?!"), 400).startswith("the caption '?!' has no words")
    with TestClient(create_app(untrained, recent=Recent(0))) as forgetful:
        assert post(forgetful, photo, n_best=1).json()["token"] is None


def test_requests_keep_a_bounded_number_of_photos(untrained: Captioner, photo: Path) -> None:
    recent = Recent(most=60_000)  # a photo takes 4 × 1280 floats and a little
    with TestClient(create_app(untrained, recent=recent)) as client:
        for _ in range(5):
            assert post(client, photo, n_best=1).status_code == 200
            assert recent.bytes <= 60_000
        assert 1 <= len(recent) < 5


def test_an_answer_travels_compressed(client: TestClient, photos: list[Path]) -> None:
    answer = post(client, photos[0])
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(answer.content) / 2


def test_short_maps_look_the_same(client: TestClient, photos: list[Path]) -> None:
    """To half of the last digit that can be seen, and the peak as it is; nothing else changes."""
    whole, short = (post(client, photos[0], short=each).json() for each in (False, True))
    for one, other in zip(whole["captions"], short["captions"], strict=True):
        exact, rounded = np.array(one.pop("attention")), np.array(other.pop("attention"))
        assert np.abs(exact - rounded).max() <= 0.00005 + 1e-9
        assert (exact.max((1, 2)) == rounded.max((1, 2))).all()
        assert one == other
    assert len(json.dumps(rounded.tolist())) < len(json.dumps(exact.tolist()))


def test_the_answer_to_a_rejected_word_is_small(photos: list[Path]) -> None:
    """On a slow line, each 5 kB take a tenth of a second: five captions of the shipped model."""
    app = create_app(load_once(), hosts=LOOPBACK)
    with TestClient(app, base_url="http://localhost") as client:
        first = post(client, photos[0], short=True).json()
        said = first["captions"][0]["words"]
        steer = {"token": first["token"], "prefix": said[0], "banned": said[1], "short": "true"}
        answer = client.post(URL, data=steer)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["captions"]) == 5
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < 10_000
        whole = client.post(URL, data=steer | {"short": "false"})
        assert int(answer.headers["content-length"]) < 0.8 * int(whole.headers["content-length"])


@pytest.mark.parametrize(
    ("kind", "form", "head"),
    [
        ("png", "image/png", b"\x89PNG"),
        ("gif", "image/gif", b"GIF8"),
        ("html", "text/html", b"<!DOCTYPE"),
    ],
)
def test_captions_are_saved(
    kind: str, form: str, head: bytes, client: TestClient, photo: Path
) -> None:
    answer = client.post(
        "/api/figure",
        files={"image": ("photo.png", photo.read_bytes())},
        data={"text": "a dog\na man", "kind": kind},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(form)
    assert answer.headers["content-disposition"] == f'attachment; filename="figure.{kind}"'
    assert answer.content.startswith(head)


def test_what_cannot_be_saved_is_refused(client: TestClient, photo: Path) -> None:
    def save(content: bytes, **values: str) -> Any:
        return client.post("/api/figure", files={"image": ("a.png", content)}, data=values)

    good = photo.read_bytes()
    assert "give 1 to 20 captions" in refused(save(good, text=" "), 400)
    assert refused(save(b"text", text="a dog"), 400).startswith("a.png: not an image")
    assert refused(save(good, text="a dog", kind="exe"), 422).startswith("kind: ")
    assert "unknown field 'beam_size'" in refused(save(good, text="a", beam_size="1"), 422)


def test_the_examples_are_served(client: TestClient, photos: list[Path]) -> None:
    assert len(examples()) == len(SHOWN) == 3
    for name, file in examples().items():
        assert file in photos
        answer = client.get(f"/examples/{name}.jpg")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.content == file.read_bytes()
    refused(client.get("/examples/other.jpg"), 404)
    assert client.get("/examples/..%2Fmodel.jpg").status_code == 404


def test_the_preview_is_the_upright_photo(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.new("RGB", (300, 200), (0, 128, 255)).save(content, "JPEG", exif=exif)
    values = post(client, content.getvalue(), preview=True).json()
    assert values["geometry"]["image_size"] == [200, 300]
    head, _, data = values["preview"].partition(",")
    assert head == "data:image/jpeg;base64"
    preview = Image.open(io.BytesIO(base64.b64decode(data)))
    assert preview.size == (200, 300)
    assert preview.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_any_image_file_will_do(kind: str, client: TestClient) -> None:
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(content, kind)
    values = post(client, content.getvalue(), "photo", preview=True).json()
    assert values["geometry"]["image_size"] == [40, 30]
    assert values["preview"].startswith("data:image/jpeg;base64,")


def test_samples_follow_their_seed(client: TestClient, photo: Path) -> None:
    def draw(**values: Any) -> tuple[int, list[str]]:
        answer = post(client, photo, method="sample", samples=6, temperature=2, **values).json()
        return answer["seed"], [each["caption"] for each in answer["captions"]]

    assert draw(seed=5) == draw(seed=5)
    assert draw(seed=5)[0] == 5
    assert len({tuple(draw(seed=seed)[1]) for seed in range(4)}) > 1
    seed, drawn = draw()  # one that is not given is told, so that it can be
    assert draw(seed=seed) == (seed, drawn)
    assert 1 <= len(drawn) <= 6


@pytest.mark.parametrize("method", ["beam", "sample"])
def test_a_caption_goes_on_from_given_words_without_others(
    method: str, client: TestClient, photo: Path
) -> None:
    answer = post(
        client, photo, method=method, prefix="A zebra in", banned="dog, Man", seed=1
    ).json()
    assert answer["fixed"] == 3
    assert answer["notes"] == ["the model does not know zebra, and reads <unk> there"]
    for each in answer["captions"]:
        assert each["words"][:3] == ["a", "zebra", "in"]
        assert not {"dog", "man"} & set(each["words"])
        assert len(each["attention"]) == len(each["words"])


def test_a_photo_stays_in_memory(
    client: TestClient, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that a file or a folder has here means nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    sent = {"image": ("photos", photo.read_bytes())}
    answer = client.post("/api/caption", files=sent, data={"preview": "true"})
    assert answer.status_code == 200
    assert answer.json()["name"] == "photos"
    assert post(client, b"no image").status_code == 400
    assert list((tmp_path / "temporary").iterdir()) == []


# What is wrong ---------------------------------------------------------------------------------


def cut(photo: bytes) -> bytes:
    return photo[: len(photo) // 2]


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says that it is large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "photo.png: the file is empty"),
        (b"hello, I am no image", "photo.png: not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "photo.png: not an image"),
        (b"\xff\xd8\xff\xe0 a JPEG's head and nothing else", "photo.png: "),
        (png_that_claims(20, 20)[:60], "photo.png: the image is damaged"),
        (png_that_claims(20_000, 20_000), "photo.png: the image has more than 178,956,970 pixels"),
    ],
)
def test_bad_images_are_refused_by_name(content: bytes, message: str, client: TestClient) -> None:
    assert refused(post(client, content), 400).startswith(message)


def test_a_photo_that_was_cut_short_is_refused(client: TestClient, photos: list[Path]) -> None:
    error = refused(post(client, cut(photos[0].read_bytes()), "cut.jpg"), 400)
    assert error.startswith("cut.jpg: the image is damaged or cut short")


def test_too_many_pixels_are_refused_before_they_are_decoded(client: TestClient) -> None:
    error = refused(post(client, png_that_claims(9_000, 9_000)), 413)
    assert error == "photo.png: the image has 81 million pixels, more than the limit of 64"


def test_a_file_that_is_too_large_is_refused(untrained: Captioner, photo: Path) -> None:
    small = create_app(untrained, Limits(megabytes=0.005))
    with TestClient(small) as client:
        for size in (5_001, 5_000_000):  # within the form's room, and far over it
            assert refused(post(client, b"x" * size), 413) == "the file is larger than 0.005 MB"
        # Without a length in advance it is counted as it comes.
        parts = iter([b"x" * 50_000] * 20)
        kind = {"content-type": "multipart/form-data; boundary=b"}
        error = refused(client.post(URL, content=parts, headers=kind), 413)
        assert error == "the file is larger than 0.005 MB"


@pytest.mark.parametrize(
    ("values", "status", "message"),
    [
        ({"beam_size": 0}, 422, "beam_size: "),
        ({"beam_size": 21}, 422, "beam_size: "),
        ({"beam_size": "many"}, 422, "beam_size: "),
        ({"samples": 99}, 422, "samples: "),
        ({"temperature": 0}, 422, "temperature: "),
        ({"temperature": "nan"}, 422, "temperature: "),
        ({"seed": -1}, 422, "seed: "),
        ({"method": "guess"}, 422, "method: "),
        ({"prefix": "a " * 300}, 422, "prefix: "),
        ({"preview": "perhaps"}, 422, "preview: "),
        ({"beam_size": 2, "n_best": 3}, 400, "n_best 3 is over beam_size 2"),
        ({"prefix": "a dog runs", "max_length": 3}, 400, "the prefix has 3 words"),
        ({"prefix": "a " * 30, "method": "sample"}, 400, "the prefix has 30 words"),
    ],
)
def test_values_that_mean_nothing_are_refused(
    values: dict[str, Any], status: int, message: str, client: TestClient, photo: Path
) -> None:
    assert refused(post(client, photo, **values), status).startswith(message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nbest", "unknown field 'nbest'; did you mean n_best?"),
        ("beam-size", "unknown field 'beam-size'; did you mean beam_size?"),
        ("z" * 999, f"unknown field '{'z' * 40}'; known: image, "),
        ("colour", "unknown field 'colour'; known: image, method, beam_size, n_best, max_length, "),
    ],
)
def test_a_field_that_is_unknown_is_refused(
    name: str, message: str, client: TestClient, photo: Path
) -> None:
    error = refused(post(client, photo, **{name: 2}), 422)
    assert error.startswith(message)
    assert len(error) < 200
    files = {"image": ("a.png", photo.read_bytes()), "mask": ("b.png", b"x")}
    assert refused(client.post(URL, files=files), 422).startswith("unknown field 'mask'; ")


def test_one_photo_and_one_value_a_field_are_taken(client: TestClient, photo: Path) -> None:
    image = ("image", ("a.png", photo.read_bytes()))
    answer = client.post(URL, files=[image, image])
    assert refused(answer, 422) == "image: 2 photos; send one at a time"
    answer = client.post(URL, files=[image], data={"beam_size": ["2", "3"]})
    assert refused(answer, 422) == "beam_size: 2 values; send one"


def test_a_request_without_a_photo_is_told_how(client: TestClient) -> None:
    for answer in (
        client.post(URL),
        client.post(URL, data={"image": "text"}),
        client.post(URL, json={"image": "photo.jpg"}),
        client.post(URL, files={"photo": ("a.png", b"x")}),
    ):
        assert "file field image" in refused(answer, 422)
    broken = {"content-type": "multipart/form-data"}
    assert refused(client.post(URL, content=b"x", headers=broken), 400)


def test_names_come_back_harmless(client: TestClient) -> None:
    for name, wanted in (("../../etc/passwd", "passwd"), ("C:\\a\\b.png", "b.png")):
        assert refused(post(client, b"x", name), 400).startswith(f"{wanted}: not an image")
    assert len(refused(post(client, b"x", "n" * 500), 400)) < 250


def test_other_addresses_are_refused_in_json(client: TestClient) -> None:
    assert refused(client.get("/nowhere"), 404) == "Not Found"
    assert refused(client.get(URL), 405) == "Method Not Allowed"
    refused(client.get("/docs"), 404)  # FastAPI's own page loads its code from elsewhere


def test_a_mistake_of_ours_is_said_without_its_insides(
    untrained: Captioner, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    app = create_app(untrained)
    monkeypatch.setattr(Captioner, "caption", broken)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert "secret" not in refused(post(client, photo), 500)


# Who may ask -----------------------------------------------------------------------------------


def test_only_its_own_name_and_pages_are_answered(client: TestClient, photo: Path) -> None:
    for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        assert client.get("/", headers={"host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::"):
        refused(client.get("/", headers={"host": host}), 403)
    upload = {"image": ("a.png", photo.read_bytes())}
    own = {"origin": "http://localhost:8000", "host": "localhost:8000"}
    assert client.post(URL, files=upload, headers=own).status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:9000"):
        error = refused(client.post(URL, files=upload, headers=own | {"origin": origin}), 403)
        assert error.startswith("pages of other sites may not use this server; behind a proxy, ")
        assert "--allowed-origin" in error


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "photos.example"])
def test_behind_a_proxy(untrained: Captioner, photo: Path, host: str) -> None:
    """It passes on its own name for the server, or the name that it was asked for."""
    origin = "https://photos.example"
    upload = {"image": ("a.png", photo.read_bytes())}
    with TestClient(create_app(untrained, hosts=LOOPBACK, origins=(origin,))) as client:
        answer = client.post(URL, files=upload, headers={"host": host, "origin": origin})
        assert answer.status_code == 200, answer.text
        for other in ("https://photos.example:8443", "http://photos.example.evil.example", "null"):
            refused(client.post(URL, files=upload, headers={"host": host, "origin": other}), 403)
        refused(client.get("/", headers={"host": "evil.example"}), 403)


def test_a_public_server_answers_to_any_name(untrained: Captioner) -> None:
    with TestClient(create_app(untrained)) as client:
        assert client.get("/", headers={"host": "photos.example"}).status_code == 200


def test_every_answer_carries_its_precautions(client: TestClient) -> None:
    for answer in (client.get("/"), client.get("/nowhere"), client.get("/", headers={"host": "x"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
    assert client.head("/").status_code == 200


def test_the_api_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    operation = described["paths"][URL]["post"]
    assert {"200", "400", "413", "422", "503", "504"} <= set(operation["responses"])
    form = next(
        values["properties"]
        for name, values in described["components"]["schemas"].items()
        if name.startswith("Body_")
    )
    page = client.get("/").text
    assert set(form) == {"image", "token", *(field.name for field in dataclasses.fields(Options))}
    for field in form:
        assert f"<code>{field}</code>" in page, f"the page's API section leaves {field} out"
