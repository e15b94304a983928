"""A comparison as an HTML page: its tables, and the rows' captions and maps side by side."""

from __future__ import annotations

import base64
import html
import random
from collections.abc import Sequence
from pathlib import Path

from showattend.captioner import Captioner
from showattend.data.readers import read_dataset
from showattend.data.records import Record
from showattend.exceptions import ImageError
from showattend.model.checkpoint import FILE_NAME
from showattend.system.files import write_text
from showattend.training.comparison import Comparison, Sample, notes, tables
from showattend.training.comparison_tables import Table
from showattend.training.inputs import dataset_file
from showattend.training.reporter import Reporter, Silent
from showattend.visualize import figure_bytes
from showattend.visualize.page import asset, shell

NAME = "comparison.html"
SEED = 0
WIDTH = 880
"""Width of a figure in pixels."""
STYLE = """\
.table { overflow-x: auto; margin: 8px 0; }
table.figures { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
table.figures :is(th, td) { padding: 4px 10px; text-align: right; }
table.figures tr { border-bottom: 1px solid var(--line); }
table.figures :is(th, td).text { text-align: left; }
table.figures th { white-space: nowrap; }
section { margin: 28px 0; }
h2 { font-size: 1.1rem; }
h3 { font-size: 0.95rem; margin: 0 0 4px; overflow-wrap: anywhere; }
.samples {
  display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr));
}
.samples figure {
  margin: 0; background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
}
.samples img { display: block; width: 100%; height: auto; background: #fff; }
.samples figcaption { padding: 8px 12px; }
ul.references { color: var(--quiet); margin: 4px 0 12px; padding-left: 20px; }
"""


def draw_samples(
    comparison: Comparison, count: int = 6, reporter: Reporter | None = None
) -> list[Sample]:
    """Caption a few validation photographs with each row's first finished model.

    Args:
        comparison: A comparison with at least one finished run.
        count: The number of photographs. They are drawn at random, but are the same in every
            comparison on the same data set.
        reporter: Receives the progress; None for none.

    Returns:
        The photographs that at least one row could caption.

    Raises:
        CheckpointError: A model cannot be loaded.
        DataError: The data set cannot be read.
    """
    reporter = reporter or Silent()
    done = [(row, min(found)) for row in comparison.rows if (found := comparison.of(row))]
    samples = [Sample(record) for record in _chosen(comparison, count)]
    for number, (row, seed) in enumerate(done, 1):
        folder = Path(row.run(comparison.out, seed).train.out)
        if not (folder / FILE_NAME).is_file():  # the model was deleted, but not the results
            continue
        captioner = Captioner.from_pretrained(folder, device=row.config.train.device)
        for sample in samples:
            try:
                caption = captioner.caption(sample.record.path)
                figure = figure_bytes(caption, ".jpg", width=WIDTH)
            except ImageError:
                continue
            sample.said.append((row.name, caption.text, figure))
        reporter.task("Drawing samples", number, len(done))
    return [sample for sample in samples if sample.said]


def _chosen(comparison: Comparison, count: int) -> list[Record]:
    data = comparison.rows[0].config.data
    path, images = dataset_file(data, which=0)
    records = [each for each in read_dataset(path, images) if each.split == "val"]
    records.sort(key=lambda record: str(record.image_id))
    return random.Random(SEED).sample(records, min(count, len(records)))


def write_page(comparison: Comparison) -> None:
    """Write ``comparison.html``, a self-contained file.

    Raises:
        UserError: The file cannot be written.
    """
    write_text(comparison.out / NAME, to_html(comparison))


def to_html(comparison: Comparison) -> str:
    """Format the report as an HTML page."""
    first, *others = tables(comparison) or [Table("Comparison", (), [], "")]
    how = "".join(f"<li>{html.escape(line)}</li>" for line in notes(comparison))
    body = [_section(first, 3), f'<ul class="references">{how}</ul>']
    body += [_section(table, 1) for table in others]
    if comparison.samples:
        body.append("<h2>What they say, and where they look</h2>")
        body += [_sample(sample) for sample in comparison.samples]
    foot = "<p>Outlines hold half of a word's attention; grey words looked everywhere.</p>"
    return shell(
        f"Comparison of {len(comparison.rows)} models",
        "\n".join(body),
        scripts=[asset("pages.js")],
        styles=[STYLE],
        foot=foot,
    )


def _section(table: Table, words: int) -> str:
    """Format a table; its first ``words`` columns hold text, the others figures."""

    def line(cells: Sequence[str], tag: str) -> str:
        made = []
        for i, cell in enumerate(cells):
            kind = ' class="text"' if i < words else ""
            text = html.escape(cell)
            if text.startswith("**"):
                bold, _, rest = text[2:].partition("**")
                text = f"<strong>{bold}</strong>{rest}"
            made.append(f"<{tag}{kind}>{text}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    rows = "\n".join(line(row, "td") for row in table.rows)
    return (
        f"<section><h2>{html.escape(table.title)}</h2>\n"
        f'<div class="table" tabindex="0" role="region" aria-label="{html.escape(table.title)}">'
        f'<table class="figures"><thead>{line(table.header, "th")}</thead>\n'
        f"<tbody>{rows}</tbody></table></div>\n"
        f'<p class="quiet">{html.escape(table.note)}</p></section>'
    )


def _sample(sample: Sample) -> str:
    people = "".join(f"<li>{html.escape(text)}</li>" for text in sample.record.captions)
    figures = []
    for name, text, figure in sample.said:
        data = base64.b64encode(figure).decode()
        figures.append(
            f'<figure><img alt="{html.escape(text)}" src="data:image/jpeg;base64,{data}">'
            f"<figcaption>{html.escape(name)}</figcaption></figure>"
        )
    title = html.escape(Path(sample.record.path).name)
    return (
        f'<section><h3>{title}</h3><ul class="references">{people}</ul>'
        f'<div class="samples">{"".join(figures)}</div></section>'
    )
