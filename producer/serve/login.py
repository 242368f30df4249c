"""The login form: a person types the token once, and the browser keeps a cookie."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from blipq.producer.serve import house as houses
from blipq.producer.serve.access import COOKIE
from blipq.producer.serve.pages import render, to

WRONG_SECONDS = 1.0  # that a wrong token takes
router = APIRouter()


@router.get("/login")
async def ask(request: Request, next: str = "/") -> Response:
    """The form."""
    return render(request, "login.html", next=_here(next), wrong=False)


@router.post("/login")
async def check(request: Request) -> Response:
    """A cookie for the token."""
    form = await request.form(max_files=0, max_fields=5)
    target = _here(str(form.get("next", "/")))
    access = houses.of(request).access
    if not access.is_token(str(form.get("token", ""))):
        await asyncio.sleep(WRONG_SECONDS)
        return render(request, "login.html", 401, next=target, wrong=True)
    answer = to(target)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, access.cookie(), max_age=30 * 86400, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout")
async def leave(request: Request) -> Response:
    """Forget the cookie."""
    answer = to("/login")
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _here(target: str) -> str:
    """A path of this server; nothing that a browser could take for another's."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() else "/"
