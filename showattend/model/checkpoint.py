"""Model files: weights and everything that belongs to them in one safetensors file.

The file's header holds the format version, config, vocabulary, preprocessing and training record
as JSON. A model directory is a folder with such a ``model.safetensors`` and a model card. Pickle is
never used.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showattend.exceptions import CheckpointError, ConfigError
from showattend.model import model_schema
from showattend.model.hub import fetch, is_hub, looks_like_hub
from showattend.system.files import check_room, writing_file

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

FORMAT_VERSION = 1
FILE_NAME = "model.safetensors"
SEARCH_NAME, CALIBRATION_NAME = BESIDE = ("search.json", "calibration.safetensors")
"""Files in a model directory that override parts of the model's header."""
FAMILIARITY = "familiarity."
DEFAULT_MODEL = "everyday"

_log = logging.getLogger(__name__)


@dataclass
class Checkpoint:
    """The content of a model file.

    Attributes:
        weights: ``decoder.*``, and ``encoder.*`` unless the encoder has its published weights;
            ``familiarity.basis`` if the model can tell unfamiliar photographs (`Familiarity`).
        config: The sections encoder, attention, decoder and search as plain values.
        vocabulary: The words without special ones.
        preprocessing: `showattend.images.preprocessing.Preprocessing` as plain values.
        encoder_fingerprint: The checksum of the encoder's weights (`Encoder.fingerprint`).
        record: The training record: data, recipe, figures.
        calibration: `showattend.model.calibration.Calibration` as plain values, and how they were
            measured; empty if the model is not calibrated.
    """

    weights: dict[str, torch.Tensor]
    config: dict[str, Any]
    vocabulary: list[str]
    preprocessing: dict[str, Any]
    encoder_fingerprint: str
    record: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)


def shipped_models() -> dict[str, Path]:
    """Return the directories of the models that come with the package, by name."""
    found: dict[str, Path] = {}
    here = Path(__file__).parents[1]
    for root in (here, here.parent):  # an installed package, then a checkout
        for file in sorted(root.glob(f"assets/model/*/{FILE_NAME}")):
            found.setdefault(file.parent.name, file.parent)
    return found


def find_model(model: str | Path | None = None) -> Path:
    """Find the model file for a shipped model's name, a directory or a file; None for the default.

    ``hf:user/name`` is a model of the Hugging Face Hub (`showattend.model.hub`).

    Raises:
        CheckpointError: There is no such model.
    """
    shipped = shipped_models()
    if model is None:
        if DEFAULT_MODEL not in shipped:
            raise CheckpointError(f"the model {DEFAULT_MODEL} is missing; reinstall showattend")
        return shipped[DEFAULT_MODEL] / FILE_NAME
    name, path = str(model), Path(model)
    if is_hub(name):
        return fetch(name, FILE_NAME, BESIDE)
    if path.is_dir() and (path / FILE_NAME).is_file():
        return path / FILE_NAME
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name] / FILE_NAME
    if path.is_dir():
        exported = (path / "encoder.onnx").is_file()
        what = "an export, for caption --engine onnx; " if exported else ""
        raise CheckpointError(
            f"{path}: {what}holds no {FILE_NAME}; give a model's directory or file"
        )
    names = ", ".join(shipped) or "none"
    could = looks_like_hub(name) and not path.parent.exists()
    hub = f"; for one of the Hugging Face Hub: hf:{name}" if could else ""
    raise CheckpointError(
        f"{name}: no such model; give a directory, a file or a name ({names}){hub}"
    )


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Write a safetensors file atomically: to a temporary file, which then replaces the old one.

    Args:
        path: The file.
        tensors: Tensors [...] of any shape, by name.
        meta: Plain values for the header.

    Raises:
        CheckpointError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    size = sum(tensor.numel() * tensor.element_size() for tensor in plain.values())
    try:
        # Apart, since safetensors writes to a temporary file of its own.
        with writing_file(path, sync=True, apart=True) as file:
            check_room(path, size)
            save_file(plain, file, {"showattend": json.dumps(meta)})
            file.chmod(0o644)  # save_file makes it unreadable for others
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be written ({reason})") from error


