"""What FastAPI cannot see by itself: forms that we read in our own order, and the errors that they may end in."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from blipq.producer.serve.shapes import MOST_PICTURES, Problem

_SAID = {
    400: "what was sent cannot be read",
    401: "the token is missing or wrong",
    403: "not allowed",
    404: "there is no such thing",
    413: "more bytes than BLIPQ_MAX_BYTES",
    415: "not a picture, or in a format that is not read",
    422: "a field has a wrong value, or the picture cannot be decoded",
    499: "the caller went away",
    500: "a fault of this server",
    503: "busy, or the database, broker or model cannot be reached just now",
    504: "no caption within the caller's limit",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: these, and those that every route may end in."""
    return {status: {"model": Problem, "description": _SAID[status]} for status in (400, 401, 403, 503, *statuses)}


def form(fields: type[BaseModel], name: str, *, many: bool) -> dict[str, Any]:
    """`openapi_extra=` of a route that takes pictures in a multipart form, with these fields beside them."""
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form_schema(fields, name, many=many)}},
        }
    }


def form_schema(fields: type[BaseModel], name: str, *, many: bool) -> dict[str, Any]:
    """The schema of such a form."""
    schema = fields.model_json_schema()
    one = {"type": "string", "format": "binary"}
    pictures = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_PICTURES} if many else one
    schema["properties"] = {name: pictures, **schema["properties"]}
    schema["required"] = [name, *schema.get("required", ())]
    return schema
