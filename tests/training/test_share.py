"""A run's model leaves the house: to a stand-in of the Hub's HTTP side, with what `huggingface_hub` really sends."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TOKEN = "hf_of_a_test"


class Hub(ThreadingHTTPServer):
    """Repositories by name: whether they are private, and their files."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories = {}
        self.objects = {}
        self.unknown = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """What the Hub answers to the calls of a push."""

    def do_GET(self):
        found = re.fullmatch(r"/api/models/([^/]+/[^/?]+)(/revision/main)?", self.path)
        if found and found[1] in self.server.repositories:
            private = self.server.repositories[found[1]]["private"]
            return self._say(200, {"id": found[1], "private": private, "sha": "0" * 40, "siblings": [], "tags": []})
        self.server.unknown.append(self.path)
        return self._say(404, {"error": "Repository not found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._say(401, {"error": "Invalid credentials"})
        repositories = self.server.repositories
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'ann'}/{asked['name']}"
            if name in repositories:
                return self._say(409, {"error": "exists", "url": f"{self.server.url}/{name}"})
            repositories[name] = {"private": asked.get("private") or asked.get("visibility") == "private", "files": {}}
            return self._say(200, {"url": f"{self.server.url}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self._say(200, {"errors": [], "warnings": []})
        if re.match(r"/api/models/.+/preupload/main", self.path):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._say(200, {"files": modes})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.url}/upload/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self._say(200, {"transfer": "basic", "objects": objects})
        if commit := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            files = repositories[commit[1]]["files"]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    files[line["value"]["path"]] = self.server.objects[line["value"]["oid"]]
            address = f"{self.server.url}/{commit[1]}/commit/1"
            return self._say(200, {"commitUrl": address, "commitOid": "1" * 40, "hookOutput": ""})
        self.server.unknown.append(self.path)
        return self._say(404, {"error": "not of this stand-in"})

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        assert hashlib.sha256(data).hexdigest() == self.path.rpartition("/")[2]
        self.server.objects[self.path.rpartition("/")[2]] = data
        self._say(200, {})

    def _say(self, status, values):
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def finished(own_house, tiny_blip, photos):
    """A home with a run that is done, its rows written as a worker writes them: nothing is trained here."""
    from blipq.models import lease, training
    from blipq.models.database import open_ledger
    from blipq.models.migrate import ensure_schema
    from blipq.models.training import Checkpoint, Figure
    from blipq.settings import Settings

    ledger = open_ledger(Settings(home=own_house.home))
    ensure_schema(ledger)
    folder = own_house.home / "runs" / "1"
    shutil.copytree(tiny_blip, folder / "f1-00000012")
    (folder / "f1-00000012" / "training.safetensors").write_bytes(b"moments")
    with ledger.write() as connection:
        run = training.enqueue(
            connection,
            base="someone/blip@" + "a" * 40,
            weights="hub:x",
            data=str(photos),
            plan={"lr": 1e-3},
            priority=0,
        )
        training.settle(connection, run.id, base=run.base, weights="hub:x", folder=folder)
        run = training.read(connection, run_id=run.id)
        training.begin(connection, run.id, plan={"lr": 1e-3, "epochs": 3}, pictures=22, steps=12)
        digest = hashlib.sha256((folder / "f1-00000012" / "model.safetensors").read_bytes()).digest()
        training.add_checkpoint(connection, run, Checkpoint(12, folder / "f1-00000012", digest, is_best=True))
        for model, value in ((run.base, 0.125), ("run:1", 0.875)):
            figures = {"BLEU-4": Figure(value, value - 0.01, value + 0.01)}
            training.add_evaluation(connection, run.id, data=run.data, model=model, figures=figures, pictures=300)
        lease.count(connection, {run.unit_id: (1, 0)})
        training.end(connection, run.id, "all epochs are done")
    ledger.close()
    return own_house


def environment(hub, tmp_path, token=TOKEN):
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": token,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",  # a protocol of its own, to another host
    }


def test_push_uploads_model_processor_and_card_and_nothing_else_in_private(finished, hub, tiny_blip, tmp_path):
    done = finished("push", 1, "ann/football", env=environment(hub, tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"pushed to {hub.url}/ann/football\n"
    repository = hub.repositories["ann/football"]
    assert repository["private"] is True
    assert set(repository["files"]) == {path.name for path in tiny_blip.iterdir()} | {"README.md"}
    assert repository["files"]["model.safetensors"] == (tiny_blip / "model.safetensors").read_bytes()
    assert hub.unknown == []


def test_the_card_names_base_data_recipe_and_what_was_measured(finished, hub, tmp_path, photos):
    assert finished("push", 1, "ann/football", "--public", env=environment(hub, tmp_path)).returncode == 0
    repository = hub.repositories["ann/football"]
    assert repository["private"] is False
    card = repository["files"]["README.md"].decode()
    assert "base_model: someone/blip\n" in card
    assert "| lr | 0.001 |" in card
    assert "Greedy captions of 300 held-out pictures" in card
    assert "| BLEU-4 | 0.125 [0.115, 0.135] | 0.875 [0.865, 0.885] |" in card
    assert str(photos.parent) not in card  # no folder of this machine


def test_a_repository_that_is_public_is_not_written_to_by_surprise(finished, hub, tmp_path):
    hub.repositories["ann/football"] = {"private": False, "files": {}}
    done = finished("push", 1, "ann/football", env=environment(hub, tmp_path))
    assert done.returncode == 2
    assert done.stderr == "Error: ann/football is public already: --public says that this is meant\n"
    assert hub.repositories["ann/football"]["files"] == {}


def test_a_hub_that_refuses_or_is_away_is_said_in_a_line(finished, hub, tmp_path):
    done = finished("push", 1, "ann/football", env=environment(hub, tmp_path, token="hf_wrong"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "`hf auth login`" in done.stderr
    gone = environment(hub, tmp_path) | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = finished("push", 1, "ann/football", env=gone)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the Hub cannot be reached" in done.stderr
    assert hub.repositories == {}


def test_a_promoted_checkpoint_outlives_the_folder_that_its_run_tidies_away(finished):
    from blipq.models import training, weights
    from blipq.models.database import open_ledger
    from blipq.settings import Settings

    assert finished("promote", 1, "--as", "football").returncode == 0
    ledger = open_ledger(Settings(home=finished.home))
    with ledger.write() as connection:
        before = weights.resolve(connection, "football")
        # Given the run goes on and does without its own folder of it
        run = training.read(connection, run_id=1)
        newer = before.folder.with_name("f1-00000024")
        training.add_checkpoint(connection, run, training.Checkpoint(24, newer, bytes(32), is_best=True))
        assert training.tidy(connection, run, 1) == [newer]
        shutil.rmtree(before.folder)
        # Then the name still leads to the same weights
        after = weights.resolve(connection, "football")
    ledger.close()
    assert (after.id, after.pinned) == (before.id, before.pinned)
    assert after.folder != before.folder
