"""The tables and sentences of the documents, each a function of the records."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kept_records import MODELS, ROOT, SETS, Records, digests, is_stale, record_file

sys.path.insert(0, str(ROOT / "scripts" / "benchmark"))

from measuring import as_markdown, from_json

from showattend.evaluation.grounding import side_by_side
from showattend.evaluation.grounding.faithful_tables import beta_line, faithful_tables
from showattend.evaluation.grounding.side_by_side import markdown, span
from showattend.evaluation.mistakes import confidence, errors_report
from showattend.evaluation.mistakes.caption_errors import ErrorReport
from showattend.evaluation.mistakes.notes import notes_to_markdown
from showattend.evaluation.mistakes.people import Rate, rate
from showattend.evaluation.scores.metrics import METRICS
from showattend.model.score_settings import describe_settings
from showattend.system.provenance import describe

Render = Callable[[Records], str]
SHOWN = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
BASELINES = ("uniform", "centre", "other_word")
OF_MODEL = {
    "everyday": ("everyday", "coco_subset", "flickr8k"),
    "flickr8k": ("flickr8k", "everyday", "coco_subset"),
}
"""The data sets that each shipped model is scored on."""
EVERYDAY_COCO = ("everyday", "coco_subset")
STALE = "*Measured with earlier weights of this model, not with those shipped today.*"


def scores(rows: Sequence[tuple[str, str]], *, whole: bool = False) -> Render:
    """A table of scores, a row for each (model, data set); whole adds all metrics and wording."""

    def render(records: Records) -> str:
        names = METRICS if whole else SHOWN
        header = ["model", "validation split", "photographs", *names]
        header += ["words", "distinct", "broken endings"] if whole else []
        lines = []
        for model, data in rows:
            found = records[f"{model}_{data}"]
            cells = [model, SETS[data], f"{found['settings']['images']:,}"]
            cells += [f"{found['metrics'][name]:.3f}" for name in names]
            if whole:
                said = found["statistics"]
                cells.append(f"{said['distinct_words']:,}")
                cells.append(f"{said['distinct_captions'] / said['images']:.1%}")
                cells.append(f"{said['bad_endings']:.1%}")
            lines.append(cells)
        return _table(header, lines, 2)

    return render


def pointing(model: str) -> Render:
    """Where a model's maps point, for its own captions and for human ones."""

    def render(records: Records) -> str:
        parts = []
        for name, title in (
            ("ground", "Its own captions"),
            ("ground_human", "Human captions, forced"),
        ):
            found = records[f"{model}_{name}"]
            parts.append(f"{title}: {found['words']} words in {found['images']} images.")
            lines = []
            for base in ("model", *BASELINES):
                cells = [base.replace("_", " ")]
                for measure in ("pointing", "mass"):
                    lead = found["interval"][measure].get(base)
                    cells += [f"{found[measure][base]:.3f}", span(lead) if lead else ""]
                lines.append(cells)
            header = ["map", "pointing", "the model's lead, 95 %", "mass", "the model's lead, 95 %"]
            parts.append(markdown(header, lines))
        return "\n\n".join(parts)

    return render


def sizes(records: Records) -> str:
    """Where the maps of the same weights point on other grids, against the size they are for."""
    parts = []
    for kind, title in (("own", "Its own captions"), ("human", "Human captions, forced")):
        found = records["everyday_sizes"][kind]
        against = {each["one"]: each for each in found["differences"]}
        header = ["pixels", "cells", "words"]
        for measure in ("pointing", "mass"):
            header += [measure, "difference", "95 %"]
        lines = []
        for name, model in sorted(found["models"].items(), key=lambda item: int(item[0])):
            cells = [name, f"{(int(name) // 32) ** 2}", str(model["words"])]
            for measure in ("pointing", "mass"):
                cells.append(f"{model[measure]['model']:.3f}")
                pair = against.get(name, {}).get(measure)
                cells += (
                    [f"{pair['difference']:+.3f}", span(pair["interval"])] if pair else ["", ""]
                )
            lines.append(cells)
        parts += [f"{title}:", markdown(header, lines)]
    return "\n\n".join(parts)


def wrong_words(model: str) -> Render:
    """What right and wrong words look at, for a model's own captions and for human ones."""

    def render(records: Records) -> str:
        parts = []
        for name, title in (
            ("ground", "Its own captions:"),
            ("ground_human", "Human captions, forced:"),
        ):
            found = {model: records[f"{model}_{name}"]}
            parts += [title, side_by_side.wrong_words_table(found)]
            parts.append(side_by_side.confusion_table(found[model], most=6))
            parts.append(side_by_side.objects_table(found))
        return "\n\n".join(parts)

    return render


