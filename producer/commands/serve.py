"""`blipq serve`: pages and the HTTP API."""

from __future__ import annotations

import click

from blipq.producer.output import emit_json, say


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Others than loopback need BLIPQ_API_TOKEN.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help="The address as one line of JSON on stdout, once it listens.")
def serve(host: str, port: int, as_json: bool) -> None:
    """Serve pages and the HTTP API: http://127.0.0.1:8000.

    \b
    blipq serve
    curl -F image=@photo.jpg http://127.0.0.1:8000/v1/caption
    BLIPQ_API_TOKEN=$(openssl rand -hex 24) blipq serve --host 0.0.0.0
    """
    from blipq import settings
    from blipq.producer.errors import UserError
    from blipq.producer.ledger import open_ready

    try:
        from blipq.producer.serve.server import is_loopback, run
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install 'blipq[serve]'") from None

    asked = settings.load()
    if asked.api_token is None and not is_loopback(host):
        raise UserError(f"--host {host} is open to others: set BLIPQ_API_TOKEN, or leave it at 127.0.0.1")

    def told(address: str) -> None:
        if as_json:
            emit_json({"address": address})
        else:
            say(f"blipq listens on {address}")

    run(asked, open_ready(asked), host, port, told)
