"""The rows of benchmark.py that start from image files, and those of the evaluation."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from measuring import Row, alternate, row
from PIL import Image
from rows import Setting, Sizes
from torch.utils.flop_counter import FlopCounterMode
from usual import UsualDecoder

from showattend.config import TrainConfig
from showattend.data.cache import cache_features
from showattend.data.loader import CachedFeatures, CaptionLoader
from showattend.data.records import Record
from showattend.data.toy import make_scene
from showattend.data.views import View
from showattend.evaluation.scores import java
from showattend.evaluation.scores.metrics import score_captions
from showattend.images.preprocessing import Preprocessing
from showattend.model.backbones import parse_name
from showattend.model.build import build_encoder
from showattend.model.encoder import Encoder
from showattend.system.device import keep_freed_memory
from showattend.text.vocabulary import Vocabulary
from showattend.training.losses import captioning_loss
from showattend.training.optimizer import build_optimizer

BACKBONES = {"efficientnet_lite0": 64, "resnet101": 32}  # with the number of images per epoch


def write_photos(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> list[Record]:
    """Write JPEGs of the size and decoding cost of Flickr's, with five captions each."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, smooth.shape)
        path = folder / f"{number}.jpg"
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        captions = make_scene(random.Random(number), 128).captions
        records.append(Record(number, path, tuple(captions), "train"))
    return records


class UsualImages:
    """Decode, resize and encode as in the tutorials: whole images, channels first."""

    def __init__(self, encoder: Encoder, preprocessing: Preprocessing) -> None:
        self.body, self.size = encoder.body, preprocessing.size
        self.mean = torch.tensor(preprocessing.mean).view(3, 1, 1)
        self.std = torch.tensor(preprocessing.std).view(3, 1, 1)

    def load(self, path: Path) -> torch.Tensor:
        """One image [3, S, S]."""
        image = Image.open(path).convert("RGB").resize((self.size, self.size))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std

    @torch.no_grad()
    def encode(self, paths: list[Path]) -> torch.Tensor:
        """Annotations [N, L, D], in the usual batches of 32; larger batches take longer."""
        found = []
        for start in range(0, len(paths), 32):
            pixels = torch.stack([self.load(path) for path in paths[start : start + 32]])
            found.append(self.body(pixels).flatten(2).transpose(1, 2).contiguous())
        return torch.cat(found)


def backbone(name: str) -> tuple[Encoder, Preprocessing]:
    """A backbone with random weights, which cost the same."""
    torch.manual_seed(0)
    recipe = parse_name(name)
    encoder = build_encoder(name=name, pretrained=False)
    for key, weight in encoder.named_parameters():
        if key.endswith("bn3.weight"):  # ends a residual block of ResNet
            # Untrained blocks add up to more than float16 holds: the cache would begin again.
            weight.fill_(0.2)
    return encoder, Preprocessing(recipe.size, mean=recipe.mean, std=recipe.std)


