"""Fetching from a Hub: a small one on the loopback that speaks its HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = """
import json, sys
from blipq.worker.engine.errors import NotFetched
from blipq.worker.engine.weights import fetch
steps = []
try:
    folder = fetch(sys.argv[1], sys.argv[2] or None, lambda *step: steps.append(step))
    print(json.dumps({"folder": str(folder), "files": sorted(p.name for p in folder.iterdir()), "steps": steps}))
except NotFetched as error:
    print(json.dumps({"error": str(error)}))
"""


class Hub(ThreadingHTTPServer):
    """Serves one repository, `some/model`, and notes what it was asked for."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = files
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        if path in (
            "/api/models/some/model",
            *(f"/api/models/some/model/revision/{name}" for name in (COMMIT, "main")),
        ):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.server.files.items()]
            self._send(json.dumps({"id": "some/model", "sha": COMMIT, "siblings": siblings}).encode(), "info")
            return
        if path.startswith(f"/api/models/some/model/tree/{COMMIT}"):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.server.files.items()
            ]
            self._send(json.dumps(entries).encode(), "tree")
            return
        name = path.removeprefix(f"/some/model/resolve/{COMMIT}/")
        if name in self.server.files:
            data = self.server.files[name]
            self._send(data, hashlib.sha256(data).hexdigest())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def _send(self, data: bytes, etag: str) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    files = {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "README.md": b"licence",
        "model.safetensors": b"s" * 300_000,
    }
    files |= {"pytorch_model.bin": b"p" * 300_000, "tf_model.h5": b"t" * 1000, "onnx/model.safetensors": b"o" * 1000}
    server = Hub(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetched(home: Path, url: str, name: str = "some/model", revision: str = "") -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "OMP_"))}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-I", "-c", FETCH, name, revision]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_only_what_is_needed_is_fetched_and_progress_is_told(hub: Hub, tmp_path: Path) -> None:
    answer = fetched(tmp_path, hub.url)
    assert answer["files"] == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert answer["steps"][0][:2] == ["some/model: downloading 0 MB", 0]
    assert answer["steps"][-1][1] >= 300_000
    assert COMMIT in answer["folder"]
    # A second time the cache answers, for the commit even with the Hub gone
    hub.asked.clear()
    assert fetched(tmp_path, hub.url, revision=COMMIT)["files"] == answer["files"]
    assert hub.asked == []


def test_bin_weights_are_fetched_where_there_are_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    answer = fetched(tmp_path, hub.url, revision=COMMIT)
    assert answer["files"] == ["README.md", "config.json", "pytorch_model.bin", "tokenizer.json"]


def test_a_model_that_is_not_there_and_a_hub_that_does_not_answer_are_said_in_one_line(
    hub: Hub, tmp_path: Path
) -> None:
    for url, name in ((hub.url, "some/typo"), ("http://127.0.0.1:9", "some/model")):
        began = time.monotonic()
        answer = fetched(tmp_path, url, name)
        assert "\n" not in answer["error"]
        assert answer["error"].startswith(f"{name}: not fetched from the Hub (")
        assert "HF_HOME" in answer["error"]
        assert time.monotonic() - began < 30  # 10 s of them the Hub's at most; importing on a busy machine the rest
