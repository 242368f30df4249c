"""The application: routes, the guard around them, and how errors are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from blipq import __version__
from blipq.models.control import NoSuchJob
from blipq.models.database import Ledger, LedgerError
from blipq.models.recipes import BadRecipe
from blipq.models.training import RunError
from blipq.models.weights import HubUnreachable, UnknownModel
from blipq.producer.errors import UserError
from blipq.producer.serve import (
    captions,
    gallery_pages,
    jobs,
    login,
    probes,
    runs,
    training_pages,
    work_pages,
)
from blipq.producer.serve.access import Access
from blipq.producer.serve.forms import said_of
from blipq.producer.serve.guard import Guard
from blipq.producer.serve.house import open_house
from blipq.producer.serve.metrics import Requests
from blipq.producer.serve.pages import problem_page, wants_page
from blipq.settings import Settings
from blipq.worker.broker import BrokerError

API = (captions, jobs, runs, probes)
PAGES = (gallery_pages, work_pages, training_pages, login)
_STATUS: dict[type[Exception], int] = {
    HubUnreachable: 503,
    UnknownModel: 422,
    BadRecipe: 422,
    UserError: 422,
    NoSuchJob: 404,
    RunError: 404,
    LedgerError: 503,
    BrokerError: 503,
}


def create_app(settings: Settings, ledger: Ledger, host: str) -> FastAPI:
    """The ASGI application over a ledger that is ready; `host` is what the server is bound to."""
    access = Access(settings.api_token, host)
    requests = Requests()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_house(settings, ledger, access, requests) as house:
            app.state.house = house
            yield

    app = FastAPI(
        title="blipq",
        version=__version__,
        description="Captions for pictures. See docs/http.md.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its scripts come from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    for part in API:
        app.include_router(part.router)
    for pages in PAGES:
        app.include_router(pages.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    for kind in _STATUS:
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(HTTPException, _theirs)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fault)
    app.add_middleware(Guard, access=access, picture_bytes=settings.max_bytes, requests=requests)
    return app


async def _ours(request: Request, error: Exception) -> Response:
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    headers = {"retry-after": "2"} if status == 503 else None
    return _answer(request, status, str(error).strip("'\""), headers)


async def _theirs(request: Request, error: Exception) -> Response:
    told = cast(HTTPException, error)
    headers = dict(told.headers or {})
    if told.status_code == 405:  # Starlette names the first route's methods alone
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    detail = told.detail
    if detail == HTTPStatus.NOT_FOUND.phrase:  # no route of ours said so
        detail = f"there is nothing at {request.url.path}"
    return _answer(request, told.status_code, detail, headers)


def _methods(request: Request) -> set[str]:
    routes = [route for part in (*API, *PAGES) for route in part.router.routes if isinstance(route, Route)]
    return {name for route in routes if route.path_regex.match(request.url.path) for name in route.methods or ()}


async def _invalid(request: Request, error: Exception) -> Response:
    return _answer(request, 422, said_of(cast(RequestValidationError, error).errors()), None)


async def _fault(request: Request, error: Exception) -> Response:
    return _answer(request, 500, "a fault of blipq: its log has the traceback", None)


def _answer(request: Request, status: int, detail: str, headers: dict[str, str] | None) -> Response:
    if wants_page(request):
        return problem_page(request, status, detail)
    return JSONResponse({"detail": detail}, status, headers)
