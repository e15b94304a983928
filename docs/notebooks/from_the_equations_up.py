# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Show, Attend and Tell from the equations up
#
# The model of [Xu et al. (2015)](https://arxiv.org/abs/1502.03044) in thirty lines of PyTorch: attention and decoder. We
# check them against the package, train them on synthetic shapes for a few minutes, and look at the maps.
#
# Symbols are the paper's. A convolutional network turns a picture into L annotation vectors a_1 … a_L of dimension D, one for
# each cell of a grid. N is the number of captions.

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

# %% [markdown]
# ## Attention
#
# Before each word the decoder, whose state is h, scores every location, turns the scores into weights, and takes the
# weighted mean of the annotations (equations 4, 5 and 13):
#
# e_i = v · tanh(W_a a_i + W_h h),  α = softmax(e),  z = Σ α_i a_i
#
# W_a a_i does not depend on the word, so it is computed once.


# %%
class Attention(nn.Module):
    def __init__(self, D, M, A):
        super().__init__()
        self.W_a, self.W_h = nn.Linear(D, A), nn.Linear(M, A, bias=False)
        self.v = nn.Linear(A, 1, bias=False)

    def forward(self, a, keys, h):  # a [N, L, D], keys = W_a a [N, L, A], h [N, M]
        alpha = self.v(torch.tanh(keys + self.W_h(h)[:, None])).squeeze(-1).softmax(-1)
        return (alpha[:, None] @ a).squeeze(1), alpha  # z [N, D], alpha [N, L]


# %% [markdown]
# ## Decoder
#
# An LSTM reads the previous word and the context z (equations 1 to 3). It starts from the mean annotation. A gate β says
# how much the picture counts for the next word (section 4.2.1), and a deep output layer scores the words (equation 7):
#
# p(y_t) ∝ exp(L_o(E y_{t-1} + L_h h_t + L_z z_t))


# %%
class Decoder(nn.Module):
    def __init__(self, V, D, E=128, M=128, A=128):
        super().__init__()
        self.E, self.attention = nn.Embedding(V, E), Attention(D, M, A)
        self.initial, self.f_beta = nn.Linear(D, 2 * M), nn.Linear(M, 1)
        self.lstm = nn.LSTMCell(E + D, M)
        self.L_h, self.L_z = nn.Linear(M, E), nn.Linear(D, E, bias=False)
        self.L_o = nn.Linear(E, V)

    def start(self, a):
        self.a, self.keys = a, self.attention.W_a(a)
        return torch.tanh(self.initial(a.mean(1))).chunk(2, -1)  # h_0, c_0

    def step(self, word, h, c):
        z, alpha = self.attention(self.a, self.keys, h)
        z = torch.sigmoid(self.f_beta(h)) * z
        Ey = self.E(word)
        h, c = self.lstm(torch.cat([Ey, z], -1), (h, c))
        return self.L_o(Ey + self.L_h(h) + self.L_z(z)), h, c, alpha


# %% [markdown]
# ## The same as the package?
#
# `LSTMDecoder` is the package's reference implementation. Its LSTM is written as one product for each input, so we copy
# the weights over by name and let both read the same words. They agree to rounding.

# %%
from showattend.model.decoders.lstm import LSTMDecoder

V, D, M = 30, 64, 128
theirs = LSTMDecoder(
    vocabulary_size=V, feature_dim=D, embedding_dim=128, hidden_dim=M, attention_dim=128
).eval()
ours = Decoder(V, D)
p = {name: value.detach() for name, value in theirs.named_parameters()}
ours.load_state_dict(
    {
        "E.weight": p["embedding.weight"],
        "attention.W_a.weight": p["attention.W_a.weight"],
        "attention.W_a.bias": p["attention.W_a.bias"],
        "attention.W_h.weight": p["attention.W_h.weight"],
        "attention.v.weight": p["attention.v"][None],
        "initial.weight": p["initial.weight"],
        "initial.bias": p["initial.bias"],
        "f_beta.weight": p["f_beta.weight"],
        "f_beta.bias": p["f_beta.bias"],
        "lstm.weight_ih": torch.cat([p["lstm_word.weight"], p["lstm_context.weight"]], 1),
        "lstm.weight_hh": p["lstm_hidden.weight"],
        "lstm.bias_ih": p["lstm_word.bias"],
        "lstm.bias_hh": torch.zeros_like(p["lstm_word.bias"]),
        "L_h.weight": p["L_h.weight"],
        "L_h.bias": p["L_h.bias"],
        "L_z.weight": p["L_z.weight"],
        "L_o.weight": p["L_o.weight"],
        "L_o.bias": p["L_o.bias"],
    }
)

