"""The policy gradient against the gradient of the expected reward."""

from __future__ import annotations

import itertools

import pytest
import torch

from showattend.decoding.forced import force
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary
from showattend.training.cider_d import CiderD
from showattend.training.self_critical import SelfCritical

VOCABULARY = Vocabulary(["dog", "cat", "runs"])
REFERENCES = [["A dog runs."], ["The cat runs.", "cat"], ["Dog!"]]


def decoder(seed: int = 0) -> LSTMDecoder:
    torch.manual_seed(seed)
    made = LSTMDecoder(
        vocabulary_size=len(VOCABULARY),
        feature_dim=5,
        embedding_dim=6,
        hidden_dim=6,
        attention_dim=6,
        dropout=0.0,
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return made


def objective(**settings: float) -> SelfCritical:
    values = {"samples": 5, "max_length": 2, "doubly_stochastic": 0.0, **settings}
    return SelfCritical(
        [[tokenize(t) for t in image] for image in REFERENCES], VOCABULARY, **values
    )  # type: ignore[arg-type]


def expected_reward(model: LSTMDecoder, image: torch.Tensor, number: int) -> torch.Tensor:
    """Over every caption of at most two words: sum of p(y) r(y), with a gradient."""
    closed = [[[*tokenize(text), "<end>"] for text in image] for image in REFERENCES]
    cider = CiderD(closed)
    END = Vocabulary.END
    captions = [[END]] + [[a, END] for a in (4, 5, 6)]
    captions += [list(pair) for pair in itertools.product((4, 5, 6), repeat=2)]
    total = torch.zeros(())
    for words in captions:
        memory = model.memory(image)
        state = model.start(memory)
        log_p, previous = torch.zeros(()), Vocabulary.START
        for word in words:
            scores, state, *_ = model.step(torch.tensor([[previous]]), state, memory)
            allowed = scores[0, 0, [END, 4, 5, 6]]
            log_p = log_p + allowed.log_softmax(0)[[END, 4, 5, 6].index(word)]
            previous = word
        said = [VOCABULARY.words[w - 4] if w != END else "<end>" for w in words]
        total = total + log_p.exp() * float(cider.score([number], [said])[0])
    return total


def test_the_gradient_is_that_of_the_expected_reward() -> None:
    model = decoder().train()
    images = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(3))
    rows = [1, 2]
    loss = objective(samples=20_000)(model, images, rows)
    loss.total.backward()
    drawn = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    exact = torch.stack(
        [expected_reward(model, images[b : b + 1], number) for b, number in enumerate(rows)]
    ).mean()
    (-exact).backward()
    assert loss.reward == pytest.approx(exact.item(), rel=0.05)
    one = torch.cat([drawn[name].flatten() for name, _ in model.named_parameters()])
    other = torch.cat([p.grad.flatten() for _, p in model.named_parameters()])
    assert torch.cosine_similarity(one, other, 0) > 0.99
    assert float(one.norm()) == pytest.approx(float(other.norm()), rel=0.1)


def test_training_on_it_raises_the_reward() -> None:
    model = decoder(1)
    images = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(4))
    critic = objective(samples=8, max_length=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    rewards = []
    for _ in range(120):
        loss = critic(model, images, [0, 1, 2])
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        rewards.append(loss.reward)
    assert sum(rewards[-20:]) / 20 > 2 * sum(rewards[:20]) / 20


def test_broken_ends_are_reported_and_end_is_rewarded() -> None:
    vocabulary = Vocabulary(["a", "dog"])
    critic = SelfCritical([[["a", "dog"]]] + [[["x"]]] * 3, vocabulary, samples=2, max_length=3)
    END = Vocabulary.END
    said, closed = critic._words(torch.tensor([[[1, 4, 5, END, 0], [1, 4, 5, 4, 0]]]))
    assert said == [["a", "dog"], ["a", "dog", "a"]]
    assert closed == [["a", "dog", "<end>"], ["a", "dog", "a"]]
    whole, broken = critic.rewards([0], closed)[0].tolist()
    assert whole == pytest.approx(10 * 3 / 4)  # three orders of n-grams: there is no 4-gram
    assert broken < whole


def test_the_penalty_is_of_the_samples_maps() -> None:
    model = decoder()
    images = torch.randn(1, 4, 5)
    loss = objective(doubly_stochastic=1.0)(model, images, [0])
    assert float(loss.penalty) > 0
    free = force(model.eval(), images, [4])
    assert free.alpha.shape == (1, 4)
    assert not loss.penalty.requires_grad


def test_sampling_is_without_dropout_and_leaves_the_mode_alone() -> None:
    model = decoder()
    model.dropout = 0.9
    critic = objective()
    model.train()
    critic(model, torch.randn(1, 4, 5), [0])
    assert model.training
    model.eval()
    critic(model, torch.randn(1, 4, 5), [0])
    assert not model.training
