"""The usual implementation of Show, Attend and Tell, for comparison in benchmark.py.

The structure follows the widely used PyTorch tutorials and ports: every caption has its own copy of
its image's features, attention projects all of them again in every time step, the word scores are
computed inside the loop, and search takes one image at a time, with its features repeated for every
beam. The equations and weights are those of the package's `LSTMDecoder` (the paper's form: a scalar
gate, attention with the previous state), so losses, gradients and captions must agree. It is not
slowed down artificially: sequences that have ended leave the batch, in training and in search.

Shape suffixes: N captions, L locations, D feature, E embedding, M hidden, V vocabulary, T time.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from showattend.decoding.hypotheses import SPECIAL
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.text.vocabulary import Vocabulary


class UsualAttention(nn.Module):
    """The additive score; projects the features whenever it is called."""

    def __init__(self, feature_dim: int, hidden_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.encoder_att = nn.Linear(feature_dim, attention_dim)
        self.decoder_att = nn.Linear(hidden_dim, attention_dim, bias=False)
        self.full_att = nn.Linear(attention_dim, 1, bias=False)

    def forward(
        self, features_NLD: torch.Tensor, h_NM: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The context [N, D] and the weights [N, L]."""
        att1 = self.encoder_att(features_NLD)
        att2 = self.decoder_att(h_NM)
        att = self.full_att(torch.tanh(att1 + att2.unsqueeze(1))).squeeze(2)
        alpha = torch.softmax(att, dim=1)
        return (features_NLD * alpha.unsqueeze(2)).sum(dim=1), alpha


