"""The server process: uvicorn on a socket that is bound first, so that its address can be told."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvicorn

from blipq.models.database import Ledger
from blipq.producer.errors import UserError
from blipq.producer.serve.app import create_app
from blipq.settings import Settings

BACKLOG = 512
GOODBYE_SECONDS = 5  # that open streams may go on after SIGTERM


def is_loopback(host: str) -> bool:
    """Whether a name that one binds to is this machine's alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def run(settings: Settings, ledger: Ledger, host: str, port: int, told: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `told` gets the address. Raises UserError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Each connection inherits it. asyncio does not see that these are TCP, and an answer's body would wait 40 ms for
    # the acknowledgement of its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UserError(f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port") from None
    listening.listen(BACKLOG)
    # Uploads pass through files; a container's /tmp is memory.
    tempfile.tempdir = str(settings.home / "tmp")
    Path(tempfile.tempdir).mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = uvicorn.Config(
        create_app(settings, ledger, host),
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,  # /metrics counts; addresses and searches are nobody's business
        server_header=False,
        http="h11",
        ws="none",
        timeout_graceful_shutdown=GOODBYE_SECONDS,
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has ended in order
        signal.signal(number, lambda *_: sys.exit(0))
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    told(f"http://{shown}:{listening.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listening])
