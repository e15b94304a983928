"""The application: one page, one JSON API.

``GET /`` is the page. ``POST /api/caption`` takes a photo and options as a form and answers with
captions, their maps and the numbers behind them; ``GET /openapi.json`` describes it. Whatever goes
wrong is answered with ``{"error": "one line"}``. Nothing is kept: a photo lies in a temporary
folder while it is captioned.
"""

from __future__ import annotations

import difflib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from showattend import __version__
from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.config import settings
from showattend.exceptions import UserError
from showattend.images.claims import claim
from showattend.images.photo_file import PhotoFile
from showattend.model.checkpoint import FILE_NAME
from showattend.server.limits import Gate, Guard, Limits
from showattend.server.upload_page import page
from showattend.text.tokenizer import tokenize
from showattend.visualize.page import LONGEST_SIDE, photo_values, picture

MOST = 20
"""Beams or samples of one request."""


class Said(BaseModel):
    """One caption.

    ``confidences`` are the model's probabilities of the words, ``confidence`` their geometric mean
    with the end's; ``unsure`` marks words of a probability so low that they are often wrong.
    ``half_area`` is the share of the grid that holds half of each map; ``parts`` are the maps of
    heads, hops or levels, where there are some, and ``sentinel`` what stayed with the sentinel.
    """

    caption: str
    words: list[str]
    log_probs: list[float | None]
    log_prob: float | None
    score: float | None
    confidences: list[float | None]
    confidence: float | None
    unsure: list[bool]
    betas: list[float] | None
    attention: list[list[list[float]]]
    half_area: list[float]
    parts: list[list[list[list[float]]]] | None = None
    part_names: list[str] | None = None
    sentinel: list[float] | None = None


class Answer(BaseModel):
    """A photo's captions, best first, with a map [rows][columns] for each word.

    ``geometry.box`` is the rectangle that the maps cover, in pixels of the upright photo of
    ``geometry.image_size``. ``fixed`` words at the beginning were given. Words of a lower
    probability than ``unsure_below`` are unsure, but for function words. Words of a ``half_area``
    up to ``somewhere`` looked somewhere, the others everywhere. ``betas`` is null if the
    model has no gate. ``familiarity`` is the share of ordinary photos that are as unlike the
    training ones, or more (null where the model does not know), and ``note`` says so where it is
    small.
    """

    name: str
    model: str
    captions: list[Said]
    geometry: dict[str, list[float]]
    unsure_below: float
    somewhere: float
    familiarity: float | None
    note: str | None
    fixed: int
    notes: list[str]
    seed: int | None
    seconds: float
    preview: str | None


class Problem(BaseModel):
    """What is wrong, in one line."""

    error: str


@dataclass(frozen=True)
class Options:
    """What a request asks for beside its photo."""

    method: str
    beam_size: int | None
    n_best: int | None
    max_length: int | None
    samples: int
    temperature: float
    seed: int
    prefix: str
    banned: list[str]
    preview: bool


def _setting(name: str, most: int) -> Any:
    """The form's field of a setting of search, of which the server grants no more than this."""
    setting = settings()[name]
    most = min(most, setting.most)
    return Form(ge=setting.least, le=most, description=setting.sentence)


