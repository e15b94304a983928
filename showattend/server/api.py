"""The web application: a page and a JSON API.

``GET /`` returns the page. ``POST /api/caption`` takes a photo and options as a form, and returns
captions with their maps and probabilities, and ``POST /api/figure`` returns a file to keep;
``GET /openapi.json`` describes both. Errors are returned as ``{"error": "one line"}``. Nothing is
stored: photos are in memory only, while they are captioned, and their features for a few minutes
(`showattend.server.recent`), so that a photo is sent once for several captions.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response

from showattend import __version__
from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.config import settings
from showattend.exceptions import UserError
from showattend.given import Looked
from showattend.images.claims import claim
from showattend.images.photo_file import PhotoFile
from showattend.model.checkpoint import FILE_NAME
from showattend.server.answers import Answer, Problem
from showattend.server.examples import examples
from showattend.server.limits import Gate, Guard, Limits, keep_uploads_in_memory
from showattend.server.recent import Recent
from showattend.server.saving import KINDS, draw
from showattend.server.upload_page import page
from showattend.text.tokenizer import tokenize
from showattend.visualize.page import LONGEST_SIDE, photo_values, picture

# Its warnings about a client's bytes concern only the client, who gets an answer.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())

MOST = 20
"""The most beams or samples of one request."""


IMAGE = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF."
MISSING = "send the photo as the form's file field image"


@dataclass(frozen=True)
class Options:
    """The options of a request."""

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
    text: str = ""
    short: bool = False


_OPTIONS = tuple(field.name for field in fields(Options))


def _setting(name: str, most: int) -> Any:
    """Build the form's field for a setting of the search, with an upper limit."""
    setting = settings()[name]
    most = min(most, setting.most)
    return Form(ge=setting.least, le=most, description=setting.sentence)


