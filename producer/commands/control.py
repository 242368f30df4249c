"""`blipq cancel`, `retry`, `pause` and `resume`."""

from __future__ import annotations

import click

from blipq.producer.output import emit_json

QUEUE = click.Choice(["caption", "train"])


@click.command()
@click.argument("job", type=int)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def cancel(job: int, as_json: bool) -> None:
    """Take back what JOB has left to do; what a worker holds ends with its present batch, unwritten.

    \b
    blipq cancel 7
    """
    from blipq import settings
    from blipq.models import control
    from blipq.producer.ledger import open_ready

    left = open_ready(settings.load()).transact(lambda connection: control.cancel(connection, job))
    if as_json:
        emit_json({"job": job, "cancelled": left})
    else:
        click.echo(f"job {job} cancelled: {left:,} left undone (blipq retry {job} --all takes them up again)")


@click.command()
@click.argument("job", type=int)
@click.option("--all", "everything", is_flag=True, help="Also what was cancelled before its turn.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def retry(job: int, everything: bool, as_json: bool) -> None:
    """Queue the failed photos of JOB again. A training job goes on from its newest checkpoint.

    \b
    blipq retry 7
    blipq retry 7 --all
    """
    from blipq import settings
    from blipq.models import control, status
    from blipq.producer.enqueue import call
    from blipq.producer.ledger import open_ready

    asked = settings.load()
    ledger = open_ready(asked)
    again = ledger.transact(lambda connection: control.retry(connection, job, everything=everything))
    with ledger.read() as connection:
        left = status.work_left(connection)
    if left:  # of this job or another: a daemon that ended is started again
        call(asked, [0])
    if as_json:
        emit_json({"job": job, "queued": again})
    else:
        click.echo(f"job {job}: {again:,} queued again")


@click.command()
@click.argument("queue", type=QUEUE, default="caption")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def pause(queue: str, as_json: bool) -> None:
    """Hand out no more work of QUEUE (caption or train); what runs ends its batch.

    \b
    blipq pause
    blipq pause train
    """
    _set_paused(queue, True)
    if as_json:
        emit_json({"queue": queue, "paused": True})
    else:
        click.echo(f"queue {queue} is paused: blipq resume {queue}")


@click.command()
@click.argument("queue", type=QUEUE, default="caption")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def resume(queue: str, as_json: bool) -> None:
    """Go on handing out work of QUEUE.

    \b
    blipq resume
    """
    from blipq import settings
    from blipq.producer.enqueue import call

    _set_paused(queue, False)
    call(settings.load(), [0])
    if as_json:
        emit_json({"queue": queue, "paused": False})
    else:
        click.echo(f"queue {queue} goes on")


def _set_paused(queue: str, paused: bool) -> None:
    from blipq import settings
    from blipq.models import control
    from blipq.producer.ledger import open_ready

    open_ready(settings.load()).transact(lambda connection: control.set_paused(connection, queue, paused))
