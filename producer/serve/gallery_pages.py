"""The gallery: photos with their captions, search, one photo, and editing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from sqlalchemy import Connection
from starlette.responses import FileResponse, Response

from blipq.models import edits, gallery
from blipq.models.gallery import ONLY, Filter, Photo
from blipq.producer.serve import house as houses
from blipq.producer.serve.pages import render, to
from blipq.producer.serve.thumbnails import SIDES, Busy

PAGE = 48
LONGEST_CAPTION = 2000
AUTHOR = "pages"
GONE = Path(__file__).parent / "static" / "gone.svg"
router = APIRouter()
Id = Annotated[int, Query(ge=1, le=2**63 - 1)]


class Chosen:
    """The filter in an address, and the way back into one."""

    def __init__(self, q: str = "", job: str = "", model: str = "", only: str = "") -> None:
        number = int(job) if job.isdigit() and len(job) < 10 else None
        self.filter = Filter(q.strip()[:200], number, model[:500], only if only in ONLY else "")

    def query(self, **more: Any) -> str:
        """The filter as the part of an address behind `?`."""
        kept = self.filter
        values = {"q": kept.text, "job": kept.job, "model": kept.model, "only": kept.only, **more}
        return urlencode({name: value for name, value in values.items() if value not in (None, "")})


def _chosen(request: Request) -> Chosen:
    asked = request.query_params
    return Chosen(*(asked.get(name, "") for name in ("q", "job", "model", "only")))


@router.get("/")
async def photos(request: Request, before: Id | None = None) -> Response:
    """A page of photos, the newest first."""
    house, chosen = houses.of(request), _chosen(request)

    def look(connection: Connection) -> tuple[list[Photo], list[str]]:
        return gallery.page(connection, chosen.filter, before, PAGE + 1), gallery.models(connection)

    found, models = await house.read(look)
    more = chosen.query(before=found[PAGE - 1].file_id) if len(found) > PAGE else None
    return render(
        request, "gallery.html", photos=found[:PAGE], models=models, chosen=chosen, more=more, first=not before
    )


@router.get("/photos/{file_id}")
async def photo(request: Request, file_id: int) -> Response:
    """One photo, large, with all that models and people said of it."""
    chosen = _chosen(request)

    def look(connection: Connection) -> dict[str, Any]:
        found = _photo(connection, file_id)
        newer, older = gallery.neighbours(connection, chosen.filter, file_id)
        return {
            "photo": found,
            "newer": newer,
            "older": older,
            "captions": gallery.captions_of(connection, found.image_id) if found.image_id else [],
            "edits": gallery.edits_of(connection, found.image_id) if found.image_id else [],
            "failures": gallery.failures_of(connection, file_id),
        }

    return render(request, "photo.html", chosen=chosen, **await houses.of(request).read(look))


@router.get("/photos/{file_id}/words")
async def words(request: Request, file_id: int, edit: bool = False) -> Response:
    """A card's text, or the form in its place."""
    found = await houses.of(request).read(lambda connection: _photo(connection, file_id))
    return render(request, "words.html", photo=found, editing=edit, focus=True, said=None)


@router.post("/photos/{file_id}/words")
async def write(request: Request, file_id: int) -> Response:
    """Store a person's caption, which no job writes over; a blank one gives the model's back."""
    form = await request.form(max_files=0, max_fields=5)
    text = " ".join(str(form.get("text", "")).split())
    if len(text) > LONGEST_CAPTION:
        raise HTTPException(422, f"a caption takes at most {LONGEST_CAPTION:,} characters")

    def act(connection: Connection) -> Photo:
        found = _photo(connection, file_id)
        if found.image_id is None:
            raise HTTPException(409, "this photo has not been read yet: its caption cannot be edited")
        if text != (found.caption or ""):
            edits.write_edit(connection, found.image_id, text or None, AUTHOR)
        return _photo(connection, file_id)

    found = await houses.of(request).write(act)
    return _told(request, found, "Caption saved" if text else "The model's caption is back")


@router.post("/photos/{file_id}/undo")
async def undo(request: Request, file_id: int) -> Response:
    """Take the newest edit back."""

    def act(connection: Connection) -> Photo:
        found = _photo(connection, file_id)
        if found.image_id is not None:
            edits.undo(connection, found.image_id, AUTHOR)
        return _photo(connection, file_id)

    found = await houses.of(request).write(act)
    return _told(request, found, "Edit undone")


@router.get("/thumbs/{side}/{key}.jpg")
async def thumb(request: Request, side: int, key: str) -> Response:
    """A small JPEG of a content: its address never means anything else, so browsers may keep it."""
    if side not in SIDES or len(key) != 64 or not set(key) <= set("0123456789abcdef"):
        raise HTTPException(404, "no such thumbnail")
    try:
        path = await houses.of(request).thumbnails.get(bytes.fromhex(key), side)
    except Busy:
        raise HTTPException(503, "too many thumbnails are being made", {"retry-after": "2"}) from None
    if path is None:  # the file is gone, or cannot be decoded
        return FileResponse(GONE, media_type="image/svg+xml", headers={"cache-control": "private, max-age=60"})
    kept = {"cache-control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type="image/jpeg", headers=kept)


def _photo(connection: Connection, file_id: int) -> Photo:
    found = gallery.photo(connection, file_id) if file_id < 2**63 else None
    if found is None:
        raise HTTPException(404, "there is no such photo")
    return found


def _told(request: Request, found: Photo, said: str) -> Response:
    """A card's text to the script that asked, the photo's page to a browser without scripts."""
    if "hx-request" not in request.headers:
        return to(f"/photos/{found.file_id}")
    return render(request, "words.html", photo=found, editing=False, focus=True, said=said)
