"""Where captions come from that people wrote elsewhere: texts beside photos, JSON lines, CSV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from blipq.producer.beside import Neighbours, Stems
from blipq.producer.errors import UserError
from blipq.producer.export.sidecar import read_text, reason
from blipq.producer.import_tables import BadRow, rows
from blipq.producer.scan import Refused, display, scan
from blipq.producer.wording import tidy, unfit

TABLES = ("metadata.jsonl", "metadata.csv")  # what makes a folder an imagefolder


@dataclass(frozen=True)
class Given:
    """What somebody wrote of a photo, and where it stands: a text file, or a table's line."""

    photos: tuple[bytes, ...]  # one; or several that one text file may be of, none of which has another
    text: str
    where: str
    in_table: bool = False


@dataclass(frozen=True)
class Left:
    """A text that cannot be taken in, and why."""

    where: str
    kind: Literal["empty", "bad", "unknown"]
    reason: str


def read(paths: Iterable[str], extension: str) -> Iterator[Given | Left]:
    """Everything that stands in folders and tables, in order. Raises UserError where a path or a table is none."""
    for name in paths:
        path = Path(name).absolute()
        if path.is_dir():
            tables = [path / table for table in TABLES if (path / table).is_file()]
            yield from _of_table(tables[0]) if tables else _beside_photos(path, extension)
        elif path.is_file():
            if not os.access(path, os.R_OK):
                raise UserError(f"{name}: may not be read (permission)")
            yield from _of_table(path)
        else:
            raise UserError(f"{name}: not there")


def own_text(photo: bytes, extension: str, neighbours: Neighbours) -> str | None:
    """What stands beside a photo as its own; None where nothing does, or nothing that can be read."""
    ending = os.fsencode(extension)
    paths = [photo + ending]
    if neighbours.of(photo).sharing(photo, ending) == [photo]:
        paths.append(os.path.splitext(photo)[0] + ending)
    for path in paths:
        if os.path.lexists(path):
            try:
                return tidy(read_text(path) or "") or None
            except (OSError, UnicodeDecodeError):
                return None
    return None


def _beside_photos(folder: Path, extension: str) -> Iterator[Given | Left]:
    ending = os.fsencode(extension)
    for _, together in groupby(scan([str(folder)]), lambda seen: os.path.dirname(seen.path)):
        seen = {_name(one): one for one in together}
        stems = Stems(seen)
        for photo, one in seen.items():
            full, short = photo + ending, os.path.splitext(photo)[0] + ending
            if os.path.lexists(full):
                photos, text = [photo], full
            elif os.path.lexists(short):
                photos, text = stems.sharing(photo, ending), short
                if not photos or photos[0] != photo:
                    continue  # another's, or told with the first of those that it may be of
            elif isinstance(one, Refused) and os.path.isdir(photo):
                yield Left(one.path, "bad", one.reason)
                continue
            else:
                continue
            if isinstance(one, Refused) and len(photos) == 1:
                yield Left(display(text), "unknown", f"{one.path} is {one.reason}")
            else:
                yield _of_file(text, tuple(photos))


def _name(seen: object) -> bytes:
    raw = getattr(seen, "raw", None)
    return raw if raw is not None else os.fsencode(seen.path)  # type: ignore[attr-defined]


def _of_file(path: bytes, photos: tuple[bytes, ...]) -> Given | Left:
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        return Left(display(path), "bad", reason(error))
    return _checked(photos, text or "", display(path), in_table=False)


def _of_table(path: Path) -> Iterator[Given | Left]:
    for row in rows(path):
        where = f"{path}, line {row.line}"
        if isinstance(row, BadRow):
            yield Left(where, "bad", row.reason)
            continue
        if (why := unfit(row.photo)) is not None and not _is_name(row.photo):
            yield Left(where, "bad", f"of its photo's name, {why}")
            continue
        photo = os.fsencode(os.path.abspath(path.parent / row.photo))
        yield _checked((photo,), row.text, where, in_table=True)


def _is_name(text: str) -> bool:
    """Whether bytes that are no UTF-8 can be a file's name."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _checked(photos: tuple[bytes, ...], text: str, where: str, *, in_table: bool) -> Given | Left:
    if (why := unfit(text)) is not None:
        return Left(where, "bad", why)
    kept = tidy(text)
    return Given(photos, kept, where, in_table) if kept else Left(where, "empty", "its caption is empty")
