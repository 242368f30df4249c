"""What every test may ask for: a home of its own, servers, the shared photos, and the real command line.

Databases and Redis are real. Where PostgreSQL or Redis do not answer, their tests are skipped with the reason, and fail
under `BLIPQ_TEST_SERVERS=required`, which `.ci/run` sets. `PGHOST`, `PGPORT`, `PGUSER` and `BLIPQ_TEST_REDIS` point
elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

# The developer's own settings and the network stay out of every test and of every process that one starts.
for _name in [name for name in os.environ if name.startswith("BLIPQ_") and not name.startswith("BLIPQ_TEST_")]:
    del os.environ[_name]
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests run beside each other: two threads that wait for one another on cores that others use take tenfold the time.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def _unavailable(what: str, error: Exception) -> NoReturn:
    reason = f"{what} does not answer: {str(error).splitlines()[0]}"
    if os.environ.get("BLIPQ_TEST_SERVERS") == "required":
        pytest.fail(f"{reason} (BLIPQ_TEST_SERVERS=required)", pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def _fresh_home() -> Iterator[Path]:
    from blipq.worker import valkey

    folder = Path(tempfile.mkdtemp(prefix="blipq-", dir="/tmp"))
    yield folder / "home"
    _end_daemon(folder / "home")
    valkey.stop(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """A `BLIPQ_HOME` that does not exist yet, with a path short enough for a socket; its broker is ended afterwards."""
    with _fresh_home() as folder:
        yield folder


@pytest.fixture(scope="module")
def common_blipq() -> Iterator[Blipq]:
    """`blipq` in a home that the tests of a module share, and with it a daemon: 5 s of the processor each."""
    with _fresh_home() as folder:
        yield Blipq(folder)


def _end_daemon(home: Path) -> None:
    """End the local daemon that a test left running, its workers first."""
    from blipq.worker.lock import DaemonLock

    holder = DaemonLock(home).holder()
    if holder is None or not holder.pid:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder.pid, signal.SIGTERM)
        end = time.monotonic() + 20
        while DaemonLock(home).holder() is not None:
            if time.monotonic() > end:
                os.kill(holder.pid, signal.SIGKILL)
            time.sleep(0.02)


@pytest.fixture(scope="session")
def fresh_postgres() -> Callable[[], AbstractContextManager[str]]:
    """Makes PostgreSQL databases, each dropped at the end of its `with`."""
    import psycopg

    host, port = os.environ.get("PGHOST", "127.0.0.1"), os.environ.get("PGPORT", "5432")
    server = f"postgresql://{os.environ.get('PGUSER', 'postgres')}@{host}:{port}"

    @contextlib.contextmanager
    def make() -> Iterator[str]:
        name = f"blipq_{secrets.token_hex(6)}"
        try:
            with psycopg.connect(f"{server}/postgres", autocommit=True, connect_timeout=5) as admin:
                admin.execute(f"CREATE DATABASE {name}")
        except psycopg.OperationalError as error:
            _unavailable(f"PostgreSQL at {host}:{port}", error)
        yield f"{server}/{name}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return make


@pytest.fixture
def postgres_url(fresh_postgres: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """A fresh PostgreSQL database for one test, dropped afterwards."""
    with fresh_postgres() as url:
        yield url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty database of a shared Redis that no other test uses meanwhile; never FLUSHALL here (see redis_server)."""
    import redis

    server = os.environ.get("BLIPQ_TEST_REDIS", "redis://127.0.0.1:6379")
    mine = "blipq-test"
    for number in range(1, 16):
        with redis.Redis.from_url(f"{server}/{number}", socket_timeout=5) as client:
            try:
                if client.dbsize() == 0 and client.set(mine, os.getpid(), nx=True, ex=3600):
                    yield f"{server}/{number}"
                    client.flushdb()
                    return
            except redis.ConnectionError as error:
                _unavailable(f"Redis at {server}", error)
    _unavailable(f"Redis at {server}", RuntimeError("all of its databases 1 to 15 are in use"))


@dataclass
class RedisServer:
    """A TCP server of one test alone, with a password and a disk: to be killed, frozen, emptied and restarted."""

    folder: Path
    port: int
    password: str = "sesame"
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        from blipq.worker import valkey

        self.process = subprocess.Popen(
            [
                *(str(valkey.binary()), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)),
                *("--requirepass", self.password, "--appendonly", "yes", "--save", "", "--loglevel", "warning"),
            ],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        raise TimeoutError("the test's Redis did not start within 10 s")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(10)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running `RedisServer`, ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, port)
    server.start()
    yield server
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGCONT)
        server.kill()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photos, odd images and metric references beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared photos are not beside this checkout (../shared/data)")
    return folder


class Blipq:
    """Runs the installed `blipq` as a process of its own, in the test's home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env: Mapping[str, str] = os.environ | {"BLIPQ_HOME": str(home)}

    def __call__(
        self,
        *args: str | bytes | Path,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: Path | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; what was printed comes as text, undecodable bytes escaped."""
        return subprocess.run(
            [Path(sys.executable).with_name("blipq"), *args],
            env={**self.env, **(env or {})},
            input=stdin,
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )


@pytest.fixture
def blipq(home: Path) -> Blipq:
    """`blipq("status", "--json")`; see `Blipq`."""
    return Blipq(home)
