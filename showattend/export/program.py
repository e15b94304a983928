#!/usr/bin/env python3
"""Caption photos with the model in this folder, and save the attention maps.

    python caption.py *.jpg --beam-size 3 --n-best 3
    python caption.py photo.jpg --maps maps.npz

It prints "path<TAB>caption" and needs only onnxruntime, numpy and pillow. It was written by
``showattend export``; captions and maps are the same as showattend's in float32. In Python, with
this folder on the path: ``from caption import Model; Model().caption("photo.jpg")[0].text``.

Shape suffixes: B images, K beams, T words, L cells of the H x W grid, V vocabulary, S side in
pixels.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from showattend.exceptions import UserError, one_line
from showattend.images.image_files import load_image
from showattend.images.turns import turn
from showattend.model.model_schema import EXPORT, RANGES, parse_json
from showattend.text.printable import is_word

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise onnxruntime reports to Microsoft
try:
    import numpy as np
    import onnxruntime
    from PIL import Image
except ImportError as absent:
    print(f"caption.py: {absent}; run: pip install onnxruntime numpy pillow", file=sys.stderr)
    sys.exit(2)

FORMAT, SETTINGS = "showattend onnx 1", "model.json"
PAD, START, END, UNK = range(4)  # the first entries of the vocabulary; all others are words
SEEN = ("alpha", "beta", "parts", "sentinel")  # outputs of a step that say where it looked
BANNED = -1e9  # lower than any sum of log-probabilities, and finite


class Photo(NamedTuple):
    """A photo converted to the network's input."""

    pixels: np.ndarray  # [S, S, 3] uint8
    size: tuple[int, int]  # width and height of the upright photo
    box: tuple[float, float, float, float]  # left, top, right, bottom of the area covered


class Caption(NamedTuple):
    """A caption, and where the model looked for each word."""

    words: list[str]  # T
    log_probs: list[float]  # T, and that of <end> unless max_length was reached
    attention: np.ndarray  # [T, H, W] float32, each map sums to one
    betas: np.ndarray | None  # [T], the gate: how much the image counted; None without a gate
    score: float  # the log-probability, normalised by length
    photo: Photo | None  # None if an array was captioned
    parts: np.ndarray | None = None  # [T, P, H, W], maps of heads, hops or levels, if any
    sentinel: np.ndarray | None = None  # [T], the sentinel's share, if it has one

    @property
    def text(self) -> str:
        """The caption as a sentence."""
        return sentence(self.words)

    @property
    def confidences(self) -> list[float]:
        """The model's probability of each word: its softmax over the whole vocabulary."""
        return np.exp(np.minimum(self.log_probs[: len(self.words)], 0)).tolist()


