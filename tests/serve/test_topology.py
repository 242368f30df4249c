"""What `docker-compose.yml` starts, as plain processes: Redis, PostgreSQL, two workers, serve with a token."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

BLIPQ = Path(sys.executable).with_name("blipq")
PHOTOS = 96


@pytest.fixture
def topology(serve: Any, redis_server: Any, postgres_url: str, tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """A server and the folder that its callers may name; two workers of a process group each."""
    photos = tmp_path / "photos"
    photos.mkdir()
    shared = {
        "BLIPQ_DATABASE_URL": postgres_url,
        "BLIPQ_REDIS_URL": redis_server.url,
        "BLIPQ_API_TOKEN": "sesame-open",
        "BLIPQ_ROOTS": str(photos),
        "BLIPQ_BATCH_SIZE": "2",  # so that both workers get some of a small folder
    }
    env = {"BLIPQ_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"} | shared
    migrated = subprocess.run([BLIPQ, "db", "upgrade"], env=env, capture_output=True, text=True, check=False)
    assert migrated.returncode == 0, migrated.stderr
    server = serve(**shared)
    worker = [BLIPQ, "worker", "--queues", "caption", "--device", "cpu"]
    workers = [
        subprocess.Popen(worker, env=server.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    yield server, photos
    for process in workers:
        process.send_signal(signal.SIGTERM)
    for process in workers:
        said = process.communicate(timeout=60)[1]
        assert "Traceback" not in said, said


@pytest.mark.timeout(600)  # two processes import torch, on a machine that may be busy
def test_the_deployment_serves_jobs_and_single_pictures(topology: Any, scene: Any) -> None:
    server, photos = topology
    for seed in range(PHOTOS):
        (photos / f"{seed:03}.png").write_bytes(scene(seed)[0])
    # Given both workers are heard of
    end = time.monotonic() + 120
    while server.client.get("/readyz").json()["workers"] < 2:
        assert time.monotonic() < end, server.client.get("/readyz").text
        time.sleep(0.2)
    # When a folder is queued, and single pictures come meanwhile
    made = server.client.post("/v1/jobs", json={"paths": [str(photos)], "model": "demo"})
    assert made.status_code == 202, made.text
    patient = {"data": {"timeout": "300"}, "timeout": 320}
    answers = [server.client.post("/v1/caption", files={"image": scene(300 + n)[0]}, **patient) for n in range(5)]
    done = server.wait_for(made.json()["job"], 300)
    # Then all are captioned, once, by both workers, and nothing of the single ones is left
    assert [answer.status_code for answer in answers] == [200] * 5, answers[0].text
    assert (done["state"], done["done"], done["failed"]) == ("done", PHOTOS, 0)
    rows = server.client.get(f"/v1/jobs/{done['id']}/results", params={"limit": 1000}).json()["results"]
    assert len({row["path"] for row in rows}) == len(rows) == PHOTOS
    with server.ledger.read() as connection:
        query = text("SELECT worker_id, count(*) AS pictures FROM caption GROUP BY worker_id")
        by_worker = Counter({row.worker_id: row.pictures for row in connection.execute(query)})
    assert len(by_worker) == 2
    assert min(by_worker.values()) >= 8
    # And the pages of the server show them, to who has the token
    assert "<img" in server.client.get("/").text
    assert server.client.get("/v1/jobs", headers={"authorization": "Bearer wrong"}).status_code == 401
    end = time.monotonic() + 20
    while server.ledger_count("SELECT count(*) FROM upload"):
        assert time.monotonic() < end
        time.sleep(0.2)
