"""Around every request: who asks, how much comes in, what a browser may do with the answer, and how long it took."""

from __future__ import annotations

import json
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blipq.producer.serve.access import Access, Refusal
from blipq.producer.serve.metrics import Requests

FORM_BYTES = 1_000_000  # of a request that carries no picture, and of the form around one
UPLOADS = frozenset(["/caption", "/v1/caption", "/v1/jobs", "/upload"])
_API = ("/v1/", "/caption", "/metrics")
_HEADERS = {
    # Nothing of another host, no script or style in the page itself.
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, browsers call our own forms' origin null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware; nothing of a body is read before its sender is known."""

    def __init__(self, app: ASGIApp, access: Access, picture_bytes: int, requests: Requests) -> None:
        self._app = app
        self._access = access
        self._picture_bytes = picture_bytes
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if status == 413:  # the rest of the body is not read
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._handle(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._requests.add(scope["method"], route, status, time.monotonic() - began)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        refusal = self._access.refusal(scope["method"], path, headers, _cookies(headers.get("cookie", "")))
        if refusal is None:
            most = FORM_BYTES + (self._picture_bytes if path in UPLOADS else 0)
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) <= most:
                await self._app(scope, _bounded(receive, most), send)
                return
            refusal = Refusal(413, _too_large(most))
        if refusal.login and scope["method"] == "GET" and not path.startswith(_API):
            target = path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            await _send(send, 303, {"location": f"/login?next={quote(target, safe='')}"}, b"")
            return
        extra = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
        body = json.dumps({"detail": refusal.detail}).encode()
        await _send(send, refusal.status, {"content-type": "application/json", **extra}, body)


def _bounded(receive: Receive, most: int) -> Receive:
    """The body as it comes, until it is more than declared or allowed."""
    got = 0

    async def bounded() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise HTTPException(413, _too_large(most))
        return message

    return bounded


def _too_large(most: int) -> str:
    return f"more than {most / 1e6:.4g} MB: see BLIPQ_MAX_BYTES"


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
