"""Keep a record with the documents, without its captions and the machine's paths.

    showattend evaluate --model flickr8k --annotations captions_val.json --images DIR \
        --output results.json
    python scripts/keep_record.py results.json docs/records/flickr8k.json

The captions are replaced by their number and their digest, so that anyone who repeats the command
can tell whether the new ones are the same. Prints the digest of the file that it writes.
`make records` does this for all records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from showattend.evaluation.reproduce import captions_digest, read_record
from showattend.exceptions import UserError
from showattend.system.files import write_json
from showattend.system.provenance import file_digest, portable

LISTS = ("captions", "categories")
"""Long parts of a record that no document shows."""


def kept(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record without its lists and paths, with the digest of its captions."""
    short = {key: value for key, value in record.items() if key not in LISTS}
    if isinstance(faithful := short.get("faithful"), Mapping):
        short["faithful"] = {key: faithful[key] for key in faithful if key not in LISTS}
    short = portable(short)
    if captions := captions_digest(record):
        short["captions"] = captions
    return short


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", type=Path, help="a file of evaluate or ground --output")
    parser.add_argument("kept", type=Path, help="the file to write, such as docs/records/NAME.json")
    args = parser.parse_args(arguments)
    try:
        write_json(args.kept, kept(read_record(args.record)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{file_digest(args.kept)}  {args.kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
