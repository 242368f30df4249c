"""`blipq enqueue`: queue photos for captions."""

from __future__ import annotations

import sys
from typing import Any

import click

from blipq.producer.commands.recipe_options import recipe_options, request_of
from blipq.producer.output import duration, emit_json, say


@click.command(epilog="Exit status: 0 queued (with --wait: all captioned), 1 some failed, 2 a usage or set-up error.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--where", metavar="SQL", help="Known photos for which a condition over the view photos holds.")
@recipe_options
@click.option(
    "--mode",
    type=click.Choice(["fill", "replace"]),
    default="fill",
    show_default=True,
    help="fill: only what has no caption under this recipe.",
)
@click.option("--dry-run", is_flag=True, help="Say what there is to do and how long it takes; do nothing.")
@click.option("--wait", is_flag=True, help="Follow the job to its end.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def enqueue(paths: tuple[str, ...], **options: Any) -> None:
    """Queue photos for captions: files, folders (and all below them), globs, or - for a list on stdin.

    \b
    blipq enqueue ./photos
    blipq enqueue ./photos --model Salesforce/blip-image-captioning-large --num-beams 3 --wait
    find . -name '*.jpg' -newer last-run | blipq enqueue -
    blipq enqueue --where "flag is not null" --num-beams 5
    """
    from blipq import settings
    from blipq.producer import enqueue as enqueueing
    from blipq.producer.ledger import open_ready

    if bool(paths) == (options["where"] is not None):
        raise click.UsageError("say which photos: either PATH... or --where SQL")
    asked = settings.load()
    quiet, as_json = options.pop("quiet"), options.pop("as_json")
    dry_run, wait = options.pop("dry_run"), options.pop("wait")
    request = request_of(paths, options, asked.model)
    ledger = open_ready(asked)
    act = enqueueing.count if dry_run else enqueueing.enqueue
    answer = act(ledger, asked, request, lambda so_far: None if quiet else _counting(so_far))
    if not quiet:
        _report(answer)
    values = {
        "job": answer.job,
        "model": answer.model,
        "found": answer.found,
        "queued": answer.queued,
        "known": answer.known,
        "refused": answer.refused,
    }
    if dry_run:
        _forecast(ledger, answer, values, as_json)
        return
    assert answer.job is not None
    enqueueing.call(asked, answer.units)
    if not wait:
        if as_json:
            emit_json(values)
        elif not quiet:
            done = "; all have a caption" if not answer.queued else f"; blipq status {answer.job}"
            click.echo(f"job {answer.job}: {answer.queued:,} of {answer.found:,} images queued{done}")
        return
    from blipq.producer.commands.wait import finish

    sys.exit(finish(ledger, asked, answer.job, values if as_json else None, quiet=quiet))


def _counting(so_far: Any) -> None:
    if sys.stderr.isatty() and so_far.found >= 10_000:
        click.echo(f"\r{so_far.found:,} images found", nl=False, err=True)


def _report(answer: Any) -> None:
    if sys.stderr.isatty() and answer.found >= 10_000:
        say("")
    for refused in answer.reasons:
        say(f"left out {refused.path}: {refused.reason}")
    if answer.refused > len(answer.reasons):
        say(f"left out {answer.refused - len(answer.reasons):,} more")


def _forecast(ledger: Any, answer: Any, values: dict[str, Any], as_json: bool) -> None:
    from blipq.producer.forecast import disk_bytes, seconds

    takes = seconds(ledger, answer.model, answer.queued)
    values |= {"seconds": takes, "disk_bytes": disk_bytes(answer.queued)}
    if as_json:
        emit_json(values)
        return
    when = f"about {duration(takes)}" if takes is not None else "not measured yet with this model"
    click.echo(
        f"{answer.found:,} images, {answer.queued:,} to caption with {answer.model}: {when}, "
        f"{values['disk_bytes'] / 1e6:.1f} MB of database"
    )
