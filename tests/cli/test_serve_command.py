"""``showattend serve``: starting, answering and stopping; mistakes in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

from showattend.cli import serve_command
from showattend.cli.serve_command import NEEDED, listen
from showattend.exceptions import UserError
from tests.commandline import CommandLine

installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason="the extra serve is absent"
)


@installed
def test_it_serves_until_it_is_interrupted(model: Path, photo: Path) -> None:
    command = [sys.executable, "-m", "showattend", "serve", "--port", "0", "--remember", "0"]
    running = subprocess.Popen(
        [*command, "--model", str(model)], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert running.stderr is not None
    idle: list[socket.socket] = []
    try:
        line = running.stderr.readline()
        assert line.startswith("showattend: open http://127.0.0.1:")
        address = line.split()[2]
        port = int(address.rsplit(":", 1)[1].strip("/"))
        for _ in range(300):  # requests that do not end keep nobody out
            idle.append(socket.create_connection(("127.0.0.1", port)))
            idle[-1].send(b"GET / HTTP/1.1\r\nhost: loc")
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b'id="drop"' in answer.read()
        body = (
            b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            + photo.read_bytes()
            + b"\r\n--b--\r\n"
        )
        headers = {"content-type": "multipart/form-data; boundary=b"}
        request = urllib.request.Request(f"{address}api/caption", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            values = json.load(answer)
        assert (values["name"], values["token"]) == ("a.png", None)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
        assert running.stderr.read() == ""
    finally:
        running.kill()
        running.wait()
        running.stderr.close()
        for each in idle:
            each.close()


NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
NGINX_CONF = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


@installed
@pytest.mark.skipif(NGINX is None, reason="nginx is absent")
def test_behind_nginx_as_the_guide_says(model: Path, photo: Path, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "captioning.md").read_text(encoding="utf-8")
    location = guide.partition("```nginx\n")[2].partition("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    origin = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "showattend", "serve", "--port", "0", "--model", str(model)]
    serving = subprocess.Popen(
        [*command, "--allowed-origin", origin], stderr=subprocess.PIPE, text=True
    )
    assert serving.stderr is not None
    own = serving.stderr.readline().split()[2]
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(port=port, location=location.replace("http://127.0.0.1:8000/", own))
    )
    proxy = subprocess.Popen([str(NGINX), "-p", str(tmp_path), "-c", str(conf)])
    try:
        # A transport of its own tries again while nginx starts, and goes through no other proxy.
        transport = httpx2.HTTPTransport(retries=10)
        with httpx2.Client(
            base_url=f"{origin}/captions/", transport=transport, timeout=60
        ) as client:
            assert 'id="drop"' in client.get("").text
            files = {"image": ("a.png", photo.read_bytes())}
            for said, status in ((origin, 200), ("http://evil.example", 403)):
                answer = client.post("api/caption", files=files, headers={"origin": said})
                assert answer.status_code == status, answer.text
    finally:
        for process in (proxy, serving):
            process.terminate()
            process.wait()
        serving.stderr.close()


@installed
def test_a_port_that_is_taken_is_one_line(run: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = run.refused("serve", "--port", port)
    assert f"cannot listen on 127.0.0.1:{port} (address already in use)" in message
    assert "--port" in message


@installed
def test_a_model_that_is_missing_is_one_line(run: CommandLine) -> None:
    assert "nowhere" in run.refused("serve", "--port", 0, "--model", "nowhere")


def test_a_foreign_address_is_refused() -> None:
    for host in ("192.0.2.1", "no such host", "a" * 300):
        with pytest.raises(UserError, match="cannot listen on"):
            listen(host, 0)


def test_a_missing_package_is_named(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_command, "find_spec", lambda _: None)
    message = run.refused("serve")
    assert message.endswith('the server needs fastapi; run: pip install "showattend[serve]"')


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--port 70000", "--port"),
        ("--max-megabytes 0", "--max-megabytes"),
        ("x", "unexpected"),
        ("--allowed-origin photos.example", "such as https://photos.example"),
    ],
)
def test_wrong_usage_is_one_line(args: str, message: str, run: CommandLine) -> None:
    assert message in run.refused("serve", *args.split())
