"""The server's page in Chromium, through a user's steps: from the drop to the overlay; steering."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is absent")
pytest.importorskip("python_multipart", reason="the extra serve is absent")
pytest.importorskip("uvicorn", reason="the extra serve is absent")
import uvicorn

from showattend.captioner import Captioner
from showattend.cli.serve_command import listen
from showattend.exceptions import UserError
from showattend.server import api as application
from showattend.server.api import create_app
from showattend.server.limits import LOOPBACK, Gate, Limits
from tests.browser import DESK, NARROW, PHONE, findings, fits, pixels_of

Visit = Callable[..., Any]


@contextmanager
def serving(captioner: Captioner) -> Iterator[str]:
    """A server in this process; its address."""
    app = create_app(captioner, Limits(megabytes=2), hosts=LOOPBACK)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with listen("127.0.0.1", 0) as socket:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(untrained: Captioner) -> Iterator[str]:
    """The address of a server in this process."""
    with serving(untrained) as address:
        yield address


# A drop or paste as the browser makes it, with a file or without.
SEND = """([kind, data, name]) => {
  const transfer = new DataTransfer();
  if (data === null) transfer.setData("text/plain", "a dog");
  else {
    const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  const options = { bubbles: true, cancelable: true };
  const target = document.getElementById("drop");
  if (kind === "paste")
    target.dispatchEvent(new ClipboardEvent(kind, { ...options, clipboardData: transfer }));
  else target.dispatchEvent(new DragEvent(kind, { ...options, dataTransfer: transfer }));
}"""


def send(tab: Any, kind: str, path: Path | None) -> None:
    data = None if path is None else base64.b64encode(path.read_bytes()).decode()
    tab.evaluate(SEND, [kind, data, "" if path is None else path.name])


def answered(tab: Any, act: Callable[[], Any]) -> dict[str, Any]:
    """What the server answers to an act, once the page shows it."""
    with tab.expect_response("**/api/caption") as waiting:
        act()
    values = waiting.value.json()
    tab.wait_for_selector("#viewer[aria-busy=false]", state="attached")
    return values


def words(tab: Any) -> list[str]:
    return [each.lower() for each in tab.locator(".word").all_text_contents()]


def test_from_the_drop_to_the_overlay(address: str, visit: Visit, photos: list[Path]) -> None:
    tab = visit(address)
    assert tab.locator("#viewer").is_hidden()
    send(tab, "dragenter", photos[0])
    assert "over" in tab.locator("#drop").get_attribute("class")
    answer = answered(tab, lambda: send(tab, "drop", photos[0]))
    assert "over" not in tab.locator("#drop").get_attribute("class").split()
    assert words(tab) == answer["captions"][0]["words"]
    assert tab.locator(".candidates li").count() == len(answer["captions"]) == 5
    photo = pixels_of(tab)
    assert photo.shape == (512, 512, 3)
    tab.locator(".word").nth(1).hover()
    tab.wait_for_selector(".word.shown")  # a mouse is heard of a little later
    first = pixels_of(tab)
    assert np.abs(first - photo).mean() > 5
    tab.locator(".word").nth(2).hover()
    tab.wait_for_function("() => document.querySelectorAll('.word')[2].matches('.shown')")
    assert tab.locator(".word.shown").count() == 1
    assert "Caption: " in tab.locator("#progress").text_content()


@pytest.mark.parametrize("way", ["choose", "paste", "phone"])
def test_other_ways_to_give_a_photo(
    way: str, address: str, visit: Visit, photos: list[Path]
) -> None:
    tab = visit(address, size=PHONE if way == "phone" else DESK)

    def give() -> None:
        if way == "paste":
            send(tab, "paste", photos[1])
            return
        with tab.expect_file_chooser() as chooser:  # a phone's camera is one to the browser
            name = "Use the camera" if way == "phone" else "Choose photos"
            tab.get_by_role("button", name=name).click()
        chooser.value.set_files(photos[1])

    answer = answered(tab, give)
    assert answer["name"] == photos[1].name or way == "paste"
    assert words(tab) == answer["captions"][0]["words"]
    width, height = answer["geometry"]["image_size"]
    assert pixels_of(tab).shape == (2 * height, 2 * width, 3)  # a small photo is shown larger
    assert fits(tab)


def test_a_photo_from_the_camera(address: str, visit: Visit) -> None:
    """Chromium's make-believe camera."""
    tab = visit(address, permissions=["camera"])
    tab.get_by_role("button", name="Use the camera").click()
    dialog = tab.get_by_role("dialog", name="Camera")
    dialog.wait_for()
    tab.wait_for_function("() => document.querySelector('video').videoWidth > 0")
    take = dialog.get_by_role("button", name="Take the photo")
    answer = answered(tab, take.click)
    assert answer["name"] == "camera.jpg"
    dialog.wait_for(state="hidden")
    tab.wait_for_function("() => document.querySelector('video').srcObject === null")
    assert pixels_of(tab).std() > 5
    tab.get_by_role("button", name="Use the camera").click()
    dialog.wait_for()
    dialog.get_by_role("button", name="Cancel").click()
    tab.wait_for_function("() => document.querySelector('video').srcObject === null")


def test_steering_by_mouse(address: str, visit: Visit, photos: list[Path]) -> None:
    tab = visit(address)
    first = answered(tab, lambda: send(tab, "drop", photos[0]))
    said = first["captions"][0]["words"]
    assert len(said) > 2
    # Reject a word: those before it stay, and it comes no more.
    tab.locator(".word").nth(1).click()
    reject = tab.get_by_role("button", name=f"Not “{said[1]}”", exact=True)
    answer = answered(tab, reject.click)
    assert answer["fixed"] == 1
    for each in answer["captions"]:
        assert each["words"][0] == said[0]
        assert said[1] not in each["words"][1:]
    assert words(tab) == answer["captions"][0]["words"]
    assert tab.locator("#prefix").input_value() == said[0]
    assert tab.locator(".word.fixed").count() == 1
    # The first new word is chosen, and its new map shown.
    assert tab.locator(".word.shown").all_text_contents() == [answer["captions"][0]["words"][1]]
    # Fix words of one's own, one of them unknown.
    tab.get_by_label("Begin with").fill("A zebra on")
    answer = answered(tab, tab.get_by_role("button", name="Continue from there").click)
    assert words(tab)[:3] == ["a", "zebra", "on"]
    assert said[1] not in words(tab)[3:]
    assert "does not know zebra" in tab.locator("#progress").text_content()
    # Allow the rejected word again, then start over.
    answered(tab, tab.get_by_role("button", name=f"Allow “{said[1]}” again").click)
    assert tab.locator("#rejected button").count() == 0
    answer = answered(tab, tab.get_by_role("button", name="Start over").click)
    assert [each["words"] for each in answer["captions"]] == [
        each["words"] for each in first["captions"]
    ]


def test_steering_by_keyboard(address: str, visit: Visit, photos: list[Path]) -> None:
    tab = visit(address)
    said = answered(tab, lambda: send(tab, "drop", photos[0]))["captions"][0]["words"]

    def tab_to(name: str) -> None:
        for _ in range(40):
            tab.keyboard.press("Tab")
            text = tab.evaluate("() => document.activeElement.textContent")
            if text.lower().startswith(name.lower()):
                return
        raise AssertionError(f"{name} is not reached")

    tab_to(said[0])
    tab.keyboard.press("ArrowRight")
    tab_to(f"Keep “{' '.join(said[:2])}”")
    answer = answered(tab, lambda: tab.keyboard.press("Enter"))
    assert answer["fixed"] == 2
    new = answer["captions"][0]["words"]
    assert new[:2] == said[:2]
    at = tab.evaluate("() => document.activeElement.textContent")
    assert at.lower() == new[min(2, len(new) - 1)]
    tab_to(f"Not “{at}”")
    answer = answered(tab, lambda: tab.keyboard.press("Enter"))
    assert at not in answer["captions"][0]["words"][2:]


def test_controls_reach_the_search(address: str, visit: Visit, photos: list[Path]) -> None:
    tab = visit(address)
    answered(tab, lambda: send(tab, "drop", photos[0]))
    tab.get_by_text("Search options").click()
    beams = tab.get_by_label("Beam size")
    answer = answered(tab, lambda: beams.fill("2"))
    assert len(answer["captions"]) == 2
    assert answer["preview"] is None  # the photo is here already
    assert tab.locator(".candidates li").count() == 2
    answer = answered(tab, tab.get_by_label("Sampling").check)
    assert answer["seed"] is not None
    assert beams.is_hidden()
    assert f"seed {answer['seed']}" in tab.locator("#progress").text_content()
    tab.get_by_label("Seed").fill("7")
    again = tab.get_by_role("button", name="Caption again")
    one, other = (answered(tab, again.click) for _ in range(2))
    assert one["seed"] == other["seed"] == 7
    assert one["captions"] == other["captions"]
    hot = tab.get_by_label("Temperature")
    answer = answered(tab, lambda: hot.fill("0.1"))
    assert len(answer["captions"]) <= len(one["captions"])
    answered(tab, tab.get_by_label("Beam search").check)
    assert beams.is_visible()


def test_mistakes_are_said_and_the_page_lives_on(
    address: str, visit: Visit, photos: list[Path], tmp_path: Path
) -> None:
    tab = visit(address)
    problem = tab.get_by_role("alert")
    send(tab, "drop", None)
    assert problem.text_content() == "That is not a file. Drop or paste a photo."
    text, large = tmp_path / "text.jpg", tmp_path / "large.jpg"
    text.write_text("no image")
    large.write_bytes(b"x" * 2_100_000)
    send(tab, "drop", large)  # not even sent
    assert problem.text_content() == "large.jpg: the file is larger than 2 MB."
    answered(tab, lambda: send(tab, "drop", text))
    assert problem.text_content().startswith("text.jpg: not an image")
    assert tab.locator("#progress").text_content() == ""
    answered(tab, lambda: send(tab, "drop", photos[0]))
    assert problem.is_hidden()
    assert words(tab)
    tab.get_by_label("Begin with").fill("a " * 40)
    answered(tab, tab.get_by_role("button", name="Continue from there").click)
    assert problem.text_content().startswith("the prefix has 40 words")
    tab.get_by_label("Begin with").press("Control+a")
    answered(tab, lambda: send(tab, "paste", photos[1]))
    assert problem.is_hidden()


def captioned(tab: Any, *names: str) -> None:
    """Wait until the photos of these names, and no others, have their captions."""
    tab.wait_for_function(
        """(count) => {
          const said = [...document.querySelectorAll("#cards .said")];
          return said.length === count && said.every((each) => /[.)]$/.test(each.textContent));
        }""",
        arg=len(names),
    )
    tab.wait_for_selector("#viewer[aria-busy=false]", state="attached")


def test_the_newest_photo_wins(address: str, visit: Visit, photos: list[Path]) -> None:
    tab = visit(address)
    for photo in photos[:3]:
        send(tab, "drop", photo)
    captioned(tab, *(photo.name for photo in photos[:3]))
    assert photos[2].name in tab.locator("#progress").text_content()
    start_over = tab.get_by_role("button", name="Start over")
    assert answered(tab, start_over.click)["name"] == photos[2].name


def test_a_photo_that_is_refused_leaves_the_other_to_be_steered(
    address: str, visit: Visit, photos: list[Path], tmp_path: Path
) -> None:
    tab = visit(address, refusal="status of 503")
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    busy = {"status": 503, "json": {"error": "too many photos at once"}}
    problem = tab.get_by_role("alert")
    said = answered(tab, lambda: send(tab, "drop", photos[0]))["captions"][0]["words"]

    answered(tab, lambda: send(tab, "drop", text))
    assert problem.text_content().startswith("text.jpg: not an image")
    steered(tab, said, photos[0].name)
    assert problem.is_hidden()
    answered(tab, lambda: send(tab, "drop", text))
    tab.get_by_text("Search options").click()
    again = tab.get_by_role("button", name="Caption again")
    assert answered(tab, again.click)["name"] == photos[0].name

    tab.route("**/api/caption", lambda route: route.fulfill(**busy), times=1)
    answered(tab, lambda: send(tab, "drop", photos[1]))
    assert problem.text_content() == busy["json"]["error"]
    assert tab.locator(".word").count() == 0
    tab.locator("#cards a").first.click()
    steered(tab, said, photos[0].name)
    assert problem.is_hidden()

    # A server that was busy can be asked again for the photo that it has not seen.
    tab.locator("#cards a").last.click()
    assert problem.text_content() == busy["json"]["error"]
    answer = answered(tab, again.click)
    assert (answer["name"], answer["fixed"]) == (photos[1].name, 0)
    steered(tab, answer["captions"][0]["words"], photos[1].name, at=0)


def test_a_value_that_is_refused_can_be_mended(
    address: str, visit: Visit, photos: list[Path]
) -> None:
    tab = visit(address)
    tab.get_by_text("Search options").click()
    tab.get_by_label("Sampling").check()
    tab.get_by_label("Seed").fill("-1")
    answered(tab, lambda: send(tab, "drop", photos[0]))
    assert tab.get_by_role("alert").text_content().startswith("seed: ")
    tab.get_by_label("Seed").fill("1")
    answer = answered(tab, tab.get_by_role("button", name="Caption again").click)
    assert (answer["name"], answer["seed"]) == (photos[0].name, 1)


def test_a_photo_that_is_waited_for_is_shown_without_words(
    address: str, visit: Visit, photos: list[Path]
) -> None:
    tab = visit(address)
    said = answered(tab, lambda: send(tab, "drop", photos[0]))["captions"][0]["words"]
    tab.route("**/api/caption", lambda _: None, times=1)  # no answer comes
    with tab.expect_request("**/api/caption"):
        send(tab, "drop", photos[1])
    tab.wait_for_selector("#viewer[aria-busy=true]")
    tab.wait_for_function("() => document.querySelector('canvas').width > 512")
    assert pixels_of(tab).std() > 5
    assert tab.locator(".word").count() == 0
    assert tab.locator("#steer").is_hidden()
    tab.locator("#cards a").first.click()
    tab.wait_for_selector(".word")
    steered(tab, said, photos[0].name)


# Several photos, reloads, tokens -----------------------------------------------------------------


def test_an_example_is_one_click_away(address: str, visit: Visit) -> None:
    tab = visit(address)
    example = tab.get_by_role("button", name="A cup of coffee with a spoon")
    example.locator("img").wait_for()
    assert tab.locator("#examples button").count() == 3
    answer = answered(tab, example.click)
    assert answer["name"] == "coffee.jpg"
    assert tab.locator("#examples").is_hidden()


def test_several_photos_make_a_gallery_that_survives(
    address: str, visit: Visit, photos: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    tab = visit(address)
    tab.set_input_files("#file", [photos[0], text, *photos[1:3]])
    names = [photos[0].name, *(photo.name for photo in photos[1:3])]
    captioned(tab, *names)
    assert "notes.txt: not an image" in tab.get_by_role("alert").text_content()
    first, second = (words_of_card(tab, k) for k in (0, 1))
    addresses = [each.get_attribute("href") for each in tab.locator("#cards a").all()]
    assert len(set(addresses)) == 3
    assert tab.url.endswith(addresses[0])
    assert words(tab) == first
    # To the next, back, and by its address after a reload; nothing is asked of the server.
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.method))
    tab.locator("#cards a").nth(1).click()
    tab.wait_for_selector("#cards a[aria-current] >> nth=0")
    tab.wait_for_function("(end) => location.hash === end", arg=addresses[1])
    tab.wait_for_selector(f"#progress:has-text('{names[1]}')")
    assert words(tab) == second
    tab.go_back()
    tab.wait_for_selector(f"#progress:has-text('{names[0]}')")
    assert words(tab) == first
    tab.get_by_label("The caption in your words").fill("My own words")
    tab.reload()
    tab.wait_for_selector(".word")
    assert words(tab) == first
    assert tab.locator("#cards a").count() == 3
    assert tab.get_by_label("The caption in your words").input_value() == "My own words"
    tab.go_back()  # to the first screen
    tab.locator("#viewer").wait_for(state="hidden")
    assert tab.locator("#invitation").is_visible()
    assert "POST" not in asked
    # Steering goes on where it was.
    tab.locator("#cards a").nth(0).click()
    tab.wait_for_selector(".word")
    steered(tab, first, names[0])
    tab.go_back()
    tab.get_by_role("button", name="Forget these photos").click()
    tab.reload()
    tab.wait_for_selector("body[data-ready]")
    assert tab.locator("#cards a").count() == 0


