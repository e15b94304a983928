"""The commands ``showattend prepare ...``, one for each kind of data set."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from showattend.cli.terminal import bars, examples, log, printable
from showattend.data.prepare import Report, Sharding, prepare_flickr8k, prepare_karpathy
from showattend.data.prepare_folder import prepare_folder
from showattend.data.shard_writer import SIZE
from showattend.exceptions import UserError

prepare_app = typer.Typer(
    help="Check a data set, report on it, and write it in the format that training reads.",
    epilog=examples(
        "prepare flickr8k Flickr8k/ --out data/flickr8k",
        "prepare coco --out data/coco --images 5000 --categories dog,frisbee",
        "prepare coco --out data/karpathy --split karpathy --image-root coco/",
        "prepare folder my-photos/ --out data/mine",
        "prepare flickr8k Flickr8k/ --out data/flickr8k --shards data/flickr8k-shards",
    ),
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option(help="Folder to write to.")]
MinCount = Annotated[int, typer.Option(help="Minimum occurrences for a word to be learnt.", min=1)]

Shards = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the same data set as tar files that WebDataset reads.",
        metavar="DIR",
        show_default="none",
    ),
]
ShardSize = Annotated[int, typer.Option(help="Images per shard.", min=1)]
FeaturesOf = Annotated[
    Path | None,
    typer.Option(
        help="Config of a training run; the features of each image from its frozen encoder are "
        "stored in the shards too.",
        metavar="CONFIG",
        show_default="only images",
    ),
]


@prepare_app.command()
def flickr8k(
    root: Annotated[Path, typer.Argument(help="Folder with Flickr8k.token.txt and the splits.")],
    out: Out,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images.", show_default="in the folder")
    ] = None,
    min_count: MinCount = 5,
    shards: Shards = None,
    shard_size: ShardSize = SIZE,
    features: FeaturesOf = None,
) -> None:
    """Flickr8k's own text files."""
    sharding = _sharding(shards, shard_size, features)
    _prepare(prepare_flickr8k, root, out, images=images, min_count=min_count, shards=sharding)


@prepare_app.command()
def karpathy(
    annotations: Annotated[Path, typer.Argument(help="dataset_coco.json, dataset_flickr8k.json")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    out: Out,
    restval: Annotated[bool, typer.Option(help="Train on the split restval too.")] = True,
    min_count: MinCount = 5,
    shards: Shards = None,
    shard_size: ShardSize = SIZE,
    features: FeaturesOf = None,
) -> None:
    """A Karpathy split file."""
    sharding = _sharding(shards, shard_size, features)
    options = {"restval": restval, "min_count": min_count, "shards": sharding}
    _prepare(prepare_karpathy, annotations, images, out, **options)


@prepare_app.command()
def coco(
    out: Out,
    images: Annotated[
        int | None,
        typer.Option(
            help="Number of images; every split keeps its share.",
            min=1,
            metavar="N",
            show_default="all",
        ),
    ] = None,
    categories: Annotated[
        str,
        typer.Option(
            help="Only images that show one of these, such as dog,frisbee.",
            metavar="NAMES",
            show_default="all",
        ),
    ] = "",
    split: Annotated[
        Literal["official", "karpathy"] | None,
        typer.Option(help="The split.", show_default="that of the given annotations, or official"),
    ] = None,
    year: Annotated[
        Literal["2014", "2017"], typer.Option(help="The release to download.")
    ] = "2014",
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            help="Caption files that you have, or their folder; may be given several times.",
            metavar="FILE",
            show_default="in OUT/annotations, or downloaded",
        ),
    ] = None,
    instances: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instances files, for --categories; may be given several times.",
            metavar="FILE",
            show_default="next to the annotations",
        ),
    ] = None,
    hold_out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files in COCO's format whose images are kept out of training, for example the "
            "instances for `showattend ground`; may be given several times.",
            metavar="FILE",
            show_default="none",
        ),
    ] = None,
    image_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of your images; others are downloaded only if --base-url is given.",
            metavar="DIR",
            show_default="in OUT/images, or downloaded",
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="A server with COCO's folder layout.",
            metavar="URL",
            show_default="http://images.cocodataset.org",
        ),
    ] = None,
    restval: Annotated[
        bool, typer.Option(help="With Karpathy's split, train on restval too.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of the selection for --images.")] = 0,
    min_count: MinCount = 5,
    shards: Shards = None,
    shard_size: ShardSize = SIZE,
    features: FeaturesOf = None,
) -> None:
    """MS-COCO or part of it, from local files or downloading only what it needs."""
    from showattend.data.coco.prepare_coco import Subset, prepare_coco

    subset = Subset(
        images=images,
        categories=tuple(name.strip() for name in categories.split(",") if name.strip()),
        split=split,
        year=int(year),
        restval=restval,
        seed=seed,
    )
    try:
        _prepare(
            prepare_coco,
            out,
            subset,
            annotations=annotations or (),
            instances=instances or (),
            hold_out=hold_out or (),
            image_root=image_root,
            base_url=base_url,
            min_count=min_count,
            shards=_sharding(shards, shard_size, features),
        )
    except KeyboardInterrupt:
        log.info(
            f"finished downloads are kept in {printable(out)}; run the same command to continue"
        )
        raise


@prepare_app.command()
def folder(
    folder: Annotated[Path, typer.Argument(help="Folder of the photos and their captions.")],
    out: Out,
    val_fraction: Annotated[
        float, typer.Option(help="Fraction of the images for validation.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of that selection.")] = 0,
    min_count: MinCount = 5,
    shards: Shards = None,
    shard_size: ShardSize = SIZE,
    features: FeaturesOf = None,
) -> None:
    """Your own photos, with photo.txt next to photo.jpg, or captions.jsonl or captions.csv."""
    _prepare(
        prepare_folder,
        folder,
        out,
        val_fraction=val_fraction,
        seed=seed,
        min_count=min_count,
        shards=_sharding(shards, shard_size, features),
    )


def _sharding(folder: Path | None, size: int, features: Path | None) -> Sharding | None:
    """The settings for shards, from the options.

    Raises:
        UserError: There are features but no folder, or the config is invalid.
    """
    if folder is None:
        if features is not None:
            raise UserError("--features is for shards; give their folder with --shards")
        return None
    if features is None:
        return Sharding(folder, size)
    from showattend.config import load_config
    from showattend.system.device import choose_device, choose_dtype
    from showattend.training.shard_inputs import EncodedPhotos

    config = load_config(features, [])
    device = choose_device(config.train.device)
    dtype = choose_dtype(config.train.precision, device)
    return Sharding(folder, size, EncodedPhotos(config, device, dtype))


def _prepare(function: Callable[..., Report], *args: Any, **options: Any) -> None:
    with bars() as progress:
        shown = progress if sys.stderr.isatty() else _tenths()
        report = function(*args, **options, progress=shown)
    for line in report.lines():
        print(printable(line))
    if report.skipped:
        raise typer.Exit(1)


def _tenths() -> Callable[..., None]:
    """Progress for log files instead of bars: a line for every tenth of a download."""
    said: dict[str, int] = {}

    def move(what: str, done: int, total: int, note: str = "") -> None:
        tenth = 10 * done // total
        if note and tenth > said.get(what, 0):
            said[what] = tenth
            log.info(f"{what}: {10 * tenth} %, {note}")

    return move
