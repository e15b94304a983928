"""The decoder against the literal transcription, and what it must not do."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from showattend.decoding.beam import search
from showattend.decoding.forced import force
from showattend.exceptions import ConfigError
from showattend.model.decoders.decoder_options import ATTEND_WITH, GATES
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.decoders.protocol import sharpen
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary
from showattend.training.losses import captioning_loss
from tests.rounding import tolerance

from .literal import caption_loss

V, D, L = 11, 6, 5
START, END = Vocabulary.START, Vocabulary.END
# Two images; the second has one caption fewer.
CAPTIONS = [[[4, 5, 6, 7], [8, 4]], [[9, 10, 4, 5, 5, 6]]]


KINDS = {"plain": LSTMDecoder, "fast": FusedLSTMDecoder}


@pytest.fixture(autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it twice: the reference, and what takes its place for speed."""
    monkeypatch.setitem(KINDS, "now", KINDS[request.param])


def make(gate: str = "scalar", attend_with: str = "previous", **settings: float) -> LSTMDecoder:
    torch.manual_seed(3)
    decoder = KINDS["now"](
        vocabulary_size=V,
        feature_dim=D,
        embedding_dim=4,
        hidden_dim=3,
        attention_dim=7,
        gate=gate,
        attend_with=attend_with,
        **{"dropout": 0.0, **settings},  # type: ignore[arg-type]
    )
    return decoder.double()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = torch.randn(2, L, D, dtype=torch.float64, generator=torch.manual_seed(5))
    captions = torch.zeros(2, 2, 8, dtype=torch.long)
    lengths = torch.zeros(2, 2, dtype=torch.long)
    for b, each in enumerate(CAPTIONS):
        for k, words in enumerate(each):
            captions[b, k, : len(words) + 2] = torch.tensor([START, *words, END])
            lengths[b, k] = len(words) + 1
    return features, captions, lengths


def literal_loss(decoder: LSTMDecoder, features: torch.Tensor) -> torch.Tensor:
    losses = []
    for b, each in enumerate(CAPTIONS):
        for words in each:
            loss, _, maps = caption_loss(decoder, features[b], [START, *words, END])
            losses.append(loss + ((1 - maps.sum(0)) ** 2).sum())
    return sum(losses) / len(losses)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("attend_with", ATTEND_WITH)
