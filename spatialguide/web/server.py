"""Serves the page: under the names that it is known by, and to itself alone.

A browser sends what any other site tells it to send, and a name that a stranger owns may lead to this machine. So `Host` must
be a name of ours (starlette's TrustedHostMiddleware), and `Origin`, where there is one, the page itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from spatialguide.errors import ConfigError
from spatialguide.web.page import gradio_module, make_page
from spatialguide.web.studio import Studio
from spatialguide.web.style import style

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What the page itself asks of Gradio; uploads, files, proxies, editors and the rest answer 404.
_USED = tuple(f"/gradio_api/{name}" for name in ("queue/", "run/", "heartbeat/", "cancel", "reset", "info", "startup-events"))
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Gradio's own scripts are inline and use eval; nothing comes from elsewhere, or goes there.
    "Content-Security-Policy": (
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
    ),
}
#: Far above what the page sends.
_MOST_BYTES = 1_000_000
#: Loopback, as browsers write it.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Served:
    """A page that is served in the background. local_url: where it is."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        import uvicorn

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.02)
        name = "localhost" if _is_everywhere(host) else _written(host)
        self.local_url = f"http://{name}:{self._socket.getsockname()[1]}/"

    def block_thread(self) -> None:
        """Wait until it ends, or is interrupted."""
        self._thread.join()

    def close(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()


def serve(studio: Studio, host: str = "127.0.0.1", port: int = 7860, names: Iterable[str] = ()) -> Served:
    """Serve the page in the background. Bound to this machine by default; nothing is sent elsewhere.

    Args:
        host: address to bind to; "0.0.0.0" lets everyone on the network in.
        port: 0 takes any that is free.
        names: under which else visitors reach it, such as a proxy's; this machine's own are known.

    Raises:
        ConfigError: Gradio is missing, or the port is taken.
    """
    app = make_app(studio, host, names)
    try:
        return Served(app, host, port)
    except OSError as error:
        raise ConfigError(f"cannot serve at {host}:{port}: {error.strerror or error}; choose another --port") from error


def make_app(studio: Studio, host: str = "127.0.0.1", names: Iterable[str] = ()) -> FastAPI:
    """The page as an application for any ASGI server, guarded; see `serve`.

    Raises:
        ConfigError: Gradio is missing.
    """
    gr = gradio_module()
    from fastapi import FastAPI
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    named = [name.lower() for name in names]
    hosts = [_written(name) for name in (*_LOOPBACK, host, *named, *(_machine() if _is_everywhere(host) else ()))]
    guards = [
        Middleware(_OwnOrigin, named),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
    ]
    app = FastAPI(middleware=guards, docs_url=None, redoc_url=None, openapi_url=None)

    async def mounted() -> FastAPI:
        page = make_page(studio)
        page.state_session_capacity = 64
        rest = {"show_error": False, "ssr_mode": False, "enable_monitoring": False}
        served: FastAPI = gr.mount_gradio_app(app, page, "/", footer_links=[], max_file_size="1b", **rest, **style(gr))
        page.has_launched = True  # else Gradio takes any file of this machine for an upload
        return served

    os.environ.setdefault("GRADIO_RUN_HISTORY", "false")  # newer versions keep what visitors drew
    # Where no event loop is running Gradio opens one for every event of the page, and closes none.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, mounted()).result()


class _OwnOrigin:
    """Refuses what other sites send and what the page does not ask, and tells browsers to keep the page to itself.

    Args:
        named: hosts whose pages may ask too: where a proxy changes `Host`, the page's own address is one.
    """

    def __init__(self, app: ASGIApp, named: Iterable[str]) -> None:
        self._app, self._named = app, frozenset(named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import PlainTextResponse

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        if not self._is_own(headers.get("origin"), headers.get("host", "")):
            await PlainTextResponse("This page takes no requests from other sites.", 403)(scope, receive, answer)
        elif scope["path"].startswith("/gradio_api/") and not scope["path"].startswith(_USED):
            await PlainTextResponse("This page has nothing here.", 404)(scope, receive, answer)
        elif scope["method"] == "POST":
            body = await _body(receive)
            if body is None or not _is_plain(body):
                await PlainTextResponse("This page takes no such values.", 400)(scope, receive, answer)
            else:
                await self._app(scope, _again(body, receive), answer)
        else:
            await self._app(scope, receive, answer)

    def _is_own(self, origin: str | None, host: str) -> bool:
        if origin is None:
            return True
        place = origin.partition("://")[2].lower()
        return bool(place) and (place == host.lower() or place.rpartition(":")[0] in self._named or place in self._named)


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None where it is too long, or never comes whole."""
    body, more = b"", True
    while more and len(body) <= _MOST_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return None if more or len(body) > _MOST_BYTES else body


def _is_plain(body: bytes) -> bool:
    """Whether it is JSON without files: where a value looks like one, Gradio copies what it names, or fetches it."""
    try:
        return "gradio.FileData" not in json.dumps(json.loads(body or b"{}"))
    except (ValueError, RecursionError):
        return False


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, once more, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received


def _written(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _machine() -> set[str]:
    """Names and addresses of this machine; not all of them can be found."""
    name = socket.gethostname().lower()
    found = {name, f"{name}.local"}
    try:
        found |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the way out
            found.add(probe.getsockname()[0])
    except OSError:
        pass
    return found