def words_of_card(tab: Any, number: int) -> list[str]:
    said = tab.locator("#cards .said").nth(number).text_content()
    return said.lower().rstrip(".").split()


def test_a_photo_is_sent_once_and_small(
    address: str, visit: Visit, tmp_path: Path, untrained: Captioner
) -> None:
    """Shrunk in the browser, upright; a rejected word sends none of it, unless it is forgotten."""
    large = tmp_path / "large.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (1200, 800, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    picture = Image.fromarray(noise).resize((1600, 2400), Image.Resampling.NEAREST)
    picture.save(large, quality=95, exif=exif)
    assert large.stat().st_size > 2_000_000, "more than the server takes"
    tab = visit(address)
    posts: list[Any] = []
    tab.on("request", lambda each: each.method == "POST" and posts.append(each))

    def sent() -> list[int]:
        lengths = [each.header_value("content-length") for each in posts]
        return [int(each) for each in lengths if each is not None]

    answer = answered(tab, lambda: tab.set_input_files("#file", large))
    assert answer["geometry"]["image_size"] == [1024, 683]
    assert pixels_of(tab).shape == (683, 1024, 3)
    assert 10_000 < sent()[0] < 1_000_000
    steered(tab, answer["captions"][0]["words"], "large.jpg", at=0)
    assert len(sent()) == 3
    assert max(sent()[1:]) < 2_000
    # The server forgets it: the page sends it again by itself.
    tab.route(
        "**/api/caption", lambda route: route.fulfill(status=410, json={"error": "gone"}), times=1
    )
    again = tab.get_by_role("button", name="Start over")
    with tab.expect_response(lambda each: each.url.endswith("caption") and each.ok) as waiting:
        again.click()
    assert waiting.value.json()["token"] != answer["token"]
    tab.wait_for_selector("#viewer[aria-busy=false]")
    assert tab.get_by_role("alert").is_hidden()


