"""Rows of JSON lines and CSV, one at a time; a row that cannot be read costs itself alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blipq.producer.errors import UserError
from blipq.producer.export.tabular import plain_cell

PICTURE_COLUMNS = ("path", "file_name", "filename", "image", "image_path", "photo", "picture", "img", "file")
CAPTION_COLUMNS = ("caption", "text", "captions", "texts", "sentences", "description")


@dataclass(frozen=True)
class Row:
    """A line's photo and its caption, as they stand there. Bytes that are no UTF-8 are surrogates."""

    line: int
    photo: str
    text: str


@dataclass(frozen=True)
class BadRow:
    """A line that cannot be read, and why."""

    line: int
    reason: str


def rows(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a .jsonl or .csv. Raises UserError: another kind of file, or no columns for photos and captions."""
    readers = {".jsonl": _json_lines, ".csv": _csv_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: captions are read from folders, .jsonl and .csv")
    columns: tuple[str, str] | None = None
    for number, row in readers[path.suffix.lower()](path):
        if isinstance(row, str):
            yield BadRow(number, row)
            continue
        columns = columns or _columns(path, row)
        photo, text = row.get(columns[0]), row.get(columns[1])
        if isinstance(text, list):
            text = text[0] if text else ""
        if isinstance(photo, str) and isinstance(text, str):
            yield Row(number, photo, text)
        else:
            yield BadRow(number, f"no {columns[0]} or no {columns[1]}")


def _columns(path: Path, row: Mapping[str, Any]) -> tuple[str, str]:
    found = [next((name for name in names if name in row), None) for names in (PICTURE_COLUMNS, CAPTION_COLUMNS)]
    if found[0] is None or found[1] is None:
        what = "photos" if found[0] is None else "captions"
        wanted = PICTURE_COLUMNS if found[0] is None else CAPTION_COLUMNS
        raise UserError(f"{path} has no column for {what}: it has {', '.join(row)}; call one of them {wanted[0]}")
    return found[0], found[1]


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            _refuse_utf16(path, line, number)
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                yield number, row if isinstance(row, dict) else "no JSON object"


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    names: list[str] | None = None
    for number, cells in _csv_records(path):
        if isinstance(cells, str):
            yield number, cells
        elif names is None:
            names = cells
            _refuse_utf16(path, "".join(names), number)
        elif cells:
            cells += [""] * (len(names) - len(cells))
            yield number, {name: plain_cell(cell) for name, cell in zip(names, cells, strict=False)}


def _csv_records(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """Records with the lines that they begin in. After one that cannot be read, reading goes on in its second line:
    a quote that is never closed would take all that follows for its field."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        source = _Lines(opened)
        while not source.over:
            begin = source.number + 1
            try:
                for cells in csv.reader(source.record(), strict=True):
                    yield begin, cells
                    break
            except csv.Error as error:
                yield begin, f"no CSV row: {error}"
                source.rewind(begin)


class _Lines:
    """Lines of a file, of which those of the last record can be read again."""

    def __init__(self, opened: Iterator[str]) -> None:
        self._opened = opened
        self._read: list[str] = []  # lines of this record
        self._again: list[str] = []  # lines to be read again, the next one last
        self.number = 0
        self.over = False

    def record(self) -> Iterator[str]:
        """Lines from here on; what is taken of them is a record."""
        self._read = []
        while True:
            line = self._again.pop() if self._again else next(self._opened, None)
            if line is None:
                self.over = True
                return
            self.number += 1
            self._read.append(line)
            yield line

    def rewind(self, begin: int) -> None:
        """Go on behind the first line of the record, which begins in line `begin`."""
        self._again += reversed(self._read[1:])
        self.number = begin
        self.over = self.over and not self._again


def _refuse_utf16(path: Path, text: str, number: int) -> None:
    if number == 1 and text.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        raise UserError(f"{path} is UTF-16: save it as UTF-8")
