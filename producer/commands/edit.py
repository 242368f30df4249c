"""`blipq edit`: the same change to many captions, and taking it back."""

from __future__ import annotations

from typing import Any

import click

from blipq.producer.output import emit, emit_json, say


@click.command(epilog="Exit status: 0 done (also where nothing matched), 2 usage or set-up error.")
@click.argument("job", type=int, required=False)
@click.option("--where", metavar="SQL", help="A condition over the view photos; with JOB, over results.")
@click.option("--strip", default="", metavar="TEXT", help="Take off TEXT where captions begin or end with it.")
@click.option("--replace", type=(str, str), multiple=True, metavar="OLD NEW", help="As written; may be repeated.")
@click.option("--prefix", default="", metavar="TEXT", help="Put TEXT before each caption.")
@click.option("--suffix", default="", metavar="TEXT", help="Put TEXT behind each caption.")
@click.option("--undo", "batch", metavar="BATCH", help="Take a bulk edit back; what was edited since stays.")
@click.option("--dry-run", is_flag=True, help="Show what would change; do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No examples.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout: batch, changed, kept.")
def edit(job: int | None, where: str | None, batch: str | None, **options: Any) -> None:
    """Change captions in bulk: of JOB, of what a condition holds for, or of all photos.

    The result counts as a person's caption, which no job overwrites. Each call is a batch with a name; the table `edit`
    is its log, and --undo takes a batch back.

    \b
    blipq edit --strip "a picture of " --dry-run
    blipq edit 7 --replace grey gray --prefix "sks style, "
    blipq edit --where "path like '%/cats/%'" --replace dog cat
    blipq edit --undo edit-20261123-101500-3f2a
    """
    from blipq import settings
    from blipq.models.selection import Selection
    from blipq.producer import edit as editing
    from blipq.producer.ledger import open_ready

    change = editing.Change(options["strip"], options["replace"], options["prefix"], options["suffix"])
    if batch is not None and (job is not None or where is not None or change != editing.Change() or options["dry_run"]):
        raise click.UsageError("--undo BATCH stands alone")
    if batch is None and change == editing.Change():
        raise click.UsageError("say what to change: --strip, --replace, --prefix or --suffix (or --undo)")
    ledger = open_ready(settings.load())
    if batch is not None:
        done = editing.undo(ledger, batch)
    else:
        done = editing.edit(ledger, Selection(job, where), change, dry_run=options["dry_run"])
    if options["as_json"]:
        emit_json({"batch": done.batch, "changed": done.changed, "kept": done.kept, "dry_run": options["dry_run"]})
        return
    if done.examples and not options["quiet"]:
        emit(("path", "before", "after"), done.examples, "table")
        if done.changed > len(done.examples):
            say(f"and {done.changed - len(done.examples):,} more")
    if options["dry_run"]:
        click.echo(f"{done.changed:,} caption{'s' * (done.changed != 1)} would change")
    else:
        back = f"; blipq edit --undo {done.batch} takes it back" if done.changed else ""
        click.echo(f"{done.changed:,} caption{'s' * (done.changed != 1)} changed, {done.kept:,} stayed{back}")
