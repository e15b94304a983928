"""The cost of storing cached features in half precision: captions and scores with and without.

    python scripts/half_features.py flickr8k --annotations captions_val.json --images DIR \
        --limit 300 --output half.json

Captions photographs with features in float32 and with features rounded to float16, as the cache
stores them, and scores both with the code of `showattend evaluate`. --output keeps the scores as a
record.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from showattend.captioner import Captioner
from showattend.evaluation.evaluate import evaluate, read_references
from showattend.exceptions import UserError
from showattend.model.score_settings import describe_settings
from showattend.system.files import write_json
from showattend.system.provenance import describe, remember_command


def measure(model: str, annotations: Path, images: Path, limit: int, kind: str) -> dict[str, Any]:
    """Score a model's captions from exact and from rounded features.

    Args:
        model: A shipped model's name, a folder or a file.
        annotations: Human captions, of one split.
        images: The folder of the photographs.
        limit: Use only this many, from the first.
        kind: The type that features are rounded to: float16 or bfloat16.

    Returns:
        The results of ``evaluate`` for "float32" and for the rounded type.
    """
    captioner = Captioner.from_pretrained(model, device="cpu", precision="fp32")
    encode = captioner.encoder.forward
    rows = [
        {"image": str(r.path.resolve()), "captions": r.captions, "split": r.split}
        for r in read_references(annotations, images)[:limit]
    ]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "dataset.jsonl"
        chosen.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        for name in ("float32", kind):

            def rounded(images: torch.Tensor, dtype: Any = getattr(torch, name)) -> torch.Tensor:
                return encode(images).to(dtype).float()

            captioner.encoder.forward = rounded  # type: ignore[method-assign]
            found[name] = evaluate(chosen, captioner=captioner)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--kind", choices=("float16", "bfloat16"), default="float16")
    parser.add_argument("--output", type=Path, help="keep the figures as a record (.json)")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "half_features.py")
    try:
        found = measure(args.model, args.annotations, args.images, args.limit, args.kind)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    exact, rounded = found.values()
    for name, result in found.items():
        scores = ", ".join(f"{key} {value:.4f}" for key, value in result["metrics"].items())
        print(f"features in {name}: {scores}")
    pairs = zip(exact["captions"], rounded["captions"], strict=True)
    other = sum(one["caption"] != two["caption"] for one, two in pairs)
    print(f"{other} of {len(exact['captions'])} captions differ")
    if args.output:
        kept: dict[str, Any] = {
            name: {"metrics": result["metrics"]} for name, result in found.items()
        }
        kept |= {"differ": other, "photographs": len(exact["captions"])}
        how = {key: exact[key] for key in ("settings", "provenance")}
        # The data set was written to a temporary folder; its digests identify it.
        how["settings"] |= {"annotations": str(args.annotations), "image_folder": str(args.images)}
        write_json(args.output, kept | how)
    print(describe_settings(exact["settings"]), *describe(exact["provenance"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
