"""The Transformer against its literal transcription, its cache, and what it must not do."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from showattend.decoding.beam import search
from showattend.decoding.forced import force
from showattend.exceptions import ConfigError
from showattend.model.decoders.protocol import Step, teacher_forcing
from showattend.model.decoders.transformer import TransformerDecoder
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary
from showattend.training.losses import captioning_loss
from tests.rounding import tolerance

from .literal_transformer import read

V, D, GRID, HEADS, LAYERS = 11, 6, (2, 3), 2, 2
START, END = Vocabulary.START, Vocabulary.END
# Two images; the second has one caption fewer.
CAPTIONS = [[[4, 5, 6, 7], [8, 4]], [[9, 10, 4, 5, 5, 6]]]


def make(seed: int = 3, std: float | None = None, **settings: float) -> TransformerDecoder:
    torch.manual_seed(seed)
    decoder = TransformerDecoder(
        vocabulary_size=V,
        feature_dim=D,
        **{
            "hidden_dim": 8, "layers": LAYERS, "heads": HEADS, "feedforward_dim": 10,
            "dropout": 0.0, "sublayer_dropout": 0.0, **settings,
        },
    ).double()  # fmt: skip
    if std is not None:  # far from uniform, so that beams and maps differ
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=std)
    return decoder


def speaking() -> TransformerDecoder:
    """One whose captions differ from image to image, and end."""
    decoder = make(seed=0, hidden_dim=16).eval()
    with torch.no_grad():
        for layer in decoder.layers:
            layer.cross_attention.W_O.weight.mul_(4)
            layer.attention.W_O.weight.mul_(4)
        decoder.L_o.weight.mul_(8)
    return decoder


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = torch.randn(2, *GRID, D, dtype=torch.float64, generator=torch.manual_seed(5))
    captions = torch.zeros(2, 2, 8, dtype=torch.long)
    lengths = torch.zeros(2, 2, dtype=torch.long)
    for b, each in enumerate(CAPTIONS):
        for k, words in enumerate(each):
            captions[b, k, : len(words) + 2] = torch.tensor([START, *words, END])
            lengths[b, k] = len(words) + 1
    return features, captions, lengths


def test_loss_and_gradients_agree_with_the_literal_transcription() -> None:
    decoder = make(std=0.4).train()
    features, captions, lengths = batch()
    features.requires_grad_(True)
    parameters = [*decoder.parameters(), features]
    p, losses = dict(decoder.named_parameters()), []
    for b, each in enumerate(CAPTIONS):
        for words in each:
            log_p, maps = read(p, HEADS, features[b], [START, *words], causal=True)
            said = sum(log_p[t][word] for t, word in enumerate([*words, END]))
            coverage = sum(each[-HEADS:].mean(0) for each in maps)
            losses.append(((1 - coverage) ** 2).sum() - said)
    expected = sum(losses) / len(losses)
    wanted = torch.autograd.grad(expected, parameters)
    loss = captioning_loss(decoder(features, captions, lengths), lengths).total
    found = torch.autograd.grad(loss, parameters)
    assert abs((loss - expected).item()) < 1e-9
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


def test_steps_agree_with_the_literal_transcription() -> None:
    decoder = make(std=0.4).eval()
    features, _, _ = batch()
    words = CAPTIONS[0][0]
    found = force(decoder, features[:1], words)
    p = {name: each.detach() for name, each in decoder.named_parameters()}
    log_p, maps = read(p, HEADS, features[0], [START, *words], causal=True)
    wanted = [log_p[t][word].item() for t, word in enumerate([*words, END])]
    assert found.log_probs == pytest.approx(wanted, abs=1e-9)
    assert found.parts is not None
    torch.testing.assert_close(found.parts.double(), torch.stack(maps[:-1]), rtol=0, atol=1e-7)
    torch.testing.assert_close(found.alpha, found.parts[:, -HEADS:].mean(1))
    assert len(decoder.part_names) == found.parts.shape[1] == LAYERS * HEADS
    assert decoder.part_names[2] == "layer 2, head 1"


def test_one_pass_is_step_by_step() -> None:
    decoder = make(std=0.4).eval()
    features, captions, lengths = batch()
    at_once = decoder(features, captions, lengths)
    stepwise = teacher_forcing(decoder, features, captions, lengths)

    def in_order(forced) -> torch.Tensor:  # type: ignore[no-untyped-def]
        log_probs = torch.log_softmax(forced.logits, -1)
        said = log_probs.gather(1, forced.targets.unsqueeze(1)).squeeze(1)
        return torch.zeros(4, dtype=torch.float64).index_add(0, forced.captions, said)

    torch.testing.assert_close(in_order(at_once), in_order(stepwise), rtol=0, atol=1e-12)
    torch.testing.assert_close(at_once.coverage, stepwise.coverage, rtol=0, atol=1e-12)


def test_the_future_does_not_leak() -> None:
    """The scores of a word depend on the words before it, not on those after, or on padding."""
    decoder = make(std=0.4).eval()
    features, captions, _ = batch()
    memory = decoder.memory(features)
    before = decoder.read(captions, memory, allowed=decoder.allowed(8)).hidden
    for t in range(1, 8):
        changed = captions.clone()
        changed[:, :, t] = 3
        after = decoder.read(changed, memory, allowed=decoder.allowed(8)).hidden
        torch.testing.assert_close(after[:, :, :t], before[:, :, :t], rtol=0, atol=0)
        assert not torch.allclose(after[:, :, t], before[:, :, t])


def test_padding_and_other_captions_change_nothing() -> None:
    decoder = make(std=0.4).eval()
    features, captions, lengths = batch()
    together = decoder(features, captions, lengths)
    alone = decoder(features[:1], captions[:1, 1:, :4], lengths[:1, 1:])
    rows = together.captions == 1
    torch.testing.assert_close(together.logits[rows], alone.logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.coverage[0, 1], alone.coverage[0, 0], rtol=0, atol=1e-12)
    torch.testing.assert_close(together.coverage.sum(-1), lengths.double())


class _Said(NamedTuple):
    said: torch.Tensor


class Recomputing:
    """The same decoder without a cache: it reads all words again in every step."""

    def __init__(self, decoder: TransformerDecoder) -> None:
        self.decoder, self.memory = decoder, decoder.memory

    def start(self, memory) -> _Said:  # type: ignore[no-untyped-def]
        return _Said(torch.zeros(memory.image_keys[0].shape[0], 1, 0, dtype=torch.long))

    def step(self, words, state, memory) -> Step:  # type: ignore[no-untyped-def]
        said = torch.cat([state.said, words.unsqueeze(2)], 2)
        seen = self.decoder.read(said, memory, allowed=self.decoder.allowed(said.shape[2]))
        log_probs = self.decoder.scores(seen.hidden[:, :, -1]).log_softmax(-1)
        maps = seen.image[:, :, -1]
        return Step(log_probs, _Said(said), self.decoder.alpha(maps), None, maps)


@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_search_with_the_cache_is_search_without(beam_size: int, dtype: torch.dtype) -> None:
    """Beams are re-ordered, images leave the batch, some captions are longer: nothing mixes."""
    decoder = speaking().to(dtype)
    features = torch.randn(9, *GRID, D, generator=torch.manual_seed(1)).to(dtype)
    options = SearchOptions(beam_size=beam_size, n_best=beam_size, max_length=20)
    found = search(decoder, features, options)
    wanted = search(Recomputing(decoder), features, options)  # type: ignore[arg-type]
    lengths = {len(each[0].words) for each in found}
    assert len(lengths) > 1, "one length only: no image leaves the batch before the others"
    assert len({tuple(each[0].words) for each in found}) > 3
    for mine, others in zip(found, wanted, strict=True):
        for one, other in zip(mine, others, strict=True):
            assert one.words == other.words
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
            torch.testing.assert_close(one.parts, other.parts, rtol=0, atol=1e-5)


def test_what_search_finds_scores_the_same_when_it_is_forced() -> None:
    decoder = speaking()
    features = torch.randn(4, *GRID, D, dtype=torch.float64, generator=torch.manual_seed(1))
    for row, found in enumerate(search(decoder, features, SearchOptions(beam_size=4, n_best=4))):
        for each in found:
            forced = force(decoder, features[row : row + 1], each.words)
            length = len(each.log_probs)
            assert forced.log_probs[:length] == pytest.approx(each.log_probs, abs=1e-5)
            torch.testing.assert_close(forced.parts, each.parts, rtol=0, atol=1e-6)


def test_it_reads_other_grids() -> None:
    decoder = make(std=0.4).eval()
    for grid in ((2, 3), (3, 3), (5, 4)):
        features = torch.randn(1, *grid, D, dtype=torch.float64)
        assert force(decoder, features, [4, 5]).alpha.shape == (2, grid[0] * grid[1])
    square = torch.randn(2, 3, 3, D, dtype=torch.float64)
    torch.testing.assert_close(
        decoder.memory(square).image_keys[0], decoder.memory(square.flatten(1, 2)).image_keys[0]
    )


class Shapes(TorchDispatchMode):
    """Notes the shapes of every tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.Size] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.seen.add(result.shape)
        return result


