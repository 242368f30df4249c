"""Workers that cannot begin: whoever looks or waits hears why, and what is queued goes on once that is mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house import House, long_run, until
from invariants import check, watch_fences

LACKS = """
import importlib.metadata as metadata
told = metadata.version
def version(name):
    if name == "transformers":
        raise metadata.PackageNotFoundError(name)
    return told(name)
metadata.version = version
"""
BREAKS = """
import sys, importlib.abc
class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "witness":
            raise ImportError("libfoo.so.1: cannot open shared object file")
sys.meta_path.insert(0, Broken())
"""
DIES = """
import os, sys
if "blipq.worker.app" in sys.argv or "blipq.worker.app" in " ".join(sys.orig_argv):
    os.kill(os.getpid(), 9)
"""


def _shim(house: House, code: str) -> Path:
    """What every Python of the house runs when it starts, until the file is removed."""
    folder = house.folder / "shim"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    house.env["PYTHONPATH"] = os.pathsep.join([str(folder), house.env["PYTHONPATH"]])
    return folder / "sitecustomize.py"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(
            LACKS,
            "the package transformers is not installed: pip install transformers",
            id="a missing package",
        ),
        pytest.param(
            BREAKS,
            "cannot be imported (ImportError: libfoo.so.1: cannot open shared object file): correct",
            id="a broken library",
            marks=long_run,
        ),
        pytest.param(
            DIES,
            "its process was ended by SIGKILL (perhaps for want of memory); the log says more",
            id="killed at its start",
            marks=long_run,
        ),
    ],
)
def test_who_waits_hears_why_no_worker_can_begin_and_is_let_go(
    build: Callable[..., House], code: str, reason: str
) -> None:
    # Given an installation that is broken
    house = build()
    watch_fences(house)
    shim = _shim(house, code)
    # When somebody waits for captions
    began = time.monotonic()
    done = house.blipq("enqueue", house.paint(range(4), "four"), "--wait", timeout=90)
    # Then they hear it, and that nothing is lost
    assert done.returncode == 2, done.stderr
    warned, error = (next(row for row in done.stderr.splitlines() if row.startswith(w)) for w in ("Warning", "Error"))
    assert f"the caption worker cannot begin: {house.env['BLIPQ_CAPTIONER'] if 'imported' in reason else ''}" in warned
    assert reason in warned
    assert reason in error
    assert "stays queued" in error
    assert time.monotonic() - began < 60
    # And whoever looks sees it
    seen = house.answer("status")
    assert reason in seen["problem"]
    assert [job["state"] for job in seen["jobs"]] == ["queued"]
    assert any(w["state"] == "failed" and reason in w["note"] for w in seen["workers"])
    found = {one["name"]: one for one in json.loads(house.blipq("doctor", "--json").stdout)}
    assert not found["workers"]["holds"]
    assert reason in found["workers"]["found"]
    # When it is mended, the daemon goes on by itself
    shim.unlink()
    house.wait_done(60)
    assert house.answer("status")["problem"] is None
    assert house.captioned() == 4
    assert not house.sql("SELECT 1 FROM worker WHERE state = 'failed'")
    check(house, repeats_allowed=0)


def test_a_daemon_that_cannot_start_is_told_and_the_job_stays_queued(build: Callable[..., House]) -> None:
    # Given a supervisor that ends at once
    house = build()
    shim = _shim(house, "import sys\nif 'blipq.worker.supervisor' in sys.orig_argv: sys.exit('no supervisor today')\n")
    done = house.blipq("enqueue", house.paint(range(2), "two"), "--wait", timeout=60)
    assert done.returncode == 2
    assert "the local daemon does not stay up: SystemExit: no supervisor today; job 1 stays queued" in done.stderr
    # And once it can, the next command starts it
    shim.unlink()
    assert house.blipq("retry", "--all", "1").returncode == 0
    house.wait_done(60)


def test_no_worker_row_stays_behind_for_each_of_many_failed_starts(build: Callable[..., House]) -> None:
    house = build(settings={"BLIPQ_CAPTIONER": "nosuchmodule:open_captioner"})
    house.supervise()
    house.enqueue(house.paint(range(2), "two"))
    until(lambda: house.log.read_text().count("cannot begin") > 4, 90, "five failed starts", 0.2)
    assert 1 <= int(house.sql("SELECT count(*) FROM worker")[0][0]) <= 4
    assert house.sql("SELECT state, attempts FROM job") == [("queued", 0)]


def test_an_answer_by_http_says_that_no_worker_can_begin(build: Callable[..., House]) -> None:
    import httpx

    house = build(settings={"BLIPQ_CAPTIONER": "nosuchmodule:open_captioner"})
    port = _free_port()
    command = [str(Path(sys.executable).with_name("blipq")), "serve", "--port", str(port)]
    house.started.append(subprocess.Popen(command, env=house.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    picture = house.paint([1], "one") / "000001.png"

    def ask() -> Any:
        with open(picture, "rb") as opened, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            return client.post("/caption", files={"image": ("a.png", opened, "image/png")}, data={"timeout": "50"})

    until(lambda: _answers(port), 40, "the server", 0.2)
    said = ask()
    assert said.status_code == 503, said.text
    assert "the caption worker cannot begin: nosuchmodule:open_captioner cannot be imported" in said.text
    page = httpx.get(f"http://127.0.0.1:{port}/workers", timeout=20).text
    assert "the caption worker cannot begin" in page


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
