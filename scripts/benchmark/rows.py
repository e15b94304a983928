"""The rows of benchmark.py: each checks that both sides compute the same, then times them."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import Rates, Row, Spread, alternate, peak_megabytes, row, run
from usual import UsualDecoder, translate

from showattend.decoding.beam import search
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.fast import compile_step, fast_twin
from showattend.model.search_options import SearchOptions
from showattend.system.device import keep_freed_memory
from showattend.text.vocabulary import Vocabulary
from showattend.training.losses import captioning_loss
from showattend.training.optimizer import build_optimizer

PHOTO = "assets/photos/astronaut.jpg"


@dataclass(frozen=True)
class Sizes:
    """The sizes of the computation; the bars are for the defaults."""

    images: int = 16
    captions: int = 5
    words: int = 15
    locations: int = 196
    feature: int = 2048
    hidden: int = 512
    vocabulary: int = 9490
    searched: int = 64
    beams: int = 5
    longest: int = 20

    def decoder(self, *, plain: bool = False) -> LSTMDecoder:
        """A decoder with A = E = M and always the same weights, in fast or in plain code."""
        torch.manual_seed(0)
        kind = LSTMDecoder if plain else fast_twin(LSTMDecoder, {"kind": "additive"})
        return kind(
            vocabulary_size=self.vocabulary,
            feature_dim=self.feature,
            embedding_dim=self.hidden,
            hidden_dim=self.hidden,
            attention_dim=self.hidden,
            dropout=0.0,
        )

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features, captions and lengths for a training step."""
        generator = torch.Generator().manual_seed(1)
        B, K, T = self.images, self.captions, self.words
        features = torch.rand(B, self.locations, self.feature, generator=generator)
        captions = torch.full((B, K, T + 2), Vocabulary.END)
        captions[:, :, 0] = Vocabulary.START
        drawn = torch.randint(4, self.vocabulary, (B, K, T), generator=generator)
        captions[:, :, 1 : T + 1] = drawn
        return features, captions, torch.full((B, K), T + 1)

    def token_operations(self) -> float:
        """Operations per token of all products except the keys, forward: 2 per weight used."""
        M, D, V = self.hidden, self.feature, self.vocabulary
        recurrence = (M + 1 + 4 * M) * M + 4 * M * D
        output = 4 * M * M + M * M + D * M + V * M
        return 2.0 * (recurrence + output + self.locations * D + self.locations * M)

    def key_operations(self, images: int) -> float:
        """Operations of the product for the keys."""
        return 2.0 * images * self.locations * self.feature * self.hidden

    def training_operations(self) -> float:
        """Operations of a training step: forward, and twice as many backward, none for features."""
        tokens = self.images * self.captions * (self.words + 1)
        return 3 * tokens * self.token_operations() + 2 * self.key_operations(self.images)

    def elementwise(self, tokens: float, *, training: bool) -> float:
        """Operations on single numbers that the equations require for so many tokens.

        Scores, for each location and each of A: the sum in tanh, and tanh as a sum and a quotient,
        its cheapest form; the products with v are counted with the others. Their gradients: tanh
        again, its derivative, its product, and the sums over locations and over captions. Softmax
        over the vocabulary: a difference, an exponential, a sum and a quotient; backward one more.
        The rest is a hundredth of these.
        """
        scores, softmax = (3 + 6, 4 + 1) if training else (3, 4)
        return tokens * (scores * self.locations * self.hidden + softmax * self.vocabulary)