# %%
grid = torch.randn(3, 7, 7, D)  # three pictures
a, words = grid.flatten(1, 2), torch.randint(4, V, (3, 10))
with torch.no_grad():
    memory = theirs.memory(grid)  # what depends on the picture alone
    state, (h, c) = theirs.start(memory), ours.start(a)
    worst = 0.0
    for t in range(words.shape[1]):
        said = theirs.step(words[:, t, None], state, memory)
        logits, h, c, alpha = ours.step(words[:, t], h, c)
        state = said.state
        worst = max(
            worst,
            float((said.log_probs[:, 0] - logits.log_softmax(-1)).abs().max()),
            float((said.alpha[:, 0] - alpha).abs().max()),
        )
print(f"largest difference of a log-probability or a weight: {worst:.1e}")
assert worst < 1e-4

# %% [markdown]
# ## Pictures and words
#
# The package draws coloured shapes with captions, so nothing has to be downloaded. Annotations come from an
# EfficientNet-Lite0 that was trained on ImageNet and stays frozen: 7 × 7 vectors of dimension 1280.

# %%
from showattend.data.readers import read_dataset
from showattend.data.toy import write_toy
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import build_encoder
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary

records = read_dataset(write_toy(Path(tempfile.mkdtemp()) / "toy", images=600))
train = [record for record in records if record.split == "train"]
val = [record for record in records if record.split == "val"]
print(len(train), "to train on,", len(val), "to look at;", train[0].captions[0])

# %%
encoder = build_encoder(name="efficientnet_lite0")
preprocessing = Preprocessing(size=224, mean=(0.5,) * 3, std=(0.5,) * 3)


@torch.inference_mode()
def annotate(chosen):
    found = []
    for at in range(0, len(chosen), 50):
        pixels = [preprocessing.load_pixels(record.path).pixels for record in chosen[at : at + 50]]
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        found.append(encoder(preprocessing.normalize(images)).flatten(1, 2))
    return torch.cat(found).clone()


a_train, a_val = annotate(train), annotate(val)
vocabulary = Vocabulary.from_captions(
    [caption for record in train for caption in record.captions], min_count=1
)
print("annotations", tuple(a_train.shape), "and", len(vocabulary.words), "words")

# %% [markdown]
# Captions become rows of word numbers, from `<start>` to `<end>`, padded to one length.

# %%
START, END, PAD = Vocabulary.START, Vocabulary.END, Vocabulary.PAD


def numbers(record):
    return [[START, *vocabulary.encode(tokenize(each)), END] for each in record.captions]


rows = [(image, said) for image, record in enumerate(train) for said in numbers(record)]
length = max(len(said) for _, said in rows)
image_of = torch.tensor([image for image, _ in rows])
captions = torch.tensor([said + [PAD] * (length - len(said)) for _, said in rows])
print(captions.shape)

# %% [markdown]
# ## Training
#
# Teacher forcing: the decoder reads the human caption and predicts each next word. The loss is its negative
# log-likelihood, plus the paper's doubly stochastic penalty, which asks the model to look at every location about once
# (equation 14): λ Σ_i (1 − Σ_t α_ti)².

# %%
decoder = Decoder(len(vocabulary), a_train.shape[-1])
optimizer = torch.optim.Adam(decoder.parameters(), lr=2e-3)
EPOCHS, BATCH, PENALTY = 14, 100, 0.02


