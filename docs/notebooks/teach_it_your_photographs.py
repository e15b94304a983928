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
# # Teach it your own photographs
#
# From a small folder of captioned photographs to a model of your own: fine-tune, compare before and after, look at what
# still goes wrong and why, and export it. Everything runs on a CPU.
#
# The photographs here are thirty of animals, free to use ([sources](../../assets/notebook_photos/SOURCES.md)). The
# shipped model has no word for many of them. Replace `folder` by yours.

# %%
import tempfile
from pathlib import Path

from showattend import Captioner

folder = Path("../../assets/notebook_photos")
work = Path(tempfile.mkdtemp())
photos = sorted(folder.glob("*.jpg"))
print(len(photos), "photographs;", *(photo.stem for photo in photos[:8]), "...")
print((folder / "captions.jsonl").read_text().splitlines()[15])

# %% [markdown]
# One line of JSON for each photograph, here with three captions. A text file next to each photograph, a table and other
# forms work too ([fine-tuning](../finetune.md)). Five photographs are the minimum; a few dozen with several captions
# each are a start.
#
# ## Before

# %%
captioner = Captioner.from_pretrained()
before = [caption.text for caption in captioner.caption(photos)]
some = [folder / f"{name}.jpg" for name in ("kangaroo", "koala", "moose", "crab")]
captioner.caption(some)

# %% [markdown]
# ## Fine-tuning
#
# `finetune` draws a validation split, adds the words that the model lacks, adjusts how sure it is of its words, trains
# the decoder, and keeps the better of the two models. On the command line it is
# `showattend finetune my-photographs --out runs/mine`. Each of the new words occurs with one photograph only, so the
# rate here is three times the usual one: at the usual one the model picks up the style of the captions, but not the words.

# %%
from showattend.training.finetune import finetune

recipe = ["train.lr=1e-3", "train.epochs=40", "train.validate_from=36"]
report = finetune(folder, work / "mine", overrides=recipe)

# %%
for name in ("CIDEr", "BLEU-4"):
    print(f"{name:<7} before {report['before'][name]:.3f}   after {report['after'][name]:.3f}")
print("kept:", report["kept"], "  validation photographs:", report["images"]["val"])

# %% [markdown]
# With so few validation photographs the scores mean little: look at the captions instead.
#
# ## After
#
# First the photographs of the validation split, on which the model was not trained. It has never seen another
# photograph of most of these animals, so it cannot know their names; it may use one that it has just learnt instead.

# %%
from showattend.data.readers import read_dataset

mine = Captioner.from_pretrained(work / "mine")
after = [caption.text for caption in mine.caption(photos)]
prepared = Path(report["evaluate"][1])  # the data set as finetune made it
unseen = {record.path.name for record in read_dataset(prepared) if record.split == "val"}
for photo, old, new in zip(photos, before, after, strict=True):
    if photo.name in unseen:
        print(f"{photo.stem}\n  before  {old}\n  after   {new}\n")

# %% [markdown]
# Then those from above. They prove less, because the model was trained on them and remembers their captions, new words
# included. But you can see where it looked for the new words. For a model that can tell a koala from a moose, give it a
# dozen photographs of each.

# %%
mine.caption(some)

# %% [markdown]
# ## What is still wrong
#
# `showattend errors` compares captions with the human ones, word by word, and explains the worst photographs on a page:
# what people say, where the model looked, and the [kind of error](../evaluating.md#why-a-caption-is-wrong) of each wrong
# word.

# %%
import json

from showattend.cli import main
from showattend.visualize.notebook_forms import PageFile

said = {photo.name: text for photo, text in zip(photos, after, strict=True)}
(work / "said.json").write_text(json.dumps(said))
code = main(
    f"errors --annotations {folder}/captions.jsonl --results {work}/said.json --model {work}/mine "
    f"--worst 8 --output {work}/worst.html".split()
)
PageFile(work / "worst.html")

# %% [markdown]
# ## Take it along
#
# The folder is the model: copy it, or share it through the Hugging Face Hub
# ([models on the Hub](../hub.md)). As ONNX it runs without PyTorch: a folder with three networks and a single-file program.

# %%
from importlib.util import find_spec

print(sorted(path.name for path in (work / "mine").iterdir()))
if all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
    from showattend.export.engine import OnnxCaptioner
    from showattend.export.folder import export

    sizes = export(Captioner.from_pretrained(work / "mine", device="cpu"), work / "exported")
    print(f"exported: {sum(sizes.values()) / 1e6:.1f} MB")
    small = OnnxCaptioner.from_pretrained(str(work / "exported"))
    print("without PyTorch:", small.caption(some[0]).text)
