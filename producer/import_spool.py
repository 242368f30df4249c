"""Texts on their way in, put together by the content that they are of, so that one picture is decided on at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from types import TracebackType
from typing import NamedTuple


class Written(NamedTuple):
    """What somebody wrote of a photo whose content is known. `key` names the content."""

    key: str
    photo: bytes
    text: str
    where: str
    in_table: bool


class Spool:
    """A file without a name that is gone with its process: a million texts need no memory."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("CREATE TABLE written (key TEXT, photo BLOB, text TEXT, place TEXT, in_table INTEGER)")

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, written: Iterable[Written]) -> None:
        """Keep some texts."""
        self._file.execute("BEGIN")
        self._file.executemany("INSERT INTO written VALUES (?, ?, ?, ?, ?)", written)
        self._file.execute("COMMIT")

    def contents(self) -> Iterator[list[Written]]:
        """All texts, those of one content together, in the order in which each content came first."""
        rows = self._file.execute(
            "SELECT key, photo, text, place, in_table FROM written JOIN"
            " (SELECT key AS k, min(rowid) AS first FROM written GROUP BY key) ON k = key ORDER BY first, written.rowid"
        )
        for _, together in groupby(map(Written._make, rows), lambda one: one.key):
            yield list(together)
