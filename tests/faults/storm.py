"""Seeded faults: whom a storm kills, freezes and starves, and how often, so that a seed tells the whole story."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sqlite3
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import redis
from house import BATCH, LEASE, House, parent_of, signal_to, until
from people import FIRST_UPLOAD, People
from sqlalchemy import text

WEIGHTS = {
    "worker SIGKILL": 46,
    "worker SIGTERM": 8,
    "worker SIGSTOP, SIGCONT": 8,
    "supervisor SIGKILL": 4,
    "supervisor SIGTERM": 3,
    "supervisor SIGSTOP, SIGCONT": 2,
    "FLUSHALL": 13,
    "broker kill -9": 5,
    "broker kill -9, disk lost": 2,
    "broker SIGSTOP, SIGCONT": 3,
    "broker connections cut": 3,
    "database": 3,
    "outage": 2,
}
OUTAGE_SECONDS = (5.0, 60.0)
KILLS = ("worker SIGKILL", "supervisor SIGKILL")


class Broker(Protocol):
    """A broker of the test's own that may be killed and restarted; None stands for the embedded one."""

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def lose_disk(self) -> None: ...
    def freeze(self, number: signal.Signals) -> None: ...


@dataclass
class Storm:
    """Faults upon a house, one after the other, while jobs come in."""

    house: House
    seed: int
    supervisors: int
    devices: str
    broker: Broker | None = None
    strike_database: Callable[[random.Random], str] | None = None
    outage: Callable[[random.Random, float], str] | None = None  # takes the database away for some seconds
    outage_seconds: tuple[float, float] = OUTAGE_SECONDS
    counts: Counter[str] = field(default_factory=Counter)
    reclaimed: list[float] = field(default_factory=list)  # seconds from a worker's kill -9 to its units being due
    away_seconds: float = 0.0  # that the database was away
    enqueued: int = 0
    _number: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self._deck = self.dice.sample(list(WEIGHTS), len(WEIGHTS))
        self._deck.sort(key="outage".__eq__)  # drawn first, as it goes on beside what follows
        self._away = threading.Thread()
        self.people = People(self.house, self.seed + 2)
        self._over = threading.Event()
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._fed: BaseException | None = None

    def run(self, enough: Callable[[Counter[str], float], bool], pause: tuple[float, float]) -> float:
        """Strike until it is enough; then let everything live and wait for the end. The seconds of the storm."""
        self._keep_supervisors()
        until(self.house.workers, 30, "a first worker")
        self._feeder.start()
        self.people.start()
        began = time.monotonic()
        while not enough(self.counts, time.monotonic() - began):
            time.sleep(self.dice.uniform(*pause))
            assert self._feeder.is_alive(), self._fed
            assert self.people.failed is None, self.people.failed
            name = self._draw()
            with contextlib.suppress(redis.RedisError, OSError):
                struck = self._strike(name)
                self.counts[struck or f"{name}: nobody there"] += 1
            self._keep_supervisors()
        lasted = time.monotonic() - began
        self._over.set()
        if self._away.ident:
            self._away.join(120)
        self._feeder.join(240)
        assert not self._feeder.is_alive(), "an enqueue hangs"
        if self._fed:
            raise self._fed
        self.people.end()
        # Enqueues that lost their database in the middle were repeated; what they left behind counts as dead later.
        with self.house.ledger.write() as connection:
            connection.execute(text("UPDATE job SET scanned_at = 0 WHERE state = 'scanning'"))
        return lasted

    @property
    def kills(self) -> int:
        return sum(self.counts[name] for name in KILLS)

    @property
    def repeats_allowed(self) -> int:
        """One batch for each time that a worker may have lost one: killed, silent for longer than its lease, or of a
        cancelled job; and what was forgotten and is met again. None for an outage, however long.
        """
        workers = self.supervisors * len(self.devices.split(","))
        once = sum(self.counts[name] for name in ("worker SIGKILL", "worker SIGSTOP, SIGCONT"))
        away = sum(n for name, n in self.counts.items() if name.startswith("database "))
        cancels = sum(n for name, n in self.people.counts.items() if name.startswith("cancel, "))
        return BATCH * (once + workers * (away + cancels)) + self.people.met_again()

    def figures(self) -> str:
        """The table of faults."""
        lines = [f"{count:5}  {name}" for name, count in sorted((self.counts + self.people.counts).items())]
        if self.reclaimed:
            worst, middle = max(self.reclaimed), statistics.median(self.reclaimed)
            lines.append(f"kill -9 to due again: median {middle:.2f} s, longest {worst:.2f} s, n={len(self.reclaimed)}")
        return "\n".join(lines)

    # What happens

    def _draw(self) -> str:
        """Each fault once, in some order; after that by their weights."""
        if self._deck:
            return self._deck.pop()
        return self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]

    def _feed(self) -> None:
        """Enqueue folder after folder, some of their photos known before under other names."""
        dice = random.Random(self.seed + 1)
        try:
            while not self._over.is_set():
                if self.house.due() < 40 * BATCH:
                    new = range(self._number, self._number + dice.randint(20, 120))
                    # Captioned already: two workers that meet the same new content at once both run it.
                    texts = [row.text for row in self.house.sql("SELECT text FROM caption")]
                    old = [int(text.removeprefix("picture ")) for text in dice.sample(texts, min(5, len(texts)))]
                    old = [number for number in old if number < FIRST_UPLOAD]
                    self._number = new.stop
                    self.house.enqueue(self.house.paint([*new, *old], f"{self._number}"))
                    self.enqueued += 1
                time.sleep(0.2)
        except BaseException as error:
            self._fed = error
            raise

    def _keep_supervisors(self) -> None:
        for _ in range(self.supervisors - len(self.house.supervisors())):
            self.house.supervise(self.devices)

    def _strike(self, name: str) -> str | None:
        """Do it; the name to count it under, None where there was nobody to strike."""
        match name:
            case "worker SIGKILL":
                return name if self._kill_worker() else None
            case "worker SIGTERM":
                return name if self._signal(self._at_work(), signal.SIGTERM) else None
            case "worker SIGSTOP, SIGCONT":
                return name if self._freeze(self._at_work(), LEASE * 1.5) else None
            case "supervisor SIGKILL":
                return name if self._signal(self.house.supervisors(), signal.SIGKILL) else None
            case "supervisor SIGTERM":
                return name if self._signal(self.house.supervisors(), signal.SIGTERM) else None
            case "supervisor SIGSTOP, SIGCONT":
                return name if self._freeze(self.house.supervisors(), 2) else None
            case "FLUSHALL":
                with self.house.client() as client:
                    client.flushall()
                return name
            case "broker connections cut":
                with self.house.client() as client:
                    client.client_kill_filter(_type="normal", skipme=True)
                return name
            case "outage":
                return self._take_away() if self.outage and not self._away.is_alive() else None
            case "database" if self._away.is_alive():
                return None
            case "database":
                return f"database {self.strike_database(self.dice)}" if self.strike_database else None
            case _:
                return name if self._strike_broker(name) else None

    def _take_away(self) -> str:
        """Begin an outage, which goes on beside the faults that follow."""
        assert self.outage
        away, dice, seconds = self.outage, random.Random(self.dice.random()), self.dice.uniform(*self.outage_seconds)

        def take() -> None:
            self.counts[f"outage, {away(dice, seconds)}"] += 1
            self.away_seconds += seconds

        self._away = threading.Thread(target=take, daemon=True)
        self._away.start()
        return "outages begun"

    def _kill_worker(self) -> bool:
        pids = self._at_work()
        supervised = self.house.supervisors()
        if not pids:
            return False
        pid = self.dice.choice(pids)
        parent = parent_of(pid)
        if not signal_to(pid, signal.SIGKILL):
            return False
        if parent in supervised and not self._away.is_alive():  # an orphan's units wait for the end of their lease
            held = "SELECT 1 FROM unit JOIN worker ON worker.id = unit.worker_id AND worker.pid = :pid"
            began = time.monotonic()
            if self.house.sql(f"{held} WHERE unit.state = 'running'", pid=pid):
                until(
                    lambda: not self.house.sql(f"{held} WHERE unit.state = 'running'", pid=pid), 30, "due again", 0.01
                )
                self.reclaimed.append(time.monotonic() - began)
        return True

    def _at_work(self) -> list[int]:
        """Who captions, as far as the ledger can say; waits a little for somebody to start."""
        if self._away.is_alive():
            return self.house.workers()
        for _ in range(40):
            if pids := self.house.at_work():
                return pids
            time.sleep(0.1)
        return []

    def _signal(self, pids: list[int], number: signal.Signals) -> bool:
        if not pids:
            return False
        self._struck = self.dice.choice(pids)
        return signal_to(self._struck, number)

    def _freeze(self, pids: list[int], longest: float) -> bool:
        if not self._signal(pids, signal.SIGSTOP):
            return False
        time.sleep(self.dice.uniform(0.2, longest))
        signal_to(self._struck, signal.SIGCONT)
        return True

    def _strike_broker(self, name: str) -> bool:
        freeze = "SIGSTOP" in name
        if self.broker is None:
            pid = self.house.broker()
            if pid is None:
                return False
            if freeze:
                self._freeze([pid], 6)
            else:
                signal_to(pid, signal.SIGKILL)
                if "disk lost" in name:
                    shutil.rmtree(self.house.home / "broker" / "appendonlydir", ignore_errors=True)
            return True
        if freeze:
            self.broker.freeze(signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.2, 6))
            self.broker.freeze(signal.SIGCONT)
            return True
        self.broker.kill()
        if "disk lost" in name:
            self.broker.lose_disk()
        time.sleep(self.dice.uniform(0, 1))
        self.broker.start()
        return True


def lock_sqlite(house: House, seconds: float) -> str:
    """Another program that holds the database's write lock for a while."""
    other = sqlite3.connect(house.home / "blipq.db", timeout=30, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        other.execute("ROLLBACK")
    finally:
        other.close()
    return "locked"