def test_the_caption_plays_itself_once(address: str, visit: Visit, photos: list[Path]) -> None:
    tab = visit(address, motion=True)
    tab.clock.install()
    said = answered(tab, lambda: send(tab, "drop", photos[0]))["captions"][0]["words"]
    tab.wait_for_selector(".telling .word.shown")
    assert tab.locator(".reading").get_attribute("aria-live") == "off"
    tab.clock.run_for(600 * (len(said) - 1))
    assert tab.locator(".word.said").count() == len(said)
    tab.clock.run_for(600)
    tab.wait_for_selector(".sentence:not(.telling)")
    assert tab.locator(".word.shown").count() == 0
    # A photo that is opened again stays still.
    answered(tab, tab.get_by_role("button", name="Start over").click)
    assert tab.locator(".telling").count() == 0


def test_reduced_motion_keeps_the_photo_still(
    address: str, visit: Visit, photos: list[Path]
) -> None:
    tab = visit(address)
    answered(tab, lambda: send(tab, "drop", photos[0]))
    tab.wait_for_selector(".word")
    assert tab.locator(".telling, .word.said").count() == 0


def test_a_caption_is_edited_and_saved(
    address: str, visit: Visit, photos: list[Path], tmp_path: Path
) -> None:
    tab = visit(address)
    answer = answered(tab, lambda: send(tab, "drop", photos[0]))
    field = tab.get_by_label("The caption in your words")
    assert field.input_value() == answer["captions"][0]["caption"]
    field.fill("A woman & a <flag>")

    def saved(button: str) -> tuple[str, bytes]:
        with tab.expect_download() as waiting:
            tab.get_by_role("button", name=button).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    assert saved("Save as text") == (f"{photos[0].stem}.txt", b"A woman & a <flag>\n")
    name, content = saved("Save as description")
    assert name == f"{photos[0].name}.xmp"
    described = ElementTree.fromstring(content.decode("utf-8-sig"))
    texts = [each.text for each in described.iter() if each.tag.endswith("}li")]
    assert texts == ["A woman & a <flag>"] * 2
    # The sentence's own maps, and files of what is shown.
    field.fill("a dog on the beach")
    submit = tab.get_by_role("button", name="Show where it looks")
    answer = answered(tab, submit.click)
    assert words(tab) == ["a", "dog", "on", "the", "beach"]
    assert [each["words"] for each in answer["captions"]] == [words(tab)]
    kinds = {"png": b"\x89PNG", "gif": b"GIF8", "html": b"<!DOCTYPE html>"}
    for button, (kind, head) in zip(
        ("Save figure", "Animation", "Page"), kinds.items(), strict=True
    ):
        name, content = saved(button)
        assert (name, content[: len(head)]) == (f"{photos[0].stem}.{kind}", head)
    assert "A dog on the beach." in content.decode()


