"""The files of a part: captions as Parquet or JSON Lines, and images that could not be captioned.

``part-000017-0b1d2c3e.parquet`` has a row per caption; it exists once its part is done.
``bad-000017-0b1d2c3e.jsonl`` is written before it, if there are bad images.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from showattend.exceptions import DataError, one_line
from showattend.export.cluster.partition import Part
from showattend.export.cluster.stores import Store

KINDS = ("parquet", "jsonl")
Row = dict[str, Any]


def file_of(part: Part, kind: str) -> str:
    """The name of a part's captions."""
    return f"part-{part.name}.{kind}"


def bad_file_of(part: Part) -> str:
    """The name of the file with a part's bad images."""
    return f"bad-{part.name}.jsonl"


def write_part(
    store: Store, part: Part, kind: str, rows: Sequence[Row], bad: Sequence[Row]
) -> None:
    """Write a part; its captions come last, and appear when they are complete.

    Args:
        store: The store for it.
        part: The part.
        kind: ``parquet`` or ``jsonl``.
        rows: One per caption, as `Caption.to_dict` gives it.
        bad: One per bad image: ``image``, ``error``.

    Raises:
        UserError: A file cannot be written.
    """
    if bad:
        store.write(bad_file_of(part), _lines(bad))
    else:  # from an earlier attempt that saw an incomplete image
        store.remove(bad_file_of(part))
    store.write(file_of(part, kind), _parquet(rows) if kind == "parquet" else _lines(rows))


def count_part(store: Store, part: Part, kind: str) -> tuple[int, int]:
    """The number of captions and of bad images in a finished part.

    Raises:
        DataError: A file is damaged or cannot be read.
    """
    bad = bad_file_of(part)
    return count_rows(store, file_of(part, kind)), count_rows(store, bad) if store.has(bad) else 0


def count_rows(store: Store, name: str) -> int:
    """The number of rows of a file.

    Raises:
        DataError: It is damaged or cannot be read.
    """
    with store.open(name) as file:
        try:
            if name.endswith(".jsonl"):
                return sum(1 for _ in file)
            from pyarrow.parquet import ParquetFile

            return int(ParquetFile(file).metadata.num_rows)
        except Exception as error:
            reason = one_line(error)
    raise DataError(f"{store.place}/{name}: cannot be read ({reason}); remove it to make it again")


def _lines(rows: Sequence[Row]) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return text.encode("utf-8", "backslashreplace")


def _parquet(rows: Sequence[Row]) -> bytes:
    """Rows in one schema, whether or not a column has values in this part."""
    import pyarrow as pa
    from pyarrow import parquet

    text, number, numbers = pa.string(), pa.float64(), pa.list_(pa.float64())
    plain = [
        ("caption", text),
        ("words", pa.list_(text)),
        ("log_probs", numbers),
        ("log_prob", number),
        ("confidences", numbers),
        ("confidence", number),
        ("unsure", pa.list_(pa.bool_())),
        ("score", number),
        ("betas", numbers),
        ("familiarity", number),
        ("note", text),
        ("sentinel", numbers),
    ]
    others = pa.list_(pa.struct(plain))
    schema = pa.schema([("image", text), *plain, ("alternatives", others)])
    values = [{**row, "image": _printable(row["image"])} for row in rows]
    written = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(values, schema=schema), written)
    return written.getvalue()


def _printable(name: str) -> str:
    """A name that is not UTF-8, with its bytes escaped as in JSON Lines."""
    return name.encode("utf-8", "backslashreplace").decode()
