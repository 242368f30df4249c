"""A whole blipq as real processes, on either database and broker, that a test may kill, freeze and starve."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import witness
from sqlalchemy import text

from blipq.models.database import Ledger, LedgerError
from blipq.worker import valkey

HERE = Path(__file__).parent
LONG = os.environ.get("BLIPQ_TEST_LONG") == "1"
long_run = pytest.mark.skipif(not LONG, reason="a part of `make faults`")
BATCH = 4
LEASE = 4.0


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_of(pid: int) -> int | None:
    """The process that a process is a child of; None where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def signal_to(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False where the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def until(happened: Callable[[], Any], seconds: float, what: str, every: float = 0.02) -> float:
    """Wait for something; the seconds that it took. A test fails where it does not come."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(every)
    return time.monotonic() - began


@dataclass
class House:
    """One home with its database, broker, supervisors and workers."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    database_url: str | None = None
    redis_url: str | None = None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    painted: dict[int, list[Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home = self.folder / "home"
        self.photos = self.folder / "photos"
        self.model = self.make_model("model")
        self.witness_file = self.folder / "witness"
        self.log = self.folder / "log"
        given = {"BLIPQ_DATABASE_URL": self.database_url, "BLIPQ_REDIS_URL": self.redis_url}
        self.env = {
            **os.environ,
            "BLIPQ_HOME": str(self.home),
            "BLIPQ_MODEL": str(self.model),
            "BLIPQ_CAPTIONER": "witness:open_captioner",
            "BLIPQ_BATCH_SIZE": str(BATCH),
            "BLIPQ_LEASE": str(LEASE),
            "BLIPQ_DECODE_PROCESSES": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "WITNESS": str(self.witness_file),
            **{name: value for name, value in given.items() if value},
            **self.settings,
        }
        scheme = (self.database_url or "").replace("postgresql://", "postgresql+psycopg://")
        self.ledger = Ledger(scheme or f"sqlite:///{self.home / 'blipq.db'}")

    def move(self, home: Path) -> None:
        """Let the home be elsewhere; to be said before anything starts."""
        self.home = home
        self.env["BLIPQ_HOME"] = str(home)
        self.ledger = Ledger(f"sqlite:///{home / 'blipq.db'}")

    def make_model(self, name: str, **files: str) -> Path:
        """A folder for the witness to open; see `witness.open_captioner` for the files."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for file, words in {"config.json": f'{{"name": "{name}"}}', "model.safetensors": "{}", **files}.items():
            (folder / file).write_text(words)
        return folder

    # What a person does

    def blipq(self, *args: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("blipq")), *map(str, args)]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)

    def answer(self, *args: str | Path, timeout: float = 60) -> dict[str, Any]:
        """What a command prints with --json; it must succeed."""
        done = self.blipq(*args, "--json", timeout=timeout)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def paint(self, numbers: Sequence[int], folder: str, does: int = witness.FINE) -> Path:
        """Pictures of these numbers in a folder of `photos`."""
        into = self.photos / folder
        into.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            path = into / f"{number:06}.png"
            witness.paint(number, does).save(path, compress_level=0)
            self.painted.setdefault(number, []).append(path)
        return into

    def enqueue(self, folder: Path, *flags: str) -> int:
        """Enqueue until it is taken in; the job."""
        while True:
            done = self.blipq("enqueue", folder, "--json", *flags, timeout=180)
            if done.returncode == 0:
                return int(json.loads(done.stdout)["job"])
            assert done.returncode == 2, done.stderr
            time.sleep(1)

    def status(self) -> dict[str, Any]:
        return self.answer("status")

    # What runs

    def supervise(self, devices: str = "cpu", *, beside: bool = False) -> subprocess.Popen[bytes]:
        """Start a supervisor with a worker a device; `beside` another one of an embedded home."""
        command = [sys.executable, "-P", "-m", "blipq.worker.supervisor", "--queues", "caption", "--device", devices]
        command += ["--unlocked"] if self.redis_url or beside else []
        with open(self.log, "ab") as log:
            process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)
        self.started.append(process)
        return process

    def processes(self, having: str) -> list[int]:
        """Live processes of this house with some words in their command."""
        found = []
        mine = f"BLIPQ_HOME={self.home}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and alive(int(entry.name)):
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if having in words and mine in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        self._reap()
        return sorted(found)

    def supervisors(self) -> list[int]:
        return self.processes("blipq.worker.supervisor")

    def workers(self) -> list[int]:
        return self.processes("blipq.worker.app worker")

    def at_work(self) -> list[int]:
        """Workers that are captioning, as the ledger says."""
        rows = self.sql("SELECT pid FROM worker WHERE state NOT IN ('stopped', 'starting') ORDER BY id")
        return sorted({row.pid for row in rows} & set(self.workers()))

    def broker(self) -> int | None:
        """The embedded broker's process, as the kernel knows it from its socket."""
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(valkey.socket_path(self.home)))
            except OSError:
                return None
            return int(struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def client(self) -> redis.Redis:
        if self.redis_url:
            return redis.Redis.from_url(self.redis_url, socket_timeout=1, socket_connect_timeout=1)
        return redis.Redis(unix_socket_path=str(valkey.socket_path(self.home)), socket_timeout=1)

    def close(self) -> None:
        """End everything that was started here."""
        for pid in self.supervisors():
            signal_to(pid, signal.SIGKILL)
        for pid in [*self.workers(), *self.processes("blipq"), self.broker()]:
            if pid is not None:
                signal_to(pid, signal.SIGKILL)
        for process in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        self.ledger.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What the ledger and the witness say

    def sql(self, query: str, **values: Any) -> list[Any]:
        """Rows of a query; waits out a database that is away."""
        for _ in range(1200):
            try:
                with self.ledger.read() as connection:
                    return list(connection.execute(text(query), values).all())
            except LedgerError:
                time.sleep(0.1)
        raise TimeoutError("the database did not answer for two minutes")

    def change(self, statement: str, **values: Any) -> None:
        with self.ledger.write() as connection:
            connection.execute(text(statement), values)

    def open_jobs(self) -> int:
        return int(self.sql("SELECT count(*) FROM job WHERE state IN ('scanning', 'queued', 'running')")[0][0])

    def left(self) -> int:
        """Pictures that nobody has ended."""
        return int(self.sql("SELECT count(*) FROM item WHERE state = 'queued'")[0][0])

    def due(self) -> int:
        """Of these, those of jobs that are not over: of a cancelled one nobody takes them up."""
        over = "('done', 'failed', 'cancelled')"
        query = f"FROM item JOIN job ON job.id = item.job_id WHERE item.state = 'queued' AND job.state NOT IN {over}"
        return int(self.sql(f"SELECT count(*) {query}")[0][0])

    def captioned(self) -> int:
        return int(self.sql("SELECT count(*) FROM caption")[0][0])

    def wait_done(self, seconds: float = 60) -> float:
        """Wait until every job has ended."""
        return until(lambda: not self.open_jobs(), seconds, f"the jobs' end; the log says:\n{self.last_log()}", 0.05)

    def wait_caption(self, seconds: float) -> float:
        """Wait until there is one more caption than now."""
        before = self.captioned()
        return until(lambda: self.captioned() > before, seconds, "another caption", 0.005)

    def batches(self) -> Iterator[tuple[float, int, list[int]]]:
        """What the witness saw: time, process and numbers of each batch, in order."""
        if self.witness_file.exists():
            for line in self.witness_file.read_text().splitlines():
                at, pid, *numbers = line.split()
                yield float(at), int(pid), [int(number) for number in numbers]

    def runs(self) -> Counter[int]:
        """How often each picture was on the model."""
        return Counter(number for _, _, numbers in self.batches() for number in numbers)

    def last_log(self, lines: int = 30) -> str:
        texts = [p.read_text(errors="replace") for p in (self.log, self.home / "log" / "blipq.log") if p.exists()]
        return "\n".join("\n".join(text.splitlines()[-lines:]) for text in texts)

    def said(self, pattern: str) -> bool:
        """Whether the log matches a pattern."""
        paths = (self.log, self.home / "log" / "blipq.log")
        return any(re.search(pattern, p.read_text(errors="replace")) for p in paths if p.exists())

    def _reap(self) -> None:
        for process in self.started:
            process.poll()