QUICK = Sizes(
    images=2, captions=2, words=3, locations=9, feature=16, hidden=8, vocabulary=40,
    searched=3, beams=2, longest=5,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Settings of the measurement."""

    rates: Rates
    repeats: int = 5
    quick: bool = False
    folder: Path = Path(tempfile.gettempdir())

    @property
    def sizes(self) -> Sizes:
        """The sizes of the computation."""
        return QUICK if self.quick else Sizes()


# Training ------------------------------------------------------------------------------------


def our_step(decoder: LSTMDecoder, batch: tuple[torch.Tensor, ...]) -> Callable[[], float]:
    """Our training step: loss, gradients, update."""
    features, captions, lengths = batch
    optimizer = build_optimizer(decoder, [], weight_decay=0.0)

    def step() -> float:
        loss = captioning_loss(decoder(features, captions, lengths), lengths).total
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def in_plain_code(work: Callable[[], Any]) -> Callable[[], Any]:
    """The same work with SHOWATTEND_PLAIN set, for the parts that are chosen when they run."""

    def run_plain() -> Any:
        before = os.environ.get("SHOWATTEND_PLAIN")
        os.environ["SHOWATTEND_PLAIN"] = "1"
        try:
            return work()
        finally:
            if before is None:
                del os.environ["SHOWATTEND_PLAIN"]
            else:
                os.environ["SHOWATTEND_PLAIN"] = before

    return run_plain


def usual_step(
    usual: UsualDecoder, batch: tuple[torch.Tensor, ...], *, low: bool = False
) -> Callable[[], float]:
    """The training step of the usual implementation, which takes repeated features.

    Args:
        usual: The decoder, with float32 weights.
        batch: Features, captions and lengths.
        low: Whether to compute in bf16 as is usual, under autocast.
    """
    features, captions, lengths = batch
    repeated = features.repeat_interleave(captions.shape[1], 0)
    words, counts = captions.flatten(0, 1), lengths.flatten()
    optimizer = torch.optim.Adam(usual.parameters(), fused=True)

    def step() -> float:
        with torch.autocast(repeated.device.type, torch.bfloat16, enabled=low):
            loss = usual(repeated, words, counts)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def check_training(decoder: LSTMDecoder, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
    """Compare loss and gradients of both in fp32.

    Returns:
        The relative difference of the losses, and the largest difference of the gradients, each
        relative to the largest gradient of the same weight.

    Raises:
        AssertionError: They differ by more than rounding.
    """
    features, captions, lengths = batch
    usual = UsualDecoder.like(decoder)
    ours = captioning_loss(decoder(features, captions, lengths), lengths).total
    theirs = usual(
        features.repeat_interleave(captions.shape[1], 0), captions.flatten(0, 1), lengths.flatten()
    )
    names, parameters = zip(*decoder.named_parameters(), strict=True)
    found = translate(dict(zip(names, torch.autograd.grad(ours, parameters), strict=True)))
    found.pop(
        "decode_step.bias_hh"
    )  # the second bias of PyTorch's LSTM cell, which ours does not have
    wanted_names = [name for name, _ in usual.named_parameters() if name in found]
    wanted = torch.autograd.grad(theirs, [usual.get_parameter(name) for name in wanted_names])
    gradients = max(
        float((found[name] - each).abs().max() / each.abs().max().clamp(min=1e-12))
        for name, each in zip(wanted_names, wanted, strict=True)
    )
    loss = float((ours - theirs).abs().detach() / theirs.detach())
    assert loss < 1e-5, f"the losses differ: {loss}"
    assert gradients < 1e-3, f"the gradients differ: {gradients}"
    return {"loss": loss, "gradients": gradients}


def training(setting: Setting) -> list[Row]:
    """Measure a training step: loss, gradients, Adam."""
    sizes = setting.sizes
    decoder, batch = sizes.decoder().train(), sizes.batch()
    checked = check_training(decoder, batch)
    keep_freed_memory()  # as in a training run; it applies to both sides
    low = (batch[0].bfloat16(), *batch[1:])
    contenders = {
        "usual": usual_step(UsualDecoder.like(decoder), batch),
        "usual bf16": usual_step(UsualDecoder.like(decoder), low, low=True),
        "fp32": our_step(decoder, batch),
        "bf16": our_step(sizes.decoder().train(), low),
        "plain": in_plain_code(our_step(sizes.decoder(plain=True).train(), batch)),
    }
    compiled = sizes.decoder().train()
    trouble = None if not setting.quick else "not in a quick run"
    trouble = trouble or compile_step(compiled, torch.bfloat16)
    if trouble is None:
        contenders["compiled"] = our_step(compiled, low)
    seconds = alternate(contenders, setting.repeats)
    operations = sizes.training_operations()
    moved = 3.0 * sum(p.numel() * p.element_size() for p in decoder.parameters())
    tokens = sizes.images * sizes.captions * (sizes.words + 1)
    single = sizes.elementwise(tokens, training=True)
    floors = [setting.rates.floor(operations, moved, low, single) for low in (False, True)]
    note = f"losses equal to {checked['loss']:.0e}, gradients to {checked['gradients']:.0e}"
    made = [
        row("training step, fp32", seconds, "fp32", floor=floors[0], note=note),
        row("training step, bf16 against fp32", seconds, "bf16", floor=floors[1]),
        row("training step, bf16 against usual bf16", seconds, "bf16", "usual bf16"),
        row("training step, fp32, against our plain code", seconds, "fp32", "plain"),
    ]
    if trouble is None:
        name = "training step, bf16 and torch.compile against fp32"
        made.append(row(name, seconds, "compiled", floor=floors[1]))
        name = "training step, bf16 and torch.compile against usual bf16"
        made.append(row(name, seconds, "compiled", "usual bf16"))
    return made


# Search --------------------------------------------------------------------------------------


def speaking(sizes: Sizes) -> tuple[LSTMDecoder, torch.Tensor]:
    """A decoder whose captions vary and end, and features of the images to search."""
    decoder = sizes.decoder().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if weight.ndim > 1:
                weight.mul_(3)
            elif name == "attention.v":
                weight.mul_(5)
        decoder.L_o.bias[Vocabulary.END] += 4 if sizes.vocabulary > 1000 else 1
    shape = (sizes.searched, sizes.locations, sizes.feature)
    return decoder, torch.randn(shape, generator=generator).relu()


def searching(setting: Setting) -> list[Row]:
    """Measure beam search on given features."""
    keep_freed_memory()  # as in the commands; it applies to both sides
    sizes = setting.sizes
    decoder, features = speaking(sizes)
    rough, low = sizes.decoder().bfloat16().eval(), features.bfloat16()
    plain = sizes.decoder(plain=True).eval()
    for twin in (rough, plain):
        twin.load_state_dict(decoder.state_dict())
    options = SearchOptions(beam_size=sizes.beams, max_length=sizes.longest)
    found: dict[str, list[list[int]]] = {}

    def theirs(name: str, usual: UsualDecoder, features: torch.Tensor) -> None:
        limits: dict[str, Any] = {"beam_size": sizes.beams, "max_length": sizes.longest}
        found[name] = [usual.search(each, **limits) for each in features]

    def ours(name: str, decoder: LSTMDecoder, features: torch.Tensor, at_once: int) -> None:
        batches = features.split(at_once)
        results = [each for batch in batches for each in search(decoder, batch, options)]
        found[name] = [each[0].words for each in results]

    every = sizes.searched
    contenders: dict[str, Callable[[], None]] = {
        "usual": partial(theirs, "usual", UsualDecoder.like(decoder), features),
        "usual bf16": partial(theirs, "usual bf16", UsualDecoder.like(rough), low),
        "fp32": partial(ours, "fp32", decoder, features, every),
        "bf16": partial(ours, "bf16", rough, low, every),
        "fp32 singly": partial(ours, "fp32 singly", decoder, features, 1),
        "bf16 singly": partial(ours, "bf16 singly", rough, low, 1),
        "plain": in_plain_code(partial(ours, "plain", plain, features, every)),
    }
    warm = 0 if setting.repeats > 1 and not setting.quick else 1
    seconds = alternate(contenders, setting.repeats, warm=warm)

    def same(name: str, other: str = "usual") -> int:
        return sum(a == b for a, b in zip(found[name], found[other], strict=True))

    lengths = [len(words) for words in found["fp32"]]
    steps = sum(min(length + 1, sizes.longest) for length in lengths)
    operations = sizes.key_operations(sizes.searched)
    operations += steps * sizes.beams * sizes.token_operations()
    single = sizes.elementwise(steps * sizes.beams, training=False)
    moved = float(features.numel() * features.element_size())
    made = []
    for name in ("fp32", "bf16"):
        title = name if name == "fp32" else "bf16 against fp32"
        note = f"{same(name)} of {every} captions identical"
        if name == "fp32":
            note += f", of {min(lengths)} to {max(lengths)} words"
        floor = setting.rates.floor(operations, moved, name == "bf16", single)
        made.append(row(f"search, {title}", seconds, name, floor=floor, note=note))
    for rest, mine, other in FAIRER_SEARCHES:
        note = f"{same(mine, other)} of {every} captions identical"
        made.append(row(f"search, {rest}", seconds, mine, other, note=note))
    note = f"{same('plain')} of {every} of the plain code's captions identical"
    made.append(row("search, fp32, against our plain code", seconds, "fp32", "plain", note=note))
    for name in ("fp32", "fp32 singly", "plain"):
        assert same(name) == every, f"{name}: only {same(name)} captions are identical"
    return made


FAIRER_SEARCHES = (
    ("bf16 against usual bf16", "bf16", "usual bf16"),
    ("fp32, one image at a time", "fp32 singly", "usual"),
    ("bf16, one image at a time, against usual bf16", "bf16 singly", "usual bf16"),
)
"""Rows in the opponent's precision, or with its batch of one: the name, ours, and theirs."""


# Start and memory ----------------------------------------------------------------------------


def cold_start(setting: Setting) -> list[Row]:
    """Measure whole commands, with their files in the page cache.

    Processor time (user and system, of the command and its children) is the second measure: it does
    not depend on other load.
    """
    spent: dict[str, list[float]] = {}

    def counted(name: str, *command: str) -> None:
        before = _processor_time()
        run(*command)
        spent.setdefault(name, []).append(_processor_time() - before)

    commands = {
        "help": ("showattend", "--help"),
        "usual": ("python", "-c", "import torch, torchvision"),
    }
    if not setting.quick:
        commands["ours"] = ("showattend", "caption", "--device", "cpu", PHOTO)
    rounds = 1 if setting.quick else max(7, setting.repeats)
    seconds = alternate(
        {name: partial(counted, name, *command) for name, command in commands.items()}, rounds
    )
    helped = Row("showattend --help", Spread.of(seconds["help"]), note="bar: 0.4 s at most")
    if setting.quick:
        return [helped]
    name = "showattend caption photo.jpg against import torch, torchvision"
    busy = {each: values[-rounds:] for each, values in spent.items()}
    return [
        row(name, seconds),
        row("showattend caption photo.jpg, processor time", busy),
        helped,
    ]


def _processor_time() -> float:
    """Seconds of processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory(setting: Setting) -> list[Row]:
    """Measure the peak memory of separate processes, minus that of the imports."""
    script = str(Path(__file__).with_name("benchmark.py"))
    quick = ["--quick"] if setting.quick else []

    def peak(what: str) -> Spread:
        return Spread.of([peak_megabytes(script, "--peak", what, *quick) - base])

    base = 0.0
    base = peak("nothing").median
    made = []
    for what in ("training", "search"):
        ours, usual = peak(f"{what} ours"), peak(f"{what} usual")
        ratio = Spread.of([usual.median / max(ours.median, 1e-9)])
        made.append(Row(f"peak memory, {what}, fp32", ours, usual, ratio, unit="MB"))
    return made


def peak_work(what: str, quick: bool) -> None:
    """The work that `memory` measures in a separate process."""
    sizes = QUICK if quick else Sizes()
    kind, _, side = what.partition(" ")
    if kind == "training":
        decoder, batch = sizes.decoder().train(), sizes.batch()
        if side == "ours":
            our_step(decoder, batch)()
        else:
            usual_step(UsualDecoder.like(decoder), batch)()
    elif kind == "search":
        speaker, features = speaking(sizes)
        options = SearchOptions(beam_size=sizes.beams, max_length=sizes.longest)
        if side == "ours":
            search(speaker, features, options)
        else:
            usual = UsualDecoder.like(speaker)
            usual.search(features[0], beam_size=sizes.beams, max_length=sizes.longest)
