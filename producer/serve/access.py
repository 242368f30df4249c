"""Who may ask: a bearer token for programs, a cookie for pages; without a token this machine alone."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

COOKIE = "blipq"
LOOPBACK = frozenset(["localhost", "127.0.0.1", "::1"])
SAFE = frozenset(["GET", "HEAD", "OPTIONS"])
OPEN = ("/healthz", "/readyz", "/login")  # say nothing that is anybody's
_SAME_SITE = (None, "same-origin", "none")


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered. `login`: a person may mend it by the login form."""

    status: int
    detail: str
    login: bool = False


@dataclass(frozen=True)
class Access:
    """The rules. `token` is None on loopback; `host` is what the server is bound to."""

    token: str | None
    host: str = "127.0.0.1"

    def refusal(self, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Refusal | None:
        """Why a request is not answered; None where it is. Header names come in lower case."""
        if self.token is None and _name(headers.get("host", "")) not in LOOPBACK | {self.host}:
            # A page elsewhere that lets its own name lead to 127.0.0.1 would be let in by the browser's rules.
            return Refusal(421, "this server answers to localhost alone: set BLIPQ_API_TOKEN to give it other names")
        bearer = self._is_bearer(headers.get("authorization", ""))
        if not bearer and method not in SAFE and not _from_here(headers, needed=COOKIE in cookies):
            return Refusal(403, "this form was sent by another site")
        if self.token is None or bearer or path in OPEN or path.startswith("/static/"):
            return None
        if hmac.compare_digest(cookies.get(COOKIE, "").encode(), self.cookie().encode()):
            return None
        return Refusal(401, "this needs the token: Authorization: Bearer BLIPQ_API_TOKEN", login=True)

    def is_token(self, said: str) -> bool:
        """Whether a person typed the token."""
        return self.token is not None and hmac.compare_digest(said.encode(), self.token.encode())

    def cookie(self) -> str:
        """What proves that a browser was given the token once; it ends with the token."""
        return hmac.new((self.token or "").encode(), b"blipq page session", hashlib.sha256).hexdigest()

    def _is_bearer(self, said: str) -> bool:
        scheme, _, token = said.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(token.strip())


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _from_here(headers: Mapping[str, str], *, needed: bool) -> bool:
    """Whether a page of ours sent this, or no browser at all. `needed`: a cookie came along, so a browser must say."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") not in _SAME_SITE:
        return False
    if origin is None:
        return not needed
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
