"""Tables: JSON lines, CSV and Parquet, streamed in constant memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO

from blipq.models.selection import Photo
from blipq.producer.export.outcome import Outcome

COLUMNS = ("path", "caption", "source", "model", "score", "flag", "created_at")
ROW_GROUP = 20_000  # rows of a Parquet row group
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet takes for the start of a formula


def write_jsonl(photos: Iterable[Photo], out: BinaryIO, outcome: Outcome) -> None:
    """One JSON object a line."""
    encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
    for page in _pages(photos, 1000):
        out.writelines((encode(dict(zip(COLUMNS, _values(photo), strict=True))) + "\n").encode() for photo in page)
        outcome.written += len(page)


def write_csv(photos: Iterable[Photo], out: BinaryIO, outcome: Outcome) -> None:
    """RFC 4180 with a head line. Texts that a spreadsheet would run as a formula get an apostrophe in front."""
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=False)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for page in _pages(photos, 1000):
        writer.writerows([safe_cell(value) for value in _values(photo)] for photo in page)
        outcome.written += len(page)
    text.flush()
    text.detach()


def write_parquet(photos: Iterable[Photo], out: BinaryIO, outcome: Outcome) -> None:
    """One file, in row groups of 20,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.float64() if name == "score" else pa.string()) for name in COLUMNS])
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for page in _pages(photos, ROW_GROUP):
            columns = zip(*map(_values, page), strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            outcome.written += len(page)


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; `plain_cell` takes the apostrophe off again."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(_RISKY) else value


def plain_cell(value: str) -> str:
    """A cell as it was before `safe_cell`."""
    return value[1:] if value[:1] == "'" and value.lstrip("'").startswith(_RISKY) else value


def _values(photo: Photo) -> Sequence[Any]:
    at = photo.created_at
    when = at.isoformat(sep=" ", timespec="seconds") if isinstance(at, datetime) else at
    return (photo.path, photo.caption, photo.source, photo.model, photo.score, photo.flag, when)


def _pages(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    source = iter(photos)
    while page := list(islice(source, size)):
        yield page