def create_app(
    captioner: Captioner,
    limits: Limits | None = None,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    recent: Recent | None = None,
) -> FastAPI:
    """Create the web application for a model.

    Args:
        captioner: The model.
        limits: The limits on requests; None for the defaults.
        hosts: The host names that the server answers to; empty for any.
        origins: Other origins that the page may come from, such as a reverse proxy's address.
        recent: The store of recent features; None for the defaults.
    """
    limits = limits or Limits()
    gate = Gate(limits)
    keep_uploads_in_memory()
    kept = Recent() if recent is None else recent

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(kept))
        yield
        sweeping.cancel()
        gate.close()

    # No docs_url: FastAPI's documentation page loads scripts from another host.
    app = FastAPI(
        title="showattend", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(GZipMiddleware, compresslevel=6)  # maps would take seconds on a slow line
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
    there = examples()

    @app.get("/examples/{name}.jpg", include_in_schema=False)
    async def example(name: str) -> FileResponse:
        if name not in there:
            raise HTTPException(404, "no such example photograph")
        return FileResponse(there[name], media_type="image/jpeg")

    @app.post("/api/caption", responses=problems | {410: {"model": Problem}})
    async def caption(
        request: Request,
        image: Annotated[UploadFile | None, File(description=IMAGE)] = None,
        token: Annotated[
            str, Form(max_length=100, description="Instead of the photo: an answer's token.")
        ] = "",
        method: Annotated[Literal["beam", "sample"], Form()] = "beam",
        beam_size: Annotated[int | None, _setting("beam_size", MOST)] = None,
        n_best: Annotated[int | None, _setting("n_best", MOST)] = None,
        samples: Annotated[int, Form(ge=1, le=MOST, description="sample: number of samples.")] = 5,
        temperature: Annotated[
            float, Form(ge=0.05, le=5, description="sample: below 1, favours probable words.")
        ] = 0.7,
        seed: Annotated[
            int | None, Form(ge=0, lt=2**31, description="sample: makes samples reproducible.")
        ] = None,
        max_length: Annotated[int | None, _setting("max_length", 60)] = None,
        prefix: Annotated[
            str, Form(max_length=400, description="The first words of every caption.")
        ] = "",
        banned: Annotated[
            str, Form(max_length=1000, description="Words to avoid after these, space-separated.")
        ] = "",
        preview: Annotated[
            bool, Form(description="Also return the upright photo, a JPEG as a data: URL.")
        ] = False,
        text: Annotated[
            str, Form(max_length=600, description="Read this instead of searching for a caption.")
        ] = "",
        short: Annotated[
            bool, Form(description="Round maps to what can be seen: fewer bytes.")
        ] = False,
    ) -> Answer:
        """Caption a photo, and show for every word where the model looked."""
        if image is None and not token:
            raise HTTPException(422, f"image: {MISSING}")
        _check_names((await request.form()).multi_items(), ("image", *_OPTIONS, "token"))
        if image is not None and token:
            raise HTTPException(422, "image: send the photo or its token, not both")
        if image is None and preview:
            raise HTTPException(422, "preview: the server has not kept the photo; send it again")
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
            text=text,
            short=short,
        )
        if image is None:
            work = lambda: answer_again(captioner, token, options, kept)  # noqa: E731
        else:
            content, name = await _uploaded(image, limits)
            work = lambda: answer(captioner, content, name, options, limits, kept)  # noqa: E731
        return await gate.run(work, request.is_disconnected)

    @app.post(
        "/api/figure",
        response_class=Response,
        responses=problems | {200: {"content": {kind: {} for kind in KINDS.values()}}},
    )
    async def figure(
        request: Request,
        image: Annotated[UploadFile, File(description=IMAGE)],
        text: Annotated[str, Form(max_length=8000, description="The captions, one per line.")],
        kind: Annotated[
            Literal["png", "gif", "html"],
            Form(description="A figure, an animation, or a page with all of the captions."),
        ] = "png",
    ) -> Response:
        """Draw captions of a photo, as a file to keep."""
        _check_names((await request.form()).multi_items(), ("image", "text", "kind"))
        content, name = await _uploaded(image, limits)

        def drawn() -> bytes:
            photo = PhotoFile.of(content, name)
            _check_claim(photo, name, 2 * captioner.preprocessing.size, limits)
            return draw(captioner, photo, text, kind, MOST)

        made = await gate.run(drawn, request.is_disconnected)
        return Response(
            made,
            media_type=KINDS[kind],
            headers={"Content-Disposition": f'attachment; filename="figure.{kind}"'},
        )

    return app


async def _sweep(recent: Recent) -> None:
    """Drop old features even if there are no requests."""
    while True:
        await asyncio.sleep(min(max(recent.seconds / 10, 1), 60))
        recent.drop_old()


async def _uploaded(image: UploadFile, limits: Limits) -> tuple[bytes, str]:
    """The content and the name of an uploaded file.

    Raises:
        HTTPException: 413 if it is too large.
    """
    content = await image.read()
    if len(content) > limits.bytes:
        raise HTTPException(413, limits.too_large)
    return content, _printable(image.filename or "")


def answer(
    captioner: Captioner,
    content: bytes,
    name: str,
    options: Options,
    limits: Limits,
    recent: Recent,
) -> Answer:
    """Caption an uploaded file, and keep its features.

    Args:
        captioner: The model.
        content: The content of the file.
        name: The name of the file, for messages.
        options: The options of the request.
        limits: The limits on the image.
        recent: The store for its features.

    Raises:
        HTTPException: 413 if the image has too many pixels or takes too much memory.
        ImageError: The file is not an image that can be read.
        UserError: An option has an invalid value.
    """
    began = time.perf_counter()
    photo = PhotoFile.of(content, name)
    _check_claim(photo, name, 2 * captioner.preprocessing.size, limits)
    looked = captioner.look(photo)
    token = recent.keep(looked, name)
    return _answer(captioner, looked, name, token, options, began)


