"""`blipq forget` and `blipq gc`: what is to be gone from the ledger."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Any

import click

from blipq.producer.output import emit_json, say

LISTED = 20  # folders that are named; the photos of others are counted


@click.command(epilog="Exit status: 0 done, 1 nothing is known of it, 2 usage or set-up error, or still in use.")
@click.argument("target", metavar="PATH|JOB")
@click.option("--dry-run", is_flag=True, help="Say what would go; do nothing.")
@click.option("--unseen", is_flag=True, help="Photos of a folder too that are not seen from here.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def forget(target: str, dry_run: bool, unseen: bool, yes: bool, as_json: bool) -> None:
    """Forget a photo, all photos below a folder, or a job. Photos on disk stay.

    Of a photo, captions, edits and failures go. Of a job, the captions go that no other job asked for; what people
    wrote stays. Of a training job, its checkpoints go too, from this host's disk. A photo that is forgotten and
    enqueued again is new. A folder whose photos are not seen from here (its disk is away, it is another host's, it was
    deleted) is forgotten with --unseen alone, which asks for their number.

    \b
    blipq forget ~/photos/private --dry-run
    blipq forget ~/photos/private/letter.jpg
    blipq forget /mnt/old-disk --unseen
    blipq forget 7
    """
    from blipq import settings
    from blipq.producer import forget as forgetting
    from blipq.producer.errors import UserError
    from blipq.producer.ledger import open_ready
    from blipq.producer.presence import look

    asked = settings.load()
    ledger = open_ready(asked)
    job = int(target) if target.isdecimal() else None
    path = os.path.abspath(os.path.expanduser(target))  # noqa: PTH100, PTH111 (no link is resolved: as enqueued)
    away = 0
    if job is None:
        seen = look(ledger, path)
        # Who names one photo means it, wherever it is.
        away = 0 if seen.photos == 1 and forgetting.is_photo(ledger, path) else seen.told().total()
        if away and not unseen and not dry_run:
            raise UserError(
                f"{away:,} of {seen.photos:,} photos below {path} are not seen from here (a disk that is away, another"
                " host's, or deleted): nothing is forgotten; --unseen forgets them too"
            )
    if away and not dry_run:
        _ask_for_count(away, f"below {path}", yes=yes)
    elif not (dry_run or yes) and sys.stdin.isatty():
        click.confirm(f"Forget {_named(ledger, job) if job is not None else path} for good?", abort=True, err=True)
    files: list[Any] = []
    if job is not None:
        gone, files = forgetting.forget_job(ledger, job, dry_run=dry_run)
    else:
        gone = forgetting.forget_path(ledger, asked, path, dry_run=dry_run)
    more = {"unseen": away, "dry_run": dry_run} | _counted(files)
    _report(gone, more, "would go" if dry_run else "forgotten", as_json=as_json)
    if away and dry_run:
        say(f"{away:,} of these photos are not seen from here: they go with --unseen alone")
    for one in files:
        if one.stays is not None:
            say(f"{one.folder} stays: {one.stays}")
        elif not as_json:
            click.echo(f"{one.files:,} files of its run ({one.bytes / 1e6:.1f} MB) in {one.folder}")
    if gone == type(gone)():
        say(f"nothing is known of {target}")
        sys.exit(1)


@click.command(epilog="Exit status: 0 done, 2 usage or set-up error.")
@click.option("--dry-run", is_flag=True, help="Say what would go; do nothing.")
@click.option("--unseen", is_flag=True, help="Photos too that are not seen from here.")
@click.option("--yes", "-y", is_flag=True, help="--unseen: do not ask for their number.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def gc(dry_run: bool, unseen: bool, yes: bool, as_json: bool) -> None:
    """Collect garbage: photos gone from disk, captions of contents that no file holds, old workers, uploads and logs.

    What a person has edited stays. A photo is gone where another of its folder is still there. All others that are
    missing are not seen from here (a disk that is away, another host's, a folder that was deleted): they stay and are
    counted. --unseen takes them too, and asks for their number.

    \b
    blipq gc --dry-run
    blipq gc
    blipq gc --unseen
    """
    from blipq import settings
    from blipq.producer import forget as forgetting
    from blipq.producer.ledger import open_ready
    from blipq.producer.presence import look

    asked = settings.load()
    ledger = open_ready(asked)
    seen = look(ledger)
    away = seen.told()
    if unseen and away and not dry_run:
        _ask_for_count(away.total(), "below " + ", ".join(folder for folder, _ in away.most_common(3)), yes=yes)
    done = forgetting.collect(ledger, asked, seen, unseen=unseen, dry_run=dry_run)
    more = {"files": done.files, "bytes": done.bytes, "absent": dict(done.unseen), "dry_run": dry_run}
    _report(done.rows, more, "would go" if dry_run else "collected", as_json=as_json)
    if done.files and not as_json:
        click.echo(f"{done.files:,} old logs and thumbnails ({done.bytes / 1e6:.1f} MB)")
    for folder, photos in done.unseen.most_common(LISTED):
        say(f"{_unseen(photos, f'under {folder}')}: kept")
    if len(done.unseen) > LISTED:
        say(f"and {sum(done.unseen.values()) - sum(n for _, n in done.unseen.most_common(LISTED)):,} more elsewhere")
    if unseen and dry_run and away:
        say(f"{away.total():,} of these photos are not seen from here")


def _unseen(photos: int, where: str) -> str:
    return f"{photos:,} photo{'s' * (photos != 1)} {where} {'are' if photos != 1 else 'is'} not seen from here"


def _ask_for_count(count: int, where: str, *, yes: bool) -> None:
    """What cannot be seen goes when its number is typed, or with --yes. Raises UserError."""
    from blipq.producer.errors import UserError

    if yes:
        return
    say(f"{_unseen(count, where)}: the captions go for good.")
    try:
        typed = click.prompt(f"Type {count} to go on", default="", show_default=False, err=True)
    except click.Abort:
        typed = ""
    if typed.strip().replace(",", "") != str(count):
        raise UserError(f"nothing was taken out: that takes the number {count}, or --yes")


def _named(ledger: Any, job_id: int) -> str:
    """A job as a person is asked about it: weights that took hours to train do not go without a word."""
    from blipq.models import training

    with ledger.read() as connection:
        return f"job {job_id}{' and all checkpoints of its run' if training.folders(connection, job_id) else ''}"


def _counted(files: list[Any]) -> dict[str, Any]:
    """Files of runs, for JSON; nothing of a job that trained nothing."""
    if not files:
        return {}
    return {
        "files": sum(one.files for one in files),
        "bytes": sum(one.bytes for one in files),
        "folders": [asdict(one) for one in files],
    }


def _report(gone: Any, more: dict[str, Any], verb: str, *, as_json: bool) -> None:
    counts = {name: count for name, count in asdict(gone).items() if name != "contents"}
    if as_json:
        emit_json(counts | more)
        return
    said = [f"{count:,} {name if count != 1 else name[:-1]}" for name, count in counts.items() if count]
    click.echo(f"{verb}: {', '.join(said) or 'nothing'}")