def load_tensors(path: Path, what: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the tensors [...] and the header of a file from `save_tensors`.

    Args:
        path: The file.
        what: What the file should be, such as "a model", for messages.

    Raises:
        CheckpointError: The file is missing, damaged, or something else.
    """
    with _opened(path, what) as (file, meta):
        return {key: file.get_tensor(key) for key in file.keys()}, meta  # noqa: SIM118


def load_meta(path: Path, what: str) -> dict[str, Any]:
    """Read only the header of a file from `save_tensors`; see `load_tensors`."""
    with _opened(path, what) as (_, meta):
        return meta


@contextmanager
def _opened(path: Path, what: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if "showattend" not in header:
                raise CheckpointError(f"{path}: a safetensors file, but not {what} of showattend")
            meta = model_schema.parse_json(header["showattend"])
            if not isinstance(meta, dict):
                raise CheckpointError(f"{path}: damaged (its header is not an object)")
            yield file, meta
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise CheckpointError(f"{path}: no such file") from error
        raise CheckpointError(f"{path}: damaged, or not {what} of showattend") from error


def flatten(models: Mapping[str, Module]) -> dict[str, torch.Tensor]:
    """Join the weights [...] of several models in one dictionary, with the keys ``NAME.*``."""
    return {
        f"{name}.{key}": value
        for name, model in models.items()
        for key, value in model.state_dict().items()
    }


def unflatten(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Split the result of `flatten` into the weights [...] of each model, by its name."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        name, _, rest = key.partition(".")
        parts.setdefault(name, {})[rest] = value
    return parts


def save(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Write the model into a directory, or as one file if the path ends in .safetensors.

    The directory's files in `BESIDE` are removed: they belong to the previous model, and the
    checkpoint has its own search defaults and calibration.

    Returns:
        The path of the model file.

    Raises:
        CheckpointError: The file cannot be written, or a file of `BESIDE` cannot be removed.
    """
    path = Path(path)
    file = path if path.suffix == ".safetensors" else path / FILE_NAME
    meta = {"kind": "model", "format_version": FORMAT_VERSION} | {
        key: getattr(checkpoint, key)
        for key in ("config", "vocabulary", "preprocessing", "encoder_fingerprint", "record")
    }
    if checkpoint.calibration:  # older versions do not know this key
        meta["calibration"] = checkpoint.calibration
    save_tensors(file, checkpoint.weights, meta)
    _forget_what_is_beside(file)
    return file


def load(model: str | Path | None = None) -> Checkpoint:
    """Read a model.

    A ``search.json`` in a model directory overrides the search defaults in the header: it was
    chosen on validation data after training. Its key ``weights`` identifies the weights that it is
    for (`weights_digest`); with other weights the file is ignored with a warning. Its key
    ``figures`` holds the scores with these defaults, and replaces the record's. In the same way, a
    ``calibration.safetensors`` overrides the calibration in the model file.

    Args:
        model: A shipped model's name, a directory or a file; None for the default.

    Raises:
        CheckpointError: There is no such model, or it is damaged, of another kind, or of a newer
            format.
    """
    path = find_model(model)
    weights, meta = load_tensors(path, "a model")
    if meta.pop("kind", None) != "model":
        raise CheckpointError(f"{path}: not a model (a training state?); give the run's model")
    version = meta.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has format version {version}, this showattend reads {FORMAT_VERSION}; "
            "install a showattend that matches it"
        )
    try:
        model_schema.MODEL(meta, "it")
    except ValueError as error:
        raise CheckpointError(f"{path}: its header cannot be read ({error})") from error
    try:
        checkpoint = Checkpoint(weights=weights, **meta)
    except TypeError as error:
        raise CheckpointError(f"{path}: its header cannot be read ({error})") from error
    if given := _search(path):
        if figures := given.pop("figures", None):
            checkpoint.record = checkpoint.record | {"figures": figures}
        search = (checkpoint.config.get("search") or {}) | given
        _check_search(search, path.with_name(SEARCH_NAME))
        checkpoint.config = checkpoint.config | {"search": search}
    _take_calibration(path, checkpoint)
    return checkpoint


