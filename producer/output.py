"""Answers on stdout (tables, CSV, JSON lines), progress on stderr."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

FORMATS = ("table", "csv", "jsonl", "json")
WORDS = 30  # places of a terminal that a column of words keeps
BETWEEN = 3  # places between two columns


def emit(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str, spare: Sequence[str] = ()) -> None:
    """Print rows in one of `FORMATS`; all but the table stream. A terminal that is too narrow shows no `spare` ones."""
    if form == "table":
        _table(columns, rows, [name for name in spare if name in columns])
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([_plain(value) for value in row] for row in rows)
    elif form == "jsonl":
        for row in rows:
            emit_json(dict(zip(columns, row, strict=True)))
    else:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])


def emit_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one line of JSON."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def say(message: str) -> None:
    """A line for the person, on stderr."""
    click.echo(message, err=True)


def tell(text: str) -> None:
    """An answer in words, which a terminal breaks between them."""
    click.echo(click.wrap_text(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.3 s, 42 s, 6 m 12 s, 3 h 5 m, 5 d 3 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, size, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // part} {small}"
    return f"{whole} s"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]], spare: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = [[_plain(value) for value in row] for row in rows]
    cells = [["" if value is None else _short(value) for value in row] for row in listed]
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, soft_wrap=not terminal, width=None if terminal else 100_000)
    widths = _widths(columns, cells)
    shown = _shown(columns, widths, spare, console.width)
    words = _words([widths[at] for at in shown], console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for at in shown:
        numeric = any(isinstance(row[at], int | float) for row in listed)
        whole = not terminal or numeric or widths[at] <= words
        table.add_column(
            columns[at], justify="right" if numeric else "left", overflow="fold", min_width=min(widths[at], words),
            no_wrap=whole and " " not in columns[at],
        )  # fmt: skip
    for row in cells:
        table.add_row(*(Text(row[at]) for at in shown))
    console.print(table)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    """What each column takes without wrapping, but for its name, which wraps between words."""
    from rich.cells import cell_len

    return [
        max(max(map(cell_len, name.split()), default=0), max((cell_len(row[at]) for row in cells), default=0))
        for at, name in enumerate(columns)
    ]


def _shown(columns: Sequence[str], widths: Sequence[int], spare: Sequence[str], room: int) -> list[int]:
    """The columns that are shown: those of `spare` give way, in their order, before words get fewer than `WORDS`."""
    shown = list(range(len(columns)))
    for name in spare:
        if sum(min(widths[at], WORDS) + BETWEEN for at in shown) - BETWEEN <= room:
            break
        shown.remove(columns.index(name))
    return shown


def _words(widths: Sequence[int], room: int) -> int:
    """What columns of words get at the least: `WORDS`, or less where even that is too much."""
    words = WORDS
    while words > 8 and sum(min(width, words) + BETWEEN for width in widths) - BETWEEN > room:
        words -= 1
    return words


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", "⏎")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return value
