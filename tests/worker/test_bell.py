"""The doorbell: one connection is kept by whoever rings often, and a broker that went is no error once it is back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RINGING = """
import os, signal, time
from blipq import settings
from blipq.worker import valkey
from blipq.worker.app import ring
from blipq.worker.broker import open_client

asked = settings.load()
valkey.start(asked.home)

def server():
    with open_client(asked) as client:
        return client.info("server")["process_id"], client.info("clients")["connected_clients"], client.llen("caption")

ring(asked, "caption", [1, 2])
before, clients, waiting = server()
assert waiting == 2
for _ in range(5):
    ring(asked, "caption", [3])
assert server()[1:] == (clients, 7)  # through the connection that was there
os.kill(before, signal.SIGKILL)
valkey.start(asked.home)
ring(asked, "caption", [4])  # the connection broke: another is made, and nobody hears of it
after, _, waiting = server()
assert after != before
assert waiting > 0
"""


def test_a_ring_keeps_its_connection_and_outlives_its_broker(home: Path) -> None:
    env = os.environ | {"BLIPQ_HOME": str(home)}
    home.mkdir()
    done = subprocess.run([sys.executable, "-c", RINGING], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