def answer_again(captioner: Captioner, token: str, options: Options, recent: Recent) -> Answer:
    """Caption a photo whose features are kept.

    Raises:
        HTTPException: 410 if they are not kept any more.
        UserError: An option has an invalid value.
    """
    began = time.perf_counter()
    found = recent.find(token)
    if found is None:
        raise HTTPException(410, "token: the photo is not kept any more; send it again")
    return _answer(captioner, *found, token, options, began)


def _answer(
    captioner: Captioner,
    looked: Looked,
    name: str,
    token: str | None,
    options: Options,
    began: float,
) -> Answer:
    best = _caption(captioner, looked, options)
    ranked = (best, *best.alternatives)
    preview = picture(ranked, LONGEST_SIDE) if options.preview else None
    first = [] if options.text else tokenize(options.prefix)
    unknown = [
        word
        for word in dict.fromkeys(first or tokenize(options.text))
        if word not in captioner.vocabulary
    ]
    notes = [f"the model does not know {', '.join(unknown)}, and reads <unk> there"]
    return Answer(
        **photo_values(ranked, short=options.short) | {"name": name},
        model=_model_name(captioner),
        fixed=len(first),
        notes=notes if unknown else [],
        seed=options.seed if options.method == "sample" else None,
        seconds=round(time.perf_counter() - began, 3),
        preview=preview,
        token=token,
    )


def _check_claim(path: Path, name: str, at_least: int, limits: Limits) -> None:
    """Check the number of pixels and the memory that an image claims, before decoding it.

    Raises:
        HTTPException: 413 if one of them is over the limit.
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
            f"limit of {limits.decoded / 1e6:.0f}; send a smaller image, or a JPEG",
        )


def _caption(captioner: Captioner, looked: Looked, options: Options) -> Caption:
    if options.text:
        return captioner.attend(looked, options.text)
    steer: dict[str, Any] = {"prefix": options.prefix, "banned": options.banned}
    if options.max_length is not None:
        # It also lowers the model's min_length, where necessary (see below).
        steer["max_length"] = options.max_length
    if options.method == "sample":
        return captioner.sample(
            looked,
            samples=options.samples,
            temperature=options.temperature,
            seed=options.seed,
            **steer,
        )
    beam_size = options.beam_size or captioner.search.beam_size
    n_best = beam_size if options.n_best is None else options.n_best
    if options.max_length is not None:
        steer["min_length"] = min(captioner.search.min_length, options.max_length)
    return captioner.caption(looked, beam_size=beam_size, n_best=n_best, **steer)


def _printable(name: str) -> str:
    """Return a file's name without folders and control characters, limited to 80 characters."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(sign for sign in name if sign.isprintable())[:80] or "photo"


def _model_name(captioner: Captioner) -> str:
    """Return the model's name, without the folders of a path, which clients must not see."""
    path = Path(captioner.name)
    return (path.parent if path.name == FILE_NAME else path).name or "model"


def _check_names(given: Iterable[tuple[str, Any]], known: Sequence[str]) -> None:
    """Check the names of the form's fields, which FastAPI would otherwise ignore silently.

    Raises:
        HTTPException: 422 if a field is unknown, or given twice.
    """
    for name, times in Counter(name for name, _ in given).items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise HTTPException(422, f"unknown field {name[:40]!r}; {hint}")
        if times > 1:
            what = "photos; send one at a time" if name == "image" else "values; send one"
            raise HTTPException(422, f"{name}: {times} {what}")


# Errors --------------------------------------------------------------------------------------


async def _http_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


async def _wrong_value(_: Request, error: Exception) -> JSONResponse:
    """Report the first invalid value: "beam_size: input should be greater than ..."."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    message = str(first["msg"])
    if field == "image":
        message = MISSING
    return JSONResponse({"error": f"{field}: {message[:1].lower()}{message[1:]}"}, 422)


async def _user_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": " ".join(str(error).split())}, 400)


async def _fault(_: Request, __: Exception) -> JSONResponse:
    """Report an internal error; uvicorn's log has the traceback."""
    return JSONResponse({"error": "internal server error; see the server's log"}, 500)