def loss_of(a, said):
    (h, c), nll, looked = decoder.start(a), 0.0, 0.0
    for t in range(said.shape[1] - 1):
        logits, h, c, alpha = decoder.step(said[:, t], h, c)
        nll = nll + F.cross_entropy(logits, said[:, t + 1], ignore_index=PAD, reduction="sum")
        looked = looked + alpha * (said[:, t + 1] != PAD)[:, None]
    return nll / (said[:, 1:] != PAD).sum(), ((1 - looked) ** 2).sum(1).mean()


history = []
for epoch in range(EPOCHS):
    total = 0.0
    for rows_of in torch.randperm(len(captions)).split(BATCH):
        nll, penalty = loss_of(a_train[image_of[rows_of]], captions[rows_of])
        optimizer.zero_grad()
        (nll + PENALTY * penalty).backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 5.0)
        optimizer.step()
        total += float(nll.detach()) * len(rows_of)
    history.append(total / len(captions))
    print(f"epoch {epoch + 1}: loss {history[-1]:.3f} per word")
assert history[-1] < 0.7 * history[0]

# %% [markdown]
# ## Writing captions
#
# Greedy search: write the most probable word, and read it in the next step.


# %%
@torch.inference_mode()
def tell(a):  # a [L, D]
    (h, c), word = decoder.start(a[None]), torch.tensor([START])
    said, maps, log_probs = [], [], []
    for _ in range(length):
        logits, h, c, alpha = decoder.step(word, h, c)
        log_p, word = logits.log_softmax(-1).max(-1)
        log_probs.append(float(log_p))
        if int(word) == END:
            break
        said.append(int(word))
        maps.append(alpha[0].reshape(7, 7).numpy())
    return vocabulary.decode(said), np.stack(maps), log_probs


for record, a in list(zip(val, a_val, strict=True))[:4]:
    print(" ".join(tell(a)[0]), "  |  people:", record.captions[0])

# %% [markdown]
# ## The maps
#
# `Caption.from_maps` draws the maps of any model, here those of our thirty lines. A list of captions is a gallery, and
# one caption is the interactive viewer.

# %%
from showattend import Caption
from showattend.caption_forms import Captions

told = Captions()
for record, a in list(zip(val, a_val, strict=True))[:8]:
    words, maps, log_probs = tell(a)
    told.append(Caption.from_maps(record.path, words, maps, log_probs=log_probs))
told

# %%
told[0]

# %% [markdown]
# ## Does it look at the shape that it names?
#
# The shapes' outlines are known. The pointing game counts how often the map's peak lies inside the box of the shape that the
# word names, for words that name exactly one shape of the picture.

# %%
import json

known = json.loads((train[0].path.parents[1] / "instances_val.json").read_text())
names = {each["id"]: each["name"] for each in known["categories"]}
hits = chances = tries = 0
for record, a in zip(val, a_val, strict=True):
    boxes = {}
    for each in known["annotations"]:
        if each["image_id"] == record.image_id:
            boxes.setdefault(names[each["category_id"]], []).append(each["bbox"])
    words, maps, _ = tell(a)
    for word, alpha in zip(words, maps, strict=True):
        if len(boxes.get(word, ())) != 1:
            continue
        left, top, width, height = boxes[word][0]
        row, column = divmod(int(alpha.argmax()), 7)
        x, y = (column + 0.5) / 7 * 128, (row + 0.5) / 7 * 128
        hits += left <= x <= left + width and top <= y <= top + height
        chances += width * height / 128**2
        tries += 1
print(f"{hits} of {tries} maps peak inside the box; by chance it would be {chances:.0f}")

# %% [markdown]
# ## From here
#
# What the package adds to these thirty lines: the search keeps several captions, the captions of a picture share its
# annotations and keys, features are cached, training resumes after an interruption, and there are nine other kinds
# of attention and four other decoders behind two contracts ([extending](../extending.md)). Its own training on these shapes is
# `showattend train configs/tiny.yaml`; how far to trust the maps of a real model is measured in [attention](../attention.md).