def encoder_operations(encoder: Encoder, size: int) -> float:
    """Operations per image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, 3, size, size))
    return float(counter.get_total_flops())


def check_encoder(encoder: Encoder, preprocessing: Preprocessing, records: list[Record]) -> float:
    """Compare both on the same images.

    Returns:
        The relative difference.

    Raises:
        AssertionError: The difference is more than rounding.
    """
    usual = UsualImages(encoder, preprocessing)
    pixels = torch.stack([usual.load(record.path) for record in records[:2]])
    with torch.no_grad():
        ours, theirs = encoder(pixels), encoder.body(pixels).permute(0, 2, 3, 1)
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    assert difference < 1e-3, f"the encoders differ: {difference}"
    return difference


def extraction(setting: Setting) -> list[Row]:
    """Measure feature extraction for a folder of images."""
    made = []
    for name, count in BACKBONES.items():
        count = 2 if setting.quick else count
        encoder, preprocessing = backbone(name)
        records = write_photos(setting.folder / "photos", count)
        paths = [record.path for record in records]
        encoder.measure(preprocessing.size)
        difference = check_encoder(encoder, preprocessing, records)

        def ours(
            dtype: torch.dtype, e: Any = encoder, p: Any = preprocessing, ps: list[Path] = paths
        ) -> None:
            folder = setting.folder / "cache"
            shutil.rmtree(folder, ignore_errors=True)
            cache_features(folder, encoder=e, preprocessing=p, paths=ps, dtype=dtype)

        seconds = alternate(
            {
                "usual": partial(UsualImages(encoder, preprocessing).encode, paths),
                "fp32": partial(ours, torch.float32),
                "bf16": partial(ours, torch.bfloat16),
            },
            setting.repeats,
        )
        operations = count * encoder_operations(encoder, preprocessing.size)
        for kind in ("fp32", "bf16"):
            title = kind if kind == "fp32" else "bf16 against fp32"
            floor = setting.rates.floor(operations, 0.0, kind == "bf16")
            rate = count / sorted(seconds[kind])[len(seconds[kind]) // 2]
            note = f"{rate:.0f} images per second, into the cache"
            if kind == "fp32":
                note += f"; encoders equal to {difference:.0e}"
            made.append(row(f"extraction, {name}, {title}", seconds, kind, floor=floor, note=note))
        if setting.quick:
            break
    return made


def epochs(setting: Setting) -> list[Row]:
    """Measure an epoch of a small data set, from images and from the cache."""
    made = []
    keep_freed_memory()  # as in a training run; both apply to both sides
    torch.set_flush_denormal(True)
    for name, count in BACKBONES.items():
        count = 2 if setting.quick else count
        encoder, preprocessing = backbone(name)
        records = write_photos(setting.folder / "photos", count)
        paths = [record.path for record in records]
        texts = [text for record in records for text in record.captions]
        vocabulary = Vocabulary.from_captions(texts, min_count=1)
        rows, columns, dim = encoder.measure(preprocessing.size)
        sizes = Sizes(
            locations=rows * columns, feature=dim, vocabulary=len(vocabulary),
            hidden=16 if setting.quick else 512,
        )  # fmt: skip
        decoder = sizes.decoder().train()
        usual, images = UsualDecoder.like(decoder), UsualImages(encoder, preprocessing)
        adam = torch.optim.Adam(usual.parameters(), fused=True)
        optimizer = build_optimizer(decoder, [], weight_decay=0.0)
        folder = setting.folder / "cache"

        def loader(
            r: Any = records, v: Any = vocabulary, e: Any = encoder, p: Any = preprocessing,
            f: Path = folder, ps: list[Path] = paths,
        ) -> CaptionLoader:  # fmt: skip
            cache = cache_features(f, encoder=e, preprocessing=p, paths=ps)
            inputs = CachedFeatures({View(): cache}, {View(): range(len(r))})
            return CaptionLoader(r, inputs, v, batch_size=TrainConfig().batch_size)

        def epoch(
            batches: CaptionLoader, dtype: torch.dtype, d: Any = decoder, o: Any = optimizer
        ) -> None:
            for batch in batches.batches(0):
                forced = d(batch.inputs.to(dtype), batch.captions, batch.lengths)
                o.zero_grad(set_to_none=True)
                captioning_loss(forced, batch.lengths).total.backward()
                o.step()

        def first(f: Path = folder, make: Callable[[], Any] = loader, run: Any = epoch) -> None:
            shutil.rmtree(f, ignore_errors=True)
            run(make(), torch.float32)

        def theirs(
            batches: CaptionLoader, m: Any = images, u: Any = usual, a: Any = adam,
            ps: list[Path] = paths,
        ) -> None:  # fmt: skip
            for batch in batches.batches(0):  # for the captions
                K = batch.captions.shape[1]
                features = m.encode([ps[row] for row in batch.rows for _ in range(K)])
                loss = u(features, batch.captions.flatten(0, 1), batch.lengths.flatten())
                a.zero_grad(set_to_none=True)
                loss.backward()
                a.step()

        ready = loader()  # created once per run
        seconds = alternate(
            {
                "usual": partial(theirs, ready),
                "cached": partial(epoch, ready, torch.float32),
                "bf16": partial(epoch, ready, torch.bfloat16),
                "first": first,
            },
            max(1, setting.repeats // 2),
        )
        what = f"{count} images"
        made += [
            row(f"epoch from the cache, {name}, fp32", seconds, "cached", note=what),
            row(f"the same, {name}, bf16 against fp32", seconds, "bf16", note=what),
            row(f"first epoch, from images, {name}, fp32", seconds, "first", note=what),
        ]
        if setting.quick:
            break
    return made


# Evaluation ----------------------------------------------------------------------------------


@contextmanager
def counted_java() -> Iterator[list[str]]:
    """Record the Java programs that are started in this context."""
    started: list[str] = []
    real = subprocess.Popen.__init__

    def init(self: Any, args: Any, *rest: Any, **named: Any) -> None:
        words = [args] if isinstance(args, str) else [str(each) for each in args]
        if Path(words[0]).name == "java":
            started.append("METEOR" if any("meteor" in word for word in words) else "tokenizer")
        real(self, args, *rest, **named)

    with mock.patch.object(subprocess.Popen, "__init__", init):
        yield started


def usual_scores(references: dict[int, list[str]], candidates: dict[int, str]) -> dict[str, float]:
    """Score with pycocoevalcap as in its own example."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({i: [{"caption": x} for x in r] for i, r in references.items()})
    res = tokenizer.tokenize({i: [{"caption": x}] for i, x in candidates.items()})
    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    scores = {f"BLEU-{n}": float(score) for n, score in enumerate(bleu, 1)}
    meteor = Meteor()
    scores["METEOR"] = float(meteor.compute_score(gts, res)[0])
    meteor.meteor_p.kill()
    scores["ROUGE-L"] = float(Rouge().compute_score(gts, res)[0])
    scores["CIDEr"] = float(Cider().compute_score(gts, res)[0])
    return scores


