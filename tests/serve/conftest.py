"""A server, its daemon and a worker with the demo checkpoint, shared by the tests of a session; and a browser."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from blipq.demo.scenes import draw
from blipq.models.database import Ledger, open_ledger
from blipq.settings import Settings
from blipq.worker import valkey

BLIPQ = Path(sys.executable).with_name("blipq")


@dataclass
class Server:
    """A running `blipq serve`; `env` is what it was started with."""

    url: str
    home: Path
    env: dict[str, str]
    process: subprocess.Popen[str]
    client: httpx.Client
    ledger: Ledger
    photos: Path = field(default=Path())

    def command(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `blipq` beside it."""
        return subprocess.run([BLIPQ, *args], env=self.env, capture_output=True, text=True, timeout=120, check=False)

    def ledger_count(self, query: str) -> int:
        """The one number that a query of the ledger answers."""
        with self.ledger.read() as connection:
            return int(connection.scalar(text(query)) or 0)

    def wait_for(self, job: int, seconds: float = 90) -> dict[str, Any]:
        """The job, once it is over."""
        end = time.monotonic() + seconds
        while (found := self.client.get(f"/v1/jobs/{job}").json())["state"] not in ("done", "failed", "cancelled"):
            assert time.monotonic() < end, found
            time.sleep(0.1)
        return dict(found)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for a worker that imports torch: seconds, but minutes on a busy machine."""
    for item in items:
        if "house" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(400))
    # Last: schemathesis leaves jobs and photos of its own in the shared house.
    items.sort(key=lambda item: item.path.name == "test_openapi.py")


def start(home: Path, **env: str) -> Server:
    """Start a server on a free port, and wait until it says where."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLIPQ_")}
    whole = {**kept, "BLIPQ_HOME": str(home), "OMP_NUM_THREADS": "1", "BLIPQ_MODEL": "demo", **env}
    command = [BLIPQ, "serve", "--port", "0"]
    process = subprocess.Popen(command, env=whole, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    found = re.search(r"http://\S+", said)
    assert found, said + process.stderr.read()
    headers = {"authorization": f"Bearer {env['BLIPQ_API_TOKEN']}"} if "BLIPQ_API_TOKEN" in env else {}
    client = httpx.Client(base_url=found[0], timeout=90, headers=headers)
    ledger = open_ledger(Settings(home=home, database_url=env.get("BLIPQ_DATABASE_URL")))
    return Server(found[0], home, whole, process, client, ledger)


def stop(server: Server) -> None:
    """End a server and, where it has one, its daemon."""
    server.client.close()
    server.ledger.close()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert server.process.stderr is not None
    said = server.process.stderr.read()
    server.process.stderr.close()
    assert "Traceback" not in said, said
    end = time.monotonic() + 60
    while "BLIPQ_REDIS_URL" not in server.env and "stopped" not in server.command("down").stdout:
        assert time.monotonic() < end, "the daemon that serve started never came up"


@pytest.fixture(scope="session")
def house() -> Iterator[Server]:
    """The shared server: SQLite, its own broker, one worker; `photos` is a folder that callers may name."""
    folder = Path(tempfile.mkdtemp(prefix="blipq-", dir="/tmp"))
    photos = folder / "photos"
    photos.mkdir()
    for seed in range(12):
        draw("scenes", seed).image.save(photos / f"scene-{seed:02}.png")
    server = start(folder / "home", BLIPQ_ROOTS=str(photos), BLIPQ_MAX_BYTES="20000000")
    server.photos = photos
    # The worker's start, which imports torch, is no test's business.
    picture = {"image": (photos / "scene-00.png").read_bytes()}
    first = server.client.post("/v1/caption", files=picture, data={"timeout": "170"}, timeout=175)
    assert first.status_code == 200, first.text
    yield server
    stop(server)
    valkey.stop(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)  # a daemon that let go of its lock may still be closing files


@pytest.fixture
def locked(serve: Callable[..., Server], postgres_url: str, redis_url: str) -> Server:
    """A server with a token, without workers."""
    shared = {"BLIPQ_DATABASE_URL": postgres_url, "BLIPQ_REDIS_URL": redis_url}
    subprocess.run([BLIPQ, "db", "upgrade"], env=os.environ | shared, check=True, stdout=subprocess.DEVNULL)
    return serve(BLIPQ_API_TOKEN="sesame-open", **shared)


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[..., Server]]:
    """Start servers with other settings; they are ended afterwards."""
    started: list[Server] = []

    def one(**env: str) -> Server:
        started.append(start(home, **env))
        return started[-1]

    yield one
    for server in started:
        stop(server)


@pytest.fixture(scope="session")
def scene() -> Callable[[int], tuple[bytes, str]]:
    """A drawn scene's PNG, and the words that are true of it."""

    def drawn(seed: int) -> tuple[bytes, str]:
        made = draw("scenes", seed)
        data = io.BytesIO()
        made.image.save(data, "PNG")
        return data.getvalue(), made.caption

    return drawn
