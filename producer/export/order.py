"""What a person wants exported and how, and doing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blipq.models.database import Ledger
from blipq.models.selection import Photo, Selection, ends, photos
from blipq.producer.errors import UserError
from blipq.producer.export.aside import writing
from blipq.producer.export.copies import Copies
from blipq.producer.export.html import write_html
from blipq.producer.export.imagefolder import write_imagefolder
from blipq.producer.export.metadata import write_metadata
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.place import Place
from blipq.producer.export.sidecar import write_sidecars
from blipq.producer.export.tabular import write_csv, write_jsonl, write_parquet
from blipq.producer.export.xmp import write_xmp
from blipq.settings import Settings

FORMATS = ("txt", "xmp", "metadata", "jsonl", "csv", "parquet", "imagefolder", "html")
TABLES: dict[str, Callable[[Iterator[Photo], BinaryIO, Outcome], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


@dataclass(frozen=True)
class Order:
    """`into` is a folder, or a file for tables; without it sidecars lie beside the photos, and tables go to stdout."""

    to: str
    selection: Selection
    into: Path | None = None
    extension: str = ".txt"
    prefix: str = ""
    suffix: str = ""
    existing: str = "skip"
    link: bool = False


def export(ledger: Ledger, settings: Settings, order: Order) -> Outcome:
    """Write the captions of a selection out, in one consistent picture of the ledger.

    Raises UserError, BadQuery, NoSuchJob, OSError where the target as a whole cannot be written.
    """
    outcome = Outcome()
    with ledger.read() as connection:
        chosen = photos(connection, order.selection)
        if order.prefix or order.suffix:
            chosen = (photo._replace(caption=f"{order.prefix}{photo.caption}{order.suffix}") for photo in chosen)
        if order.to in TABLES:
            _write_table(order, chosen, outcome)
            return outcome
        place = Place(order.into, ends(connection, order.selection))
        if order.to == "txt":
            copies = Copies(connection, order.prefix, order.suffix)
            chosen = copies.noted(chosen) if order.existing == "replace" else chosen
            write_sidecars(chosen, place, order.extension, order.existing, copies, outcome)
        elif order.to == "xmp":
            write_xmp(chosen, place, order.existing, outcome)
        elif order.to == "metadata":
            write_metadata(chosen, ledger, settings.max_bytes, order.existing, outcome)
        else:
            _write_folder(order, settings, chosen, place, outcome)
    return outcome


def _write_table(order: Order, chosen: Iterator[Photo], outcome: Outcome) -> None:
    if order.into is None:
        TABLES[order.to](chosen, sys.stdout.buffer, outcome)
        sys.stdout.buffer.flush()
        return
    if order.into.is_dir():
        raise UserError(f"{order.into} is a folder: --to {order.to} writes one file, such as -o captions.{order.to}")
    order.into.parent.mkdir(parents=True, exist_ok=True)
    with writing(order.into) as out:
        TABLES[order.to](chosen, out, outcome)


def _write_folder(order: Order, settings: Settings, chosen: Iterator[Photo], place: Place, outcome: Outcome) -> None:
    assert order.into is not None
    if order.into.exists() and not order.into.is_dir():
        raise UserError(f"{order.into} is a file: --to {order.to} writes a folder")
    if order.to == "imagefolder":
        write_imagefolder(chosen, order.into, place, order.link, outcome)
    else:
        write_html(chosen, order.into, "Captions", settings.max_pixels, outcome)
