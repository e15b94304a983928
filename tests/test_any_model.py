"""Captions from maps of other programs: in Python, from files, and docs/any-model.md."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend import Caption
from showattend.exceptions import ImageError, UserError
from showattend.visualize.page import photo_values
from showattend.visualize.raw import json_bytes, npz_bytes, read_maps
from tests.visualize.drawing import caption_of, plain

PAGE = (Path(__file__).parents[1] / "docs" / "any-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FORMS = (".png", ".svg", ".gif", ".html", ".npz", ".json")


def weights(*shape: int) -> np.ndarray:
    values = np.random.default_rng(0).random(shape) ** 4
    cells = tuple(range(-2 if len(shape) > 2 else -1, 0))
    return values / values.sum(cells, keepdims=True)


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(plain(320, 200)).save("photo.jpg")
    return Path("photo.jpg")


def test_every_shape_of_weights(photo: Path) -> None:
    maps = weights(2, 6, 9)
    caption = Caption.from_maps(photo, ["a", "dog"], maps)
    assert caption.text == "A dog."
    np.testing.assert_allclose(caption.attention, maps, atol=1e-6)
    assert caption.geometry.box == (0, 0, 320, 200)
    assert caption.parts is None
    flat = Caption.from_maps(photo, "a dog", maps.reshape(2, 54).tolist(), grid=(6, 9))
    np.testing.assert_array_equal(flat.attention, caption.attention)
    heads = weights(2, 3, 6, 9)
    kept = Caption.from_maps(photo, ["a", "dog"], torch.tensor(heads, dtype=torch.bfloat16) * 1)
    assert kept.part_names == ("head 1", "head 2", "head 3")
    assert kept.parts is not None
    np.testing.assert_allclose(kept.parts, heads, atol=3e-3)
    np.testing.assert_allclose(kept.attention.sum((1, 2)), 1, atol=1e-5)
    named = Caption.from_maps(
        photo, ["a", "dog"], heads.reshape(2, 3, 54), grid=(6, 9), part_names=("x", "y", "z")
    )
    assert named.part_names == ("x", "y", "z")
    np.testing.assert_allclose(named.attention, heads.mean(1), atol=1e-6)


def test_what_is_not_known_is_said_nowhere(photo: Path) -> None:
    caption = Caption.from_maps(photo, ["a", "dog"], weights(2, 6, 9))
    assert all(math.isnan(value) for value in caption.confidences)
    assert caption.unsure == (False, False)
    for suffix in FORMS:
        caption.save_overlay(f"made{suffix}")
    assert json.loads(Path("made.json").read_text())["log_probs"] == [None, None]
    values = photo_values([caption])["captions"][0]
    assert values["confidences"] == [None, None]
    assert "nan" not in Path("made.html").read_text().lower().partition('id="photos"')[2][:3000]
    from showattend.visualize.figure import draw_figure

    for layout in ("summary", "grid"):
        texts = " ".join(text.get_text() for text in draw_figure(caption, layout=layout).texts)
        assert "nan" not in texts
        assert "probability" not in texts
    known = Caption.from_maps(photo, ["a", "dog"], weights(2, 6, 9), log_probs=[-0.1, -0.7])
    assert known.confidences == pytest.approx((math.exp(-0.1), math.exp(-0.7)))


@pytest.mark.parametrize(
    ("attention", "more", "message"),
    [
        (weights(3, 6, 9), {}, "maps for 3 words, and there are 2 words"),
        (weights(2, 49), {}, "has the shape 2 x 49: say on which grid, such as grid=(7, 7)"),
        (weights(2, 54), {}, "such as grid=(H, W)"),
        (weights(2, 197), {"grid": (14, 14)}, "leave out the class token"),
        (weights(2, 50), {"grid": (6, 9)}, "with a grid of 6 x 9 it must be [T, 54]"),
        (weights(2, 1, 1, 6, 9), {}, "has the shape 2 x 1 x 1 x 6 x 9; it must be [T, H, W]"),
        (3 * weights(2, 6, 9), {}, "sums to 3, not to one"),
        (-weights(2, 6, 9), {}, "negative or not finite"),
        (np.full((2, 6, 9), np.nan), {}, "negative or not finite"),
        (np.zeros((2, 0, 9)), {}, "has the shape 2 x 0 x 9"),
        ("maps", {}, "attention: not an array of numbers"),
        (weights(2, 6, 9), {"log_probs": [-1.0]}, "log_probs: there must be 2 numbers"),
        (weights(2, 6, 9), {"betas": [[1.0]]}, "betas: there must be 2 numbers"),
        (weights(2, 6, 9), {"box": (5, 5, 1, 1)}, "box is (5.0, 5.0, 1.0, 1.0)"),
        (weights(2, 3, 6, 9), {"part_names": ["x"]}, "part_names: 1 names for 3 parts"),
    ],
)
def test_what_does_not_fit_is_refused(
    attention: Any, more: dict[str, Any], message: str, photo: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        Caption.from_maps(photo, ["a", "dog"], attention, **more)
    assert "\n" not in str(caught.value)


def test_words_and_photo_are_checked(photo: Path) -> None:
    for words in ([], [""], ["a b"], "  "):
        with pytest.raises(UserError, match="words: give one or more"):
            Caption.from_maps(photo, words, weights(1, 6, 9))
    with pytest.raises(ImageError, match="no such file"):
        Caption.from_maps("gone.jpg", ["a"], weights(1, 6, 9))


# --- files ----------------------------------------------------------------------------------------


def test_own_files_come_back(photo: Path) -> None:
    caption = Caption.from_maps(
        photo, ["a", "dog"], weights(2, 3, 6, 9), log_probs=[-0.5, -1.0], betas=[0.2, 0.3],
        box=(60, 0, 260, 200),
    )  # fmt: skip
    for suffix, make in ((".npz", npz_bytes), (".json", json_bytes)):
        path = Path(f"maps{suffix}")
        path.write_bytes(make(caption))
        back = read_maps(path, photo)
        assert (back.words, back.part_names) == (caption.words, caption.part_names)
        assert back.geometry == caption.geometry
        assert back.log_probs == pytest.approx(caption.log_probs)
        np.testing.assert_allclose(back.attention, caption.attention, atol=1e-6)
        np.testing.assert_allclose(back.parts, caption.parts, atol=1e-6)
        np.testing.assert_allclose(back.betas, caption.betas, atol=1e-6)
    own = caption_of(photo, [(1, 1), (2, 2)], "crop", words="a dog")
    Path("own.npz").write_bytes(npz_bytes(own))
    assert npz_bytes(read_maps("own.npz", photo))
    np.testing.assert_allclose(read_maps("own.npz", photo).attention, own.attention)


def test_other_programs_need_little(photo: Path) -> None:
    np.savez("maps.npz", words=np.array(["a", "dog"]), attention=weights(2, 54), grid=[6, 9])
    assert read_maps("maps.npz", photo).attention.shape == (2, 6, 9)
    Path("maps.json").write_text(
        json.dumps({"words": ["a", "dog"], "attention": weights(2, 6, 9).tolist()})
    )
    assert read_maps("maps.json", photo).words == ("a", "dog")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npz", None, "gone.npz: cannot be read (No such file or directory)"),
        ("maps.txt", b"x", "maps.txt: maps are read from .npz and .json files"),
        ("maps.npz", b"no archive", "maps.npz: not a .npz file, or damaged"),
        ("maps.json", b"{", "maps.json: not a .json file, or damaged"),
        ("maps.json", b"[1]", "JSON without keys"),
        ("maps.json", b'{"words": ["a"]}', "has no attention; docs/maps.md lists the keys"),
        ("maps.json", b'{"words": ["a"], "attention": [[1]], "grid": [1]}', "grid must be two"),
        ("maps.json", b'{"words": ["a"], "attention": [[[2]]]}', "word 1 sums to 2"),
        ("maps.json", b'{"words": ["a"], "attention": [[["x"]]]}', "not an array of numbers"),
    ],
)
def test_files_that_cannot_be_drawn(
    name: str, content: bytes | None, message: str, photo: Path
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_maps(name, photo)
    assert "\n" not in str(caught.value)


def test_pickled_files_are_not_opened(photo: Path) -> None:
    file = io.BytesIO()
    np.savez(file, words=np.array(["a"], dtype=object), attention=weights(1, 6, 9))
    Path("maps.npz").write_bytes(file.getvalue())
    with pytest.raises(UserError, match="damaged"):
        read_maps("maps.npz", photo)


# --- the documentation's examples -----------------------------------------------------------------


def test_the_decoder_of_the_page_draws(photo: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[0], "docs/any-model.md", "exec"), names)
    caption = names["caption"]
    assert caption.attention.shape == (5, 6, 9)
    np.testing.assert_allclose(caption.attention.reshape(5, 54), names["alphas"], atol=1e-6)
    assert caption.confidences == pytest.approx([math.exp(value) for value in names["logs"]])
    with Image.open("figure.png") as opened:
        assert opened.width <= 1600


def draw_generated(made: Any, tokens: list[str]) -> Caption:
    """The page's last block, with what generate returned."""
    names = {"made": made, "tokens": tokens}
    exec(compile(BLOCKS[2], "docs/any-model.md", "exec"), names)
    assert Path("figure.png").is_file()
    assert Path("page.html").is_file()
    return names["caption"]  # type: ignore[return-value]


