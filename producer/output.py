"""Answers on stdout (tables, CSV, JSON lines), progress on stderr."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

FORMATS = ("table", "csv", "jsonl", "json")


def emit(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> None:
    """Print rows in one of `FORMATS`; all but the table stream."""
    if form == "table":
        _table(columns, rows)
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


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.3 s, 42 s, 6 m 12 s, 3 h 5 m, 5 d 3 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, size, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // part} {small}"
    return f"{whole} s"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    numbers = []
    listed = [[_plain(value) for value in row] for row in rows]
    for at, name in enumerate(columns):
        numeric = any(isinstance(row[at], int | float) for row in listed)
        numbers.append(numeric)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in listed:
        table.add_row(*(Text("" if value is None else _short(value)) for value in row))
    if not sys.stdout.isatty():
        console = Console(file=sys.stdout, width=100_000)
    console.print(table)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", "⏎")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return value