def steered(tab: Any, said: list[str], name: str, at: int = 1) -> None:
    """Reject one of the words that are shown of the photo named, and start over."""
    tab.locator(".word").nth(at).click()
    reject = tab.get_by_role("button", name=f"Not “{said[at]}”", exact=True)
    answer = answered(tab, reject.click)
    assert (answer.get("error"), answer.get("name"), answer.get("fixed")) == (None, name, at)
    assert words(tab) == answer["captions"][0]["words"]
    assert said[at] not in words(tab)[at:]
    answer = answered(tab, tab.get_by_role("button", name="Start over").click)
    assert answer["name"] == name
    assert words(tab) == said


def test_a_slider_asks_when_it_has_come_to_rest(
    address: str, visit: Visit, photos: list[Path]
) -> None:
    tab = visit(address)
    answered(tab, lambda: send(tab, "drop", photos[0]))
    asked: list[Any] = []
    tab.on("request", lambda request: request.method == "POST" and asked.append(request))
    # As three presses of a key do; the keys themselves may come too slowly here.
    steps = """(input) => {
      for (const value of [4, 3, 2]) {
        input.value = value;
        input.dispatchEvent(new Event("input", { bubbles: true }));
        input.dispatchEvent(new Event("change", { bubbles: true }));
      }
    }"""
    beams = tab.locator("#beam_size")
    answer = answered(tab, lambda: beams.evaluate(steps))
    assert len(answer["captions"]) == 2
    # What is asked for at once has the slider's value, and the slider asks no more.
    tab.get_by_text("Search options").click()
    again = "() => document.getElementById('again').click()"
    answer = answered(tab, lambda: (beams.evaluate(steps), tab.evaluate(again)))
    assert len(answer["captions"]) == 2
    tab.wait_for_timeout(600)
    assert len(asked) == 2