def evaluation(setting: Setting) -> list[Row]:
    """Measure all metrics for 1,000 captions, then for another model with the same references."""
    count = 20 if setting.quick else 1000
    scenes = [make_scene(random.Random(number), 128) for number in range(3 * count)]
    references = {i: list(scenes[i].captions) for i in range(count)}
    # Two models with captions of other scenes: mostly texts that no reference has.
    candidates, others = (
        {i: scenes[start + i].captions[0] for i in range(count)} for start in (count, 2 * count)
    )
    path = f"{java.find_java().parent}{os.pathsep}{os.environ['PATH']}"
    found: dict[str, Any] = {}

    def first() -> None:
        java.forget()
        with counted_java() as started:
            found["ours"] = score_captions(references, candidates).metrics
        found["first"] = started

    def again() -> None:
        with counted_java() as started:
            score_captions(references, others)
        found["again"] = started

    def theirs() -> None:
        environment = mock.patch.dict(os.environ, {"PATH": path})
        with counted_java() as started, environment, redirect_stdout(StringIO()):
            found["usual"] = usual_scores(references, candidates)
        found["starts"] = started

    seconds = alternate(
        {"usual": theirs, "ours": first, "again": again},
        max(1, setting.repeats // 2), warm=0,
    )  # fmt: skip
    for name, value in found["usual"].items():
        assert abs(found["ours"][name] - value) < 1e-9, f"{name} differs"
    note = "Java starts: {} for {}"
    starts = [note.format(len(found[key]), len(found["starts"])) for key in ("first", "again")]
    return [
        row(f"evaluation of {count} captions", seconds, note=f"{starts[0]}; all scores identical"),
        row("another model's, with the same references", seconds, "again", note=starts[1]),
    ]