def _take_calibration(path: Path, checkpoint: Checkpoint) -> None:
    """Apply the model directory's ``calibration.safetensors``, if it is for these weights."""
    file = path.with_name(CALIBRATION_NAME)
    if path.name != FILE_NAME or not file.is_file():
        return
    tensors, meta = load_tensors(file, "a calibration")
    try:
        model_schema.section({"calibration": model_schema.CALIBRATION})(meta, "it")
    except ValueError as error:
        raise CheckpointError(
            f"{file}: not a calibration ({error}); delete it, or calibrate again"
        ) from error
    found = meta["calibration"]
    if (wanted := meta.get("weights")) != weights_digest(path):
        _log.warning("%s: is for other weights (%s) and is ignored; delete it", file, wanted)
        return
    checkpoint.calibration = found
    mine = {k: v for k, v in checkpoint.weights.items() if not k.startswith(FAMILIARITY)}
    checkpoint.weights = mine | tensors


def _check_search(search: dict[str, Any], beside: Path) -> None:
    from showattend.model.search_options import SearchOptions  # here, since it imports torch

    try:
        SearchOptions.from_section(search, str(beside))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def weights_digest(path: Path) -> str:
    """Compute 16 hexadecimal digits that identify a model file's weights, without its header.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))  # skip the header and its length
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:16]


def save_calibration(path: Path, checkpoint: Checkpoint) -> Path:
    """Write a model's calibration into its directory, without changing the model file.

    Args:
        path: The model file.
        checkpoint: The model with its calibration.

    Returns:
        The path of the calibration file.

    Raises:
        CheckpointError: The model is not in a model directory, or the file cannot be written.
    """
    if path.name != FILE_NAME:
        raise CheckpointError(f"{path}: not a {FILE_NAME}, so it cannot have a calibration file")
    file = path.with_name(CALIBRATION_NAME)
    tensors = {k: v for k, v in checkpoint.weights.items() if k.startswith(FAMILIARITY)}
    meta = {"weights": weights_digest(path), "calibration": checkpoint.calibration}
    save_tensors(file, tensors, {"kind": "calibration"} | meta)
    return file


def beside(path: Path, *names: str) -> bytes:
    """Concatenate the contents of files next to a model file; missing files are skipped.

    Args:
        path: The model file.
        *names: Names in `BESIDE`; all of them by default.

    Raises:
        OSError: A file cannot be read.
    """
    files = [path.with_name(name) for name in names or BESIDE if path.name == FILE_NAME]
    return b"".join(file.read_bytes() for file in files if file.is_file())


def files_digest(model: str | Path | None = None) -> str:
    """16 hexadecimal digits that identify a model's files, wherever they are.

    Raises:
        CheckpointError: There is no such model, or a file cannot be read.
    """
    path = find_model(model)
    try:
        content = path.read_bytes() + beside(path)
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return hashlib.sha256(content).hexdigest()[:16]


def _search(path: Path) -> dict[str, Any]:
    """Read ``search.json`` without checking its keys; empty if it is for other weights."""
    file = path.with_name(SEARCH_NAME)
    try:
        found = model_schema.parse_json(beside(path, SEARCH_NAME).decode() or "{}")
        if not isinstance(found, dict):
            raise CheckpointError(f"{file}: must contain keys of the config's search section")
        wanted = found.pop("weights", None)
        if wanted is None or wanted == weights_digest(path):
            return found
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from error
    _log.warning("%s: is for other weights (%s) and is ignored; delete it", file, wanted)
    return {}


def _forget_what_is_beside(file: Path) -> None:
    for beside in (file.with_name(name) for name in BESIDE if file.name == FILE_NAME):
        if beside.is_file():
            try:
                beside.unlink()
            except OSError as error:
                reason = error.strerror or error
                raise CheckpointError(
                    f"{beside}: belongs to the previous model and cannot be deleted ({reason})"
                ) from error
            _log.info("deleted %s, which belonged to the previous model", beside)
