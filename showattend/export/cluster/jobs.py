"""Captioning any number of images into parts, and continuing an earlier run."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from showattend.exceptions import UserError
from showattend.export.cluster.cluster_inputs import list_inputs
from showattend.export.cluster.dispatching import Dispatcher
from showattend.export.cluster.part_files import KINDS, count_rows, file_of
from showattend.export.cluster.part_worker import Outcome
from showattend.export.cluster.partition import (
    LIST,
    ImageList,
    Totals,
    absolute,
    divide,
    write_list,
)
from showattend.export.cluster.ray_engine import Work, connected, count_workers, run_parts
from showattend.export.cluster.stores import Store, check_packages
from showattend.model.checkpoint import files_digest
from showattend.system.files import hold, unwritable
from showattend.system.threads import in_order

LOCK = ".running"
_log = logging.getLogger(__name__)


class Summary(NamedTuple):
    """The results of a run, and of earlier ones.

    Attributes:
        captions: Captions made by this run.
        before: Parts that existed already.
        made: Parts made by this run.
        bad: Bad images in all existing parts.
        failures: A line for each part that could not be made.
        problems: A line for each input that has no images.
        is_empty: Whether no existing part has a caption.
    """

    captions: int
    before: int
    made: int
    bad: int
    failures: tuple[str, ...]
    problems: tuple[str, ...]
    is_empty: bool


def caption_many(
    inputs: Sequence[str],
    output: str,
    *,
    recursive: bool = False,
    model: str | None = None,
    parts: str = "parquet",
    part_size: int | None = None,
    workers: int | None = None,
    cores: int = 1,
    device: str = "auto",
    precision: str = "fp32",
    size: int | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] = lambda *_: None,
    **search: Any,
) -> Summary:
    """Caption images with actors of Ray, each exactly once, into files of a folder or bucket.

    The images are listed once, in ``images.jsonl`` next to the results. Called again with the same
    arguments, it makes the missing parts.

    Args:
        inputs: Files, folders and patterns; addresses such as ``s3://bucket/photos`` or patterns of
            them; patterns of tar shards such as ``s3://bucket/{000..999}.tar``.
        output: A folder that all machines share, or an address.
        recursive: Look into subfolders of this machine.
        model: See `Captioner.from_pretrained`; a path must be valid on all machines.
        parts: ``parquet`` or ``jsonl``.
        part_size: Images per part; None is 1,000, or fewer if there are few images.
        workers: The number of workers; None is as many as the cluster has room for.
        cores: Cores per worker.
        device: See `Captioner.from_pretrained`; with ``auto``, each worker gets a GPU if there are
            any.
        precision: See `Captioner.from_pretrained`.
        size: See `Captioner.from_pretrained`.
        batch_size: Images the model sees at once.
        progress: Called with the number of finished parts, and the total.
        **search: ``beam_size``, ``n_best`` and the other options of `Captioner.caption`.

    Returns:
        A summary of the run.

    Raises:
        UserError: A package is missing, an option is invalid, the output was started with other
            options, or another run is writing it.
        DataError: An object store cannot be listed, or the list of an earlier run is damaged.
    """
    if parts not in KINDS:
        raise UserError(f"{parts}: parts are parquet or jsonl")
    check_packages("ray", *(["pyarrow"] if parts == "parquet" else []))
    if model is not None and Path(model).exists():
        model = str(Path(model).absolute())  # workers may have another folder
    store = Store(output)
    options = {
        "inputs": absolute(inputs),
        "recursive": recursive,
        "model": files_digest(model),
        "parts": parts,
        "precision": precision,
        "size": size,
        **search,
    }
    store.prepare()
    with _alone(store):
        problems: list[str] = []
        listed = None
        if store.has(LIST):
            ImageList(store).check(options)
            if not _missing(store, parts):
                return _summary(store, parts, [], before=ImageList(store).totals().parts)
        else:
            _refuse_parts(store)
            listing = list_inputs(inputs, recursive, problems)
            first = next(listing, None)
            if first is None:
                return Summary(0, 0, 0, 0, (), tuple(problems), is_empty=True)
            listed = itertools.chain([first], listing)
        with connected() as ray:
            count, with_gpu = count_workers(ray, workers, cores, device)
            if listed is not None:
                _log.info("listing the images")
                divided = divide(listed, part_size, count)
                write_list(store, divided, str(Path.cwd()), options, problems)
            images, names = ImageList(store), store.names()
            totals = images.totals()
            before = totals.parts - _missing(store, parts)
            _log.info(_said(totals, before, store))
            dispatcher = Dispatcher(
                part for part in images.parts() if file_of(part, parts) not in names
            )
            work = Work(
                model=model,
                digest=options["model"],
                store=store,
                kind=parts,
                folder=images.folder,
                device=device,
                precision=precision,
                size=size,
                batch_size=batch_size,
                search=search,
                cores=cores,
            )
            outcomes = []
            run = run_parts(ray, dispatcher, work, workers=count, with_gpu=with_gpu)
            with closing(run):
                for done, outcome in enumerate(run, 1):
                    outcomes.append(outcome)
                    if outcome.failure:
                        _log.warning(outcome.failure)
                    progress(before + done, totals.parts)
        return _summary(store, parts, outcomes, before)


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Lock a folder against a second run; in a bucket, both would write the same files."""
    if not store.is_folder:
        yield
        return
    path = store.folder / LOCK
    try:
        file = path.open("a")
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        if not hold(file):
            raise UserError(
                f"{store.place}: another run is writing it; wait for it to end, or give another "
                "--output"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _refuse_parts(store: Store) -> None:
    strange = sorted(name for name in store.names() if name.startswith(("part-", "bad-")))
    if strange:
        raise UserError(
            f"{store.place}: holds {strange[0]} but no {LIST}; give --output a new folder"
        )


def _missing(store: Store, kind: str) -> int:
    return ImageList(store).totals().parts - len(_made(store.names(), kind))


def _made(names: set[str], kind: str) -> list[str]:
    return [name for name in names if name.startswith("part-") and name.endswith(f".{kind}")]


def _summary(store: Store, kind: str, outcomes: Sequence[Outcome], before: int) -> Summary:
    names = store.names()
    bad = sorted(name for name in names if name.startswith("bad-"))
    failures = tuple(each.failure for each in outcomes if each.failure)
    captions = sum(each.captions for each in outcomes)
    return Summary(
        captions=captions,
        before=before,
        made=len(outcomes) - len(failures),
        bad=sum(count for _, count in in_order(partial(count_rows, store), bad, threads=16)),
        failures=failures,
        problems=ImageList(store).totals().problems,
        is_empty=not captions and not any(count_rows(store, each) for each in _made(names, kind)),
    )


def _said(totals: Totals, before: int, store: Store) -> str:
    said = f"{totals.images:,} image files, {totals.parts:,} parts"
    return f"{said}; {before:,} are in {store.place} already" if before else said
