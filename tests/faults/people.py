"""What people do while a storm goes over: they cancel, retry and forget jobs, upload pictures and lose patience."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import witness
from house import House
from sqlalchemy import Connection

from blipq.models import control, recipes, upload, weights
from blipq.models.database import LedgerError
from blipq.models.recipes import Recipe

FIRST_UPLOAD = 8_000_000  # numbers of pictures that came by HTTP begin here
PATIENCE = (0.0, 1.5)  # seconds that a caller waits for a caption
DEADLINE_SECONDS = 30.0
Read = TypeVar("Read")


@dataclass
class People:
    """One after the other, in a thread of their own: a fault of the database does not keep them from trying."""

    house: House
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    forgotten: set[int] = field(default_factory=set)  # jobs
    forgotten_folders: set[str] = field(default_factory=set)  # theirs
    wrong: list[str] = field(default_factory=list)  # answers that were another picture's
    uploaded: int = 0
    failed: BaseException | None = None

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._open: dict[int, upload.Received] = {}  # uploads that nobody has forgotten yet, by job

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Let nobody begin anything more; then take up again what was cancelled, and forget every upload."""
        self._over.set()
        self._thread.join(180)
        assert not self._thread.is_alive(), "somebody hangs"
        if self.failed:
            raise self.failed
        while self._open:
            self._give_up()
            time.sleep(0.1)
        for job in sorted(self.forgotten):  # whose command was turned away in the middle
            assert self.house.blipq("forget", str(job), "--yes", timeout=180).returncode in (0, 2)
        for job in self._jobs("state = 'cancelled'"):
            done = self.house.blipq("retry", str(job), "--all", timeout=180)
            assert done.returncode == 0, done.stderr

    def _run(self) -> None:
        acts = [self._cancel, self._retry, self._forget, self._upload, self._upload]
        try:
            while not self._over.wait(self._dice.uniform(0.2, 1.0)):
                self._dice.shuffle(acts)
                try:
                    self.counts[acts[0]()] += 1
                except LedgerError:
                    self.counts["turned away by the database"] += 1
        except BaseException as error:
            self.failed = error

    def met_again(self) -> int:
        """How often a picture that was forgotten may have been run once more, under another name."""
        folders = [{path.parent.name for path in paths} for paths in self.house.painted.values()]
        return sum(len(names) - 1 for names in folders if names & self.forgotten_folders)

    # What they do

    def _cancel(self) -> str:
        return self._command("cancel", "state IN ('queued', 'running')")

    def _retry(self) -> str:
        return self._command("retry", "state = 'cancelled'", "--all")

    def _forget(self) -> str:
        jobs = self._jobs("state = 'done'")
        if not jobs:
            return "forget: nothing to"
        job = self._dice.choice(jobs)
        ((parameters,),) = self.house.sql("SELECT parameters FROM job WHERE id = :job", job=job)
        # Even where the answer is lost: some or all of it is gone then.
        self.forgotten.add(job)
        self.forgotten_folders |= {Path(path).name for path in json.loads(parameters)["paths"]}
        done = self.house.blipq("forget", str(job), "--yes", timeout=180)
        return f"forget, exit status {done.returncode}"

    def _command(self, name: str, which: str, *flags: str) -> str:
        jobs = self._jobs(which)
        if not jobs:
            return f"{name}: nothing to"
        done = self.house.blipq(name, str(self._dice.choice(jobs)), *flags, timeout=180)
        assert done.returncode in (0, 2), done.stderr
        return f"{name}, exit status {done.returncode}"

    def _jobs(self, which: str) -> list[int]:
        rows = self.house.sql(f"SELECT id FROM job WHERE source NOT LIKE 'upload:%' AND {which} ORDER BY id")
        return [row.id for row in rows if row.id not in self.forgotten]

    def _upload(self) -> str:
        """One picture by HTTP, as the HTTP side does it: wait for the answer, give up in time, forget."""
        number = FIRST_UPLOAD + self.uploaded
        self.uploaded += 1
        packed = io.BytesIO()
        witness.paint(number).save(packed, "PNG")
        received = self._write(lambda connection: self._receive(connection, packed.getvalue(), f"{number}.png"))
        self._open[received.job_id] = received
        end = time.monotonic() + self._dice.uniform(*PATIENCE)
        said = "upload, given up"
        while said == "upload, given up" and time.monotonic() < end:
            with self.house.ledger.read() as connection:
                answer = upload.read_answer(connection, received)
            if answer.caption is not None:
                said = "upload, answered"
                if answer.caption != f"picture {number}":
                    self.wrong.append(f"{answer.caption} to {number}")
            time.sleep(0.02)
        self._give_up()
        return said

    def _receive(self, connection: Connection, data: bytes, name: str) -> upload.Received:
        found = weights.resolve(connection, str(self.house.model))
        recipe_id = recipes.record(connection, Recipe(found.id), found.pinned)
        return upload.receive(
            connection,
            data,
            name,
            model=found.pinned,
            recipe_id=recipe_id,
            parameters={"mode": "fill", "recipe": {}},
            deadline_in=DEADLINE_SECONDS,
        )

    def _give_up(self) -> None:
        """Cancel the uploads that are open, and forget them."""
        for job in list(self._open):
            try:
                self._write(lambda connection, job=job: control.cancel(connection, job))
                self._write(lambda connection, job=job: upload.forget(connection, [job]))
            except LedgerError:
                return  # later; the sweeper cancels it at its deadline
            del self._open[job]

    def _write(self, act: Callable[[Connection], Read]) -> Read:
        with self.house.ledger.write() as connection:
            return act(connection)


def leftovers(house: House, jobs: set[int]) -> list[str]:
    """What is still there of forgotten jobs and of uploads that were answered or given up."""
    found = []
    for table, column in (("job", "id"), ("unit", "job_id"), ("item", "job_id"), ("failure", "job_id")):
        rows = house.sql(f"SELECT {column} AS job FROM {table}")
        found += [f"{table} of job {row.job}" for row in rows if row.job in jobs]
    for table in ("file WHERE path LIKE 'upload:%'", "upload", "job WHERE source LIKE 'upload:%'"):
        found += [table for row in house.sql(f"SELECT count(*) AS rows FROM {table}") if row.rows]
    return found
