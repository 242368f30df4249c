"""`blipq up`, `down` and `worker`: the processes that do the work."""

from __future__ import annotations

import os
import sys

import click

from blipq.producer.output import emit_json


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Run behind, until `blipq down`.")
@click.option("--json", "as_json", is_flag=True, help="With --detach: one line of JSON on stdout.")
def up(detach: bool, as_json: bool) -> None:
    """Keep broker and workers of this machine: here until Ctrl-C, or behind with --detach.

    \b
    blipq up --detach
    """
    from blipq import settings
    from blipq.producer import daemon
    from blipq.producer.errors import UserError
    from blipq.producer.ledger import open_ready

    if as_json and not detach:
        raise click.UsageError("--json goes with --detach: in the foreground nothing is answered")
    asked = settings.load()
    open_ready(asked)
    if detach:
        started = daemon.start(asked, idle=None)
        log = daemon.log_path(asked)
        if as_json:
            emit_json({"started": started, "log": str(log)})
        else:
            click.echo(f"the daemon {'was started' if started else 'runs already'}: log in {log}")
        return
    running = daemon.running(asked)
    if running is not None:
        raise UserError(f"a daemon runs already (process {running.pid}): blipq down stops it")
    os.execv(sys.executable, [sys.executable, "-P", "-m", "blipq.worker.supervisor"])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def down(as_json: bool) -> None:
    """Stop the local daemon after its present batch; what is left stays queued.

    \b
    blipq down
    """
    from blipq import settings
    from blipq.producer import daemon

    stopped = daemon.stop(settings.load())
    if as_json:
        emit_json({"stopped": stopped})
    else:
        click.echo("the daemon stopped" if stopped else "no daemon runs")


@click.command()
@click.option("--queues", default="caption,train", show_default=True, help="Comma-separated.")
@click.option("--device", help="auto, cpu, cuda:0 or cuda:0,cuda:1: one captioning process each.  [BLIPQ_DEVICE]")
def worker(queues: str, device: str | None) -> None:
    """Keep workers of this host for a shared Redis and PostgreSQL (BLIPQ_REDIS_URL, BLIPQ_DATABASE_URL).

    \b
    blipq worker
    blipq worker --queues caption --device cuda:0,cuda:1
    """
    from blipq import settings
    from blipq.models.control import QUEUES
    from blipq.producer.errors import UserError
    from blipq.producer.ledger import open_ready

    unknown = [queue for queue in queues.split(",") if queue not in QUEUES]
    if unknown:
        raise UserError(f"no queue {unknown[0]}: there are {' and '.join(QUEUES)}")
    asked = settings.load()
    open_ready(asked)
    command = [sys.executable, "-P", "-m", "blipq.worker.supervisor", "--queues", queues]
    command += ["--device", device] if device else []
    command += [] if asked.embedded else ["--unlocked"]
    os.execv(sys.executable, command)