def test_the_shapes_of_generate_draw(photo: Path) -> None:
    """Tensors of the shapes that generate returns: ViT at 224 pixels, two layers of three heads."""
    tokens = ["a", "Ġdog", "Ġfris", "bee", "<|endoftext|>"]
    torch.manual_seed(0)
    steps = tuple(tuple(torch.randn(1, 3, 1, 197).softmax(-1) for _ in range(2)) for _ in tokens)
    caption = draw_generated(SimpleNamespace(cross_attentions=steps), tokens)
    assert caption.words == ("a", "dog", "frisbee")
    last = torch.stack([step[-1][0, :, 0, 1:] for step in steps])
    last = last / last.sum(-1, keepdim=True)
    wanted = last[2:4].mean(0).view(3, 14, 14)
    np.testing.assert_allclose(caption.parts[2], wanted, atol=1e-6)


def test_a_tiny_model_of_transformers_draws(photo: Path) -> None:
    """The same, from generate itself; weights are random, nothing is downloaded."""
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    encoder = transformers.ViTConfig(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12
    )
    decoder = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=12, n_layer=1, n_head=2, bos_token_id=1,
        eos_token_id=2, pad_token_id=2, is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id = 1, 2
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = transformers.VisionEncoderDecoderModel(config).eval()
    made = model.generate(
        torch.zeros(1, 3, 224, 224), num_beams=1, max_new_tokens=5, min_new_tokens=5,
        output_attentions=True, return_dict_in_generate=True,
    )  # fmt: skip
    count = len(made.cross_attentions)
    tokens = [f"Ġ{int(number)}" for number in made.sequences[0, -count:]]
    assert len(draw_generated(made, tokens).words) == count
