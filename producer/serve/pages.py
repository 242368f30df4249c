"""Pages in general: templates, what every page shows, and errors as pages."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from blipq import __version__
from blipq.producer.output import duration
from blipq.producer.serve import house as houses

_HERE = Path(__file__).parent
_API = ("/v1/", "/caption", "/metrics", "/healthz", "/readyz", "/static/", "/thumbs/")


def _version(name: str) -> str:
    """A static file's address changes when the file does, so that browsers may keep it for good."""
    return f"/static/{name}?{int((_HERE / 'static' / name).stat().st_mtime):x}"


def _ago(when: float) -> str:
    seconds = max(0.0, time.time() - when)
    return f"{duration(seconds) if seconds >= 10 else f'{seconds:.0f} s'} ago"


def _short(model: str | None) -> str:
    """A model's name without its owner, its folder, or the last 33 digits of its commit."""
    name, at, commit = (model or "").rpartition("@")
    shown = f"{name}@{commit[:7]}" if at and len(commit) == 40 else model or ""
    return shown.rstrip("/").rpartition("/")[2]


_ENV = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENV.filters |= {"duration": duration, "ago": _ago, "short": _short, "static": _version}


def render(request: Request, name: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """A template as a page."""
    known = {
        "path": request.url.path,
        "version": __version__,
        "locked": houses.of(request).settings.api_token is not None,
    }
    return HTMLResponse(_ENV.get_template(name).render(**known, **values), status)


def to(path: str) -> Response:
    """After a form: look there."""
    return RedirectResponse(path, 303)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, for something that is no part of the API."""
    return not request.url.path.startswith(_API) and "text/html" in request.headers.get("accept", "")


def problem_page(request: Request, status: int, detail: str) -> Response:
    """An error as a page."""
    return render(request, "problem.html", status, status=status, detail=detail)
