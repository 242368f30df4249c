"""Captions that people wrote elsewhere come in as theirs: text files beside photos, JSON lines, CSV."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from blipq.models import contents, edits
from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.models.results import Content
from blipq.producer.edit import author, new_batch
from blipq.producer.errors import UserError
from blipq.producer.export.sidecar import read_text, reason
from blipq.producer.export.tabular import plain_cell
from blipq.producer.scan import Refused, look, scan

CHUNK = 1000  # captions a transaction, and pictures that one process identifies
LISTED = 20
PICTURE_COLUMNS = ("path", "file_name", "filename", "image", "image_path", "photo", "picture", "img", "file")
CAPTION_COLUMNS = ("caption", "text", "captions", "texts", "sentences", "description")
TABLES = ("metadata.jsonl", "metadata.csv")  # what makes a folder an imagefolder


@dataclass(frozen=True)
class Given:
    """A photo's path and what somebody wrote of it."""

    path: bytes
    text: str


@dataclass
class Imported:
    """What came of an import."""

    batch: str
    found: int = 0
    changed: int = 0
    known: int = 0  # had that caption already
    failed: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)

    def refuse(self, path: str, why: str) -> None:
        """Count a caption that could not be taken, and remember why."""
        self.failed += 1
        if len(self.reasons) < LISTED:
            self.reasons.append((path, why))


def import_captions(
    ledger: Ledger, paths: Sequence[str], extension: str, author_name: str | None, *, dry_run: bool
) -> Imported:
    """Take captions in as one batch of a person's edits; a photo that has the same one already is left.

    Raises UserError where there is nothing to read, or a table has no columns for photos and captions.
    """
    imported = Imported(new_batch("import"))
    given = _given(paths, extension)
    while page := list(islice(given, CHUNK)):
        wanted = []
        for one in page:
            if isinstance(one, Refused):
                imported.refuse(one.path, one.reason)
            else:
                wanted.append(one)
        imported.found += len(wanted)
        _take_in(ledger, wanted, author_name or author(), imported, dry_run=dry_run)
    if not imported.found and not imported.failed:
        raise UserError(f"no captions in {' '.join(paths)}: looked for {extension} beside photos, and for {TABLES[0]}")
    return imported


def _take_in(ledger: Ledger, given: Sequence[Given], who: str, imported: Imported, *, dry_run: bool) -> None:
    looked = [(one, look(one.path)) for one in given]
    found = [seen for _, seen in looked if isinstance(seen, Found)]
    with ledger.read() as connection:
        images = contents.known(connection, found)
        lost = [seen.path for _, seen in looked if isinstance(seen, Refused)]
        images |= contents.last_known(connection, lost)  # on a disk that is not there now, or of another host
    fresh, bad = _identify([seen for seen in found if seen.path not in images])
    with ledger.read() if dry_run else ledger.write() as connection:
        if not dry_run:
            images |= contents.record(connection, fresh)
        texts: dict[int, str | None] = {}
        for one, seen in looked:
            image_id = images.get(seen.path)
            if image_id is not None:
                texts[image_id] = one.text
            elif isinstance(seen, Refused) or seen.path in bad:
                imported.refuse(seen.path, seen.reason if isinstance(seen, Refused) else bad[seen.path])
        if dry_run:
            now = edits.current(connection, texts)
            changed = sum(now.get(image_id) != text for image_id, text in texts.items())
            imported.changed += changed + len(fresh)
        else:
            changed = edits.write_edits(connection, texts, who, imported.batch)
            imported.changed += changed
        imported.known += len(texts) - changed


def _identify(found: Sequence[Found]) -> tuple[list[tuple[Found, Content]], dict[str, str]]:
    """What files hold, by a process that may decode them, and why others cannot be told."""
    if not found:
        return [], {}
    paths = b"\0".join(one.raw if one.raw is not None else os.fsencode(one.path) for one in found)
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "blipq.worker.identify"], input=paths, stdout=subprocess.PIPE, check=True
    )
    good, bad = [], {}
    for one, line in zip(found, answer.stdout.splitlines(), strict=True):
        said = json.loads(line)
        if "sha256" in said:
            said["sha256"] = bytes.fromhex(said["sha256"])
            good.append((one, Content(**said)))
        else:
            bad[one.path] = said["message"]
    return good, bad


def _given(paths: Iterable[str], extension: str) -> Iterator[Given | Refused]:
    for name in paths:
        path = Path(name).absolute()
        if path.is_dir():
            tables = [path / table for table in TABLES if (path / table).is_file()]
            yield from _rows(tables[0]) if tables else _sidecars(path, extension)
        elif path.is_file():
            if not os.access(path, os.R_OK):
                raise UserError(f"{name}: may not be read (permission)")
            yield from _rows(path)
        else:
            raise UserError(f"{name}: not there")


def _sidecars(folder: Path, extension: str) -> Iterator[Given | Refused]:
    ending = os.fsencode(extension)
    for seen in scan([str(folder)]):
        if isinstance(seen, Refused):
            continue
        photo = seen.raw if seen.raw is not None else os.fsencode(seen.path)
        # The full name first: where 1.jpg and 1.png lie together, 1.txt is 1.jpg's and 1.png.txt is 1.png's.
        for path in (photo + ending, os.path.splitext(photo)[0] + ending):
            try:
                text = read_text(path)
            except (OSError, UnicodeDecodeError) as error:
                yield Refused(seen.path, reason(error))
                break
            if text is not None:
                yield _clean(photo, seen.path, text)
                break


def _rows(path: Path) -> Iterator[Given | Refused]:
    readers = {".jsonl": _json_lines, ".csv": _csv_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: captions are read from folders, .jsonl and .csv")
    columns: tuple[str, str] | None = None
    for number, row in readers[path.suffix.lower()](path):
        where = f"{path}, line {number}"
        if not isinstance(row, Mapping):
            yield Refused(where, "no JSON object")
            continue
        if columns is None:
            columns = _columns(path, row)
        photo, text = row.get(columns[0]), row.get(columns[1])
        if isinstance(text, list):
            text = text[0] if text else ""
        if not isinstance(photo, str) or not isinstance(text, str):
            yield Refused(where, f"no {columns[0]} or no {columns[1]}")
            continue
        absolute = os.path.abspath(path.parent / photo)
        yield _clean(os.fsencode(absolute), absolute, text)


def _clean(photo: bytes, shown: str, text: str) -> Given | Refused:
    line = " ".join(text.split())
    return Given(photo, line) if line else Refused(shown, "its caption is empty")


def _columns(path: Path, row: Mapping[str, Any]) -> tuple[str, str]:
    found = [next((name for name in names if name in row), None) for names in (PICTURE_COLUMNS, CAPTION_COLUMNS)]
    if found[0] is None or found[1] is None:
        what = "photos" if found[0] is None else "captions"
        wanted = PICTURE_COLUMNS if found[0] is None else CAPTION_COLUMNS
        raise UserError(f"{path} has no column for {what}: it has {', '.join(row)}; call one of them {wanted[0]}")
    return found[0], found[1]


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError:
                    yield number, None


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), 2):
            yield number, {name: plain_cell(value or "") for name, value in row.items() if isinstance(name, str)}
