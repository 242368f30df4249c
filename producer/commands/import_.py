"""`blipq import`: captions that people wrote elsewhere."""

from __future__ import annotations

import sys
from typing import Any

import click

from blipq.producer.output import emit_json, say


@click.command("import", epilog="Exit status: 0 all taken, 1 some could not be, 2 usage or set-up error.")
@click.argument("paths", nargs=-1, required=True, metavar="DIR|FILE...")
@click.option("--extension", default=".txt", show_default=True, help="Of the captions beside photos, such as .caption")
@click.option("--author", help="Whose captions they are; your account's name if not given.")
@click.option("--dry-run", is_flag=True, help="Say what would come in; do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="Name no captions that could not be taken.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout: batch, and a count of each kind.")
def import_(paths: tuple[str, ...], extension: str, author: str | None, **options: bool) -> None:
    """Take in captions that people wrote: photo.txt beside photos, a Hugging Face imagefolder, .jsonl or .csv.

    They count as a person's, which no job overwrites. What says what the ledger says already, or what a model wrote, is
    left. Where two photos of one content come with different words, neither is taken and both are named. Tables need a
    column path (or file_name, image ...) and a column caption (or text ...); relative paths start at the table.
    `blipq edit --undo BATCH` takes an import back.

    \b
    blipq import ./train_images
    blipq import ./train_images --extension .caption
    blipq import captions.csv --author maria
    """
    from blipq import settings
    from blipq.producer.import_captions import import_captions
    from blipq.producer.ledger import open_ready

    if not extension.startswith("."):
        raise click.UsageError("--extension begins with a dot, such as .caption")
    done = import_captions(open_ready(settings.load()), paths, extension, author, dry_run=options["dry_run"])
    if not options["quiet"]:
        for path, reason in done.reasons:
            say(f"left {path}: {reason}")
        if done.failed > len(done.reasons):
            say(f"and {done.failed - len(done.reasons):,} more")
    if options["as_json"]:
        names = ("batch", "found", "changed", "known", "unknown", "conflict", "empty", "bad", "failed")
        emit_json({name: getattr(done, name) for name in names} | {"dry_run": options["dry_run"]})
    else:
        click.echo(_last_line(done, dry_run=options["dry_run"]))
    sys.exit(1 if done.failed else 0)


def _last_line(done: Any, *, dry_run: bool) -> str:
    came = "would come in" if dry_run else "came in"
    counts = {
        "say nothing new": done.known,
        "of unknown photos": done.unknown,
        "in conflict": done.conflict,
        "empty": done.empty,
        "unreadable": done.bad,
    }
    said = [f"{count:,} {name}" for name, count in counts.items() if count or name == "say nothing new"]
    back = f"; blipq edit --undo {done.batch} takes it back" if done.changed and not dry_run else ""
    return f"found {done.found:,} caption{'s' * (done.found != 1)}: {done.changed:,} {came}, {', '.join(said)}{back}"