def faithful(name: str, wanted: Sequence[str]) -> Render:
    """Tables of faithfulness (`faithful_tables`), and the line on β if "trust" is among them."""

    def render(records: Records) -> str:
        found = records[name]["faithful"]
        parts = []
        if "faithful" in wanted:
            parts.append(f"Settings: {describe_settings(records[name]['settings'])}.")
            parts += filter(None, [records[name].get("assembled")])
        made = faithful_tables(found)
        parts += [made[each].markdown() for each in wanted if each in made]
        if "trust" in wanted and (line := beta_line(found)):
            parts.append(line)
        return "\n\n".join(parts)

    return render


def history(model: str) -> Render:
    """The validated epochs of a shipped model's training, from the record in its file."""

    def render(records: Records) -> str:
        record = records[f"{model}_training"]
        rows = [each for each in record["history"] if "CIDEr" in each]
        sets = list(rows[-1].get("sets", {}))
        header = ["epoch", "phase", "CIDEr", *sets, "BLEU-4", "loss", "distinct", "words", "length"]
        header.append("minutes")
        lines = []
        for each in rows:
            cells = [str(each["epoch"]), each["phase"], f"{each['CIDEr']:.3f}"]
            cells += [f"{each['sets'][name]['CIDEr']:.3f}" for name in sets]
            cells += [f"{each['BLEU-4']:.3f}", f"{each['val_loss']:.3f}"]
            cells += [f"{each['distinct']:.2f}", f"{each['words']:.0f}", f"{each['length']:.1f}"]
            lines.append([*cells, f"{each['seconds'] / 60:.0f}"])
        return _table(header, lines, 2)

    return render


def unsure_words(model: str) -> Render:
    """How often words of each probability are absent from human captions."""
    return lambda records: confidence.to_markdown(_measured(records, model)["words"])


def notes(model: str) -> Render:
    """How often a note is given, and how good the captions with one are."""
    return lambda records: notes_to_markdown(_measured(records, model)["notes"])


def looked(records: Records) -> str:
    """The share of words that look at no more than each fraction of the photograph."""
    found = {model: records[f"{model}_looked"] for model in MODELS}
    header = ["half area up to"]
    for model in found:
        header += [f"{model}: content words", "function words"]
    lines = []
    for number, each in enumerate(found[MODELS[0]]["thresholds"]):
        cells = [f"{each['up_to']:.2f}"]
        for record in found.values():
            cells += [f"{record['thresholds'][number][kind]:.0%}" for kind in KINDS]
        lines.append(cells)
    return _table(header, lines, 1)


KINDS = ("content", "function")


def before(records: Records) -> str:
    """The captions and maps that equal those of the code before it was rebuilt."""
    header = ["model", "photographs of", "photographs", "same words", "same maps"]
    header += ["maps differ by", "log-probabilities by"]
    lines = []
    for model, data in BEFORE:
        found = records[f"{model}_before_{data}"]
        counts = [f"{found[key]:,}" for key in ("photographs", "same_words", "same_maps")]
        largest = [f"{found['largest'][key]:.0e}" for key in ("maps", "log_probs")]
        lines.append([model, SETS[data], *counts, *largest])
    return _table(header, lines, 2)


BEFORE = [("flickr8k", "flickr8k"), ("flickr8k", "coco_subset"), ("everyday", "coco_subset")]


def benchmark(*names: str) -> Render:
    """The rows of `make benchmark` that begin with one of these names."""

    def render(records: Records) -> str:
        found = records["benchmark"]
        chosen = [each for each in found["rows"] if each["name"].startswith(names)]
        return as_markdown([from_json(each) for each in chosen], found["about"]).strip()

    return render


def family_cost(records: Records) -> str:
    """What each kind of attention and decoder costs, by `benchmark.py family`."""
    found = records["family_cost"]
    rows = [each for each in map(from_json, found["rows"]) if each.extra]
    return as_markdown(rows, found["about"]).strip()


def fairer(records: Records) -> str:
    """What is left of the ratios in the opponent's precision, and with its batch of one."""
    ratios = {each["name"]: each["ratio"] for each in records["benchmark"]["rows"]}
    names = [f"search, fp32{ending}" for ending in (", one image at a time", "")]
    names += [f"{what}, bf16 against usual bf16" for what in ("training step", "search")]
    if not ratios.keys() >= set(names):
        return (
            "The record above is older than these rows. An independent check measured search in "
            "fp32: 3.1 times as fast with one image at a time on both sides, and 9.1 times in "
            "batches."
        )
    single, batches, step, search = (ratios[name]["median"] for name in names)
    return (
        f"In fp32, search is {single:.2f} times as fast with one image at a time on both sides, "
        f"and {batches:.2f} times in batches. With bf16 on both sides, a training step is "
        f"{step:.2f} times as fast, and search in batches {search:.2f} times."
    )