def create_app(
    captioner: Captioner,
    limits: Limits | None = None,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
) -> FastAPI:
    """The application around a model.

    Args:
        captioner: The model.
        limits: What one request may cost.
        hosts: The names that the server answers to; none means any.
        origins: Where else its page may come from: the address of a proxy before the server.
    """
    limits = limits or Limits()
    gate = Gate(limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        gate.close()

    # No docs_url: FastAPI's page of documentation loads its code from another host.
    app = FastAPI(
        title="showattend", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(Guard, limits=limits, hosts=hosts, origins=origins)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _wrong_value)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(Exception, _fault)
    home = page(
        model=_model_name(captioner), limits=limits, beam_size=captioner.search.beam_size, most=MOST
    )

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(home)

    problems: dict[int | str, dict[str, Any]] = {
        code: {"model": Problem} for code in (400, 403, 408, 413, 422, 503, 504)
    }

    @app.post("/api/caption", responses=problems)
    async def caption(
        request: Request,
        image: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF.")],
        method: Annotated[Literal["beam", "sample"], Form()] = "beam",
        beam_size: Annotated[int | None, _setting("beam_size", MOST)] = None,
        n_best: Annotated[int | None, _setting("n_best", MOST)] = None,
        samples: Annotated[int, Form(ge=1, le=MOST, description="sample: how many to draw.")] = 5,
        temperature: Annotated[
            float, Form(ge=0.05, le=5, description="sample: under 1, the likely is likelier.")
        ] = 0.7,
        seed: Annotated[
            int | None, Form(ge=0, lt=2**31, description="sample: the same draws the same.")
        ] = None,
        max_length: Annotated[int | None, _setting("max_length", 60)] = None,
        prefix: Annotated[
            str, Form(max_length=400, description="The first words, given; the caption goes on.")
        ] = "",
        banned: Annotated[
            str, Form(max_length=1000, description="Words not to say after them, blanks between.")
        ] = "",
        preview: Annotated[
            bool, Form(description="Return the photo too: upright, a JPEG as a data: address.")
        ] = False,
    ) -> Answer:
        """Caption a photo: what it shows, and for every word where the model looked."""
        _check_names(name for name, _ in (await request.form()).multi_items())
        content = await image.read()
        if len(content) > limits.bytes:
            raise HTTPException(413, limits.too_large)
        options = Options(
            method=method,
            beam_size=beam_size,
            n_best=n_best,
            max_length=max_length,
            samples=samples,
            temperature=temperature,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            prefix=prefix,
            banned=tokenize(banned),
            preview=preview,
        )
        name = _printable(image.filename or "")
        return await gate.run(
            lambda: answer(captioner, content, name, options, limits), request.is_disconnected
        )

    return app


def answer(
    captioner: Captioner, content: bytes, name: str, options: Options, limits: Limits
) -> Answer:
    """Caption an uploaded file.

    Args:
        captioner: The model.
        content: Of the file.
        name: What to call it.
        options: What is asked for.
        limits: For its pixels.

    Raises:
        HTTPException: 413 when the image has too many pixels.
        UserError: The file is no image, or an option has a value that means nothing.
    """
    began = time.perf_counter()
    photo = PhotoFile.of(content, name)
    _check_claim(photo, name, 2 * captioner.preprocessing.size, limits)
    best = _caption(captioner, photo, options)
    ranked = (best, *best.alternatives)
    preview = picture(ranked, LONGEST_SIDE) if options.preview else None
    first = tokenize(options.prefix)
    unknown = [word for word in dict.fromkeys(first) if word not in captioner.vocabulary]
    notes = [f"the model does not know {', '.join(unknown)}, and reads <unk> there"]
    return Answer(
        **photo_values(ranked) | {"name": name},
        model=_model_name(captioner),
        fixed=len(first),
        notes=notes if unknown else [],
        seed=options.seed if options.method == "sample" else None,
        seconds=round(time.perf_counter() - began, 3),
        preview=preview,
    )


def _check_claim(path: Path, name: str, at_least: int, limits: Limits) -> None:
    """Refuse an image that has too many pixels, or takes more memory than so many in RGB.

    Raises:
        HTTPException: 413.
    """
    found = claim(path, at_least)
    pixels = found.width * found.height
    if pixels > limits.megapixels * 1e6:
        raise HTTPException(
            413,
            f"{name}: the image has {pixels / 1e6:.0f} million pixels, "
            f"more than the limit of {limits.megapixels:g}",
        )
    if found.bytes > limits.decoded:
        raise HTTPException(
            413,
            f"{name}: decoding the image takes {found.bytes / 1e6:.0f} MB of memory, more than the "
            f"limit of {limits.decoded / 1e6:.0f}; send it smaller, or as a JPEG",
        )


def _caption(captioner: Captioner, path: Path, options: Options) -> Caption:
    steer: dict[str, Any] = {"prefix": options.prefix, "banned": options.banned}
    if options.max_length is not None:
        # The model's own least number of words gives way.
        steer["max_length"] = options.max_length
    if options.method == "sample":
        return captioner.sample(
            path,
            samples=options.samples,
            temperature=options.temperature,
            seed=options.seed,
            **steer,
        )
    beam_size = options.beam_size or captioner.search.beam_size
    n_best = beam_size if options.n_best is None else options.n_best
    if options.max_length is not None:
        steer["min_length"] = min(captioner.search.min_length, options.max_length)
    return captioner.caption(path, beam_size=beam_size, n_best=n_best, **steer)


def _printable(name: str) -> str:
    """A file's name without folders and controls, and not too long."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(sign for sign in name if sign.isprintable())[:80] or "photo"


def _model_name(captioner: Captioner) -> str:
    """The model's name; of a path only the end, the rest is nobody's business."""
    path = Path(captioner.name)
    return (path.parent if path.name == FILE_NAME else path).name or "model"


def _check_names(given: Iterable[str]) -> None:
    """Refuse what would be passed over in silence.

    Raises:
        HTTPException: 422 when a field of the form is unknown, or there twice.
    """
    known = ["image", *(field.name for field in fields(Options))]
    for name, times in Counter(given).items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise HTTPException(422, f"unknown field {name[:40]!r}; {hint}")
        if times > 1:
            what = "photos; send one at a time" if name == "image" else "values; send one"
            raise HTTPException(422, f"{name}: {times} {what}")


# Problems ------------------------------------------------------------------------------------


async def _http_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


async def _wrong_value(_: Request, error: Exception) -> JSONResponse:
    """The first value that is wrong: "beam_size: input should be greater than ..."."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    message = str(first["msg"])
    if field == "image":
        message = "send the photo as the form's file field image"
    return JSONResponse({"error": f"{field}: {message[:1].lower()}{message[1:]}"}, 422)


async def _user_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": " ".join(str(error).split())}, 400)


async def _fault(_: Request, __: Exception) -> JSONResponse:
    """A mistake of ours: uvicorn's log has the traceback."""
    return JSONResponse({"error": "the server failed; its log says how"}, 500)
