"""The command ``showattend serve``: the web page and its API."""

from __future__ import annotations

import errno
import os
import socket
from importlib.util import find_spec
from typing import Annotated

import typer

from showattend.cli.loading import load_captioner
from showattend.cli.options import Device, Model, Precision, Size
from showattend.cli.terminal import log
from showattend.exceptions import UserError

NEEDED = ("fastapi", "uvicorn", "python_multipart")
"""What the extra ``serve`` installs."""


def serve(
    model: Model = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 uses a free one.", min=0, max=65535)] = 8000,
    max_megabytes: Annotated[float, typer.Option(help="Largest file.", min=0.1)] = 20,
    max_megapixels: Annotated[
        float, typer.Option(help="Largest image, at 4 bytes of memory per pixel.", min=0.1)
    ] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds allowed per photo.", min=1)] = 30,
    queue: Annotated[int, typer.Option(help="Photos that may wait.", min=0)] = 8,
    remember: Annotated[
        float, typer.Option(help="Seconds a photo's features are kept in memory.", min=0, max=86400)
    ] = 600,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Address of a reverse proxy: https://photos.example."),
    ] = None,
    size: Size = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Serve a web page for captioning photos, and its JSON API (POST /api/caption)."""
    for package in NEEDED:
        if find_spec(package) is None:
            raise UserError(f'the server needs {package}; run: pip install "showattend[serve]"')
    import uvicorn

    from showattend.server.api import create_app
    from showattend.server.connections import Connection
    from showattend.server.limits import LOOPBACK, Limits, read_origin
    from showattend.server.recent import Recent

    limits = Limits(max_megabytes, max_megapixels, timeout, queue)
    origins = tuple(map(read_origin, allowed_origin or ()))
    listening = listen(host, port)
    try:
        captioner = load_captioner(model, device, precision, size)
        private = host in LOOPBACK
        app = create_app(captioner, limits, LOOPBACK if private else (), origins, Recent(remember))
        # Its log would have a line for anything a stranger sends; our own faults are errors.
        config = uvicorn.Config(
            app, http=Connection, ws="none", log_level="error", server_header=False,
            access_log=False,
        )  # fmt: skip
        shown = f"[{host}]" if ":" in host else host
        log.info(f"showattend: open http://{shown}:{listening.getsockname()[1]}/ (Ctrl-C stops it)")
        if not private:
            log.info("showattend: anyone who can reach this address can use it; it has no password")
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # the normal way to stop it
        pass
    finally:
        listening.close()


def listen(host: str, port: int) -> socket.socket:
    """Open a socket at an address; done first, so that mistakes show before the model is loaded.

    Raises:
        UserError: The address does not belong to this machine, or is in use.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError):
        raise UserError(f"cannot listen on {host}:{port} (no such address)") from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()  # the error's own text repeats the address
        hint = "; --port selects another port" if error.errno == errno.EADDRINUSE else ""
        raise UserError(f"cannot listen on {host}:{port} ({reason}){hint}") from None
