"""Thumbnails: made by processes with a decoder's limits, kept under $BLIPQ_HOME/thumbs by the picture's content."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from blipq.models import gallery
from blipq.models.database import Ledger
from blipq.settings import Settings

SIDES = (400, 1600)  # pixels: of a card, and of the whole window
PROCESSES = 2
MOST_WAITING = 500
MOST_BYTES = 4_000_000  # of an answer: a process that strangers' files took over may send what it likes
AGAIN_SECONDS = 60.0  # before a picture that gave none is tried again
# No passwords and tokens for a process that strangers' files may take over.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Busy(Exception):
    """Too many thumbnails are being waited for."""


class Thumbnails:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._folder = settings.home / "thumbs"
        self._idle: asyncio.Queue[_Process] = asyncio.Queue()
        for _ in range(PROCESSES):
            self._idle.put_nowait(_Process(settings))
        self._making: dict[Path, asyncio.Task[Path | None]] = {}
        self._refused: dict[Path, float] = {}

    async def get(self, sha256: bytes, side: int) -> Path | None:
        """The JPEG of a content, made where there is none; None where none can be made. Raises Busy."""
        path = self._folder / str(side) / sha256.hex()[:2] / f"{sha256.hex()}.jpg"
        if await run_in_threadpool(path.exists):
            return path
        if self._refused.get(path, 0) > time.monotonic():
            return None
        if path not in self._making:
            if len(self._making) >= MOST_WAITING:
                raise Busy
            task = self._making[path] = asyncio.create_task(self._make(sha256, side, path))
            task.add_done_callback(lambda _: self._making.pop(path, None))
        return await asyncio.shield(self._making[path])

    async def close(self) -> None:
        """End the processes."""
        for task in list(self._making.values()):
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        while not self._idle.empty():
            await self._idle.get_nowait().end()

    async def _make(self, sha256: bytes, side: int, path: Path) -> Path | None:
        for source in await run_in_threadpool(self._files, sha256):
            process = await self._idle.get()
            try:
                made = await process.ask(source, sha256, side)
            finally:
                self._idle.put_nowait(process)
            if made is not None:
                await run_in_threadpool(_write, path, made)
                return path
        if len(self._refused) > 10_000:
            self._refused.clear()
        self._refused[path] = time.monotonic() + AGAIN_SECONDS
        return None

    def _files(self, sha256: bytes) -> list[bytes]:
        with self._ledger.read() as connection:
            return gallery.files_of(connection, sha256)


class _Process:
    """One process at a time, started when it is first needed, killed when it takes too long."""

    def __init__(self, settings: Settings) -> None:
        limits = (settings.max_pixels, settings.max_bytes, settings.decode_memory, settings.decode_seconds)
        self._command = [sys.executable, "-P", "-m", "blipq.worker.engine.thumbnail", *map(str, limits)]
        self._seconds = settings.decode_seconds + 5  # the first answer waits for the process's start
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, path: bytes, sha256: bytes, side: int) -> bytes | None:
        """A JPEG; None where the picture gives none, or the process died or was killed over it."""
        try:
            async with asyncio.timeout(self._seconds):
                if self._process is None or self._process.poll() is not None:
                    await self._start()
                asked = {"path": path.hex(), "sha256": sha256.hex(), "side": side}
                assert self._writer is not None
                self._writer.write(json.dumps(asked).encode() + b"\n")
                head = await self._reader.readexactly(5)
                length = int.from_bytes(head[1:], "big")
                if length > MOST_BYTES:
                    await self.end()
                    return None
                body = await self._reader.readexactly(length)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            await self.end()
            return None
        except BaseException:  # the server ends amid an answer
            await self.end()
            raise
        return body if head[0] == 0 else None

    async def end(self) -> None:
        """Kill the process, if one runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        await run_in_threadpool(process.wait)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            # From the event loop's thread, which lives as long as the server: Linux ties the child's life to it.
            self._process = subprocess.Popen(
                self._command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours)


def _write(path: Path, data: bytes) -> None:
    """Aside first, so that no reader sees half a picture."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_suffix(f".{secrets.token_hex(4)}")
    aside.write_bytes(data)
    aside.replace(path)
