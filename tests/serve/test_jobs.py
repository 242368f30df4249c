"""Jobs over HTTP: server paths under roots, uploads, results, events, cancelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def queue(house: Any, *paths: Path | str, **fields: Any) -> Any:
    return house.client.post("/v1/jobs", json={"paths": [str(path) for path in paths], **fields})


def test_a_folder_below_a_root_is_captioned(house: Any) -> None:
    made = queue(house, house.photos, mode="replace")
    assert made.status_code == 202, made.text
    done = house.wait_for(made.json()["job"])
    assert (done["state"], done["done"], done["failed"], done["remaining"]) == ("done", 12, 0, 0)


def test_results_come_in_pages_and_as_lines_and_are_the_same(house: Any) -> None:
    job = queue(house, house.photos).json()["job"]
    house.wait_for(job)
    queue_again = queue(house, house.photos, mode="replace").json()["job"]
    house.wait_for(queue_again)
    pages, after = [], 0
    while after is not None:
        page = house.client.get(f"/v1/jobs/{queue_again}/results", params={"after": after, "limit": 5}).json()
        assert len(page["results"]) <= 5
        pages += page["results"]
        after = page["next"]
    lines = house.client.get(f"/v1/jobs/{queue_again}/results", headers={"accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == pages
    assert len(pages) == 12
    assert {Path(row["path"]).parent for row in pages} == {house.photos}
    assert all(row["caption"] and row["error"] is None for row in pages)


def test_paths_elsewhere_are_refused_whether_or_not_they_exist(house: Any, tmp_path: Path) -> None:
    link = house.photos / "way-out"
    link.symlink_to("/etc")
    refused = [
        "/etc/passwd",
        "/no/such/folder",
        f"{house.photos}/../home",
        f"{house.photos}/way-out",
        f"{house.photos}/way-out/ssl",
        f"{house.photos}/*.png",
        f"{house.photos}x",
        "photos",
        "-",
        "",
        "/etc\0",
    ]
    try:
        said = {queue(house, path).text for path in refused if path}
    finally:
        link.unlink()
    assert len(said) == 1
    assert "BLIPQ_ROOTS" in said.pop()
    assert queue(house, house.photos, "/etc").status_code == 403
    assert queue(house, "").status_code == 422


def test_uploads_become_photos_of_their_own(house: Any, scene: Any) -> None:
    # Given three pictures, two of one name, and one file that is none
    files = [("images", (name, scene(seed)[0])) for name, seed in [("a.png", 1), ("../../a.png", 2), ("c\\d.png", 3)]]
    files.append(("images", ("notes.txt", b"hello")))
    # When they are sent as a job
    made = house.client.post("/v1/jobs", files=files, data={"num_beams": "1"})
    assert made.status_code == 202, made.text
    done = house.wait_for(made.json()["job"])
    # Then the pictures have captions, the other file a reason, and all lie in one folder of ours
    assert (done["done"], done["failed"]) == (3, 1)
    rows = house.client.get(f"/v1/jobs/{done['id']}/results").json()["results"]
    assert sorted(Path(row["path"]).name for row in rows) == ["a (2).png", "a.png", "d.png", "notes.txt"]
    (folder,) = {Path(row["path"]).parent for row in rows}
    assert folder.parent == house.home / "uploads"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [row["error"] for row in rows if row["error"]] == ["unsupported"]


def test_more_pictures_than_allowed_are_refused_and_leave_nothing(house: Any) -> None:
    before = set((house.home / "uploads").glob("*"))
    answer = house.client.post("/v1/jobs", files=[("images", ("a.png", b"x"))] * 101)
    assert answer.status_code in (400, 413, 422)
    assert set((house.home / "uploads").glob("*")) == before


def test_events_follow_a_job_to_its_end(house: Any) -> None:
    job = queue(house, house.photos, mode="replace").json()["job"]
    with house.client.stream("GET", f"/v1/jobs/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert events[-1] == "end"
    assert set(events[:-1]) <= {"progress"}
    assert data[-1]["state"] == "done"
    assert data[-1]["done"] == 12


def test_a_cancelled_job_stays_cancelled(house: Any) -> None:
    house.command("pause", "caption")
    try:
        job = queue(house, house.photos, mode="replace").json()["job"]
        assert house.client.post(f"/v1/jobs/{job}/cancel").json() == {"job": job, "cancelled": 12}
        assert house.client.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
        assert house.client.post(f"/v1/jobs/{job}/cancel").json() == {"job": job, "cancelled": 0}
    finally:
        house.command("resume", "caption")


@pytest.mark.parametrize("path", ["/v1/jobs/999999", "/v1/jobs/999999/results", "/v1/jobs/999999/events", "/v1/runs/7"])
def test_what_is_not_there_is_404_in_one_line(house: Any, path: str) -> None:
    answer = house.client.get(path)
    assert answer.status_code == 404
    assert "\n" not in answer.json()["detail"]


def test_probes_and_metrics_tell_what_is(house: Any) -> None:
    assert house.client.get("/healthz").json() == {"status": "ok"}
    ready = house.client.get("/readyz")
    assert (ready.status_code, ready.json()["database"], ready.json()["broker"]) == (200, "ok", "ok")
    text = house.client.get("/metrics").text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0 for line in lines)
    for name in ("blipq_jobs{", "blipq_queue_pictures{", "blipq_http_requests_total{", "blipq_pictures_done "):
        assert any(line.startswith(name) for line in lines), name
    assert 'route="/v1/jobs/{job}"' in text  # a pattern: numbers make no series