def test_work_of_a_client_that_has_gone_is_not_begun(
    untrained: Captioner, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun, gates = threading.Event(), [], []

    def gate(limits: Limits) -> Gate:
        gates.append(Gate(limits))
        return gates[-1]

    def answer(_: Captioner, __: bytes, name: str, *___: Any) -> None:
        begun.append(name)
        go.wait(30)
        raise UserError("done")

    monkeypatch.setattr(application, "Gate", gate)
    monkeypatch.setattr(application, "answer", answer)

    def post(address: str, name: str) -> HTTPConnection:
        head = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
        client = HTTPConnection(urlsplit(address).netloc, timeout=30)
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        body = head.encode() + photo.read_bytes() + b"\r\n--b--\r\n"
        client.request("POST", "/api/caption", body, kind)
        return client

    def until(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not true():
            assert time.monotonic() < end, "it never came to that"
            time.sleep(0.01)

    with serving(untrained) as address:
        try:
            first = post(address, "first")
            until(lambda: begun == ["first"])
            second = post(address, "second")
            until(lambda: gates[0]._inside == 2)
            second.close()
            until(lambda: gates[0]._inside == 1)
            go.set()
            with closing(post(address, "third")) as third, closing(first):
                assert [each.getresponse().status for each in (first, third)] == [400, 400]
        finally:
            go.set()
    assert begun == ["first", "third"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESK, NARROW])
def test_axe_finds_nothing(
    size: tuple[int, int], dark: bool, address: str, visit: Visit, photos: list[Path]
) -> None:
    tab = visit(address, size=size, dark=dark)
    assert findings(tab) == []
    tab.get_by_text("Search options").click()
    tab.get_by_text("API", exact=True).click()
    answered(tab, lambda: send(tab, "drop", photos[0]))
    tab.locator(".word").nth(1).click()
    assert findings(tab) == []
    answered(tab, tab.locator(".doing button").last.click)
    assert tab.locator("#rejected button").is_visible()
    answered(tab, tab.get_by_label("Sampling").check)
    send(tab, "drop", None)
    assert tab.get_by_role("alert").is_visible()
    assert findings(tab) == []
    assert fits(tab)
