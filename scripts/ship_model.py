"""Make a trained run into a shipped model: float16 weights and its figures in one file.

    python scripts/ship_model.py runs/flickr8k --images DIR --annotations captions_val.json

Scores the run's float32 model and the float16 one with `showattend evaluate`'s code, prints both,
and writes assets/model/NAME only when float16 loses nothing (CIDEr within 0.002).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from showattend import checkpoint
from showattend.captioner import Captioner
from showattend.evaluation.evaluate import evaluate

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--name", default=checkpoint.DEFAULT_MODEL)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--split-name", default="Flickr8k validation split")
    parser.add_argument("--size", type=int, help="pixels a side to caption at; the run's own")
    args = parser.parse_args()

    found = checkpoint.load(args.run)
    # The best epoch's file holds the history up to it; the run's record holds all of it.
    found.record = json.loads((args.run / "training.json").read_text(encoding="utf-8"))
    captioner = Captioner.from_checkpoint(found, precision="fp32")
    if args.size:
        captioner.resize(args.size)
        found.preprocessing = captioner.preprocessing.to_dict()
    half = captioner.to_checkpoint(half=True)
    scores = {}
    for name, model in (("float32", found), ("float16", half)):
        result = evaluate(
            args.annotations,
            captioner=Captioner.from_checkpoint(model, name=name),
            images=args.images,
            beam_size=5,
        )
        scores[name] = result["metrics"]
        print(name, "  ".join(f"{key} {value:.4f}" for key, value in scores[name].items()))
    if scores["float16"]["CIDEr"] < scores["float32"]["CIDEr"] - 0.002:
        print("float16 loses; nothing written", file=sys.stderr)
        return 1
    half.record["figures"] = {
        f"{args.split_name}, beam 5": {k: round(v, 4) for k, v in scores["float16"].items()}
    }
    file = checkpoint.save(ROOT / "assets/model" / args.name, half)
    print(f"wrote {file.relative_to(ROOT)} ({file.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
