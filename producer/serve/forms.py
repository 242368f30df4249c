"""Reading what was sent: pictures in a multipart form, and the fields beside them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from fastapi import HTTPException
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from blipq.models.weights import UnknownModel
from blipq.producer.serve.shapes import Asked

FIELDS = 20
LONGEST_NAME = 150  # bytes: file systems take 255
A = TypeVar("A", bound=BaseModel)
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\:]+")


@asynccontextmanager
async def read_pictures(request: Request, shape: type[A], most: int) -> AsyncIterator[tuple[list[UploadFile], A]]:
    """The pictures of a form, 1 to `most`, and its fields. Raises HTTPException 413, 415 and 422."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(415, "send the picture as multipart/form-data: curl -F image=@photo.jpg")
    async with request.form(max_files=most, max_fields=FIELDS) as form:
        pictures = [value for _, value in form.multi_items() if isinstance(value, UploadFile) and value.size]
        if not pictures:
            raise HTTPException(422, "no picture in the form: curl -F image=@photo.jpg")
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str) and value}
        yield pictures, parse(shape, fields)


def parse(shape: type[A], values: dict[str, Any]) -> A:
    """Checked fields. Raises HTTPException 422 with one line."""
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise HTTPException(422, said_of(error.errors())) from None


def said_of(errors: Sequence[Any]) -> str:
    """The first of pydantic's complaints, in one line."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def file_name(said: str | None) -> str:
    """A name that a client gave its file, fit for our disk: no folder, no control sign, not hidden, not long."""
    base = PureWindowsPath(PurePosixPath(said or "").name).name
    plain = _UNFIT.sub("_", base).strip(". ") or "picture"
    stem, dot, suffix = plain.rpartition(".")
    if not dot or len(suffix) > 10:
        stem, dot, suffix = plain, "", ""
    short = stem.encode("utf-8", "replace")[: LONGEST_NAME - len(suffix)].decode("utf-8", "ignore")
    return f"{short}{dot}{suffix}"


def allow_model(asked: Asked, default: str, known: Sequence[str]) -> str:
    """The model's name, where callers may use it: neither folders nor downloads are theirs to choose.

    Raises UnknownModel.
    """
    name = asked.model or default
    if name == default or name == "demo" or re.fullmatch(r"run:\d{1,9}(@\d{1,9})?", name) or name in known:
        return name
    raise UnknownModel(f"model {name}: not known to this server: use it once with `blipq enqueue --model`")


def below(path: str, roots: Sequence[Path]) -> str | None:
    """A path with its links resolved, where that lies below a root; else None, whether or not it exists."""
    if "\0" in path or not path.startswith("/"):
        return None
    try:
        real = Path(path).resolve(strict=True)
    except (OSError, RuntimeError, UnicodeError):
        return None
    return str(real) if any(real.is_relative_to(root.resolve()) for root in roots) else None