class UsualDecoder(nn.Module):
    """Soft attention, LSTM cell and deep output, one time step after the other.

    Args:
        vocabulary_size: V.
        feature_dim: D.
        embedding_dim: E.
        hidden_dim: M.
        attention_dim: A.
        dropout: Dropout before the output layer.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        attention_dim: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = UsualAttention(feature_dim, hidden_dim, attention_dim)
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        self.decode_step = nn.LSTMCell(embedding_dim + feature_dim, hidden_dim)
        self.init_h = nn.Linear(feature_dim, hidden_dim)
        self.init_c = nn.Linear(feature_dim, hidden_dim)
        self.f_beta = nn.Linear(hidden_dim, 1)
        self.L_h = nn.Linear(hidden_dim, embedding_dim)
        self.L_z = nn.Linear(feature_dim, embedding_dim, bias=False)
        self.fc = nn.Linear(embedding_dim, vocabulary_size)

    @classmethod
    def like(cls, decoder: LSTMDecoder) -> UsualDecoder:
        """The same model, with copied weights.

        Args:
            decoder: A decoder with a scalar gate, attending with the previous state, without
                projection.
        """
        if decoder.gate != "scalar" or decoder.attend_with != "previous" or decoder.projection:
            raise ValueError("only the paper's form of the decoder is written here")
        usual = cls(
            vocabulary_size=decoder.embedding.num_embeddings,
            feature_dim=decoder.L_z.in_features,
            embedding_dim=decoder.embedding.embedding_dim,
            hidden_dim=decoder.hidden_dim,
            attention_dim=decoder.attention_dim,
            dropout=decoder.dropout,
        ).to(decoder.L_o.weight)
        usual.load_state_dict(translate(dict(decoder.named_parameters())))
        return usual.train(decoder.training)

    def init_hidden_state(self, features_NLD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """h_0 and c_0 from the mean annotation."""
        mean = features_NLD.mean(dim=1)
        return torch.tanh(self.init_h(mean)), torch.tanh(self.init_c(mean))

    def step(
        self, words_N: torch.Tensor, h: torch.Tensor, c: torch.Tensor, features_NLD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Read one word of each sequence: its scores [N, V], h, c and the weights [N, L]."""
        embedded = self.embedding(words_N)
        context, alpha = self.attention(features_NLD, h)
        context = torch.sigmoid(self.f_beta(h)) * context
        h, c = self.decode_step(torch.cat([embedded, context], dim=1), (h, c))
        deep = embedded + self.L_h(h) + self.L_z(context)
        return self.fc(self.dropout(deep)), h, c, alpha

    def forward(
        self, features_NLD: torch.Tensor, captions_NT: torch.Tensor, lengths_N: torch.Tensor
    ) -> torch.Tensor:
        """The loss of a batch, its captions sorted by length first.

        Args:
            features_NLD: The features of each caption's image, repeated for captions of the same
                one.
            captions_NT: ``<start>``, words, ``<end>``, padding.
            lengths_N: The number of targets of each: its words and ``<end>``.

        Returns:
            Cross-entropy and doubly stochastic penalty, each summed over a caption and averaged
            over captions.
        """
        lengths_N, order = lengths_N.sort(dim=0, descending=True)
        features_NLD, captions_NT = features_NLD[order], captions_NT[order]
        N, T = len(lengths_N), int(lengths_N.max())
        h, c = self.init_hidden_state(features_NLD)
        predictions = features_NLD.new_zeros(N, T, self.fc.out_features)
        alphas = features_NLD.new_zeros(N, T, features_NLD.shape[1])
        for t in range(T):
            n = int((lengths_N > t).sum())
            scores, h, c, alpha = self.step(captions_NT[:n, t], h[:n], c[:n], features_NLD[:n])
            predictions[:n, t] = scores
            alphas[:n, t] = alpha
        real = torch.arange(T, device=lengths_N.device) < lengths_N.unsqueeze(1)
        loss = F.cross_entropy(predictions[real], captions_NT[:, 1 : T + 1][real], reduction="sum")
        return (loss + ((1 - alphas.sum(dim=1)) ** 2).sum()) / N

    @torch.no_grad()
    def search(
        self,
        features_LD: torch.Tensor,
        *,
        beam_size: int,
        max_length: int,
        length_penalty: float = 0.7,
    ) -> list[int]:
        """Beam search over one image; the rules are those of `showattend.decoding.beam.search`.

        Returns:
            The words of the best hypothesis.
        """
        k = beam_size
        features = features_LD.unsqueeze(0).expand(k, *features_LD.shape)
        sequences = [[Vocabulary.START]]
        totals = torch.zeros(1, device=features_LD.device)
        h, c = self.init_hidden_state(features[:1])
        finished: list[tuple[float, list[int]]] = []  # score and words, still in the pool
        for t in range(max_length):
            words = torch.tensor([words[-1] for words in sequences], device=features_LD.device)
            scores, h, c, _ = self.step(words, h, c, features[: len(sequences)])
            scores = F.log_softmax(scores, dim=1)
            scores[:, [word for word in SPECIAL if word != Vocabulary.END]] = -torch.inf
            if t == 0:
                scores[:, Vocabulary.END] = -torch.inf
            ranked = (totals.unsqueeze(1) + scores) / (t + 1) ** length_penalty
            values, index = ranked.flatten().topk(min(k, ranked.numel()))
            # Finished ones stay in the pool until better ones displace them.
            pool = [(score, None, ended) for score, ended in finished]
            pool += [(v, i, []) for v, i in zip(values.tolist(), index.tolist(), strict=True)]
            pool = sorted(pool, key=lambda each: -each[0])[:k]
            finished = []
            grown: list[list[int]] = []
            parents: list[int] = []
            chosen: list[int] = []
            for score, i, ended in pool:
                if i is None:
                    finished.append((score, ended))
                    continue
                parent, word = divmod(i, scores.shape[1])
                if word == Vocabulary.END:
                    finished.append((score, sequences[parent][1:]))
                else:
                    grown.append([*sequences[parent], word])
                    parents.append(parent)
                    chosen.append(word)
                if t + 1 == max_length and word != Vocabulary.END:
                    finished.append((score, grown[-1][1:]))
            if not grown or t + 1 == max_length:
                break
            totals = totals[parents] + scores[parents, chosen]
            sequences, h, c = grown, h[parents], c[parents]
        return max(finished, key=lambda each: each[0])[1]


def translate(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights, or gradients, of an `LSTMDecoder` by the names of a `UsualDecoder`."""
    w_h, w_c = tensors["initial.weight"].chunk(2)
    b_h, b_c = tensors["initial.bias"].chunk(2)
    return {
        "attention.encoder_att.weight": tensors["attention.W_a.weight"],
        "attention.encoder_att.bias": tensors["attention.W_a.bias"],
        "attention.decoder_att.weight": tensors["attention.W_h.weight"],
        "attention.full_att.weight": tensors["attention.v"].unsqueeze(0),
        "embedding.weight": tensors["embedding.weight"],
        "decode_step.weight_ih": torch.cat(
            [tensors["lstm_word.weight"], tensors["lstm_context.weight"]], dim=1
        ),
        "decode_step.weight_hh": tensors["lstm_hidden.weight"],
        "decode_step.bias_ih": tensors["lstm_word.bias"],
        "decode_step.bias_hh": torch.zeros_like(tensors["lstm_word.bias"]),
        "init_h.weight": w_h,
        "init_h.bias": b_h,
        "init_c.weight": w_c,
        "init_c.bias": b_c,
        "f_beta.weight": tensors["f_beta.weight"],
        "f_beta.bias": tensors["f_beta.bias"],
        "L_h.weight": tensors["L_h.weight"],
        "L_h.bias": tensors["L_h.bias"],
        "L_z.weight": tensors["L_z.weight"],
        "fc.weight": tensors["L_o.weight"],
        "fc.bias": tensors["L_o.bias"],
    }
