"""Houses to strike, and servers of the test's own: PostgreSQL (never as root) and Redis."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # witness, house, storm and invariants are this folder's own

from house import House, parent_of, signal_to, until


@pytest.fixture
def build() -> Iterator[Callable[..., House]]:
    """Builds houses, each in a folder with a short path, and ends all that runs in them."""
    if sys.platform != "linux":
        pytest.skip("finds processes through /proc")
    built: list[House] = []

    def one(**given: Any) -> House:
        house = House(Path(tempfile.mkdtemp(prefix="bq-", dir="/tmp")), **given)
        built.append(house)
        return house

    yield one
    for house in built:
        house.close()


@dataclass
class PostgresServer:
    """A PostgreSQL server of the tests' own, to be restarted and killed."""

    folder: Path
    port: int
    user: str | None  # that runs it where we are root, which it refuses to run as

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [_tool("pg_ctl"), "-D", str(self.folder / "data"), "-w", "-t", "60", "-l", str(self.folder / "log")]
        return self.run([*command, *words])

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, user=self.user, group=self.user and pwd.getpwnam(self.user).pw_gid, extra_groups=self.user and [],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=90, check=True,
        )  # fmt: skip

    def database(self) -> str:
        """The URL of a fresh database."""
        name = f"blipq_{secrets.token_hex(4)}"
        self.run([_tool("createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name])
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        # fsync matters when the machine dies, not when the server does.
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self.control("start", "-o", f"{options} -c max_connections=200 -c shared_buffers=32MB")

    def restart(self, mode: str, away: float = 0) -> None:
        """Mode `fast` ends every connection, `immediate` is a crash with recovery; it is away for some seconds."""
        self.control("stop", "-m", mode)
        time.sleep(away)
        self.start()

    def freeze(self, seconds: float) -> None:
        """Stop all of the server's processes for a while: connections stay, nothing answers, nothing is reset."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        stopped = [postmaster]
        signal_to(postmaster, signal.SIGSTOP)  # first: it starts no more of them
        try:
            everybody = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
            stopped += [pid for pid in everybody if parent_of(pid) == postmaster]
            for pid in stopped[1:]:
                signal_to(pid, signal.SIGSTOP)
            time.sleep(seconds)
        finally:
            for pid in reversed(stopped):
                signal_to(pid, signal.SIGCONT)


def _tool(name: str) -> str:
    candidates = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))]
    found = next((one for one in candidates if one), None)
    if found is None:
        pytest.skip(f"PostgreSQL's {name} is not installed here")
    return found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running `PostgresServer`."""
    initdb = _tool("initdb")
    folder = Path(tempfile.mkdtemp(prefix="bq-pg-", dir="/tmp"))
    user = None
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    server = PostgresServer(folder, _free_port(), user)
    server.run([initdb, "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"])
    server.start()
    yield server
    server.control("stop", "-m", "immediate")
    shutil.rmtree(folder, ignore_errors=True)


class OwnRedis:
    """A Redis (or, where there is none, Valkey) of one test alone, over TCP, with its disk."""

    def __init__(self, folder: Path) -> None:
        from blipq.worker import valkey

        self.folder = folder
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.binary = shutil.which("redis-server") or str(valkey.binary())
        self.start()

    def start(self) -> None:
        words = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        words += ["--appendonly", "yes", "--loglevel", "warning"]
        self.process = subprocess.Popen([self.binary, *words], stdout=subprocess.DEVNULL)
        until(self._answers, 10, "the test's Redis")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def freeze(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def lose_disk(self) -> None:
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A running `OwnRedis`."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = OwnRedis(folder)
    yield server
    server.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
