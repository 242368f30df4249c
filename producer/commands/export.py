"""`blipq export`: captions into files, photos, tables, data sets and pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from blipq.producer.output import emit_json, say

FORMATS = ("txt", "xmp", "metadata", "jsonl", "csv", "parquet", "imagefolder", "html")


@click.command(epilog="Exit status: 0 all written or kept, 1 some photos could not be served, 2 usage or set-up error.")
@click.argument("job", type=int, required=False)
@click.option("--where", metavar="SQL", help="A condition over the view photos; with JOB, over results.")
@click.option("--to", type=click.Choice(FORMATS), required=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A folder; for jsonl, csv and parquet a file.")
@click.option("--beside", is_flag=True, help="txt, xmp: beside each photo.")
@click.option("--extension", default=".txt", show_default=True, help="txt: such as .caption")
@click.option("--prefix", default="", help="Words before each caption.")
@click.option("--suffix", default="", help="Words behind each caption.")
@click.option(
    "--existing",
    type=click.Choice(["skip", "replace", "append"]),
    default="skip",
    show_default=True,
    help="txt, xmp, metadata: what to do where a text is there.",
)
@click.option("--write-metadata", is_flag=True, help="metadata: yes, change the photos' own files.")
@click.option("--link", is_flag=True, help="imagefolder: hard links instead of copies.")
@click.option("--quiet", "-q", is_flag=True, help="No last line.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout: written, kept, failed, reasons.")
def export(job: int | None, where: str | None, **options: Any) -> None:
    """Write captions out: those of JOB, those a condition holds for, or the current one of each photo.

    \b
    blipq export --to txt --beside
    blipq export 7 --to txt -o captions/ --prefix "sks style, " --existing replace
    blipq export --where "path like '%/cats/%' and flag is null" --to imagefolder -o cats/
    blipq export --to jsonl | head
    blipq export --to metadata --write-metadata
    """
    from blipq import settings
    from blipq.models.selection import Selection
    from blipq.producer.errors import UserError
    from blipq.producer.export.order import Order
    from blipq.producer.export.order import export as write_out
    from blipq.producer.ledger import open_ready

    _check(**options)
    asked = settings.load()
    names = ("to", "extension", "prefix", "suffix", "existing", "link")
    order = Order(selection=Selection(job, where), into=options["output"], **{name: options[name] for name in names})
    try:
        outcome = write_out(open_ready(asked), asked, order)
    except BrokenPipeError:
        raise
    except OSError as error:  # of the target as a whole: a full disk, a folder that may not be written
        raise UserError(f"{options['output'] or 'stdout'} cannot be written: {error.strerror}") from None
    for path, reason in outcome.reasons:
        say(f"left {path}: {reason}")
    if outcome.unnamed:
        say(f"and {outcome.unnamed:,} more")
    if options["as_json"]:
        _emit(outcome)
    elif not options["quiet"]:
        say(_last_line(outcome, options))
    sys.exit(1 if outcome.failed else 0)


def _check(**options: Any) -> None:
    """Refuse combinations that mean nothing, before anything is written."""
    to, output, beside = options["to"], options["output"], options["beside"]
    if to in ("txt", "xmp") and (output is None) != beside:
        raise click.UsageError(f"--to {to} needs either --beside (next to each photo) or -o FOLDER")
    if to not in ("txt", "xmp") and beside:
        raise click.UsageError(f"--beside goes with --to txt and --to xmp, not with {to}")
    if to in ("parquet", "imagefolder", "html") and output is None:
        raise click.UsageError(f"--to {to} needs -o {'FILE' if to == 'parquet' else 'FOLDER'}")
    if to == "metadata" and not options["write_metadata"]:
        raise click.UsageError("--to metadata changes the photos' own files: say --write-metadata if that is wanted")
    if to == "metadata" and output is not None:
        raise click.UsageError("--to metadata writes into the photos themselves and takes no -o")
    if to != "metadata" and options["write_metadata"]:
        raise click.UsageError("--write-metadata goes with --to metadata")
    if options["link"] and to != "imagefolder":
        raise click.UsageError("--link goes with --to imagefolder")
    if not options["extension"].startswith(".") or "/" in options["extension"]:
        raise click.UsageError("--extension begins with a dot, such as .caption")
    if options["as_json"] and to in ("jsonl", "csv") and output is None:
        raise click.UsageError("--json and the table both want stdout: give the table -o FILE")


def _emit(outcome: Any) -> None:
    from dataclasses import asdict

    values = asdict(outcome)
    del values["unnamed"]
    values["reasons"] = [{"path": path, "reason": reason} for path, reason in outcome.reasons]
    emit_json(values)


def _last_line(outcome: Any, options: dict[str, Any]) -> str:
    where = "beside the photos" if options["beside"] else f"to {options['output'] or 'stdout'}"
    where = "into the photos" if options["to"] == "metadata" else where
    said = f"wrote {outcome.written:,} caption{'s' * (outcome.written != 1)} {where}"
    if outcome.kept:
        more = "" if options["existing"] == "replace" else " (--existing replace writes over them)"
        said += f", kept {outcome.kept:,} that were there{more}"
    if outcome.failed:
        said += f", {outcome.failed:,} could not be written"
    if not (outcome.written or outcome.kept or outcome.failed):
        said += ": no caption matches"
    return said
