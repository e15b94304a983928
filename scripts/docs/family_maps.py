"""The maps of docs/attention-family.md: the same photograph and words, seen by every kind.

    showattend compare configs/family/*.yaml --out runs/family
    python scripts/docs/family_maps.py runs/family

Each trained kind says the same given caption about a free photograph, so that the maps of its words
can be compared. A kind with heads, hops or levels has a second picture, with the map of each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from showattend.captioner import Captioner
from showattend.exceptions import UserError
from showattend.model.checkpoint import FILE_NAME

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "assets" / "notebook_photos" / "dog.jpg"
CAPTION = "a brown dog is standing in the grass"
WORDS = ("brown", "dog", "standing", "grass")
WORD = ("dog",)
OUT = ROOT / "docs" / "family"
WIDTH = 800


def draw(model: Path, name: str, out: Path) -> list[Path]:
    """Draw a model's maps of the photograph; return the pictures, none for a model without maps.

    Args:
        model: The folder of a run.
        name: The beginning of the pictures' names.
        out: Their folder.
    """
    captioner = Captioner.from_pretrained(model, device="cpu")
    if not captioner.looks:
        return []
    said = captioner.attend(PHOTO, CAPTION)
    made = [out / f"{name}.jpg"]
    said.save_overlay(made[0], layout="grid", words=WORDS, width=WIDTH, columns=1 + len(WORDS))
    if said.parts is not None:
        made.append(out / f"{name}_parts.jpg")
        said.save_overlay(made[1], layout="parts", words=WORD, width=WIDTH)
    return made


def main() -> None:
    """Draw the maps of all runs in a folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, help="the folder of `showattend compare`")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for model in sorted(args.runs.glob("*/seed-0")):
        if not (model / FILE_NAME).is_file():
            continue
        try:
            for picture in draw(model, model.parent.name, args.out):
                print(f"wrote {picture}")
        except UserError as error:
            print(f"{model}: {error}")


if __name__ == "__main__":
    main()
