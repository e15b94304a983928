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
# # See where a captioner looks
#
# Five minutes, nothing to train and nothing to download. The model comes with the package
# (`pip install showattend`), and the four photographs are free ones from its repository.

# %%
from showattend import Captioner
from showattend.server.examples import examples

captioner = Captioner.from_pretrained()
photos = examples()["chelsea"].parent

# %% [markdown]
# ## One photograph
#
# A `Caption` shows itself. Move over a word, or press the play button: bright is where the model looked before it
# chose the word.

# %%
cat = captioner.caption(photos / "chelsea.jpg", n_best=3)
cat

# %% [markdown]
# The same as numbers: one map for each word on the model's grid, and a probability for each word. A map sums to one.

# %%
print(cat.text)
print(cat.attention.shape, cat.attention.sum((1, 2)).round(4))
for word, probability, unsure in zip(cat.words, cat.confidences, cat.unsure, strict=True):
    print(f"{word:<8} {probability:.2f}", "unsure" if unsure else "")

# %% [markdown]
# `heatmap` is a word's map on the pixels of the upright photograph, with crop and rotation undone. Where did it look
# for "cat"?

# %%
heat = cat.heatmap(cat.words.index("cat"))
row, column = divmod(int(heat.argmax()), heat.shape[1])
print(f"{heat.shape[1]} x {heat.shape[0]} pixels, brightest at ({column}, {row})")

# %% [markdown]
# ## Your own sentence
#
# You can force a sentence on the model. It still has to look somewhere for each word, and its probabilities show what
# it thinks of the words.

# %%
captioner.attend(photos / "chelsea.jpg", "a cat with green eyes looks at the camera")

# %% [markdown]
# Or leave words out. The best sentence is filled in, and `gaps` names the alternatives.

# %%
filled = captioner.fill(photos / "chelsea.jpg", "a ___ cat is lying on the ___")
for gap in filled.gaps:
    print(filled.words[gap.place], [(word, round(p, 2)) for word, p in gap.candidates])
filled

# %% [markdown]
# ## Several photographs
#
# A list of captions is a gallery. Click on a photograph to open it.

# %%
captions = captioner.caption(sorted(photos.glob("*.jpg")))
captions

# %% [markdown]
# ## When to doubt it
#
# The rocket is a good example of a bad caption: there is no man and no beach. The maps show what the model took for them.
# Words of low probability are marked as unsure, and a photograph that is unlike the training data gets a note.
# Neither is a guarantee.

# %%
rocket = captions[-1]
print(rocket.text, f"confidence {rocket.confidence:.2f}")
print("unsure:", [word for word, unsure in zip(rocket.words, rocket.unsure, strict=True) if unsure])
print("note:", rocket.note)
rocket

# %% [markdown]
# ## Keep it
#
# The suffix selects the format: a figure (`.png`, `.svg`, `.pdf`), an animation (`.gif`, `.webp`), a web page (`.html`), or the
# raw maps (`.npz`, `.json`).

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
for name in ("cat.png", "cat.html", "cat.npz"):
    cat.save_overlay(folder / name)
    print(name, (folder / name).stat().st_size // 1000, "kB")
