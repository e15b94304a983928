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
# still goes wrong, and export it. Everything runs on a CPU.
#
# The "photographs" here are 36 drawings of coloured shapes, so that this page can be reproduced anywhere. They are as
# far from the model's training data as your own pictures could be. Replace `folder` by yours.

# %%
import tempfile
from pathlib import Path

from showattend import Captioner
from showattend.data.readers import read_dataset
from showattend.data.toy import write_toy

work = Path(tempfile.mkdtemp())
folder = work / "my-photographs"
folder.mkdir()
drawn = read_dataset(write_toy(work / "drawn", images=36, size=160))
for record in drawn:
    photo = folder / record.path.name
    photo.write_bytes(record.path.read_bytes())
    photo.with_suffix(".txt").write_text("\n".join(record.captions))
print(sorted(path.name for path in folder.iterdir())[:4])
print((folder / "00001.txt").read_text())

# %% [markdown]
# A text file next to each photograph, one caption per line: that is all it needs. Tables and other forms work too
# ([fine-tuning](../finetune.md)). Five photographs are the minimum; a few dozen with several captions each are a start.
#
# ## Before

# %%
captioner = Captioner.from_pretrained()
some = sorted(folder.glob("*.jpg"))[:4]
before = captioner.caption(some)
before

# %% [markdown]
# ## Fine-tuning
#
# `finetune` draws a validation split, adds the words that the model lacks, adjusts how sure it is of its words, trains
# the decoder, and keeps the better of the two models. On the command line it is
# `showattend finetune my-photographs --out runs/mine`. Fewer epochs than usual are enough here.

# %%
from showattend.training.finetune import finetune

report = finetune(folder, work / "mine", overrides=["train.epochs=12", "train.validate_from=6"])

# %%
for name in ("CIDEr", "BLEU-4"):
    print(f"{name:<7} before {report['before'][name]:.3f}   after {report['after'][name]:.3f}")
print("kept:", report["kept"], "  validation photographs:", report["images"]["val"])

# %% [markdown]
# With so few validation photographs the scores mean little: look at the captions instead.
#
# ## After

# %%
mine = Captioner.from_pretrained(work / "mine")
after = mine.caption(some)
for old, new, photo in zip(before, after, some, strict=True):
    print(
        f"before  {old.text}\nafter   {new.text}\npeople  {photo.with_suffix('.txt').read_text().splitlines()[0]}\n"
    )
after

# %% [markdown]
# ## What is still wrong
#
# `find_faults` compares a caption with the human ones, word by word: what it names that they contradict, and what most of
# them name that it leaves out. `showattend errors` makes a report of a whole data set.

# %%
from showattend.evaluation.mistakes.caption_errors import find_faults

faulty = 0
for photo in sorted(folder.glob("*.jpg")):
    people = photo.with_suffix(".txt").read_text().splitlines()
    caption = mine.caption(photo)
    if faults := find_faults(caption.text, people):
        faulty += 1
        if faulty <= 4:
            print(f"{photo.name}: {caption.text}  |  {people[0]}  |  ", *faults, sep="\n    ")
print(faulty, "of 36 captions have a fault")

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