class Model:
    """An exported model.

    Args:
        folder: The folder; by default that of this file.
        threads: Number of onnxruntime threads; 0 lets it decide.

    Raises:
        UserError: A file is missing, damaged, or does not fit the others.
    """

    def __init__(self, folder: str | Path = Path(__file__).parent, threads: int = 0) -> None:
        settings = _settings(Path(folder))
        self.preprocessing: dict[str, Any] = settings["preprocessing"]
        self.vocabulary: list[str] = settings["vocabulary"]
        self.defaults: dict[str, Any] = settings["search"]
        self.grid: tuple[int, ...] = tuple(settings["grid"])
        self.part_names: tuple[str, ...] = tuple(settings.get("part_names", ()))
        self.encoder, self.initial, self.step = (
            _network(Path(folder) / f"{name}.onnx", threads)
            for name in ("encoder", "initial", "step")
        )
        self._check(Path(folder))
        # Outputs of the initial network: the memory of each image, then the state.
        self.remembered = len(self.initial.get_outputs()) - _state_size(self.step)
        # The outputs of a step that say where the model looked.
        outputs = [each.name for each in self.step.get_outputs()]
        self.seen = [name for name in SEEN if name in outputs]

    def _check(self, folder: Path) -> None:
        """Check that the files belong together and that the default options are valid.

        Raises:
            UserError: They do not, or an option is invalid.
        """
        try:
            self.options()
        except UserError as error:
            raise UserError(f"{folder / SETTINGS}: damaged ({error}); export again") from None
        size = self.preprocessing["size"]
        features, steps = self.encoder.get_outputs(), self.step.get_outputs()
        L = self.grid[0] * self.grid[1]
        wanted = {"alpha": [L], "parts": [len(self.part_names), L]}
        maps = [(each.shape[2:], wanted[each.name]) for each in steps if each.name in wanted]
        found = [
            ([each.name for each in self.encoder.get_inputs()], ["pixels"]),
            (self.encoder.get_inputs()[0].shape[1:], [size, size, 3]),
            ([each.name for each in self.initial.get_inputs()], ["features"]),
            (self.step.get_inputs()[0].name, "words"),
            (steps[0].name, "log_probs"),
            (steps[0].shape[2:], [len(self.vocabulary)]),
            (features[0].shape[1:3], list(self.grid)),
            *maps,
        ]
        if any(one != other for one, other in found):
            raise UserError(f"{folder}: its files are of different models; export again")

    def caption(self, path: str | Path, **options: Any) -> list[Caption]:
        """Caption an image file.

        Args:
            path: The file.
            **options: ``n_best``, and the options of "search" in model.json.

        Returns:
            The captions, best first.

        Raises:
            UserError: The file cannot be read, or an option has an invalid value.
        """
        chosen = self.options(**options)
        photo = load_photo(Path(path), **self.preprocessing)
        (found,) = search(self, photo.pixels[None], **chosen)
        return [each._replace(photo=photo) for each in found]

    def options(self, **options: Any) -> dict[str, Any]:
        """Complete the options of `search` with the model's defaults.

        Raises:
            UserError: An option has an invalid value.
        """
        chosen = {"n_best": 1} | self.defaults | options
        if unknown := chosen.keys() - RANGES.keys():
            raise UserError(f"{min(unknown)}: no such option; known: {', '.join(RANGES)}")
        for name, value in chosen.items():
            least, most, kind = RANGES[name]
            if isinstance(value, bool) or not isinstance(value, kind) or value != value:
                raise UserError(
                    f"{name} is {value!r}; it must be a {'whole ' * (kind is int)}number"
                )
            if not least <= value <= most:
                bound = f"{least} or more" if value < least else f"{most} or less"
                raise UserError(f"{name} is {value}; it must be {bound}")
        for low, high in (("n_best", "beam_size"), ("min_length", "max_length")):
            if chosen[low] > chosen[high]:
                raise UserError(f"{low} {chosen[low]} is over {high} {chosen[high]}")
        return chosen

    def begin(self, pixels_BSS3: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Compute the memory (axis B) and the initial state (axes B and K = 1).

        Args:
            pixels_BSS3: The images, uint8.
        """
        (features,) = self.encoder.run(None, {"pixels": pixels_BSS3})
        outputs = self.initial.run(None, {"features": features})
        return outputs[: self.remembered], outputs[self.remembered :]

    def advance(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Take a time step: words [B, K], state and memory in, and the results out.

        Returns:
            Log-probabilities [B, K, V], the outputs listed in `seen` [B, K, ...], the new state.
        """
        names = [each.name for each in self.step.get_inputs()]
        wanted = [each.name for each in self.step.get_outputs() if each.name.startswith("new_")]
        named = dict(zip(names, inputs, strict=True))
        found: list[np.ndarray] = self.step.run(["log_probs", *self.seen, *wanted], named)
        return found


def _state_size(step: onnxruntime.InferenceSession) -> int:
    """The number of tensors in the state, each of which has an output new_NAME."""
    return sum(each.name.startswith("new_") for each in step.get_outputs())


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = parse_json((folder / SETTINGS).read_text(encoding="utf-8"))
        if settings["format"] != FORMAT:
            raise ValueError(f"its format is {settings['format']!r}, not {FORMAT!r}")
        EXPORT(settings, "it")
        for word in settings["vocabulary"][UNK + 1 :]:
            if not is_word(word):
                raise ValueError(f"the vocabulary's word {word!r} is not a word")
        return settings
    except OSError:
        raise UserError(f"{folder}: no exported model, it has no {SETTINGS}") from None
    except (ValueError, KeyError, TypeError) as error:
        reason = one_line(error)
        raise UserError(f"{folder / SETTINGS}: damaged ({reason}); export again") from None


def _network(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # on some errors it prints there
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many exception classes
        reason = one_line(error)[:200]
        raise UserError(f"{path}: missing or damaged ({reason}); export again") from None


# The search ----------------------------------------------------------------------------------


def search(
    model: Model, pixels_BSS3: np.ndarray, *, beam_size: int, n_best: int, **limits: Any
) -> list[list[Caption]]:
    """Find the best captions of a batch of images, with their maps.

    All hypotheses of an image, ended or not, compete by log p / length ** length_penalty, where the
    length includes the end. An image leaves the batch when all its hypotheses have ended or have
    max_length words.

    Args:
        model: The networks.
        pixels_BSS3: The images, uint8.
        beam_size: The number of hypotheses K.
        n_best: The number of captions to return per image.
        **limits: max_length, min_length, length_penalty, block_ngrams; see `Model.options`.

    Returns:
        The captions of each image, best first.
    """
    memory, state = model.begin(pixels_BSS3)
    B, penalty = len(pixels_BSS3), limits["length_penalty"]
    images = np.arange(B)  # the image of each row
    words = np.full((B, 1), START)
    total, length = np.zeros((2, B, 1), np.float32)  # sum of log-probabilities; words and end
    done = np.zeros((B, 1), bool)
    # Words, log-probabilities and `seen` outputs of each hypothesis, [B, K, T, ...].
    story: list[np.ndarray] = []
    results: list[list[Caption]] = [[] for _ in range(B)]
    for t in range(limits["max_length"]):
        log_probs, *rest = model.advance(words, *state, *memory)
        looked, state = rest[: len(model.seen)], rest[len(model.seen) :]
        if not story:
            story = [np.zeros((B, 1, 0), kind) for kind in (np.int64, np.float32)]
            story += [np.zeros((B, 1, 0, *each.shape[2:]), np.float32) for each in looked]
        log_probs = _allowed(log_probs, story[0], limits["min_length"], limits["block_ngrams"])
        log_probs[done] = BANNED  # a finished hypothesis continues only as itself, at no cost
        log_probs[done, PAD] = 0
        length = np.where(done, length, length + 1)
        best = _top((total[..., None] + log_probs) / length[..., None] ** penalty, beam_size)
        row, (parent, words) = np.arange(len(best))[:, None], np.divmod(best, log_probs.shape[2])
        said = log_probs[row, parent, words]
        total, length = total[row, parent] + said, length[row, parent]
        done = done[row, parent] | (words == END)
        state = [part[row, parent] for part in state]
        news = (words, said, *(each[row, parent] for each in looked))
        story = [
            np.concatenate((old[row, parent], new[:, :, None]), 2)
            for old, new in zip(story, news, strict=True)
        ]
        over, scores = done.all(1) | (t + 1 == limits["max_length"]), total / length**penalty
        for i in over.nonzero()[0]:
            mine = [part[i] for part in story]
            results[images[i]] = _read(model, scores[i], mine, penalty)[:n_best]
        if over.all():
            break
        if over.any():
            images, words, total, length, done, *rest = (
                part[~over]
                for part in (images, words, total, length, done, *story, *state, *memory)
            )
            told, kept = len(story), len(story) + len(state)
            story, state, memory = rest[:told], rest[told:kept], rest[kept:]
    return results


def _allowed(log_probs_BKV: np.ndarray, said_BKT: np.ndarray, fewest: int, n: int) -> np.ndarray:
    """Ban special words, early ends and repeated n-grams; a broken model's NaN is a ban too."""
    allowed = np.nan_to_num(log_probs_BKV, nan=BANNED, neginf=BANNED, posinf=BANNED).clip(BANNED)
    allowed[:, :, [PAD, START, UNK]] = BANNED
    t = said_BKT.shape[2]
    if 0 < n <= t:
        grams = np.lib.stride_tricks.sliding_window_view(said_BKT, n, 2)
        # n-grams that begin with the last n - 1 words: ban their last word.
        b, k, i = (grams[..., :-1] == said_BKT[:, :, None, t - n + 1 :]).all(-1).nonzero()
        allowed[b, k, grams[b, k, i, -1]] = BANNED
    if t < fewest:
        allowed[:, :, END] = BANNED
    return allowed


def _top(scores_BKV: np.ndarray, count: int) -> np.ndarray:
    """The indices of each image's best scores within its K * V, best first."""
    flat = scores_BKV.reshape(len(scores_BKV), -1)
    count = min(count, flat.shape[1])
    some = np.argpartition(flat, -count, axis=1)[:, -count:]
    order = np.argsort(-np.take_along_axis(flat, some, 1), axis=1, kind="stable")
    return np.take_along_axis(some, order, 1)


def _read(
    model: Model, scores_K: np.ndarray, story: list[np.ndarray], penalty: float
) -> list[Caption]:
    """The captions of one image, best first; maps are uniform for a decoder without maps."""
    found = []
    for k in np.argsort(-scores_K, kind="stable"):
        words, log_probs, *looked = (part[k] for part in story)
        spoken, counted = (
            words > UNK,
            (words != PAD) | (log_probs != 0),
        )  # up to the end
        texts = [model.vocabulary[word] for word in words[spoken]]
        seen = {name: part[spoken] for name, part in zip(model.seen, looked, strict=True)}
        even = np.full((len(texts), *model.grid), 1 / np.prod(model.grid), np.float32)
        maps, parts = seen.get("alpha", even).reshape(even.shape), seen.get("parts")
        if parts is not None:
            parts = parts.reshape(*parts.shape[:2], *model.grid)
        costs, score = log_probs[counted].tolist(), float(scores_K[k])
        found.append(
            Caption(texts, costs, maps, seen.get("beta"), score, None, parts, seen.get("sentinel"))
        )
    # Drop hypotheses that consist of banned words, for example with more beams than words.
    whole = [each for each in found if min(each.log_probs) > BANNED / 2]
    cut = [] if whole else [_cut(each, penalty) for each in found]
    return whole or [max(cut, key=lambda each: (len(each.words), each.score))]


def _cut(found: Caption, penalty: float) -> Caption:
    """Truncate a caption where all further words are banned."""
    n = next(t for t, log_prob in enumerate(found.log_probs) if log_prob <= BANNED / 2)
    fields = ("words", "log_probs", "attention", "betas", "parts", "sentinel")
    kept = {name: getattr(found, name) for name in fields}
    kept = {name: None if each is None else each[:n] for name, each in kept.items()}
    return found._replace(score=sum(kept["log_probs"]) / max(n, 1) ** penalty, **kept)


def sentence(words: Sequence[str]) -> str:
    """Join tokens to a sentence: ``a man 's dog`` gives "A man's dog."."""
    text = ""
    for word in words:
        joined = word == "n't" or (word.startswith("'") and len(word) > 1)
        text += word if joined or not text else f" {word}"
    if not text:
        return ""
    text = re.sub(r"\bi\b(?=$|[ '])", "I", text)
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


# The photo -----------------------------------------------------------------------------------


def load_photo(
    path: Path, *, size: int, fit: str, fill: Sequence[int], interpolation: str
) -> Photo:
    """Open an image file, turn it upright, and fit it to the network's input.

    Args:
        path: The file. Its ICC profile is applied, transparency is composited over white, and of an
            animation the first frame is used.
        size: Side of the network's input, S.
        fit: "squash" the whole photo, "crop" the largest central square, or "pad" the photo.
        fill: Red, green and blue of the padding.
        interpolation: "bicubic" or "bilinear", antialiased.

    Raises:
        UserError: The file is missing, not an image, damaged, or too large.
    """
    stored = load_image(path, at_least=2 * size)
    on_its_side = stored.orientation >= 5
    width, height = stored.upright_size
    # In upright pixels: the part of the photo that is used, its new size, and its position.
    used_w, used_h, new_w, new_h = width, height, size, size
    if fit == "crop":
        used_w = used_h = min(width, height)
    elif fit == "pad":
        new_w = max(1, round(size * width / max(width, height)))
        new_h = max(1, round(size * height / max(width, height)))
    pad_x, pad_y = (size - new_w) // 2, (size - new_h) // 2
    scale_x, scale_y = used_w / new_w, used_h / new_h
    left, top = (width - used_w) / 2 - pad_x * scale_x, (height - used_h) / 2 - pad_y * scale_y

    share, to = (used_w / width, used_h / height), (new_w, new_h)
    if on_its_side:
        share, to = share[::-1], to[::-1]
    covered = stored.covered
    x, y = (side * (1 - part) / 2 for side, part in zip(covered, share, strict=True))
    middle = (x, y, covered[0] - x, covered[1] - y)
    image = stored.resized(to, Image.Resampling[interpolation.upper()], middle)
    canvas = Image.new("RGB", (size, size), (fill[0], fill[1], fill[2]))
    canvas.paste(turn(image, stored.orientation), (pad_x, pad_y))
    box = (left, top, left + size * scale_x, top + size * scale_y)
    return Photo(np.array(canvas), (width, height), box)


# The command line ----------------------------------------------------------------------------


def save_maps(file: Path, path: str, caption: Caption, part_names: Sequence[str] = ()) -> None:
    """Write a .npz with the main keys of ``showattend attend photo.jpg --output maps.npz``.

    Raises:
        UserError: The file cannot be written.
    """
    assert caption.photo is not None
    held = caption._asdict() | caption.photo._asdict() | {"image": path, "caption": caption.text}
    held["image_size"], held["words"] = held.pop("size"), np.array(caption.words, np.str_)
    held["log_probs"] = caption.log_probs[: len(caption.words)]
    held["confidences"] = caption.confidences
    if caption.parts is not None:
        held["part_names"] = np.array(part_names, np.str_)
    held = {key: value for key, value in held.items() if value is not None}
    del held["photo"], held["pixels"]
    aside = file.with_name(f".{file.name}.part")
    try:
        with aside.open("wb") as opened:
            np.savez(opened, **held)
        aside.replace(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({one_line(error)})") from None
    finally:
        aside.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 all done, 1 some photos failed, 2 nothing done."""
    parser = argparse.ArgumentParser("caption.py", argument_default=argparse.SUPPRESS)
    parser.add_argument("photos", nargs="+", help="image files")
    parser.add_argument("--beam-size", type=int, metavar="N", help="hypotheses; 1 is greedy")
    parser.add_argument("--n-best", type=int, metavar="N", help="captions per photo, best first")
    parser.add_argument("--maps", type=Path, metavar="FILE.npz", help="where it looked: one photo")
    given = vars(parser.parse_intermixed_args(arguments))
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")
    photos, maps, done = given.pop("photos"), given.pop("maps", None), 0
    try:
        if maps and (len(photos) > 1 or maps.suffix.lower() != ".npz"):
            raise UserError("--maps takes one photo, and a name that ends in .npz")
        model = Model()
        model.options(**given)
        for path in photos:
            try:
                captions = model.caption(path, **given)
                if maps:
                    save_maps(maps, path, captions[0], model.part_names)
                print("".join(f"{path}\t{each.text}\n" for each in captions), end="", flush=True)
                done += 1
            except UserError as error:
                print(f"caption.py: {error}", file=sys.stderr)
    except UserError as error:
        print(f"caption.py: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("caption.py: interrupted", file=sys.stderr)
        return 130
    return 0 if done == len(photos) else 1 if done else 2


if __name__ == "__main__":
    sys.exit(main())