@pytest.mark.parametrize("projection_dim", [0, 9])
def test_loss_and_gradients_agree_with_the_literal_transcription(
    gate: str, attend_with: str, projection_dim: int
) -> None:
    decoder = make(gate, attend_with, projection_dim=projection_dim).train()
    features, captions, lengths = batch()
    features.requires_grad_(True)
    parameters = [*decoder.parameters(), features]

    expected = literal_loss(decoder, features)
    expected_gradients = torch.autograd.grad(expected, parameters)
    forced = decoder(features, captions, lengths)
    loss = captioning_loss(forced, lengths, doubly_stochastic=1.0).total
    gradients = torch.autograd.grad(loss, parameters)

    assert abs((loss - expected).item()) < 1e-9
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("attend_with", ATTEND_WITH)
def test_steps_agree_with_the_literal_transcription(attend_with: str) -> None:
    decoder = make(attend_with=attend_with).eval()
    features, _, _ = batch()
    words = CAPTIONS[0][0]
    found = force(decoder, features[:1], words)
    _, log_p, maps = caption_loss(decoder, features[0], [START, *words, END])
    assert found.log_probs == pytest.approx(log_p.tolist(), abs=1e-9)
    # Maps are handed out in float32.
    torch.testing.assert_close(found.alpha.double(), maps[:-1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("attend_with", ATTEND_WITH)
def test_without_a_gate_there_is_no_beta(attend_with: str) -> None:
    decoder = make("none", attend_with).eval()
    features, _, _ = batch()
    (found,), *_ = search(decoder, features, SearchOptions(max_length=4))
    forced = force(decoder, features[:1], found.words)
    assert found.beta is None
    assert forced.beta is None
    torch.testing.assert_close(found.alpha, forced.alpha)
    assert force(make("vector", attend_with).eval(), features[:1], [4]).beta is not None


def test_coverage_is_each_captions_own_and_ignores_padding() -> None:
    decoder = make().eval()
    features, captions, lengths = batch()
    coverage = decoder(features, captions, lengths).coverage
    # Every map sums to one, so a caption's coverage sums to its number of targets.
    torch.testing.assert_close(coverage.sum(-1), lengths.double())
    alone = decoder(features[1:], captions[1:, :1], lengths[1:, :1]).coverage
    torch.testing.assert_close(coverage[1:, :1], alone)


def test_different_words_get_different_maps() -> None:
    """H must not cancel in the softmax (a known trap of the additive score)."""
    features, _, _ = batch()
    maps = force(make().eval(), features[:1], [4, 5, 6]).alpha
    assert (maps[0] - maps[1]).abs().max() > 1e-4


def test_deep_output_reads_the_context() -> None:
    decoder = make().eval()
    features, _, _ = batch()
    before = force(decoder, features[:1], [4]).log_probs[0]
    torch.nn.init.normal_(decoder.L_z.weight)
    assert force(decoder, features[:1], [4]).log_probs[0] != pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("option", ["dropout", "embedding_dropout", "feature_dropout"])
def test_dropout_acts_in_training_only(option: str) -> None:
    decoder = make(**{option: 0.5})
    features, captions, lengths = batch()
    plain = make()(features, captions, lengths).logits
    torch.testing.assert_close(decoder.eval()(features, captions, lengths).logits, plain)
    assert not torch.allclose(decoder.train()(features, captions, lengths).logits, plain)


@pytest.mark.parametrize("attend_with", ATTEND_WITH)
def test_bf16_is_close_to_the_reference(attend_with: str) -> None:
    decoder = make(attend_with=attend_with).eval()
    for parameter in decoder.parameters():  # far from uniform, so that a wrong map shows
        torch.nn.init.normal_(parameter)
    features, _, _ = batch()
    words = CAPTIONS[0][0]

    def maps(model: torch.nn.Module) -> torch.Tensor:
        return force(model, features[:1], words).alpha

    def log_probs(model: torch.nn.Module) -> torch.Tensor:
        return torch.tensor(force(model, features[:1], words).log_probs)

    reference = force(decoder, features[:1], words)
    bounds = tolerance(decoder, maps), tolerance(decoder, log_probs)
    spread = (reference.alpha - 1 / L).abs().max()
    assert spread > 0.2
    assert bounds[0] < spread / 2  # else it would allow any map
    rounded = force(decoder.float(), features[:1].bfloat16(), words)
    torch.testing.assert_close(rounded.alpha, reference.alpha, rtol=0, atol=bounds[0])
    assert rounded.log_probs == pytest.approx(reference.log_probs, abs=bounds[1])


@pytest.mark.parametrize("values", [{"gate": "both"}, {"attend_with": "next"}])
def test_unknown_options_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        make(**values)


class Recorder(TorchDispatchMode):
    """Counts multiplications by the features' or W_a's shape, and notes the largest tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.projections = 0
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in (
            torch.ops.aten.mm,
            torch.ops.aten.addmm,
            torch.ops.aten.bmm,
            torch.ops.aten.linear,
        ):
            shapes = [tuple(x.shape) for x in args if isinstance(x, torch.Tensor)]
            self.projections += any({D_BIG, A_BIG} == set(shape[-2:]) for shape in shapes)
        if isinstance(result, torch.Tensor):
            self.shapes.add(tuple(result.shape))
        return result


D_BIG, A_BIG, L_BIG = 24, 17, 9


@pytest.mark.parametrize("attend_with", ATTEND_WITH)
def test_features_are_projected_once_and_never_copied(attend_with: str) -> None:
    """Rule 1: no projection in the time loop, no copy of a feature map for a caption or a beam."""
    torch.manual_seed(0)
    B, K, T = 2, 3, 6
    decoder = KINDS["now"](
        vocabulary_size=V,
        feature_dim=D_BIG,
        embedding_dim=5,
        hidden_dim=8,
        attention_dim=A_BIG,
        attend_with=attend_with,
    ).eval()
    features = torch.randn(B, L_BIG, D_BIG)
    captions = torch.randint(4, V, (B, K, T + 2))
    with Recorder() as training, torch.no_grad():
        decoder(features, captions, torch.full((B, K), T))
    with Recorder() as searching, torch.no_grad():
        search(decoder, features, SearchOptions(beam_size=K, max_length=T, min_length=T))
    for recorder in (training, searching):
        assert recorder.projections == 1
        elements = B * K * L_BIG * D_BIG
        copies = [s for s in recorder.shapes if torch.Size(s).numel() >= elements]
        assert not copies, f"a tensor as large as one feature map per caption or beam: {copies}"


def test_sharpening_divides_the_scores_of_words() -> None:
    decoder = make().eval()
    features, captions, lengths = batch()
    before = decoder(features, captions, lengths).logits
    sharpen(decoder, 0.5)
    after = decoder(features, captions, lengths).logits
    torch.testing.assert_close(after.log_softmax(-1), (2 * before).log_softmax(-1))


def test_tokens_say_which_caption_they_are_of() -> None:
    features, captions, lengths = batch()
    forced = make().eval()(features, captions, lengths)
    for number, (line, length) in enumerate(
        zip(captions.flatten(0, 1).tolist(), lengths.flatten().tolist(), strict=True)
    ):
        mine = forced.targets[forced.captions == number]
        assert sorted(mine.tolist()) == sorted(line[1 : length + 1])