def errors(name: str) -> Render:
    """A page of `showattend errors`, without its title."""

    def render(records: Records) -> str:
        record = records[name]
        made = record["provenance"]
        return errors_report.to_markdown(
            ErrorReport.from_dict(record),
            command=_command(made["command"]),
            captions=errors_report.said_by(made["captions"]),
            made=describe(made),
            title=None,
        ).strip()

    return render


def listed(records: Records) -> str:
    """All records: the file, its digest, the weights, and the command."""
    lines = []
    for name, digest in digests().items():
        made = records[name].get("provenance", {})
        path = record_file(name)
        link = f"records/{path.name}"
        command = f"`{_command(made['command'])}`" if made.get("command") else ""
        if path.suffix == ".safetensors":
            link = f"../{path.parent.relative_to(ROOT)}/README.md"
            command = f"in `{path.name}`; the model's card has the command"
        weights = (made.get("model") or {}).get("weights", "")
        if is_stale(records[name]):
            weights += " (earlier weights)"
        lines.append([f"[{name}]({link})", f"`{digest}`", weights, command])
    return markdown(["record", "digest of the file", "weights", "command"], lines)


def people(records: Records, model: str, which: str = "put_in") -> Rate:
    """People invented ("put_in") or "left_out" in the MS-COCO sets together."""
    found = [records[f"{model}_{data}_errors"]["people"][which] for data in EVERYDAY_COCO]
    return rate(*(sum(each[key] for each in found) for key in ("count", "of")))


def _measured(records: Records, model: str) -> Mapping[str, Any]:
    return records[f"{model}_calibration"]["measured"]


def _command(words: Sequence[str]) -> str:
    """A record's command, without options that do not affect figures."""
    kept: list[str] = []
    for word in words:
        if kept and kept[-1] in ("--device", "--output"):
            kept.pop()
        else:
            kept.append(word)
    if kept[0].endswith(".py"):
        return shlex.join(["python", _script(kept[0]), *kept[1:]])
    if kept[0].startswith("tests."):
        return shlex.join(["python", "-m", *kept])
    return shlex.join(kept)


def _script(name: str) -> str:
    """The path of a script; earlier records lack its folder below scripts/."""
    if not (ROOT / "scripts" / name).is_file():
        found = (ROOT / "scripts").rglob(name)
        name = next((str(path.relative_to(ROOT / "scripts")) for path in found), name)
    return f"scripts/{name}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A table whose first columns are text, and the others numbers."""
    lines = markdown(header, rows).splitlines()
    lines[1] = f"|{'---|' * texts}{'---:|' * (len(header) - texts)}"
    return "\n".join(lines)


def people_of_readme(records: Records) -> str:
    own, other = (people(records, model) for model in MODELS)
    return (
        f"On {own.of} photographs without people it mentions a person in {own.count} "
        f"(`flickr8k`: in {other.count})"
    )


def pointing_of_readme(records: Records) -> str:
    found = records["everyday_ground"]["pointing"]
    return (
        f"When `everyday` names an object, its attention peaks on that object {found['model']:.0%} "
        f"of the time; a map that always points at the centre manages {found['centre']:.0%}"
    )


def people_of_card(model: str) -> Render:
    def render(records: Records) -> str:
        invented, left = (people(records, model, which) for which in ("put_in", "left_out"))
        parts = []
        for found, done in ((invented, "invent a person"), (left, "leave people out")):
            low, high = found.interval or (0.0, 1.0)
            parts.append(
                f"{found.count} of {found.of} captions {done} ({found.share:.1%}, 95 % interval "
                f"{low:.1%} to {high:.1%})"
            )
        return "; ".join(parts)

    return render


def half_features(records: Records) -> str:
    found = records["everyday_half_features"]
    one, other = (found[kind]["metrics"]["CIDEr"] for kind in ("float32", "float16"))
    return (
        f"{found['differ']} of {found['photographs']} captions differ, and CIDEr is {one:.3f} from "
        f"exact features and {other:.3f} from rounded ones"
    )


def first_minutes(records: Records) -> str:
    """What each step of a newcomer took."""
    found = records["first_minutes"]
    anchors = {"installing": "install", "installing notebooks": "a-notebook", "clone": "install"}
    lines = []
    for name, step in found["steps"].items():
        anchor = anchors.get(name, name.replace(" ", "-"))
        lines.append([f"[{name}](#{anchor})", f"{step['seconds']:.0f} s"])
        lines[-1].append(f"{step['processor_seconds']:.0f} s")
    served, size = found["steps"]["in the browser"], found["megabytes"] * 2**20
    return "\n\n".join(
        [
            _table(["step", "by the clock", "processor time"], lines, 1),
            f"Python {found['python']}; the environment takes {size / 1e9:.1f} GB. "
            f"The page of `serve` is there after {served['seconds']:.0f} s, and the first caption "
            f"{served['caption_seconds']:.1f} s after the photograph was sent. "
            f"{found['photographs']} photographs were fine-tuned on.",
        ]
    )