def test_nothing_of_the_image_is_copied_for_a_beam_or_a_caption() -> None:
    B, K, T, L, M = 2, 7, 3, 400, 16
    decoder = make(hidden_dim=M, layers=1).float().eval()
    features = torch.randn(B, 20, 20, D)
    captions = torch.randint(4, V, (B, K, T + 2))
    with Shapes() as training, torch.no_grad():
        decoder(features, captions, torch.full((B, K), T))
    with Shapes() as searching, torch.no_grad():
        search(decoder, features, SearchOptions(beam_size=K, max_length=T, min_length=T))
    most = max(B * L * M, B * K * T * HEADS * L)  # the keys, or the maps of all words
    assert most < B * K * L * M
    for shapes in (training, searching):
        assert max(shape.numel() for shape in shapes.seen) <= most


@pytest.mark.parametrize(
    "option", ["dropout", "embedding_dropout", "feature_dropout", "sublayer_dropout"]
)
def test_dropout_acts_in_training_only(option: str) -> None:
    decoder = make(**{option: 0.5})
    features, captions, lengths = batch()
    plain = make()(features, captions, lengths).logits
    torch.testing.assert_close(decoder.eval()(features, captions, lengths).logits, plain)
    assert not torch.allclose(decoder.train()(features, captions, lengths).logits, plain)


def test_bf16_is_close_to_the_reference() -> None:
    decoder = make(std=0.4).eval()
    features, _, _ = batch()
    words = CAPTIONS[0][0]

    def log_probs(model: torch.nn.Module) -> torch.Tensor:
        return torch.tensor(force(model, features[:1], words).log_probs)

    reference = log_probs(decoder)
    bound = tolerance(decoder, log_probs)
    assert bound < reference.std()  # else it would allow any
    rounded = force(decoder.float(), features[:1].bfloat16(), words)
    torch.testing.assert_close(torch.tensor(rounded.log_probs), reference, rtol=0, atol=bound)
    assert rounded.alpha.dtype == torch.float32


@pytest.mark.parametrize("values", [{"heads": 3}, {"hidden_dim": 6}])
def test_a_width_that_cannot_be_divided_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="multiple"):
        make(**values)
