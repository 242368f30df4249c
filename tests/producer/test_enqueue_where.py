"""`enqueue --where`: known photos are captioned again by what is known of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def test_known_photos_are_queued_by_a_condition(library: Any, blipq: Any, home: Path) -> None:
    # Given photos of which two are flagged, one of them gone, one with an odd name
    odd = library.photo(b"caf\xe9.jpg")
    library.caption(odd, "a a a", flag="repeated")
    library.caption(library.photo("good.jpg"), "a dog")
    gone = library.photo("gone.jpg")
    library.caption(gone, "b b b", flag="repeated")
    os.unlink(gone)
    # When they are enqueued, with a Redis that does not answer so that nobody captions them
    nobody = {"BLIPQ_REDIS_URL": "redis://127.0.0.1:1/0", "BLIPQ_DATABASE_URL": f"sqlite:///{home / 'blipq.db'}"}
    dry = blipq("enqueue", "--where", "flag is not null", "--model", "demo", "--dry-run", "--json", env=nobody)
    done = blipq("enqueue", "--where", "flag is not null", "--model", "demo", "--num-beams", "5", "--json", env=nobody)
    # Then the one that is there is queued, and the other is named
    assert json.loads(dry.stdout)["queued"] == 1
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["found"], answer["queued"], answer["refused"]) == (1, 1, 1)
    assert "gone.jpg: not there" in done.stderr
    with library.ledger.read() as connection:
        [(source, path)] = connection.exec_driver_sql(
            "SELECT job.source, file.path FROM item"
            " JOIN job ON job.id = item.job_id JOIN file ON file.id = item.file_id"
        )
    assert source == "--where 'flag is not null'"
    assert path.endswith("caf\\xe9.jpg")


def test_either_paths_or_a_condition(library: Any, blipq: Any) -> None:
    for arguments in ((), ("x.jpg", "--where", "true")):
        done = blipq("enqueue", *arguments)
        assert (done.returncode, "either PATH... or --where" in done.stderr) == (2, True)
    done = blipq("enqueue", "--where", "flag = 'no such'", "--model", "demo")
    assert (done.returncode, "no known photo" in done.stderr) == (2, True)
