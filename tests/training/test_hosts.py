"""Two hosts with a home each, on one PostgreSQL and one Redis: a run goes on where its checkpoints can be reached.

A host is a worker with a name of its own that does not see the other's home: namespaces of the kernel make it so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

ENDLESS = 99_999
OPTIONS = ("--batch-size", 2, "--lr", 1e-3, "--schedule", "constant", "--warmup", 0, "--checkpoint-every", 7)
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--uts", "--mount"]


class Hosts:
    """Hosts `alpha` and `beta`, and what their common ledger says."""

    def __init__(self, folder: Path, database: str, redis: str) -> None:
        self.homes = {name: folder / name for name in ("alpha", "beta")}
        self._database = database
        self._urls = {"BLIPQ_DATABASE_URL": database, "BLIPQ_REDIS_URL": redis, "BLIPQ_LEASE": "6"}
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        for home in self.homes.values():
            home.mkdir()
        self("db", "upgrade")

    def _env(self, name):
        return os.environ | self._urls | {"BLIPQ_HOME": str(self.homes[name]), "OMP_NUM_THREADS": "1"}

    def __call__(self, *args, host="alpha"):
        command = [str(Path(sys.executable).with_name("blipq")), *map(str, args)]
        done = subprocess.run(command, env=self._env(host), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, name):
        """A training worker of a host, which the other host's home is hidden from."""
        (other,) = (home for host, home in self.homes.items() if host != name)
        begin = f'hostname {name} && mount -t tmpfs none {other} && exec "$0" worker --queues train --device cpu'
        command = [*UNSHARE, "sh", "-c", begin, str(Path(sys.executable).with_name("blipq"))]
        log = open(self.homes[name] / "worker.log", "ab")  # noqa: SIM115 (the worker's, as long as it lives)
        self._workers[name] = subprocess.Popen(command, env=self._env(name), stdout=log, stderr=log)
        log.close()

    def stop(self, name):
        worker = self._workers.pop(name)
        worker.send_signal(signal.SIGTERM)
        worker.wait(40)

    def sql(self, query):
        with psycopg.connect(self._database, autocommit=True) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description else []

    def until(self, query, seconds=90):
        end = time.monotonic() + seconds
        while not self.sql(query):
            if time.monotonic() > end:
                logs = [
                    (home / "worker.log").read_text()[-2000:] for home in self.homes.values() if any(home.iterdir())
                ]
                states = self.sql("select id, state, note from job"), self.sql("select id, note, folder from run")
                raise TimeoutError(f"{query}: nothing within {seconds} s; {states}; {logs}")
            time.sleep(0.1)

    def close(self):
        for name in list(self._workers):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop(name)


@pytest.fixture
def hosts(tmp_path, postgres_url, redis_url):
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")
    made = Hosts(tmp_path, postgres_url, redis_url)
    yield made
    made.close()


def train(hosts, photos, model, epochs, *more):
    hosts("train", photos, "--model", model, *OPTIONS, "--epochs", epochs, *more)
    ((run,),) = hosts.sql("select max(id) from run")
    return run


def what_is_there(hosts, run):
    """A run's losses and checkpoints."""
    losses = hosts.sql(f"select step from loss where run_id = {run} order by step")
    return losses, hosts.sql(f"select step, path, host, is_best from checkpoint where run_id = {run} order by step")


def test_a_run_waits_for_the_host_of_its_checkpoints_and_loses_nothing_where_it_does_not_come(hosts, tiny_blip, photos):
    # Given a run of one host, which goes away
    run = train(hosts, photos, tiny_blip, ENDLESS)
    hosts.start("alpha")
    hosts.until(f"select 1 from checkpoint where run_id = {run} and step >= 21")
    hosts.stop("alpha")
    before = what_is_there(hosts, run)
    assert {row[2] for row in before[1]} == {"alpha"}
    # When another host looks, then the run waits a told time, and what is behind it goes first
    hosts.start("beta")
    hosts.until(f"select 1 from job where id = {run} and note like 'waits until __:__ for host alpha, which has its%'")
    behind = train(hosts, photos, tiny_blip, 1, "--validation", 0)
    hosts.until(f"select 1 from job where id = {behind} and state = 'done'")
    assert hosts.sql(f"select state from unit where job_id = {run}") == [("queued",)]
    # When the time is over, then it fails with what is to be done, and nothing of it is deleted
    hosts.sql(f"update run set stranded_at = stranded_at - 600 where id = {run}")
    hosts.until(f"select 1 from job where id = {run} and state = 'failed'")
    ((note,),) = hosts.sql(f"select note from job where id = {run}")
    assert "lies on host alpha" in note
    assert "put BLIPQ_HOME on storage that all hosts with training workers share, or bring that host back" in note
    assert note.endswith(f"then `blipq retry {run}`")
    assert what_is_there(hosts, run) == before
    # And once its host is back and it is tried again, it goes on from where it was, though the other still looks
    hosts("retry", run)
    hosts.until(f"select 1 from job where id = {run} and note like 'waits until%'")
    hosts.start("alpha")
    last = before[0][-1][0]
    hosts.until(f"select 1 from loss where run_id = {run} and step >= {last + 20}")
    steps = [step for (step,) in what_is_there(hosts, run)[0]]
    assert steps == list(range(1, len(steps) + 1))
    assert hosts.sql(f"select stranded_at, note from run where id = {run}")[0][0] is None


def test_a_run_goes_on_from_the_newest_checkpoint_that_is_to_be_reached(hosts, tiny_blip, photos):
    # Given a run whose host is gone, and of whose checkpoints an older one lies where both hosts see it
    run = train(hosts, photos, tiny_blip, ENDLESS)
    hosts.start("alpha")
    hosts.until(f"select 1 from checkpoint where run_id = {run} and step >= 21")
    hosts.stop("alpha")
    _, saved = what_is_there(hosts, run)
    older, newest = saved[0], saved[-1]
    seen = hosts.homes["alpha"].parent / "shared"
    shutil.copytree(older[1], seen / Path(older[1]).name)
    shutil.copy(Path(older[1]).parent / "pairs.jsonl", seen)
    hosts.sql(f"update checkpoint set path = '{seen / Path(older[1]).name}' where step = {older[0]}")
    # When the other host has waited long enough
    hosts.start("beta")
    hosts.until(f"select 1 from run where id = {run} and stranded_at is not null")
    hosts.sql("update run set stranded_at = stranded_at - 600")
    # Then the run goes on there from the older one, and the newer ones are listed until there is another
    hosts.until(f"select 1 from checkpoint where run_id = {run} and host = 'beta'")
    hosts.until(f"select 1 from loss where run_id = {run} and step >= {newest[0] + 8}")
    losses, points = what_is_there(hosts, run)
    assert [step for (step,) in losses] == list(range(1, len(losses) + 1))
    assert not {path for _, path, host, _ in points if host == "alpha"} & {newest[1]}
    (left,) = hosts.sql(f"select message from remark where run_id = {run} and kind = 'left behind' order by id limit 1")
    assert left[0].endswith(f"lies on host alpha: {saved[1][1]}") or newest[1] in left[0]
    ((folder,),) = hosts.sql(f"select folder from run where id = {run}")
    assert Path(folder).is_relative_to(hosts.homes["beta"] / "runs")
    assert (Path(folder) / "pairs.jsonl").read_bytes() == (seen / "pairs.jsonl").read_bytes()
