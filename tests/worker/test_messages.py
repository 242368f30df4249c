"""What comes over the wire is never trusted: no pickle is executed, and a strange message ends no worker."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from blipq.models.database import Ledger
from blipq.models.migrate import ensure_schema
from blipq.worker import valkey

LONG = os.environ.get("BLIPQ_TEST_LONG") == "1"


def envelope(body: bytes, content_type: str, *, task: Any = "blipq.caption", **properties: Any) -> bytes:
    """A message as kombu puts it into a Redis list."""
    number = str(uuid.uuid4())
    headers = {"lang": "py", "task": task, "id": number, "root_id": number, "argsrepr": "(1,)", "kwargsrepr": "{}"}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "binary",
            "content-type": content_type,
            "headers": headers,
            "properties": {
                "correlation_id": number,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "caption"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": number,
                **properties,
            },
        }
    ).encode()


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def worker(home: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], redis.Redis, Path]]:
    """A caption worker of its own, its broker, and its log."""
    valkey.start(home)
    ensure_schema(Ledger(f"sqlite:///{home / 'blipq.db'}"))
    log = tmp_path / "log"
    words = [sys.executable, "-P", "-m", "celery", "-q", "-A", "blipq.worker.app", "worker", "-Q", "caption"]
    words += ["-P", "threads", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with open(log, "wb") as opened:
        process = subprocess.Popen(
            words, env={**os.environ, "BLIPQ_HOME": str(home)}, stdout=opened, stderr=opened, cwd=home
        )
    client = redis.Redis(unix_socket_path=str(valkey.socket_path(home)), socket_timeout=5)
    yield process, client, log
    process.kill()
    process.wait()


def test_a_pickled_message_is_refused_unread_and_strange_ones_end_no_worker(
    worker: tuple[subprocess.Popen[bytes], redis.Redis, Path], tmp_path: Path
) -> None:
    process, client, log = worker
    mark = tmp_path / "executed"
    bomb = pickle.dumps(((Bomb(mark),), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}))
    fine = json.dumps([[1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
    # Given messages that are pickled, that lie about it, that carry other things or name other tasks
    strange = [
        envelope(bomb, "application/x-python-serialize"),
        envelope(bomb, "application/json"),
        envelope(b"\xff\xfe", "application/json"),
        envelope(b"!!python/object/apply:os.mkdir", "application/x-yaml"),
        envelope(fine, "application/json", task="os.system"),
        envelope(json.dumps([["x" * 10_000, 2, 3], {"a": 1}, {}]).encode(), "application/json"),
    ]
    # When a worker takes them
    client.lpush("caption", *strange)
    end = time.monotonic() + 30
    while client.llen("caption") and time.monotonic() < end:
        time.sleep(0.05)
    client.lpush("caption", envelope(fine, "application/json"))
    while client.llen("caption") and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    # Then nothing of them was executed, and it goes on listening
    assert not mark.exists()
    assert process.poll() is None
    assert client.llen("caption") == 0
    assert "Refusing to deserialize" in log.read_text() or "ContentDisallowed" in log.read_text()


@hypothesis_settings(max_examples=2000 if LONG else 100, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=200), content_type=st.sampled_from(["application/json", "text/plain", "pickle", ""]))
@example(body=pickle.dumps(1), content_type="application/x-python-serialize")
def test_a_body_is_json_or_refused(body: bytes, content_type: str) -> None:
    from kombu.exceptions import KombuError
    from kombu.serialization import loads

    from blipq.worker.app import app

    accept = app.conf.accept_content
    assert accept == ["json"]
    try:
        found = loads(body, content_type, "utf-8", accept={"application/json"})
    except (KombuError, ValueError):  # refused, or no JSON
        return
    assert content_type in ("application/json", "", "text/plain")
    assert found is None or isinstance(found, (str, bytes, int, float, list, dict, bool))
